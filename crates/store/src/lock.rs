//! One server per data directory, or some processes that share its store: by `flock` on the file `lock`. The kernel frees it
//! however we end.

use crate::contract::StoreError;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Held as long as anything of the store lives.
#[derive(Debug)]
pub(crate) struct DataDirectoryLock {
    // Closing the last descriptor of the open file frees the lock. Rust opens close-on-exec.
    _file: File,
}

impl DataDirectoryLock {
    /// Takes the lock or says `Locked` with the process id of whoever has it.
    pub(crate) fn take(data_directory: &Path) -> Result<Self, StoreError> {
        let mut file = Self::lock(data_directory, FlockOperation::NonBlockingLockExclusive)?;
        // A full disk must not keep a server from starting to read: without the number the message is vaguer.
        let _ = file.set_len(0);
        let _ = writeln!(file, "{}", std::process::id());
        Ok(Self { _file: file })
    }

    /// Takes the lock together with others who take it so, and without those who do not. They leave no process id.
    pub(crate) fn share(data_directory: &Path) -> Result<Self, StoreError> {
        Ok(Self { _file: Self::lock(data_directory, FlockOperation::NonBlockingLockShared)? })
    }

    fn lock(data_directory: &Path, operation: FlockOperation) -> Result<File, StoreError> {
        let path = data_directory.join("lock");
        let doing = || format!("failed to lock {}", path.display());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| StoreError::io(doing(), error))?;
        match flock(&file, operation) {
            Ok(()) => Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // The process id is only for the message; a lock without one still holds.
                let _ = (&file).take(32).read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "another process".to_owned(),
                    pid => format!("process {pid}"),
                };
                Err(StoreError::Locked(format!(
                    "data directory {} is in use by {holder}; stop it or choose another with --data-dir",
                    data_directory.display()
                )))
            }
            Err(error) => Err(StoreError::io(doing(), error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_server_is_refused_by_process_id_until_the_first_ends() {
        let directory = tempfile::tempdir().unwrap();
        let first = DataDirectoryLock::take(directory.path()).unwrap();
        let Err(StoreError::Locked(text)) = DataDirectoryLock::take(directory.path()) else {
            panic!("taken twice");
        };
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
        drop(first);
        DataDirectoryLock::take(directory.path()).unwrap();
    }
}
