//! The keys of the issuers of tokens: found by OpenID Connect discovery, kept, and asked for again when a token names another.
//!
//! Source: developer guide, "JWT authorizers": keys may be kept for two hours; OpenID Connect Discovery 1.0, 4.

use super::jwt::KeySet;
use crate::client::Client;
use lamplight_model::Timestamp;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
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
    /// Closed as soon as the last one who asked has an answer.
    asking: Option<watch::Receiver<()>>,
}

#[derive(Deserialize)]
struct Discovery {
    jwks_uri: String,
}

impl Known {
    /// Keys that could not be renewed are not believed for ever.
    fn is_fresh(&self, now: Timestamp) -> bool {
        self.fetched_at.is_some_and(|at| is_within(at, now, KEPT))
    }

    /// Whether to ask an issuer: the keys are old or not enough, and nobody has just asked.
    fn must_ask(&self, now: Timestamp, enough: bool) -> bool {
        let asked_just_now = self.asked_at.is_some_and(|at| is_within(at, now, AT_REST));
        let satisfied = (self.is_fresh(now) && enough) || asked_just_now;
        !satisfied
    }
}

/// Whether two moments are less than `span` apart. Requests do not come here in the order in which they came in, and clocks are set
/// back: either may be the earlier one.
fn is_within(one: Timestamp, other: Timestamp, span: Duration) -> bool {
    u128::from(one.as_millis().abs_diff(other.as_millis())) < span.as_millis()
}

impl Issuers {
    /// Keys of an issuer that satisfy `enough`, else the newest there are. `None` when there are none.
    ///
    /// Requests that need keys which are not there wait for the one answer; the issuer is asked to the end whether they do or not: a
    /// client that leaves takes nothing away from the others.
    pub async fn keys(
        &self,
        client: &Arc<Client>,
        issuer: &str,
        now: Timestamp,
        enough: impl Fn(&KeySet) -> bool,
    ) -> Option<Arc<KeySet>> {
        let shared = self.known(issuer);
        let asking = {
            let mut known = locked(&shared);
            let is_enough = enough(&known.keys);
            if known.is_fresh(now) && is_enough {
                return Some(known.keys.clone());
            }
            if known.must_ask(now, is_enough) {
                known.asked_at = Some(now);
                known.asking = Some(ask(client.clone(), issuer.to_owned(), now, shared.clone()));
            }
            known.asking.clone()
        };
        if let Some(mut asking) = asking {
            // Nothing is ever sent: it ends when the other side does.
            while asking.changed().await.is_ok() {}
        }
        let known = locked(&shared);
        known.is_fresh(now).then(|| known.keys.clone())
    }

    fn known(&self, issuer: &str) -> Arc<Mutex<Known>> {
        let mut all = locked(&self.known);
        if all.len() >= ISSUERS && !all.contains_key(issuer) {
            all.clear();
        }
        all.entry(issuer.to_owned()).or_default().clone()
    }
}

/// Asks an issuer, in a task of its own. What is given back is closed when the keys are in `known`, or there are none.
fn ask(client: Arc<Client>, issuer: String, now: Timestamp, known: Arc<Mutex<Known>>) -> watch::Receiver<()> {
    let (asking, asked) = watch::channel(());
    tokio::spawn(async move {
        match fetch(&client, &issuer).await {
            Ok(keys) => {
                let mut known = locked(&known);
                known.keys = Arc::new(keys);
                known.fetched_at = Some(now);
            }
            Err(error) => warn!(issuer, error, "failed to fetch the keys of an issuer"),
        }
        drop(asking);
    });
    asked
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    use serde_json::json;
    use std::future::ready;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    #[test]
    fn when_an_issuer_is_asked() {
        let at = |seconds: i64| Timestamp(seconds * 1_000);
        let known = |fetched: Option<i64>, asked: Option<i64>| Known {
            fetched_at: fetched.map(at),
            asked_at: asked.map(at),
            ..Known::default()
        };
        assert!(known(None, None).must_ask(at(0), false));
        assert!(!known(None, Some(0)).must_ask(at(9), false), "a failed try is not made again at once");
        assert!(known(None, Some(0)).must_ask(at(10), false));
        assert!(!known(Some(0), Some(0)).must_ask(at(7_199), true));
        assert!(known(Some(0), Some(0)).must_ask(at(7_200), true));
        assert!(known(Some(0), Some(0)).must_ask(at(60), false), "another key may be there by now");
        assert!(!known(Some(1), Some(1)).must_ask(at(0), true), "who came before waits for who asked first");
        assert!(known(Some(7_200), Some(7_200)).must_ask(at(0), true), "the clock was set back");
    }

    /// An issuer whose every answer waits for the test.
    struct Issuer {
        listener: TcpListener,
        url: String,
    }

    impl Issuer {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            Self { listener, url }
        }

        /// Waits for the next request.
        async fn asked(&self) -> TcpStream {
            let (mut connection, _) = self.listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(connection.read_u8().await.unwrap());
            }
            connection
        }

        async fn answer(mut connection: TcpStream, document: serde_json::Value) {
            let document = document.to_string();
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", document.len());
            connection.write_all(format!("{head}{document}").as_bytes()).await.unwrap();
        }

        /// Answers both documents, the first one at `connection`.
        async fn answer_all(&self, connection: TcpStream) {
            Self::answer(connection, json!({ "jwks_uri": format!("{}/keys", self.url) })).await;
            Self::answer(self.asked().await, json!({ "keys": [{ "kty": "RSA", "kid": "1" }] })).await;
        }
    }

    #[tokio::test]
    async fn a_client_that_leaves_takes_nothing_from_the_others() {
        let (issuer, issuers, client) = (Issuer::start().await, Issuers::default(), Arc::<Client>::default());
        let connection = {
            let first = issuers.keys(&client, &issuer.url, Timestamp(0), |_| false);
            tokio::select! {
                _ = first => panic!("nothing has been answered"),
                connection = issuer.asked() => connection,
            }
        };
        // The first is gone; the second comes in the time in which nobody asks again.
        let second = issuers.keys(&client, &issuer.url, Timestamp(1), |_| false);
        let (keys, ()) = tokio::join!(second, issuer.answer_all(connection));
        assert!(keys.is_some());
    }

    #[tokio::test]
    async fn keys_that_are_there_wait_for_nobody() {
        let (issuer, issuers, client) = (Issuer::start().await, Issuers::default(), Arc::<Client>::default());
        let first = issuers.keys(&client, &issuer.url, Timestamp(0), |_| false);
        let (keys, ()) = tokio::join!(first, async { issuer.answer_all(issuer.asked().await).await });
        assert!(keys.is_some());
        let now = Timestamp(60_000);
        // One token names a key that nobody knows, and the issuer takes its time.
        let unknown = issuers.keys(&client, &issuer.url, now, |_| false);
        tokio::pin!(unknown);
        let _connection = tokio::select! {
            _ = &mut unknown => panic!("nothing has been answered"),
            connection = issuer.asked() => connection,
        };
        tokio::select! {
            biased;
            keys = issuers.keys(&client, &issuer.url, now, |_| true) => assert!(keys.is_some()),
            () = ready(()) => panic!("keys that are there were waited for"),
        }
    }
}
