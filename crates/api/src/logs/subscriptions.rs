//! Subscription filters: stored here, delivered by `lamplight_invoke::subscriptions`.

use super::validation::{finish, group_name, plain_name};
use super::{answer, does_not_exist, failed, invalid, limit, limit_exceeded, pattern, token};
use crate::http::{ApiError, Context, Members, page};
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use bytes::Bytes;
use lamplight_invoke::InvokeRequest;
use lamplight_invoke::subscriptions::{self, SubscriptionFilter};
use lamplight_model::{FunctionReference, Scope};
use lamplight_store::Expect;
use serde_json::{Map, Value};

/// Rows of a page.
const PAGE_ROWS: usize = 50;
/// Filters of one group. Source: API reference, PutSubscriptionFilter.
const FILTERS: usize = 2;

/// PutSubscriptionFilter to a function: it gets what is written from now on. A filter that is replaced goes on where it was.
pub async fn put(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let mut violations = Violations::default();
    let group = group_name(members, &mut violations)?;
    let name = plain_name(members, "filterName", &mut violations)?;
    let filter_pattern = members.string("filterPattern")?;
    let destination = members.string("destinationArn")?;
    for (member, absent) in
        [("filterPattern", filter_pattern.is_none()), ("destinationArn", destination.is_none())]
    {
        if absent {
            violations.missing(member);
        }
    }
    let distribution = members.string("distribution")?;
    if let Some(distribution) = &distribution {
        violations.one_of(distribution, "distribution", &["Random", "ByLogStream"]);
    }
    finish(violations)?;
    let (filter_pattern, destination) = (filter_pattern.unwrap_or_default(), destination.unwrap_or_default());
    pattern(&filter_pattern)?;
    check_destination(state, context, &group, &destination).await?;
    let _writes = state.configuration_writes.lock().await;
    super::settle(state).await;
    let newest = state.logs.last_sequence(&context.scope, &group).await.map_err(failed)?;
    let others = subscriptions::of_group(&*state.store, &context.scope, &group).await?;
    let stored = others.iter().find(|filter| filter.filter_name == name);
    if stored.is_none() && others.len() >= FILTERS {
        return Err(limit_exceeded("Resource limit exceeded."));
    }
    let filter = SubscriptionFilter {
        log_group_name: group,
        filter_name: name,
        filter_pattern,
        destination_arn: destination,
        role_arn: members.string("roleArn")?,
        // AWS's default. Source: API reference, "distribution".
        distribution: distribution.unwrap_or_else(|| "ByLogStream".to_owned()),
        creation_time: stored.map_or(state.now().as_millis(), |stored| stored.creation_time),
        after_sequence: stored.map_or(newest, |stored| stored.after_sequence),
    };
    state
        .store
        .put_document(&context.scope, subscriptions::KIND, filter.document()?, Expect::Anything)
        .await?;
    Ok(Value::Null)
}

async fn check_destination(
    state: &ApiState,
    context: &Context,
    group: &str,
    destination: &str,
) -> Result<(), ApiError> {
    let reference = FunctionReference::parse(destination).filter(|_| destination.starts_with("arn:"));
    let Some(reference) = reference else {
        return Err(invalid(format!(
            "Lamplight delivers log events to Lambda functions only, and '{destination}' is no function's ARN."
        )));
    };
    // Each delivery would write the events of the next one. AWS lets it happen; its words for what it refuses are not known.
    if group == format!("/aws/lambda/{}", reference.name) {
        return Err(invalid("The function's own log group cannot be the source of its events."));
    }
    let elsewhere = reference.region.as_ref().is_some_and(|region| *region != context.scope.region)
        || reference.account.as_ref().is_some_and(|account| *account != context.scope.account);
    let request = InvokeRequest::new(
        context.scope.clone(),
        reference.name,
        reference.qualifier,
        context.request_id,
        Bytes::new(),
    );
    if elsewhere || state.invoker.dry_run(&request).await.is_err() {
        return Err(invalid(
            "Could not execute the lambda function. Make sure you have given CloudWatch Logs permission to execute \
             your function.",
        ));
    }
    Ok(())
}

/// DescribeSubscriptionFilters, in name order.
pub async fn describe(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    const LIST: &str = "subscription-filters";
    let mut violations = Violations::default();
    let group = group_name(members, &mut violations)?;
    finish(violations)?;
    let limit = limit(members, PAGE_ROWS, PAGE_ROWS)?;
    let prefix = members.string("filterNamePrefix")?.unwrap_or_default();
    let after: Option<String> = token(members, LIST)?;
    state.logs.group(&context.scope, &group).await.map_err(failed)?;
    let mut filters = subscriptions::of_group(&*state.store, &context.scope, &group).await?;
    filters.retain(|filter| {
        filter.filter_name.starts_with(&prefix)
            && after.as_ref().is_none_or(|after| filter.filter_name > *after)
    });
    let more = filters.len() > limit;
    filters.truncate(limit);
    let next = filters.last().filter(|_| more).map(|last| page::token(LIST, &last.filter_name));
    Ok(answer("subscriptionFilters", filters.iter().map(row).collect(), next))
}

fn row(filter: &SubscriptionFilter) -> Value {
    let mut map = Map::new();
    let mut set = |name: &str, value: Value| map.insert(name.to_owned(), value);
    set("filterName", filter.filter_name.as_str().into());
    set("logGroupName", filter.log_group_name.as_str().into());
    set("filterPattern", filter.filter_pattern.as_str().into());
    set("destinationArn", filter.destination_arn.as_str().into());
    if let Some(role) = &filter.role_arn {
        set("roleArn", role.as_str().into());
    }
    set("distribution", filter.distribution.as_str().into());
    set("creationTime", filter.creation_time.into());
    Value::Object(map)
}

/// DeleteSubscriptionFilter.
pub async fn delete(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let mut violations = Violations::default();
    let group = group_name(members, &mut violations)?;
    let name = plain_name(members, "filterName", &mut violations)?;
    finish(violations)?;
    state.logs.group(&context.scope, &group).await.map_err(failed)?;
    let _writes = state.configuration_writes.lock().await;
    match subscriptions::delete(&*state.store, &context.scope, &group, &name).await? {
        true => Ok(Value::Null),
        false => Err(does_not_exist("subscription filter")),
    }
}

/// Deletes the filters of a group that is about to be deleted.
pub(super) async fn delete_all(state: &ApiState, scope: &Scope, group: &str) -> Result<(), ApiError> {
    for filter in subscriptions::of_group(&*state.store, scope, group).await? {
        subscriptions::delete(&*state.store, scope, group, &filter.filter_name).await?;
    }
    Ok(())
}
