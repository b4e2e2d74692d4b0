//! The embedded things that events come from, without their wire protocols: objects and queues (tables,
//! streams and mail follow); and metrics.
//!
//! Called by the front doors. Keeps its state beside the metadata, by the means of `store`; knows no HTTP.

pub mod metrics;
pub mod objects;
pub mod queues;
