//! One node under one policy: instances run, wait, are evicted; nothing else is simulated.
//!
//! Calls are never refused and a start takes no time of its own, so that when instances are busy does not depend on the
//! policy: that makes results comparable, and the bound (`bound.rs`) a bound. When more run than the node has room for,
//! none waits idle.

use crate::trace::{Call, Trace};
use lamplight_pool::policy::{
    HISTOGRAM_BIN, IdleInstance, IdleTimes, Shortage, Uses, Windows, expectation, expected_uses,
    prewarm_after, priority, victims,
};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;
use tokio::time::Instant;

const MIB: u64 = 1024 * 1024;
/// What the fixed policy keeps instances for.
const FIXED: Duration = Duration::from_secs(600);
/// What all the others keep them for at most: the pool's default.
const LONGEST: Duration = Duration::from_secs(3_600);

/// A way to keep instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// For ten minutes; the oldest goes when there is no room.
    FixedTime,
    /// The one unused for longest goes when there is no room.
    LeastRecentlyUsed,
    /// The one worth least goes.
    GreedyDual,
    /// As in the ATC 2020 paper: stopped after its call, started before the next, when that can be predicted.
    Histogram,
    /// What the pool does: worth decides, the histogram adjusts it and adds starts ahead where there is room.
    Pool,
}

impl Policy {
    /// In the order of the table.
    pub const ALL: [Self; 5] =
        [Self::FixedTime, Self::LeastRecentlyUsed, Self::GreedyDual, Self::Histogram, Self::Pool];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::FixedTime => "fixed, 10 minutes",
            Self::LeastRecentlyUsed => "LRU",
            Self::GreedyDual => "Greedy-Dual",
            Self::Histogram => "histogram",
            Self::Pool => "the pool's (both)",
        }
    }

    fn predicts(self) -> bool {
        matches!(self, Self::Histogram | Self::Pool)
    }
}

/// What it came to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Replayed {
    /// Calls that found no idle instance.
    pub cold_starts: u64,
    /// Time they waited for a start, seconds.
    pub cold_s: f64,
    /// Starts ahead of a call.
    pub prewarms: u64,
    /// Time they took, while nobody waited, seconds.
    pub prewarm_s: f64,
    /// Memory of idle instances times how long they waited.
    pub idle_mib_s: f64,
    /// Most memory in use at once.
    pub peak_mib: u64,
}

impl Replayed {
    /// Seconds of all starts, whoever waited for them: what `bound` bounds.
    pub fn started_s(&self) -> f64 {
        self.cold_s + self.prewarm_s
    }
}

/// Replays `trace` on a node with `cap_mib` of memory.
pub fn replay(trace: &Trace, policy: Policy, cap_mib: u64) -> Replayed {
    let mut node = Node::new(trace, policy, cap_mib);
    for call in &trace.calls {
        node.advance(call.arrival_ms);
        node.arrive(*call);
    }
    node.advance(trace.span_ms().1);
    node.result
}

/// In the order of their time; ends before anything else at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    End { function: usize },
    Expire { function: usize, id: u64 },
    Prewarm { function: usize, after_calls: u64 },
}

#[derive(Debug)]
struct Idle {
    id: u64,
    since_ms: u64,
    clock: f64,
}

#[derive(Debug)]
struct State {
    /// Most recently used last.
    idle: Vec<Idle>,
    running: u64,
    calls: u64,
    uses: Uses,
    idle_times: IdleTimes,
    windows: Option<Windows>,
    last_called_ms: Option<u64>,
}

struct Node<'a> {
    trace: &'a Trace,
    policy: Policy,
    cap_mib: u64,
    /// What times count from.
    origin: Instant,
    states: Vec<State>,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    now_ms: u64,
    running_mib: u64,
    idle_mib: u64,
    clock: f64,
    next_id: u64,
    result: Replayed,
}

impl<'a> Node<'a> {
    fn new(trace: &'a Trace, policy: Policy, cap_mib: u64) -> Self {
        let state = || State {
            idle: Vec::new(),
            running: 0,
            calls: 0,
            uses: Uses::default(),
            idle_times: IdleTimes::new(HISTOGRAM_BIN),
            windows: None,
            last_called_ms: None,
        };
        Self {
            trace,
            policy,
            cap_mib,
            origin: Instant::now(),
            states: trace.functions.iter().map(|_| state()).collect(),
            events: BinaryHeap::new(),
            now_ms: trace.span_ms().0,
            running_mib: 0,
            idle_mib: 0,
            clock: 0.0,
            next_id: 0,
            result: Replayed::default(),
        }
    }

    /// Lets time pass until then.
    fn advance(&mut self, until_ms: u64) {
        while let Some(Reverse((at_ms, event))) =
            self.events.peek().copied().filter(|next| next.0.0 <= until_ms)
        {
            self.events.pop();
            self.pass(at_ms);
            match event {
                Event::End { function } => self.end(function),
                Event::Expire { function, id } => {
                    if self.states[function].idle.iter().any(|idle| idle.id == id) {
                        self.stop(function, id);
                    }
                }
                Event::Prewarm { function, after_calls } => self.prewarm(function, after_calls),
            }
        }
        self.pass(until_ms);
    }

    fn pass(&mut self, to_ms: u64) {
        self.result.idle_mib_s += self.idle_mib as f64 * (to_ms - self.now_ms) as f64 / 1_000.0;
        self.now_ms = to_ms;
    }

    fn arrive(&mut self, call: Call) {
        let (function, now, now_ms) = (call.function, self.instant(self.now_ms), self.now_ms);
        let state = &mut self.states[function];
        state.calls += 1;
        state.uses.note(now);
        if let Some(last_ms) = state.last_called_ms.filter(|_| state.running == 0) {
            state.idle_times.note(Duration::from_millis(now_ms - last_ms));
            state.windows = state.idle_times.windows();
        }
        state.last_called_ms = Some(now_ms);
        state.running += 1;
        let memory_mib = self.trace.functions[function].memory_mib;
        if state.idle.pop().is_some() {
            self.idle_mib -= memory_mib;
        } else {
            self.result.cold_starts += 1;
            self.result.cold_s += self.trace.functions[function].cold_start.as_secs_f64();
        }
        self.running_mib += memory_mib;
        self.make_room();
        self.events.push(Reverse((now_ms + call.duration_ms, Event::End { function })));
    }

    fn end(&mut self, function: usize) {
        self.running_mib -= self.trace.functions[function].memory_mib;
        let state = &mut self.states[function];
        state.running -= 1;
        state.last_called_ms = Some(self.now_ms);
        let (windows, after_calls) = (state.windows.filter(|_| self.policy.predicts()), state.calls);
        let after = prewarm_after(windows);
        if let Some(after) = after {
            self.events
                .push(Reverse((self.now_ms + millis(after), Event::Prewarm { function, after_calls })));
        }
        let keep = match (self.policy, windows) {
            (Policy::FixedTime, _) => FIXED,
            (Policy::Histogram, Some(_)) if after.is_some() => return,
            (Policy::Histogram, Some(windows)) => windows.keep_until,
            _ => LONGEST,
        };
        self.wait_idle(function, keep);
    }

    fn prewarm(&mut self, function: usize, after_calls: u64) {
        let state = &self.states[function];
        let memory_mib = self.trace.functions[function].memory_mib;
        let in_use_mib = self.running_mib + self.idle_mib;
        let superseded = state.calls != after_calls || state.running > 0 || !state.idle.is_empty();
        let Some(windows) = state.windows.filter(|_| !superseded && in_use_mib + memory_mib <= self.cap_mib)
        else {
            return;
        };
        self.result.prewarms += 1;
        self.result.prewarm_s += self.trace.functions[function].cold_start.as_secs_f64();
        let keep = match self.policy {
            Policy::Histogram => windows.keep_until.saturating_sub(windows.prewarm_after),
            _ => LONGEST,
        };
        self.wait_idle(function, keep);
    }

    fn wait_idle(&mut self, function: usize, keep: Duration) {
        self.next_id += 1;
        let id = self.next_id;
        self.states[function].idle.push(Idle { id, since_ms: self.now_ms, clock: self.clock });
        self.idle_mib += self.trace.functions[function].memory_mib;
        self.events.push(Reverse((self.now_ms + millis(keep), Event::Expire { function, id })));
        self.make_room();
    }

    /// Evicts what does not fit.
    fn make_room(&mut self) {
        let in_use_mib = self.running_mib + self.idle_mib;
        self.evict(in_use_mib.saturating_sub(self.cap_mib));
        self.result.peak_mib = self.result.peak_mib.max(self.running_mib + self.idle_mib);
    }

    fn evict(&mut self, needed_mib: u64) {
        if needed_mib == 0 {
            return;
        }
        let mut owners = Vec::new();
        let mut idle = Vec::new();
        for (function, state) in self.states.iter().enumerate() {
            for instance in &state.idle {
                owners.push((instance.id, function));
                idle.push(IdleInstance {
                    id: instance.id,
                    since: self.instant(instance.since_ms),
                    claim_bytes: self.trace.functions[function].memory_mib * MIB,
                    priority: self.priority(function, instance),
                });
            }
        }
        owners.sort_unstable();
        let victims = victims(&idle, Shortage { memory_bytes: needed_mib * MIB, instances: 0 });
        self.clock = self.clock.max(victims.clock);
        for id in victims.ids {
            if let Ok(at) = owners.binary_search_by_key(&id, |(id, _)| *id) {
                self.stop(owners[at].1, id);
            }
        }
    }

    fn priority(&self, function: usize, instance: &Idle) -> f64 {
        let (state, described) = (&self.states[function], &self.trace.functions[function]);
        let uses = state.uses.count(self.instant(self.now_ms));
        let uses = match self.policy {
            // All worth the same: the oldest goes first.
            Policy::FixedTime | Policy::LeastRecentlyUsed | Policy::Histogram => return 0.0,
            Policy::GreedyDual => uses,
            Policy::Pool => {
                let since_ms = state.last_called_ms.map_or(0, |last_ms| self.now_ms - last_ms);
                expected_uses(uses, expectation(state.windows, Duration::from_millis(since_ms)))
            }
        };
        priority(instance.clock, uses, described.cold_start, described.memory_mib * MIB)
    }

    fn stop(&mut self, function: usize, id: u64) {
        self.states[function].idle.retain(|idle| idle.id != id);
        self.idle_mib -= self.trace.functions[function].memory_mib;
    }

    fn instant(&self, at_ms: u64) -> Instant {
        self.origin + Duration::from_millis(at_ms)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "arrival_ms,function,duration_ms,memory_mib,cold_start_ms\n";

    fn trace(lines: &[String]) -> Trace {
        Trace::parse(&format!("{HEAD}{}", lines.join("\n"))).unwrap()
    }

    #[test]
    fn what_fits_stays_and_what_does_not_is_started_again() {
        let minutes = |minute: u64, name: &str| format!("{},{name},1000,64,500", minute * 60_000);
        let turns: Vec<String> = (0..10).map(|at| minutes(at, if at % 2 == 0 { "a" } else { "b" })).collect();
        let check = |policy, cap_mib, expected| {
            assert_eq!(replay(&trace(&turns), policy, cap_mib).cold_starts, expected, "{policy:?} {cap_mib}");
        };
        for policy in [Policy::FixedTime, Policy::LeastRecentlyUsed, Policy::GreedyDual] {
            check(policy, 128, 2);
            check(policy, 127, 10);
        }
        let one = replay(&trace(&turns[..1]), Policy::FixedTime, 128);
        assert_eq!((one.cold_starts, one.cold_s, one.idle_mib_s, one.peak_mib), (1, 0.5, 0.0, 64));
    }

    #[test]
    fn an_idle_instance_counts_for_as_long_as_it_waits() {
        let calls = ["0,a,1000,10,1", "2000,a,1000,10,1", "1000000,a,0,10,1"].map(str::to_owned);
        let fixed = replay(&trace(&calls), Policy::FixedTime, 100);
        assert_eq!((fixed.cold_starts, fixed.idle_mib_s), (2, 10.0 * 601.0));
        let least_recent = replay(&trace(&calls), Policy::LeastRecentlyUsed, 100);
        assert_eq!((least_recent.cold_starts, least_recent.idle_mib_s), (1, 10.0 * 998.0));
    }

    #[test]
    fn a_timer_of_two_hours_is_met_by_a_start_ahead() {
        let calls: Vec<String> = (0..12).map(|at| format!("{},t,1000,10,500", at * 7_200_000)).collect();
        let check = |policy, expected| {
            let result = replay(&trace(&calls), policy, 100);
            assert_eq!((result.cold_starts, result.prewarms), expected, "{policy:?}");
        };
        check(Policy::GreedyDual, (12, 0));
        // Five gaps are learned from, the sixth call and the five after it are met.
        check(Policy::Histogram, (6, 6));
        check(Policy::Pool, (6, 6));
    }
}
