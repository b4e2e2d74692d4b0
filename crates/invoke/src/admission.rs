//! How many invocations may run at once: the account's concurrency, counted per scope and function.
//!
//! On AWS the concurrency pool belongs to an account in one region, which is our `Scope`. A `Permit` is held
//! from admission until the instance is free again. The per-function count is what reserved concurrency will
//! be compared with; `decide` is where that rule goes.

use lamplight_model::{FunctionName, Scope, ServiceError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// `Reason` of a throttle by the account's concurrency. Source: Lambda API model, `ThrottleReason`.
pub const CONCURRENT_INVOCATION_LIMIT: &str = "ConcurrentInvocationLimitExceeded";

/// Counts of what runs now. Functions that run nothing are not kept, so this is bounded by the limit itself.
#[derive(Debug)]
pub struct Admission {
    account_limit: usize,
    running: Mutex<HashMap<Scope, ScopeCount>>,
}

#[derive(Debug, Default)]
struct ScopeCount {
    total: usize,
    functions: HashMap<FunctionName, usize>,
}

/// The right to run one invocation; gives its place back when dropped.
#[derive(Debug)]
#[must_use = "the place is given back when the permit is dropped"]
pub struct Permit {
    admission: Arc<Admission>,
    scope: Scope,
    function: FunctionName,
}

impl Admission {
    /// `account_limit`: concurrent invocations per account and region.
    pub fn new(account_limit: usize) -> Arc<Self> {
        Arc::new(Self { account_limit, running: Mutex::default() })
    }

    /// A permit at once, or `TooManyRequestsException`: a synchronous call over the limit never waits here.
    pub fn admit(self: &Arc<Self>, scope: &Scope, function: &FunctionName) -> Result<Permit, ServiceError> {
        {
            let mut running = self.lock();
            let count = running.entry(scope.clone()).or_default();
            decide(count.total, self.account_limit)?;
            count.total += 1;
            *count.functions.entry(function.clone()).or_default() += 1;
        }
        Ok(Permit { admission: Arc::clone(self), scope: scope.clone(), function: function.clone() })
    }

    /// Invocations of one function that run now.
    pub fn running(&self, scope: &Scope, function: &FunctionName) -> usize {
        self.lock().get(scope).and_then(|count| count.functions.get(function)).copied().unwrap_or(0)
    }

    /// All invocations that run now.
    pub fn running_in_all(&self) -> usize {
        self.lock().values().map(|count| count.total).sum()
    }

    fn leave(&self, scope: &Scope, function: &FunctionName) {
        let mut running = self.lock();
        let Some(count) = running.get_mut(scope) else { return };
        count.total = count.total.saturating_sub(1);
        if let Some(of_function) = count.functions.get_mut(function) {
            *of_function = of_function.saturating_sub(1);
            if *of_function == 0 {
                count.functions.remove(function);
            }
        }
        if count.total == 0 {
            running.remove(scope);
        }
    }

    // A panic elsewhere cannot leave these counts half-changed: every change is one addition.
    fn lock(&self) -> MutexGuard<'_, HashMap<Scope, ScopeCount>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.leave(&self.scope, &self.function);
    }
}

/// Whether one more may run beside `running` others.
fn decide(running: usize, account_limit: usize) -> Result<(), ServiceError> {
    if running >= account_limit {
        return Err(ServiceError::throttled(CONCURRENT_INVOCATION_LIMIT));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_model::{ErrorCode, Region};

    fn name(text: &str) -> FunctionName {
        FunctionName::parse(text).unwrap()
    }

    #[test]
    fn the_limit_is_shared_by_functions_and_a_dropped_permit_makes_room() {
        let admission = Admission::new(2);
        let scope = Scope::default();
        let first = admission.admit(&scope, &name("a")).unwrap();
        let _second = admission.admit(&scope, &name("b")).unwrap();
        let refused = admission.admit(&scope, &name("c")).unwrap_err();
        assert_eq!(refused.code, ErrorCode::TooManyRequestsException);
        assert_eq!(refused.message, "Rate Exceeded.");
        assert_eq!(refused.reason, Some("ConcurrentInvocationLimitExceeded"));
        assert_eq!(admission.running(&scope, &name("a")), 1);
        drop(first);
        assert_eq!(admission.running(&scope, &name("a")), 0);
        let _third = admission.admit(&scope, &name("c")).unwrap();
        assert_eq!(admission.running_in_all(), 2);
    }

    #[test]
    fn regions_have_pools_of_their_own() {
        let admission = Admission::new(1);
        let here = Scope::default();
        let there = Scope { region: Region::parse("eu-west-1").unwrap(), ..Scope::default() };
        let _here = admission.admit(&here, &name("a")).unwrap();
        let _there = admission.admit(&there, &name("a")).unwrap();
        assert!(admission.admit(&here, &name("a")).is_err());
    }

    #[test]
    fn nothing_is_kept_of_functions_that_run_nothing() {
        let admission = Admission::new(10);
        for number in 0..100 {
            drop(admission.admit(&Scope::default(), &name(&format!("f{number}"))));
        }
        assert!(admission.lock().is_empty());
    }
}
