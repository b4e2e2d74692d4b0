//! Polls one source for one mapping: receives, filters, gathers, and starts batches while there is room.
//!
//! Waits in the source while nothing comes; a source or a function that is not there is looked for at growing intervals.

use crate::batch::{self, Batch, Hold, RECORD_BYTES, Work};
use crate::counts::Count;
use crate::filters::Filters;
use crate::health::Health;
use crate::source::{Record, SourceError, Wanted};
use lamplight_model::Scope;
use lamplight_services::metrics::MetricStore;
use lamplight_store::Clock;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long one receive waits for something.
const WAIT: Duration = Duration::from_secs(20);
/// Pauses while something is not there: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Between two writes of a mapping's counts.
const COUNTS_EVERY: Duration = Duration::from_secs(5);

/// A poller before it runs.
pub struct Poller {
    pub scope: Scope,
    pub work: Arc<Work>,
    pub filters: Filters,
    pub health: Health,
    pub metrics: Option<MetricStore>,
    pub clock: Clock,
    /// Is closed when nothing is received any more.
    pub receiving: watch::Sender<()>,
}

impl Poller {
    /// Polls until it is told to stop, then waits for the batches under way.
    pub async fn run(self) {
        let mut batches: JoinSet<()> = JoinSet::new();
        self.poll(&mut batches).await;
        self.receiving.send_replace(());
        while batches.join_next().await.is_some() {}
        self.store_counts().await;
    }

    async fn poll(&self, batches: &mut JoinSet<()>) {
        let stop = &self.work.stop;
        let mut pause = PAUSES.0;
        let mut counted = Instant::now();
        loop {
            if counted.elapsed() >= COUNTS_EVERY {
                self.store_counts().await;
                counted = Instant::now();
            }
            let Some(room) = self.room(batches).await else { return };
            let trouble = match self.work.function.ready().await {
                Err(error) => Some(error.message),
                Ok(()) => match self.gather(room).await {
                    Ok(gathered) => {
                        for batch in gathered {
                            batches.spawn(batch::run(Arc::clone(&self.work), batch));
                        }
                        None
                    }
                    Err(error) => Some(error.to_string()),
                },
            };
            if stop.is_cancelled() {
                return;
            }
            let Some(trouble) = trouble else {
                pause = PAUSES.0;
                self.health.works().await;
                continue;
            };
            self.health.fails(trouble).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.work.again.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Waits until a batch may begin, and says how many may. `None`: it is time to stop.
    async fn room(&self, batches: &mut JoinSet<()>) -> Option<usize> {
        loop {
            while batches.try_join_next().is_some() {}
            let (room, growth) = {
                let mut scaling = self.work.scaling.lock().unwrap_or_else(PoisonError::into_inner);
                let mut room = scaling.limit().saturating_sub(batches.len());
                if room == 0 {
                    scaling.full(Instant::now());
                    room = scaling.limit().saturating_sub(batches.len());
                }
                (room, scaling.next_growth())
            };
            if self.work.stop.is_cancelled() {
                return None;
            }
            if room > 0 {
                return Some(room);
            }
            let growth = async {
                match growth {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.work.stop.cancelled() => return None,
                _ = batches.join_next() => {}
                () = growth => {}
            }
        }
    }

    /// What is to be given to the function: batches that are full, or whose window is over. None when nothing came.
    async fn gather(&self, room: usize) -> Result<Vec<Batch>, SourceError> {
        let work = &self.work;
        let size = work.mapping.batch_size.max(1) as usize;
        let window = Duration::from_secs(u64::from(work.mapping.maximum_batching_window_in_seconds));
        // Several small batches at once, but where their order counts.
        let most =
            if window.is_zero() && !work.source.is_ordered() { size.saturating_mul(room) } else { size };
        let (mut records, mut hold) = self.receive(Wanted { most, wait: WAIT, longer: window }).await?;
        let over = Instant::now() + window;
        let mut bytes = if window.is_zero() { 0 } else { size_of(&records) };
        while !records.is_empty() && records.len() < size && bytes < RECORD_BYTES && !work.stop.is_cancelled()
        {
            let left = over.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let wanted = Wanted { most: size - records.len(), wait: left, longer: left };
            match self.receive(wanted).await {
                Ok((more, other)) => {
                    if !more.is_empty() {
                        bytes += size_of(&more);
                        hold = hold.earlier(other);
                        records.extend(more);
                    }
                }
                // What is there is not lost for it; the next receive tells.
                Err(_) => break,
            }
        }
        if work.stop.is_cancelled() && !records.is_empty() {
            let receipts: Vec<String> = records.into_iter().map(|record| record.receipt).collect();
            work.source.give_back(&receipts).await?;
            return Ok(Vec::new());
        }
        let mut batches = Vec::new();
        while !records.is_empty() {
            let rest = records.split_off(size.min(records.len()));
            batches.push(Batch { records, hold });
            records = rest;
        }
        Ok(batches)
    }

    /// Receives once. What no filter wants is done.
    async fn receive(&self, wanted: Wanted) -> Result<(Vec<Record>, Hold), SourceError> {
        let work = &self.work;
        let enough = work.stop.child_token();
        let mut receiving = std::pin::pin!(work.source.receive(wanted, &enough));
        let received = tokio::select! {
            received = &mut receiving => received,
            () = work.again.notified() => {
                enough.cancel();
                receiving.await
            }
        }?;
        let hold = Hold::new(received.hold);
        work.counts.add(Count::Polled, received.records.len());
        if received.records.is_empty() && wanted.wait == WAIT {
            work.scaling.lock().unwrap_or_else(PoisonError::into_inner).empty();
        }
        let (records, others): (Vec<_>, Vec<_>) =
            received.records.into_iter().partition(|record| self.filters.want(record));
        if !others.is_empty() {
            let receipts: Vec<String> = others.into_iter().map(|record| record.receipt).collect();
            work.counts.add(Count::FilteredOut, receipts.len());
            // What stays comes again, and is dropped then.
            if let Err(error) = work.source.done(&receipts).await {
                tracing::warn!(%error, "failed to drop records that no filter wants");
            }
        }
        Ok((records, hold))
    }

    async fn store_counts(&self) {
        let Some(metrics) = &self.metrics else { return };
        let data = self.work.counts.take(&self.work.mapping.uuid, (self.clock)());
        if data.is_empty() {
            return;
        }
        match metrics.put(&self.scope, data.clone()).await {
            Ok(true) => {}
            Ok(false) => tracing::debug!("too many metrics: counts of an event source mapping are not kept"),
            Err(error) => {
                tracing::warn!(%error, "failed to store counts of an event source mapping");
                self.work.counts.put_back(&data);
            }
        }
    }
}

/// Bytes of the records, roughly: what the sender wrote is nearly all of them.
fn size_of(records: &[Record]) -> usize {
    records.iter().map(|record| record.event.to_string().len()).sum()
}
