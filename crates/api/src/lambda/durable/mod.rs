//! The twelve operations on durable executions.
//!
//! Source: API reference, the operations of 2025-12-01; texts that it does not tell as AWS was seen to answer, or as the
//! official SDK's local runner does. `checkpoint` is what a running function calls, `callbacks` what those call that it waits
//! for, `executions` what people call.

mod callbacks;
mod checkpoint;
mod executions;
pub mod invoke;
mod read;

use crate::http::request::decode_segment;
use crate::http::{ApiError, Context, Response};
use crate::lambda::patterns as pattern;
use crate::lambda::validation::Violations;
use crate::lambda::{SMALL_REQUEST_BYTES, read as read_body};
use crate::state::ApiState;
use axum::body::Body;
use http::StatusCode;
use lamplight_invoke::durable::not_found;
use lamplight_model::durable::Execution;
use lamplight_model::name::function_arn;
use lamplight_model::{AccountId, Caller, FunctionName, Region, Scope};
use lamplight_store::executions::ExecutionKey;

/// The operations that `serve` serves.
pub const SERVED: &[&str] = &[
    "CheckpointDurableExecution",
    "DeleteDurableExecution",
    "GetDurableExecution",
    "GetDurableExecutionHistory",
    "GetDurableExecutionState",
    "ListDurableExecutionsByFunction",
    "PauseDurableExecution",
    "ResumeDurableExecution",
    "SendDurableExecutionCallbackFailure",
    "SendDurableExecutionCallbackHeartbeat",
    "SendDurableExecutionCallbackSuccess",
    "StopDurableExecution",
];
/// Largest request that holds a payload of an operation, bytes: 6 MiB, of which JSON may make twice as many, and some room.
const PAYLOAD_REQUEST_BYTES: usize = 13 << 20;

/// Serves one of `SERVED`. `labels` are the raw path segments of its placeholders.
pub async fn serve(
    state: &ApiState,
    context: &Context,
    labels: &[&str],
    name: &'static str,
    body: Body,
) -> Result<Response, ApiError> {
    let label = labels.first().copied().unwrap_or_default();
    let limit = match name {
        "CheckpointDurableExecution" => PAYLOAD_REQUEST_BYTES,
        // Errors and results of a mebibyte are refused by name, not by the size of the request.
        _ => 4 * SMALL_REQUEST_BYTES,
    };
    let body = &read_body(body, limit, name).await?;
    match name {
        "CheckpointDurableExecution" => checkpoint::checkpoint(state, context, label, body).await,
        "GetDurableExecutionState" => checkpoint::state(state, context, label).await,
        "SendDurableExecutionCallbackSuccess" => callbacks::succeed(state, context, label, body).await,
        "SendDurableExecutionCallbackFailure" => callbacks::fail(state, context, label, body).await,
        "SendDurableExecutionCallbackHeartbeat" => callbacks::heartbeat(state, context, label).await,
        "GetDurableExecution" => executions::get(state, context, label).await,
        "GetDurableExecutionHistory" => executions::history(state, context, label).await,
        "ListDurableExecutionsByFunction" => executions::list(state, context, label).await,
        "StopDurableExecution" => executions::stop(state, context, label, body).await,
        "PauseDurableExecution" => executions::pause(state, context, label, body).await,
        "ResumeDurableExecution" => executions::resume(state, context, label, body).await,
        "DeleteDurableExecution" => executions::delete(state, context, label).await,
        _ => Err(ApiError::not_supported("lambda", name)),
    }
}

/// An execution as a request named it.
struct Named {
    key: ExecutionKey,
    arn: String,
    function: FunctionName,
}

impl Named {
    /// Reads `DurableExecutionArn` from the path. `violations` are those of the request's other members.
    ///
    /// Fails with `ValidationException` for what is no such ARN, with `ResourceNotFoundException` for another region's.
    fn from_path(context: &Context, label: &str, mut violations: Violations) -> Result<Self, ApiError> {
        let arn = decode_segment(label).unwrap_or_else(|| label.to_owned());
        violations.length(&arn, "durableExecutionArn", 1_024);
        violations.fits(&arn, "durableExecutionArn", &pattern::DURABLE_EXECUTION_ARN);
        violations.finish()?;
        // It has the form, and nothing of another name or region can be here.
        Self::parse(&arn)
            .filter(|named| named.key.scope.region == context.scope.region)
            .ok_or_else(|| not_found().into())
    }

    fn parse(arn: &str) -> Option<Self> {
        let (function_arn, rest) = arn.split_once("/durable-execution/")?;
        let mut parts = function_arn.split(':').skip(3);
        let (region, account) = (Region::parse(parts.next()?)?, AccountId::parse(parts.next()?)?);
        let function = FunctionName::parse(parts.nth(1)?)?;
        let id = uuid::Uuid::parse_str(rest.rsplit('/').next()?).ok()?;
        let key = ExecutionKey { scope: Scope { account, region }, id };
        Some(Self { key, arn: arn.to_owned(), function })
    }

    /// Lets a function reach the executions of its own only.
    ///
    /// Fails with 403 `AccessDeniedException` as a missing permission does.
    fn check_owner(&self, context: &Context, operation: &str) -> Result<(), ApiError> {
        let Caller::Function { arn, .. } = context.caller.as_ref() else { return Ok(()) };
        if *arn == function_arn(&self.key.scope, &self.function, None) {
            return Ok(());
        }
        let permission = format!("lambda:{operation}");
        Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "AccessDeniedException",
            format!(
                "User: {} is not authorized to perform: {permission} on resource: {} because no identity-based \
                 policy allows the {permission} action",
                context.caller_arn(),
                self.arn
            ),
        ))
    }

    /// Whether a stored execution is the one that was named, in every part of its ARN.
    fn is(&self, execution: &Execution) -> bool {
        self.arn == execution.arn()
    }
}
