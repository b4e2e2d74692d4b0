//! GetTags, TagResource, UntagResource: of APIs, stages and custom domains.

use super::{bad_request, created, deleted, input, not_found, ok, stages, stored};
use crate::http::{ApiError, Context, Members, Response};
use crate::state::ApiState;
use lamplight_model::http_api::Texts;
use serde_json::json;

/// What an ARN names.
enum Tagged<'a> {
    Api(&'a str),
    Stage(&'a str, &'a str),
    Domain(&'a str),
}

/// GetTags.
pub async fn get(state: &ApiState, context: &Context, arn: &str) -> Result<Response, ApiError> {
    let tags = match parse(context, arn)? {
        Tagged::Api(api) => stored::api(state, context, api).await?.tags,
        Tagged::Stage(api, name) => {
            let mut api = stored::api(state, context, api).await?;
            api.stages.remove(name).ok_or_else(|| stages::absent(name))?.tags
        }
        Tagged::Domain(name) => stored::domain(state, context, name).await?.tags,
    };
    Ok(ok(&json!({ "tags": tags })))
}

/// TagResource.
pub async fn tag(
    state: &ApiState,
    context: &Context,
    arn: &str,
    members: &Members<'_>,
) -> Result<Response, ApiError> {
    let given = input::tags(members)?;
    change(state, context, arn, |tags| {
        tags.extend(given);
        input::check_tags(tags)
    })
    .await?;
    Ok(created(&json!({})))
}

/// UntagResource.
pub async fn untag(state: &ApiState, context: &Context, arn: &str) -> Result<Response, ApiError> {
    let keys: Vec<&str> =
        context.query.iter().filter(|(name, _)| name == "tagKeys").map(|(_, key)| key.as_str()).collect();
    if keys.is_empty() {
        return Err(bad_request("TagKeys is a required parameter"));
    }
    change(state, context, arn, |tags| {
        tags.retain(|key, _| !keys.contains(&key.as_str()));
        Ok(())
    })
    .await?;
    Ok(deleted())
}

async fn change(
    state: &ApiState,
    context: &Context,
    arn: &str,
    change: impl FnOnce(&mut Texts) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    match parse(context, arn)? {
        Tagged::Api(api) => {
            let mut opened = stored::open(state, context, api).await?;
            change(&mut opened.api.tags)?;
            opened.save().await
        }
        Tagged::Stage(api, name) => {
            let mut opened = stored::open(state, context, api).await?;
            let stage = opened.api.stages.get_mut(name).ok_or_else(|| stages::absent(name))?;
            change(&mut stage.tags)?;
            opened.save().await
        }
        Tagged::Domain(name) => {
            let _write = state.configuration_writes.lock().await;
            let mut domain = stored::domain(state, context, name).await?;
            change(&mut domain.tags)?;
            stored::put_domain(state, context, &domain).await
        }
    }
}

/// `arn:aws:apigateway:<region>::/apis/<id>[/stages/<name>]` or `…::/domainnames/<name>`.
fn parse<'a>(context: &Context, arn: &'a str) -> Result<Tagged<'a>, ApiError> {
    let invalid = || bad_request("Invalid resource ARN");
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [_, _, "apigateway", region, _, path] = parts.as_slice() else { return Err(invalid()) };
    if *region != context.scope.region.as_str() {
        return Err(not_found("Invalid resource ARN: it is of another region"));
    }
    match path.trim_start_matches('/').split('/').collect::<Vec<_>>().as_slice() {
        ["apis", api] => Ok(Tagged::Api(api)),
        ["apis", api, "stages", name] => Ok(Tagged::Stage(api, name)),
        ["domainnames", name] => Ok(Tagged::Domain(name)),
        _ => Err(invalid()),
    }
}
