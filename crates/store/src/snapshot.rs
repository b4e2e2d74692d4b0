//! A copy of one SQLite file as it is at one moment, while a server goes on writing it.
//!
//! Called by `lamplight backup`, from another process. What belongs to the copy outside of the file (packages, contents)
//! is fixed by the caller at that same moment.

use crate::contract::StoreError;
use crate::sqlite::connection::open_reader;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// How long another change may keep this one waiting. Changes take milliseconds.
const WAIT: Duration = Duration::from_secs(30);
/// Pages copied at a time.
const PAGES: i32 = 4_096;

/// Copies `database` to the new file `copy`.
///
/// `while_still` runs while nobody can change the database, and what it sees on the disk fits the copy: the server's changes
/// wait for it, five seconds at most, so it should be short. Source: SQLite, "Online Backup API" and "Isolation" (a
/// transaction that reads keeps seeing what it saw first).
pub fn snapshot(
    database: &Path,
    copy: &Path,
    while_still: impl FnOnce() -> std::io::Result<()>,
) -> Result<(), StoreError> {
    let doing = || format!("failed to copy {}", database.display());
    let failed = |error| StoreError::sqlite(doing(), error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let guard = Connection::open_with_flags(database, flags).map_err(failed)?;
    guard.busy_timeout(WAIT).map_err(failed)?;
    guard.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
    let reader = open_reader(database)?;
    // The first read is the moment that the copy shows.
    reader.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema").map_err(failed)?;
    while_still().map_err(|error| StoreError::io(doing(), error))?;
    guard.execute_batch("ROLLBACK").map_err(failed)?;
    let mut target = Connection::open(copy).map_err(failed)?;
    rusqlite::backup::Backup::new(&reader, &mut target)
        .and_then(|backup| backup.run_to_completion(PAGES, Duration::ZERO, None))
        .map_err(failed)?;
    target.close().map_err(|(_, error)| failed(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_shows_the_moment_at_which_the_files_were_fixed() {
        let directory = tempfile::tempdir().unwrap();
        let (database, copy) = (directory.path().join("a.sqlite"), directory.path().join("copy.sqlite"));
        let writer = Connection::open(&database).unwrap();
        writer.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
        writer.execute_batch("CREATE TABLE words (word TEXT); INSERT INTO words VALUES ('before')").unwrap();
        writer.busy_timeout(Duration::ZERO).unwrap();
        snapshot(&database, &copy, || {
            let refused = writer.execute("INSERT INTO words VALUES ('meanwhile')", []).unwrap_err();
            assert_eq!(refused.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy));
            Ok(())
        })
        .unwrap();
        writer.execute("INSERT INTO words VALUES ('after')", []).unwrap();
        let copied = Connection::open(&copy).unwrap();
        let words: String =
            copied.query_row("SELECT group_concat(word) FROM words", [], |row| row.get(0)).unwrap();
        assert_eq!(words, "before");
    }

    #[test]
    fn what_is_no_database_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.sqlite");
        std::fs::write(&file, [b'x'; 4_096]).unwrap();
        let error = snapshot(&file, &directory.path().join("copy"), || Ok(())).unwrap_err();
        assert!(error.to_string().contains("a.sqlite"), "{error}");
    }
}
