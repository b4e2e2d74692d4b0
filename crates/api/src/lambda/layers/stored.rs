//! Layers in the store: a document for each layer, which holds the next number, and one for each version.
//!
//! A version's key ends with its number counted from the greatest downwards, so that documents are read newest first.

use crate::http::ApiError;
use crate::lambda::functions::new_revision;
use crate::state::ApiState;
use lamplight_model::{LayerArn, LayerName, LayerVersion, LayerVersionArn, Scope};
use lamplight_store::{Document, Expect, StoreError};
use serde_json::{Value, json};

/// Kind of the documents of layers.
const LAYER: &str = "layer";
/// Kind of the documents of their versions.
const VERSION: &str = "layer-version";
/// How often a number is taken again when somebody else took it meanwhile.
const ATTEMPTS: usize = 32;
/// Documents read at once.
const READ_ROWS: usize = 100;

fn version_key(arn: &LayerVersionArn) -> String {
    format!("{}/{:020}", arn.layer.name.as_str(), u64::MAX - arn.version)
}

/// Takes the layer's next number, which nobody will ever get again.
pub async fn next_number(state: &ApiState, layer: &LayerArn) -> Result<u64, ApiError> {
    let key = layer.name.as_str().to_owned();
    for _ in 0..ATTEMPTS {
        let stored = state.store.get_document(&layer.scope, LAYER, &key).await?;
        let (number, expected) = match &stored {
            None => (1, Expect::Absent),
            Some(Document { value, .. }) => {
                let revision = value["RevisionId"].as_str().unwrap_or_default().to_owned();
                let next = value["NextVersion"].as_u64().ok_or_else(|| unreadable(&key))?;
                (next, Expect::Revision(revision))
            }
        };
        let value = json!({"NextVersion": number + 1, "RevisionId": new_revision()});
        let document = Document { key: key.clone(), value };
        match state.store.put_document(&layer.scope, LAYER, document, expected).await {
            Ok(()) => return Ok(number),
            Err(StoreError::AlreadyExists(_) | StoreError::RevisionMismatch(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::conflict("Versions of this layer are being published by other requests. Try again."))
}

/// Stores a version.
///
/// Fails with `StoreError::RevisionMismatch` when it is not as `expected` any more.
pub async fn put(
    state: &ApiState,
    arn: &LayerVersionArn,
    version: &LayerVersion,
    expected: Expect,
) -> Result<(), StoreError> {
    let value = serde_json::to_value(version).map_err(|error| StoreError::Failed {
        doing: format!("failed to write {arn}"),
        source: Box::new(error),
    })?;
    let document = Document { key: version_key(arn), value };
    state.store.put_document(&arn.layer.scope, VERSION, document, expected).await
}

/// One version; `None` when it was never published or is deleted.
pub async fn get(state: &ApiState, arn: &LayerVersionArn) -> Result<Option<LayerVersion>, ApiError> {
    let stored = state.store.get_document(&arn.layer.scope, VERSION, &version_key(arn)).await?;
    stored.map(|stored| parse(stored.value, &stored.key)).transpose()
}

/// Deletes a version. `false` when there was none.
pub async fn delete(state: &ApiState, arn: &LayerVersionArn) -> Result<bool, ApiError> {
    Ok(state.store.delete_document(&arn.layer.scope, VERSION, &version_key(arn)).await?)
}

/// Versions of one layer that `fits` takes, newest first, older than `before`; `limit` at most.
pub async fn versions(
    state: &ApiState,
    layer: &LayerArn,
    before: Option<u64>,
    limit: usize,
    fits: impl Fn(&LayerVersion) -> bool,
) -> Result<Vec<LayerVersion>, ApiError> {
    let prefix = format!("{}/", layer.name.as_str());
    let mut after = match before {
        Some(version) => version_key(&LayerVersionArn { layer: layer.clone(), version }),
        None => prefix.clone(),
    };
    let mut found = Vec::new();
    loop {
        let rows = state.store.list_documents(&layer.scope, VERSION, Some(&after), READ_ROWS).await?;
        let whole = rows.len() == READ_ROWS;
        for row in rows {
            if !row.key.starts_with(&prefix) {
                return Ok(found);
            }
            let version = parse(row.value, &row.key)?;
            if fits(&version) {
                found.push(version);
                if found.len() == limit {
                    return Ok(found);
                }
            }
            after = row.key;
        }
        if !whole {
            return Ok(found);
        }
    }
}

/// Names of layers of a scope in order, after `after`; those without a version, too.
pub async fn names(
    state: &ApiState,
    scope: &Scope,
    after: Option<&LayerName>,
) -> Result<Vec<LayerName>, ApiError> {
    let after = after.map(LayerName::as_str);
    let rows = state.store.list_documents(scope, LAYER, after, READ_ROWS).await?;
    rows.into_iter().map(|row| LayerName::parse(&row.key).ok_or_else(|| unreadable(&row.key))).collect()
}

fn parse(value: Value, key: &str) -> Result<LayerVersion, ApiError> {
    serde_json::from_value(value).map_err(|error| {
        StoreError::Failed { doing: format!("failed to read layer {key}"), source: Box::new(error) }.into()
    })
}

fn unreadable(key: &str) -> ApiError {
    StoreError::Failed {
        doing: format!("failed to read layer {key}"),
        source: "its record is not what was written".into(),
    }
    .into()
}
