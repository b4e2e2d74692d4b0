//! The daemon's side: keeps shells and volumes ready, and knows which sandboxes there are.
//!
//! Runs in the unprivileged daemon under tokio and holds nothing but descriptors. One thread per spawner
//! reads its replies; a task per sandbox reads its init's notices.

use super::keeper::DaemonSockets;
use super::message::{KeeperNotice, ShellNotice, ShellRequest, SpawnerReply, SpawnerRequest};
use super::{channel, sys};
use crate::backend::SandboxError;
use crate::cgroup::ControlFiles;
use crate::spec::{Code, Temporary, TemporaryVolume};
use rustix::fd::{AsFd, OwnedFd};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, oneshot};

/// A start that has not got its shell, or its answer from the shell, by then is given up.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How much is kept ready.
#[derive(Debug, Clone, Copy)]
pub struct Readiness {
    /// Shells that wait for work.
    pub shells: usize,
    /// Volumes of the default size that wait for work.
    pub volumes: usize,
    /// Size of those volumes, MiB.
    pub volume_mib: u32,
    /// Nests with eggs that wait, of each zygote that is in use.
    pub nests: usize,
    /// Most sandboxes and shells that may exist at once.
    pub sandboxes: usize,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { shells: 6, volumes: 6, volume_mib: 512, nests: 2, sandboxes: 4_096 }
    }
}

/// The backend over Linux namespaces, cgroups, seccomp and Landlock.
#[derive(Clone)]
pub struct LinuxBackend {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    readiness: Readiness,
    state: Mutex<State>,
    /// Woken when a shell or a volume became ready, or hope for one ended.
    changed: Notify,
    /// Counted apart, so that each spawner makes its share of both.
    next_for_shell: AtomicUsize,
    next_for_volume: AtomicUsize,
    next_request: AtomicU64,
}

#[derive(Default)]
struct State {
    links: Vec<Link>,
    shells: VecDeque<ReadyShell>,
    /// Asked for, not ready yet: id and the spawner that makes it.
    shells_coming: HashMap<String, usize>,
    volumes: VecDeque<OwnedFd>,
    volumes_coming: usize,
    volume_requests: HashMap<u64, VolumeRequest>,
    /// Nests that are being made, with their spawners.
    nests: HashMap<String, (usize, oneshot::Sender<NewNest>)>,
    /// Waiting for `Bound` or `BindFailed`, by sandbox id.
    binds: HashMap<String, BindRequest>,
    /// Waiting for `Gone`, by sandbox id, with the spawner that will say it.
    leaving: HashMap<String, (usize, oneshot::Sender<()>)>,
    /// Sandboxes and shells that exist.
    existing: HashMap<String, usize>,
    last_failure: String,
}

/// One spawner as the daemon sees it. `generation` tells a restarted one from its predecessor.
struct Link {
    socket: Option<Arc<OwnedFd>>,
    generation: u64,
}

struct VolumeRequest {
    spawner: usize,
    /// `None` fills the pool.
    answer: Option<oneshot::Sender<Result<OwnedFd, String>>>,
}

/// A nest's maker, as its spawner announces it.
pub(super) struct NewNest {
    /// To the maker, later the init.
    pub(super) control: OwnedFd,
    /// Its cgroups.
    pub(super) files: ControlFiles,
}

struct BindRequest {
    spawner: usize,
    answer: oneshot::Sender<Result<(), SandboxError>>,
}

/// A shell that said `Ready`.
pub(super) struct ReadyShell {
    pub(super) id: String,
    pub(super) spawner: usize,
    pub(super) control: OwnedFd,
    pub(super) pidfd: OwnedFd,
    pub(super) files: ControlFiles,
    pub(super) runtime_api: TcpListener,
    pub(super) platform_api: TcpListener,
    /// Mounted by the shell already.
    pub(super) volume: Option<TemporaryVolume>,
}

impl LinuxBackend {
    /// Takes over the sockets the keeper made. Must be called within a tokio runtime.
    pub fn new(sockets: DaemonSockets, readiness: Readiness) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            readiness,
            state: Mutex::new(State::default()),
            changed: Notify::new(),
            next_for_shell: AtomicUsize::new(0),
            next_for_volume: AtomicUsize::new(0),
            next_request: AtomicU64::new(0),
        });
        let handle = tokio::runtime::Handle::current();
        for (index, socket) in sockets.spawners.into_iter().enumerate() {
            shared.lock().links.push(Link { socket: None, generation: 0 });
            shared.attach(index, socket, &handle)?;
        }
        let keeper_shared = Arc::clone(&shared);
        let keeper_handle = handle.clone();
        std::thread::Builder::new().name("keeper-notices".to_owned()).spawn(move || {
            while let Ok(Some((KeeperNotice::SpawnerStarted { index }, descriptors))) =
                channel::receive(sockets.keeper.as_fd())
            {
                if let Some(socket) = descriptors.into_iter().next() {
                    tracing::warn!(index, "a spawner was started again");
                    if let Err(error) = keeper_shared.attach(index, socket, &keeper_handle) {
                        tracing::error!(index, %error, "failed to attach a spawner");
                    }
                }
            }
        })?;
        shared.refill();
        Ok(Self { shared })
    }

    /// How many spawners live now. Without one nothing can be started until the keeper has started another.
    pub fn living_spawners(&self) -> usize {
        self.shared.lock().links.iter().filter(|link| link.socket.is_some()).count()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nests that each zygote keeps ready.
    pub(super) fn nests(&self) -> usize {
        self.readiness.nests
    }

    /// Starts reading a spawner's replies.
    fn attach(
        self: &Arc<Self>,
        index: usize,
        socket: OwnedFd,
        handle: &tokio::runtime::Handle,
    ) -> io::Result<()> {
        let replies = socket.try_clone()?;
        let generation = {
            let mut state = self.lock();
            let Some(link) = state.links.get_mut(index) else {
                return Err(io::Error::other("no such spawner"));
            };
            link.socket = Some(Arc::new(socket));
            link.generation += 1;
            link.generation
        };
        let shared = Arc::clone(self);
        handle.spawn(async move {
            if let Err(error) = shared.take_replies(index, replies).await {
                tracing::error!(index, %error, "a spawner's reply could not be read");
            }
            shared.detach(index, generation);
        });
        self.refill();
        Ok(())
    }

    /// Until the spawner ends. Read by whoever waits for events: a thread of its own would be one more to wake on a call's path.
    async fn take_replies(self: &Arc<Self>, spawner: usize, socket: OwnedFd) -> io::Result<()> {
        let socket = sys::watch(socket)?;
        loop {
            let mut guard = socket.readable().await?;
            match guard.try_io(|inner| channel::receive_now::<SpawnerReply>(inner.get_ref())) {
                Ok(Ok(Some((reply, descriptors)))) => self.take_reply(spawner, reply, descriptors),
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }

    /// A spawner is gone: so is everything it made.
    fn detach(self: &Arc<Self>, index: usize, generation: u64) {
        let mut state = self.lock();
        if let Some(link) = state.links.get_mut(index)
            && link.generation == generation
        {
            link.socket = None;
        }
        state.shells.retain(|shell| shell.spawner != index);
        state.shells_coming.retain(|_, spawner| *spawner != index);
        state.existing.retain(|_, spawner| *spawner != index);
        let (lost, kept) = std::mem::take(&mut state.volume_requests)
            .into_iter()
            .partition::<HashMap<_, _>, _>(|(_, request)| request.spawner == index);
        state.volume_requests = kept;
        state.volumes_coming -= lost.values().filter(|request| request.answer.is_none()).count();
        state.binds.retain(|_, request| request.spawner != index);
        state.nests.retain(|_, (spawner, _)| *spawner != index);
        // Dropping the senders of `leaving`, `binds` and `lost` wakes whoever waits: the sandboxes died with the spawner.
        state.leaving.retain(|_, (spawner, _)| *spawner != index);
        "a spawner ended".clone_into(&mut state.last_failure);
        drop(state);
        self.changed.notify_waiters();
    }

    fn send(&self, request: &SpawnerRequest, spawner: usize) -> bool {
        let socket = self.lock().links.get(spawner).and_then(|link| link.socket.clone());
        socket.is_some_and(|socket| channel::send(socket.as_fd(), request, &[]).is_ok())
    }

    /// The next spawner that lives, round robin.
    fn choose_spawner(&self, counter: &AtomicUsize) -> Option<usize> {
        let state = self.lock();
        let count = state.links.len();
        let first = counter.fetch_add(1, Ordering::Relaxed);
        (0..count).map(|offset| (first + offset) % count).find(|index| state.links[*index].socket.is_some())
    }

    /// Asks for as many shells and volumes as are wanted and not under way.
    pub(super) fn refill(self: &Arc<Self>) {
        self.request_shells(self.readiness.shells);
        loop {
            {
                let mut state = self.lock();
                if state.volumes.len() + state.volumes_coming >= self.readiness.volumes {
                    break;
                }
                state.volumes_coming += 1;
            }
            if !self.request_volume(self.readiness.volume_mib, None) {
                self.lock().volumes_coming -= 1;
                break;
            }
        }
    }

    /// Makes sure that `wanted` shells are ready or coming.
    fn request_shells(&self, wanted: usize) {
        loop {
            let Some(spawner) = self.choose_spawner(&self.next_for_shell) else { return };
            let id = sandbox_id(spawner);
            {
                let mut state = self.lock();
                let enough = state.shells.len() + state.shells_coming.len() >= wanted;
                if enough || state.existing.len() >= self.readiness.sandboxes {
                    return;
                }
                state.shells_coming.insert(id.clone(), spawner);
                state.existing.insert(id.clone(), spawner);
            }
            if !self.send(&SpawnerRequest::MakeShell { id: id.clone() }, spawner) {
                let mut state = self.lock();
                state.shells_coming.remove(&id);
                state.existing.remove(&id);
                return;
            }
        }
    }

    fn request_volume(
        &self,
        size_mib: u32,
        answer: Option<oneshot::Sender<Result<OwnedFd, String>>>,
    ) -> bool {
        let Some(spawner) = self.choose_spawner(&self.next_for_volume) else { return false };
        let request = self.next_request.fetch_add(1, Ordering::Relaxed);
        self.lock().volume_requests.insert(request, VolumeRequest { spawner, answer });
        let sent = self.send(&SpawnerRequest::MakeVolume { request, size_mib }, spawner);
        if !sent {
            self.lock().volume_requests.remove(&request);
        }
        sent
    }

    fn take_reply(self: &Arc<Self>, spawner: usize, reply: SpawnerReply, descriptors: Vec<OwnedFd>) {
        match reply {
            SpawnerReply::ShellMade { id } => {
                let mut descriptors = descriptors.into_iter();
                let (Some(control), Some(pidfd)) = (descriptors.next(), descriptors.next()) else {
                    return self.lose_shell(&id, "the shell came without its descriptors".to_owned());
                };
                match ControlFiles::from_fds(descriptors.collect()) {
                    Ok(files) => {
                        let nest = self.lock().nests.remove(&id);
                        if let Some((_, nest)) = nest {
                            let _ = nest.send(NewNest { control, files });
                            return;
                        }
                        tokio::spawn(Arc::clone(self).await_ready(id, spawner, control, pidfd, files));
                    }
                    Err(error) => self.lose_shell(&id, format!("its cgroup files are incomplete: {error}")),
                }
            }
            SpawnerReply::ShellFailed { id, message } => {
                tracing::error!(%message, "no shell could be made");
                self.lock().existing.remove(&id);
                self.lose_shell(&id, message);
            }
            SpawnerReply::Gone { id } => {
                let mut state = self.lock();
                state.existing.remove(&id);
                if let Some((_, waiting)) = state.leaving.remove(&id) {
                    let _ = waiting.send(());
                }
            }
            SpawnerReply::Bound { id } => self.take_bound(&id, Ok(())),
            SpawnerReply::BindFailed { id, step, message, invalid } => {
                let error = if invalid {
                    SandboxError::Invalid(format!("failed to {step}: {message}"))
                } else {
                    SandboxError::Step { step, message }
                };
                self.take_bound(&id, Err(error));
            }
            SpawnerReply::VolumeMade { request } => {
                let device = descriptors.into_iter().next().ok_or_else(|| "no descriptor came".to_owned());
                self.take_volume(request, device);
            }
            SpawnerReply::VolumeFailed { request, message } => {
                tracing::error!(%message, "no volume could be made");
                self.take_volume(request, Err(message));
            }
        }
    }

    fn take_volume(self: &Arc<Self>, request: u64, volume: Result<OwnedFd, String>) {
        let mut state = self.lock();
        match state.volume_requests.remove(&request) {
            Some(VolumeRequest { answer: Some(answer), .. }) => {
                let _ = answer.send(volume);
            }
            Some(VolumeRequest { answer: None, .. }) => {
                state.volumes_coming -= 1;
                match volume {
                    Ok(device) => {
                        state.volumes.push_back(device);
                        drop(state);
                        self.lend_volumes();
                    }
                    Err(message) => state.last_failure = message,
                }
            }
            None => {}
        }
    }

    fn take_bound(&self, id: &str, result: Result<(), SandboxError>) {
        if let Some(request) = self.lock().binds.remove(id) {
            let _ = request.answer.send(result);
        }
    }

    /// Asks a spawner for a nest of one of its zygotes. Gives its id.
    pub(super) async fn make_nest(
        &self,
        spawner: usize,
        zygote: &str,
    ) -> Result<(String, NewNest), SandboxError> {
        let id = sandbox_id(spawner);
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.lock();
            if state.existing.len() >= self.readiness.sandboxes {
                return Err(SandboxError::Exhausted(format!(
                    "{} sandboxes exist, the configured most",
                    self.readiness.sandboxes
                )));
            }
            state.existing.insert(id.clone(), spawner);
            state.nests.insert(id.clone(), (spawner, sender));
        }
        if !self.send(&SpawnerRequest::MakeNest { id: id.clone(), zygote: zygote.to_owned() }, spawner) {
            let mut state = self.lock();
            state.existing.remove(&id);
            state.nests.remove(&id);
        }
        match tokio::time::timeout(START_TIMEOUT, receiver).await {
            Ok(Ok(nest)) => Ok((id, nest)),
            Ok(Err(_)) => {
                let last = self.lock().last_failure.clone();
                Err(SandboxError::Interrupted(format!("no nest came: {last}")))
            }
            Err(_) => Err(SandboxError::Interrupted("no nest came in time".to_owned())),
        }
    }

    /// Lets the sandbox's spawner bind code in it.
    pub(super) async fn bind(&self, id: &str, code: Code) -> Result<(), SandboxError> {
        let gone = || SandboxError::Interrupted("the spawner of the sandbox ended".to_owned());
        let (answer, receiver) = oneshot::channel();
        let spawner = {
            let mut state = self.lock();
            let spawner = *state.existing.get(id).ok_or_else(gone)?;
            state.binds.insert(id.to_owned(), BindRequest { spawner, answer });
            spawner
        };
        let request = SpawnerRequest::Bind { id: id.to_owned(), code };
        if !self.send(&request, spawner) {
            self.lock().binds.remove(id);
            return Err(gone());
        }
        match tokio::time::timeout(START_TIMEOUT, receiver).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err(SandboxError::Interrupted("binding the code took too long".to_owned())),
        }
    }

    fn lose_shell(&self, id: &str, message: String) {
        let mut state = self.lock();
        state.shells_coming.remove(id);
        state.nests.remove(id);
        state.last_failure = message;
        drop(state);
        self.changed.notify_waiters();
    }

    /// Waits for a new shell's `Ready` and puts it with the others.
    async fn await_ready(
        self: Arc<Self>,
        id: String,
        spawner: usize,
        control: OwnedFd,
        pidfd: OwnedFd,
        files: ControlFiles,
    ) {
        let ready = tokio::time::timeout(START_TIMEOUT, async {
            let control = sys::watch(control)?;
            let (notice, descriptors) = receive_notice(&control).await?;
            Ok::<_, io::Error>((control.into_inner(), notice, descriptors))
        })
        .await;
        let problem = match ready {
            Ok(Ok((control, ShellNotice::Ready, descriptors))) => {
                let mut listeners = descriptors.into_iter().map(TcpListener::from);
                if let (Some(runtime_api), Some(platform_api)) = (listeners.next(), listeners.next()) {
                    let mut state = self.lock();
                    // A spawner that ended meanwhile took its shells with it.
                    if state.shells_coming.remove(&id).is_some() {
                        state.shells.push_back(ReadyShell {
                            id,
                            spawner,
                            control,
                            pidfd,
                            files,
                            runtime_api,
                            platform_api,
                            volume: None,
                        });
                    }
                    drop(state);
                    self.changed.notify_one();
                    self.lend_volumes();
                    return;
                }
                "the shell came without its listeners".to_owned()
            }
            Ok(Ok((_, ShellNotice::Failed { step, message, .. }, _))) => {
                format!("failed to {step}: {message}")
            }
            Ok(Ok(_)) => "the shell spoke out of turn".to_owned(),
            Ok(Err(error)) => format!("the shell ended: {error}"),
            Err(_) => "the shell took too long".to_owned(),
        };
        tracing::error!(%id, problem, "a shell was lost");
        let _ = files.kill();
        self.lose_shell(&id, problem);
    }

    /// Lets waiting shells mount the volumes that wait, and has others made. A shell's failure shows when it is to use its one.
    fn lend_volumes(self: &Arc<Self>) {
        {
            let State { shells, volumes, .. } = &mut *self.lock();
            for shell in shells.iter_mut().filter(|shell| shell.volume.is_none()) {
                let Some(device) = volumes.pop_front() else { break };
                if channel::send(shell.control.as_fd(), &ShellRequest::Mount, &[device.as_fd()]).is_ok() {
                    shell.volume = Some(TemporaryVolume { device, size_mib: self.readiness.volume_mib });
                }
            }
        }
        self.refill();
    }

    /// A ready shell; waits for one when there is none. Rather one that has mounted a volume when `temporary` is such a volume, rather
    /// one without when it is not: what is not used has to be unmounted on the way of the start.
    pub(super) async fn take_shell(
        self: &Arc<Self>,
        temporary: &Temporary,
    ) -> Result<ReadyShell, SandboxError> {
        let mounted = temporary.is_new_of(self.readiness.volume_mib);
        let deadline = tokio::time::Instant::now() + START_TIMEOUT;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.lock();
                let fitting = state.shells.iter().position(|shell| shell.volume.is_some() == mounted);
                if let Some(shell) = state.shells.remove(fitting.unwrap_or(0)) {
                    return Ok(shell);
                }
                if state.existing.len() >= self.readiness.sandboxes {
                    return Err(SandboxError::Exhausted(format!(
                        "{} sandboxes exist, the configured most",
                        self.readiness.sandboxes
                    )));
                }
            }
            self.request_shells(self.readiness.shells.max(1));
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                let last = self.lock().last_failure.clone();
                return Err(SandboxError::Interrupted(format!("no shell came in time: {last}")));
            }
        }
    }

    /// Takes back a volume that a shell had mounted and did not need: nobody has written to it.
    pub(super) fn give_back(&self, volume: TemporaryVolume) {
        self.lock().volumes.push_back(volume.device);
    }

    pub(super) async fn take_device(&self, temporary: Temporary) -> Result<TemporaryVolume, SandboxError> {
        let size_mib = match temporary {
            Temporary::Carried(volume) => return Ok(volume),
            Temporary::New { size_mib } => size_mib,
        };
        if size_mib == self.readiness.volume_mib
            && let Some(device) = self.lock().volumes.pop_front()
        {
            return Ok(TemporaryVolume { device, size_mib });
        }
        let (sender, receiver) = oneshot::channel();
        if !self.request_volume(size_mib, Some(sender)) {
            return Err(SandboxError::Interrupted("no spawner lives right now".to_owned()));
        }
        match tokio::time::timeout(START_TIMEOUT, receiver).await {
            Ok(Ok(Ok(device))) => Ok(TemporaryVolume { device, size_mib }),
            Ok(Ok(Err(message))) => {
                Err(SandboxError::Step { step: "make the volume for /tmp".to_owned(), message })
            }
            Ok(Err(_)) => Err(SandboxError::Interrupted("the spawner ended".to_owned())),
            Err(_) => Err(SandboxError::Interrupted("no volume came in time".to_owned())),
        }
    }

    /// A receiver that resolves when everything of sandbox `id` is gone.
    pub(super) fn await_gone(&self, id: &str) -> Option<oneshot::Receiver<()>> {
        let mut state = self.lock();
        let spawner = *state.existing.get(id)?;
        let (sender, receiver) = oneshot::channel();
        state.leaving.insert(id.to_owned(), (spawner, sender));
        Some(receiver)
    }
}

/// 32 hexadecimal digits: two for the spawner, so that its successor finds what it left, and thirty random ones.
fn sandbox_id(spawner: usize) -> String {
    use std::fmt::Write as _;
    let mut bytes = [0_u8; 15];
    // The kernel's generator cannot fail for 15 bytes once it is seeded; an id of zeros would only collide.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes.iter().fold(super::message::id_prefix(spawner), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The next notice of a shell or init. Fails with `UnexpectedEof` when it ended.
pub(super) async fn receive_notice(control: &AsyncFd<OwnedFd>) -> io::Result<(ShellNotice, Vec<OwnedFd>)> {
    loop {
        let mut guard = control.readable().await?;
        // The sockets are blocking on the other side only: readiness plus MSG_DONTWAIT keeps this side asynchronous.
        match guard.try_io(|inner| channel::receive_now::<ShellNotice>(inner.get_ref())) {
            Ok(Ok(Some(notice))) => return Ok(notice),
            Ok(Ok(None)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Err(error)) => return Err(error),
            Err(_would_block) => {}
        }
    }
}
