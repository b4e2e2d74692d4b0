//! Instances of one node: start, reuse, freeze, stop.
//!
//! Called by `invoke`. Decides *how many* and *how long* in `policy`; does the work in `start` and `instance`.

pub mod answer;

pub use answer::{Answer, Finished};
