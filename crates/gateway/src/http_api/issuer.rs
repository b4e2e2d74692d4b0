//! The keys of the issuers of tokens: found by OpenID Connect discovery, kept, and asked for again when a token names another.
//!
//! Source: developer guide, "JWT authorizers": keys may be kept for two hours; OpenID Connect Discovery 1.0, 4.

use super::client::Client;
use super::jwt::KeySet;
use lamplight_model::Timestamp;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tracing::warn;

/// How long keys are kept. Source: developer guide, see above.
const KEPT: Duration = Duration::from_secs(2 * 60 * 60);
/// How long nobody asks again, whatever tokens name and however the last try went.
const AT_REST: Duration = Duration::from_secs(10);
/// How long an issuer may take for one document. Source: quotas of HTTP APIs, "authorizer: issuer's response" (1,500 ms).
const ANSWER: Duration = Duration::from_millis(1_500);
/// Largest document of an issuer, bytes. Source: quotas of HTTP APIs, "Maximum response size of OpenID Connect discovery and JWKS
/// endpoint" (150,000 bytes).
const DOCUMENT_BYTES: usize = 150_000;
/// Issuers kept at once; beyond it all are asked anew.
const ISSUERS: usize = 256;

/// The keys of issuers, shared by all requests.
#[derive(Default)]
pub struct Issuers {
    known: Mutex<HashMap<String, Arc<Mutex<Known>>>>,
}

#[derive(Default)]
struct Known {
    keys: Arc<KeySet>,
    /// When the keys came.
    fetched_at: Option<Timestamp>,
    /// When somebody asked for them.
    asked_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Discovery {
    jwks_uri: String,
}

impl Issuers {
    /// Keys of an issuer that satisfy `enough`, else the newest there are. `None` when there are none.
    ///
    /// Requests that need the same issuer's keys wait for one who asks.
    pub async fn keys(
        &self,
        client: &Client,
        issuer: &str,
        now: Timestamp,
        enough: impl Fn(&KeySet) -> bool,
    ) -> Option<Arc<KeySet>> {
        let known = {
            let mut all = self.known.lock().await;
            if all.len() >= ISSUERS && !all.contains_key(issuer) {
                all.clear();
            }
            all.entry(issuer.to_owned()).or_default().clone()
        };
        let mut known = known.lock().await;
        if must_ask(&known, now, enough(&known.keys)) {
            known.asked_at = Some(now);
            match fetch(client, issuer).await {
                Ok(keys) => {
                    known.keys = Arc::new(keys);
                    known.fetched_at = Some(now);
                }
                Err(error) => warn!(issuer, error, "failed to fetch the keys of an issuer"),
            }
        }
        // Keys that could not be renewed are not believed for ever.
        let fetched_at = known.fetched_at.filter(|at| now < at.plus(KEPT))?;
        (fetched_at <= now).then(|| known.keys.clone())
    }
}

/// Whether to ask an issuer: the keys are old or not enough, and nobody has just asked.
fn must_ask(known: &Known, now: Timestamp, enough: bool) -> bool {
    let fresh = known.fetched_at.is_some_and(|at| now < at.plus(KEPT));
    let asked_just_now = known.asked_at.is_some_and(|at| at <= now && now < at.plus(AT_REST));
    let satisfied = (fresh && enough) || asked_just_now;
    !satisfied
}

async fn fetch(client: &Client, issuer: &str) -> Result<KeySet, String> {
    let discovery = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let document = client.get(&discovery, ANSWER, DOCUMENT_BYTES).await?;
    let discovery: Discovery = serde_json::from_slice(&document)
        .map_err(|error| format!("failed to read its discovery document: {error}"))?;
    let document = client.get(&discovery.jwks_uri, ANSWER, DOCUMENT_BYTES).await?;
    KeySet::parse(&document).ok_or_else(|| format!("{} is no key set", discovery.jwks_uri))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_an_issuer_is_asked() {
        let at = |seconds: i64| Timestamp(seconds * 1_000);
        let known = |fetched: Option<i64>, asked: Option<i64>| Known {
            fetched_at: fetched.map(at),
            asked_at: asked.map(at),
            ..Known::default()
        };
        assert!(must_ask(&known(None, None), at(0), false));
        assert!(!must_ask(&known(None, Some(0)), at(9), false), "a failed try is not made again at once");
        assert!(must_ask(&known(None, Some(0)), at(10), false));
        assert!(!must_ask(&known(Some(0), Some(0)), at(7_199), true));
        assert!(must_ask(&known(Some(0), Some(0)), at(7_200), true));
        assert!(must_ask(&known(Some(0), Some(0)), at(60), false), "another key may be there by now");
    }
}
