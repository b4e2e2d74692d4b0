//! GetLayerVersion, GetLayerVersionByArn, ListLayers, ListLayerVersions.

use super::{
    LAYER_VERSION_ARN_PATTERN, check_owner, denied, filters, layer, layer_version, not_found, stored,
};
use crate::http::{ApiError, Context, Response, page, reply};
use crate::lambda::code;
use crate::lambda::functions::marker;
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use lamplight_model::{LayerArn, LayerName, LayerVersion, LayerVersionArn};
use serde_json::{Map, Value, json};

/// Rows of a page, and the greatest `MaxItems`.
const PAGE_ROWS: usize = 50;

/// What a list is narrowed to. A version that does not say what it is compatible with fits no filter.
#[derive(Debug, Clone, Copy)]
pub struct Filters<'a> {
    /// `CompatibleRuntime`.
    pub runtime: Option<&'a str>,
    /// `CompatibleArchitecture`.
    pub architecture: Option<&'a str>,
}

impl Filters<'_> {
    fn fit(&self, version: &LayerVersion) -> bool {
        let fits = |wanted: Option<&str>, given: &Option<Vec<String>>| match (wanted, given) {
            (None, _) => true,
            (Some(wanted), Some(given)) => given.iter().any(|name| name == wanted),
            (Some(_), None) => false,
        };
        fits(self.runtime, &version.compatible_runtimes)
            && fits(self.architecture, &version.compatible_architectures)
    }
}

/// GetLayerVersion.
pub async fn get(state: &ApiState, context: &Context, labels: &[&str]) -> Result<Response, ApiError> {
    let arn = layer_version(context, labels, Violations::default())?;
    answer(state, context, &arn).await
}

/// GetLayerVersionByArn.
pub async fn get_by_arn(state: &ApiState, context: &Context) -> Result<Response, ApiError> {
    let mut violations = Violations::default();
    let Some(text) = context.parameter("Arn") else {
        violations.missing("arn");
        return Err(violations.finish().err().unwrap_or_else(not_found));
    };
    let arn = LayerVersionArn::parse(text);
    violations.pattern(text, "arn", arn.is_some(), LAYER_VERSION_ARN_PATTERN);
    violations.finish()?;
    answer(state, context, &arn.ok_or_else(not_found)?).await
}

async fn answer(state: &ApiState, context: &Context, arn: &LayerVersionArn) -> Result<Response, ApiError> {
    let version = accessible(state, context, arn).await?.ok_or_else(not_found)?;
    Ok(reply::json(StatusCode::OK, &whole(state, context, &arn.layer, &version)))
}

/// A layer version, if it exists; one of another account or region only if its policy lets this account use it, and only in
/// its own region.
///
/// Fails with `AccessDeniedException`: nobody is told which layers of others exist.
pub async fn accessible(
    state: &ApiState,
    context: &Context,
    arn: &LayerVersionArn,
) -> Result<Option<LayerVersion>, ApiError> {
    let (theirs, ours) = (&arn.layer.scope, &context.scope);
    let reachable = theirs.region == ours.region;
    let version = if reachable { stored::get(state, arn).await? } else { None };
    let shared = version.as_ref().is_some_and(|version| version.allows(&ours.account));
    if theirs != ours && !shared {
        return Err(denied(context, "GetLayerVersion", arn));
    }
    Ok(version)
}

/// ListLayers: by name, each with its newest version that fits the filters.
pub async fn list(state: &ApiState, context: &Context) -> Result<Response, ApiError> {
    const LIST: &str = "layers";
    let mut violations = Violations::default();
    let filters = filters(context, &mut violations);
    let limit = page_rows(context, &mut violations);
    violations.finish()?;
    let mut after: Option<LayerName> = marker(context, LIST)?;
    let mut found: Vec<(LayerArn, LayerVersion)> = Vec::new();
    'names: loop {
        let names = stored::names(state, &context.scope, after.as_ref()).await?;
        if names.is_empty() {
            break;
        }
        for name in names {
            after = Some(name.clone());
            let layer = LayerArn { scope: context.scope.clone(), name };
            let newest = stored::versions(state, &layer, None, 1, |version| filters.fit(version)).await?;
            found.extend(newest.into_iter().map(|version| (layer.clone(), version)));
            // One more than asked for says whether there is a next page.
            if found.len() > limit {
                break 'names;
            }
        }
    }
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(layer, _)| page::token(LIST, &layer.name));
    let rows = found
        .iter()
        .map(|(layer, version)| {
            json!({
                "LayerName": layer.name.as_str(),
                "LayerArn": layer.to_string(),
                "LatestMatchingVersion": row(layer, version),
            })
        })
        .collect();
    Ok(page_of("Layers", rows, next))
}

/// ListLayerVersions: newest first. A layer that does not exist has none.
pub async fn list_versions(
    state: &ApiState,
    context: &Context,
    labels: &[&str],
) -> Result<Response, ApiError> {
    const LIST: &str = "layer-versions";
    let mut violations = Violations::default();
    let filters = filters(context, &mut violations);
    let limit = page_rows(context, &mut violations);
    let layer = layer(context, labels.first().copied().unwrap_or_default(), violations)?;
    check_owner(context, "ListLayerVersions", &layer)?;
    let before: Option<u64> = marker(context, LIST)?;
    let mut found =
        stored::versions(state, &layer, before, limit + 1, |version| filters.fit(version)).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| page::token(LIST, &last.version));
    let rows = found.iter().map(|version| Value::Object(row(&layer, version))).collect();
    Ok(page_of("LayerVersions", rows, next))
}

fn page_of(member: &str, rows: Vec<Value>, next: Option<String>) -> Response {
    let mut answer = Map::new();
    if let Some(next) = next {
        answer.insert("NextMarker".to_owned(), next.into());
    }
    answer.insert(member.to_owned(), rows.into());
    reply::json(StatusCode::OK, &Value::Object(answer))
}

/// `MaxItems`.
fn page_rows(context: &Context, violations: &mut Violations) -> usize {
    let Some(text) = context.parameter("MaxItems") else { return PAGE_ROWS };
    match text.parse::<i64>() {
        Ok(rows) => {
            violations.range(rows, "maxItems", 1, PAGE_ROWS as i64);
            usize::try_from(rows).unwrap_or(PAGE_ROWS).clamp(1, PAGE_ROWS)
        }
        Err(_) => {
            violations.add(text, "maxItems", "Member must be a number");
            PAGE_ROWS
        }
    }
}

/// A version as lists show it.
fn row(layer: &LayerArn, version: &LayerVersion) -> Map<String, Value> {
    let mut row = Map::new();
    let mut set = |name: &str, value: Value| {
        row.insert(name.to_owned(), value);
    };
    let arn = LayerVersionArn { layer: layer.clone(), version: version.version };
    set("LayerVersionArn", arn.to_string().into());
    set("Version", version.version.into());
    set("Description", version.description.as_str().into());
    set("CreatedDate", version.created.lambda_format().into());
    if let Some(runtimes) = &version.compatible_runtimes {
        set("CompatibleRuntimes", json!(runtimes));
    }
    if let Some(architectures) = &version.compatible_architectures {
        set("CompatibleArchitectures", json!(architectures));
    }
    if let Some(license) = &version.license_info {
        set("LicenseInfo", license.as_str().into());
    }
    row
}

/// A version with its layer and a link to its archive.
pub fn whole(state: &ApiState, context: &Context, layer: &LayerArn, version: &LayerVersion) -> Value {
    let mut answer = row(layer, version);
    answer.insert("LayerArn".to_owned(), layer.to_string().into());
    answer.insert(
        "Content".to_owned(),
        json!({
            "Location": code::location(state, context, &version.code_digest),
            "CodeSha256": STANDARD.encode(version.code_digest.to_bytes()),
            "CodeSize": version.code_size_bytes,
        }),
    );
    Value::Object(answer)
}
