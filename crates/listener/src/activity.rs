//! What one connection is doing, and whether it has waited too long for it.
//!
//! The socket tells of bytes, the service of requests; the connection's task asks for a verdict. One rule for HTTP/1 and
//! HTTP/2, because hyper's own timer knows the heads of HTTP/1 only.

use crate::limits::Limits;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Shared by the parts of one connection.
#[derive(Debug)]
pub(crate) struct Activity {
    opened: Instant,
    requests: AtomicUsize,
    /// Milliseconds from `opened` to the end of the last request.
    quiet_since: AtomicU64,
    /// Milliseconds from `opened` to the first byte after it, plus one; 0 while there is none.
    head_since: AtomicU64,
    is_http2: AtomicBool,
}

/// One look at a connection.
#[derive(Debug, Clone, Copy)]
struct Seen {
    requests: usize,
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
    /// Cut it: a head is not coming to its end.
    Cut,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self {
            opened: Instant::now(),
            requests: AtomicUsize::new(0),
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
        Request(Arc::clone(self))
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
        verdict(Seen { requests: self.requests.load(Ordering::Relaxed), quiet, head }, limits)
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Counts one request as long as it lives.
#[derive(Debug)]
pub(crate) struct Request(Arc<Activity>);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.quiet_since.store(self.0.milliseconds(), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A head may begin right after the look, so the next look is never later than the time a head has.
fn verdict(seen: Seen, limits: &Limits) -> Verdict {
    /// Timers are no finer; without it a look at the last moment would be followed by many.
    const LEAST: Duration = Duration::from_millis(1);
    let wait = |left: Duration| Verdict::Wait(left.min(limits.head_time).max(LEAST));
    match seen {
        Seen { requests: 1.., .. } => wait(limits.head_time),
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
        let seen = |requests, quiet: u32, head: Option<u32>| {
            verdict(Seen { requests, quiet: SECOND * quiet, head: head.map(|head| SECOND * head) }, &limits())
        };
        assert_eq!(seen(0, 0, None), Verdict::Wait(10 * SECOND));
        assert_eq!(seen(0, 55, None), Verdict::Wait(5 * SECOND));
        assert_eq!(seen(0, 60, None), Verdict::Close);
        assert_eq!(seen(0, 59, Some(3)), Verdict::Wait(7 * SECOND));
        assert_eq!(seen(0, 11, Some(10)), Verdict::Cut);
        // A head that began within the idle time is not cut by it.
        assert_eq!(seen(0, 65, Some(6)), Verdict::Wait(4 * SECOND));
        assert_eq!(seen(3, 900, Some(900)), Verdict::Wait(10 * SECOND));
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
