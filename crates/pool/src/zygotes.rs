//! Runtime zygotes: one prepared interpreter for each way of starting it, which forks blank instances.
//!
//! A zygote runs trusted modules only, so that any function may be started from it. Its children share its memory layout and its
//! hash secret; so that a secret learned from one says little about the others, a zygote is replaced after a while.

use lamplight_sandbox::linux::CHILDREN_OF_A_ZYGOTE;
use lamplight_sandbox::{Limits, SandboxBackend, SandboxError, SandboxSpec, Started, Zygote};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tracing::{debug, warn};

/// A zygote is replaced after this time, or when it has as many children as one may.
pub const LIFE: Duration = Duration::from_secs(3_600);
/// How long no other is started after one that failed.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// Memory a zygote may use, bytes: an interpreter with a few modules, many times over.
const MEMORY_BYTES: u64 = 256 * 1024 * 1024;
/// Added to the command of an interpreter that is to be a zygote.
const ARGUMENT: &str = "zygote";

/// How a zygote is started: what its children must have in common with it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ZygoteKey {
    /// Root tree.
    pub root: String,
    /// Command of the interpreter with our bootstrap.
    pub command: Vec<String>,
    /// Its environment at the start.
    pub environment: Vec<(String, String)>,
}

struct Place {
    /// `None` inside: it could not be started.
    zygote: Arc<OnceCell<Option<Arc<dyn Zygote>>>>,
    since: Instant,
    used: Instant,
    children: u32,
}

/// The zygotes of the node.
#[derive(Default)]
pub struct Zygotes {
    places: Mutex<HashMap<ZygoteKey, Place>>,
}

impl Zygotes {
    /// Whether children are forked for this key, or were: then a zygote is there, or soon is.
    pub fn serves(&self, key: &ZygoteKey) -> bool {
        self.lock().get(key).is_some_and(|place| !matches!(place.zygote.get(), Some(None)))
    }

    /// A child of the zygote of this key, which is started when there is none. `None` when there is none to be had now: start
    /// from nothing then.
    ///
    /// `spec` is the child's.
    pub async fn fork(
        &self,
        backend: &dyn SandboxBackend,
        key: &ZygoteKey,
        spec: impl Fn() -> SandboxSpec,
    ) -> Option<Started> {
        let cell = self.place(key);
        let zygote = cell.get_or_init(|| start(backend, key, spec())).await.clone()?;
        match zygote.fork(spec()).await {
            Ok(started) => Some(started),
            Err(error) => {
                warn!(root = key.root, %error, "a zygote could not fork, starting from nothing");
                self.forget(key, &cell);
                None
            }
        }
    }

    /// Ends those of which nobody has wanted a child for `unused_after`, with what they keep ready; what they forked lives on.
    pub fn end_unused(&self, now: Instant, unused_after: Duration) {
        let mut places = self.lock();
        let unused = |place: &Place| now.saturating_duration_since(place.used) >= unused_after;
        let ended: Vec<_> = places.extract_if(|_, place| unused(place)).collect();
        drop(places);
        for (key, _) in ended {
            debug!(root = key.root, "a zygote was not used any more");
        }
    }

    /// Ends all of them; what they forked lives on.
    pub fn clear(&self) {
        let places = std::mem::take(&mut *self.lock());
        drop(places);
    }

    fn place(&self, key: &ZygoteKey) -> Arc<OnceCell<Option<Arc<dyn Zygote>>>> {
        let now = Instant::now();
        let mut places = self.lock();
        let old = places.get(key).is_some_and(|place| {
            let failed = matches!(place.zygote.get(), Some(None));
            let age = now - place.since;
            place.children >= CHILDREN_OF_A_ZYGOTE || age >= if failed { RETRY_AFTER } else { LIFE }
        });
        if old {
            places.remove(key);
        }
        let place = places.entry(key.clone()).or_insert_with(|| Place {
            zygote: Arc::default(),
            since: now,
            used: now,
            children: 0,
        });
        place.used = now;
        place.children += 1;
        Arc::clone(&place.zygote)
    }

    fn forget(&self, key: &ZygoteKey, cell: &Arc<OnceCell<Option<Arc<dyn Zygote>>>>) {
        let mut places = self.lock();
        if places.get(key).is_some_and(|place| Arc::ptr_eq(&place.zygote, cell)) {
            places.remove(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ZygoteKey, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a zygote in a sandbox like its children's.
async fn start(backend: &dyn SandboxBackend, key: &ZygoteKey, spec: SandboxSpec) -> Option<Arc<dyn Zygote>> {
    let mut command = key.command.clone();
    command.push(ARGUMENT.to_owned());
    let limits = Limits { memory_bytes: MEMORY_BYTES, ..spec.limits };
    let spec = SandboxSpec {
        root: key.root.clone(),
        code: None,
        egress: false,
        command,
        environment: key.environment.clone(),
        limits,
        ..spec
    };
    match backend.start_zygote(spec).await {
        Ok(zygote) => {
            debug!(root = key.root, "a zygote is ready");
            Some(Arc::from(zygote))
        }
        Err(SandboxError::Invalid(_)) => None,
        Err(error) => {
            warn!(root = key.root, %error, "failed to start a zygote, blank instances are started from nothing");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_zygote_that_nobody_uses_ends() {
        let (zygotes, unused_after) = (Zygotes::default(), Duration::from_secs(600));
        let key =
            |root: &str| ZygoteKey { root: root.to_owned(), command: Vec::new(), environment: Vec::new() };
        let (seldom, often) = (key("python3.9"), key("python3.11"));
        zygotes.place(&seldom);
        zygotes.place(&often);
        let begun = Instant::now();
        tokio::time::advance(Duration::from_secs(500)).await;
        zygotes.place(&often);
        zygotes.end_unused(begun + unused_after - Duration::from_secs(1), unused_after);
        assert!(zygotes.serves(&seldom) && zygotes.serves(&often));
        zygotes.end_unused(begun + unused_after, unused_after);
        assert!(!zygotes.serves(&seldom) && zygotes.serves(&often));
    }
}
