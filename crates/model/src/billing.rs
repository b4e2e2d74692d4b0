//! The price book and the rounding of durations. Source: AWS Lambda pricing page, "Duration".

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Prices and the step in which time is billed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PriceBook {
    /// Billing step in milliseconds: 1 today, 100 in the classic price list.
    pub granularity_ms: u64,
    /// Price of one GB-second, in `currency`.
    pub per_gb_second: f64,
    /// Price of one request, in `currency`.
    pub per_request: f64,
    /// The unit the prices are in, for display only.
    pub currency: String,
}

impl Default for PriceBook {
    fn default() -> Self {
        Self {
            granularity_ms: 1,
            per_gb_second: 0.000_016_666_7,
            per_request: 0.000_000_2,
            currency: "USD".to_owned(),
        }
    }
}

impl PriceBook {
    /// Price of one request of `billed` duration at `memory_mib`.
    pub fn price(&self, billed: Duration, memory_mib: u32) -> f64 {
        gb_seconds(billed, memory_mib) * self.per_gb_second + self.per_request
    }
}

/// Billed duration of one invocation: handler time plus billed init, rounded up to the step.
///
/// `granularity_ms` is the price book's step (1 ms today, 100 ms in the classic price list); a step
/// of 0 counts as 1.
pub fn billed(handler: Duration, init: Duration, granularity_ms: u64) -> Duration {
    let step = u128::from(granularity_ms.max(1)) * 1_000_000;
    let total = (handler + init).as_nanos();
    let rounded = total.div_ceil(step) * step / 1_000_000;
    Duration::from_millis(u64::try_from(rounded).unwrap_or(u64::MAX))
}

/// GB-seconds of one invocation; a GB is 1024 MiB here, as on the pricing page.
pub fn gb_seconds(billed: Duration, memory_mib: u32) -> f64 {
    billed.as_secs_f64() * f64::from(memory_mib) / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_up_to_the_step() {
        let check = |handler_us: u64, init_us: u64, step: u64, expected_ms: u64| {
            assert_eq!(
                billed(Duration::from_micros(handler_us), Duration::from_micros(init_us), step),
                Duration::from_millis(expected_ms)
            );
        };
        check(1_230, 128_110, 1, 130);
        check(1_000, 0, 1, 1);
        check(1_001, 0, 1, 2);
        check(1, 0, 100, 100);
        check(100_001, 0, 100, 200);
        check(0, 0, 1, 0);
    }
}
