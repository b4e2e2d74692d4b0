//! Filter patterns of CloudWatch Logs: which events a reader, a subscription or a live tail wants.
//!
//! | form | example | means |
//! |---|---|---|
//! | terms | `ERROR "two words" -DEBUG ?A ?B %[45]\d\d%` | all occur, none of the excluded; any-of alone; expressions |
//! | JSON | `{ $.level = "ERROR" && $.latency > 75 }` | members of an event that is a JSON object |
//! | columns | `[ip, user, status = 4*, ...]` | fields between spaces, those in `[]` or `""` being one |
//!
//! Terms and values are compared with case. Source: CloudWatch Logs guide, "Filter pattern syntax". Expressions are the
//! `regex` crate's, a superset of what the guide lists.

mod columns;
mod condition;
mod json;
mod terms;

use columns::Columns;
use json::JsonPattern;
use terms::Terms;

/// Longest pattern, characters. Source: API model, `FilterPattern`.
const PATTERN_CHARACTERS: usize = 1_024;

/// A parsed pattern.
#[derive(Debug, Clone)]
pub struct FilterPattern(Form);

#[derive(Debug, Clone)]
enum Form {
    Terms(Terms),
    Json(JsonPattern),
    Columns(Columns),
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Longer than AWS allows.
    #[error(
        "1 validation error detected: Value at 'filterPattern' failed to satisfy constraint: Member must have length less than or equal to 1024"
    )]
    TooLong,
    /// Anything else.
    #[error("Invalid filter pattern: {0}")]
    Invalid(String),
}

fn invalid(why: impl Into<String>) -> PatternError {
    PatternError::Invalid(why.into())
}

impl FilterPattern {
    /// Parses a pattern; an empty one matches everything.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.chars().count() > PATTERN_CHARACTERS {
            return Err(PatternError::TooLong);
        }
        let text = text.trim();
        Ok(Self(match text.as_bytes().first() {
            Some(b'{') => Form::Json(JsonPattern::parse(text)?),
            Some(b'[') => Form::Columns(Columns::parse(text)?),
            _ => Form::Terms(Terms::parse(text)?),
        }))
    }

    /// Whether an event with this message fits.
    pub fn matches(&self, message: &str) -> bool {
        match &self.0 {
            Form::Terms(terms) => terms.matches(message),
            Form::Json(pattern) => pattern.matches(message),
            Form::Columns(columns) => columns.matches(message),
        }
    }

    /// The named fields of a message that fits a pattern of columns; `None` for other patterns.
    pub fn extracted_fields(&self, message: &str) -> Option<Vec<(String, String)>> {
        match &self.0 {
            Form::Columns(columns) => columns.extract(message),
            Form::Terms(_) | Form::Json(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, message: &str, expected: bool) {
        let parsed = FilterPattern::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        assert_eq!(parsed.matches(message), expected, "{pattern} on {message}");
    }

    #[test]
    fn terms_phrases_any_and_none() {
        check("", "anything", true);
        check("ERROR", "[ERROR] boom", true);
        check("ERROR", "[error] boom", false);
        check("ERROR boom", "boom ERROR", true);
        check("ERROR boom", "ERROR", false);
        check("\"two words\"", "has two words here", true);
        check("\"two words\"", "two  words", false);
        check("?ERROR ?WARN", "a WARN", true);
        check("?ERROR ?WARN", "a INFO", false);
        check("ERROR -boom", "ERROR boom", false);
        check("ERROR -boom", "ERROR bang", true);
        check("-\"a b\"", "x a b", false);
        check("\"say \\\"hi\\\"\"", "they say \"hi\"", true);
        check("%4\\d\\d%", "status 404", true);
        check("%4\\d\\d%", "status 500", false);
        check("%a b% c", "c a b", true);
        check("-%^INFO%", "INFO x", false);
    }

    #[test]
    fn json_members() {
        // The guide's own example event, shortened.
        let event = r#"{"eventType":"UpdateTrail","sourceIPAddress":"111.111.111.111","arrayKey":["value","another value"],
            "objectList":[{"name":"a","id":1},{"name":"b","id":2}],"SomeObject":null,"cluster.name":"c","flag":true,
            "bandwidth":75.5,"n":-2e3,"nested":{"a":{"b":"x"}}}"#;
        for (pattern, expected) in [
            ("{ $.eventType = \"UpdateTrail\" }", true),
            ("{ $.eventType = UpdateTrail }", true),
            ("{$.eventType=\"Update\"}", false),
            ("{ $.eventType = \"Up*\" }", true),
            ("{ $.sourceIPAddress != 123.123.* }", true),
            ("{ $.sourceIPAddress = 111.111.* }", true),
            ("{ $.arrayKey[0] = \"value\" }", true),
            ("{ $.arrayKey[1] = \"value\" }", false),
            ("{ $.arrayKey[*] = \"another value\" }", true),
            ("{ $.arrayKey = \"value\" }", false),
            ("{ $.objectList[1].id = 2 }", true),
            ("{ $.objectList[*].id = 3 }", false),
            ("{ $.SomeObject IS NULL }", true),
            ("{ $.eventType IS NULL }", false),
            ("{ $.SomeOtherObject NOT EXISTS }", true),
            ("{ $.eventType NOT EXISTS }", false),
            ("{ $.flag IS TRUE }", true),
            ("{ $.flag is false }", false),
            ("{ $.bandwidth > 75 }", true),
            ("{ $.bandwidth >= 75.5 && $.bandwidth < 76 }", true),
            ("{ $.bandwidth <= 75 }", false),
            ("{ $.n = -2000 }", true),
            ("{ $.nested.a.b = \"x\" && $.eventType = \"no\" }", false),
            ("{ $.nested.a.b = \"x\" || $.eventType = \"no\" }", true),
            ("{ ($.flag IS TRUE && $.n > 0) || $.nested.a.b = x }", true),
            ("{ $.flag IS TRUE && ($.n > 0 || $.nested.a.b = y) }", false),
            ("{ $.['cluster.name'] = \"c\" }", true),
            ("{ $.eventType = %^Update\\w+$% }", true),
            ("{ $.missing != \"x\" }", false),
            ("{ $.eventType > 3 }", false),
        ] {
            check(pattern, event, expected);
        }
        check("{ $.a = 1 }", "no JSON", false);
        check("{ $.a = 1 }", "[1]", false);
        check("{ $[0] = 1 }", "[1]", true);
    }

    #[test]
    fn columns_between_spaces() {
        let event = "127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] \"GET /index.html HTTP/1.0\" 404 1534";
        for (pattern, expected) in [
            ("[ip, user, username, timestamp, request, status_code, bytes]", true),
            ("[ip, user, username, timestamp, request =*.html*, status_code = 4*, bytes]", true),
            ("[ip, user, username, timestamp, request =*.html*, status_code = 5*, bytes]", false),
            ("[ip, user, username, timestamp, request, status_code = 404, bytes > 1000]", true),
            ("[ip, user, username, timestamp, request, status_code, bytes >= 2000]", false),
            ("[ip, user]", false),
            ("[..., request =*.html*, status_code = 4*, bytes]", true),
            ("[ip, ...]", true),
            ("[ip, ..., bytes = 1534]", true),
            ("[ip=%127\\.0\\.0\\.[1-9]%, ...]", true),
            ("[w1!=ERROR&&w1!=WARN, ...]", true),
            ("[..., status_code=4*||status_code=5*, bytes]", true),
            ("[a, b, c, d, e=\"GET /index.html HTTP/1.0\", f, g]", true),
            ("[a, b = \"x, y\", ...]", false),
        ] {
            check(pattern, event, expected);
        }
        let fields =
            FilterPattern::parse("[level, ..., code]").unwrap().extracted_fields("ERROR a b 7").unwrap();
        assert_eq!(fields, [("level".to_owned(), "ERROR".to_owned()), ("code".to_owned(), "7".to_owned())]);
    }

    #[test]
    fn what_is_no_pattern() {
        for text in [
            "\"open",
            "%open",
            "%(%",
            "{ $.a }",
            "{ $.a = }",
            "{ $.a = 1",
            "{ a = 1 }",
            "{ $.a = \"x }",
            "{ $.a ~ 1 }",
            "{ ($.a = 1 }",
            "{ $.a = 1 && }",
            "{ $.a[x] = 1 }",
            "{ $.a IS MAYBE }",
            "{ $.a > b }",
            "[a",
            "[a, b =]",
            "[..., a, ...]",
            "{ $.a = 1 } x",
            "[a] x",
            "{}",
            "{ $.a NOT }",
        ] {
            let error = FilterPattern::parse(text).expect_err(text);
            assert!(error.to_string().starts_with("Invalid filter pattern: "), "{text}: {error}");
        }
        assert_eq!(FilterPattern::parse(&"x".repeat(1_025)).expect_err("long"), PatternError::TooLong);
        // As deep as it can be: no stack is exhausted.
        let deep = format!("{{{}$.a = 1{}}}", "(".repeat(500), ")".repeat(500));
        check(&deep, "{\"a\": 1}", true);
    }
}
