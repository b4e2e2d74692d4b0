//! The limit of accepting events: threads that hand a request id and a payload to one writer, which puts all that wait into one
//! SQLite transaction and answers after its commit. The same file settings as the store's, one table, nothing else.

use crate::bench::pairing::Sample;
use crate::bench::rows::EVENT;
use anyhow::Context as _;
use rusqlite::{Connection, params};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::Instant;

/// Rows of one transaction, as the store's.
const BATCH: usize = 512;

/// What a client hands over: the row, and whom to answer.
type Job = (uuid::Uuid, SyncSender<()>);

/// The writer; ends when dropped.
pub struct GroupCommit {
    jobs: Option<Sender<Job>>,
    writer: Option<std::thread::JoinHandle<anyhow::Result<()>>>,
}

impl GroupCommit {
    /// Creates the file.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let connection =
            Connection::open(path).with_context(|| format!("failed to open {}", path.display()))?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(
            "CREATE TABLE event (id INTEGER PRIMARY KEY, request_id BLOB NOT NULL UNIQUE, payload BLOB NOT NULL)",
        )?;
        let (jobs, waiting) = channel();
        let writer = std::thread::spawn(move || write(&connection, &waiting));
        Ok(Self { jobs: Some(jobs), writer: Some(writer) })
    }

    /// So many rows from each of so many clients, one after another; time of one row.
    pub fn block(&self, clients: usize, rows: usize) -> anyhow::Result<Sample> {
        let jobs = self.jobs.as_ref().context("the writer has ended")?;
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..clients)
                .map(|_| {
                    scope.spawn(|| {
                        let (sender, committed) = sync_channel(1);
                        for _ in 0..rows {
                            jobs.send((uuid::Uuid::new_v4(), sender.clone()))?;
                            committed.recv()?;
                        }
                        anyhow::Ok(())
                    })
                })
                .collect();
            clients.into_iter().try_for_each(|client| {
                client.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a client panicked")))
            })
        })?;
        // Its processor time is that of this program, which measures.
        Ok(Sample { seconds: begun.elapsed().as_secs_f64() / (clients * rows) as f64, cpu_seconds: f64::NAN })
    }
}

impl Drop for GroupCommit {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(Ok(Err(error))) = self.writer.take().map(std::thread::JoinHandle::join) {
            eprintln!("the limit's writer failed: {error:#}");
        }
    }
}

fn write(connection: &Connection, waiting: &Receiver<Job>) -> anyhow::Result<()> {
    while let Ok(first) = waiting.recv() {
        let mut batch = vec![first];
        batch.extend(waiting.try_iter().take(BATCH - 1));
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for (request_id, _) in &batch {
            connection
                .prepare_cached("INSERT INTO event (request_id, payload) VALUES (?, ?)")?
                .execute(params![request_id.as_bytes(), EVENT.as_bytes()])?;
        }
        connection.execute_batch("COMMIT")?;
        for (_, committed) in batch {
            // A client that has gone away needs no answer.
            let _ = committed.send(());
        }
    }
    Ok(())
}
