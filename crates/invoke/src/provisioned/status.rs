//! The rules: how much may be provisioned, and which word tells how it stands. Pure.

use lamplight_model::limits::UNRESERVED_CONCURRENCY;
use lamplight_model::{ErrorCode, ServiceError};
use lamplight_pool::{ProvisionedFailure, ProvisionedState};

/// `Status` and `StatusReason`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProvisionedStatus {
    /// Instances are missing and on their way.
    InProgress,
    /// As many are ready as were asked for.
    Ready,
    /// Instances are missing and could not be started; it is tried again. The reason.
    Failed(String),
}

impl ProvisionedStatus {
    /// AWS's word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Ready => "READY",
            Self::Failed(_) => "FAILED",
        }
    }
}

/// How it stands with `executions` that were asked for.
///
/// A node without room is no failure: it is tried until there is. The reason of a failed init is AWS's.
pub fn status(executions: usize, state: &ProvisionedState) -> ProvisionedStatus {
    if state.ready >= executions {
        return ProvisionedStatus::Ready;
    }
    match &state.failure {
        None | Some(ProvisionedFailure::NoRoom) => ProvisionedStatus::InProgress,
        Some(ProvisionedFailure::Init) => ProvisionedStatus::Failed("FUNCTION_ERROR_INIT_FAILURE".to_owned()),
        Some(ProvisionedFailure::Platform(text)) => ProvisionedStatus::Failed(text.clone()),
    }
}

/// Whether `executions` may be provisioned beside `others` of the same scope. Fails with AWS's texts.
pub fn check_bounds(
    executions: usize,
    others: usize,
    account_concurrency: usize,
) -> Result<(), ServiceError> {
    let invalid = |text| Err(ServiceError::new(ErrorCode::InvalidParameterValueException, text));
    let unreserved = account_concurrency.saturating_sub(others);
    if executions > unreserved {
        return invalid(format!(
            "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [{unreserved}]."
        ));
    }
    if unreserved - executions < UNRESERVED_CONCURRENCY {
        return invalid(format!(
            "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below \
             its minimum value of [{UNRESERVED_CONCURRENCY}]."
        ));
    }
    Ok(())
}

/// The refusal of `$LATEST`.
pub fn unpublished() -> ServiceError {
    ServiceError::new(
        ErrorCode::InvalidParameterValueException,
        "Provisioned Concurrency Configs cannot be applied to unpublished function versions.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_a_count() {
        let check = |ready, failure: Option<ProvisionedFailure>, expected: &str| {
            let status = status(2, &ProvisionedState { ready, failure });
            let reason = match &status {
                ProvisionedStatus::Failed(reason) => reason.as_str(),
                _ => "",
            };
            assert_eq!(format!("{} {reason}", status.as_str()).trim(), expected);
        };
        check(0, None, "IN_PROGRESS");
        check(1, None, "IN_PROGRESS");
        check(2, None, "READY");
        check(3, None, "READY");
        check(1, Some(ProvisionedFailure::NoRoom), "IN_PROGRESS");
        check(0, Some(ProvisionedFailure::Init), "FAILED FUNCTION_ERROR_INIT_FAILURE");
        check(1, Some(ProvisionedFailure::Platform("no such runtime".to_owned())), "FAILED no such runtime");
    }

    #[test]
    fn a_hundred_are_left_for_all_functions() {
        let check = |executions, others, part: &str| match check_bounds(executions, others, 1_000) {
            Ok(()) => assert_eq!(part, ""),
            Err(error) => assert!(!part.is_empty() && error.message.contains(part), "{error}"),
        };
        check(900, 0, "");
        check(901, 0, "below its minimum value of [100].");
        check(1_001, 0, "greater than account's unreserved concurrency [1000].");
        check(400, 500, "");
        check(401, 500, "minimum value of [100]");
        check(501, 500, "greater than account's unreserved concurrency [500].");
    }
}
