//! One record of a segment file: length, checksum, then the body.
//!
//! ```text
//!  u32 body length | u32 crc32 of body | body
//!  body: u8 kind (1 stream, 2 event) | u32 stream | i64 timestamp | i64 ingested | u64 sequence | text
//! ```
//! All numbers little-endian. A stream record gives a number its name within its segment and comes before
//! the stream's first event there, so every segment can be read by itself.

use lamplight_model::Timestamp;

/// First bytes of a segment: the format's name and number.
pub(crate) const MAGIC: &[u8; 8] = b"LAMPLOG1";
/// Bytes before the body.
pub(crate) const HEAD_BYTES: usize = 8;
/// Bytes of the body before the text.
const FIXED_BYTES: usize = 1 + 4 + 8 + 8 + 8;
/// Bytes of one event's text that a function wrote; a longer message becomes several events. 256 KiB less the 26 bytes
/// CloudWatch counts for every event.
pub(crate) const EVENT_TEXT_BYTES: usize = 262_144 - 26;
/// A longer body is no record of ours but damage: clients may send events of 1 MiB (CloudWatch Logs, PutLogEvents). Names
/// of streams are cut far below it.
const BODY_BYTES: usize = FIXED_BYTES + (1 << 20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Stream,
    Event,
}

/// A record as it lies in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    pub(crate) stream: u32,
    pub(crate) timestamp: Timestamp,
    pub(crate) ingested_at: Timestamp,
    pub(crate) sequence: u64,
    pub(crate) text: &'a str,
}

impl Record<'_> {
    /// Appends the record to `buffer`; gives back its length in bytes.
    pub(crate) fn write(&self, buffer: &mut Vec<u8>) -> u64 {
        let start = buffer.len();
        buffer.extend_from_slice(&[0; HEAD_BYTES]);
        buffer.push(match self.kind {
            Kind::Stream => 1,
            Kind::Event => 2,
        });
        buffer.extend_from_slice(&self.stream.to_le_bytes());
        buffer.extend_from_slice(&self.timestamp.0.to_le_bytes());
        buffer.extend_from_slice(&self.ingested_at.0.to_le_bytes());
        buffer.extend_from_slice(&self.sequence.to_le_bytes());
        buffer.extend_from_slice(self.text.as_bytes());
        let body = &buffer[start + HEAD_BYTES..];
        let (length, checksum) = (body.len() as u32, crc32fast::hash(body));
        buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
        buffer[start + 4..start + HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
        (buffer.len() - start) as u64
    }
}

/// The record at the beginning of `bytes` and its length; `None` for a torn or damaged one, and at the end.
pub(crate) fn parse(bytes: &[u8]) -> Option<(Record<'_>, usize)> {
    let length = u32::from_le_bytes(array(bytes, 0)?) as usize;
    let checksum = u32::from_le_bytes(array(bytes, 4)?);
    if !(FIXED_BYTES..=BODY_BYTES).contains(&length) {
        return None;
    }
    let end = HEAD_BYTES + length;
    let body = bytes.get(HEAD_BYTES..end)?;
    if crc32fast::hash(body) != checksum {
        return None;
    }
    let record = Record {
        kind: match body[0] {
            1 => Kind::Stream,
            2 => Kind::Event,
            _ => return None,
        },
        stream: u32::from_le_bytes(array(body, 1)?),
        timestamp: Timestamp(i64::from_le_bytes(array(body, 5)?)),
        ingested_at: Timestamp(i64::from_le_bytes(array(body, 13)?)),
        sequence: u64::from_le_bytes(array(body, 21)?),
        text: std::str::from_utf8(&body[FIXED_BYTES..]).ok()?,
    };
    Some((record, end))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// Pieces of at most `EVENT_TEXT_BYTES`, cut between characters. At least one, also for an empty message.
pub(crate) fn split(message: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(message);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let (piece, after) = text.split_at(text.floor_char_boundary(EVENT_TEXT_BYTES));
        rest = (!after.is_empty()).then_some(after);
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote_and_nothing_damaged() {
        let record = Record {
            kind: Kind::Event,
            stream: 7,
            timestamp: Timestamp(1),
            ingested_at: Timestamp(-2),
            sequence: u64::MAX,
            text: "größer\n",
        };
        let mut buffer = Vec::new();
        record.write(&mut buffer);
        assert_eq!(parse(&buffer), Some((record, buffer.len())));
        for at in 0..buffer.len() {
            assert_eq!(parse(&buffer[..at]), None, "cut at {at}");
            let mut damaged = buffer.clone();
            damaged[at] ^= 4;
            assert_eq!(parse(&damaged), None, "changed at {at}");
        }
    }

    #[test]
    fn long_messages_are_split_between_characters() {
        let check = |message: &str, pieces: usize| {
            let found: Vec<&str> = split(message).collect();
            assert_eq!(found.len(), pieces);
            assert_eq!(found.concat(), message);
            assert!(found.iter().all(|piece| piece.len() <= EVENT_TEXT_BYTES));
        };
        check("", 1);
        check(&"a".repeat(EVENT_TEXT_BYTES), 1);
        check(&"a".repeat(EVENT_TEXT_BYTES + 1), 2);
        // The first cut would go through the middle of a character.
        check(&format!("x{}", "ö".repeat(EVENT_TEXT_BYTES)), 3);
    }
}
