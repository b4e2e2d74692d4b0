//! Rows of `function_version` and the `FunctionVersion` they hold; environment values only ever sealed.

use crate::contract::StoreError;
use crate::secret::Key;
use lamplight_model::function::{FunctionState, UpdateStatus};
use lamplight_model::{FunctionVersion, VersionNumber};
use std::collections::BTreeMap;

/// Columns a row is decoded from, in this order.
pub(crate) const COLUMNS: &str = "record, environment";

/// The version column: 0 is `$LATEST`.
pub(crate) fn version_column(version: VersionNumber) -> i64 {
    match version {
        VersionNumber::Latest => 0,
        VersionNumber::Published(number) => i64::try_from(number).unwrap_or(i64::MAX),
    }
}

/// What is written for one version.
pub(crate) struct EncodedVersion {
    pub(crate) record: String,
    pub(crate) environment: Option<Vec<u8>>,
    pub(crate) unfinished: bool,
}

/// What a sealed environment is bound to.
fn context(version: &FunctionVersion) -> String {
    format!("{} {}", version.scope.key(), version.unqualified_arn())
}

/// Seals the environment and writes the rest as JSON.
pub(crate) fn encode(version: &FunctionVersion, key: &Key) -> Result<EncodedVersion, StoreError> {
    let doing = || format!("failed to encode {}", version.qualified_arn());
    let environment = match &version.environment {
        None => None,
        Some(variables) => {
            let plaintext =
                serde_json::to_vec(variables).map_err(|error| StoreError::failed(doing(), error))?;
            Some(key.seal(&context(version), &plaintext)?)
        }
    };
    let mut without = version.clone();
    without.environment = None;
    let record = serde_json::to_string(&without).map_err(|error| StoreError::failed(doing(), error))?;
    let unfinished = version.lifecycle.state == FunctionState::Pending
        || version.lifecycle.last_update_status == Some(UpdateStatus::InProgress);
    Ok(EncodedVersion { record, environment, unfinished })
}

/// The version of a row read with `COLUMNS`.
pub(crate) fn decode(row: &rusqlite::Row<'_>, key: &Key) -> Result<FunctionVersion, StoreError> {
    let column = |error| StoreError::sqlite("failed to read a function version", error);
    let record: String = row.get(0).map_err(column)?;
    let sealed: Option<Vec<u8>> = row.get(1).map_err(column)?;
    let mut version: FunctionVersion = serde_json::from_str(&record)
        .map_err(|error| StoreError::failed("failed to decode a function version", error))?;
    if let Some(sealed) = sealed {
        let plaintext = key.open(&context(&version), &sealed)?;
        let variables: BTreeMap<String, String> = serde_json::from_slice(&plaintext).map_err(|_| {
            // The parser's text could quote a value.
            StoreError::failed(
                format!("failed to decode the environment of {}", version.qualified_arn()),
                "not a JSON object of texts",
            )
        })?;
        version.environment = Some(variables);
    }
    Ok(version)
}
