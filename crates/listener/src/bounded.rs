//! Bodies of requests and answers, bounded in size and time.
//!
//! A request's body that is too long or too slow ends with an error for whoever reads it; the refusal is kept beside it, so that the
//! connection can answer 413 or 408 whatever the reader made of the error.

use crate::activity::Request;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a request's body was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// More bytes than `Limits::body_bytes`.
    TooLarge,
    /// Its sender kept us waiting: `Limits::body_bytes_per_second`.
    TooSlow,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TooLarge => "the request's body is too large",
            Self::TooSlow => "the request's body came too slowly",
        })
    }
}

impl std::error::Error for Refused {}

/// How much of a body that is too large is still read and thrown away, bytes: a client that is still sending when the connection
/// closes sees a broken pipe instead of the refusal.
const DISCARD_BYTES: u64 = 64 * 1024 * 1024;

/// What both sides of a request know of the end of its body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refusal(Arc<AtomicU8>);

impl Refusal {
    fn set(&self, refused: Refused) {
        let value = match refused {
            Refused::TooLarge => 1,
            Refused::TooSlow => 2,
        };
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Option<Refused> {
        match self.0.load(Ordering::Relaxed) {
            1 => Some(Refused::TooLarge),
            2 => Some(Refused::TooSlow),
            _ => None,
        }
    }
}

/// How long a body and how fast.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    pub bytes: Option<u64>,
    pub bytes_per_second: Option<u64>,
    /// Waiting that costs nothing.
    pub grace: Duration,
}

/// The body of a request as the service reads it.
#[derive(Debug)]
pub struct Received<B = hyper::body::Incoming> {
    inner: B,
    limits: BodyLimits,
    refusal: Refusal,
    bytes: u64,
    /// How long the reader has waited for the sender in all; what the reader takes is not the sender's fault.
    waited: Duration,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl<B> Received<B> {
    pub(crate) fn new(inner: B, limits: BodyLimits, refusal: Refusal) -> Self {
        Self { inner, limits, refusal, bytes: 0, waited: Duration::ZERO, waiting: None }
    }

    fn refuse(&self, refused: Refused) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.refusal.set(refused);
        Poll::Ready(Some(Err(refused.into())))
    }

    fn excess(&self) -> Option<Refused> {
        self.limits.bytes.is_some_and(|most| self.bytes > most).then_some(Refused::TooLarge)
    }

    fn most_discarded(&self) -> u64 {
        self.limits.bytes.unwrap_or(u64::MAX).saturating_add(DISCARD_BYTES)
    }

    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(allowed) = patience(self.limits, self.bytes) else { return Poll::Pending };
        let left = allowed.saturating_sub(self.waited);
        let waiting = self.waiting.get_or_insert_with(|| Waiting {
            since: Instant::now(),
            timer: Box::pin(tokio::time::sleep(left)),
        });
        waiting.timer.as_mut().poll(context)
    }
}

/// How long a sender may keep a reader waiting in all until it has sent so many bytes.
fn patience(limits: BodyLimits, bytes: u64) -> Option<Duration> {
    let rate = limits.bytes_per_second.filter(|rate| *rate > 0)?;
    Some(limits.grace.saturating_add(Duration::from_secs(bytes / rate)))
}

impl<B> Body for Received<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            if let Some(refused) = this.refusal.get() {
                return Poll::Ready(Some(Err(refused.into())));
            }
            let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) else {
                return match this.poll_patience(context) {
                    Poll::Ready(()) => this.refuse(this.excess().unwrap_or(Refused::TooSlow)),
                    Poll::Pending => Poll::Pending,
                };
            };
            if let Some(waiting) = this.waiting.take() {
                this.waited = this.waited.saturating_add(waiting.since.elapsed());
            }
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref);
            let is_data = data.is_some();
            this.bytes = this.bytes.saturating_add(data.map_or(0, |data| data.len() as u64));
            match this.excess() {
                None => return Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
                Some(_) if is_data && this.bytes <= this.most_discarded() => {}
                Some(refused) => return this.refuse(refused),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body of an answer: ends with an error when the request has had its time, and the request with it.
#[derive(Debug)]
pub(crate) struct Answered<B> {
    inner: B,
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    _request: Request,
}

impl<B> Answered<B> {
    pub(crate) fn new(inner: B, deadline: Option<Instant>, request: Request) -> Self {
        Self { inner, deadline, timer: None, _request: request }
    }
}

/// What a client sees as a connection that breaks off.
#[derive(Debug)]
struct TookTooLong;

impl fmt::Display for TookTooLong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the request took longer than it may")
    }
}

impl std::error::Error for TookTooLong {}

impl<B> Body for Answered<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        // Looked at before each piece, too: a client that reads slowly is always given the next one at once.
        if this.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Poll::Ready(Some(Err(TookTooLong.into())));
        }
        match Pin::new(&mut this.inner).poll_frame(context) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
            Poll::Pending => {
                let Some(deadline) = this.deadline else { return Poll::Pending };
                let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                match timer.as_mut().poll(context) {
                    Poll::Ready(()) => Poll::Ready(Some(Err(TookTooLong.into()))),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, Channel, Full};

    const LIMITS: BodyLimits =
        BodyLimits { bytes: Some(10), bytes_per_second: Some(5), grace: Duration::from_secs(3) };

    #[tokio::test]
    async fn a_body_is_as_long_as_it_may_be() {
        let refusal = Refusal::default();
        let whole = Received::new(Full::new(Bytes::from_static(b"0123456789")), LIMITS, refusal.clone());
        assert_eq!(whole.collect().await.unwrap().to_bytes(), "0123456789");
        assert_eq!(refusal.get(), None);
        let mut longer =
            Received::new(Full::new(Bytes::from_static(b"0123456789+")), LIMITS, refusal.clone());
        let error = longer.frame().await.unwrap().unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Refused::TooLarge));
        assert_eq!(refusal.get(), Some(Refused::TooLarge));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_sender_is_given_up_and_a_slow_reader_is_not_blamed() {
        let (mut sender, body) = Channel::<Bytes>::new(4);
        let refusal = Refusal::default();
        let mut body = Received::new(body, LIMITS, refusal.clone());
        sender.send_data(Bytes::from_static(b"01234")).await.unwrap();
        // The reader's own time.
        tokio::time::advance(Duration::from_secs(100)).await;
        body.frame().await.unwrap().unwrap();
        let began = Instant::now();
        // Three seconds of grace, and one that five bytes are worth.
        body.frame().await.unwrap().unwrap_err();
        let waited = began.elapsed();
        assert!((4_000..4_100).contains(&waited.as_millis()), "{waited:?}");
        assert_eq!(refusal.get(), Some(Refused::TooSlow));
        assert!(body.frame().await.unwrap().is_err(), "and stays so");
    }

    #[tokio::test(start_paused = true)]
    async fn waits_add_up() {
        let (mut sender, body) = Channel::<Bytes>::new(4);
        let limits = BodyLimits { bytes: None, bytes_per_second: Some(1_000), ..LIMITS };
        let mut body = Received::new(body, limits, Refusal::default());
        let drip = tokio::spawn(async move {
            // A byte each second: never silent for long, and never done.
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if sender.send_data(Bytes::from_static(b".")).await.is_err() {
                    return;
                }
            }
        });
        let mut pieces = 0;
        while body.frame().await.unwrap().is_ok() {
            pieces += 1;
        }
        assert!((2..=3).contains(&pieces), "{pieces}");
        drop(body);
        drip.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_ends_with_its_time() {
        let (mut sender, body) = Channel::<Bytes>::new(4);
        let request = Arc::new(crate::activity::Activity::new()).begin();
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut body = Answered::new(body, Some(deadline), request);
        sender.send_data(Bytes::from_static(b"begun")).await.unwrap();
        body.frame().await.unwrap().unwrap();
        assert!(body.frame().await.unwrap().is_err());
        assert!(Instant::now() >= deadline);
    }
}
