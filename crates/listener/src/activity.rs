//! What one connection is doing, and whether it has waited too long for it.
//!
//! The socket tells of bytes, the service of requests; the connection's task asks for a verdict. One rule for HTTP/1 and
//! HTTP/2, because hyper's own timer knows the heads of HTTP/1 only.

use crate::limits::Limits;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Shared by the parts of one connection.
#[derive(Debug)]
pub(crate) struct Activity {
    opened: Instant,
    requests: AtomicUsize,
    /// When each request that lives began, milliseconds from `opened`, with a number of its own: one request a connection with
    /// HTTP/1, `Limits::streams` with HTTP/2.
    begun: Mutex<BTreeSet<(u64, u64)>>,
    /// Requests so far.
    count: AtomicU64,
    /// Milliseconds from `opened` to the end of the last request.
    quiet_since: AtomicU64,
    /// Milliseconds from `opened` to the first byte after it, plus one; 0 while there is none.
    head_since: AtomicU64,
    is_http2: AtomicBool,
}

/// One look at a connection.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Since the oldest request that lives began.
    oldest: Option<Duration>,
    /// Since the last request ended.
    quiet: Duration,
    /// Since the first byte of an unfinished HTTP/1 head.
    head: Option<Duration>,
}

/// What is to become of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Look again after this time.
    Wait(Duration),
    /// Say goodbye: nothing was asked for a long time.
    Close,
    /// Cut it: a head is not coming to its end, or an answer is not taken.
    Cut,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self {
            opened: Instant::now(),
            requests: AtomicUsize::new(0),
            begun: Mutex::default(),
            count: AtomicU64::new(0),
            quiet_since: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            is_http2: AtomicBool::new(false),
        }
    }

    /// Bytes have come; `first` is the beginning of the connection's first ones.
    pub(crate) fn received(&self, first: Option<&[u8]>) {
        // Nothing but the preface of HTTP/2 begins so (RFC 9113, 3.4): no method of HTTP/1 is called PRI.
        if first.is_some_and(|bytes| bytes.starts_with(b"PRI")) {
            self.is_http2.store(true, Ordering::Relaxed);
        }
        if self.requests.load(Ordering::Relaxed) == 0 && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.milliseconds().saturating_add(1), Ordering::Relaxed);
        }
    }

    /// A request has come whole; it lasts until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Request {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        let key = (self.milliseconds(), self.count.fetch_add(1, Ordering::Relaxed));
        self.begun().insert(key);
        Request { activity: Arc::clone(self), key }
    }

    /// What is to become of the connection now.
    pub(crate) fn verdict(&self, limits: &Limits) -> Verdict {
        let now = self.milliseconds();
        let since = |then: u64| Duration::from_millis(now.saturating_sub(then));
        let head = match self.head_since.load(Ordering::Relaxed) {
            0 => None,
            _ if self.is_http2.load(Ordering::Relaxed) => None,
            then => Some(since(then - 1)),
        };
        let quiet = since(self.quiet_since.load(Ordering::Relaxed));
        let oldest = self.begun().first().map(|(began, _)| since(*began));
        verdict(Seen { oldest, quiet, head }, limits)
    }

    /// A panic leaves the set whole.
    fn begun(&self) -> MutexGuard<'_, BTreeSet<(u64, u64)>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Counts one request as long as it lives.
#[derive(Debug)]
pub(crate) struct Request {
    activity: Arc<Activity>,
    /// Its entry in `Activity::begun`.
    key: (u64, u64),
}

impl Drop for Request {
    fn drop(&mut self) {
        let activity = &self.activity;
        activity.quiet_since.store(activity.milliseconds(), Ordering::Relaxed);
        activity.begun().remove(&self.key);
        activity.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A head may begin right after the look, so the next look is never later than the time a head has.
///
/// A body's own deadline is seen only when it is asked for its next piece, and hyper asks for none while the client takes nothing. So
/// the connection is cut once a request is over its time, after as long as a head has: a refusal or a reset gets that long to go out.
fn verdict(seen: Seen, limits: &Limits) -> Verdict {
    /// Timers are no finer; without it a look at the last moment would be followed by many.
    const LEAST: Duration = Duration::from_millis(1);
    let wait = |left: Duration| Verdict::Wait(left.min(limits.head_time).max(LEAST));
    match seen {
        Seen { oldest: Some(oldest), .. } => {
            let most = limits.request_time.map(|time| time.saturating_add(limits.head_time));
            match most.map_or(Duration::MAX, |most| most.saturating_sub(oldest)) {
                Duration::ZERO => Verdict::Cut,
                left => wait(left),
            }
        }
        Seen { head: Some(head), .. } if head >= limits.head_time => Verdict::Cut,
        Seen { head: Some(head), .. } => wait(limits.head_time.saturating_sub(head)),
        Seen { quiet, .. } if quiet >= limits.idle_time => Verdict::Close,
        Seen { quiet, .. } => wait(limits.idle_time.saturating_sub(quiet)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> Limits {
        Limits { head_time: 10 * SECOND, idle_time: 60 * SECOND, ..Limits::api() }
    }

    #[test]
    fn heads_have_their_time_and_silence_its_own() {
        let seen = |oldest: Option<u32>, quiet: u32, head: Option<u32>| {
            let seconds = |number: Option<u32>| number.map(|number| SECOND * number);
            let seen = Seen { oldest: seconds(oldest), quiet: SECOND * quiet, head: seconds(head) };
            verdict(seen, &limits())
        };
        assert_eq!(seen(None, 0, None), Verdict::Wait(10 * SECOND));
        assert_eq!(seen(None, 55, None), Verdict::Wait(5 * SECOND));
        assert_eq!(seen(None, 60, None), Verdict::Close);
        assert_eq!(seen(None, 59, Some(3)), Verdict::Wait(7 * SECOND));
        assert_eq!(seen(None, 11, Some(10)), Verdict::Cut);
        // A head that began within the idle time is not cut by it.
        assert_eq!(seen(None, 65, Some(6)), Verdict::Wait(4 * SECOND));
        assert_eq!(seen(Some(900), 900, Some(900)), Verdict::Wait(10 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_beyond_its_time_cuts_the_connection() {
        let limits = Limits { request_time: Some(30 * SECOND), ..limits() };
        let activity = Arc::new(Activity::new());
        let first = activity.begin();
        tokio::time::advance(20 * SECOND).await;
        let second = activity.begin();
        tokio::time::advance(15 * SECOND).await;
        assert_eq!(
            activity.verdict(&limits),
            Verdict::Wait(5 * SECOND),
            "its time is over, its goodbye is not"
        );
        tokio::time::advance(5 * SECOND).await;
        assert_eq!(activity.verdict(&limits), Verdict::Cut, "whatever else goes on");
        drop(first);
        assert_eq!(activity.verdict(&limits), Verdict::Wait(10 * SECOND), "the other one is in time");
        drop(second);
        assert_eq!(activity.verdict(&limits), Verdict::Wait(10 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_and_requests_are_told_apart() {
        let activity = Arc::new(Activity::new());
        tokio::time::advance(50 * SECOND).await;
        activity.received(Some(b"GET"));
        tokio::time::advance(4 * SECOND).await;
        // Drops of a head do not make it begin anew.
        activity.received(None);
        assert_eq!(activity.verdict(&limits()), Verdict::Wait(6 * SECOND));
        let request = activity.begin();
        activity.received(None);
        tokio::time::advance(500 * SECOND).await;
        assert_eq!(activity.verdict(&limits()), Verdict::Wait(10 * SECOND));
        drop(request);
        tokio::time::advance(51 * SECOND).await;
        assert_eq!(activity.verdict(&limits()), Verdict::Wait(9 * SECOND));
        activity.received(None);
        tokio::time::advance(10 * SECOND).await;
        assert_eq!(activity.verdict(&limits()), Verdict::Cut);
    }

    #[tokio::test(start_paused = true)]
    async fn frames_of_http2_are_no_request() {
        let activity = Arc::new(Activity::new());
        activity.received(Some(b"PRI * HTTP/2.0\r\n"));
        tokio::time::advance(11 * SECOND).await;
        assert_eq!(
            activity.verdict(&limits()),
            Verdict::Wait(10 * SECOND),
            "it may wait for its first request"
        );
        tokio::time::advance(49 * SECOND).await;
        activity.received(None);
        assert_eq!(activity.verdict(&limits()), Verdict::Close, "a ping does not keep it open");
    }
}
