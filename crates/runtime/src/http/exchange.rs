//! The state between the platform, which offers events, and the runtime's requests, which take and answer them.

use super::Surroundings;
use crate::conversation::{
    AnswerLimits, AnswerSink, ConversationError, Event, InitFailure, Reply, StreamedBody,
};
use crate::extensions::{self, ExtensionEvent, ExtensionReport, Extensions, FailurePhase, ShutdownReason};
use crate::stream::StreamLimits;
use lamplight_model::RequestId;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

/// See the module's diagram.
#[derive(Debug, Default)]
pub struct Exchange {
    state: Mutex<State>,
    changed: Notify,
    /// For extensions.
    pub surroundings: Surroundings,
}

#[derive(Debug, Default)]
struct State {
    connected: bool,
    /// The runtime speaks frames: events cannot be had over HTTP.
    speaks_frames: bool,
    /// `next` requests that wait for an event.
    waiting: usize,
    init_failure: Option<InitFailure>,
    /// The runtime has waited to be restored.
    restored: bool,
    /// Offered and not answered yet; so many at most as are given at once.
    running: Vec<Running>,
    /// Taken, and given up before they were answered. Of each a slot is not used again, so these are not more either.
    abandoned: Vec<RequestId>,
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
    /// Nobody waits for its answer any more, while others are handled.
    Abandoned,
    /// Init is over.
    NotInInit,
    /// There is no snapshot, or the runtime is not where one is restored.
    NotInRestore,
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

impl State {
    /// Whether init is over, one way or the other.
    fn has_begun(&self) -> bool {
        self.serial > 0 || self.waiting > 0 || self.init_failure.is_some()
    }

    fn of(&mut self, serial: u64) -> Option<&mut Running> {
        self.running.iter_mut().find(|running| running.serial == serial)
    }
}

impl Exchange {
    /// Of one instance, of which nothing has been heard.
    pub fn new(surroundings: Surroundings) -> Self {
        let extensions = Extensions::with_external(&surroundings.external_extensions);
        let state = Mutex::new(State { extensions, ..State::default() });
        Self { state, surroundings, ..Self::default() }
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

    /// The runtime was heard to speak frames.
    pub fn runtime_speaks_frames(&self) {
        self.lock().speaks_frames = true;
    }

    /// Whether the runtime speaks frames.
    pub fn speaks_frames(&self) -> bool {
        self.lock().speaks_frames
    }

    /// Resolves after the first connection.
    pub async fn connected(&self) {
        self.until(|state| state.connected.then_some(())).await;
    }

    /// Resolves when a `next` waits that no event is meant for, and there may be another event; or when init or an extension
    /// failed.
    pub async fn waiting(&self) -> Result<(), ConversationError> {
        let most = self.surroundings.about.concurrency.max(1);
        self.until_or_failed(|state| {
            let untaken = state.running.iter().filter(|running| !running.taken).count();
            state.running.len() < most && state.waiting > untaken
        })
        .await
    }

    /// Resolves when every process that was started beside the runtime has registered, or when one failed.
    pub async fn registered(&self) -> Result<(), ConversationError> {
        self.until_or_failed(|state| state.extensions.all_registered()).await
    }

    /// Resolves when every extension has asked for the next event, or when one failed.
    pub async fn settled(&self) -> Result<(), ConversationError> {
        self.until_or_failed(|state| state.extensions.settled()).await
    }

    /// Resolves when an extension failed.
    pub async fn failed(&self) -> ConversationError {
        match self.until_or_failed(|_| false).await {
            Err(failure) => failure,
            Ok(()) => ConversationError::Closed,
        }
    }

    async fn until_or_failed(&self, holds: impl Fn(&State) -> bool) -> Result<(), ConversationError> {
        self.until(|state| {
            if let Some(failure) = &state.init_failure {
                return Some(Err(ConversationError::Init(failure.clone())));
            }
            if let Some(failure) = state.extensions.failure() {
                return Some(Err(ConversationError::Extension(failure.clone())));
            }
            holds(state).then_some(Ok(()))
        })
        .await
    }

    /// Whether any extension is there.
    pub fn has_extensions(&self) -> bool {
        !self.lock().extensions.is_empty()
    }

    /// Whether one is a thread of the runtime.
    pub fn has_internal_extensions(&self) -> bool {
        self.lock().extensions.has_internal()
    }

    /// See [`Extensions::reports`].
    pub fn extension_reports(&self) -> Vec<ExtensionReport> {
        self.lock().extensions.reports()
    }

    /// See [`Extensions::shut_down`].
    pub fn shut_down(&self, deadline_ms: i64, reason: ShutdownReason) -> Vec<String> {
        self.change(|state| state.extensions.shut_down(deadline_ms, reason))
    }

    /// Nobody may register any more.
    pub fn close_registration(&self) {
        self.lock().extensions.close_registration();
    }

    /// Tells extensions of an event that the runtime is handed another way.
    pub fn offer_to_extensions(&self, event: Event) {
        self.change(|state| state.extensions.offer(&Arc::new(event)));
    }

    /// See [`Extensions::name_of`].
    pub fn extension_name(&self, id: Uuid) -> Result<String, extensions::Refusal> {
        self.lock().extensions.name_of(id).map(str::to_owned)
    }

    /// Offers an event to the next `next`. The receiver resolves with the answer.
    pub fn offer(&self, event: Event, sink: AnswerSink, limits: AnswerLimits) -> oneshot::Receiver<Reply> {
        let (sender, receiver) = oneshot::channel();
        self.change(|state| {
            let event = Arc::new(event);
            state.serial += 1;
            // AWS tells extensions of no event where there may be several: none of them is the one under way.
            if self.surroundings.about.concurrency <= 1 {
                state.running.clear();
                state.extensions.offer(&event);
            }
            state.running.push(Running {
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
            let next = state.running.iter_mut().find(|running| !running.taken)?;
            next.taken = true;
            Some((Arc::clone(&next.event), next.serial))
        })
        .await
    }

    /// The event of `serial` could not be delivered: the next `next` gets it.
    pub fn put_back(&self, serial: u64) {
        self.change(|state| {
            if let Some(running) = state.of(serial) {
                running.taken = false;
            }
        });
    }

    /// Nobody waits for the answer of this event any more. The runtime may work on; its answer is refused.
    pub fn abandon(&self, request_id: RequestId) {
        self.change(|state| {
            let at = state.running.iter().position(|running| running.event.request_id == request_id);
            if let Some(at) = at {
                let gone = state.running.swap_remove(at);
                if gone.taken {
                    state.abandoned.push(request_id);
                }
            }
        });
    }

    /// Claims the right to answer the event `request_id`.
    pub fn claim(self: &Arc<Self>, request_id: &str) -> Result<Claim, Refusal> {
        let mut state = self.lock();
        // Ids are printed in lower case; a client may send the id back as it likes.
        let meant = |id: &RequestId| id.to_string().eq_ignore_ascii_case(request_id);
        // An event that is tried again keeps its id: whichever attempt answers first answers it.
        let running =
            state.running.iter().position(|running| running.taken && meant(&running.event.request_id));
        let Some(current) = running.and_then(|at| state.running.get_mut(at)) else {
            let late = state.abandoned.iter().position(meant);
            return Err(match late.map(|at| state.abandoned.swap_remove(at)) {
                Some(_) => Refusal::Abandoned,
                None => Refusal::WrongRequest,
            });
        };
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
    pub async fn take_for_extension(&self, id: Uuid) -> Result<ExtensionEvent, extensions::Refusal> {
        self.change(|state| state.extensions.next(id))?;
        Ok(self.until(|state| state.extensions.take(id)).await)
    }

    /// The event did not reach the extension.
    pub fn put_back_for_extension(&self, id: Uuid, event: ExtensionEvent) {
        self.change(|state| state.extensions.put_back(id, event));
    }

    /// The extension cannot go on: the event under way has failed if it was not answered, and no other will come.
    pub fn fail_extension(
        &self,
        id: Uuid,
        phase: FailurePhase,
        reported: &str,
    ) -> Result<(), extensions::Refusal> {
        self.change(|state| {
            state.extensions.fail(id, phase, reported)?;
            // Dropping the right to answer tells who waits for it. Those whose answer is on its way end with it.
            state.running.retain(|running| running.answer.is_none());
            Ok(())
        })
    }

    /// The runtime has initialised and waits to be restored. The instance as it is now is its snapshot, so that it
    /// need not wait.
    pub fn restore(&self) -> Result<(), Refusal> {
        self.change(|state| {
            if !self.surroundings.about.snap_start || state.restored || state.has_begun() {
                return Err(Refusal::NotInRestore);
            }
            state.restored = true;
            Ok(())
        })
    }

    /// A hook after the restore failed.
    pub fn fail_restore(&self, failure: InitFailure) -> Result<(), Refusal> {
        self.change(|state| {
            if !state.restored || state.has_begun() {
                return Err(Refusal::NotInRestore);
            }
            state.init_failure = Some(failure);
            Ok(())
        })
    }

    /// Init failed.
    pub fn fail_init(&self, failure: InitFailure) -> Result<(), Refusal> {
        self.change(|state| {
            if state.has_begun() {
                return Err(Refusal::NotInInit);
            }
            state.init_failure = Some(failure);
            Ok(())
        })
    }
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
            if let Some(running) = state.of(self.serial) {
                running.answer = Some(parts);
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
            state.running.retain(|running| running.serial != self.serial);
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
