//! Sessions of assumed roles: whom an access key id stands for, until when.
//!
//! One sealed document for each, in the account's global scope. The gateway verifies signatures with them; this front door
//! verifies none in this release.

use crate::http::{ApiError, Context};
use crate::state::ApiState;
use ::http::StatusCode;
pub use lamplight_model::credentials::Session;
use lamplight_model::{ServiceError, Timestamp};
use lamplight_store::credentials::{self, SESSION_PREFIX as KEY_ID_PREFIX};
use lamplight_store::{Document, Expect, StoreError};

/// Kind of the documents; their key is the access key id.
const KIND: &str = credentials::SESSION_KIND;
/// Letters and digits of a key id after its beginning.
const KEY_ID_LENGTH: usize = 12;
/// Sessions at once; the one that ends first gives way.
const SESSIONS: usize = 1_000;

fn decode(document: Document) -> Result<Session, StoreError> {
    credentials::decode(KIND, document)
}

/// The session of a key id; `None` for key ids that were not made here.
///
/// Fails with 403 `ExpiredToken` or `InvalidClientTokenId` for those that are over or unknown.
pub async fn find(state: &ApiState, context: &Context, key_id: &str) -> Result<Option<Session>, ApiError> {
    if !key_id.starts_with(KEY_ID_PREFIX) {
        return Ok(None);
    }
    let document = state.store.get_document(&context.global_scope(), KIND, key_id).await?;
    let session = document.map(decode).transpose()?.ok_or_else(unknown)?;
    if session.expires_at <= state.now() {
        return Err(expired());
    }
    Ok(Some(session))
}

/// 403 `InvalidClientTokenId`: no session has this key id and token.
pub fn unknown() -> ApiError {
    let message = "The security token included in the request is invalid.";
    ApiError::new(StatusCode::FORBIDDEN, "InvalidClientTokenId", message)
}

/// 403 `ExpiredToken`.
pub fn expired() -> ApiError {
    let message = "The security token included in the request is expired";
    ApiError::new(StatusCode::FORBIDDEN, "ExpiredToken", message)
}

/// Stores a session under a new key id.
pub async fn add(state: &ApiState, context: &Context, session: &Session) -> Result<String, ApiError> {
    let _turn = state.session_writes.lock().await;
    make_room(state, context).await?;
    let key_id = format!("{KEY_ID_PREFIX}{}", letters(ID_ALPHABET, KEY_ID_LENGTH));
    let value = serde_json::to_value(session)
        .map_err(|error| ServiceError::internal(format!("failed to write a session down: {error}")))?;
    let document = Document { key: key_id.clone(), value };
    state.store.put_document(&context.global_scope(), KIND, document, Expect::Absent).await?;
    Ok(key_id)
}

/// Leaves fewer than `SESSIONS` behind.
async fn make_room(state: &ApiState, context: &Context) -> Result<(), ApiError> {
    let scope = context.global_scope();
    let rows = state.store.list_documents(&scope, KIND, None, SESSIONS).await?;
    if rows.len() < SESSIONS {
        return Ok(());
    }
    let mut sessions = Vec::new();
    for row in rows {
        let key_id = row.key.clone();
        sessions.push((decode(row)?.expires_at, key_id));
    }
    for key_id in superfluous(sessions, state.now()) {
        state.store.delete_document(&scope, KIND, &key_id).await?;
    }
    Ok(())
}

/// Key ids of the sessions that give way: those that are over, or else the one that ends first.
fn superfluous(mut sessions: Vec<(Timestamp, String)>, now: Timestamp) -> Vec<String> {
    sessions.sort();
    let over = sessions.partition_point(|(expires_at, _)| *expires_at <= now);
    sessions.into_iter().take(over.max(1)).map(|(_, key_id)| key_id).collect()
}

/// Removes the sessions that are over. Gives back how many.
pub async fn forget_expired(state: &ApiState) -> Result<usize, StoreError> {
    let _turn = state.session_writes.lock().await;
    let now = state.now();
    let mut forgotten = 0;
    for (scope, document) in state.store.documents_in_all_scopes(KIND).await? {
        let key_id = document.key.clone();
        let is_over = decode(document).is_ok_and(|session| session.expires_at <= now);
        if is_over && state.store.delete_document(&scope, KIND, &key_id).await? {
            forgotten += 1;
        }
    }
    Ok(forgotten)
}

/// Characters of key ids after their beginning.
pub const ID_ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Characters of secret keys.
pub const SECRET_ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// So many characters of an alphabet, at random.
pub fn letters(alphabet: &[u8], count: usize) -> String {
    (0..count).map(|_| char::from(alphabet[rand::random_range(0..alphabet.len())])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_are_over_give_way_else_the_first_to_end() {
        let sessions =
            || [(30, "c"), (10, "a"), (20, "b")].map(|(at, id)| (Timestamp(at), id.to_owned())).to_vec();
        assert_eq!(superfluous(sessions(), Timestamp(0)), ["a"]);
        assert_eq!(superfluous(sessions(), Timestamp(20)), ["a", "b"]);
        assert!(superfluous(Vec::new(), Timestamp(0)).is_empty());
    }
}
