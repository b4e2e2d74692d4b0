//! Instances that take several events at once: which there are, and a slot for each event.
//!
//! Called by `pool` before it looks for an idle instance, and by the run in a slot when it is over. Such an instance is a
//! running one of the registry while a slot of it is taken; with the last one it is idle, and may be frozen, as any other.
//!
//! ```text
//! first call ─► starting (others wait for it) ─► open: a slot for each call ─► last slot given back ─► idle in the registry
//!                  └ failed: who waited starts          └ exit, or a slot lost: stops with its last call
//! ```

use crate::instance::Instance;
use crate::pool::Pool;
use lamplight_model::{FunctionVersion, Invocation, TenantId, Timestamp};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use tracing::error;

/// The instances of the node that are in use by several events, or may be.
#[derive(Default)]
pub struct Slots(Mutex<Places>);

#[derive(Default)]
struct Places {
    /// In the order in which they began: earlier ones are filled first, so that later ones become idle.
    places: Vec<Place>,
    next_id: u64,
}

struct Place {
    id: u64,
    version: Arc<FunctionVersion>,
    tenant: Option<TenantId>,
    /// Slots taken, those of who waits included.
    taken: usize,
    /// Slots that are not used again: the runtime may still be at work there.
    lost: usize,
    /// Takes no more events.
    closed: bool,
    state: State,
}

enum State {
    Starting(Vec<oneshot::Sender<Slot>>),
    Open(Arc<Instance>),
}

/// What a call finds.
pub enum Joined {
    /// A slot of an instance that is there.
    Slot(Slot),
    /// One of an instance that is starting. A dropped sender means that the start failed.
    Soon(oneshot::Receiver<Slot>),
    /// Nothing: it is to start one.
    Nothing(Starting),
}

/// How the event in a slot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotEnd {
    /// The runtime asked for another one.
    Free,
    /// It may still be at work: nobody else gets this slot.
    Lost,
    /// The instance is of no use any more.
    Broken,
}

/// The right to give one event to an instance. Dropped it gives the slot back, as one that is lost unless told otherwise.
pub struct Slot {
    pool: Arc<Pool>,
    place: u64,
    instance: Option<Arc<Instance>>,
    end: SlotEnd,
}

/// The promise to open an instance that others may wait for. Dropped it lets them go.
pub struct Starting {
    pool: Arc<Pool>,
    place: u64,
}

impl Slots {
    fn lock(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn has_room_for(&self, invocation: &Invocation, now: Timestamp) -> bool {
        let worn_out = matches!(&self.state, State::Open(instance) if instance.is_worn_out(now));
        !self.closed
            && !worn_out
            && self.taken + self.lost < self.version.concurrency()
            && self.tenant == invocation.tenant_id
            && (Arc::ptr_eq(&self.version, &invocation.version) || self.version.runs_as(&invocation.version))
    }
}

impl Pool {
    /// A slot for this event, now or soon, or the task to start an instance that has one.
    pub(crate) fn join(self: &Arc<Self>, invocation: &Invocation) -> Joined {
        let now = self.now();
        let mut places = self.slots.lock();
        let mut fitting: Vec<&mut Place> =
            places.places.iter_mut().filter(|place| place.has_room_for(invocation, now)).collect();
        // One that is there before one that is coming.
        fitting.sort_by_key(|place| matches!(place.state, State::Starting(_)));
        let Some(place) = fitting.into_iter().next() else {
            drop(places);
            return Joined::Nothing(self.begin(invocation));
        };
        place.taken += 1;
        match &mut place.state {
            State::Open(instance) => {
                let instance = Some(Arc::clone(instance));
                Joined::Slot(Slot { pool: Arc::clone(self), place: place.id, instance, end: SlotEnd::Lost })
            }
            State::Starting(waiting) => {
                let (sender, receiver) = oneshot::channel();
                waiting.push(sender);
                Joined::Soon(receiver)
            }
        }
    }

    /// The task to start an instance, whatever others there are.
    pub(crate) fn begin(self: &Arc<Self>, invocation: &Invocation) -> Starting {
        let mut places = self.slots.lock();
        places.next_id += 1;
        let id = places.next_id;
        places.places.push(Place {
            id,
            version: Arc::clone(&invocation.version),
            tenant: invocation.tenant_id.clone(),
            taken: 1,
            lost: 0,
            closed: false,
            state: State::Starting(Vec::new()),
        });
        Starting { pool: Arc::clone(self), place: id }
    }

    fn give_slot_back(&self, id: u64, instance: Arc<Instance>, end: SlotEnd) {
        let left = {
            let mut places = self.slots.lock();
            // Beneath the lock: the last one to give a slot back holds the only other reference.
            drop(instance);
            let Some(at) = places.places.iter().position(|place| place.id == id) else { return };
            let place = &mut places.places[at];
            place.taken -= 1;
            place.lost += usize::from(end == SlotEnd::Lost);
            place.closed |= end == SlotEnd::Broken;
            if place.taken > 0 {
                return;
            }
            places.places.remove(at)
        };
        let State::Open(instance) = left.state else { return };
        match Arc::try_unwrap(instance) {
            Ok(instance) if left.closed || left.lost > 0 => self.stop_and_carry(instance),
            Ok(mut instance) => {
                if let Ok(peak_bytes) = instance.body.sandbox.memory_peak_bytes() {
                    self.measured(&mut instance.room, peak_bytes);
                }
                self.give_back(instance, tokio::time::Instant::now());
            }
            // Cannot be; dropped it is killed all the same.
            Err(instance) => error!(instance_id = %instance.id, "an instance without calls is in use"),
        }
    }
}

impl Starting {
    /// The instance is there: gives its starter a slot, and one to everyone who waits.
    pub(crate) fn open(self, instance: Instance) -> Slot {
        let instance = Arc::new(instance);
        let slot = |instance: &Arc<Instance>| Slot {
            pool: Arc::clone(&self.pool),
            place: self.place,
            instance: Some(Arc::clone(instance)),
            end: SlotEnd::Lost,
        };
        let own = slot(&instance);
        let waiting = {
            let mut places = self.pool.slots.lock();
            let place = places.places.iter_mut().find(|place| place.id == self.place);
            match place.map(|place| std::mem::replace(&mut place.state, State::Open(Arc::clone(&instance)))) {
                Some(State::Starting(waiting)) => waiting,
                _ => Vec::new(),
            }
        };
        for waiting in waiting {
            if let Err(mut unwanted) = waiting.send(slot(&instance)) {
                // Whoever waited has left; nothing was done with it.
                unwanted.end = SlotEnd::Free;
            }
        }
        own
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let mut places = self.pool.slots.lock();
        let starting = |place: &Place| place.id == self.place && matches!(place.state, State::Starting(_));
        if let Some(at) = places.places.iter().position(starting) {
            let place = places.places.remove(at);
            drop(places);
            drop(place);
        }
    }
}

impl Slot {
    /// The instance.
    pub fn instance(&self) -> Option<&Instance> {
        self.instance.as_deref()
    }

    /// Gives the slot back.
    pub fn finish(mut self, end: SlotEnd) {
        self.end = end;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(instance) = self.instance.take() {
            self.pool.give_slot_back(self.place, instance, self.end);
        }
    }
}
