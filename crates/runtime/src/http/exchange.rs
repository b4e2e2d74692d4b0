//! The state between the platform, which offers events, and the runtime's requests, which take and answer them.

use super::extensions::AboutFunction;
use crate::conversation::{AnswerLimits, AnswerSink, Event, InitFailure, Reply, StreamedBody};
use crate::extensions::{self, Extensions, FailurePhase};
use crate::stream::StreamLimits;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

/// See the module's diagram.
#[derive(Debug, Default)]
pub struct Exchange {
    state: Mutex<State>,
    changed: Notify,
    /// For extensions.
    pub about: AboutFunction,
}

#[derive(Debug, Default)]
struct State {
    connected: bool,
    /// `next` requests that wait for an event.
    waiting: usize,
    init_failure: Option<InitFailure>,
    /// Offered and not answered yet.
    current: Option<Running>,
    extensions: Extensions,
    /// Counts events, so that a stale request cannot touch a newer event.
    serial: u64,
}

#[derive(Debug)]
struct Running {
    event: Arc<Event>,
    serial: u64,
    limits: AnswerLimits,
    /// A `next` has taken it.
    taken: bool,
    /// Present until an answer claims it.
    answer: Option<(AnswerSink, oneshot::Sender<Reply>)>,
}

/// Why a post cannot be accepted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The id is not the one of the event being handled.
    WrongRequest,
    /// It is, and it was answered already.
    Answered,
    /// Init is over.
    NotInInit,
}

/// The right to answer the current event; dropping it without an answer gives the right back.
#[derive(Debug)]
pub struct Claim {
    exchange: Arc<Exchange>,
    serial: u64,
    /// How large the answer may be.
    pub limits: AnswerLimits,
    parts: Option<(AnswerSink, oneshot::Sender<Reply>)>,
}

/// A `next` request that waits; counts as long as it lives.
struct Waiting<'a>(&'a Exchange);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

impl Exchange {
    /// Of one instance, of which nothing has been heard.
    pub fn new(about: AboutFunction) -> Self {
        Self { about, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<Value>(&self, change: impl FnOnce(&mut State) -> Value) -> Value {
        let value = change(&mut self.lock());
        self.changed.notify_waiters();
        value
    }

    /// Resolves once `look` finds something.
    async fn until<Value>(&self, mut look: impl FnMut(&mut State) -> Option<Value>) -> Value {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(value) = look(&mut self.lock()) {
                return value;
            }
            changed.await;
        }
    }

    /// A connection was accepted.
    pub fn note_connection(&self) {
        self.change(|state| state.connected = true);
    }

    /// Resolves after the first connection.
    pub async fn connected(&self) {
        self.until(|state| state.connected.then_some(())).await;
    }

    /// Resolves when a `next` waits, nothing is to be answered and every extension has asked, too; or when init or an
    /// extension failed.
    pub async fn waiting(&self) -> Result<(), InitFailure> {
        self.until(|state| {
            if let Some(failure) = &state.init_failure {
                return Some(Err(failure.clone()));
            }
            if let Some(failure) = state.extensions.failure() {
                return Some(Err(init_failure(failure)));
            }
            let free = state.waiting > 0 && state.current.is_none() && state.extensions.settled();
            free.then_some(Ok(()))
        })
        .await
    }

    /// Offers an event to the next `next`. The receiver resolves with the answer.
    pub fn offer(&self, event: Event, sink: AnswerSink, limits: AnswerLimits) -> oneshot::Receiver<Reply> {
        let (sender, receiver) = oneshot::channel();
        self.change(|state| {
            let event = Arc::new(event);
            state.serial += 1;
            state.extensions.offer(&event);
            state.current = Some(Running {
                event,
                serial: state.serial,
                limits,
                taken: false,
                answer: Some((sink, sender)),
            });
        });
        receiver
    }

    /// Takes the next event for a `next` request, waiting for it. Dropping the future takes nothing.
    pub async fn take(&self) -> (Arc<Event>, u64) {
        self.change(|state| {
            state.waiting += 1;
            state.extensions.close_registration();
        });
        let _waiting = Waiting(self);
        self.until(|state| {
            let current = state.current.as_mut().filter(|current| !current.taken)?;
            current.taken = true;
            Some((Arc::clone(&current.event), current.serial))
        })
        .await
    }

    /// The event of `serial` could not be delivered: the next `next` gets it.
    pub fn put_back(&self, serial: u64) {
        self.change(|state| {
            if let Some(current) = state.current.as_mut().filter(|current| current.serial == serial) {
                current.taken = false;
            }
        });
    }

    /// Claims the right to answer the event `request_id`.
    pub fn claim(self: &Arc<Self>, request_id: &str) -> Result<Claim, Refusal> {
        let mut state = self.lock();
        let current = state.current.as_mut().filter(|current| {
            // Ids are printed in lower case; a client may send the id back as it likes.
            current.taken && current.event.request_id.to_string().eq_ignore_ascii_case(request_id)
        });
        let Some(current) = current else { return Err(Refusal::WrongRequest) };
        let Some(parts) = current.answer.take() else { return Err(Refusal::Answered) };
        Ok(Claim {
            exchange: Arc::clone(self),
            serial: current.serial,
            limits: current.limits,
            parts: Some(parts),
        })
    }

    /// See [`Extensions::register`].
    pub fn register_extension(
        &self,
        id: Uuid,
        name: &str,
        events: &[String],
    ) -> Result<(), extensions::Refusal> {
        self.change(|state| state.extensions.register(id, name, events))
    }

    /// The extension asks for its next event, and waits for it. Dropping the future takes nothing.
    pub async fn take_for_extension(&self, id: Uuid) -> Result<Arc<Event>, extensions::Refusal> {
        self.change(|state| state.extensions.next(id))?;
        Ok(self.until(|state| state.extensions.take(id)).await)
    }

    /// The event did not reach the extension.
    pub fn put_back_for_extension(&self, id: Uuid, event: Arc<Event>) {
        self.change(|state| state.extensions.put_back(id, event));
    }

    /// The extension cannot go on: the event under way has failed if it was not answered, and no other will come.
    pub fn fail_extension(
        &self,
        id: Uuid,
        phase: FailurePhase,
        reported: &str,
    ) -> Result<(), extensions::Refusal> {
        let unanswered = self.change(|state| {
            state.extensions.fail(id, phase, reported)?;
            let failure = state.extensions.failure().cloned();
            let answer = state.current.as_mut().and_then(|current| current.answer.take());
            if answer.is_some() {
                state.current = None;
            }
            Ok(failure.zip(answer))
        })?;
        if let Some((failure, (_sink, reply))) = unanswered {
            let InitFailure { error_type, document } = init_failure(&failure);
            let _ = reply.send(Reply::Error { error_type, document });
        }
        Ok(())
    }

    /// Init failed.
    pub fn fail_init(&self, failure: InitFailure) -> Result<(), Refusal> {
        self.change(|state| {
            if state.serial > 0 || state.waiting > 0 || state.init_failure.is_some() {
                return Err(Refusal::NotInInit);
            }
            state.init_failure = Some(failure);
            Ok(())
        })
    }
}

/// What an extension's failure is to the caller. The text is not AWS's, whose own is not recorded anywhere we know of.
fn init_failure(failure: &extensions::Failure) -> InitFailure {
    let error_type = failure.phase.error_type();
    let message = format!("Extension {} reported {}", failure.extension, failure.reported);
    let document = serde_json::json!({ "errorType": error_type, "errorMessage": message });
    InitFailure { error_type: error_type.to_owned(), document: document.to_string().into() }
}

impl Claim {
    /// Names the content type and gives the channel for the body. To be called once; `None` afterwards.
    pub fn open(&mut self, content_type: Option<String>) -> Option<Body> {
        let (sink, reply) = self.parts.take()?;
        let _ = sink.content_type.send(content_type);
        Some(Body {
            exchange: Arc::clone(&self.exchange),
            serial: self.serial,
            body: sink.body,
            reply: Some(reply),
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            let mut state = self.exchange.lock();
            if let Some(current) = state.current.as_mut().filter(|current| current.serial == self.serial) {
                current.answer = Some(parts);
            }
        }
    }
}

/// An answer under way. Dropped without [`finish`](Self::finish) it counts as cut off.
#[derive(Debug)]
pub struct Body {
    exchange: Arc<Exchange>,
    serial: u64,
    body: tokio::sync::mpsc::Sender<bytes::Bytes>,
    reply: Option<oneshot::Sender<Reply>>,
}

impl Body {
    /// Forwards the whole answer, waiting for room. A caller that went away is not the function's problem.
    pub async fn whole(&self, bytes: bytes::Bytes) {
        let _ = self.body.send(bytes).await;
    }

    /// For an answer in pieces.
    pub fn streamed(&self, limits: StreamLimits) -> StreamedBody {
        StreamedBody::new(self.body.clone(), limits)
    }

    /// The answer is complete.
    pub fn finish(mut self, reply: Reply) {
        self.end(reply);
    }

    fn end(&mut self, reply: Reply) {
        let Some(sender) = self.reply.take() else { return };
        self.exchange.change(|state| {
            if state.current.as_ref().is_some_and(|current| current.serial == self.serial) {
                state.current = None;
            }
        });
        let _ = sender.send(reply);
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if self.reply.is_some() {
            self.end(Reply::platform_error("Runtime.TruncatedResponse", "Response was truncated"));
        }
    }
}
