//! `events`: where asynchronous events are, what happened to each, and sending those again that were given up.

use crate::cli::{self, Global};
use crate::client::{Client, segment};
use crate::commands::functions::{number, text};
use crate::commands::usage::moment_ms;
use crate::failure::{Failure, Status};
use crate::output;
use http::Method;
use lamplight_model::Timestamp;
use serde_json::{Map, Value, json};

const EVENTS: &str = "/lamplight/v1/events";
/// Characters of a payload shown to people.
const PAYLOAD_CHARACTERS: usize = 2_000;
/// Characters of an error shown in a table.
const ERROR_WIDTH: usize = 60;

/// Does what was asked.
pub async fn run(global: &Global, client: &Client, command: &cli::Events) -> Result<u8, Failure> {
    match command {
        cli::Events::List(flags) => list(global, client, flags).await,
        cli::Events::Show { request_id } => show(global, client, request_id).await,
        cli::Events::Running { name, limit } => running(global, client, name.as_deref(), *limit).await,
        cli::Events::Counts { name } => counts(global, client, name.as_deref()).await,
        cli::Events::Redrive(flags) => redrive(global, client, flags).await,
    }
}

async fn list(global: &Global, client: &Client, flags: &cli::EventList) -> Result<u8, Failure> {
    let mut query = vec![format!("Limit={}", flags.limit)];
    let mut add = |name: &str, value: Option<String>| {
        query.extend(value.map(|value| format!("{name}={}", segment(&value))));
    };
    add("Function", flags.name.clone());
    add("State", flags.state.clone());
    add("Condition", flags.condition.clone());
    let (since, until) = period(flags.since.as_deref(), flags.until.as_deref())?;
    add("From", since.map(|at| at.to_string()));
    add("Until", until.map(|at| at.to_string()));
    let answer = client.json(Method::GET, &format!("{EVENTS}?{}", query.join("&")), None).await?;
    if global.json {
        output::json(&answer);
        return Ok(0);
    }
    let rows = array(&answer, "Events");
    if rows.is_empty() {
        must_exist(client, flags.name.as_deref()).await?;
        let fitting = if query.len() > 1 { "no event that fits" } else { "no event" };
        output::remark(format!(
            "{fitting} waits, runs or was given up; those that are done: lamplight invocations NAME"
        ));
        return Ok(0);
    }
    let mut table = output::table(&["accepted", "request", "function", "state", "attempts", "why"]);
    for row in rows {
        table.add_row([
            time(row, "AcceptedAt"),
            text(row, "RequestId"),
            target(row),
            text(row, "State"),
            number(row, "Attempts").to_string(),
            why(row),
        ]);
    }
    output::print_table(&table);
    if answer.get("NextMarker").is_some() {
        output::remark("there are more; --limit, --state, --since and --until choose");
    }
    Ok(0)
}

async fn show(global: &Global, client: &Client, request_id: &str) -> Result<u8, Failure> {
    let event = client.json(Method::GET, &format!("{EVENTS}/{}", segment(request_id)), None).await;
    let event = event.map_err(|failure| match failure.status {
        Status::Usage => {
            failure.then("lamplight events list   (the ids of what waits, runs or was given up)")
        }
        _ => failure,
    })?;
    if global.json {
        output::json(&event);
        return Ok(0);
    }
    let mut state = text(&event, "State");
    let why = why(&event);
    if !why.is_empty() {
        state.push_str(&format!(": {why}"));
    }
    let rows = [
        ("request", text(&event, "RequestId")),
        ("function", target(&event)),
        ("tenant", text(&event, "TenantId")),
        ("type", text(&event, "Type")),
        ("accepted", time(&event, "AcceptedAt")),
        ("state", state),
        ("version", text(&event, "Version")),
        ("instance", text(&event, "Instance")),
        ("log stream", text(&event, "LogStream")),
        ("payload", shown(&text(&event, "Payload"))),
        ("payload (base64)", shown(&text(&event, "PayloadBase64"))),
    ];
    for (key, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        output::line(format!("{key:<10} {value}"));
    }
    for told in array(&event, "Told") {
        output::line(format!("{:<10} {}", "told", told_text(told)));
    }
    let mut story: Vec<(u64, [String; 3])> = array(&event, "Steps").iter().map(step).collect();
    // A run that failed is a step already.
    story.extend(
        array(&event, "Runs")
            .iter()
            .filter(|run| succeeded(run) || array(&event, "Steps").is_empty())
            .map(ran),
    );
    story.sort_by_key(|(at, _)| *at);
    if story.is_empty() {
        return Ok(0);
    }
    output::line("");
    let mut table = output::table(&["at", "what", "how"]);
    for (_, cells) in story {
        table.add_row(cells);
    }
    output::print_table(&table);
    Ok(0)
}

fn succeeded(run: &Value) -> bool {
    run.pointer("/outcome/status").and_then(Value::as_str) == Some("success")
}

fn step(step: &Value) -> (u64, [String; 3]) {
    let mut what = text(step, "What");
    if let Some(times) = step.get("Times").and_then(Value::as_u64) {
        what.push_str(&format!(", {times} times"));
    }
    let mut how = vec![text(step, "Condition"), error_text(&text(step, "Error"))];
    how.extend(array(step, "Told").iter().map(told_text));
    how.retain(|part| !part.is_empty());
    (number(step, "At"), [time(step, "At"), what, how.join("; ")])
}

fn ran(run: &Value) -> (u64, [String; 3]) {
    let ended = number(run, "arrived_at") + (number(run, "queue_us") + number(run, "duration_us")) / 1_000;
    let status = run.pointer("/outcome/status").and_then(Value::as_str).unwrap_or_default();
    let at = Timestamp(i64::try_from(ended).unwrap_or_default()).iso_format();
    let milliseconds = number(run, "duration_us") as f64 / 1_000.0;
    let how = format!(
        "version {}, {milliseconds:.2} ms, instance {}",
        text(run, "version"),
        text(run, "instance_id")
    );
    (ended, [at, status.to_owned(), how])
}

fn told_text(told: &Value) -> String {
    let role = if text(told, "Role") == "DeadLetterQueue" { "dead letter queue" } else { "destination" };
    let arn = text(told, "Arn");
    match told.get("Failure").and_then(Value::as_str) {
        None => format!("{role} {arn} has it"),
        Some(why) => format!("{role} {arn} was not told: {why}"),
    }
}

async fn running(global: &Global, client: &Client, name: Option<&str>, limit: u16) -> Result<u8, Failure> {
    let of = name.map_or_else(String::new, |name| format!("&Function={}", segment(name)));
    let answer = client.json(Method::GET, &format!("/lamplight/v1/running?Limit={limit}{of}"), None).await?;
    if global.json {
        output::json(&answer);
        return Ok(0);
    }
    let rows = array(&answer, "Running");
    if rows.is_empty() {
        output::remark("nothing runs");
        return Ok(0);
    }
    let mut table = output::table(&["since", "request", "function", "version", "type", "where"]);
    for row in rows {
        table.add_row([
            time(row, "Since"),
            text(row, "RequestId"),
            text(row, "Function"),
            text(row, "Version"),
            text(row, "Type"),
            whereabouts(row).join(", "),
        ]);
    }
    output::print_table(&table);
    let count = number(&answer, "Count");
    if count > rows.len() as u64 {
        output::remark(format!("{count} run in all; --limit shows more"));
    }
    Ok(0)
}

async fn counts(global: &Global, client: &Client, name: Option<&str>) -> Result<u8, Failure> {
    let query = name.map_or_else(String::new, |name| format!("?Function={}", segment(name)));
    let answer = client.json(Method::GET, &format!("{EVENTS}/counts{query}"), None).await?;
    if global.json {
        output::json(&answer);
        return Ok(0);
    }
    let mut table = output::table(&["function", "accepted", "done", "dead-lettered", "pending"]);
    let cells = |name: &str, row: &Value| {
        let mut cells = vec![name.to_owned()];
        cells.extend(["Accepted", "Done", "DeadLettered", "Pending"].map(|key| number(row, key).to_string()));
        cells
    };
    let rows = array(&answer, "Functions");
    if rows.is_empty() {
        must_exist(client, name).await?;
    }
    for row in rows {
        table.add_row(cells(&text(row, "Function"), row));
    }
    match (name, rows.len()) {
        (Some(name), 0) => {
            output::remark(format!("no event of {name} was accepted yet"));
            return Ok(0);
        }
        (_, 1) => {}
        _ => {
            table.add_row(cells("all", &answer));
        }
    }
    output::print_table(&table);
    Ok(0)
}

/// Where nothing was found of a function: fails when there is none of this name.
async fn must_exist(client: &Client, name: Option<&str>) -> Result<(), Failure> {
    match name {
        Some(name) if client.find_configuration(name).await?.is_none() => {
            Err(client.no_such_function(name).await)
        }
        _ => Ok(()),
    }
}

async fn redrive(global: &Global, client: &Client, flags: &cli::Redrive) -> Result<u8, Failure> {
    if flags.request_ids.is_empty() && flags.function.is_none() && flags.queue.is_none() {
        return Err(Failure::usage("it is not said which events to send again")
            .then("lamplight events redrive REQUEST_ID")
            .then("lamplight events redrive --function NAME --dry-run")
            .then("lamplight events redrive --queue NAME --dry-run")
            .then("lamplight events list --state dead-lettered   (what was given up)"));
    }
    let mut request = Map::new();
    let mut add =
        |name: &str, value: Option<Value>| request.extend(value.map(|value| (name.to_owned(), value)));
    add("RequestIds", (!flags.request_ids.is_empty()).then(|| flags.request_ids.clone().into()));
    add("Function", flags.function.clone().map(Value::from));
    add("Queue", flags.queue.clone().map(Value::from));
    add("Condition", flags.condition.clone().map(Value::from));
    let (since, until) = period(flags.since.as_deref(), flags.until.as_deref())?;
    add("From", since.map(Value::from));
    add("Until", until.map(Value::from));
    add("DryRun", Some(flags.dry_run.into()));
    let (mut redriven, mut refused): (Vec<Value>, Vec<Value>) = Default::default();
    loop {
        let body = Value::from(request.clone());
        let answer = client.json(Method::POST, &format!("{EVENTS}/redrive"), Some(&body)).await;
        let answer = answer.map_err(|failure| match redriven.len() {
            0 => failure,
            // They are durable, whatever has become of the rest.
            sent if flags.dry_run => failure.then(format!("{sent} could have been sent until then")),
            sent => failure.then(format!("{sent} were sent until then; the same command sends the others")),
        })?;
        let sent = array(&answer, "Redriven");
        redriven.extend_from_slice(sent);
        for row in array(&answer, "Refused") {
            // What stays in a queue is found again by the next round.
            if !refused.contains(row) {
                refused.push(row.clone());
            }
        }
        if let Some(next) = answer.get("NextMarker") {
            request.insert("Marker".to_owned(), next.clone());
        } else if answer.get("More") != Some(&true.into()) || sent.is_empty() || flags.dry_run {
            // Of a queue: what stays in it would come again and again.
            break;
        }
    }
    if global.json {
        output::json(&json!({"Redriven": redriven, "Refused": refused, "DryRun": flags.dry_run}));
        return Ok(u8::from(!refused.is_empty()));
    }
    for row in &redriven {
        let what = if flags.dry_run { "would be sent to" } else { "sent to" };
        output::line(format!("{} {what} {}", text(row, "RequestId"), text(row, "Function")));
    }
    for row in &refused {
        let id = match (text(row, "RequestId"), text(row, "MessageId")) {
            (id, message) if id.is_empty() => format!("message {message}"),
            (id, _) => id,
        };
        output::remark(format!("{id} stays: {}", shown(&text(row, "Why"))));
    }
    if redriven.is_empty() && refused.is_empty() {
        must_exist(client, flags.function.as_deref()).await?;
        output::remark("there is nothing to send again");
    }
    Ok(u8::from(!refused.is_empty()))
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn time(row: &Value, key: &str) -> String {
    row.get(key).and_then(Value::as_i64).map_or_else(String::new, |at| Timestamp(at).iso_format())
}

/// Ages or dates as epoch milliseconds, the earlier one first.
fn period(since: Option<&str>, until: Option<&str>) -> Result<(Option<i64>, Option<i64>), Failure> {
    let moment = |flag, text: Option<&str>| text.map(|text| moment_ms(flag, text)).transpose();
    let (from, to) = (moment("--since", since)?, moment("--until", until)?);
    match (from, to) {
        (Some(from), Some(to)) if from >= to => {
            Err(Failure::usage("--since is not before --until: nothing can be between them")
                .then("--since 2d --until 1d: what was accepted the day before yesterday"))
        }
        both => Ok(both),
    }
}

/// The beginning of a text, harmless for a terminal: whoever sent the event wrote it.
fn shown(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars().take(PAYLOAD_CHARACTERS) {
        // Overrides of the direction of writing would show something else than there is.
        if character.is_control() && character != '\n'
            || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    let count = text.chars().count();
    if count > PAYLOAD_CHARACTERS {
        shown
            .push_str(&format!("… (the first {PAYLOAD_CHARACTERS} of {count} characters; --json shows all)"));
    }
    shown
}

/// `import` or `import:live`.
fn target(row: &Value) -> String {
    match row.get("Qualifier").and_then(Value::as_str) {
        Some(qualifier) => format!("{}:{qualifier}", text(row, "Function")),
        None => text(row, "Function"),
    }
}

/// Why an event is where it is, on one line.
fn why(row: &Value) -> String {
    let error = error_text(&text(row, "Error"));
    let parts = match text(row, "State").as_str() {
        "waiting" => vec![text(row, "Reason"), format!("until {}", time(row, "WaitsUntil")), error],
        "running" => whereabouts(row),
        "dead-lettered" => vec![text(row, "Condition"), time(row, "DeadAt"), error],
        _ => vec![time(row, "DoneAt")],
    };
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// Where an event is that is being worked on, and since when; of one that nobody has any more, until when it was somebody's.
fn whereabouts(row: &Value) -> Vec<String> {
    let since = |key: &str| Some(time(row, key)).filter(|at| !at.is_empty()).map(|at| format!("since {at}"));
    let node = Some(text(row, "Node")).filter(|node| !node.is_empty()).map(|node| format!("on node {node}"));
    let instance = format!("instance {}", text(row, "Instance"));
    let claimed_until = || format!("claimed until {}", time(row, "LeaseUntil"));
    let stage = match text(row, "Stage").as_str() {
        "queued" => vec!["waits for an instance".to_owned()],
        "starting" => vec![format!("{instance} starts")],
        "running" => vec![instance],
        "claimed" => vec!["about to run".to_owned()],
        "settling" => vec!["has run, its end is being written down".to_owned()],
        "elsewhere" => vec!["another process has it".to_owned(), claimed_until()],
        "abandoned" => vec![format!("{}: nobody has it now, it is run again", claimed_until())],
        _ => Vec::new(),
    };
    let since = since("StageSince").or_else(|| since("Since"));
    node.into_iter().chain(stage).chain(since).collect()
}

/// `ValueError: no`, of an error document; its beginning of anything else.
fn error_text(document: &str) -> String {
    let parsed: Value = serde_json::from_str(document).unwrap_or_default();
    let (kind, message) = (text(&parsed, "errorType"), text(&parsed, "errorMessage"));
    let whole = match (kind.is_empty(), message.is_empty()) {
        (true, true) if document == "{}" => String::new(),
        (true, true) => document.to_owned(),
        (false, true) => kind,
        (true, false) => message,
        (false, false) => format!("{kind}: {message}"),
    };
    let line = whole.lines().next().unwrap_or_default();
    let mut begin: String = line.chars().take(ERROR_WIDTH).collect();
    if begin.len() < line.len() {
        begin.push('…');
    }
    shown(&begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_one_line() {
        let error = r#"{"errorType":"ValueError","errorMessage":"no\nsecond line"}"#;
        for (row, expected) in [
            (
                json!({"State": "waiting", "Reason": "new", "WaitsUntil": 0}),
                "new, until 1970-01-01T00:00:00.000Z",
            ),
            (
                json!({"State": "waiting", "Reason": "retry after an error", "WaitsUntil": 60_000, "Error": error}),
                "retry after an error, until 1970-01-01T00:01:00.000Z, ValueError: no",
            ),
            (
                json!({"State": "running", "Node": "local", "Since": 1}),
                "on node local, since 1970-01-01T00:00:00.001Z",
            ),
            (
                json!({"State": "running", "Node": "local", "Since": 1, "Stage": "starting", "Instance": "i", "StageSince": 2}),
                "on node local, instance i starts, since 1970-01-01T00:00:00.002Z",
            ),
            (
                json!({"State": "running", "Node": "b", "Since": 1, "Stage": "abandoned", "LeaseUntil": 3}),
                "on node b, claimed until 1970-01-01T00:00:00.003Z: nobody has it now, it is run again, since 1970-01-01T00:00:00.001Z",
            ),
            (
                json!({"State": "dead-lettered", "Condition": "EventAgeExceeded", "DeadAt": 0, "Error": "{}"}),
                "EventAgeExceeded, 1970-01-01T00:00:00.000Z",
            ),
            (json!({"State": "done"}), ""),
        ] {
            assert_eq!(why(&row), expected);
        }
        assert_eq!(error_text(&"x".repeat(100)), format!("{}…", "x".repeat(ERROR_WIDTH)));
        assert_eq!(error_text("\u{1b}]0;title\u{7}"), "\\u{1b}]0;title\\u{7}");
    }

    #[test]
    fn a_payload_is_shown_as_far_as_a_terminal_takes_it() {
        assert_eq!(shown("{\"a\":\n1}"), "{\"a\":\n1}");
        assert_eq!(shown("\u{9b}31m \u{202e}x"), "\\u{9b}31m \\u{202e}x");
        let long = shown(&"ü".repeat(PAYLOAD_CHARACTERS + 1));
        assert!(
            long.starts_with("üü")
                && long.ends_with("ü… (the first 2000 of 2001 characters; --json shows all)")
        );
    }

    #[test]
    fn a_period_begins_before_it_ends() {
        assert_eq!(period(None, None).unwrap(), (None, None));
        assert!(period(Some("2d"), Some("1d")).is_ok());
        assert!(period(Some("1d"), Some("2d")).is_err());
        assert!(period(Some("2026-01-31"), Some("2026-01-31")).is_err());
    }
}
