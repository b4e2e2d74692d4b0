//! The public HTTP door: function URLs and APIs, from a request to an event and from a result to a response.
//!
//! Called by the wiring for every request that `Gateway::claims`. Hands events to `invoke`; reads from `store` what `api`
//! wrote there; never sees `api`, `pool`, `sandbox` or `runtime`.
//!
//! ```text
//! request -> address (Host or path form) -> function URL | API
//!            find, authorize, CORS, event -> Invoker -> answer inferred, checked
//! ```

pub mod address;
pub mod authorization;
mod back_end;
mod client;
pub mod cors;
pub mod event;
mod http_api;
pub mod incoming;
mod measure;
mod permission;
mod remembered;
pub mod reply;
mod rest_api;
pub mod state;
mod trace;
mod url;

pub use address::{Address, Addressed};
pub use incoming::Incoming;
pub use state::{Gateway, GatewayConfig, GatewayParts};

/// Whom requests of functions come from: the address Lambda's sandboxes have. What policies and functions allow to loopback is not
/// meant for them.
pub const INSIDE: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 76, 1));

/// The body of a response.
pub type Body = axum::body::Body;
/// A request as the listener hands it on.
pub type Request = http::Request<Body>;
/// What the gateway answers with.
pub type Response = http::Response<Body>;
