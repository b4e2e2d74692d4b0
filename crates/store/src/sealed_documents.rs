//! Documents nobody may read off the disk: parameters, secrets, sessions.
//!
//! Their kind begins with `KIND_PREFIX`. The content is stored as one JSON text: base64 of what `Key::seal` made of it, bound
//! to scope, kind and key, so that a row copied into another's place does not open. Kind and key (the names) stay readable.
//! `Expect::Revision` never fits one: what is compared is a digest of the sealed text.

use crate::contract::{Document, StoreError};
use crate::secret::Key;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lamplight_model::Scope;
use serde_json::Value;

/// Beginning of the kinds.
pub const KIND_PREFIX: &str = "sealed/";

fn context(scope: &Scope, kind: &str, document: &str) -> String {
    format!("{} {kind} {document}", scope.key())
}

/// The document as it is stored. Those of other kinds stay as they are.
pub(crate) fn seal(key: &Key, scope: &Scope, kind: &str, document: Document) -> Result<Document, StoreError> {
    if !kind.starts_with(KIND_PREFIX) {
        return Ok(document);
    }
    let context = context(scope, kind, &document.key);
    let sealed = key.seal(&context, document.value.to_string().as_bytes())?;
    Ok(Document { key: document.key, value: Value::String(STANDARD.encode(sealed)) })
}

/// The document that was stored. Fails when it was not sealed with this key for this place.
pub(crate) fn open(key: &Key, scope: &Scope, kind: &str, document: Document) -> Result<Document, StoreError> {
    if !kind.starts_with(KIND_PREFIX) {
        return Ok(document);
    }
    let context = context(scope, kind, &document.key);
    let doing = || format!("failed to read {context}");
    let sealed = document.value.as_str().and_then(|text| STANDARD.decode(text).ok());
    let sealed = sealed.ok_or_else(|| StoreError::failed(doing(), "not a sealed document"))?;
    // The parser's text could quote the content.
    let value = serde_json::from_slice(&key.open(&context, &sealed)?)
        .map_err(|_| StoreError::failed(doing(), "the sealed content is not JSON"))?;
    Ok(Document { key: document.key, value })
}
