//! GetSecretValue, BatchGetSecretValue, DescribeSecret and ListSecretVersionIds.

use super::list;
use super::secret::{self, CURRENT, Secret, day, id, load, seconds};
use super::{invalid_parameter, invalid_request, not_found};
use crate::http::{ApiError, Context, Members};
use crate::state::ApiState;
use serde_json::{Map, Value, json};

/// Secrets of one BatchGetSecretValue.
const BATCH: usize = 20;

/// GetSecretValue.
pub async fn get_value(
    state: &ApiState,
    context: &Context,
    members: &Members<'_>,
) -> Result<Value, ApiError> {
    let secret = load(state, context, &id(members)?, "GetSecretValue").await?;
    let version = members.string("VersionId")?;
    let stage = members.string("VersionStage")?;
    let (answer, version) = value_of(context, &secret, version.as_deref(), stage.as_deref())?;
    note_access(state, context, &secret, &version).await;
    Ok(answer)
}

/// The answer about one version, and its id.
fn value_of(
    context: &Context,
    secret: &Secret,
    id: Option<&str>,
    stage: Option<&str>,
) -> Result<(Value, String), ApiError> {
    secret.check_not_deleted()?;
    let absent =
        |what: String| not_found(format!("Secrets Manager can't find the specified secret value for {what}"));
    let version = match id {
        Some(id) => {
            let version = secret.versions.iter().find(|version| version.id == id);
            let version = version.ok_or_else(|| absent(format!("VersionId: {id}")))?;
            if stage.is_some_and(|stage| !version.stages.contains(stage)) {
                return Err(invalid_request(
                    "You provided a VersionStage that is not associated to the provided VersionId.",
                ));
            }
            version
        }
        None => {
            let stage = stage.unwrap_or(CURRENT);
            secret.labelled(stage).ok_or_else(|| absent(format!("staging label: {stage}")))?
        }
    };
    let mut map = secret.head(context);
    let (member, content) = version.content.member();
    map.insert("VersionId".to_owned(), version.id.as_str().into());
    map.insert(member.to_owned(), content.into());
    map.insert("VersionStages".to_owned(), version.stages_json());
    map.insert("CreatedDate".to_owned(), seconds(version.created_at).into());
    Ok((Value::Object(map), version.id.clone()))
}

/// Writes down that a version was read, once a day. The value is there whether this succeeds or not.
async fn note_access(state: &ApiState, context: &Context, secret: &Secret, version: &str) {
    let today = day(state.now());
    let is_noted = |secret: &Secret| {
        let version = secret.versions.iter().find(|stored| stored.id == version);
        secret.accessed_on == Some(today) && version.is_none_or(|version| version.accessed_on == Some(today))
    };
    if is_noted(secret) {
        return;
    }
    let noting = async {
        let _turn = state.secret_writes.lock().await;
        // It may have changed since it was read.
        let Some(mut secret) = secret::find_named(state, context, &secret.name).await? else { return Ok(()) };
        secret.accessed_on = Some(today);
        for stored in secret.versions.iter_mut().filter(|stored| stored.id == version) {
            stored.accessed_on = Some(today);
        }
        secret::save(state, context, &secret).await
    };
    let noted: Result<(), ApiError> = noting.await;
    if let Err(error) = noted {
        tracing::warn!(%error, secret = secret.name, "failed to note that a secret was read");
    }
}

/// BatchGetSecretValue: by ids or by filters. What fails is told beside what does not.
pub async fn get_values(
    state: &ApiState,
    context: &Context,
    members: &Members<'_>,
) -> Result<Value, ApiError> {
    let ids = members.strings("SecretIdList")?;
    let (ids, next) = match (ids, members.has("Filters")) {
        (Some(_), true) | (None, false) => {
            return Err(invalid_parameter(
                "Either 'SecretIdList' or 'Filters' must be provided, but not both.",
            ));
        }
        (Some(ids), false) if ids.is_empty() || ids.len() > BATCH => {
            return Err(invalid_parameter(format!("SecretIdList must have 1 to {BATCH} members.")));
        }
        (Some(ids), false) => (ids, None),
        (None, true) => {
            let (secrets, next) = list::page_of(state, context, members, BATCH).await?;
            (secrets.into_iter().map(|secret| secret.name).collect(), next)
        }
    };
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for id in ids {
        let found = load(state, context, &id, "GetSecretValue").await;
        let found = found.and_then(|secret| Ok((value_of(context, &secret, None, None)?, secret)));
        match found {
            Ok(((value, version), secret)) => {
                note_access(state, context, &secret, &version).await;
                values.push(value);
            }
            Err(error) if error.status.is_server_error() => return Err(error),
            Err(error) => {
                errors.push(json!({"SecretId": id, "ErrorCode": error.code, "Message": error.message}));
            }
        }
    }
    let mut answer = json!({"SecretValues": values, "Errors": errors});
    if let Some(next) = next {
        answer["NextToken"] = next.into();
    }
    Ok(answer)
}

/// DescribeSecret, also of one that is to be deleted.
pub async fn describe(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let secret = load(state, context, &id(members)?, "DescribeSecret").await?;
    Ok(Value::Object(secret.metadata(context, "VersionIdsToStages")))
}

/// ListSecretVersionIds, oldest first; one page holds all there are.
pub async fn version_ids(
    state: &ApiState,
    context: &Context,
    members: &Members<'_>,
) -> Result<Value, ApiError> {
    let secret = load(state, context, &id(members)?, "ListSecretVersionIds").await?;
    let deprecated = members.boolean("IncludeDeprecated")?.unwrap_or(false);
    let versions = secret.versions.iter().filter(|version| deprecated || !version.stages.is_empty());
    let rows = versions.map(|version| {
        let mut row = Map::new();
        row.insert("VersionId".to_owned(), version.id.as_str().into());
        if !version.stages.is_empty() {
            row.insert("VersionStages".to_owned(), version.stages_json());
        }
        if let Some(day) = version.accessed_on {
            row.insert("LastAccessedDate".to_owned(), seconds(day).into());
        }
        row.insert("CreatedDate".to_owned(), seconds(version.created_at).into());
        row.insert("KmsKeyIds".to_owned(), json!(["DefaultEncryptionKey"]));
        Value::Object(row)
    });
    let mut answer = secret.head(context);
    answer.insert("Versions".to_owned(), rows.collect());
    Ok(Value::Object(answer))
}
