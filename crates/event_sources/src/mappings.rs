//! Starts and stops pollers as the stored mappings say, and settles the mappings' states.
//!
//! One task: woken by the store, it reads all mappings and makes what runs like what is wanted. A mapping that was changed
//! gets a new poller; the old one receives nothing more and lets its batches end.

use crate::batch::Work;
use crate::claims;
use crate::counts::Counts;
use crate::filters::Filters;
use crate::function::InvokedFunction;
use crate::health::Health;
use crate::poller::Poller;
use crate::scaling::Scaling;
use crate::source::EventSource;
use crate::sqs::QueueSource;
use lamplight_invoke::Invoker;
use lamplight_model::event_source_mapping::{KIND, MappingState, RESULT_KIND};
use lamplight_model::{EventSourceMapping, Scope};
use lamplight_services::metrics::MetricStore;
use lamplight_services::queues::Queues;
use lamplight_store::{Clock, Document, Expect, Store, StoreError};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long changes gather: every change of a function or a document wakes who watches the store.
const GATHER: Duration = Duration::from_millis(50);
/// How soon a look follows on the last one after a change that is none of a document.
const BETWEEN: Duration = Duration::from_secs(1);
/// After a failure.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// How long a poller may take to stop receiving.
const QUIET: Duration = Duration::from_secs(5);

/// What mappings are worked with.
#[derive(Clone)]
pub struct Parts {
    /// Where mappings are.
    pub store: Arc<dyn Store>,
    /// What is polled.
    pub queues: Queues,
    /// Where records are counted.
    pub metrics: MetricStore,
    /// Who runs functions.
    pub invoker: Arc<Invoker>,
    /// The clock.
    pub clock: Clock,
    /// Name of this process among those on one store.
    pub node: String,
}

/// The mappings of this process at work.
pub struct EventSources {
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// A mapping that is polled. The key of the map is scope and UUID.
struct Running {
    quiet: watch::Receiver<()>,
    task: JoinHandle<()>,
    claimed: tokio::time::Instant,
    work: Arc<Work>,
    /// Whether there was something to run when it was looked at last.
    ready: bool,
}

type Key = (Scope, String);

impl Running {
    /// Tells the poller when its function has come or gone.
    async fn look(&mut self) {
        let ready = self.work.function.ready().await.is_ok();
        if ready != self.ready {
            self.ready = ready;
            self.work.again.notify_one();
        }
    }
}

impl EventSources {
    /// Begins to poll, in tasks on the current tokio runtime.
    pub fn start(parts: Parts) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let converging =
            Converging { parts, stop: stop.clone(), tasks: tasks.clone(), running: HashMap::new() };
        tasks.spawn(converging.run());
        Self { stop, tasks }
    }

    /// Receives nothing more and waits up to `patience` for the batches under way. Gives back whether all ended; what did
    /// not comes again when its source says.
    pub async fn drain(&self, patience: Duration) -> bool {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(patience, self.tasks.wait()).await.is_ok()
    }
}

/// Waits until it is time to look again: soon after a change of documents, at most every `BETWEEN` after others, and after
/// `again` in any case. For ever when the store is closed.
async fn pause(changes: &mut watch::Receiver<u64>, has_moved: impl Fn() -> bool, again: Duration) {
    let looked = tokio::time::Instant::now();
    let mut next = looked + again;
    loop {
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    // Only the stop is left.
                    std::future::pending::<()>().await;
                }
                if has_moved() {
                    break;
                }
                next = next.min(looked + BETWEEN);
            }
            () = tokio::time::sleep_until(next) => break,
        }
    }
    tokio::time::sleep(GATHER).await;
}

struct Converging {
    parts: Parts,
    stop: CancellationToken,
    tasks: TaskTracker,
    running: HashMap<Key, Running>,
}

impl Converging {
    async fn run(mut self) {
        let mut changes = self.parts.store.watch();
        loop {
            changes.mark_unchanged();
            let generation = self.parts.store.document_generation();
            let again = match self.round().await {
                Ok(again) => again,
                Err(error) => {
                    tracing::warn!(%error, "failed to look after the event source mappings; trying again");
                    RETRY_DELAY
                }
            };
            let has_moved = || self.parts.store.document_generation() != generation;
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = pause(&mut changes, has_moved, again) => {}
            }
        }
        for (scope, uuid) in self.running.keys() {
            if let Err(error) = claims::release(&*self.parts.store, scope, uuid).await {
                tracing::warn!(%error, "failed to give an event source mapping up");
            }
        }
    }

    /// Gives back when to look again at the latest.
    async fn round(&mut self) -> Result<Duration, StoreError> {
        let mut again = claims::RENEWAL;
        let stored = self.parts.store.documents_in_all_scopes(KIND).await?;
        let mut known = HashSet::with_capacity(stored.len());
        for (scope, document) in stored {
            let key = (scope, document.key);
            match serde_json::from_value::<EventSourceMapping>(document.value) {
                Ok(mapping) => {
                    // One that is broken keeps none of the others.
                    if let Err(error) = self.converge(&key, mapping).await {
                        tracing::warn!(%error, mapping = key.1, "failed to look after an event source mapping");
                        again = RETRY_DELAY;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, mapping = key.1, "failed to read an event source mapping");
                    continue;
                }
            }
            known.insert(key);
        }
        let gone: Vec<Key> = self.running.keys().filter(|key| !known.contains(*key)).cloned().collect();
        for key in gone {
            self.stop_polling(&key).await;
        }
        Ok(again)
    }

    async fn converge(&mut self, key: &Key, mapping: EventSourceMapping) -> Result<(), StoreError> {
        let is_current = self.running.get(key).is_some_and(|running| {
            mapping.is_polled() && running.work.mapping.polls_like(&mapping) && !running.task.is_finished()
        });
        if !is_current {
            self.stop_polling(key).await;
        }
        let store = &self.parts.store;
        if mapping.state == MappingState::Deleting {
            store.delete_document(&key.0, RESULT_KIND, &key.1).await?;
            claims::release(&**store, &key.0, &key.1).await?;
            store.delete_document(&key.0, KIND, &key.1).await?;
            return Ok(());
        }
        if mapping.is_polled() {
            self.keep_polling(key, &mapping).await?;
            if let Some(running) = self.running.get_mut(key) {
                running.look().await;
            }
        } else if mapping.settled().is_some() {
            // Once: a write for every look would wake the next look.
            store.delete_document(&key.0, RESULT_KIND, &key.1).await?;
            claims::release(&**store, &key.0, &key.1).await?;
        }
        self.settle(key, mapping).await
    }

    /// Writes the state down in which a transition ends. One that was changed meanwhile is looked at again.
    async fn settle(&self, key: &Key, mapping: EventSourceMapping) -> Result<(), StoreError> {
        let Some(state) = mapping.settled() else { return Ok(()) };
        let expect = Expect::Revision(mapping.revision_id.clone());
        let settled = EventSourceMapping {
            state,
            last_modified: (self.parts.clock)(),
            revision_id: uuid::Uuid::new_v4().to_string(),
            ..mapping
        };
        let value = serde_json::to_value(settled).map_err(|error| StoreError::Failed {
            doing: format!("failed to write mapping {}", key.1),
            source: Box::new(error),
        })?;
        let document = Document { key: key.1.clone(), value };
        match self.parts.store.put_document(&key.0, KIND, document, expect).await {
            Err(StoreError::RevisionMismatch(_)) => Ok(()),
            other => other,
        }
    }

    /// Starts a poller when there is none and nobody else has the mapping; renews the claim when it is time.
    async fn keep_polling(&mut self, key: &Key, mapping: &EventSourceMapping) -> Result<(), StoreError> {
        let now = tokio::time::Instant::now();
        let is_claimed = self.running.get(key).is_some_and(|running| now < running.claimed + claims::RENEWAL);
        if is_claimed {
            return Ok(());
        }
        // Looked at before the claim is taken, which is a write that wakes the next round.
        let prepared = if self.running.contains_key(key) { None } else { self.prepare(key, mapping) };
        if prepared.is_none() && !self.running.contains_key(key) {
            return Ok(());
        }
        let parts = &self.parts;
        let taken = claims::take(&*parts.store, &key.0, &key.1, &parts.node, (parts.clock)()).await?;
        match (taken, self.running.get_mut(key)) {
            (None, _) => self.stop_polling(key).await,
            (Some(_), Some(running)) => running.claimed = now,
            (Some(_), None) => {
                if let Some((poller, quiet)) = prepared {
                    let work = Arc::clone(&poller.work);
                    let task = self.tasks.spawn(poller.run());
                    self.running
                        .insert(key.clone(), Running { work, quiet, task, claimed: now, ready: true });
                }
            }
        }
        Ok(())
    }

    /// A poller that does not run yet, and by which it tells that it receives no more. `None`: nothing that the front door
    /// would have taken.
    fn prepare(
        &self,
        (scope, uuid): &Key,
        mapping: &EventSourceMapping,
    ) -> Option<(Poller, watch::Receiver<()>)> {
        let parts = &self.parts;
        let unreadable =
            |what: &str| tracing::debug!(mapping = uuid, what, "an event source mapping cannot be polled");
        let Some(source) = QueueSource::new(parts.queues.clone(), &mapping.event_source_arn) else {
            unreadable("its source is no queue");
            return None;
        };
        let source: Arc<dyn EventSource> = Arc::new(source);
        let function = InvokedFunction::new(Arc::clone(&parts.invoker), scope, &mapping.function_arn);
        let Some(function) = function else {
            unreadable("its target is no function");
            return None;
        };
        let filters = Filters::new(&mapping.filters, source.data_member())
            .inspect_err(|error| unreadable(&error.to_string()))
            .ok()?;
        let stop = self.stop.child_token();
        let (receiving, quiet) = watch::channel(());
        let mapping = Arc::new(mapping.clone());
        let work = Work {
            scaling: Mutex::new(Scaling::of(&mapping)),
            mapping: Arc::clone(&mapping),
            source,
            function: Arc::new(function),
            counts: Arc::new(Counts::default()),
            stop,
            again: Notify::new(),
        };
        let poller = Poller {
            scope: scope.clone(),
            work: Arc::new(work),
            filters,
            health: Health::new(
                Arc::clone(&parts.store),
                Arc::clone(&parts.clock),
                scope.clone(),
                uuid.clone(),
            ),
            metrics: mapping.counts("EventCount").then(|| parts.metrics.clone()),
            clock: Arc::clone(&parts.clock),
            receiving,
        };
        Some((poller, quiet))
    }

    /// Lets a poller receive nothing more, and waits until that is so. Its batches go on.
    async fn stop_polling(&mut self, key: &Key) {
        let Some(mut running) = self.running.remove(key) else { return };
        running.work.stop.cancel();
        // An error: the poller is gone altogether.
        if tokio::time::timeout(QUIET, running.quiet.changed()).await.is_err() {
            tracing::warn!(mapping = key.1, "a poller takes long to stop");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::mapping;
    use lamplight_invoke::InvokerConfig;
    use lamplight_invoke::workers::fake::FakeWorkers;
    use lamplight_services::queues::Bounds;
    use lamplight_store::{Opened, Options, open, system_clock};
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn events_wake_a_look_once_in_a_while_and_documents_at_once() {
        let (sender, mut changes) = watch::channel(0);
        let begun = Instant::now();
        let busy = async {
            loop {
                sender.send_modify(|number| *number += 1);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = busy => {}
            () = pause(&mut changes, || false, claims::RENEWAL) => {}
        }
        assert!((BETWEEN..BETWEEN * 2).contains(&begun.elapsed()), "{:?}", begun.elapsed());

        changes.mark_unchanged();
        let begun = Instant::now();
        pause(&mut changes, || false, claims::RENEWAL).await;
        assert!(begun.elapsed() >= claims::RENEWAL, "nothing has changed");

        let begun = Instant::now();
        sender.send_modify(|number| *number += 1);
        pause(&mut changes, || true, claims::RENEWAL).await;
        assert!(begun.elapsed() <= GATHER * 2, "{:?}", begun.elapsed());
    }

    async fn put(opened: &Opened, kind: &str, key: &str, value: serde_json::Value) {
        let document = Document { key: key.to_owned(), value };
        opened.store.put_document(&Scope::default(), kind, document, Expect::Anything).await.unwrap();
    }

    #[tokio::test]
    async fn a_mapping_whose_claim_cannot_be_read_keeps_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let opened = open(Options::new(directory.path())).unwrap();
        let invoker = Invoker::new(
            InvokerConfig::default(),
            Arc::clone(&opened.store),
            FakeWorkers::echo(),
            Arc::clone(&opened.ledger),
            system_clock(),
        );
        for uuid in ["a", "b"] {
            let mapping =
                EventSourceMapping { uuid: uuid.to_owned(), state: MappingState::Creating, ..mapping() };
            put(&opened, KIND, uuid, serde_json::to_value(mapping).unwrap()).await;
        }
        put(&opened, "event-source-mapping-claim", "a", serde_json::json!("nonsense")).await;
        let parts = Parts {
            store: Arc::clone(&opened.store),
            queues: Queues::open(&opened.directory, Bounds::default(), system_clock()).unwrap(),
            metrics: MetricStore::open(&opened.directory, system_clock()).unwrap(),
            invoker,
            clock: system_clock(),
            node: "n".to_owned(),
        };
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let mut converging = Converging { parts, stop: stop.clone(), tasks, running: HashMap::new() };
        assert_eq!(converging.round().await.unwrap(), RETRY_DELAY);
        let running: Vec<&str> = converging.running.keys().map(|(_, uuid)| uuid.as_str()).collect();
        assert_eq!(running, ["b"]);
        let states = opened.store.list_documents(&Scope::default(), KIND, None, 9).await.unwrap();
        let states: Vec<_> = states.iter().map(|document| document.value["State"].clone()).collect();
        assert_eq!(states[1], "Enabled");
        stop.cancel();
    }
}
