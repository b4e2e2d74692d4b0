//! From a request to the event a function gets.

pub mod v2;
