//! What all protocols share: who asks and from where, bodies with bounds, errors, page tokens, the guard.

pub mod error;
pub mod guard;
pub mod members;
pub mod page;
pub mod reply;
pub mod request;
pub mod signature;
pub mod xml;

pub use error::ApiError;
pub use lamplight_listener::body;
pub use members::Members;
pub use request::Context;

/// What every handler answers with.
pub type Response = http::Response<axum::body::Body>;
