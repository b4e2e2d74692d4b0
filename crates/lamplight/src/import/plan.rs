//! What the documents of one endpoint become as requests to another. Pure.

use crate::failure::Failure;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Fields of a configuration that are sent on as they are.
const COPIED: &[&str] = &[
    "Runtime",
    "Role",
    "Handler",
    "Description",
    "Timeout",
    "MemorySize",
    "EphemeralStorage",
    "TracingConfig",
    "DeadLetterConfig",
    "FileSystemConfigs",
    "LoggingConfig",
];
/// Fields that name what only the other endpoint has, and what becomes of them.
const LEFT_OUT: &[(&str, &str)] = &[
    ("VpcConfig", "VpcConfig: subnets and security groups are not this machine's"),
    ("KMSKeyArn", "KMSKeyArn: environment values are encrypted with this server's own key"),
    ("SigningJobArn", "the code signature"),
];

/// A text field, empty when absent.
pub fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Numbers of the versions that aliases name, by weight too, ascending.
pub fn versions_of_aliases(aliases: &[Value]) -> Result<BTreeSet<u64>, Failure> {
    let mut numbers = BTreeSet::new();
    for alias in aliases {
        let weights = alias.pointer("/RoutingConfig/AdditionalVersionWeights").and_then(Value::as_object);
        let second = weights.into_iter().flat_map(|weights| weights.keys().cloned());
        for version in std::iter::once(text(alias, "FunctionVersion")).chain(second) {
            if version == "$LATEST" {
                continue;
            }
            let number = version.parse().map_err(|_| {
                Failure::usage(format!("the alias {} names the version \"{version}\"", text(alias, "Name")))
            })?;
            numbers.insert(number);
        }
    }
    Ok(numbers)
}

/// The request that makes a function configured so; `layers` gives ARNs here for those there.
pub fn configuration_request(configuration: &Value, layers: &BTreeMap<String, String>) -> Value {
    let mut request = Map::new();
    for key in COPIED {
        if let Some(value) = configuration.get(*key).filter(|value| !value.is_null()) {
            request.insert((*key).to_owned(), value.clone());
        }
    }
    if let Some(target) = configuration.pointer("/SnapStart/ApplyOn") {
        request.insert("SnapStart".to_owned(), json!({ "ApplyOn": target }));
    }
    // What is absent in a later version must not stay from an earlier one.
    let variables = configuration.pointer("/Environment/Variables").cloned().unwrap_or(json!({}));
    request.insert("Environment".to_owned(), json!({ "Variables": variables }));
    request.entry("Description").or_insert(json!(""));
    request.entry("FileSystemConfigs").or_insert(json!([]));
    let attached = configuration.get("Layers").and_then(Value::as_array).into_iter().flatten();
    let attached: Vec<&String> = attached.filter_map(|layer| layers.get(&text(layer, "Arn"))).collect();
    request.insert("Layers".to_owned(), json!(attached));
    Value::Object(request)
}

/// The request that makes an alias so; `numbers` gives versions here for those there.
pub fn alias_request(alias: &Value, numbers: &BTreeMap<String, String>) -> Result<Value, Failure> {
    let here = |version: &str| match version {
        "$LATEST" => Ok("$LATEST".to_owned()),
        _ => numbers.get(version).cloned().ok_or_else(|| {
            Failure::usage(format!("the alias {} changed while it was copied", text(alias, "Name")))
                .then("import again")
        }),
    };
    let mut request = json!({
        "Name": text(alias, "Name"), "Description": text(alias, "Description"),
        "FunctionVersion": here(&text(alias, "FunctionVersion"))?,
    });
    let weights = alias.pointer("/RoutingConfig/AdditionalVersionWeights").and_then(Value::as_object);
    if let Some(weights) = weights.filter(|weights| !weights.is_empty()) {
        let mut mapped = Map::new();
        for (version, weight) in weights {
            mapped.insert(here(version)?, weight.clone());
        }
        request["RoutingConfig"] = json!({ "AdditionalVersionWeights": mapped });
    }
    Ok(request)
}

/// What of these configurations is not copied, for people.
pub fn left_out(configurations: &[&Value]) -> Vec<&'static str> {
    let is_set = |key: &str| {
        configurations.iter().any(|configuration| match configuration.get(key) {
            None | Some(Value::Null) => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(value) => value.get("SubnetIds").and_then(Value::as_array).is_none_or(|ids| !ids.is_empty()),
        })
    };
    let mut lines: Vec<&str> =
        LEFT_OUT.iter().filter(|(key, _)| is_set(key)).map(|(_, line)| *line).collect();
    lines.push(
        "versions that no alias names, permissions, function URLs, event sources and asynchronous options",
    );
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_aliases_are_found_with_those_by_weight() {
        let aliases = [
            json!({"Name": "live", "FunctionVersion": "12", "RoutingConfig": {"AdditionalVersionWeights": {"9": 0.1}}}),
            json!({"Name": "next", "FunctionVersion": "$LATEST"}),
        ];
        assert_eq!(versions_of_aliases(&aliases).unwrap().into_iter().collect::<Vec<_>>(), [9, 12]);
        assert!(versions_of_aliases(&[json!({"Name": "odd"})]).is_err());
    }

    #[test]
    fn an_alias_gets_the_numbers_of_here() {
        let numbers = [("12".to_owned(), "2".to_owned()), ("9".to_owned(), "1".to_owned())].into();
        let alias = json!({"Name": "live", "FunctionVersion": "12", "RoutingConfig": {"AdditionalVersionWeights": {"9": 0.1}}});
        let request = alias_request(&alias, &numbers).unwrap();
        assert_eq!(
            request,
            json!({"Name": "live", "Description": "", "FunctionVersion": "2", "RoutingConfig": {"AdditionalVersionWeights": {"1": 0.1}}})
        );
        assert!(alias_request(&json!({"Name": "a", "FunctionVersion": "7"}), &numbers).is_err());
    }

    #[test]
    fn a_configuration_is_sent_on_without_what_only_the_other_side_has() {
        let there = json!({
            "FunctionName": "f", "FunctionArn": "x", "Runtime": "python3.11", "MemorySize": 256, "RevisionId": "r",
            "VpcConfig": {"SubnetIds": ["s"], "SecurityGroupIds": ["g"]}, "KMSKeyArn": "",
            "Layers": [{"Arn": "there:1", "CodeSize": 1}], "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        });
        let layers = [("there:1".to_owned(), "here:4".to_owned())].into();
        assert_eq!(
            configuration_request(&there, &layers),
            json!({
                "Runtime": "python3.11", "MemorySize": 256, "SnapStart": {"ApplyOn": "None"}, "Environment": {"Variables": {}},
                "Description": "", "FileSystemConfigs": [], "Layers": ["here:4"],
            })
        );
        assert_eq!(left_out(&[&there]).len(), 2);
        assert_eq!(left_out(&[&json!({"VpcConfig": {"SubnetIds": []}})]).len(), 1);
    }
}
