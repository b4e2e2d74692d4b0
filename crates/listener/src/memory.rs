//! Memory that the bodies of many requests share: each takes as much as has come of it, and gives it back when it is dropped.
//!
//! Bounds of one body and of the number of connections multiply; this one does not.

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much there is, and how much of it is taken.
#[derive(Debug)]
pub struct Memory {
    most: AtomicUsize,
    taken: AtomicUsize,
}

impl Memory {
    /// Of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self { most: AtomicUsize::new(bytes), taken: AtomicUsize::new(0) }
    }

    /// Changes how much there is. What is taken stays taken, also where it is more.
    pub fn set(&self, bytes: usize) {
        self.most.store(bytes, Ordering::Relaxed);
    }

    fn take(&self, bytes: usize) -> bool {
        let most = self.most.load(Ordering::Relaxed);
        let more = |taken: usize| taken.checked_add(bytes).filter(|sum| *sum <= most);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

impl Default for Memory {
    /// Without a bound.
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

/// What one body has taken.
#[derive(Debug)]
pub(crate) struct Taken {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Taken {
    pub(crate) fn nothing(memory: Arc<Memory>) -> Self {
        Self { memory, bytes: 0 }
    }

    /// Whether there was room for so many more.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let has_room = self.memory.take(bytes);
        if has_room {
            self.bytes += bytes;
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
        self.memory.taken.fetch_sub(self.bytes, Ordering::Relaxed);
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
    use crate::body::{BodyError, read_within};
    use http_body_util::{BodyExt as _, Channel, Full};

    fn five() -> Full<Bytes> {
        Full::new(Bytes::from_static(b"12345"))
    }

    #[tokio::test]
    async fn bodies_share_it_until_they_are_dropped() {
        let memory = Arc::new(Memory::new(12));
        let first = read_within(five(), 10, &memory).await.unwrap();
        assert_eq!(first, "12345");
        let second = read_within(five(), 10, &memory).await.unwrap();
        assert_eq!(read_within(five(), 10, &memory).await, Err(BodyError::NoRoom));
        let part = second.slice(1..2);
        drop(second);
        assert_eq!(read_within(five(), 10, &memory).await, Err(BodyError::NoRoom), "a part of it is used");
        drop(part);
        drop(read_within(five(), 10, &memory).await.unwrap());
        memory.set(9);
        assert_eq!(read_within(five(), 10, &memory).await, Err(BodyError::NoRoom));
        drop(first);
        assert!(read_within(five(), 10, &memory).await.is_ok());
        assert_eq!(memory.taken.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn what_has_come_counts_and_what_is_announced_does_not() {
        let memory = Arc::new(Memory::new(8));
        let (mut sender, body) = Channel::<Bytes>::new(4);
        let reading = tokio::spawn({
            let memory = Arc::clone(&memory);
            async move { read_within(body, 100, &memory).await }
        });
        sender.send_data(Bytes::from_static(b"123456")).await.unwrap();
        while memory.taken.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(read_within(five(), 10, &memory).await, Err(BodyError::NoRoom));
        // Its client goes away.
        reading.abort();
        reading.await.unwrap_err();
        assert!(read_within(five().boxed_unsync(), 10, &memory).await.is_ok());
    }
}
