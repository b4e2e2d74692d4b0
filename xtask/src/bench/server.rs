//! The two sides: a server of ours with functions in it, and the bare programs.

use super::{http, wait_for};
use crate::{command, paths};
use anyhow::Context as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROLE: &str = "arn:aws:iam::000000000000:role/bench";

/// A runtime that is measured.
pub struct Runtime {
    /// `python` or `node`.
    pub language: String,
    /// Its identifier here, e.g. `python3.11`.
    pub identifier: String,
    /// Its interpreter on the host.
    pub interpreter: String,
}

/// A running server; stopped when dropped.
pub struct Server {
    child: Child,
    port: u16,
    binary: PathBuf,
    data: PathBuf,
}

/// The path of an Invoke request.
pub fn invocations(name: &str) -> String {
    format!("/2015-03-31/functions/{name}/invocations")
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

impl Server {
    /// Starts `binary serve`; gives it and the time until it answered.
    pub fn start(binary: &Path) -> anyhow::Result<(Self, Duration)> {
        let data = PathBuf::from("/var/tmp").join(format!("lamplight-bench-{}", std::process::id()));
        let begun = Instant::now();
        let mut child = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&data)
            .env("LAMPLIGHT_LOG", "warn")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start {}", binary.display()))?;
        let (sender, lines) = std::sync::mpsc::channel();
        let pipes: [Option<Box<dyn std::io::Read + Send>>; 2] = [
            child.stdout.take().map(|pipe| Box::new(pipe) as _),
            child.stderr.take().map(|pipe| Box::new(pipe) as _),
        ];
        for pipe in pipes.into_iter().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        let port = loop {
            let line = lines
                .recv_timeout(Duration::from_secs(60))
                .context("the server did not say that it listens")?;
            if let Some((_, address)) = line.split_once("listening on http://127.0.0.1:") {
                break address
                    .trim()
                    .trim_end_matches('/')
                    .parse()
                    .context("no port in the server's line")?;
            }
        };
        let server = Self { child, port, binary: binary.to_owned(), data };
        server.connect()?.request("GET", "/2015-03-31/functions", b"")?;
        Ok((server, begun.elapsed()))
    }

    /// A new kept connection.
    pub fn connect(&self) -> anyhow::Result<http::Connection> {
        http::Connection::open(self.port)
    }

    /// The Python and the Node.js this host has.
    pub fn runtimes(&self) -> anyhow::Result<Vec<Runtime>> {
        let listed =
            std::fs::read(self.data.join("runtimes.json")).context("failed to read the table of runtimes")?;
        let listed: serde_json::Value = serde_json::from_slice(&listed)?;
        let mut found = Vec::new();
        for (language, prefix) in [("python", "python3."), ("node", "nodejs")] {
            let installed = listed["installed"].as_object().into_iter().flatten();
            // The distribution's interpreter when there is one: it needs no search path of libraries.
            let chosen = installed
                .filter(|(identifier, _)| identifier.starts_with(prefix))
                .min_by_key(|(_, runtime)| !runtime["prefix"].is_null());
            if let Some((identifier, runtime)) = chosen {
                found.push(Runtime {
                    language: language.to_owned(),
                    identifier: identifier.clone(),
                    interpreter: runtime["interpreter"].as_str().unwrap_or_default().to_owned(),
                });
            }
        }
        Ok(found)
    }

    /// Creates a function that gives its event back, and waits until it is active.
    pub fn create(&self, name: &str, runtime: &Runtime) -> anyhow::Result<()> {
        let (file, source) = match runtime.language.as_str() {
            "python" => ("index.py", "def handler(event, context):\n    return event\n"),
            _ => ("index.mjs", "export const handler = async (event) => event;\n"),
        };
        let folder = paths::cache().join("bench").join(&runtime.language);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(file), source)?;
        let mut deploy = Command::new(&self.binary);
        deploy
            .arg("deploy")
            .arg(&folder)
            .args(["--name", name, "--runtime", &runtime.identifier, "--handler", "index.handler"])
            .args(["--memory", "1769", "--role", ROLE, "--endpoint"])
            .arg(format!("http://127.0.0.1:{}", self.port));
        command::output(&mut deploy).with_context(|| format!("failed to deploy {name}"))?;
        Ok(())
    }

    /// Deletes a function.
    pub fn delete(&self, name: &str) -> anyhow::Result<()> {
        self.connect()?.request("DELETE", &format!("/2015-03-31/functions/{name}"), b"")?;
        Ok(())
    }

    /// Resident memory of the daemon, MiB.
    pub fn daemon_memory_mib(&self) -> anyhow::Result<f64> {
        let daemon = self.processes()?.into_iter().find(|process| process.name == "lamplight");
        daemon.context("no daemon is found")?.figure_mib("Rss")
    }

    /// Proportional memory of the newest idle instance of a runtime, init included, MiB.
    pub fn instance_memory_mib(&self, runtime: &Runtime) -> anyhow::Result<f64> {
        let program =
            Path::new(&runtime.interpreter).file_name().unwrap_or_default().to_string_lossy().into_owned();
        wait_for("an idle instance", || {
            let found = self
                .processes()?
                .into_iter()
                .rfind(|process| process.name.starts_with(program.get(..6).unwrap_or(&program)));
            Ok(found.and_then(|process| process.figure_mib("Pss").ok()))
        })
    }

    /// All processes below the server.
    fn processes(&self) -> anyhow::Result<Vec<Process>> {
        let mut below = vec![self.child.id()];
        let mut found = Vec::new();
        while let Some(parent) = below.pop() {
            let children =
                std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
            for id in children.split_whitespace().filter_map(|id| id.parse().ok()) {
                let name = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
                found.push(Process { id, name: name.trim().to_owned() });
                below.push(id);
            }
        }
        Ok(found)
    }
}

struct Process {
    id: u32,
    name: String,
}

impl Process {
    /// A figure of `smaps_rollup`, MiB.
    fn figure_mib(&self, figure: &str) -> anyhow::Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.id))?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{figure}:")))
            .context("no such figure")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib / 1024.0)
    }
}

/// A bare program that does the same work.
pub struct Limit {
    interpreter: String,
    script: PathBuf,
}

/// A bare program that serves; stopped when dropped.
pub struct Serving {
    child: Child,
    /// Where.
    pub port: u16,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Limit {
    /// For a runtime: the same interpreter.
    pub fn of(runtime: &Runtime) -> anyhow::Result<Self> {
        let name = if runtime.language == "python" { "limit.py" } else { "limit.mjs" };
        let script = paths::root().join("xtask/src/bench/limits").join(name);
        Ok(Self { interpreter: runtime.interpreter.clone(), script })
    }

    /// How the cold limit is started, for people.
    pub fn describe(&self) -> String {
        let name =
            Path::new(&self.interpreter).file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("python") { format!("{name} -I -S") } else { name }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.interpreter);
        if self.interpreter.contains("python") {
            command.args(["-I", "-S"]);
        }
        command.arg(&self.script);
        command
    }

    /// Starts the bare server.
    pub fn serve(&self) -> anyhow::Result<Serving> {
        let mut child = self.command().arg("serve").stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().context("the bare program has no output")?;
        BufReader::new(output).read_line(&mut line)?;
        Ok(Serving { child, port: line.trim().parse().context("the bare program named no port")? })
    }

    /// Time of one bare start with one answer.
    pub fn cold(&self, event: &str) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let output = self.command().args(["cold", event]).output()?;
        let elapsed = begun.elapsed();
        anyhow::ensure!(output.status.success(), "the bare program failed");
        Ok(elapsed)
    }
}
