//! Reading members with their bounds, pages of lists, and how resources are shown.
//!
//! Bounds are those of the service model. AWS does not publish the texts of most violations of them; ours name the member.

use super::bad_request;
use crate::http::{ApiError, Context, Members, page};
use lamplight_model::Timestamp;
use lamplight_model::http_api::Texts;
use rand::RngExt as _;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Characters of ids: lower-case letters and digits.
const ID_CHARACTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
/// Rows of a page when nothing is asked for, and at most. AWS does not publish them.
const PAGE: usize = 100;
const MOST_ROWS: usize = 500;
/// Most tags of a resource. Source: API Gateway developer guide, "Tag restrictions".
const TAGS: usize = 50;
/// Members that are moments.
const DATES: [&str; 2] = ["createdDate", "lastUpdatedDate"];

/// A new id: ten characters for APIs, six or seven for what they consist of, as on AWS.
pub fn new_id(length: usize) -> String {
    let mut random = rand::rng();
    (0..length).map(|_| char::from(ID_CHARACTERS[random.random_range(0..ID_CHARACTERS.len())])).collect()
}

/// A text with bounds, characters.
pub fn text(
    members: &Members<'_>,
    name: &str,
    length: RangeInclusive<usize>,
) -> Result<Option<String>, ApiError> {
    let text = members.string(name)?;
    if let Some(text) = &text
        && !length.contains(&text.chars().count())
    {
        let (least, most) = (length.start(), length.end());
        return Err(bad_request(format!(
            "Invalid value for {name}: its length must be between {least} and {most} characters"
        )));
    }
    Ok(text)
}

/// One of a closed set of texts.
pub fn one_of(members: &Members<'_>, name: &str, values: &[&str]) -> Result<Option<String>, ApiError> {
    let text = members.string(name)?;
    match &text {
        Some(text) if !values.contains(&text.as_str()) => {
            Err(bad_request(format!("Invalid value for {name}: '{text}' is none of [{}]", values.join(", "))))
        }
        _ => Ok(text),
    }
}

/// A whole number with bounds.
pub fn integer(
    members: &Members<'_>,
    name: &str,
    range: RangeInclusive<i64>,
) -> Result<Option<i64>, ApiError> {
    let number = members.integer(name)?;
    match number {
        Some(number) if !range.contains(&number) => Err(bad_request(format!(
            "Invalid value for {name}: must be between {} and {}",
            range.start(),
            range.end()
        ))),
        number => Ok(number),
    }
}

/// What has to be there.
pub fn required<T>(value: Option<T>, name: &str) -> Result<T, ApiError> {
    value.ok_or_else(|| bad_request(format!("{name} is a required parameter")))
}

/// Refuses members that mean something on AWS and would be ignored here.
pub fn refuse(members: &Members<'_>, operation: &str, names: &[&str]) -> Result<(), ApiError> {
    match names.iter().find(|name| members.has(name)) {
        Some(name) => Err(ApiError::not_supported("apigatewayv2", &format!("{operation} with {name}"))),
        None => Ok(()),
    }
}

/// Tags of a new resource.
pub fn tags(members: &Members<'_>) -> Result<Texts, ApiError> {
    let tags = members.string_map("tags")?.unwrap_or_default();
    check_tags(&tags)?;
    Ok(tags)
}

/// Source: API Gateway developer guide, "Tag restrictions".
pub fn check_tags(tags: &Texts) -> Result<(), ApiError> {
    let fits = |(key, value): (&String, &String)| {
        (1..=128).contains(&key.chars().count()) && value.chars().count() <= 256 && !key.starts_with("aws:")
    };
    if tags.len() > TAGS {
        return Err(bad_request(format!("A resource has at most {TAGS} tags")));
    }
    match tags.iter().all(fits) {
        true => Ok(()),
        false => Err(bad_request(
            "Invalid tag: keys have 1 to 128 characters and do not begin with aws:, values up to 256 characters",
        )),
    }
}

/// A resource as it is shown: its stored members, moments as texts.
pub fn shown<T: Serialize>(resource: &T) -> Value {
    let mut shown = serde_json::to_value(resource).unwrap_or_default();
    for name in DATES {
        if let Some(date) = shown.get_mut(name)
            && let Some(milliseconds) = date.as_i64()
        {
            *date = Timestamp(milliseconds).iso_seconds_format().into();
        }
    }
    shown
}

/// One page of a list, by `maxResults` and `nextToken`: `{"items": …, "nextToken": …}`.
pub fn list<T>(
    context: &Context,
    list: &str,
    resources: &BTreeMap<String, T>,
    show: impl Fn(&T) -> Value,
) -> Result<Value, ApiError> {
    let rows = match context.parameter("maxResults").map(str::parse::<usize>) {
        None => PAGE,
        Some(Ok(rows @ 1..)) => rows.min(MOST_ROWS),
        Some(_) => return Err(bad_request("Invalid value for maxResults: must be a number of 1 or more")),
    };
    let after: Option<String> = match context.parameter("nextToken") {
        None => None,
        Some(token) => Some(page::key(list, token).ok_or_else(|| bad_request("Invalid pagination token"))?),
    };
    let mut left = resources.iter().filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
    let mut last = None;
    let items: Vec<Value> = left
        .by_ref()
        .take(rows)
        .map(|(key, resource)| {
            last = Some(key);
            show(resource)
        })
        .collect();
    let mut answer = json!({ "items": items });
    if left.next().is_some()
        && let Some(last) = last
    {
        answer["nextToken"] = page::token(list, last).into();
    }
    Ok(answer)
}
