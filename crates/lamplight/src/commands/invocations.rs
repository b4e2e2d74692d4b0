//! `invocations`: the last calls of a function, how each found its instance, and where the time of cold starts went.

use crate::cli::{self, Global};
use crate::client::Client;
use crate::commands::functions::{number, text};
use crate::failure::Failure;
use crate::output;
use http::Method;
use lamplight_model::Timestamp;
use serde_json::{Value, json};

/// Parts of a cold start: heading and member of the record.
const PHASES: [(&str, &str); 4] =
    [("sandbox", "sandbox_us"), ("code", "code_us"), ("interpreter", "interpreter_us"), ("init", "init_us")];

/// Prints the newest first.
pub async fn run(global: &Global, client: &Client, flags: &cli::Invocations) -> Result<u8, Failure> {
    let name = crate::client::segment(&flags.name);
    let path = format!("/lamplight/v1/functions/{name}/invocations?Limit={}", flags.limit);
    let answer = client.json(Method::GET, &path, None).await?;
    let mut rows = answer.get("Invocations").and_then(Value::as_array).cloned().unwrap_or_default();
    if flags.cold {
        rows.retain(|row| row.get("cold_start").is_some_and(|cold| !cold.is_null()));
    }
    if global.json {
        output::json(&json!({ "Invocations": rows }));
        return Ok(0);
    }
    if rows.is_empty() {
        let which = if flags.cold { " that waited for a start" } else { "" };
        output::remark(format!("no calls of {}{which} are on record", flags.name));
        return Ok(0);
    }
    let mut header =
        vec!["arrived", "request", "version", "result", "duration", "billed", "memory", "start", "queue"];
    header.extend(PHASES.map(|(heading, _)| heading));
    let mut table = output::table(&header);
    for row in &rows {
        table.add_row(cells(row));
    }
    output::print_table(&table);
    Ok(0)
}

fn cells(row: &Value) -> Vec<String> {
    let arrived = Timestamp(row.get("arrived_at").and_then(Value::as_i64).unwrap_or_default());
    let outcome = row.get("outcome").unwrap_or(&Value::Null);
    let mut result = text(outcome, "status");
    let error_type = text(outcome, "error_type");
    if !error_type.is_empty() {
        result.push_str(&format!(" ({error_type})"));
    }
    let mut cells = vec![
        arrived.iso_format(),
        text(row, "request_id"),
        text(row, "version"),
        result,
        milliseconds(number(row, "duration_us")),
        format!("{} ms", number(row, "billed_ms")),
        format!("{} MB", number(row, "max_memory_used_mib")),
        text(row, "start"),
        milliseconds(number(row, "queue_us")),
    ];
    let cold = row.get("cold_start").filter(|cold| !cold.is_null());
    cells.extend(
        PHASES.map(|(_, member)| cold.map_or_else(String::new, |cold| milliseconds(number(cold, member)))),
    );
    cells
}

fn milliseconds(microseconds: u64) -> String {
    format!("{:.2} ms", microseconds as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cold_call_shows_its_phases_and_a_warm_one_none() {
        let cold = json!({
            "arrived_at": 1_769_860_800_123_i64, "request_id": "r", "version": "7", "duration_us": 1_500, "billed_ms": 12,
            "max_memory_used_mib": 20, "start": "blank", "queue_us": 10, "outcome": {"status": "error", "error_type": "ValueError"},
            "cold_start": {"sandbox_us": 300, "code_us": 20, "interpreter_us": 40, "init_us": 10_000},
        });
        assert_eq!(
            cells(&cold).join(" | "),
            "2026-01-31T12:00:00.123Z | r | 7 | error (ValueError) | 1.50 ms | 12 ms | 20 MB | blank | 0.01 ms | \
             0.30 ms | 0.02 ms | 0.04 ms | 10.00 ms"
        );
        let warm = json!({"start": "warm", "outcome": {"status": "success", "error_type": null}, "cold_start": null});
        assert_eq!(cells(&warm)[9..], ["", "", "", ""]);
    }
}
