//! Code packages in a directory: `zip/<digest>.zip` as uploaded, `unpacked/<digest>/` for the sandboxes.
//!
//! Both appear under their names complete and synced, or not at all: they are made in `temporary/`, synced,
//! renamed, and the directory is synced, before `put` answers and so before any row refers to them.

use crate::code::CodeStore;
use crate::code::package::{self, UnpackError};
use crate::contract::StoreError;
use crate::lock::DataDirectoryLock;
use crate::open::Clock;
use async_trait::async_trait;
use bytes::Bytes;
use lamplight_model::{CodeDigest, ErrorCode, ServiceError, Timestamp};
use sha2::{Digest, Sha256};
use std::fs::{DirBuilder, File, FileTimes, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;

/// Packages unpacked at once: it is processor and disk work; further callers wait.
const UNPACKED_AT_ONCE: usize = 2;
/// A package nobody refers to yet may belong to a row that is just being written.
const COLLECTED_AFTER: Duration = Duration::from_secs(3600);

/// Length of a name that tells which interpreter compiled a package.
const MAKER_BYTES: usize = 100;

/// The packages of one data directory.
pub(crate) struct DirectoryCodeStore {
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
}

struct Shared {
    zip: PathBuf,
    unpacked: PathBuf,
    temporary: PathBuf,
    next_temporary: AtomicU64,
    stored_bytes: AtomicU64,
    bound_bytes: u64,
    clock: Clock,
    // Collecting excludes putting: a package must not vanish between "it is there" and its new age.
    collecting: RwLock<()>,
    _lock: Arc<DataDirectoryLock>,
}

impl DirectoryCodeStore {
    /// Makes the directories and removes what an interrupted `put` left.
    pub(crate) fn open(
        path: &Path,
        bound_bytes: u64,
        lock: Arc<DataDirectoryLock>,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let shared = Shared {
            zip: path.join("zip"),
            unpacked: path.join("unpacked"),
            temporary: path.join("temporary"),
            next_temporary: AtomicU64::new(0),
            stored_bytes: AtomicU64::new(0),
            bound_bytes,
            clock,
            collecting: RwLock::new(()),
            _lock: lock,
        };
        let prepare = || -> std::io::Result<()> {
            remove_tree(&shared.temporary)?;
            for directory in [&shared.zip, &shared.unpacked, &shared.temporary] {
                DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
            }
            for entry in std::fs::read_dir(&shared.zip)? {
                shared.stored_bytes.fetch_add(entry?.metadata()?.len(), Ordering::Relaxed);
            }
            File::open(path)?.sync_all()
        };
        prepare().map_err(|error| StoreError::io(format!("failed to open {}", path.display()), error))?;
        Ok(Self { shared: Arc::new(shared), permits: Arc::new(Semaphore::new(UNPACKED_AT_ONCE)) })
    }

    /// Runs `work` on a blocking thread, few at a time. A caller that goes away does not stop it.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let stopped = "failed to work on a code package";
        let permit =
            self.permits.clone().acquire_owned().await.map_err(|error| StoreError::failed(stopped, error))?;
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || {
            let result = work(&shared);
            drop(permit);
            result
        })
        .await
        .map_err(|error| StoreError::failed(stopped, error))
    }
}

#[async_trait]
impl CodeStore for DirectoryCodeStore {
    async fn put(&self, zip: Bytes) -> Result<CodeDigest, ServiceError> {
        self.blocking(move |shared| shared.put(&zip)).await.unwrap_or_else(|error| Err(service_error(&error)))
    }

    async fn get(&self, digest: &CodeDigest) -> Result<Option<Bytes>, StoreError> {
        let path = self.shared.zip_path(digest);
        match tokio::fs::read(&path).await {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io(format!("failed to read {}", path.display()), error)),
        }
    }

    async fn unpacked(&self, digest: &CodeDigest) -> Result<String, StoreError> {
        let name = digest.as_str().to_owned();
        // One stat: not worth a thread.
        if self.shared.unpacked.join(&name).is_dir() {
            return Ok(name);
        }
        let digest = digest.clone();
        self.blocking(move |shared| shared.unpack_again(&digest)).await??;
        Ok(name)
    }

    async fn renew(&self, digest: &CodeDigest) -> Result<u64, StoreError> {
        let digest = digest.clone();
        self.blocking(move |shared| shared.renew(&digest)).await?
    }

    fn has_file(&self, digest: &CodeDigest, name: &str) -> bool {
        self.shared.unpacked.join(digest.as_str()).join(name).is_file()
    }

    fn file_names(&self, digest: &CodeDigest, directory: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.shared.unpacked.join(digest.as_str()).join(directory))
        else {
            return Vec::new();
        };
        let files = entries.flatten().filter(|entry| entry.path().is_file());
        files.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    async fn put_compiled(&self, digest: &CodeDigest, maker: &str, zip: Bytes) -> Result<(), StoreError> {
        let (digest, name) = (digest.clone(), compiled_name(digest, maker)?);
        self.blocking(move |shared| shared.put_compiled(&digest, &name, &zip)).await?
    }

    fn compiled(&self, digest: &CodeDigest, maker: &str) -> Option<String> {
        let name = compiled_name(digest, maker).ok()?;
        self.shared.unpacked.join(&name).is_dir().then_some(name)
    }

    async fn collect(&self, referenced: &[CodeDigest]) -> Result<u64, StoreError> {
        let referenced = referenced.to_vec();
        self.blocking(move |shared| shared.collect(&referenced)).await?
    }
}

/// Beside the package itself: its digest, a hyphen, the maker.
fn compiled_name(digest: &CodeDigest, maker: &str) -> Result<String, StoreError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if maker.is_empty() || maker.len() > MAKER_BYTES || !maker.bytes().all(plain) {
        return Err(StoreError::failed("failed to name what was compiled", format!("{maker:?} is no name")));
    }
    Ok(format!("{}-{maker}", digest.as_str()))
}

fn unpack_failure(error: UnpackError) -> StoreError {
    match error {
        UnpackError::Io(error) => StoreError::io("failed to unpack a code package", error),
        error => StoreError::failed("failed to unpack a code package", error),
    }
}

/// For the caller of the API: says what refuses, not where.
fn service_error(error: &StoreError) -> ServiceError {
    tracing::warn!(%error, source = std::error::Error::source(error), "failed to store a code package");
    match error {
        StoreError::Unwritable(why) => ServiceError::internal(format!("storage refuses writes: {why}")),
        error => ServiceError::internal(error.to_string()),
    }
}

impl Shared {
    fn zip_path(&self, digest: &CodeDigest) -> PathBuf {
        self.zip.join(format!("{}.zip", digest.as_str()))
    }

    fn new_temporary(&self) -> PathBuf {
        self.temporary.join(self.next_temporary.fetch_add(1, Ordering::Relaxed).to_string())
    }

    fn put(&self, zip: &[u8]) -> Result<CodeDigest, ServiceError> {
        let digest = CodeDigest::from_bytes(&Sha256::digest(zip).into());
        let _present = self.collecting.read().unwrap_or_else(PoisonError::into_inner);
        if self.refresh(&digest) {
            return Ok(digest);
        }
        if self.stored_bytes.load(Ordering::Relaxed).saturating_add(zip.len() as u64) > self.bound_bytes {
            return Err(ServiceError::new(
                ErrorCode::CodeStorageExceededException,
                format!(
                    "Code storage limit exceeded. The limit is {} bytes; delete functions or versions.",
                    self.bound_bytes
                ),
            ));
        }
        // Unpacking is the check; only a package that passed it is kept.
        self.unpack(digest.as_str(), zip).map_err(|error| match error {
            UnpackError::Rejected(error) => error,
            UnpackError::Io(error) => service_error(&StoreError::io("unpacking a code package", error)),
        })?;
        let new = !self.zip_path(&digest).exists();
        self.write_zip(&digest, zip)
            .map_err(|error| service_error(&StoreError::io("writing a code package", error)))?;
        if new {
            self.stored_bytes.fetch_add(zip.len() as u64, Ordering::Relaxed);
        }
        Ok(digest)
    }

    /// Whether the package is there; makes it young again, so that it is not collected before its row is written.
    fn refresh(&self, digest: &CodeDigest) -> bool {
        // set_times needs no write permission, but the file must be open.
        let now = system_time((self.clock)());
        self.unpacked.join(digest.as_str()).is_dir()
            && File::open(self.zip_path(digest))
                .and_then(|file| file.set_times(FileTimes::new().set_modified(now)))
                .is_ok()
    }

    fn renew(&self, digest: &CodeDigest) -> Result<u64, StoreError> {
        let refresh = || {
            let _present = self.collecting.read().unwrap_or_else(PoisonError::into_inner);
            self.refresh(digest)
        };
        if !refresh() {
            // Its tree may be gone; its ZIP must not be.
            self.unpack_again(digest)?;
            if !refresh() {
                return Err(StoreError::NotFound(format!("code package {}", digest.as_str())));
            }
        }
        let tree = self.unpacked.join(digest.as_str());
        file_bytes(&tree)
            .map_err(|error| StoreError::io(format!("failed to measure {}", tree.display()), error))
    }

    fn write_zip(&self, digest: &CodeDigest, zip: &[u8]) -> std::io::Result<()> {
        let temporary = self.new_temporary();
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(zip)?;
            file.set_times(FileTimes::new().set_modified(system_time((self.clock)())))?;
            file.sync_all()?;
            std::fs::rename(&temporary, self.zip_path(digest))?;
            File::open(&self.zip)?.sync_all()
        })();
        if written.is_err() {
            // Half a file is rubbish; the next start removes what cannot be removed now.
            let _ = std::fs::remove_file(&temporary);
        }
        written
    }

    fn unpack(&self, name: &str, zip: &[u8]) -> Result<(), UnpackError> {
        let temporary = self.new_temporary();
        let target = self.unpacked.join(name);
        let unpacked = (|| {
            DirBuilder::new().mode(0o755).create(&temporary)?;
            package::unpack(zip, &temporary)?;
            // One call for all its files: without it a power loss could leave empty files under the final name.
            rustix::fs::syncfs(File::open(&temporary)?).map_err(std::io::Error::from)?;
            match std::fs::rename(&temporary, &target) {
                Ok(()) => {}
                // The same package was unpacked by someone else meanwhile.
                Err(error)
                    if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) =>
                {
                    remove_tree(&temporary)?;
                }
                // An empty package renames over an empty one; anything else is a failure.
                Err(error) => return Err(error.into()),
            }
            File::open(&self.unpacked)?.sync_all()?;
            Ok(())
        })();
        if unpacked.is_err() {
            let _ = remove_tree(&temporary);
        }
        unpacked
    }

    fn unpack_again(&self, digest: &CodeDigest) -> Result<(), StoreError> {
        let _present = self.collecting.read().unwrap_or_else(PoisonError::into_inner);
        if self.unpacked.join(digest.as_str()).is_dir() {
            return Ok(());
        }
        let path = self.zip_path(digest);
        let zip = std::fs::read(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => StoreError::NotFound(format!("code package {}", digest.as_str())),
            _ => StoreError::io(format!("failed to read {}", path.display()), error),
        })?;
        let found = CodeDigest::from_bytes(&Sha256::digest(&zip).into());
        if found != *digest {
            return Err(StoreError::failed(
                format!("failed to read {}", path.display()),
                "its content is not what was stored (the disk changed it)",
            ));
        }
        self.unpack(digest.as_str(), &zip).map_err(unpack_failure)
    }

    fn put_compiled(&self, digest: &CodeDigest, name: &str, zip: &[u8]) -> Result<(), StoreError> {
        let _present = self.collecting.read().unwrap_or_else(PoisonError::into_inner);
        if !self.zip_path(digest).exists() {
            return Err(StoreError::NotFound(format!("code package {}", digest.as_str())));
        }
        self.unpack(name, zip).map_err(unpack_failure)
    }

    fn collect(&self, referenced: &[CodeDigest]) -> Result<u64, StoreError> {
        let _alone = self.collecting.write().unwrap_or_else(PoisonError::into_inner);
        let referenced: std::collections::HashSet<&str> = referenced.iter().map(CodeDigest::as_str).collect();
        let young_since = system_time((self.clock)()).checked_sub(COLLECTED_AFTER);
        let removed = (|| {
            let mut removed = 0;
            for entry in std::fs::read_dir(&self.zip)? {
                let entry = entry?;
                let name = entry.file_name();
                let Some(digest) = name.to_str().and_then(|name| name.strip_suffix(".zip")) else { continue };
                let metadata = entry.metadata()?;
                if referenced.contains(digest) || Some(metadata.modified()?) > young_since {
                    continue;
                }
                // The ZIP first: a tree without its ZIP is put again, a ZIP without its tree is unpacked again.
                std::fs::remove_file(entry.path())?;
                remove_tree(&self.unpacked.join(digest))?;
                self.stored_bytes.fetch_sub(metadata.len(), Ordering::Relaxed);
                removed += 1;
            }
            self.remove_widowed_trees()?;
            Ok(removed)
        })();
        removed.map_err(|error: std::io::Error| StoreError::io("failed to collect code packages", error))
    }

    /// Trees whose ZIP is gone: what was compiled of a package, a collection or a `put` that was interrupted.
    fn remove_widowed_trees(&self) -> std::io::Result<()> {
        for entry in std::fs::read_dir(&self.unpacked)? {
            let entry = entry?;
            let name = entry.file_name();
            let digest = name.to_str().and_then(|name| CodeDigest::parse(name.split('-').next()?));
            if let Some(digest) = digest
                && !self.zip_path(&digest).exists()
            {
                remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// Bytes of the files in a tree, as Lambda counts them: what the archive's entries unpack to.
fn file_bytes(directory: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        // Of the entry itself: a link is as long as its target's name.
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { file_bytes(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

fn system_time(timestamp: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(timestamp.0.max(0).unsigned_abs())
}

fn remove_tree(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
