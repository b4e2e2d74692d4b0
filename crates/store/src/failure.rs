//! Turns the errors of the libraries below into `StoreError`: what refuses writes is told apart.

use crate::contract::StoreError;
use std::error::Error;

impl StoreError {
    /// A failure of the file system. A full or read-only disk becomes `Unwritable`.
    pub fn io(doing: impl Into<String>, error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let doing = doing.into();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                Self::Unwritable(format!("the disk is full ({doing}); free some space, nothing was lost"))
            }
            ErrorKind::ReadOnlyFilesystem => Self::Unwritable(format!(
                "the file system is read-only ({doing}); mount it writable again, nothing was lost"
            )),
            _ => Self::Failed { doing, source: Box::new(error) },
        }
    }

    /// A failure of SQLite. A full or read-only disk, and one that fails to write, become `Unwritable`.
    pub fn sqlite(doing: impl Into<String>, error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let doing = doing.into();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => {
                Self::Unwritable(format!("the disk is full ({doing}); free some space, nothing was lost"))
            }
            Some(ErrorCode::ReadOnly) => Self::Unwritable(format!(
                "the file system is read-only ({doing}); mount it writable again, nothing was lost"
            )),
            Some(ErrorCode::SystemIoFailure) => {
                Self::Unwritable(format!("the disk fails ({doing}: {error}); see the kernel's log"))
            }
            _ => Self::Failed { doing, source: Box::new(error) },
        }
    }

    /// Anything else.
    pub fn failed(doing: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed { doing: doing.into(), source: source.into() }
    }

    /// The same failure for each of several callers (sources are not `Clone`).
    pub(crate) fn repeat(&self) -> Self {
        match self {
            Self::AlreadyExists(what) => Self::AlreadyExists(what.clone()),
            Self::RevisionMismatch(what) => Self::RevisionMismatch(what.clone()),
            Self::NotFound(what) => Self::NotFound(what.clone()),
            Self::Referenced(aliases) => Self::Referenced(aliases.clone()),
            Self::Unwritable(why) => Self::Unwritable(why.clone()),
            Self::NewerFormat(what) => Self::NewerFormat(what.clone()),
            Self::Locked(what) => Self::Locked(what.clone()),
            Self::Failed { doing, source } => {
                Self::Failed { doing: doing.clone(), source: source.to_string().into() }
            }
        }
    }
}
