//! The account and the certificates of an authority on disk, readable for their owner only.

use crate::tls::Certificate;
use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

const ACCOUNT: &str = "account.json";

/// A directory of its own.
#[derive(Debug)]
pub(super) struct Storage(PathBuf);

/// An account belongs to one authority.
#[derive(Serialize, Deserialize)]
struct KeptAccount {
    directory: String,
    credentials: AccountCredentials,
}

impl Storage {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        Ok(Self(directory.to_owned()))
    }

    /// The account with the authority of `directory`, when there is one.
    pub(super) fn account(&self, directory: &str) -> Option<AccountCredentials> {
        let text = std::fs::read(self.0.join(ACCOUNT)).ok()?;
        match serde_json::from_slice::<KeptAccount>(&text) {
            Ok(kept) => (kept.directory == directory).then_some(kept.credentials),
            Err(error) => {
                tracing::warn!(%error, "the kept account of the certificate authority is unreadable: a new one is made");
                None
            }
        }
    }

    pub(super) fn keep_account(&self, directory: &str, credentials: AccountCredentials) -> io::Result<()> {
        let kept = KeptAccount { directory: directory.to_owned(), credentials };
        self.write(ACCOUNT, &serde_json::to_vec(&kept)?)
    }

    /// What was issued for `domain`, when it is there and for it.
    pub(super) fn certificate(&self, domain: &str) -> Option<Certificate> {
        let file = self.0.join(file_of(domain));
        if !file.exists() {
            return None;
        }
        match Certificate::read(&file, &file) {
            Ok(certificate) => certificate.is_for(domain).then_some(certificate),
            Err(error) => {
                tracing::warn!(domain, %error, "a kept certificate is unreadable: a new one is ordered");
                None
            }
        }
    }

    /// Keeps chain and key in one file, so that they always belong together.
    pub(super) fn keep_certificate(&self, domain: &str, chain: &str, key: &str) -> io::Result<()> {
        self.write(&file_of(domain), format!("{key}{chain}").as_bytes())
    }

    /// Whole or not at all.
    fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let temporary = self.0.join(format!(".{name}.new"));
        // What an earlier end left there may have been made by nobody knows whom.
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, self.0.join(name))?;
        std::fs::File::open(&self.0)?.sync_all()
    }
}

/// Domains are host names (`Config::check`), so they are names of files, too; what is not stays within the directory.
fn file_of(domain: &str) -> String {
    format!("{}.pem", domain.replace(['/', '\0'], "_"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_is_kept_is_found_again_and_secret() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(&directory.path().join("acme")).unwrap();
        assert!(storage.certificate("a.example").is_none());
        let (chain, key) = crate::tls::made(&["a.example"]);
        for _ in 0..2 {
            storage.keep_certificate("a.example", &chain, &key).unwrap();
        }
        assert_eq!(storage.certificate("a.example").unwrap().names, ["a.example"]);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&storage.0.join("a.example.pem")), 0o600);
        assert_eq!(mode(&storage.0), 0o700);
        // Of another domain, or cut off: as if it were not there.
        storage.keep_certificate("b.example", &chain, &key).unwrap();
        assert!(storage.certificate("b.example").is_none());
        std::fs::write(storage.0.join("a.example.pem"), &key).unwrap();
        assert!(storage.certificate("a.example").is_none());
        assert_eq!(file_of("../x"), ".._x.pem");
    }
}
