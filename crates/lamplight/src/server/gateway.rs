//! The gateway's own listener: its certificates, its bounds, and what a reload changes of them.

use crate::config::Config;
use crate::config::Gateway as GatewayKeys;
use crate::failure::{Failure, chain};
use lamplight_gateway::Gateway;
use lamplight_listener::acme::{self, AcmeConfig, Clock};
use lamplight_listener::tls::{Certificate, CertificateError, Certificates, Tls};
use lamplight_listener::{Limits, Listener, Received};
use lamplight_model::Live;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Directory of the data directory for the account and the certificates of an authority.
const ACME_DIRECTORY: &str = "certificates";

/// A listener that serves function URLs and APIs only.
pub struct OwnListener {
    limits: Arc<Live<Limits>>,
    /// `None` in clear text.
    certificates: Option<Arc<Certificates>>,
    /// Ends with the last connection after the stop.
    pub serving: JoinHandle<()>,
}

impl OwnListener {
    /// Serves until `stop`. Fails when a certificate cannot be used.
    pub fn start(
        config: &Config,
        socket: TcpListener,
        gateway: Gateway,
        clock: Clock,
        stop: &CancellationToken,
    ) -> Result<Self, Failure> {
        let keys = &config.gateway;
        let socket = tokio::net::TcpListener::from_std(socket)
            .map_err(|error| Failure::usage("failed to listen").because(error))?;
        let certificates = keys.is_secured().then(Arc::<Certificates>::default);
        let tls = match &certificates {
            None => None,
            Some(certificates) => {
                certificates.set_files(read_certificates(keys)?);
                get_certificates(config, certificates, clock, stop)?;
                let tls = Tls::new(Arc::clone(certificates))
                    .map_err(|error| Failure::usage("failed to set up TLS").because(error))?;
                Some(tls)
            }
        };
        let limits = Arc::new(Live::new(keys.bounds()));
        let grace = Duration::from_secs(config.drain_seconds);
        let listener = Listener { socket, limits: Arc::clone(&limits), tls, grace };
        let answer = move |request: http::Request<Received>, peer| {
            let gateway = gateway.clone();
            async move { gateway.answer(request.map(axum::body::Body::new), peer).await }
        };
        let serving =
            tokio::spawn(lamplight_listener::serve(listener, answer, stop.clone().cancelled_owned()));
        Ok(Self { limits, certificates, serving })
    }

    /// What `apply` is to take over; fails, and nothing is changed, when a certificate cannot be used.
    pub fn prepare(&self, config: &Config) -> Result<Vec<Certificate>, Failure> {
        if config.gateway.is_secured() != self.certificates.is_some() {
            return Err(Failure::usage(
                "the gateway's listener cannot begin or end to speak TLS while it runs",
            )
            .then("restart the server"));
        }
        read_certificates(&config.gateway)
    }

    /// Takes bounds and certificates over; connections that are there go on.
    pub fn apply(&self, config: &Config, files: Vec<Certificate>) {
        self.limits.set(config.gateway.bounds());
        if let Some(certificates) = &self.certificates {
            certificates.set_files(files);
        }
    }
}

/// Host names that ids stand beneath, or that the path form is served at.
pub fn hosts(config: &Config) -> Result<Vec<String>, Failure> {
    let mut hosts = config.hosts.clone();
    hosts.extend(config.gateway.url(None)?.name);
    hosts.extend(config.gateway.acme.domains.iter().map(|domain| domain.to_lowercase()));
    Ok(hosts)
}

/// The certificates of the files.
pub fn read_certificates(keys: &GatewayKeys) -> Result<Vec<Certificate>, Failure> {
    let pairs = keys.tls.certificates.iter().zip(&keys.tls.keys);
    pairs
        .map(|(certificate, key)| {
            Certificate::read(Path::new(certificate), Path::new(key)).map_err(|error| refused(&error))
        })
        .collect()
}

fn refused(error: &CertificateError) -> Failure {
    let failure = Failure::usage(error.to_string());
    match error {
        CertificateError::Unreadable { path, source } => {
            let failure = failure.because(source);
            if source.kind() != ErrorKind::PermissionDenied {
                return failure;
            }
            let group = rustix::process::getegid();
            let path = path.display();
            failure.then(format!(
                "let the server's user read it: chgrp {group} {path} && chmod g+r {path}, and o+x for the directories above"
            ))
        }
        CertificateError::Mismatch { .. } => {
            failure.then("gateway.tls.certificates and gateway.tls.keys must be in the same order")
        }
        _ => failure,
    }
}

fn get_certificates(
    config: &Config,
    certificates: &Arc<Certificates>,
    clock: Clock,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let keys = &config.gateway.acme;
    if keys.directory.is_empty() {
        return Ok(());
    }
    let acme = AcmeConfig {
        directory: keys.directory.clone(),
        contacts: keys.contacts.clone(),
        domains: keys.domains.iter().map(|domain| domain.to_lowercase()).collect(),
        roots: (!keys.roots.is_empty()).then(|| PathBuf::from(&keys.roots)),
        storage: config.data_dir.join(ACME_DIRECTORY),
    };
    let keeping = acme::keep(acme, Arc::clone(certificates), clock)
        .map_err(|error| Failure::usage("failed to set up gateway.acme").because(chain(&error)))?;
    let stop = stop.clone();
    tokio::spawn(async move { stop.run_until_cancelled(keeping).await });
    Ok(())
}
