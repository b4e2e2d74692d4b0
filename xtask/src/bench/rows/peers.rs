//! Other ways to run the same handler, where they are installed: one script each in `xtask/src/bench/peers`.
//!
//! A script is called with one word and answers on standard output: `installed` (by its status), `describe` (name and
//! version), `measures` (`cold` or `warm`, and the language), `path` (of a warm call), `command` (what to run, one argument a
//! line). It finds FOLDER (the handler's), INTERPRETER, LIMITS, PEERS (where peers may be installed), PORT and WORK (an
//! empty folder) in its environment. A cold command reads an event and writes it back; a warm one serves HTTP on PORT.

use super::warm::{FIRST, sample};
use super::{Aim, Bench, EVENT, Meter, Row, Ways};
use crate::bench::cpu::Group;
use crate::bench::http::Connection;
use crate::bench::limits::Launcher;
use crate::bench::pairing::interleave;
use crate::bench::server::{Function, Runtime, function_folder, invocations};
use crate::bench::{rows, wait_for};
use crate::{command, paths};
use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A peer's script, and what it is told.
struct Peer {
    script: PathBuf,
    folder: PathBuf,
    runtime: Runtime,
    port: u16,
    work: PathBuf,
}

/// A row for each peer that is installed; the others are named.
pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(paths::root().join("xtask/src/bench/peers"))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sh"))
        .collect();
    scripts.sort();
    let mut rows = Vec::new();
    for script in scripts {
        let name = script.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let measured = measures(&script)
            .context("the script does not say what it measures")
            .and_then(|(kind, language)| one(bench, &script, &kind, &language));
        match measured {
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
        folder: function_folder("echo", language)?,
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
        let their_path = command::output(&mut self.ask("path")).context("the script names no path")?;
        let group = Group::create("peer")?;
        let command = self.command()?;
        let (program, rest) = command.split_first().context("an empty command")?;
        let mut child = group
            .command(Path::new(program))
            .args(rest)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let measured = (|| {
            let mut theirs = wait_for("the peer's first answer", || {
                let Ok(mut connection) = Connection::open(self.port) else { return Ok(None) };
                Ok(connection.call(&their_path, EVENT.as_bytes()).is_ok().then_some(connection))
            })?;
            let mut ours = server.connect()?;
            for _ in 0..FIRST {
                ours.call(&path, EVENT.as_bytes())?;
                theirs.call(&their_path, EVENT.as_bytes())?;
            }
            let mut our_meter = Meter::new(|| server.cpu_seconds())?;
            let mut their_meter = Meter::new(|| group.cpu_seconds())?;
            interleave(
                bench.effort.warm_groups.div_ceil(4),
                bench.effort.attempts,
                &mut || sample(&mut ours, &path, || our_meter.since()),
                &mut || sample(&mut theirs, &their_path, || their_meter.since()),
            )
        })();
        let _ = child.kill();
        let _ = child.wait();
        group.end_members();
        let title = format!("warm call, {}, against {name}", self.runtime.name());
        let mut row = Row::of(&title, name, Aim::None, &measured?, (1e6, "us"));
        row.start = "warm".to_owned();
        Ok(row)
    }
}
