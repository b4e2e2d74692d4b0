//! Extensions of one instance: who registered, who has asked for the next event, who still works. No I/O, no clock: the HTTP
//! Runtime API asks and tells.
//!
//! ```text
//!   external            register               next               an event it subscribed to
//!  (started) ─────────► registered ──────► ready ───────────────────────────────► running
//!   internal                │                 ▲                                       │
//!  (unknown) ───────────────┤                 └───────────────── next ────────────────┘
//!                           ▼ init/error             exit/error from any of the three: exit failed
//!                      init failed
//! ```
//!
//! An external extension is a process of its own, started from a file of `/opt/extensions` and known by its name; an internal one
//! is a thread of the runtime's process. An instance is free only when its runtime and every extension have asked for the next
//! event. When it is to end, external extensions that want to know are told by a last event.
//! Source: AWS Lambda developer guide, "Using the Lambda Extensions API"; error types and texts as AWS's emulator has them.

use crate::conversation::Event;
use std::sync::Arc;
use uuid::Uuid;

/// Extensions of one instance. Source: AWS Lambda developer guide, "Using the Lambda Extensions API".
pub const MOST: usize = 10;
/// Longest name, bytes: a file name can be no longer.
const NAME_BYTES: usize = 255;

/// The extensions of one instance.
#[derive(Debug, Default)]
pub struct Extensions {
    members: Vec<Extension>,
    registration_closed: bool,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Extension {
    /// From its registration on.
    id: Option<Uuid>,
    name: String,
    external: bool,
    invoke: bool,
    shutdown: bool,
    state: State,
    /// Why it failed, in its own words.
    reported: Option<String>,
    /// Offered and not taken yet.
    pending: Option<ExtensionEvent>,
}

/// What an extension is told.
#[derive(Debug, Clone)]
pub enum ExtensionEvent {
    /// An invocation begins.
    Invoke(Arc<Event>),
    /// The instance ends.
    Shutdown {
        /// When it is killed at the latest, milliseconds since the epoch.
        deadline_ms: i64,
        /// Why.
        reason: ShutdownReason,
    },
}

/// Why an instance ends. Source: AWS Lambda developer guide, "Shutdown phase"; in lower case as AWS's emulator sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownReason {
    /// It is not needed any more.
    Spindown,
    /// An invocation took too long.
    Timeout,
    /// The runtime or an extension failed.
    Failure,
}

impl ShutdownReason {
    /// `shutdownReason` of the event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spindown => "spindown",
            Self::Timeout => "timeout",
            Self::Failure => "failure",
        }
    }
}

/// What the function's log says of an extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtensionReport {
    /// Its name.
    pub name: String,
    /// AWS's word for how far it has come.
    pub state: &'static str,
    /// What it subscribed to.
    pub events: Vec<&'static str>,
    /// The error type it reported.
    pub error_type: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Started,
    Registered,
    Ready,
    Running,
    InitFailed,
    ExitFailed,
}

/// An extension reported that it cannot go on; the instance cannot either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When it did.
    pub phase: FailurePhase,
    /// The extension's name.
    pub extension: String,
    /// The error type it named.
    pub reported: String,
}

/// Which of the two errors an extension reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailurePhase {
    /// `POST /extension/init/error`.
    Init,
    /// `POST /extension/exit/error`.
    Exit,
}

impl FailurePhase {
    /// `errorType` of the document for the caller.
    pub fn error_type(self) -> &'static str {
        match self {
            Self::Init => "Extension.InitError",
            Self::Exit => "Extension.ExitError",
        }
    }
}

/// Why a request of an extension is refused, always with 403. Displays as the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no name.
    #[error("Empty extension name")]
    EmptyName,
    /// No file has such a name.
    #[error("Extension name is too long")]
    LongName,
    /// The runtime has asked for its first event.
    #[error("Extension registration closed already")]
    RegistrationClosed,
    /// There is one of that name.
    #[error("Extension with this name already registered")]
    NameTaken,
    /// There are ten.
    #[error("Extension limit ({MOST}) reached")]
    TooMany,
    /// No event of the API.
    #[error("{0}: ErrorInvalidEventType")]
    InvalidEvent(String),
    /// An event for external extensions only.
    #[error("SHUTDOWN: ShutdownEventNotSupportedForInternalExtension")]
    ShutdownOfInternal,
    /// The request carries no identifier.
    #[error("Missing Lambda-Extension-Identifier header")]
    MissingIdentifier,
    /// Its identifier is none.
    #[error("Invalid Lambda-Extension-Identifier")]
    InvalidIdentifier,
    /// Nobody has this identifier.
    #[error("Unknown extension {0}")]
    Unknown(Uuid),
    /// Its state does not allow that.
    #[error(
        "State transition from {from} to {to} failed for extension {id}. Error: State transition is not allowed"
    )]
    State {
        /// Where it is.
        from: &'static str,
        /// Where it wanted to.
        to: &'static str,
        /// Who.
        id: Uuid,
    },
}

impl Refusal {
    /// `errorType` of the answer.
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::EmptyName | Self::LongName => "Extension.InvalidExtensionName",
            Self::RegistrationClosed => "Extension.RegistrationClosed",
            Self::TooMany => "Extension.TooManyExtensions",
            Self::InvalidEvent(_) | Self::ShutdownOfInternal => "Extension.InvalidEventType",
            Self::MissingIdentifier => "Extension.MissingExtensionIdentifier",
            Self::InvalidIdentifier => "Extension.InvalidExtensionIdentifier",
            Self::Unknown(_) => "Extension.UnknownExtensionIdentifier",
            Self::NameTaken | Self::State { .. } => "Extension.InvalidExtensionState",
        }
    }
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Started => "Started",
            Self::Registered => "Registered",
            Self::Ready => "Ready",
            Self::Running => "Running",
            Self::InitFailed => "InitError",
            Self::ExitFailed => "ExitError",
        }
    }
}

impl Extensions {
    /// Those of an instance in which processes of these names are started.
    pub fn with_external(names: &[String]) -> Self {
        let members = names.iter().map(|name| Extension {
            id: None,
            name: name.clone(),
            external: true,
            invoke: false,
            shutdown: false,
            state: State::Started,
            reported: None,
            pending: None,
        });
        Self { members: members.collect(), ..Self::default() }
    }

    /// Registers an extension under `id`, a fresh random one, for `events`.
    pub fn register(&mut self, id: Uuid, name: &str, events: &[String]) -> Result<(), Refusal> {
        if name.is_empty() {
            return Err(Refusal::EmptyName);
        }
        if name.len() > NAME_BYTES {
            return Err(Refusal::LongName);
        }
        let known = self.members.iter().position(|member| member.name == name);
        let external = known.is_some_and(|at| self.members[at].external);
        let (mut invoke, mut shutdown) = (false, false);
        for event in events {
            match event.as_str() {
                "INVOKE" => invoke = true,
                "SHUTDOWN" if external => shutdown = true,
                "SHUTDOWN" => return Err(Refusal::ShutdownOfInternal),
                other => return Err(Refusal::InvalidEvent(other.chars().take(64).collect())),
            }
        }
        if self.registration_closed {
            return Err(Refusal::RegistrationClosed);
        }
        match known {
            Some(at) if self.members[at].state == State::Started => {
                let member = &mut self.members[at];
                member.id = Some(id);
                (member.invoke, member.shutdown, member.state) = (invoke, shutdown, State::Registered);
            }
            Some(_) => return Err(Refusal::NameTaken),
            None if self.members.len() >= MOST => return Err(Refusal::TooMany),
            None => self.members.push(Extension {
                id: Some(id),
                name: name.to_owned(),
                external: false,
                invoke,
                shutdown,
                state: State::Registered,
                reported: None,
                pending: None,
            }),
        }
        Ok(())
    }

    /// Whether every process that was started has registered: only then may the runtime be started.
    pub fn all_registered(&self) -> bool {
        self.members.iter().all(|member| member.state != State::Started)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether one is a thread of the runtime.
    pub fn has_internal(&self) -> bool {
        self.members.iter().any(|member| !member.external)
    }

    /// The name it registered under.
    pub fn name_of(&self, id: Uuid) -> Result<&str, Refusal> {
        let member = self.members.iter().find(|member| member.id == Some(id));
        member.map(|member| member.name.as_str()).ok_or(Refusal::Unknown(id))
    }

    /// How far each has come.
    pub fn reports(&self) -> Vec<ExtensionReport> {
        let report = |member: &Extension| {
            let events = [(member.invoke, "INVOKE"), (member.shutdown, "SHUTDOWN")];
            ExtensionReport {
                name: member.name.clone(),
                state: member.state.name(),
                events: events.into_iter().filter_map(|(wanted, event)| wanted.then_some(event)).collect(),
                error_type: member.reported.clone(),
            }
        };
        self.members.iter().map(report).collect()
    }

    /// The instance ends: gives the names of the processes that are told so. The others need not be waited for.
    pub fn shut_down(&mut self, deadline_ms: i64, reason: ShutdownReason) -> Vec<String> {
        let told = self.members.iter_mut().filter(|member| {
            let able = matches!(member.state, State::Registered | State::Ready | State::Running);
            member.external && member.shutdown && able
        });
        told.map(|member| {
            member.pending = Some(ExtensionEvent::Shutdown { deadline_ms, reason });
            member.name.clone()
        })
        .collect()
    }

    /// The runtime has asked for its first event: nobody may register any more.
    pub fn close_registration(&mut self) {
        self.registration_closed = true;
    }

    /// The extension asks for its next event, so it has done all it had to. It may ask again: its connection may have broken.
    pub fn next(&mut self, id: Uuid) -> Result<(), Refusal> {
        let member = self.find(id)?;
        match member.state {
            State::Registered | State::Ready | State::Running => {
                member.state = State::Ready;
                Ok(())
            }
            from => Err(Refusal::State { from: from.name(), to: State::Ready.name(), id }),
        }
    }

    /// What a ready extension is to do now, if there is something; it is running then.
    pub fn take(&mut self, id: Uuid) -> Option<ExtensionEvent> {
        let member = self.find(id).ok().filter(|member| member.state == State::Ready)?;
        let event = member.pending.take()?;
        member.state = State::Running;
        Some(event)
    }

    /// An event did not reach the extension: it is there when it asks again.
    pub fn put_back(&mut self, id: Uuid, event: ExtensionEvent) {
        if let Ok(member) = self.find(id)
            && member.state == State::Running
        {
            member.state = State::Ready;
            member.pending = Some(event);
        }
    }

    /// Offers an invocation to all that subscribed to them.
    pub fn offer(&mut self, event: &Arc<Event>) {
        for member in self.members.iter_mut().filter(|member| member.invoke) {
            member.pending = Some(ExtensionEvent::Invoke(Arc::clone(event)));
        }
    }

    /// Whether every extension has asked for the next event, and none has one to take.
    pub fn settled(&self) -> bool {
        self.members.iter().all(|member| member.state == State::Ready && member.pending.is_none())
    }

    /// The extension reports that it cannot go on. The first failure is the instance's.
    pub fn fail(&mut self, id: Uuid, phase: FailurePhase, reported: &str) -> Result<(), Refusal> {
        let member = self.find(id)?;
        let to = match phase {
            FailurePhase::Init => State::InitFailed,
            FailurePhase::Exit => State::ExitFailed,
        };
        let allowed = match phase {
            FailurePhase::Init => member.state == State::Registered,
            FailurePhase::Exit => matches!(member.state, State::Registered | State::Ready | State::Running),
        };
        if !allowed {
            return Err(Refusal::State { from: member.state.name(), to: to.name(), id });
        }
        member.state = to;
        member.pending = None;
        let extension = member.name.clone();
        let reported: String = reported.chars().take(255).collect();
        member.reported = Some(reported.clone());
        self.failure.get_or_insert(Failure { phase, extension, reported });
        Ok(())
    }

    /// What ended the instance, if something did.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    fn find(&mut self, id: Uuid) -> Result<&mut Extension, Refusal> {
        self.members.iter_mut().find(|member| member.id == Some(id)).ok_or(Refusal::Unknown(id))
    }
}

#[cfg(test)]
mod tests;
