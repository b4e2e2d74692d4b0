//! Error documents of functions, `{"errorType", "errorMessage", "stackTrace"}`, where only so much of one is kept.

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Longest error type that is kept of a document that is too long, characters.
const TYPE_CHARACTERS: usize = 256;

/// What is kept, as it is written; the rest, which may be megabytes of small values, is passed over and not built.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    #[serde(borrow, default)]
    error_type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error_message: Option<&'a RawValue>,
}

/// A document of at most `most_bytes` that can still be read: of a longer one type and beginning of the message, or simply its
/// beginning when it has neither.
pub fn shortened(document: &str, most_bytes: usize) -> Cow<'_, str> {
    if document.len() <= most_bytes {
        return Cow::Borrowed(document);
    }
    let beginning = || Cow::Borrowed(&document[..document.floor_char_boundary(most_bytes)]);
    let Ok(members) = serde_json::from_str::<Document<'_>>(document) else { return beginning() };
    let text =
        |member: Option<&RawValue>| member.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    let (error_type, message) = (text(members.error_type), text(members.error_message));
    if error_type.is_none() && message.is_none() {
        return beginning();
    }
    let error_type: Option<String> = error_type.map(|text| text.chars().take(TYPE_CHARACTERS).collect());
    let message = message.unwrap_or_default();
    // Escapes make it longer by a factor that depends on the text: half as much, until it fits.
    let mut kept = message.len().min(most_bytes);
    loop {
        let cut = if kept < message.len() { "…" } else { "" };
        let beginning_of_message = &message[..message.floor_char_boundary(kept)];
        let mut short = json!({"errorMessage": format!("{beginning_of_message}{cut}")});
        if let Some(error_type) = &error_type {
            short["errorType"] = error_type.as_str().into();
        }
        let short = short.to_string();
        if short.len() <= most_bytes {
            return Cow::Owned(short);
        }
        if kept == 0 {
            return beginning();
        }
        kept /= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_can_still_be_read() {
        for message in ["no ".repeat(3_000), "\u{1}".repeat(5_000), "ü€".repeat(2_000)] {
            let document =
                json!({"errorMessage": message, "errorType": "ValueError", "stackTrace": ["x".repeat(99)]});
            let short = shortened(&document.to_string(), 4_096).into_owned();
            assert!(short.len() <= 4_096);
            let read: serde_json::Value = serde_json::from_str(&short).unwrap();
            assert_eq!(read["errorType"], "ValueError");
            let kept = read["errorMessage"].as_str().unwrap().strip_suffix('…').unwrap();
            assert!(kept.len() > 300 && message.starts_with(kept), "{} bytes", kept.len());
        }
    }

    #[test]
    fn a_message_that_fits_is_whole() {
        let document = json!({"errorMessage": "no", "stackTrace": vec![0; 3_000], "errorType": "E"});
        assert_eq!(shortened(&document.to_string(), 99), r#"{"errorMessage":"no","errorType":"E"}"#);
    }

    #[test]
    fn anything_else_keeps_its_beginning() {
        assert_eq!(shortened("short", 5), "short");
        assert_eq!(shortened("longer", 5), "longe");
        assert_eq!(shortened("ÄÖÜ", 3), "Ä", "no half characters");
        assert_eq!(shortened("[1, 2, 3]", 4), "[1, ");
        assert_eq!(
            shortened(r#"{"errorType": "E", "errorMessage": "m"}"#, 10),
            r#"{"errorTyp"#,
            "no room for both"
        );
    }
}
