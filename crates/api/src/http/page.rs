//! Opaque page tokens. A token holds the last key of the page before, so that pages stay right while things are
//! added and deleted.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest token accepted, bytes: no key of ours makes a longer one. An object's key has 1,024 bytes, of which JSON and
/// base64 make eight times as many at worst.
const TOKEN_BYTES: usize = 16 * 1_024;

/// A token for the page after `key`. `list` names the list it belongs to; another list refuses it.
pub fn token<K: Serialize>(list: &str, key: &K) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&(list, key)).unwrap_or_default())
}

/// The key of a token of the same list; `None` for anything else.
pub fn key<K: DeserializeOwned>(list: &str, token: &str) -> Option<K> {
    if token.len() > TOKEN_BYTES {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (of, key): (String, K) = serde_json::from_slice(&bytes).ok()?;
    (of == list).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_and_do_not_travel() {
        let made = token("functions", &("hello", 3));
        assert_eq!(key::<(String, u64)>("functions", &made), Some(("hello".to_owned(), 3)));
        assert_eq!(key::<(String, u64)>("versions", &made), None);
        assert_eq!(key::<(String, u64)>("functions", "not a token"), None);
        assert_eq!(key::<(String, u64)>("functions", ""), None);
    }
}
