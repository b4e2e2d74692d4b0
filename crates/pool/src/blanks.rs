//! Blank instances: interpreters that wait in finished sandboxes and belong to no function yet.
//!
//! A start takes one of its kind (`take`), binds its code and tells it what it is; a task makes others in the background
//! (`run`), as many as `policy::blanks` wants. A blank never ran anybody's code, and once taken never comes back.
//!
//! ```text
//! wanted ─► coming (sandbox, interpreter up) ─► ready ─► taken: an instance of one function
//!                        └ failed: later again     └ dead, unused, memory wanted: stopped
//! ```

use crate::environment::startup_environment;
use crate::instance::Instance;
use crate::plan::RuntimePlan;
use crate::policy::{Arrivals, BlankBounds, wanted};
use crate::pool::Pool;
use crate::zygotes::ZygoteKey;
use lamplight_model::FunctionVersion;
use lamplight_model::managed_runtime::RuntimeFamily;
use lamplight_runtime::Conversation;
use lamplight_runtime::managed::sized_command;
use lamplight_sandbox::{Companions, Limits, Protocol, Sandbox, SandboxSpec, Started, Temporary};
use std::collections::HashMap;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

/// Bounds of all blanks.
#[derive(Debug, Clone, Copy)]
pub struct BlanksConfig {
    /// Bounds of each kind.
    pub kind: BlankBounds,
    /// Ready of all kinds together.
    pub most: usize,
}

/// Made at the same time: more would take the processors from the calls they are made for.
const AT_ONCE: usize = 2;
/// How long making others waits for the call that took one: it has the processors first.
const CALL_GOES_FIRST: Duration = Duration::from_millis(3);
/// A blank that is not up by then is given up.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Pause after a kind failed, doubled each time up to the second.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How often unused kinds and dead blanks are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// The only size of `/tmp` a blank has, MiB: Lambda's default.
const TEMPORARY_MIB: u32 = 512;
/// Memory a blank is bounded by until it is taken, bytes: a bound for accidents, never reached.
const MEMORY_BYTES: u64 = 512 * 1024 * 1024;
/// Kinds that are remembered; beyond it those unused for longest are forgotten.
const KINDS: usize = 64;

/// What blanks can stand in for each other: everything that is fixed when an interpreter starts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BlankKind {
    root: String,
    /// With the heap's size where that is an option of the interpreter.
    command: Vec<String>,
    environment: Vec<(String, String)>,
    egress: bool,
    /// Whether a zygote may fork it: the interpreter survives being forked.
    forks: bool,
}

impl BlankKind {
    /// The kind that can become an instance of `version`; `None` when it must be started from nothing.
    pub fn of(version: &FunctionVersion, plan: &RuntimePlan, egress: bool) -> Option<Self> {
        let possible = plan.protocol == Protocol::Frames
            && version.ephemeral_storage_mib == TEMPORARY_MIB
            && version.file_systems.is_empty();
        Some(Self {
            root: plan.root.clone(),
            command: sized_command(&plan.command, plan.family, version.memory_mib),
            environment: possible.then(|| startup_environment(version, plan)).flatten()?,
            egress,
            forks: plan.family == RuntimeFamily::Python,
        })
    }

    /// The zygote that forks this kind, if one may.
    pub fn zygote(&self) -> Option<ZygoteKey> {
        self.forks.then(|| ZygoteKey {
            root: self.root.clone(),
            command: self.command.clone(),
            environment: self.environment.clone(),
        })
    }

    /// The sandbox of a blank. `limits.memory_bytes` is replaced by a bound for accidents.
    pub(crate) fn spec(&self, limits: Limits) -> SandboxSpec {
        SandboxSpec {
            root: self.root.clone(),
            code: None,
            file_systems: Vec::new(),
            temporary: Temporary::New { size_mib: TEMPORARY_MIB },
            limits: Limits { memory_bytes: MEMORY_BYTES, ..limits },
            egress: self.egress,
            command: self.command.clone(),
            environment: self.environment.clone(),
            protocol: Protocol::Frames,
            companions: Companions::default(),
        }
    }
}

/// An interpreter that is up and waits to be told what it is.
pub struct Blank {
    /// The sandbox around it.
    pub sandbox: Box<dyn Sandbox>,
    /// The talk with it; it has said its first word.
    pub conversation: Conversation,
    /// Where extensions will be served.
    pub runtime_api: TcpListener,
    /// Where the platform's API will be served.
    pub platform_api: TcpListener,
    /// Its stdout and stderr.
    pub output: OwnedFd,
    memory_bytes: u64,
}

#[derive(Default)]
struct Waiting {
    ready: Vec<Blank>,
    coming: usize,
    arrivals: Arrivals,
    last_wanted: Option<Instant>,
    /// After a failure: no other before then, and the pause that led to it.
    retry: Option<(Instant, Duration)>,
}

/// All blanks of the node.
pub struct Blanks {
    config: BlanksConfig,
    state: Mutex<State>,
    changed: Notify,
    began: Instant,
}

#[derive(Default)]
struct State {
    kinds: HashMap<BlankKind, Waiting>,
    /// When the oldest call since the last look took one.
    taken_at: Option<Instant>,
    closed: bool,
}

impl State {
    fn ready(&self) -> usize {
        self.kinds.values().map(|kind| kind.ready.len()).sum()
    }

    fn coming(&self) -> usize {
        self.kinds.values().map(|kind| kind.coming).sum()
    }

    fn memory_bytes(&self) -> u64 {
        self.kinds.values().flat_map(|kind| &kind.ready).map(|blank| blank.memory_bytes).sum()
    }
}

impl Blanks {
    /// None yet.
    pub fn new(config: BlanksConfig) -> Self {
        Self { config, state: Mutex::default(), changed: Notify::new(), began: Instant::now() }
    }

    /// Blanks that wait.
    pub fn ready(&self) -> usize {
        self.lock().ready()
    }

    /// A living blank of this kind, if one waits. Counts the start either way, so that others are made.
    pub fn take(&self, kind: &BlankKind) -> Option<Blank> {
        let (taken, dead) = {
            let (now, mut state) = (Instant::now(), self.lock());
            state.taken_at.get_or_insert(now);
            let waiting = self.wanted_now(&mut state, kind, now)?;
            waiting.arrivals.note((now - self.began).as_secs());
            let mut dead = Vec::new();
            let taken = loop {
                match waiting.ready.pop() {
                    Some(blank) if blank.is_alive() => break Some(blank),
                    Some(blank) => dead.push(blank),
                    None => break None,
                }
            };
            (taken, dead)
        };
        drop(dead);
        self.changed.notify_one();
        taken
    }

    /// A function of this kind may be called soon.
    pub fn expect(&self, kind: &BlankKind) {
        let known = self.wanted_now(&mut self.lock(), kind, Instant::now()).is_some();
        if known {
            self.changed.notify_one();
        }
    }

    fn wanted_now<'a>(
        &self,
        state: &'a mut State,
        kind: &BlankKind,
        now: Instant,
    ) -> Option<&'a mut Waiting> {
        if state.closed || self.config.most == 0 {
            return None;
        }
        if !state.kinds.contains_key(kind) {
            state.kinds.insert(kind.clone(), Waiting::default());
        }
        let waiting = state.kinds.get_mut(kind)?;
        waiting.last_wanted = Some(now);
        Some(waiting)
    }

    /// A kind of which one is to be made now, counted as coming. `room_bytes` is memory nobody claims.
    fn next_to_make(&self, now: Instant, room_bytes: u64) -> Option<BlankKind> {
        let mut state = self.lock();
        let (ready, coming) = (state.ready(), state.coming());
        let full = coming >= AT_ONCE || ready + coming >= self.config.most;
        if state.closed || full || state.memory_bytes() >= room_bytes {
            return None;
        }
        let second = (now - self.began).as_secs();
        // The kind that lacks most: a burst of one does not keep the others waiting for long.
        let (kind, waiting, lacking) = state
            .kinds
            .iter_mut()
            .filter(|(_, waiting)| waiting.retry.is_none_or(|(not_before, _)| now >= not_before))
            .map(|(kind, waiting)| {
                let wanted = self.wanted_of(waiting, second, now);
                let lacking = wanted.saturating_sub(waiting.ready.len() + waiting.coming);
                (kind, waiting, lacking)
            })
            .max_by_key(|(_, _, lacking)| *lacking)?;
        if lacking == 0 {
            return None;
        }
        waiting.coming += 1;
        Some(kind.clone())
    }

    fn wanted_of(&self, waiting: &mut Waiting, second: u64, now: Instant) -> usize {
        let unused = waiting.last_wanted.map_or(Duration::MAX, |last| now.saturating_duration_since(last));
        wanted(self.config.kind, waiting.arrivals.peak(second), unused)
    }

    fn made(&self, kind: &BlankKind, made: Option<Blank>) {
        let unwanted = {
            let (now, mut state) = (Instant::now(), self.lock());
            let closed = state.closed;
            let Some(waiting) = state.kinds.get_mut(kind) else { return };
            waiting.coming -= 1;
            match made {
                Some(blank) if !closed => {
                    waiting.retry = None;
                    waiting.ready.push(blank);
                    None
                }
                Some(blank) => Some(blank),
                None => {
                    let pause =
                        waiting.retry.map_or(RETRY_PAUSES.0, |(_, pause)| (pause * 2).min(RETRY_PAUSES.1));
                    waiting.retry = Some((now + pause, pause));
                    None
                }
            }
        };
        drop(unwanted);
        self.changed.notify_one();
    }

    /// Takes out what is dead, no longer wanted, or stands on memory that instances claim.
    fn surplus(&self, now: Instant, room_bytes: u64) -> Vec<Blank> {
        let mut state = self.lock();
        let second = (now - self.began).as_secs();
        let mut out = Vec::new();
        for waiting in state.kinds.values_mut() {
            let (alive, dead) = std::mem::take(&mut waiting.ready).into_iter().partition(Blank::is_alive);
            waiting.ready = alive;
            out.extend::<Vec<Blank>>(dead);
            let keep = self.wanted_of(waiting, second, now).min(waiting.ready.len());
            out.extend(waiting.ready.drain(keep..));
        }
        while state.memory_bytes() > room_bytes {
            let Some(blank) = state.kinds.values_mut().find_map(|waiting| waiting.ready.pop()) else { break };
            out.push(blank);
        }
        let unused_after = self.config.kind.unused_after;
        let crowded = state.kinds.len() > KINDS;
        state.kinds.retain(|_, waiting| {
            let unused = waiting.last_wanted.is_none_or(|last| now - last >= unused_after);
            waiting.coming > 0 || !waiting.ready.is_empty() || !(unused || crowded)
        });
        out
    }

    /// No more of them: gives those that wait back to be stopped.
    pub fn close(&self) -> Vec<Blank> {
        let mut state = self.lock();
        state.closed = true;
        let all = state.kinds.values_mut().flat_map(|waiting| std::mem::take(&mut waiting.ready)).collect();
        drop(state);
        self.changed.notify_one();
        all
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps blanks ready until the pool is dropped or drained.
pub async fn run(pool: Weak<Pool>) {
    let Some(blanks) = pool.upgrade().map(|pool| Arc::clone(&pool.blanks)) else { return };
    loop {
        let _ = timeout(LOOK_EVERY, blanks.changed.notified()).await;
        let taken_at = blanks.lock().taken_at.take();
        if let Some(taken_at) = taken_at {
            sleep_until(taken_at + CALL_GOES_FIRST).await;
        }
        let Some(pool) = pool.upgrade() else { return };
        let (now, room_bytes) = (Instant::now(), pool.registry().room_bytes());
        for blank in blanks.surplus(now, room_bytes) {
            pool.stop_blank(blank);
        }
        pool.zygotes.end_unused(now, blanks.config.kind.unused_after);
        while let Some(kind) = blanks.next_to_make(now, room_bytes) {
            pool.make_blank(kind);
        }
        if blanks.lock().closed {
            return;
        }
    }
}

impl Pool {
    /// A function of this version may be called soon: a blank of its kind is kept ready from now on, and its package is
    /// compiled.
    pub fn expect(self: &Arc<Self>, version: &FunctionVersion) {
        let Ok(plan) = (self.runtimes)(&version.runtime) else { return };
        if let Some(kind) = BlankKind::of(version, &plan, self.egress_of(version)) {
            self.blanks.expect(&kind);
        }
        self.compiled(version, &plan);
    }

    /// Whether instances of this version reach the public internet.
    pub(crate) fn egress_of(&self, version: &FunctionVersion) -> bool {
        version.egress.unwrap_or(self.config.egress_by_default)
    }

    fn make_blank(self: &Arc<Self>, kind: BlankKind) {
        let pool = Arc::clone(self);
        self.tasks.spawn(async move {
            let begun = Instant::now();
            let made = match timeout(START_LIMIT, pool.start_blank(&kind)).await {
                Ok(Ok(blank)) => Some(blank),
                Ok(Err(error)) => {
                    warn!(root = kind.root, error, "failed to make a blank instance");
                    None
                }
                Err(_) => {
                    warn!(root = kind.root, "a blank instance did not come up in time");
                    None
                }
            };
            if let Some(blank) = &made {
                let duration_us = crate::start::micros(begun.elapsed());
                debug!(
                    root = kind.root,
                    sandbox_id = blank.sandbox.id(),
                    duration_us,
                    "a blank instance is ready"
                );
            }
            pool.blanks.made(&kind, made);
        });
    }

    async fn start_blank(&self, kind: &BlankKind) -> Result<Blank, String> {
        let spec = || kind.spec(Instance::limits(0, self.config.processes, self.config.open_files));
        let forked = match kind.zygote().filter(|_| self.config.zygotes) {
            Some(zygote) => self.zygotes.fork(&*self.backend, &zygote, spec).await,
            None => None,
        };
        match forked {
            Some(started) => Blank::of(started).await,
            None => Blank::of(self.backend.start(spec()).await.map_err(|error| error.to_string())?).await,
        }
    }

    /// A blank forked for a call that found none waiting. `None` when there is no zygote, or it failed.
    pub(crate) async fn fork_blank(&self, kind: &BlankKind) -> Option<Blank> {
        let zygote = kind.zygote().filter(|key| self.config.zygotes && self.zygotes.serves(key))?;
        let spec = || kind.spec(Instance::limits(0, self.config.processes, self.config.open_files));
        let started = self.zygotes.fork(&*self.backend, &zygote, spec).await?;
        match Blank::of(started).await {
            Ok(blank) => Some(blank),
            Err(error) => {
                warn!(root = kind.root, error, "a forked instance did not come up, starting from nothing");
                None
            }
        }
    }

    /// Kills a blank in a task of its own.
    pub(crate) fn stop_blank(&self, blank: Blank) {
        self.tasks.spawn(async move {
            let Blank { sandbox, conversation, runtime_api, platform_api, .. } = blank;
            // They pin the network namespace.
            drop((conversation, runtime_api, platform_api));
            sandbox.stop().await;
        });
    }
}

impl Blank {
    /// Waits for the first word.
    pub(crate) async fn of(started: Started) -> Result<Self, String> {
        let Started { sandbox, frames, runtime_api, platform_api, output, .. } = started;
        let frames = frames.ok_or("the sandbox came without its frame socket")?;
        let mut conversation = Conversation::blank(frames).map_err(|error| error.to_string())?;
        conversation.first_word().await.map_err(|error| error.to_string())?;
        let memory_bytes = sandbox.usage().map_err(|error| error.to_string())?.memory_bytes;
        Ok(Self { sandbox, conversation, runtime_api, platform_api, output, memory_bytes })
    }

    fn is_alive(&self) -> bool {
        self.sandbox.exited().as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }
}
