//! The certificates of one listener, chosen by the name a client asks for.

use super::{CHALLENGE_PROTOCOL, Certificate};
use lamplight_model::Live;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is shown in handshakes; changed while they happen.
#[derive(Debug, Default)]
pub struct Certificates {
    of_files: Live<Vec<Certificate>>,
    /// By domain.
    of_authority: Mutex<BTreeMap<String, Certificate>>,
    /// Proofs for a certificate authority, by domain; each is there for a moment only.
    challenges: Mutex<BTreeMap<String, Arc<CertifiedKey>>>,
}

impl Certificates {
    /// Puts these in the place of all that came from files. The first is shown to clients that name no host we know.
    pub fn set_files(&self, certificates: Vec<Certificate>) {
        self.of_files.set(certificates);
    }

    /// Puts one that an authority issued in the place of its predecessor.
    pub(crate) fn set_issued(&self, domain: &str, certificate: Certificate) {
        lock(&self.of_authority).insert(domain.to_owned(), certificate);
    }

    pub(crate) fn set_challenge(&self, domain: &str, proof: CertifiedKey) {
        lock(&self.challenges).insert(domain.to_owned(), Arc::new(proof));
    }

    pub(crate) fn end_challenge(&self, domain: &str) {
        lock(&self.challenges).remove(domain);
    }

    /// The key for a handshake. `name` as the client said it; a proof is only shown to who asks for one.
    fn choose(&self, name: Option<&str>, is_challenge: bool) -> Option<Arc<CertifiedKey>> {
        let name = name.map(str::to_lowercase);
        if is_challenge {
            return lock(&self.challenges).get(name.as_deref()?).cloned();
        }
        let of_files = self.of_files.get();
        let of_authority = lock(&self.of_authority);
        let mut all = of_files.iter().chain(of_authority.values());
        let asked = name.and_then(|name| all.clone().find(|certificate| certificate.is_for(&name)));
        asked.or_else(|| all.next()).map(|certificate| Arc::clone(&certificate.key))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_challenge = hello.alpn().is_some_and(|mut names| names.any(|name| name == CHALLENGE_PROTOCOL));
        self.choose(hello.server_name(), is_challenge)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What holds it does one insertion or look-up.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::certificate::tests::certificate;
    use super::*;

    #[test]
    fn the_name_decides() {
        let certificates = Certificates::default();
        assert!(certificates.choose(Some("a.example"), false).is_none());
        let (first, second) = (certificate(&["a.example"]), certificate(&["*.b.example"]));
        let issued = certificate(&["c.example"]);
        certificates.set_files(vec![first.clone(), second.clone()]);
        certificates.set_issued("c.example", issued.clone());
        let is = |name: Option<&str>, expected: &Certificate| {
            Arc::ptr_eq(&certificates.choose(name, false).unwrap(), &expected.key)
        };
        assert!(is(Some("A.example"), &first) && is(Some("x.b.example"), &second));
        assert!(is(Some("c.example"), &issued));
        assert!(is(Some("unknown.example"), &first) && is(None, &first));
        certificates.set_files(vec![second.clone()]);
        assert!(is(Some("a.example"), &second), "the next handshake sees the change");
    }

    #[test]
    fn a_proof_is_for_who_asks_for_it() {
        let certificates = Certificates::default();
        let proof = certificate(&["a.example"]);
        certificates.set_challenge("a.example", CertifiedKey::clone(&proof.key));
        assert!(certificates.choose(Some("a.example"), true).is_some());
        assert!(certificates.choose(Some("a.example"), false).is_none());
        assert!(certificates.choose(Some("b.example"), true).is_none());
        certificates.end_challenge("a.example");
        assert!(certificates.choose(Some("a.example"), true).is_none());
    }
}
