//! How fast events of each function are taken from the queue. Pure; the worker tells it what begins and ends.
//!
//! Three things are decided. **Shares**: one function may hold at most three times as many of the worker's places as are free, so
//! that some stay free for whoever comes next, however slow the others are. **First places**: when so many functions are at work that
//! none is free, a function that holds none gets one more all the same, as long as the account's concurrency has room. **Windows**: a function whose events are
//! refused gets no more of them at once than could run when the last one was refused, and none for a while when none could.
//! Its other events wait in the queue, unclaimed and at no cost, also a million of them. **Failures**: a function whose event has just
//! failed at once holds a few places for each processor: trying a million of them harder gains nobody anything, and takes the processors
//! from the others (measured: each runnable instance keeps another function's first event waiting for a turn of the scheduler).
//!
//! ```text
//!              refused, others run: window = those that run           a second later: +1 with each run that ends
//!  no window -----------------------------------------------> window -------------------------------------------> no window
//!                                                             |    ^
//!                       refused, none runs: blocked 1 s ... 16 s, then a window of one
//! ```
//!
//! Source: Lambda developer guide, "How Lambda handles errors and retries with asynchronous invocation": if the queue contains
//! many entries, Lambda increases the retry interval and reduces the rate at which it reads events. By how much it does not say.

use lamplight_model::{FunctionName, Scope, Timestamp};
use lamplight_store::ClaimBounds;
use std::collections::HashMap;
use std::time::Duration;

/// Most events taken from the store in one transaction.
pub const CLAIM_BATCH: usize = 32;
/// So many times the free places one function may hold. With n functions that take what they get, 1 of 3n + 1 places stays free.
const SHARE_OF_FREE: usize = 3;
/// A window does not grow for so long after a refusal.
const STEADY: Duration = Duration::from_secs(1);
/// Shortest and longest time without any event of a function whose events are refused. As long as it has been refused already,
/// which is never longer than a single event waits that is refused again and again (see `retry`).
const BLOCKED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(16));
/// Places of a function whose events fail at once, for each processor.
const FAILING_PLACES_PER_PROCESSOR: usize = 4;
/// A function that was not refused for so long begins anew.
const REMEMBERED: Duration = Duration::from_secs(60);

/// An event that fails in less time has hardly waited for anything: its run was work for a processor. Longer than a run takes that
/// shares the processors with as many others as there are places.
pub const AT_ONCE: Duration = Duration::from_millis(250);

/// Where a function lives, and its name.
pub type FunctionKey = (Scope, FunctionName);

/// What became of an attempt, as far as the pace goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The event ran, or was given up without a run.
    Went,
    /// The function failed within `AT_ONCE`.
    Failed,
    /// It did not begin: throttled, no room for an instance, a function that is still being made, no runtime for it.
    Refused,
    /// It began, and was lost: an instance that did not start, a failure of the platform.
    Broke,
}

/// The pace of every function that holds places, or was refused lately.
#[derive(Debug)]
pub struct Paces {
    places: usize,
    /// Places and first places together.
    most: usize,
    /// Places of a function whose events fail at once.
    failing: usize,
    held: usize,
    functions: HashMap<FunctionKey, Pace>,
}

#[derive(Debug, Default)]
struct Pace {
    held: usize,
    /// Events it may hold; `None` while it was not refused.
    window: Option<usize>,
    refused_at: Option<Timestamp>,
    /// Since when no event of it could run.
    stuck_since: Option<Timestamp>,
    blocked_until: Option<Timestamp>,
    /// When its last event failed at once, if it did.
    failed_at: Option<Timestamp>,
}

impl Paces {
    /// Nothing is held; `places` events may be at once, at least one. Functions that hold none may hold one each until
    /// there are `concurrency` events at once: a place that waits costs a task, a function that waits for one costs its users.
    pub fn new(places: usize, concurrency: usize, processors: usize) -> Self {
        let places = places.max(1);
        let failing = processors.max(1).saturating_mul(FAILING_PLACES_PER_PROCESSOR);
        Self { places, most: places.max(concurrency), failing, held: 0, functions: HashMap::new() }
    }

    /// The account's concurrency was changed.
    pub fn set_concurrency(&mut self, concurrency: usize) {
        self.most = self.places.max(concurrency);
    }

    /// How many more events there may be at once, of functions that hold none at least.
    pub fn room(&self) -> usize {
        self.most.saturating_sub(self.held)
    }

    /// Places that are free for whoever.
    fn free(&self) -> usize {
        self.places.saturating_sub(self.held)
    }

    /// An event of this function was claimed.
    pub fn began(&mut self, function: FunctionKey) {
        self.held += 1;
        self.functions.entry(function).or_default().held += 1;
    }

    /// An event of this function was settled or given back at `now`.
    pub fn ended(&mut self, function: &FunctionKey, ending: Ending, now: Timestamp) {
        let Some(pace) = self.functions.get_mut(function) else { return };
        self.held = self.held.saturating_sub(1);
        pace.held = pace.held.saturating_sub(1);
        pace.failed_at = (ending == Ending::Failed).then_some(now);
        match ending {
            Ending::Went | Ending::Failed => pace.went(self.places, now),
            Ending::Refused => pace.refused(now),
            // Perhaps this one's bad luck alone: the others go on, but fewer at once.
            Ending::Broke => pace.narrow(now),
        }
        if pace.held == 0 && pace.refused_at.is_none() && pace.failed_at.is_none() {
            self.functions.remove(function);
        }
    }

    /// What the next claim may take at `now`. At most half of what is free at a time, so that shares are looked at again while
    /// functions that all come at once take theirs.
    pub fn bounds(&mut self, now: Timestamp) -> ClaimBounds {
        self.functions.retain(|_, pace| pace.held > 0 || pace.is_remembered(now));
        let (free, room, failing) = (self.free(), self.room(), self.failing);
        let of_function = self
            .functions
            .iter()
            .map(|(function, pace)| (function.clone(), pace.room(free, room, failing, now)));
        ClaimBounds {
            // Without a free place everybody who may have one may have it at once.
            events: if free > 0 { free.div_ceil(2) } else { room }.min(CLAIM_BATCH),
            of_one_function: share(free, room, 0),
            of_function: of_function.collect(),
        }
    }

    /// When a function that is blocked at `now` may go on.
    pub fn next_unblocked(&self, now: Timestamp) -> Option<Timestamp> {
        self.functions.values().filter_map(|pace| pace.blocked_until).filter(|until| *until > now).min()
    }
}

impl Pace {
    fn went(&mut self, places: usize, now: Timestamp) {
        (self.stuck_since, self.blocked_until) = (None, None);
        let Some((window, refused_at)) = self.window.zip(self.refused_at) else { return };
        // Before, nothing about the bound that was hit can have changed much.
        if now >= refused_at.plus(STEADY) {
            self.window = Some(window + 1).filter(|window| *window < places);
            if self.window.is_none() {
                self.refused_at = None;
            }
        }
    }

    fn narrow(&mut self, now: Timestamp) {
        self.refused_at = Some(now);
        self.window = Some(self.window.unwrap_or(usize::MAX).min(self.held).max(1));
    }

    fn refused(&mut self, now: Timestamp) {
        self.narrow(now);
        if self.held == 0 {
            let since = *self.stuck_since.get_or_insert(now);
            let stuck_ms = u64::try_from(now.as_millis().saturating_sub(since.as_millis())).unwrap_or(0);
            let (shortest, longest) = BLOCKED;
            let blocked = Duration::from_millis(stuck_ms).clamp(shortest, longest);
            self.blocked_until = Some(now.plus(blocked));
        }
    }

    fn is_remembered(&self, now: Timestamp) -> bool {
        self.refused_at.is_some_and(|refused_at| now < refused_at.plus(REMEMBERED))
            || self.failed_at.is_some_and(|failed_at| now < failed_at.plus(STEADY))
    }

    fn room(&self, free: usize, room: usize, failing: usize, now: Timestamp) -> usize {
        if self.blocked_until.is_some_and(|until| until > now) {
            return 0;
        }
        let window = self.window.unwrap_or(usize::MAX).min(if self.failed_at.is_some() {
            failing
        } else {
            usize::MAX
        });
        share(free, room, self.held).min(window.saturating_sub(self.held))
    }
}

/// So many more places a function may take that holds `held`, when `free` are free: afterwards it holds at most `SHARE_OF_FREE` times
/// what is free then. One that holds none gets one if there is `room` for any.
fn share(free: usize, room: usize, held: usize) -> usize {
    let more = (SHARE_OF_FREE * free).saturating_sub(held) / (SHARE_OF_FREE + 1);
    if held == 0 { more.max(room.min(1)) } else { more }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(1_000_000);

    fn key(name: &str) -> FunctionKey {
        (Scope::default(), FunctionName::parse(name).unwrap())
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp(START.0 + seconds * 1_000)
    }

    /// Claims as often as the store would while these have endless events due. Gives back what each holds.
    fn fill(paces: &mut Paces, names: &[&str], now: Timestamp) -> Vec<usize> {
        loop {
            let bounds = paces.bounds(now);
            let mut left = bounds.events;
            let mut rooms: Vec<usize> =
                names.iter().map(|name| bounds.of(&key(name).0, &key(name).1)).collect();
            let mut taken = 0;
            while left > 0 && rooms.iter().any(|room| *room > 0) {
                for (room, name) in rooms.iter_mut().zip(names).filter(|(room, _)| **room > 0) {
                    if left > 0 {
                        paces.began(key(name));
                        (*room, left, taken) = (*room - 1, left - 1, taken + 1);
                    }
                }
            }
            if taken == 0 {
                return names.iter().map(|name| held_by(paces, name)).collect();
            }
        }
    }

    fn held_by(paces: &Paces, name: &str) -> usize {
        paces.functions.get(&key(name)).map_or(0, |pace| pace.held)
    }

    #[test]
    fn some_places_stay_free_for_whoever_comes_next() {
        for (names, held, newcomer) in [
            (vec!["a"], vec![48], 8),
            (vec!["a", "b"], vec![28, 28], 4),
            (vec!["a", "b", "c", "d", "e"], vec![14, 13, 12, 11, 10], 2),
        ] {
            let mut paces = Paces::new(64, 1_000, 2);
            assert_eq!(fill(&mut paces, &names, START), held);
            assert!(paces.free() >= 4, "{} of {names:?}", paces.free());
            let bounds = paces.bounds(START);
            assert_eq!(bounds.of_one_function.min(bounds.events), newcomer, "{names:?}");
        }
    }

    #[test]
    fn few_places_are_used_all_the_same() {
        for places in [0, 1, 2, 3] {
            let mut paces = Paces::new(places, 0, 2);
            fill(&mut paces, &["a"], START);
            fill(&mut paces, &["b"], START);
            let held = paces.held;
            assert!(held >= places.clamp(1, 2), "{held} of {places}");
        }
    }

    #[test]
    fn a_function_that_is_refused_holds_what_could_run() {
        let mut paces = Paces::new(64, 1_000, 2);
        assert_eq!(fill(&mut paces, &["a"], START), [48]);
        // Five of them are admitted.
        for _ in 0..43 {
            paces.ended(&key("a"), Ending::Refused, START);
        }
        assert_eq!(fill(&mut paces, &["a"], START), [5], "nothing more is claimed");
        paces.ended(&key("a"), Ending::Went, START);
        assert_eq!(fill(&mut paces, &["a"], START), [5], "one that ran makes room for one");
        // A second later it tries one more with each that ends.
        paces.ended(&key("a"), Ending::Went, at(1));
        assert_eq!(fill(&mut paces, &["a"], at(1)), [6]);
        paces.ended(&key("a"), Ending::Refused, at(1));
        assert_eq!(fill(&mut paces, &["a"], at(1)), [5]);
        assert_eq!(fill(&mut paces, &["a", "b"], at(1))[0], 5, "the others have their own pace");
    }

    #[test]
    fn a_function_that_cannot_run_at_all_is_tried_after_one_second_and_then_ever_more_seldom() {
        let mut paces = Paces::new(64, 1_000, 2);
        let mut now = 0;
        let mut tried = Vec::new();
        while now < 64 {
            let held = fill(&mut paces, &["a"], at(now))[0];
            assert!(now == 0 || held <= 1, "{held} at {now}");
            for _ in 0..held {
                paces.ended(&key("a"), Ending::Refused, at(now));
                tried.push(now);
            }
            assert_eq!(fill(&mut paces, &["a"], at(now)), [0], "not twice");
            let next = paces.next_unblocked(at(now)).unwrap();
            now = (next.0 - START.0) / 1_000;
        }
        assert_eq!(tried[47..], [0, 1, 2, 4, 8, 16, 32, 48]);
        // One that runs opens the way again.
        assert_eq!(fill(&mut paces, &["a"], at(64)), [1]);
        paces.ended(&key("a"), Ending::Went, at(66));
        assert_eq!(paces.next_unblocked(at(66)), None);
        let mut held = Vec::new();
        for _ in 0..6 {
            let now_held = fill(&mut paces, &["a"], at(66))[0];
            held.push(now_held);
            for _ in 0..now_held {
                paces.ended(&key("a"), Ending::Went, at(66));
            }
        }
        assert_eq!(held, [2, 4, 8, 16, 32, 48]);
    }

    #[test]
    fn events_that_break_are_tried_one_at_a_time_and_block_nobody() {
        let mut paces = Paces::new(64, 1_000, 2);
        for broken in [48, 1, 1, 1] {
            assert_eq!(fill(&mut paces, &["a"], START), [broken]);
            for _ in 0..broken {
                paces.ended(&key("a"), Ending::Broke, START);
            }
            assert_eq!(paces.next_unblocked(START), None);
        }
    }

    #[test]
    fn a_function_whose_events_fail_at_once_leaves_the_processors_to_others() {
        let mut paces = Paces::new(64, 1_000, 2);
        assert_eq!(fill(&mut paces, &["a"], START), [48], "nobody knows yet");
        paces.ended(&key("a"), Ending::Failed, START);
        for _ in 0..40 {
            assert_eq!(paces.bounds(START).of(&key("a").0, &key("a").1), 0);
            paces.ended(&key("a"), Ending::Failed, START);
        }
        assert_eq!(fill(&mut paces, &["a"], START), [8], "four for each processor");
        assert_eq!(fill(&mut paces, &["a", "b"], START)[0], 8);
        // Also when all of them end before anybody looks.
        for _ in 0..8 {
            paces.ended(&key("a"), Ending::Failed, START);
        }
        assert_eq!(fill(&mut paces, &["a"], START), [8]);
        // One that takes its time, or succeeds, lifts it.
        paces.ended(&key("a"), Ending::Went, START);
        assert!(fill(&mut paces, &["a"], START)[0] > 8);
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let mut paces = Paces::new(64, 1_000, 2);
        fill(&mut paces, &["a", "b"], START);
        while paces.functions.contains_key(&key("a")) {
            paces.ended(&key("a"), Ending::Went, START);
        }
        while paces.functions[&key("b")].held > 0 {
            paces.ended(&key("b"), Ending::Refused, START);
        }
        assert_eq!((paces.held, paces.functions.len()), (0, 1));
        assert_eq!(paces.bounds(at(59)).of_function.len(), 1);
        assert_eq!(paces.bounds(at(60)).of_function.len(), 0);
        // An end that nobody began changes nothing.
        paces.ended(&key("c"), Ending::Went, START);
        assert_eq!(paces.free(), 64);
    }

    #[test]
    fn a_function_more_than_there_are_places_gets_one_all_the_same() {
        let mut paces = Paces::new(64, 200, 2);
        let names: Vec<String> = (0..300).map(|number| format!("f{number}")).collect();
        let mut slow: Vec<&str> = Vec::new();
        for name in &names[..99] {
            slow.push(name);
            let held = fill(&mut paces, &slow, START);
            assert!(held.last() >= Some(&1), "{name}: {held:?}");
        }
        // Up to the account's concurrency, whoever comes.
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        fill(&mut paces, &all, START);
        assert_eq!((paces.held, paces.room(), paces.bounds(START).events), (200, 0, 0));
        // Whoever ends makes room for a function without a place, and for nobody's second one.
        let before: Vec<usize> = all.iter().map(|name| held_by(&paces, name)).collect();
        paces.ended(&key("f0"), Ending::Went, START);
        paces.ended(&key("f98"), Ending::Went, START);
        let after = fill(&mut paces, &all[50..], START);
        assert_eq!(after.iter().sum::<usize>(), before[50..].iter().sum::<usize>() + 1);
        assert!(after.iter().zip(&before[50..]).all(|(after, before)| after <= before.max(&1)));
    }
}
