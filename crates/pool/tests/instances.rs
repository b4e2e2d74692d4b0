//! What a caller sees of instances: reuse, scale out, limits, endings, logs. Real bootstraps as plain processes.

#![allow(clippy::unwrap_used)] // A failing unwrap is a failing test.

mod common;

use common::{CREDENTIALS_LIFE, Fixture, invocation};
use lamplight_model::{ErrorCode, OutcomeStatus};
use lamplight_pool::PrewarmFailure;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

const HELLO: &str = r#"
import os
print("loading")
count = 0
def handler(event, context):
    global count
    count += 1
    print("call", count)
    return {"count": count, "event": event}
"#;

#[tokio::test]
async fn the_second_call_reuses_the_instance() {
    let fixture = Fixture::new();
    let hello = Arc::new(fixture.python("hello", HELLO));
    let first = fixture.call(&hello, r#"{"a": 1}"#).await;
    let second = fixture.call(&hello, "[]").await;
    assert_eq!(first.body, r#"{"count": 1, "event": {"a": 1}}"#);
    assert_eq!(second.body, r#"{"count": 2, "event": []}"#);
    assert_eq!((first.start(), second.start()), ("cold", "warm"));
    let (cold, warm) = (&first.finished.report, &second.finished.report);
    assert_eq!(cold.instance_id, warm.instance_id);
    assert!(cold.cold_start.unwrap().interpreter_us > 0 && warm.cold_start.is_none());
    assert_eq!(cold.billed_ms, (cold.duration_us + cold.init_us.unwrap()).div_ceil(1000));
    assert_eq!(warm.billed_ms, warm.duration_us.div_ceil(1000));
    assert!((1..=128).contains(&warm.max_memory_used_mib));
}

#[tokio::test]
async fn an_instance_ends_before_its_credentials_do() {
    let fixture = Fixture::new();
    let hello = Arc::new(fixture.python("hello", HELLO));
    let milliseconds = |duration: Duration| i64::try_from(duration.as_millis()).unwrap();
    assert_eq!(fixture.call(&hello, "1").await.start(), "cold");
    fixture.ahead_ms.store(milliseconds(CREDENTIALS_LIFE / 2), Ordering::SeqCst);
    assert_eq!(fixture.call(&hello, "1").await.start(), "warm");
    // The longest run would not end in time.
    fixture.ahead_ms.store(milliseconds(CREDENTIALS_LIFE - Duration::from_secs(1_199)), Ordering::SeqCst);
    assert_eq!(fixture.call(&hello, "1").await.start(), "cold");
    assert_eq!(fixture.call(&hello, "1").await.start(), "warm");
}

#[tokio::test]
async fn an_idle_instance_whose_credentials_end_is_stopped_without_a_call() {
    let fixture = Fixture::new();
    let hello = Arc::new(fixture.python("hello", HELLO));
    assert_eq!(fixture.call(&hello, "1").await.start(), "cold");
    fixture.until("it waits", |snapshot| snapshot.instances.idle == 1).await;
    let life_ms = i64::try_from(CREDENTIALS_LIFE.as_millis()).unwrap();
    fixture.ahead_ms.store(life_ms, Ordering::SeqCst);
    fixture.until("it was stopped", |snapshot| snapshot.instances.idle == 0).await;
    assert_eq!(fixture.pool.snapshot().counters.deaths_while_idle, 0, "it did not die");
}

#[tokio::test]
async fn log_lines_stand_between_start_and_report() {
    let fixture = Fixture::new();
    let hello = Arc::new(fixture.python("hello", HELLO));
    let first = fixture.call(&hello, "1").await;
    let second = fixture.call(&hello, "2").await;
    let text = fixture.log.text("hello");
    let (one, two) = (&first.finished.report, &second.finished.report);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with(
        "INIT_START Runtime Version: python:3.11.7\tRuntime Version ARN: arn:aws:lambda:us-east-1::runtime:"
    ));
    let expected = [
        "loading".to_owned(),
        format!("START RequestId: {} Version: $LATEST", one.request_id),
        "call 1".to_owned(),
        format!("END RequestId: {}", one.request_id),
        one.report_line().trim_end_matches('\n').to_owned(),
        format!("START RequestId: {} Version: $LATEST", two.request_id),
        "call 2".to_owned(),
        format!("END RequestId: {}", two.request_id),
        two.report_line().trim_end_matches('\n').to_owned(),
    ];
    assert_eq!(lines[1..], expected);
    let tail = second.finished.log_tail.unwrap();
    assert_eq!(std::str::from_utf8(&tail).unwrap(), format!("{}\n", lines[6..].join("\n")));
    let streams = fixture.log.stream_names("hello");
    assert_eq!(streams.len(), 1);
    assert!(streams[0].ends_with(&format!("/[$LATEST]{}", one.instance_id)));
}

#[tokio::test]
async fn the_json_format_has_objects_for_lines() {
    let fixture = Fixture::new();
    let mut hello = fixture.python("hello", "def handler(event, context): return 1");
    hello.logging.json = true;
    let answered = fixture.call(&Arc::new(hello), "1").await;
    let text = fixture.log.text("hello");
    let kinds: Vec<String> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["type"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(kinds, ["platform.initStart", "platform.start", "platform.report"]);
    let report: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(report["record"]["metrics"]["billedDurationMs"], answered.finished.report.billed_ms);
    assert_eq!(report["record"]["status"], "success");
}

#[tokio::test]
async fn simultaneous_calls_get_instances_of_their_own() {
    let fixture = Fixture::new();
    let source = r#"
import os, time
def handler(event, context):
    marks = event["marks"]
    open(os.path.join(marks, str(os.getpid())), "w").close()
    while len(os.listdir(marks)) < event["calls"]:
        time.sleep(0.005)
    return os.getpid()
"#;
    let function = Arc::new(fixture.python("meet", source));
    let marks = tempfile::tempdir().unwrap();
    let calls = 24;
    let payload = serde_json::json!({ "marks": marks.path(), "calls": calls }).to_string();
    let answers = futures_util::future::join_all((0..calls).map(|_| fixture.call(&function, &payload))).await;
    let mut processes: Vec<&str> = answers.iter().map(|answer| answer.body.as_str()).collect();
    processes.sort_unstable();
    processes.dedup();
    assert_eq!(processes.len(), calls);
}

#[tokio::test]
async fn a_function_error_keeps_the_instance() {
    let fixture = Fixture::new();
    let source = "def handler(event, context):\n    if event: raise ValueError('no')\n    return 'fine'";
    let function = Arc::new(fixture.python("raises", source));
    let failed = fixture.call(&function, "true").await;
    assert_eq!(failed.outcome.status, OutcomeStatus::Error);
    assert_eq!(failed.outcome.error_type.as_deref(), Some("ValueError"));
    assert!(
        failed.body.starts_with(r#"{"errorMessage": "no", "errorType": "ValueError""#),
        "{}",
        failed.body
    );
    let next = fixture.call(&function, "false").await;
    assert_eq!((next.body.as_str(), next.start()), ("\"fine\"", "warm"));
}

#[tokio::test]
async fn a_timeout_kills_the_instance_and_carries_its_tmp() {
    let fixture = Fixture::new();
    let source = r#"
import os, time
path = os.path.join(os.environ["TMPDIR"], "kept")
def handler(event, context):
    if event == "hang":
        open(path, "w").write(str(os.getpid()))
        time.sleep(60)
    return os.path.exists(path), os.path.exists(path) and os.path.exists("/proc/" + open(path).read())
"#;
    let mut function = fixture.python("hangs", source);
    function.timeout_seconds = 1;
    let function = Arc::new(function);
    let hung = fixture.call(&function, "\"hang\"").await;
    let report = &hung.finished.report;
    assert_eq!(
        hung.body,
        format!(
            r#"{{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: {} Error: Task timed out after 1.00 seconds"}}"#,
            report.request_id
        )
    );
    assert_eq!(hung.outcome.status, OutcomeStatus::Timeout);
    assert_eq!(report.duration_us, 1_000_000);
    let log = fixture.log.text("hangs");
    assert!(
        log.contains(&format!("{} Task timed out after 1.00 seconds\n\nEND RequestId:", report.request_id)),
        "{log}"
    );
    assert!(log.contains("\tStatus: timeout\t\n") || log.contains("\tStatus: timeout\tStart:"), "{log}");
    let next = fixture.call(&function, "\"look\"").await;
    assert_eq!((next.body.as_str(), next.start()), ("[true, false]", "cold"));
    assert_ne!(next.finished.report.instance_id, report.instance_id);
    assert_eq!(fixture.backend().live().len(), 1);
}

#[tokio::test]
async fn a_call_right_after_a_timeout_waits_for_the_tmp() {
    let fixture = Fixture::new();
    let source = r#"
import os, time
path = os.path.join(os.environ["TMPDIR"], "kept")
def handler(event, context):
    open(path, "a").write("x")
    if event: time.sleep(60)
    return open(path).read()
"#;
    let mut function = fixture.python("hangs", source);
    function.timeout_seconds = 1;
    let function = Arc::new(function);
    let answer = fixture.pool.run(invocation(&function, "true")).await.unwrap();
    // Without waiting for the end of the old instance.
    answer.collect(1_000).await.unwrap();
    assert_eq!(fixture.call(&function, "false").await.body, "\"xx\"");
}

#[tokio::test]
async fn exits_and_crashes_carry_lambdas_error_types() {
    let fixture = Fixture::new();
    let source = r#"
import os, signal, sys
def handler(event, context):
    print("last words", flush=True)
    exec(event)
"#;
    let function = Arc::new(fixture.python("ends", source));
    for (code, text) in [
        ("os._exit(0)", "Runtime exited without providing a reason"),
        ("os._exit(3)", "Runtime exited with error: exit status 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "Runtime exited with error: signal: killed"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "Runtime exited with error: signal: segmentation fault"),
        ("os.abort()", "Runtime exited with error: signal: aborted"),
    ] {
        let ended = fixture.call(&function, &format!("{code:?}")).await;
        let id = ended.finished.report.request_id;
        let expected =
            format!(r#"{{"errorType":"Runtime.ExitError","errorMessage":"RequestId: {id} Error: {text}"}}"#);
        assert_eq!(ended.body, expected, "{code}");
        assert_eq!(ended.outcome.status, OutcomeStatus::Failure);
        let log = fixture.log.text("ends");
        assert!(
            log.contains(&format!("last words\nRequestId: {id} Error: {text}\nRuntime.ExitError\nEND")),
            "{log}"
        );
        assert!(log.contains("Status: error\tError Type: Runtime.ExitError"), "{log}");
    }
    fixture.until("nothing is left", |snapshot| snapshot.instances.total() == 0).await;
    assert!(fixture.backend().live().is_empty());
}

#[tokio::test]
async fn a_failed_init_runs_again_inside_the_call() {
    let fixture = Fixture::new();
    let source = r#"
import os
path = os.path.join(os.environ["TMPDIR"], "tried")
if not os.path.exists(path):
    open(path, "w").close()
    raise RuntimeError("first time")
def handler(event, context):
    return "second time"
"#;
    let function = Arc::new(fixture.python("retries", source));
    let answered = fixture.call(&function, "1").await;
    assert_eq!(answered.body, "\"second time\"");
    let log = fixture.log.text("retries");
    let order =
        ["INIT_START", "INIT_REPORT Init Duration", "Phase: init\tStatus: error", "START", "END", "REPORT"];
    let mut rest = log.as_str();
    for part in order {
        rest = rest.split_once(part).unwrap_or_else(|| panic!("no {part} in order in {log}")).1;
    }
    // Its time is part of the call's.
    assert_eq!(answered.finished.report.init_us, None);
    assert!(answered.finished.report.duration_us > 1_000);
}

#[tokio::test]
async fn an_init_error_is_the_runtimes_own_document() {
    let fixture = Fixture::new();
    let function = Arc::new(fixture.python("broken", "raise RuntimeError('no database')"));
    let answered = fixture.call(&function, "1").await;
    let document: serde_json::Value = serde_json::from_str(&answered.body).unwrap();
    assert_eq!(document["errorType"], "RuntimeError");
    assert_eq!(document["errorMessage"], "no database");
    assert_eq!(answered.outcome.status, OutcomeStatus::Failure);
    assert_eq!(answered.outcome.error_type.as_deref(), Some("RuntimeError"));
    assert!(fixture.log.text("broken").contains("Phase: invoke\tStatus: error\tError Type: RuntimeError"));
    fixture.until("nothing is left", |snapshot| snapshot.instances.total() == 0).await;
}

#[tokio::test]
async fn an_endless_init_ends_with_the_calls_timeout() {
    let fixture = Fixture::with(|config| config.init_limit = Duration::from_millis(300));
    let mut function = fixture.python("sleepy", "import time\ntime.sleep(60)");
    function.timeout_seconds = 1;
    let answered = fixture.call(&Arc::new(function), "1").await;
    assert_eq!(answered.outcome.error_type.as_deref(), Some("Sandbox.Timedout"));
    let log = fixture.log.text("sleepy");
    assert!(log.contains("Phase: init\tStatus: timeout\n"), "{log}");
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_end_the_run() {
    let fixture = Fixture::new();
    let source = r#"
import os, time
def handler(event, context):
    while not os.path.exists(event): time.sleep(0.005)
    return "done"
"#;
    let function = Arc::new(fixture.python("waits", source));
    let directory = tempfile::tempdir().unwrap();
    let flag = directory.path().join("go");
    let answer = fixture.pool.run(invocation(&function, &format!("{flag:?}"))).await.unwrap().detach();
    let finished = answer.finished;
    drop((answer.body, answer.ended, answer.content_type));
    std::fs::write(&flag, "").unwrap();
    let finished = finished.await.unwrap();
    assert_eq!(finished.report.outcome.status, OutcomeStatus::Success);
    assert_eq!(fixture.call(&function, &format!("{flag:?}")).await.start(), "warm");
}

#[tokio::test]
async fn an_interrupted_instance_is_a_service_exception_and_the_next_call_works() {
    let fixture = Fixture::new();
    let source = r#"
import os, time
def handler(event, context):
    if event:
        open(event, "w").close()
        time.sleep(60)
    return "fine"
"#;
    let function = Arc::new(fixture.python("lost", source));
    let directory = tempfile::tempdir().unwrap();
    let flag = directory.path().join("running");
    let payload = format!("{flag:?}");
    let call = fixture.try_call(&function, &payload);
    let interrupt = async {
        while !flag.exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(fixture.backend().interrupt(&fixture.backend().live()[0]));
    };
    let (lost, ()) = tokio::join!(call, interrupt);
    assert_eq!(lost.unwrap_err().code, ErrorCode::ServiceException);
    assert_eq!(fixture.call(&function, "\"\"").await.body, "\"fine\"");
}

#[tokio::test]
async fn an_instance_that_died_while_idle_is_replaced_unnoticed() {
    let fixture = Fixture::new();
    let function =
        Arc::new(fixture.python("mortal", "import os\ndef handler(event, context): return os.getpid()"));
    let first = fixture.call(&function, "1").await;
    assert!(fixture.backend().interrupt(&fixture.backend().live()[0]));
    let second = fixture.call(&function, "1").await;
    assert_eq!(second.start(), "cold");
    assert_ne!(first.body, second.body);
}

#[tokio::test]
async fn an_idle_instance_freezes_and_thaws_for_the_next_call() {
    let fixture = Fixture::with(|config| config.freeze_after = Duration::from_millis(10));
    let source = "import os\ndef handler(event, context): return os.getpid()";
    let function = Arc::new(fixture.python("sleeps", source));
    for _ in 0..3 {
        let process = fixture.call(&function, "1").await.body;
        fixture.until("frozen", |snapshot| snapshot.frozen == 1).await;
        let stopped = async {
            // The signal is sent; the process stops when it next leaves the kernel.
            while !std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap().contains(") T ") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), stopped).await.unwrap();
    }
    assert_eq!(fixture.pool.snapshot().counters.reuses, 2);
}

#[tokio::test]
async fn idle_instances_go_after_the_keep_alive() {
    let fixture = Fixture::with(|config| config.keep_alive = Duration::from_millis(50));
    let function = Arc::new(fixture.python("hello", HELLO));
    fixture.call(&function, "1").await;
    fixture.until("scaled to zero", |snapshot| snapshot.instances.total() == 0).await;
    assert_eq!(fixture.pool.snapshot().counters.expirations, 1);
    assert_eq!(fixture.pool.snapshot().claimed_bytes, 0);
    assert!(fixture.backend().live().is_empty());
}

#[tokio::test]
async fn a_full_node_evicts_the_idle_then_waits_then_refuses() {
    let fixture = Fixture::with(|config| {
        config.budget.instances = 1;
        config.waiting_time = Duration::from_millis(1_500);
    });
    let one = Arc::new(fixture.python("one", HELLO));
    let source = r#"
import os, time
def handler(event, context):
    while not os.path.exists(event): time.sleep(0.005)
"#;
    let two = Arc::new(fixture.python("two", source));
    let directory = tempfile::tempdir().unwrap();
    let flag = directory.path().join("go");
    fixture.call(&one, "1").await;
    // Evicts `one`, which is idle.
    assert_eq!(fixture.call(&two, "\"/\"").await.start(), "cold");
    assert_eq!(fixture.pool.snapshot().counters.evictions, 1);
    // Busy: waits, then is refused.
    let busy = fixture.pool.run(invocation(&two, &format!("{flag:?}"))).await.unwrap().detach();
    let refused = fixture.try_call(&one, "1").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::TooManyRequestsException);
    assert_eq!(refused.reason, Some("ConcurrentInvocationLimitExceeded"));
    std::fs::write(&flag, "").unwrap();
    busy.finished.await.unwrap();
    assert_eq!(fixture.call(&one, "1").await.start(), "cold");
    assert_eq!(fixture.pool.snapshot().waiting_calls, 0);
}

#[tokio::test]
async fn an_update_and_a_delete_stop_old_instances() {
    let fixture = Fixture::new();
    let old = Arc::new(fixture.python("hello", HELLO));
    fixture.call(&old, "1").await;
    let mut new = fixture.python("hello", HELLO);
    new.revision_id = "new".to_owned();
    new.last_modified = lamplight_model::Timestamp(2);
    let new = Arc::new(new);
    assert_eq!(fixture.call(&new, "1").await.start(), "cold");
    fixture.until("the old one is gone", |snapshot| snapshot.instances.total() == 1).await;
    fixture.pool.discard_version(&new.scope, &new.name, new.version);
    fixture.until("all are gone", |snapshot| snapshot.instances.total() == 0).await;
    assert!(fixture.backend().live().is_empty());
}

#[tokio::test]
async fn a_package_without_bootstrap_says_so() {
    let fixture = Fixture::new();
    let function = Arc::new(fixture.function("empty", "provided.al2023", "", ""));
    let answered = fixture.call(&function, "1").await;
    assert_eq!(
        answered.body,
        format!(
            r#"{{"errorType":"Runtime.InvalidEntrypoint","errorMessage":"RequestId: {} Error: Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"}}"#,
            answered.finished.report.request_id
        )
    );
    assert_eq!(fixture.pool.snapshot().instances.total(), 0);
}

const CUSTOM: &str = r#"#!/usr/bin/python3
import http.client, os
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
print("custom runtime up", flush=True)
while True:
    connection.request("GET", "/2018-06-01/runtime/invocation/next")
    response = connection.getresponse()
    event, request = response.read(), response.getheader("Lambda-Runtime-Aws-Request-Id")
    print("got", event.decode(), flush=True)
    if event == b'"leave"':
        os._exit(7)
    connection.request("POST", f"/2018-06-01/runtime/invocation/{request}/response", event)
    connection.getresponse().read()
    if event == b'"stay away"':
        import time
        time.sleep(60)
"#;

#[tokio::test]
async fn a_custom_runtime_over_http() {
    let fixture = Fixture::new();
    let mut function = fixture.function("custom", "provided.al2023", "bootstrap", CUSTOM);
    function.timeout_seconds = 2;
    let function = Arc::new(function);
    let first = fixture.call(&function, r#"{"x": [1, 2]}"#).await;
    let second = fixture.call(&function, "2").await;
    assert_eq!((first.body.as_str(), first.start()), (r#"{"x": [1, 2]}"#, "cold"));
    assert_eq!((second.body.as_str(), second.start()), ("2", "warm"));
    let log = fixture.log.text("custom");
    assert!(log.contains("INIT_START Runtime Version: provided:al2023\t"), "{log}");
    assert!(log.contains("Version: $LATEST\ngot 2\nEND"), "{log}");
    let left = fixture.call(&function, "\"leave\"").await;
    assert!(left.body.contains("Runtime exited with error: exit status 7"), "{}", left.body);
    // Answers and never asks for the next event: the answer counts, the instance does not live on.
    let away = fixture.call(&function, "\"stay away\"").await;
    assert_eq!((away.body.as_str(), away.outcome.status), ("\"stay away\"", OutcomeStatus::Success));
    assert_eq!(away.finished.report.duration_us, 2_000_000);
    assert_eq!(fixture.call(&function, "3").await.start(), "cold");
}

#[tokio::test]
async fn a_runtime_that_is_not_there_is_named() {
    let fixture = Fixture::new();
    let function = Arc::new(fixture.function("old", "python2.7", "app.py", ""));
    let error = fixture.try_call(&function, "1").await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidRuntimeException);
    assert_eq!(fixture.pool.snapshot().claimed_bytes, 0);
}

#[tokio::test]
async fn endless_printing_ends_with_the_timeout_and_harms_nobody() {
    let fixture = Fixture::new();
    let source = "import os\ndef handler(event, context):\n    while True: os.write(1, b'y\\n' * 1000)";
    let mut noisy = fixture.python("noisy", source);
    noisy.timeout_seconds = 1;
    let noisy = Arc::new(noisy);
    let hello = Arc::new(fixture.python("hello", HELLO));
    fixture.call(&hello, "1").await;
    let neighbour = async {
        let begun = Instant::now();
        for _ in 0..20 {
            assert_eq!(fixture.call(&hello, "1").await.start(), "warm");
        }
        begun.elapsed()
    };
    let (noisy, took) = tokio::join!(fixture.call(&noisy, "1"), neighbour);
    assert_eq!(noisy.outcome.status, OutcomeStatus::Timeout);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(noisy.finished.log_tail.unwrap().len(), lamplight_model::limits::LOG_TAIL_BYTES);
}

#[tokio::test]
async fn draining_finishes_what_runs_and_leaves_nothing() {
    let fixture = Fixture::new();
    let source = "import time\ndef handler(event, context):\n    time.sleep(event)\n    return 'done'";
    let function = Arc::new(fixture.python("slow", source));
    fixture.call(&function, "0").await;
    let running = fixture.pool.run(invocation(&function, "0.3")).await.unwrap();
    let (collected, ()) =
        tokio::join!(running.collect(1_000), fixture.pool.drain(Instant::now() + Duration::from_secs(20)));
    assert_eq!(collected.unwrap().body, "\"done\"");
    let refused = fixture.try_call(&function, "0").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::ServiceException);
    assert!(fixture.backend().live().is_empty());
    assert_eq!(fixture.pool.snapshot().instances.total(), 0);
}

#[tokio::test]
async fn draining_ends_what_does_not_end_in_time() {
    let fixture = Fixture::new();
    let function =
        Arc::new(fixture.python("slow", "import time\ndef handler(event, context): time.sleep(event)"));
    fixture.call(&function, "0").await;
    let running = fixture.pool.run(invocation(&function, "60")).await.unwrap();
    let (collected, ()) = tokio::join!(running.collect(1_000), fixture.pool.drain(Instant::now()));
    assert_eq!(collected.unwrap_err().code, ErrorCode::ServiceException);
    assert!(fixture.backend().live().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_of_calls_and_lost_callers_leaves_the_books_balanced() {
    let fixture = Arc::new(Fixture::with(|config| {
        config.budget.instances = 6;
        config.freeze_after = Duration::from_millis(1);
        config.waiting_time = Duration::from_millis(300);
        config.keep_alive = Duration::from_millis(30);
    }));
    let source = r#"
import os, time
def handler(event, context):
    time.sleep((event % 7) / 1000)
    if event % 11 == 0: os._exit(1)
    if event % 13 == 0: raise ValueError(event)
    return event
"#;
    let functions: Vec<_> =
        (0..3).map(|number| Arc::new(fixture.python(&format!("storm-{number}"), source))).collect();
    let calls = (1..=300_u32).map(|number| {
        let (fixture, function) = (fixture.clone(), functions[number as usize % 3].clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(u64::from(number * 7 % 900))).await;
            let payload = number.to_string();
            let call = fixture.try_call(&function, &payload);
            if number % 5 == 0 {
                // Goes away: while it waits in the queue, or while it runs.
                let _ = tokio::time::timeout(Duration::from_millis(u64::from(number % 40)), call).await;
                return None;
            }
            Some((number, call.await))
        })
    });
    let mut answered = 0;
    for call in futures_util::future::join_all(calls).await {
        match call.unwrap() {
            None => {}
            Some((number, Ok(answer))) => {
                answered += 1;
                match number {
                    _ if number % 11 == 0 => {
                        assert!(answer.body.contains("Runtime.ExitError"), "{}", answer.body)
                    }
                    _ if number % 13 == 0 => assert!(answer.body.contains("ValueError"), "{}", answer.body),
                    _ => assert_eq!(answer.body, number.to_string()),
                }
            }
            Some((_, Err(error))) => assert_eq!(error.code, ErrorCode::TooManyRequestsException, "{error}"),
        }
    }
    assert!(answered > 50, "only {answered} answered");
    fixture.until("scaled to zero", |snapshot| snapshot.instances.total() == 0).await;
    let snapshot = fixture.pool.snapshot();
    assert_eq!((snapshot.claimed_bytes, snapshot.waiting_calls), (0, 0), "{snapshot:?}");
    assert!(fixture.backend().live().is_empty());
}

#[tokio::test]
async fn an_instance_started_ahead_answers_its_first_call_warm() {
    let fixture = Fixture::new();
    let hello = Arc::new(fixture.python("hello", HELLO));
    fixture.pool.prewarm(&hello).await.unwrap();
    let snapshot = fixture.pool.snapshot();
    assert_eq!((snapshot.instances.idle, snapshot.instances.total()), (1, 1));
    let first = fixture.call(&hello, "1").await;
    assert_eq!((first.body.as_str(), first.start()), (r#"{"count": 1, "event": 1}"#, "warm"));
    let report = &first.finished.report;
    assert_eq!((report.init_us, report.cold_start.is_none()), (None, true));
    assert_eq!(report.billed_ms, report.duration_us.div_ceil(1000));
    let text = fixture.log.text("hello");
    let kinds: Vec<&str> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(kinds, ["INIT_START", "loading", "INIT_REPORT", "START", "call", "END", "REPORT"]);
    let init = text.lines().nth(2).unwrap();
    assert!(init.ends_with("\tPhase: init\tStatus: success"), "{init}");
    assert!(!text.lines().last().unwrap().contains("Init Duration"), "{text}");
}

#[tokio::test]
async fn a_start_ahead_that_fails_leaves_nothing() {
    let fixture = Fixture::with(|config| config.budget.instances = 1);
    let broken = Arc::new(fixture.python("broken", "raise ValueError('no')"));
    let failure = fixture.pool.prewarm(&broken).await.unwrap_err();
    assert!(matches!(&failure, PrewarmFailure::Init(Some(kind)) if kind == "ValueError"), "{failure}");
    fixture.until("nothing left", |snapshot| snapshot.claimed_bytes == 0).await;
    assert!(fixture.log.text("broken").contains("Phase: init\tStatus: error\tError Type: ValueError"));
    let hello = Arc::new(fixture.python("hello", HELLO));
    fixture.pool.prewarm(&hello).await.unwrap();
    assert!(matches!(fixture.pool.prewarm(&hello).await, Err(PrewarmFailure::NoRoom)));
    assert_eq!(fixture.pool.snapshot().instances.idle, 1);
}

#[tokio::test]
async fn an_instance_is_there_before_a_predictable_call() {
    let fixture = Fixture::with(|config| {
        config.keep_alive = Duration::from_millis(50);
        config.histogram_bin = Duration::from_millis(20);
    });
    let (regular, other) = (
        Arc::new(fixture.python("regular", HELLO)),
        Arc::new(fixture.python("other", "def handler(event, context): return 1")),
    );
    let predicted = || fixture.log.text("regular").contains("Phase: init\tStatus: success");
    // Between two calls its instance expires, and another function passes the time.
    for _ in 0..100 {
        fixture.call(&regular, "1").await;
        for _ in 0..4 {
            fixture.until("nothing is left", |snapshot| snapshot.instances.total() == 0).await;
            fixture.call(&other, "1").await;
        }
        if predicted() {
            return;
        }
    }
    panic!("never predicted: {:?}", fixture.pool.snapshot());
}

#[tokio::test]
async fn an_idle_instance_gives_memory_back_while_memory_is_wanted() {
    let fixture = Fixture::with(|config| {
        config.reclaim_after = Duration::from_millis(10);
        config.freeze_after = Duration::from_millis(1);
        // Room for one, which takes more than three quarters of it.
        config.budget.memory_bytes = 30 << 20;
    });
    let hello = Arc::new(fixture.python("hello", HELLO));
    fixture.call(&hello, "1").await;
    fixture.until("reclaimed", |snapshot| snapshot.counters.reclaims == 1).await;
    assert_eq!(fixture.call(&hello, "2").await.start(), "warm");
}
