//! `logs`: what a function wrote, once or as it comes.

use super::functions::text;
use crate::cli::{self, Global};
use crate::client::{Client, LogLine};
use crate::failure::Failure;
use crate::output;
use lamplight_model::Timestamp;
use serde_json::json;
use std::collections::HashSet;
use std::time::{Duration, SystemTime};

/// Time between two looks for new lines.
const FOLLOW_POLL: Duration = Duration::from_millis(300);
/// Lines may be stored a little later than their own time says; so far back is looked again.
const LATE_MS: i64 = 5_000;

/// Prints the log, and with `--follow` goes on until Ctrl-C.
pub async fn run(global: &Global, client: &Client, flags: &cli::Logs) -> Result<u8, Failure> {
    let age = output::parse_age(&flags.since).ok_or_else(|| {
        Failure::usage(format!("--since {} is no age", flags.since))
            .then("--since 10m   (units: ms, s, m, h, d)")
    })?;
    let now = Timestamp::from_system(SystemTime::now()).as_millis();
    let mut from = now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)).max(0);
    let group = match client.find_configuration(&flags.name).await? {
        Some(configuration) => configuration
            .pointer("/LoggingConfig/LogGroup")
            .and_then(serde_json::Value::as_str)
            .map_or_else(|| format!("/aws/lambda/{}", text(&configuration, "FunctionName")), str::to_owned),
        // A deleted function's log is still there.
        None => {
            let group = format!("/aws/lambda/{}", flags.name);
            if client.filter_log_events(&group, 0, None, None).await?.lines.is_empty() {
                return Err(client.no_such_function(&flags.name).await);
            }
            group
        }
    };
    let mut shown: HashSet<String> = HashSet::new();
    let mut any = false;
    loop {
        let mut token = None;
        let mut recent = HashSet::new();
        loop {
            let page =
                client.filter_log_events(&group, from, flags.filter.as_deref(), token.as_deref()).await?;
            for line in &page.lines {
                if !shown.contains(&line.event_id) {
                    print(global, line);
                    any = true;
                }
                recent.insert(line.event_id.clone());
                if flags.follow {
                    from = from.max(line.timestamp - LATE_MS);
                }
            }
            token = page.next_token;
            if token.is_none() {
                break;
            }
        }
        if !flags.follow {
            break;
        }
        shown = recent;
        tokio::time::sleep(FOLLOW_POLL).await;
    }
    if !any {
        output::remark(format!("nothing in the last {}; look further back with --since 7d", flags.since));
    }
    Ok(0)
}

fn print(global: &Global, line: &LogLine) {
    if global.json {
        let document = json!({
            "timestamp": line.timestamp, "logStreamName": line.stream, "message": line.message, "eventId": line.event_id
        });
        output::line(document.to_string());
    } else {
        output::line(format!("{}  {}", Timestamp(line.timestamp).iso_format(), line.message.trim_end()));
    }
}
