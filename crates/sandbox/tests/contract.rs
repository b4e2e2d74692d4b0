//! What every sandbox must do, proved on the real backend: needs root, cgroups, ext4 and loop devices.
//!
//! Not the usual test harness: the keeper must be started by a process without threads, so `main` becomes the
//! keeper and the cases run in the daemon it forks.

// Everything here is a test, though not in functions that clippy takes for one: a failed unwrap fails its case.
#![allow(clippy::unwrap_used)]

use lamplight_sandbox::linux::{self, DaemonSockets, HostConfig, LinuxBackend, Readiness};
use lamplight_sandbox::{
    Code, CompanionEnd, Companions, Exit, FileSystemMount, Limits, Protocol, RootEntry, Sandbox,
    SandboxBackend, SandboxError, SandboxSpec, Started, Temporary, TemporaryVolume, Zygote,
};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

const CODE: &str = "0123456789abcdef";
/// Layers, and the file that each has alone.
const LAYERS: [(&str, &str); 2] = [("1111", "first"), ("2222", "second")];
/// A layer with programs to run beside the command.
const COMPANION_LAYER: &str = "3333";
/// Prints what one client says, and its surroundings.
const LISTENER: &str = r#"#!/usr/bin/python3
import os, socket, sys
server = socket.create_server(("127.0.0.1", 7000))
print("up", os.getcwd(), os.environ["WHO"], [fd for fd in os.listdir("/proc/self/fd") if int(fd) > 4], flush=True)
client, _ = server.accept()
print(client.recv(100).decode(), flush=True)
client.recv(1)
"#;
const MIB: u64 = 1024 * 1024;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--list") {
        if !arguments.iter().any(|argument| argument == "--ignored") {
            println!("wall: test");
        }
        return;
    }
    if std::process::Command::new("id").arg("-u").output().map(|id| id.stdout).unwrap_or_default() != b"0\n" {
        println!("skipped: the sandbox contract needs root");
        std::process::exit(i32::from(std::env::var_os("CI").is_some()));
    }
    // Sandboxes look the same and have the same wall whether their root was made ahead or is built for each.
    let status = [true, false].map(|templates| {
        let directory = tempfile::Builder::new().prefix("lamplight-contract-").tempdir().unwrap();
        let host = prepare_host(directory.path(), templates);
        let data = directory.path().to_owned();
        let way = if templates { "" } else { "without_templates::" };
        linux::keeper::run(host, move |sockets| daemon(sockets, &data, way)).unwrap()
    });
    std::process::exit(i32::from(status != [0, 0]));
}

fn prepare_host(data: &Path, templates: bool) -> HostConfig {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o711)).unwrap();
    let hidden = data.join("hidden");
    std::fs::create_dir_all(&hidden).unwrap();
    std::fs::write(hidden.join("bootstrap.sh"), "echo from the bootstrap\n").unwrap();
    let zygote = include_str!("../../runtime/bootstraps/python/zygote.py");
    std::fs::write(hidden.join("zygote.py"), zygote).unwrap();
    std::fs::write(hidden.join("forker.py"), FORKER).unwrap();
    let unique = std::process::id();
    let first_uid = 0x7100_0000 + (unique % 1024) * 4096;
    // The daemon, which runs the cases as the first uid, may replace what is in here.
    let installed = data.join("installed");
    std::fs::create_dir_all(installed.join("runtime")).unwrap();
    std::fs::write(installed.join("runtime/version"), "1\n").unwrap();
    std::os::unix::fs::chown(&installed, Some(first_uid), None).unwrap();
    let entry = |host: &str, hide| RootEntry { host: host.into(), inside: host.into(), hide };
    let entries = vec![
        entry("/usr/bin", false),
        entry("/usr/lib", false),
        entry("/usr/lib64", false),
        RootEntry { host: hidden, inside: "/var/runtime".into(), hide: true },
        RootEntry { host: installed.join("runtime"), inside: "/var/lang".into(), hide: true },
        RootEntry { host: installed.join("later"), inside: "/usr/share/later".into(), hide: true },
    ];
    let roots = BTreeMap::from([("base", entries)]);
    std::fs::write(data.join("roots.json"), serde_json::to_vec(&roots).unwrap()).unwrap();
    let code = data.join("code/unpacked").join(CODE);
    std::fs::create_dir_all(&code).unwrap();
    std::fs::write(code.join("hello.txt"), "hello from the code\n").unwrap();
    for (layer, own) in LAYERS {
        let layer = code.with_file_name(layer);
        std::fs::create_dir_all(layer.join("lib")).unwrap();
        std::fs::write(layer.join(own), own).unwrap();
        std::fs::write(layer.join("lib/which"), own).unwrap();
    }
    let programs = code.with_file_name(COMPANION_LAYER).join("extensions");
    std::fs::create_dir_all(&programs).unwrap();
    for (name, content, mode) in [
        ("listener", LISTENER, 0o755),
        ("plain", "not a program", 0o644),
        ("short", "#!/usr/bin/bash\nexit 3", 0o755),
    ] {
        std::fs::write(programs.join(name), content).unwrap();
        std::fs::set_permissions(programs.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    HostConfig {
        data_directory: data.to_owned(),
        first_uid,
        uid_count: 4096,
        spawners: 2,
        cgroup_name: format!("lamplight-contract-{unique}"),
        memory_bytes: None,
        templates,
        egress: None,
    }
}

/// Everything below runs in the unprivileged daemon.
fn daemon(sockets: DaemonSockets, data: &Path, way: &str) -> i32 {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let readiness = Readiness { shells: 3, volumes: 2, volume_mib: 64, nests: 1, sandboxes: 256 };
        let backend = LinuxBackend::new(sockets, readiness).unwrap();
        let mut failed = 0;
        macro_rules! cases {
            ($($case:ident),* $(,)?) => {$(
                let outcome = tokio::spawn({
                    let (backend, data) = (backend.clone(), data.to_owned());
                    async move { tokio::time::timeout(Duration::from_secs(60), $case(backend, data)).await }
                })
                .await;
                match outcome {
                    Ok(Ok(())) => println!("ok      {way}{}", stringify!($case)),
                    Ok(Err(_)) => { failed += 1; println!("TIMEOUT {way}{}", stringify!($case)); }
                    Err(error) => { failed += 1; println!("FAILED  {way}{}: {error}", stringify!($case)); }
                }
            )*};
        }
        cases!(
            runs_a_command_and_reports_its_exit,
            a_signal_is_reported_as_one,
            what_is_not_there_is_refused,
            companions_come_first_and_are_told_apart,
            a_socket_made_inside_reaches_what_listens_there,
            the_frame_socket_is_descriptor_three,
            the_environment_is_exactly_the_given_one,
            nobody_inside_with_no_capability,
            only_its_own_processes_are_visible,
            the_root_is_the_list_and_read_only,
            mountinfo_tells_no_host_path,
            a_runtime_installed_anew_is_found,
            only_loopback_and_our_listeners,
            out_of_memory_is_told_from_other_deaths,
            processes_are_limited,
            temporary_has_its_size_and_is_not_memory,
            code_is_bound_late,
            layers_are_one_tree_later_ones_over_earlier_ones,
            layers_are_bound_late,
            a_zygotes_child_has_a_wall_of_its_own,
            children_outlive_their_zygote,
            temporary_is_carried_on,
            file_systems_are_durable_and_shared,
            frozen_means_no_progress_and_still_dies,
            memory_of_a_frozen_sandbox_is_reclaimed,
            processor_time_is_limited,
            nothing_outlives_the_stop,
            an_init_that_dies_is_an_interruption,
            many_at_once,
            nothing_leaks,
        );
        println!("{failed} failed");
        i32::from(failed > 0)
    })
}

fn limits() -> Limits {
    Limits { memory_bytes: 128 * MIB, cpu_millis: 1_000, processes: 64, open_files: 1024 }
}

fn spec(script: &str) -> SandboxSpec {
    SandboxSpec {
        root: "base".to_owned(),
        code: Some(Code::of(CODE)),
        file_systems: Vec::new(),
        temporary: Temporary::New { size_mib: 64 },
        limits: limits(),
        egress: false,
        command: vec!["/usr/bin/bash".to_owned(), "-c".to_owned(), script.to_owned()],
        environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        protocol: Protocol::HttpRuntimeApi,
        companions: Companions::default(),
    }
}

async fn code_is_bound_late(backend: LinuxBackend, _data: PathBuf) {
    let script = r#"
        ls /var/task; echo blank >&3; read -r _ <&3; cd /var/task; cat hello.txt
        echo mine > hello.txt; grep -c ' /var/task ro,nosuid,nodev' /proc/self/mountinfo; umount /var/task; ls
    "#;
    let mut blank = spec(script);
    (blank.code, blank.protocol) = (None, Protocol::Frames);
    let mut started = start(&backend, blank).await;
    let frames = started.frames.take().unwrap();
    frames.set_nonblocking(true).unwrap();
    let mut frames = tokio::net::UnixStream::from_std(frames).unwrap();
    let mut word = [0; 6];
    tokio::io::AsyncReadExt::read_exact(&mut frames, &mut word).await.unwrap();
    let refused = started.sandbox.bind_code(Code::of("../../etc"), 64 * MIB).await.unwrap_err();
    assert!(matches!(refused, SandboxError::Invalid(_)), "{refused}");
    started.sandbox.bind_code(Code::of(CODE), 64 * MIB).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut frames, b"go\n").await.unwrap();
    let printed = output(started.output).await;
    let lines: Vec<&str> = printed.lines().filter(|line| !line.contains(": ")).collect();
    assert_eq!(lines, ["lib", "hello from the code", "1", "hello.txt"], "{printed}");
    assert!(printed.contains("Read-only file system"), "{printed}");
    started.sandbox.stop().await;
}

/// A zygote whose children evaluate the lines they are sent.
const FORKER: &str = r#"
import json, sys
sys.path.insert(0, "/var/runtime")
import zygote
zygote.serve(json.loads)
import os
for line in os.fdopen(3, "r"):
    try:
        answer = repr(eval(line))
    except BaseException as error:
        answer = f"{type(error).__name__}: {error}"
    os.write(3, (answer + "\n").encode())
"#;

/// A forked child and the conversation with it.
struct Child {
    started: Started,
    frames: tokio::io::BufReader<tokio::net::UnixStream>,
}

impl Child {
    async fn of(zygote: &dyn Zygote) -> Self {
        let mut blank = spec("");
        blank.code = None;
        let mut started = zygote.fork(blank).await.unwrap();
        let frames = started.frames.take().unwrap();
        frames.set_nonblocking(true).unwrap();
        let frames = tokio::io::BufReader::new(tokio::net::UnixStream::from_std(frames).unwrap());
        Self { started, frames }
    }

    async fn ask(&mut self, expression: &str) -> String {
        use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
        self.frames.get_mut().write_all(format!("{expression}\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.frames.read_line(&mut answer).await.unwrap();
        answer.trim_end().to_owned()
    }
}

async fn zygote(backend: &LinuxBackend) -> Box<dyn Zygote> {
    let mut spec = spec("");
    let command = ["/usr/bin/python3", "-I", "-S", "/var/runtime/forker.py"];
    (spec.code, spec.command) = (None, command.map(str::to_owned).into());
    backend.start_zygote(spec).await.unwrap()
}

/// The code with its layers, in this order.
fn with_layers(layers: &[&str]) -> Code {
    Code { layers: layers.iter().map(|layer| (*layer).to_owned()).collect(), ..Code::of(CODE) }
}

async fn layers_are_one_tree_later_ones_over_earlier_ones(backend: LinuxBackend, _data: PathBuf) {
    let (first, second) = (LAYERS[0].0, LAYERS[1].0);
    let look = r#"cd /opt; echo *; cat lib/which; echo; touch x 2>&1; rm -f lib/which 2>&1;
        grep -c ' /opt ro,nosuid,nodev' /proc/self/mountinfo; grep -c /opt/lib /proc/self/mountinfo
        umount /opt 2>/dev/null || echo sealed"#;
    let sealed = "touch: cannot touch 'x': Read-only file system\n\
                  rm: cannot remove 'lib/which': Read-only file system\n1\n0\nsealed\n";
    for (layers, expected) in [
        (&[first, second][..], "first lib second\nsecond\n"),
        (&[second, first], "first lib second\nfirst\n"),
        (&[second], "lib second\nsecond\n"),
    ] {
        let (text, exit) = run(&backend, SandboxSpec { code: Some(with_layers(layers)), ..spec(look) }).await;
        assert_eq!(text, format!("{expected}{sealed}"), "{layers:?} ended with {exit:?}");
    }
    // The kernel lays no directory over itself.
    for refused in [&["../../../etc"][..], &["missing"], &[first; 6], &[first, first]] {
        let refused = SandboxSpec { code: Some(with_layers(refused)), ..spec("true") };
        assert!(backend.start(refused).await.is_err());
    }
}

async fn layers_are_bound_late(backend: LinuxBackend, _data: PathBuf) {
    let zygote = zygote(&backend).await;
    let mut one = Child::of(&*zygote).await;
    let mut other = Child::of(&*zygote).await;
    let mut none = Child::of(&*zygote).await;
    let look =
        "sorted(os.listdir('/opt')), os.path.exists('/opt/lib/which') and open('/opt/lib/which').read()";
    for child in [&mut one, &mut other, &mut none] {
        assert_eq!(child.ask(look).await, "(['lib'], False)");
    }
    let sandboxes = [&one, &other, &none].map(|child| &child.started.sandbox);
    for (sandbox, layers) in sandboxes.into_iter().zip([&["1111", "2222"][..], &["1111"], &[]]) {
        sandbox.bind_code(with_layers(layers), 64 * MIB).await.unwrap();
    }
    assert_eq!(one.ask(look).await, "(['first', 'lib', 'second'], 'second')");
    assert_eq!(other.ask(look).await, "(['first', 'lib'], 'first')");
    assert_eq!(none.ask(look).await, "(['lib'], False)");
    let read_only = "OSError: [Errno 30] Read-only file system: '/opt/x'";
    assert_eq!(one.ask("open('/opt/x', 'w')").await, read_only);
    let refused = none.started.sandbox.bind_code(with_layers(&["a/b"]), 64 * MIB).await.unwrap_err();
    assert!(matches!(refused, SandboxError::Invalid(_)), "{refused}");
    for child in [one, other, none] {
        child.started.sandbox.stop().await;
    }
}

async fn a_zygotes_child_has_a_wall_of_its_own(backend: LinuxBackend, _data: PathBuf) {
    let zygote = zygote(&backend).await;
    let mut one = Child::of(&*zygote).await;
    let mut other = Child::of(&*zygote).await;
    for child in [&mut one, &mut other] {
        let check = async |child: &mut Child, expression: &str, expected: &str| {
            assert_eq!(child.ask(expression).await, expected, "{expression}");
        };
        check(child, "os.getuid(), os.getgid(), os.getgroups()", "(993, 990, [])").await;
        check(child, "sorted(os.listdir('/proc/self/fd'))", "['0', '1', '2', '3', '4']").await;
        check(
            child,
            "[line.split()[1] for line in open('/proc/self/status') if line.startswith('Cap')]",
            &format!("[{}]", [format!("'{:016}'", 0).as_str(); 5].join(", ")),
        )
        .await;
        check(child, "[line.split()[1] for line in open('/proc/self/status') if line[:10] in ('NoNewPrivs', 'Seccomp:\\t2')]", "['1', '2']").await;
        check(
            child,
            "sorted(int(name) for name in os.listdir('/proc') if name.isdigit())[0], os.getppid()",
            "(1, 1)",
        )
        .await;
        check(child, "os.listdir('/var/task'), os.getcwd()", "(['lib'], '/var/task')").await;
        check(child, "open('/tmp/x', 'w').write('mine')", "4").await;
        check(child, "open('/usr/lib/x', 'w')", "OSError: [Errno 30] Read-only file system: '/usr/lib/x'")
            .await;
        check(
            child,
            "__import__('ctypes').CDLL(None, use_errno=True).setns(3, 0), __import__('ctypes').get_errno()",
            "(-1, 1)",
        )
        .await;
        check(child, "__import__('ctypes').CDLL(None, use_errno=True).unshare(0x10000000)", "-1").await;
        let members = child.ask("open('/proc/self/cgroup').read()").await;
        assert!(!members.contains("lamplight"), "{members}");
    }
    for property in ["os.readlink('/proc/self/ns/' + name)".to_owned(), "os.urandom(8)".to_owned()] {
        let names = ["mnt", "net", "ipc", "uts", "pid", "user", "cgroup"];
        for name in names {
            let expression = property.replace("name", &format!("'{name}'"));
            assert_ne!(one.ask(&expression).await, other.ask(&expression).await, "{expression}");
        }
    }
    one.started.sandbox.bind_code(Code::of(CODE), 64 * MIB).await.unwrap();
    assert_eq!(one.ask("os.chdir('/var/task'), os.listdir('.')").await, "(None, ['hello.txt'])");
    assert_eq!(other.ask("os.listdir('/var/task')").await, "['lib']");
    // The limit is the child's, and it is killed alone.
    other
        .frames
        .get_mut()
        .try_write(b"len(bytes(1 << 30)) and [bytearray(1 << 20) for _ in range(1 << 10)]\n")
        .unwrap();
    let exit = other.started.sandbox.exited().await;
    assert!(exit.out_of_memory, "{exit:?}");
    assert_eq!(one.ask("1 + 1").await, "2");
    other.started.sandbox.stop().await;
    one.ask("os._exit(7)").await;
    assert_eq!(one.started.sandbox.exited().await.status, Some(7));
    one.started.sandbox.stop().await;
}

async fn children_outlive_their_zygote(backend: LinuxBackend, _data: PathBuf) {
    let zygote = zygote(&backend).await;
    let mut child = Child::of(&*zygote).await;
    drop(zygote);
    assert_eq!(child.ask("6 * 7").await, "42");
    child.started.sandbox.freeze().unwrap();
    child.started.sandbox.thaw().unwrap();
    assert_eq!(child.ask("6 * 7").await, "42");
    assert!(child.started.sandbox.usage().unwrap().memory_peak_bytes > 0);
    child.started.sandbox.stop().await.unwrap();
}

async fn start(backend: &LinuxBackend, spec: SandboxSpec) -> Started {
    backend.start(spec).await.unwrap()
}

/// Reads the output until every writer is gone.
async fn output(pipe: std::os::fd::OwnedFd) -> String {
    use tokio::io::AsyncReadExt as _;
    let mut pipe = tokio::net::unix::pipe::Receiver::from_owned_fd(pipe).unwrap();
    let mut text = String::new();
    pipe.read_to_string(&mut text).await.unwrap();
    text
}

/// Runs a script to its end; gives its output and exit.
async fn run(backend: &LinuxBackend, spec: SandboxSpec) -> (String, Exit) {
    let started = start(backend, spec).await;
    let exit = started.sandbox.exited().await;
    let text = output_now(&started).await;
    started.sandbox.stop().await.unwrap();
    (text, exit)
}

/// What is in the pipe now that the command has ended.
async fn output_now(started: &Started) -> String {
    let mut pipe = std::fs::File::from(started.output.try_clone().unwrap());
    let mut collected = Vec::new();
    let mut buffer = [0_u8; 65536];
    while let Ok(length @ 1..) = pipe.read(&mut buffer) {
        collected.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&collected).into_owned()
}

async fn check_output(backend: &LinuxBackend, script: &str, expected: &str) {
    let (text, exit) = run(backend, spec(script)).await;
    assert_eq!(text, expected, "{script} ended with {exit:?}");
}

async fn runs_a_command_and_reports_its_exit(backend: LinuxBackend, _: PathBuf) {
    let (text, exit) = run(&backend, spec("cat hello.txt; cat /var/runtime/bootstrap.sh; pwd; exit 7")).await;
    assert_eq!(text, "hello from the code\necho from the bootstrap\n/var/task\n");
    assert_eq!(exit, Exit { status: Some(7), signal: None, out_of_memory: false, interrupted: false });
}

fn with_companions(script: &str, programs: &[&str]) -> SandboxSpec {
    let programs = programs.iter().map(|name| format!("/opt/extensions/{name}")).collect();
    let environment = vec![("WHO".to_owned(), "a companion".to_owned())];
    let companions = Companions { programs, environment };
    SandboxSpec { code: Some(with_layers(&[COMPANION_LAYER])), companions, ..spec(script) }
}

async fn companions_come_first_and_are_told_apart(backend: LinuxBackend, _: PathBuf) {
    let script = "trap 'echo asked to end; exit 4' TERM; echo command $WHO; while :; do sleep 0.01; done";
    let started = start(&backend, with_companions(script, &["listener", "plain", "short"])).await;
    let sandbox = &started.sandbox;
    let mut ends = sandbox.companions();
    let ended = |number: usize| move |ends: &Vec<Option<CompanionEnd>>| ends[number].is_some();
    let short = ends.wait_for(ended(2)).await.unwrap()[2].clone();
    assert_eq!(short, Some(CompanionEnd::Exited { status: Some(3), signal: None }));
    let plain = ends.wait_for(ended(1)).await.unwrap()[1].clone();
    assert_eq!(plain, Some(CompanionEnd::NotStarted("Permission denied (os error 13)".to_owned())));
    // The command has not been let go.
    assert_eq!(output_now(&started).await, "");
    sandbox.begin().await.unwrap();
    while !output_now(&started).await.contains("command\n") {
        tokio::task::yield_now().await;
    }
    sandbox.terminate().unwrap();
    assert_eq!(sandbox.exited().await.status, Some(4));
    assert_eq!(output_now(&started).await, "asked to end\n");
    assert_eq!(ends.borrow()[0], None, "the listener lives on");
    started.sandbox.stop().await.unwrap();
    let mut missing = with_companions("true", &["short"]);
    missing.command = vec!["/var/task/missing".to_owned()];
    let started = start(&backend, missing).await;
    let refused = started.sandbox.begin().await.unwrap_err();
    assert!(
        matches!(&refused, SandboxError::Invalid(text) if text.contains("/var/task/missing")),
        "{refused}"
    );
}

async fn a_socket_made_inside_reaches_what_listens_there(backend: LinuxBackend, _: PathBuf) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let started = start(&backend, with_companions("exec sleep 60", &["listener"])).await;
    let output = tokio::net::unix::pipe::Receiver::from_owned_fd(started.companion_output.unwrap()).unwrap();
    let mut lines = tokio::io::BufReader::new(output);
    let mut line = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut line).await.unwrap();
    assert_eq!(line, "up / a companion []\n", "and no descriptor of ours");
    let sockets = started.sandbox.sockets();
    // From here there is nothing at that address.
    assert!(tokio::net::TcpStream::connect("127.0.0.1:7000").await.is_err());
    // Several at once, answered in order.
    let (first, second) = tokio::join!(sockets(), sockets());
    let socket = std::net::TcpStream::from(first.unwrap());
    drop(second.unwrap());
    let socket = tokio::net::TcpSocket::from_std_stream(socket);
    let mut stream = socket.connect("127.0.0.1:7000".parse().unwrap()).await.unwrap();
    stream.write_all(b"hello from outside").await.unwrap();
    let mut said = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut said).await.unwrap();
    assert_eq!(said, "hello from outside\n");
    // Nobody answers while it stands still.
    started.sandbox.freeze().unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), sockets()).await.is_err());
    started.sandbox.thaw().unwrap();
    assert!(sockets().await.is_ok());
    started.sandbox.stop().await.unwrap();
    assert!(sockets().await.is_err(), "it does not keep the sandbox");
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
}

async fn a_signal_is_reported_as_one(backend: LinuxBackend, _: PathBuf) {
    let (_, exit) = run(&backend, spec("kill -SEGV $$")).await;
    assert_eq!((exit.status, exit.signal, exit.out_of_memory), (None, Some(11), false));
}

async fn what_is_not_there_is_refused(backend: LinuxBackend, _: PathBuf) {
    let refused = |change: fn(&mut SandboxSpec)| {
        let backend = backend.clone();
        async move {
            let mut spec = spec("true");
            change(&mut spec);
            match backend.start(spec).await {
                Ok(_) => panic!("started"),
                Err(error) => error,
            }
        }
    };
    let error = refused(|spec| spec.root = "nonsense".to_owned()).await;
    assert!(matches!(error, SandboxError::Invalid(_)), "{error}");
    let error = refused(|spec| spec.code = Some(Code::of("../../file-systems"))).await;
    assert!(matches!(error, SandboxError::Invalid(_)), "{error}");
    let error = refused(|spec| spec.command = vec!["/var/task/bootstrap".to_owned()]).await;
    assert!(matches!(&error, SandboxError::Invalid(text) if text.contains("No such file")), "{error}");
    let error = refused(|spec| {
        spec.file_systems =
            vec![FileSystemMount { directory: "x".to_owned(), mount_path: "/mnt/../etc".to_owned() }];
    })
    .await;
    assert!(matches!(error, SandboxError::Invalid(_)), "{error}");
    let error = refused(|spec| spec.egress = true).await;
    assert!(matches!(&error, SandboxError::Invalid(text) if text.contains("without egress")), "{error}");
}

async fn the_frame_socket_is_descriptor_three(backend: LinuxBackend, _: PathBuf) {
    let mut spec = spec("read line <&3; echo \"got $line\" >&3; ls /proc/self/fd");
    spec.protocol = Protocol::Frames;
    let started = start(&backend, spec).await;
    let mut frames = started.frames.as_ref().unwrap().try_clone().unwrap();
    frames.write_all(b"ping\n").unwrap();
    let answer = tokio::task::spawn_blocking(move || {
        let mut answer = [0_u8; 9];
        frames.read_exact(&mut answer).map(|()| answer)
    });
    assert_eq!(&answer.await.unwrap().unwrap(), b"got ping\n");
    started.sandbox.exited().await;
    // 4 is the directory that ls itself reads.
    assert_eq!(output_now(&started).await, "0\n1\n2\n3\n4\n");
}

async fn the_environment_is_exactly_the_given_one(backend: LinuxBackend, _: PathBuf) {
    let mut spec = spec("");
    spec.command = vec!["/usr/bin/env".to_owned()];
    spec.environment = vec![("A".to_owned(), "b c".to_owned())];
    assert_eq!(run(&backend, spec).await.0, "A=b c\n");
}

async fn nobody_inside_with_no_capability(backend: LinuxBackend, _: PathBuf) {
    let script = "id -u; id -g; id -un; hostname; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status /proc/1/status | tr -d '\\t' | sort | uniq -c | sed 's/^ *//;s/ .*status:/ /' | sort -u";
    let (text, _) = run(&backend, spec(script)).await;
    let mut lines = text.lines();
    assert_eq!(lines.by_ref().take(4).collect::<Vec<_>>(), ["993", "990", "sbx_user1051", "sandbox"]);
    for line in lines {
        let fine = line.ends_with(":0000000000000000")
            || line.ends_with("NoNewPrivs:1")
            || line.ends_with("Seccomp:2");
        assert!(fine, "{line}");
    }
}

async fn only_its_own_processes_are_visible(backend: LinuxBackend, _: PathBuf) {
    check_output(&backend, "ls /proc | grep -c '^[0-9]' | { read n; [ $n -le 6 ] && echo few; }; kill -9 1; sleep 0.01; echo alive", "few\nalive\n").await;
    // Memory and descriptors of the init are out of reach although it has the same user.
    check_output(&backend, "cat /proc/1/maps 2>/dev/null | wc -l; ls /proc/1/fd 2>/dev/null | wc -l; cat /proc/1/environ 2>/dev/null | wc -c", "0\n0\n0\n").await;
}

async fn the_root_is_the_list_and_read_only(backend: LinuxBackend, data: PathBuf) {
    check_output(
        &backend,
        "echo /*; cat /etc/shadow 2>&1 | tail -c 26; for f in /x /usr/x /usr/bin/x /var/task/x /var/runtime/x /etc/x /dev/x /mnt/x /opt/x; do echo 1 2>/dev/null >$f && echo wrote $f; done; echo 1 >/tmp/x && cat /tmp/x",
        "/bin /dev /etc /lib /lib64 /mnt /opt /proc /run /sbin /tmp /usr /var\nNo such file or directory\n1\n",
    )
    .await;
    let script = format!(
        "ls {} 2>&1 | tail -c 26; mount -o remount,rw / 2>/dev/null || echo kept; unshare -U true 2>/dev/null || echo kept",
        data.display()
    );
    check_output(&backend, &script, "No such file or directory\nkept\nkept\n").await;
}

async fn mountinfo_tells_no_host_path(backend: LinuxBackend, data: PathBuf) {
    let (text, _) = run(&backend, spec("cat /proc/self/mountinfo /proc/self/mounts /proc/self/cgroup")).await;
    assert!(!text.contains(data.to_str().unwrap()), "{text}");
    assert!(!text.contains("contract"), "{text}");
    for line in text.lines().filter(|line| line.contains(" /usr/")) {
        assert!(line.contains("ro,nosuid,nodev"), "{line}");
    }
}

async fn a_runtime_installed_anew_is_found(backend: LinuxBackend, data: PathBuf) {
    let look =
        "cat /var/lang/version; ls /usr/share/later 2>/dev/null; grep -c ' /var/lang ' /proc/self/mountinfo";
    check_output(&backend, look, "1\n1\n").await;
    let installed = data.join("installed");
    std::fs::rename(installed.join("runtime"), installed.join("old")).unwrap();
    std::fs::create_dir(installed.join("runtime")).unwrap();
    std::fs::write(installed.join("runtime/version"), "2\n").unwrap();
    check_output(&backend, look, "2\n1\n").await;
    std::fs::create_dir(installed.join("later")).unwrap();
    std::fs::write(installed.join("later/there"), "").unwrap();
    check_output(&backend, look, "2\nthere\n1\n").await;
    // As it was, for the other cases.
    std::fs::remove_dir_all(installed.join("later")).unwrap();
    std::fs::remove_dir_all(installed.join("runtime")).unwrap();
    std::fs::rename(installed.join("old"), installed.join("runtime")).unwrap();
    check_output(&backend, look, "1\n1\n").await;
}

async fn only_loopback_and_our_listeners(backend: LinuxBackend, _: PathBuf) {
    let script = "ls /sys 2>/dev/null | wc -l; cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' '; for p in 9001 19001; do exec 5<>/dev/tcp/127.0.0.1/$p && echo open $p; echo hello >&5; done; (exec 5<>/dev/tcp/10.0.0.1/80) 2>/dev/null || echo unreachable";
    let started = start(&backend, spec(script)).await;
    started.runtime_api.set_nonblocking(false).unwrap();
    let listener = started.runtime_api.try_clone().unwrap();
    let accepted = tokio::task::spawn_blocking(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut text = [0_u8; 6];
        connection.read_exact(&mut text).unwrap();
        text
    });
    assert_eq!(&accepted.await.unwrap(), b"hello\n");
    started.sandbox.exited().await;
    assert_eq!(output_now(&started).await, "0\nlo\nopen 9001\nopen 19001\nunreachable\n");
}

async fn out_of_memory_is_told_from_other_deaths(backend: LinuxBackend, _: PathBuf) {
    let big = spec("x=$(head -c 300M /dev/zero | tr '\\0' x); echo ${#x}");
    let (_, exit) = run(&backend, big).await;
    assert!(exit.out_of_memory && !exit.interrupted, "{exit:?}");
}

async fn processes_are_limited(backend: LinuxBackend, _: PathBuf) {
    let (text, _) = run(
        &backend,
        spec(
            "for i in $(seq 200); do sleep 5 & done 2>&1 | grep -c -i 'resource temporarily' ; jobs | wc -l",
        ),
    )
    .await;
    let refused: u32 = text.lines().next().unwrap_or("0").parse().unwrap();
    assert!(refused > 0, "{text}");
}

async fn temporary_has_its_size_and_is_not_memory(backend: LinuxBackend, _: PathBuf) {
    // A 64 MiB sandbox fills 64 MiB of /tmp and is refused the 65th.
    let mut small = spec(
        "head -c 64M /dev/zero >/tmp/a && echo filled; head -c 1M /dev/zero >/tmp/b || echo full; ls -ln /tmp/a | cut -d' ' -f3-5",
    );
    small.limits.memory_bytes = 64 * MIB;
    let (text, exit) = run(&backend, small).await;
    let text = text.lines().filter(|line| !line.starts_with("head:")).collect::<Vec<_>>().join("|");
    assert_eq!(text, "filled|full|993 990 67108864", "{exit:?}");
}

async fn temporary_is_carried_on(backend: LinuxBackend, _: PathBuf) {
    let started = start(&backend, spec("echo kept >/tmp/file; kill -9 $$")).await;
    started.sandbox.exited().await;
    let volume: TemporaryVolume = started.sandbox.stop().await.unwrap();
    let mut next = spec("cat /tmp/file; echo more >>/tmp/file; cat /tmp/file");
    next.temporary = Temporary::Carried(volume);
    assert_eq!(run(&backend, next).await.0, "kept\nkept\nmore\n");
    check_output(&backend, "cat /tmp/file 2>/dev/null | wc -c", "0\n").await;
}

async fn file_systems_are_durable_and_shared(backend: LinuxBackend, data: PathBuf) {
    let with = |script: &str| {
        let mut spec = spec(script);
        spec.file_systems =
            vec![FileSystemMount { directory: "notes".to_owned(), mount_path: "/mnt/notes".to_owned() }];
        spec
    };
    let (first, _) = run(&backend, with("umask 077; mkdir /mnt/notes/d && echo one >/mnt/notes/d/f; ls -ln /mnt/notes | tail -1 | cut -d' ' -f3,4")).await;
    assert_eq!(first, "993 990\n");
    let (second, _) = run(&backend, with("echo two >>/mnt/notes/d/f; cat /mnt/notes/d/f")).await;
    assert_eq!(second, "one\ntwo\n");
    // Nothing can be made beside them, and who has none sees no names.
    let (beside, _) = run(&backend, with("mkdir /mnt/other 2>&1 | grep -o Read-only; echo /mnt/*")).await;
    assert_eq!(beside, "Read-only\n/mnt/notes\n");
    check_output(&backend, "ls /mnt | wc -l", "0\n").await;
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(std::fs::metadata(data.join("file-systems/notes")).unwrap().uid(), 993);
}

async fn frozen_means_no_progress_and_still_dies(backend: LinuxBackend, _: PathBuf) {
    let started = start(&backend, spec("while true; do echo x; sleep 0.001; done")).await;
    // Freezing is asynchronous for the freezer, so wait until the output dries up before judging.
    started.sandbox.freeze().unwrap();
    loop {
        let before = output_now(&started).await.len();
        tokio::time::sleep(Duration::from_millis(30)).await;
        if before == 0 && output_now(&started).await.is_empty() {
            break;
        }
    }
    started.sandbox.thaw().unwrap();
    while output_now(&started).await.is_empty() {
        tokio::task::yield_now().await;
    }
    started.sandbox.freeze().unwrap();
    assert!(started.sandbox.stop().await.is_some());
}

async fn memory_of_a_frozen_sandbox_is_reclaimed(backend: LinuxBackend, _: PathBuf) {
    let script = r#"
        dd if=/dev/zero bs=1M count=32 2>/dev/null | tr '\0' x > /tmp/file; sync /tmp/file
        echo written; while [ ! -e /tmp/never ]; do sleep 0.01; done
    "#;
    let started = start(&backend, spec(script)).await;
    while output_now(&started).await.is_empty() {
        tokio::task::yield_now().await;
    }
    started.sandbox.freeze().unwrap();
    let before = started.sandbox.usage().unwrap().memory_bytes;
    assert!(before > 32 * MIB, "{before}");
    let freed = started.sandbox.reclaim().await.unwrap();
    let after = started.sandbox.usage().unwrap().memory_bytes;
    println!("        {} KiB before, {} KiB after", before / 1024, after / 1024);
    // Version 2 before Linux 5.19 cannot be asked.
    if freed > 0 {
        assert!(freed > 24 * MIB && after < 8 * MIB, "{freed} of {before} freed, {after} left");
    }
    started.sandbox.thaw().unwrap();
    assert!(started.sandbox.stop().await.is_some());
}

async fn processor_time_is_limited(backend: LinuxBackend, _: PathBuf) {
    let started =
        start(&backend, spec("read line <&0; while true; do :; done & sleep 1; kill %1; times | tail -1"))
            .await;
    started.sandbox.apply_limits(Limits { cpu_millis: 100, ..limits() }).unwrap();
    started.sandbox.exited().await;
    let text = output_now(&started).await;
    // "0m0.104s 0m0.000s": about a tenth of the second that passed.
    let used: f64 = text.split(['m', 's']).nth(1).unwrap().parse().unwrap();
    assert!(used < 0.4, "{text}");
}

async fn nothing_outlives_the_stop(backend: LinuxBackend, _: PathBuf) {
    let started = start(&backend, spec("(setsid sleep 1000 &) ; (trap '' TERM HUP; setsid bash -c 'while true; do sleep 1; done' &) ; echo started; exit 0")).await;
    started.sandbox.exited().await;
    assert!(started.sandbox.usage().unwrap().memory_bytes > 0);
    let pipe = started.output.try_clone().unwrap();
    assert!(started.sandbox.stop().await.is_some());
    // Every writer of the pipe is gone: the read ends.
    assert_eq!(output(pipe).await, "started\n");
}

async fn an_init_that_dies_is_an_interruption(backend: LinuxBackend, _: PathBuf) {
    // Dropping the handle kills everything; nobody is left to say how the command ended.
    let started = start(&backend, spec("sleep 1000")).await;
    let sandbox: Box<dyn Sandbox> = started.sandbox;
    drop(sandbox);
    let text = output(started.output).await;
    assert_eq!(text, "");
}

async fn many_at_once(backend: LinuxBackend, _: PathBuf) {
    let tasks: Vec<_> = (0..40)
        .map(|number| {
            let backend = backend.clone();
            tokio::spawn(
                async move { run(&backend, spec(&format!("echo {number}; cat /etc/hostname"))).await.0 },
            )
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), format!("{number}\nsandbox\n"));
    }
}

async fn nothing_leaks(backend: LinuxBackend, _: PathBuf) {
    let count = || std::fs::read_dir("/proc/thread-self/fd").map(Iterator::count).unwrap_or(0);
    for _ in 0..5 {
        run(&backend, spec("true")).await;
    }
    let before = count();
    for _ in 0..50 {
        run(&backend, spec("true")).await;
    }
    // How many shells wait, of 16 descriptors each, varies by two; fifty runs would leave at least fifty.
    assert!(count() <= before + 32, "{} descriptors, {before} before", count());
}
