//! How many instances, for how long, and which of them go first: pure functions, proven by tables.
//!
//! Called by `registry`. Nothing here reads a clock or touches an instance.

mod admission;
mod blanks;
mod carried;
mod greedy_dual;
mod histogram;
mod keep_alive;
mod version_zygotes;

pub use admission::{Budget, Use, claim_bytes, fits};
pub use blanks::{Arrivals, BlankBounds, wanted};
pub use carried::{CarriedVolume, surplus};
pub use greedy_dual::{IdleInstance, Shortage, Uses, Victims, learned_cost, priority, victims};
pub use histogram::{BIN as HISTOGRAM_BIN, IdleTimes, Windows};
pub use keep_alive::{Expectation, expectation, expected_uses, expired, memory_wanted_above, prewarm_after};
pub use version_zygotes::{Place, VersionZygoteBounds, place_of_next};
