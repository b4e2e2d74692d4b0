//! Starting an instance: code, then a blank that becomes it or sandbox and interpreter, then init.

use crate::blanks::{Blank, BlankKind};
use crate::credentials::serves_until;
use crate::environment::environment;
use crate::external::{self, ExtensionEnd, External};
use crate::instance::{Body, Instance, MeasuredMemory, OwnedTask, Room};
use crate::log::{Journal, Output, Records, Source};
use crate::plan::{BOOTSTRAP, RuntimePlan};
use crate::pool::Pool;
use crate::registry::Phase;
use crate::trace;
use crate::version_zygotes::CHILD_LIMIT;
use lamplight_model::credentials::TemporaryCredentials;
use lamplight_model::managed_runtime::RuntimeFamily;
use lamplight_model::{Caller, ColdStart, FunctionVersion, ServiceError, StartKind, Timestamp};
use lamplight_runtime::extensions::MOST;
use lamplight_runtime::telemetry::Connector;
use lamplight_runtime::{AboutFunction, Conversation, ConversationError, Init, InitFailure, Surroundings};
use lamplight_sandbox::{
    Code, Companions, Exit, FileSystemMount, Protocol, Sandbox, SandboxError, SandboxSpec, Sockets, Started,
    Temporary, TemporaryVolume,
};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{Instrument as _, debug, warn};

/// How often a start that was interrupted from outside is tried, and the pause between: a spawner that was
/// killed is back within milliseconds.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(50);
/// How long a build keeps its place after the command was started. Interpreters start in tens of
/// milliseconds; one that needs longer waits for something, and others may go on meanwhile.
const BUILD_HELD: Duration = Duration::from_millis(250);
/// How long the platform waits for the last words of a runtime after the news of its exit.
pub const LAST_WORDS: Duration = Duration::from_millis(100);
/// How long it waits for the news of an exit after the runtime closed its connection. The kernel closes a dying
/// process's descriptors before it frees its memory, so out of memory is known only a while later.
const EXIT_NEWS: Duration = Duration::from_secs(3);

/// Everything that stays the same when a start is repeated.
pub struct StartRequest<'a> {
    /// The pool, for its parts and bounds.
    pub pool: &'a Arc<Pool>,
    /// What runs.
    pub version: &'a Arc<FunctionVersion>,
    /// On what.
    pub plan: &'a RuntimePlan,
    /// Where its lines go.
    pub journal: &'a Arc<Journal>,
}

/// An instance's body whose init is over.
pub struct Ready {
    /// The sandbox and what belongs to it.
    pub body: Body,
    /// Which way it came to be.
    pub kind: StartKind,
    /// Where the time went.
    pub cold_start: ColdStart,
    /// Waiting for a place among the builds.
    pub waited: Duration,
}

impl Ready {
    /// `Init Duration`: from the start of the interpreter until it asks for an event.
    pub fn init(&self) -> Duration {
        Duration::from_micros(self.cold_start.interpreter_us + self.cold_start.init_us)
    }

    /// What it took to get here.
    fn cost(&self) -> Duration {
        let ColdStart { sandbox_us, code_us, interpreter_us, init_us } = self.cold_start;
        Duration::from_micros(sandbox_us + code_us + interpreter_us + init_us)
    }

    /// The instance it is from now on, counted as running.
    pub fn into_instance(
        self,
        pool: &Pool,
        version: &FunctionVersion,
        id: Arc<str>,
        journal: &Arc<Journal>,
        mut room: Room,
    ) -> Instance {
        let limits = Instance::limits(version.memory_mib, pool.config.processes, pool.config.open_files);
        if let Err(error) = self.body.sandbox.apply_limits(limits) {
            // The memory limit stands since the start; what is missing is the processor quota.
            warn!(instance_id = %id, %error, "failed to apply the limits of an instance");
        }
        room.change(Phase::Running);
        pool.registry().started(room.entry, self.cost());
        Instance {
            id,
            body: self.body,
            journal: journal.clone(),
            room,
            frozen: false,
            memory: MeasuredMemory::default(),
            provisioned: None,
        }
    }
}

/// Why there is no instance.
pub enum StartFailure {
    /// The platform could not do it.
    Platform(ServiceError),
    /// No executable bootstrap in the package; the system's reason.
    Entrypoint(String),
    /// The runtime started and its init did not succeed.
    Init {
        /// How.
        ending: InitEnding,
        /// How long it took.
        duration: Duration,
        /// `/tmp`, for the next attempt.
        volume: Option<TemporaryVolume>,
    },
}

/// How an init did not succeed.
#[derive(Debug)]
pub enum InitEnding {
    /// The runtime said why.
    Reported(InitFailure),
    /// An extension could not go on.
    Extension(ExtensionEnd),
    /// The process ended.
    Exited(Exit),
    /// It took too long.
    TimedOut,
    /// It does not speak the protocol.
    Protocol,
}

/// A sandbox with an interpreter in it, before init.
struct Begun<'a> {
    body: Body,
    kind: StartKind,
    sandbox_us: u64,
    /// The place among the builds, and how long it was waited for.
    build: Option<SemaphorePermit<'a>>,
    waited: Duration,
}

enum Attempt {
    Ready(Box<Ready>),
    Failed(StartFailure),
    Interrupted(Option<TemporaryVolume>),
}

impl StartRequest<'_> {
    /// Starts an instance and waits until it asks for an event, at most until `limit` after the start of its
    /// process or until `deadline`.
    ///
    /// No event is handed over here, so a start that was interrupted from outside is simply repeated.
    pub async fn start(
        &self,
        volume: Option<TemporaryVolume>,
        limit: Duration,
        deadline: Option<Instant>,
    ) -> Result<Ready, StartFailure> {
        let span = trace::cold_start(self.version, self.journal.stream(), self.journal.initialization());
        let result = self.attempts(volume, limit, deadline).instrument(span.clone()).await;
        trace::record(&span, &result);
        result
    }

    async fn attempts(
        &self,
        mut volume: Option<TemporaryVolume>,
        limit: Duration,
        deadline: Option<Instant>,
    ) -> Result<Ready, StartFailure> {
        for attempt in 1..=ATTEMPTS {
            match self.attempt(volume.take(), limit, deadline).await {
                Attempt::Ready(ready) => return Ok(*ready),
                Attempt::Failed(failure) => return Err(failure),
                Attempt::Interrupted(back) => {
                    volume = back;
                    if attempt < ATTEMPTS {
                        sleep(PAUSE * attempt).await;
                    }
                }
            }
        }
        Err(StartFailure::Platform(ServiceError::internal(
            "The sandbox host was interrupted again and again",
        )))
    }

    async fn attempt(
        &self,
        volume: Option<TemporaryVolume>,
        limit: Duration,
        deadline: Option<Instant>,
    ) -> Attempt {
        let begun = Instant::now();
        let (code, credentials) =
            tokio::join!(self.pool.code_of(self.version, self.plan), (self.pool.credentials)(self.version));
        let code = match code {
            Ok(code) => code,
            Err(error) => {
                warn!(function = %self.version.name, %error, "the code of a function is not available");
                return failed("The code of the function is not available");
            }
        };
        let credentials = match credentials {
            Ok(credentials) => credentials,
            Err(error) => {
                warn!(function = %self.version.name, %error, "failed to make the credentials of an instance");
                return Attempt::Failed(StartFailure::Platform(error));
            }
        };
        let code_us = micros(begun.elapsed());
        let external = self.pool.external_extensions(self.version);
        if external.len() > MOST {
            let ending = InitEnding::Extension(ExtensionEnd::too_many());
            return Attempt::Failed(StartFailure::Init { ending, duration: Duration::ZERO, volume });
        }

        // Processes beside the runtime are started before it.
        let blank = if volume.is_none() && external.is_empty() {
            self.specialise(code.clone(), &credentials).await
        } else {
            None
        };
        let begun = match blank {
            Some(begun) => begun,
            None => match self.build(code, &credentials, external, volume).await {
                Ok(begun) => begun,
                Err(attempt) => return attempt,
            },
        };
        let Begun { mut body, kind, sandbox_us, build, waited } = begun;
        let process_started = Instant::now();
        // The children of a version zygote have nothing to do but to say so.
        let limit = if kind == StartKind::VersionZygote { limit.min(CHILD_LIMIT) } else { limit };
        let until =
            deadline.map_or(process_started + limit, |deadline| deadline.min(process_started + limit));
        let mut interpreter = Duration::ZERO;
        let ending = {
            let (conversation, sandbox, external) = (&mut body.conversation, &body.sandbox, &body.external);
            let init = async {
                if !external.is_empty() {
                    conversation.registered().await?;
                    sandbox.begin().await.map_err(Stopped::NotBegun)?;
                }
                let first_word = async {
                    let word = conversation.first_word().await;
                    interpreter = process_started.elapsed();
                    word.map(|()| conversation)
                };
                tokio::pin!(first_word);
                let conversation = match timeout(BUILD_HELD, &mut first_word).await {
                    Ok(word) => word?,
                    Err(_) => {
                        drop(build);
                        first_word.await?
                    }
                };
                conversation.runtime_ready().await?;
                if self.journal.tells_steps() {
                    self.journal.init_runtime_done();
                }
                Ok(conversation.ready().await?)
            };
            tokio::pin!(init);
            loop {
                tokio::select! {
                biased;
                () = body.records.write_next() => {}
                result = &mut init => break result,
                exit = sandbox.exited() => {
                    // Its last words may still be on their way.
                    break match timeout(LAST_WORDS, &mut init).await {
                        Ok(Err(stopped @ Stopped::Conversation(ConversationError::Init(_)))) => Err(stopped),
                        _ => Err(Stopped::Exited(exit)),
                    };
                }
                end = external.first_end() => {
                    break match timeout(LAST_WORDS, &mut init).await {
                        Ok(Err(stopped @ Stopped::Conversation(ConversationError::Extension(_)))) => Err(stopped),
                        _ => Err(Stopped::Extension(end)),
                    };
                }
                () = sleep_until(until) => break Err(Stopped::TimedOut),
                () = self.pool.abort.cancelled() => break Err(Stopped::Aborted),
                }
            }
        };
        let elapsed = process_started.elapsed();
        if body.conversation.has_extensions() {
            // What they printed stands before what became of them.
            body.drain_log();
            self.journal.extensions(&body.conversation.extension_reports());
        }
        let stopped = match ending {
            Ok(()) => {
                let cold_start = ColdStart {
                    sandbox_us,
                    code_us,
                    interpreter_us: micros(interpreter),
                    init_us: micros(elapsed.saturating_sub(interpreter)),
                };
                debug!(
                    function = %self.version.name,
                    sandbox_id = body.sandbox.id(),
                    log_stream = %self.journal.stream(),
                    ?cold_start,
                    "an instance is ready"
                );
                if kind != StartKind::VersionZygote && body.external.is_empty() {
                    let init = Duration::from_micros(cold_start.init_us);
                    self.pool.learn_init(self.version, self.plan, init);
                }
                return Attempt::Ready(Box::new(Ready { body, kind, cold_start, waited }));
            }
            Err(stopped) => stopped,
        };
        if kind == StartKind::VersionZygote && !matches!(stopped, Stopped::Aborted) {
            // Its imports are done: whatever went wrong is the zygote's, and the other ways are there.
            warn!(function = %self.version.name, "a child of a version zygote did not come up, starting another way");
            self.pool.version_zygotes.failed(self.version);
            body.stop().await;
            return Attempt::Interrupted(None);
        }
        let ending = match stopped {
            Stopped::Aborted => {
                body.stop().await;
                return failed("The server is stopping");
            }
            Stopped::TimedOut => InitEnding::TimedOut,
            Stopped::Exited(exit) => InitEnding::Exited(exit),
            Stopped::Extension(end) => InitEnding::Extension(end),
            Stopped::NotBegun(error) => {
                body.stop().await;
                return self.refused(error);
            }
            Stopped::Conversation(ConversationError::Extension(failure)) => {
                InitEnding::Extension(body.external.end_behind(&failure).await)
            }
            Stopped::Conversation(ConversationError::Init(failure)) => InitEnding::Reported(failure),
            Stopped::Conversation(error) => match exit_behind(&error, &*body.sandbox).await {
                Some(exit) => InitEnding::Exited(exit),
                None => {
                    warn!(function = %self.version.name, %error, "a runtime broke off during init");
                    InitEnding::Protocol
                }
            },
        };
        let timed_out = matches!(ending, InitEnding::TimedOut);
        body.shut_down(external::shutdown_reason(timed_out), self.journal.now()).await;
        let volume = body.stop().await;
        match ending {
            InitEnding::Exited(Exit { interrupted: true, .. }) => Attempt::Interrupted(volume),
            ending => Attempt::Failed(StartFailure::Init { ending, duration: elapsed, volume }),
        }
    }

    /// A waiting blank that belongs to this version from now on. `None` when it must be built.
    async fn specialise(&self, code: Code, credentials: &TemporaryCredentials) -> Option<Begun<'_>> {
        let begun = Instant::now();
        let (version, pool) = (self.version, self.pool);
        let kind = BlankKind::of(version, self.plan, pool.egress_of(version))?;
        let (blank, way, expires_at) = match pool.fork_version(version, self.plan, &kind, credentials).await {
            // What was made of those at its import is still in use.
            Some((child, of_zygote)) => {
                (child, StartKind::VersionZygote, of_zygote.min(credentials.expires_at))
            }
            None => match pool.blanks.take(&kind) {
                Some(blank) => (blank, StartKind::Blank, credentials.expires_at),
                None => (pool.fork_blank(&kind).await?, StartKind::Zygote, credentials.expires_at),
            },
        };
        let memory_bytes = u64::from(version.memory_mib) * 1024 * 1024;
        let Blank { sandbox, mut conversation, runtime_api, platform_api, output, .. } = blank;
        // The spawner binds while this process writes down the environment and the interpreter reads it. A blank that cannot
        // be told has ended, which waiting for its first word will find.
        let (bound, _told) = tokio::join!(sandbox.bind_code(code, memory_bytes), async {
            let init = Init { environment: self.environment(credentials).into_iter().collect() };
            conversation.tell(&init).await
        });
        if let Err(error) = bound {
            warn!(function = %version.name, %error, "failed to bind code in a blank instance, starting from nothing");
            // They pin the network namespace.
            drop((conversation, runtime_api, platform_api));
            pool.tasks.spawn(sandbox.stop());
            return None;
        }
        // Before its code runs, which may register extensions.
        let surroundings = self.surroundings(&*sandbox, Vec::new());
        if let Err(error) = conversation.serve_extensions(runtime_api, surroundings) {
            warn!(function = %version.name, %error, "failed to serve extensions in a blank instance");
        }
        // It imports while the rest is attached.
        let _begun = conversation.begin().await;
        let body = match self.attach(
            sandbox,
            conversation,
            platform_api,
            output,
            (Vec::new(), None),
            expires_at,
        ) {
            Ok(body) => body,
            Err(error) => {
                warn!(function = %version.name, %error, "failed to attach to a blank instance, starting from nothing");
                return None;
            }
        };
        Some(Begun {
            body,
            kind: way,
            sandbox_us: micros(begun.elapsed()),
            build: None,
            waited: Duration::ZERO,
        })
    }

    /// A new sandbox with the interpreter started in it.
    async fn build(
        &self,
        code: Code,
        credentials: &TemporaryCredentials,
        external: Vec<String>,
        volume: Option<TemporaryVolume>,
    ) -> Result<Begun<'_>, Attempt> {
        let begun = Instant::now();
        let Ok(build) = self.pool.builds.acquire().await else {
            return Err(failed("The server is stopping"));
        };
        let waited = begun.elapsed();
        if self.pool.abort.is_cancelled() {
            return Err(failed("The server is stopping"));
        }
        let begun = Instant::now();
        let started = self.pool.backend.start(self.spec(code, credentials, &external, volume)).await;
        let Started { sandbox, frames, runtime_api, platform_api, output, companion_output, .. } =
            started.map_err(|error| self.refused(error))?;
        let sandbox_us = micros(begun.elapsed());
        let surroundings = self.surroundings(&*sandbox, external.clone());
        let attached = match (self.plan.protocol, frames) {
            (Protocol::Frames, Some(frames)) => Conversation::frames(frames).and_then(|mut conversation| {
                conversation.serve_extensions(runtime_api, surroundings)?;
                Ok(conversation)
            }),
            (Protocol::Frames, None) => {
                Err(std::io::Error::other("the sandbox came without its frame socket"))
            }
            (Protocol::HttpRuntimeApi, _) => Conversation::http(runtime_api, surroundings),
        }
        .and_then(|conversation| {
            let companions = (external, companion_output);
            self.attach(sandbox, conversation, platform_api, output, companions, credentials.expires_at)
        });
        match attached {
            Ok(body) => {
                Ok(Begun { body, kind: StartKind::FromNothing, sandbox_us, build: Some(build), waited })
            }
            Err(error) => {
                warn!(function = %self.version.name, %error, "failed to attach to a sandbox");
                Err(failed("The instance could not be reached"))
            }
        }
    }

    /// What the APIs inside tell extensions. From now on these may subscribe to telemetry.
    fn surroundings(&self, sandbox: &dyn Sandbox, external_extensions: Vec<String>) -> Surroundings {
        let telemetry = self.journal.telemetry();
        telemetry.begin(connector(sandbox.sockets()));
        Surroundings {
            about: AboutFunction {
                name: self.version.name.to_string(),
                version: self.version.version.to_string(),
                handler: self.version.handler.clone(),
                account_id: self.version.scope.account.as_str().to_owned(),
                snap_start: self.version.has_snap_start(),
                concurrency: self.version.concurrency(),
            },
            external_extensions,
            telemetry: Some(telemetry.clone()),
        }
    }

    fn environment(&self, credentials: &TemporaryCredentials) -> Vec<(String, String)> {
        let (stream, initialization) = (self.journal.stream(), self.journal.initialization());
        environment(self.version, self.plan, stream, initialization, credentials)
    }

    fn spec(
        &self,
        code: Code,
        credentials: &TemporaryCredentials,
        external: &[String],
        volume: Option<TemporaryVolume>,
    ) -> SandboxSpec {
        let (version, config) = (self.version, &self.pool.config);
        let environment = self.environment(credentials);
        let companions = if external.is_empty() {
            Companions::default()
        } else {
            let programs =
                external.iter().map(|name| format!("/opt/{}/{name}", external::DIRECTORY)).collect();
            Companions { programs, environment: external::environment(environment.clone()) }
        };
        SandboxSpec {
            root: self.plan.root.clone(),
            code: Some(code),
            file_systems: version
                .file_systems
                .iter()
                .map(|file_system| FileSystemMount {
                    directory: access_point_name(&file_system.arn).to_owned(),
                    mount_path: file_system.local_mount_path.clone(),
                })
                .collect(),
            temporary: match volume {
                Some(volume) => Temporary::Carried(volume),
                None => Temporary::New { size_mib: version.ephemeral_storage_mib },
            },
            limits: Instance::limits(version.memory_mib, config.processes, config.open_files),
            egress: self.pool.egress_of(version),
            command: self.pool.command_of(version, self.plan),
            environment,
            protocol: self.plan.protocol,
            companions,
        }
    }

    fn attach(
        &self,
        sandbox: Box<dyn Sandbox>,
        mut conversation: Conversation,
        platform_api: TcpListener,
        output: OwnedFd,
        (external, companion_output): (Vec<String>, Option<OwnedFd>),
        credentials_end: Timestamp,
    ) -> std::io::Result<Body> {
        let output = Output::new(output, Source::Function, self.journal.clone())?;
        let external = External::new(external, sandbox.companions(), companion_output, self.journal)?;
        let telemetry = self.journal.telemetry().clone();
        let caller = Caller::Function {
            scope: self.version.scope.clone(),
            arn: self.version.unqualified_arn(),
            role: self.version.role.clone(),
        };
        let platform = OwnedTask::from((self.pool.platform)(platform_api, caller));
        let records = Records::new(conversation.take_logs(), self.journal.clone());
        let pump = OwnedTask::from(tokio::spawn(output.clone().pump()));
        let serves_until = serves_until(credentials_end, rand::random());
        Ok(Body { sandbox, conversation, records, output, pump, platform, external, telemetry, serves_until })
    }

    fn refused(&self, error: SandboxError) -> Attempt {
        let text = error.to_string();
        match error {
            SandboxError::Interrupted(_) => Attempt::Interrupted(None),
            SandboxError::Exhausted(_) => {
                warn!(error = text, "the host has no room for another sandbox");
                Attempt::Failed(StartFailure::Platform(ServiceError::throttled(
                    "ConcurrentInvocationLimitExceeded",
                )))
            }
            SandboxError::Invalid(_) | SandboxError::Step { .. }
                if self.plan.family == RuntimeFamily::Provided && text.contains(&format!("/{BOOTSTRAP}")) =>
            {
                Attempt::Failed(StartFailure::Entrypoint(text))
            }
            // What the function's own configuration asks for and this host does not allow; it names no host path.
            SandboxError::Invalid(_) => {
                warn!(function = %self.version.name, error = text, "refused to build a sandbox");
                failed(&format!("The instance could not be started: {text}"))
            }
            SandboxError::Step { .. } => {
                warn!(function = %self.version.name, error = text, "failed to build a sandbox");
                failed("The instance could not be started")
            }
        }
    }
}

enum Stopped {
    Conversation(ConversationError),
    NotBegun(SandboxError),
    Extension(ExtensionEnd),
    Exited(Exit),
    TimedOut,
    Aborted,
}

impl From<ConversationError> for Stopped {
    fn from(error: ConversationError) -> Self {
        Self::Conversation(error)
    }
}

/// Connects to what listens inside.
fn connector(sockets: Sockets) -> Connector {
    Arc::new(move |port| {
        let socket = sockets();
        Box::pin(async move {
            let socket = std::net::TcpStream::from(socket.await.map_err(std::io::Error::other)?);
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            TcpSocket::from_std_stream(socket).connect(address).await
        })
    })
}

fn failed(message: &str) -> Attempt {
    Attempt::Failed(StartFailure::Platform(ServiceError::internal(message)))
}

/// The exit that made a conversation end, if it was one. A runtime that speaks nonsense is not waited for.
pub async fn exit_behind(error: &ConversationError, sandbox: &dyn Sandbox) -> Option<Exit> {
    match error {
        ConversationError::Closed => timeout(EXIT_NEWS, sandbox.exited()).await.ok(),
        ConversationError::Init(_) | ConversationError::Extension(_) | ConversationError::Protocol(_) => None,
    }
}

/// The directory an access-point ARN names: its last component.
fn access_point_name(arn: &str) -> &str {
    arn.rsplit(['/', ':']).next().unwrap_or(arn)
}

/// Whole microseconds.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::access_point_name;

    #[test]
    fn the_directory_of_an_access_point() {
        let arn = "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/notes";
        assert_eq!(access_point_name(arn), "notes");
        assert_eq!(access_point_name("notes"), "notes");
    }
}
