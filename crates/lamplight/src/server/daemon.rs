//! The unprivileged process: opens storage, wires the parts, serves, and drains when it is told to stop.

use super::reload::Reload;
use super::{Listeners, notify, telemetry, wiring};
use crate::config::{Config, Reader};
use lamplight_sandbox::linux::DaemonSockets;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A second signal counts as "now" only after this time: Ctrl-C comes from the terminal and from the keeper.
const SAME_SIGNAL: Duration = Duration::from_millis(500);

/// Runs until SIGTERM, SIGINT or the end of its terminal; SIGHUP else reads the configuration again. Gives the exit status: 0 after a drain, 2 when it could not start.
pub fn run(config: &Config, again: Reader, listeners: Listeners, sockets: DaemonSockets) -> i32 {
    let reload = Reload::new(again, config.clone(), telemetry::start(config));
    // Half of the processors: the other half is for functions, and an event that wakes a task on the thread that got it costs
    // less than one that wakes another thread (measured on two cores: 3.7 futex calls and a seventh of the time per call).
    let threads = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1));
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "failed to start the threads");
                return 2;
            }
        };
    let status = runtime.block_on(serve(config, reload, listeners, sockets));
    // Blocking work of the store is done or abandoned by now; nothing waits for it.
    runtime.shutdown_timeout(Duration::from_secs(1));
    status
}

async fn serve(config: &Config, mut reload: Reload, listeners: Listeners, sockets: DaemonSockets) -> i32 {
    let address = listeners.api.local_addr().unwrap_or(config.listen);
    let gateway = listeners.gateway.as_ref().and_then(|socket| socket.local_addr().ok());
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "failed to listen to signals");
            return 2;
        }
    };
    let server = match wiring::start(config, listeners, sockets) {
        Ok(server) => server,
        Err(failure) => {
            crate::output::remark(failure.text().trim_end());
            return 2;
        }
    };
    // The line that says "ready": tools wait for it, so it is plain text on standard output.
    let mut output = std::io::stdout().lock();
    if let Some(gateway) = gateway {
        let scheme = if config.gateway.is_secured() { "https" } else { "http" };
        let _ = writeln!(output, "lamplight: function URLs and APIs at {scheme}://{gateway}");
    }
    let _ = writeln!(output, "lamplight: listening on http://{address}").and_then(|()| output.flush());
    drop(output);
    tracing::info!(%address, data = %config.data_dir.display(), "listening");
    notify::tell("READY=1");
    while signals.next().await == Told::Reload {
        reload.run(&server);
    }
    notify::tell("STOPPING=1");
    tracing::info!(seconds = config.drain_seconds, "stopping: invocations in flight may finish");
    let again = async {
        tokio::time::sleep(SAME_SIGNAL).await;
        while signals.next().await == Told::Reload {}
    };
    tokio::select! {
        finished = server.drain(Duration::from_secs(config.drain_seconds)) => {
            tracing::info!(finished, "stopped");
            0
        }
        () = again => {
            tracing::warn!("stopped at once");
            0
        }
    }
}

/// What a signal asks for.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Stop,
    Reload,
}

/// The signals of a service manager, of Ctrl-C, and of a terminal that ends.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    /// Whether there was a terminal at the start.
    on_terminal: bool,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            on_terminal: std::io::stdin().is_terminal(),
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            // A terminal that has hung up answers as none any more.
            _ = self.hang_up.recv() => match self.on_terminal && !std::io::stdin().is_terminal() {
                true => Told::Stop,
                false => Told::Reload,
            },
        }
    }
}
