//! The rules: how much may be provisioned and reserved, and which word tells how it stands. Pure.

use super::config::ProvisionedQualifier;
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

/// What a function has set aside already, and what is asked of it now is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The account's concurrent executions.
    pub account: usize,
    /// What all other functions have set aside, reserved or provisioned.
    pub others: usize,
    /// What this function has reserved.
    pub reserved: Option<usize>,
    /// What this function has provisioned, without the configuration that is about to change.
    pub provisioned: usize,
}

/// Whether `executions` more may be provisioned. Fails with AWS's texts.
pub fn check_provisioned(executions: usize, bounds: Bounds) -> Result<(), ServiceError> {
    if let Some(reserved) = bounds.reserved {
        if bounds.provisioned + executions > reserved {
            return invalid(
                "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for \
                 function",
            );
        }
        return Ok(());
    }
    let unreserved = bounds.account.saturating_sub(bounds.others + bounds.provisioned);
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

/// Whether `executions` may be reserved. Fails with AWS's texts.
///
/// What decreases nothing is never refused, so that a function can be stopped (0) however small the account is.
pub fn check_reserved(executions: usize, bounds: Bounds) -> Result<(), ServiceError> {
    let before = bounds.reserved.unwrap_or(bounds.provisioned);
    let left = bounds.account.saturating_sub(bounds.others + executions);
    if executions > before && left < UNRESERVED_CONCURRENCY {
        return invalid(format!(
            "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution \
             below its minimum value of [{UNRESERVED_CONCURRENCY}]."
        ));
    }
    if executions < bounds.provisioned {
        // The blanks are AWS's.
        return invalid(format!(
            " ReservedConcurrentExecutions  {executions} should not be lower than function's total provisioned \
             concurrency [{}].",
            bounds.provisioned
        ));
    }
    Ok(())
}

/// The refusal of instances for versions for which another configuration keeps some already: a version and an alias that
/// points to it cannot both have provisioned concurrency.
pub fn already_provisioned(qualifier: &ProvisionedQualifier) -> ServiceError {
    ServiceError::new(
        ErrorCode::ResourceConflictException,
        match qualifier {
            ProvisionedQualifier::Version(_) => "Version is pointed by a Provisioned Concurrency alias",
            ProvisionedQualifier::Alias(_) => {
                "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
            }
        },
    )
}

fn invalid<T>(text: impl Into<String>) -> Result<T, ServiceError> {
    Err(ServiceError::new(ErrorCode::InvalidParameterValueException, text))
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

    fn check(result: Result<(), ServiceError>, part: &str) {
        match result {
            Ok(()) => assert_eq!(part, ""),
            Err(error) => assert!(!part.is_empty() && error.message.contains(part), "{error}"),
        }
    }

    const BOUNDS: Bounds = Bounds { account: 1_000, others: 0, reserved: None, provisioned: 0 };

    #[test]
    fn a_hundred_are_left_for_all_functions() {
        let provision = |executions, others, part| {
            check(check_provisioned(executions, Bounds { others, ..BOUNDS }), part)
        };
        provision(900, 0, "");
        provision(901, 0, "below its minimum value of [100].");
        provision(1_001, 0, "greater than account's unreserved concurrency [1000].");
        provision(400, 500, "");
        provision(401, 500, "minimum value of [100]");
        provision(501, 500, "greater than account's unreserved concurrency [500].");
        let reserve =
            |executions, others, part| check(check_reserved(executions, Bounds { others, ..BOUNDS }), part);
        let text = "Specified ReservedConcurrentExecutions for function decreases account's \
                    UnreservedConcurrentExecution below its minimum value of [100].";
        reserve(900, 0, "");
        reserve(901, 0, text);
        reserve(1_001, 0, text);
        reserve(400, 500, "");
        reserve(401, 500, text);
        reserve(0, 1_000, "");
    }

    #[test]
    fn provisioned_and_reserved_bound_each_other() {
        let provision = |executions, reserved, provisioned, part| {
            let bounds = Bounds { reserved: Some(reserved), provisioned, others: 990, ..BOUNDS };
            check(check_provisioned(executions, bounds), part);
        };
        let text =
            "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution";
        provision(10, 10, 0, "");
        provision(11, 10, 0, text);
        provision(4, 10, 6, "");
        provision(5, 10, 6, text);
        let reserve = |executions, reserved, provisioned, part| {
            check(check_reserved(executions, Bounds { reserved, provisioned, ..BOUNDS }), part);
        };
        reserve(6, None, 6, "");
        reserve(
            5,
            None,
            6,
            " ReservedConcurrentExecutions  5 should not be lower than function's total provisioned concurrency [6].",
        );
        // What a function has already does not stand in the way of its change.
        let small = Bounds { account: 150, others: 40, reserved: Some(20), provisioned: 0 };
        check(check_reserved(20, small), "");
        check(check_reserved(10, small), "");
        check(check_reserved(21, small), "minimum value of [100]");
    }
}
