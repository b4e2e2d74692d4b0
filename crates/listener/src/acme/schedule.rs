//! When a certificate is renewed, and how long after a failure.

use lamplight_model::Timestamp;
use std::time::Duration;

/// After the first failure.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// Between two looks at the clock.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
/// Between two attempts. Let's Encrypt allows five failures of a name an hour.
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3_600);

/// When two thirds of a certificate's life are over, as Let's Encrypt advises (30 of 90 days before the end).
pub(super) fn due(not_before: Timestamp, not_after: Timestamp) -> Timestamp {
    let life = not_after.as_millis().saturating_sub(not_before.as_millis()).max(0);
    Timestamp(not_after.as_millis().saturating_sub(life / 3))
}

/// Longer each time, so that three failures an hour are the most.
pub(super) fn next_pause(pause: Duration) -> Duration {
    pause.saturating_mul(4).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewed_with_a_third_of_its_life_left() {
        let day = 24 * 3_600 * 1_000;
        assert_eq!(due(Timestamp(0), Timestamp(90 * day)), Timestamp(60 * day));
        assert_eq!(due(Timestamp(5_000), Timestamp(35_000)), Timestamp(25_000));
        assert_eq!(due(Timestamp(9), Timestamp(3)), Timestamp(3), "nonsense is due at once");
    }

    #[test]
    fn an_authority_is_not_stormed() {
        let mut pause = FIRST_PAUSE;
        let mut in_an_hour = 1;
        let mut passed = pause;
        while passed < Duration::from_secs(3_600) {
            in_an_hour += 1;
            pause = next_pause(pause);
            passed += pause;
        }
        assert!(in_an_hour <= 4, "{in_an_hour}");
        for _ in 0..20 {
            pause = next_pause(pause);
        }
        assert_eq!(pause, LONGEST_PAUSE);
    }
}
