//! `*` and `?` in policies.
//!
//! Patterns and texts may both be long, and made by somebody who wants them to take long: time grows with the sum of both lengths,
//! with `?` with a 64th of their product at worst.

use memchr::memmem;
use std::collections::HashMap;

/// Characters of a pattern that are looked for at once: the bits of a word.
const BLOCK: usize = 64;

/// `*` stands for any text, `?` for any character.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let mut runs = pattern.split('*');
    let Some(mut rest) = runs.next().and_then(|first| after(first, text)) else { return false };
    let Some(last) = runs.next_back() else { return rest.is_empty() };
    for run in runs {
        // Where it is first leaves most for those that follow.
        match end_of_first(run, rest) {
            Some(end) => rest = &rest[end..],
            None => return false,
        }
    }
    ends_with(rest, last)
}

fn stands_for(of_pattern: char, of_text: char) -> bool {
    of_pattern == '?' || of_pattern == of_text
}

/// What follows in a text that begins with `run`, which has no `*`.
fn after<'a>(run: &str, text: &'a str) -> Option<&'a str> {
    let mut rest = text.chars();
    for one in run.chars() {
        rest.next().filter(|other| stands_for(one, *other))?;
    }
    Some(rest.as_str())
}

fn ends_with(text: &str, run: &str) -> bool {
    let mut rest = text.chars().rev();
    run.chars().rev().all(|one| rest.next().is_some_and(|other| stands_for(one, other)))
}

/// Where in a text the first `run` ends, which has no `*`.
fn end_of_first(run: &str, text: &str) -> Option<usize> {
    if !run.contains('?') {
        return memmem::find(text.as_bytes(), run.as_bytes()).map(|at| at + run.len());
    }
    // Baeza-Yates and Gonnet, "A New Approach to Text Searching", 1992, block by block: bit n of `state` is whether the block's
    // first n + 1 characters stand before this place of the text, and `begins` where a block may begin, the first one anywhere.
    let run: Vec<char> = run.chars().collect();
    let mut blocks = run.chunks(BLOCK).peekable();
    let mut begins: Option<Vec<bool>> = None;
    while let Some(block) = blocks.next() {
        let places = Places::of(block);
        let whole = 1 << (block.len() - 1);
        let is_last = blocks.peek().is_none();
        let mut ends = vec![false];
        let mut state: u64 = 0;
        for (number, (at, character)) in text.char_indices().enumerate() {
            let may_begin = begins.as_ref().is_none_or(|begins| begins[number]);
            state = (state << 1 | u64::from(may_begin)) & places.of_character(character);
            let is_end = state & whole != 0;
            if is_last && is_end {
                return Some(at + character.len_utf8());
            }
            if !is_last {
                ends.push(is_end);
            }
        }
        begins = Some(ends);
    }
    None
}

/// At which places of a block a character of a text may stand, as bits.
struct Places {
    any: u64,
    ascii: [u64; 128],
    others: HashMap<char, u64>,
}

impl Places {
    fn of(block: &[char]) -> Self {
        let mut places = Self { any: 0, ascii: [0; 128], others: HashMap::new() };
        for (number, character) in block.iter().enumerate() {
            let bits = match (character, places.ascii.get_mut(*character as usize)) {
                ('?', _) => &mut places.any,
                (_, Some(bits)) => bits,
                (character, None) => places.others.entry(*character).or_default(),
            };
            *bits |= 1 << number;
        }
        places
    }

    fn of_character(&self, character: char) -> u64 {
        let of_itself = self.ascii.get(character as usize).or_else(|| self.others.get(&character)).copied();
        self.any | of_itself.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*c*e", "abcde", true),
            ("*ab", "aab", true),
            ("ab*ba", "aba", false),
            ("a*b", "acbd", false),
            ("***", "x", true),
            // One character, however many bytes it has.
            ("a?c", "aäc", true),
            ("a??c", "aäc", false),
            ("*?", "日", true),
            ("*??", "日", false),
            ("*ü?ß*", "xüzzß", false),
            ("*ü?ß*", "xüüzüzß", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    /// By the definition, in whatever time.
    fn by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], text) => text.is_empty(),
            ([b'*', rest @ ..], text) => (0..=text.len()).any(|taken| by_definition(rest, &text[taken..])),
            ([one, rest @ ..], [other, text @ ..]) => {
                (*one == b'?' || one == other) && by_definition(rest, text)
            }
            (_, []) => false,
        }
    }

    /// All texts of these letters, up to a length.
    fn all(letters: &str, longest: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut begun = 0;
        for _ in 0..longest {
            let longer: Vec<String> = all[begun..]
                .iter()
                .flat_map(|text| letters.chars().map(move |c| format!("{text}{c}")))
                .collect();
            begun = all.len();
            all.extend(longer);
        }
        all
    }

    #[test]
    fn short_patterns_mean_what_is_defined() {
        let texts = all("ab", 6);
        for pattern in all("ab*?", 5) {
            for text in &texts {
                let expected = by_definition(pattern.as_bytes(), text.as_bytes());
                assert_eq!(matches(&pattern, text), expected, "{pattern} {text}");
            }
        }
    }

    #[test]
    fn long_patterns_lose_no_time() {
        // Each of these took time in proportion to the product of both lengths: 4 to 250 thousand million steps.
        let many = |text: &str, kib: usize| text.repeat(kib * 1024);
        assert!(!matches(&many("*a", 2_000), &many("a", 1_999)));
        assert!(!matches(&format!("*{}b*", many("a", 500)), &many("a", 1_000)));
        assert!(!matches(&many("*?", 64), &many("a", 63)));
        let (gap, text) = (format!("*{}?b*", many("a", 8)), many("a", 16));
        assert!(!matches(&gap, &text));
        assert!(matches(&gap, &format!("{text}ab{text}")));
    }
}
