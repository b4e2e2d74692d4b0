//! Why a queue refuses or fails. The names are those of SQS; how they are printed is the front door's affair.

use lamplight_store::StoreError;

/// What an operation answers instead of its result.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// There is no such queue.
    #[error("The specified queue does not exist.")]
    QueueDoesNotExist,
    /// A queue of this name differs in an attribute.
    #[error("A queue already exists with the same name and a different value for attribute {0}")]
    QueueNameExists(String),
    /// A queue of this name was deleted less than 60 seconds ago.
    #[error(
        "You must wait 60 seconds after deleting a queue before you can create another with the same name."
    )]
    QueueDeletedRecently,
    /// An attribute that this kind of queue does not have.
    #[error("{0}")]
    InvalidAttributeName(String),
    /// A value that an attribute does not take.
    #[error("{0}")]
    InvalidAttributeValue(String),
    /// A parameter that is wrong for this queue.
    #[error("{0}")]
    InvalidParameterValue(String),
    /// A parameter that must be there; its name.
    #[error("The request must contain the parameter {0}.")]
    MissingParameter(&'static str),
    /// A body with characters that a message cannot hold.
    #[error("{0}")]
    InvalidMessageContents(String),
    /// Not a handle of this queue.
    #[error("The input receipt handle \"{0}\" is not a valid receipt handle.")]
    ReceiptHandleIsInvalid(String),
    /// So many messages are in flight that none more is given.
    #[error("{0}")]
    OverLimit(String),
    /// A queue is emptied once in 60 seconds; its name.
    #[error("Only one PurgeQueue operation on {0} is allowed every 60 seconds.")]
    PurgeQueueInProgress(String),
    /// A queue or task that a move of messages names does not exist.
    #[error("{0}")]
    ResourceNotFound(String),
    /// What this release does not do.
    #[error("{0}")]
    UnsupportedOperation(String),
    /// The file system or the database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl QueueError {
    /// `Value v for parameter p is invalid. Reason: r`.
    pub(crate) fn invalid(value: impl std::fmt::Display, parameter: &str, reason: &str) -> Self {
        Self::InvalidParameterValue(format!(
            "Value {value} for parameter {parameter} is invalid. Reason: {reason}"
        ))
    }
}

/// What ends a transaction early: a refusal, or SQLite.
#[derive(Debug)]
pub(crate) enum Trouble {
    Refused(QueueError),
    Sqlite(rusqlite::Error),
}

impl From<QueueError> for Trouble {
    fn from(error: QueueError) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}
