//! What a function's answer says of the records it was given.
//!
//! Source: Lambda developer guide, "Implementing partial batch responses", success and failure conditions.

use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Which records are done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All of them.
    Done,
    /// None: the answer is not what was agreed on.
    Failed,
    /// All but these, by their places in the event.
    DoneBut(HashSet<usize>),
}

/// Reads the answer to an event of records with these ids.
///
/// An empty or null answer, an empty object or list, an absent, null or empty `batchItemFailures` mean that all are done.
/// What is not JSON, a wrong shape, an identifier that is absent, null, empty or unknown fail the whole event.
pub fn verdict(answer: &[u8], ids: &[&str]) -> Verdict {
    if answer.iter().all(u8::is_ascii_whitespace) {
        return Verdict::Done;
    }
    let Ok(answer) = serde_json::from_slice::<Value>(answer) else { return Verdict::Failed };
    let failures = match &answer {
        Value::Null => return Verdict::Done,
        Value::String(text) if text.is_empty() => return Verdict::Done,
        Value::Array(elements) if elements.is_empty() => return Verdict::Done,
        Value::Object(members) => members.get("batchItemFailures").unwrap_or(&Value::Null),
        _ => return Verdict::Failed,
    };
    let failures = match failures {
        Value::Null => return Verdict::Done,
        Value::Array(failures) => failures,
        _ => return Verdict::Failed,
    };
    let places: HashMap<&str, usize> = ids.iter().enumerate().map(|(place, id)| (*id, place)).collect();
    let place = |failure: &Value| {
        let id = failure.get("itemIdentifier")?.as_str()?;
        places.get(id).copied()
    };
    match failures.iter().map(place).collect::<Option<HashSet<usize>>>() {
        None => Verdict::Failed,
        Some(failed) if failed.is_empty() => Verdict::Done,
        Some(failed) => Verdict::DoneBut(failed),
    }
}

/// The records that are done when some failed and order counts within groups: nothing after the first failure of its group.
///
/// Source: the same page, for FIFO queues: a function returns all failed and unprocessed messages to keep the order. One
/// that does not would have later messages done before earlier ones.
pub fn done_in_order(groups: &[Option<&str>], failed: &HashSet<usize>) -> Vec<usize> {
    let mut blocked = HashSet::new();
    let mut done = Vec::new();
    for (place, group) in groups.iter().enumerate() {
        if failed.contains(&place) {
            blocked.extend(*group);
        } else if group.is_none_or(|group| !blocked.contains(group)) {
            done.push(place);
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(answer: &str, expected: Verdict) {
        assert_eq!(verdict(answer.as_bytes(), &["a", "b", "c"]), expected, "{answer}");
    }

    #[test]
    fn the_conditions_of_success() {
        for answer in [
            "",
            " ",
            "null",
            "{}",
            "[]",
            "\"\"",
            r#"{"batchItemFailures":[]}"#,
            r#"{"batchItemFailures":null}"#,
        ] {
            check(answer, Verdict::Done);
        }
        check(r#"{"other": 1}"#, Verdict::Done);
    }

    #[test]
    fn the_conditions_of_failure() {
        for answer in [
            "x",
            "\"text\"",
            "7",
            "[1]",
            r#"{"batchItemFailures":"a"}"#,
            r#"{"batchItemFailures":["a"]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":7}]}"#,
            r#"{"batchItemFailures":[{"foo":"a"}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":"a"},{"itemIdentifier":"unknown"}]}"#,
        ] {
            check(answer, Verdict::Failed);
        }
    }

    #[test]
    fn some_failed() {
        let answer =
            r#"{"batchItemFailures":[{"itemIdentifier":"c"},{"itemIdentifier":"a"},{"itemIdentifier":"c"}]}"#;
        check(answer, Verdict::DoneBut(HashSet::from([0, 2])));
    }

    /// Each of so many looked for among all of them would take minutes.
    #[test]
    fn every_second_of_many_failed() {
        let ids: Vec<String> = (0..200_000).map(|number| format!("message-{number}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let failures: Vec<Value> =
            ids.iter().skip(1).step_by(2).map(|id| serde_json::json!({"itemIdentifier": id})).collect();
        let answer = serde_json::json!({"batchItemFailures": failures}).to_string();
        let begun = std::time::Instant::now();
        let expected = (1..ids.len()).step_by(2).collect();
        assert_eq!(verdict(answer.as_bytes(), &ids), Verdict::DoneBut(expected));
        assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    }

    #[test]
    fn a_group_is_done_up_to_its_first_failure() {
        let groups = [Some("a"), Some("b"), Some("a"), Some("a"), Some("b")];
        assert_eq!(done_in_order(&groups, &HashSet::from([2])), [0, 1, 4]);
        assert_eq!(done_in_order(&groups, &HashSet::from([0, 1])), [0_usize; 0]);
        assert_eq!(done_in_order(&[None, None, None], &HashSet::from([1])), [0, 2]);
    }

    proptest! {
        #[test]
        fn nothing_after_a_failure_of_its_group(groups in prop::collection::vec(0..3_usize, 0..10), failed in prop::collection::hash_set(0..10_usize, 0..5)) {
            const NAMES: [&str; 3] = ["a", "b", "c"];
            let groups: Vec<Option<&str>> = groups.into_iter().map(|group| Some(NAMES[group])).collect();
            let done = done_in_order(&groups, &failed);
            for place in 0..groups.len() {
                let earlier = (0..=place).any(|other| failed.contains(&other) && groups[other] == groups[place]);
                prop_assert_eq!(done.contains(&place), !earlier);
            }
        }
    }
}
