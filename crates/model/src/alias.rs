//! Aliases: names of a function that point to a version and may send a share of their calls to a second one.
//!
//! Source: Lambda developer guide, "Create an alias for a Lambda function" and "Implement Lambda canary deployments using
//! a weighted alias".

use crate::function::VersionNumber;
use crate::name::{FunctionName, Qualifier, function_arn, is_name_byte};
use crate::scope::Scope;
use serde::{Deserialize, Serialize};

/// One alias of a function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alias {
    /// Where its function lives.
    pub scope: Scope,
    /// The function.
    pub function: FunctionName,
    /// Its name; `is_alias_name` holds for it.
    pub name: String,
    /// `FunctionVersion`: what it points to.
    pub version: VersionNumber,
    /// `RoutingConfig`: the second version.
    pub additional: Option<AdditionalVersion>,
    /// Free text, empty unless given.
    pub description: String,
    /// A new UUID at every change. Named as in the API, which is also what stored documents are compared by.
    #[serde(rename = "RevisionId")]
    pub revision_id: String,
}

/// The second version of a weighted alias.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdditionalVersion {
    /// Number of the published version.
    pub version: u64,
    /// The share of calls it gets, 0.0 to 1.0.
    pub weight: f64,
}

impl Alias {
    /// `arn:...:function:<function>:<name>`.
    pub fn arn(&self) -> String {
        function_arn(&self.scope, &self.function, Some(&Qualifier::Alias(self.name.clone())))
    }

    /// The version one call runs. `draw` is a random number of at least 0 and less than 1, drawn for this call.
    pub fn route(&self, draw: f64) -> VersionNumber {
        match self.additional {
            Some(additional) if draw < additional.weight => VersionNumber::Published(additional.version),
            _ => self.version,
        }
    }

    /// Whether some of its calls may run this published version.
    pub fn points_to(&self, version: u64) -> bool {
        self.version == VersionNumber::Published(version)
            || self.additional.is_some_and(|additional| additional.version == version)
    }

    /// How many of `executions` belong to each published version it points to, in proportion to the weights. Nothing
    /// belongs to `$LATEST`, of which no instances are kept.
    pub fn shares(&self, executions: usize) -> Vec<(u64, usize)> {
        let mut left = executions;
        let mut shares = Vec::new();
        if let Some(AdditionalVersion { version, weight }) = self.additional {
            // Far below 2^52 and not negative: nothing is lost by the conversions.
            let share = ((executions as f64 * weight).round() as usize).min(executions);
            left -= share;
            shares.push((version, share));
        }
        if let VersionNumber::Published(version) = self.version {
            shares.push((version, left));
        }
        shares.retain(|(_, share)| *share > 0);
        shares
    }
}

/// Whether an alias may be called so: 1 to 128 characters of `[a-zA-Z0-9-_]`, not digits only.
pub fn is_alias_name(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(is_name_byte)
        && !text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(version: VersionNumber, additional: Option<(u64, f64)>) -> Alias {
        Alias {
            scope: Scope::default(),
            function: FunctionName::parse("f").unwrap(),
            name: "live".to_owned(),
            version,
            additional: additional.map(|(version, weight)| AdditionalVersion { version, weight }),
            description: String::new(),
            revision_id: "r".to_owned(),
        }
    }

    #[test]
    fn a_call_goes_to_the_second_version_when_its_draw_is_below_the_weight() {
        let check = |additional, draw: f64, expected: u64| {
            let got = alias(VersionNumber::Published(1), additional).route(draw);
            assert_eq!(got, VersionNumber::Published(expected), "{additional:?} {draw}");
        };
        let greatest = 1.0_f64.next_down();
        check(None, 0.0, 1);
        check(Some((2, 0.25)), 0.0, 2);
        check(Some((2, 0.25)), 0.25_f64.next_down(), 2);
        check(Some((2, 0.25)), 0.25, 1);
        check(Some((2, 0.25)), greatest, 1);
        check(Some((2, 0.0)), 0.0, 1);
        check(Some((2, 1.0)), greatest, 2);
    }

    #[test]
    fn executions_are_shared_by_weight() {
        let check = |alias: Alias, executions, expected: &[(u64, usize)]| {
            assert_eq!(alias.shares(executions), expected, "{alias:?}");
        };
        let one = VersionNumber::Published(1);
        check(alias(one, None), 7, &[(1, 7)]);
        check(alias(one, Some((2, 0.1))), 10, &[(2, 1), (1, 9)]);
        check(alias(one, Some((2, 0.1))), 1, &[(1, 1)]);
        check(alias(one, Some((2, 1.0))), 3, &[(2, 3)]);
        check(alias(VersionNumber::Latest, None), 3, &[]);
    }

    #[test]
    fn names() {
        for name in ["a", "1a", "PROD", "a-b_c", &"a".repeat(128)] {
            assert!(is_alias_name(name), "{name}");
        }
        for wrong in ["", "1", "007", "a b", "a:b", "$LATEST", "ä", &"a".repeat(129)] {
            assert!(!is_alias_name(wrong), "{wrong}");
        }
    }
}
