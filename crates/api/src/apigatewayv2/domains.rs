//! CreateDomainName, GetDomainName(s), UpdateDomainName, DeleteDomainName, and the API mappings beneath a domain.
//!
//! The certificate is the listener's: what is given here is kept and shown.

use super::input::{self, list as page, new_id, refuse, required, text};
use super::{bad_request, conflict, created, deleted, not_found, ok, stages, stored};
use crate::http::{ApiError, Context, Members, Response};
use crate::state::ApiState;
use lamplight_model::http_api::{ApiMapping, DOMAIN_KIND, DomainName};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Members of a configuration that are texts.
const CONFIGURATION: [&str; 7] = [
    "certificateArn",
    "certificateName",
    "endpointType",
    "hostedZoneId",
    "ipAddressType",
    "ownershipVerificationCertificateArn",
    "securityPolicy",
];
/// What is not served.
const REFUSED: [&str; 2] = ["mutualTlsAuthentication", "routingMode"];
/// Most characters of a mapping's key. Source: developer guide, "API mappings": 300.
const KEY_CHARACTERS: usize = 300;

/// CreateDomainName.
pub async fn create(
    state: &ApiState,
    context: &Context,
    members: &Members<'_>,
) -> Result<Response, ApiError> {
    refuse(members, "CreateDomainName", &REFUSED)?;
    let name = required(text(members, "domainName", 1..=512)?, "DomainName")?.to_ascii_lowercase();
    if !is_domain_name(&name) {
        return Err(bad_request(format!("Invalid domain name specified: {name}")));
    }
    let _write = state.configuration_writes.lock().await;
    // Hosts are the same in all regions.
    if state.store.find_document(DOMAIN_KIND, &name).await?.is_some() {
        return Err(conflict("The domain name you provided already exists."));
    }
    let domain = DomainName {
        domain_name: name,
        domain_name_configurations: configurations(members)?.unwrap_or_default(),
        tags: input::tags(members)?,
        mappings: BTreeMap::new(),
    };
    stored::put_domain(state, context, &domain).await?;
    Ok(created(&shown(context, &domain)))
}

/// GetDomainName.
pub async fn get(state: &ApiState, context: &Context, name: &str) -> Result<Response, ApiError> {
    Ok(ok(&shown(context, &stored::domain(state, context, name).await?)))
}

/// GetDomainNames.
pub async fn list(state: &ApiState, context: &Context) -> Result<Response, ApiError> {
    let domains = stored::domains(state, context).await?;
    let domains: BTreeMap<String, DomainName> =
        domains.into_iter().map(|domain| (domain.domain_name.clone(), domain)).collect();
    Ok(ok(&page(context, "domain-names", &domains, |domain| shown(context, domain))?))
}

/// UpdateDomainName.
pub async fn update(
    state: &ApiState,
    context: &Context,
    name: &str,
    members: &Members<'_>,
) -> Result<Response, ApiError> {
    refuse(members, "UpdateDomainName", &REFUSED)?;
    let _write = state.configuration_writes.lock().await;
    let mut domain = stored::domain(state, context, name).await?;
    if let Some(configurations) = configurations(members)? {
        domain.domain_name_configurations = configurations;
    }
    stored::put_domain(state, context, &domain).await?;
    Ok(ok(&shown(context, &domain)))
}

/// DeleteDomainName, with its mappings.
pub async fn delete(state: &ApiState, context: &Context, name: &str) -> Result<Response, ApiError> {
    let _write = state.configuration_writes.lock().await;
    let domain = stored::domain(state, context, name).await?;
    state.store.delete_document(&context.scope, DOMAIN_KIND, &domain.domain_name).await?;
    Ok(deleted())
}

/// CreateApiMapping.
pub async fn create_mapping(
    state: &ApiState,
    context: &Context,
    name: &str,
    members: &Members<'_>,
) -> Result<Response, ApiError> {
    let _write = state.configuration_writes.lock().await;
    let mut domain = stored::domain(state, context, name).await?;
    let mapping = ApiMapping {
        api_id: required(members.string("apiId")?, "ApiId")?,
        api_mapping_id: new_id(6),
        api_mapping_key: members.string("apiMappingKey")?.unwrap_or_default(),
        stage: required(members.string("stage")?, "Stage")?,
    };
    check(state, context, &domain, &mapping).await?;
    let answer = created(&json!(mapping));
    domain.mappings.insert(mapping.api_mapping_id.clone(), mapping);
    stored::put_domain(state, context, &domain).await?;
    Ok(answer)
}

/// GetApiMapping.
pub async fn get_mapping(
    state: &ApiState,
    context: &Context,
    name: &str,
    id: &str,
) -> Result<Response, ApiError> {
    let domain = stored::domain(state, context, name).await?;
    domain.mappings.get(id).map(|mapping| ok(&json!(mapping))).ok_or_else(no_mapping)
}

/// GetApiMappings.
pub async fn list_mappings(state: &ApiState, context: &Context, name: &str) -> Result<Response, ApiError> {
    let domain = stored::domain(state, context, name).await?;
    Ok(ok(&page(context, "api-mappings", &domain.mappings, |mapping| json!(mapping))?))
}

/// UpdateApiMapping: what is not given stays.
pub async fn update_mapping(
    state: &ApiState,
    context: &Context,
    name: &str,
    id: &str,
    members: &Members<'_>,
) -> Result<Response, ApiError> {
    let _write = state.configuration_writes.lock().await;
    let mut domain = stored::domain(state, context, name).await?;
    let mut mapping = domain.mappings.get(id).cloned().ok_or_else(no_mapping)?;
    if let Some(api) = members.string("apiId")? {
        mapping.api_id = api;
    }
    if let Some(key) = members.string("apiMappingKey")? {
        mapping.api_mapping_key = key;
    }
    if let Some(stage) = members.string("stage")? {
        mapping.stage = stage;
    }
    check(state, context, &domain, &mapping).await?;
    let answer = ok(&json!(mapping));
    domain.mappings.insert(id.to_owned(), mapping);
    stored::put_domain(state, context, &domain).await?;
    Ok(answer)
}

/// DeleteApiMapping.
pub async fn delete_mapping(
    state: &ApiState,
    context: &Context,
    name: &str,
    id: &str,
) -> Result<Response, ApiError> {
    let _write = state.configuration_writes.lock().await;
    let mut domain = stored::domain(state, context, name).await?;
    domain.mappings.remove(id).ok_or_else(no_mapping)?;
    stored::put_domain(state, context, &domain).await?;
    Ok(deleted())
}

fn no_mapping() -> ApiError {
    not_found("The api mapping resource specified in the request was not found.")
}

async fn check(
    state: &ApiState,
    context: &Context,
    domain: &DomainName,
    mapping: &ApiMapping,
) -> Result<(), ApiError> {
    let key = mapping.api_mapping_key.as_str();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+!*'()$/".contains(&byte);
    let empty_segment = !key.is_empty() && key.split('/').any(str::is_empty);
    if key.len() > KEY_CHARACTERS || !key.bytes().all(plain) || empty_segment {
        return Err(bad_request("API mapping key should not start with a '/' or have consecutive '/'s."));
    }
    let twin =
        |other: &ApiMapping| other.api_mapping_key == key && other.api_mapping_id != mapping.api_mapping_id;
    if domain.mappings.values().any(twin) {
        return Err(conflict("ApiMapping key already exists for this domain name"));
    }
    let api = stored::api(state, context, &mapping.api_id).await?;
    match api.stages.contains_key(&mapping.stage) {
        true => Ok(()),
        false => Err(bad_request(stages::absent(&mapping.stage).message)),
    }
}

fn configurations(members: &Members<'_>) -> Result<Option<Vec<Map<String, Value>>>, ApiError> {
    let Some(blocks) = members.objects("domainNameConfigurations")? else { return Ok(None) };
    let mut configurations = Vec::new();
    for block in blocks {
        let mut configuration = Map::new();
        for name in CONFIGURATION {
            if let Some(value) = block.string(name)? {
                configuration.insert(name.to_owned(), value.into());
            }
        }
        configurations.push(configuration);
    }
    Ok(Some(configurations))
}

fn shown(context: &Context, domain: &DomainName) -> Value {
    let configurations: Vec<Value> = domain
        .domain_name_configurations
        .iter()
        .map(|given| {
            let mut shown = given.clone();
            shown.entry("endpointType").or_insert("REGIONAL".into());
            shown.insert("domainNameStatus".to_owned(), "AVAILABLE".into());
            // On AWS another name to point to; here it is reached by itself.
            shown.insert("apiGatewayDomainName".to_owned(), domain.domain_name.as_str().into());
            Value::Object(shown)
        })
        .collect();
    json!({
        "apiMappingSelectionExpression": "$request.basepath",
        "domainName": domain.domain_name,
        "domainNameArn": format!(
            "arn:aws:apigateway:{}::/domainnames/{}",
            context.scope.region.as_str(),
            domain.domain_name
        ),
        "domainNameConfigurations": configurations,
        "routingMode": "API_MAPPING_ONLY",
        "tags": domain.tags,
    })
}

/// Labels of letters, digits and hyphens, two at least; the first may be `*`.
fn is_domain_name(name: &str) -> bool {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.contains('.') && rest.split('.').all(label)
}
