//! How many invocations may run at once, and how fast they may come: counted per scope and function.
//!
//! On AWS the concurrency pool belongs to an account in one region, which is our `Scope`. A `Permit` is held
//! from admission until the instance is free again.
//!
//! ```text
//! account's concurrency = what is set aside + what all other functions share
//! set aside             = reserved concurrency of functions, and provisioned concurrency of versions
//! ```
//!
//! A function with reserved concurrency runs in its own places only: so many are always admitted, never more. Provisioned
//! concurrency is held free for its version, among the places of its function; more of its invocations run among the
//! function's others. `count` holds the counts, `decide` is the rule.
//!
//! Source: Lambda developer guide, "Understanding Lambda function scaling".

mod count;

use count::{Place, Places, ScopeCount};
use lamplight_model::limits::{ACCOUNT_CONCURRENCY, CALLS_PER_SECOND_AND_CONCURRENCY};
use lamplight_model::rate::Rate;
use lamplight_model::{FunctionName, Live, Scope, ServiceError, Timestamp, VersionNumber};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

// Reasons of throttles. Source: Lambda API model, `ThrottleReason`.
const CONCURRENT_INVOCATIONS: &str = "ConcurrentInvocationLimitExceeded";
const RESERVED_CONCURRENT_INVOCATIONS: &str = "ReservedFunctionConcurrentInvocationLimitExceeded";
const INVOCATION_RATE: &str = "FunctionInvocationRateLimitExceeded";
const RESERVED_INVOCATION_RATE: &str = "ReservedFunctionInvocationRateLimitExceeded";

/// Scopes that are kept although nothing of theirs runs: the next call finds its place made.
const IDLE_SCOPES: usize = 8;

/// What an account may use in one region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Invocations at once.
    pub concurrency: usize,
    /// Synchronous invocations a second for each of them, of an account and of a function's reserved ones. 0: no bound.
    pub calls_per_second_each: u64,
}

impl Default for AdmissionLimits {
    /// AWS's.
    fn default() -> Self {
        Self { concurrency: ACCOUNT_CONCURRENCY, calls_per_second_each: CALLS_PER_SECOND_AND_CONCURRENCY }
    }
}

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

/// Concurrency that is one function's alone, and all it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// Where the function lives.
    pub scope: Scope,
    /// The function.
    pub function: FunctionName,
    /// Its invocations at once, of all versions. 0: none is admitted.
    pub executions: usize,
}

/// Counts of what runs now. A few functions that run nothing and hold nothing are kept, the rest is bounded by the
/// limit itself.
#[derive(Debug)]
pub struct Admission {
    limits: Live<AdmissionLimits>,
    running: Mutex<HashMap<Scope, ScopeCount>>,
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
    /// Nothing runs, nothing is set aside.
    pub fn new(limits: AdmissionLimits) -> Arc<Self> {
        Arc::new(Self { limits: limits.into(), running: Mutex::default() })
    }

    /// The limits now.
    pub fn limits(&self) -> AdmissionLimits {
        *self.limits.get()
    }

    /// Changes the limits. What runs beyond lower ones goes on; nothing more is admitted until it has ended.
    pub fn set_limits(&self, limits: AdmissionLimits) {
        self.limits.set(limits);
    }

    /// A permit at once, or `TooManyRequestsException` with its reason: a synchronous call over a limit never waits here.
    ///
    /// `called_at` is when a synchronous call came; `None` for an event from the queue, which no rate bounds.
    pub fn admit(
        self: &Arc<Self>,
        scope: &Scope,
        function: &FunctionName,
        version: VersionNumber,
        called_at: Option<Timestamp>,
    ) -> Result<Permit, ServiceError> {
        let limits = self.limits.get();
        let place = {
            let mut running = self.lock();
            let count = running.entry(scope.clone()).or_default();
            let places = count.places(function, version, limits.concurrency);
            let place = decide(places).map_err(ServiceError::throttled)?;
            if let Some(now) = called_at {
                let rate = call_rate(places.most, limits.calls_per_second_each);
                if !count.take_call(function, places.reserved, rate, now) {
                    let reason = if places.reserved { RESERVED_INVOCATION_RATE } else { INVOCATION_RATE };
                    return Err(ServiceError::throttled(reason));
                }
            }
            count.change(function, |of_function| of_function.take(place, version));
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

    /// Makes this all that is set aside.
    pub fn set_aside(&self, held: &[Held], reserved: &[Reserved]) {
        type Wanted = (Vec<(VersionNumber, usize)>, Option<usize>);
        let mut wanted: HashMap<(&Scope, &FunctionName), Wanted> = HashMap::new();
        for Held { scope, function, version, executions } in held {
            wanted.entry((scope, function)).or_default().0.push((*version, *executions));
        }
        for Reserved { scope, function, executions } in reserved {
            wanted.entry((scope, function)).or_default().1 = Some(*executions);
        }
        let mut running = self.lock();
        for (scope, count) in running.iter_mut() {
            for function in count.with_something_set_aside() {
                if !wanted.contains_key(&(scope, &function)) {
                    count.change(&function, |of_function| of_function.set(&[], None));
                }
            }
        }
        for ((scope, function), (held, reserved)) in wanted {
            let count = running.entry(scope.clone()).or_default();
            count.change(function, |of_function| of_function.set(&held, reserved));
        }
        if running.len() > IDLE_SCOPES {
            running.retain(|_, count| !count.is_empty());
        }
    }

    /// Reserves so much for a function, `None` nothing; what is held for its versions stays.
    pub fn reserve(&self, scope: &Scope, function: &FunctionName, executions: Option<usize>) {
        let mut running = self.lock();
        let count = running.entry(scope.clone()).or_default();
        count.change(function, |of_function| of_function.reserve(executions));
    }

    /// Whether a function has reserved no concurrency at all: nothing of it is admitted.
    pub fn is_stopped(&self, scope: &Scope, function: &FunctionName) -> bool {
        self.lock().get(scope).and_then(|count| count.reserved(function)) == Some(0)
    }

    /// Invocations of one function that run now.
    pub fn running(&self, scope: &Scope, function: &FunctionName) -> usize {
        self.lock().get(scope).map_or(0, |count| count.running(function))
    }

    /// All invocations that run now.
    pub fn running_in_all(&self) -> usize {
        self.lock().values().map(ScopeCount::running_in_all).sum()
    }

    fn leave(&self, permit: &Permit) {
        let mut running = self.lock();
        let Some(count) = running.get_mut(&permit.scope) else { return };
        count.change(&permit.function, |of_function| of_function.give_back(permit.place, permit.version));
        if running.len() > IDLE_SCOPES && running.get(&permit.scope).is_some_and(ScopeCount::is_empty) {
            running.remove(&permit.scope);
        }
    }

    // A panic elsewhere cannot leave these counts half-changed: every change is a few additions.
    fn lock(&self) -> MutexGuard<'_, HashMap<Scope, ScopeCount>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.leave(self);
    }
}

/// Where one more may run, or the reason why not.
fn decide(places: Places) -> Result<Place, &'static str> {
    if places.held_free > 0 {
        return Ok(Place::Held);
    }
    if places.taken < places.most {
        return Ok(Place::Free);
    }
    Err(if places.reserved { RESERVED_CONCURRENT_INVOCATIONS } else { CONCURRENT_INVOCATIONS })
}

/// The rate at which synchronous calls may come for so many places.
fn call_rate(places: usize, calls_per_second_each: u64) -> Rate {
    let places = u64::try_from(places).unwrap_or(u64::MAX);
    Rate { count: places.saturating_mul(calls_per_second_each), per: Duration::from_secs(1) }
}

#[cfg(test)]
mod tests;
