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

/// How long changes gather: every event that is accepted wakes who watches the store.
const GATHER: Duration = Duration::from_millis(50);
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
            let again = match self.round().await {
                Ok(()) => claims::RENEWAL,
                Err(error) => {
                    tracing::warn!(%error, "failed to look after the event source mappings; trying again");
                    RETRY_DELAY
                }
            };
            let pause = async {
                tokio::select! {
                    changed = changes.changed() => {
                        if changed.is_err() {
                            // The store is closed: only the stop is left.
                            std::future::pending::<()>().await;
                        }
                        tokio::time::sleep(GATHER).await;
                    }
                    () = tokio::time::sleep(again) => {}
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = pause => {}
            }
        }
        for (scope, uuid) in self.running.keys() {
            if let Err(error) = claims::release(&*self.parts.store, scope, uuid).await {
                tracing::warn!(%error, "failed to give an event source mapping up");
            }
        }
    }

    async fn round(&mut self) -> Result<(), StoreError> {
        let stored = self.parts.store.documents_in_all_scopes(KIND).await?;
        let mut known = HashSet::with_capacity(stored.len());
        for (scope, document) in stored {
            let key = (scope, document.key);
            match serde_json::from_value::<EventSourceMapping>(document.value) {
                Ok(mapping) => self.converge(&key, mapping).await?,
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
        Ok(())
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
