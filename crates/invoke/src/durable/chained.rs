//! What a chained invoke runs: its target, found before the checkpoint that starts it is written.
//!
//! A target that cannot be invoked fails the operation, not the checkpoint: the function sees it in the answer. Source: the
//! official SDK's local runner. A function of another account or region is refused with the checkpoint.

use super::DurableExecutions;
use crate::resolve::check_tenant;
use lamplight_model::durable::{ErrorObject, OperationKind, Target, Update};
use lamplight_model::{ErrorCode, FunctionReference, Scope, ServiceError};
use std::collections::HashMap;

impl DurableExecutions {
    /// The targets of the chained invokes among `updates`, by operation.
    pub(super) async fn targets(
        &self,
        scope: &Scope,
        updates: &[Update],
    ) -> Result<HashMap<String, Result<Target, ErrorObject>>, ServiceError> {
        let mut targets = HashMap::new();
        for update in updates.iter().filter(|update| update.kind == OperationKind::ChainedInvoke) {
            let Some(name) = &update.function_name else { continue };
            let refused = |text: String| ServiceError::new(ErrorCode::InvalidParameterValueException, text);
            let reference = FunctionReference::parse(name)
                .ok_or_else(|| refused(format!("Invalid function ARN '{name}'")))?;
            if reference.account.as_ref().is_some_and(|account| *account != scope.account) {
                return Err(refused(
                    "Cannot start a CHAINED_INVOKE on a function in another account.".to_owned(),
                ));
            }
            if reference.region.as_ref().is_some_and(|region| *region != scope.region) {
                return Err(refused(
                    "Cannot start a CHAINED_INVOKE on a function in another region.".to_owned(),
                ));
            }
            targets.insert(update.id.clone(), self.target(scope, reference).await?);
        }
        Ok(targets)
    }

    async fn target(
        &self,
        scope: &Scope,
        reference: FunctionReference,
    ) -> Result<Result<Target, ErrorObject>, ServiceError> {
        let qualifier = reference.qualifier;
        let version = match self.invoker.resolve(scope, &reference.name, qualifier.as_ref()).await {
            Ok(version) => version,
            Err(error) if error.code == ErrorCode::ResourceNotFoundException => {
                return Ok(Err(ErrorObject::new(error.message, Some("ResourceNotFoundException"))));
            }
            Err(error) => return Err(error),
        };
        if version.durable.is_some() && qualifier.is_none() {
            return Ok(Err(ErrorObject::new(
                "You cannot invoke a durable function using an unqualified ARN.",
                Some("InvalidParameterValueException"),
            )));
        }
        // Tenants of chained invokes are not served: the front door refuses `TenantId`.
        if let Err(error) = check_tenant(&version, None) {
            return Ok(Err(ErrorObject::new(error.message, Some("InvalidParameterValueException"))));
        }
        Ok(Ok(Target {
            function: version.name.clone(),
            version: version.version,
            durable: version.durable.clone(),
        }))
    }
}
