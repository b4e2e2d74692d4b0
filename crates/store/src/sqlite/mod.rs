//! The embedded engine: one SQLite file in WAL mode, one writer with group commit, a few readers.
//!
//! `writer` decides when callers are answered; `functions`, `aliases`, `documents`, `accept` and `queue` hold the statements,
//! `schema` the formats.

mod accept;
mod aliases;
mod cache;
mod closed;
pub(crate) mod connection;
mod documents;
mod functions;
#[cfg(test)]
mod plans;
mod queue;
pub(crate) mod readers;
mod record;
pub(crate) mod schema;
mod story;
mod watcher;
pub(crate) mod writer;

use crate::contract::*;
use crate::events::{EventQuery, EventRecord, EventStory, Forgotten, Redrive, Settlement};
use crate::lock::DataDirectoryLock;
use crate::open::Clock;
use crate::sealed_documents;
use crate::secret::Key;
use crate::turnstile::Turnstile;
use async_trait::async_trait;
use cache::Cache;
use lamplight_model::function::FunctionMarks;
use lamplight_model::{
    Alias, CodeDigest, FunctionName, FunctionVersion, RequestId, Scope, Timestamp, VersionNumber,
};
use readers::Readers;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use watcher::Watcher;
use writer::{Changes, Gathering, Writer};

/// Metadata and queue in `metadata.sqlite`.
pub(crate) struct SqliteStore {
    /// There while other processes write the same file: then nothing read is believed a second time.
    watcher: Option<Watcher>,
    readers: Readers,
    writer: Writer,
    key: Arc<Key>,
    cache: Arc<Cache<VersionNumber, FunctionVersion>>,
    aliases: Arc<Cache<String, Alias>>,
    /// Events that wait to be accepted by the next transaction.
    accepted: Gathering<QueuedEvent>,
    changes: Changes,
    /// Raised by every change of documents, see `Store::document_generation`.
    documents: Arc<AtomicU64>,
    clock: Clock,
}

impl SqliteStore {
    /// Opens or creates the file and brings it to the newest format.
    pub(crate) fn open(
        path: &Path,
        key: Arc<Key>,
        lock: Arc<DataDirectoryLock>,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let mut connection = connection::open_writer(path, connection::Durability::Full)?;
        schema::migrate(&mut connection, &path.display().to_string(), schema::METADATA)?;
        Self::start(path, connection, key, lock, clock, None)
    }

    /// As `open`, beside other processes that open it so. `turnstile` is that of the data directory.
    pub(crate) fn open_shared(
        path: &Path,
        key: Arc<Key>,
        lock: Arc<DataDirectoryLock>,
        clock: Clock,
        turnstile: Turnstile,
    ) -> Result<Self, StoreError> {
        let connection = {
            // Two that open a new file at once would both create its tables.
            let _turn = turnstile.pass()?;
            let mut connection = connection::open_writer(path, connection::Durability::Full)?;
            schema::migrate(&mut connection, &path.display().to_string(), schema::METADATA)?;
            connection
        };
        Self::start(path, connection, key, lock, clock, Some(turnstile))
    }

    fn start(
        path: &Path,
        connection: rusqlite::Connection,
        key: Arc<Key>,
        lock: Arc<DataDirectoryLock>,
        clock: Clock,
        turnstile: Option<Turnstile>,
    ) -> Result<Self, StoreError> {
        let changes = Changes::new();
        let watcher = turnstile.as_ref().map(|_| Watcher::start(path, changes.clone())).transpose()?;
        Ok(Self {
            readers: Readers::new(path),
            writer: Writer::start_shared(connection, lock, changes.clone(), turnstile)?,
            watcher,
            key,
            cache: Arc::default(),
            aliases: Arc::default(),
            accepted: Gathering::default(),
            changes,
            documents: Arc::default(),
            clock,
        })
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn put_version(&self, version: FunctionVersion, expect: Expect) -> Result<(), StoreError> {
        let (key, cache) = (self.key.clone(), self.cache.clone());
        let (scope, name, number) = (version.scope.clone(), version.name.clone(), version.version);
        self.writer
            .write(
                move |connection| functions::put(connection, &version, &expect, &key),
                move |()| cache.forget(&scope, &name, &number),
            )
            .await
    }

    async fn put_marks(
        &self,
        scope: &Scope,
        name: &FunctionName,
        seen: FunctionMarks,
        marks: FunctionMarks,
    ) -> Result<(), StoreError> {
        let (key, cache, forgotten) = (self.key.clone(), self.cache.clone(), (scope.clone(), name.clone()));
        let (scope, name) = (scope.clone(), name.clone());
        self.writer
            .write(
                move |connection| functions::put_marks(connection, &scope, &name, &seen, marks, &key),
                move |()| cache.forget(&forgotten.0, &forgotten.1, &VersionNumber::Latest),
            )
            .await
    }

    async fn get_version(
        &self,
        scope: &Scope,
        name: &FunctionName,
        version: VersionNumber,
    ) -> Result<Option<Arc<FunctionVersion>>, StoreError> {
        let generation = match self.cache.get(scope, name, &version) {
            Ok(known) => return Ok(known),
            Err(generation) => generation,
        };
        let (key, scope, name) = (self.key.clone(), scope.clone(), name.clone());
        let cache_key = (scope.clone(), name.clone(), version);
        let found = self
            .readers
            .read(move |connection| functions::get(connection, &scope, &name, version, &key))
            .await?;
        if self.watcher.is_none() {
            self.cache.fill(generation, cache_key, found.clone());
        }
        Ok(found)
    }

    async fn list_functions(
        &self,
        scope: &Scope,
        after: Option<&FunctionName>,
        limit: usize,
    ) -> Result<Vec<Arc<FunctionVersion>>, StoreError> {
        let (key, scope, after) = (self.key.clone(), scope.clone(), after.cloned());
        self.readers
            .read(move |connection| {
                functions::list_functions(connection, &scope, after.as_ref(), limit, &key)
            })
            .await
    }

    async fn list_versions(
        &self,
        scope: &Scope,
        name: &FunctionName,
        after: Option<VersionNumber>,
        limit: usize,
    ) -> Result<Vec<Arc<FunctionVersion>>, StoreError> {
        let (key, scope, name) = (self.key.clone(), scope.clone(), name.clone());
        self.readers
            .read(move |connection| functions::list_versions(connection, &scope, &name, after, limit, &key))
            .await
    }

    async fn publish_version(
        &self,
        snapshot: FunctionVersion,
        latest_revision: &str,
    ) -> Result<Arc<FunctionVersion>, StoreError> {
        let (key, cache, latest_revision) =
            (self.key.clone(), self.cache.clone(), latest_revision.to_owned());
        self.writer
            .write(
                move |connection| functions::publish(connection, snapshot, &latest_revision, &key),
                // Somebody may have asked for this number before it existed.
                move |stored| cache.forget(&stored.scope, &stored.name, &stored.version),
            )
            .await
    }

    async fn delete_function(&self, scope: &Scope, name: &FunctionName) -> Result<bool, StoreError> {
        let (cache, aliases, documents) = (self.cache.clone(), self.aliases.clone(), self.documents.clone());
        let (scope, name) = (scope.clone(), name.clone());
        let forgotten = (scope.clone(), name.clone());
        self.writer
            .write(
                move |connection| functions::delete_function(connection, &scope, &name),
                move |_| {
                    cache.forget_function(&forgotten.0, &forgotten.1);
                    aliases.forget_function(&forgotten.0, &forgotten.1);
                    documents.fetch_add(1, Ordering::AcqRel);
                },
            )
            .await
    }

    async fn delete_version(
        &self,
        scope: &Scope,
        name: &FunctionName,
        version: u64,
    ) -> Result<bool, StoreError> {
        let (cache, forgotten) = (self.cache.clone(), (scope.clone(), name.clone()));
        let (scope, name, documents) = (scope.clone(), name.clone(), self.documents.clone());
        self.writer
            .write(
                move |connection| functions::delete_version(connection, &scope, &name, version),
                move |_| {
                    cache.forget(&forgotten.0, &forgotten.1, &VersionNumber::Published(version));
                    documents.fetch_add(1, Ordering::AcqRel);
                },
            )
            .await
    }

    async fn unfinished_functions(&self) -> Result<Vec<Arc<FunctionVersion>>, StoreError> {
        let key = self.key.clone();
        self.readers.read(move |connection| functions::unfinished(connection, &key)).await
    }

    async fn code_usage(&self, scope: &Scope) -> Result<CodeUsage, StoreError> {
        let scope = scope.clone();
        self.readers.read(move |connection| functions::code_usage(connection, &scope)).await
    }

    async fn put_alias(&self, alias: Alias, expect: Expect) -> Result<(), StoreError> {
        let aliases = self.aliases.clone();
        let (scope, function, name) = (alias.scope.clone(), alias.function.clone(), alias.name.clone());
        self.writer
            .write(
                move |connection| aliases::put(connection, &alias, &expect),
                move |()| aliases.forget(&scope, &function, &name),
            )
            .await
    }

    async fn get_alias(
        &self,
        scope: &Scope,
        function: &FunctionName,
        name: &str,
    ) -> Result<Option<Arc<Alias>>, StoreError> {
        let name = name.to_owned();
        let generation = match self.aliases.get(scope, function, &name) {
            Ok(known) => return Ok(known),
            Err(generation) => generation,
        };
        let key = (scope.clone(), function.clone(), name.clone());
        let (scope, function) = (scope.clone(), function.clone());
        let found =
            self.readers.read(move |connection| aliases::get(connection, &scope, &function, &name)).await?;
        if self.watcher.is_none() {
            self.aliases.fill(generation, key, found.clone());
        }
        Ok(found)
    }

    async fn list_aliases(
        &self,
        scope: &Scope,
        function: &FunctionName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<Alias>>, StoreError> {
        let (scope, function, after) = (scope.clone(), function.clone(), after.map(str::to_owned));
        self.readers
            .read(move |connection| aliases::list(connection, &scope, &function, after.as_deref(), limit))
            .await
    }

    async fn delete_alias(
        &self,
        scope: &Scope,
        function: &FunctionName,
        name: &str,
    ) -> Result<bool, StoreError> {
        let (aliases, documents) = (self.aliases.clone(), self.documents.clone());
        let (scope, function, name) = (scope.clone(), function.clone(), name.to_owned());
        let forgotten = (scope.clone(), function.clone(), name.clone());
        self.writer
            .write(
                move |connection| aliases::delete(connection, &scope, &function, &name),
                move |_| {
                    aliases.forget(&forgotten.0, &forgotten.1, &forgotten.2);
                    documents.fetch_add(1, Ordering::AcqRel);
                },
            )
            .await
    }

    async fn put_document(
        &self,
        scope: &Scope,
        kind: &str,
        document: Document,
        expect: Expect,
    ) -> Result<(), StoreError> {
        let document = sealed_documents::seal(&self.key, scope, kind, document)?;
        let (scope, kind, changed) = (scope.clone(), kind.to_owned(), self.documents.clone());
        self.writer
            .write(
                move |connection| documents::put(connection, &scope, &kind, &document, &expect),
                move |()| {
                    changed.fetch_add(1, Ordering::AcqRel);
                },
            )
            .await
    }

    async fn get_document(
        &self,
        scope: &Scope,
        kind: &str,
        key: &str,
    ) -> Result<Option<Document>, StoreError> {
        let (secret, scope) = (self.key.clone(), scope.clone());
        let (kind, key) = (kind.to_owned(), key.to_owned());
        self.readers
            .read(move |connection| {
                let found = documents::get(connection, &scope, &kind, &key)?;
                found.map(|document| sealed_documents::open(&secret, &scope, &kind, document)).transpose()
            })
            .await
    }

    async fn list_documents(
        &self,
        scope: &Scope,
        kind: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let (secret, scope) = (self.key.clone(), scope.clone());
        let (kind, after) = (kind.to_owned(), after.map(str::to_owned));
        self.readers
            .read(move |connection| {
                let found = documents::list(connection, &scope, &kind, after.as_deref(), limit)?;
                let opened = |document| sealed_documents::open(&secret, &scope, &kind, document);
                found.into_iter().map(opened).collect()
            })
            .await
    }

    async fn documents_in_all_scopes(&self, kind: &str) -> Result<Vec<(Scope, Document)>, StoreError> {
        let (secret, kind) = (self.key.clone(), kind.to_owned());
        self.readers
            .read(move |connection| {
                let found = documents::list_in_all_scopes(connection, &kind)?;
                let opened = |(scope, document)| {
                    let document = sealed_documents::open(&secret, &scope, &kind, document)?;
                    Ok((scope, document))
                };
                found.into_iter().map(opened).collect()
            })
            .await
    }

    async fn delete_document(&self, scope: &Scope, kind: &str, key: &str) -> Result<bool, StoreError> {
        let (scope, kind, key) = (scope.clone(), kind.to_owned(), key.to_owned());
        let changed = self.documents.clone();
        self.writer
            .write(
                move |connection| documents::delete(connection, &scope, &kind, &key),
                move |_| {
                    changed.fetch_add(1, Ordering::AcqRel);
                },
            )
            .await
    }

    async fn find_document(&self, kind: &str, id: &str) -> Result<Option<(Scope, Document)>, StoreError> {
        let (secret, kind, id) = (self.key.clone(), kind.to_owned(), id.to_owned());
        self.readers
            .read(move |connection| {
                let Some((scope, document)) = documents::find(connection, &kind, &id)? else {
                    return Ok(None);
                };
                let document = sealed_documents::open(&secret, &scope, &kind, document)?;
                Ok(Some((scope, document)))
            })
            .await
    }

    fn document_generation(&self) -> u64 {
        self.documents.load(Ordering::Acquire)
    }

    fn secret_for(&self, purpose: &str) -> [u8; 32] {
        self.key.derive(purpose)
    }

    async fn enqueue(&self, event: QueuedEvent) -> Result<(), StoreError> {
        self.writer.write_gathered(&self.accepted, event, accept::enqueue_together).await
    }

    async fn enqueue_again(&self, event: QueuedEvent) -> Result<(), StoreError> {
        let now = (self.clock)();
        self.writer.write_events(move |connection| story::enqueue_again(connection, &event, now)).await
    }

    async fn claim_within(
        &self,
        owner: &str,
        now: Timestamp,
        lease: Duration,
        bounds: &ClaimBounds,
    ) -> Result<Vec<ClaimedEvent>, StoreError> {
        let (owner, bounds) = (owner.to_owned(), bounds.clone());
        self.writer
            .write_events(move |connection| queue::claim(connection, &owner, now, lease, &bounds))
            .await
    }

    async fn give_back_claims(&self, node: &str, now: Timestamp, lease: Duration) -> Result<u64, StoreError> {
        let node = node.to_owned();
        self.writer
            .write_events(move |connection| queue::give_back_claims(connection, &node, now, lease))
            .await
    }

    async fn extend(&self, request_id: RequestId, claim: u64, until: Timestamp) -> Result<bool, StoreError> {
        self.writer.write_events(move |connection| queue::extend(connection, request_id, claim, until)).await
    }

    async fn settle(
        &self,
        request_id: RequestId,
        claim: u64,
        settlement: Settlement,
    ) -> Result<bool, StoreError> {
        let now = (self.clock)();
        self.writer
            .write_events(move |connection| queue::settle(connection, request_id, claim, &settlement, now))
            .await
    }

    async fn event_story(&self, scope: &Scope, request_id: RequestId) -> Result<EventStory, StoreError> {
        let scope = scope.clone();
        self.readers.read(move |connection| story::story(connection, &scope, request_id)).await
    }

    async fn events(
        &self,
        scope: &Scope,
        query: EventQuery,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let scope = scope.clone();
        self.readers.read(move |connection| story::events(connection, &scope, &query, before, limit)).await
    }

    async fn redrive(&self, scope: &Scope, request_ids: Vec<RequestId>) -> Result<Vec<Redrive>, StoreError> {
        let (scope, now) = (scope.clone(), (self.clock)());
        self.writer
            .write_events(move |connection| {
                request_ids.iter().map(|id| story::redrive(connection, &scope, *id, now)).collect()
            })
            .await
    }

    async fn forget_dead_letters(&self, before: Timestamp) -> Result<Forgotten, StoreError> {
        let forget = move |connection: &rusqlite::Connection| {
            let done = closed::forget_done(connection, before)?;
            Ok(Forgotten { done, ..story::forget(connection, before)? })
        };
        let forgotten = self.writer.write_events(forget).await?;
        if forgotten != Forgotten::default() {
            return Ok(forgotten);
        }
        // Last, when nothing old refers to them any more.
        let unused = self.readers.read(closed::unused).await?;
        if unused.is_empty() {
            return Ok(forgotten);
        }
        let queues = self.writer.write_events(move |connection| closed::remove(connection, &unused)).await?;
        Ok(Forgotten { queues, ..forgotten })
    }

    async fn next_due_within(&self, bounds: &ClaimBounds) -> Result<Option<Timestamp>, StoreError> {
        let bounds = bounds.clone();
        self.readers.read(move |connection| queue::next_due(connection, &bounds)).await
    }

    async fn dead_letters(
        &self,
        scope: &Scope,
        function: &FunctionName,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let (scope, function) = (scope.clone(), function.clone());
        self.readers.read(move |connection| queue::dead_letters(connection, &scope, &function, limit)).await
    }

    async fn event_counts(&self, scope: &Scope, function: &FunctionName) -> Result<EventCounts, StoreError> {
        let (scope, function) = (scope.clone(), function.clone());
        self.readers.read(move |connection| queue::counts(connection, &scope, &function)).await
    }

    async fn all_event_counts(&self, scope: &Scope) -> Result<Vec<(FunctionName, EventCounts)>, StoreError> {
        let scope = scope.clone();
        self.readers.read(move |connection| story::all_counts(connection, &scope)).await
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.changes.of_functions()
    }

    fn watch_events(&self) -> watch::Receiver<u64> {
        self.changes.of_all()
    }

    async fn referenced_code(&self) -> Result<Vec<CodeDigest>, StoreError> {
        self.readers.read(functions::referenced_code).await
    }
}
