//! Which idle instances make room when the node is full: those unused for longest.

use tokio::time::Instant;

/// What the policies know of an idle instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleInstance {
    /// Identifies it.
    pub id: u64,
    /// Since when it is idle.
    pub since: Instant,
    /// Memory it counts for, bytes.
    pub claim_bytes: u64,
}

/// What is missing for the next instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shortage {
    /// Bytes.
    pub memory_bytes: u64,
    /// Instances.
    pub instances: usize,
}

/// The fewest idle instances, oldest first, whose end covers `shortage`. All of them when they do not cover
/// it: their room helps whoever waits for a running instance to end. None when nothing is short.
pub fn victims(idle: &[IdleInstance], shortage: Shortage) -> Vec<u64> {
    let mut by_age = idle.to_vec();
    by_age.sort_by_key(|instance| (instance.since, instance.id));
    let mut freed = Shortage::default();
    let mut chosen = Vec::new();
    for instance in by_age {
        if freed.memory_bytes >= shortage.memory_bytes && freed.instances >= shortage.instances {
            break;
        }
        freed.memory_bytes = freed.memory_bytes.saturating_add(instance.claim_bytes);
        freed.instances += 1;
        chosen.push(instance.id);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn oldest_first_and_no_more_than_needed() {
        let start = Instant::now();
        let idle = |id, idle_since_s, claim_bytes| IdleInstance {
            id,
            since: start + Duration::from_secs(idle_since_s),
            claim_bytes,
        };
        let all = [idle(1, 30, 10), idle(2, 10, 10), idle(3, 20, 50)];
        let check = |memory_bytes, instances, expected: &[u64]| {
            assert_eq!(victims(&all, Shortage { memory_bytes, instances }), expected);
        };
        check(0, 0, &[]);
        check(10, 1, &[2]);
        check(11, 1, &[2, 3]);
        check(0, 2, &[2, 3]);
        check(1_000, 1, &[2, 3, 1]);
    }
}
