//! Extensions of one instance: who registered, who has asked for the next event, who still works. No I/O, no clock: the HTTP
//! Runtime API asks and tells.
//!
//! ```text
//!            register               next               an event it subscribed to
//!  unknown ───────────► registered ──────► ready ───────────────────────────────► running
//!                          │                 ▲                                       │
//!                          │ init/error      └───────────────── next ────────────────┘
//!                          ▼                      exit/error from any of the three: exit failed
//!                     init failed
//! ```
//!
//! An instance is free only when its runtime and every extension have asked for the next event. Only internal extensions
//! (threads of the runtime's process) exist yet: nothing starts the files of /opt/extensions.
//! Source: AWS Lambda developer guide, "Using the Lambda Extensions API"; error types and texts as AWS's emulator has them.

use crate::conversation::Event;
use std::sync::Arc;
use uuid::Uuid;

/// Extensions of one instance. Source: AWS Lambda developer guide, "Using the Lambda Extensions API".
const MOST: usize = 10;

/// The extensions of one instance.
#[derive(Debug, Default)]
pub struct Extensions {
    members: Vec<Extension>,
    registration_closed: bool,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Extension {
    id: Uuid,
    name: String,
    invoke: bool,
    state: State,
    /// Offered and not taken yet.
    pending: Option<Arc<Event>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
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
            Self::EmptyName => "Extension.InvalidExtensionName",
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
            Self::Registered => "Registered",
            Self::Ready => "Ready",
            Self::Running => "Running",
            Self::InitFailed => "InitError",
            Self::ExitFailed => "ExitError",
        }
    }
}

impl Extensions {
    /// Registers an extension under `id`, a fresh random one, for `events`.
    pub fn register(&mut self, id: Uuid, name: &str, events: &[String]) -> Result<(), Refusal> {
        if name.is_empty() {
            return Err(Refusal::EmptyName);
        }
        for event in events {
            match event.as_str() {
                "INVOKE" => {}
                "SHUTDOWN" => return Err(Refusal::ShutdownOfInternal),
                other => return Err(Refusal::InvalidEvent(other.chars().take(64).collect())),
            }
        }
        if self.registration_closed {
            return Err(Refusal::RegistrationClosed);
        }
        if self.members.iter().any(|member| member.name == name) {
            return Err(Refusal::NameTaken);
        }
        if self.members.len() >= MOST {
            return Err(Refusal::TooMany);
        }
        let (name, invoke) = (name.to_owned(), !events.is_empty());
        self.members.push(Extension { id, name, invoke, state: State::Registered, pending: None });
        Ok(())
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
    pub fn take(&mut self, id: Uuid) -> Option<Arc<Event>> {
        let member = self.find(id).ok().filter(|member| member.state == State::Ready)?;
        let event = member.pending.take()?;
        member.state = State::Running;
        Some(event)
    }

    /// An event did not reach the extension: it is there when it asks again.
    pub fn put_back(&mut self, id: Uuid, event: Arc<Event>) {
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
            member.pending = Some(Arc::clone(event));
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
        let reported = reported.chars().take(255).collect();
        self.failure.get_or_insert(Failure { phase, extension, reported });
        Ok(())
    }

    /// What ended the instance, if something did.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    fn find(&mut self, id: Uuid) -> Result<&mut Extension, Refusal> {
        self.members.iter_mut().find(|member| member.id == id).ok_or(Refusal::Unknown(id))
    }
}

#[cfg(test)]
mod tests;
