//! A zygote in the daemon's hands: nests with eggs are kept ready for its next children, a few, made in the background.
//!
//! ```text
//! fork ─► ready: hatch (one fork) ─► Started        meanwhile, a moment later: nest ─► egg ─► ready
//!      └► none ready: the one that is coming, or another: nest ─► egg ─► hatch
//! ```
//!
//! The protocol on the program's descriptor 3 is JSON in packets, like that between our own processes: `"Ready"` once, then it
//! is sent `{"Lay": …}` with descriptors: the egg's socket, the namespaces in the order of `nest::NAMESPACES`, member files of
//! the cgroups. The egg enters the namespaces, becomes a member, drops what it is allowed there, restricts itself (Landlock,
//! seccomp), and says on its own socket `"Ready"` or `{"Failed": {"message": …}}`. Sent `"Fork"` with frame socket and output
//! pipe, it forks a child that goes on with the frame socket as descriptor 3, says `{"Forked": {"pid": n}}`, and ends.
//!
//! A zygote with code has run a function's imports and may do anything with what it is handed, which are nests of that
//! function only. It stands still but for laying, its eggs until they hatch, and whatever they answer is believed about their nest.

use super::backend::{START_TIMEOUT, Shared};
use super::build::failed;
use super::egg::{self, EndOfEgg, Laid, Nest};
use super::message::{Build, Role};
use super::nest::CHILDREN_OF_A_ZYGOTE;
use super::sandbox::LinuxSandbox;
use super::{channel, identity};
use crate::backend::{Sandbox as _, SandboxError, Started, Zygote};
use crate::landlock;
use crate::seccomp;
use crate::spec::{Limits, SandboxSpec, Temporary};
use async_trait::async_trait;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

/// Processor time of one that runs a function's code and is to end, in thousandths of one processor.
const LAST_PROCESSOR_MILLIS: u32 = 10;
/// How long the init of one that stands still may run to reap an egg that has ended.
const TIME_TO_REAP: Duration = Duration::from_millis(5);
/// How long making the next nest waits for the call that took one: it has the processors first.
const CALL_GOES_FIRST: Duration = Duration::from_millis(3);

#[derive(Serialize)]
enum Request<'a> {
    Lay {
        /// User and group to become.
        user: u32,
        group: u32,
        /// seccomp instructions to install, hexadecimal.
        filter: &'a str,
        landlock: Option<&'a landlock::Plan>,
    },
}

/// One zygote.
pub(super) struct LinuxZygote(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    spawner: usize,
    sandbox: Arc<LinuxSandbox>,
    control: AsyncFd<OwnedFd>,
    /// What it prints is for nobody; the pipe must only not be closed.
    _output: OwnedFd,
    filter: String,
    landlock: Option<landlock::Plan>,
    nests: Mutex<Nests<Laid>>,
    /// Of one that has run a function's code and stands still but for laying: how many eggs are being laid.
    laying: Option<Mutex<u32>>,
}

/// A zygote that lays, and so runs.
struct Running<'a> {
    sandbox: &'a LinuxSandbox,
    laying: &'a Mutex<u32>,
}

impl<'a> Running<'a> {
    fn of(inner: &'a Inner) -> Result<Option<Self>, SandboxError> {
        let Some(laying) = &inner.laying else { return Ok(None) };
        let mut count = laying.lock().unwrap_or_else(PoisonError::into_inner);
        if *count == 0 {
            inner.sandbox.thaw()?;
        }
        *count += 1;
        Ok(Some(Self { sandbox: &inner.sandbox, laying }))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut count = self.laying.lock().unwrap_or_else(PoisonError::into_inner);
        *count -= 1;
        if *count == 0 {
            // Fails when it has ended.
            let _ = self.sandbox.freeze();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.laying.is_some() {
            // It ends when its socket is closed, which it must run for. A function's code might not, as long as the children
            // live whose processes are below the zygote's init.
            let limits = Limits { cpu_millis: LAST_PROCESSOR_MILLIS, ..Limits::default() };
            let _ = self.sandbox.apply_limits(limits).and_then(|()| self.sandbox.thaw());
        }
    }
}

/// What a nest made ahead has in common with the sandbox that was asked for last.
#[derive(Clone, PartialEq, Eq)]
struct Shape {
    root: String,
    egress: bool,
    volume_mib: u32,
}

impl Shape {
    /// `None` when it has something that only one sandbox has.
    fn of(build: &Build, temporary: &Temporary) -> Option<Self> {
        let Temporary::New { size_mib } = *temporary else { return None };
        let bare = build.code.is_none() && build.file_systems.is_empty();
        bare.then(|| Self { root: build.root.clone(), egress: build.egress, volume_mib: size_mib })
    }
}

/// The nests of one zygote that no call has yet.
struct Nests<Laid> {
    /// Begun, in all.
    made: u32,
    ready: VecDeque<(Shape, Laid)>,
    /// Being made in the background.
    coming: Vec<Shape>,
    /// Forks that wait for one of those.
    awaiting: VecDeque<(Shape, oneshot::Sender<Laid>)>,
}

impl<Laid> Default for Nests<Laid> {
    fn default() -> Self {
        Self { made: 0, ready: VecDeque::new(), coming: Vec::new(), awaiting: VecDeque::new() }
    }
}

/// Where a fork gets its nest from.
enum Source<Laid> {
    Ready(Laid),
    /// The sender is dropped when it could not be made.
    Coming(oneshot::Receiver<Laid>),
    /// Counted already.
    New,
    /// The zygote has forked as many as it may.
    Nowhere,
}

impl<Laid> Nests<Laid> {
    fn source(&mut self, shape: Option<&Shape>) -> Source<Laid> {
        let fits = self.ready.iter().position(|(ready, _)| Some(ready) == shape);
        if let Some((_, laid)) = fits.and_then(|at| self.ready.remove(at)) {
            return Source::Ready(laid);
        }
        if let Some(shape) = shape {
            let coming = self.coming.iter().filter(|coming| *coming == shape).count();
            if coming > self.awaiting.iter().filter(|(awaited, _)| awaited == shape).count() {
                let (sender, receiver) = oneshot::channel();
                self.awaiting.push_back((shape.clone(), sender));
                return Source::Coming(receiver);
            }
        }
        if self.made >= CHILDREN_OF_A_ZYGOTE {
            return Source::Nowhere;
        }
        self.made += 1;
        Source::New
    }

    /// Counts one of this shape as coming, if fewer than `wanted` are ready or coming that nobody waits for.
    fn begin(&mut self, shape: &Shape, wanted: usize) -> bool {
        let of = |others: &mut dyn Iterator<Item = &Shape>| others.filter(|other| *other == shape).count();
        let there = of(&mut self.ready.iter().map(|(ready, _)| ready)) + of(&mut self.coming.iter());
        let taken = of(&mut self.awaiting.iter().map(|(awaited, _)| awaited));
        let begins = there < wanted + taken && self.made < CHILDREN_OF_A_ZYGOTE;
        if begins {
            self.made += 1;
            self.coming.push(shape.clone());
        }
        begins
    }

    /// What was coming is there, or (`None`) will never be: hands it to whoever waits longest, or keeps it.
    fn came(&mut self, shape: Shape, mut laid: Option<Laid>) {
        if let Some(at) = self.coming.iter().position(|coming| *coming == shape) {
            self.coming.swap_remove(at);
        }
        while let Some(at) = self.awaiting.iter().position(|(awaited, _)| *awaited == shape)
            && let Some((_, waiting)) = self.awaiting.remove(at)
        {
            match laid.take().map(|laid| waiting.send(laid)) {
                // It does not wait any more.
                Some(Err(back)) => laid = Some(back),
                Some(Ok(())) | None => return,
            }
        }
        self.ready.extend(laid.map(|laid| (shape, laid)));
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Nests<Laid>> {
        self.nests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A nest with an egg in it.
    async fn lay(&self, build: &Build, temporary: Temporary) -> Result<Laid, SandboxError> {
        let volume = self.shared.take_device(temporary).await?;
        self.shared.refill();
        let nest = Nest::make(&self.shared, self.spawner, self.sandbox.id(), build, volume).await?;
        let (ours, theirs) = channel::pair().map_err(|error| failed("make the egg's socket", error))?;
        let request = Request::Lay {
            user: identity::INSIDE_USER,
            group: identity::INSIDE_GROUP,
            filter: &self.filter,
            landlock: self.landlock.as_ref(),
        };
        let _running = Running::of(self)?;
        let mut descriptors: Vec<BorrowedFd<'_>> = vec![theirs.as_fd()];
        descriptors.extend(nest.doors.iter().map(AsFd::as_fd));
        channel::send(self.control.get_ref(), &request, &descriptors)
            .map_err(|error| SandboxError::Interrupted(format!("the zygote ended: {error}")))?;
        drop(theirs);
        let laid = nest.with(ours).await?;
        if self.laying.is_some() { laid.frozen() } else { Ok(laid) }
    }

    /// Lets a zygote that stands still run until its init has reaped the egg, for which the child waits: an egg was born to a
    /// process of the zygote's namespace, so it is the zygote's init that inherits it.
    fn bury(self: &Arc<Self>, end_of_egg: EndOfEgg) {
        if self.laying.is_none() {
            return;
        }
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            // Fails when the zygote has ended, and its init with it.
            let Ok(_running) = Running::of(&inner) else { return };
            end_of_egg.wait().await;
            tokio::time::sleep(TIME_TO_REAP).await;
        });
    }

    /// Makes as many ahead as are wanted, like the one that was just taken.
    fn refill(self: &Arc<Self>, shape: &Shape, build: &Build) {
        while self.lock().begin(shape, self.shared.nests()) {
            let (inner, shape, build) = (Arc::clone(self), shape.clone(), build.clone());
            tokio::spawn(async move {
                tokio::time::sleep(CALL_GOES_FIRST).await;
                let laid = inner.lay(&build, Temporary::New { size_mib: shape.volume_mib }).await;
                if let Err(error) = &laid {
                    tracing::debug!(%error, "failed to make a nest ahead");
                }
                inner.lock().came(shape, laid.ok());
            });
        }
    }
}

impl LinuxZygote {
    /// Waits for the program's first word.
    pub(super) async fn ready(
        shared: Arc<Shared>,
        spawner: usize,
        sandbox: LinuxSandbox,
        output: OwnedFd,
        control: AsyncFd<OwnedFd>,
        runs_code: bool,
    ) -> Result<Self, SandboxError> {
        egg::ready(&control, START_TIMEOUT).await?;
        if runs_code {
            sandbox.freeze()?;
        }
        Ok(Self(Arc::new(Inner {
            shared,
            spawner,
            sandbox: Arc::new(sandbox),
            control,
            _output: output,
            filter: seccomp::closing().iter().map(|byte| format!("{byte:02x}")).collect(),
            landlock: landlock::plan(),
            nests: Mutex::default(),
            laying: runs_code.then(Mutex::default),
        })))
    }
}

#[async_trait]
impl Zygote for LinuxZygote {
    async fn fork(&self, spec: SandboxSpec) -> Result<Started, SandboxError> {
        let asked_at = Instant::now();
        let (build, temporary) = Build::of(Role::Nest, spec);
        let shape = Shape::of(&build, &temporary);
        let source = self.0.lock().source(shape.as_ref());
        let laid = match source {
            Source::Ready(laid) => laid,
            Source::Coming(coming) => {
                let failed =
                    |_| SandboxError::Interrupted("the nest that was coming did not come".to_owned());
                coming.await.map_err(failed)?
            }
            Source::New => self.0.lay(&build, temporary).await?,
            Source::Nowhere => {
                return Err(SandboxError::Interrupted("the zygote has forked as many as it may".to_owned()));
            }
        };
        let parent = Arc::clone(&self.0.sandbox);
        let (started, end_of_egg) = laid.hatch(&self.0.shared, parent, build.limits, asked_at).await?;
        self.0.bury(end_of_egg);
        if let Some(shape) = &shape {
            self.0.refill(shape, &build);
        }
        Ok(started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(egress: bool) -> Shape {
        Shape { root: "python3.11".to_owned(), egress, volume_mib: 512 }
    }

    /// What a fork is given, in a word.
    fn word(source: &Source<u32>) -> String {
        match source {
            Source::Ready(number) => format!("ready {number}"),
            Source::Coming(_) => "coming".to_owned(),
            Source::New => "new".to_owned(),
            Source::Nowhere => "nowhere".to_owned(),
        }
    }

    #[test]
    fn a_fork_takes_what_is_ready_then_what_is_coming_then_a_new_one() {
        let (mut nests, shape, other) = (Nests::<u32>::default(), shape(false), shape(true));
        assert_eq!(word(&nests.source(Some(&shape))), "new");
        assert!(nests.begin(&shape, 2) && nests.begin(&shape, 2) && !nests.begin(&shape, 2));
        nests.came(shape.clone(), Some(7));
        assert_eq!(word(&nests.source(Some(&other))), "new");
        assert_eq!(word(&nests.source(None)), "new");
        assert_eq!(word(&nests.source(Some(&shape))), "ready 7");
        let Source::Coming(mut first) = nests.source(Some(&shape)) else { panic!("one is coming") };
        assert_eq!(word(&nests.source(Some(&shape))), "new");
        // One that is waited for is not one for the next.
        assert!(nests.begin(&shape, 1) && !nests.begin(&shape, 1));
        nests.came(shape.clone(), Some(8));
        assert_eq!(first.try_recv(), Ok(8));
        nests.came(shape.clone(), Some(9));
        assert_eq!(word(&nests.source(Some(&shape))), "ready 9");
    }

    #[test]
    fn one_that_failed_or_is_not_waited_for_is_nobodys_loss() {
        let (mut nests, shape) = (Nests::<u32>::default(), shape(false));
        assert!(nests.begin(&shape, 2) && nests.begin(&shape, 2));
        let Source::Coming(mut failed) = nests.source(Some(&shape)) else { panic!("one is coming") };
        let Source::Coming(left) = nests.source(Some(&shape)) else { panic!("one is coming") };
        nests.came(shape.clone(), None);
        assert_eq!(failed.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        drop(left);
        nests.came(shape.clone(), Some(3));
        assert_eq!(word(&nests.source(Some(&shape))), "ready 3");
    }

    #[test]
    fn no_more_are_made_than_a_zygote_may_have() {
        let (mut nests, shape) = (Nests::<u32>::default(), shape(false));
        for _ in 1..CHILDREN_OF_A_ZYGOTE {
            assert_eq!(word(&nests.source(Some(&shape))), "new");
        }
        assert!(nests.begin(&shape, 2) && !nests.begin(&shape, 2));
        assert_eq!(word(&nests.source(Some(&shape))), "coming");
        assert_eq!(word(&nests.source(Some(&shape))), "nowhere");
    }
}
