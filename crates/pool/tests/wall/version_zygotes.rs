//! Instances forked after their imports: what they share and what not, imports that cannot be shared, zygotes that lie or attack.

use super::{Fixture, PROBE, assert_alike, from_nothing, probes, settled_descriptors};
use lamplight_model::StartKind;
use std::sync::Arc;

/// Makes a version zygote of `function` by a first call, whose answer it gives.
async fn import_for_all(fixture: &Fixture, function: &Arc<lamplight_model::FunctionVersion>) -> String {
    let first = fixture.call(function, "0").await;
    assert_ne!(first.finished.report.start, StartKind::VersionZygote);
    assert!(!first.outcome.is_function_error(), "{}", first.body);
    fixture.until("version zygote", |snapshot| snapshot.version_zygotes == 1).await;
    first.body
}

pub async fn instances_forked_after_their_imports_look_like_the_others(fixture: &Fixture) {
    let mut function = fixture.python("heavy", &format!("import time\ntime.sleep(0.03)\n{PROBE}"));
    function.environment =
        Some([("TABLE".to_owned(), "notes".to_owned()), ("TZ".to_owned(), "Asia/Tokyo".to_owned())].into());
    let expected = from_nothing(fixture, function.clone()).await;
    let function = Arc::new(function);
    import_for_all(fixture, &function).await;
    let mut seen = probes(fixture, &function, 4).await;
    // The first call's instance, which is changed by being looked at.
    seen.retain(|(way, _)| *way != StartKind::Warm);
    assert!(seen.len() >= 3 && seen.iter().all(|(way, _)| *way == StartKind::VersionZygote), "{seen:?}");
    for (way, probe) in &seen {
        assert_alike(probe, &expected, *way);
    }
}

pub async fn instances_forked_after_their_imports_share_no_secret(fixture: &Fixture) {
    let source = r#"
import logging, os, random, secrets, socket, ssl, tempfile, time, uuid
time.sleep(0.02)
def handler(event, context):
    time.sleep(event)
    if not event: return
    listener = socket.socket()
    listener.bind(("127.0.0.1", 4000))
    with open("/tmp/mine", "x") as file:
        file.write("mine")
    return [random.random(), random.SystemRandom().random(), str(uuid.uuid1()), uuid.uuid4().hex, secrets.token_hex(), os.urandom(16).hex(), ssl.RAND_bytes(16).hex(),
        tempfile.mktemp(), os.stat(3).st_ino, os.readlink("/proc/self/fd/1"), *(os.readlink("/proc/self/ns/" + kind) for kind in ("pid", "user", "net", "mnt", "ipc", "uts", "cgroup")),
        os.environ["AWS_LAMBDA_LOG_STREAM_NAME"], os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SESSION_TOKEN"], context.log_stream_name + " of the context", logging._startTime]
"#;
    let function = Arc::new(fixture.python("secrets", source));
    import_for_all(fixture, &function).await;
    let mut seen = probes(fixture, &function, 6).await;
    seen.retain(|(way, _)| *way == StartKind::VersionZygote);
    assert!(seen.len() >= 5, "{seen:?}");
    let mut all: Vec<String> = Vec::new();
    for (_, values) in &seen {
        all.extend(values.as_array().unwrap().iter().map(ToString::to_string));
    }
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count, "{seen:?}");
}

/// What an import may do that instances must not share.
const UNFIT: [(&str, &str); 29] = [
    (
        "leaves a thread",
        "import threading; threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()",
    ),
    (
        "leaves a child",
        "import subprocess; child = subprocess.Popen(['/bin/sleep', '1000'], stdin=subprocess.DEVNULL)",
    ),
    (
        "leaves an orphan",
        "import subprocess; subprocess.run(['/bin/sh', '-c', 'sleep 1000 &'], stdin=subprocess.DEVNULL)",
    ),
    ("leaves a socket", "import socket; listener = socket.socket(); listener.bind(('127.0.0.1', 4000))"),
    ("leaves a pipe", "ends = os.pipe()"),
    ("leaves an event loop", "import asyncio; loop = asyncio.new_event_loop()"),
    ("leaves an open file", "data = open('/var/task/app.py')"),
    ("closes a descriptor", "os.close(0)"),
    ("leaves a file", "open('/tmp/cache', 'w').close()"),
    ("leaves a timer", "import signal; signal.setitimer(signal.ITIMER_REAL, 1000)"),
    ("shares memory", "import mmap; memory = mmap.mmap(-1, 4096)"),
    ("goes elsewhere", "os.chdir('/tmp')"),
    ("draws bytes", "seed = os.urandom(8)"),
    ("draws them by another name", "from os import urandom; seed = urandom(8)"),
    ("draws a number", "import random; number = random.random()"),
    ("fixes the numbers", "import random; random.seed(7)"),
    ("has a generator of its own", "import random; generator = random.Random()"),
    ("draws from the system", "import random; number = random.SystemRandom().random()"),
    ("draws a token", "import secrets; token = secrets.token_hex()"),
    ("has an identifier", "import uuid; identifier = uuid.uuid4()"),
    ("has one by the clock", "import uuid; identifier = uuid.uuid1()"),
    ("reads the clock", "began = time.time()"),
    ("keeps a moment", "from datetime import datetime as moment; began = moment.now()"),
    (
        "keeps a moment of everywhere",
        "import datetime\nclass State:\n    def __init__(self): self.began = [datetime.datetime.now(datetime.timezone.utc)]\nstate = State()",
    ),
    ("keeps the day", "import datetime; today = datetime.date.today()"),
    ("reads its log stream", "stream = os.environ.get('AWS_LAMBDA_LOG_STREAM_NAME')"),
    ("reads the whole environment", "everything = dict(os.environ)"),
    ("prints without end", "for number in range(1000): print('x' * 1000)"),
    ("counts on the network", "import socket; socket.create_connection(('127.0.0.1', 19001), 5).close()"),
];

pub async fn imports_that_cannot_be_shared_are_not(fixture: &Fixture) {
    for (unfit, (what, line)) in (1..).zip(UNFIT) {
        let source =
            format!("import os, time\ntime.sleep(0.02)\n{line}\ndef handler(event, context): return event");
        let function = Arc::new(fixture.python(&what.replace(' ', "-"), &source));
        assert_eq!(fixture.call(&function, "1").await.body, "1", "{what}");
        fixture.until(what, |snapshot| snapshot.unfit_versions + snapshot.version_zygotes == unfit).await;
        assert_eq!(fixture.pool.snapshot().version_zygotes, 0, "an import that {what} was shared");
        let answers = futures_util::future::join_all((0..2).map(|_| fixture.call(&function, "2"))).await;
        for answer in answers {
            assert_eq!(answer.body, "2", "{what}");
            assert_ne!(answer.finished.report.start, StartKind::VersionZygote);
        }
    }
}

pub async fn imports_that_can_be_shared_are(fixture: &Fixture) {
    let lines = [
        (
            "changes what is its own",
            "os.environ['OWN'] = 'set'; os.umask(0o77); import signal; signal.signal(signal.SIGTERM, lambda *_: None)",
        ),
        (
            "knows other moments",
            "import datetime; birth = datetime.datetime(1970, 1, 1); day = datetime.date(2000, 2, 29); longest = datetime.timedelta.max",
        ),
        ("reads who it is", "assert os.getuid() == 993 and os.path.expanduser('~')"),
        ("reads its credentials", "key = os.environ['AWS_ACCESS_KEY_ID']"),
        (
            "makes clients",
            "import urllib.request; urllib.request.build_opener(); proxies = urllib.request.getproxies()",
        ),
        ("runs a program", "import subprocess; subprocess.run(['/bin/true'], check=True)"),
        ("cleans up", "import tempfile\nwith tempfile.TemporaryFile() as file: file.write(b'x')"),
    ];
    for (ready, (what, lines)) in (1..).zip(lines) {
        let source = format!(
            "import os, socket, time\ntime.sleep(0.02)\nkey = None\n{lines}\ndef handler(event, context):\n    time.sleep(event)\n    return [os.getuid(), os.environ.get('OWN'), oct(os.umask(0o22)), len(socket.getaddrinfo('localhost', 80)) > 0, key in (None, os.environ['AWS_ACCESS_KEY_ID'])]"
        );
        let function = Arc::new(fixture.python(&what.replace(' ', "-"), &source));
        fixture.call(&function, "0").await;
        fixture.until(what, |snapshot| snapshot.version_zygotes + snapshot.unfit_versions == ready).await;
        assert_eq!(fixture.pool.snapshot().unfit_versions, 0, "an import that {what} was not shared");
        let answers = futures_util::future::join_all((0..2).map(|_| fixture.call(&function, "0.2"))).await;
        let forked: Vec<_> = answers
            .iter()
            .filter(|answer| answer.finished.report.start == StartKind::VersionZygote)
            .collect();
        assert!(!forked.is_empty(), "{what}: {answers:?}");
        let expected = if ready == 1 {
            r#"[993, "set", "0o77", true, true]"#
        } else {
            r#"[993, null, "0o22", true, true]"#
        };
        for answer in forked {
            assert_eq!(answer.body, expected, "{what}");
        }
    }
}

pub async fn what_imports_print_is_in_every_log(fixture: &Fixture) {
    let source = r#"
import logging, os, sys, time
time.sleep(0.02)
print("printed"); print("half a line", end="")
os.write(1, b"written" + bytes([10]))
logging.getLogger().warning("logged")
def handler(event, context):
    time.sleep(event)
    return context.log_stream_name
"#;
    let function = Arc::new(fixture.python("prints", source));
    import_for_all(fixture, &function).await;
    let seen = probes(fixture, &function, 3).await;
    assert!(seen.iter().filter(|(way, _)| *way == StartKind::VersionZygote).count() >= 2, "{seen:?}");
    let (log, streams) = (fixture.log.text("prints"), fixture.log.stream_names("prints").len());
    for text in ["printed", "half a line", "written", "logged"] {
        assert_eq!(log.matches(text).count(), streams, "{text} in {log}");
    }
    // Before the call: init is over by then.
    let last = log.rfind("printed").unwrap();
    assert!(log[last..].contains("START RequestId"), "{log}");
}

/// Imports that take the zygote's socket for themselves: `answer(descriptors)` is asked at each order to lay an egg, and may
/// have `hatch(end, given)` asked in a member of the nest.
const LYING: &str = r#"
import array, ctypes, fcntl, json, os, socket, sys, time
time.sleep(0.02)
if "version-zygote" in open("/proc/self/cmdline").read():
    control, kept = socket.socket(fileno=3), []
    def nest(descriptors, hatch):
        if os.fork(): return
        end = socket.socket(fileno=os.dup(descriptors[0]))
        for member in descriptors[8:]: os.write(member, b"0")
        end.send(b'"Ready"')
        hatch(end, socket.recv_fds(end, 65536, 4)[1])
        time.sleep(1000)
    ANSWER
    control.send(b'"Ready"')
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 65536, 32)
        if not data: os._exit(0)
        answer(descriptors)
        for descriptor in descriptors: os.close(descriptor)
def handler(event, context):
    time.sleep(0.1)
    return event
"#;

fn lying(answer: &str) -> String {
    LYING.replace("ANSWER", &answer.trim().replace('\n', "\n    "))
}

pub async fn zygotes_that_lie_cost_themselves_only(fixture: &Fixture) {
    let hatching = |what: &str| {
        format!("def hatch(end, given):\n    {what}\ndef answer(descriptors): nest(descriptors, hatch)")
    };
    let says = |word: &str| hatching(&format!("end.send(b'{word}')"));
    let child = |bytes: &str| {
        hatching(&format!("os.write(given[0], {bytes}); end.send(b'{{\"Forked\": {{\"pid\": 2}}}}')"))
    };
    let lies = [
        ("says-nothing", "def answer(descriptors): kept.extend(map(os.dup, descriptors))".to_owned()),
        ("lays-nothing", "def answer(descriptors): pass".to_owned()),
        ("talks-nonsense", "def answer(descriptors): os.write(descriptors[0], b'nonsense')".to_owned()),
        ("ends", "def answer(descriptors): os._exit(0)".to_owned()),
        ("hangs-up", "def answer(descriptors): control.close()".to_owned()),
        ("stops", "import signal\ndef answer(descriptors): os.kill(os.getpid(), signal.SIGSTOP)".to_owned()),
        ("is-no-member", "def answer(descriptors):\n    kept.append(os.dup(descriptors[0]))\n    os.write(kept[-1], b'\"Ready\"')".to_owned()),
        ("names-nobody", says("{\"Forked\": {\"pid\": 77}}")),
        ("names-the-init", says("{\"Forked\": {\"pid\": 1}}")),
        ("is-ready-again", says("\"Ready\"")),
        ("hatches-nonsense", says("nonsense")),
        ("sends-descriptors", hatching("socket.send_fds(end, [b'{\"Forked\": {\"pid\": 2}}'], given)")),
        ("talks-nonsense-as-a-child", child("b'x' * 100")),
        ("fails-as-a-child", child("bytes([0, 0, 0, 2, 1, 1, 0, 0, 0, 1, 3])")),
    ];
    for (unfit, (name, answer)) in (1..).zip(lies) {
        let function = Arc::new(fixture.python(name, &lying(&answer)));
        import_for_all(fixture, &function).await;
        let answers = futures_util::future::join_all((0..3).map(|_| fixture.call(&function, "2"))).await;
        for answer in answers {
            assert_eq!(answer.body, "2", "{name}");
            assert_ne!(answer.finished.report.start, StartKind::VersionZygote, "{name}");
        }
        let snapshot = fixture.pool.snapshot();
        assert_eq!((snapshot.version_zygotes, snapshot.unfit_versions), (0, unfit), "{name}");
    }
}

/// Enters a nest with all that its descriptors give, and tries what a capability might be good for.
const ATTACK: &str = r#"
libc = ctypes.CDLL(None, use_errno=True)
def tried(call):
    try:
        result = call()
        return "done" if result in (None, 0) else "errno %d" % ctypes.get_errno() if result == -1 else "gave %r" % (result,)
    except OSError as error:
        return "errno %d" % error.errno
def capabilities():
    status = open("/proc/self/status").read()
    return status.split("CapEff:	")[1].split()[0]
def attempts():
    inet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    down = b"lo".ljust(16, bytes(1)) + bytes(24)
    return {
        "new namespaces": tried(lambda: libc.unshare(0x40000000)), "new user namespace": tried(lambda: libc.unshare(0x10000000)),
        "mount": tried(lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)), "unmount": tried(lambda: libc.umount2(b"/tmp", 2)),
        "open tree": tried(lambda: libc.syscall(428, -100, b"/", 1)), "host name": tried(lambda: libc.sethostname(b"mine", 4)),
        "netlink": tried(lambda: socket.socket(16, 3, 0)), "raw": tried(lambda: socket.socket(2, 3, 1)), "packets": tried(lambda: socket.socket(17, 3, 0)),
        "mark": tried(lambda: inet.setsockopt(1, 36, 7)), "any address": tried(lambda: inet.setsockopt(0, 19, 1)), "tables": tried(lambda: inet.setsockopt(0, 64, bytes(200))),
        "interface": tried(lambda: fcntl.ioctl(inet, 0x8914, down)), "bpf": tried(lambda: libc.syscall(321, 0, 0, 0)), "trace": tried(lambda: libc.ptrace(16, 1, 0, 0)),
        "init's memory": tried(lambda: os.open("/proc/1/mem", os.O_RDWR)),
        "keys": tried(lambda: libc.syscall(250, 0, -3, 0, 0, 0)),
    }
def answer(descriptors):
    outside = {"capabilities": capabilities(), **attempts()}
    if os.fork(): return
    end = socket.socket(fileno=os.dup(descriptors[0]))
    for member in descriptors[8:]: os.write(member, b"0") # What is no member stands still with the zygote.
    entered = [tried(lambda: libc.setns(namespace, 0)) for namespace in descriptors[1:8]]
    if os.fork(): time.sleep(1000) # Its child is in the process namespace.
    inside = {"capabilities": capabilities(), **attempts()}
    end.send(b'"Ready"')
    frames, output = socket.recv_fds(end, 65536, 4)[1]
    os.write(output, ("FOUND " + json.dumps({"entered": entered, "outside": outside, "inside": inside}) + chr(10)).encode())
    os.write(frames, bytes([0, 0, 0, 2, 1, 1])) # The first word of a child, so that its output is read.
    end.send(b'{"Forked": {"pid": 2}}')
    time.sleep(1000)
"#;

pub async fn a_hostile_zygote_gains_nothing(fixture: &Fixture) {
    let function = Arc::new(fixture.python("hostile", &lying(ATTACK)));
    import_for_all(fixture, &function).await;
    let answers = futures_util::future::join_all((0..2).map(|_| fixture.call(&function, "3"))).await;
    for answer in answers {
        assert_eq!((answer.body.as_str(), answer.outcome.is_function_error()), ("3", false));
    }
    let log = fixture.log.text("hostile");
    let line = log.lines().find_map(|line| line.strip_prefix("FOUND ")).expect(&log);
    let found: serde_json::Value = serde_json::from_str(line).unwrap();
    // It may do what children do, and has then every capability in its own nest, and none outside.
    assert!(found["entered"].as_array().unwrap().iter().all(|entered| entered == "done"), "{found}");
    assert_eq!(found["outside"]["capabilities"], "0000000000000000", "{found}");
    assert_ne!(found["inside"]["capabilities"], "0000000000000000", "{found}");
    for place in ["outside", "inside"] {
        for (attempt, result) in
            found[place].as_object().unwrap().iter().filter(|(name, _)| *name != "capabilities")
        {
            assert!(result.as_str().unwrap().starts_with("errno "), "{attempt} {place}: {result}");
        }
    }
}

pub async fn version_zygotes_leave_nothing_behind(fixture: &Fixture) {
    let source = "import time\ntime.sleep(0.02)\ndef handler(event, context):\n    time.sleep(event)\n    return event";
    let mut function = fixture.python("revised", source);
    let mut revise = async |number: usize| {
        function.revision_id = format!("revision-{number}");
        function.last_modified.0 += 1;
        let revision = Arc::new(function.clone());
        fixture.pool.renew(&revision);
        fixture.until("the last one has ended", |snapshot| snapshot.version_zygotes == 0).await;
        import_for_all(fixture, &revision).await;
        let answers = futures_util::future::join_all((0..3).map(|_| fixture.call(&revision, "0.1"))).await;
        assert!(
            answers.iter().any(|answer| answer.finished.report.start == StartKind::VersionZygote),
            "{answers:?}"
        );
    };
    for number in 0..3 {
        revise(number).await;
    }
    let before = settled_descriptors().await;
    for number in 3..9 {
        revise(number).await;
    }
    let after = settled_descriptors().await;
    assert!(after <= before + 2, "{before} descriptors before, {after} after 6 revisions");
}
