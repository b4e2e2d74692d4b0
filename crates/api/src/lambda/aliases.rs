//! Aliases: CreateAlias, GetAlias, ListAliases, UpdateAlias, DeleteAlias.
//!
//! Texts, codes and their order as recorded from the service; the patterns are those of the service model.

use crate::http::request::decode_segment;
use crate::http::{ApiError, Context, Members, Response, page, reply};
use crate::lambda::functions::{marker, new_revision, page_rows};
use crate::lambda::reference::Target;
use crate::lambda::update::stale_revision;
use crate::lambda::validation::{ALIAS_PATTERN, VERSION_PATTERN, Violations};
use crate::state::ApiState;
use bytes::Bytes;
use http::StatusCode;
use lamplight_invoke::ProvisionedQualifier;
use lamplight_model::alias::is_alias_name;
use lamplight_model::name::function_arn;
use lamplight_model::{AdditionalVersion, Alias, Qualifier, ServiceError, VersionNumber};
use lamplight_store::{Expect, StoreError};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Longest alias name.
const NAME_LENGTH: usize = 128;
/// Longest description, characters.
const DESCRIPTION_LENGTH: usize = 256;

/// What CreateAlias and UpdateAlias have in common. `None`: the member was absent.
struct Request {
    version: Option<VersionNumber>,
    description: Option<String>,
    /// The weights in the order of the versions as text; none when the block is there and empty.
    weights: Option<Vec<(String, f64)>>,
    revision_id: Option<String>,
}

impl Request {
    fn read(members: &Members<'_>, violations: &mut Violations) -> Result<Self, ApiError> {
        let description = members.string("Description")?;
        if let Some(description) = &description {
            violations.length(description, "description", DESCRIPTION_LENGTH);
        }
        let version = members.string("FunctionVersion")?;
        let version = version.and_then(|text| read_version(&text, violations));
        let weights = match members.object("RoutingConfig")? {
            Some(routing) => Some(read_weights(&routing, violations)?),
            None => None,
        };
        Ok(Self { version, description, weights, revision_id: members.string("RevisionId")? })
    }
}

/// `FunctionVersion`. A number beyond every version that can exist is read as one that does not.
fn read_version(text: &str, violations: &mut Violations) -> Option<VersionNumber> {
    match Qualifier::parse(text) {
        Some(Qualifier::Latest) => Some(VersionNumber::Latest),
        Some(Qualifier::Version(number)) => Some(VersionNumber::Published(number)),
        _ if is_digits(text) => Some(VersionNumber::Published(u64::MAX)),
        _ => {
            violations.pattern(text, "functionVersion", false, VERSION_PATTERN);
            None
        }
    }
}

fn read_weights(routing: &Members<'_>, violations: &mut Violations) -> Result<Vec<(String, f64)>, ApiError> {
    let weights: BTreeMap<String, f64> = routing.number_map("AdditionalVersionWeights")?.unwrap_or_default();
    let shown: Vec<String> =
        weights.iter().map(|(version, weight)| format!("{version}={weight:?}")).collect();
    let shown = format!("{{{}}}", shown.join(", "));
    let path = "routingConfig.additionalVersionWeights";
    if weights.keys().any(|version| !is_digits(version)) {
        violations.add(
            &shown,
            path,
            "Map keys must satisfy constraint: [Member must have length less than or equal to 1024, Member must have \
             length greater than or equal to 1, Member must satisfy regular expression pattern: [0-9]+, Member must not \
             be null]",
        );
    }
    if weights.values().any(|weight| !(0.0..=1.0).contains(weight)) {
        violations.add(
            &shown,
            path,
            "Map value must satisfy constraint: [Member must have value less than or equal to 1.0, Member must have \
             value greater than or equal to 0.0, Member must not be null]",
        );
    }
    Ok(weights.into_iter().collect())
}

fn is_digits(text: &str) -> bool {
    (1..=1_024).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `Name`, from the body or the path.
fn check_name(name: &str, violations: &mut Violations) {
    violations.length(name, "name", NAME_LENGTH);
    if name.len() <= NAME_LENGTH {
        violations.pattern(name, "name", is_alias_name(name), ALIAS_PATTERN);
    }
}

/// The second version of an alias to `version`.
fn additional(
    version: VersionNumber,
    weights: &[(String, f64)],
) -> Result<Option<AdditionalVersion>, ApiError> {
    let (number, weight) = match weights {
        [] => return Ok(None),
        [(number, weight)] => (number.parse().unwrap_or(u64::MAX), *weight),
        _ => {
            return Err(ApiError::invalid_parameter(
                "Number of items in AdditionalVersionWeights cannot be greater than 1",
            ));
        }
    };
    if version == VersionNumber::Latest {
        return Err(ApiError::invalid_parameter(
            "$LATEST is not supported for an alias pointing to more than 1 version",
        ));
    }
    if version == VersionNumber::Published(number) {
        return Err(ApiError::invalid_parameter(format!(
            "Invalid function version {number}. Function version {number} is already included in routing \
             configuration."
        )));
    }
    Ok(Some(AdditionalVersion { version: number, weight }))
}

/// CreateAlias.
pub async fn create(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let target = function(context, label)?;
    let members = Members::parse(body)?;
    let mut violations = Violations::default();
    let name = members.string("Name")?;
    match &name {
        Some(name) => check_name(name, &mut violations),
        None => violations.missing("name"),
    }
    if !members.has("FunctionVersion") {
        violations.missing("functionVersion");
    }
    let request = Request::read(&members, &mut violations)?;
    violations.finish()?;
    let version = request.version.unwrap_or(VersionNumber::Latest);
    check_version(state, &target, version).await?;
    let alias = Alias {
        scope: target.scope.clone(),
        function: target.name.clone(),
        name: name.unwrap_or_default(),
        version,
        additional: additional(version, &request.weights.unwrap_or_default())?,
        description: request.description.unwrap_or_default(),
        revision_id: new_revision(),
    };
    state.store.put_alias(alias.clone(), Expect::Absent).await.map_err(|error| match error {
        StoreError::AlreadyExists(_) => ApiError::conflict(format!("Alias already exists: {}", alias.arn())),
        other => refused(other),
    })?;
    Ok(reply::json(StatusCode::CREATED, &shown(&alias)))
}

/// GetAlias.
pub async fn get(state: &ApiState, context: &Context, label: &str, name: &str) -> Result<Response, ApiError> {
    let (target, name) = named(context, label, name)?;
    let alias = state.store.get_alias(&target.scope, &target.name, &name).await?;
    let alias = alias.ok_or_else(|| {
        ApiError::not_found(format!("Cannot find alias arn: {}", target.with_alias(&name).arn()))
    })?;
    Ok(reply::json(StatusCode::OK, &shown(&alias)))
}

/// UpdateAlias: what is absent stays as it is; an empty `RoutingConfig` takes the second version away.
pub async fn update(
    state: &ApiState,
    context: &Context,
    label: &str,
    name: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let (target, name) = named(context, label, name)?;
    let members = Members::parse(body)?;
    let mut violations = Violations::default();
    let request = Request::read(&members, &mut violations)?;
    violations.finish()?;
    loop {
        let Some(before) = state.store.get_alias(&target.scope, &target.name, &name).await? else {
            let arn = target.with_alias(&name).arn();
            return Err(ApiError::not_found(format!("Alias not found: {arn}")));
        };
        if request.revision_id.as_ref().is_some_and(|given| *given != before.revision_id) {
            return Err(stale_revision());
        }
        let version = request.version.unwrap_or(before.version);
        check_version(state, &target, version).await?;
        let weights = match (&request.weights, before.additional) {
            (Some(weights), _) => weights.clone(),
            (None, Some(additional)) => vec![(additional.version.to_string(), additional.weight)],
            (None, None) => Vec::new(),
        };
        let after = Alias {
            version,
            additional: additional(version, &weights)?,
            description: request.description.clone().unwrap_or_else(|| before.description.clone()),
            // New also when nothing has changed, as on AWS.
            revision_id: new_revision(),
            ..Alias::clone(&before)
        };
        state.invoker.provisioning().check_alias(&after).await?;
        match state.store.put_alias(after.clone(), Expect::Revision(before.revision_id.clone())).await {
            Ok(()) => return Ok(reply::json(StatusCode::OK, &shown(&after))),
            // Somebody else was faster: their change is looked at as if it had been there before.
            Err(StoreError::RevisionMismatch(_)) => {}
            Err(error) => return Err(refused(error)),
        }
    }
}

/// DeleteAlias. One that is not there is deleted, too. What is configured beside it goes with it.
pub async fn delete(
    state: &ApiState,
    context: &Context,
    label: &str,
    name: &str,
) -> Result<Response, ApiError> {
    let (target, name) = named(context, label, name)?;
    check_function(state, &target).await?;
    let provisioned = ProvisionedQualifier::Alias(name.clone());
    state.invoker.provisioning().delete(&target.scope, &target.name, &provisioned).await?;
    state.store.delete_alias(&target.scope, &target.name, &name).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// ListAliases: by name; with `FunctionVersion` those that point to this version first of all.
pub async fn list(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    const LIST: &str = "aliases";
    let target = function(context, label)?;
    let mut violations = Violations::default();
    let wanted = context.parameter("FunctionVersion");
    let version = wanted.and_then(|text| read_version(text, &mut violations));
    let limit = page_rows(context, &mut violations);
    violations.finish()?;
    let mut after: Option<String> = marker(context, LIST)?;
    check_function(state, &target).await?;
    // One more than asked for says whether there is a next page.
    let mut found = Vec::new();
    while found.len() <= limit {
        let rows = state.store.list_aliases(&target.scope, &target.name, after.as_deref(), limit + 1).await?;
        let Some(last) = rows.last() else { break };
        after = Some(last.name.clone());
        let whole = rows.len() == limit + 1;
        found.extend(rows.into_iter().filter(|alias| version.is_none_or(|version| alias.version == version)));
        if !whole {
            break;
        }
    }
    let more = found.len() > limit;
    found.truncate(limit);
    let mut answer = Map::new();
    if let Some(last) = found.last().filter(|_| more) {
        answer.insert("NextMarker".to_owned(), page::token(LIST, &last.name).into());
    }
    answer.insert("Aliases".to_owned(), found.iter().map(|alias| shown(alias)).collect());
    Ok(reply::json(StatusCode::OK, &Value::Object(answer)))
}

/// The function of a request; aliases are not looked for beneath a version, so a qualifier in its name is dropped.
fn function(context: &Context, label: &str) -> Result<Target, ApiError> {
    Ok(Target { qualifier: None, ..Target::from_path(context, label)? })
}

/// Function and alias name of a path.
fn named(context: &Context, label: &str, name: &str) -> Result<(Target, String), ApiError> {
    let target = function(context, label)?;
    let name = decode_segment(name).unwrap_or_else(|| name.to_owned());
    let mut violations = Violations::default();
    check_name(&name, &mut violations);
    violations.finish()?;
    Ok((target, name))
}

async fn check_function(state: &ApiState, target: &Target) -> Result<(), ApiError> {
    target.load(state).await.map(drop)
}

/// Fails with AWS's text when the version, or the function, does not exist. The store looks again when it writes.
async fn check_version(state: &ApiState, target: &Target, version: VersionNumber) -> Result<(), ApiError> {
    if state.store.get_version(&target.scope, &target.name, version).await?.is_none() {
        let arn = function_arn(&target.scope, &target.name, Some(&version.into()));
        return Err(ServiceError::function_not_found(&arn).into());
    }
    Ok(())
}

fn refused(error: StoreError) -> ApiError {
    match error {
        StoreError::NotFound(arn) => ServiceError::function_not_found(&arn).into(),
        other => other.into(),
    }
}

fn shown(alias: &Alias) -> Value {
    let mut shown = json!({
        "AliasArn": alias.arn(),
        "Name": alias.name,
        "FunctionVersion": alias.version.to_string(),
        "Description": alias.description,
        "RevisionId": alias.revision_id,
    });
    if let Some(AdditionalVersion { version, weight }) = alias.additional {
        shown["RoutingConfig"] = json!({"AdditionalVersionWeights": {version.to_string(): weight}});
    }
    shown
}
