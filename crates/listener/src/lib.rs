//! Accepts connections and hands their requests to whoever answers them.
//!
//! Used by the wiring for the API, for the gateway, and for the endpoint inside an instance. Knows no protocol above HTTP
//! and nothing of functions: TLS and its certificates, HTTP/1.1 and HTTP/2, bounds of connections, heads, bodies and times, and
//! the drain.

pub mod acme;
mod activity;
pub mod body;
mod bounded;
mod connection;
mod connections;
mod head;
mod limits;
mod memory;
mod peer;
mod serve;
mod socket;
pub mod tls;

pub use bounded::{BoxError, Received, Refused};
pub use limits::Limits;
pub use memory::{Memory, Share};
pub use peer::Peer;
pub use serve::{Listener, serve};
