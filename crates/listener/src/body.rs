//! Request bodies, read whole and never beyond a bound.

use crate::memory::{Share, Taken};
use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;
use std::time::Duration;

/// How much of a refused body is still read and thrown away, bytes. A client that is still sending when the
/// connection closes sees a broken pipe instead of the answer.
const DISCARD_BYTES: usize = 256 * 1024 * 1024;
/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a refused body is still read.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(15);
/// First allocation for a body whose length is not known, bytes.
const FIRST_ALLOCATION_BYTES: usize = 16 * 1024;

/// Why there is no body.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is longer than the bound.
    #[error("the body of {bytes} bytes is too large")]
    TooLarge {
        /// Its length as announced, or as far as it was read.
        bytes: usize,
    },
    /// The client went away or broke the framing.
    #[error("failed to read the body")]
    Broken,
    /// Other bodies have taken all the memory there is for them.
    #[error("there is no room for the body beside others")]
    NoRoom,
    /// The client took too long.
    #[error("the body took too long")]
    Slow,
}

/// Reads a body of at most `limit` bytes.
///
/// A longer one is read on and thrown away up to a bound, so that the client gets to read the refusal.
pub async fn read(body: impl Body<Data = Bytes> + Unpin, limit: usize) -> Result<Bytes, BodyError> {
    or_discard(body, limit, None).await
}

/// Reads a body of at most `limit` bytes into memory that it shares with others, and keeps its room there as long as it lives.
///
/// Fails with `BodyError::NoRoom` when they, or others of its sender, have taken it; the body is read on and thrown away then, too.
pub async fn read_within(
    body: impl Body<Data = Bytes> + Unpin,
    limit: usize,
    memory: &Share,
) -> Result<Bytes, BodyError> {
    or_discard(body, limit, Some(memory)).await
}

/// Reads the body of an answer that this side asked for, of at most `limit` bytes, into memory that it shares with others where one is
/// given. Fails as `read_within` does, but at once: nobody waits to be told.
pub async fn read_answer(
    mut body: impl Body<Data = Bytes> + Unpin,
    limit: usize,
    memory: Option<&Share>,
) -> Result<Bytes, BodyError> {
    read_taking(&mut body, limit, memory).await
}

async fn or_discard(
    mut body: impl Body<Data = Bytes> + Unpin,
    limit: usize,
    memory: Option<&Share>,
) -> Result<Bytes, BodyError> {
    // What was taken is given back before the rest is read: others need not wait for whoever sends it.
    let result = read_taking(&mut body, limit, memory).await;
    if let Err(BodyError::TooLarge { .. } | BodyError::NoRoom) = result {
        discard(body).await;
    }
    result
}

async fn read_taking(
    body: &mut (impl Body<Data = Bytes> + Unpin),
    limit: usize,
    memory: Option<&Share>,
) -> Result<Bytes, BodyError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(BodyError::TooLarge { bytes: announced });
    }
    let reading = async {
        let mut taken = memory.map(|memory| Taken::nothing(memory.clone()));
        let mut first: Option<Bytes> = None;
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
            let bytes = first.as_ref().map_or(0, Bytes::len) + whole.len() + data.len();
            if bytes > limit {
                return Err(BodyError::TooLarge { bytes });
            }
            if taken.as_mut().is_some_and(|taken| !taken.grow(data.len())) {
                return Err(BodyError::NoRoom);
            }
            match first.take() {
                // The usual body is one piece and is not copied.
                None if whole.is_empty() => first = Some(data),
                piece => {
                    if let Some(piece) = piece {
                        whole.reserve(announced.max(FIRST_ALLOCATION_BYTES).min(limit));
                        whole.extend_from_slice(&piece);
                    }
                    whole.extend_from_slice(&data);
                }
            }
        }
        let whole = first.unwrap_or_else(|| whole.freeze());
        Ok(match taken {
            Some(taken) => taken.keep(whole),
            None => whole,
        })
    };
    tokio::time::timeout(BODY_TIMEOUT, reading).await.unwrap_or(Err(BodyError::Slow))
}

/// Reads on and throws away, within bounds, so that a client that is still sending gets to read a refusal.
pub async fn discard(mut body: impl Body<Data = Bytes> + Unpin) {
    let reading = async {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > DISCARD_BYTES {
                break;
            }
        }
    };
    // Whether it ended or the time did, the answer is the same refusal.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::{Frame, SizeHint};
    use http_body_util::{Full, StreamBody};
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// A body whose length nobody announced.
    fn pieces(pieces: &[&'static [u8]]) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        let frames: Vec<Result<Frame<Bytes>, Infallible>> =
            pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece)))).collect();
        StreamBody::new(futures_util::stream::iter(frames))
    }

    fn announced(text: &'static str) -> Full<Bytes> {
        Full::new(Bytes::from_static(text.as_bytes()))
    }

    /// A body that never comes.
    struct Silent;

    impl Body for Silent {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::default()
        }
    }

    #[tokio::test]
    async fn whole_bodies_up_to_the_bound() {
        assert_eq!(read(pieces(&[b"ab", b"cd", b"e"]), 5).await, Ok(Bytes::from_static(b"abcde")));
        assert_eq!(read(pieces(&[]), 5).await, Ok(Bytes::new()));
        assert_eq!(read(announced("abcde"), 5).await, Ok(Bytes::from_static(b"abcde")));
        assert_eq!(read(pieces(&[b"abc", b"def"]), 5).await, Err(BodyError::TooLarge { bytes: 6 }));
        assert_eq!(read(announced("abcdefgh"), 5).await, Err(BodyError::TooLarge { bytes: 8 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_given_up() {
        assert_eq!(read(Silent, 5).await, Err(BodyError::Slow));
    }
}
