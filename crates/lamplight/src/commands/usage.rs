//! `usage`: requests, GB-seconds and price by function and version.

use crate::cli::{self, Global};
use crate::client::Client;
use crate::failure::Failure;
use crate::output;
use http::Method;
use lamplight_model::Timestamp;
use serde_json::Value;
use std::time::SystemTime;

/// Prints the totals.
pub async fn run(global: &Global, client: &Client, flags: &cli::Usage) -> Result<u8, Failure> {
    let mut query = Vec::new();
    if let Some(name) = &flags.name {
        query.push(format!("Function={}", crate::client::segment(name)));
    }
    if let Some(since) = &flags.since {
        query.push(format!("From={}", moment_ms("--since", since)?));
    }
    if flags.by_day {
        query.push("ByDay=true".to_owned());
    }
    let totals = client.json(Method::GET, &format!("/lamplight/v1/usage?{}", query.join("&")), None).await?;
    if global.json {
        output::json(&totals);
        return Ok(0);
    }
    let rows = totals.get("Rows").and_then(Value::as_array).cloned().unwrap_or_default();
    if rows.is_empty() {
        output::remark("nothing was used in that time");
        return Ok(0);
    }
    let currency = totals.get("Currency").and_then(Value::as_str).unwrap_or_default();
    let mut header = vec!["function", "version", "requests", "errors", "billed", "gb-seconds", currency];
    if flags.by_day {
        header.insert(2, "day");
    }
    let mut table = output::table(&header);
    let mut sum = 0.0;
    for row in &rows {
        let whole = |key: &str| row.get(key).and_then(Value::as_u64).unwrap_or_default();
        let real = |key: &str| row.get(key).and_then(Value::as_f64).unwrap_or_default();
        let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        sum += real("Price");
        let mut cells = vec![
            text("Function"),
            text("Version"),
            whole("Requests").to_string(),
            whole("Errors").to_string(),
            format!("{:.3} s", whole("BilledMs") as f64 / 1_000.0),
            format!("{:.4}", real("GbSeconds")),
            format!("{:.9}", real("Price")),
        ];
        if flags.by_day {
            cells.insert(2, text("Day"));
        }
        table.add_row(cells);
    }
    output::print_table(&table);
    output::line(format!("total {sum:.9} {currency}"));
    Ok(0)
}

/// `7d` counted back from now, or midnight UTC of a date, in milliseconds since the epoch. `flag` is named when it is neither.
pub fn moment_ms(flag: &str, text: &str) -> Result<i64, Failure> {
    if let Some(age) = output::parse_age(text) {
        let now = Timestamp::from_system(SystemTime::now()).as_millis();
        return Ok(now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)).max(0));
    }
    let date = time::Date::parse(text, time::macros::format_description!("[year]-[month]-[day]"));
    date.map(|date| date.midnight().assume_utc().unix_timestamp() * 1_000).map_err(|_| {
        Failure::usage(format!("{flag} {text} is neither an age nor a date"))
            .then(format!("{flag} 7d or {flag} 2026-01-31"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_ages_are_moments() {
        assert_eq!(moment_ms("--since", "2026-01-31").ok(), Some(1_769_817_600_000));
        assert!(moment_ms("--since", "1h").is_ok());
        let what = moment_ms("--until", "2026-13-01").unwrap_err().what;
        assert_eq!(what, "--until 2026-13-01 is neither an age nor a date");
    }
}
