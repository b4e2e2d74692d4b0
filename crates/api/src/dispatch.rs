//! From a request to the service it means.
//!
//! | protocol | told by | services |
//! |---|---|---|
//! | REST-JSON | path with a date | Lambda |
//! | REST-JSON | `/v2/` | HTTP APIs of API Gateway |
//! | REST-JSON | signed for `apigateway`, or path `/restapis` | REST APIs |
//! | JSON 1.1 | `X-Amz-Target` | CloudWatch Logs, Systems Manager (parameters), Secrets Manager |
//! | JSON 1.0 | `X-Amz-Target` | SQS |
//! | RPC v2 CBOR | `/service/<service>/operation/<operation>` | CloudWatch, which speaks JSON 1.0 and query, too |
//! | query | `Action=` in a form body or query string, also at a queue's URL | STS, IAM, SQS |
//! | REST-XML | signed for `s3`, host `<bucket>.s3.<region>.localhost`, or else unknown and unsigned | S3 |
//! | our own | `/lamplight/`, `/health`, `/ready`, `/metrics` | the command line, probes |
//!
//! Whatever is meant for a service that is not here gets that protocol's error, by name, at once.

use crate::http::{ApiError, Context, Response, body, guard, reply};
use crate::state::ApiState;
use crate::{apigateway, apigatewayv2, cloudwatch, iam, lambda, lamplight, logs, s3, secrets, sqs, ssm, sts};
use ::http::{HeaderValue, Method, Request, StatusCode, header};
use axum::body::Body;
use lamplight_model::{Caller, RequestId};
use std::sync::Arc;

/// Bound of JSON 1.1 and query request bodies, bytes. Source: Secrets Manager takes values of 65,536 characters, escaped at
/// worst six times as long; IAM takes policies up to 10,240 characters, percent-encoded three times as long.
const SMALL_REQUEST_BYTES: usize = 512 * 1024;
/// Namespace of query errors before the service is known.
const NO_NAMESPACE: &str = "https://lamplight.invalid/";

/// Answers the requests of one listener. A clone is cheap: there is one for each connection and request.
#[derive(Clone)]
pub struct FrontDoor {
    state: Arc<ApiState>,
    caller: Arc<Caller>,
}

impl FrontDoor {
    /// Answers one request, whatever is wrong with it.
    pub async fn answer(self, request: Request<Body>) -> Response {
        answer(&self.state, self.caller, request).await
    }
}

/// The front door of the loopback listener.
pub fn router(state: Arc<ApiState>) -> FrontDoor {
    function_endpoint(state, Caller::Loopback)
}

/// The same operations for whoever calls through the listener of an instance: every request carries `caller`,
/// and `model::identity::authorize` decides what it may do.
pub fn function_endpoint(state: Arc<ApiState>, caller: Caller) -> FrontDoor {
    FrontDoor { state, caller: Arc::new(caller) }
}

async fn answer(state: &ApiState, caller: Arc<Caller>, request: Request<Body>) -> Response {
    let request_id = RequestId::generate();
    let (parts, body) = request.into_parts();
    let mut response = match guard::check(&parts.headers, &state.config.allowed_hosts.get()) {
        Ok(authority) => {
            let authority = authority.to_owned();
            let mut context = Context::new(parts, caller, request_id, authority);
            context.gateway_url = state.config.gateway_url.get();
            tracing::debug!(%request_id, method = %context.method, path = context.path, "request");
            route(state, &context, body).await
        }
        Err(error) => {
            tracing::info!(%request_id, reason = error.message, "refused a request from elsewhere");
            reply::rest_json_error(&error)
        }
    };
    let mut text = uuid::Uuid::encode_buffer();
    if let Ok(value) = HeaderValue::from_str(request_id.0.hyphenated().encode_lower(&mut text)) {
        response.headers_mut().insert(reply::REQUEST_ID, value);
    }
    response
}

async fn route(state: &ApiState, context: &Context, body: Body) -> Response {
    // Before all others: a bucket may be called as any path begins.
    if s3::addressing::is_s3(context) {
        return s3::handle(state, context, body).await;
    }
    // Its paths have no dates; only the signature tells them from a bucket's.
    if apigateway::is_ours(context) {
        return apigateway::handle(state, context, body).await;
    }
    if let Some(found) = lambda::operations::find(&context.method, &context.path, &context.query) {
        return lambda::handle(state, context, found, body).await;
    }
    if apigatewayv2::is_ours(&context.path) {
        return apigatewayv2::handle(state, context, body).await;
    }
    if lamplight::is_ours(&context.path) {
        return lamplight::handle(state, context, body).await;
    }
    if let Some(operation) = cloudwatch::operation_of_path(&context.path) {
        return metrics(state, context, cloudwatch::Protocol::Cbor, operation, body).await;
    }
    if let Some(target) = context.header("x-amz-target") {
        return json(state, context, target, body).await;
    }
    if is_query(context) || sqs::is_query_of_queue(context) {
        return query(state, context, body).await;
    }
    if s3::addressing::may_be_s3(context) {
        return s3::handle(state, context, body).await;
    }
    body::discard(body).await;
    unknown(context)
}

async fn json(state: &ApiState, context: &Context, target: &str, body: Body) -> Response {
    let (service, operation) = target.split_once('.').unwrap_or((target, ""));
    if service == cloudwatch::TARGET {
        return metrics(state, context, cloudwatch::Protocol::Json, operation, body).await;
    }
    let bound = match service {
        sqs::TARGET => sqs::REQUEST_BYTES,
        logs::TARGET => logs::REQUEST_BYTES,
        _ => SMALL_REQUEST_BYTES,
    };
    let result = match body::read(body, bound).await {
        Ok(body) if service == sqs::TARGET => {
            return sqs::handle_json(state, context, operation, &body).await;
        }
        Ok(body) if service == logs::TARGET => logs::handle(state, context, operation, &body).await,
        Ok(body) if service == ssm::TARGET => ssm::handle(state, context, operation, &body).await,
        Ok(body) if service == secrets::TARGET => {
            let result = secrets::handle(state, context, operation, &body).await;
            return result.unwrap_or_else(|error| reply::json_1_1_error_as(&error, secrets::MESSAGE));
        }
        Ok(_) => Err(not_served(context, "aws", service, operation)),
        Err(error) => Err(lambda::unreadable_body(&error)),
    };
    result.unwrap_or_else(|error| reply::json_1_1_error(&error))
}

async fn metrics(
    state: &ApiState,
    context: &Context,
    protocol: cloudwatch::Protocol,
    operation: &str,
    body: Body,
) -> Response {
    match body::read(body, cloudwatch::REQUEST_BYTES).await {
        Ok(body) => cloudwatch::handle(state, context, protocol, operation, &body).await,
        Err(error) => reply::json_1_1_error(&lambda::unreadable_body(&error)),
    }
}

/// A service that is not here. A function may not ask for it either.
fn not_served(context: &Context, prefix: &str, service: &str, operation: &str) -> ApiError {
    match context.authorize(prefix, operation, "*") {
        Ok(()) => ApiError::not_supported(service, operation),
        Err(denied) => denied,
    }
}

fn is_query(context: &Context) -> bool {
    let form = context
        .header(header::CONTENT_TYPE.as_str())
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    context.path == "/" && (context.method == Method::POST && form || context.parameter("Action").is_some())
}

async fn query(state: &ApiState, context: &Context, body: Body) -> Response {
    let error =
        |namespace: &str, error: ApiError| reply::query_xml_error(namespace, &error, context.request_id);
    let is_sqs = context.signed_service.as_deref() == Some("sqs") || sqs::is_query_of_queue(context);
    let of_metrics = context.signed_service.as_deref() == Some("monitoring");
    let bound = match (is_sqs, of_metrics) {
        (true, _) => sqs::REQUEST_BYTES,
        (false, true) => cloudwatch::REQUEST_BYTES,
        (false, false) => SMALL_REQUEST_BYTES,
    };
    let mut form = match body::read(body, bound).await {
        Ok(form) => form,
        Err(unreadable) => return error(NO_NAMESPACE, lambda::unreadable_body(&unreadable)),
    };
    if of_metrics && context.header(header::CONTENT_ENCODING.as_str()) == Some("gzip") {
        form = match cloudwatch::unpack(&form) {
            Ok(unpacked) => unpacked.into(),
            Err(refused) => return error(NO_NAMESPACE, refused),
        };
    }
    let mut parameters = context.query.clone();
    parameters.extend(form_urlencoded::parse(&form).into_owned());
    let parameters = iam::Parameters(parameters);
    let action = parameters.get("Action").unwrap_or_default().to_owned();
    // Signed requests say which service they are for; the API version says it for the others.
    let service = match (context.signed_service.as_deref(), parameters.get("Version")) {
        (Some(service), _) => service.to_owned(),
        (None, Some(sqs::VERSION)) => "sqs".to_owned(),
        (None, _) if is_sqs => "sqs".to_owned(),
        (None, Some(sts::VERSION)) => "sts".to_owned(),
        (None, Some(iam::VERSION)) => "iam".to_owned(),
        (None, Some(cloudwatch::VERSION)) => "monitoring".to_owned(),
        (None, _) if action == "GetCallerIdentity" => "sts".to_owned(),
        (None, _) => "iam".to_owned(),
    };
    match service.as_str() {
        "sts" => sts::handle(state, context, &action, &parameters)
            .await
            .unwrap_or_else(|refused| error(sts::NAMESPACE, refused)),
        "monitoring" => cloudwatch::handle(state, context, cloudwatch::Protocol::Query, &action, &form).await,
        "iam" => iam::handle(state, context, &action, &parameters)
            .await
            .unwrap_or_else(|refused| error(iam::NAMESPACE, refused)),
        "sqs" => sqs::handle_query(state, context, &action, &parameters.0).await,
        other => error(NO_NAMESPACE, not_served(context, other, other, &action)),
    }
}

fn unknown(context: &Context) -> Response {
    match context.signed_service.as_deref() {
        Some(service) if service != "lambda" => reply::rest_json_error(&not_served(
            context,
            service,
            service,
            &format!("{} {}", context.method, context.path),
        )),
        _ => reply::rest_json_error(&ApiError::new(
            StatusCode::NOT_FOUND,
            "UnknownOperationException",
            format!("Lamplight knows no operation '{} {}'.", context.method, context.path),
        )),
    }
}
