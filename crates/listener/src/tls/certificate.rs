//! One certificate chain with its key, read from PEM: who it is for and how long it holds.

use lamplight_model::Timestamp;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::sign::CertifiedKey;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Greatest file, bytes: a chain is a few KiB.
const FILE_BYTES: u64 = 1 << 20;

/// A chain with the key of its first certificate.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub(crate) key: Arc<CertifiedKey>,
    /// Names it is for, lower case; `*.` before one stands for one label.
    pub names: Vec<String>,
    /// First moment it holds.
    pub not_before: Timestamp,
    /// Last moment it holds.
    pub not_after: Timestamp,
}

/// What is wrong with the files of a certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("failed to read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not PEM.
    #[error("{} is not PEM: {reason}", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// Where it stops being PEM.
        reason: String,
    },
    /// There is no certificate in it.
    #[error("there is no certificate in {} (BEGIN CERTIFICATE)", .0.display())]
    NoCertificate(PathBuf),
    /// There is no key in it.
    #[error("there is no private key in {} (BEGIN PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY; not encrypted)", .0.display())]
    NoKey(PathBuf),
    /// The first certificate is none.
    #[error("the first certificate in {} cannot be read: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// The key is of another certificate, or of a kind nobody uses for TLS.
    #[error("the key in {} does not belong to the first certificate in {}: {reason}", key.display(), certificate.display())]
    Mismatch {
        /// File of the chain.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// What rustls says.
        reason: String,
    },
    /// It is for no name at all.
    #[error("the first certificate in {} names no host (subjectAltName)", .0.display())]
    NoNames(PathBuf),
}

impl Certificate {
    /// Reads a chain (its own certificate first) and the key, both PEM; they may be one file. Expired ones are read, too: who
    /// starts with one is told.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, CertificateError> {
        Self::from_pem((certificate, &read_file(certificate)?), (key, &read_file(key)?))
    }

    /// The same from what the files hold; their names are for errors.
    pub(crate) fn from_pem(
        (certificate_file, certificate): (&Path, &[u8]),
        (key_file, key): (&Path, &[u8]),
    ) -> Result<Self, CertificateError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(|error| not_pem(certificate_file, &error))?;
        let first =
            chain.first().ok_or_else(|| CertificateError::NoCertificate(certificate_file.to_owned()))?;
        let (names, not_before, not_after) = describe(first, certificate_file)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => CertificateError::NoKey(key_file.to_owned()),
            error => not_pem(key_file, &error),
        })?;
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| {
            CertificateError::Mismatch {
                certificate: certificate_file.to_owned(),
                key: key_file.to_owned(),
                reason: error.to_string(),
            }
        })?;
        Ok(Self { key: Arc::new(key), names, not_before, not_after })
    }

    /// Whether it is for `name` (lower case). A wildcard stands for exactly one label (RFC 6125, 6.4.3).
    pub fn is_for(&self, name: &str) -> bool {
        let rest = name.split_once('.').map(|(_, rest)| rest);
        self.names.iter().any(|own| own == name || (rest.is_some() && own.strip_prefix("*.") == rest))
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, CertificateError> {
    use std::io::Read as _;
    let context = |source| CertificateError::Unreadable { path: path.to_owned(), source };
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(context)?;
    file.take(FILE_BYTES).read_to_end(&mut content).map_err(context)?;
    Ok(content)
}

fn not_pem(path: &Path, error: &pem::Error) -> CertificateError {
    CertificateError::NotPem { path: path.to_owned(), reason: error.to_string() }
}

fn describe(
    certificate: &CertificateDer<'_>,
    file: &Path,
) -> Result<(Vec<String>, Timestamp, Timestamp), CertificateError> {
    let malformed = |reason: String| CertificateError::Malformed { path: file.to_owned(), reason };
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| malformed(error.to_string()))?;
    let names = parsed.subject_alternative_name().map_err(|error| malformed(error.to_string()))?;
    let names: Vec<String> = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_lowercase()),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        return Err(CertificateError::NoNames(file.to_owned()));
    }
    let moment = |seconds: i64| Timestamp(seconds.saturating_mul(1_000));
    let validity = parsed.validity();
    Ok((names, moment(validity.not_before.timestamp()), moment(validity.not_after.timestamp())))
}

fn address(bytes: &[u8]) -> Option<String> {
    let version_4 = <[u8; 4]>::try_from(bytes).ok().map(std::net::IpAddr::from);
    let version_6 = || <[u8; 16]>::try_from(bytes).ok().map(std::net::IpAddr::from);
    version_4.or_else(version_6).map(|address| address.to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A self-signed certificate for `names` and its key, PEM.
    pub(crate) fn made(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    pub(crate) fn certificate(names: &[&str]) -> Certificate {
        let (certificate, key) = made(names);
        read(&certificate, &key).unwrap()
    }

    fn read(certificate: &str, key: &str) -> Result<Certificate, CertificateError> {
        Certificate::from_pem(
            (Path::new("c.pem"), certificate.as_bytes()),
            (Path::new("k.pem"), key.as_bytes()),
        )
    }

    #[test]
    fn names_and_wildcards() {
        let read = certificate(&["Shop.Example", "*.lambda-url.us-east-1.example", "127.0.0.1"]);
        let is_for = |name| read.is_for(name);
        assert!(is_for("shop.example") && is_for("127.0.0.1"));
        assert!(is_for("abc.lambda-url.us-east-1.example"));
        assert!(!is_for("lambda-url.us-east-1.example") && !is_for("a.b.lambda-url.us-east-1.example"));
        assert!(!is_for("other.example") && !is_for(""));
        assert!(read.not_before < read.not_after);
    }

    #[test]
    fn wrong_files_are_told_apart() {
        let (certificate, key) = made(&["a.example"]);
        let (_, other_key) = made(&["a.example"]);
        let said = |certificate: &str, key: &str| read(certificate, key).unwrap_err().to_string();
        assert!(said("", &key).contains("no certificate in c.pem"), "{}", said("", &key));
        assert!(said(&certificate, "hello").contains("no private key in k.pem"));
        assert!(said(&certificate, &other_key).contains("does not belong to the first certificate in c.pem"));
        assert!(said(&certificate[..certificate.len() / 2], &key).contains("c.pem is not PEM"));
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(said(nonsense, &key).contains("cannot be read"), "{}", said(nonsense, &key));
        let missing =
            Certificate::read(Path::new("/nowhere/c.pem"), Path::new("/nowhere/k.pem")).unwrap_err();
        assert_eq!(missing.to_string(), "failed to read /nowhere/c.pem");
    }
}
