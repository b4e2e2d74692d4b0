//! The pool on the real backend: what only a wall can show. Needs root, cgroups, ext4 and loop devices.
//!
//! Not the usual test harness: the keeper must be started by a process without threads, so `main` becomes the
//! keeper and the cases run in the daemon it forks.

#![allow(clippy::unwrap_used)] // A failing unwrap is a failing test.

#[allow(dead_code)]
mod common;
#[path = "wall/version_zygotes.rs"]
mod version_zygotes;

use common::Fixture;
use lamplight_model::function::FileSystemConfig;
use lamplight_model::{OutcomeStatus, StartKind};
use lamplight_pool::{ProvisionedTarget, RuntimePlan};
use lamplight_runtime::ManagedRuntimes;
use lamplight_runtime::managed::{SearchPaths, base_entries, bootstraps, discover, root_entries};
use lamplight_sandbox::RootEntry;
use lamplight_sandbox::linux::{self, DaemonSockets, HostConfig, LinuxBackend, Readiness};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use version_zygotes::{
    a_hostile_zygote_gains_nothing, imports_that_can_be_shared_are, imports_that_cannot_be_shared_are_not,
    instances_forked_after_their_imports_look_like_the_others,
    instances_forked_after_their_imports_share_no_secret, version_zygotes_leave_nothing_behind,
    what_imports_print_is_in_every_log, zygotes_that_lie_cost_themselves_only,
};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--list") {
        if !arguments.iter().any(|argument| argument == "--ignored") {
            println!("wall: test");
        }
        return;
    }
    if std::process::Command::new("id").arg("-u").output().map(|id| id.stdout).unwrap_or_default() != b"0\n" {
        println!("skipped: the pool on the real backend needs root");
        std::process::exit(i32::from(std::env::var_os("CI").is_some()));
    }
    let directory = tempfile::Builder::new().prefix("lamplight-pool-").tempdir().unwrap();
    let table = discover(&SearchPaths::of_host(), &|_| None);
    let host = prepare_host(directory.path(), &table);
    let data = directory.path().to_owned();
    let status = linux::keeper::run(host, move |sockets| daemon(sockets, &data, table)).unwrap();
    drop(directory);
    std::process::exit(status);
}

fn prepare_host(data: &Path, table: &ManagedRuntimes) -> HostConfig {
    use std::os::unix::fs::PermissionsExt as _;
    let open = |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    open(data);
    for file in bootstraps() {
        let folder = data.join("bootstraps").join(file.directory);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(file.name), file.content).unwrap();
    }
    let convert = |entries: Vec<lamplight_runtime::managed::Entry>| -> Vec<RootEntry> {
        entries
            .into_iter()
            .map(|entry| RootEntry { host: entry.host, inside: entry.inside, hide: entry.hide })
            .collect()
    };
    let mut roots = BTreeMap::from([("provided".to_owned(), convert(base_entries()))]);
    for runtime in table.available() {
        let family = if runtime.identifier.starts_with("python") { "python" } else { "node" };
        let entries = convert(root_entries(runtime, &data.join("bootstraps").join(family)));
        roots.insert(runtime.identifier.clone(), entries);
    }
    std::fs::write(data.join("roots.json"), serde_json::to_vec(&roots).unwrap()).unwrap();
    let unique = std::process::id();
    let first_uid = 0x7200_0000 + (unique % 1024) * 4096;
    // The functions are written by the daemon, which runs as the first uid.
    let code = data.join("code/unpacked");
    std::fs::create_dir_all(&code).unwrap();
    std::os::unix::fs::chown(&code, Some(first_uid), Some(first_uid)).unwrap();
    HostConfig {
        data_directory: data.to_owned(),
        first_uid,
        uid_count: 4096,
        spawners: 2,
        cgroup_name: format!("lamplight-pool-{unique}"),
        memory_bytes: None,
        templates: true,
        egress: None,
    }
}

/// Everything below runs in the unprivileged daemon.
fn daemon(sockets: DaemonSockets, data: &Path, table: ManagedRuntimes) -> i32 {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let backend = LinuxBackend::new(sockets, Readiness::default()).unwrap();
        let code = data.join("code/unpacked");
        let runtimes = Arc::new(move |identifier: &str| match identifier {
            // A compiler that does what its package says.
            "python-of-the-package" => {
                let plan = RuntimePlan::from_table(&table, "python3.11")?;
                Ok(RuntimePlan { command: vec!["/var/task/app.py".to_owned()], ..plan })
            }
            _ => RuntimePlan::from_table(&table, identifier),
        });
        // `wall <part of a case's name>` runs those only.
        let filter = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
        let mut failed = 0;
        macro_rules! cases {
            ($($case:ident),* $(,)?) => {$(
                'case: {
                if !filter.as_ref().is_none_or(|part| stringify!($case).contains(part.as_str())) {
                    break 'case;
                }
                let fixture = Fixture::over(Arc::new(backend.clone()), code.clone(), runtimes.clone(), |config| {
                    config.freeze_after = Duration::from_millis(20);
                    let compiles = stringify!($case).contains("compilers");
                    config.compile_limit = Duration::from_secs(if compiles { 2 } else { 0 });
                    config.zygotes = !stringify!($case).contains("booted");
                    // Not where a slow moment would have one made that the case does not expect.
                    if !["imports", "zygote"].iter().any(|word| stringify!($case).contains(word)) {
                        config.version_zygotes.most = 0;
                    }
                });
                let begun = Instant::now();
                let outcome = tokio::spawn(tokio::time::timeout(Duration::from_secs(120), async move {
                    $case(&fixture).await;
                    fixture.pool.drain(Instant::now()).await;
                    let snapshot = fixture.pool.snapshot();
                    assert_eq!((snapshot.instances.total(), snapshot.claimed_bytes), (0, 0));
                }))
                .await;
                let took = begun.elapsed();
                match outcome {
                    Ok(Ok(())) => println!("ok      {} ({took:.1?})", stringify!($case)),
                    Ok(Err(_)) => { failed += 1; println!("TIMEOUT {}", stringify!($case)); }
                    Err(error) => { failed += 1; println!("FAILED  {}: {error}", stringify!($case)); }
                }
                }
            )*};
        }
        cases!(
            a_cold_and_a_warm_call,
            a_node_function,
            the_ways_to_start_python_look_alike_inside,
            booted_blanks_look_like_starts_from_nothing,
            children_of_one_zygote_share_no_secret,
            instances_forked_after_their_imports_look_like_the_others,
            instances_forked_after_their_imports_share_no_secret,
            imports_that_cannot_be_shared_are_not,
            imports_that_can_be_shared_are,
            what_imports_print_is_in_every_log,
            zygotes_that_lie_cost_themselves_only,
            a_hostile_zygote_gains_nothing,
            what_must_be_there_at_the_start_is,
            the_ways_to_start_node_look_alike_inside,
            an_instance_started_ahead_answers_warm,
            provisioned_instances_are_ready_and_replaced,
            too_much_memory_is_told_from_other_deaths,
            a_timeout_carries_the_tmp,
            a_frozen_instance_wakes_for_its_call,
            a_custom_runtime_and_a_missing_one,
            stopped_instances_leave_nothing_behind,
            version_zygotes_leave_nothing_behind,
            printing_in_the_background_stands_still_when_idle,
            compilers_that_misbehave_cost_their_job_only,
            two_hundred_first_calls_have_two_hundred_instances,
        );
        println!("{failed} failed");
        i32::from(failed > 0)
    })
}

async fn a_cold_and_a_warm_call(fixture: &Fixture) {
    let source = r#"
import os
print("loading")
def handler(event, context):
    print("running")
    return [event, os.getcwd(), context.memory_limit_in_mb, os.environ["AWS_LAMBDA_RUNTIME_API"], open("/tmp/x", "a").tell()]
"#;
    let function = Arc::new(fixture.python("hello", source));
    let cold = fixture.call(&function, "1").await;
    assert_eq!(cold.body.replace("\"128\"", "128"), r#"[1, "/var/task", 128, "127.0.0.1:9001", 0]"#);
    assert_eq!(cold.start(), "cold");
    let mut warm_us = Vec::new();
    for _ in 0..200 {
        let begun = Instant::now();
        let warm = fixture.call(&function, "1").await;
        warm_us.push(begun.elapsed().as_micros());
        assert_eq!(warm.start(), "warm");
    }
    warm_us.sort_unstable();
    println!("        {}", cold.finished.report.report_line().trim_end());
    println!("        warm, answer and report: p50 {} us, p99 {} us", warm_us[100], warm_us[198]);
    let log = fixture.log.text("hello");
    assert!(log.contains("loading\nSTART RequestId: "), "{log}");
}

async fn an_instance_started_ahead_answers_warm(fixture: &Fixture) {
    let source = "def handler(event, context): return event";
    let function = Arc::new(fixture.python("ahead", source));
    fixture.pool.prewarm(&function).await.unwrap();
    // It is frozen like any other, and wakes for its first call.
    fixture.until("frozen", |snapshot| snapshot.frozen == 1).await;
    let first = fixture.call(&function, "1").await;
    assert_eq!((first.body.as_str(), first.start()), ("1", "warm"));
    assert!(first.finished.report.max_memory_used_mib > 0);
    assert_eq!(fixture.pool.snapshot().instances.total(), 1);
    let log = fixture.log.text("ahead");
    assert!(log.contains("Phase: init\tStatus: success\nSTART RequestId: "), "{log}");
}

async fn provisioned_instances_are_ready_and_replaced(fixture: &Fixture) {
    let source = r#"
import os, time
def handler(event, context):
    if event == "die": os._exit(1)
    time.sleep(0.3)
    return os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"] + " " + context.log_stream_name
"#;
    let function = Arc::new(fixture.python("provisioned", source));
    fixture.pool.provision(&[ProvisionedTarget { version: function.clone(), instances: 3 }]);
    let state = || fixture.pool.provisioned(&function.scope, &function.name, function.version);
    fixture.until("three are ready", |_| state().ready == 3).await;
    fixture.until("they stand still", |snapshot| snapshot.frozen == 3).await;
    let before: Vec<String> = fixture.log.stream_names("provisioned");
    let mut all = Vec::new();
    for expected in [3, 2] {
        let calls = futures_util::future::join_all((0..3).map(|_| fixture.call(&function, "1"))).await;
        for call in &calls {
            assert!(call.body.starts_with("\"provisioned-concurrency "), "{}", call.body);
            assert_eq!(call.start(), "warm");
            assert!(call.finished.report.max_memory_used_mib > 0);
        }
        let known = calls.iter().filter(|call| before.iter().any(|stream| call.body.contains(stream)));
        all.push((known.count(), expected));
        if expected == 3 {
            let ended = fixture.call(&function, "\"die\"").await;
            assert!(ended.body.contains("Runtime.ExitError"), "{}", ended.body);
            fixture.until("it is replaced", |_| state().ready == 3).await;
        }
    }
    assert!(all.iter().all(|(known, expected)| known == expected), "{all:?}");
    fixture.pool.provision(&[]);
    fixture.until("none is left", |snapshot| snapshot.provisioned.ready == 0 && snapshot.frozen == 0).await;
}

async fn a_node_function(fixture: &Fixture) {
    let source = "exports.handler = async (event) => ({ got: event, version: process.version })";
    let mut function = fixture.function("node", "nodejs20.x", "app.js", source);
    let Some(identifier) = node_identifier(fixture).await else {
        assert!(std::env::var_os("CI").is_none(), "no Node.js on this host");
        println!("skipped: no Node.js on this host");
        return;
    };
    function.runtime = identifier;
    let answered = fixture.call(&Arc::new(function), "[1]").await;
    assert!(answered.body.starts_with(r#"{"got":[1],"version":"v"#), "{}", answered.body);
    println!("        {}", answered.finished.report.report_line().trim_end());
}

/// Everything a program can see of how it was started.
const PROBE: &str = r#"
import json, locale, logging, os, re, resource, signal, sys, time
def handler(event, context):
    time.sleep(event)
    own = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_LAMBDA_LOG_STREAM_NAME")
    status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
    def target(name):
        try:
            return re.sub(r"\d+", "N", os.readlink("/proc/self/fd/" + name))
        except OSError:
            return None
    return {
        "environment": {k: v for k, v in os.environ.items() if k not in own},
        "secrets": sorted(k for k in own if os.environ.get(k)),
        "path": sys.path, "argv": sys.argv, "flags": str(sys.flags), "prefix": sys.prefix,
        "found": [__import__(name).__spec__.origin for name in ("json", "email", "encodings.idna", "socket", "ctypes")],
        "time": [time.tzname, time.localtime(0)[:6]],
        "locale": [locale.setlocale(locale.LC_ALL), locale.getpreferredencoding(), sys.getfilesystemencoding()],
        "streams": [sys.stdout.encoding, sys.stdout.errors, sys.stdin.fileno()],
        "limits": [resource.getrlimit(kind) for kind in range(16)],
        "descriptors": {name: target(name) for name in sorted(os.listdir("/proc/self/fd")) if target(name)},
        "process": [os.getcwd(), os.getuid(), os.getgid(), os.getgroups(), os.getppid(), os.getpgid(0) == os.getpid(), os.getsid(0) == os.getpid(), oct(os.umask(0))],
        "status": [status[k] for k in ("Name", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Threads", "SigBlk", "SigIgn", "SigCgt")],
        "score": open("/proc/self/oom_score_adj").read(),
        "mounts": sorted(re.sub(r"fd/\d+", "fd/N", " ".join(line.split()[3:6] + line.split(" - ")[1].split())) for line in open("/proc/self/mountinfo") if "loop" not in line),
        "own files": [open("/proc/self/fd/0").read(), len(os.listdir("/proc/self/task")), len([name for name in os.listdir("/proc") if name.isdigit()])],
        "tree": sorted(os.listdir("/")) + sorted(os.listdir("/dev")) + sorted(os.listdir("/etc")) + os.listdir("/var/task") + os.listdir("/tmp"),
        "system": [os.uname().nodename, open("/proc/self/cgroup").read().count("/..")],
        "signals": [str(signal.getsignal(number)) for number in range(1, 32)],
        "hooks": [str(type(finder)) for finder in sys.meta_path],
        "logging": [logging.getLogger().level] + [[str(handler), str(type(handler.formatter))] for handler in logging.getLogger().handlers],
    }
"#;

/// Starts of `function` by way, with what they saw: as many at once as `calls`, so that not all find a blank.
async fn probes(
    fixture: &Fixture,
    function: &Arc<lamplight_model::FunctionVersion>,
    calls: usize,
) -> Vec<(StartKind, serde_json::Value)> {
    fixture.pool.expect(function);
    fixture.until("blank", |snapshot| snapshot.blanks >= 2).await;
    let answers = futures_util::future::join_all((0..calls).map(|_| fixture.call(function, "0.3"))).await;
    answers
        .into_iter()
        .map(|answer| {
            assert!(!answer.body.contains("errorType"), "{}", answer.body);
            (answer.finished.report.start, serde_json::from_str(&answer.body).unwrap())
        })
        .collect()
}

/// The start with a `/tmp` of its own size, for which no blank waits.
async fn from_nothing(
    fixture: &Fixture,
    mut function: lamplight_model::FunctionVersion,
) -> serde_json::Value {
    function.ephemeral_storage_mib = 600;
    function.revision_id.push_str("-own-size");
    let answer = fixture.call(&Arc::new(function), "0").await;
    assert_eq!(answer.finished.report.start, StartKind::FromNothing);
    serde_json::from_str(&answer.body).unwrap()
}

fn assert_alike(seen: &serde_json::Value, expected: &serde_json::Value, way: StartKind) {
    let fields = expected.as_object().unwrap();
    for (field, value) in fields {
        assert_eq!(&seen[field], value, "{field} of a start {}", way.label());
    }
    assert_eq!(seen.as_object().unwrap().len(), fields.len());
}

async fn the_ways_to_start_python_look_alike_inside(fixture: &Fixture) {
    let mut function = fixture.python("probe", PROBE);
    function.environment =
        Some([("TABLE".to_owned(), "notes".to_owned()), ("TZ".to_owned(), "Asia/Tokyo".to_owned())].into());
    let expected = from_nothing(fixture, function.clone()).await;
    assert_eq!(expected["environment"]["TABLE"], "notes");
    assert_eq!(expected["time"][1][3], 9, "{}", expected["time"]);
    let seen = probes(fixture, &Arc::new(function), 8).await;
    for (way, probe) in &seen {
        assert_alike(probe, &expected, *way);
    }
    for way in [StartKind::Blank, StartKind::Zygote] {
        assert!(seen.iter().any(|(kind, _)| *kind == way), "no start went the way {}", way.label());
    }
}

async fn booted_blanks_look_like_starts_from_nothing(fixture: &Fixture) {
    let function = fixture.python("probe", PROBE);
    let expected = from_nothing(fixture, function.clone()).await;
    for (way, probe) in probes(fixture, &Arc::new(function), 2).await {
        assert_eq!(way, StartKind::Blank);
        assert_alike(&probe, &expected, way);
    }
}

/// The job that compiles packages is given hostile input; here the compiler itself is hostile.
async fn compilers_that_misbehave_cost_their_job_only(fixture: &Fixture) {
    let hello = Arc::new(fixture.python("hello", "def handler(event, context): return event"));
    let jobs = [
        ("fails", "#!/bin/sh\necho half an archive\nexit 1\n"),
        ("hangs", "#!/bin/sh\nexec sleep 1000\n"),
        ("leaves-a-child", "#!/bin/sh\nsleep 1000 &\nexit 0\n"),
        ("prints-without-end", "#!/bin/sh\nexec cat /dev/zero\n"),
        ("forks-without-end", "#!/bin/sh\nf() { f | f & }\nf\nwait\nexit 1\n"),
    ];
    for (failed, (name, script)) in (1..).zip(jobs) {
        let mut function = fixture.function(name, "python-of-the-package", "app.py", script);
        function.ephemeral_storage_mib = 600; // No blank is made for it.
        fixture.pool.expect(&function);
        assert_eq!(fixture.call(&hello, "1").await.body, "1", "{name}");
        fixture.until(name, |snapshot| snapshot.uncompiled_packages == failed).await;
    }
    let snapshot = fixture.pool.snapshot();
    // The neighbour's own package is the one that was compiled.
    assert_eq!((snapshot.compiled_packages, snapshot.uncompiled_packages), (1, 5));
}

async fn children_of_one_zygote_share_no_secret(fixture: &Fixture) {
    let source = r#"
import os, random, secrets, ssl, tempfile, time, uuid
at_import = [random.random(), uuid.uuid4().hex]
def handler(event, context):
    time.sleep(event)
    return [*at_import, random.random(), random.SystemRandom().random(), str(uuid.uuid1()), uuid.uuid4().hex, secrets.token_hex(), os.urandom(16).hex(),
        ssl.RAND_bytes(16).hex(), tempfile.mktemp(), os.stat(3).st_ino, os.readlink("/proc/self/fd/1"), os.readlink("/proc/self/ns/pid"), os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]]
"#;
    let function = Arc::new(fixture.python("secrets", source));
    let seen = probes(fixture, &function, 8).await;
    let mut all: Vec<String> = Vec::new();
    for (_, values) in &seen {
        all.extend(values.as_array().unwrap().iter().map(ToString::to_string));
    }
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count, "{seen:?}");
}

async fn what_must_be_there_at_the_start_is(fixture: &Fixture) {
    let source = "import sys\ndef handler(event, context): return [sys.flags.hash_randomization, hash('x')]";
    let mut function = fixture.python("seeded", source);
    fixture.pool.expect(&function);
    fixture.until("blank", |snapshot| snapshot.blanks >= 1).await;
    function.environment = Some([("PYTHONHASHSEED".to_owned(), "0".to_owned())].into());
    let answer = fixture.call(&Arc::new(function), "1").await;
    assert_eq!(answer.finished.report.start, StartKind::FromNothing);
    assert!(answer.body.starts_with("[0, "), "{}", answer.body);
}

async fn the_ways_to_start_node_look_alike_inside(fixture: &Fixture) {
    let source = r#"
const fs = require("fs"), v8 = require("v8");
exports.handler = async () => ({
  environment: Object.fromEntries(Object.entries(process.env).filter(([name]) => !/KEY|TOKEN|STREAM/.test(name))),
  paths: [require.resolve.paths("x"), require("module").globalPaths], argv: process.argv, options: process.execArgv, title: process.title,
  time: [new Date(0).getHours(), Intl.DateTimeFormat().resolvedOptions().timeZone, Intl.DateTimeFormat().resolvedOptions().locale],
  heap: v8.getHeapStatistics().heap_size_limit, directory: process.cwd(), user: [process.getuid(), process.getgid(), process.getgroups()],
  descriptors: fs.readdirSync("/proc/self/fd").length > 3, limits: fs.readFileSync("/proc/self/limits", "utf8"), files: fs.readdirSync("/var/task"),
  listeners: process.eventNames().map(String).sort(), globals: Object.keys(globalThis).sort(), oom: fs.readFileSync("/proc/self/oom_score_adj", "utf8"),
});
"#;
    let mut function = fixture.function("node", "nodejs20.x", "app.js", source);
    let Some(identifier) = node_identifier(fixture).await else {
        println!("skipped: no Node.js on this host");
        return;
    };
    function.runtime = identifier;
    function.environment = Some([("TZ".to_owned(), "Asia/Tokyo".to_owned())].into());
    let expected = from_nothing(fixture, function.clone()).await;
    assert_eq!(expected["time"][0], 9);
    for (way, probe) in probes(fixture, &Arc::new(function), 2).await {
        assert_eq!(way, StartKind::Blank);
        assert_alike(&probe, &expected, way);
    }
}

/// The host's Node.js, whichever it is.
async fn node_identifier(fixture: &Fixture) -> Option<String> {
    for identifier in ["nodejs18.x", "nodejs20.x", "nodejs22.x", "nodejs24.x"] {
        let probe =
            Arc::new(fixture.function("probe", identifier, "app.js", "exports.handler = async () => 1"));
        if fixture.try_call(&probe, "1").await.is_ok() {
            return Some(identifier.to_owned());
        }
    }
    None
}

async fn too_much_memory_is_told_from_other_deaths(fixture: &Fixture) {
    let source =
        "def handler(event, context):\n    kept = []\n    while True: kept.append(bytearray(1 << 20))";
    let function = Arc::new(fixture.python("hungry", source));
    let ended = fixture.call(&function, "1").await;
    let report = &ended.finished.report;
    assert_eq!(
        ended.body,
        format!(
            r#"{{"errorType":"Runtime.OutOfMemory","errorMessage":"RequestId: {} Error: Runtime exited with error: signal: killed"}}"#,
            report.request_id
        )
    );
    assert!((120..=128).contains(&report.max_memory_used_mib), "{report:?}");
    // What it was seen to need counts from now on.
    let killed = fixture.call(&Arc::new(fixture.python("killed", KILLED)), "1").await;
    assert!(killed.body.contains("Runtime.ExitError"), "{}", killed.body);
}

const KILLED: &str = "import os\ndef handler(event, context): os.kill(os.getpid(), 9)";

async fn a_timeout_carries_the_tmp(fixture: &Fixture) {
    let source = r#"
import os, time
def handler(event, context):
    had = os.path.exists("/tmp/kept")
    if not had:
        open("/tmp/kept", "w").write("x" * 1000000)
        time.sleep(60)
    return os.path.getsize("/tmp/kept")
"#;
    let mut function = fixture.python("hangs", source);
    function.timeout_seconds = 1;
    let function = Arc::new(function);
    let hung = fixture.call(&function, "1").await;
    assert_eq!(hung.outcome.status, OutcomeStatus::Timeout);
    assert_eq!(fixture.call(&function, "1").await.body, "1000000");
}

async fn a_frozen_instance_wakes_for_its_call(fixture: &Fixture) {
    let source = r#"
import threading, time
ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        time.sleep(0.001)
threading.Thread(target=tick, daemon=True).start()
def handler(event, context):
    return ticks
"#;
    let function = Arc::new(fixture.python("ticks", source));
    let mut last = 0;
    for _ in 0..20 {
        fixture.call(&function, "1").await;
        fixture.until("frozen", |snapshot| snapshot.frozen == 1).await;
        let before = Instant::now();
        let answer = fixture.call(&function, "1").await;
        assert_eq!(answer.start(), "warm");
        assert!(before.elapsed() < Duration::from_secs(2));
        let ticks: u64 = answer.body.parse().unwrap();
        assert!(ticks >= last);
        last = ticks;
    }
}

async fn a_custom_runtime_and_a_missing_one(fixture: &Fixture) {
    let missing = fixture.call(&Arc::new(fixture.function("nothing", "provided.al2023", "", "")), "1").await;
    assert!(missing.body.contains("Runtime.InvalidEntrypoint"), "{}", missing.body);
    let source = r#"#!/usr/bin/python3
import http.client, os
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
while True:
    connection.request("GET", "/2018-06-01/runtime/invocation/next")
    response = connection.getresponse()
    event, request = response.read(), response.getheader("Lambda-Runtime-Aws-Request-Id")
    connection.request("POST", f"/2018-06-01/runtime/invocation/{request}/response", event)
    connection.getresponse().read()
"#;
    let function = Arc::new(fixture.function("custom", "provided.al2023", "bootstrap", source));
    assert_eq!(fixture.call(&function, "[1]").await.body, "[1]");
    fixture.until("frozen", |snapshot| snapshot.frozen == 1).await;
    assert_eq!(fixture.call(&function, "[2]").await.body, "[2]");
}

async fn stopped_instances_leave_nothing_behind(fixture: &Fixture) {
    let function = Arc::new(fixture.python("killed", KILLED));
    let custom = Arc::new(fixture.function("leaves", "provided.al2023", "bootstrap", "#!/bin/sh\nexit 3\n"));
    let both = async || {
        let (one, two) = tokio::join!(fixture.call(&function, "1"), fixture.call(&custom, "1"));
        assert!(
            one.body.contains("Runtime.ExitError") && two.body.contains("exit status 3"),
            "{one:?} {two:?}"
        );
    };
    // Fills what is kept on purpose: shells, volumes, the carried volume of each version.
    for _ in 0..5 {
        both().await;
    }
    let before = settled_descriptors().await;
    for _ in 0..20 {
        both().await;
    }
    let after = settled_descriptors().await;
    assert!(after <= before + 2, "{before} descriptors before, {after} after 40 instances");
}

/// Open descriptors of this process once their number has stood still for a while.
async fn settled_descriptors() -> usize {
    let mut last = (0, 0);
    for _ in 0..200 {
        let now = std::fs::read_dir("/proc/self/fd").unwrap().count();
        last = if now == last.0 { (now, last.1 + 1) } else { (now, 0) };
        if last.1 == 20 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    last.0
}

async fn printing_in_the_background_stands_still_when_idle(fixture: &Fixture) {
    let source = r#"
import os, threading
def shout():
    while True: os.write(1, b"shouting\n" * 100)
threading.Thread(target=shout, daemon=True).start()
def handler(event, context):
    return event
"#;
    let mut function = fixture.python("shouts", source);
    function.timeout_seconds = 20;
    let function = Arc::new(function);
    for number in 0..5 {
        // The background thread may have been stopped in the middle of a write to a full pipe.
        assert_eq!(fixture.call(&function, &number.to_string()).await.body, number.to_string());
        fixture.until("frozen", |snapshot| snapshot.frozen == 1).await;
    }
    let settle = || fixture.log.text("shouts").len();
    let before = settle();
    tokio::time::sleep(Duration::from_millis(100)).await;
    // What was in the pipe may still arrive; more cannot.
    assert!(settle() - before <= 128 * 1024);
}

async fn two_hundred_first_calls_have_two_hundred_instances(fixture: &Fixture) {
    let calls = 200;
    // Each leaves a mark on a shared directory and answers when all have: no handler ends before all run.
    let source = r#"
import os, time
def handler(event, context):
    open("/mnt/meet/" + context.aws_request_id, "w").close()
    while len(os.listdir("/mnt/meet")) < event:
        time.sleep(0.5)
    return 1
"#;
    let mut function = fixture.python("meets", source);
    function.timeout_seconds = 90;
    function.file_systems.push(FileSystemConfig {
        arn: "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/meet".to_owned(),
        local_mount_path: "/mnt/meet".to_owned(),
    });
    let function = Arc::new(function);
    let begun = Instant::now();
    let payload = calls.to_string();
    let all = futures_util::future::join_all((0..calls).map(|_| fixture.call(&function, &payload)));
    let answers = all.await;
    println!("        all answered after {:.1?}", begun.elapsed());
    let spread = |part: &dyn Fn(&lamplight_model::InvocationReport) -> u64| {
        let mut all: Vec<u64> = answers.iter().map(|answer| part(&answer.finished.report) / 1_000).collect();
        all.sort_unstable();
        (all[all.len() / 2], all[all.len() - 1])
    };
    println!(
        "        median and most in ms: queue {:?}, sandbox {:?}, interpreter {:?}, init {:?}",
        spread(&|report| report.queue_us),
        spread(&|report| report.cold_start.map_or(0, |cold| cold.sandbox_us)),
        spread(&|report| report.cold_start.map_or(0, |cold| cold.interpreter_us)),
        spread(&|report| report.cold_start.map_or(0, |cold| cold.init_us)),
    );
    assert!(answers.iter().all(|answer| answer.body == "1"));
    let mut instances: Vec<&str> =
        answers.iter().map(|answer| &*answer.finished.report.instance_id).collect();
    instances.sort_unstable();
    instances.dedup();
    assert_eq!(instances.len(), calls);
}
