//! The server of `quickstart`: our own program again, as a child that ends with us.

use crate::cli::Global;
use crate::config::Config;
use crate::failure::Failure;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to stop after it was told to.
const STOP_TIME: Duration = Duration::from_secs(20);
const STOP_POLL: Duration = Duration::from_millis(20);
/// What a server says when it is ready.
const READY: &str = "lamplight: listening on ";

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Its address as a URL.
    pub endpoint: String,
}

/// The configured address when it is free, else a free port beside it. `given` addresses are taken as they are.
pub fn free_address(config: &Config, given: bool) -> (SocketAddr, Option<String>) {
    if given || TcpListener::bind(config.listen).is_ok() {
        return (config.listen, None);
    }
    let free = SocketAddr::new(config.listen.ip(), 0);
    (free, Some(format!("port {} is taken, so a free one is used", config.listen.port())))
}

impl Server {
    /// Starts `serve` and waits until it listens. Its log goes to standard error; it shows warnings only.
    pub fn start(global: &Global, config: &Config, listen: SocketAddr) -> Result<Self, Failure> {
        let context = |error: std::io::Error| Failure::usage("failed to start the server").because(error);
        // `/proc/self/exe` stays right when the file was replaced or removed after we were started.
        let mut command = Command::new("/proc/self/exe");
        if let Some(file) = &global.config {
            command.arg("--config").arg(file);
        }
        command.arg("--data-dir").arg(&config.data_dir).args([
            "serve",
            "--end-with-parent",
            "--listen",
            &listen.to_string(),
        ]);
        if config.log == "info" {
            command.args(["--log", "warn"]);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(context)?;
        let Some(output) = child.stdout.take() else {
            return Err(Failure::usage("failed to start the server"));
        };
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(endpoint) = line.strip_prefix(READY) {
                return Ok(Self { child, endpoint: endpoint.trim().to_owned() });
            }
        }
        // It has said why on standard error.
        let status = child.wait().map_err(context)?;
        Err(Failure::usage("the server did not start")
            .because(format!("it ended with {status}; its own words are above"))
            .then("sudo lamplight doctor"))
    }

    /// Whether the server ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Tells it to stop and waits until it has.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let started = Instant::now();
        if let Some(process) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        while started.elapsed() < STOP_TIME {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(STOP_POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.end();
        }
    }
}
