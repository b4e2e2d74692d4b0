//! S3 on the wire, over `services::objects`. The s3s framework knows the routes, the headers and the XML; this knows what
//! they mean here.
//!
//! ```text
//!  request -> addressing (is it S3's?) -> presigned, payload (what s3s need not see) -> s3s -> access -> buckets | objects
//!                                                                                                        | listing | multipart
//!  answer  <- answer (error texts, request id)                                       <-
//! ```
//! Signatures are read, not verified, as everywhere in this release; what they cover of the body (its SHA-256) is checked.

mod access;
pub mod addressing;
mod answer;
mod buckets;
mod convert;
pub(crate) mod error;
mod listing;
mod multipart;
mod objects;
mod payload;
mod presigned;
mod service;

pub use service::S3;

use crate::http::{Context, Response, body};
use crate::state::ApiState;
use axum::body::Body;
use http::{HeaderValue, Method, StatusCode, header};
use lamplight_services::objects::ObjectError;
use std::sync::Arc;

/// Answers a request that `addressing` says is S3's.
pub async fn handle(state: &ApiState, context: &Context, body: Body) -> Response {
    let asked = answer::Asked::of(context);
    if let Err(error) = presigned::check(context, state.now()).and_then(|()| check_head(context)) {
        body::discard(body).await;
        return answer::error(&asked, error);
    }
    let (body, rest) = payload::watch(body);
    let called = match payload::prepare(context, body) {
        Ok(mut request) => {
            request.extensions_mut().insert(Arc::new(context.clone()));
            state.s3.call(request).await
        }
        Err(error) => error.to_http_response().map_err(|error| s3s::HttpError::new(Box::new(error))),
    };
    let mut response = match called {
        Ok(response) if response.status().is_server_error() && payload::is_broken(&rest) => {
            answer::error(&asked, error::of(ObjectError::IncompleteBody))
        }
        Ok(response) => answer::finish(&asked, response).await,
        Err(failed) => {
            let failed: s3s::StdError = failed.into();
            tracing::error!(error = failed, "failed to answer an S3 request");
            answer::error(&asked, s3s::S3Error::new(s3s::S3ErrorCode::InternalError))
        }
    };
    if !response.status().is_success() && payload::discard(context, &rest).await {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What no operation serves.
fn check_head(context: &Context) -> Result<(), s3s::S3Error> {
    let kind = context.header(header::CONTENT_TYPE.as_str()).unwrap_or_default();
    if context.method == Method::POST && kind.to_ascii_lowercase().starts_with("multipart/form-data") {
        return Err(error::not_implemented(
            "Lamplight does not support uploads by HTML form (POST Object) yet.",
        ));
    }
    let account = context.scope.account.as_str();
    for name in ["x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"] {
        if context.header(name).is_some_and(|owner| owner != account) {
            return Err(error::refusal(StatusCode::FORBIDDEN, "AccessDenied", "Access Denied"));
        }
    }
    Ok(())
}
