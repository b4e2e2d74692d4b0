//! What running an invocation gives back: a bounded stream of the body, then how the answer ended, then the report.
//!
//! An error document is no part of the body: what a function had streamed before it failed stays apart from why.

use crate::rest::Rest;
use bytes::Bytes;
use lamplight_model::{InvocationReport, Outcome, ServiceError};
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
    /// The body as it is produced; closed when there is no more of it. At most 16 pieces wait here, then the function
    /// does.
    pub body: mpsc::Receiver<Bytes>,
    /// Content type the runtime named; `None` means `application/json`.
    pub content_type: oneshot::Receiver<Option<String>>,
    /// Resolves when the answer is complete: how it ended, or the error of a run that the
    /// platform could not carry through (`ServiceException`: the instance was lost with its host process).
    ///
    /// A dropped sender (the run ended without a word) means the same as `ServiceException`.
    pub ended: oneshot::Receiver<Result<Ended, ServiceError>>,
    /// Resolves when the instance is free again and the REPORT line is written. Also for a run that ended in
    /// a `ServiceError`: its report says `Failure` with `error_type` `ServiceException` and bills nothing.
    pub finished: oneshot::Receiver<Finished>,
}

/// How an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// What the function did.
    pub outcome: Outcome,
    /// The error document, the function's or the platform's; there is one when the outcome is no success.
    pub document: Option<Bytes>,
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
    /// When there is an error document it is the answer; what the function had streamed before is dropped.
    ///
    /// Fails with the `ServiceError` of a run that could not be carried through.
    pub async fn collect(self, limit_bytes: usize) -> Result<Collected, ServiceError> {
        let Self { parts, mut rest, fed_by } = self;
        let AnswerParts { body, content_type, ended, finished } = parts;
        let whole = whole(body, ended, limit_bytes);
        let (mut pieces, length, ended) = match fed_by {
            FedBy::Run => rest.drive_alone(whole).await?,
            FedBy::Others => rest.drive(whole).await?,
        };
        let content_type = rest.drive(content_type).await.unwrap_or_default();
        let (body, content_type, outcome) = match ended.document {
            Some(document) => (document, None, ended.outcome),
            None if length > limit_bytes => {
                let ending = crate::documents::response_too_large();
                (ending.document, None, ending.outcome)
            }
            None if pieces.len() == 1 => (pieces.remove(0), content_type, ended.outcome),
            None => (pieces.concat().into(), content_type, ended.outcome),
        };
        Ok(Collected { body, content_type, outcome, finished, rest })
    }
}

/// The pieces (none when there are more than `limit_bytes`), their length, and how it ended.
async fn whole(
    mut body: mpsc::Receiver<Bytes>,
    ended: oneshot::Receiver<Result<Ended, ServiceError>>,
    limit_bytes: usize,
) -> Result<(Vec<Bytes>, usize, Ended), ServiceError> {
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut length = 0_usize;
    while let Some(piece) = body.recv().await {
        length = length.saturating_add(piece.len());
        if length > limit_bytes {
            pieces.clear();
        } else {
            pieces.push(piece);
        }
    }
    let ended = ended
        .await
        .unwrap_or_else(|_| Err(ServiceError::internal("The invocation ended without an outcome")))?;
    Ok((pieces, length, ended))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_model::OutcomeStatus;

    async fn check(pieces: &[&'static str], document: Option<&'static str>, limit: usize, expected: &str) {
        let (body_sender, body) = mpsc::channel(8);
        let (content_type_sender, content_type) = oneshot::channel();
        let (ended_sender, ended) = oneshot::channel();
        let (_finished, finished) = oneshot::channel();
        for piece in pieces {
            body_sender.send(Bytes::from_static(piece.as_bytes())).await.unwrap();
        }
        drop((body_sender, content_type_sender));
        let status = if document.is_some() { OutcomeStatus::Error } else { OutcomeStatus::Success };
        let document = document.map(|text| Bytes::from_static(text.as_bytes()));
        ended_sender.send(Ok(Ended { outcome: Outcome { status, error_type: None }, document })).unwrap();
        let collected =
            Answer::from(AnswerParts { body, content_type, ended, finished }).collect(limit).await.unwrap();
        assert!(std::str::from_utf8(&collected.body).unwrap().starts_with(expected));
        assert_eq!(collected.body.is_empty(), expected.is_empty());
    }

    #[tokio::test]
    async fn pieces_become_one_answer() {
        check(&[], None, 10, "").await;
        check(&["\"hi\""], None, 10, "\"hi\"").await;
        check(&["ab", "cd"], None, 4, "abcd").await;
        check(&["ab", "cd"], None, 3, r#"{"errorType":"Function.ResponseSizeTooLarge""#).await;
        check(&["half an "], Some("{timeout}"), 10, "{timeout}").await;
        check(&[], Some("{error}"), 1, "{error}").await;
    }

    #[tokio::test]
    async fn an_answer_without_a_word_is_a_service_error() {
        let (_, body) = mpsc::channel(1);
        let (_, content_type) = oneshot::channel();
        let (_, ended) = oneshot::channel();
        let (_, finished) = oneshot::channel();
        let error =
            Answer::from(AnswerParts { body, content_type, ended, finished }).collect(10).await.unwrap_err();
        assert_eq!(error.code, lamplight_model::ErrorCode::ServiceException);
    }
}
