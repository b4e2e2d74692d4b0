//! Opens a data directory: takes its lock, reads its key, starts the engines.
//!
//! Called once by the server's main. What lies where is decided here and nowhere else:
//! `lock`, `key`, `metadata.sqlite`, `executions.sqlite`, `ledger.sqlite`, `logs/`, `code/`.

use crate::code::directory::DirectoryCodeStore;
use crate::contract::StoreError;
use crate::database::DataDirectory;
use crate::executions::Executions;
use crate::ledger::sqlite::SqliteLedger;
use crate::lock::DataDirectoryLock;
use crate::logs::segments::SegmentLogs;
use crate::secret::Key;
use crate::sqlite::SqliteStore;
use crate::turnstile::Turnstile;
use crate::{CodeStore, Ledger, Logs, Store};
use lamplight_model::Timestamp;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where the store reads the time. Tests hand in their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The operating system's clock.
pub fn system_clock() -> Clock {
    Arc::new(|| Timestamp::from_system(std::time::SystemTime::now()))
}

/// Bounds on logs. Sizes in bytes on disk.
#[derive(Debug, Clone, PartialEq)]
pub struct LogBounds {
    /// Events older than this are deleted by `Logs::retain` and not read any more.
    pub retention: Duration,
    /// Bytes of one group; the oldest segment goes when it is exceeded.
    pub bytes_per_group: u64,
    /// Bytes of all groups together; the oldest segment of all goes when it is exceeded.
    pub bytes_in_all: u64,
    /// Lines a group may take per second; one second's worth may come at once.
    pub lines_per_second: u32,
    /// Bytes a group may take per second; one second's worth may come at once.
    pub bytes_per_second: u32,
}

impl Default for LogBounds {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(14 * 24 * 3600),
            bytes_per_group: 256 << 20,
            bytes_in_all: 8 << 30,
            lines_per_second: 10_000,
            bytes_per_second: 5 << 20,
        }
    }
}

/// Bounds on the ledger's records. Hourly totals outlive the records they were made from.
#[derive(Debug, Clone, PartialEq)]
pub struct LedgerBounds {
    /// Records kept at most.
    pub rows: u64,
    /// Records older than this are deleted.
    pub age: Duration,
}

impl Default for LedgerBounds {
    fn default() -> Self {
        Self { rows: 5_000_000, age: Duration::from_secs(30 * 24 * 3600) }
    }
}

/// How to open a store.
#[derive(Clone)]
pub struct Options {
    /// Created with mode 0700 when absent.
    pub data_directory: PathBuf,
    /// Bounds on logs.
    pub logs: LogBounds,
    /// Bounds on the ledger.
    pub ledger: LedgerBounds,
    /// Bytes of all stored ZIPs together; 75 GiB unless told, as Lambda's account quota.
    pub code_bytes: u64,
    /// Where the store reads the time.
    pub clock: Clock,
}

impl Options {
    /// The defaults for a data directory.
    pub fn new(data_directory: impl Into<PathBuf>) -> Self {
        Self {
            data_directory: data_directory.into(),
            logs: LogBounds::default(),
            ledger: LedgerBounds::default(),
            code_bytes: 75 << 30,
            clock: system_clock(),
        }
    }
}

/// The parts of an open store. They share the lock of the data directory: it is free again when
/// the last of them is dropped and its threads have ended.
#[derive(Clone)]
pub struct Opened {
    /// The data directory, for what the services keep beside these.
    pub directory: DataDirectory,
    /// Metadata and queue.
    pub store: Arc<dyn Store>,
    /// Code packages.
    pub code: Arc<dyn CodeStore>,
    /// One record per invocation.
    pub ledger: Arc<dyn Ledger>,
    /// Function logs.
    pub logs: Arc<dyn Logs>,
    /// Durable executions.
    pub executions: Arc<Executions>,
}

impl Opened {
    /// Makes durable what is still buffered (ledger, logs). What the metadata acknowledged already is.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let (ledger, logs) = tokio::join!(self.ledger.flush(), self.logs.flush());
        ledger.and(logs)
    }
}

/// Opens the data directory. Blocks (file system calls); needs no runtime, the operations do.
///
/// Fails with `Locked` when another process has it, `NewerFormat` when a newer release wrote it,
/// `Unwritable` when the disk is full or read-only.
pub fn open(options: Options) -> Result<Opened, StoreError> {
    let held = DataDirectory::take(&options.data_directory)?;
    let (directory, lock) = (held.path(), held.lock());
    let key = Arc::new(Key::read_or_create(&directory.join("key"))?);
    let store =
        SqliteStore::open(&directory.join("metadata.sqlite"), key, lock.clone(), options.clock.clone())?;
    let code = DirectoryCodeStore::open(
        &directory.join("code"),
        options.code_bytes,
        lock.clone(),
        options.clock.clone(),
    )?;
    let ledger = SqliteLedger::open(
        &directory.join("ledger.sqlite"),
        options.ledger.clone(),
        lock.clone(),
        options.clock.clone(),
    )?;
    let logs = SegmentLogs::open(&directory.join("logs"), options.logs.clone(), lock, options.clock.clone())?;
    let executions = Executions::open(&held)?;
    Ok(Opened {
        directory: held.clone(),
        store: Arc::new(store),
        code: Arc::new(code),
        ledger: Arc::new(ledger),
        logs: Arc::new(logs),
        executions: Arc::new(executions),
    })
}

/// Opens metadata and queue alone, beside other processes that open them so. A server (`open`) keeps these out, and they keep it
/// out: code, logs and ledger belong to one process.
///
/// Changes of all of them are seen at once by reads, and within 20 ms by `watch`. They write in turns. Each needs a name of its own
/// in the owners of its claims, and all count on the same clock: one that is ahead by a lease takes over what still runs.
/// Fails as `open` does.
pub fn open_shared(options: &Options) -> Result<Arc<dyn Store>, StoreError> {
    let directory = &options.data_directory;
    make_directory(directory)?;
    let lock = Arc::new(DataDirectoryLock::share(directory)?);
    let turnstile = Turnstile::open(directory)?;
    let key = {
        let _turn = turnstile.pass()?;
        Arc::new(Key::read_or_create(&directory.join("key"))?)
    };
    let path = directory.join("metadata.sqlite");
    Ok(Arc::new(SqliteStore::open_shared(&path, key, lock, options.clock.clone(), turnstile)?))
}

/// Creates `path` and its parents with mode 0700 where absent.
pub(crate) fn make_directory(path: &Path) -> Result<(), StoreError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| StoreError::io(format!("failed to create directory {}", path.display()), error))
}
