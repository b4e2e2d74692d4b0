//! What running an invocation gives back: a bounded stream of the body, then how it ended, then the report.

use bytes::Bytes;
use lamplight_model::{InvocationReport, Outcome};
use tokio::sync::{mpsc, oneshot};

/// A running invocation as its caller sees it. Dropping it drops the answer, never the run.
#[derive(Debug)]
pub struct Answer {
    /// The body as it is produced; closed when it is complete. An error document arrives here as well.
    pub body: mpsc::Receiver<Bytes>,
    /// Content type the runtime named; `None` means `application/json`.
    pub content_type: oneshot::Receiver<Option<String>>,
    /// Resolves when the answer is complete.
    pub outcome: oneshot::Receiver<Outcome>,
    /// Resolves when the instance is free again and the REPORT line is written.
    pub finished: oneshot::Receiver<Finished>,
}

/// The end of an invocation.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The record.
    pub report: InvocationReport,
    /// The last 4 KiB of the invocation's log lines, START to REPORT, when they were asked for.
    pub log_tail: Option<Bytes>,
}
