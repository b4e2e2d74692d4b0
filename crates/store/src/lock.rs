//! One server per data directory, by `flock` on the file `lock`: the kernel frees it however we end.

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
        let path = data_directory.join("lock");
        let doing = || format!("failed to lock {}", path.display());
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| StoreError::io(doing(), error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // The process id is only for the message; a lock without one still holds.
                let _ = (&file).take(32).read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "another process".to_owned(),
                    pid => format!("process {pid}"),
                };
                return Err(StoreError::Locked(format!(
                    "data directory {} is in use by {holder}; stop it or choose another with --data-dir",
                    data_directory.display()
                )));
            }
            Err(error) => return Err(StoreError::io(doing(), error.into())),
        }
        // A full disk must not keep a server from starting to read: without the number the message is vaguer.
        let _ = file.set_len(0);
        let _ = writeln!(file, "{}", std::process::id());
        Ok(Self { _file: file })
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
