//! Configuration of function URLs: Create-, Get-, Update-, Delete- and ListFunctionUrlConfigs.
//!
//! A URL belongs to a function or an alias. Its id is random and stays; the host beneath it is the operator's, or else the one the
//! request came to, so that the answer can be used from where it was asked.

use crate::http::{ApiError, Context, Members, Response, reply};
use crate::lambda::functions::page_rows_up_to;
use crate::lambda::owned;
use crate::lambda::patterns::URL_QUALIFIER;
use crate::lambda::reference::Target;
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use bytes::Bytes;
use http::StatusCode;
use lamplight_model::Qualifier;
use lamplight_model::function_url::{Cors, FunctionUrl, KIND};
use lamplight_model::name::function_arn;
use rand::RngExt as _;
use serde_json::{Map, Value, json};

/// Characters of an id: lower-case letters and digits. 32 of them are 165 bits.
const ID_CHARACTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
/// Length of an id.
const ID_LENGTH: usize = 32;
/// Greatest `MaxItems`.
const MOST_ITEMS: i64 = 50;
/// 404 where the function is asked for before its URL.
const NO_FUNCTION: &str = "Function does not exist";

/// What a request gave.
struct Given {
    auth_type: Option<String>,
    invoke_mode: Option<String>,
    cors: Option<Cors>,
}

/// CreateFunctionUrlConfig.
pub async fn create(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let (target, given) = read(context, label, body, true)?;
    let _write = state.configuration_writes.lock().await;
    match owned::find(state, &target).await? {
        None => return Err(ApiError::not_found(NO_FUNCTION)),
        Some(version) if version.per_tenant => return Err(owned::not_for_tenants("Function URL")),
        Some(_) => {}
    }
    if owned::get::<FunctionUrl>(state, KIND, &target).await?.is_some() {
        return Err(ApiError::conflict(format!(
            "Failed to create function url config for [functionArn = {}]. Error message:  FunctionUrlConfig exists \
             for this Lambda function",
            target.arn()
        )));
    }
    let url = FunctionUrl {
        id: new_id(),
        auth_type: given.auth_type.unwrap_or_default(),
        invoke_mode: given.invoke_mode,
        cors: given.cors,
        created_at: state.now(),
        modified_at: state.now(),
    };
    owned::put(state, KIND, &target, &url).await?;
    let mut shown = shown(context, &target, target.qualifier.as_ref(), &url);
    // The one answer without it.
    shown.remove("LastModifiedTime");
    Ok(reply::json(StatusCode::CREATED, &Value::Object(shown)))
}

/// GetFunctionUrlConfig.
pub async fn get(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let target = target(context, label, Violations::default())?;
    let url = owned::get(state, KIND, &target).await?.ok_or_else(owned::absent)?;
    Ok(answer(context, &target, &url))
}

/// UpdateFunctionUrlConfig: what is not given stays.
pub async fn update(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let (target, given) = read(context, label, body, false)?;
    let _write = state.configuration_writes.lock().await;
    if owned::find(state, &target).await?.is_none() {
        return Err(ApiError::not_found(NO_FUNCTION));
    }
    let mut url: FunctionUrl = owned::get(state, KIND, &target).await?.ok_or_else(owned::absent)?;
    url.auth_type = given.auth_type.unwrap_or(url.auth_type);
    url.invoke_mode = given.invoke_mode.or(url.invoke_mode);
    url.cors = given.cors.or(url.cors);
    url.modified_at = state.now();
    owned::put(state, KIND, &target, &url).await?;
    Ok(answer(context, &target, &url))
}

/// DeleteFunctionUrlConfig. A new one gets another id.
pub async fn delete(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let target = target(context, label, Violations::default())?;
    let _write = state.configuration_writes.lock().await;
    if owned::delete(state, KIND, &target).await? {
        Ok(reply::empty(StatusCode::NO_CONTENT))
    } else {
        Err(owned::absent())
    }
}

/// ListFunctionUrlConfigs.
pub async fn list(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let mut violations = Violations::default();
    let limit = page_rows_up_to(context, &mut violations, MOST_ITEMS);
    let target = target(context, label, violations)?;
    let function = Target { qualifier: None, ..target };
    if owned::find(state, &function).await?.is_none() {
        return Err(ApiError::not_found(NO_FUNCTION));
    }
    let (rows, next) = owned::page::<FunctionUrl>(state, context, KIND, &function, limit).await?;
    let rows: Vec<Value> = rows
        .iter()
        .map(|(qualifier, url)| Value::Object(shown(context, &function, Some(qualifier), url)))
        .collect();
    let mut answer = json!({ "FunctionUrlConfigs": rows });
    if let Some(next) = next {
        answer["NextMarker"] = next.into();
    }
    Ok(reply::json(StatusCode::OK, &answer))
}

/// The function or alias that is meant: versions, `$LATEST` among them, have no URLs.
fn target(context: &Context, label: &str, mut violations: Violations) -> Result<Target, ApiError> {
    let target = Target::from_path(context, label)?;
    if let Some(qualifier @ (Qualifier::Latest | Qualifier::Version(_))) = &target.qualifier {
        violations.pattern(&qualifier.to_string(), "qualifier", false, URL_QUALIFIER);
    }
    violations.finish()?;
    Ok(target)
}

fn read(context: &Context, label: &str, body: &Bytes, is_new: bool) -> Result<(Target, Given), ApiError> {
    let members = Members::parse(body)?;
    let mut violations = Violations::default();
    let (auth_type, invoke_mode) = (members.string("AuthType")?, members.string("InvokeMode")?);
    match &auth_type {
        Some(auth_type) => violations.one_of(auth_type, "authType", &["NONE", "AWS_IAM"]),
        None if is_new => violations.missing("authType"),
        None => {}
    }
    if let Some(invoke_mode) = &invoke_mode {
        violations.one_of(invoke_mode, "invokeMode", &["RESPONSE_STREAM", "BUFFERED"]);
    }
    let cors = match members.object("Cors")? {
        Some(block) => Some(read_cors(&block, &mut violations)?),
        None => None,
    };
    Ok((target(context, label, violations)?, Given { auth_type, invoke_mode, cors }))
}

fn read_cors(block: &Members<'_>, violations: &mut Violations) -> Result<Cors, ApiError> {
    let mut list = |member: &str, path: &str, most: usize, lengths: (usize, usize)| {
        let list = block.strings(member)?;
        if let Some(list) = &list {
            let path = format!("cors.{path}");
            violations.list_length(list, &path, 0, most);
            let (least, longest) = lengths;
            if list.iter().any(|text| !(least..=longest).contains(&text.chars().count())) {
                violations.add(
                    format_args!("[{}]", list.join(", ")),
                    &path,
                    format!(
                        "Member must satisfy constraint: [Member must have length less than or equal to {longest}, \
                         Member must have length greater than or equal to {least}, Member must satisfy regular \
                         expression pattern: .*, Member must not be null]"
                    ),
                );
            }
        }
        Ok::<_, ApiError>(list)
    };
    let cors = Cors {
        allow_credentials: block.boolean("AllowCredentials")?,
        allow_headers: list("AllowHeaders", "allowHeaders", 100, (0, 1_024))?,
        allow_methods: list("AllowMethods", "allowMethods", 6, (0, 6))?,
        allow_origins: list("AllowOrigins", "allowOrigins", 100, (1, 253))?,
        expose_headers: list("ExposeHeaders", "exposeHeaders", 100, (0, 1_024))?,
        max_age: block.integer("MaxAge")?,
    };
    if let Some(max_age) = cors.max_age {
        violations.range(max_age, "cors.maxAge", 0, 86_400);
    }
    Ok(cors)
}

fn new_id() -> String {
    let mut random = rand::rng();
    (0..ID_LENGTH).map(|_| char::from(ID_CHARACTERS[random.random_range(0..ID_CHARACTERS.len())])).collect()
}

fn answer(context: &Context, target: &Target, url: &FunctionUrl) -> Response {
    reply::json(StatusCode::OK, &Value::Object(shown(context, target, target.qualifier.as_ref(), url)))
}

fn shown(
    context: &Context,
    target: &Target,
    qualifier: Option<&Qualifier>,
    url: &FunctionUrl,
) -> Map<String, Value> {
    // The function's own URL is stored under $LATEST and shown without it.
    let qualifier = qualifier.filter(|qualifier| **qualifier != Qualifier::Latest);
    let mut shown = Map::new();
    let mut set = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    let region = target.scope.region.as_str();
    set("FunctionUrl", context.gateway_url.of_function(&url.id, region, &context.authority).into());
    set("FunctionArn", function_arn(&target.scope, &target.name, qualifier).into());
    set("AuthType", url.auth_type.as_str().into());
    if let Some(cors) = &url.cors {
        set("Cors", json!(cors));
    }
    set("CreationTime", url.created_at.microseconds_format().into());
    set("LastModifiedTime", url.modified_at.microseconds_format().into());
    if let Some(invoke_mode) = &url.invoke_mode {
        set("InvokeMode", invoke_mode.as_str().into());
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_host_names_and_differ() {
        let (one, other) = (new_id(), new_id());
        assert_ne!(one, other);
        assert!(one.len() == 32 && one.bytes().all(|byte| ID_CHARACTERS.contains(&byte)), "{one}");
    }
}
