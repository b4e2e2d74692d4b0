//! Log events of our own bootstraps, which come through the conversation so that their lines stay together.
//!
//! Read by the run while it waits for the runtime: what a function says is bounded by the conversation's
//! channel, and taken out of it as fast as it is put in.

use super::journal::Journal;
use lamplight_model::Timestamp;
use lamplight_runtime::LogRecord;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Events written to the journal at once.
const BATCH: usize = 64;

/// The events of one instance.
#[derive(Debug)]
pub struct Records {
    channel: Option<mpsc::Receiver<LogRecord>>,
    batch: Vec<LogRecord>,
    journal: Arc<Journal>,
}

impl Records {
    /// `None` for runtimes that write to their standard output only.
    pub fn new(channel: Option<mpsc::Receiver<LogRecord>>, journal: Arc<Journal>) -> Self {
        Self { channel, batch: Vec::new(), journal }
    }

    /// Waits for events and writes them; never resolves when none can come. Cancel-safe.
    pub async fn write_next(&mut self) {
        if let Some(channel) = &mut self.channel
            && channel.recv_many(&mut self.batch, BATCH).await > 0
        {
            self.write_batch();
            return;
        }
        self.channel = None;
        std::future::pending().await
    }

    /// Writes what is there now.
    pub fn drain(&mut self) {
        while let Some(channel) = &mut self.channel {
            match channel.try_recv() {
                Ok(record) => self.batch.push(record),
                Err(_) => break,
            }
            if self.batch.len() == BATCH {
                self.write_batch();
            }
        }
        self.write_batch();
    }

    fn write_batch(&mut self) {
        let records = self.batch.drain(..).map(|record| (Timestamp(record.timestamp_ms), record.text));
        self.journal.function_records(records.collect());
    }
}
