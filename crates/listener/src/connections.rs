//! Who may open one more connection: counts all, and those of each sender.

use crate::limits::Limits;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Open connections of one listener.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    counts: Mutex<Counts>,
    /// Told whenever one closes.
    room: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    of_senders: HashMap<IpAddr, usize>,
}

/// One open connection, counted as long as this lives.
#[derive(Debug)]
pub(crate) struct Open {
    connections: Arc<Connections>,
    sender: IpAddr,
}

impl Connections {
    /// Waits until there may be one more. `limits` is asked again whenever one closes.
    pub(crate) async fn room(&self, limits: impl Fn() -> usize) {
        loop {
            // Asked for before the look, so that one that closes in between is not missed.
            let told = self.room.notified();
            if self.counts().all < limits() {
                return;
            }
            told.await;
        }
    }

    /// Counts one more, unless its sender has as many as it may.
    pub(crate) fn open(self: &Arc<Self>, address: IpAddr, limits: &Limits) -> Option<Open> {
        let sender = sender(address);
        let mut counts = self.counts();
        let of_sender = counts.of_senders.entry(sender).or_default();
        if limits.connections_of_an_address.is_some_and(|most| *of_sender >= most) {
            if *of_sender == 0 {
                counts.of_senders.remove(&sender);
            }
            return None;
        }
        *of_sender += 1;
        counts.all += 1;
        Some(Open { connections: Arc::clone(self), sender })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Nothing that holds it can panic between two changes.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut counts = self.connections.counts();
        counts.all = counts.all.saturating_sub(1);
        if let Entry::Occupied(mut entry) = counts.of_senders.entry(self.sender) {
            *entry.get_mut() = entry.get().saturating_sub(1);
            if *entry.get() == 0 {
                entry.remove();
            }
        }
        drop(counts);
        self.connections.room.notify_one();
    }
}

/// Whom an address stands for: providers give each customer a /64 of IPv6 at least (RFC 6177), so that single addresses say
/// nothing.
pub(crate) fn sender(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_sender_has_its_share() {
        let limits = Limits { connections_of_an_address: Some(2), ..Limits::api() };
        let connections = Arc::new(Connections::default());
        let one = connections.open(address("192.0.2.1"), &limits);
        let two = connections.open(address("::ffff:192.0.2.1"), &limits);
        assert!(one.is_some() && two.is_some());
        assert!(connections.open(address("192.0.2.1"), &limits).is_none());
        assert!(connections.open(address("192.0.2.2"), &limits).is_some());
        drop(one);
        assert!(connections.open(address("192.0.2.1"), &limits).is_some());
        let _first = connections.open(address("2001:db8::1"), &limits);
        let _second = connections.open(address("2001:db8::2"), &limits);
        assert!(connections.open(address("2001:db8::3"), &limits).is_none(), "the same /64");
        assert!(connections.open(address("2001:db8:0:1::3"), &limits).is_some());
        let none = Limits { connections_of_an_address: Some(0), ..Limits::api() };
        assert!(connections.open(address("192.0.2.9"), &none).is_none());
        drop(two);
        assert_eq!(connections.counts().of_senders.len(), 1, "what is closed is forgotten");
    }

    #[tokio::test]
    async fn the_next_one_waits_for_room() {
        let connections = Arc::new(Connections::default());
        let first = connections.open(address("192.0.2.1"), &Limits::api());
        let mut waiting = std::pin::pin!(connections.room(|| 1));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        drop(first);
        waiting.await;
    }
}
