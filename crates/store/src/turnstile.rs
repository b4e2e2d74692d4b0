//! Whose turn it is to write, among processes that share a store.
//!
//! SQLite's own lock is taken by whoever asks at the right moment, so a process that writes all the time would keep another
//! out for as long as it likes. Two file locks make them take turns: who wants to write takes `next`, then `write`, then gives
//! `next` back. Who comes again while another waits finds `next` taken until that one has had its turn.
//! The kernel frees both when a process ends, however it does.

use crate::contract::StoreError;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Another process has its turn for milliseconds; one that stands still for so long gets this one's changes refused.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Between two looks. A wait without an end would be woken sooner, and hang when the other process is stopped.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// One process's way to its turns.
#[derive(Debug)]
pub(crate) struct Turnstile {
    next: File,
    write: File,
}

/// The right to write, until it is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Turn<'a>(&'a File);

impl Turnstile {
    /// The turnstile of a data directory.
    pub(crate) fn open(directory: &Path) -> Result<Self, StoreError> {
        let file = |name: &str| {
            let path = directory.join(name);
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            options
                .open(&path)
                .map_err(|error| StoreError::io(format!("failed to open {}", path.display()), error))
        };
        Ok(Self { next: file("turn-next")?, write: file("turn-write")? })
    }

    /// Waits for the turn. Fails after half a minute in which no other process gave its own up.
    pub(crate) fn pass(&self) -> Result<Turn<'_>, StoreError> {
        let deadline = Instant::now() + LONGEST_WAIT;
        let next = lock(&self.next, deadline)?;
        let turn = lock(&self.write, deadline)?;
        drop(next);
        Ok(turn)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Err(error) = flock(self.0, FlockOperation::Unlock) {
            tracing::error!(%error, "failed to end a turn; the end of the process will");
        }
    }
}

fn lock(file: &File, deadline: Instant) -> Result<Turn<'_>, StoreError> {
    let doing = "failed to wait for another process that writes";
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Turn(file)),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(LOOK_AGAIN),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(StoreError::failed(doing, "it has not finished in half a minute"));
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(StoreError::io(doing, error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn who_wants_to_write_again_waits_for_who_came_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        let greedy = Turnstile::open(directory.path()).unwrap();
        let other = Turnstile::open(directory.path()).unwrap();
        let (inside, others) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..20 {
                    let turn = other.pass().unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                    inside.fetch_sub(1, Ordering::SeqCst);
                    others.fetch_add(1, Ordering::SeqCst);
                    drop(turn);
                }
            });
            // Takes turn after turn without a pause; the other gets all of its own all the same.
            while others.load(Ordering::SeqCst) < 20 {
                let turn = greedy.pass().unwrap();
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                inside.fetch_sub(1, Ordering::SeqCst);
                drop(turn);
            }
        });
    }
}
