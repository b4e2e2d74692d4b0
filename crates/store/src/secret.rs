//! Encryption at rest of environment values and sealed documents: AES-256-GCM under one key per data directory.
//!
//! A sealed value is one format byte, a random 96-bit nonce, the ciphertext and the tag. The associated data
//! names the function or document, so a value copied into another's row does not open.
//! Secrets for other purposes are derived: HMAC-SHA256 of the purpose under the same key.

use crate::contract::StoreError;
use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const FORMAT: u8 = 1;
const NONCE_BYTES: usize = 12;
const KEY_BYTES: usize = 32;

/// The key of a data directory. Prints nothing of itself.
pub(crate) struct Key {
    cipher: Aes256Gcm,
    derivation: Hmac<Sha256>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Key")
    }
}

impl Key {
    /// Reads the key file, or makes one (mode 0600, synced, then renamed into place, so that it is whole or absent).
    pub(crate) fn read_or_create(path: &Path) -> Result<Self, StoreError> {
        let doing = |what: &str| format!("failed to {what} key file {}", path.display());
        match File::open(path) {
            Ok(file) => {
                let mut bytes = Vec::with_capacity(KEY_BYTES);
                file.take(KEY_BYTES as u64 + 1)
                    .read_to_end(&mut bytes)
                    .map_err(|error| StoreError::io(doing("read"), error))?;
                Self::from_bytes(&bytes).ok_or_else(|| {
                    StoreError::failed(
                        doing("read"),
                        format!("it must hold {KEY_BYTES} bytes, restore it from a backup"),
                    )
                })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let bytes: [u8; KEY_BYTES] = rand::random();
                write_new(path, &bytes).map_err(|error| StoreError::io(doing("create"), error))?;
                Self::from_bytes(&bytes).ok_or_else(|| StoreError::failed(doing("create"), "wrong length"))
            }
            Err(error) => Err(StoreError::io(doing("open"), error)),
        }
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let cipher = Aes256Gcm::new_from_slice(bytes).ok()?;
        Some(Self { cipher, derivation: <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(bytes).ok()? })
    }

    /// A secret for one purpose: the purpose's HMAC-SHA256 under this key, as HKDF expands a key for one block (RFC 5869, 2.3).
    pub(crate) fn derive(&self, purpose: &str) -> [u8; KEY_BYTES] {
        let mut derivation = self.derivation.clone();
        derivation.update(purpose.as_bytes());
        derivation.finalize().into_bytes().into()
    }

    /// Encrypts `plaintext` so that it opens only with the same `context`.
    pub(crate) fn seal(&self, context: &str, plaintext: &[u8]) -> Result<Vec<u8>, StoreError> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: plaintext, aad: context.as_bytes() };
        let ciphertext = self.cipher.encrypt(&nonce.into(), payload).map_err(|_| {
            StoreError::failed(format!("failed to encrypt the values of {context}"), "too long")
        })?;
        let mut sealed = Vec::with_capacity(1 + NONCE_BYTES + ciphertext.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        Ok(sealed)
    }

    /// Decrypts what `seal` made with the same `context`.
    pub(crate) fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let doing = || format!("failed to decrypt the values of {context}");
        let (nonce, ciphertext) = match sealed.split_first() {
            Some((&FORMAT, rest)) if rest.len() >= NONCE_BYTES => rest.split_at(NONCE_BYTES),
            _ => return Err(StoreError::failed(doing(), "not a sealed value of a known format")),
        };
        let nonce: [u8; NONCE_BYTES] =
            nonce.try_into().map_err(|_| StoreError::failed(doing(), "nonce of wrong length"))?;
        self.cipher
            .decrypt(&nonce.into(), Payload { msg: ciphertext, aad: context.as_bytes() })
            .map_err(|_| StoreError::failed(doing(), "wrong key file, or the value was changed"))
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn opens_only_with_the_same_key_and_context() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let sealed = Key::read_or_create(&path).unwrap().seal("a", b"secret").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        let key = Key::read_or_create(&path).unwrap();
        assert_eq!(key.open("a", &sealed).unwrap(), b"secret");
        assert!(key.open("b", &sealed).is_err());
        let other = Key::read_or_create(&directory.path().join("other")).unwrap();
        assert!(other.open("a", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open("a", &changed).is_err(), "byte {at}");
            assert!(key.open("a", &sealed[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            key.derive("one"),
            Key::read_or_create(&path).unwrap().derive("one"),
            "after a start, too"
        );
        assert_ne!(key.derive("one"), key.derive("other"));
        assert_ne!(key.derive("one"), other.derive("one"));
    }
}
