//! The little XML that the query protocol needs.

use std::fmt::Write as _;

/// Text with the characters XML reserves replaced, and those XML cannot hold left out.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\r' => escaped.push_str("&#13;"),
            '\t' | '\n' => escaped.push(character),
            control if control.is_control() => {}
            other => escaped.push(other),
        }
    }
    escaped
}

/// `<name>text</name>`, escaped.
pub fn element(name: &str, text: &str) -> String {
    let mut element = String::new();
    let _ = write!(element, "<{name}>{}</{name}>", escape(text));
    element
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_characters_are_escaped() {
        assert_eq!(element("A", "a<b>&\"c\"\u{1}"), "<A>a&lt;b&gt;&amp;&quot;c&quot;</A>");
    }
}
