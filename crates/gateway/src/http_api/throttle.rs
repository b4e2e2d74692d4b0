//! Requests per second of routes in stages, as their settings say. Counted on this node.
//!
//! Source: developer guide, "Throttle requests to your HTTP APIs": a token bucket with a rate and a burst.

use lamplight_model::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Buckets kept; those that are full again go first, then those that will be next.
const BUCKETS: usize = 4_096;

/// The buckets of all routes that have bounds.
#[derive(Debug, Default)]
pub struct Throttles(Mutex<HashMap<String, Bucket>>);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Timestamp,
    /// When it is full, if nothing is taken before, milliseconds: from then on nobody misses it.
    full_at: i64,
}

impl Throttles {
    /// Takes one request from the bucket of `key`, which holds `burst` and gains `rate` a second. `false`: it is empty.
    pub fn take(&self, key: &str, rate: f64, burst: u64, now: Timestamp) -> bool {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS && !buckets.contains_key(key) {
            buckets.retain(|_, bucket| bucket.full_at > now.as_millis());
            if buckets.len() >= BUCKETS {
                let next = buckets.iter().min_by_key(|(_, bucket)| bucket.full_at);
                if let Some(next) = next.map(|(key, _)| key.clone()) {
                    buckets.remove(&next);
                }
            }
        }
        let full = Bucket { tokens: burst as f64, at: now, full_at: now.as_millis() };
        let bucket = buckets.entry(key.to_owned()).or_insert(full);
        let elapsed = (now.as_millis() - bucket.at.as_millis()).max(0) as f64 / 1_000.0;
        bucket.tokens = (bucket.tokens + elapsed * rate).min(burst as f64);
        // Requests do not come here in the order of their times.
        bucket.at = bucket.at.max(now);
        let taken = bucket.tokens >= 1.0;
        if taken {
            bucket.tokens -= 1.0;
        }
        let missing = burst as f64 - bucket.tokens;
        if missing > 0.0 {
            // Without a rate never, which is as far away as there are numbers.
            bucket.full_at = now.as_millis().saturating_add((missing / rate * 1_000.0) as i64);
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

    #[test]
    fn slow_buckets_are_remembered_among_many() {
        let throttles = Throttles::default();
        assert!(throttles.take("slow", 0.001, 1, Timestamp(0)));
        // Full again after a second each: they make room for those that come later.
        for number in 0..3 * BUCKETS as i64 {
            assert!(throttles.take(&number.to_string(), 1.0, 1, Timestamp(number)));
        }
        assert!(throttles.0.lock().unwrap().len() <= BUCKETS);
        assert!(!throttles.take("slow", 0.001, 1, Timestamp(500_000)), "a token comes after 1,000 s");
        assert!(throttles.take("slow", 0.001, 1, Timestamp(1_100_000)));
        // None of these is full soon: the one that will be first goes.
        for number in 0..2 * BUCKETS {
            let rate = if number == 7 { 0.01 } else { 0.0 };
            assert!(throttles.take(&format!("new {number}"), rate, 1, Timestamp(2_000_000)));
        }
        assert_eq!(throttles.0.lock().unwrap().len(), BUCKETS);
        assert!(!throttles.0.lock().unwrap().contains_key("new 7"));
    }
}
