//! Telemetry of one instance for its extensions: what the platform, the function and the extensions say, to whoever subscribed.
//!
//! `pool` tells everything that happens (`emit`); extensions subscribe over HTTP (`http/telemetry.rs`) while the instance is in its
//! init. What was said since the beginning of the init is kept until it is over, so that nobody misses the beginning.
//! Events are sent over connections made inside the sandbox, which `pool` provides.

mod delivery;
mod event;
mod queue;
mod subscription;

pub use event::{Record, TelemetryEvent};
pub use subscription::{Api, Category, Subscription, parse};

use delivery::Subscriber;
use lamplight_model::Timestamp;
use queue::Dropped;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Most that is kept for who may subscribe, bytes.
const BACKLOG_BYTES: usize = 256 * 1024;

/// Connects to a port of 127.0.0.1 inside the sandbox.
pub type Connector =
    Arc<dyn Fn(u16) -> Pin<Box<dyn Future<Output = std::io::Result<TcpStream>> + Send>> + Send + Sync>;
/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Why nobody can subscribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscribeRefusal {
    /// Init is over.
    Closed,
    /// The extension has subscribed by the other API.
    OtherApi,
}

/// Telemetry of one instance.
pub struct Telemetry {
    clock: Clock,
    /// Whether anybody listens or may subscribe.
    wanted: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Said since the beginning of the init; `None` once it is over.
    backlog: Option<Backlog>,
    connector: Option<Connector>,
    subscribers: Vec<(Arc<Subscriber>, Delivery)>,
}

#[derive(Default)]
struct Backlog {
    events: Vec<TelemetryEvent>,
    bytes: usize,
    dropped: Dropped,
}

/// A task that ends with its subscription.
struct Delivery(JoinHandle<()>);

impl Drop for Delivery {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let subscribers = self.lock().subscribers.len();
        formatter.debug_struct("Telemetry").field("subscribers", &subscribers).finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Of an instance whose init begins.
    pub fn new(clock: Clock) -> Self {
        let state = State { backlog: Some(Backlog::default()), ..State::default() };
        Self { clock, wanted: AtomicBool::new(true), state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A sandbox is there, whose extensions may subscribe. Subscriptions of an earlier one end; what was said is kept.
    pub fn begin(&self, connector: Connector) {
        let mut state = self.lock();
        let earlier = std::mem::take(&mut state.subscribers);
        state.backlog.get_or_insert_default();
        state.connector = Some(connector);
        self.wanted.store(true, Ordering::Release);
        drop(state);
        drop(earlier);
    }

    /// Whether it is worth while to tell an event. One look.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// Tells who subscribed, and who may yet.
    pub fn emit(&self, event: TelemetryEvent) {
        let (now, mut state) = (Instant::now(), self.lock());
        for (subscriber, _) in &state.subscribers {
            subscriber.offer(&event, now);
        }
        if let Some(backlog) = &mut state.backlog {
            let bytes = event.size_bytes();
            if backlog.bytes + bytes > BACKLOG_BYTES {
                backlog.dropped.add(bytes);
            } else {
                backlog.bytes += bytes;
                backlog.events.push(event);
            }
        }
    }

    /// Subscribes an extension. Asking again changes nothing.
    ///
    /// Must be called within a tokio runtime.
    pub fn subscribe(&self, extension: &str, subscription: Subscription) -> Result<(), SubscribeRefusal> {
        let (api, categories) = (subscription.api, subscription.categories.clone());
        {
            let mut state = self.lock();
            let State { backlog: Some(backlog), connector: Some(connector), subscribers } = &mut *state
            else {
                return Err(SubscribeRefusal::Closed);
            };
            let known = subscribers.iter().find(|(known, _)| known.extension == extension);
            if let Some((known, _)) = known {
                let same = known.subscription.api == api;
                return if same { Ok(()) } else { Err(SubscribeRefusal::OtherApi) };
            }
            let subscriber = Arc::new(Subscriber::new(extension.to_owned(), subscription));
            let now = Instant::now();
            backlog.events.iter().for_each(|event| subscriber.offer(event, now));
            subscriber.note_dropped(backlog.dropped);
            let (connector, clock) = (connector.clone(), self.clock.clone());
            let delivering = Arc::clone(&subscriber);
            let task = tokio::spawn(async move { delivering.deliver(connector, clock).await });
            subscribers.push((subscriber, Delivery(task)));
        }
        let kind = match api {
            Api::Telemetry => "platform.telemetrySubscription",
            Api::Logs => "platform.logsSubscription",
        };
        let types: Vec<_> = categories.iter().map(|category| category.name()).collect();
        let record = serde_json::json!({ "name": extension, "state": "Subscribed", "types": types });
        self.emit(TelemetryEvent { time: (self.clock)(), kind, record: Record::Value(record) });
        Ok(())
    }

    /// Init is over: nobody can subscribe any more.
    pub fn close_subscription(&self) {
        let mut state = self.lock();
        let backlog = state.backlog.take();
        self.wanted.store(!state.subscribers.is_empty(), Ordering::Release);
        drop(state);
        drop(backlog);
    }

    /// Who has subscribed: the extension's name, how, and to what.
    pub fn subscriptions(&self) -> Vec<(String, Api, Vec<Category>)> {
        let described = |subscriber: &Subscriber| {
            let subscription = &subscriber.subscription;
            (subscriber.extension.clone(), subscription.api, subscription.categories.clone())
        };
        self.lock().subscribers.iter().map(|(subscriber, _)| described(subscriber)).collect()
    }

    /// Sends what waits without waiting for more: the instance ends.
    pub fn flush(&self) {
        self.lock().subscribers.iter().for_each(|(subscriber, _)| subscriber.flush());
    }

    /// The sandbox is gone.
    pub fn end(&self) {
        let mut state = self.lock();
        let subscribers = std::mem::take(&mut state.subscribers);
        state.connector = None;
        self.wanted.store(state.backlog.is_some(), Ordering::Release);
        drop(state);
        drop(subscribers);
    }
}

#[cfg(test)]
mod tests;
