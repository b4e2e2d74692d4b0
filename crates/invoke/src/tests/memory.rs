//! A store, a ledger and a code store in memory: for faults a real disk does not produce on demand.

use async_trait::async_trait;
use bytes::Bytes;
use lamplight_model::function::FunctionMarks;
use lamplight_model::{
    Alias, CodeDigest, FunctionName, FunctionVersion, InvocationReport, RequestId, Scope, ServiceError,
    Timestamp, VersionNumber,
};
use lamplight_store::contract::DeadLetter;
use lamplight_store::*;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

type Key = (Scope, FunctionName, VersionNumber);

struct Entry {
    event: QueuedEvent,
    claim: u64,
    /// End of the lease while claimed.
    leased_until: Option<Timestamp>,
    owner: String,
    /// Events are taken in the order they came, as from the real queue.
    number: u64,
}

#[derive(Default)]
struct Content {
    versions: BTreeMap<Key, Arc<FunctionVersion>>,
    documents: BTreeMap<(Scope, String, String), Document>,
    aliases: BTreeMap<(Scope, FunctionName, String), Arc<Alias>>,
    events: HashMap<RequestId, Entry>,
    dead: Vec<DeadLetter>,
    counts: EventCounts,
}

/// The store. `refuse_writes` makes every write fail as a full disk does.
#[derive(Default)]
pub struct MemoryStore {
    content: Mutex<Content>,
    changes: watch::Sender<u64>,
    pub refuse_writes: AtomicBool,
    /// Makes only the extension of leases fail.
    pub refuse_extensions: AtomicBool,
    pub refused: AtomicUsize,
}

impl MemoryStore {
    fn write<T>(&self, change: impl FnOnce(&mut Content) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if self.refuse_writes.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(StoreError::Unwritable("the disk is full".to_owned()));
        }
        let result = change(&mut self.content.lock().unwrap());
        self.changes.send_modify(|count| *count += 1);
        result
    }

    /// Ends every lease, as a crash of the node and the passing of time do.
    pub fn end_leases(&self) {
        let _ = self.write(|content| {
            for entry in content.events.values_mut() {
                entry.leased_until = entry.leased_until.map(|_| Timestamp(0));
            }
            Ok(())
        });
    }

    pub fn lease_of(&self, request_id: RequestId) -> Option<Timestamp> {
        self.content.lock().unwrap().events.get(&request_id).and_then(|entry| entry.leased_until)
    }

    /// How often an event was claimed.
    pub fn claims_of(&self, request_id: RequestId) -> u64 {
        self.content.lock().unwrap().events.get(&request_id).map_or(0, |entry| entry.claim)
    }

    pub fn attempts_of(&self, request_id: RequestId) -> Option<u32> {
        self.content.lock().unwrap().events.get(&request_id).map(|entry| entry.event.attempts)
    }

    pub fn dead(&self) -> Vec<DeadLetter> {
        self.content.lock().unwrap().dead.clone()
    }

    pub fn counts(&self) -> EventCounts {
        self.content.lock().unwrap().counts
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn put_version(&self, version: FunctionVersion, expect: Expect) -> Result<(), StoreError> {
        self.write(|content| {
            let key = (version.scope.clone(), version.name.clone(), version.version);
            let stored = content.versions.get(&key).map(|stored| stored.revision_id.clone());
            match expect {
                Expect::Absent if stored.is_some() => Err(StoreError::AlreadyExists(version.qualified_arn())),
                Expect::Revision(expected) if stored.as_ref() != Some(&expected) => {
                    Err(StoreError::RevisionMismatch(version.qualified_arn()))
                }
                _ => {
                    content.versions.insert(key, Arc::new(version));
                    Ok(())
                }
            }
        })
    }

    async fn get_version(
        &self,
        scope: &Scope,
        name: &FunctionName,
        version: VersionNumber,
    ) -> Result<Option<Arc<FunctionVersion>>, StoreError> {
        let key = (scope.clone(), name.clone(), version);
        Ok(self.content.lock().unwrap().versions.get(&key).cloned())
    }

    async fn delete_function(&self, scope: &Scope, name: &FunctionName) -> Result<bool, StoreError> {
        self.write(|content| {
            let before = content.versions.len();
            content.versions.retain(|key, _| key.0 != *scope || key.1 != *name);
            Ok(content.versions.len() != before)
        })
    }

    async fn unfinished_functions(&self) -> Result<Vec<Arc<FunctionVersion>>, StoreError> {
        let content = self.content.lock().unwrap();
        let versions = content.versions.values();
        Ok(versions.filter(|version| crate::lifecycle::is_unfinished(&version.lifecycle)).cloned().collect())
    }

    async fn enqueue(&self, event: QueuedEvent) -> Result<(), StoreError> {
        self.write(|content| {
            content.counts.accepted += 1;
            content.counts.pending += 1;
            let number = content.counts.accepted;
            content.events.insert(
                event.request_id,
                Entry { event, claim: 0, leased_until: None, owner: String::new(), number },
            );
            Ok(())
        })
    }

    async fn claim_within(
        &self,
        owner: &str,
        now: Timestamp,
        lease: Duration,
        bounds: &ClaimBounds,
    ) -> Result<Vec<ClaimedEvent>, StoreError> {
        self.write(|content| {
            let mut entries: Vec<_> = content.events.values_mut().filter(|entry| due(entry) <= now).collect();
            entries.sort_by_key(|entry| entry.number);
            let mut taken: HashMap<(Scope, FunctionName), usize> = HashMap::new();
            let mut claimed = Vec::new();
            for entry in entries {
                let key = (entry.event.scope.clone(), entry.event.function.clone());
                let room = bounds.of(&key.0, &key.1);
                let of_function = taken.entry(key).or_default();
                if *of_function < room && claimed.len() < bounds.events {
                    *of_function += 1;
                    entry.claim += 1;
                    entry.leased_until = Some(now.plus(lease));
                    entry.owner = owner.to_owned();
                    claimed.push(ClaimedEvent { event: entry.event.clone(), claim: entry.claim });
                }
            }
            Ok(claimed)
        })
    }

    async fn give_back_claims(&self, node: &str, now: Timestamp, lease: Duration) -> Result<u64, StoreError> {
        self.write(|content| {
            let mut given_back = 0;
            for entry in content.events.values_mut() {
                let is_of_node = entry.owner.strip_prefix(node).is_some_and(|rest| rest.starts_with('/'));
                if is_of_node && entry.leased_until.is_some_and(|until| until <= now.plus(lease)) {
                    (entry.leased_until, given_back) = (None, given_back + 1);
                }
            }
            Ok(given_back)
        })
    }

    async fn extend(&self, request_id: RequestId, claim: u64, until: Timestamp) -> Result<bool, StoreError> {
        if self.refuse_extensions.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(StoreError::Unwritable("the disk is full".to_owned()));
        }
        self.write(|content| {
            let Some(entry) = held(content, request_id, claim) else { return Ok(false) };
            entry.leased_until = Some(until);
            Ok(true)
        })
    }

    async fn settle(
        &self,
        request_id: RequestId,
        claim: u64,
        settlement: Settlement,
    ) -> Result<bool, StoreError> {
        let Settlement { release, follow_up, .. } = settlement;
        let held = self.write(|content| {
            let Some(entry) = held(content, request_id, claim) else { return Ok(false) };
            if let Release::Retry { not_before, counted } = release {
                entry.leased_until = None;
                entry.event.not_before = not_before;
                entry.event.attempts += u32::from(counted);
                return Ok(true);
            }
            let event = entry.event.clone();
            content.events.remove(&request_id);
            content.counts.pending -= 1;
            if let Release::DeadLetter { condition, error } = release {
                content.counts.dead_lettered += 1;
                content.dead.push(DeadLetter { event, condition, error, dead_at: Timestamp(0) });
            } else {
                content.counts.done += 1;
            }
            Ok(true)
        })?;
        if held && let Some(follow_up) = follow_up {
            self.enqueue(follow_up).await?;
        }
        Ok(held)
    }

    async fn event_story(&self, _scope: &Scope, _request_id: RequestId) -> Result<EventStory, StoreError> {
        unreachable!()
    }

    async fn enqueue_again(&self, _event: QueuedEvent) -> Result<(), StoreError> {
        unreachable!()
    }

    async fn events(
        &self,
        _scope: &Scope,
        _query: EventQuery,
        _before: Option<i64>,
        _limit: usize,
    ) -> Result<Vec<EventRecord>, StoreError> {
        unreachable!()
    }

    async fn redrive(&self, _scope: &Scope, _ids: Vec<RequestId>) -> Result<Vec<Redrive>, StoreError> {
        unreachable!()
    }

    async fn forget_dead_letters(&self, _before: Timestamp) -> Result<Forgotten, StoreError> {
        unreachable!()
    }

    async fn all_event_counts(&self, _scope: &Scope) -> Result<Vec<(FunctionName, EventCounts)>, StoreError> {
        unreachable!()
    }

    async fn next_due_within(&self, bounds: &ClaimBounds) -> Result<Option<Timestamp>, StoreError> {
        let content = self.content.lock().unwrap();
        let passing =
            content.events.values().filter(|entry| bounds.of(&entry.event.scope, &entry.event.function) > 0);
        Ok(passing.map(due).min())
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn watch_events(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn put_alias(&self, alias: Alias, _expect: Expect) -> Result<(), StoreError> {
        self.write(|content| {
            let key = (alias.scope.clone(), alias.function.clone(), alias.name.clone());
            content.aliases.insert(key, Arc::new(alias));
            Ok(())
        })
    }

    async fn get_alias(
        &self,
        scope: &Scope,
        function: &FunctionName,
        name: &str,
    ) -> Result<Option<Arc<Alias>>, StoreError> {
        let key = (scope.clone(), function.clone(), name.to_owned());
        Ok(self.content.lock().unwrap().aliases.get(&key).cloned())
    }

    async fn delete_alias(
        &self,
        scope: &Scope,
        function: &FunctionName,
        name: &str,
    ) -> Result<bool, StoreError> {
        let key = (scope.clone(), function.clone(), name.to_owned());
        self.write(|content| Ok(content.aliases.remove(&key).is_some()))
    }

    async fn put_document(
        &self,
        scope: &Scope,
        kind: &str,
        document: Document,
        _expect: Expect,
    ) -> Result<(), StoreError> {
        self.write(|content| {
            let key = (scope.clone(), kind.to_owned(), document.key.clone());
            content.documents.insert(key, document);
            Ok(())
        })
    }

    async fn get_document(
        &self,
        scope: &Scope,
        kind: &str,
        key: &str,
    ) -> Result<Option<Document>, StoreError> {
        let key = (scope.clone(), kind.to_owned(), key.to_owned());
        Ok(self.content.lock().unwrap().documents.get(&key).cloned())
    }

    async fn list_documents(
        &self,
        scope: &Scope,
        kind: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let content = self.content.lock().unwrap();
        let of_kind = content.documents.iter().filter(|(key, _)| key.0 == *scope && key.1 == kind);
        let later = of_kind.filter(|(key, _)| key.2.as_str() > after.unwrap_or(""));
        Ok(later.take(limit).map(|(_, document)| document.clone()).collect())
    }

    async fn documents_in_all_scopes(&self, kind: &str) -> Result<Vec<(Scope, Document)>, StoreError> {
        let content = self.content.lock().unwrap();
        let of_kind = content.documents.iter().filter(|(key, _)| key.1 == kind);
        Ok(of_kind.map(|(key, document)| (key.0.clone(), document.clone())).collect())
    }

    async fn delete_document(&self, scope: &Scope, kind: &str, key: &str) -> Result<bool, StoreError> {
        let key = (scope.clone(), kind.to_owned(), key.to_owned());
        self.write(|content| Ok(content.documents.remove(&key).is_some()))
    }

    // What the funnel never calls.

    async fn find_document(&self, _kind: &str, _id: &str) -> Result<Option<(Scope, Document)>, StoreError> {
        unreachable!()
    }

    fn document_generation(&self) -> u64 {
        unreachable!()
    }

    fn secret_for(&self, _purpose: &str) -> [u8; 32] {
        unreachable!("nobody in these tests signs")
    }

    async fn list_functions(
        &self,
        _scope: &Scope,
        _after: Option<&FunctionName>,
        _limit: usize,
    ) -> Result<Vec<Arc<FunctionVersion>>, StoreError> {
        unreachable!()
    }

    async fn list_versions(
        &self,
        _scope: &Scope,
        _name: &FunctionName,
        _after: Option<VersionNumber>,
        _limit: usize,
    ) -> Result<Vec<Arc<FunctionVersion>>, StoreError> {
        unreachable!()
    }

    async fn publish_version(
        &self,
        _snapshot: FunctionVersion,
        _latest_revision: &str,
    ) -> Result<Arc<FunctionVersion>, StoreError> {
        unreachable!()
    }

    async fn delete_version(
        &self,
        _scope: &Scope,
        _name: &FunctionName,
        _version: u64,
    ) -> Result<bool, StoreError> {
        unreachable!()
    }

    async fn list_aliases(
        &self,
        _scope: &Scope,
        _function: &FunctionName,
        _after: Option<&str>,
        _limit: usize,
    ) -> Result<Vec<Arc<Alias>>, StoreError> {
        unreachable!()
    }

    async fn dead_letters(
        &self,
        _scope: &Scope,
        _function: &FunctionName,
        _limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        unreachable!()
    }

    async fn event_counts(
        &self,
        _scope: &Scope,
        _function: &FunctionName,
    ) -> Result<EventCounts, StoreError> {
        unreachable!()
    }

    async fn put_marks(
        &self,
        _scope: &Scope,
        _name: &FunctionName,
        _seen: FunctionMarks,
        _marks: FunctionMarks,
    ) -> Result<(), StoreError> {
        unreachable!()
    }

    async fn code_usage(&self, _scope: &Scope) -> Result<CodeUsage, StoreError> {
        unreachable!()
    }

    async fn referenced_code(&self) -> Result<Vec<CodeDigest>, StoreError> {
        unreachable!()
    }
}

fn due(entry: &Entry) -> Timestamp {
    entry.leased_until.unwrap_or(entry.event.not_before)
}

fn held(content: &mut Content, request_id: RequestId, claim: u64) -> Option<&mut Entry> {
    let entry = content.events.get_mut(&request_id)?;
    (entry.claim == claim && entry.leased_until.is_some()).then_some(entry)
}

/// Every record, in order.
#[derive(Default)]
pub struct MemoryLedger(pub Mutex<Vec<InvocationReport>>);

#[async_trait]
impl Ledger for MemoryLedger {
    fn append(&self, report: InvocationReport) -> bool {
        self.0.lock().unwrap().push(report);
        true
    }

    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn find(
        &self,
        _scope: &Scope,
        _request_id: RequestId,
    ) -> Result<Option<InvocationReport>, StoreError> {
        unreachable!()
    }

    async fn attempts(
        &self,
        _scope: &Scope,
        _request_id: RequestId,
    ) -> Result<Vec<InvocationReport>, StoreError> {
        unreachable!()
    }

    async fn recent(
        &self,
        _scope: &Scope,
        _function: &str,
        _limit: usize,
    ) -> Result<Vec<InvocationReport>, StoreError> {
        unreachable!()
    }

    async fn runs(&self, _scope: &Scope, _query: RunQuery) -> Result<Vec<Run>, StoreError> {
        unreachable!()
    }

    async fn usage(&self, _scope: &Scope, _query: UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        unreachable!()
    }
}

/// Knows the digests it was told of; `failures` first calls fail as a disk does that is full for a while.
#[derive(Default)]
pub struct MemoryCode {
    pub known: Vec<CodeDigest>,
    pub failures: AtomicUsize,
}

#[async_trait]
impl CodeStore for MemoryCode {
    async fn put(&self, _zip: Bytes) -> Result<CodeDigest, ServiceError> {
        unreachable!()
    }

    async fn get(&self, _digest: &CodeDigest) -> Result<Option<Bytes>, StoreError> {
        unreachable!()
    }

    async fn unpacked(&self, digest: &CodeDigest) -> Result<String, StoreError> {
        let failing = self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |failures| failures.checked_sub(1));
        if failing.is_ok() {
            return Err(StoreError::Unwritable("the disk is full".to_owned()));
        }
        if !self.known.contains(digest) {
            return Err(StoreError::NotFound(format!("code {}", digest.as_str())));
        }
        Ok(digest.as_str().to_owned())
    }

    async fn renew(&self, _digest: &CodeDigest) -> Result<u64, StoreError> {
        unreachable!()
    }

    fn has_file(&self, _digest: &CodeDigest, _name: &str) -> bool {
        unreachable!()
    }

    async fn collect(&self, _referenced: &[CodeDigest]) -> Result<u64, StoreError> {
        unreachable!()
    }
}
