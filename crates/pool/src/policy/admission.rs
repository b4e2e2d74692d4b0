//! Whether one more instance fits the node.
//!
//! Instances are counted by what they are expected to *use*, not by what they are configured for: a started
//! and idle instance uses a few MiB of its 128. Configured sizes would admit 150 instances of 128 MB on a host
//! of 24 GiB and 50 on one of 8 GiB, with nearly all of the memory unused. What an expectation gets wrong is
//! caught by the kernel: each instance by its own limit, all together by the limit of their parent cgroup.

/// What all instances of the node may take together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Expected memory use, bytes.
    pub memory_bytes: u64,
    /// Instances in any state.
    pub instances: usize,
}

/// What they take now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Use {
    /// Sum of the claims, bytes.
    pub memory_bytes: u64,
    /// Instances in any state, those being stopped included.
    pub instances: usize,
}

/// Whether an instance claiming `claim_bytes` fits. An empty node takes any single instance, or a function
/// larger than the budget could never run.
pub fn fits(budget: Budget, used: Use, claim_bytes: u64) -> bool {
    if used.instances >= budget.instances {
        return false;
    }
    used.instances == 0 || used.memory_bytes.saturating_add(claim_bytes) <= budget.memory_bytes
}

/// The memory an instance counts for, bytes: the highest use seen of its version, at least `floor_bytes` (what
/// an interpreter takes), at most what it is configured for.
pub fn claim_bytes(configured_bytes: u64, highest_seen_bytes: u64, floor_bytes: u64) -> u64 {
    highest_seen_bytes.max(floor_bytes).min(configured_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;
    const GIB: u64 = 1024 * MIB;

    #[test]
    fn fits_by_memory_and_by_count() {
        let budget = Budget { memory_bytes: 100, instances: 3 };
        let check = |memory_bytes, instances, claim, expected| {
            assert_eq!(
                fits(budget, Use { memory_bytes, instances }, claim),
                expected,
                "{memory_bytes} {claim}"
            );
        };
        check(0, 0, 100, true);
        check(0, 0, 1_000, true); // Alone, even larger than the budget.
        check(60, 1, 40, true);
        check(60, 1, 41, false);
        check(30, 3, 1, false);
        check(u64::MAX, 1, u64::MAX, false);
    }

    #[test]
    fn claims_follow_what_was_seen() {
        let check = |seen_mib: u64, expected_mib: u64| {
            assert_eq!(claim_bytes(128 * MIB, seen_mib * MIB, 24 * MIB), expected_mib * MIB);
        };
        check(0, 24);
        check(10, 24);
        check(60, 60);
        check(500, 128);
    }

    #[test]
    fn two_hundred_first_calls_of_128_mb_fit_a_host_of_8_gib() {
        let budget = Budget { memory_bytes: 8 * GIB / 10 * 8, instances: 1_000 };
        let claim = claim_bytes(128 * MIB, 0, crate::config::UNSEEN_CLAIM_BYTES);
        let used = Use { memory_bytes: 199 * claim, instances: 199 };
        assert!(fits(budget, used, claim));
    }
}
