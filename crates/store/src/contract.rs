//! The seam: what any storage engine must do. `contract.rs` in `tests/` proves it for each engine.

use crate::events::{EventQuery, EventRecord, EventStory, Forgotten, Redrive, Settlement};
use async_trait::async_trait;
use bytes::Bytes;
use lamplight_model::function::FunctionMarks;
use lamplight_model::{
    Alias, FunctionName, FunctionVersion, Qualifier, RequestId, Scope, TenantId, Timestamp, VersionNumber,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Why a store operation did not happen. Nothing is half-changed after any of them.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `Expect::Absent` and it exists.
    #[error("{0} already exists")]
    AlreadyExists(String),
    /// `Expect::Revision` and the stored revision differs, or the thing is gone.
    #[error("{0} was changed by someone else")]
    RevisionMismatch(String),
    /// The thing does not exist.
    #[error("{0} does not exist")]
    NotFound(String),
    /// It cannot be deleted: these aliases point to it.
    #[error("it is referenced by {}", .0.join(", "))]
    Referenced(Vec<String>),
    /// The disk is full or read-only: the write was refused, reads go on.
    #[error("storage refuses writes: {0}")]
    Unwritable(String),
    /// A file is of a newer format than this binary knows.
    #[error("{0}")]
    NewerFormat(String),
    /// Another server holds the data directory.
    #[error("{0}")]
    Locked(String),
    /// Anything else, with what was being done.
    #[error("{doing}")]
    Failed {
        /// What we were doing, to what.
        doing: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What a write expects to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Nothing is stored under the key.
    Absent,
    /// The stored `revision_id` is this one.
    Revision(String),
    /// Whatever is there, or nothing.
    Anything,
}

/// A small JSON resource that needs no table of its own (IAM roles, aliases, configurations).
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Unique within scope and kind; lists are in this order.
    pub key: String,
    /// The content.
    pub value: serde_json::Value,
}

impl Document {
    /// The content as a `T`. Fails when it is something else.
    pub fn parse<T: serde::de::DeserializeOwned>(self) -> Result<T, StoreError> {
        serde_json::from_value(self.value).map_err(|error| StoreError::Failed {
            doing: format!("failed to read the document {}", self.key),
            source: Box::new(error),
        })
    }
}

/// An asynchronous event that was answered 202.
#[derive(Debug, Clone, PartialEq)]
pub struct QueuedEvent {
    /// Kept over all attempts.
    pub request_id: RequestId,
    /// Where the function lives.
    pub scope: Scope,
    /// The function.
    pub function: FunctionName,
    /// As invoked; resolved again at every attempt.
    pub qualifier: Option<Qualifier>,
    /// The event.
    pub payload: Bytes,
    /// Decoded client context.
    pub client_context: Option<String>,
    /// Trace header to hand on.
    pub trace_header: Option<String>,
    /// Whose event it is.
    pub tenant_id: Option<TenantId>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Finished attempts that counted as tries.
    pub attempts: u32,
    /// Not to be tried before this moment.
    pub not_before: Timestamp,
}

/// An event on loan to one worker until its lease ends.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimedEvent {
    /// The event.
    pub event: QueuedEvent,
    /// Fencing number of this claim: settling with an older one is refused.
    pub claim: u64,
}

/// How much one claim may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimBounds {
    /// Events in all.
    pub events: usize,
    /// Events of one function that `of_function` does not name.
    pub of_one_function: usize,
    /// Events of these functions; those with 0 are passed over, whatever waits for them.
    pub of_function: HashMap<(Scope, FunctionName), usize>,
}

impl ClaimBounds {
    /// So many, of whichever functions.
    pub fn events(events: usize) -> Self {
        Self { events, of_one_function: usize::MAX, of_function: HashMap::new() }
    }

    /// What may be taken of one function.
    pub fn of(&self, scope: &Scope, function: &FunctionName) -> usize {
        if self.of_function.is_empty() {
            return self.of_one_function;
        }
        let key = (scope.clone(), function.clone());
        self.of_function.get(&key).copied().unwrap_or(self.of_one_function)
    }
}

/// How a claim ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// The event is done and leaves the queue.
    Done,
    /// Try again at `not_before`; `counted` says whether this attempt used up a retry.
    Retry {
        /// When at the earliest.
        not_before: Timestamp,
        /// Whether the attempt counts.
        counted: bool,
    },
    /// Retries or age are exhausted: it leaves the queue and stays readable as dead-lettered.
    DeadLetter {
        /// `RetriesExhausted`, `EventAgeExceeded`, ...
        condition: String,
        /// The last error document, for whoever reads the dead letter.
        error: String,
    },
}

/// An event that was given up, as its reader sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// The event with the attempts it had.
    pub event: QueuedEvent,
    /// `RetriesExhausted`, `EventAgeExceeded`, ...; `FunctionDeleted` when the function went first.
    pub condition: String,
    /// The last error document.
    pub error: String,
    /// When it was given up.
    pub dead_at: Timestamp,
}

/// For the invariant accepted = done + dead-lettered + pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventCounts {
    /// Ever answered 202.
    pub accepted: u64,
    /// Finished.
    pub done: u64,
    /// Given up.
    pub dead_lettered: u64,
    /// Waiting or running.
    pub pending: u64,
}

/// What the functions of a scope take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CodeUsage {
    /// Functions, whatever the number of their versions.
    pub functions: u64,
    /// Bytes of the ZIPs of all versions, each counted by itself, and those that documents with a `CodeDigest` give as
    /// `CodeSizeBytes`.
    pub code_bytes: u64,
}

/// Metadata and queue. Every method that changes something is durable when it returns `Ok`.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Stores one version record, `$LATEST` or published, under its scope, name and number. With `Expect::Revision`
    /// the stored marks stay: they change without a new revision, so who saw the revision may not have seen them.
    async fn put_version(&self, version: FunctionVersion, expect: Expect) -> Result<(), StoreError>;
    /// Replaces the marks of `$LATEST`. `RevisionMismatch` when they are not `seen` any more, `NotFound` without a function.
    async fn put_marks(
        &self,
        scope: &Scope,
        name: &FunctionName,
        seen: FunctionMarks,
        marks: FunctionMarks,
    ) -> Result<(), StoreError>;
    /// One version; `None` when there is none.
    async fn get_version(
        &self,
        scope: &Scope,
        name: &FunctionName,
        version: VersionNumber,
    ) -> Result<Option<Arc<FunctionVersion>>, StoreError>;
    /// `$LATEST` of the functions of a scope in name order, beginning after `after`.
    async fn list_functions(
        &self,
        scope: &Scope,
        after: Option<&FunctionName>,
        limit: usize,
    ) -> Result<Vec<Arc<FunctionVersion>>, StoreError>;
    /// All versions of one function, `$LATEST` first, then ascending, beginning after `after`.
    async fn list_versions(
        &self,
        scope: &Scope,
        name: &FunctionName,
        after: Option<VersionNumber>,
        limit: usize,
    ) -> Result<Vec<Arc<FunctionVersion>>, StoreError>;
    /// Publishes `snapshot` (a changed copy of `$LATEST` whose `version` is ignored) under the next number,
    /// which is never reused, if `$LATEST` still has `latest_revision`. Gives back what was stored.
    async fn publish_version(
        &self,
        snapshot: FunctionVersion,
        latest_revision: &str,
    ) -> Result<Arc<FunctionVersion>, StoreError>;
    /// Deletes the function with all its versions and aliases. `false` when there was none.
    ///
    /// Its waiting events become dead letters (`FunctionDeleted`), so a function created later under the same
    /// name never sees them. Numbers go on where they were: Lambda reuses none, also after a re-creation.
    /// Documents that belong to it (`function_documents`) go with it.
    async fn delete_function(&self, scope: &Scope, name: &FunctionName) -> Result<bool, StoreError>;
    /// Deletes one published version with the documents that belong to it. `false` when there was none; `Referenced` while
    /// aliases point to it.
    async fn delete_version(
        &self,
        scope: &Scope,
        name: &FunctionName,
        version: u64,
    ) -> Result<bool, StoreError>;
    /// Versions, `$LATEST` and published, whose lifecycle is still `Pending` or `InProgress`, in all scopes.
    async fn unfinished_functions(&self) -> Result<Vec<Arc<FunctionVersion>>, StoreError>;

    /// Functions of a scope, and bytes of the packages of all their versions.
    async fn code_usage(&self, scope: &Scope) -> Result<CodeUsage, StoreError>;

    /// Stores an alias. `NotFound` with the ARN of a version it names and that does not exist; `AlreadyExists` and
    /// `RevisionMismatch` as `expect` says.
    async fn put_alias(&self, alias: Alias, expect: Expect) -> Result<(), StoreError>;
    /// One alias; `None` when there is none.
    async fn get_alias(
        &self,
        scope: &Scope,
        function: &FunctionName,
        name: &str,
    ) -> Result<Option<Arc<Alias>>, StoreError>;
    /// The aliases of a function in name order, beginning after `after`.
    async fn list_aliases(
        &self,
        scope: &Scope,
        function: &FunctionName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<Alias>>, StoreError>;
    /// Deletes an alias with the documents that belong to it. `false` when there was none.
    async fn delete_alias(
        &self,
        scope: &Scope,
        function: &FunctionName,
        name: &str,
    ) -> Result<bool, StoreError>;

    /// Stores a document of `kind`. `NotFound` for one that belongs to a function that does not exist. The content of kinds
    /// that begin with `sealed_documents::KIND_PREFIX` is encrypted at rest.
    async fn put_document(
        &self,
        scope: &Scope,
        kind: &str,
        document: Document,
        expect: Expect,
    ) -> Result<(), StoreError>;
    /// One document.
    async fn get_document(
        &self,
        scope: &Scope,
        kind: &str,
        key: &str,
    ) -> Result<Option<Document>, StoreError>;
    /// Documents of a kind in key order, beginning after `after`.
    async fn list_documents(
        &self,
        scope: &Scope,
        kind: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError>;
    /// Every document of a kind, in all scopes, by scope and key: for whoever converges on them.
    async fn documents_in_all_scopes(&self, kind: &str) -> Result<Vec<(Scope, Document)>, StoreError>;
    /// The document of a kind whose content has this text as its member `id`, in whatever scope; the first by scope and key if
    /// there were several. Ids are to be made so that there are not.
    async fn find_document(&self, kind: &str, id: &str) -> Result<Option<(Scope, Document)>, StoreError>;
    /// A number that every change of a document raises before its caller is answered: what was read of documents while it
    /// was this number holds as long as it is.
    fn document_generation(&self) -> u64;
    /// 32 secret bytes of this data directory for one purpose, the same after every start: what is made with them can be
    /// checked without having been stored. Nothing of the key at rest can be told from them.
    fn secret_for(&self, purpose: &str) -> [u8; 32];
    /// Deletes a document. `false` when there was none.
    async fn delete_document(&self, scope: &Scope, kind: &str, key: &str) -> Result<bool, StoreError>;

    /// Appends an event; durable when it returns.
    async fn enqueue(&self, event: QueuedEvent) -> Result<(), StoreError>;
    /// As `enqueue`, for an event that somebody sends again of which nothing is kept: its story says so, from the same
    /// transaction on.
    async fn enqueue_again(&self, event: QueuedEvent) -> Result<(), StoreError>;
    /// Claims due events for `owner` until `now + lease`, within `bounds` and fair between functions: who was served longest
    /// ago comes first. Events whose lease ran out are due again; that costs them no retry.
    ///
    /// `now` is the caller's: a process whose clock is ahead by more than a lease takes over what still runs elsewhere. The
    /// event then runs twice and is settled once.
    async fn claim_within(
        &self,
        owner: &str,
        now: Timestamp,
        lease: Duration,
        bounds: &ClaimBounds,
    ) -> Result<Vec<ClaimedEvent>, StoreError>;
    /// As `claim_within`, up to `limit` events of whichever functions.
    async fn claim(
        &self,
        owner: &str,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<ClaimedEvent>, StoreError> {
        self.claim_within(owner, now, lease, &ClaimBounds::events(limit)).await
    }
    /// Gives back, at no cost to the events, all claims of owners whose name begins with `node` and a slash, and whose lease
    /// ends within `lease` of `now`. For a node that starts again: nothing it had claimed before runs any more. Gives back how many.
    async fn give_back_claims(&self, node: &str, now: Timestamp, lease: Duration) -> Result<u64, StoreError>;
    /// Extends a claim. `false` when it was lost.
    async fn extend(&self, request_id: RequestId, claim: u64, until: Timestamp) -> Result<bool, StoreError>;
    /// Ends a claim, writes down what the attempt was, and appends the event that follows from it: all in one transaction. When so
    /// many events wait for that one's function that it takes no more, the claim ends without it, and `told` says so.
    /// `false` when the claim was lost to another owner; then nothing changed.
    async fn settle(
        &self,
        request_id: RequestId,
        claim: u64,
        settlement: Settlement,
    ) -> Result<bool, StoreError>;
    /// Ends a claim without a word about the attempt.
    async fn release(&self, request_id: RequestId, claim: u64, release: Release) -> Result<bool, StoreError> {
        self.settle(request_id, claim, release.into()).await
    }
    /// As `release`, and in the same transaction appends `follow_up`: both happen or neither.
    async fn release_with(
        &self,
        request_id: RequestId,
        claim: u64,
        release: Release,
        follow_up: QueuedEvent,
    ) -> Result<bool, StoreError> {
        let settlement = Settlement { follow_up: Some(follow_up), ..release.into() };
        self.settle(request_id, claim, settlement).await
    }
    /// Where an event is and what happened to it. What is unknown, or done so long ago that only the ledger tells, is empty.
    async fn event_story(&self, scope: &Scope, request_id: RequestId) -> Result<EventStory, StoreError>;
    /// Events that wait, run or were given up, newest first, those before the place `before`.
    async fn events(
        &self,
        scope: &Scope,
        query: EventQuery,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<EventRecord>, StoreError>;
    /// Gives dead letters back to the queue of their function, each for itself, in one transaction and in the order given: as
    /// new events that keep their request id, their place in the list and their story.
    async fn redrive(&self, scope: &Scope, request_ids: Vec<RequestId>) -> Result<Vec<Redrive>, StoreError>;
    /// Forgets dead letters and steps of stories from before `before`, and then the queues of deleted functions to which nothing
    /// refers any more, with their counts; a bounded number of each: called until nothing goes, all are gone.
    async fn forget_dead_letters(&self, before: Timestamp) -> Result<Forgotten, StoreError>;
    /// When the next event that `bounds` let pass is due, to sleep until then: an unclaimed one, or a claimed one whose lease
    /// ends.
    async fn next_due_within(&self, bounds: &ClaimBounds) -> Result<Option<Timestamp>, StoreError>;
    /// When the next event of any function is due.
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.next_due_within(&ClaimBounds::events(usize::MAX)).await
    }
    /// Dead letters of one function, newest first. The newest `DEAD_LETTERS_KEPT` of a function are kept.
    async fn dead_letters(
        &self,
        scope: &Scope,
        function: &FunctionName,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError>;
    /// The counts of one function, over all functions of this name of which anything is kept.
    async fn event_counts(&self, scope: &Scope, function: &FunctionName) -> Result<EventCounts, StoreError>;
    /// The counts of all functions of a scope of whose events anything is kept, by name.
    async fn all_event_counts(&self, scope: &Scope) -> Result<Vec<(FunctionName, EventCounts)>, StoreError>;
    /// A receiver that is woken after every committed change of functions, of what belongs to them, and of documents.
    fn watch(&self) -> tokio::sync::watch::Receiver<u64>;
    /// A receiver that is woken after every committed change of the queue, too.
    fn watch_events(&self) -> tokio::sync::watch::Receiver<u64>;
    /// Digests that something refers to: a version by its code or its layers, a document by its member `CodeDigest`. Everything
    /// else in the code store may be collected.
    async fn referenced_code(&self) -> Result<Vec<lamplight_model::CodeDigest>, StoreError>;
}
