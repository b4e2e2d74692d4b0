//! `/tmp` volumes that wait for the next instance of their version after a poisoned one: few, and not for long.

use std::time::Duration;
use tokio::time::Instant;

/// One waiting volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CarriedVolume {
    /// Identifies it.
    pub id: u64,
    /// Since when it waits.
    pub since: Instant,
}

/// The volumes to give up, oldest first: those older than `longest`, and the oldest beyond `most`.
pub fn surplus(waiting: &[CarriedVolume], most: usize, longest: Duration, now: Instant) -> Vec<u64> {
    let mut by_age = waiting.to_vec();
    by_age.sort_by_key(|volume| (volume.since, volume.id));
    let beyond = by_age.len().saturating_sub(most);
    by_age
        .iter()
        .enumerate()
        .filter(|(at, volume)| *at < beyond || now.saturating_duration_since(volume.since) >= longest)
        .map(|(_, volume)| volume.id)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_ones_and_too_many_go() {
        let start = Instant::now();
        let check = |ages_s: &[u64], most, expected: &[u64]| {
            let now = start + Duration::from_secs(1_000);
            let waiting: Vec<CarriedVolume> = ages_s
                .iter()
                .enumerate()
                .map(|(id, age)| CarriedVolume { id: id as u64, since: now - Duration::from_secs(*age) })
                .collect();
            assert_eq!(surplus(&waiting, most, Duration::from_secs(600), now), expected);
        };
        check(&[], 2, &[]);
        check(&[1, 2], 2, &[]);
        check(&[1, 3, 2], 2, &[1]);
        check(&[1, 600, 2], 5, &[1]);
        check(&[700, 1, 2, 650], 1, &[0, 3, 2]);
    }
}
