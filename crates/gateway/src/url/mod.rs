//! Function URLs: find, authorize, answer a preflight or invoke, and make a response of what comes back.
//!
//! Source: Lambda developer guide, "Invoking function URLs" and "Control access to function URLs".

mod admission;
mod known;

pub use known::Known;

use crate::address::Address;
use crate::event::v2::{self as event, Route};
use crate::incoming::Incoming;
use crate::measure::{self, Watch};
use crate::reply::stream::NoResponse;
use crate::reply::{self, stream, v2};
use crate::state::Gateway;
use crate::{Body, Request, Response, authorization, cors, trace};

use known::Url;
use lamplight_invoke::{InvokeRequest, Running};
use lamplight_listener::{Peer, body};
use lamplight_model::credentials::Identity;
use lamplight_model::limits::SYNC_PAYLOAD_BYTES;
use lamplight_model::{RequestId, ServiceError};
use std::sync::Arc;

/// Content type of an answer that names none.
const DEFAULT_TYPE: &str = "application/json";
/// What stands in an event where the caller is nobody known.
const ANONYMOUS: &str = "anonymous";

/// Answers a request of the function URL `id`.
pub async fn answer(
    gateway: &Gateway,
    id: &str,
    address: &Address,
    request: Request,
    peer: Peer,
    request_id: RequestId,
) -> Response {
    let url = match gateway.urls.find(&*gateway.parts.store, id).await {
        Ok(Some(url)) if address.region.as_ref().is_none_or(|region| *region == url.scope.region) => url,
        Ok(_) => return refuse(request, reply::unknown_url()).await,
        Err(error) => {
            tracing::error!(%request_id, error = &error as &dyn std::error::Error, "failed to find a function URL");
            return refuse(request, reply::bad_gateway()).await;
        }
    };
    let watch = Watch::new((), |&(), answered: Option<&Response>, latency| {
        let status = answered.map(Response::status);
        measure::url(gateway, &url.scope, &url.function, url.qualifier.as_ref(), latency, status);
    });
    let response = answer_of(gateway, &url, address, request, peer, request_id).await;
    watch.answered(&response);
    response
}

async fn answer_of(
    gateway: &Gateway,
    url: &Url,
    address: &Address,
    request: Request,
    peer: Peer,
    request_id: RequestId,
) -> Response {
    if let Some(cors) = &url.stored.cors
        && let Some(headers) = cors::preflight(cors, request.method(), request.headers())
    {
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = headers;
        return refuse(request, response).await;
    }
    let asked_with = request.headers().clone();
    let mut response = match admission::admit(gateway, url, address, request, peer, request_id).await {
        Ok((incoming, identity)) => invoke(gateway, url, &incoming, identity.as_ref()).await,
        Err(refusal) => refusal,
    };
    if let Some(cors) = &url.stored.cors {
        cors::add_to(cors, &asked_with, response.headers_mut());
    }
    response
}

/// An answer that does not need the body.
async fn refuse(request: Request, response: Response) -> Response {
    body::discard(request.into_body()).await;
    response
}

async fn invoke(gateway: &Gateway, url: &Url, incoming: &Incoming, identity: Option<&Identity>) -> Response {
    let authorizer = identity.map(authorization::authorizer);
    let trace_header = trace::of(&incoming.headers, incoming.time);
    let route = Route {
        route_key: "$default",
        stage: "$default",
        account_id: identity.map_or(ANONYMOUS, |_| url.scope.account.as_str()),
        api_id: &url.stored.id,
        path_parameters: &[],
        stage_variables: &[],
        authorizer: authorizer.as_ref(),
    };
    let payload = event::event(incoming, &route, &trace_header);
    if payload.len() > SYNC_PAYLOAD_BYTES {
        return reply::too_large();
    }
    let (scope, name, qualifier) = (url.scope.clone(), url.function.clone(), url.qualifier.clone());
    let mut request = InvokeRequest::new(scope, name, qualifier, incoming.request_id, payload);
    request.trace_header = Some(trace_header.clone());
    let mut response = match begin(gateway, request).await {
        Ok(running) if url.stored.is_streamed() => streamed(running, incoming.request_id).await,
        Ok(running) => buffered(running, incoming.request_id).await,
        Err(error) => {
            tracing::info!(request_id = %incoming.request_id, %error, "a function URL's request was not begun");
            reply::not_begun(&error, gateway.parts.invoker.is_draining())
        }
    };
    trace::tell(response.headers_mut(), &trace_header);
    response
}

/// Starts the run. A durable function's execution needs a name and an end that outlives the request: it has no URL.
async fn begin(gateway: &Gateway, request: InvokeRequest) -> Result<Running, ServiceError> {
    let invoker = &gateway.parts.invoker;
    let version = invoker.resolve(&request.scope, &request.name, request.qualifier.as_ref()).await?;
    if version.durable.is_some() {
        return Err(ServiceError::internal("A durable function cannot be called through a function URL."));
    }
    invoker.invoke_version(request, Arc::clone(&version)).await
}

async fn buffered(running: Running, request_id: RequestId) -> Response {
    let collected = match running.answer.collect(SYNC_PAYLOAD_BYTES).await {
        Ok(collected) if !collected.outcome.is_function_error() => collected,
        // The client is told no more; the function's log has its error.
        Ok(_) => return reply::bad_gateway(),
        Err(error) => {
            tracing::warn!(%request_id, %error, "a function URL's request was lost");
            return reply::bad_gateway();
        }
    };
    v2::response(&collected.body, DEFAULT_TYPE).unwrap_or_else(|wrong| {
        tracing::info!(%request_id, %wrong, "a function's answer is no response");
        reply::bad_gateway()
    })
}

async fn streamed(running: Running, request_id: RequestId) -> Response {
    // From here on the run needs nobody: a client that goes away drops the answer only.
    match stream::response(running.answer.detach()).await {
        Ok(response) => response,
        Err(NoResponse::Failed(_)) => reply::bad_gateway(),
        Err(NoResponse::Lost(error)) => {
            tracing::warn!(%request_id, %error, "a function URL's request was lost");
            reply::bad_gateway()
        }
        Err(NoResponse::Wrong(wrong)) => {
            tracing::info!(%request_id, %wrong, "a function's answer is no response");
            reply::bad_gateway()
        }
    }
}
