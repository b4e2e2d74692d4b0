//! A secret as it is stored: one document with all its versions.

use super::{invalid_request, not_found};
use crate::access;
use crate::http::{ApiError, Context, Members};
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use lamplight_model::{ServiceError, Timestamp};
use lamplight_store::{Document, Expect};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Kind of the documents; their key is the name.
pub const KIND: &str = "sealed/secret";
/// The label of the version that is meant when none is named.
pub const CURRENT: &str = "AWSCURRENT";
/// The label of the version that was current before.
const PREVIOUS: &str = "AWSPREVIOUS";
/// Versions without a label that are kept, the newest. AWS keeps about a hundred and promises none.
const UNLABELLED: usize = 20;
/// Letters and digits behind the name in an ARN.
const SUFFIX_LENGTH: usize = 6;

/// A secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Secret {
    /// `Name`.
    pub name: String,
    /// End of the ARN, so that a secret made anew has another one.
    pub suffix: String,
    /// `Description`.
    pub description: Option<String>,
    /// `KmsKeyId`.
    pub key_id: Option<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// `CreatedDate`.
    pub created_at: Timestamp,
    /// `LastChangedDate`.
    pub changed_at: Timestamp,
    /// `LastAccessedDate`: the beginning of a day.
    pub accessed_on: Option<Timestamp>,
    /// When it is deleted, once that was asked for.
    pub deleted_at: Option<Timestamp>,
    /// The resource policy.
    pub policy: Option<String>,
    /// Oldest first.
    pub versions: Vec<Version>,
}

/// One version of a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// `VersionId`: the token of the request that made it.
    pub id: String,
    /// What is kept secret.
    pub content: Content,
    /// `VersionStages`.
    pub stages: BTreeSet<String>,
    /// `CreatedDate`.
    pub created_at: Timestamp,
    /// `LastAccessedDate`: the beginning of a day.
    pub accessed_on: Option<Timestamp>,
}

/// What is kept secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// `SecretString`.
    String(String),
    /// `SecretBinary`, base64.
    Binary(String),
}

impl Content {
    /// Name and value of its member.
    pub fn member(&self) -> (&'static str, &str) {
        match self {
            Self::String(text) => ("SecretString", text),
            Self::Binary(base64) => ("SecretBinary", base64),
        }
    }
}

impl Secret {
    /// Its ARN.
    pub fn arn(&self, context: &Context) -> String {
        context.scope.arn("secretsmanager", &format!("secret:{}-{}", self.name, self.suffix))
    }

    /// `ARN` and `Name`, the beginning of most answers.
    pub fn head(&self, context: &Context) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("ARN".to_owned(), self.arn(context).into());
        map.insert("Name".to_owned(), self.name.as_str().into());
        map
    }

    /// Whether its time has come.
    pub fn is_gone(&self, now: Timestamp) -> bool {
        self.deleted_at.is_some_and(|deleted_at| deleted_at <= now)
    }

    /// Fails with `InvalidRequestException` when it is to be deleted.
    pub fn check_not_deleted(&self) -> Result<(), ApiError> {
        match self.deleted_at {
            None => Ok(()),
            Some(_) => Err(invalid_request(
                "You can't perform this operation on the secret because it was marked for deletion.",
            )),
        }
    }

    /// The version with this label.
    pub fn labelled(&self, stage: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.stages.contains(stage))
    }

    /// Takes a label from the version that has it and gives it to `to`. The version that was current becomes the previous
    /// one.
    pub fn move_stage(&mut self, stage: &str, to: &str) {
        let holder = self.labelled(stage).map(|version| version.id.clone());
        if holder.as_deref() == Some(to) {
            return;
        }
        for version in &mut self.versions {
            version.stages.remove(stage);
            if stage == CURRENT {
                version.stages.remove(PREVIOUS);
            }
            if stage == CURRENT && Some(&version.id) == holder.as_ref() {
                version.stages.insert(PREVIOUS.to_owned());
            }
            if version.id == to {
                version.stages.insert(stage.to_owned());
            }
        }
    }

    /// Forgets the oldest versions without a label beyond those that are kept.
    pub fn forget_old_versions(&mut self) {
        let unlabelled = self.versions.iter().filter(|version| version.stages.is_empty()).count();
        let mut superfluous = unlabelled.saturating_sub(UNLABELLED);
        self.versions.retain(|version| {
            let goes = version.stages.is_empty() && superfluous > 0;
            superfluous -= usize::from(goes);
            !goes
        });
    }

    /// Labels over all versions.
    pub fn stage_count(&self) -> usize {
        self.versions.iter().map(|version| version.stages.len()).sum()
    }

    /// What DescribeSecret and ListSecrets have in common, without what is unset; `stages` names the member with the
    /// labels.
    pub fn metadata(&self, context: &Context, stages: &str) -> Map<String, Value> {
        let mut map = self.head(context);
        let mut set = |member: &str, value: Value| map.insert(member.to_owned(), value);
        for (member, text) in [("Description", &self.description), ("KmsKeyId", &self.key_id)] {
            if let Some(text) = text {
                set(member, text.as_str().into());
            }
        }
        set("LastChangedDate", seconds(self.changed_at).into());
        for (member, time) in [("LastAccessedDate", self.accessed_on), ("DeletedDate", self.deleted_at)] {
            if let Some(time) = time {
                set(member, seconds(time).into());
            }
        }
        if !self.tags.is_empty() {
            let tags: Vec<Value> = self
                .tags
                .iter()
                .map(|(key, value)| serde_json::json!({"Key": key, "Value": value}))
                .collect();
            set("Tags", tags.into());
        }
        let labelled = self.versions.iter().filter(|version| !version.stages.is_empty());
        let labels: Map<String, Value> =
            labelled.map(|version| (version.id.clone(), version.stages_json())).collect();
        if !labels.is_empty() {
            set(stages, labels.into());
        }
        set("CreatedDate", seconds(self.created_at).into());
        map
    }
}

impl Version {
    /// Its labels.
    pub fn stages_json(&self) -> Value {
        self.stages.iter().map(String::as_str).collect()
    }
}

/// Seconds since the epoch, as JSON 1.1 writes times.
pub fn seconds(time: Timestamp) -> f64 {
    time.as_millis() as f64 / 1_000.0
}

/// The beginning of the day, UTC: what AWS shows of the time of an access.
pub fn day(time: Timestamp) -> Timestamp {
    const DAY_MS: i64 = 24 * 3_600 * 1_000;
    Timestamp(time.as_millis().div_euclid(DAY_MS) * DAY_MS)
}

/// Six letters and digits.
pub fn suffix() -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (0..SUFFIX_LENGTH).map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())])).collect()
}

/// The secret of a document.
pub fn decode(document: Document) -> Result<Secret, ApiError> {
    serde_json::from_value(document.value).map_err(|error| {
        // The parser's text could quote a value.
        tracing::error!(secret = document.key, column = error.column(), "a stored secret cannot be read");
        ServiceError::internal(format!("The stored secret {} cannot be read.", document.key)).into()
    })
}

/// The secret of this name, unless its time has come.
pub async fn find_named(state: &ApiState, context: &Context, name: &str) -> Result<Option<Secret>, ApiError> {
    let document = state.store.get_document(&context.scope, KIND, name).await?;
    let secret = document.map(decode).transpose()?;
    let now = state.now();
    Ok(secret.filter(|secret| !secret.is_gone(now)))
}

/// The secret that `id` names: by name, by ARN, or by ARN without its last seven characters.
async fn find(state: &ApiState, context: &Context, id: &str) -> Result<Option<Secret>, ApiError> {
    let Some(rest) = id.strip_prefix(&context.scope.arn("secretsmanager", "secret:")) else {
        return find_named(state, context, id).await;
    };
    let whole = rest.len().checked_sub(SUFFIX_LENGTH + 1).and_then(|end| rest.split_at_checked(end));
    if let Some((name, _)) = whole
        && let Some(secret) = find_named(state, context, name).await?
        && secret.arn(context) == id
    {
        return Ok(Some(secret));
    }
    find_named(state, context, rest).await
}

/// The secret of a request that may do `operation` to it, also one that is to be deleted; `None` when there is none.
///
/// Fails with `AccessDeniedException` also when there is none, so that who may not look learns nothing.
pub async fn asked_for(
    state: &ApiState,
    context: &Context,
    id: &str,
    operation: &str,
) -> Result<Option<Secret>, ApiError> {
    let found = find(state, context, id).await?;
    let resource = match &found {
        Some(secret) => secret.arn(context),
        None if id.starts_with("arn:") => id.to_owned(),
        None => context.scope.arn("secretsmanager", &format!("secret:{id}-??????")),
    };
    access::authorize(state, context, "secretsmanager", operation, &resource).await?;
    Ok(found)
}

/// As `asked_for`. Fails with `ResourceNotFoundException` when there is none.
pub async fn load(
    state: &ApiState,
    context: &Context,
    id: &str,
    operation: &str,
) -> Result<Secret, ApiError> {
    asked_for(state, context, id, operation)
        .await?
        .ok_or_else(|| not_found("Secrets Manager can't find the specified secret."))
}

/// `SecretId`.
pub fn id(members: &Members<'_>) -> Result<String, ApiError> {
    let mut violations = Violations::default();
    let id = members.string("SecretId")?;
    match &id {
        None => violations.missing("secretId"),
        Some(id) if id.is_empty() => {
            violations.add("", "secretId", "Member must have length greater than or equal to 1");
        }
        Some(id) => violations.length(id, "secretId", 2_048),
    }
    violations.finish()?;
    Ok(id.unwrap_or_default())
}

/// Writes a secret.
pub async fn save(state: &ApiState, context: &Context, secret: &Secret) -> Result<(), ApiError> {
    let value = serde_json::to_value(secret)
        .map_err(|error| ServiceError::internal(format!("failed to write a secret down: {error}")))?;
    let document = Document { key: secret.name.clone(), value };
    Ok(state.store.put_document(&context.scope, KIND, document, Expect::Anything).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(versions: &[(&str, &[&str])]) -> Secret {
        let now = Timestamp(0);
        let version = |(id, stages): &(&str, &[&str])| Version {
            id: (*id).to_owned(),
            content: Content::String((*id).to_owned()),
            stages: stages.iter().map(|stage| (*stage).to_owned()).collect(),
            created_at: now,
            accessed_on: None,
        };
        Secret {
            name: "s".to_owned(),
            suffix: suffix(),
            description: None,
            key_id: None,
            tags: BTreeMap::new(),
            created_at: now,
            changed_at: now,
            accessed_on: None,
            deleted_at: None,
            policy: None,
            versions: versions.iter().map(version).collect(),
        }
    }

    #[test]
    fn secrets_are_sealed() {
        assert!(KIND.starts_with(lamplight_store::sealed_documents::KIND_PREFIX));
    }

    // As recorded from the service: a cycle of AWSPENDING and AWSCURRENT with labels of one's own.
    #[test]
    fn labels_move() {
        let check = |before: &[(&str, &[&str])], stage: &str, to: &str, after: &[(&str, &[&str])]| {
            let mut moved = secret(before);
            moved.move_stage(stage, to);
            assert_eq!(moved.versions, secret(after).versions, "{stage} to {to}");
        };
        check(&[("1", &[CURRENT]), ("2", &[])], CURRENT, "2", &[("1", &[PREVIOUS]), ("2", &[CURRENT])]);
        check(
            &[("1", &[PREVIOUS]), ("2", &[CURRENT, "PUT1"]), ("3", &["AWSPENDING"])],
            CURRENT,
            "3",
            &[("1", &[]), ("2", &[PREVIOUS, "PUT1"]), ("3", &[CURRENT, "AWSPENDING"])],
        );
        check(
            &[("1", &[PREVIOUS]), ("2", &[CURRENT])],
            CURRENT,
            "1",
            &[("1", &[CURRENT]), ("2", &[PREVIOUS])],
        );
        check(&[("1", &[CURRENT])], CURRENT, "1", &[("1", &[CURRENT])]);
        check(&[("1", &[CURRENT, "x"]), ("2", &[])], "x", "2", &[("1", &[CURRENT]), ("2", &["x"])]);
    }

    #[test]
    fn old_versions_without_a_label_are_forgotten() {
        let ids: Vec<String> = (0..30).map(|number| number.to_string()).collect();
        let mut versions: Vec<(&str, &[&str])> = ids.iter().map(|id| (id.as_str(), &[][..])).collect();
        versions[0].1 = &[PREVIOUS];
        versions[29].1 = &[CURRENT];
        let mut many = secret(&versions);
        many.forget_old_versions();
        let kept: Vec<&str> = many.versions.iter().map(|version| version.id.as_str()).collect();
        assert_eq!((kept.len(), kept[0], kept[1], kept[21]), (22, "0", "9", "29"));
    }

    #[test]
    fn days() {
        assert_eq!(day(Timestamp(86_400_000 * 3 + 5)), Timestamp(86_400_000 * 3));
    }
}
