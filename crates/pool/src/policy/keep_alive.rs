//! Scale to zero: how long an idle instance stays.

use super::IdleInstance;
use std::time::Duration;
use tokio::time::Instant;

/// Idle instances that have outlived `keep_alive`, oldest first.
pub fn expired(idle: &[IdleInstance], keep_alive: Duration, now: Instant) -> Vec<u64> {
    let mut old: Vec<&IdleInstance> =
        idle.iter().filter(|instance| now.saturating_duration_since(instance.since) >= keep_alive).collect();
    old.sort_by_key(|instance| (instance.since, instance.id));
    old.into_iter().map(|instance| instance.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_idle_for_the_whole_keep_alive() {
        let start = Instant::now();
        let now = start + Duration::from_secs(100);
        let idle = |id, ago_s| IdleInstance { id, since: now - Duration::from_secs(ago_s), claim_bytes: 1 };
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
}
