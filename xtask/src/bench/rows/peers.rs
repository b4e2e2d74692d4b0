//! Other ways to run the same handler, where they are installed: one script each in `xtask/src/bench/peers`.
//!
//! A script is called with one word and answers on standard output: `installed` (by its status), `describe` (name and
//! version), `measures` (`cold`, `warm` or `http`, and the language), `path` (of a call), `command` (what to run, one argument a
//! line). It finds FOLDER (the handler's), INTERPRETER, LIMITS, PEERS (where peers may be installed), PORT and WORK (an
//! empty folder) in its environment. A cold command reads an event and writes it back; a warm one serves HTTP on PORT, and so does
//! one of `http`, which many clients call beside a function URL.

use super::many::CLIENTS;
use super::url::{self, Published};
use super::warm::{FIRST, sample};
use super::{Aim, Bench, EVENT, Meter, Row, Ways};
use crate::bench::cpu::Group;
use crate::bench::http::Connection;
use crate::bench::limits::Launcher;
use crate::bench::pairing::interleave;
use crate::bench::server::{Function, Runtime, function_folder, invocations};
use crate::bench::{load, rows, wait_for};
use crate::{command, paths};
use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A peer's script, and what it is told.
struct Peer {
    script: PathBuf,
    folder: PathBuf,
    runtime: Runtime,
    port: u16,
    work: PathBuf,
}

/// A row for each peer of cold and warm calls that is installed; the others are named.
pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut rows = of_kind(bench, "cold")?;
    rows.extend(of_kind(bench, "warm")?);
    Ok(rows)
}

/// The same of one kind.
pub fn of_kind(bench: &Bench, wanted: &str) -> anyhow::Result<Vec<Row>> {
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(paths::root().join("xtask/src/bench/peers"))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sh"))
        .collect();
    scripts.sort();
    let mut rows = Vec::new();
    for script in scripts {
        let name = script.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let Some((kind, language)) = measures(&script) else {
            println!("not measured: {name}: the script does not say what it measures");
            continue;
        };
        if kind != wanted {
            continue;
        }
        match one(bench, &script, &kind, &language) {
            Ok(Some(row)) => rows.push(row),
            Ok(None) => println!("not installed: {name}"),
            Err(error) => println!("not measured: {name}: {error:#}"),
        }
    }
    Ok(rows)
}

fn measures(script: &Path) -> Option<(String, String)> {
    let text = command::output(Command::new(script).arg("measures").env("PEERS", "/nonexistent"))?;
    let (kind, language) = text.split_once(' ')?;
    Some((kind.to_owned(), language.to_owned()))
}

fn one(bench: &Bench, script: &Path, kind: &str, language: &str) -> anyhow::Result<Option<Row>> {
    let Some(runtime) = bench.runtimes.iter().find(|runtime| runtime.language == language) else {
        return Ok(None);
    };
    let work = paths::cache().join("bench/peer");
    let _ = std::fs::remove_dir_all(&work);
    std::fs::create_dir_all(&work)?;
    let peer = Peer {
        script: script.to_owned(),
        folder: function_folder(if kind == "http" { "web" } else { "echo" }, language)?,
        runtime: runtime.clone(),
        port: free_port()?,
        work,
    };
    if !peer.ask("installed").status()?.success() {
        return Ok(None);
    }
    let name = command::output(&mut peer.ask("describe")).unwrap_or_default();
    let name = name.lines().next().unwrap_or_default().to_owned();
    match kind {
        "cold" => peer.cold(bench, &name),
        "http" => peer.http(bench, &name),
        _ => peer.warm(bench, &name),
    }
    .map(Some)
}

/// A port that is free together with the next one.
fn free_port() -> anyhow::Result<u16> {
    wait_for("two free ports", || {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        Ok(std::net::TcpListener::bind(("127.0.0.1", port.saturating_add(1))).is_ok().then_some(port))
    })
}

impl Peer {
    fn ask(&self, word: &str) -> Command {
        let mut command = Command::new(&self.script);
        command
            .arg(word)
            .env("FOLDER", &self.folder)
            .env("INTERPRETER", &self.runtime.interpreter)
            .env("LIMITS", paths::root().join("xtask/src/bench/limits"))
            .env("PEERS", paths::cache().join("peers"))
            .env("PORT", self.port.to_string())
            .env("WORK", &self.work);
        command
    }

    fn command(&self) -> anyhow::Result<Vec<String>> {
        let text = command::output(&mut self.ask("command")).context("the script names no command")?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Our cold calls against the peer's, in place of the limit.
    fn cold(&self, bench: &Bench, name: &str) -> anyhow::Result<Row> {
        let server = bench.server()?;
        let mut ways = Ways::default();
        let function = Function::of(&self.folder, &self.runtime)?;
        let mut launcher = Launcher::start(&self.command()?, EVENT)?;
        let ours = rows::cold::Ours {
            server: &server,
            runtime: &self.runtime,
            function: &function,
            calls: rows::cold::Calls::First,
        };
        let measured = rows::cold::against(bench, &ours, &mut launcher, &mut ways)?;
        let title = format!("cold call, {}, against {name}", self.runtime.name());
        let mut row = Row::of(&title, name, Aim::None, &measured, (1e3, "ms"));
        row.start = ways.describe();
        Ok(row)
    }

    /// Our warm calls against the peer's.
    fn warm(&self, bench: &Bench, name: &str) -> anyhow::Result<Row> {
        let server = bench.server()?;
        server.create("peer", &Function::of(&self.folder, &self.runtime)?)?;
        let path = invocations("peer");
        let peer = Serving::start(self)?;
        let (mut ours, mut theirs) = (server.connect()?, peer.connect()?);
        for _ in 0..FIRST {
            ours.call(&path, EVENT.as_bytes())?;
            theirs.call(&peer.path, EVENT.as_bytes())?;
        }
        let mut our_meter = Meter::new(|| server.cpu_seconds())?;
        let mut their_meter = Meter::new(|| peer.group.cpu_seconds())?;
        let measured = interleave(
            bench.effort.warm_groups.div_ceil(4),
            bench.effort.attempts,
            &mut || sample(&mut ours, &path, EVENT, || our_meter.since()),
            &mut || sample(&mut theirs, &peer.path, EVENT, || their_meter.since()),
        )?;
        let title = format!("warm call, {}, against {name}", self.runtime.name());
        let mut row = Row::of(&title, name, Aim::None, &measured, (1e6, "us"));
        row.start = "warm".to_owned();
        Ok(row)
    }

    /// Our function URL against the peer, both called by many clients.
    fn http(&self, bench: &Bench, name: &str) -> anyhow::Result<Row> {
        let server = bench.server()?;
        let published = Published::start(&server, &self.runtime)?;
        let peer = Serving::start(self)?;
        let mut ours = (0..CLIENTS).map(|_| server.connect()).collect::<anyhow::Result<Vec<_>>>()?;
        let mut theirs = (0..CLIENTS).map(|_| peer.connect()).collect::<anyhow::Result<Vec<_>>>()?;
        load::closed(&mut ours, &published.path, EVENT.as_bytes(), url::WARMING)?;
        load::closed(&mut theirs, &peer.path, EVENT.as_bytes(), url::WARMING)?;
        let mut our_meter = Meter::new(|| server.cpu_seconds())?;
        let mut their_meter = Meter::new(|| peer.group.cpu_seconds())?;
        let measured = interleave(
            bench.effort.warm_groups.div_ceil(6),
            bench.effort.attempts,
            &mut || url::closed(&mut ours, &published.path, EVENT, || our_meter.since()),
            &mut || url::closed(&mut theirs, &peer.path, EVENT, || their_meter.since()),
        )?;
        let title = format!("function URL, {}, {CLIENTS} clients, against {name}", self.runtime.name());
        let mut row = Row::of(&title, name, Aim::None, &measured, (1e6, "us"));
        row.start = "warm".to_owned();
        let requests = |microseconds: f64| 1e6 / microseconds;
        let remark = format!(
            "{:.0} requests/s (peer {:.0})",
            requests(row.ours),
            requests(row.limit.unwrap_or(f64::NAN))
        );
        Ok(row.noting(&remark))
    }
}

/// A peer that serves HTTP; stopped when dropped.
struct Serving {
    child: Child,
    group: Group,
    port: u16,
    path: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.group.end_members();
    }
}

impl Serving {
    /// Starts it and waits for its first answer.
    fn start(peer: &Peer) -> anyhow::Result<Self> {
        let path = command::output(&mut peer.ask("path")).context("the script names no path")?;
        let group = Group::create("peer")?;
        let command = peer.command()?;
        let (program, rest) = command.split_first().context("an empty command")?;
        let child = group
            .command(Path::new(program))
            .args(rest)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let serving = Self { child, group, port: peer.port, path };
        wait_for("the peer's first answer", || {
            let Ok(mut connection) = serving.connect() else { return Ok(None) };
            Ok(connection.call(&serving.path, EVENT.as_bytes()).is_ok().then_some(()))
        })?;
        Ok(serving)
    }

    fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(self.port)
    }
}
