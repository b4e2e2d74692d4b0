//! The limits: small programs that do the same work with nothing added, and handles to run them.
//!
//! Each runs in a cgroup of its own so that its processor time is known to the nanosecond. The programs written in Rust
//! are the hidden command `cargo xtask bench-limit` of this same (release) binary; the harness calls them by name.

pub mod group_commit;
mod launcher;
mod proxy;
mod responder;

use super::cpu::Group;
use super::http::Connection;
use super::server::Runtime;
use crate::paths;
use anyhow::Context as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The programs, by name.
#[derive(Debug, clap::Args)]
pub struct LimitArguments {
    #[command(subcommand)]
    program: Program,
}

#[derive(Debug, clap::Subcommand)]
enum Program {
    /// Starts a bare program for each line on standard input; answers with the nanoseconds until its answer.
    Launcher(launcher::LauncherArguments),
    /// One runtime loop behind the simplest possible responder, blocking, on one thread.
    Responder(responder::ResponderArguments),
    /// Several runtime loops behind hyper.
    Proxy(proxy::ProxyArguments),
    /// A bare hyper server that answers with what it is sent.
    Server,
}

/// Runs one of the programs until it is killed or its input ends.
pub fn run(arguments: &LimitArguments) -> anyhow::Result<()> {
    match &arguments.program {
        Program::Launcher(arguments) => launcher::run(arguments),
        Program::Responder(arguments) => responder::run(arguments),
        Program::Proxy(arguments) => proxy::run(arguments),
        Program::Server => proxy::run_bare(),
    }
}

/// The environment a runtime loop gets on the limit's side: what the interpreter and the bootstrap look at.
fn loop_environment(task_root: &Path) -> Vec<(String, String)> {
    [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("LANG", "en_US.UTF-8"),
        ("TZ", ":UTC"),
        ("LAMBDA_RUNTIME_DIR", "/var/runtime"),
        ("LAMBDA_TASK_ROOT", &task_root.to_string_lossy()),
        ("_HANDLER", "index.handler"),
        ("AWS_LAMBDA_FUNCTION_NAME", "limit"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// The command line of a runtime loop: the interpreter as the table of runtimes starts it, and the unmodified bootstrap.
pub fn loop_command(runtime: &Runtime) -> Vec<String> {
    let bootstraps = paths::root().join("crates/runtime/bootstraps");
    match runtime.language.as_str() {
        "python" => vec![
            runtime.interpreter.clone(),
            "-S".to_owned(),
            bootstraps.join("python/bootstrap.py").display().to_string(),
        ],
        "node" => {
            vec![runtime.interpreter.clone(), bootstraps.join("node/bootstrap.cjs").display().to_string()]
        }
        _ => vec![runtime.interpreter.clone()],
    }
}

/// A limit that serves HTTP; ended when dropped.
pub struct Serving {
    child: Child,
    group: Group,
    /// Where it listens on loopback.
    pub port: u16,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.group.end_members();
    }
}

impl Serving {
    /// One loop of `runtime` with the handler in `task_root`, behind the blocking responder.
    pub fn responder(runtime: &Runtime, task_root: &Path) -> anyhow::Result<Self> {
        let protocol = if runtime.language == "rust" { "http" } else { "frames" };
        Self::start(&["responder", "--protocol", protocol], runtime, task_root)
    }

    /// `loops` loops behind hyper.
    pub fn proxy(runtime: &Runtime, task_root: &Path, loops: usize) -> anyhow::Result<Self> {
        Self::start(&["proxy", "--loops", &loops.to_string()], runtime, task_root)
    }

    fn start(program: &[&str], runtime: &Runtime, task_root: &Path) -> anyhow::Result<Self> {
        let mut arguments: Vec<String> = program.iter().map(|&word| word.to_owned()).collect();
        arguments.extend(["--task-root".to_owned(), task_root.display().to_string(), "--".to_owned()]);
        arguments.extend(loop_command(runtime));
        Self::spawn(&arguments)
    }

    /// The bare hyper server.
    pub fn bare_server() -> anyhow::Result<Self> {
        Self::spawn(&["server".to_owned()])
    }

    fn spawn(arguments: &[String]) -> anyhow::Result<Self> {
        let group = Group::create("limit")?;
        let mut command = group.command(&std::env::current_exe()?);
        command.arg("bench-limit").args(arguments).stdout(Stdio::piped());
        let mut child = command.spawn().context("failed to start a limit")?;
        let mut line = String::new();
        let output = child.stdout.take().context("the limit has no output")?;
        BufReader::new(output).read_line(&mut line)?;
        let port = line.trim().parse().with_context(|| format!("the limit {arguments:?} named no port"))?;
        Ok(Self { child, group, port })
    }

    /// A new kept connection.
    pub fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(self.port)
    }

    /// Processor time of all its processes so far, seconds.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.group.cpu_seconds()
    }
}

/// Starts a bare program again and again, from a process of its own; ended when dropped.
pub struct Launcher {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    group: Group,
}

impl Drop for Launcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.group.end_members();
    }
}

impl Launcher {
    /// A launcher of `command`, which answers `event` on its standard input with a line on its output.
    pub fn start(command: &[String], event: &str) -> anyhow::Result<Self> {
        let group = Group::create("launcher")?;
        let mut launcher = group.command(&std::env::current_exe()?);
        launcher.args(["bench-limit", "launcher", "--event", event, "--"]).args(command);
        let mut child = launcher
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to start the launcher")?;
        let input = child.stdin.take().context("the launcher has no input")?;
        let output = BufReader::new(child.stdout.take().context("the launcher has no output")?);
        Ok(Self { child, input, output, group })
    }

    /// The bare start of `runtime` with the handler in `task_root`.
    pub fn cold(runtime: &Runtime, task_root: &Path, event: &str) -> anyhow::Result<Self> {
        let limits = paths::root().join("xtask/src/bench/limits");
        let mut command = vec![runtime.interpreter.clone()];
        match runtime.language.as_str() {
            "python" => command.extend([
                "-I".to_owned(),
                "-S".to_owned(),
                limits.join("cold.py").display().to_string(),
            ]),
            _ => command.push(limits.join("cold.mjs").display().to_string()),
        }
        command.push(task_root.display().to_string());
        Self::start(&command, event)
    }

    /// One start: seconds until its answer.
    pub fn launch(&mut self) -> anyhow::Result<f64> {
        self.input.write_all(b"go\n")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let nanoseconds: u64 = line.trim().parse().context("the bare program failed")?;
        Ok(nanoseconds as f64 / 1e9)
    }

    /// Processor time so far, seconds.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.group.cpu_seconds()
    }
}

/// Compiles the custom runtime and gives the folder that holds it as `bootstrap`.
pub fn compile_custom_runtime() -> anyhow::Result<PathBuf> {
    let folder = paths::cache().join("bench/custom");
    std::fs::create_dir_all(&folder)?;
    let program = folder.join("bootstrap");
    let source = paths::root().join("xtask/src/bench/limits/custom_runtime.rs");
    let mut compile = Command::new("rustc");
    compile.args([
        "-O",
        "--edition",
        "2024",
        "-C",
        "target-feature=+crt-static",
        "-C",
        "strip=symbols",
        "-o",
    ]);
    crate::command::run(compile.arg(&program).arg(&source))?;
    Ok(folder)
}
