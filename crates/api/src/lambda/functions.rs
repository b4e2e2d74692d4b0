//! Functions: create, get, list, delete. Changes of existing ones are in `update`.

use crate::http::{ApiError, Context, Members, Response, page, reply};
use crate::lambda::configuration::{Form, configuration};
use crate::lambda::layers::attach;
use crate::lambda::patterns as pattern;
use crate::lambda::reference::Target;
use crate::lambda::settings::Settings;
use crate::lambda::tags::OwnTags;
use crate::lambda::validation::Violations;
use crate::lambda::{code, code_signing, tags};
use crate::state::ApiState;
use bytes::Bytes;
use http::StatusCode;
use lamplight_model::function::{FunctionState, Lifecycle, LoggingConfig};
use lamplight_model::{FunctionName, FunctionVersion, Qualifier, VersionNumber};
use lamplight_store::{Expect, StoreError};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Most rows of one page, whatever `MaxItems` says. Source: ListFunctions, "MaxItems".
pub const PAGE_ROWS: usize = 50;

/// CreateFunction.
pub async fn create(state: &ApiState, context: &Context, body: &Bytes) -> Result<Response, ApiError> {
    let members = Members::parse(body)?;
    let mut violations = Violations::default();
    let settings = Settings::read(&members, &mut violations)?;
    let name = members.string("FunctionName")?;
    let source = members.object("Code")?;
    let architecture = read_architecture(&members, &mut violations)?;
    let package_type = members.string("PackageType")?;
    let tags = members.string_map("Tags")?.unwrap_or_default();
    let per_tenant = read_tenancy(&members, &mut violations)?;
    let code_signing_config_arn = members.string("CodeSigningConfigArn")?;
    if let Some(arn) = &code_signing_config_arn {
        violations.fits(arn, "codeSigningConfigArn", &pattern::CODE_SIGNING_CONFIG_ARN);
    }
    for (absent, path) in
        [(name.is_none(), "functionName"), (settings.role.is_none(), "role"), (source.is_none(), "code")]
    {
        if absent {
            violations.missing(path);
        }
    }
    if let Some(package_type) = &package_type {
        violations.one_of(package_type, "packageType", &["Image", "Zip"]);
    }
    tags::note_violations(&tags, &mut violations);
    violations.finish()?;

    let target = Target::parse(context, &name.unwrap_or_default(), None)?;
    if target.qualifier.is_some() {
        return Err(ApiError::invalid_parameter("A function is created without a qualifier in its name."));
    }
    if target.scope.account != context.scope.account {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "AccessDeniedException",
            format!("A function can be created in account {} only.", context.scope.account.as_str()),
        ));
    }
    if package_type.as_deref() == Some("Image") {
        return Err(ApiError::invalid_parameter(
            "PackageType Image is not supported by Lamplight yet. Send the package as ZipFile.",
        ));
    }
    // A durable function writes JSON logs unless told otherwise.
    settings.check(&members, members.has("DurableConfig"))?;
    settings.check_snap_start(None, per_tenant)?;
    settings.check_durable(None, per_tenant)?;
    let OwnTags { egress, max_concurrency } = tags::check(&tags)?;
    let architecture = check_architecture(state, architecture)?;
    let (Some(runtime), Some(handler)) = (&settings.runtime, &settings.handler) else {
        return Err(ApiError::invalid_parameter(
            "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
        ));
    };
    tags::check_runtime(max_concurrency, runtime)?;
    let exists = || ApiError::conflict(format!("Function already exist: {}", target.name));
    if state.store.get_version(&target.scope, &target.name, VersionNumber::Latest).await?.is_some() {
        return Err(exists());
    }
    if let Some(arn) = &code_signing_config_arn {
        let config = code_signing::check_exists(state, &target.scope, arn).await?;
        code_signing::check_deployment(&config, &target.unqualified_arn())?;
    }
    let layers = attach::resolve(state, context, settings.layers.as_deref().unwrap_or_default()).await?;
    let zip = code::package(state, context, &source.unwrap_or_default(), "code.").await?;
    let code_size_bytes = zip.len() as u64;

    let mut version = FunctionVersion {
        scope: target.scope.clone(),
        name: target.name.clone(),
        version: VersionNumber::Latest,
        runtime: runtime.clone(),
        handler: handler.clone(),
        role: String::new(),
        description: String::new(),
        memory_mib: 128,
        timeout_seconds: 3,
        ephemeral_storage_mib: 512,
        environment: None,
        architecture: architecture.to_owned(),
        code: state.code.put(zip).await?,
        code_size_bytes,
        last_modified: state.now(),
        revision_id: new_revision(),
        lifecycle: Lifecycle {
            state: FunctionState::Pending,
            state_reason: Some("The function is being created.".to_owned()),
            state_reason_code: Some("Creating".to_owned()),
            last_update_status: None,
            last_update_status_reason: None,
            last_update_status_reason_code: None,
        },
        logging: LoggingConfig {
            json: false,
            application_log_level: None,
            system_log_level: None,
            log_group: format!("/aws/lambda/{}", target.name),
        },
        tracing_mode: "PassThrough".to_owned(),
        snap_start: "None".to_owned(),
        per_tenant,
        max_concurrency,
        dead_letter_target_arn: None,
        kms_key_arn: None,
        vpc: None,
        file_systems: Vec::new(),
        layers: Vec::new(),
        durable: None,
        code_signing_config_arn,
        tags,
        egress,
    };
    version.layers = layers;
    attach::check_size(state, &version).await?;
    settings.apply_durable_defaults(&mut version);
    settings.apply(&mut version);
    let publish = members.boolean("Publish")?.unwrap_or(false);
    state.store.put_version(version.clone(), Expect::Absent).await.map_err(|error| match error {
        StoreError::AlreadyExists(_) => exists(),
        other => other.into(),
    })?;
    if publish {
        let revision = version.revision_id.clone();
        version.revision_id = new_revision();
        version = FunctionVersion::clone(&*state.store.publish_version(version, &revision).await?);
    }
    let shown = configuration(&version, Form { qualified: false, status: true });
    Ok(reply::json(StatusCode::CREATED, &Value::Object(shown)))
}

/// Whether `TenancyConfig` asks for instances that tenants do not share.
fn read_tenancy(members: &Members<'_>, violations: &mut Violations) -> Result<bool, ApiError> {
    const PATH: &str = "tenancyConfig.tenantIsolationMode";
    let Some(tenancy) = members.object("TenancyConfig")? else { return Ok(false) };
    match tenancy.string("TenantIsolationMode")? {
        Some(mode) => violations.one_of(&mode, PATH, &["PER_TENANT"]),
        None => violations.missing(PATH),
    }
    Ok(true)
}

/// GetFunction.
pub async fn get(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let target = Target::from_path(context, label)?;
    let version = target.load(state).await?;
    let mut answer = Map::new();
    answer.insert("Configuration".to_owned(), Value::Object(configuration_of(&target, &version)));
    answer.insert(
        "Code".to_owned(),
        json!({"RepositoryType": "S3", "Location": code::location(state, context, &version.code)}),
    );
    // Tags belong to the function; they are kept on $LATEST.
    let latest = match version.version {
        VersionNumber::Latest => Some(version),
        VersionNumber::Published(_) => {
            state.store.get_version(&target.scope, &target.name, VersionNumber::Latest).await?
        }
    };
    if let Some(latest) = latest.filter(|latest| !latest.tags.is_empty()) {
        answer.insert("Tags".to_owned(), json!(latest.tags));
    }
    if let Some(reserved) = state.invoker.provisioning().reserved(&target.scope, &target.name).await? {
        answer.insert("Concurrency".to_owned(), json!({"ReservedConcurrentExecutions": reserved}));
    }
    Ok(reply::json(StatusCode::OK, &Value::Object(answer)))
}

/// GetFunctionConfiguration.
pub async fn get_configuration(
    state: &ApiState,
    context: &Context,
    label: &str,
) -> Result<Response, ApiError> {
    let target = Target::from_path(context, label)?;
    let version = target.load(state).await?;
    Ok(reply::json(StatusCode::OK, &Value::Object(configuration_of(&target, &version))))
}

/// The configuration of a version under the ARN it was asked for by: that of an alias stays the alias's.
fn configuration_of(target: &Target, version: &FunctionVersion) -> Map<String, Value> {
    let mut shown = configuration(version, Form { qualified: target.qualifier.is_some(), status: true });
    shown.insert("FunctionArn".to_owned(), target.arn().into());
    shown
}

/// ListFunctions: `$LATEST` of each function in name order, or all versions with `FunctionVersion=ALL`.
pub async fn list(state: &ApiState, context: &Context) -> Result<Response, ApiError> {
    let mut violations = Violations::default();
    if let Some(which) = context.parameter("FunctionVersion") {
        violations.one_of(which, "functionVersion", &["ALL"]);
    }
    let limit = page_rows(context, &mut violations);
    violations.finish()?;
    let scope = &context.scope;
    let (rows, next) = if context.parameter("FunctionVersion").is_some() {
        all_versions(state, context, limit).await?
    } else {
        let after: Option<FunctionName> = marker(context, "functions")?;
        // One more than asked for says whether there is a next page.
        let mut rows = state.store.list_functions(scope, after.as_ref(), limit + 1).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|last| page::token("functions", &last.name));
        (rows, next)
    };
    let qualified = context.parameter("FunctionVersion").is_some();
    Ok(list_answer("Functions", &rows, qualified, next))
}

type Key = (FunctionName, VersionNumber);
type Page = (Vec<Arc<FunctionVersion>>, Option<String>);

/// A page of all versions of all functions: by name, then `$LATEST`, then ascending.
async fn all_versions(state: &ApiState, context: &Context, limit: usize) -> Result<Page, ApiError> {
    const LIST: &str = "all-versions";
    let after: Option<Key> = marker(context, LIST)?;
    let mut rows = Vec::new();
    let mut previous: Option<FunctionName> = None;
    if let Some((name, version)) = after {
        rows = state.store.list_versions(&context.scope, &name, Some(version), limit + 1).await?;
        previous = Some(name);
    }
    while rows.len() <= limit {
        let next = state.store.list_functions(&context.scope, previous.as_ref(), 1).await?;
        let Some(function) = next.first() else { break };
        let missing = limit + 1 - rows.len();
        rows.extend(state.store.list_versions(&context.scope, &function.name, None, missing).await?);
        previous = Some(function.name.clone());
    }
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|last| page::token(LIST, &(&last.name, last.version)));
    Ok((rows, next))
}

/// DeleteFunction: the whole function, or one published version with a qualifier.
pub async fn delete(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let target = Target::from_path(context, label)?;
    let deleted = match target.qualifier {
        None => {
            let deleted = state.store.delete_function(&target.scope, &target.name).await?;
            if deleted {
                state.invoker.provisioning().forget_deleted().await?;
            }
            deleted
        }
        Some(Qualifier::Latest) => {
            return Err(ApiError::invalid_parameter(
                "$LATEST version cannot be deleted without deleting the function.",
            ));
        }
        Some(Qualifier::Version(number)) => {
            let deleted = state.store.delete_version(&target.scope, &target.name, number).await;
            deleted.map_err(|error| match error {
                StoreError::Referenced(aliases) => ApiError::conflict(format!(
                    "Unable to delete version because the following aliases reference it: [{}]",
                    aliases.join(", ")
                )),
                other => other.into(),
            })?
        }
        Some(Qualifier::Alias(_)) => {
            return Err(ApiError::invalid_parameter("Deletion of aliases is not currently supported."));
        }
    };
    if !deleted {
        return Err(target.not_found());
    }
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// A new `RevisionId`.
pub fn new_revision() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// `Architectures` of a request, when given.
pub fn read_architecture(
    members: &Members<'_>,
    violations: &mut Violations,
) -> Result<Option<String>, ApiError> {
    let Some(mut list) = members.strings("Architectures")? else { return Ok(None) };
    let shown = format!("[{}]", list.join(", "));
    if list.len() > 1 {
        violations.add(&shown, "architectures", "Member must have length less than or equal to 1");
    }
    if list.is_empty() {
        violations.add(&shown, "architectures", "Member must have length greater than or equal to 1");
    }
    if list.iter().any(|name| name != "x86_64" && name != "arm64") {
        violations.add(
            &shown,
            "architectures",
            "Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64], Member must \
             not be null]",
        );
    }
    Ok(list.pop())
}

/// The architecture to store. AWS takes both; this host runs one, and code for the other would only fail when it
/// is invoked. Without `Architectures` it is the host's.
pub fn check_architecture(state: &ApiState, given: Option<String>) -> Result<&'static str, ApiError> {
    let host = state.config.architecture;
    match given {
        Some(given) if given != host => Err(ApiError::invalid_parameter(format!(
            "This server runs {host} code; functions for {given} need a host of that architecture."
        ))),
        _ => Ok(host),
    }
}

/// `MaxItems`, capped at the page size.
pub fn page_rows(context: &Context, violations: &mut Violations) -> usize {
    page_rows_up_to(context, violations, 10_000)
}

/// `MaxItems` of an operation that takes `most` at most, capped at the page size.
pub fn page_rows_up_to(context: &Context, violations: &mut Violations, most: i64) -> usize {
    let Some(text) = context.parameter("MaxItems") else { return PAGE_ROWS };
    match text.parse::<i64>() {
        Ok(rows) => {
            violations.range(rows, "maxItems", 1, most);
            usize::try_from(rows).unwrap_or(PAGE_ROWS).clamp(1, PAGE_ROWS)
        }
        Err(_) => {
            violations.add(text, "maxItems", "Member must be a number");
            PAGE_ROWS
        }
    }
}

/// The key in `Marker`. Fails with `InvalidParameterValueException` for a marker of another list.
pub fn marker<K: serde::de::DeserializeOwned>(context: &Context, list: &str) -> Result<Option<K>, ApiError> {
    match context.parameter("Marker") {
        None => Ok(None),
        Some(marker) => page::key(list, marker).map(Some).ok_or_else(|| {
            ApiError::invalid_parameter("Invalid Marker: use the NextMarker of the page before.")
        }),
    }
}

/// `{<member>: [...], NextMarker?}`; lists leave the status members out.
pub fn list_answer(
    member: &str,
    rows: &[Arc<FunctionVersion>],
    qualified: bool,
    next: Option<String>,
) -> Response {
    let form = Form { qualified, status: false };
    let rows: Vec<Value> = rows.iter().map(|row| Value::Object(configuration(row, form))).collect();
    let mut answer = Map::new();
    if let Some(next) = next {
        answer.insert("NextMarker".to_owned(), next.into());
    }
    answer.insert(member.to_owned(), rows.into());
    reply::json(StatusCode::OK, &Value::Object(answer))
}
