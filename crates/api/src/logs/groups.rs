//! Groups: CreateLogGroup, DeleteLogGroup, DescribeLogGroups, PutRetentionPolicy, DeleteRetentionPolicy.

use super::validation::{finish, group_name};
use super::{answer, failed, invalid, limit, name_of_group, subscriptions, tags, token};
use crate::http::{ApiError, Context, Members, page};
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use lamplight_store::{LogGroupInfo, LogGroupSettings};
use serde_json::{Map, Value};

/// Rows of a page.
const PAGE_ROWS: usize = 50;
/// Days a group may keep its events. Source: API reference, PutRetentionPolicy.
const RETENTION_DAYS: [u32; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

/// CreateLogGroup.
pub async fn create(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let mut violations = Violations::default();
    let group = group_name(members, &mut violations)?;
    let tags = members.string_map("tags")?.unwrap_or_default();
    crate::lambda::tags::note_violations(&tags, &mut violations);
    if let Some(class) = members.string("logGroupClass")? {
        violations.one_of(&class, "logGroupClass", &["STANDARD", "INFREQUENT_ACCESS", "DELIVERY"]);
    }
    finish(violations)?;
    // The guide says that they cannot; AWS's words are not known.
    if group.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws/")) {
        return Err(invalid("Log groups starting with AWS/ are reserved for AWS."));
    }
    if members.has("kmsKeyId") {
        return Err(invalid("Lamplight encrypts no logs with keys: kmsKeyId is not supported."));
    }
    if members.string("logGroupClass")?.is_some_and(|class| class != "STANDARD") {
        return Err(invalid("Lamplight has log groups of the class STANDARD only."));
    }
    tags::check(&tags)?;
    let settings = LogGroupSettings { retention_days: None, tags };
    state.logs.create_group(&context.scope, &group, settings).await.map_err(failed)?;
    Ok(Value::Null)
}

/// DeleteLogGroup, with its streams, events and subscription filters.
pub async fn delete(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let mut violations = Violations::default();
    let group = group_name(members, &mut violations)?;
    finish(violations)?;
    let _writes = state.configuration_writes.lock().await;
    state.logs.group(&context.scope, &group).await.map_err(failed)?;
    // First, so that a crash in between leaves no filter that waits for a group of this name.
    subscriptions::delete_all(state, &context.scope, &group).await?;
    state.logs.delete_group(&context.scope, &group).await.map_err(failed)?;
    Ok(Value::Null)
}

/// PutRetentionPolicy. The group's own retention counts in place of the server's, longer or shorter.
pub async fn put_retention(
    state: &ApiState,
    context: &Context,
    members: &Members<'_>,
) -> Result<Value, ApiError> {
    let mut violations = Violations::default();
    let group = group_name(members, &mut violations)?;
    let days = members.integer("retentionInDays")?;
    let known = days.and_then(|days| u32::try_from(days).ok()).filter(|days| RETENTION_DAYS.contains(days));
    match (days, known) {
        (None, _) => violations.missing("retentionInDays"),
        (Some(days), None) => {
            let set = RETENTION_DAYS.map(|days| days.to_string()).join(", ");
            violations.add(days, "retentionInDays", format!("Member must satisfy enum value set: [{set}]"));
        }
        _ => {}
    }
    finish(violations)?;
    change(state, context, &group, |settings| settings.retention_days = known).await
}

/// DeleteRetentionPolicy.
pub async fn delete_retention(
    state: &ApiState,
    context: &Context,
    members: &Members<'_>,
) -> Result<Value, ApiError> {
    let mut violations = Violations::default();
    let group = group_name(members, &mut violations)?;
    finish(violations)?;
    change(state, context, &group, |settings| settings.retention_days = None).await
}

/// Changes the settings of a group that exists.
pub(super) async fn change(
    state: &ApiState,
    context: &Context,
    group: &str,
    change: impl FnOnce(&mut LogGroupSettings),
) -> Result<Value, ApiError> {
    let _writes = state.configuration_writes.lock().await;
    let mut settings = state.logs.group(&context.scope, group).await.map_err(failed)?.settings;
    change(&mut settings);
    tags::check(&settings.tags)?;
    state.logs.configure_group(&context.scope, group, settings).await.map_err(failed)?;
    Ok(Value::Null)
}

/// DescribeLogGroups, in name order.
pub async fn describe(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    const LIST: &str = "log-groups";
    let limit = limit(members, PAGE_ROWS, PAGE_ROWS)?;
    let prefix = members.string("logGroupNamePrefix")?;
    let part = members.string("logGroupNamePattern")?;
    if prefix.is_some() && part.is_some() {
        return Err(invalid(
            "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
        ));
    }
    let identifiers = members.strings("logGroupIdentifiers")?;
    let identifiers: Option<Vec<&str>> =
        identifiers.as_ref().map(|list| list.iter().map(|one| name_of_group(one)).collect());
    // Patterns are parts of names, compared without case. Source: API reference, logGroupNamePattern.
    let part = part.map(|part| part.to_lowercase());
    let wanted = |name: &str| {
        part.as_ref().is_none_or(|part| name.to_lowercase().contains(part))
            && identifiers.as_ref().is_none_or(|list| list.contains(&name))
    };
    let mut after: Option<String> = token(members, LIST)?;
    let (mut rows, mut next) = (Vec::new(), None);
    'pages: loop {
        let found = state
            .logs
            .groups(&context.scope, prefix.as_deref(), after.as_deref(), limit + 1)
            .await
            .map_err(failed)?;
        let whole = found.len() > limit;
        for group in found {
            if wanted(&group.name) {
                if rows.len() == limit {
                    next = after.take();
                    break 'pages;
                }
                rows.push(row(context, &group));
            }
            after = Some(group.name);
        }
        if !whole {
            break;
        }
    }
    Ok(answer("logGroups", rows, next.map(|key| page::token(LIST, &key))))
}

fn row(context: &Context, group: &LogGroupInfo) -> Value {
    let arn = context.scope.arn("logs", &format!("log-group:{}", group.name));
    let mut map = Map::new();
    let mut set = |name: &str, value: Value| map.insert(name.to_owned(), value);
    set("logGroupName", group.name.as_str().into());
    set("creationTime", group.created_at.as_millis().into());
    if let Some(days) = group.settings.retention_days {
        set("retentionInDays", days.into());
    }
    set("metricFilterCount", 0.into());
    set("arn", format!("{arn}:*").into());
    set("storedBytes", group.stored_bytes.into());
    set("logGroupClass", "STANDARD".into());
    set("logGroupArn", arn.into());
    Value::Object(map)
}
