//! A byte stream into lines of bounded length.

/// Longest line kept in one piece, bytes: CloudWatch's bound of one event. Longer ones are cut.
pub const LINE_BYTES: usize = 256 * 1024;

/// The unfinished end of a stream of lines.
#[derive(Debug, Default)]
pub struct LineSplitter {
    partial: Vec<u8>,
}

impl LineSplitter {
    /// Takes bytes, gives the lines they complete, each with its newline. Never holds more than
    /// `LINE_BYTES`. What is not UTF-8 is replaced.
    pub fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(String)) {
        while !bytes.is_empty() {
            let room = LINE_BYTES - self.partial.len();
            let end = bytes.iter().take(room).position(|byte| *byte == b'\n').map(|at| at + 1);
            let taken = end.unwrap_or_else(|| bytes.len().min(room));
            let (head, rest) = bytes.split_at(taken);
            bytes = rest;
            if end.is_some() && self.partial.is_empty() {
                line(String::from_utf8_lossy(head).into_owned());
                continue;
            }
            self.partial.extend_from_slice(head);
            if end.is_some() || self.partial.len() == LINE_BYTES {
                line(self.take());
            }
        }
    }

    /// The unfinished line, if there is one.
    pub fn flush(&mut self) -> Option<String> {
        (!self.partial.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.partial).into_owned();
        // A long line must not keep its buffer for the life of the instance.
        self.partial = Vec::new();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(pieces: &[&[u8]]) -> Vec<String> {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        for piece in pieces {
            splitter.push(piece, |line| lines.push(line));
        }
        lines.extend(splitter.flush());
        lines
    }

    #[test]
    fn lines_across_pieces() {
        assert_eq!(split(&[b"a\nb", b"c\n", b"\nd"]), ["a\n", "bc\n", "\n", "d"]);
        assert_eq!(split(&[b"\xff\n"]), ["\u{fffd}\n"]);
    }

    #[test]
    fn endless_lines_are_cut() {
        let lines = split(&[&vec![b'x'; LINE_BYTES * 2 + 5]]);
        assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [LINE_BYTES, LINE_BYTES, 5]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost(text in "[a\n]{0,300}", cut in 0_usize..300) {
            let cut = cut.min(text.len());
            prop_assert_eq!(split(&[&text.as_bytes()[..cut], &text.as_bytes()[cut..]]).concat(), text);
        }
    }
}
