//! Which idle instances make room: those whose memory saves the fewest seconds of cold starts (Greedy-Dual).
//!
//! Source: Fuerst and Sharma, "FaasCache: Keeping Serverless Computing Alive with Greedy-Dual Caching", ASPLOS 2021:
//! priority = clock + frequency x cost / size. The clock stands at the highest priority ever evicted, so an instance that
//! is not called for long is overtaken by those used since. Here the frequency halves with time besides: a function
//! that was called a million times yesterday does not hold its memory today.

use std::time::Duration;
use tokio::time::Instant;

/// How long a call counts: after this time for half. Found with `cargo xtask simulate` (docs/keep-alive.md).
const HALF_LIFE: Duration = Duration::from_secs(7_200);
/// A start that costs nothing would make an instance worth nothing, however often it is called.
const LEAST_COST: Duration = Duration::from_millis(1);
const MIB: f64 = 1024.0 * 1024.0;

/// How often a function is called: its calls, the older ones counting less.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Uses {
    count: f64,
    last: Option<Instant>,
}

impl Uses {
    /// One more call.
    pub fn note(&mut self, now: Instant) {
        *self = Self { count: self.count(now) + 1.0, last: Some(now) };
    }

    /// The calls that count now.
    pub fn count(&self, now: Instant) -> f64 {
        let age = self.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.count * (-age.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2()
    }
}

/// What an idle instance is worth: the clock at its last use, plus seconds of cold starts saved for each MiB it takes.
pub fn priority(clock: f64, uses: f64, cold_start: Duration, claim_bytes: u64) -> f64 {
    clock + uses * cold_start.max(LEAST_COST).as_secs_f64() / (claim_bytes as f64 / MIB).max(1.0)
}

/// The cost of a version's cold start, learned: the newest counts for a quarter, so that one slow start does not
/// decide. `None` is a version that was never started.
pub fn learned_cost(known: Option<Duration>, measured: Duration) -> Duration {
    known.map_or(measured, |known| (known * 3 + measured) / 4)
}

/// What the policies know of an idle instance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IdleInstance {
    /// Identifies it.
    pub id: u64,
    /// Since when it is idle.
    pub since: Instant,
    /// Memory it counts for, bytes.
    pub claim_bytes: u64,
    /// What it is worth: see `priority`.
    pub priority: f64,
}

/// What is missing for the next instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shortage {
    /// Bytes.
    pub memory_bytes: u64,
    /// Instances.
    pub instances: usize,
}

/// Who has to go.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Victims {
    /// Cheapest first.
    pub ids: Vec<u64>,
    /// The highest priority among them: the clock's new time, unless it is later already.
    pub clock: f64,
}

/// The idle instances worth least whose end covers `shortage`, and none of them without need. All of them when they do
/// not cover it: their room helps whoever waits for a running instance to end. None when nothing is short.
pub fn victims(idle: &[IdleInstance], shortage: Shortage) -> Victims {
    let mut by_worth: Vec<&IdleInstance> = idle.iter().collect();
    by_worth.sort_by(|one, other| {
        one.priority.total_cmp(&other.priority).then((one.since, one.id).cmp(&(other.since, other.id)))
    });
    let mut freed = Shortage::default();
    let mut chosen = Vec::new();
    for instance in by_worth {
        if freed.covers(shortage) {
            break;
        }
        freed.memory_bytes = freed.memory_bytes.saturating_add(instance.claim_bytes);
        freed.instances += 1;
        chosen.push(instance);
    }
    // The last one chosen may be large enough without some of those before it: the dearest of them stay.
    for at in (0..chosen.len()).rev() {
        let without = Shortage {
            memory_bytes: freed.memory_bytes.saturating_sub(chosen[at].claim_bytes),
            instances: freed.instances - 1,
        };
        if without.covers(shortage) {
            chosen.remove(at);
            freed = without;
        }
    }
    Victims {
        clock: chosen.iter().map(|instance| instance.priority).fold(0.0, f64::max),
        ids: chosen.into_iter().map(|instance| instance.id).collect(),
    }
}

impl Shortage {
    fn covers(self, needed: Self) -> bool {
        self.memory_bytes >= needed.memory_bytes && self.instances >= needed.instances
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB_BYTES: u64 = 1024 * 1024;

    #[test]
    fn worth_grows_with_calls_and_cost_and_shrinks_with_size() {
        let check = |clock, uses, cost_ms, mib: u64, expected: f64| {
            let priority = priority(clock, uses, Duration::from_millis(cost_ms), mib * MIB_BYTES);
            assert!((priority - expected).abs() < 1e-9, "{priority} instead of {expected}");
        };
        check(0.0, 1.0, 1_000, 10, 0.1);
        check(0.0, 20.0, 1_000, 10, 2.0);
        check(0.0, 1.0, 250, 10, 0.025);
        check(0.0, 1.0, 1_000, 100, 0.01);
        check(3.0, 1.0, 1_000, 10, 3.1);
        // Nothing measured, nothing claimed.
        check(0.0, 10.0, 0, 0, 0.01);
    }

    #[test]
    fn calls_count_for_half_after_the_half_life() {
        let start = Instant::now();
        let mut uses = Uses::default();
        assert_eq!(uses.count(start), 0.0);
        for _ in 0..8 {
            uses.note(start);
        }
        assert_eq!(uses.count(start), 8.0);
        assert_eq!(uses.count(start + HALF_LIFE), 4.0);
        uses.note(start + HALF_LIFE);
        assert_eq!(uses.count(start + HALF_LIFE * 2), 2.5);
        // A clock read out of order changes nothing.
        assert_eq!(uses.count(start), 5.0);
    }

    #[test]
    fn cost_is_learned_slowly() {
        let ms = Duration::from_millis;
        assert_eq!(learned_cost(None, ms(800)), ms(800));
        assert_eq!(learned_cost(Some(ms(800)), ms(400)), ms(700));
    }

    #[test]
    fn cheapest_first_and_no_more_than_needed() {
        let start = Instant::now();
        let idle = |id, idle_since_s, claim_bytes, priority| IdleInstance {
            id,
            since: start + Duration::from_secs(idle_since_s),
            claim_bytes,
            priority,
        };
        // The last two are worth the same: the older goes first.
        let all = [
            idle(1, 0, 10, 9.0),
            idle(2, 30, 10, 1.0),
            idle(3, 20, 50, 2.0),
            idle(4, 20, 10, 3.0),
            idle(5, 10, 10, 3.0),
        ];
        let check = |memory_bytes, instances, expected: &[u64], clock: f64| {
            let victims = victims(&all, Shortage { memory_bytes, instances });
            assert_eq!((victims.ids.as_slice(), victims.clock), (expected, clock));
        };
        check(0, 0, &[], 0.0);
        check(10, 1, &[2], 1.0);
        // Number 3 alone is enough: the cheaper number 2 stays.
        check(11, 1, &[3], 2.0);
        check(11, 2, &[2, 3], 2.0);
        check(65, 1, &[2, 3, 5], 3.0);
        check(1_000, 1, &[2, 3, 5, 4, 1], 9.0);
    }
}
