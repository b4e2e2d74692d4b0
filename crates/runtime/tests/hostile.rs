//! What a function's process may do to its end of the frames: anything, and nobody else notices.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

use bytes::Bytes;
use lamplight_model::RequestId;
use lamplight_runtime::{
    AnswerLimits, AnswerSink, Conversation, ConversationError, Event, Reply, StreamLimits,
};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

/// Of an operator who lets streams pass as fast as they are read.
const LIMITS: AnswerLimits = AnswerLimits {
    buffered_bytes: 100,
    stream: StreamLimits { bytes: 200 << 20, unhindered_bytes: 0, bytes_per_second: 0 },
};

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32 + 1).to_be_bytes().to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(payload);
    bytes
}

fn log(text: &str) -> Vec<u8> {
    frame(0x06, &[&[0; 8], text.as_bytes()].concat())
}

/// A conversation that is ready, and the other end in blocking mode.
async fn ready() -> (Conversation, UnixStream) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(&[frame(0x01, &[1]), frame(0x02, b"")].concat()).unwrap();
    let mut conversation = Conversation::frames(ours).unwrap();
    conversation.ready().await.unwrap();
    (conversation, theirs)
}

async fn invoke(conversation: &mut Conversation, payload: Bytes) -> Result<Reply, ConversationError> {
    let (body, mut pieces) = mpsc::channel(4);
    let (content_type, _named) = oneshot::channel();
    let event = Event {
        request_id: RequestId(uuid::Uuid::from_u128(1)),
        deadline_ms: 0,
        invoked_arn: "arn".to_owned(),
        trace_header: None,
        client_context: None,
        tenant_id: None,
        payload,
    };
    let drain = async { while pieces.recv().await.is_some() {} };
    let (reply, ()) =
        tokio::join!(conversation.invoke(event, AnswerSink { body, content_type }, LIMITS), drain);
    reply
}

/// Writes on another thread, since nobody reads yet.
fn write_later(mut stream: UnixStream, bytes: Vec<u8>) -> std::thread::JoinHandle<UnixStream> {
    std::thread::spawn(move || {
        // The platform may hang up in the middle.
        let _ = stream.write_all(&bytes);
        stream
    })
}

#[tokio::test]
async fn whatever_breaks_the_protocol_ends_the_conversation_with_its_name() {
    for (bytes, text) in [
        (frame(0x02, b""), "waited for an answer, got Ready"),
        (frame(0x08, b"chunk before begin"), "waited for an answer, got Chunk"),
        ([frame(0x07, b""), frame(0x04, b"1")].concat(), "waited for a piece of the stream, got Response"),
        (frame(0x55, b""), "unknown kind 0x55"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "a frame of kind"),
        (vec![0, 0, 0, 0, 0], "a frame without a kind"),
        (vec![0xff; 64], "a frame of kind 0xff"),
    ] {
        let (mut conversation, theirs) = ready().await;
        let writer = write_later(theirs, bytes);
        match invoke(&mut conversation, Bytes::from_static(b"{}")).await {
            Err(ConversationError::Protocol(message)) => assert!(message.contains(text), "{message}"),
            other => panic!("{other:?}"),
        }
        writer.join().unwrap();
    }
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(&frame(0x01, &[9])).unwrap();
    let error = Conversation::frames(ours).unwrap().first_word().await.unwrap_err();
    assert!(error.to_string().contains("waited for hello, got Hello { version: 9 }"), "{error}");
}

#[tokio::test]
async fn a_closed_end_is_closed_in_every_state() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let mut conversation = Conversation::frames(ours).unwrap();
    assert!(matches!(conversation.first_word().await, Err(ConversationError::Closed)));
    let (mut conversation, theirs) = ready().await;
    drop(theirs);
    assert!(matches!(
        invoke(&mut conversation, Bytes::from_static(b"{}")).await,
        Err(ConversationError::Closed)
    ));
    // In the middle of a frame, and of a stream.
    for bytes in [vec![0, 0, 0, 9, 0x04, b'1'], [frame(0x07, b""), frame(0x08, b"x")].concat()] {
        let (mut conversation, mut theirs) = ready().await;
        theirs.write_all(&bytes).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(matches!(
            invoke(&mut conversation, Bytes::from_static(b"{}")).await,
            Err(ConversationError::Closed)
        ));
    }
}

/// A runtime that logs while it is handed a large event, and only reads when its own writing is done.
#[tokio::test]
async fn large_events_and_many_logs_do_not_block_each_other() {
    let (mut conversation, theirs) = ready().await;
    let logs: Vec<u8> = (0..5000).flat_map(|_| log(&"x".repeat(150))).collect();
    let writer = std::thread::spawn(move || {
        let mut theirs = write_later(theirs, logs).join().unwrap();
        // Init, begin, and the event with its head.
        let skip_frame = || {
            let mut head = [0_u8; 4];
            (&theirs).read_exact(&mut head).unwrap();
            let length = u64::from(u32::from_be_bytes(head));
            std::io::copy(&mut (&theirs).take(length), &mut std::io::sink()).unwrap()
        };
        skip_frame();
        skip_frame();
        let copied = skip_frame();
        theirs.write_all(&frame(0x04, b"1")).unwrap();
        copied
    });
    let mut logs = conversation.take_logs().unwrap();
    let counter = tokio::spawn(async move {
        let mut count = 0;
        while logs.recv().await.is_some() {
            count += 1;
        }
        count
    });
    let reply = invoke(&mut conversation, Bytes::from(vec![b'1'; 6_000_000])).await.unwrap();
    assert_eq!(reply, Reply::Response { streamed: false });
    assert!(writer.join().unwrap() > 6_000_000);
    drop(conversation);
    assert_eq!(counter.await.unwrap(), 5000);
}

/// An owner that reads no logs costs the function 50 ms, not its answer; what was dropped is told.
#[tokio::test(start_paused = true)]
async fn logs_nobody_reads_are_bounded_and_counted() {
    let (mut conversation, theirs) = ready().await;
    let mut logs = conversation.take_logs().unwrap();
    let mut bytes: Vec<u8> = (0..40).flat_map(|_| log(&"y".repeat(100 * 1024))).collect();
    bytes.extend(frame(0x04, b"1"));
    let writer = write_later(theirs, bytes);
    invoke(&mut conversation, Bytes::from_static(b"{}")).await.unwrap();
    let theirs = writer.join().unwrap();
    let mut kept = 0;
    while logs.try_recv().is_ok() {
        kept += 1;
    }
    assert_eq!(kept, 10);
    let writer = write_later(theirs, [log("after"), frame(0x04, b"1")].concat());
    invoke(&mut conversation, Bytes::from_static(b"{}")).await.unwrap();
    writer.join().unwrap();
    assert_eq!(logs.try_recv().unwrap().text, "lamplight: dropped 30 log events\n");
    assert_eq!(logs.try_recv().unwrap().text, "after");
}

/// A stream ends at Lambda's 200 MiB, and the instance lives.
#[tokio::test]
async fn an_endless_stream_is_cut() {
    let (mut conversation, theirs) = ready().await;
    let writer = std::thread::spawn(move || {
        let mut theirs = theirs;
        theirs.write_all(&frame(0x07, b"text/plain")).unwrap();
        let chunk = frame(0x08, &[b'z'; 1024 * 1024 - 1]);
        for _ in 0..202 {
            theirs.write_all(&chunk).unwrap();
        }
        theirs.write_all(&[frame(0x09, b""), frame(0x04, b"1")].concat()).unwrap();
        theirs
    });
    let reply = invoke(&mut conversation, Bytes::from_static(b"{}")).await.unwrap();
    assert!(
        matches!(&reply, Reply::Error { error_type, .. } if error_type == "Function.ResponseSizeTooLarge"),
        "{reply:?}"
    );
    let reply = invoke(&mut conversation, Bytes::from_static(b"{}")).await.unwrap();
    assert_eq!(reply, Reply::Response { streamed: false });
    writer.join().unwrap();
}
