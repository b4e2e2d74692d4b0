//! A sandbox with egress on the real backend, and one without beside it. The host is a network namespace with
//! one uplink to an outside; needs root, `ip`, `nft` and Python.
//!
//! Not the usual test harness: the keeper must be started by a process without threads.

#![allow(clippy::unwrap_used)] // The helpers of tests are outside the functions the lint exempts.

use lamplight_sandbox::linux::{self, DaemonSockets, HostConfig, LinuxBackend, Readiness};
use lamplight_sandbox::network::{EgressConfig, Resolver};
use lamplight_sandbox::{
    Code, Companions, Limits, Protocol, RootEntry, SandboxBackend, SandboxError, SandboxSpec, Temporary,
};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const CODE: &str = "0123456789abcdef";
const PUBLIC: &str = "9.9.9.9";
const PRIVATE: &str = "10.1.2.3";
const UPLINK: &str = "1.1.1.2";
const PATIENCE: Duration = Duration::from_secs(30);

/// Says when it listens, then answers every connection with `out`.
const SERVER: &str = "
import socket, sys
listener = socket.create_server(('0.0.0.0', 80))
print('listening', flush=True)
while True:
    connection, _ = listener.accept()
    connection.sendall(b'out')
    connection.close()
";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--list") {
        if !arguments.iter().any(|argument| argument == "--ignored") {
            println!("egress: test");
        }
        return;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: the test of egress needs root");
        std::process::exit(i32::from(std::env::var_os("CI").is_some()));
    }
    let world = World::new();
    let namespace = std::fs::File::open(format!("/run/netns/{}", world.host)).unwrap();
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    let directory = tempfile::Builder::new().prefix("lamplight-egress-").tempdir().unwrap();
    let status = [true, false].map(|configured| {
        let host = prepare_host(directory.path(), configured);
        linux::keeper::run(host, move |sockets| daemon(sockets, configured)).unwrap()
    });
    let tables = Command::new("nft").args(["list", "tables"]).output().unwrap().stdout;
    let forwarding = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    drop((directory, world));
    assert_eq!(String::from_utf8_lossy(&tables), "", "the rules must go with the server");
    assert_eq!(forwarding, "0\n", "and so must forwarding");
    std::process::exit(i32::from(status != [0, 0]));
}

fn shell(script: &str) {
    let output = Command::new("bash").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Host and outside, and a server in each. The servers are orphans: the keeper waits for all its children.
struct World {
    host: String,
    outside: String,
    servers: Vec<Pid>,
}

impl World {
    fn new() -> Self {
        let name = |what: &str| format!("lamplight-egress-{}-{what}", std::process::id());
        let (host, outside) = (name("host"), name("outside"));
        shell(&format!(
            "ip netns add {host}; ip netns add {outside}
             ip -n {host} link set lo up; ip -n {outside} link set lo up
             ip -n {host} link add up0 type veth peer name out0 netns {outside}
             ip -n {host} addr add {UPLINK}/24 dev up0; ip -n {host} link set up0 up
             ip -n {outside} addr add 1.1.1.1/24 dev out0; ip -n {outside} link set out0 up
             ip -n {host} route add default via 1.1.1.1
             ip -n {outside} addr add {PUBLIC}/32 dev lo; ip -n {outside} addr add {PRIVATE}/32 dev lo"
        ));
        let serve = |place: &String| {
            let script = r#"ip netns exec "$0" python3 -c "$1" & echo $!"#;
            let mut starter = Command::new("bash")
                .args(["-c", script, place, SERVER])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(starter.stdout.take().unwrap()).lines();
            let mut line = || lines.next().unwrap().unwrap();
            // The two may come in any order.
            let (one, two) = (line(), line());
            starter.wait().unwrap();
            let pid = if one == "listening" { two } else { one };
            Pid::from_raw(pid.parse().unwrap()).unwrap()
        };
        let servers = [&host, &outside].map(serve).into();
        Self { host, outside, servers }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for server in &self.servers {
            let _ = kill_process(*server, Signal::KILL);
        }
        shell(&format!("ip netns del {}; ip netns del {}", self.host, self.outside));
    }
}

fn prepare_host(data: &Path, configured: bool) -> HostConfig {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o711)).unwrap();
    let entry = |path: &str| RootEntry { host: path.into(), inside: path.into(), hide: false };
    let roots = BTreeMap::from([("base", ["/usr/bin", "/usr/lib", "/usr/lib64"].map(entry))]);
    std::fs::write(data.join("roots.json"), serde_json::to_vec(&roots).unwrap()).unwrap();
    std::fs::create_dir_all(data.join("code/unpacked").join(CODE)).unwrap();
    let unique = std::process::id();
    let resolver = Resolver { nameservers: vec!["9.9.9.10".parse().unwrap()], ..Resolver::default() };
    let egress = EgressConfig { name: "egress".to_owned(), resolver, ..EgressConfig::default() };
    HostConfig {
        data_directory: data.to_owned(),
        first_uid: 0x7200_0000 + (unique % 1024) * 4096,
        uid_count: 4096,
        spawners: 2,
        cgroup_name: format!("lamplight-egress-{unique}"),
        memory_bytes: None,
        templates: true,
        egress: configured.then_some(egress),
    }
}

fn spec(script: &str, egress: bool) -> SandboxSpec {
    SandboxSpec {
        root: "base".to_owned(),
        code: Some(Code::of(CODE)),
        file_systems: Vec::new(),
        temporary: Temporary::New { size_mib: 64 },
        limits: Limits { memory_bytes: 128 << 20, cpu_millis: 1_000, processes: 64, open_files: 1024 },
        egress,
        command: vec!["/usr/bin/bash".to_owned(), "-c".to_owned(), script.to_owned()],
        environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        protocol: Protocol::HttpRuntimeApi,
        companions: Companions::default(),
    }
}

/// Runs in the unprivileged daemon.
fn daemon(sockets: DaemonSockets, configured: bool) -> i32 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(async {
        let readiness = Readiness { shells: 2, volumes: 2, volume_mib: 64, nests: 1, sandboxes: 16 };
        let backend = LinuxBackend::new(sockets, readiness).unwrap();
        let cases = async {
            if configured {
                out_and_not_out(&backend).await;
            } else {
                refused_where_not_configured(&backend).await;
            }
        };
        tokio::time::timeout(PATIENCE, cases).await
    });
    println!("{} with egress configured: {configured}", if outcome.is_ok() { "ok     " } else { "TIMEOUT" });
    i32::from(outcome.is_err())
}

async fn run(backend: &LinuxBackend, script: &str, egress: bool) -> String {
    let started = backend.start(spec(script, egress)).await.unwrap();
    started.sandbox.exited().await;
    let mut collected = Vec::new();
    let mut pipe = std::fs::File::from(started.output.try_clone().unwrap());
    let mut buffer = [0_u8; 65536];
    while let Ok(length @ 1..) = pipe.read(&mut buffer) {
        collected.extend_from_slice(&buffer[..length]);
    }
    started.sandbox.stop().await;
    String::from_utf8_lossy(&collected).into_owned()
}

const LOOK_AROUND: &str = "cat /etc/resolv.conf; cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' ' | sort | tr '\\n' ' '; \
     try() { (exec 5<>/dev/tcp/$1/80 && cat <&5) 2>/dev/null || echo no; echo; }; try 9.9.9.9; try 10.1.2.3; try 1.1.1.2";

async fn out_and_not_out(backend: &LinuxBackend) {
    let out = run(backend, LOOK_AROUND, true).await;
    let lines: Vec<&str> = out.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines, ["nameserver 9.9.9.10", "eth0 lo out", "no", "no"], "{out}");
    let not_out = run(backend, LOOK_AROUND, false).await;
    let lines: Vec<&str> = not_out.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines, ["lo no", "no", "no"], "{not_out}");
}

async fn refused_where_not_configured(backend: &LinuxBackend) {
    let Err(error) = backend.start(spec("true", true)).await.map(drop) else { panic!("started") };
    assert!(matches!(&error, SandboxError::Invalid(text) if text.contains("without egress")), "{error}");
}
