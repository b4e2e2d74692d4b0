//! Placeholder while the interfaces are written.
