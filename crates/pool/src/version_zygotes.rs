//! Version zygotes: interpreters that have imported one version's handler, and fork its instances.
//!
//! ```text
//! a start measured a long init ─► coming (sandbox of its own, imports) ─► ready ─► forks, 16 at most ─► replaced
//!                                   └ refused by its own imports: never for this revision   └ fails: not for a while
//! ```
//!
//! A zygote has run the function's code, so its word counts for nothing but its children's own starts: one that fails, whatever
//! way, ends in a start by the other ways. What imports may not leave behind is decided in `version_zygote.py`.

use crate::blanks::{Blank, BlankKind};
use crate::credentials::{EARLIEST_END, serves_until};
use crate::environment::shared_environment;
use crate::instance::Instance;
use crate::plan::RuntimePlan;
use crate::policy::{self, VersionZygoteBounds, place_of_next};
use crate::pool::Pool;
use crate::zygotes::LIFE;
use lamplight_model::credentials::TemporaryCredentials;
use lamplight_model::managed_runtime::RuntimeFamily;
use lamplight_model::{FunctionName, FunctionVersion, Scope, Timestamp, VersionNumber};
use lamplight_sandbox::linux::CHILDREN_OF_A_ZYGOTE;
use lamplight_sandbox::{SandboxError, SandboxSpec, Zygote};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

/// How long a child may take from the order to fork until it says its first word, and from there until it is ready.
pub const CHILD_LIMIT: Duration = Duration::from_secs(2);
/// Children after which the next zygote is made, so that it is there when this one may fork no more.
const CHILDREN_BEFORE_THE_NEXT: u32 = CHILDREN_OF_A_ZYGOTE - CHILDREN_OF_A_ZYGOTE / 4;
/// How long a version does without after its zygote failed for a reason that may pass.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// How long the call whose start was slow has the processors for itself; longer than the job that compiles its package waits,
/// so that what that makes is there.
const CALL_GOES_FIRST: Duration = Duration::from_millis(600);
/// Versions that are remembered; beyond it those that have no zygote are forgotten.
const REMEMBERED: usize = 4_096;
/// Added to the command of an interpreter that is to be one.
const ARGUMENT: &str = "version-zygote";

type Key = (Scope, FunctionName, VersionNumber);

/// Of the credentials a zygote has imported with, which all its children may go on to sign with.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ImportedWith {
    end: Timestamp,
    /// They end with this role, also when another one has its name.
    role_id: Option<String>,
}

impl From<&TemporaryCredentials> for ImportedWith {
    fn from(credentials: &TemporaryCredentials) -> Self {
        Self { end: credentials.expires_at, role_id: credentials.role_id.clone() }
    }
}

struct Ready {
    zygote: Arc<dyn Zygote>,
    credentials: ImportedWith,
    children: u32,
    since: Instant,
}

struct Place {
    version: Arc<FunctionVersion>,
    ready: Option<Ready>,
    coming: bool,
    last_used: Instant,
    /// None is made before then; `None` inside: never for this revision.
    not_before: Option<Option<Instant>>,
}

impl Place {
    fn is_of(&self, version: &FunctionVersion) -> bool {
        self.version.revision_id == version.revision_id && self.version.code == version.code
    }
}

/// The version zygotes of the node.
pub struct VersionZygotes {
    bounds: VersionZygoteBounds,
    places: Mutex<HashMap<Key, Place>>,
}

impl VersionZygotes {
    /// None yet.
    pub fn new(bounds: VersionZygoteBounds) -> Self {
        Self { bounds, places: Mutex::default() }
    }

    /// Those that can fork.
    pub fn ready(&self) -> usize {
        self.lock().values().filter(|place| place.ready.is_some()).count()
    }

    /// Versions that have none because their imports cannot be shared, or because theirs failed.
    pub fn unfit(&self) -> usize {
        self.lock().values().filter(|place| place.not_before.is_some()).count()
    }

    /// The zygote of this revision, if it is there and may fork once more an instance that has credentials of the role `role_id`;
    /// until when what it has imported may sign; and whether the next one is to be made.
    fn take(
        &self,
        version: &FunctionVersion,
        role_id: Option<&str>,
        time: Timestamp,
    ) -> Option<(Arc<dyn Zygote>, Timestamp, bool)> {
        let now = Instant::now();
        let mut places = self.lock();
        let place = places.get_mut(&key(version)).filter(|place| place.is_of(version))?;
        let ready = place.ready.as_mut()?;
        // No instance that would be too old at once.
        let old = now - ready.since >= LIFE || serves_until(ready.credentials.end, EARLIEST_END) <= time;
        let of_another_role = ready.credentials.role_id.as_deref() != role_id;
        if old || of_another_role || ready.children >= CHILDREN_OF_A_ZYGOTE {
            place.ready = None;
            return None;
        }
        place.last_used = now;
        ready.children += 1;
        let next = ready.children >= CHILDREN_BEFORE_THE_NEXT && !place.coming;
        place.coming |= next;
        Some((Arc::clone(&ready.zygote), ready.credentials.end, next))
    }

    /// Whether one is to be made after a start whose init took so long; counted as coming then.
    fn wants(&self, version: &Arc<FunctionVersion>, init: Duration, now: Instant) -> bool {
        if self.bounds.most == 0 || init < self.bounds.least_init {
            return false;
        }
        let mut places = self.lock();
        let key = key(version);
        if let Some(place) = places.get_mut(&key).filter(|place| place.is_of(version)) {
            let waits = place.not_before.is_some_and(|then| then.is_none_or(|then| now < then));
            if place.ready.is_some() || place.coming || waits {
                return false;
            }
        }
        let existing: Vec<(Key, Instant)> = places
            .iter()
            .filter(|(other, place)| **other != key && (place.ready.is_some() || place.coming))
            .map(|(key, place)| (key.clone(), place.last_used))
            .collect();
        match place_of_next(self.bounds, existing.into_iter(), now) {
            policy::Place::Of(other) => drop(places.remove(&other)),
            policy::Place::Free => {}
            policy::Place::None => return false,
        }
        if places.len() >= REMEMBERED {
            places.retain(|_, place| place.ready.is_some() || place.coming);
        }
        let place =
            Place { version: version.clone(), ready: None, coming: true, last_used: now, not_before: None };
        places.insert(key, place);
        true
    }

    /// What came of making one. A version that was changed or forgotten meanwhile has no use for it.
    fn made(
        &self,
        version: &FunctionVersion,
        made: Result<(Box<dyn Zygote>, ImportedWith), Option<Instant>>,
    ) {
        let mut places = self.lock();
        let Some(place) = places.get_mut(&key(version)).filter(|place| place.is_of(version)) else { return };
        place.coming = false;
        match made {
            Ok((zygote, credentials)) => {
                let since = Instant::now();
                place.ready = Some(Ready { zygote: Arc::from(zygote), credentials, children: 0, since });
            }
            Err(not_before) => place.not_before = Some(not_before),
        }
    }

    /// A child did not come up: its zygote is not asked again.
    pub fn failed(&self, version: &FunctionVersion) {
        if let Some(place) = self.lock().get_mut(&key(version)).filter(|place| place.is_of(version)) {
            place.ready = None;
            place.not_before = Some(Some(Instant::now() + RETRY_AFTER));
        }
    }

    /// The version was deleted.
    pub fn discard(&self, scope: &Scope, name: &FunctionName, version: VersionNumber) {
        self.lock().remove(&(scope.clone(), name.clone(), version));
    }

    /// What is stored of a version now: another revision's zygote ends.
    pub fn renew(&self, version: &FunctionVersion) {
        let mut places = self.lock();
        let key = key(version);
        if places.get(&key).is_some_and(|place| !place.is_of(version)) {
            places.remove(&key);
        }
    }

    /// Ends those nobody used for long; and, when instances want its memory, the one nobody used for longest.
    pub fn sweep(&self, memory_is_wanted: bool, now: Instant) {
        let mut places = self.lock();
        for place in places.values_mut() {
            if now.saturating_duration_since(place.last_used) >= self.bounds.unused_after {
                place.ready = None;
            }
        }
        if memory_is_wanted
            && let Some(place) =
                places.values_mut().filter(|place| place.ready.is_some()).min_by_key(|place| place.last_used)
        {
            place.ready = None;
        }
    }

    /// Ends all of them; what they forked lives on.
    pub fn clear(&self) {
        let places = std::mem::take(&mut *self.lock());
        drop(places);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(version: &FunctionVersion) -> Key {
    (version.scope.clone(), version.name.clone(), version.version)
}

impl Pool {
    /// A child of this version's zygote for an instance that gets these credentials, and until when what it has imported may
    /// sign. `None` when there is none to be had: start another way.
    pub(crate) async fn fork_version(
        self: &Arc<Self>,
        version: &Arc<FunctionVersion>,
        plan: &RuntimePlan,
        kind: &BlankKind,
        credentials: &TemporaryCredentials,
    ) -> Option<(Blank, Timestamp)> {
        let (zygote, credentials_end, next) =
            self.version_zygotes.take(version, credentials.role_id.as_deref(), self.now())?;
        if next {
            self.make_version_zygote(version.clone(), plan.clone());
        }
        let spec = kind.spec(Instance::limits(0, self.config.processes, self.config.open_files));
        let forked = timeout(CHILD_LIMIT, async {
            let started = zygote.fork(spec).await.map_err(|error| error.to_string())?;
            Blank::of(started).await
        });
        let error = match forked.await {
            Ok(Ok(blank)) => return Some((blank, credentials_end)),
            Ok(Err(error)) => error,
            Err(_) => "it took too long".to_owned(),
        };
        warn!(function = %version.name, error, "a version zygote did not fork an instance, starting another way");
        self.version_zygotes.failed(version);
        None
    }

    /// Learns from a start what an init of this version costs. Has a zygote made when that is worth it.
    pub(crate) fn learn_init(
        self: &Arc<Self>,
        version: &Arc<FunctionVersion>,
        plan: &RuntimePlan,
        init: Duration,
    ) {
        // Its children would share memory layout and hash secret, which one tenant's code could tell of another's instance.
        let possible = self.config.zygotes
            && !version.per_tenant
            && plan.family == RuntimeFamily::Python
            && BlankKind::of(version, plan, false).is_some();
        if possible
            && self.registry().room_bytes() > u64::from(version.memory_mib) * 1024 * 1024
            && self.version_zygotes.wants(version, init, Instant::now())
        {
            self.make_version_zygote(version.clone(), plan.clone());
        }
    }

    fn make_version_zygote(self: &Arc<Self>, version: Arc<FunctionVersion>, plan: RuntimePlan) {
        let pool = Arc::clone(self);
        self.tasks.spawn(async move {
            let made = tokio::select! {
                made = pool.import_for_all(&version, &plan) => made,
                () = pool.abort.cancelled() => return,
            };
            pool.version_zygotes.made(&version, made);
        });
    }

    /// Starts the zygote. `Err` tells when it may be tried again, if ever.
    async fn import_for_all(
        self: &Arc<Self>,
        version: &Arc<FunctionVersion>,
        plan: &RuntimePlan,
    ) -> Result<(Box<dyn Zygote>, ImportedWith), Option<Instant>> {
        let later = || Some(Instant::now() + RETRY_AFTER);
        sleep(CALL_GOES_FIRST).await;
        let _alone = self.compilations.one_at_a_time.acquire().await.map_err(|_| None)?;
        let begun = Instant::now();
        let code = self.code_of(version, plan).await.map_err(|_| later())?;
        let credentials = (self.credentials)(version).await.map_err(|error| {
            debug!(function = %version.name, %error, "failed to make the credentials of a version zygote");
            later()
        })?;
        let kind = BlankKind::of(version, plan, false).ok_or(None)?;
        let limits = Instance::limits(version.memory_mib, self.config.processes, self.config.open_files);
        let spec = kind.spec(limits);
        let mut command = spec.command;
        command.push(ARGUMENT.to_owned());
        let spec = SandboxSpec {
            code: Some(code),
            limits,
            command,
            environment: shared_environment(version, plan, &credentials),
            ..spec
        };
        let function = &version.name;
        match timeout(self.config.init_limit, self.backend.start_zygote(spec)).await {
            Ok(Ok(zygote)) => {
                let duration_us = crate::start::micros(begun.elapsed());
                debug!(%function, version = %version.version, duration_us, "a version zygote is ready");
                Ok((zygote, ImportedWith::from(&credentials)))
            }
            Ok(Err(SandboxError::Step { message, .. })) => {
                info!(%function, version = %version.version, reason = message, "instances import for themselves");
                Err(None)
            }
            Ok(Err(SandboxError::Invalid(_))) => Err(None),
            Ok(Err(error)) => {
                debug!(%function, %error, "failed to start a version zygote");
                Err(later())
            }
            Err(_) => {
                info!(%function, version = %version.version, "a version zygote took too long to import, instances import for themselves");
                Err(later())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::version;
    use async_trait::async_trait;
    use lamplight_sandbox::Started;

    struct Barren;

    #[async_trait]
    impl Zygote for Barren {
        async fn fork(&self, _spec: SandboxSpec) -> Result<Started, SandboxError> {
            Err(SandboxError::Interrupted("it has no children".to_owned()))
        }
    }

    const NOW: Timestamp = Timestamp(0);
    const DAY_MS: i64 = 24 * 3_600_000;
    const ROLE: Option<&str> = Some("AROA1");

    fn barren() -> (Box<dyn Zygote>, ImportedWith) {
        (Box::new(Barren), ImportedWith { end: Timestamp(DAY_MS), role_id: ROLE.map(str::to_owned) })
    }

    const LONG: Duration = Duration::from_millis(50);

    fn zygotes(most: usize) -> VersionZygotes {
        VersionZygotes::new(VersionZygoteBounds {
            most,
            least_init: Duration::from_millis(10),
            unused_after: Duration::from_secs(3_600),
            settled: Duration::from_secs(60),
        })
    }

    fn function(name: &str) -> Arc<FunctionVersion> {
        Arc::new(version(name, "python3.11"))
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_made_when_it_is_worth_it_and_not_twice() {
        let (zygotes, now, heavy) = (zygotes(2), Instant::now(), function("heavy"));
        assert!(!zygotes.wants(&heavy, Duration::from_millis(9), now));
        assert!(zygotes.wants(&heavy, LONG, now));
        assert!(!zygotes.wants(&heavy, LONG, now), "it is coming");
        assert!(zygotes.take(&heavy, ROLE, NOW).is_none());
        zygotes.made(&heavy, Ok(barren()));
        assert!(!zygotes.wants(&heavy, LONG, now), "it is there");
        let mut next = 0;
        for child in 1..=CHILDREN_OF_A_ZYGOTE {
            let (_, _, is_next) = zygotes.take(&heavy, ROLE, NOW).expect("it may fork");
            next += u32::from(is_next);
            assert_eq!(next, u32::from(child >= CHILDREN_BEFORE_THE_NEXT), "child {child}");
        }
        assert!(zygotes.take(&heavy, ROLE, NOW).is_none(), "it has forked as many as it may");
        zygotes.made(&heavy, Ok(barren()));
        assert!(zygotes.take(&heavy, ROLE, NOW).is_some(), "the next one");
        assert!(zygotes.take(&heavy, ROLE, Timestamp(DAY_MS)).is_none(), "its credentials have ended");
        zygotes.made(&heavy, Ok(barren()));
        tokio::time::advance(LIFE).await;
        assert!(zygotes.take(&heavy, ROLE, NOW).is_none(), "it is old");
    }

    #[tokio::test(start_paused = true)]
    async fn what_it_imported_with_is_good_for_every_child() {
        let (zygotes, now, heavy) = (zygotes(2), Instant::now(), function("heavy"));
        assert!(zygotes.wants(&heavy, LONG, now));
        zygotes.made(&heavy, Ok(barren()));
        assert!(zygotes.take(&heavy, ROLE, NOW).is_some());
        assert!(zygotes.take(&heavy, Some("AROA2"), NOW).is_none(), "its role was made again");
        assert!(zygotes.take(&heavy, ROLE, NOW).is_none(), "it has ended");
        assert!(zygotes.wants(&heavy, LONG, now), "another one is to be made");
        zygotes.made(&heavy, Ok(barren()));
        let earliest = serves_until(Timestamp(DAY_MS), EARLIEST_END);
        assert!(zygotes.take(&heavy, ROLE, Timestamp(earliest.0 - 1)).is_some());
        assert!(zygotes.take(&heavy, ROLE, earliest).is_none(), "a child might be too old at once");
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_tried_later_and_what_was_refused_never() {
        let (zygotes, now, one, other) = (zygotes(2), Instant::now(), function("one"), function("other"));
        assert!(zygotes.wants(&one, LONG, now) && zygotes.wants(&other, LONG, now));
        zygotes.made(&one, Ok(barren()));
        zygotes.failed(&one);
        assert!(zygotes.take(&one, ROLE, NOW).is_none());
        zygotes.made(&other, Err(None));
        assert!(!zygotes.wants(&one, LONG, now) && !zygotes.wants(&other, LONG, now));
        let later = now + RETRY_AFTER;
        assert!(zygotes.wants(&one, LONG, later) && !zygotes.wants(&other, LONG, later));
        let mut changed = version("other", "python3.11");
        changed.revision_id = "another".to_owned();
        let changed = Arc::new(changed);
        zygotes.renew(&changed);
        assert!(zygotes.wants(&changed, LONG, now), "another revision");
        // The one that was made of the revision before has no use.
        zygotes.made(&other, Ok(barren()));
        assert!(zygotes.take(&other, ROLE, NOW).is_none() && zygotes.take(&changed, ROLE, NOW).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_bounds_hold() {
        let (zygotes, now) = (zygotes(1), Instant::now());
        let (one, other) = (function("one"), function("other"));
        assert!(zygotes.wants(&one, LONG, now));
        zygotes.made(&one, Ok(barren()));
        assert!(!zygotes.wants(&other, LONG, now), "the other is in use");
        assert!(zygotes.wants(&other, LONG, now + Duration::from_secs(61)));
        assert!(zygotes.take(&one, ROLE, NOW).is_none(), "it gave way");
        zygotes.made(&other, Ok(barren()));
        zygotes.sweep(false, now);
        assert_eq!(zygotes.ready(), 1);
        zygotes.sweep(true, now);
        assert_eq!(zygotes.ready(), 0);
        assert!(!self::zygotes(0).wants(&one, LONG, now));
    }
}
