//! How many invocations may run at once: the account's concurrency, counted per scope and function.
//!
//! On AWS the concurrency pool belongs to an account in one region, which is our `Scope`. A `Permit` is held
//! from admission until the instance is free again. Provisioned concurrency is held free for its version: so many of its
//! invocations are always admitted, and the others share what is left. The per-function count is what reserved
//! concurrency will be compared with; `decide` is where that rule goes.

use lamplight_model::{FunctionName, Scope, ServiceError, VersionNumber};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// `Reason` of a throttle by the account's concurrency. Source: Lambda API model, `ThrottleReason`.
pub const CONCURRENT_INVOCATION_LIMIT: &str = "ConcurrentInvocationLimitExceeded";

/// Functions of a scope, and scopes, that are kept although nothing of theirs runs: the next call finds its place made.
const IDLE_FUNCTIONS: usize = 64;
const IDLE_SCOPES: usize = 8;

/// Concurrency that is held free for one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Where the function lives.
    pub scope: Scope,
    /// The function.
    pub function: FunctionName,
    /// The version.
    pub version: VersionNumber,
    /// Invocations of it that are always admitted.
    pub executions: usize,
}

/// Counts of what runs now. A few functions that run nothing and hold nothing are kept, the rest is bounded by the
/// limit itself.
#[derive(Debug)]
pub struct Admission {
    account_limit: usize,
    running: Mutex<HashMap<Scope, ScopeCount>>,
}

#[derive(Debug, Default)]
struct ScopeCount {
    /// Running outside of held places.
    unreserved: usize,
    /// Running at all.
    functions: HashMap<FunctionName, usize>,
    held: HashMap<(FunctionName, VersionNumber), HeldCount>,
    /// Sum of `HeldCount::taken_from_all`.
    held_in_all: usize,
}

#[derive(Debug, Default)]
struct HeldCount {
    executions: usize,
    running: usize,
}

impl HeldCount {
    /// What others cannot have. More may run than are held, for a while after less was asked for.
    fn taken_from_all(&self) -> usize {
        self.executions.max(self.running)
    }
}

/// Where an invocation is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Among those held free for its version.
    Held,
    /// In what all functions share.
    Unreserved,
}

/// The right to run one invocation; gives its place back when dropped.
#[derive(Debug)]
#[must_use = "the place is given back when the permit is dropped"]
pub struct Permit {
    admission: Arc<Admission>,
    scope: Scope,
    function: FunctionName,
    version: VersionNumber,
    place: Place,
}

impl Admission {
    /// `account_limit`: concurrent invocations per account and region.
    pub fn new(account_limit: usize) -> Arc<Self> {
        Arc::new(Self { account_limit, running: Mutex::default() })
    }

    /// A permit at once, or `TooManyRequestsException`: a synchronous call over the limit never waits here.
    pub fn admit(
        self: &Arc<Self>,
        scope: &Scope,
        function: &FunctionName,
        version: VersionNumber,
    ) -> Result<Permit, ServiceError> {
        let place = {
            let mut running = self.lock();
            let count = running.entry(scope.clone()).or_default();
            let held = match count.held.is_empty() {
                true => None,
                false => count.held.get_mut(&(function.clone(), version)),
            };
            let free = held.as_ref().map_or(0, |held| held.executions.saturating_sub(held.running));
            let shared = self.account_limit.saturating_sub(count.held_in_all);
            let place = decide(free, count.unreserved, shared)?;
            match (place, held) {
                (Place::Held, Some(held)) => held.running += 1,
                _ => count.unreserved += 1,
            }
            *count.functions.entry(function.clone()).or_default() += 1;
            place
        };
        Ok(Permit {
            admission: Arc::clone(self),
            scope: scope.clone(),
            function: function.clone(),
            version,
            place,
        })
    }

    /// Makes `held` all that is held free.
    pub fn hold(&self, held: &[Held]) {
        let mut running = self.lock();
        for count in running.values_mut() {
            count.held.values_mut().for_each(|of_version| of_version.executions = 0);
        }
        for Held { scope, function, version, executions } in held {
            let count = running.entry(scope.clone()).or_default();
            count.held.entry((function.clone(), *version)).or_default().executions = *executions;
        }
        running.retain(|_, count| {
            count.held.retain(|_, of_version| of_version.taken_from_all() > 0);
            count.held_in_all = count.held.values().map(HeldCount::taken_from_all).sum();
            !count.is_empty()
        });
    }

    /// Invocations of one function that run now.
    pub fn running(&self, scope: &Scope, function: &FunctionName) -> usize {
        self.lock().get(scope).and_then(|count| count.functions.get(function)).copied().unwrap_or(0)
    }

    /// All invocations that run now.
    pub fn running_in_all(&self) -> usize {
        self.lock().values().flat_map(|count| count.functions.values()).sum()
    }

    fn leave(&self, permit: &Permit) {
        let mut running = self.lock();
        let Some(count) = running.get_mut(&permit.scope) else { return };
        match permit.place {
            Place::Unreserved => count.unreserved = count.unreserved.saturating_sub(1),
            Place::Held => count.leave_held(&permit.function, permit.version),
        }
        let kept = count.functions.len() <= IDLE_FUNCTIONS;
        if let Some(of_function) = count.functions.get_mut(&permit.function) {
            *of_function = of_function.saturating_sub(1);
            if *of_function == 0 && !kept {
                count.functions.remove(&permit.function);
            }
        }
        if running.len() > IDLE_SCOPES && running.get(&permit.scope).is_some_and(ScopeCount::is_empty) {
            running.remove(&permit.scope);
        }
    }

    // A panic elsewhere cannot leave these counts half-changed: every change is one addition.
    fn lock(&self) -> MutexGuard<'_, HashMap<Scope, ScopeCount>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ScopeCount {
    fn is_empty(&self) -> bool {
        self.functions.values().all(|running| *running == 0) && self.held.is_empty()
    }

    fn leave_held(&mut self, function: &FunctionName, version: VersionNumber) {
        let key = (function.clone(), version);
        let Some(held) = self.held.get_mut(&key) else { return };
        let before = held.taken_from_all();
        held.running = held.running.saturating_sub(1);
        let after = held.taken_from_all();
        self.held_in_all -= before - after;
        if after == 0 {
            self.held.remove(&key);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.leave(self);
    }
}

/// Where one more may run: `free` places are held for its version, `unreserved` of the `shared` ones are taken.
fn decide(free: usize, unreserved: usize, shared: usize) -> Result<Place, ServiceError> {
    if free > 0 {
        return Ok(Place::Held);
    }
    if unreserved >= shared {
        return Err(ServiceError::throttled(CONCURRENT_INVOCATION_LIMIT));
    }
    Ok(Place::Unreserved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_model::{ErrorCode, Region};

    const LATEST: VersionNumber = VersionNumber::Latest;
    const ONE: VersionNumber = VersionNumber::Published(1);

    fn held(function: &str, executions: usize) -> Held {
        Held { scope: Scope::default(), function: name(function), version: ONE, executions }
    }

    #[test]
    fn what_is_held_is_for_its_version_only_and_more_runs_among_the_others() {
        let admission = Admission::new(5);
        admission.hold(&[held("kept", 3)]);
        let scope = Scope::default();
        let admit = |function: &str, version| admission.admit(&scope, &name(function), version);
        // Two places are left for all; another version of the same function is one of all.
        let others = [admit("other", LATEST).unwrap(), admit("kept", LATEST).unwrap()];
        assert!(admit("other", LATEST).is_err());
        let mut kept: Vec<Permit> = (0..3).map(|_| admit("kept", ONE).unwrap()).collect();
        assert!(admit("kept", ONE).is_err());
        drop(others);
        kept.push(admit("kept", ONE).unwrap());
        assert_eq!((admission.running(&scope, &name("kept")), admission.running_in_all()), (4, 4));
        drop(kept);
        assert_eq!(admission.running_in_all(), 0);
    }

    #[test]
    fn what_is_no_longer_held_counts_until_it_has_ended() {
        let admission = Admission::new(3);
        let scope = Scope::default();
        let admit = |function: &str| admission.admit(&scope, &name(function), ONE);
        admission.hold(&[held("kept", 2)]);
        let kept = [admit("kept").unwrap(), admit("kept").unwrap()];
        admission.hold(&[held("kept", 1)]);
        let one = admit("other").unwrap();
        assert!(admit("other").is_err(), "three run");
        drop(kept);
        let _two = admit("other").unwrap();
        assert!(admit("other").is_err(), "one is held");
        admission.hold(&[]);
        let _three = admit("other").unwrap();
        drop(one);
        assert_eq!(admission.lock().get(&scope).map(|count| count.held.len()), Some(0));
    }

    fn name(text: &str) -> FunctionName {
        FunctionName::parse(text).unwrap()
    }

    #[test]
    fn the_limit_is_shared_by_functions_and_a_dropped_permit_makes_room() {
        let admission = Admission::new(2);
        let scope = Scope::default();
        let first = admission.admit(&scope, &name("a"), LATEST).unwrap();
        let _second = admission.admit(&scope, &name("b"), LATEST).unwrap();
        let refused = admission.admit(&scope, &name("c"), LATEST).unwrap_err();
        assert_eq!(refused.code, ErrorCode::TooManyRequestsException);
        assert_eq!(refused.message, "Rate Exceeded.");
        assert_eq!(refused.reason, Some("ConcurrentInvocationLimitExceeded"));
        assert_eq!(admission.running(&scope, &name("a")), 1);
        drop(first);
        assert_eq!(admission.running(&scope, &name("a")), 0);
        let _third = admission.admit(&scope, &name("c"), LATEST).unwrap();
        assert_eq!(admission.running_in_all(), 2);
    }

    #[test]
    fn regions_have_pools_of_their_own() {
        let admission = Admission::new(1);
        let here = Scope::default();
        let there = Scope { region: Region::parse("eu-west-1").unwrap(), ..Scope::default() };
        let _here = admission.admit(&here, &name("a"), LATEST).unwrap();
        let _there = admission.admit(&there, &name("a"), LATEST).unwrap();
        assert!(admission.admit(&here, &name("a"), LATEST).is_err());
    }

    #[test]
    fn little_is_kept_of_functions_that_run_nothing() {
        let admission = Admission::new(10);
        for region in 0..100 {
            let region = Region::parse(&format!("r-{region}")).unwrap();
            drop(admission.admit(&Scope { region, ..Scope::default() }, &name("f"), LATEST));
        }
        for number in 0..100 {
            drop(admission.admit(&Scope::default(), &name(&format!("f{number}")), LATEST));
        }
        let running = admission.lock();
        assert!(running.len() <= IDLE_SCOPES + 1);
        assert!(running.values().all(|count| count.functions.len() <= IDLE_FUNCTIONS + 1));
        drop(running);
        assert_eq!(admission.running_in_all(), 0);
    }
}
