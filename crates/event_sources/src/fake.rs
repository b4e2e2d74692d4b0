//! A source in memory for tests: holds, groups and gives back as a queue does. Passes `source::contract`.

use crate::source::{EventSource, Received, Record, SourceError, Wanted};
use async_trait::async_trait;
use serde_json::json;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// One thing in the source.
#[derive(Debug, Clone)]
struct Item {
    id: String,
    body: String,
    group: Option<String>,
    free_at: Instant,
    receives: u32,
}

/// The fake.
pub struct FakeSource {
    items: Mutex<Vec<Item>>,
    changed: Notify,
    hold: Duration,
    ordered: bool,
}

impl FakeSource {
    /// Holds what is received for so long.
    pub fn new(hold: Duration, ordered: bool) -> Self {
        Self { items: Mutex::default(), changed: Notify::new(), hold, ordered }
    }

    /// Adds one; its body is its id.
    pub fn send(&self, id: &str, group: Option<&str>) {
        self.send_body(id, group, id);
    }

    /// Adds one.
    pub fn send_body(&self, id: &str, group: Option<&str>, body: &str) {
        let group = group.filter(|_| self.ordered).map(str::to_owned);
        self.items().push(Item {
            id: id.to_owned(),
            body: body.to_owned(),
            group,
            free_at: Instant::now(),
            receives: 0,
        });
        self.changed.notify_waiters();
    }

    /// Ids of what is there, held or not.
    pub fn ids(&self) -> Vec<String> {
        self.items().iter().map(|item| item.id.clone()).collect()
    }

    /// Waits until nothing is there.
    pub async fn until_empty(&self) {
        loop {
            let changed = self.changed.notified();
            if self.items().is_empty() {
                return;
            }
            changed.await;
        }
    }

    fn items(&self) -> std::sync::MutexGuard<'_, Vec<Item>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, most: usize, hold: Duration) -> Vec<Record> {
        let now = Instant::now();
        let mut items = self.items();
        let held: Vec<String> =
            items.iter().filter(|item| item.free_at > now).filter_map(|item| item.group.clone()).collect();
        let free = items.iter_mut().filter(|item| {
            item.free_at <= now && item.group.as_ref().is_none_or(|group| !held.contains(group))
        });
        free.take(most)
            .map(|item| {
                item.free_at = now + hold;
                item.receives += 1;
                Record {
                    id: item.id.clone(),
                    receipt: format!("{}/{}", item.id, item.receives),
                    group: item.group.clone(),
                    trace: None,
                    event: json!({"messageId": item.id, "body": item.body, "receives": item.receives}),
                }
            })
            .collect()
    }

    fn next_free(&self) -> Option<Instant> {
        self.items().iter().map(|item| item.free_at).filter(|free_at| *free_at > Instant::now()).min()
    }

    fn set_free_at(&self, receipts: &[String], free_at: Instant) {
        for item in self.items().iter_mut().filter(|item| receipts.contains(&receipt(item))) {
            item.free_at = free_at;
        }
        self.changed.notify_waiters();
    }
}

fn receipt(item: &Item) -> String {
    format!("{}/{}", item.id, item.receives)
}

#[async_trait]
impl EventSource for FakeSource {
    async fn receive(&self, wanted: Wanted, stop: &CancellationToken) -> Result<Received, SourceError> {
        let deadline = Instant::now() + wanted.wait;
        let hold = self.hold + wanted.longer;
        loop {
            let changed = self.changed.notified();
            let records = self.take(wanted.most, hold);
            if !records.is_empty() || Instant::now() >= deadline || stop.is_cancelled() {
                return Ok(Received { records, hold });
            }
            let next = self.next_free().map_or(deadline, |next| next.min(deadline));
            tokio::select! {
                () = stop.cancelled() => return Ok(Received::default()),
                () = changed => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    async fn done(&self, receipts: &[String]) -> Result<(), SourceError> {
        self.items().retain(|item| !receipts.contains(&receipt(item)));
        self.changed.notify_waiters();
        Ok(())
    }

    async fn hold(&self, receipts: &[String]) -> Result<Duration, SourceError> {
        self.set_free_at(receipts, Instant::now() + self.hold);
        Ok(self.hold)
    }

    async fn give_back(&self, receipts: &[String]) -> Result<(), SourceError> {
        self.set_free_at(receipts, Instant::now());
        Ok(())
    }

    fn data_member(&self) -> &'static str {
        "body"
    }

    fn is_ordered(&self) -> bool {
        self.ordered
    }
}
