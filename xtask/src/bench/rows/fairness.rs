//! The first event of a function while a million of another wait, which are slow, fail, run, or find no place.

use super::{Aim, Bench, EVENT, Row};
use crate::bench::backlog::{Hold, counts, fill};
use crate::bench::http::Connection;
use crate::bench::server::{Function, Runtime, Server, function_folder, invocations};
use crate::bench::statistics::{median, percentile};
use anyhow::Context as _;
use std::time::{Duration, Instant};

/// The function with the backlog.
const BUSY: &str = "busy";
/// First events in each state.
const FIRST_EVENTS: usize = 20;
/// What the other function does meanwhile. It begins with the first of these.
const STATES: [&str; 4] = ["slow", "failing", "running", "throttled"];
/// Between two first events, and after a change of the state until all of the last one has ended.
const PAUSE: Duration = Duration::from_millis(100);
const CHANGE: Duration = Duration::from_secs(3);
/// An event that comes to an idle queue may not be asked for twice as fast as this.
const ALWAYS_ENOUGH_MS: f64 = 100.0;
/// How long the server is watched while nothing can run.
const WATCHED: Duration = Duration::from_secs(10);

/// One row for each state, and what a throttled backlog costs the processor.
pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let python = bench.runtimes.iter().find(|runtime| runtime.language == "python").context("no Python")?;
    let waiting = bench.effort.waiting_events;
    let server = bench.server()?;
    create(&server, python)?;
    let idle = first_events(&server, "idle")?;
    let data = server.stop();
    fill(&data, BUSY, waiting, Duration::ZERO)?;
    let server = Server::start_in(&bench.binary, &data, &[])?;
    let mut rows = Vec::new();
    let (limit, longest_idle) = (median(idle.clone()), percentile(idle.clone(), 0.95));
    for state in STATES {
        let hold = enter(&server, state)?;
        let first = first_events(&server, state)?;
        let (_, pending) = counts(&mut server.connect()?, BUSY)?;
        let bound = (2.0 * limit).max(ALWAYS_ENOUGH_MS);
        let name = format!("first event of a function, {waiting} events of another wait: {state}");
        let mut row = Row::figure(&name, percentile(first.clone(), 0.95), "ms", Aim::OursAtMost(bound));
        row.limit = Some(longest_idle);
        row.limit_name = "on an idle queue (95th percentile, as ours)".to_owned();
        row.pairs = first.iter().copied().zip(idle.iter().copied()).collect();
        let note = format!(
            "from the request to done, new functions; median {:.1} ms, on an idle queue {limit:.1} ms; longest {:.1} ms; \
             {pending} events waited at the end",
            median(first.clone()),
            percentile(first, 1.0),
        );
        rows.push(row.noting(&note));
        if state == "throttled" {
            let before = server.cpu_seconds()?;
            std::thread::sleep(WATCHED);
            let percent = 100.0 * (server.cpu_seconds()? - before) / WATCHED.as_secs_f64();
            let name = format!("processor time while {waiting} throttled events wait");
            rows.push(Row::figure(&name, percent, "%", Aim::OursAtMost(2.0)).noting("of one processor"));
        }
        drop(hold);
    }
    Ok(rows)
}

/// The function with the backlog, and those whose first events are timed: each has only one.
fn create(server: &Server, runtime: &Runtime) -> anyhow::Result<()> {
    let busy = Function::of(&function_folder(BUSY, &runtime.language)?, runtime)?.with("MODE", STATES[0]);
    server.create(BUSY, &busy)?;
    let echo = Function::of(&function_folder("echo", &runtime.language)?, runtime)?;
    let names: Vec<String> = ["idle"]
        .iter()
        .chain(&STATES)
        .flat_map(|state| (0..FIRST_EVENTS).map(move |number| name(state, number)))
        .collect();
    server.create_all(&names, &echo)
}

fn name(state: &str, number: usize) -> String {
    format!("first-{state}-{number}")
}

fn enter(server: &Server, state: &str) -> anyhow::Result<Option<Hold>> {
    let mut connection = server.connect()?;
    let path = format!("/2015-03-31/functions/{BUSY}/configuration");
    let body = serde_json::json!({ "Environment": { "Variables": { "MODE": state } } });
    let answer = connection.request("PUT", &path, &serde_json::to_vec(&body)?)?;
    anyhow::ensure!(answer.status == 200, "configuring answered {}: {}", answer.status, answer.text());
    let hold = if state == "throttled" { Some(Hold::start(server, BUSY)?) } else { None };
    std::thread::sleep(CHANGE);
    Ok(hold)
}

/// Milliseconds from the request of each function's first event until it is done.
fn first_events(server: &Server, state: &str) -> anyhow::Result<Vec<f64>> {
    let mut connection = server.connect()?;
    (0..FIRST_EVENTS)
        .map(|number| {
            std::thread::sleep(PAUSE);
            first_event(&mut connection, &name(state, number))
        })
        .collect()
}

fn first_event(connection: &mut Connection, function: &str) -> anyhow::Result<f64> {
    let begun = Instant::now();
    connection.enqueue(&invocations(function), EVENT.as_bytes())?;
    while counts(connection, function)?.0 == 0 {
        anyhow::ensure!(begun.elapsed() < Duration::from_secs(120), "the event of {function} is not done");
        std::thread::sleep(Duration::from_micros(500));
    }
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}
