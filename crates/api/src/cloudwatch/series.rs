//! Series of values: the platform's own from the ledger, all others from the store of metrics; and their statistics by period.

use super::platform;
use super::wire::Input;
use super::{invalid, invalid_combination, invalid_value, missing};
use crate::http::{ApiError, Context};
use crate::state::ApiState;
use lamplight_model::{Distribution, Statistic, Timestamp};
use lamplight_services::metrics::{Datum, MetricName};
use std::collections::BTreeMap;

/// Longest namespace and names, characters.
pub(super) const NAME_CHARACTERS: usize = 255;
/// Longest value of a dimension, characters.
const VALUE_CHARACTERS: usize = 1_024;
/// Dimensions of one metric.
const DIMENSIONS: usize = 30;
/// Periods shorter than a minute.
const SHORT_PERIODS: [i64; 5] = [1, 5, 10, 20, 30];

/// What a series is asked for.
#[derive(Debug, Clone)]
pub(super) struct Span {
    /// Seconds since the epoch; a period begins here.
    pub(super) from: i64,
    /// Seconds, exclusive.
    pub(super) until: i64,
    /// Seconds.
    pub(super) period: i64,
}

impl Span {
    /// `StartTime`, `EndTime` of a request and a period. The start is rounded down as AWS does for the last fifteen days.
    /// Source: API reference, GetMetricStatistics, "StartTime".
    pub(super) fn new(input: &Input, period: i64, period_name: &str) -> Result<Self, ApiError> {
        let time = |member: &str| input.time(member)?.ok_or_else(|| missing(&input.name(member)));
        let (start, end) = (time("StartTime")?, time("EndTime")?);
        if start >= end {
            return Err(invalid_combination(
                "The parameter StartTime must be less than the parameter EndTime.",
            ));
        }
        if !SHORT_PERIODS.contains(&period) && (period < 60 || period % 60 != 0) {
            return Err(invalid_value(format!(
                "The parameter {period_name} must be 1, 5, 10, 20, 30 or a multiple of 60."
            )));
        }
        let step = period.min(60);
        let seconds = |moment: Timestamp| moment.0.div_euclid(1_000);
        Ok(Self { from: seconds(start).div_euclid(step) * step, until: seconds(end), period })
    }

    pub(super) fn points(&self) -> i64 {
        self.until.saturating_sub(self.from).saturating_add(self.period - 1) / self.period
    }

    /// Values by the beginning of their period and, when `by_unit`, their unit.
    pub(super) fn gather(&self, data: Vec<Datum>, by_unit: bool) -> BTreeMap<(i64, String), Distribution> {
        let mut found: BTreeMap<(i64, String), Distribution> = BTreeMap::new();
        for datum in data.into_iter().filter(|datum| (self.from..self.until).contains(&datum.at)) {
            let at = self.from + (datum.at - self.from).div_euclid(self.period) * self.period;
            let unit = if by_unit { datum.unit } else { String::new() };
            found.entry((at, unit)).or_insert_with(Distribution::empty).merge(&datum.values);
        }
        found
    }
}

/// Values of a series within a span, of one unit if that is asked for; and whether that is all.
pub(super) async fn read(
    state: &ApiState,
    context: &Context,
    metric: &MetricName,
    span: &Span,
    unit: Option<&str>,
) -> Result<(Vec<Datum>, bool), ApiError> {
    let (mut data, whole) = match platform::read(state, context, metric, span).await? {
        Some(found) => found,
        None => {
            platform::settle(state).await;
            state.metrics.read(&context.scope, metric, span.from, span.until).await?
        }
    };
    data.retain(|datum| unit.is_none_or(|unit| datum.unit == unit));
    Ok((data, whole))
}

/// `Namespace`, `MetricName` and `Dimensions` of a structure.
pub(super) fn metric_name(input: &Input) -> Result<MetricName, ApiError> {
    let namespace = input.required_text("Namespace", NAME_CHARACTERS)?;
    let name = input.required_text("MetricName", NAME_CHARACTERS)?;
    Ok(MetricName { namespace, name, dimensions: dimensions(input)? })
}

/// `Dimensions` of a structure, ordered by name.
pub(super) fn dimensions(input: &Input) -> Result<Vec<(String, String)>, ApiError> {
    let rows = input.objects("Dimensions")?.unwrap_or_default();
    if rows.len() > DIMENSIONS {
        return Err(invalid_value(format!(
            "The collection {} must not have a size greater than {DIMENSIONS}.",
            input.name("Dimensions")
        )));
    }
    let mut found = Vec::new();
    for row in &rows {
        let name = row.required_text("Name", NAME_CHARACTERS)?;
        let value = row.required_text("Value", VALUE_CHARACTERS)?;
        if name.starts_with(':') {
            return Err(invalid(&row.name("Name"), name));
        }
        found.push((name, value));
    }
    found.sort();
    Ok(found)
}

/// `Unit` of a structure.
pub(super) fn unit(input: &Input) -> Result<Option<String>, ApiError> {
    const UNITS: [&str; 27] = [
        "Seconds",
        "Microseconds",
        "Milliseconds",
        "Bytes",
        "Kilobytes",
        "Megabytes",
        "Gigabytes",
        "Terabytes",
        "Bits",
        "Kilobits",
        "Megabits",
        "Gigabits",
        "Terabits",
        "Percent",
        "Count",
        "Bytes/Second",
        "Kilobytes/Second",
        "Megabytes/Second",
        "Gigabytes/Second",
        "Terabytes/Second",
        "Bits/Second",
        "Kilobits/Second",
        "Megabits/Second",
        "Gigabits/Second",
        "Terabits/Second",
        "Count/Second",
        "None",
    ];
    match input.text("Unit")? {
        Some(unit) if !UNITS.contains(&unit.as_str()) => Err(invalid(&input.name("Unit"), unit)),
        unit => Ok(unit),
    }
}

/// A statistic by its name, plain or percentile.
pub(super) fn statistic(name: &str, parameter: &str) -> Result<Statistic, ApiError> {
    Statistic::plain(name).or_else(|| Statistic::percentile(name)).ok_or_else(|| invalid(parameter, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_the_periods_of_the_span() {
        let span = Span { from: 600, until: 1_300, period: 300 };
        assert_eq!(span.points(), 3);
        let datum = |at, unit: &str| {
            let mut values = Distribution::empty();
            values.add(1.0, 1.0);
            Datum { at, unit: unit.to_owned(), values }
        };
        let data = vec![
            datum(599, "Count"),
            datum(600, "Count"),
            datum(899, "None"),
            datum(900, "Count"),
            datum(1_300, "Count"),
        ];
        let counts = |by_unit| {
            let found = span.gather(data.clone(), by_unit);
            found.into_iter().map(|((at, unit), values)| (at, unit, values.count)).collect::<Vec<_>>()
        };
        assert_eq!(counts(false), [(600, String::new(), 2.0), (900, String::new(), 1.0)]);
        assert_eq!(counts(true).len(), 3);
    }
}
