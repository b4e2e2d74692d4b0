//! Whom a statement of a resource-based policy means.
//!
//! Source: IAM user guide, "AWS JSON policy elements: Principal" and "Policy evaluation logic".

use serde_json::Value;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Principal<'a> {
    /// Nobody who says who he is.
    Anonymous,
    /// A user or a session of a role.
    Identity {
        /// The account of twelve digits.
        account: &'a str,
        /// `arn:aws:iam::…:user/…` or `arn:aws:sts::…:assumed-role/…/…`.
        arn: &'a str,
        /// ARN of the role whose session it is.
        role: Option<&'a str>,
    },
    /// A service, e.g. `apigateway.amazonaws.com`.
    Service(&'a str),
}

/// How a statement means who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Meant {
    /// Not at all.
    No,
    /// As one of its account: the account's own policies say what its users may.
    AsAccount,
    /// In person, or as anyone.
    InPerson,
}

/// How the `Principal` element of a statement means who asks.
pub(super) fn meant(element: &Value, who: &Principal<'_>) -> Meant {
    match element {
        Value::String(text) if text == "*" => Meant::InPerson,
        Value::Object(kinds) => kinds
            .iter()
            .flat_map(|(kind, values)| {
                let values = match values {
                    Value::Array(values) => values.as_slice(),
                    value => std::slice::from_ref(value),
                };
                values.iter().filter_map(Value::as_str).map(move |value| by_kind(kind, value, who))
            })
            .max()
            .unwrap_or(Meant::No),
        _ => Meant::No,
    }
}

/// Whether `meant` can say whom a `Principal` element means: everybody, or names by kinds that IAM knows.
pub(super) fn is_readable(element: &Value) -> bool {
    match element {
        Value::String(text) => text == "*",
        Value::Object(kinds) => kinds.iter().all(|(kind, values)| {
            matches!(kind.as_str(), "AWS" | "Service" | "Federated" | "CanonicalUser")
                && match values {
                    Value::Array(values) => values.iter().all(Value::is_string),
                    value => value.is_string(),
                }
        }),
        _ => false,
    }
}

fn by_kind(kind: &str, value: &str, who: &Principal<'_>) -> Meant {
    match (kind, who) {
        ("AWS", _) if value == "*" => Meant::InPerson,
        ("AWS", Principal::Identity { account, arn, role }) => {
            if value == *arn || role.is_some_and(|role| role == value) {
                Meant::InPerson
            } else if value == *account || value == format!("arn:aws:iam::{account}:root") {
                Meant::AsAccount
            } else {
                Meant::No
            }
        }
        ("Service", Principal::Service(name)) if value == *name => Meant::InPerson,
        _ => Meant::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ANN: Principal<'_> = Principal::Identity {
        account: "000000000000",
        arn: "arn:aws:iam::000000000000:user/ann",
        role: None,
    };
    const SESSION: Principal<'_> = Principal::Identity {
        account: "000000000000",
        arn: "arn:aws:sts::000000000000:assumed-role/r/s",
        role: Some("arn:aws:iam::000000000000:role/path/r"),
    };
    const GATEWAY: Principal<'_> = Principal::Service("apigateway.amazonaws.com");

    #[test]
    fn who_is_meant() {
        use Meant::*;
        for (element, who, expected) in [
            (json!("*"), Principal::Anonymous, InPerson),
            (json!({"AWS": "*"}), Principal::Anonymous, InPerson),
            (json!({"AWS": "*"}), ANN, InPerson),
            (json!({"AWS": "arn:aws:iam::000000000000:user/ann"}), ANN, InPerson),
            (json!({"AWS": ["1", "arn:aws:iam::000000000000:user/ann"]}), ANN, InPerson),
            (json!({"AWS": "arn:aws:iam::000000000000:user/anna"}), ANN, No),
            (json!({"AWS": "arn:aws:iam::000000000000:user/*"}), ANN, No),
            (json!({"AWS": "000000000000"}), ANN, AsAccount),
            (json!({"AWS": "arn:aws:iam::000000000000:root"}), SESSION, AsAccount),
            (json!({"AWS": "arn:aws:iam::111111111111:root"}), ANN, No),
            (json!({"AWS": "arn:aws:iam::000000000000:role/path/r"}), SESSION, InPerson),
            (json!({"AWS": "arn:aws:sts::000000000000:assumed-role/r/s"}), SESSION, InPerson),
            (json!({"AWS": "arn:aws:iam::000000000000:root"}), Principal::Anonymous, No),
            (json!({"Service": "apigateway.amazonaws.com"}), GATEWAY, InPerson),
            (json!({"Service": "s3.amazonaws.com"}), GATEWAY, No),
            (json!({"Service": "*"}), ANN, No),
            (json!({"Federated": "*"}), ANN, No),
            (json!("arn:aws:iam::000000000000:user/ann"), ANN, No),
            (json!(7), ANN, No),
        ] {
            assert_eq!(meant(&element, &who), expected, "{element} {who:?}");
        }
    }
}
