//! DeleteSecret and RestoreSecret, and the end of secrets whose recovery window is over.
//!
//! A note beside each secret that is to be deleted says so, so that the hourly round need not open every secret there is. The
//! secret itself decides: a note without such a secret is dropped.

use super::secret::{self, KIND, Secret, asked_for, id, load, seconds};
use super::{invalid_parameter, invalid_request, not_found};
use crate::http::{ApiError, Context, Members};
use crate::state::ApiState;
use lamplight_model::Timestamp;
use lamplight_store::{Document, Expect, StoreError};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Days a secret can be restored unless told otherwise.
const WINDOW_DAYS: i64 = 30;
/// Kind of the notes; their key is the secret's name.
const NOTE_KIND: &str = "secret-deletion";
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// DeleteSecret: at once, or after a window in which it can be restored.
pub async fn delete(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let id = id(members)?;
    let window = members.integer("RecoveryWindowInDays")?;
    let force = members.boolean("ForceDeleteWithoutRecovery")?.unwrap_or(false);
    let _turn = state.secret_writes.lock().await;
    let found = asked_for(state, context, &id, "DeleteSecret").await?;
    if force && window.is_some() {
        return Err(invalid_parameter(
            "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
        ));
    }
    let days = window.unwrap_or(WINDOW_DAYS);
    if !(7..=30).contains(&days) {
        return Err(invalid_parameter(
            "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).",
        ));
    }
    let now = state.now();
    if force {
        return match found {
            Some(secret) => {
                state.store.delete_document(&context.scope, KIND, &secret.name).await?;
                Ok(answer(secret.head(context), now))
            }
            // Who wants it gone at once is not told that it was not there.
            None => {
                let mut head = Map::new();
                head.insert(
                    "ARN".to_owned(),
                    context.scope.arn("secretsmanager", &format!("secret:{id}")).into(),
                );
                head.insert("Name".to_owned(), id.into());
                Ok(answer(head, now))
            }
        };
    }
    let mut secret = found.ok_or_else(|| not_found("Secrets Manager can't find the specified secret."))?;
    if secret.deleted_at.is_some() {
        return Err(invalid_request(
            "You can't perform this operation on the secret because it was already scheduled for deletion.",
        ));
    }
    let deleted_at = now.plus(DAY * u32::try_from(days).unwrap_or(u32::MAX));
    secret.deleted_at = Some(deleted_at);
    let note = Document { key: secret.name.clone(), value: json!({"At": deleted_at}) };
    state.store.put_document(&context.scope, NOTE_KIND, note, Expect::Anything).await?;
    secret::save(state, context, &secret).await?;
    Ok(answer(secret.head(context), deleted_at))
}

fn answer(mut head: Map<String, Value>, deleted_at: Timestamp) -> Value {
    head.insert("DeletionDate".to_owned(), seconds(deleted_at).into());
    Value::Object(head)
}

/// RestoreSecret. One that is not to be deleted stays as it is.
pub async fn restore(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let _turn = state.secret_writes.lock().await;
    let mut secret = load(state, context, &id(members)?, "RestoreSecret").await?;
    if secret.deleted_at.take().is_some() {
        secret::save(state, context, &secret).await?;
    }
    Ok(Value::Object(secret.head(context)))
}

/// Removes the secrets of all regions whose time has come. Gives back how many. Nobody sees one after its time in any
/// case; this takes it off the disk.
pub async fn forget_expired(state: &ApiState) -> Result<usize, StoreError> {
    let _turn = state.secret_writes.lock().await;
    let now = state.now();
    let mut forgotten = 0;
    for (scope, note) in state.store.documents_in_all_scopes(NOTE_KIND).await? {
        let found = state.store.get_document(&scope, KIND, &note.key).await?;
        let secret = found.and_then(|document| serde_json::from_value::<Secret>(document.value).ok());
        match secret {
            Some(secret) if secret.is_gone(now) => {
                state.store.delete_document(&scope, KIND, &note.key).await?;
                forgotten += 1;
            }
            Some(secret) if secret.deleted_at.is_some() => continue,
            _ => {}
        }
        state.store.delete_document(&scope, NOTE_KIND, &note.key).await?;
    }
    Ok(forgotten)
}
