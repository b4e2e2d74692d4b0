//! GetMetricStatistics.

use super::series::{self, Span};
use super::wire::{Input, Output};
use super::{invalid, invalid_combination, missing};
use crate::http::{ApiError, Context};
use crate::state::ApiState;
use lamplight_model::Statistic;

/// Points of one answer. Source: API reference, GetMetricStatistics.
const POINTS: i64 = 1_440;
/// Plain statistics of one request.
const STATISTICS: usize = 5;
/// Percentiles of one request.
const EXTENDED: usize = 10;

/// GetMetricStatistics: points in order of time; AWS promises no order.
pub(super) async fn get(state: &ApiState, context: &Context, input: &Input) -> Result<Output, ApiError> {
    let metric = series::metric_name(input)?;
    let period = input.integer("Period")?.ok_or_else(|| missing("Period"))?;
    let span = Span::new(input, period, "Period")?;
    let plain = input.texts("Statistics")?.unwrap_or_default();
    let extended = input.texts("ExtendedStatistics")?.unwrap_or_default();
    if plain.is_empty() && extended.is_empty() {
        return Err(invalid_combination(
            "At least one of the parameters Statistics and ExtendedStatistics must be specified.",
        ));
    }
    for (name, list, most) in
        [("Statistics", &plain, STATISTICS), ("ExtendedStatistics", &extended, EXTENDED)]
    {
        if list.len() > most {
            return Err(super::invalid_value(format!(
                "The collection {name} must not have a size greater than {most}."
            )));
        }
    }
    let plain: Vec<(&'static str, Statistic)> =
        plain.iter().map(|name| plain_statistic(name)).collect::<Result<_, _>>()?;
    let percentile = |name: String| match Statistic::percentile(&name) {
        Some(statistic) => Ok((name, statistic)),
        None => Err(invalid("ExtendedStatistics.member.1", name)),
    };
    let extended: Vec<(String, Statistic)> =
        extended.into_iter().map(percentile).collect::<Result<_, _>>()?;
    if span.points() > POINTS {
        return Err(invalid_combination(format!(
            "You have requested up to {} datapoints, which exceeds the limit of {}. You may reduce the datapoints requested \
             by increasing Period, or decreasing the time range.",
            with_commas(span.points()),
            with_commas(POINTS)
        )));
    }
    let unit = series::unit(input)?;
    let (data, _) = series::read(state, context, &metric, &span, unit.as_deref()).await?;
    let mut points = Vec::new();
    for ((at, unit), values) in span.gather(data, true) {
        let mut point = vec![("Timestamp", Output::Time(at))];
        for (name, statistic) in &plain {
            if let Some(value) = values.statistic(*statistic) {
                point.push((*name, Output::Number(value)));
            }
        }
        point.push(("Unit", Output::Text(unit)));
        let known: Vec<(String, Output)> = extended
            .iter()
            .filter_map(|(name, statistic)| {
                Some((name.clone(), Output::Number(values.statistic(*statistic)?)))
            })
            .collect();
        if !known.is_empty() {
            point.push(("ExtendedStatistics", Output::Dictionary(known)));
        }
        points.push(Output::Structure(point));
    }
    Ok(Output::Structure(vec![("Label", Output::Text(metric.name)), ("Datapoints", Output::List(points))]))
}

/// `4,320`.
fn with_commas(number: i64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

fn plain_statistic(name: &str) -> Result<(&'static str, Statistic), ApiError> {
    const NAMES: [&str; 5] = ["SampleCount", "Average", "Sum", "Minimum", "Maximum"];
    NAMES
        .into_iter()
        .find(|known| *known == name)
        .and_then(|known| Some((known, Statistic::plain(known)?)))
        .ok_or_else(|| invalid("Statistics.member.1", name))
}
