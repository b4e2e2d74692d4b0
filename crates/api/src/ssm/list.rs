//! GetParametersByPath and DescribeParameters: pages of what filters let through, in the order of names.

use super::filter::{self, Filter};
use super::parameter::{self, KIND, Parameter, arn};
use super::{error, invalid};
use crate::access;
use crate::http::{ApiError, Context, Members, page};
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Documents read at once.
const BATCH: usize = 50;

/// GetParametersByPath.
pub async fn by_path(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let mut violations = Violations::default();
    let path = members.string("Path")?;
    match &path {
        None => violations.missing("path"),
        Some(path) => violations.length(path, "path", 2_048),
    }
    violations.finish()?;
    let path = path.unwrap_or_default();
    access::authorize(state, context, "ssm", "GetParametersByPath", &arn(context, &path)).await?;
    let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte));
    if !path.starts_with('/') || path.contains("//") || !plain {
        return Err(invalid(filter::PATH_REQUIREMENTS));
    }
    let recursive = members.boolean("Recursive")?.unwrap_or(false);
    let decrypt = members.boolean("WithDecryption")?.unwrap_or(false);
    let limit = page_rows(members, 10)?;
    let mut filters = filter::parse(members, true)?;
    filters.push(Filter::path(&path, recursive));
    // A token goes on in the list it was made for.
    let list = format!("ssm-path/{recursive}{path}");
    let after: Option<String> = token(members, &list)?;
    let (found, next) = page_of(state, context, &path, &filters, after, limit).await?;
    let rows =
        found.iter().map(|parameter| parameter.value_json(context, &parameter.newest, decrypt)).collect();
    Ok(answer(&list, rows, next.as_ref()))
}

/// DescribeParameters.
pub async fn describe(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    const LIST: &str = "ssm-describe";
    access::authorize(state, context, "ssm", "DescribeParameters", &context.scope.arn("ssm", "*")).await?;
    let limit = page_rows(members, 50)?;
    let filters = match (members.has("Filters"), members.has("ParameterFilters")) {
        (true, true) => {
            return Err(invalid("You can use either Filters or ParameterFilters in a single request."));
        }
        (true, false) => filter::parse_old(members)?,
        (false, _) => filter::parse(members, false)?,
    };
    // Nothing is shared with this account: there is one.
    if members.boolean("Shared")?.unwrap_or(false) {
        return Ok(json!({"Parameters": []}));
    }
    let after: Option<String> = token(members, LIST)?;
    let (found, next) = page_of(state, context, "/", &filters, after, limit).await?;
    let rows = found.iter().map(|parameter| {
        let mut row = parameter.newest.metadata(&parameter.name);
        row.insert("ARN".to_owned(), arn(context, &parameter.name).into());
        Value::Object(row)
    });
    Ok(answer(LIST, rows.collect(), next.as_ref()))
}

/// Up to `limit` parameters that all filters let through, beginning after a name; and the name to go on after. Only what
/// lies beneath `path` is read; beneath `/` lies everything.
async fn page_of(
    state: &ApiState,
    context: &Context,
    path: &str,
    filters: &[Filter],
    after: Option<String>,
    limit: usize,
) -> Result<(Vec<Parameter>, Option<String>), ApiError> {
    let beginning = match path.trim_matches('/') {
        // Names without a slash lie there, too.
        "" => String::new(),
        path => format!("/{path}/"),
    };
    let mut after = after.unwrap_or_else(|| beginning.clone());
    let mut found = Vec::new();
    loop {
        let rows = state.store.list_documents(&context.scope, KIND, Some(&after), BATCH).await?;
        let is_last = rows.len() < BATCH;
        for row in rows {
            if !row.key.starts_with(&beginning) {
                return Ok((found, None));
            }
            let name = row.key.clone();
            let parameter = parameter::decode(row)?;
            if filters.iter().all(|filter| filter.lets_through(&parameter)) {
                if found.len() == limit {
                    return Ok((found, Some(after)));
                }
                found.push(parameter);
            }
            after = name;
        }
        if is_last {
            return Ok((found, None));
        }
    }
}

/// `MaxResults` within 1 and `most`, which is also the default.
pub fn page_rows(members: &Members<'_>, most: usize) -> Result<usize, ApiError> {
    let Some(asked) = members.integer("MaxResults")? else { return Ok(most) };
    let mut violations = Violations::default();
    violations.range(asked, "maxResults", 1, most as i64);
    violations.finish()?;
    Ok(usize::try_from(asked).unwrap_or(most))
}

/// The key in `NextToken`.
pub fn token<K: DeserializeOwned>(members: &Members<'_>, list: &str) -> Result<Option<K>, ApiError> {
    match members.string("NextToken")? {
        None => Ok(None),
        Some(token) => page::key(list, &token)
            .map(Some)
            .ok_or_else(|| error("InvalidNextToken", "The specified token is not valid.")),
    }
}

/// `Parameters` and `NextToken`.
pub fn answer<K: Serialize>(list: &str, rows: Vec<Value>, next: Option<&K>) -> Value {
    let mut map = Map::new();
    map.insert("Parameters".to_owned(), rows.into());
    if let Some(next) = next {
        map.insert("NextToken".to_owned(), page::token(list, next).into());
    }
    Value::Object(map)
}
