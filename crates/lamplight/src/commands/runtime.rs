//! `runtime list|add|alias`: which interpreter runs which identifier.

use super::configuration;
use crate::cli::{Global, Runtime};
use crate::client::Client;
use crate::failure::{Failure, Status};
use crate::output;
use crate::server;
use http::Method;
use lamplight_runtime::ManagedRuntimes;
use serde_json::{Value, json};

/// Lists what the server (or, without one, this host) can run; `add` and `alias` write the server's table.
pub fn run(global: &Global, command: &Runtime) -> Result<u8, Failure> {
    match command {
        Runtime::List => list(global),
        Runtime::Add { identifier, path } => change(global, |table| {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            let added =
                table.add(identifier, &path, &server::probe_version).map_err(|text| refused(&text))?;
            Ok(format!("{} runs on {} ({})", added.identifier, added.interpreter.display(), added.version))
        }),
        Runtime::Alias { pair } => change(global, |table| {
            let (wanted, installed) = pair.split_once('=').ok_or_else(|| {
                Failure::usage(format!("{pair} is no alias"))
                    .then("lamplight runtime alias python3.13=python3.11")
            })?;
            table.alias(wanted, installed).map_err(|text| refused(&text))?;
            Ok(format!("{wanted} now runs on {installed}; code that needs {wanted} may fail"))
        }),
    }
}

fn refused(text: &str) -> Failure {
    Failure::usage(text).then("lamplight runtime list")
}

fn list(global: &Global) -> Result<u8, Failure> {
    let asked = super::with_answer(global, async |client: &Client| {
        client.json(Method::GET, "/lamplight/v1/runtimes", None).await
    });
    let rows: Vec<Value> = match asked {
        Ok(answer) => answer.get("Runtimes").and_then(Value::as_array).cloned().unwrap_or_default(),
        Err(failure) if failure.status == Status::Unreachable => {
            output::remark("no server answers; this is what one would find on this host");
            let config = configuration(global, None)?;
            let table = server::find_runtimes(&server::runtimes_file(&config.data_dir))?;
            server::rows(&table).iter().map(|row| json!(row)).collect()
        }
        Err(failure) => return Err(failure),
    };
    if global.json {
        output::json(&json!({ "Runtimes": rows }));
        return Ok(0);
    }
    let mut table = output::table(&["runtime", "version", "runs on"]);
    let text = |row: &Value, key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    for row in &rows {
        let target = text(row, "AliasOf");
        let runs_on = if target.is_empty() { text(row, "Interpreter") } else { format!("{target} (alias)") };
        table.add_row([text(row, "Identifier"), text(row, "Version"), runs_on]);
    }
    for identifier in ["provided", "provided.al2", "provided.al2023"] {
        table.add_row([identifier, "", "bootstrap of the package"]);
    }
    output::print_table(&table);
    output::remark("others: lamplight runtime add IDENTIFIER PATH");
    Ok(0)
}

/// Changes the table on disk; a running server sees it at its next start of an instance.
fn change(
    global: &Global,
    change: impl FnOnce(&mut ManagedRuntimes) -> Result<String, Failure>,
) -> Result<u8, Failure> {
    server::require_root("runtime")?;
    let config = configuration(global, None)?;
    if !config.data_dir.is_dir() {
        return Err(Failure::usage(format!("there is no data directory {}", config.data_dir.display()))
            .because("the table of runtimes lies there, and a server has to make it first")
            .then("sudo lamplight serve")
            .then("or name the server's: --data-dir DIRECTORY"));
    }
    let mut table = server::find_runtimes(&server::runtimes_file(&config.data_dir))?;
    let done = change(&mut table)?;
    server::publish(&config.data_dir, &table)?;
    output::line(done);
    Ok(0)
}
