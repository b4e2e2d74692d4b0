//! ListMetrics: series that had values in the last two weeks. Source: API reference, ListMetrics.

use super::platform;
use super::series::NAME_CHARACTERS;
use super::wire::{Input, Output, place_of, token};
use super::{invalid, invalid_value};
use crate::http::{ApiError, Context};
use crate::state::ApiState;
use lamplight_model::Timestamp;
use lamplight_services::metrics::MetricName;
use std::collections::BTreeSet;

/// Series of one answer.
const PAGE: usize = 500;
const DIMENSION_FILTERS: usize = 10;
const HOUR_MS: i64 = 3_600_000;
const LIST: &str = "metrics";

/// ListMetrics, in order of the names.
pub(super) async fn list(state: &ApiState, context: &Context, input: &Input) -> Result<Output, ApiError> {
    let short = |member: &str| match input.text(member)? {
        Some(text) if text.is_empty() || text.chars().count() > NAME_CHARACTERS => {
            Err(invalid(&input.name(member), text))
        }
        text => Ok(text),
    };
    let (namespace, name) = (short("Namespace")?, short("MetricName")?);
    let age = match input.text("RecentlyActive")?.as_deref() {
        None => 14 * 24 * HOUR_MS,
        Some("PT3H") => 3 * HOUR_MS,
        Some(other) => return Err(invalid("RecentlyActive", other)),
    };
    let filters = input.objects("Dimensions")?.unwrap_or_default();
    if filters.len() > DIMENSION_FILTERS {
        return Err(invalid_value(format!(
            "The collection Dimensions must not have a size greater than {DIMENSION_FILTERS}."
        )));
    }
    let mut wanted = Vec::new();
    for filter in &filters {
        wanted.push((filter.required_text("Name", NAME_CHARACTERS)?, filter.text("Value")?));
    }
    let place = match input.text("NextToken")? {
        None => 0,
        Some(text) => place_of(LIST, &text).ok_or_else(|| invalid("NextToken", text))?,
    };
    let since = Timestamp(state.now().0.saturating_sub(age));
    platform::settle(state).await;
    let mut all: BTreeSet<MetricName> = platform::list(state, context, since).await?;
    let stored = state.metrics.list(&context.scope, namespace.as_deref(), name.as_deref(), since).await?;
    all.extend(stored);
    all.retain(|metric| {
        namespace.as_ref().is_none_or(|wanted| *wanted == metric.namespace)
            && name.as_ref().is_none_or(|wanted| *wanted == metric.name)
            && wanted.iter().all(|(name, value)| {
                metric
                    .dimensions
                    .iter()
                    .any(|(known, of)| known == name && value.as_ref().is_none_or(|value| value == of))
            })
    });
    let more = all.len() > place.saturating_add(PAGE);
    let rows = all.into_iter().skip(place).take(PAGE).map(row).collect();
    let mut answer = vec![("Metrics", Output::List(rows))];
    if more {
        answer.push(("NextToken", Output::Text(token(LIST, place + PAGE))));
    }
    Ok(Output::Structure(answer))
}

fn row(metric: MetricName) -> Output {
    let dimensions = metric.dimensions.into_iter().map(|(name, value)| {
        Output::Structure(vec![("Name", Output::Text(name)), ("Value", Output::Text(value))])
    });
    Output::Structure(vec![
        ("Namespace", Output::Text(metric.namespace)),
        ("MetricName", Output::Text(metric.name)),
        ("Dimensions", Output::List(dimensions.collect())),
    ])
}
