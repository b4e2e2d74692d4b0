//! Memory that the bodies of many requests share: each takes as much as has come of it, and gives it back when it is dropped.
//!
//! Bounds of one body and of the number of connections multiply; this one does not. It is two parts, so that a request that is small,
//! as most are, finds room however many large ones there are; and in each part a sender with several bodies may hold at most
//! `SHARE_OF_FREE` times what is left free, so that whoever comes next finds some, however slow the others are.

use crate::connections::sender;
use bytes::Bytes;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bodies up to so many bytes are small.
pub const SMALL_BYTES: usize = 64 * 1024;
/// One part of so many is kept for small bodies.
const SMALL_PART: usize = 8;
/// A sender alone gets three quarters of a part, n senders 3 of 3n + 1 parts together. Dynamic thresholds: Choudhury and Hahne,
/// "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998.
const SHARE_OF_FREE: usize = 3;

/// How much there is, and how much of it is taken.
#[derive(Debug)]
pub struct Memory(Mutex<Parts>);

#[derive(Debug)]
struct Parts {
    small: Part,
    large: Part,
}

#[derive(Debug, Default)]
struct Part {
    most: usize,
    taken: usize,
    of_senders: HashMap<IpAddr, usize>,
}

impl Memory {
    /// Of so many bytes.
    pub fn new(bytes: usize) -> Self {
        let (small, large) = parts(bytes);
        let part = |most| Part { most, ..Part::default() };
        Self(Mutex::new(Parts { small: part(small), large: part(large) }))
    }

    /// Changes how much there is. What is taken stays taken, also where it is more.
    pub fn set(&self, bytes: usize) {
        let mut parts = self.parts();
        (parts.small.most, parts.large.most) = self::parts(bytes);
    }

    /// What the bodies of one sender (an IPv4 address, a /64 of IPv6) may take of it.
    pub fn of(self: &Arc<Self>, address: IpAddr) -> Share {
        Share { memory: Arc::clone(self), sender: sender(address) }
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        // Nothing that holds it can panic between two changes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Memory {
    /// Without a bound.
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

/// Bytes for small bodies, and for large ones.
fn parts(bytes: usize) -> (usize, usize) {
    let small = bytes / SMALL_PART;
    (small, bytes - small)
}

impl Part {
    /// Makes a body of `sender` that has taken `before` here `more` larger, if it may be.
    fn grow(&mut self, sender: IpAddr, before: usize, more: usize) -> bool {
        let held = self.of_senders.get(&sender).copied().unwrap_or_default();
        let Some(taken) = self.taken.checked_add(more).filter(|taken| *taken <= self.most) else {
            return false;
        };
        // Its only body may be as large as there is room: nothing is gained by refusing it.
        let is_only = held == before;
        let after = held.saturating_add(more);
        if !is_only && after > (self.most - taken).saturating_mul(SHARE_OF_FREE) {
            return false;
        }
        self.taken = taken;
        self.of_senders.insert(sender, after);
        true
    }

    fn give_back(&mut self, sender: IpAddr, bytes: usize) {
        self.taken = self.taken.saturating_sub(bytes);
        if let Entry::Occupied(mut entry) = self.of_senders.entry(sender) {
            *entry.get_mut() = entry.get().saturating_sub(bytes);
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// The memory as one sender sees it.
#[derive(Debug, Clone)]
pub struct Share {
    memory: Arc<Memory>,
    sender: IpAddr,
}

/// What one body has taken.
#[derive(Debug)]
pub(crate) struct Taken {
    share: Share,
    bytes: usize,
    /// Of which part: a small body that finds no room in its own looks in the other.
    is_large: bool,
}

impl Taken {
    pub(crate) fn nothing(share: Share) -> Self {
        Self { share, bytes: 0, is_large: false }
    }

    /// Whether there was room for so many more.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let sender = self.share.sender;
        let mut parts = self.share.memory.parts();
        let Some(whole) = self.bytes.checked_add(bytes) else { return false };
        let has_room = if self.is_large {
            parts.large.grow(sender, self.bytes, bytes)
        } else if whole <= SMALL_BYTES && parts.small.grow(sender, self.bytes, bytes) {
            true
        } else if parts.large.grow(sender, 0, whole) {
            parts.small.give_back(sender, self.bytes);
            self.is_large = true;
            true
        } else {
            false
        };
        if has_room {
            self.bytes = whole;
        }
        has_room
    }

    /// The bytes, which keep their room until the last clone is dropped.
    pub(crate) fn keep(self, bytes: Bytes) -> Bytes {
        if bytes.is_empty() { bytes } else { Bytes::from_owner(Kept { bytes, _taken: self }) }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut parts = self.share.memory.parts();
        let part = if self.is_large { &mut parts.large } else { &mut parts.small };
        part.give_back(self.share.sender, self.bytes);
    }
}

struct Kept {
    bytes: Bytes,
    _taken: Taken,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{BodyError, read_answer, read_within};
    use http_body_util::{BodyExt as _, Channel, Full};

    const KIB: usize = 1024;

    fn of(kib: usize) -> Full<Bytes> {
        Full::new(vec![b'x'; kib * KIB].into())
    }

    fn share(memory: &Arc<Memory>, address: &str) -> Share {
        memory.of(address.parse().unwrap())
    }

    fn taken(memory: &Memory) -> (usize, usize) {
        let parts = memory.parts();
        assert!(parts.small.taken > 0 || parts.small.of_senders.is_empty(), "forgotten");
        assert!(parts.large.taken > 0 || parts.large.of_senders.is_empty(), "forgotten");
        (parts.small.taken / KIB, parts.large.taken / KIB)
    }

    #[tokio::test]
    async fn bodies_share_it_until_they_are_dropped() {
        // 800 KiB for large bodies.
        let memory = Arc::new(Memory::new(915 * KIB));
        let (one, two) = (share(&memory, "192.0.2.1"), share(&memory, "192.0.2.2"));
        let first = read_within(of(500), usize::MAX, &one).await.unwrap();
        assert_eq!(first.len(), 500 * KIB);
        assert_eq!(read_within(of(301), usize::MAX, &two).await, Err(BodyError::NoRoom));
        let second = read_within(of(300), usize::MAX, &two).await.unwrap();
        let part = second.slice(1..2);
        drop(second);
        assert_eq!(
            read_within(of(300), usize::MAX, &two).await,
            Err(BodyError::NoRoom),
            "a part of it is used"
        );
        drop(part);
        drop(read_within(of(300), usize::MAX, &two).await.unwrap());
        memory.set(600 * KIB);
        assert_eq!(read_within(of(100), usize::MAX, &two).await, Err(BodyError::NoRoom));
        drop(first);
        assert!(read_within(of(100), usize::MAX, &two).await.is_ok());
        assert_eq!(taken(&memory), (0, 0));
    }

    #[tokio::test]
    async fn a_sender_with_many_bodies_leaves_room_for_others() {
        let memory = Arc::new(Memory::new(8_000 * KIB));
        let mut kept = Vec::new();
        for (sender, expected) in
            [("192.0.2.1", 52), ("192.0.2.2", 13), ("2001:db8::1", 3), ("2001:db8::2", 0)]
        {
            let before = kept.len();
            while let Ok(body) = read_within(of(100), usize::MAX, &share(&memory, sender)).await {
                kept.push(body);
            }
            assert_eq!(kept.len() - before, expected, "{sender}");
        }
        // One body of whoever has none passes as long as there is any room.
        let last = read_within(of(200), usize::MAX, &share(&memory, "192.0.2.9")).await.unwrap();
        assert_eq!(taken(&memory), (0, 7_000));
        // And what is small has a part of its own, the same in all that matters.
        let mut small = 0;
        while let Ok(body) = read_within(of(64), usize::MAX, &share(&memory, "192.0.2.1")).await {
            kept.push(body);
            small += 1;
        }
        assert_eq!(small, 11, "three quarters of a thousand");
        assert!(read_within(of(64), usize::MAX, &share(&memory, "192.0.2.2")).await.is_ok());
        drop((kept, last));
        assert_eq!(taken(&memory), (0, 0));
    }

    #[tokio::test]
    async fn small_bodies_may_use_what_large_ones_leave() {
        let memory = Arc::new(Memory::new(800 * KIB));
        let mut kept = Vec::new();
        while let Ok(body) = read_within(of(50), usize::MAX, &share(&memory, "192.0.2.1")).await {
            kept.push(body);
        }
        assert_eq!(taken(&memory), (50, 500));
    }

    #[tokio::test]
    async fn what_has_come_counts_and_what_is_announced_does_not() {
        let memory = Arc::new(Memory::new(800 * KIB));
        let (mut sender, body) = Channel::<Bytes>::new(4);
        let reading = tokio::spawn({
            let share = share(&memory, "192.0.2.1");
            async move { read_within(body, usize::MAX, &share).await }
        });
        // A small one that becomes a large one.
        for (piece, expected) in [(60, (60, 0)), (500, (0, 560))] {
            sender.send_data(vec![0; piece * KIB].into()).await.unwrap();
            while taken(&memory) != expected {
                tokio::task::yield_now().await;
            }
        }
        let other = share(&memory, "192.0.2.2");
        assert_eq!(read_within(of(200), usize::MAX, &other).await, Err(BodyError::NoRoom));
        // Its client goes away.
        reading.abort();
        reading.await.unwrap_err();
        assert!(read_within(of(200).boxed_unsync(), usize::MAX, &other).await.is_ok());
    }

    #[tokio::test]
    async fn a_refused_body_holds_nothing_while_the_rest_of_it_is_awaited() {
        let memory = Arc::new(Memory::new(800 * KIB));
        let (mut sender, body) = Channel::<Bytes>::new(4);
        let refused = tokio::spawn({
            let share = share(&memory, "192.0.2.1");
            async move { read_within(body, 500 * KIB, &share).await }
        });
        sender.send_data(vec![0; 300 * KIB].into()).await.unwrap();
        while taken(&memory) != (0, 300) {
            tokio::task::yield_now().await;
        }
        // It is too large now; its sender stalls, and would be heard for a while.
        sender.send_data(vec![0; 300 * KIB].into()).await.unwrap();
        while taken(&memory) != (0, 0) {
            tokio::task::yield_now().await;
        }
        assert!(!refused.is_finished());
        drop(sender);
        assert_eq!(refused.await.unwrap(), Err(BodyError::TooLarge { bytes: 600 * KIB }));
    }

    #[tokio::test]
    async fn an_answer_that_is_too_much_is_refused_at_once() {
        let memory = Arc::new(Memory::new(800 * KIB));
        let (mut sender, body) = Channel::<Bytes>::new(4);
        sender.send_data(vec![0; 600 * KIB].into()).await.unwrap();
        sender.send_data(vec![0; 600 * KIB].into()).await.unwrap();
        let one = share(&memory, "192.0.2.1");
        assert_eq!(read_answer(body, usize::MAX, Some(&one)).await, Err(BodyError::NoRoom));
        assert_eq!(taken(&memory), (0, 0));
        let kept = read_answer(of(600), usize::MAX, Some(&one)).await.unwrap();
        assert_eq!(taken(&memory), (0, 600));
        drop(kept);
        assert_eq!(taken(&memory), (0, 0));
    }
}
