//! Event patterns: which JSON documents a filter wants. Those of EventBridge, which event source mappings have, too.
//!
//! A pattern is an object like the document, whose leaves are lists of rules. Fields are joined by "and", rules of a list
//! by "or", and `$or` joins whole objects. An array in the document fits when one of its elements does; for objects in an
//! array that is one and the same element. Source: EventBridge user guide, "Comparison operators for use in event
//! patterns" and "Arrays in event patterns"; Lambda developer guide, "Event filtering", rule syntax.

mod rule;

use rule::Rule;
use serde_json::{Map, Value};

/// The member that joins objects by "or".
const EITHER: &str = "$or";

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

impl PatternError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A pattern that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct EventPattern(Fields);

/// All of them must fit.
#[derive(Debug, Clone, PartialEq)]
struct Fields {
    named: Vec<(String, Node)>,
    /// Of each group one must fit.
    either: Vec<Vec<Fields>>,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Fields(Fields),
    /// One of them must fit.
    Rules(Vec<Rule>),
}

impl EventPattern {
    /// Reads a pattern. Depth is bounded by the JSON parser (128 levels).
    ///
    /// Fails for what is not JSON, not an object, empty anywhere, or uses an operator in a wrong way.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| PatternError::new(error.to_string()))?;
        match value {
            Value::Object(fields) => Fields::parse(&fields).map(Self),
            _ => Err(PatternError::new("a pattern is a JSON object")),
        }
    }

    /// Whether the document fits. Anything may be asked; only objects, and arrays of them, have fields.
    pub fn matches(&self, document: &Value) -> bool {
        self.0.fit(Some(document))
    }

    /// Whether all but what it asks of the top-level field `unknown` fits: it may then fit, whatever that field is.
    pub fn may_match(&self, document: &Value, unknown: &str) -> bool {
        self.0.may_fit(document, unknown)
    }

    /// Whether the pattern asks for the top-level field `name` in a way that says it is an object: `{"name": {...}}`.
    pub fn wants_object(&self, name: &str) -> bool {
        self.0.wants_object(name)
    }
}

impl Fields {
    fn parse(fields: &Map<String, Value>) -> Result<Self, PatternError> {
        if fields.is_empty() {
            return Err(PatternError::new("an object of a pattern has at least one field"));
        }
        let mut parsed = Self { named: Vec::with_capacity(fields.len()), either: Vec::new() };
        for (name, value) in fields {
            match value {
                Value::Array(alternatives) if name == EITHER => {
                    parsed.either.push(alternatives_of(alternatives)?)
                }
                Value::Object(inner) => parsed.named.push((name.clone(), Node::Fields(Self::parse(inner)?))),
                Value::Array(rules) if !rules.is_empty() => {
                    let rules = rules.iter().map(Rule::parse).collect::<Result<_, _>>()?;
                    parsed.named.push((name.clone(), Node::Rules(rules)));
                }
                _ => return Err(PatternError::new(format!("'{name}' must be an object or a list of rules"))),
            }
        }
        Ok(parsed)
    }

    /// `None` is a value that is not there: rules that ask for absence still fit.
    fn fit(&self, value: Option<&Value>) -> bool {
        if let Some(Value::Array(elements)) = value
            && !elements.is_empty()
        {
            return elements.iter().any(|element| self.fit(Some(element)));
        }
        let object = value.and_then(Value::as_object);
        self.named.iter().all(|(name, node)| {
            let value = object.and_then(|object| object.get(name));
            match node {
                Node::Fields(fields) => fields.fit(value),
                Node::Rules(rules) => fit_rules(rules, value),
            }
        }) && self.either.iter().all(|group| group.iter().any(|fields| fields.fit(value)))
    }

    fn may_fit(&self, document: &Value, unknown: &str) -> bool {
        self.named.iter().all(|(name, node)| match node {
            _ if name == unknown => true,
            Node::Fields(fields) => fields.fit(document.get(name)),
            Node::Rules(rules) => fit_rules(rules, document.get(name)),
        }) && self.either.iter().all(|group| group.iter().any(|fields| fields.may_fit(document, unknown)))
    }

    fn wants_object(&self, name: &str) -> bool {
        let named = self.named.iter().any(|(key, node)| key == name && matches!(node, Node::Fields(_)));
        named || self.either.iter().flatten().any(|fields| fields.wants_object(name))
    }
}

fn alternatives_of(alternatives: &[Value]) -> Result<Vec<Fields>, PatternError> {
    let wrong = || PatternError::new("$or takes a list of at least two objects");
    if alternatives.len() < 2 {
        return Err(wrong());
    }
    alternatives.iter().map(|value| Fields::parse(value.as_object().ok_or_else(wrong)?)).collect()
}

fn fit_rules(rules: &[Rule], value: Option<&Value>) -> bool {
    let mut scalars = Vec::new();
    if let Some(value) = value {
        collect_scalars(value, &mut scalars);
    }
    rules.iter().any(|rule| rule.fits(&scalars))
}

/// Values without fields of their own; those of arrays one by one.
fn collect_scalars<'a>(value: &'a Value, scalars: &mut Vec<&'a Value>) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| collect_scalars(element, scalars)),
        Value::Object(_) => {}
        scalar => scalars.push(scalar),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[track_caller]
    fn check(pattern: Value, fitting: &[Value], others: &[Value]) {
        let parsed = EventPattern::parse(&pattern.to_string()).unwrap();
        for document in fitting {
            assert!(parsed.matches(document), "{pattern} {document}");
        }
        for document in others {
            assert!(!parsed.matches(document), "{pattern} {document}");
        }
    }

    #[test]
    fn fields_are_joined_by_and_rules_by_or() {
        check(
            json!({"body": {"city": ["Seattle", "Oslo"], "kind": [7, null, true, ""]}}),
            &[
                json!({"body": {"city": "Oslo", "kind": 7, "more": 1}}),
                json!({"body": {"city": "Seattle", "kind": null}}),
                json!({"body": {"city": "Seattle", "kind": true}}),
                json!({"body": {"city": "Seattle", "kind": ""}}),
            ],
            &[
                json!({"body": {"city": "Oslo"}}),
                json!({"body": {"city": "oslo", "kind": 7}}),
                json!({"body": {"city": "Oslo", "kind": "7"}}),
                json!({"body": "Oslo"}),
                json!({}),
            ],
        );
        check(json!({"body": ["plain"]}), &[json!({"body": "plain"})], &[json!({"body": {"plain": 1}})]);
    }

    #[test]
    fn alternatives_of_fields() {
        check(
            json!({"$or": [{"a": ["x"]}, {"b": {"c": [{"numeric": [">", 0]}]}}], "d": [1]}),
            &[json!({"a": "x", "d": 1}), json!({"b": {"c": 2}, "d": 1})],
            &[json!({"a": "x"}), json!({"b": {"c": 0}, "d": 1}), json!({"d": 1})],
        );
    }

    /// Source: EventBridge user guide, "Arrays in event patterns".
    #[test]
    fn arrays_fit_by_one_element() {
        check(
            json!({"a": ["x"]}),
            &[json!({"a": ["y", "x"]}), json!({"a": [["x"]]})],
            &[json!({"a": ["y"]})],
        );
        check(
            json!({"a": {"b": [1], "c": [2]}}),
            &[json!({"a": [{"b": 0, "c": 2}, {"b": 1, "c": 2}]})],
            &[json!({"a": [{"b": 1, "c": 0}, {"b": 0, "c": 2}]})],
        );
    }

    #[test]
    fn presence_and_absence_are_of_leaves() {
        check(
            json!({"a": {"b": [{"exists": true}]}}),
            &[json!({"a": {"b": null}}), json!({"a": {"b": [1]}})],
            &[json!({"a": {}}), json!({"a": {"b": {"c": 1}}}), json!({"a": {"b": []}})],
        );
        check(
            json!({"a": {"b": [{"exists": false}]}}),
            &[json!({}), json!({"a": 1}), json!({"a": {}}), json!({"a": {"b": {"c": 1}}})],
            &[json!({"a": {"b": null}})],
        );
        check(json!({"a": [{"exists": false}, "x"]}), &[json!({}), json!({"a": "x"})], &[json!({"a": "y"})]);
    }

    #[test]
    fn what_is_no_pattern() {
        for text in [
            "",
            "x",
            "[]",
            "{}",
            "7",
            r#"{"a": "b"}"#,
            r#"{"a": []}"#,
            r#"{"a": {}}"#,
            r#"{"a": 7}"#,
            r#"{"a": [["b"]]}"#,
            r#"{"a": [{}]}"#,
            r#"{"a": [{"prefix": "x", "suffix": "y"}]}"#,
            r#"{"$or": [{"a": ["b"]}]}"#,
            r#"{"$or": ["a", "b"]}"#,
        ] {
            assert!(EventPattern::parse(text).is_err(), "{text}");
        }
        let deep = format!("{}[1]{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
        assert!(EventPattern::parse(&deep).is_err());
    }

    #[test]
    fn which_fields_are_asked_for_as_objects() {
        let wants = |pattern: Value| EventPattern::parse(&pattern.to_string()).unwrap().wants_object("body");
        assert!(wants(json!({"body": {"a": [1]}})));
        assert!(wants(json!({"$or": [{"body": {"a": [1]}}, {"x": [1]}]})));
        assert!(!wants(json!({"body": ["a"]})) && !wants(json!({"attributes": {"body": [1]}})));
    }

    fn scalar() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c*]{0,4}".prop_map(Value::from),
        ]
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".{0,80}", document in scalar()) {
            if let Ok(pattern) = EventPattern::parse(&text) {
                pattern.matches(&document);
            }
        }

        #[test]
        fn a_document_fits_the_pattern_made_of_it(fields in prop::collection::btree_map("[a-d]{1,3}", scalar(), 1..6)) {
            let pattern: Map<String, Value> =
                fields.iter().map(|(name, value)| (name.clone(), json!([value]))).collect();
            let parsed = EventPattern::parse(&json!({"body": pattern}).to_string()).unwrap();
            let document = json!({"body": fields.clone()});
            prop_assert!(parsed.matches(&document));
            for name in fields.keys() {
                let mut less = fields.clone();
                less.remove(name);
                let document = json!({"body": less});
                prop_assert!(!parsed.matches(&document));
            }
        }

        #[test]
        fn anything_but_is_the_opposite_of_equal(rule in "[a-c]{0,3}", value in scalar()) {
            let document = json!({"a": value});
            let equal = EventPattern::parse(&json!({"a": [rule]}).to_string()).unwrap();
            let other = EventPattern::parse(&json!({"a": [{"anything-but": [rule]}]}).to_string()).unwrap();
            prop_assert_ne!(equal.matches(&document), other.matches(&document));
        }
    }
}
