//! PutMetricData.

use super::series::{NAME_CHARACTERS, dimensions, unit};
use super::wire::Input;
use super::{error, invalid, invalid_combination, invalid_value};
use crate::http::{ApiError, Context};
use crate::state::ApiState;
use lamplight_model::{Distribution, Timestamp};
use lamplight_services::metrics::{METRICS, MetricName, NewDatum};

/// Metrics of one request. Source: API reference, PutMetricData.
const DATA: usize = 1_000;
/// Different values of one metric in one request.
const VALUES: usize = 150;
/// Values lie between plus and minus this.
const GREATEST: f64 = 2.348_542_582_773_833_2e108; // 2 to the power of 360
const HOUR_MS: i64 = 3_600_000;
/// How far from now a value may be.
const AGE_MS: i64 = 14 * 24 * HOUR_MS;
const AHEAD_MS: i64 = 2 * HOUR_MS;

/// PutMetricData: durable when it answers.
pub(super) async fn put(state: &ApiState, context: &Context, input: &Input) -> Result<(), ApiError> {
    let namespace = input.required_text("Namespace", NAME_CHARACTERS)?;
    // AWS's own metrics are the platform's alone.
    if namespace.starts_with(':')
        || namespace.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("AWS/"))
    {
        return Err(invalid("Namespace", namespace));
    }
    let mut rows = input.objects("MetricData")?.unwrap_or_default();
    // Entities say what a metric belongs to; only the values are kept.
    for entity in input.objects("EntityMetricData")?.unwrap_or_default() {
        rows.extend(entity.objects("MetricData")?.unwrap_or_default());
    }
    if rows.is_empty() {
        return Err(super::missing("MetricData"));
    }
    if rows.len() > DATA {
        return Err(invalid_value(format!(
            "The collection MetricData must not have a size greater than {DATA}."
        )));
    }
    let now = state.now();
    let data = rows.iter().map(|row| datum(row, &namespace, now)).collect::<Result<Vec<_>, _>>()?;
    match state.metrics.put(&context.scope, data).await? {
        true => Ok(()),
        // CloudWatch knows no such bound.
        false => Err(error(
            "LimitExceededException",
            format!(
                "Lamplight keeps {METRICS} different metrics of an account and region; name fewer dimensions."
            ),
        )),
    }
}

fn datum(row: &Input, namespace: &str, now: Timestamp) -> Result<NewDatum, ApiError> {
    let name = row.required_text("MetricName", NAME_CHARACTERS)?;
    let at = row.time("Timestamp")?.unwrap_or(now);
    let age = now.0 - at.0;
    if age > AGE_MS || -age > AHEAD_MS {
        return Err(invalid_value(format!(
            "The parameter {} must specify a time no more than two weeks in the past and no more than two hours in the \
             future.",
            row.name("Timestamp")
        )));
    }
    let step = match row.integer("StorageResolution")? {
        None | Some(60) => 60,
        Some(1) => 1,
        Some(other) => return Err(invalid(&row.name("StorageResolution"), other)),
    };
    let metric = MetricName { namespace: namespace.to_owned(), name, dimensions: dimensions(row)? };
    let unit = unit(row)?.unwrap_or_else(|| "None".to_owned());
    Ok(NewDatum { metric, at: at.0.div_euclid(1_000 * step) * step, unit, values: values(row)? })
}

/// `Value`, `StatisticValues`, or `Values` with `Counts`: one of them.
fn values(row: &Input) -> Result<Distribution, ApiError> {
    let given: Vec<&str> =
        ["Value", "StatisticValues", "Values"].into_iter().filter(|member| row.has(member)).collect();
    match given.as_slice() {
        [] => {
            let message = format!(
                "At least one of the parameters {}, {} and {} must be specified.",
                row.name("Value"),
                row.name("StatisticValues"),
                row.name("Values")
            );
            Err(error("MissingRequiredParameterException", message))
        }
        ["Value"] => {
            let mut values = Distribution::empty();
            if let Some(value) = row.number("Value")? {
                values.add(in_range(row, "Value", value)?, 1.0);
            }
            Ok(values)
        }
        ["StatisticValues"] => totals(row),
        [_] => weighted(row),
        [first, second, ..] => Err(invalid_combination(format!(
            "The parameters {} and {} are mutually exclusive and you have specified both.",
            row.name(first),
            row.name(second)
        ))),
    }
}

fn totals(row: &Input) -> Result<Distribution, ApiError> {
    let Some(set) = row.object("StatisticValues")? else { return Ok(Distribution::empty()) };
    let number = |member: &str| {
        let value = set.number(member)?.ok_or_else(|| super::missing(&set.name(member)))?;
        in_range(&set, member, value)
    };
    let (count, sum) = (number("SampleCount")?, number("Sum")?);
    let (minimum, maximum) = (number("Minimum")?, number("Maximum")?);
    if minimum > maximum {
        return Err(invalid_value(format!(
            "The value {minimum} for parameter {} must not be greater than {maximum} for parameter {}.",
            set.name("Minimum"),
            set.name("Maximum")
        )));
    }
    if count <= 0.0 {
        return Err(invalid(&set.name("SampleCount"), count));
    }
    Ok(Distribution::of_totals(count, sum, minimum, maximum))
}

fn weighted(row: &Input) -> Result<Distribution, ApiError> {
    let list = row.numbers("Values")?.unwrap_or_default();
    if list.is_empty() || list.len() > VALUES {
        return Err(invalid_value(format!(
            "The collection {} must have between 1 and {VALUES} members.",
            row.name("Values")
        )));
    }
    let counts = row.numbers("Counts")?.unwrap_or_else(|| vec![1.0; list.len()]);
    if counts.len() != list.len() {
        return Err(invalid_value(format!(
            "The parameters {} and {} must be of the same size.",
            row.name("Values"),
            row.name("Counts")
        )));
    }
    let mut values = Distribution::empty();
    for (value, count) in list.into_iter().zip(counts) {
        if count <= 0.0 {
            return Err(invalid(&row.name("Counts"), count));
        }
        values.add(in_range(row, "Values", value)?, in_range(row, "Counts", count)?);
    }
    values.compact();
    Ok(values)
}

fn in_range(row: &Input, member: &str, value: f64) -> Result<f64, ApiError> {
    if value.abs() > GREATEST { Err(invalid(&row.name(member), value)) } else { Ok(value) }
}
