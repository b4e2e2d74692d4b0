//! ListSecrets: filters, order and pages.

use super::secret::{self, KIND, Secret};
use super::{error, invalid_parameter};
use crate::access;
use crate::http::{ApiError, Context, Members, page};
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use serde_json::{Map, Value};

/// Documents read at once: each may be of two MiB.
const BATCH: usize = 10;
/// Most rows of a page.
const PAGE_ROWS: usize = 100;
/// List name of page tokens.
const LIST: &str = "secrets";
const KEYS: &[&str] =
    &["description", "name", "tag-key", "tag-value", "primary-region", "owning-service", "all"];
const ORDERS: &[&str] = &["created-date", "last-accessed-date", "last-changed-date", "name"];

/// ListSecrets.
pub async fn list(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    access::authorize(state, context, "secretsmanager", "ListSecrets", "*").await?;
    let (secrets, next) = page_of(state, context, members, PAGE_ROWS).await?;
    let rows = secrets.iter().map(|secret| Value::Object(secret.metadata(context, "SecretVersionsToStages")));
    let mut map = Map::new();
    map.insert("SecretList".to_owned(), rows.collect());
    if let Some(next) = next {
        map.insert("NextToken".to_owned(), next.into());
    }
    Ok(Value::Object(map))
}

/// One page of what the filters let through, of at most `most` rows, and the token of the next.
pub async fn page_of(
    state: &ApiState,
    context: &Context,
    members: &Members<'_>,
    most: usize,
) -> Result<(Vec<Secret>, Option<String>), ApiError> {
    let filters = filters(members)?;
    let with_deleted = members.boolean("IncludePlannedDeletion")?.unwrap_or(false);
    let mut violations = Violations::default();
    let order = members.string("SortBy")?.unwrap_or_else(|| "created-date".to_owned());
    violations.one_of(&order, "sortBy", ORDERS);
    let direction = members.string("SortOrder")?.unwrap_or_else(|| "desc".to_owned());
    violations.one_of(&direction, "sortOrder", &["asc", "desc"]);
    let limit = members.integer("MaxResults")?.unwrap_or(most as i64);
    violations.range(limit, "maxResults", 1, most as i64);
    violations.finish()?;
    let limit = usize::try_from(limit).unwrap_or(most);
    let after: Option<(i64, String)> = match members.string("NextToken")? {
        None => None,
        Some(token) => Some(page::key(LIST, &token).ok_or_else(|| {
            error("InvalidNextTokenException", "The provided NextToken is not valid for this request.")
        })?),
    };
    let descending = direction == "desc";
    let mut secrets = all(state, context).await?;
    secrets.retain(|secret| {
        (with_deleted || secret.deleted_at.is_none())
            && filters.iter().all(|filter| filter.lets_through(secret))
    });
    secrets.sort_by_cached_key(|secret| sort_key(secret, &order));
    if descending {
        secrets.reverse();
    }
    if let Some(after) = after {
        secrets.retain(|secret| match descending {
            true => sort_key(secret, &order) < after,
            false => sort_key(secret, &order) > after,
        });
    }
    let more = secrets.len() > limit;
    secrets.truncate(limit);
    let next = secrets.last().filter(|_| more).map(|last| page::token(LIST, &sort_key(last, &order)));
    Ok((secrets, next))
}

fn sort_key(secret: &Secret, order: &str) -> (i64, String) {
    let time = match order {
        "name" => 0,
        "last-accessed-date" => secret.accessed_on.map_or(0, |time| time.as_millis()),
        "last-changed-date" => secret.changed_at.as_millis(),
        _ => secret.created_at.as_millis(),
    };
    (time, secret.name.clone())
}

/// Every secret of the region whose time has not come.
async fn all(state: &ApiState, context: &Context) -> Result<Vec<Secret>, ApiError> {
    let now = state.now();
    let mut secrets: Vec<Secret> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let rows = state.store.list_documents(&context.scope, KIND, after.as_deref(), BATCH).await?;
        let is_last = rows.len() < BATCH;
        for row in rows {
            after = Some(row.key.clone());
            let mut secret = secret::decode(row)?;
            // Only what is listed is kept: the values are up to a MiB of each.
            secret
                .versions
                .iter_mut()
                .for_each(|version| version.content = secret::Content::String(String::new()));
            if !secret.is_gone(now) {
                secrets.push(secret);
            }
        }
        if is_last {
            return Ok(secrets);
        }
    }
}

/// One filter: it lets through what one of its values fits.
struct Filter {
    key: String,
    values: Vec<String>,
}

impl Filter {
    fn lets_through(&self, secret: &Secret) -> bool {
        self.values.iter().any(|value| match value.strip_prefix('!') {
            Some(value) => !self.fits(secret, value),
            None => self.fits(secret, value),
        })
    }

    /// Source: ListSecrets, Filters: beginnings, with regard to case but for descriptions; `all` looks everywhere for each
    /// of its words, without regard to case.
    fn fits(&self, secret: &Secret, value: &str) -> bool {
        let description = secret.description.as_deref().unwrap_or_default();
        match self.key.as_str() {
            "name" => secret.name.starts_with(value),
            "description" => description.to_lowercase().starts_with(&value.to_lowercase()),
            "tag-key" => secret.tags.keys().any(|key| key.starts_with(value)),
            "tag-value" => secret.tags.values().any(|text| text.starts_with(value)),
            "all" => {
                let tags = secret.tags.iter().flat_map(|(key, text)| [key.as_str(), text.as_str()]);
                let everywhere: Vec<String> = [secret.name.as_str(), description]
                    .into_iter()
                    .chain(tags)
                    .map(str::to_lowercase)
                    .collect();
                let words = value.to_lowercase();
                words.split_whitespace().all(|word| everywhere.iter().any(|text| text.contains(word)))
            }
            // Nothing is replicated, and no service owns secrets here.
            _ => false,
        }
    }
}

fn filters(members: &Members<'_>) -> Result<Vec<Filter>, ApiError> {
    let given = members.objects("Filters")?.unwrap_or_default();
    let mut violations = Violations::default();
    violations.list_length(&given, "filters", 0, 10);
    let mut filters = Vec::new();
    for (index, filter) in given.iter().enumerate() {
        let at = |member: &str| format!("filters.{}.member.{member}", index + 1);
        let key = filter.string("Key")?.unwrap_or_default();
        violations.one_of(&key, &at("key"), KEYS);
        let values = filter.strings("Values")?.unwrap_or_default();
        if values.is_empty() {
            return Err(invalid_parameter("Invalid filter values"));
        }
        violations.list_length(&values, &at("values"), 1, 10);
        filters.push(Filter { key, values });
    }
    violations.finish()?;
    Ok(filters)
}
