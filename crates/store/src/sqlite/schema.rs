//! Formats of the SQLite files: numbered forward migrations, each in a transaction with its number.

use crate::contract::StoreError;
use rusqlite::Connection;

/// Migrations of `metadata.sqlite`; the n-th brings format n-1 to n. Never change one that was released:
/// add the next, and a fixture of the format before it under `tests/fixtures`.
pub(crate) const METADATA: &[&str] = &[
    include_str!("metadata_1.sql"),
    include_str!("metadata_2.sql"),
    include_str!("metadata_3.sql"),
    include_str!("metadata_4.sql"),
    include_str!("metadata_5.sql"),
];

/// Migrations of `ledger.sqlite`.
pub(crate) const LEDGER: &[&str] =
    &[include_str!("../ledger/ledger_1.sql"), include_str!("../ledger/ledger_2.sql")];

/// Brings the file to the newest format. `NewerFormat` when a newer release wrote it; then nothing is changed.
pub(crate) fn migrate(
    connection: &mut Connection,
    file: &str,
    migrations: &[&str],
) -> Result<(), StoreError> {
    let doing = |what: &str| format!("failed to {what} {file}");
    let format: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| StoreError::sqlite(doing("read the format of"), error))?;
    let known = migrations.len();
    let done = usize::try_from(format).unwrap_or(usize::MAX);
    if done > known {
        return Err(StoreError::NewerFormat(format!(
            "{file} has format {format}; this release of Lamplight knows formats up to {known}. \
             Start the newer release that wrote it"
        )));
    }
    for (index, migration) in migrations.iter().enumerate().skip(done) {
        let number = index + 1;
        let doing = || doing(&format!("migrate to format {number} the file"));
        let transaction = connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(|error| StoreError::sqlite(doing(), error))?;
        transaction
            .execute_batch(migration)
            .and_then(|()| transaction.pragma_update(None, "user_version", number as i64))
            .and_then(|()| transaction.commit())
            .map_err(|error| StoreError::sqlite(doing(), error))?;
    }
    Ok(())
}
