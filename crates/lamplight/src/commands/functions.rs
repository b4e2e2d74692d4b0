//! `list`, `get` and `delete`.

use crate::cli::{Delete, Global, Named};
use crate::client::Client;
use crate::failure::Failure;
use crate::output;
use serde_json::{Value, json};

/// A row per function of the region.
pub async fn list(global: &Global, client: &Client) -> Result<u8, Failure> {
    let functions = client.list_functions().await?;
    if global.json {
        output::json(&json!({ "Functions": functions }));
        return Ok(0);
    }
    if functions.is_empty() {
        output::remark(format!("no functions in {} yet; lamplight deploy PATH makes one", client.region()));
        return Ok(0);
    }
    let mut table = output::table(&["name", "runtime", "handler", "memory", "timeout", "code", "changed"]);
    for function in &functions {
        table.add_row([
            text(function, "FunctionName"),
            text(function, "Runtime"),
            text(function, "Handler"),
            format!("{} MB", number(function, "MemorySize")),
            format!("{} s", number(function, "Timeout")),
            output::bytes(number(function, "CodeSize")),
            text(function, "LastModified").chars().take(19).collect(),
        ]);
    }
    output::print_table(&table);
    Ok(0)
}

/// One function, as people read it or as the API gives it.
pub async fn get(global: &Global, client: &Client, flags: &Named) -> Result<u8, Failure> {
    let function = client.get_function(&flags.name).await?;
    if global.json {
        output::json(&function);
        return Ok(0);
    }
    let configuration = function.get("Configuration").unwrap_or(&Value::Null);
    let mut rows: Vec<(&str, String)> = vec![
        ("name", text(configuration, "FunctionName")),
        ("arn", text(configuration, "FunctionArn")),
        ("version", text(configuration, "Version")),
        ("state", state(configuration)),
        ("runtime", text(configuration, "Runtime")),
        ("handler", text(configuration, "Handler")),
        ("memory", format!("{} MB", number(configuration, "MemorySize"))),
        ("timeout", format!("{} s", number(configuration, "Timeout"))),
        (
            "code",
            format!(
                "{}, sha256 {}",
                output::bytes(number(configuration, "CodeSize")),
                text(configuration, "CodeSha256")
            ),
        ),
        ("role", text(configuration, "Role")),
        ("changed", text(configuration, "LastModified")),
        ("description", text(configuration, "Description")),
    ];
    // Names only: values may be secrets, and this is a screen. `--json` is what the API answers.
    if let Some(variables) = configuration.pointer("/Environment/Variables").and_then(Value::as_object) {
        rows.push(("environment", variables.keys().cloned().collect::<Vec<_>>().join(" ")));
    }
    for file_system in configuration.get("FileSystemConfigs").and_then(Value::as_array).into_iter().flatten()
    {
        let directory = text(file_system, "Arn").rsplit('/').next().unwrap_or_default().to_owned();
        rows.push(("file system", format!("{directory} at {}", text(file_system, "LocalMountPath"))));
    }
    if let Some(reserved) = function.pointer("/Concurrency/ReservedConcurrentExecutions") {
        rows.push(("concurrency", format!("{reserved} reserved")));
    }
    if let Some((url, auth_type)) = client.find_url(&flags.name).await? {
        let signed = if auth_type == "NONE" { "" } else { " (signed requests only)" };
        rows.push(("url", format!("{url}{signed}")));
    }
    for alias in client.list_aliases(&flags.name).await? {
        rows.push(("alias", alias_text(&alias)));
    }
    for (key, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        output::line(format!("{key:<12} {value}"));
    }
    Ok(0)
}

/// `live: version 1, 25 % of calls version 2`.
fn alias_text(alias: &Value) -> String {
    let mut shown = format!("{}: version {}", text(alias, "Name"), text(alias, "FunctionVersion"));
    let weights = alias.pointer("/RoutingConfig/AdditionalVersionWeights").and_then(Value::as_object);
    for (version, weight) in weights.into_iter().flatten() {
        let percent = weight.as_f64().unwrap_or_default() * 100.0;
        shown.push_str(&format!(", {percent} % of calls version {version}"));
    }
    shown
}

/// Deletes.
pub async fn delete(client: &Client, flags: &Delete) -> Result<u8, Failure> {
    client.delete_function(&flags.name, flags.qualifier.as_deref()).await?;
    match &flags.qualifier {
        Some(version) => output::remark(format!("deleted version {version} of {}", flags.name)),
        None => output::remark(format!("deleted {}", flags.name)),
    }
    Ok(0)
}

fn state(configuration: &Value) -> String {
    let mut state = text(configuration, "State");
    if text(configuration, "LastUpdateStatus") == "InProgress" {
        state.push_str(", update in progress");
    }
    for reason in ["StateReason", "LastUpdateStatusReason"] {
        let reason = text(configuration, reason);
        if !reason.is_empty() {
            state.push_str(&format!(" ({reason})"));
        }
    }
    state
}

/// A text field, empty when absent.
pub fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A whole number field, 0 when absent.
pub fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}
