//! Access keys: made, listed, switched off and on, deleted. The gateway compares signatures with their secrets.
//!
//! | request | answer |
//! |---|---|
//! | `POST /lamplight/v1/keys` `{"UserName"?, "Policy"?}` | 201 key + `SecretAccessKey`, shown this once |
//! | `GET /lamplight/v1/keys` | `{"Keys": [key + "LastUsed"?: {"Date", "ServiceName", "Region"}]}`, by id |
//! | `PUT /lamplight/v1/keys/{id}` `{"Status": "Active" \| "Inactive"}` | key |
//! | `DELETE /lamplight/v1/keys/{id}` | 204 |
//!
//! A key is `{"AccessKeyId", "UserName", "UserArn", "Status", "CreateDate", "Policy"?}`; dates are epoch milliseconds. They
//! belong to the account, whatever the region, as in IAM.

use crate::http::{ApiError, Context, Members, Response, body, reply};
use crate::lambda;
use crate::state::ApiState;
use crate::sts::{ID_ALPHABET, SECRET_ALPHABET, letters};
use ::http::{Method, StatusCode};
use axum::body::Body;
use lamplight_model::credentials::{self, AccessKey, KeyStatus, KeyUse};
use lamplight_model::{AccountId, ServiceError, policy};
use lamplight_store::credentials::{ACCESS_KEY_KIND, KEY_USE_KIND, decode, last_use};
use lamplight_store::{Document, Expect};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Bound of a request, bytes: a policy, escaped at worst.
const REQUEST_BYTES: usize = 64 * 1024;
/// Longest policy, bytes. Source: IAM quotas, managed policies.
const POLICY_BYTES: usize = 6_144;
/// Keys of an account.
const KEYS: usize = 1_000;
/// User of a key that nobody named.
const DEFAULT_USER: &str = "default";

/// Answers one request; `id` is what stands behind `keys/`.
pub async fn handle(state: &ApiState, context: &Context, id: &str, request: Body) -> Response {
    let body = match body::read(request, REQUEST_BYTES).await {
        Ok(body) => body,
        Err(error) => return reply::rest_json_error(&lambda::unreadable_body(&error)),
    };
    let result = match (&context.method, id) {
        (&Method::POST, "") => create(state, context, &body).await,
        (&Method::GET, "") => list(state, context).await,
        (&Method::PUT, id) if !id.is_empty() => update(state, context, id, &body).await,
        (&Method::DELETE, id) if !id.is_empty() => delete(state, context, id).await,
        _ => Err(super::unknown(context)),
    };
    result.unwrap_or_else(|error| reply::rest_json_error(&error))
}

async fn create(state: &ApiState, context: &Context, body: &[u8]) -> Result<Response, ApiError> {
    context.authorize("lamplight", "CreateKey", "*")?;
    let members = Members::parse(body)?;
    let user = members.string("UserName")?.unwrap_or_else(|| DEFAULT_USER.to_owned());
    if !credentials::is_user_name(&user) {
        return Err(ApiError::invalid_parameter(
            "UserName must have 1 to 64 letters, digits and characters of _+=,.@-.",
        ));
    }
    let policy = members.string("Policy")?;
    if let Some(document) = &policy {
        check_policy(document)?;
    }
    let _turn = state.session_writes.lock().await;
    if all(state, context).await?.len() >= KEYS {
        return Err(ApiError::conflict(format!("There are {KEYS} keys already. Delete some of them.")));
    }
    let id_letters = credentials::ACCESS_KEY_ID_LENGTH - credentials::ACCESS_KEY_PREFIX.len();
    let key = AccessKey {
        id: format!("{}{}", credentials::ACCESS_KEY_PREFIX, letters(ID_ALPHABET, id_letters)),
        secret: letters(SECRET_ALPHABET, credentials::SECRET_LENGTH),
        user_id: user_id(&context.scope.account, &user),
        user,
        status: KeyStatus::Active,
        policy,
        created_at: state.now(),
    };
    put(state, context, &key, Expect::Absent).await?;
    let mut answer = shown(context, &key);
    answer["SecretAccessKey"] = json!(key.secret);
    Ok(reply::json(StatusCode::CREATED, &answer))
}

fn check_policy(document: &str) -> Result<(), ApiError> {
    if document.len() > POLICY_BYTES {
        return Err(ApiError::invalid_parameter(format!("Policy may have {POLICY_BYTES} bytes.")));
    }
    policy::check(document)
        .map_err(|error| ApiError::invalid_parameter(format!("Policy is no policy document: {error}.")))
}

/// The same for all keys of a user, and for a user of that name who comes later.
fn user_id(account: &AccountId, user: &str) -> String {
    let digest = Sha256::digest(format!("{}/{user}", account.as_str()));
    let letters =
        digest.iter().take(17).map(|byte| char::from(ID_ALPHABET[usize::from(*byte) % ID_ALPHABET.len()]));
    "AIDA".chars().chain(letters).collect()
}

async fn list(state: &ApiState, context: &Context) -> Result<Response, ApiError> {
    context.authorize("lamplight", "Read", &context.path)?;
    let mut rows = Vec::new();
    for key in all(state, context).await? {
        let mut row = shown(context, &key);
        if let Some(KeyUse { at, service, region }) =
            last_use(&*state.store, &context.scope.account, &key.id).await?
        {
            row["LastUsed"] = json!({"Date": at, "ServiceName": service, "Region": region});
        }
        rows.push(row);
    }
    Ok(super::ok(&json!({ "Keys": rows })))
}

async fn update(state: &ApiState, context: &Context, id: &str, body: &[u8]) -> Result<Response, ApiError> {
    context.authorize("lamplight", "UpdateKey", id)?;
    let status = match Members::parse(body)?.string("Status")?.as_deref() {
        Some("Active") => KeyStatus::Active,
        Some("Inactive") => KeyStatus::Inactive,
        _ => return Err(ApiError::invalid_parameter("Status must be Active or Inactive.")),
    };
    let _turn = state.session_writes.lock().await;
    let key = AccessKey { status, ..load(state, context, id).await? };
    put(state, context, &key, Expect::Anything).await?;
    Ok(super::ok(&shown(context, &key)))
}

async fn delete(state: &ApiState, context: &Context, id: &str) -> Result<Response, ApiError> {
    context.authorize("lamplight", "DeleteKey", id)?;
    let _turn = state.session_writes.lock().await;
    let key = load(state, context, id).await?;
    let scope = context.global_scope();
    state.store.delete_document(&scope, ACCESS_KEY_KIND, &key.id).await?;
    state.store.delete_document(&scope, KEY_USE_KIND, &key.id).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

async fn all(state: &ApiState, context: &Context) -> Result<Vec<AccessKey>, ApiError> {
    let documents = state.store.list_documents(&context.global_scope(), ACCESS_KEY_KIND, None, KEYS).await?;
    Ok(documents
        .into_iter()
        .map(|document| decode(ACCESS_KEY_KIND, document))
        .collect::<Result<_, lamplight_store::StoreError>>()?)
}

async fn load(state: &ApiState, context: &Context, id: &str) -> Result<AccessKey, ApiError> {
    let document = state.store.get_document(&context.global_scope(), ACCESS_KEY_KIND, id).await?;
    let document = document
        .ok_or_else(|| ApiError::not_found(format!("The Access Key with id {id} cannot be found.")))?;
    Ok(decode(ACCESS_KEY_KIND, document)?)
}

/// Call with `session_writes` held.
async fn put(state: &ApiState, context: &Context, key: &AccessKey, expect: Expect) -> Result<(), ApiError> {
    let value = serde_json::to_value(key)
        .map_err(|error| ServiceError::internal(format!("failed to write a key down: {error}")))?;
    let document = Document { key: key.id.clone(), value };
    Ok(state.store.put_document(&context.global_scope(), ACCESS_KEY_KIND, document, expect).await?)
}

fn shown(context: &Context, key: &AccessKey) -> Value {
    let mut shown = json!({
        "AccessKeyId": key.id,
        "UserName": key.user,
        "UserArn": credentials::user_arn(context.scope.account.as_str(), &key.user),
        "Status": key.status,
        "CreateDate": key.created_at,
    });
    if let Some(policy) = &key.policy {
        shown["Policy"] = json!(policy);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_one_id() {
        let account = AccountId::default();
        let id = user_id(&account, "ann");
        assert!(id.len() == 21 && id.starts_with("AIDA"), "{id}");
        assert_eq!(id, user_id(&account, "ann"));
        assert_ne!(id, user_id(&account, "bob"));
    }

    #[test]
    fn policies_are_checked() {
        assert!(check_policy(credentials::named_policy("all").unwrap()).is_ok());
        assert!(check_policy("{}").unwrap_err().message.starts_with("Policy is no policy document"));
        assert!(check_policy(&" ".repeat(POLICY_BYTES + 1)).unwrap_err().message.contains("6144 bytes"));
    }
}
