//! The counts of one scope: what runs, in which places, and what is set aside for whom. No rule is here.

use lamplight_model::rate::{Rate, Used};
use lamplight_model::{FunctionName, Timestamp, VersionNumber};
use std::collections::HashMap;
use std::time::Duration;

/// Functions that are kept although nothing of theirs runs: the next call finds its place made.
const IDLE_FUNCTIONS: usize = 64;

/// Where an invocation is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Among those held free for its version.
    Held,
    /// Among the function's others: its own when it has reserved some, else in what all functions share.
    Free,
}

/// What the decision about one more invocation needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places {
    /// Places held for its version in which nothing runs.
    pub(super) held_free: usize,
    /// Of the places it may use otherwise, those that are taken.
    pub(super) taken: usize,
    /// How many there are of these.
    pub(super) most: usize,
    /// Whether they are its function's own.
    pub(super) reserved: bool,
}

/// Counts of one scope.
#[derive(Debug, Default)]
pub(super) struct ScopeCount {
    functions: HashMap<FunctionName, FunctionCount>,
    /// Sum of `FunctionCount::in_shared`.
    in_shared: usize,
    /// Sum of `FunctionCount::set_aside`.
    set_aside: usize,
    /// Calls of functions that have reserved nothing.
    calls: Calls,
}

/// Counts of one function.
#[derive(Debug, Default)]
pub(super) struct FunctionCount {
    reserved: Option<usize>,
    /// Running outside of held places.
    free: usize,
    /// A few at most: versions with provisioned concurrency.
    held: Vec<HeldCount>,
    /// Its calls, while it has reserved places.
    calls: Calls,
}

#[derive(Debug)]
struct HeldCount {
    version: VersionNumber,
    executions: usize,
    running: usize,
}

impl HeldCount {
    /// What others cannot have. More may run than are held, for a while after less was asked for.
    fn taken(&self) -> usize {
        self.executions.max(self.running)
    }
}

/// How much of a rate of calls is used up.
#[derive(Debug, Default)]
struct Calls {
    used: Used,
    at: Timestamp,
}

impl Calls {
    fn take(&mut self, rate: Rate, now: Timestamp) -> bool {
        // A clock that was set back tells of no time that has passed.
        let elapsed_ms = now.as_millis().saturating_sub(self.at.as_millis());
        self.at = now;
        self.used.take(rate, Duration::from_millis(u64::try_from(elapsed_ms).unwrap_or(0)))
    }
}

impl FunctionCount {
    fn held_taken(&self) -> usize {
        self.held.iter().map(HeldCount::taken).sum()
    }

    /// What other functions cannot have. More may run than are reserved, for a while after less was asked for.
    fn set_aside(&self) -> usize {
        match self.reserved {
            Some(reserved) => reserved.max(self.free + self.held_taken()),
            None => self.held_taken(),
        }
    }

    fn in_shared(&self) -> usize {
        if self.reserved.is_some() { 0 } else { self.free }
    }

    fn running(&self) -> usize {
        self.free + self.held.iter().map(|held| held.running).sum::<usize>()
    }

    fn of_version(&mut self, version: VersionNumber) -> Option<&mut HeldCount> {
        self.held.iter_mut().find(|held| held.version == version)
    }

    /// One more runs.
    pub(super) fn take(&mut self, place: Place, version: VersionNumber) {
        match (place, self.of_version(version)) {
            (Place::Held, Some(held)) => held.running += 1,
            _ => self.free += 1,
        }
    }

    /// One has ended.
    pub(super) fn give_back(&mut self, place: Place, version: VersionNumber) {
        match (place, self.of_version(version)) {
            (Place::Held, Some(held)) => {
                held.running = held.running.saturating_sub(1);
                self.forget_unheld();
            }
            _ => self.free = self.free.saturating_sub(1),
        }
    }

    /// Sets what is set aside for it: executions by version, and for all versions together.
    pub(super) fn set(&mut self, held: &[(VersionNumber, usize)], reserved: Option<usize>) {
        self.held.iter_mut().for_each(|held| held.executions = 0);
        for (version, executions) in held {
            match self.of_version(*version) {
                Some(held) => held.executions += executions,
                None => {
                    self.held.push(HeldCount { version: *version, executions: *executions, running: 0 });
                }
            }
        }
        self.forget_unheld();
        self.reserve(reserved);
    }

    /// Sets what is reserved.
    pub(super) fn reserve(&mut self, executions: Option<usize>) {
        self.reserved = executions;
    }

    /// A version whose invocations run in held places is kept until they end.
    fn forget_unheld(&mut self) {
        self.held.retain(|held| held.taken() > 0);
    }

    fn is_empty(&self) -> bool {
        self.free == 0 && self.held.is_empty() && self.reserved.is_none()
    }
}

impl ScopeCount {
    /// What a function has reserved.
    pub(super) fn reserved(&self, function: &FunctionName) -> Option<usize> {
        self.functions.get(function).and_then(|count| count.reserved)
    }

    /// The places one more invocation of this version could have, of `limit` in all.
    pub(super) fn places(&self, function: &FunctionName, version: VersionNumber, limit: usize) -> Places {
        let shared =
            Places { held_free: 0, taken: self.in_shared + self.set_aside, most: limit, reserved: false };
        let Some(count) = self.functions.get(function) else { return shared };
        let of_version = count.held.iter().find(|held| held.version == version);
        let held_free = of_version.map_or(0, |held| held.executions.saturating_sub(held.running));
        match count.reserved {
            Some(reserved) => {
                let taken = count.free + count.held_taken();
                Places { held_free, taken, most: reserved, reserved: true }
            }
            None => Places { held_free, ..shared },
        }
    }

    /// Counts a call in the rate that bounds it: that of its function when `reserved`, else that of all others.
    pub(super) fn take_call(
        &mut self,
        function: &FunctionName,
        reserved: bool,
        rate: Rate,
        now: Timestamp,
    ) -> bool {
        let own = if reserved { self.functions.get_mut(function) } else { None };
        own.map_or(&mut self.calls, |count| &mut count.calls).take(rate, now)
    }

    /// Changes the count of one function, and the sums with it.
    pub(super) fn change(&mut self, function: &FunctionName, change: impl FnOnce(&mut FunctionCount)) {
        let kept = self.functions.len() <= IDLE_FUNCTIONS;
        let count = self.functions.entry(function.clone()).or_default();
        let (set_aside, in_shared) = (count.set_aside(), count.in_shared());
        change(count);
        self.set_aside = self.set_aside + count.set_aside() - set_aside;
        self.in_shared = self.in_shared + count.in_shared() - in_shared;
        if !kept && count.is_empty() {
            self.functions.remove(function);
        }
    }

    /// The functions for which something is set aside.
    pub(super) fn with_something_set_aside(&self) -> Vec<FunctionName> {
        let set_aside = |count: &FunctionCount| count.reserved.is_some() || !count.held.is_empty();
        let functions = self.functions.iter().filter(|(_, count)| set_aside(count));
        functions.map(|(function, _)| function.clone()).collect()
    }

    pub(super) fn running(&self, function: &FunctionName) -> usize {
        self.functions.get(function).map_or(0, FunctionCount::running)
    }

    pub(super) fn running_in_all(&self) -> usize {
        self.functions.values().map(FunctionCount::running).sum()
    }

    /// Nothing runs and nothing is set aside.
    pub(super) fn is_empty(&self) -> bool {
        self.functions.values().all(FunctionCount::is_empty)
    }

    #[cfg(test)]
    pub(super) fn functions_kept(&self) -> usize {
        self.functions.len()
    }
}
