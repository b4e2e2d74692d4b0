//! From a request to the event a function gets.

pub mod v1;
pub mod v2;
