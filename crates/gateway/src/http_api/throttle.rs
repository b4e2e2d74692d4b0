//! Requests per second of routes in stages, as their settings say. Counted on this node.
//!
//! Source: developer guide, "Throttle requests to your HTTP APIs": a token bucket with a rate and a burst.

use lamplight_model::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Buckets kept; those that are full again go first.
const BUCKETS: usize = 4_096;

/// The buckets of all routes that have bounds.
#[derive(Debug, Default)]
pub struct Throttles(Mutex<HashMap<String, Bucket>>);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Timestamp,
}

impl Throttles {
    /// Takes one request from the bucket of `key`, which holds `burst` and gains `rate` a second. `false`: it is empty.
    pub fn take(&self, key: &str, rate: f64, burst: u64, now: Timestamp) -> bool {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS && !buckets.contains_key(key) {
            // Nobody remembers a bucket of a second ago that is hardly used; losing one gives a burst at most.
            buckets.retain(|_, bucket| now.as_millis() - bucket.at.as_millis() < 1_000);
        }
        let full = Bucket { tokens: burst as f64, at: now };
        let bucket = buckets.entry(key.to_owned()).or_insert(full);
        let elapsed = (now.as_millis() - bucket.at.as_millis()).max(0) as f64 / 1_000.0;
        bucket.tokens = (bucket.tokens + elapsed * rate).min(burst as f64);
        bucket.at = now;
        let taken = bucket.tokens >= 1.0;
        if taken {
            bucket.tokens -= 1.0;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let throttles = Throttles::default();
        let take = |millis: i64| throttles.take("a", 2.0, 3, Timestamp(millis));
        assert_eq!([take(0), take(0), take(0), take(0)], [true, true, true, false]);
        assert_eq!([take(500), take(500)], [true, false]);
        assert_eq!([take(10_000), take(10_000), take(10_000), take(10_000)], [true, true, true, false]);
        assert!(throttles.take("b", 2.0, 3, Timestamp(0)), "another route has its own");
        assert!(!throttles.take("c", 0.0, 0, Timestamp(0)), "nothing is let through");
    }
}
