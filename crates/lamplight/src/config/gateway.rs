//! Keys of the gateway: where it listens, as whom, with which certificates, and what its clients may take.

use crate::failure::Failure;
use lamplight_listener::Limits;
use lamplight_model::GatewayUrl;
use lamplight_model::gateway_url::is_host_name;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

/// Function URLs and APIs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// Address and port of a listener for function URLs and APIs only, which may be public; empty: they share the API's.
    pub listen: String,
    /// Scheme, host and port that clients see, e.g. `https://apps.example.com`; empty: as the request for the URL names this host.
    pub public_url: String,
    /// Certificates from files.
    pub tls: Tls,
    /// Certificates from an authority.
    pub acme: Acme,
    /// What a client may take of the gateway's own listener.
    pub limits: GatewayLimits,
}

/// Certificates from files. They are read by the daemon's user, at the start and at each SIGHUP.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM files, each a chain with its own certificate first. The first file is shown to clients that name no host of another.
    pub certificates: Vec<String>,
    /// PEM files of the keys, in the same order.
    pub keys: Vec<String>,
}

/// Certificates from an authority that speaks ACME, as Let's Encrypt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acme {
    /// URL of the authority's directory; empty: no authority is asked.
    pub directory: String,
    /// Whom the authority may write to, e.g. `mailto:you@example.com`.
    pub contacts: Vec<String>,
    /// Names that certificates are got for, one each; no wildcards.
    pub domains: Vec<String>,
    /// PEM file with the roots that the authority's server is checked against; empty: the host's.
    pub roots: String,
    /// That you agree to the authority's terms of service.
    pub terms_of_service_agreed: bool,
}

/// What a client may take of the gateway's own listener; 0 is no bound where that is said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayLimits {
    /// Open connections; more wait.
    pub connections: usize,
    /// Open connections of one address (of a /64 of IPv6); more are closed at once. 0: no bound, as behind a proxy.
    pub connections_per_address: usize,
    /// Request line and headers, KiB.
    pub head_kib: usize,
    /// Header fields.
    pub headers: usize,
    /// Request body, MiB; a function takes 6 at most.
    pub body_mib: u64,
    /// Bodies of all requests that are read or answered, together, MiB; also of those that come to the API's listener.
    pub bodies_mib: usize,
    /// From the first byte of a head to its last, also for a TLS handshake, seconds.
    pub head_seconds: u64,
    /// How long a connection stays open without a request, seconds.
    pub idle_seconds: u64,
    /// How fast a body must come after `head_seconds` of waiting for it, bytes a second; 0: no bound.
    pub body_bytes_per_second: u64,
    /// From the end of a head to the last byte of the answer, seconds; 0: no bound.
    pub request_seconds: u64,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            connections_per_address: 256,
            head_kib: 64,
            headers: 100,
            body_mib: 10,
            bodies_mib: 512,
            head_seconds: 10,
            idle_seconds: 75,
            body_bytes_per_second: 500,
            // The longest function, and as much again to read its streamed answer.
            request_seconds: 1_800,
            streams: 128,
        }
    }
}

impl Gateway {
    /// Where it listens by itself.
    pub fn address(&self) -> Result<Option<SocketAddr>, Failure> {
        if self.listen.is_empty() {
            return Ok(None);
        }
        let wrong = |error| {
            Failure::usage(format!("gateway.listen is \"{}\"", self.listen))
                .because(error)
                .then("--gateway-listen 0.0.0.0:443, or [::]:443")
        };
        self.listen.parse().map(Some).map_err(|error: std::net::AddrParseError| wrong(error))
    }

    /// Whether its listener speaks TLS.
    pub fn is_secured(&self) -> bool {
        !self.tls.certificates.is_empty() || !self.acme.directory.is_empty()
    }

    /// How clients see it; `port` is that of its own listener.
    pub fn url(&self, port: Option<u16>) -> Result<GatewayUrl, Failure> {
        if self.public_url.is_empty() {
            return Ok(GatewayUrl { is_https: self.is_secured(), name: None, port });
        }
        GatewayUrl::parse(&self.public_url).map_err(|error| {
            Failure::usage(format!("gateway.public_url is \"{}\"", self.public_url))
                .because(error)
                .then("an example: public_url = \"https://apps.example.com\"")
        })
    }

    /// Bounds of its own listener.
    pub fn bounds(&self) -> Limits {
        let some = |value: u64| (value > 0).then_some(value);
        let limits = &self.limits;
        Limits {
            connections: limits.connections,
            connections_of_an_address: (limits.connections_per_address > 0)
                .then_some(limits.connections_per_address),
            head_bytes: limits.head_kib.saturating_mul(1024),
            headers: limits.headers,
            head_time: Duration::from_secs(limits.head_seconds),
            idle_time: Duration::from_secs(limits.idle_seconds),
            body_bytes: Some(limits.body_mib.saturating_mul(1 << 20)),
            body_bytes_per_second: some(limits.body_bytes_per_second),
            request_time: some(limits.request_seconds).map(Duration::from_secs),
            streams: Some(limits.streams),
        }
    }

    /// What all bodies may take together, bytes.
    pub fn memory_bytes(&self) -> usize {
        self.limits.bodies_mib.saturating_mul(1 << 20)
    }

    /// Checks what types cannot say.
    pub fn check(&self) -> Result<(), Failure> {
        let listens = self.address()?.is_some();
        self.url(None)?;
        let (certificates, keys) = (self.tls.certificates.len(), self.tls.keys.len());
        if certificates != keys {
            return Err(Failure::usage(format!(
                "gateway.tls has {certificates} certificates and {keys} keys"
            ))
            .then("name a key for each certificate, in the same order"));
        }
        if self.is_secured() && !listens {
            return Err(Failure::usage("gateway.tls and gateway.acme need a listener of the gateway's own")
                .because("the API's listener speaks clear text on a loopback address")
                .then("--gateway-listen 0.0.0.0:443"));
        }
        self.acme.check()?;
        let limits = &self.limits;
        let positive = [
            ("connections", limits.connections as u64),
            ("head_kib", limits.head_kib as u64),
            ("headers", limits.headers as u64),
            ("body_mib", limits.body_mib),
            ("bodies_mib", limits.bodies_mib as u64),
            ("head_seconds", limits.head_seconds),
            ("idle_seconds", limits.idle_seconds),
            ("streams", u64::from(limits.streams)),
        ];
        match positive.iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => {
                Err(Failure::usage(format!("gateway.limits.{key} is 0, so nothing could ever be answered")))
            }
            None => Ok(()),
        }
    }
}

impl Acme {
    fn check(&self) -> Result<(), Failure> {
        if self.directory.is_empty() {
            return if self.domains.is_empty() {
                Ok(())
            } else {
                Err(Failure::usage("gateway.acme.domains are given without gateway.acme.directory")
                    .then("directory = \"https://acme-v02.api.letsencrypt.org/directory\""))
            };
        }
        if !self.directory.starts_with("https://") {
            return Err(Failure::usage(format!("gateway.acme.directory is \"{}\"", self.directory))
                .because("authorities are asked over https:// only"));
        }
        if self.domains.is_empty() {
            return Err(Failure::usage("gateway.acme.domains is empty, so there is nothing to get"));
        }
        if !self.terms_of_service_agreed {
            return Err(Failure::usage("the authority's terms of service are not agreed to")
                .then("read them, then set gateway.acme.terms_of_service_agreed = true"));
        }
        for domain in &self.domains {
            if domain.starts_with("*.") {
                return Err(Failure::usage(format!("no certificate can be got for {domain} here"))
                    .because("authorities prove wildcards in the domain name system, and Lamplight answers for hosts")
                    .then("get it elsewhere and name its files in gateway.tls; or use names of their own, or paths: /_url/<id>/"));
            }
            let is_address = domain.parse::<std::net::IpAddr>().is_ok();
            if is_address || !domain.contains('.') || !is_host_name(domain) {
                return Err(Failure::usage(format!(
                    "gateway.acme.domains: {domain} is no name that authorities prove"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Gateway)) -> Result<(), String> {
        let mut gateway = Gateway { listen: "0.0.0.0:443".to_owned(), ..Gateway::default() };
        change(&mut gateway);
        gateway.check().map_err(|failure| failure.text())
    }

    fn refused(change: impl FnOnce(&mut Gateway), said: &str) {
        let error = check(change).unwrap_err();
        assert!(error.contains(said), "{error}");
    }

    fn with_acme(gateway: &mut Gateway, domain: &str) {
        gateway.acme = Acme {
            directory: "https://ca.example/dir".to_owned(),
            domains: vec![domain.to_owned()],
            terms_of_service_agreed: true,
            ..Acme::default()
        };
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_sentence() {
        assert_eq!(check(|_| ()), Ok(()));
        refused(|gateway| gateway.listen = "443".to_owned(), "gateway.listen is \"443\"");
        refused(|gateway| gateway.public_url = "apps.example".to_owned(), "https:// or http://");
        refused(|gateway| gateway.tls.certificates = vec!["a".to_owned()], "1 certificates and 0 keys");
        refused(|gateway| gateway.limits.idle_seconds = 0, "gateway.limits.idle_seconds is 0");
        refused(
            |gateway| {
                with_acme(gateway, "a.example");
                gateway.listen.clear();
            },
            "a listener of the gateway's own",
        );
    }

    #[test]
    fn what_an_authority_is_asked_for() {
        assert_eq!(check(|gateway| with_acme(gateway, "a.example")), Ok(()));
        refused(|gateway| with_acme(gateway, "*.a.example"), "prove wildcards");
        refused(|gateway| with_acme(gateway, "192.0.2.1"), "no name that authorities prove");
        refused(|gateway| with_acme(gateway, "../x.example"), "no name that authorities prove");
        refused(|gateway| with_acme(gateway, "localhost"), "no name that authorities prove");
        let agreed = |gateway: &mut Gateway| {
            with_acme(gateway, "a.example");
            gateway.acme.terms_of_service_agreed = false;
        };
        refused(agreed, "terms_of_service_agreed");
        refused(
            |gateway| gateway.acme.domains = vec!["a.example".to_owned()],
            "without gateway.acme.directory",
        );
    }

    #[test]
    fn zero_is_no_bound_where_that_is_said() {
        let mut gateway = Gateway::default();
        let before = gateway.bounds();
        assert_eq!((before.connections_of_an_address, before.body_bytes), (Some(256), Some(10 << 20)));
        gateway.limits = GatewayLimits {
            connections_per_address: 0,
            body_bytes_per_second: 0,
            request_seconds: 0,
            ..gateway.limits
        };
        let bounds = gateway.bounds();
        assert_eq!(bounds.connections_of_an_address, None);
        assert_eq!((bounds.body_bytes_per_second, bounds.request_time), (None, None));
    }
}
