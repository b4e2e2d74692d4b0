//! Reads what the processes of one instance write to stdout and stderr.
//!
//! One pipe per sandbox. A task pumps it, so that a function printing in the background is never blocked for
//! good; the run reads what is left before it writes END and REPORT. Both go through the same lock, so lines
//! keep their order.

use super::journal::{Journal, Source};
use super::split::LineSplitter;
use std::cell::RefCell;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::unix::pipe;
use tokio::time::Instant;

/// Bytes read at once: the size of a pipe.
const READ_BYTES: usize = 64 * 1024;
/// Most bytes read when an invocation ends. A pipe holds 64 KiB unless the function enlarged it (to at most
/// 1 MiB); one that prints faster than it is read must not hold the end of its invocation up.
const DRAIN_BYTES: usize = 1024 * 1024;
/// What one instance may cost the pump per second, bytes; a line costs `LINE_COST_BYTES` more than its text.
/// Beyond it the pipe fills and the function waits in `write` until the second is over.
const COST_BYTES_PER_SECOND: usize = 8 * 1024 * 1024;
const LINE_COST_BYTES: usize = 128;

/// The read end of one sandbox's output pipe.
#[derive(Debug)]
pub struct Output {
    pipe: pipe::Receiver,
    /// The same pipe: reads without asking whether the reactor has noticed that there is something.
    direct: File,
    journal: Arc<Journal>,
    source: Source,
    lines: Mutex<LineSplitter>,
}

thread_local! {
    // One buffer for each thread rather than each instance: there may be a thousand of them, mostly idle.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

enum Progress {
    Read { bytes: usize, lines: usize },
    Empty,
    Closed,
}

impl Output {
    /// Takes over a non-blocking pipe. Must be called within a tokio runtime.
    pub fn new(pipe: OwnedFd, source: Source, journal: Arc<Journal>) -> std::io::Result<Arc<Self>> {
        let direct = File::from(pipe.try_clone()?);
        let pipe = pipe::Receiver::from_owned_fd(pipe)?;
        Ok(Arc::new(Self { pipe, direct, journal, source, lines: Mutex::new(LineSplitter::default()) }))
    }

    /// Reads until every writer is gone.
    pub async fn pump(self: Arc<Self>) {
        let mut window = Instant::now();
        let mut cost = 0;
        loop {
            if self.pipe.readable().await.is_err() {
                return;
            }
            match self.read_once(|buffer| self.pipe.try_read(buffer)) {
                Progress::Closed => return,
                Progress::Empty => {}
                Progress::Read { bytes, lines } => {
                    cost += bytes + lines * LINE_COST_BYTES;
                    let now = Instant::now();
                    if now.duration_since(window) >= Duration::from_secs(1) {
                        (window, cost) = (now, 0);
                    } else if cost >= COST_BYTES_PER_SECOND {
                        tokio::time::sleep_until(window + Duration::from_secs(1)).await;
                    }
                }
            }
        }
    }

    /// Writes everything that is in the pipe now to the journal, an unfinished line included.
    pub fn drain(&self) {
        let mut total = 0;
        while total < DRAIN_BYTES {
            match self.read_once(|buffer| (&self.direct).read(buffer)) {
                Progress::Read { bytes, .. } => total += bytes,
                Progress::Empty | Progress::Closed => break,
            }
        }
        let rest = self.lock().flush();
        if let Some(line) = rest {
            self.journal.lines(self.source, vec![line]);
        }
    }

    fn read_once(&self, read: impl FnOnce(&mut [u8]) -> std::io::Result<usize>) -> Progress {
        let mut splitter = self.lock();
        BUFFER.with_borrow_mut(|buffer| match read(buffer) {
            Ok(0) => Progress::Closed,
            Ok(bytes) => {
                let mut lines = Vec::new();
                splitter.push(&buffer[..bytes], |line| lines.push(line));
                let count = lines.len();
                if count > 0 {
                    // Within the lock: the pump and the run must not swap two batches.
                    self.journal.lines(self.source, lines);
                }
                Progress::Read { bytes, lines: count }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Progress::Read { bytes: 0, lines: 0 },
            Err(error) if error.kind() == ErrorKind::WouldBlock => Progress::Empty,
            Err(_) => Progress::Closed,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LineSplitter> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
