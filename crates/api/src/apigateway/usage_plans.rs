//! Create-, Get-, Update- and DeleteUsagePlan, GetUsagePlans.

use super::error::{bad_request, conflict, not_found, not_one_of};
use super::patch::{self, Patch};
use super::stored::{self, ID_LENGTH, new_id, page_of, value};
use super::{Request, accepted, keys};
use crate::http::{ApiError, Response, reply};
use http::StatusCode;
use lamplight_model::rest_api::{ApiStage, Period, Quota, Throttle, USAGE_PLAN_KIND, UsagePlan};
use serde::Deserialize;
use std::collections::BTreeMap;

/// `Invalid Usage Plan ID specified`.
pub fn no_plan() -> ApiError {
    not_found("Invalid Usage Plan ID specified")
}

/// The plan. Fails with `NotFoundException`.
pub async fn find(request: &Request<'_>, id: &str) -> Result<UsagePlan, ApiError> {
    stored::read(request.state, request.context, USAGE_PLAN_KIND, id).await?.ok_or_else(no_plan)
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Given {
    name: Option<String>,
    description: Option<String>,
    api_stages: Vec<GivenStage>,
    throttle: Option<Throttle>,
    quota: Option<GivenQuota>,
    tags: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GivenStage {
    api_id: Option<String>,
    stage: Option<String>,
    throttle: BTreeMap<String, Throttle>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GivenQuota {
    limit: u64,
    offset: u8,
    period: Option<String>,
}

/// CreateUsagePlan.
pub async fn create(request: &Request<'_>) -> Result<Response, ApiError> {
    let given: Given = request.members()?;
    let Request { state, context, .. } = request;
    let Some(name) = given.name.filter(|name| !name.is_empty()) else {
        return Err(bad_request("Usage Plan name cannot be empty"));
    };
    super::tags::check(&given.tags)?;
    let quota = given.quota.map(quota).transpose()?;
    check_throttle(given.throttle.as_ref())?;
    let _write = state.rest_api_writes.lock().await;
    let mut api_stages = Vec::new();
    for stage in given.api_stages {
        let (api_id, name) = (stage.api_id.unwrap_or_default(), stage.stage.unwrap_or_default());
        check_stage(request, &api_id, &name).await?;
        stage.throttle.values().try_for_each(|throttle| check_throttle(Some(throttle)))?;
        api_stages.push(ApiStage { api_id, stage: name, throttle: stage.throttle });
    }
    let plan = UsagePlan {
        id: new_id(ID_LENGTH),
        name,
        description: given.description,
        api_stages,
        throttle: given.throttle,
        quota,
        product_code: None,
        tags: given.tags,
    };
    stored::write(state, context, USAGE_PLAN_KIND, &plan.id, &plan).await?;
    Ok(reply::json(StatusCode::CREATED, &value(&plan)?))
}

async fn check_stage(request: &Request<'_>, api: &str, stage: &str) -> Result<(), ApiError> {
    stored::api(request.state, request.context, api).await?;
    let found = stored::find_stage(request.state, request.context, api, stage).await?;
    found.map(drop).ok_or_else(|| not_found(format!("API Stage not found: {api}:{stage}")))
}

/// Fails with `ConflictException` when a key of the plan has another plan for the stage: it would not be clear which one counts.
async fn check_keys(request: &Request<'_>, plan: &UsagePlan, api: &str, stage: &str) -> Result<(), ApiError> {
    let Request { state, context, .. } = request;
    let plans: Vec<UsagePlan> = stored::beginning_with(state, context, USAGE_PLAN_KIND, "").await?;
    let for_stage = |id: &String| {
        *id != plan.id && plans.iter().any(|other| other.id == *id && other.stage(api, stage).is_some())
    };
    for key in keys::all(request).await? {
        if key.usage_plans.contains(&plan.id) && key.usage_plans.iter().any(for_stage) {
            return Err(conflict(format!(
                "Usage Plan Key {} already exists for API stage {api}:{stage}",
                key.id
            )));
        }
    }
    Ok(())
}

fn check_throttle(throttle: Option<&Throttle>) -> Result<(), ApiError> {
    match throttle {
        Some(throttle) if !(throttle.rate_limit >= 0.0 && throttle.rate_limit.is_finite()) => {
            Err(bad_request("Usage Plan throttle rate limit must not be negative"))
        }
        _ => Ok(()),
    }
}

fn quota(given: GivenQuota) -> Result<Quota, ApiError> {
    let quota = Quota {
        limit: given.limit,
        offset: given.offset,
        period: period(given.period.as_deref().unwrap_or_default())?,
    };
    check_quota(&quota)?;
    Ok(quota)
}

fn period(text: &str) -> Result<Period, ApiError> {
    match text {
        "DAY" => Ok(Period::Day),
        "WEEK" => Ok(Period::Week),
        "MONTH" => Ok(Period::Month),
        other => Err(not_one_of(other, "quota.period", &["DAY", "WEEK", "MONTH"])),
    }
}

/// The texts are those of reports of users.
fn check_quota(quota: &Quota) -> Result<(), ApiError> {
    if quota.limit == 0 {
        return Err(bad_request("Usage Plan quota limit must be a positive number"));
    }
    let between = match quota.period {
        _ if quota.offset <= quota.period.greatest_offset() => return Ok(()),
        Period::Day => "zero in the DAY period",
        Period::Week => "between zero and six inclusive in the WEEK period",
        Period::Month => "between zero and 27 inclusive in the MONTH period",
    };
    Err(bad_request(format!("Usage Plan quota offset must be {between}")))
}

/// GetUsagePlan.
pub async fn get(request: &Request<'_>) -> Result<Response, ApiError> {
    Ok(reply::json(StatusCode::OK, &value(&find(request, request.label(0)).await?)?))
}

/// GetUsagePlans: all, or those of one key.
pub async fn list(request: &Request<'_>) -> Result<Response, ApiError> {
    let Request { state, context, .. } = request;
    let mut plans: Vec<UsagePlan> = stored::beginning_with(state, context, USAGE_PLAN_KIND, "").await?;
    if let Some(id) = context.parameter("keyId") {
        let of_key = keys::find(request, id).await?.usage_plans;
        plans.retain(|plan| of_key.contains(&plan.id));
    }
    let page = page_of(context, USAGE_PLAN_KIND, &plans, |plan| &plan.id, value)?;
    Ok(reply::json(StatusCode::OK, &page))
}

/// UpdateUsagePlan.
pub async fn update(request: &Request<'_>) -> Result<Response, ApiError> {
    let patches = patch::read(request.body, "updateUsagePlanInput")?;
    let Request { state, context, .. } = request;
    let _write = state.rest_api_writes.lock().await;
    let mut plan = find(request, request.label(0)).await?;
    for patch in &patches {
        if let Some((api, stage)) = apply(&mut plan, patch)? {
            check_stage(request, &api, &stage).await?;
            check_keys(request, &plan, &api, &stage).await?;
            plan.api_stages.push(ApiStage { api_id: api, stage, throttle: BTreeMap::new() });
        }
    }
    check_throttle(plan.throttle.as_ref())?;
    plan.quota.as_ref().map_or(Ok(()), check_quota)?;
    stored::write(state, context, USAGE_PLAN_KIND, &plan.id, &plan).await?;
    Ok(reply::json(StatusCode::OK, &value(&plan)?))
}

/// Does one change, but for a stage that is to be added: that is given back, API first.
fn apply(plan: &mut UsagePlan, patch: &Patch) -> Result<Option<(String, String)>, ApiError> {
    let segments = patch.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let new_quota = Quota { limit: 0, offset: 0, period: Period::Day };
    match segments.as_slice() {
        ["name"] => {
            patch.only_replace()?;
            plan.name = patch.some().ok_or_else(|| bad_request("Usage Plan name cannot be empty"))?;
        }
        ["description"] => plan.description = patch.some(),
        ["productCode"] => plan.product_code = patch.some(),
        ["throttle"] if patch.op == "remove" => plan.throttle = None,
        ["throttle", member] => set_throttle(plan.throttle.get_or_insert_default(), member, patch)?,
        ["quota"] if patch.op == "remove" => plan.quota = None,
        ["quota", "limit"] => plan.quota.get_or_insert(new_quota).limit = number(patch)?,
        ["quota", "offset"] => plan.quota.get_or_insert(new_quota).offset = number(patch)?,
        ["quota", "period"] => plan.quota.get_or_insert(new_quota).period = period(patch.text())?,
        ["apiStages"] => {
            let (api, stage) = stage_of(patch.text())?;
            plan.api_stages.retain(|one| one.api_id != api || one.stage != stage);
            if patch.op != "remove" {
                return Ok(Some((api.to_owned(), stage.to_owned())));
            }
        }
        ["apiStages", stage, "throttle", path, method, rest @ ..] => {
            let (api, stage) = stage_of(stage)?;
            let found = plan.api_stages.iter_mut().find(|one| one.api_id == api && one.stage == stage);
            let found = found.ok_or_else(|| not_found(format!("API Stage not found: {api}:{stage}")))?;
            let name = format!("{path}/{method}");
            match rest {
                [] if patch.op == "remove" => drop(found.throttle.remove(&name)),
                [member] => set_throttle(found.throttle.entry(name).or_default(), member, patch)?,
                _ => return Err(patch.invalid_path()),
            }
        }
        _ => return Err(patch.invalid_path()),
    }
    Ok(None)
}

/// `<api>:<stage>`.
fn stage_of(text: &str) -> Result<(&str, &str), ApiError> {
    text.split_once(':').ok_or_else(|| bad_request("Invalid API Stage specified"))
}

fn set_throttle(throttle: &mut Throttle, member: &str, patch: &Patch) -> Result<(), ApiError> {
    match member {
        "burstLimit" => throttle.burst_limit = number(patch)?,
        "rateLimit" => throttle.rate_limit = number(patch)?,
        _ => return Err(patch.invalid_path()),
    }
    check_throttle(Some(throttle))
}

fn number<T: std::str::FromStr>(patch: &Patch) -> Result<T, ApiError> {
    patch.text().parse().map_err(|_| bad_request(format!("Invalid value specified for {}", patch.path)))
}

/// DeleteUsagePlan; its keys stay, and are in it no more.
pub async fn delete(request: &Request<'_>) -> Result<Response, ApiError> {
    let Request { state, context, .. } = request;
    let _write = state.rest_api_writes.lock().await;
    let plan = find(request, request.label(0)).await?;
    for mut key in keys::all(request).await? {
        if key.usage_plans.contains(&plan.id) {
            key.usage_plans.retain(|id| *id != plan.id);
            keys::put(request, &key).await?;
        }
    }
    stored::delete(state, context, USAGE_PLAN_KIND, &plan.id).await?;
    Ok(accepted())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(op: &str, path: &str, value: &str) -> Result<UsagePlan, ApiError> {
        let stage = ApiStage { api_id: "abc".to_owned(), stage: "dev".to_owned(), throttle: BTreeMap::new() };
        let mut plan = UsagePlan {
            id: "p".to_owned(),
            name: "plan".to_owned(),
            description: None,
            api_stages: vec![stage],
            throttle: Some(Throttle { burst_limit: 1, rate_limit: 2.0 }),
            quota: None,
            product_code: None,
            tags: BTreeMap::new(),
        };
        let patch = Patch { op: op.to_owned(), path: path.to_owned(), value: Some(value.to_owned()) };
        apply(&mut plan, &patch).map(|_| plan)
    }

    #[test]
    fn patches_as_tools_send_them() {
        assert_eq!(
            patched("replace", "/throttle/rateLimit", "0.5").unwrap().throttle.unwrap().rate_limit,
            0.5
        );
        assert_eq!(patched("remove", "/throttle", "").unwrap().throttle, None);
        assert_eq!(patched("add", "/quota/limit", "7").unwrap().quota.unwrap().limit, 7);
        assert!(patched("remove", "/apiStages", "abc:dev").unwrap().api_stages.is_empty());
        let method = patched("replace", "/apiStages/abc:dev/throttle/~1pets/GET/burstLimit", "3").unwrap();
        assert_eq!(method.api_stages[0].throttle["/pets/GET"].burst_limit, 3);
        for (path, value) in [
            ("/throttle/rateLimit", "-1"),
            ("/throttle/rateLimit", "NaN"),
            ("/quota/limit", "x"),
            ("/keys", "x"),
        ] {
            assert!(patched("replace", path, value).is_err(), "{path} {value}");
        }
    }

    #[test]
    fn quotas() {
        let check = |period: Period, offset: u8, expected: Result<(), &str>| {
            let got = check_quota(&Quota { limit: 1, offset, period }).map_err(|error| error.message);
            assert_eq!(got, expected.map_err(str::to_owned));
        };
        check(Period::Month, 27, Ok(()));
        check(Period::Day, 1, Err("Usage Plan quota offset must be zero in the DAY period"));
        check(
            Period::Week,
            7,
            Err("Usage Plan quota offset must be between zero and six inclusive in the WEEK period"),
        );
    }
}
