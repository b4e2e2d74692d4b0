//! Tags of APIs and stages: GetTags, TagResource, UntagResource.

use super::Request;
use super::error::{bad_request, not_found};
use super::stored;
use crate::http::{ApiError, Response, reply};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

/// Most tags of one resource.
const TAGS: usize = 50;

/// What an ARN names.
enum Tagged<'a> {
    Api(&'a str),
    Stage(&'a str, &'a str),
}

/// From `arn:aws:apigateway:<region>::/restapis/<api>[/stages/<stage>]`.
fn tagged(arn: &str) -> Result<Tagged<'_>, ApiError> {
    let path = arn.split_once("::/restapis/").filter(|(start, _)| start.starts_with("arn:aws:apigateway:"));
    let parts: Vec<&str> = path.map(|(_, rest)| rest.split('/').collect()).unwrap_or_default();
    match parts.as_slice() {
        [api] if !api.is_empty() => Ok(Tagged::Api(api)),
        [api, "stages", stage] => Ok(Tagged::Stage(api, stage)),
        _ => Err(bad_request("Invalid ARN specified in the request")),
    }
}

/// Fails with `BadRequestException` for tags that AWS would not take.
pub fn check(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if tags.len() > TAGS {
        return Err(bad_request("Cannot have more than 50 tags"));
    }
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(bad_request(format!("Invalid tag: {key}")));
        }
        if key.starts_with("aws:") {
            return Err(bad_request("Tag keys cannot start with 'aws:'"));
        }
    }
    Ok(())
}

/// What is to become of tags.
type Change<'a> = &'a (dyn Fn(&mut BTreeMap<String, String>) + Sync);

/// Reads the tags of what is meant, and writes them back when `change` is given.
async fn with_tags(
    request: &Request<'_>,
    change: Option<Change<'_>>,
) -> Result<BTreeMap<String, String>, ApiError> {
    let Request { state, context, .. } = request;
    let _write = state.rest_api_writes.lock().await;
    match tagged(request.label(0))? {
        Tagged::Api(id) => {
            let mut api = stored::api(state, context, id).await?;
            if let Some(change) = change {
                change(&mut api.tags);
                check(&api.tags)?;
                stored::put_api(state, context, &api).await?;
            }
            Ok(api.tags)
        }
        Tagged::Stage(id, name) => {
            let found = stored::find_stage(state, context, id, name).await?;
            let mut stage = found.ok_or_else(|| not_found("Invalid stage identifier specified"))?;
            if let Some(change) = change {
                change(&mut stage.tags);
                check(&stage.tags)?;
                stored::put_stage(state, context, id, &stage).await?;
            }
            Ok(stage.tags)
        }
    }
}

/// GetTags.
pub async fn get(request: &Request<'_>) -> Result<Response, ApiError> {
    let tags = with_tags(request, None).await?;
    Ok(reply::json(StatusCode::OK, &json!({ "tags": tags })))
}

/// TagResource.
pub async fn tag(request: &Request<'_>) -> Result<Response, ApiError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Given {
        tags: BTreeMap<String, String>,
    }
    let given: Given = request.members()?;
    with_tags(request, Some(&|tags| tags.extend(given.tags.clone()))).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// UntagResource.
pub async fn untag(request: &Request<'_>) -> Result<Response, ApiError> {
    let keys: Vec<&String> =
        request.context.query.iter().filter(|(key, _)| key == "tagKeys").map(|(_, value)| value).collect();
    with_tags(request, Some(&|tags| tags.retain(|key, _| !keys.contains(&key)))).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
