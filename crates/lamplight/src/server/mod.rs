//! `serve`: everything that must be done as root is done here, in order, before privileges are dropped.
//!
//! ```text
//! configuration ─ host check ─ data directory ─ port ─ runtimes ─► keeper (root) ─┬─ spawners (root)
//!                                                                                └─ daemon (own uid): wiring
//! ```

mod byte_code;
mod daemon;
mod data_directory;
mod doors;
mod gateway;
mod housekeeping;
mod notify;
mod otel;
mod reload;
mod runtimes;
mod telemetry;
mod wiring;

pub use data_directory::{DataDirectory, RESTORING, holder, is_data_directory, planned_first_uid};
pub use gateway::read_certificates;
use runtimes::remove_unused_byte_code;
pub use runtimes::{find_runtimes, probe_version, publish, rows, runtimes_file};

use crate::config::{Config, Reader};
use crate::doctor;
use crate::failure::Failure;
use lamplight_sandbox::linux::{HostConfig, keeper};
use lamplight_sandbox::network::{EgressConfig, Resolver};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Processes that build sandboxes. Two, so that one goes on while the other is in a slow system call.
const SPAWNERS: usize = 2;
/// Descriptors the daemon may have open: about twenty for each instance.
const DESCRIPTORS: u64 = 1 << 20;

/// How long a killed predecessor may hold the port.
const PORT_TIME: Duration = Duration::from_secs(3);
const PORT_POLL: Duration = Duration::from_millis(10);

/// Runs the platform until it is told to stop. Gives the exit status. `again` reads the configuration anew.
pub fn serve(config: Config, again: Reader) -> Result<u8, Failure> {
    config.check()?;
    require_root("serve")?;
    telemetry::check(&config)?;
    otel::Exporter::check(&config.otel)?;
    doctor::require(&config)?;
    let data = DataDirectory::prepare(&config.data_dir, config.first_uid)?;
    let sockets = Listeners {
        api: bind(config.listen, data.predecessor_was_killed)?,
        gateway: match config.gateway.address()? {
            Some(address) => Some(bind(address, data.predecessor_was_killed)?),
            None => None,
        },
    };
    let runtimes = find_runtimes(&runtimes_file(&config.data_dir))?;
    let published = publish(&config.data_dir, &runtimes)?;
    remove_unused_byte_code(&config.data_dir, &published);
    raise_descriptor_limit();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let host = HostConfig {
        data_directory: config.data_dir.clone(),
        first_uid: data.first_uid,
        uid_count: data_directory::UID_COUNT,
        spawners: SPAWNERS,
        cgroup_name: data.cgroup_name.clone(),
        memory_bytes: Some(memory_bytes(&config)),
        templates: config.instances.templates,
        egress: egress(&config, &data.cgroup_name)?,
    };
    let status = keeper::run(host, |sandboxes| daemon::run(&config, again, sockets, sandboxes));
    drop(data);
    let status = status.map_err(|error| {
        Failure::usage("failed to build the wall").because(error).then("sudo lamplight doctor")
    })?;
    Ok(u8::try_from(status).unwrap_or(1))
}

/// Makes the end of the parent process a SIGTERM for this one: `quickstart` leaves no server behind.
pub fn end_with_parent() -> Result<(), Failure> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    let parent = getppid();
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|error| Failure::usage("failed to follow the parent process").because(error))?;
    if getppid() != parent {
        return Err(Failure::usage("the parent process ended meanwhile"));
    }
    Ok(())
}

/// One line and status 2 for whoever is not root.
pub fn require_root(command: &str) -> Result<(), Failure> {
    if crate::config::is_root() {
        return Ok(());
    }
    let program = crate::output::program();
    Err(Failure::usage(format!(
        "{command} must be started as root (what it starts drops to users of its own): sudo {program} {command}"
    )))
}

/// The ports of one server.
pub struct Listeners {
    /// The API's, on a loopback address.
    pub api: TcpListener,
    /// The gateway's own, when it has one.
    pub gateway: Option<TcpListener>,
}

/// Opens a port while that may still need privileges. A predecessor that was killed may hold it a moment longer.
fn bind(address: SocketAddr, wait: bool) -> Result<TcpListener, Failure> {
    let started = Instant::now();
    let listener = loop {
        match TcpListener::bind(address) {
            Err(error) if wait && error.kind() == ErrorKind::AddrInUse && started.elapsed() < PORT_TIME => {
                std::thread::sleep(PORT_POLL);
            }
            bound => break bound,
        }
    };
    let listener = listener.and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|error| {
        let failure = Failure::usage(format!("failed to listen on {address}")).because(&error);
        match error.kind() {
            ErrorKind::PermissionDenied => failure.then(
                "ports below 1024 take CAP_NET_BIND_SERVICE: the unit of `lamplight install` has it, older ones get it by installing again",
            ),
            ErrorKind::AddrInUse => failure
                .then("see who has it:   ss -ltnp")
                .then("or take another:  lamplight serve --listen 127.0.0.1:0   (0 is any free port)"),
            _ => failure,
        }
    })
}

/// Memory all instances together may use, bytes.
pub fn memory_bytes(config: &Config) -> u64 {
    if config.instances.memory_mib > 0 {
        return config.instances.memory_mib << 20;
    }
    let system = rustix::system::sysinfo();
    // The types of the fields differ between architectures.
    #[allow(clippy::useless_conversion)]
    let total = u64::from(system.totalram).saturating_mul(u64::from(system.mem_unit));
    total / 10 * 8
}

/// Raises the limit as far as root may; too low a limit shows up later as refused connections.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: Some(DESCRIPTORS), maximum: Some(DESCRIPTORS) };
    if now.current.is_some_and(|current| current < DESCRIPTORS)
        && setrlimit(Resource::Nofile, wanted).is_err()
    {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
    }
}

/// Reads one of the configuration's lists of networks.
fn networks<Kind: FromStr<Err = String>>(key: &str, texts: &[String]) -> Result<Vec<Kind>, Failure> {
    let parse = |text: &String| {
        text.parse().map_err(|error: String| {
            Failure::usage(format!("{key}: {error}")).then("an example: 192.168.7.0/24")
        })
    };
    texts.iter().map(parse).collect()
}

/// The way out for functions with egress, when the operator allows any.
fn egress(config: &Config, name: &str) -> Result<Option<EgressConfig>, Failure> {
    if !config.network.egress && !config.instances.egress {
        return Ok(None);
    }
    let resolver = Resolver::of_host()
        .map_err(|error| Failure::usage("failed to read the host's name servers").because(error))?;
    Ok(Some(EgressConfig {
        name: name.chars().filter(char::is_ascii_alphanumeric).collect(),
        allowed: networks("network.allowed", &config.network.allowed)?,
        refused: networks("network.refused", &config.network.refused)?,
        resolver,
    }))
}
