//! Code packages by digest: the ZIP as uploaded, and its content unpacked once for all instances.

pub(crate) mod directory;
pub mod package;

use crate::contract::StoreError;
use async_trait::async_trait;
use bytes::Bytes;
use lamplight_model::{CodeDigest, ServiceError};

/// Where packages live. Unpacked trees are normalised to modes 0755/0644 and hold no links that leave them.
#[async_trait]
pub trait CodeStore: Send + Sync + 'static {
    /// Checks, stores and unpacks a ZIP; durable (file synced, renamed, directory synced) when it returns.
    ///
    /// Fails with `InvalidParameterValueException` and AWS's text for what is not a ZIP, is too large
    /// unpacked, or has absolute, `..` or link entries that leave the package; nothing stays behind then.
    async fn put(&self, zip: Bytes) -> Result<CodeDigest, ServiceError>;
    /// The ZIP as uploaded.
    async fn get(&self, digest: &CodeDigest) -> Result<Option<Bytes>, StoreError>;
    /// The unpacked directory's name under the directory given to the sandbox host as `code` (not a path).
    /// Unpacks again if the unpacked tree is absent.
    async fn unpacked(&self, digest: &CodeDigest) -> Result<String, StoreError>;
    /// Makes a package young again, so that it is not collected before a row that refers to it is written. Gives the bytes of
    /// its unpacked files.
    async fn renew(&self, digest: &CodeDigest) -> Result<u64, StoreError>;
    /// Whether an unpacked package has a file of this name at its top. One look.
    fn has_file(&self, digest: &CodeDigest, name: &str) -> bool;
    /// The names of the files right beneath a directory of an unpacked package; none when there is no such directory.
    fn file_names(&self, digest: &CodeDigest, directory: &str) -> Vec<String> {
        let _ = (digest, directory);
        Vec::new()
    }
    /// Keeps what an interpreter made of a package, a ZIP that is as little trusted as the package, until the package goes.
    /// `maker` says which interpreter: letters, digits, `.`, `-` and `_`.
    ///
    /// Fails when the ZIP is no good or there is no such package; nothing stays behind then.
    async fn put_compiled(&self, digest: &CodeDigest, maker: &str, zip: Bytes) -> Result<(), StoreError> {
        let _ = (digest, maker, zip);
        Ok(())
    }
    /// The directory's name, as that of [`unpacked`](Self::unpacked), of what `maker` made of a package. One look.
    fn compiled(&self, digest: &CodeDigest, maker: &str) -> Option<String> {
        let _ = (digest, maker);
        None
    }
    /// Removes packages that are not in `referenced` and older than an hour.
    async fn collect(&self, referenced: &[CodeDigest]) -> Result<u64, StoreError>;
}
