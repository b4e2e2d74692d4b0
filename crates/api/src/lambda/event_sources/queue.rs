//! What must be true of a queue and a function before one is polled for the other.

use crate::access;
use crate::http::{ApiError, Context};
use crate::lambda::owned::not_for_tenants;
use crate::lambda::reference::Target;
use crate::state::ApiState;
use bytes::Bytes;
use lamplight_invoke::InvokeRequest;
use lamplight_invoke::durable::check_invocable;
use lamplight_model::{FunctionVersion, RequestId};
use lamplight_services::queues::{QueueAddress, QueueError};

/// What the function's role must allow, in the order in which AWS asks.
const ACTIONS: [&str; 3] = ["ReceiveMessage", "DeleteMessage", "GetQueueAttributes"];

/// Fails with `InvalidParameterValueException`, in AWS's words where they are known.
///
/// The role is asked only when it is one of this server's: a function may be configured with a role that was never made here,
/// and then AWS's rule has nothing to stand on.
pub async fn check(
    state: &ApiState,
    context: &Context,
    arn: &str,
    target: &Target,
    version: &FunctionVersion,
) -> Result<(), ApiError> {
    if version.per_tenant {
        return Err(not_for_tenants("An event source mapping"));
    }
    check_durable(target, version)?;
    let address = QueueAddress::from_arn(arn).filter(|address| address.scope == context.scope);
    let Some(address) = address else { return Err(no_queue()) };
    for action in ACTIONS {
        if access::role_allows(state, &version.scope, &version.role, &format!("sqs:{action}"), arn).await?
            == Some(false)
        {
            return Err(ApiError::invalid_parameter(format!(
                "The provided execution role does not have permissions to call {action} on SQS"
            )));
        }
    }
    let described = match state.queues.describe(&address).await {
        Err(QueueError::QueueDoesNotExist) => return Err(no_queue()),
        Err(QueueError::Store(error)) => return Err(error.into()),
        Err(error) => return Err(ApiError::invalid_parameter(error.to_string())),
        Ok(described) => described,
    };
    let visibility = described.settings.visibility_timeout;
    if visibility < u64::from(version.timeout_seconds) {
        return Err(ApiError::invalid_parameter(format!(
            "Queue visibility timeout: {visibility} seconds is less than Function timeout: {} seconds",
            version.timeout_seconds
        )));
    }
    Ok(())
}

/// Whether a batch can wait for the function: the executions of a durable one are over in 15 minutes, and it has a qualifier.
///
/// Source: Lambda developer guide, "Event source mappings with durable functions" and "Invoking durable functions". That AWS asks
/// here already, and its texts, are not published: these are those of Invoke.
fn check_durable(target: &Target, version: &FunctionVersion) -> Result<(), ApiError> {
    let request = InvokeRequest::new(
        target.scope.clone(),
        target.name.clone(),
        target.qualifier.clone(),
        RequestId(uuid::Uuid::nil()),
        Bytes::new(),
    );
    check_invocable(&request, version, true)?;
    Ok(())
}

fn no_queue() -> ApiError {
    ApiError::invalid_parameter(format!(
        "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. SQS Error Message: {}",
        QueueError::QueueDoesNotExist
    ))
}
