//! Entries for fuzzing: whatever the bytes are, these return. Called by tests here and by the fuzz step of `xtask`.

use crate::frames::Decoder;

/// What a function's process may write to its end of the frames. Tries whole and byte by byte.
pub fn frames(data: &[u8]) {
    for step in [data.len().max(1), 1] {
        let mut decoder = Decoder::new(1000);
        for piece in data.chunks(step) {
            decoder.buffer().extend_from_slice(piece);
            loop {
                match decoder.next_frame() {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => return,
                }
            }
        }
    }
}

/// What a client may write to the Runtime API while an event (request id all zeros) waits.
///
/// Fails only when no runtime for it can be made. Not to be called from within a tokio runtime.
pub fn runtime_api(data: &[u8]) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    // The client may have been hung up on in the middle of its words.
    let _ = runtime.block_on(crate::http::serve_once(data));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pieces that make sense, in an order that does not.
    fn requests() -> impl Strategy<Value = Vec<u8>> {
        let id = "00000000-0000-0000-0000-000000000000";
        let pieces = [
            "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
            format!(
                "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\ncontent-length: 2\r\n\r\n{{}}"
            ),
            format!("POST /2018-06-01/runtime/invocation/{id}/error HTTP/1.1\r\ncontent-length: 9\r\n\r\n"),
            "POST /2018-06-01/runtime/init/error HTTP/1.1\r\n".to_owned(),
            "transfer-encoding: chunked\r\n".to_owned(),
            "Lambda-Runtime-Function-Response-Mode: streaming\r\n".to_owned(),
            "5\r\nhello\r\n".to_owned(),
            "0\r\nLambda-Runtime-Function-Error-Type: x\r\n\r\n".to_owned(),
            "\r\n".to_owned(),
            "\u{0}\u{ff}".to_owned(),
        ];
        let piece = proptest::sample::select(pieces.to_vec()).prop_map(String::into_bytes);
        let noise = proptest::collection::vec(any::<u8>(), 0..40);
        proptest::collection::vec(prop_oneof![4 => piece, 1 => noise], 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn the_frames_survive_anything(data in proptest::collection::vec(any::<u8>(), 0..3000)) {
            frames(&data);
        }

        #[test]
        fn the_runtime_api_survives_anything(data in requests()) {
            runtime_api(&data).unwrap();
        }
    }
}
