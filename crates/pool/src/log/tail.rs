//! The last bytes of one invocation's lines.

use bytes::Bytes;
use lamplight_model::limits::LOG_TAIL_BYTES;

/// Keeps the last 4 KiB of what is pushed.
#[derive(Debug, Default)]
pub struct Tail {
    kept: Vec<u8>,
}

impl Tail {
    /// Adds one line.
    pub fn push(&mut self, line: &str) {
        let bytes = line.as_bytes();
        self.kept.extend_from_slice(&bytes[bytes.len().saturating_sub(LOG_TAIL_BYTES)..]);
        // Cut rarely, so that many short lines do not move the buffer for each.
        if self.kept.len() > 4 * LOG_TAIL_BYTES {
            self.cut();
        }
    }

    /// The last 4 KiB, which may begin in the middle of a line as on Lambda (never inside a character).
    pub fn finish(mut self) -> Bytes {
        self.cut();
        let start = self.kept.iter().position(|byte| (*byte & 0xC0) != 0x80).unwrap_or(0);
        Bytes::from(self.kept).slice(start..)
    }

    fn cut(&mut self) {
        let surplus = self.kept.len().saturating_sub(LOG_TAIL_BYTES);
        self.kept.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_end_only() {
        let mut tail = Tail::default();
        for number in 0..10_000 {
            tail.push(&format!("{number}\n"));
        }
        let kept = tail.finish();
        assert_eq!(kept.len(), LOG_TAIL_BYTES);
        assert!(kept.ends_with(b"9998\n9999\n"));
    }

    #[test]
    fn never_begins_inside_a_character() {
        let mut tail = Tail::default();
        tail.push(&"é".repeat(LOG_TAIL_BYTES));
        tail.push("x");
        let kept = tail.finish();
        assert!(std::str::from_utf8(&kept).is_ok());
        assert_eq!(kept.len(), LOG_TAIL_BYTES - 1);
    }
}
