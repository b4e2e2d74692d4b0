//! What running an invocation gives back: a bounded stream of the body, then how it ended, then the report.

use bytes::Bytes;
use lamplight_model::{InvocationReport, Outcome, ServiceError};
use tokio::sync::{mpsc, oneshot};

/// A running invocation as its caller sees it. Dropping it drops the answer, never the run.
#[derive(Debug)]
pub struct Answer {
    /// The body as it is produced; closed when it is complete. An error document arrives here as well.
    /// Closed without a piece when `outcome` is a `ServiceError`.
    pub body: mpsc::Receiver<Bytes>,
    /// Content type the runtime named; `None` means `application/json`.
    pub content_type: oneshot::Receiver<Option<String>>,
    /// Resolves when the answer is complete: what the function did, or the error of a run that the
    /// platform could not carry through (`ServiceException`: the instance was lost with its host process).
    ///
    /// A dropped sender (the pool's task ended without a word) means the same as `ServiceException`.
    pub outcome: oneshot::Receiver<Result<Outcome, ServiceError>>,
    /// Resolves when the instance is free again and the REPORT line is written. Also for a run that ended in
    /// a `ServiceError`: its report says `Failure` with `error_type` `ServiceException` and bills nothing.
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
