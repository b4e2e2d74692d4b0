//! The versions (and tenants) instances belong to: found by revision, retired by the next one, forgotten when nobody calls.

use super::history::History;
use super::idle::Idle;
use super::phase::PhaseCounts;
use super::{EntryId, MIB, Registry};
use crate::policy::claim_bytes;
use lamplight_model::{FunctionName, FunctionVersion, Scope, TenantId, VersionNumber};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Entry<I> {
    pub(super) version: Arc<FunctionVersion>,
    /// Whose instances these are; nobody else gets one of them.
    pub(super) tenant: Option<TenantId>,
    /// Most recently used last.
    pub(super) idle: Vec<Idle<I>>,
    pub(super) counts: PhaseCounts,
    pub(super) highest_seen_bytes: u64,
    pub(super) retired: bool,
    pub(super) last_used: Instant,
    pub(super) history: History,
}

impl<I> Entry<I> {
    /// What the next instance counts for, bytes.
    pub(super) fn claim_bytes(&self) -> u64 {
        let configured = u64::from(self.version.memory_mib) * MIB;
        claim_bytes(configured, self.highest_seen_bytes, crate::config::UNSEEN_CLAIM_BYTES)
    }

    /// Whether an instance started ahead would be its only one and a call is still predicted.
    pub(super) fn may_prewarm(&self, now: Instant) -> bool {
        // Nobody knows the tenant of a call that is only predicted.
        !self.version.per_tenant
            && !self.retired
            && self.counts.total() == self.counts.stopping
            && self.history.predicts(now)
    }
}

impl<I> Registry<I> {
    /// Retires a version that was deleted: idle instances are given back to be stopped, running ones stop after
    /// their run. Other versions of its function go on.
    pub fn retire_version(&mut self, scope: &Scope, name: &FunctionName, version: VersionNumber) -> Vec<I> {
        let retired =
            self.retire(|known| known.scope == *scope && known.name == *name && known.version == version);
        self.counters.retirements += retired.len() as u64;
        retired
    }

    /// `version` is what is stored now: idle instances of another revision of it are given back to be stopped, and an
    /// instance that is started ahead is one of this revision.
    pub fn renew(&mut self, version: &Arc<FunctionVersion>, now: Instant) -> Vec<I> {
        let known =
            self.entries.values().any(|entry| !entry.retired && same_version(&entry.version, version));
        if !known || self.find(version, None).is_some() {
            return Vec::new();
        }
        self.find_or_create(version, None, now).1
    }

    /// The versions that have an instance or may get one without a call.
    pub fn in_use(&self, now: Instant) -> Vec<Arc<FunctionVersion>> {
        let entries = self.entries.values().filter(|entry| !entry.retired);
        entries
            .filter(|entry| entry.counts.total() > 0 || entry.history.predicts(now))
            .map(|entry| entry.version.clone())
            .collect()
    }

    /// Forgets versions that have no instance, were not called for `unused_for`, and of which no call is predicted.
    pub fn forget_unused(&mut self, unused_for: Duration, now: Instant) {
        self.scaling.forget_unused(now);
        let waited_for: Vec<EntryId> = self.waiting.iter().map(|waiting| waiting.entry).collect();
        self.entries.retain(|id, entry| {
            entry.counts.total() > 0
                || waited_for.contains(id)
                || (!entry.retired
                    && (now.saturating_duration_since(entry.last_used) < unused_for
                        || entry.history.predicts(now)))
        });
        let entries = &self.entries;
        self.by_revision.retain(|_, ids| {
            ids.retain(|id| entries.contains_key(id));
            !ids.is_empty()
        });
    }

    /// Every version known, its phases, and how many of its idle instances are frozen.
    pub fn versions(&self) -> Vec<(Arc<FunctionVersion>, PhaseCounts, usize)> {
        self.entries
            .values()
            .map(|entry| {
                let frozen = entry.idle.iter().filter(|idle| idle.frozen).count();
                (entry.version.clone(), entry.counts, frozen)
            })
            .collect()
    }

    /// The version's entry; a new one retires older revisions, whose idle instances are to be stopped.
    pub(super) fn find_or_create(
        &mut self,
        version: &Arc<FunctionVersion>,
        tenant: Option<&TenantId>,
        now: Instant,
    ) -> (EntryId, Vec<I>) {
        match self.find(version, tenant) {
            Some(entry_id) => (entry_id, Vec::new()),
            None => {
                let to_stop = self.retire_older(version);
                (self.create(version, tenant, now), to_stop)
            }
        }
    }

    fn find(&self, version: &Arc<FunctionVersion>, tenant: Option<&TenantId>) -> Option<EntryId> {
        let ids = self.by_revision.get(version.revision_id.as_str())?;
        ids.iter().copied().find(|id| {
            self.entries.get(id).is_some_and(|entry| {
                entry.tenant.as_ref() == tenant
                    && (Arc::ptr_eq(&entry.version, version) || entry.version.runs_as(version))
            })
        })
    }

    fn create(&mut self, version: &Arc<FunctionVersion>, tenant: Option<&TenantId>, now: Instant) -> EntryId {
        self.next_id += 1;
        let id = self.next_id;
        // A call that was resolved before an update and arrives after the first call of the new revision
        // still runs its own revision, on an instance for itself.
        let retired = self.entries.values().any(|entry| {
            same_version(&entry.version, version) && entry.version.last_modified > version.last_modified
        });
        // The newest of the older ones: its history is the whole history.
        let older = self
            .entries
            .values_mut()
            .rev()
            .find(|entry| same_version(&entry.version, version) && entry.tenant.as_ref() == tenant);
        let new = History::new(self.bounds.histogram_bin);
        let history = match older.filter(|_| !retired) {
            Some(older) => std::mem::replace(&mut older.history, new),
            None => new,
        };
        self.entries.insert(
            id,
            Entry {
                version: version.clone(),
                tenant: tenant.cloned(),
                idle: Vec::new(),
                counts: PhaseCounts::default(),
                highest_seen_bytes: 0,
                retired,
                last_used: now,
                history,
            },
        );
        self.by_revision.entry(version.revision_id.clone()).or_default().push(id);
        id
    }

    fn retire_older(&mut self, version: &FunctionVersion) -> Vec<I> {
        // Those of this revision are of other tenants.
        let retired = self.retire(|known| {
            same_version(known, version)
                && known.last_modified <= version.last_modified
                && !known.runs_as(version)
        });
        self.counters.retirements += retired.len() as u64;
        retired
    }

    pub(super) fn retire(&mut self, which: impl Fn(&FunctionVersion) -> bool) -> Vec<I> {
        let mut ids = Vec::new();
        for entry in self.entries.values_mut().filter(|entry| which(&entry.version)) {
            entry.retired = true;
            ids.extend(entry.idle.iter().map(|idle| idle.id));
        }
        // A retired entry is not found again: the same revision may come back after a delete only by a new
        // create, which has a revision of its own.
        self.take_idle(&ids)
    }
}

fn same_version(one: &FunctionVersion, other: &FunctionVersion) -> bool {
    one.version == other.version && one.name == other.name && one.scope == other.scope
}
