//! A poller on the fake source, with a function that is a closure. Time is paused: nothing sleeps.

use super::mapping;
use crate::batch::Work;
use crate::counts::Counts;
use crate::fake::FakeSource;
use crate::filters::Filters;
use crate::function::{Answered, Function};
use crate::health::Health;
use crate::poller::Poller;
use crate::scaling::Scaling;
use async_trait::async_trait;
use bytes::Bytes;
use lamplight_model::{EventSourceMapping, FunctionName, Scope, ServiceError, lineage};
use lamplight_store::{Options, open, system_clock};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

type Script = Box<dyn Fn(&[String]) -> (Duration, Result<Answered, ServiceError>) + Send + Sync>;

/// Takes so long, then answers, as the script says for the ids of a batch.
struct Scripted {
    script: Script,
    begun: Mutex<Vec<(Instant, Vec<String>)>>,
    under_way: Mutex<(usize, usize)>,
}

#[async_trait]
impl Function for Scripted {
    async fn ready(&self) -> Result<(), ServiceError> {
        Ok(())
    }

    fn invocations(&self, header: &str) -> u32 {
        lineage::invocations(header, &Scope::default(), &FunctionName::parse("f").unwrap())
    }

    async fn call(&self, event: Bytes, _: Option<String>) -> Result<Answered, ServiceError> {
        let event: Value = serde_json::from_slice(&event).unwrap();
        let ids: Vec<String> = event["Records"]
            .as_array()
            .unwrap()
            .iter()
            .map(|record| record["messageId"].as_str().unwrap().to_owned())
            .collect();
        let (takes, answer) = (self.script)(&ids);
        self.begun.lock().unwrap().push((Instant::now(), ids));
        {
            let mut under_way = self.under_way.lock().unwrap();
            under_way.0 += 1;
            under_way.1 = under_way.1.max(under_way.0);
        }
        tokio::time::sleep(takes).await;
        self.under_way.lock().unwrap().0 -= 1;
        answer
    }
}

struct Scene {
    source: Arc<FakeSource>,
    function: Arc<Scripted>,
    work: Arc<Work>,
    began: Instant,
    task: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Scene {
    fn start(
        mapping: EventSourceMapping,
        source: FakeSource,
        script: impl Fn(&[String]) -> (Duration, Result<Answered, ServiceError>) + Send + Sync + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = open(Options::new(directory.path())).unwrap().store;
        let source = Arc::new(source);
        let function = Arc::new(Scripted {
            script: Box::new(script),
            begun: Mutex::default(),
            under_way: Mutex::default(),
        });
        let filters = Filters::new(&mapping.filters, "body").unwrap();
        let work = Arc::new(Work {
            scaling: Mutex::new(Scaling::of(&mapping)),
            mapping: Arc::new(mapping),
            source: Arc::clone(&source) as _,
            function: Arc::clone(&function) as _,
            counts: Arc::new(Counts::default()),
            stop: CancellationToken::new(),
            again: Notify::new(),
        });
        let poller = Poller {
            scope: Scope::default(),
            work: Arc::clone(&work),
            filters,
            health: Health::of_working(store, system_clock(), Scope::default(), "u".to_owned()),
            metrics: None,
            clock: system_clock(),
            receiving: watch::Sender::new(()),
        };
        let (began, task) = (Instant::now(), tokio::spawn(poller.run()));
        Self { source, function, work, began, task, _directory: directory }
    }

    /// When each batch began, seconds, and what was in it.
    fn begun(&self) -> Vec<(u64, Vec<String>)> {
        let begun = self.function.begun.lock().unwrap();
        begun.iter().map(|(at, ids)| ((*at - self.began).as_secs(), ids.clone())).collect()
    }

    async fn stop(self) -> Vec<(u64, Vec<String>)> {
        let begun = self.begun();
        self.work.stop.cancel();
        self.task.await.unwrap();
        begun
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn success() -> Result<Answered, ServiceError> {
    Ok(Answered::Success(Bytes::new()))
}

fn failed(ids: &[&str]) -> Result<Answered, ServiceError> {
    let failures: Vec<Value> = ids.iter().map(|id| json!({"itemIdentifier": id})).collect();
    Ok(Answered::Success(json!({"batchItemFailures": failures}).to_string().into()))
}

fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_window_gathers_until_it_is_over_or_the_batch_is_full() {
    let mapping = EventSourceMapping { batch_size: 4, maximum_batching_window_in_seconds: 60, ..mapping() };
    let scene = Scene::start(mapping, FakeSource::new(seconds(30), false), |_| (seconds(0), success()));
    for number in 0..6 {
        scene.source.send(&number.to_string(), None);
    }
    scene.source.until_empty().await;
    let begun = scene.stop().await;
    assert_eq!(begun[0], (0, ids(0..4)));
    assert_eq!(begun[1].1, ids(4..6));
    assert!((59..=61).contains(&begun[1].0), "{begun:?}");
}

#[tokio::test(start_paused = true)]
async fn small_batches_begin_together() {
    let mapping = EventSourceMapping { batch_size: 1, ..mapping() };
    let scene = Scene::start(mapping, FakeSource::new(seconds(30), false), |_| (seconds(10), success()));
    for number in 0..9 {
        scene.source.send(&number.to_string(), None);
    }
    scene.source.until_empty().await;
    let under_way = scene.function.under_way.lock().unwrap().1;
    let begun = scene.stop().await;
    assert_eq!(begun.len(), 9);
    assert!(begun[..5].iter().all(|(at, _)| *at == 0), "five at once: {begun:?}");
    assert!(begun.iter().all(|(at, _)| *at <= 2), "a second later there is room for more: {begun:?}");
    assert!(under_way > 5);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_most_at_once() {
    let mapping = EventSourceMapping { batch_size: 1, maximum_concurrency: Some(2), ..mapping() };
    let scene = Scene::start(mapping, FakeSource::new(seconds(30), false), |_| (seconds(10), success()));
    for number in 0..8 {
        scene.source.send(&number.to_string(), None);
    }
    scene.source.until_empty().await;
    assert_eq!(scene.function.under_way.lock().unwrap().1, 2);
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_failed_comes_when_its_hold_ends_and_no_sooner() {
    let tries = Mutex::new(0);
    let scene = Scene::start(mapping(), FakeSource::new(seconds(30), false), move |_| {
        let mut tries = tries.lock().unwrap();
        *tries += 1;
        (seconds(1), if *tries == 1 { Ok(Answered::FunctionError) } else { success() })
    });
    scene.source.send("a", None);
    scene.source.until_empty().await;
    let begun = scene.stop().await;
    assert_eq!(begun, [(0, vec!["a".to_owned()]), (30, vec!["a".to_owned()])]);
}

#[tokio::test(start_paused = true)]
async fn a_long_call_is_made_once() {
    let scene = Scene::start(mapping(), FakeSource::new(seconds(3), false), |_| (seconds(100), success()));
    scene.source.send("a", None);
    scene.source.until_empty().await;
    assert_eq!(scene.stop().await, [(0, vec!["a".to_owned()])]);
}

#[tokio::test(start_paused = true)]
async fn reported_items_come_again_and_the_others_are_done() {
    let mapping = EventSourceMapping {
        function_response_types: vec!["ReportBatchItemFailures".to_owned()],
        ..mapping()
    };
    let scene = Scene::start(mapping, FakeSource::new(seconds(30), false), |ids| {
        (seconds(0), if ids.len() > 1 { failed(&["1"]) } else { success() })
    });
    for number in 0..3 {
        scene.source.send(&number.to_string(), None);
    }
    scene.source.until_empty().await;
    assert_eq!(scene.stop().await, [(0, ids(0..3)), (30, ids(1..2))]);
}

#[tokio::test(start_paused = true)]
async fn a_group_goes_on_after_its_failure_in_order() {
    let mapping = EventSourceMapping {
        function_response_types: vec!["ReportBatchItemFailures".to_owned()],
        ..mapping()
    };
    let scene = Scene::start(mapping, FakeSource::new(seconds(30), true), |ids| {
        (seconds(0), if ids.len() > 2 { failed(&["a2"]) } else { success() })
    });
    for (id, group) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a")] {
        scene.source.send(id, Some(group));
    }
    scene.source.until_empty().await;
    let begun = scene.stop().await;
    assert_eq!(begun[0].1, ["a1", "a2", "b1", "a3"]);
    assert_eq!((begun[1].0, begun[1].1.as_slice()), (30, ["a2".to_owned(), "a3".to_owned()].as_slice()));
}

#[tokio::test(start_paused = true)]
async fn large_records_are_cut_into_several_events() {
    let mapping = EventSourceMapping { batch_size: 100, maximum_batching_window_in_seconds: 1, ..mapping() };
    let scene = Scene::start(mapping, FakeSource::new(seconds(30), true), |ids| {
        let failed = ids.contains(&"a0".to_owned());
        (seconds(0), if failed { Ok(Answered::FunctionError) } else { success() })
    });
    let body = "x".repeat(2 << 20);
    for number in 0..4 {
        scene.source.send_body(&format!("a{number}"), Some("a"), &body);
    }
    scene.source.send_body("b0", Some("b"), &body);
    tokio::time::timeout(seconds(10), async {
        while scene.source.ids().contains(&"b0".to_owned()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    let begun = scene.stop().await;
    assert_eq!(begun[0].1, ["a0", "a1"], "6 MB hold two of these and what is around them");
    assert_eq!(begun[1].1, ["b0"], "what comes after a failure of its group is not given to the function");
}

#[tokio::test(start_paused = true)]
async fn throttled_calls_wait_and_are_not_lost() {
    let until = Mutex::new(None);
    let scene = Scene::start(
        EventSourceMapping { batch_size: 1, ..mapping() },
        FakeSource::new(seconds(30), false),
        move |_| {
            let mut until = until.lock().unwrap();
            let until = until.get_or_insert_with(|| Instant::now() + seconds(100));
            let throttled = Instant::now() < *until;
            (seconds(0), if throttled { Err(ServiceError::throttled("x")) } else { success() })
        },
    );
    for number in 0..20 {
        scene.source.send(&number.to_string(), None);
    }
    scene.source.until_empty().await;
    let begun = scene.stop().await;
    let in_first_second = begun.iter().filter(|(at, _)| *at == 0).count();
    let asked = begun.iter().filter(|(at, _)| (30..90).contains(at)).count();
    assert!(
        in_first_second < 30 && asked < 60,
        "one at a time is asked for, at growing intervals: {begun:?}"
    );
    let done: HashSet<_> =
        begun.iter().filter(|(at, _)| *at >= 100).flat_map(|(_, ids)| ids.clone()).collect();
    assert_eq!(done.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn who_stops_gives_back_what_has_not_begun() {
    let mapping = EventSourceMapping { maximum_batching_window_in_seconds: 300, ..mapping() };
    let scene = Scene::start(mapping, FakeSource::new(seconds(30), false), |_| (seconds(0), success()));
    scene.source.send("a", None);
    tokio::time::sleep(seconds(5)).await;
    let source = Arc::clone(&scene.source);
    assert_eq!(scene.stop().await, []);
    assert_eq!(source.ids(), ["a"]);
    let other =
        Scene::start(super::mapping(), FakeSource::new(seconds(30), false), |_| (seconds(20), success()));
    other.source.send("b", None);
    tokio::time::sleep(seconds(1)).await;
    let source = Arc::clone(&other.source);
    other.stop().await;
    assert_eq!(source.ids(), [""; 0], "what has begun ends, and is done");
}
