//! Credentials of instances: where they come from, and how long an instance with them takes events.
//!
//! They are in the environment and hold for an instance's life, as on AWS, so an instance ends before they do: it takes no event
//! that might run until then. The wall clock counts, since it is what signatures are compared with: a host that slept wakes up
//! with instances that are too old.

use lamplight_model::credentials::TemporaryCredentials;
use lamplight_model::{FunctionVersion, ServiceError, Timestamp};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Makes the credentials of a new instance of a version: those of a session of its role.
pub type CredentialSource = Arc<
    dyn Fn(
            &FunctionVersion,
        ) -> Pin<Box<dyn Future<Output = Result<TemporaryCredentials, ServiceError>> + Send>>
        + Send
        + Sync,
>;

/// The longest run, and five minutes for what it signed last to arrive.
const LAST_RUN: Duration = Duration::from_secs(900 + 300);
/// Instances that were started together end over so long a time.
const SPREAD_SECONDS: u64 = 3_600;
/// What as `random` gives the earliest end.
pub const EARLIEST_END: u64 = SPREAD_SECONDS - 1;

/// Until when an instance takes events whose credentials end at `expires_at`. `random` spreads the ends of those that began at
/// the same moment.
pub fn serves_until(expires_at: Timestamp, random: u64) -> Timestamp {
    let before = LAST_RUN + Duration::from_secs(random % SPREAD_SECONDS);
    Timestamp(expires_at.0.saturating_sub(i64::try_from(before.as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_run_ends_before_the_credentials_do() {
        let expires_at = Timestamp(12 * 3_600_000);
        let minutes = |minutes: i64| Timestamp(expires_at.0 - minutes * 60_000);
        assert_eq!(serves_until(expires_at, 0), minutes(20));
        assert_eq!(serves_until(expires_at, 60), minutes(21));
        assert_eq!(serves_until(expires_at, EARLIEST_END), Timestamp(minutes(80).0 + 1_000));
        assert_eq!(serves_until(expires_at, 3_600), minutes(20));
        assert_eq!(serves_until(Timestamp(i64::MIN), 0), Timestamp(i64::MIN));
    }
}
