//! What an attempt means for its event: done, again later, or given up. Pure; `now` is a parameter.
//!
//! Source: Lambda developer guide, "How Lambda handles errors and retries with asynchronous invocation": after a
//! function error one minute, then two minutes; throttles and errors of the service go back to the queue with
//! exponential backoff from one second to five minutes until the event is too old.

use lamplight_model::Timestamp;
use lamplight_store::Release;
use std::time::Duration;

/// Delay before the first and the second retry after a function error.
pub const FUNCTION_ERROR_DELAYS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(120)];
/// Shortest delay after a throttle or a platform failure.
pub const SHORTEST_BACKOFF: Duration = Duration::from_secs(1);
/// Longest delay after a throttle or a platform failure.
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// `condition` of an event whose retries are used up.
pub const RETRIES_EXHAUSTED: &str = "RetriesExhausted";
/// `condition` of an event that became too old.
pub const EVENT_AGE_EXCEEDED: &str = "EventAgeExceeded";
/// `condition` of an event whose function or version is gone; the store uses the same word.
pub const FUNCTION_DELETED: &str = "FunctionDeleted";
/// `condition` of an event whose function has reserved no concurrency.
pub const ZERO_RESERVED_CONCURRENCY: &str = "ZeroReservedConcurrency";
/// `condition` of an event whose function had been invoked too often in its chain of requests. AWS's own word is not published.
pub const RECURSIVE_INVOCATION: &str = "RecursiveInvocation";

/// Every condition there is.
pub const CONDITIONS: [&str; 5] = [
    RETRIES_EXHAUSTED,
    EVENT_AGE_EXCEEDED,
    FUNCTION_DELETED,
    ZERO_RESERVED_CONCURRENCY,
    RECURSIVE_INVOCATION,
];

/// Bounds on how long an event is tried; the defaults and maxima are Lambda's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// `MaximumRetryAttempts`: attempts after the first, 0 to 2.
    pub maximum_retries: u32,
    /// `MaximumEventAgeInSeconds`: from acceptance, 60 s to 6 h.
    pub maximum_age: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { maximum_retries: 2, maximum_age: Duration::from_secs(6 * 3_600) }
    }
}

/// What the decision needs to know of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Finished attempts that counted, without the one being decided on.
    pub attempts: u32,
}

/// How one attempt ended. Each error is the JSON document a reader of the dead letter gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// The function returned.
    Success,
    /// The function ran and failed: handler error, crash, out of memory, timeout, failed init.
    FunctionError(String),
    /// It did not run to an end for a reason that is not the function's: throttled, no instance, platform
    /// failure, a function that is still being made.
    NotRun(String),
    /// It was refused because nothing of the function may run: its reserved concurrency is 0.
    Stopped(String),
    /// There is no such function or version any more.
    FunctionGone(String),
    /// The function had been invoked too often in this chain of requests.
    Recursive(String),
}

/// How the claim of an event ends after `attempt`, which ended at `now`.
pub fn decide(policy: &RetryPolicy, standing: Standing, attempt: Attempt, now: Timestamp) -> Release {
    match attempt {
        Attempt::Success => Release::Done,
        Attempt::FunctionGone(error) => Release::DeadLetter { condition: FUNCTION_DELETED.to_owned(), error },
        Attempt::Recursive(error) => {
            Release::DeadLetter { condition: RECURSIVE_INVOCATION.to_owned(), error }
        }
        // Source: the same guide: with a reserved concurrency of zero, events go to the dead letter queue or the destination
        // without any retries.
        Attempt::Stopped(error) => {
            Release::DeadLetter { condition: ZERO_RESERVED_CONCURRENCY.to_owned(), error }
        }
        Attempt::FunctionError(error) => {
            if standing.attempts >= policy.maximum_retries {
                return Release::DeadLetter { condition: RETRIES_EXHAUSTED.to_owned(), error };
            }
            let last = FUNCTION_ERROR_DELAYS.len() - 1;
            let delay = FUNCTION_ERROR_DELAYS[(standing.attempts as usize).min(last)];
            again_unless_too_old(policy, standing, now.plus(delay), true, error)
        }
        Attempt::NotRun(error) => {
            again_unless_too_old(policy, standing, now.plus(backoff(standing, now)), false, error)
        }
    }
}

/// Whether an event must be given up instead of being tried at `now`.
pub fn too_old(policy: &RetryPolicy, standing: Standing, now: Timestamp) -> bool {
    now >= standing.accepted_at.plus(policy.maximum_age)
}

fn again_unless_too_old(
    policy: &RetryPolicy,
    standing: Standing,
    not_before: Timestamp,
    counted: bool,
    error: String,
) -> Release {
    if too_old(policy, standing, not_before) {
        Release::DeadLetter { condition: EVENT_AGE_EXCEEDED.to_owned(), error }
    } else {
        Release::Retry { not_before, counted }
    }
}

/// As long as the event has been trying already, from one second to five minutes: waiting as long again each time
/// doubles the delay, and needs no counter that a restart would lose.
fn backoff(standing: Standing, now: Timestamp) -> Duration {
    let planned: Duration = FUNCTION_ERROR_DELAYS.iter().take(standing.attempts as usize).sum();
    let waited_ms = now.as_millis().saturating_sub(standing.accepted_at.plus(planned).as_millis());
    Duration::from_millis(u64::try_from(waited_ms).unwrap_or(0)).clamp(SHORTEST_BACKOFF, LONGEST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPTED: Timestamp = Timestamp(1_000_000);

    fn at_seconds(seconds: i64) -> Timestamp {
        Timestamp(ACCEPTED.0 + seconds * 1_000)
    }

    fn describe(release: &Release) -> String {
        match release {
            Release::Done => "done".to_owned(),
            Release::Retry { not_before, counted } => format!(
                "again at {} s{}",
                (not_before.0 - ACCEPTED.0) as f64 / 1_000.0,
                if *counted { ", counted" } else { "" }
            ),
            Release::DeadLetter { condition, .. } => condition.clone(),
        }
    }

    fn check(policy: RetryPolicy, attempts: u32, attempt: Attempt, ended_after_seconds: i64, expected: &str) {
        let standing = Standing { accepted_at: ACCEPTED, attempts };
        let release = decide(&policy, standing, attempt.clone(), at_seconds(ended_after_seconds));
        assert_eq!(describe(&release), expected, "{attempt:?} after {attempts} attempts");
    }

    fn error() -> Attempt {
        Attempt::FunctionError("{}".to_owned())
    }

    fn not_run() -> Attempt {
        Attempt::NotRun("{}".to_owned())
    }

    #[test]
    fn a_function_error_is_retried_after_one_and_two_minutes_then_given_up() {
        let policy = RetryPolicy::default();
        check(policy, 0, Attempt::Success, 1, "done");
        check(policy, 0, error(), 3, "again at 63 s, counted");
        check(policy, 1, error(), 65, "again at 185 s, counted");
        check(policy, 2, error(), 187, "RetriesExhausted");
        check(policy, 3, error(), 187, "RetriesExhausted");
        check(RetryPolicy { maximum_retries: 0, ..policy }, 0, error(), 1, "RetriesExhausted");
        check(RetryPolicy { maximum_retries: 1, ..policy }, 1, error(), 65, "RetriesExhausted");
    }

    #[test]
    fn a_throttle_backs_off_exponentially_and_costs_no_retry() {
        let policy = RetryPolicy::default();
        for (ended_after_seconds, expected) in [
            (0, "again at 1 s"),
            (1, "again at 2 s"),
            (2, "again at 4 s"),
            (4, "again at 8 s"),
            (200, "again at 400 s"),
            (400, "again at 700 s"),
            (10_000, "again at 10300 s"),
        ] {
            check(policy, 0, not_run(), ended_after_seconds, expected);
        }
        // The second attempt was planned one minute after acceptance: its backoff begins small again.
        check(policy, 1, not_run(), 60, "again at 61 s");
        check(policy, 2, not_run(), 182, "again at 184 s");
    }

    #[test]
    fn age_ends_throttles_and_error_retries_alike() {
        let policy = RetryPolicy::default();
        let six_hours = 6 * 3_600;
        check(policy, 0, not_run(), six_hours - 301, "again at 21599 s");
        check(policy, 0, not_run(), six_hours - 300, "EventAgeExceeded");
        check(policy, 1, error(), six_hours - 119, "EventAgeExceeded");
        check(policy, 0, Attempt::Success, six_hours + 5, "done");
        let short = RetryPolicy { maximum_age: Duration::from_secs(60), ..policy };
        check(short, 0, error(), 1, "EventAgeExceeded");
        let standing = Standing { accepted_at: ACCEPTED, attempts: 0 };
        assert!(!too_old(&short, standing, at_seconds(59)));
        assert!(too_old(&short, standing, at_seconds(60)));
    }

    #[test]
    fn a_deleted_function_ends_its_events() {
        check(RetryPolicy::default(), 0, Attempt::FunctionGone("{}".to_owned()), 1, "FunctionDeleted");
        check(RetryPolicy::default(), 0, Attempt::Recursive("{}".to_owned()), 1, "RecursiveInvocation");
    }

    #[test]
    fn a_stopped_function_ends_its_events_at_any_attempt() {
        for attempts in [0, 2] {
            let stopped = Attempt::Stopped("{}".to_owned());
            check(RetryPolicy::default(), attempts, stopped, 1, "ZeroReservedConcurrency");
        }
    }

    #[test]
    fn a_clock_that_went_back_is_no_harm() {
        check(RetryPolicy::default(), 0, not_run(), -500, "again at -499 s");
    }
}
