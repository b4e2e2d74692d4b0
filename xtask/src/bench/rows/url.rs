//! Function URLs: against Invoke of the same function with the same event, and against web servers that run the same handler.

use super::many::CLIENTS;
use super::warm::{FIRST, sample};
use super::{Aim, Bench, EVENT, Meter, Row, peers};
use crate::bench::http::Connection;
use crate::bench::load;
use crate::bench::pairing::{Measured, Sample, interleave};
use crate::bench::server::{Function, Runtime, Server, function_folder, invocations};
use anyhow::Context as _;
use std::cell::RefCell;

/// Requests of one client in one block.
const REQUESTS: usize = 40;
/// Requests of each client before the first block, so that there are as many instances as clients.
pub const WARMING: usize = 400;
/// What URLs are measured against, which is not less than what they are: an event has to be made of each request, and an answer of
/// each result.
const AIM: Aim = Aim::CpuRatioAtMost(1.15);

/// A function, its URL, and the event the URL makes of a request.
pub struct Published {
    /// Path form of the URL.
    pub path: String,
    /// Path of an Invoke request.
    invocations: String,
    /// What `EVENT` as a body becomes.
    event: String,
}

impl Published {
    /// Creates the function and a URL that everybody may call.
    pub fn start(server: &Server, runtime: &Runtime) -> anyhow::Result<Self> {
        let name = format!("web-{}", runtime.language);
        server.create(&name, &Function::of(&function_folder("web", &runtime.language)?, runtime)?)?;
        let mut connection = server.connect()?;
        for (id, action, condition, value) in [
            ("url", "lambda:InvokeFunctionUrl", "FunctionUrlAuthType", serde_json::json!("NONE")),
            ("call", "lambda:InvokeFunction", "InvokedViaFunctionUrl", serde_json::json!(true)),
        ] {
            let request = serde_json::json!({ "StatementId": id, "Action": action, "Principal": "*", condition: value });
            let path = format!("/2015-03-31/functions/{name}/policy");
            let answer = connection.post(&path, &serde_json::to_vec(&request)?)?;
            anyhow::ensure!(answer.status == 201, "adding a permission answered {}", answer.text());
        }
        let answer =
            connection.post(&format!("/2021-10-31/functions/{name}/url"), br#"{"AuthType": "NONE"}"#)?;
        anyhow::ensure!(answer.status == 201, "creating a URL answered {}", answer.text());
        let created: serde_json::Value = serde_json::from_slice(&answer.body)?;
        let url = created["FunctionUrl"].as_str().context("no URL in the answer")?;
        let host = url.split_once("://").map_or(url, |(_, host)| host);
        let id = host.split('.').next().context("no id in the URL")?;
        let path = format!("/_url/{id}/");
        let event = connection.post(&format!("{path}event"), EVENT.as_bytes())?;
        anyhow::ensure!(event.status == 200, "the URL answered {}: {}", event.status, event.text());
        Ok(Self { path, invocations: invocations(&name), event: event.text() })
    }
}

/// Rows of each language.
pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for runtime in &bench.runtimes {
        let server = bench.server()?;
        let published = Published::start(&server, runtime)?;
        rows.push(row(
            &format!("function URL, {}, one client", runtime.name()),
            &one_client(bench, &server, &published)?,
        ));
        rows.push(row(
            &format!("function URL, {}, {CLIENTS} clients", runtime.name()),
            &many_clients(bench, &server, &published)?,
        ));
    }
    rows.extend(peers::of_kind(bench, "http")?);
    Ok(rows)
}

fn row(title: &str, measured: &Measured) -> Row {
    let mut row =
        Row::of(title, "Invoke of the same function with the same event", AIM, measured, (1e6, "us"));
    row.start = "warm".to_owned();
    // The aim is on processor time, so that is what the check must hold for.
    row.check = Some(measured.cpu_check.clone());
    row.void = !measured.cpu_check.is_neutral();
    row
}

fn one_client(bench: &Bench, server: &Server, published: &Published) -> anyhow::Result<Measured> {
    let (mut url, mut invoke) = (server.connect()?, server.connect()?);
    for _ in 0..FIRST {
        url.call(&published.path, EVENT.as_bytes())?;
        invoke.call(&published.invocations, published.event.as_bytes())?;
    }
    // One server works for both, so one meter is read by both.
    let meter = RefCell::new(Meter::new(|| server.cpu_seconds())?);
    interleave(
        bench.effort.warm_groups.div_ceil(2),
        bench.effort.attempts,
        &mut || sample(&mut url, &published.path, EVENT, || meter.borrow_mut().since()),
        &mut || sample(&mut invoke, &published.invocations, &published.event, || meter.borrow_mut().since()),
    )
}

fn many_clients(bench: &Bench, server: &Server, published: &Published) -> anyhow::Result<Measured> {
    let connect = || (0..CLIENTS).map(|_| server.connect()).collect::<anyhow::Result<Vec<_>>>();
    let (mut url, mut invoke) = (connect()?, connect()?);
    load::closed(&mut url, &published.path, EVENT.as_bytes(), WARMING)?;
    load::closed(&mut invoke, &published.invocations, published.event.as_bytes(), WARMING)?;
    let meter = RefCell::new(Meter::new(|| server.cpu_seconds())?);
    let block = |connections: &mut [Connection], path: &str, body: &str| {
        closed(connections, path, body, || meter.borrow_mut().since())
    };
    interleave(
        bench.effort.warm_groups.div_ceil(6),
        bench.effort.attempts,
        &mut || block(&mut url, &published.path, EVENT),
        &mut || block(&mut invoke, &published.invocations, &published.event),
    )
}

/// One block of a closed loop, per request.
pub fn closed(
    connections: &mut [Connection],
    path: &str,
    body: &str,
    mut cpu: impl FnMut() -> anyhow::Result<f64>,
) -> anyhow::Result<Sample> {
    let total = (connections.len() * REQUESTS) as f64;
    let seconds = load::closed(connections, path, body.as_bytes(), REQUESTS)?.as_secs_f64() / total;
    Ok(Sample { seconds, cpu_seconds: cpu()? / total })
}
