//! Tenants of a function with tenant isolation: whom an event belongs to, as its caller says.
//!
//! Parsed by the front door and by the queue; the pool keeps instances of different tenants apart by it.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Characters besides letters and digits.
const PUNCTUATION: &str = "._:/=+-@ ";

/// `X-Amz-Tenant-Id`: one to 256 letters, digits, spaces and `._:/=+-@`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Longest id, characters. Source: service model, `TenantId`.
    pub const MOST_CHARACTERS: usize = 256;
    /// Pattern of the service model, for messages.
    pub const PATTERN: &'static str = r"[a-zA-Z0-9\._:\/=+\-@ ]+";

    /// `None` for what the service model does not allow.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = Self::fits_pattern(text) && text.len() <= Self::MOST_CHARACTERS;
        valid.then(|| Self(text.into()))
    }

    /// Whether it is an id but for its length.
    pub fn fits_pattern(text: &str) -> bool {
        let fits = |character: char| character.is_ascii_alphanumeric() || PUNCTUATION.contains(character);
        !text.is_empty() && text.chars().all(fits)
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_id_may_be() {
        for valid in ["a", "blue", "Acme Inc./eu:1=x+y-z@w_.", &"x".repeat(256)] {
            assert_eq!(TenantId::parse(valid).unwrap().as_str(), valid);
        }
        for invalid in ["", "ü", "a\nb", "a,b", "a\tb", "a#b", &"x".repeat(257)] {
            assert_eq!(TenantId::parse(invalid), None, "{invalid}");
        }
    }
}
