//! GetMetricData: series by `MetricStat`. Expressions (metric math, SQL) are refused by name.

use super::series::{self, Span};
use super::wire::{Input, Output, place_of, token};
use super::{error, invalid, missing};
use crate::http::{ApiError, Context};
use crate::state::ApiState;
use std::collections::HashSet;

/// Queries of one request.
const QUERIES: usize = 500;
/// Points of one answer, and the most that can be asked for. Source: API reference, GetMetricData.
const POINTS: usize = 100_800;
/// Longest `Id`, and longest `Label`, characters.
const TEXT_CHARACTERS: usize = 255;
const LIST: &str = "metric-data";

/// One series of the answer.
struct Found {
    id: String,
    label: String,
    points: Vec<(i64, f64)>,
    whole: bool,
}

/// What is wrong with the request; the model names no error but that of the token.
fn wrong(message: impl Into<String>) -> ApiError {
    error("ValidationError", message)
}

/// GetMetricData, newest points first unless told otherwise.
pub(super) async fn get(state: &ApiState, context: &Context, input: &Input) -> Result<Output, ApiError> {
    let queries = input.objects("MetricDataQueries")?.ok_or_else(|| missing("MetricDataQueries"))?;
    if queries.is_empty() || queries.len() > QUERIES {
        return Err(wrong(format!(
            "The collection MetricDataQueries must have between 1 and {QUERIES} members."
        )));
    }
    let ascending = match input.text("ScanBy")?.as_deref() {
        None | Some("TimestampDescending") => false,
        Some("TimestampAscending") => true,
        Some(other) => return Err(invalid("ScanBy", other)),
    };
    let most = match input.integer("MaxDatapoints")? {
        None => POINTS,
        Some(most) => usize::try_from(most)
            .ok()
            .filter(|most| (1..=POINTS).contains(most))
            .ok_or_else(|| invalid("MaxDatapoints", most))?,
    };
    let place = match input.text("NextToken")? {
        None => 0,
        Some(text) => place_of(LIST, &text)
            .ok_or_else(|| error("InvalidNextToken", "The next token specified is invalid."))?,
    };
    let mut ids = HashSet::new();
    let mut found = Vec::new();
    for query in &queries {
        let id = query.required_text("Id", TEXT_CHARACTERS)?;
        let plain = id.starts_with(|first: char| first.is_ascii_lowercase())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !plain {
            return Err(wrong(format!(
                "The value {id} for parameter {} is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$.",
                query.name("Id")
            )));
        }
        if !ids.insert(id.clone()) {
            return Err(wrong(format!(
                "The values for parameter id in MetricDataQueries are not unique: {id}."
            )));
        }
        if query.has("Expression") {
            return Err(wrong(format!(
                "Lamplight computes no expressions: {} is not supported, MetricStat is.",
                query.name("Expression")
            )));
        }
        let series = one(state, context, input, query, id, ascending).await?;
        if query.boolean("ReturnData")?.unwrap_or(true) {
            found.push(series);
        }
    }
    Ok(page(found, place, most))
}

async fn one(
    state: &ApiState,
    context: &Context,
    input: &Input,
    query: &Input,
    id: String,
    ascending: bool,
) -> Result<Found, ApiError> {
    let stat = query.object("MetricStat")?.ok_or_else(|| missing(&query.name("MetricStat")))?;
    let metric = stat.object("Metric")?.ok_or_else(|| missing(&stat.name("Metric")))?;
    let metric = series::metric_name(&metric)?;
    let period = stat.integer("Period")?.ok_or_else(|| missing(&stat.name("Period")))?;
    let name = stat.text("Stat")?.ok_or_else(|| missing(&stat.name("Stat")))?;
    let statistic = series::statistic(&name, &stat.name("Stat"))?;
    let span = Span::new(input, period, &stat.name("Period"))?;
    let unit = series::unit(&stat)?;
    let label = match query.text("Label")? {
        Some(label) => label,
        None => metric.name.clone(),
    };
    let (data, whole) = series::read(state, context, &metric, &span, unit.as_deref()).await?;
    let points = span.gather(data, false).into_iter();
    let mut points: Vec<(i64, f64)> =
        points.filter_map(|((at, _), values)| Some((at, values.statistic(statistic)?))).collect();
    if !ascending {
        points.reverse();
    }
    Ok(Found { id, label, points, whole })
}

/// The points from `place` on, counted over all series, `most` at most.
fn page(found: Vec<Found>, place: usize, most: usize) -> Output {
    let (mut skip, mut room, mut left) = (place, most, 0);
    let mut results = Vec::new();
    for series in found {
        let from = skip.min(series.points.len());
        skip -= from;
        let until = series.points.len().min(from + room);
        room -= until - from;
        left += series.points.len() - until;
        let shown = &series.points[from..until];
        let status = if series.whole && until == series.points.len() { "Complete" } else { "PartialData" };
        results.push(Output::Structure(vec![
            ("Id", Output::Text(series.id)),
            ("Label", Output::Text(series.label)),
            ("Timestamps", Output::List(shown.iter().map(|(at, _)| Output::Time(*at)).collect())),
            ("Values", Output::List(shown.iter().map(|(_, value)| Output::Number(*value)).collect())),
            ("StatusCode", Output::Text(status.to_owned())),
        ]));
    }
    let mut answer = vec![("MetricDataResults", Output::List(results))];
    if left > 0 {
        answer.push(("NextToken", Output::Text(token(LIST, place + most))));
    }
    answer.push(("Messages", Output::List(Vec::new())));
    Output::Structure(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_on_over_series_and_lose_nothing() {
        let series = || {
            [("a", 3), ("b", 0), ("c", 4)].map(|(id, count)| Found {
                id: id.to_owned(),
                label: String::new(),
                points: (0..count).map(|at| (at, 0.5)).collect(),
                whole: true,
            })
        };
        let (mut place, mut counts) = (0, Vec::new());
        loop {
            let Output::Structure(answer) = page(series().into(), place, 2) else { panic!() };
            let Output::List(results) = &answer[0].1 else { panic!() };
            let count = |result: &Output| match result {
                Output::Structure(members) => match &members[3].1 {
                    Output::List(values) => values.len(),
                    _ => panic!(),
                },
                _ => panic!(),
            };
            counts.push(results.iter().map(count).collect::<Vec<_>>());
            match &answer[1] {
                ("NextToken", Output::Text(text)) => place = place_of(LIST, text).unwrap(),
                _ => break,
            }
        }
        assert_eq!(counts, [[2, 0, 0], [1, 0, 1], [0, 0, 2], [0, 0, 1]]);
        assert_eq!(place_of("other", &token(LIST, 3)), None);
    }
}
