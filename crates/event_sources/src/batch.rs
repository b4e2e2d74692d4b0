//! The life of one batch: given to the function, then what is done is taken away from the source.
//!
//! ```text
//!  call ─► success ─► done (all, or all but what the function reports)
//!    │ ╰─► the function failed: nothing is done, the source gives it again when its hold ends
//!    ╰ throttled: tried again until the hold is nearly over
//! ```
//! While the function runs the hold is prolonged, so that a call that waited for an instance is not made twice.

use crate::counts::{Count, Counts};
use crate::function::{Answered, Function};
use crate::response::{self, Verdict};
use crate::scaling::Scaling;
use crate::source::{EventSource, Record};
use bytes::Bytes;
use lamplight_model::limits::SYNC_PAYLOAD_BYTES;
use lamplight_model::{ErrorCode, EventSourceMapping, ServiceError, lineage};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Bytes of the records of one event: 6 MB with what is around them.
pub const RECORD_BYTES: usize = SYNC_PAYLOAD_BYTES - 64;
/// Delays between tries of a throttled call: the first, and the longest.
const THROTTLE_DELAYS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// Delays between tries to take away what is done, and how many there are.
const DONE_DELAYS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
const DONE_TRIES: usize = 10;
/// How long before its end a hold is prolonged, at most.
const MARGIN: Duration = Duration::from_secs(5);

/// What the batches of one mapping share.
pub struct Work {
    pub mapping: Arc<EventSourceMapping>,
    pub source: Arc<dyn EventSource>,
    pub function: Arc<dyn Function>,
    pub counts: Arc<Counts>,
    pub scaling: Mutex<Scaling>,
    /// No more batches are to begin.
    pub stop: CancellationToken,
    /// The function may have come or gone: who waits for something looks again.
    pub again: Notify,
}

/// Records that are held.
pub struct Batch {
    pub records: Vec<Record>,
    pub hold: Hold,
}

/// Until when records belong to their receiver.
#[derive(Debug, Clone, Copy)]
pub struct Hold {
    until: Instant,
    length: Duration,
    prolonged: bool,
}

/// How one event ended.
enum Ended {
    Answered(Bytes),
    FunctionError,
    NotRun,
    /// The server or the mapping stops.
    Stopped,
}

impl Hold {
    /// From now.
    pub fn new(length: Duration) -> Self {
        Self { until: Instant::now() + length, length, prolonged: false }
    }

    /// The one that ends first.
    pub fn earlier(self, other: Self) -> Self {
        if other.until < self.until { other } else { self }
    }

    /// When it is to be prolonged.
    fn renewal(&self) -> Instant {
        self.until - MARGIN.min(self.length / 3)
    }

    /// Waits for `work`, and prolongs the hold meanwhile.
    async fn during<T>(
        &mut self,
        source: &dyn EventSource,
        receipts: &[String],
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                result = &mut work => return result,
                () = tokio::time::sleep_until(self.renewal()) => {}
            }
            match source.hold(receipts).await {
                Ok(length) => *self = Self { prolonged: true, ..Self::new(length) },
                Err(error) => {
                    tracing::warn!(%error, "failed to hold records longer; they may come twice");
                    *self = Self { prolonged: self.prolonged, ..Self::new(self.length) };
                }
            }
        }
    }
}

/// Runs a batch to its end. Of a source with an order, what comes after a failure in its group is not given to the function.
pub async fn run(work: Arc<Work>, batch: Batch) {
    let Batch { records, mut hold } = batch;
    let mut blocked: HashSet<String> = HashSet::new();
    let receipts: Vec<String> = records.iter().map(|record| record.receipt.clone()).collect();
    // Events are in the order of the records: what is behind the last one is settled, or blocked and comes with its group.
    let mut waiting = receipts.as_slice();
    for event in events(records, |header| work.function.invocations(header)) {
        let held = waiting;
        waiting = &waiting[event.len()..];
        let records: Vec<(Record, String)> = event
            .into_iter()
            .filter(|(record, _)| record.group.as_ref().is_none_or(|group| !blocked.contains(group)))
            .collect();
        if records.is_empty() {
            continue;
        }
        let ended = give(&work, &records, held, &mut hold).await;
        let done = done(&work, &records, &ended);
        settle(&work, &records, &done, &ended, &hold).await;
        let mut done = done.into_iter().peekable();
        for (place, (record, _)) in records.into_iter().enumerate() {
            if done.next_if_eq(&place).is_none() {
                blocked.extend(record.group);
            }
        }
    }
}

/// Cuts records into events that are not too large, in their order. Records whose chains have invoked the function unequally
/// often are not in one event: what follows from it has one trace header, and would be counted with the longest chain.
fn events(records: Vec<Record>, invocations: impl Fn(&str) -> u32) -> Vec<Vec<(Record, String)>> {
    let mut events: Vec<Vec<(Record, String)>> = Vec::new();
    let (mut room, mut count) = (0, 0);
    for record in records {
        let text = record.event.to_string();
        let of_record = record.trace.as_deref().map_or(0, &invocations);
        if text.len() + 1 > room || events.is_empty() || of_record != count {
            events.push(Vec::new());
            (room, count) = (RECORD_BYTES, of_record);
        }
        room = room.saturating_sub(text.len() + 1);
        if let Some(event) = events.last_mut() {
            event.push((record, text));
        }
    }
    events
}

/// Gives one event to the function; `waiting` are the receipts of all that is held.
async fn give(work: &Work, records: &[(Record, String)], waiting: &[String], hold: &mut Hold) -> Ended {
    let texts: Vec<&str> = records.iter().map(|(_, text)| text.as_str()).collect();
    let event = Bytes::from(format!("{{\"Records\":[{}]}}", texts.join(",")));
    let trace = lineage::shortest(records.iter().filter_map(|(record, _)| record.trace.as_deref()));
    let trace = trace.map(str::to_owned);
    // A call that is not taken until then is given up: the source gives the records again, as SQS does.
    let until = hold.renewal();
    let (mut delay, longest) = THROTTLE_DELAYS;
    work.counts.add(Count::Invoked, records.len());
    loop {
        let call = work.function.call(event.clone(), trace.clone());
        let error = match hold.during(&*work.source, waiting, call).await {
            Ok(Answered::Success(answer)) => return Ended::Answered(answer),
            Ok(Answered::FunctionError) => return Ended::FunctionError,
            Err(error) => error,
        };
        if work.stop.is_cancelled() {
            return Ended::Stopped;
        }
        if !may_be_tried_again(&error) || Instant::now() + delay >= until {
            tracing::debug!(mapping = work.mapping.uuid, %error, records = records.len(), "gave a batch up");
            return Ended::NotRun;
        }
        work.scaling.lock().unwrap_or_else(PoisonError::into_inner).throttled(Instant::now());
        tokio::select! {
            () = work.stop.cancelled() => return Ended::Stopped,
            () = tokio::time::sleep(delay) => {}
        }
        delay = (delay * 2).min(longest);
    }
}

/// Whether time alone may mend it: throttles, and a function that is still being made ready.
fn may_be_tried_again(error: &ServiceError) -> bool {
    matches!(error.code, ErrorCode::TooManyRequestsException | ErrorCode::ResourceConflictException)
}

/// The places of the records that are done, ascending.
fn done(work: &Work, records: &[(Record, String)], ended: &Ended) -> Vec<usize> {
    let Ended::Answered(answer) = ended else { return Vec::new() };
    if !work.mapping.reports_item_failures() {
        return (0..records.len()).collect();
    }
    let ids: Vec<&str> = records.iter().map(|(record, _)| record.id.as_str()).collect();
    match response::verdict(answer, &ids) {
        Verdict::Done => (0..records.len()).collect(),
        Verdict::Failed => {
            tracing::debug!(
                mapping = work.mapping.uuid,
                "a function reported failed items in a way that says nothing"
            );
            Vec::new()
        }
        Verdict::DoneBut(failed) => {
            let groups: Vec<Option<&str>> =
                records.iter().map(|(record, _)| record.group.as_deref()).collect();
            response::done_in_order(&groups, &failed)
        }
    }
}

async fn settle(work: &Work, records: &[(Record, String)], done: &[usize], ended: &Ended, hold: &Hold) {
    let receipts = |is_done: bool| -> Vec<String> {
        let of = records.iter().enumerate().filter(|(place, _)| done.binary_search(place).is_ok() == is_done);
        of.map(|(_, (record, _))| record.receipt.clone()).collect()
    };
    let (done, failed) = (receipts(true), receipts(false));
    work.counts.add(Count::FailedInvoke, failed.len());
    if !done.is_empty() && take_away(work, &done).await {
        work.counts.add(Count::Deleted, done.len());
    }
    // What was not prolonged ends by itself when the source says; what was, should have ended by now. Who stops keeps nothing.
    let gives_back = hold.prolonged || matches!(ended, Ended::Stopped);
    if gives_back
        && !failed.is_empty()
        && let Err(error) = work.source.give_back(&failed).await
    {
        tracing::warn!(%error, "failed to give records back; they come again when their hold ends");
    }
}

/// Takes away what is done, however long storage refuses, up to a bound. `false`: it comes again.
async fn take_away(work: &Work, receipts: &[String]) -> bool {
    let (mut delay, longest) = DONE_DELAYS;
    for _ in 0..DONE_TRIES {
        match work.source.done(receipts).await {
            Ok(()) => return true,
            Err(error) => tracing::warn!(%error, "failed to take away records that are done; trying again"),
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(longest);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_model::{FunctionName, Scope};

    #[test]
    fn records_of_unequal_chains_are_not_in_one_event() {
        let (scope, function) = (Scope::default(), FunctionName::parse("f").unwrap());
        let header = |function: &str, invocations: usize| {
            let function = FunctionName::parse(function).unwrap();
            (0..invocations).fold("Root=1".to_owned(), |header, _| {
                lineage::continued(&header, &Scope::default(), &function).header
            })
        };
        let record = |id: &str, trace: Option<String>| Record {
            id: id.to_owned(),
            receipt: id.to_owned(),
            group: None,
            trace,
            event: serde_json::json!({}),
        };
        let records = vec![
            record("1", None),
            record("2", Some(header("other", 5))),
            record("3", Some(header("f", 3))),
            record("4", Some(header("f", 3))),
            record("5", Some(header("f", 15))),
            record("6", Some(header("f", 2))),
        ];
        let cut: Vec<Vec<String>> = events(records, |header| lineage::invocations(header, &scope, &function))
            .into_iter()
            .map(|event| event.into_iter().map(|(record, _)| record.id).collect())
            .collect();
        assert_eq!(cut, [vec!["1", "2"], vec!["3", "4"], vec!["5"], vec!["6"]]);
    }
}
