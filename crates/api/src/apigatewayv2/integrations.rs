//! CreateIntegration, GetIntegration, GetIntegrations, UpdateIntegration, DeleteIntegration: functions (`AWS_PROXY`) and
//! URLs (`HTTP_PROXY`).

use super::input::{integer, list as page, new_id, one_of, refuse, required, shown, text};
use super::{bad_request, conflict, created, deleted, not_found, ok, stored};
use crate::http::{ApiError, Context, Members, Response};
use crate::state::ApiState;
use lamplight_model::http_api::{Integration, Texts, function_of_uri, split_authority, with_stage_variables};

/// Milliseconds. Source: service model, `IntegrationTimeoutInMillis` of HTTP APIs; the greatest is the default.
const TIMEOUT_MILLIS: (i64, i64) = (50, 30_000);
/// What AWS has and is refused by name.
const NOT_SERVED: [&str; 9] = [
    "connectionId",
    "contentHandlingStrategy",
    "integrationSubtype",
    "passthroughBehavior",
    "requestParameters",
    "requestTemplates",
    "responseParameters",
    "templateSelectionExpression",
    "tlsConfig",
];
const METHODS: [&str; 8] = ["ANY", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/// CreateIntegration.
pub async fn create(
    state: &ApiState,
    context: &Context,
    api: &str,
    members: &Members<'_>,
) -> Result<Response, ApiError> {
    let mut opened = stored::open(state, context, api).await?;
    required(members.string("integrationType")?, "IntegrationType")?;
    let mut integration = Integration { integration_id: new_id(7), ..empty() };
    apply(&mut integration, members)?;
    check(&integration)?;
    let answer = created(&shown(&integration));
    opened.api.definition.integrations.insert(integration.integration_id.clone(), integration);
    opened.save_definition().await?;
    Ok(answer)
}

/// GetIntegration.
pub async fn get(state: &ApiState, context: &Context, api: &str, id: &str) -> Result<Response, ApiError> {
    let api = stored::api(state, context, api).await?;
    let found = api.definition.integrations.get(id);
    found.map(|integration| ok(&shown(integration))).ok_or_else(|| absent(id))
}

/// GetIntegrations.
pub async fn list(state: &ApiState, context: &Context, api: &str) -> Result<Response, ApiError> {
    let api = stored::api(state, context, api).await?;
    Ok(ok(&page(context, "http-integrations", &api.definition.integrations, shown)?))
}

/// UpdateIntegration: what is not given stays.
pub async fn update(
    state: &ApiState,
    context: &Context,
    api: &str,
    id: &str,
    members: &Members<'_>,
) -> Result<Response, ApiError> {
    let mut opened = stored::open(state, context, api).await?;
    let mut integration = opened.api.definition.integrations.get(id).cloned().ok_or_else(|| absent(id))?;
    apply(&mut integration, members)?;
    check(&integration)?;
    let answer = ok(&shown(&integration));
    opened.api.definition.integrations.insert(id.to_owned(), integration);
    opened.save_definition().await?;
    Ok(answer)
}

/// DeleteIntegration. Fails with `ConflictException` while routes lead to it; the text was seen in terraform's issues.
pub async fn delete(state: &ApiState, context: &Context, api: &str, id: &str) -> Result<Response, ApiError> {
    let mut opened = stored::open(state, context, api).await?;
    let definition = &mut opened.api.definition;
    let routes: Vec<&str> = definition
        .routes
        .values()
        .filter(|route| route.integration_id() == Some(id))
        .map(|route| route.route_id.as_str())
        .collect();
    if !routes.is_empty() {
        return Err(conflict(format!(
            "Cannot delete Integration because it is referenced by the following Routes with Ids: [{}]",
            routes.join(", ")
        )));
    }
    definition.integrations.remove(id).ok_or_else(|| absent(id))?;
    opened.save_definition().await?;
    Ok(deleted())
}

/// What quick create makes of a target: a function by ARN or URI, or a URL.
pub fn of_target(target: String) -> Integration {
    if target.starts_with("http://") || target.starts_with("https://") {
        Integration {
            integration_type: "HTTP_PROXY".to_owned(),
            integration_method: Some("ANY".to_owned()),
            payload_format_version: "1.0".to_owned(),
            integration_uri: Some(target),
            ..empty()
        }
    } else {
        Integration {
            integration_type: "AWS_PROXY".to_owned(),
            integration_method: Some("POST".to_owned()),
            payload_format_version: "2.0".to_owned(),
            integration_uri: Some(target),
            ..empty()
        }
    }
}

fn empty() -> Integration {
    Integration {
        connection_type: "INTERNET".to_owned(),
        timeout_in_millis: TIMEOUT_MILLIS.1,
        ..Integration::default()
    }
}

fn absent(id: &str) -> ApiError {
    not_found(format!("Invalid Integration identifier specified {id}"))
}

/// Reads what was given, also of an imported document. `check` comes after it.
pub fn apply(integration: &mut Integration, members: &Members<'_>) -> Result<(), ApiError> {
    refuse(members, "integrations of an HTTP API", &NOT_SERVED)?;
    match members.string("connectionType")?.as_deref() {
        None | Some("INTERNET") => {}
        Some("VPC_LINK") => {
            let what = "integrations with ConnectionType VPC_LINK";
            return Err(ApiError::not_supported("apigatewayv2", what));
        }
        Some(other) => return Err(bad_request(format!("Invalid value for connectionType: '{other}'"))),
    }
    if let Some(kind) = members.string("integrationType")? {
        integration.integration_type = kind;
    }
    if let Some(uri) = text(members, "integrationUri", 1..=2048)? {
        integration.integration_uri = Some(uri);
    }
    if let Some(method) = one_of(members, "integrationMethod", &METHODS)? {
        integration.integration_method = Some(method);
    }
    if let Some(version) = one_of(members, "payloadFormatVersion", &["1.0", "2.0"])? {
        integration.payload_format_version = version;
    }
    if let Some(timeout) = integer(members, "timeoutInMillis", TIMEOUT_MILLIS.0..=TIMEOUT_MILLIS.1)? {
        integration.timeout_in_millis = timeout;
    }
    if let Some(description) = text(members, "description", 0..=1024)? {
        integration.description = Some(description);
    }
    if let Some(credentials) = members.string("credentialsArn")? {
        integration.credentials_arn = Some(credentials);
    }
    match integration.integration_type.as_str() {
        // Functions are called with POST whatever the request's method is, and that is what AWS shows.
        "AWS_PROXY" => integration.integration_method = Some("POST".to_owned()),
        "HTTP_PROXY" if integration.payload_format_version.is_empty() => {
            integration.payload_format_version = "1.0".to_owned();
        }
        _ => {}
    }
    Ok(())
}

/// Whether an integration is whole.
pub fn check(integration: &Integration) -> Result<(), ApiError> {
    let uri = required(integration.integration_uri.as_deref(), "IntegrationUri")?;
    match integration.integration_type.as_str() {
        "AWS_PROXY" => {
            if integration.payload_format_version.is_empty() {
                return Err(bad_request(
                    "PayloadFormatVersion is a required parameter for integration type AWS_PROXY",
                ));
            }
            // What stage variables make of it is known with a request only.
            match uri.contains("${stageVariables.") || function_of_uri(uri).is_some() {
                true => Ok(()),
                false => Err(bad_request(format!("Invalid function ARN or invalid uri: {uri}"))),
            }
        }
        "HTTP_PROXY" => {
            if integration.payload_format_version != "1.0" {
                return Err(bad_request("PayloadFormatVersion must be 1.0 for integration type HTTP_PROXY"));
            }
            required(integration.integration_method.as_deref(), "IntegrationMethod")?;
            // Stage variables are the owner's; variables of the path, whoever's who sends a request.
            let is_fixed = |(authority, _): (&str, &str)| {
                !with_stage_variables(authority, &Texts::new()).contains(['{', '}'])
            };
            match split_authority(uri).is_some_and(is_fixed) {
                true => Ok(()),
                false => Err(bad_request(format!("Invalid HTTP endpoint specified for URI {uri}"))),
            }
        }
        "AWS" | "HTTP" | "MOCK" => {
            Err(bad_request("HTTP APIs support the integration types AWS_PROXY and HTTP_PROXY only"))
        }
        other => Err(bad_request(format!("Invalid value for integrationType: '{other}'"))),
    }
}
