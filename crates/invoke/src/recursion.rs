//! Whether a function may go on being invoked in one chain of requests.
//!
//! The chain is counted in the trace header (`model::lineage`); the choice of the function's owner is read only when the bound is
//! passed. Source: Lambda developer guide, "Recursive loop detection"; PutFunctionRecursionConfig.

use crate::invoker::service_error;
use lamplight_model::{FunctionName, Scope, ServiceError};
use lamplight_store::Store;
use lamplight_store::function_documents::{self, Owner};

/// Kind of the stored choices: `Allow` or `Terminate`, the default.
pub const KIND: &str = "function/recursion";
/// The choice that turns detection off.
pub const ALLOW: &str = "Allow";

/// Lets a function whose chain has passed the bound be invoked when its owner allows it.
///
/// Fails with `RecursiveInvocationException`, and with `ServiceException` when storage cannot be read.
pub(crate) async fn check(
    store: &dyn Store,
    scope: &Scope,
    function: &FunctionName,
) -> Result<(), ServiceError> {
    let owner = Owner { scope, function, qualifier: None };
    let choice: Option<String> = function_documents::get(store, KIND, owner)
        .await
        .map_err(|error| service_error("read whether recursion is allowed", &error))?;
    if choice.as_deref() == Some(ALLOW) { Ok(()) } else { Err(ServiceError::recursive_invocation()) }
}
