//! Who waits for messages of which queue.

use crate::queues::{QueueAddress, Queues};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// Entries without a waiter are removed when there are more than this many entries.
const IDLE_ENTRIES: usize = 1_024;

/// One channel for each queue that somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    queues: Mutex<HashMap<QueueAddress, watch::Sender<u64>>>,
    ended: watch::Sender<bool>,
}

impl Waiting {
    pub fn subscribe(&self, address: &QueueAddress) -> watch::Receiver<u64> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if queues.len() > IDLE_ENTRIES {
            queues.retain(|_, sender| sender.receiver_count() > 0);
        }
        queues.entry(address.clone()).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Something of this queue may be received now that could not before, or the queue is gone.
    pub fn wake(&self, address: &QueueAddress) {
        if let Some(sender) = self.queues.lock().unwrap_or_else(PoisonError::into_inner).get(address) {
            sender.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    pub fn end(&self) {
        self.ended.send_replace(true);
    }

    pub fn ended(&self) -> watch::Receiver<bool> {
        self.ended.subscribe()
    }
}

impl Queues {
    /// Is changed when something of this queue may be received that could not before: messages sent or moved there, made
    /// visible, or freed by a deletion. Nothing is told when a visibility timeout or a delay ends by itself: `receive` with
    /// a wait knows that.
    pub fn watch(&self, address: &QueueAddress) -> watch::Receiver<u64> {
        self.waiting.subscribe(address)
    }

    /// Ends all waits of receives, now and later: they answer with what there is. For a server that stops.
    pub fn stop_waiting(&self) {
        self.waiting.end();
    }
}
