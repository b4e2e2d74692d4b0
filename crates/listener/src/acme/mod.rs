//! Certificates from an authority that speaks ACME (RFC 8555), proven by the handshake itself (RFC 8737, tls-alpn-01).
//!
//! ```text
//! each domain:  kept file ─► shown ─► wait until a third of its life is left ─► order ─► kept and shown ─► wait ...
//!                                            ▲                                   │ failed
//!                                            └────── wait, longer each time ◄────┘
//! ```
//!
//! A certificate for each domain, so that one whose name points elsewhere costs the others nothing.

mod client;
mod order;
mod schedule;
mod storage;

use crate::tls::Certificates;
use lamplight_model::{ErrorChain, Timestamp};
use order::Authority;
use schedule::{FIRST_PAUSE, LONGEST_WAIT, due, next_pause};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use storage::Storage;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

pub use client::ClientError;

/// Gives the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Which authority, and what it is asked for.
#[derive(Debug, Clone)]
pub struct AcmeConfig {
    /// URL of the directory, e.g. Let's Encrypt's.
    pub directory: String,
    /// Whom the authority may write to, e.g. `mailto:you@example.com`.
    pub contacts: Vec<String>,
    /// Names without wildcards: those can only be proven in the domain name system.
    pub domains: Vec<String>,
    /// PEM file with the roots that the authority's own server is checked against; without it the host's.
    pub roots: Option<PathBuf>,
    /// Where account and certificates are kept.
    pub storage: PathBuf,
}

/// Shows what was kept at once, then gets and renews certificates until it is dropped. Fails at once when the roots cannot be
/// read or the directory cannot be made.
pub fn keep(
    config: AcmeConfig,
    certificates: Arc<Certificates>,
    clock: Clock,
) -> Result<impl Future<Output = ()> + Send, ClientError> {
    let storage = Arc::new(Storage::open(&config.storage).map_err(ClientError::Storage)?);
    let authority = Authority::new(&config, Arc::clone(&storage))?;
    let mut kept = Vec::new();
    for domain in &config.domains {
        let certificate = storage.certificate(domain);
        let life = certificate.as_ref().map(|found| (found.not_before, found.not_after));
        if let Some(certificate) = certificate {
            certificates.set_issued(domain, certificate);
        }
        kept.push((domain.clone(), life));
    }
    Ok(async move {
        // One order at a time: authorities count them, and a hundred at a start would be too many.
        let authority = Arc::new(Mutex::new(authority));
        let mut renewing: JoinSet<()> = kept
            .into_iter()
            .map(|(domain, life)| {
                renew(domain, life, Arc::clone(&authority), Arc::clone(&certificates), Arc::clone(&clock))
            })
            .collect();
        while let Some(ended) = renewing.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "the renewal of a certificate ended");
            }
        }
    })
}

async fn renew(
    domain: String,
    mut life: Option<(Timestamp, Timestamp)>,
    authority: Arc<Mutex<Authority>>,
    certificates: Arc<Certificates>,
    clock: Clock,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        wait_until(life.map(|(from, to)| due(from, to)), &clock).await;
        let ordered = authority.lock().await.order(&domain, &certificates).await;
        match ordered {
            Ok(certificate) => {
                tracing::info!(domain, until = certificate.not_after.iso_format(), "got a certificate");
                life = Some((certificate.not_before, certificate.not_after));
                certificates.set_issued(&domain, certificate);
                pause = FIRST_PAUSE;
            }
            Err(error) => {
                tracing::warn!(domain, why = %ErrorChain(&error), again_in = ?pause, "failed to get a certificate");
                tokio::time::sleep(pause).await;
                pause = next_pause(pause);
            }
        }
    }
}

/// In steps: the host's clock may be set, and a machine may sleep.
async fn wait_until(moment: Option<Timestamp>, clock: &Clock) {
    let Some(moment) = moment else { return };
    loop {
        let left = moment.as_millis().saturating_sub(clock().as_millis());
        let Ok(left @ 1..) = u64::try_from(left) else { return };
        tokio::time::sleep(Duration::from_millis(left).min(LONGEST_WAIT)).await;
    }
}
