//! How many instances, for how long, and which of them go first: pure functions, proven by tables.
//!
//! Called by `registry`. Nothing here reads a clock or touches an instance.

mod admission;
mod blanks;
mod carried;
mod eviction;
mod keep_alive;

pub use admission::{Budget, Use, claim_bytes, fits};
pub use blanks::{Arrivals, BlankBounds, wanted};
pub use carried::{CarriedVolume, surplus};
pub use eviction::{IdleInstance, Shortage, victims};
pub use keep_alive::expired;
