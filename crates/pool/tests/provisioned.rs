//! Provisioned concurrency over plain processes: started before anybody calls, replaced when they end.

#![allow(clippy::unwrap_used)] // A failing unwrap is a failing test.

#[allow(dead_code)]
mod common;

use common::{CREDENTIALS_LIFE, Fixture};
use lamplight_model::{FunctionVersion, StartKind};
use lamplight_pool::{ProvisionedFailure, ProvisionedTarget, Snapshot};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Says how its instance was started and which one it is; ends it when told to.
const SOURCE: &str = r#"
import os, time
def handler(event, context):
    if event == "die":
        os._exit(1)
    if isinstance(event, int):
        time.sleep(event / 1000)
    return [os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], context.log_stream_name]
"#;

fn want(fixture: &Fixture, version: &Arc<FunctionVersion>, instances: usize) {
    fixture.pool.provision(&[ProvisionedTarget { version: version.clone(), instances }]);
}

fn ready(instances: usize) -> impl Fn(&Snapshot) -> bool {
    move |snapshot| snapshot.provisioned.ready == instances && snapshot.provisioned.starting == 0
}

/// (initialization type, log stream) of an answer.
fn told(body: &str) -> (String, String) {
    serde_json::from_str(body).unwrap()
}

#[tokio::test]
async fn provisioned_instances_wait_for_calls_and_the_rest_runs_on_demand() {
    let fixture = Fixture::new();
    let function = Arc::new(fixture.python("kept", SOURCE));
    want(&fixture, &function, 2);
    fixture.until("two are ready", ready(2)).await;
    fixture.until("they are frozen", |snapshot| snapshot.frozen == 2).await;
    let log = fixture.log.text("kept");
    assert_eq!((log.matches("INIT_START").count(), log.matches("Status: success").count()), (2, 2), "{log}");
    assert!(!log.contains("RequestId"), "{log}");

    let calls = futures_util::future::join_all((0..3).map(|_| fixture.call(&function, "1500"))).await;
    let mut kinds = Vec::new();
    for call in &calls {
        let (kind, stream) = told(&call.body);
        assert!(fixture.log.stream_names("kept").contains(&stream));
        let report = &call.finished.report;
        let cold = kind == "on-demand";
        assert_eq!((report.init_us.is_some(), report.start != StartKind::Warm), (cold, cold), "{report:?}");
        kinds.push(kind);
    }
    kinds.sort();
    assert_eq!(kinds, ["on-demand", "provisioned-concurrency", "provisioned-concurrency"]);
    // Idle again, they go first.
    assert_eq!(told(&fixture.call(&function, "0").await.body).0, "provisioned-concurrency");
}

#[tokio::test]
async fn a_dead_one_is_replaced_and_an_unwanted_one_goes() {
    let fixture = Fixture::new();
    let function = Arc::new(fixture.python("mortal", SOURCE));
    want(&fixture, &function, 2);
    fixture.until("two are ready", ready(2)).await;
    let ended = fixture.call(&function, "\"die\"").await;
    assert!(ended.body.contains("Runtime.ExitError"), "{ended:?}");
    let state = || fixture.pool.provisioned(&function.scope, &function.name, function.version);
    fixture.until("it was replaced", |snapshot| snapshot.counters.starts == 3 && ready(2)(snapshot)).await;
    assert_eq!((state().ready, state().failure), (2, None));

    // One more than wanted goes when its run is over; without a target all go.
    let running = tokio::join!(fixture.call(&function, "700"), async {
        fixture.until("it runs", |snapshot| snapshot.instances.running == 1).await;
        want(&fixture, &function, 1);
        fixture.until("one is left", ready(1)).await;
        fixture.pool.provision(&[]);
    });
    assert_eq!(told(&running.0.body).0, "provisioned-concurrency");
    fixture.until("none is left", |snapshot| snapshot.instances.total() == 0).await;
    assert_eq!(state().ready, 0);
}

#[tokio::test]
async fn keep_alive_and_a_full_node_spare_them() {
    let fixture = Fixture::with(|config| {
        config.keep_alive = Duration::from_millis(1);
        config.budget.instances = 2;
        config.waiting_time = Duration::from_millis(300);
    });
    let kept = Arc::new(fixture.python("kept", SOURCE));
    want(&fixture, &kept, 2);
    fixture.until("two are ready", ready(2)).await;
    fixture.until("they are frozen", |snapshot| snapshot.frozen == 2).await;
    let other = Arc::new(fixture.python("other", SOURCE));
    let refused = fixture.try_call(&other, "0").await.unwrap_err();
    assert_eq!(refused.reason, Some("ConcurrentInvocationLimitExceeded"));
    assert_eq!(fixture.pool.snapshot().provisioned.ready, 2);
    // A target that finds no room says so, and is met when there is room.
    fixture.pool.provision(&[
        ProvisionedTarget { version: kept.clone(), instances: 1 },
        ProvisionedTarget { version: other.clone(), instances: 2 },
    ]);
    let state = || fixture.pool.provisioned(&other.scope, &other.name, other.version);
    fixture.until("no room is left", |_| state().failure == Some(ProvisionedFailure::NoRoom)).await;
    want(&fixture, &other, 2);
    fixture.until("there is room", |_| state().ready == 2).await;
}

#[tokio::test]
async fn a_failing_init_is_told_and_tried_again() {
    let fixture = Fixture::new();
    let flag = tempfile::tempdir().unwrap();
    let path = flag.path().join("mended");
    let source = format!(
        "import os\nif not os.path.exists({path:?}): raise ValueError('no')\ndef handler(event, context): return event\n"
    );
    let function = Arc::new(fixture.python("fails", &source));
    want(&fixture, &function, 2);
    let state = || fixture.pool.provisioned(&function.scope, &function.name, function.version);
    fixture.until("it failed", |_| state().failure == Some(ProvisionedFailure::Init)).await;
    assert_eq!(state().ready, 0);
    let log = fixture.log.text("fails");
    assert!(log.contains("Phase: init\tStatus: error\tError Type: ValueError"), "{log}");
    std::fs::write(&path, "").unwrap();
    fixture.until("both are ready", |_| state().ready == 2 && state().failure.is_none()).await;
}

#[tokio::test]
async fn a_drain_takes_them_along() {
    let fixture = Fixture::new();
    let function = Arc::new(fixture.python("drained", SOURCE));
    want(&fixture, &function, 1);
    fixture.until("one is ready", ready(1)).await;
    fixture.pool.drain(tokio::time::Instant::now() + Duration::from_secs(20)).await;
    assert_eq!(fixture.pool.snapshot().instances.total(), 0);
    want(&fixture, &function, 1);
    assert_eq!(fixture.pool.snapshot().provisioned.wanted, 0);
}

#[tokio::test]
async fn the_json_format_tells_why_an_instance_was_started() {
    let fixture = Fixture::new();
    let mut told = fixture.python("told", SOURCE);
    told.logging.json = true;
    told.logging.system_log_level = Some("DEBUG".to_owned());
    let told = Arc::new(told);
    // (type, initialization type) of each object so far.
    let objects = || -> Vec<(String, serde_json::Value)> {
        let log = fixture.log.text("told");
        let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.map(|line| (line["type"].as_str().unwrap().to_owned(), line["record"].clone())).collect()
    };
    want(&fixture, &told, 1);
    fixture.until("one is ready", ready(1)).await;
    let init: Vec<_> = objects();
    let kinds: Vec<&str> = init.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["platform.initStart", "platform.initRuntimeDone", "platform.initReport"]);
    for (kind, record) in &init {
        assert_eq!(record["initializationType"], "provisioned-concurrency", "{kind}");
        assert_eq!(record["phase"], "init", "{kind}");
    }
    assert_eq!((&init[1].1["status"], &init[2].1["status"]), (&"success".into(), &"success".into()));
    let report = &init[2].1;
    let of_phases: f64 =
        ["interpreterMs", "initMs"].iter().map(|part| report["coldStart"][part].as_f64().unwrap()).sum();
    assert!((report["metrics"]["durationMs"].as_f64().unwrap() - of_phases).abs() < 0.01, "{report}");
    assert!(report["coldStart"].get("queueMs").is_none(), "{report}");

    // The first call has no init of its own; one on demand has.
    fixture.call(&told, "0").await;
    fixture.pool.provision(&[]);
    fixture.until("it is gone", |snapshot| snapshot.instances.total() == 0).await;
    let before = objects().len();
    fixture.call(&told, "0").await;
    let later = objects().split_off(before);
    let kinds: Vec<&str> = later.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "platform.initStart",
            "platform.initRuntimeDone",
            "platform.initReport",
            "platform.start",
            "platform.runtimeDone",
            "platform.report"
        ]
    );
    assert_eq!(later[0].1["initializationType"], "on-demand");
    assert!(later[5].1["metrics"]["initDurationMs"].as_f64().is_some_and(|init| init > 0.0));
    assert!(objects()[..before].iter().all(|(_, record)| record["metrics"].get("initDurationMs").is_none()));
}

#[tokio::test]
async fn those_that_die_while_they_are_idle_are_replaced() {
    let fixture = Fixture::new();
    let function = Arc::new(fixture.python("struck", SOURCE));
    want(&fixture, &function, 2);
    let replaced = |starts: u64| {
        move |snapshot: &Snapshot| {
            snapshot.counters.starts == starts && ready(2)(snapshot) && snapshot.frozen == 2
        }
    };
    fixture.until("two are ready", replaced(2)).await;
    // Nobody calls: it is noticed all the same.
    let struck = fixture.backend().live().first().cloned().unwrap();
    assert!(fixture.backend().interrupt(&struck));
    // Within five seconds; the sweep of a pool where nothing is due comes once a minute.
    let noticed = fixture.until("it was replaced", replaced(3));
    tokio::time::timeout(Duration::from_secs(40), noticed).await.unwrap();
    // A call that comes before it is noticed never meets a dead one.
    for struck in fixture.backend().live() {
        assert!(fixture.backend().interrupt(&struck));
    }
    let called = fixture.call(&function, "0").await;
    assert!(called.outcome == lamplight_model::Outcome::success(), "{called:?}");
    fixture.until("both were replaced", |snapshot| ready(2)(snapshot) && snapshot.frozen >= 2).await;
}

#[tokio::test]
async fn those_whose_credentials_end_are_replaced_without_a_call() {
    let fixture = Fixture::new();
    let function = Arc::new(fixture.python("kept", SOURCE));
    want(&fixture, &function, 2);
    fixture.until("two are ready", ready(2)).await;
    let life_ms = i64::try_from(CREDENTIALS_LIFE.as_millis()).unwrap();
    fixture.ahead_ms.store(life_ms, Ordering::SeqCst);
    fixture.until("two others were started", |snapshot| snapshot.provisioned.started == 4).await;
    fixture.until("they are ready", ready(2)).await;
    let first = fixture.call(&function, "0").await;
    assert_eq!((told(&first.body).0.as_str(), first.start()), ("provisioned-concurrency", "warm"));
}
