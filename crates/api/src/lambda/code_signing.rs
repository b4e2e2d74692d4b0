//! Code-signing configurations, and which functions are checked by one.
//!
//! Nothing here verifies a signature: there is no signer whose packages this server could know, so every package is an
//! untrusted one. `Enforce` refuses it as AWS refuses unsigned code, `Warn` lets it pass with a line in the server's log.

use crate::http::request::decode_segment;
use crate::http::{ApiError, Context, Members, Response, page, reply};
use crate::lambda::functions::{marker, page_rows};
use crate::lambda::owned;
use crate::lambda::patterns as pattern;
use crate::lambda::reference::Target;
use crate::lambda::tags;
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use bytes::Bytes;
use http::StatusCode;
use lamplight_model::{FunctionName, Scope, Timestamp};
use lamplight_store::{Document, Expect};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tracing::warn;

/// Kind of the stored documents; the key is the id.
const KIND: &str = "code-signing-config";
/// Functions read at once.
const READ_ROWS: usize = 1_000;
/// Most signing profiles of one configuration.
const PROFILES: usize = 20;

/// One configuration as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeSigningConfig {
    /// `csc-` and 17 hexadecimal digits.
    pub id: String,
    /// Free text, absent when it was never given.
    pub description: Option<String>,
    /// `AllowedPublishers.SigningProfileVersionArns`.
    pub profiles: Vec<String>,
    /// `CodeSigningPolicies.UntrustedArtifactOnDeployment`: `Warn` or `Enforce`.
    pub untrusted: String,
    /// `LastModified`.
    pub last_modified: Timestamp,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// What a request gave.
struct Given {
    description: Option<String>,
    profiles: Option<Vec<String>>,
    untrusted: Option<String>,
}

/// CreateCodeSigningConfig.
pub async fn create(state: &ApiState, context: &Context, body: &Bytes) -> Result<Response, ApiError> {
    let members = Members::parse(body)?;
    let mut violations = Violations::default();
    let given = read(&members, &mut violations)?;
    if given.profiles.is_none() {
        violations.missing("allowedPublishers");
    }
    let tags = members.string_map("Tags")?.unwrap_or_default();
    tags::note_violations(&tags, &mut violations);
    violations.finish()?;
    tags::check_keys(&tags)?;
    let config = CodeSigningConfig {
        id: new_id(),
        description: given.description,
        profiles: given.profiles.unwrap_or_default(),
        untrusted: given.untrusted.unwrap_or_else(|| "Warn".to_owned()),
        last_modified: state.now(),
        tags,
    };
    store(state, context, &config).await?;
    Ok(answer(StatusCode::CREATED, context, &config))
}

/// GetCodeSigningConfig.
pub async fn get(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let arn = config_arn(label, Violations::default())?;
    Ok(answer(StatusCode::OK, context, &load(state, context, &arn).await?))
}

/// UpdateCodeSigningConfig: what is not given stays.
pub async fn update(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let members = Members::parse(body)?;
    let mut violations = Violations::default();
    let given = read(&members, &mut violations)?;
    let arn = config_arn(label, violations)?;
    let _write = state.configuration_writes.lock().await;
    let mut config = load(state, context, &arn).await?;
    config.description = given.description.or(config.description);
    config.profiles = given.profiles.unwrap_or(config.profiles);
    config.untrusted = given.untrusted.unwrap_or(config.untrusted);
    config.last_modified = state.now();
    store(state, context, &config).await?;
    Ok(answer(StatusCode::OK, context, &config))
}

/// DeleteCodeSigningConfig. One that functions use stays.
pub async fn delete(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let arn = config_arn(label, Violations::default())?;
    let _write = state.configuration_writes.lock().await;
    let config = load(state, context, &arn).await?;
    if !functions_of(state, context, &arn, None, 1).await?.is_empty() {
        return Err(ApiError::conflict(format!(
            "The code signing configuration {arn} is used by functions. Remove it from them first."
        )));
    }
    state.store.delete_document(&context.scope, KIND, &config.id).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// ListCodeSigningConfigs, by id.
pub async fn list(state: &ApiState, context: &Context) -> Result<Response, ApiError> {
    let mut violations = Violations::default();
    let limit = page_rows(context, &mut violations);
    violations.finish()?;
    let after: Option<String> = marker(context, KIND)?;
    let mut documents = state.store.list_documents(&context.scope, KIND, after.as_deref(), limit + 1).await?;
    let more = documents.len() > limit;
    documents.truncate(limit);
    let next = documents.last().filter(|_| more).map(|last| page::token(KIND, &last.key));
    let configs: Vec<Value> =
        documents.into_iter().filter_map(parse).map(|config| shown(context, &config)).collect();
    let mut answer = json!({ "CodeSigningConfigs": configs });
    if let Some(next) = next {
        answer["NextMarker"] = next.into();
    }
    Ok(reply::json(StatusCode::OK, &answer))
}

/// ListFunctionsByCodeSigningConfig, by name.
pub async fn list_functions(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    const LIST: &str = "code-signing-functions";
    let mut violations = Violations::default();
    let limit = page_rows(context, &mut violations);
    let arn = config_arn(label, violations)?;
    load(state, context, &arn).await?;
    let after: Option<FunctionName> = marker(context, LIST)?;
    let mut found = functions_of(state, context, &arn, after, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(name, _)| page::token(LIST, name));
    let arns: Vec<&str> = found.iter().map(|(_, arn)| arn.as_str()).collect();
    let mut answer = json!({ "FunctionArns": arns });
    if let Some(next) = next {
        answer["NextMarker"] = next.into();
    }
    Ok(reply::json(StatusCode::OK, &answer))
}

/// PutFunctionCodeSigningConfig. It counts from the next package on.
pub async fn put_of_function(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let target = Target::from_path(context, label)?;
    let members = Members::parse(body)?;
    let arn = members.string("CodeSigningConfigArn")?;
    let mut violations = Violations::default();
    match &arn {
        Some(arn) => violations.fits(arn, "codeSigningConfigArn", &pattern::CODE_SIGNING_CONFIG_ARN),
        None => violations.missing("codeSigningConfigArn"),
    }
    violations.finish()?;
    let arn = arn.unwrap_or_default();
    let function = unqualified(target);
    let _write = state.configuration_writes.lock().await;
    check_exists(state, &context.scope, &arn).await?;
    owned::change_marks(state, &function, |marks| {
        marks.code_signing_config_arn = Some(arn.clone());
        Ok(())
    })
    .await?;
    Ok(of_function(&function, &arn))
}

/// GetFunctionCodeSigningConfig: an empty answer for a function without one.
pub async fn get_of_function(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let function = unqualified(Target::from_path(context, label)?);
    Ok(match &function.load(state).await?.code_signing_config_arn {
        Some(arn) => of_function(&function, arn),
        None => reply::json(StatusCode::OK, &json!({})),
    })
}

/// DeleteFunctionCodeSigningConfig.
pub async fn delete_of_function(
    state: &ApiState,
    context: &Context,
    label: &str,
) -> Result<Response, ApiError> {
    let function = unqualified(Target::from_path(context, label)?);
    let _write = state.configuration_writes.lock().await;
    owned::change_marks(state, &function, |marks| {
        marks.code_signing_config_arn = None;
        Ok(())
    })
    .await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// `CodeSigningConfigArn` of CreateFunction.
///
/// Fails with `CodeSigningConfigNotFoundException` when there is no such configuration.
pub async fn check_exists(state: &ApiState, scope: &Scope, arn: &str) -> Result<CodeSigningConfig, ApiError> {
    find(state, scope, arn).await?.ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "CodeSigningConfigNotFoundException",
            format!(
                "The code signing configuration cannot be found. Check that the provided configuration is not \
                 deleted: {arn}."
            ),
        )
    })
}

/// Whether a package may be deployed to a function with this configuration.
///
/// Fails with `CodeVerificationFailedException` when it is one that enforces signatures.
pub fn check_deployment(config: &CodeSigningConfig, function_arn: &str) -> Result<(), ApiError> {
    if config.untrusted == "Enforce" {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "CodeVerificationFailedException",
            format!(
                "Lambda cannot deploy the function. The function or layer might be signed using a signature that the \
                 client is not configured to accept. Check the provided signature for {function_arn}."
            ),
        ));
    }
    warn!(function = function_arn, config = config.id, "deployed a package without a known signature");
    Ok(())
}

/// The configuration that is stored for a function, when it has one.
pub async fn find(state: &ApiState, scope: &Scope, arn: &str) -> Result<Option<CodeSigningConfig>, ApiError> {
    let id = arn.rsplit(':').next().unwrap_or_default();
    if arn != config_arn_of(scope, id) {
        return Ok(None);
    }
    Ok(state.store.get_document(scope, KIND, id).await?.and_then(parse))
}

/// The configuration a request names. Fails with `ResourceNotFoundException`.
pub async fn load(state: &ApiState, context: &Context, arn: &str) -> Result<CodeSigningConfig, ApiError> {
    find(state, &context.scope, arn).await?.ok_or_else(|| {
        ApiError::not_found(format!("The Lambda code signing configuration {arn} can not be found."))
    })
}

/// Stores a configuration in the place of what is there.
pub async fn store(state: &ApiState, context: &Context, config: &CodeSigningConfig) -> Result<(), ApiError> {
    let document = Document { key: config.id.clone(), value: json!(config) };
    Ok(state.store.put_document(&context.scope, KIND, document, Expect::Anything).await?)
}

fn parse(document: Document) -> Option<CodeSigningConfig> {
    serde_json::from_value(document.value).ok()
}

/// Names and ARNs of functions with this configuration, beginning after `after`, at most `limit`.
async fn functions_of(
    state: &ApiState,
    context: &Context,
    arn: &str,
    mut after: Option<FunctionName>,
    limit: usize,
) -> Result<Vec<(FunctionName, String)>, ApiError> {
    let mut found = Vec::new();
    loop {
        let rows = state.store.list_functions(&context.scope, after.as_ref(), READ_ROWS).await?;
        let using = rows.iter().filter(|row| row.code_signing_config_arn.as_deref() == Some(arn));
        found.extend(using.take(limit - found.len()).map(|row| (row.name.clone(), row.unqualified_arn())));
        match rows.last() {
            Some(last) if rows.len() == READ_ROWS && found.len() < limit => after = Some(last.name.clone()),
            _ => return Ok(found),
        }
    }
}

/// The configuration belongs to the function, whatever version was named.
fn unqualified(target: Target) -> Target {
    Target { qualifier: None, ..target }
}

fn config_arn(label: &str, mut violations: Violations) -> Result<String, ApiError> {
    let arn = decode_segment(label).unwrap_or_else(|| label.to_owned());
    violations.length(&arn, "codeSigningConfigArn", 200);
    violations.fits(&arn, "codeSigningConfigArn", &pattern::CODE_SIGNING_CONFIG_ARN);
    violations.finish()?;
    Ok(arn)
}

fn read(members: &Members<'_>, violations: &mut Violations) -> Result<Given, ApiError> {
    const PROFILES_PATH: &str = "allowedPublishers.signingProfileVersionArns";
    let description = members.string("Description")?;
    if let Some(description) = &description {
        violations.length(description, "description", 256);
    }
    let profiles = match members.object("AllowedPublishers")? {
        Some(publishers) => match publishers.strings("SigningProfileVersionArns")? {
            Some(profiles) => {
                violations.list_length(&profiles, PROFILES_PATH, 1, PROFILES);
                for profile in &profiles {
                    violations.fits(profile, PROFILES_PATH, &pattern::SOURCE_ARN);
                }
                Some(profiles)
            }
            None => {
                violations.missing(PROFILES_PATH);
                Some(Vec::new())
            }
        },
        None => None,
    };
    let untrusted = match members.object("CodeSigningPolicies")? {
        Some(policies) => policies.string("UntrustedArtifactOnDeployment")?,
        None => None,
    };
    if let Some(untrusted) = &untrusted {
        violations.one_of(
            untrusted,
            "codeSigningPolicies.untrustedArtifactOnDeployment",
            &["Warn", "Enforce"],
        );
    }
    Ok(Given { description, profiles, untrusted })
}

fn new_id() -> String {
    let mut random = rand::rng();
    let digits: String =
        (0..17).map(|_| char::from_digit(random.random_range(0..16), 16).unwrap_or('0')).collect();
    format!("csc-{digits}")
}

fn config_arn_of(scope: &Scope, id: &str) -> String {
    scope.arn("lambda", &format!("code-signing-config:{id}"))
}

fn shown(context: &Context, config: &CodeSigningConfig) -> Value {
    let mut shown = Map::new();
    let mut set = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    set("CodeSigningConfigId", config.id.as_str().into());
    set("CodeSigningConfigArn", config_arn_of(&context.scope, &config.id).into());
    if let Some(description) = &config.description {
        set("Description", description.as_str().into());
    }
    set("AllowedPublishers", json!({ "SigningProfileVersionArns": config.profiles }));
    set("CodeSigningPolicies", json!({ "UntrustedArtifactOnDeployment": config.untrusted }));
    set("LastModified", config.last_modified.lambda_format().into());
    Value::Object(shown)
}

fn answer(status: StatusCode, context: &Context, config: &CodeSigningConfig) -> Response {
    reply::json(status, &json!({ "CodeSigningConfig": shown(context, config) }))
}

fn of_function(function: &Target, arn: &str) -> Response {
    reply::json(StatusCode::OK, &json!({"CodeSigningConfigArn": arn, "FunctionName": function.name.as_str()}))
}
