//! Accepts connections and hands their requests to whoever answers them.
//!
//! Used by the wiring for the API, for the gateway, and for the endpoint inside an instance. Knows no protocol above HTTP
//! and nothing of functions: it bounds connections, heads, idle time and bodies, and drains.

pub mod body;
mod peer;
mod serve;

pub use peer::Peer;
pub use serve::{ServeLimits, serve};
