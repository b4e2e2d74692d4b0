//! Events of one subscription that wait to be sent: a bounded queue, in batches. No I/O; the clock is an argument.

use super::subscription::Buffering;
use bytes::Bytes;
use std::collections::VecDeque;
use tokio::time::Instant;

/// What waits may be so many batches: one is sent, one is collected meanwhile. Beyond it events are dropped and counted.
const BATCHES: usize = 2;

/// Events that were dropped since it was told last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// How many.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Dropped {
    /// Counts one.
    pub fn add(&mut self, bytes: usize) {
        self.records += 1;
        self.bytes += bytes as u64;
    }
}

/// When the next batch is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Now.
    Now,
    /// Then, if nothing comes.
    At(Instant),
    /// When something has come.
    Never,
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    buffering: Buffering,
    waiting: VecDeque<Bytes>,
    bytes: usize,
    /// When the oldest came, or the batch before it was taken.
    since: Option<Instant>,
    dropped: Dropped,
    flush: bool,
}

impl Queue {
    /// Nothing waits.
    pub fn new(buffering: Buffering) -> Self {
        let (waiting, dropped) = (VecDeque::new(), Dropped::default());
        Self { buffering, waiting, bytes: 0, since: None, dropped, flush: false }
    }

    /// Adds an event, or drops it when there is no room.
    pub fn push(&mut self, event: Bytes, now: Instant) {
        let full = self.waiting.len() >= BATCHES * self.buffering.max_items
            || self.bytes + event.len() > BATCHES * self.buffering.max_bytes;
        if full {
            self.dropped.add(event.len());
            return;
        }
        self.bytes += event.len();
        self.since.get_or_insert(now);
        self.waiting.push_back(event);
    }

    /// Counts events that were dropped elsewhere.
    pub fn note_dropped(&mut self, dropped: Dropped) {
        self.dropped.records += dropped.records;
        self.dropped.bytes += dropped.bytes;
    }

    /// What waits is due at once.
    pub fn flush(&mut self) {
        self.flush = true;
    }

    /// When a batch is to be taken.
    pub fn due(&self) -> Due {
        let Some(since) = self.since else { return Due::Never };
        let Buffering { max_items, max_bytes, timeout } = self.buffering;
        if self.flush || self.waiting.len() >= max_items || self.bytes >= max_bytes {
            return Due::Now;
        }
        Due::At(since + timeout)
    }

    /// The next batch, and what was dropped since the last one. The events it is made of have left the queue.
    pub fn take(&mut self, now: Instant) -> (Vec<Bytes>, Dropped) {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < self.buffering.max_items && bytes < self.buffering.max_bytes {
            let Some(event) = self.waiting.pop_front() else { break };
            bytes += event.len();
            batch.push(event);
        }
        self.bytes -= bytes;
        self.since = (!self.waiting.is_empty()).then_some(now);
        self.flush &= self.since.is_some();
        (batch, std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn queue() -> Queue {
        Queue::new(Buffering { max_items: 3, max_bytes: 100, timeout: Duration::from_millis(25) })
    }

    fn event(length: usize) -> Bytes {
        Bytes::from(vec![b'x'; length])
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_due_by_age_number_or_size() {
        let now = Instant::now();
        let later = now + Duration::from_millis(10);
        let mut waits = queue();
        assert_eq!(waits.due(), Due::Never);
        waits.push(event(1), now);
        waits.push(event(1), later);
        assert_eq!(waits.due(), Due::At(now + Duration::from_millis(25)));
        waits.push(event(1), later);
        assert_eq!(waits.due(), Due::Now);
        assert_eq!(waits.take(later), (vec![event(1); 3], Dropped::default()));
        assert_eq!(waits.due(), Due::Never);
        waits.push(event(100), now);
        assert_eq!(waits.due(), Due::Now);
        let mut flushed = queue();
        flushed.flush();
        flushed.push(event(1), now);
        assert_eq!(flushed.due(), Due::Now);
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_no_room_is_counted() {
        let now = Instant::now();
        let mut waits = queue();
        for _ in 0..8 {
            waits.push(event(10), now);
        }
        assert_eq!(waits.take(now), (vec![event(10); 3], Dropped { records: 2, bytes: 20 }));
        assert_eq!(waits.due(), Due::Now, "a whole batch is left");
        assert_eq!(waits.take(now), (vec![event(10); 3], Dropped::default()));
        let mut large = queue();
        large.push(event(150), now);
        large.push(event(51), now);
        large.push(event(50), now);
        assert_eq!(large.take(now), (vec![event(150)], Dropped { records: 1, bytes: 51 }));
        assert_eq!(large.take(now).0, [event(50)]);
    }
}
