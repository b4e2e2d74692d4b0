//! Our side: a server in a cgroup of its own, with functions in it.

use super::cpu::Group;
use super::{http, package, wait_for};
use crate::paths;
use anyhow::Context as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// AWS's rates would bound what is measured: 10,000 calls a second, and 100 new instances of a function. Not switched off, so
/// that counting is measured, too.
const RATES: [(&str, &str); 2] = [
    ("LAMPLIGHT_INSTANCES_CALLS_PER_SECOND_EACH", "1000000"),
    ("LAMPLIGHT_INSTANCES_STARTS_PER_TEN_SECONDS", "1000000"),
];

const ROLE: &str = "arn:aws:iam::000000000000:role/bench";
/// One whole processor. Source: AWS Lambda quotas, 1,769 MB.
const MEMORY_MIB: u32 = 1769;

/// A runtime that is measured.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// `python`, `node` or `rust`.
    pub language: String,
    /// Its identifier here, e.g. `python3.11`.
    pub identifier: String,
    /// Its interpreter on the host; the compiled program of a custom runtime.
    pub interpreter: String,
}

impl Runtime {
    /// The language as people write it.
    pub fn name(&self) -> &'static str {
        match self.language.as_str() {
            "python" => "Python",
            "node" => "Node",
            _ => "Rust custom runtime",
        }
    }
}

/// What a function is made of.
#[derive(Debug, Clone)]
pub struct Function {
    /// Its package, as the request wants it.
    zip: String,
    /// Runtime identifier.
    identifier: String,
    /// Its variables.
    pub environment: Vec<(String, String)>,
    /// Megabytes.
    pub memory_mib: u32,
}

impl Function {
    /// The function in `folder`.
    pub fn of(folder: &Path, runtime: &Runtime) -> anyhow::Result<Self> {
        Ok(Self {
            zip: package::to_base64(&package::zip_of(folder)?),
            identifier: runtime.identifier.clone(),
            environment: Vec::new(),
            memory_mib: MEMORY_MIB,
        })
    }

    /// With this variable.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Copies `xtask/src/bench/functions/NAME` for one language to the cache, so that nothing is written beside sources.
pub fn function_folder(name: &str, language: &str) -> anyhow::Result<PathBuf> {
    let file = if language == "python" { "index.py" } else { "index.mjs" };
    let folder = paths::cache().join("bench").join(format!("{name}-{language}"));
    std::fs::create_dir_all(&folder)?;
    let source = paths::root().join("xtask/src/bench/functions").join(name).join(file);
    std::fs::copy(&source, folder.join(file))
        .with_context(|| format!("failed to copy {}", source.display()))?;
    Ok(folder)
}

/// A running server; stopped when dropped.
pub struct Server {
    child: Child,
    group: Group,
    port: u16,
    data: PathBuf,
    keep_data: bool,
    /// From its start to its first answer.
    pub ready: Duration,
}

/// The path of an Invoke request.
pub fn invocations(name: &str) -> String {
    format!("/2015-03-31/functions/{name}/invocations")
}

/// Makes data directories unique.
static NEXT: AtomicU32 = AtomicU32::new(0);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
        if !self.keep_data {
            let _ = std::fs::remove_dir_all(&self.data);
        }
    }
}

impl Server {
    /// Starts `binary serve` on a new data directory, with these keys of its configuration as variables.
    pub fn start(binary: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let data = PathBuf::from(format!("/var/tmp/lamplight-bench-{}-{number}", std::process::id()));
        Self::start_in(binary, &data, settings)
    }

    /// Stops it and gives its data directory, which is then the caller's to remove.
    pub fn stop(mut self) -> PathBuf {
        self.keep_data = true;
        self.data.clone()
    }

    /// Starts it on a data directory that may hold functions already; removed when the server is dropped.
    pub fn start_in(binary: &Path, data: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let before = Group::of_servers();
        let mut group = Group::create("ours")?;
        let begun = Instant::now();
        let mut child = group
            .command(binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .env("LAMPLIGHT_LOG", "warn")
            .envs(RATES)
            .envs(settings.iter().copied())
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
                    if line.contains("WARN") || line.contains("ERROR") {
                        eprintln!("server: {line}");
                    }
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
        http::Connection::open(port)?.request("GET", "/2015-03-31/functions", b"")?;
        let ready = begun.elapsed();
        group.add(Group::of_servers().into_iter().filter(|group| !before.contains(group)).collect());
        Ok(Self { child, group, port, data: data.to_owned(), keep_data: false, ready })
    }

    /// A new kept connection.
    pub fn connect(&self) -> anyhow::Result<http::Connection> {
        http::Connection::open(self.port)
    }

    /// Processor time of keeper, spawners, daemon and all sandboxes so far, seconds.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.group.cpu_seconds()
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

    /// Creates a function and waits until it is active.
    pub fn create(&self, name: &str, function: &Function) -> anyhow::Result<()> {
        let mut connection = self.connect()?;
        self.ask_for(&mut connection, name, function)?;
        let path = format!("/2015-03-31/functions/{name}/configuration");
        wait_for("an active function", || {
            let answer = connection.request("GET", &path, b"")?;
            let configuration: serde_json::Value = serde_json::from_slice(&answer.body)?;
            Ok((configuration["State"] == "Active").then_some(()))
        })
    }

    /// Creates many functions of one kind; those at the end become active last.
    pub fn create_all(&self, names: &[String], function: &Function) -> anyhow::Result<()> {
        let mut connection = self.connect()?;
        let (last, others) = names.split_last().context("no names")?;
        for name in others {
            self.ask_for(&mut connection, name, function)?;
        }
        self.create(last, function)
    }

    fn ask_for(
        &self,
        connection: &mut http::Connection,
        name: &str,
        function: &Function,
    ) -> anyhow::Result<()> {
        let variables: serde_json::Map<_, _> =
            function.environment.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        let request = serde_json::json!({
            "FunctionName": name, "Runtime": function.identifier, "Role": ROLE, "Handler": "index.handler",
            "MemorySize": function.memory_mib, "Timeout": 60, "Code": { "ZipFile": function.zip },
            "Environment": { "Variables": variables },
        });
        let answer = connection.post("/2015-03-31/functions", &serde_json::to_vec(&request)?)?;
        anyhow::ensure!(
            answer.status == 201,
            "creating {name} answered {}: {}",
            answer.status,
            answer.text()
        );
        Ok(())
    }

    /// Deletes a function.
    pub fn delete(&self, connection: &mut http::Connection, name: &str) -> anyhow::Result<()> {
        connection.request("DELETE", &format!("/2015-03-31/functions/{name}"), b"")?;
        Ok(())
    }

    /// Ids of all processes below the server, its own first.
    pub fn processes(&self) -> Vec<Process> {
        let mut below = vec![self.child.id()];
        let mut found = Vec::new();
        while let Some(id) = below.pop() {
            found.push(Process::of(id));
            let children =
                std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
            below.extend(children.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
        }
        found
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }
}

/// One process and its name.
pub struct Process {
    /// Its id here.
    pub id: u32,
    /// `comm`.
    pub name: String,
}

impl Process {
    /// The process of this id, which may have ended.
    pub fn of(id: u32) -> Self {
        let name = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        Self { id, name: name.trim().to_owned() }
    }

    /// The sum of some figures of `smaps_rollup`, MiB.
    pub fn figures_mib(&self, figures: &[&str]) -> anyhow::Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.id))?;
        let kib: f64 = figures
            .iter()
            .filter_map(|figure| {
                let line = text.lines().find_map(|line| line.strip_prefix(&format!("{figure}:")))?;
                line.trim().trim_end_matches(" kB").trim().parse::<f64>().ok()
            })
            .sum();
        Ok(kib / 1024.0)
    }

    /// Memory that only this process has, MiB.
    pub fn private_mib(&self) -> anyhow::Result<f64> {
        self.figures_mib(&["Private_Clean", "Private_Dirty"])
    }
}
