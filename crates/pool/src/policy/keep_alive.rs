//! How long an idle instance stays, and what the expectation of a call makes of that.

use super::IdleInstance;
use super::histogram::Windows;
use std::time::Duration;
use tokio::time::Instant;

/// Above this share of the budget, in percent, memory is wanted: that of idle instances is reclaimed. Below it nobody is
/// better off for that.
const WANTED_ABOVE_PERCENT: u64 = 75;

/// Idle instances that have outlived `keep_alive`, oldest first.
pub fn expired(idle: &[IdleInstance], keep_alive: Duration, now: Instant) -> Vec<u64> {
    let mut old: Vec<&IdleInstance> =
        idle.iter().filter(|instance| now.saturating_duration_since(instance.since) >= keep_alive).collect();
    old.sort_by_key(|instance| (instance.since, instance.id));
    old.into_iter().map(|instance| instance.id).collect()
}

/// Bytes of use above which memory is wanted.
pub fn memory_wanted_above(budget_bytes: u64) -> u64 {
    let wanted_above = u128::from(budget_bytes) * u128::from(WANTED_ABOVE_PERCENT) / 100;
    u64::try_from(wanted_above).unwrap_or(u64::MAX)
}

/// What a function's history says about its next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// Nothing: there is too little of it, or no pattern in it.
    Unknown,
    /// Not before the pre-warm window ends, so an instance would only wait.
    Later,
    /// Within the keep-alive window.
    Soon,
    /// It should have come by now.
    Missed,
}

/// What to expect of a function so long after its last call ended.
pub fn expectation(windows: Option<Windows>, since_last_call: Duration) -> Expectation {
    match windows {
        None => Expectation::Unknown,
        Some(windows) if since_last_call < windows.prewarm_after => Expectation::Later,
        Some(windows) if since_last_call < windows.keep_until => Expectation::Soon,
        Some(_) => Expectation::Missed,
    }
}

/// A function's calls as the worth of its idle instances counts them: twice when one is due, a quarter when it did not
/// come. Found with `cargo xtask simulate`; stopping those not due soon before their room is needed made it worse.
pub fn expected_uses(uses: f64, expectation: Expectation) -> f64 {
    uses * match expectation {
        Expectation::Soon => 2.0,
        Expectation::Unknown | Expectation::Later => 1.0,
        Expectation::Missed => 0.25,
    }
}

/// When an instance is to be started ahead of the next call of a function that has none: so long after its last call.
/// `None` when calls are not predictable, or come so soon that an instance is kept from one to the next anyway.
pub fn prewarm_after(windows: Option<Windows>) -> Option<Duration> {
    windows.map(|windows| windows.prewarm_after).filter(|after| !after.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_idle_for_the_whole_keep_alive() {
        let start = Instant::now();
        let now = start + Duration::from_secs(100);
        let idle = |id, ago_s| IdleInstance {
            id,
            since: now - Duration::from_secs(ago_s),
            claim_bytes: 1,
            priority: 0.0,
        };
        let check = |ages: &[u64], expected: &[u64]| {
            let all: Vec<IdleInstance> =
                ages.iter().enumerate().map(|(at, ago)| idle(at as u64, *ago)).collect();
            assert_eq!(expired(&all, Duration::from_secs(60), now), expected);
        };
        check(&[], &[]);
        check(&[59], &[]);
        check(&[60], &[0]);
        check(&[61, 10, 99], &[2, 0]);
    }

    #[test]
    fn memory_is_wanted_in_the_last_quarter() {
        assert_eq!(memory_wanted_above(1_000), 750);
        assert_eq!(memory_wanted_above(u64::MAX), u64::MAX / 4 * 3 + 2);
    }

    #[test]
    fn expectations_follow_the_windows() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let hourly = Some(Windows { prewarm_after: minutes(54), keep_until: minutes(67) });
        let often = Some(Windows { prewarm_after: Duration::ZERO, keep_until: minutes(3) });
        let check = |windows, since, expected| assert_eq!(expectation(windows, minutes(since)), expected);
        check(None, 1, Expectation::Unknown);
        check(hourly, 0, Expectation::Later);
        check(hourly, 53, Expectation::Later);
        check(hourly, 54, Expectation::Soon);
        check(hourly, 67, Expectation::Missed);
        check(often, 0, Expectation::Soon);
        check(often, 3, Expectation::Missed);
        assert!(expected_uses(8.0, Expectation::Soon) > expected_uses(8.0, Expectation::Later));
        assert!(expected_uses(8.0, Expectation::Missed) < expected_uses(8.0, Expectation::Unknown));
        assert_eq!(prewarm_after(None), None);
        assert_eq!(prewarm_after(often), None);
        assert_eq!(prewarm_after(hourly), Some(minutes(54)));
    }
}
