//! Events that wait: put into the store of a stopped server, and what holds a function up so that they go on waiting.
//!
//! A million requests would take minutes and measure something else. The store's own `enqueue` makes the rows, as the server's
//! does for each request; the server then starts on them.

use super::http::Connection;
use super::pairing::Sample;
use super::server::{Server, invocations};
use super::{rows::EVENT, wait_for};
use anyhow::Context as _;
use lamplight_model::{FunctionName, RequestId, Scope, Timestamp};
use lamplight_store::{Options, QueuedEvent, Store, open_shared, system_clock};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Events that are put there at once: they share commits.
const AT_ONCE: usize = 512;
/// One call that holds a function's only place, seconds.
const HOLD_SECONDS: u64 = 5;

/// A store that accepts events in this process.
pub struct Accepting {
    runtime: tokio::runtime::Runtime,
    store: Arc<dyn Store>,
    function: FunctionName,
}

impl Accepting {
    /// Opens a new store.
    pub fn start(data: &Path) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let store = lamplight_store::open(Options::new(data)).context("failed to open a new store")?.store;
        Ok(Self { runtime, store, function: FunctionName::parse("held").context("not a function's name")? })
    }

    /// So many events from each of so many callers, one after another; time of one.
    pub fn block(&self, callers: usize, events: usize) -> anyhow::Result<Sample> {
        let begun = Instant::now();
        self.runtime.block_on(async {
            let mut putting = tokio::task::JoinSet::new();
            for _ in 0..callers {
                putting.spawn(put(Arc::clone(&self.store), self.function.clone(), events, Duration::ZERO));
            }
            while let Some(put) = putting.join_next().await {
                put??;
            }
            anyhow::Ok(())
        })?;
        // Its processor time is that of this program, which measures.
        let seconds = begun.elapsed().as_secs_f64() / (callers * events) as f64;
        Ok(Sample { seconds, cpu_seconds: f64::NAN })
    }
}

/// Puts `count` events for `function` into the store of a stopped server, to be run after `delay`.
pub fn fill(data: &Path, function: &str, count: usize, delay: Duration) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let store = open_shared(&Options::new(data)).context("failed to open the store of the stopped server")?;
    let function = FunctionName::parse(function).context("not a function's name")?;
    runtime.block_on(async {
        let mut fillers = tokio::task::JoinSet::new();
        for number in 0..AT_ONCE {
            let share = count / AT_ONCE + usize::from(number < count % AT_ONCE);
            fillers.spawn(put(Arc::clone(&store), function.clone(), share, delay));
        }
        while let Some(filled) = fillers.join_next().await {
            filled??;
        }
        anyhow::Ok(())
    })
}

async fn put(
    store: Arc<dyn Store>,
    function: FunctionName,
    count: usize,
    delay: Duration,
) -> anyhow::Result<()> {
    let clock = system_clock();
    for _ in 0..count {
        let now: Timestamp = clock();
        let event = QueuedEvent {
            request_id: RequestId::generate(),
            scope: Scope::default(),
            function: function.clone(),
            qualifier: None,
            payload: EVENT.into(),
            client_context: None,
            trace_header: None,
            tenant_id: None,
            accepted_at: now,
            attempts: 0,
            not_before: now.plus(delay),
        };
        store.enqueue(event).await?;
    }
    Ok(())
}

/// Counts of a function's events.
pub fn counts(connection: &mut Connection, function: &str) -> anyhow::Result<(u64, u64)> {
    let answer = connection.request("GET", &format!("/lamplight/v1/functions/{function}/events"), b"")?;
    let counts: serde_json::Value = serde_json::from_slice(&answer.body)
        .with_context(|| format!("the counts of {function} answered {}: {}", answer.status, answer.text()))?;
    let count = |name: &str| counts[name].as_u64().with_context(|| format!("no {name} in {counts}"));
    Ok((count("Done")?, count("Pending")?))
}

/// Gives a function one place, and calls it again and again so that its events find it taken; until dropped.
pub struct Hold {
    stop: Arc<AtomicBool>,
    caller: Option<std::thread::JoinHandle<()>>,
}

impl Hold {
    /// Ends when the place is taken.
    pub fn start(server: &Server, function: &str) -> anyhow::Result<Self> {
        let mut connection = server.connect()?;
        let path = format!("/2017-10-31/functions/{function}/concurrency");
        let answer = connection.request("PUT", &path, br#"{"ReservedConcurrentExecutions": 1}"#)?;
        anyhow::ensure!(answer.status == 200, "reserving answered {}: {}", answer.status, answer.text());
        let stop = Arc::new(AtomicBool::new(false));
        let (path, stopped) = (invocations(function), Arc::clone(&stop));
        let body = format!("{{\"hold_seconds\": {HOLD_SECONDS}}}");
        let caller = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // Refused while an event has the place; the next try may be faster than the next event.
                match connection.post(&path, body.as_bytes()) {
                    Ok(answer) if answer.status == 200 => {}
                    Ok(_) => std::thread::sleep(Duration::from_millis(1)),
                    Err(_) => return,
                }
            }
        });
        let hold = Self { stop, caller: Some(caller) };
        // From the first refusal of a call of ours the place is taken.
        let (mut connection, path) = (server.connect()?, invocations(function));
        wait_for("a taken place", || Ok((connection.post(&path, b"{}")?.status == 429).then_some(())))?;
        Ok(hold)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(caller) = self.caller.take() {
            let _ = caller.join();
        }
    }
}
