//! What running an invocation gives back: a bounded stream of the body, then how it ended, then the report.

use crate::rest::Rest;
use bytes::Bytes;
use lamplight_model::{InvocationReport, Outcome, OutcomeStatus, ServiceError};
use tokio::sync::{mpsc, oneshot};

/// A running invocation as its caller sees it: taken whole with `collect`, or in parts after `detach`. Dropping it drops
/// the answer, never the run.
#[derive(Debug)]
pub struct Answer {
    parts: AnswerParts,
    rest: Rest,
    fed_by: FedBy,
}

/// Who puts the pieces of the body into its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FedBy {
    /// The run, and nobody else.
    Run,
    /// Other tasks, too.
    Others,
}

/// An answer whose run needs nobody to work on it.
#[derive(Debug)]
pub struct AnswerParts {
    /// The body as it is produced; closed when it is complete. An error document arrives here as well.
    /// Closed without a piece when `outcome` is a `ServiceError`.
    pub body: mpsc::Receiver<Bytes>,
    /// Content type the runtime named; `None` means `application/json`.
    pub content_type: oneshot::Receiver<Option<String>>,
    /// Resolves when the answer is complete: what the function did, or the error of a run that the
    /// platform could not carry through (`ServiceException`: the instance was lost with its host process).
    ///
    /// A dropped sender (the run ended without a word) means the same as `ServiceException`.
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

/// A whole answer, for callers that want it in one piece.
#[derive(Debug)]
pub struct Collected {
    /// The body: what the function answered, or one error document.
    pub body: Bytes,
    /// Content type the runtime named.
    pub content_type: Option<String>,
    /// What the function did.
    pub outcome: Outcome,
    finished: oneshot::Receiver<Finished>,
    rest: Rest,
}

impl Collected {
    /// Waits until the REPORT line is written. `None` when the run ended without a word.
    pub async fn finished(mut self) -> Option<Finished> {
        self.rest.drive_alone(self.finished).await.ok()
    }
}

impl From<AnswerParts> for Answer {
    /// Of a run that has a task of its own.
    fn from(parts: AnswerParts) -> Self {
        Self { parts, rest: Rest::default(), fed_by: FedBy::Others }
    }
}

impl Answer {
    /// Of a run that is worked on by whoever waits for it.
    pub fn attached(parts: AnswerParts, rest: Rest, fed_by: FedBy) -> Self {
        Self { parts, rest, fed_by }
    }

    /// Lets the run go on by itself and gives what it answers.
    pub fn detach(self) -> AnswerParts {
        self.parts
    }

    /// For who wraps a run: everything but `collect`.
    pub fn take_apart(self) -> (AnswerParts, Rest, FedBy) {
        (self.parts, self.rest, self.fed_by)
    }

    /// Waits for the whole answer. A body of more than `limit_bytes` becomes AWS's
    /// `Function.ResponseSizeTooLarge`; it is read to its end, but not kept.
    ///
    /// When the platform ends a run (`Timeout`, `Failure`), its document is the last piece, and what the
    /// function had answered before is no answer: it is dropped.
    ///
    /// Fails with the `ServiceError` of a run that could not be carried through.
    pub async fn collect(self, limit_bytes: usize) -> Result<Collected, ServiceError> {
        let Self { parts, mut rest, fed_by } = self;
        let AnswerParts { body, content_type, outcome, finished } = parts;
        let whole = whole(body, outcome, limit_bytes);
        let (pieces, length, last, outcome) = match fed_by {
            FedBy::Run => rest.drive_alone(whole).await?,
            FedBy::Others => rest.drive(whole).await?,
        };
        let content_type = rest.drive(content_type).await.unwrap_or_default();
        let platform_document = matches!(outcome.status, OutcomeStatus::Timeout | OutcomeStatus::Failure);
        let (body, content_type, outcome) = if platform_document {
            (last, None, outcome)
        } else if length > limit_bytes {
            let ending = crate::documents::response_too_large();
            (ending.document, None, ending.outcome)
        } else if pieces.len() == 1 {
            (last, content_type, outcome)
        } else {
            (pieces.concat().into(), content_type, outcome)
        };
        Ok(Collected { body, content_type, outcome, finished, rest })
    }
}

type Whole = (Vec<Bytes>, usize, Bytes, Outcome);

/// The pieces (none when there are more than `limit_bytes`), their length, the last one, and the outcome.
async fn whole(
    mut body: mpsc::Receiver<Bytes>,
    outcome: oneshot::Receiver<Result<Outcome, ServiceError>>,
    limit_bytes: usize,
) -> Result<Whole, ServiceError> {
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut length = 0_usize;
    let mut last = Bytes::new();
    while let Some(piece) = body.recv().await {
        length = length.saturating_add(piece.len());
        if length > limit_bytes {
            pieces.clear();
        } else {
            pieces.push(piece.clone());
        }
        last = piece;
    }
    let outcome = outcome
        .await
        .unwrap_or_else(|_| Err(ServiceError::internal("The invocation ended without an outcome")))?;
    Ok((pieces, length, last, outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(pieces: &[&'static str], status: OutcomeStatus, limit: usize, expected: &str) {
        let (body_sender, body) = mpsc::channel(8);
        let (content_type_sender, content_type) = oneshot::channel();
        let (outcome_sender, outcome) = oneshot::channel();
        let (_finished, finished) = oneshot::channel();
        for piece in pieces {
            body_sender.send(Bytes::from_static(piece.as_bytes())).await.unwrap();
        }
        drop((body_sender, content_type_sender));
        outcome_sender.send(Ok(Outcome { status, error_type: None })).unwrap();
        let collected =
            Answer::from(AnswerParts { body, content_type, outcome, finished }).collect(limit).await.unwrap();
        assert!(std::str::from_utf8(&collected.body).unwrap().starts_with(expected));
        assert_eq!(collected.body.is_empty(), expected.is_empty());
    }

    #[tokio::test]
    async fn pieces_become_one_answer() {
        check(&[], OutcomeStatus::Success, 10, "").await;
        check(&["\"hi\""], OutcomeStatus::Success, 10, "\"hi\"").await;
        check(&["ab", "cd"], OutcomeStatus::Success, 4, "abcd").await;
        check(&["ab", "cd"], OutcomeStatus::Success, 3, r#"{"errorType":"Function.ResponseSizeTooLarge""#)
            .await;
        check(&["half an ", "{timeout}"], OutcomeStatus::Timeout, 10, "{timeout}").await;
    }

    #[tokio::test]
    async fn an_answer_without_a_word_is_a_service_error() {
        let (_, body) = mpsc::channel(1);
        let (_, content_type) = oneshot::channel();
        let (_, outcome) = oneshot::channel();
        let (_, finished) = oneshot::channel();
        let error = Answer::from(AnswerParts { body, content_type, outcome, finished })
            .collect(10)
            .await
            .unwrap_err();
        assert_eq!(error.code, lamplight_model::ErrorCode::ServiceException);
    }
}
