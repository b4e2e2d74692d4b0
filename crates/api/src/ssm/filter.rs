//! `ParameterFilters` and the older `Filters`: what a list leaves out.

use super::parameter::{Kind, Parameter};
use super::{error, invalid};
use crate::http::{ApiError, Members};
use crate::lambda::validation::Violations;

/// What a path must be.
pub const PATH_REQUIREMENTS: &str = "The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash \"/\". It can't be prefixed with \"aws\" or \"ssm\" (case-insensitive). It must use only letters, numbers, or the following symbols: . (period), - (hyphen), _ (underscore). Special characters are not allowed. All sub-paths, if specified, must use the forward slash symbol \"/\". Valid example: /get/parameters2-/by1./path0_.";
/// Pattern of `Key`.
const KEY_PATTERN: &str = "^(tag:.+|Name|Type|KeyId|Path|Label|Tier|DataType)$";
const KEYS: &[&str] = &["Name", "Type", "KeyId", "Path", "Label", "Tier", "DataType"];
const TIERS: &[&str] = &["Standard", "Advanced", "Intelligent-Tiering"];

/// One filter.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    key: String,
    option: String,
    values: Vec<String>,
}

impl Filter {
    /// What lies beneath a path, at any depth or directly.
    pub fn path(path: &str, recursive: bool) -> Self {
        let option = if recursive { "Recursive" } else { "OneLevel" };
        Self { key: "Path".to_owned(), option: option.to_owned(), values: vec![path.to_owned()] }
    }

    /// Whether one of its values fits the parameter.
    pub fn lets_through(&self, parameter: &Parameter) -> bool {
        let newest = &parameter.newest;
        if let Some(tag) = self.key.strip_prefix("tag:") {
            return parameter.tags.get(tag).is_some_and(|value| self.any(value));
        }
        match self.key.as_str() {
            // A name at the root is the same with and without its slash, but where a part of it is looked for.
            "Name" if self.option == "Contains" => self.any(&parameter.name),
            "Name" => {
                let rooted = |name: &str| format!("/{}", name.strip_prefix('/').unwrap_or(name));
                let name = rooted(&parameter.name);
                self.values.iter().any(|value| fits(&self.option, &name, &rooted(value)))
            }
            "Path" => {
                self.values.iter().any(|path| beneath(&parameter.name, path, self.option == "Recursive"))
            }
            "Type" => self.any(newest.kind.as_str()),
            "KeyId" => newest.key_id.as_deref().is_some_and(|key_id| self.any(key_id)),
            "Tier" => self.any(&newest.tier),
            "DataType" => self.any(&newest.data_type),
            _ => false,
        }
    }

    fn any(&self, text: &str) -> bool {
        self.values.iter().any(|value| fits(&self.option, text, value))
    }
}

fn fits(option: &str, text: &str, value: &str) -> bool {
    match option {
        "BeginsWith" => text.starts_with(value),
        "Contains" => text.contains(value),
        _ => text == value,
    }
}

/// Whether a name lies beneath a path. Names without a slash lie at the root.
fn beneath(name: &str, path: &str, recursive: bool) -> bool {
    let path = path.trim_matches('/');
    let name = name.strip_prefix('/').unwrap_or(name);
    let rest = match path {
        "" => Some(name),
        path => name.strip_prefix(path).and_then(|rest| rest.strip_prefix('/')),
    };
    rest.is_some_and(|rest| recursive || !rest.contains('/'))
}

/// `ParameterFilters`. `by_path`: of GetParametersByPath, which takes fewer keys.
pub fn parse(members: &Members<'_>, by_path: bool) -> Result<Vec<Filter>, ApiError> {
    let given = members.objects("ParameterFilters")?.unwrap_or_default();
    let mut violations = Violations::default();
    let mut filters: Vec<Filter> = Vec::new();
    for (index, filter) in given.iter().enumerate() {
        let at = |member: &str| format!("parameterFilters.{}.member.{member}", index + 1);
        let key = filter.string("Key")?;
        match &key {
            None => violations.missing(&at("key")),
            Some(key) => {
                let known = KEYS.contains(&key.as_str())
                    || key.strip_prefix("tag:").is_some_and(|tag| !tag.is_empty());
                violations.pattern(key, &at("key"), known, KEY_PATTERN);
                violations.length(key, &at("key"), 132);
            }
        }
        let option = filter.string("Option")?;
        violations.length(option.as_deref().unwrap_or_default(), &at("option"), 10);
        let values = filter.strings("Values")?.unwrap_or_default();
        if values.len() > 50 {
            violations.list_length(&values, &at("values"), 1, 50);
        }
        let key = key.unwrap_or_default();
        let option = option.unwrap_or_else(|| default_option(&key).to_owned());
        filters.push(Filter { key, option, values });
    }
    violations.finish()?;
    for (index, filter) in filters.iter().enumerate() {
        check(filter, by_path)?;
        if filters[..index].iter().any(|earlier| earlier.key == filter.key) {
            return Err(error(
                "InvalidFilterKey",
                format!(
                    "The following filter is duplicated in the request: {}. A request can contain only one occurrence \
                     of a specific filter.",
                    filter.key
                ),
            ));
        }
    }
    Ok(filters)
}

fn default_option(key: &str) -> &'static str {
    if key == "Path" { "OneLevel" } else { "Equals" }
}

fn check(filter: &Filter, by_path: bool) -> Result<(), ApiError> {
    let Filter { key, option, values } = filter;
    let wrong_key = |valid: &str| {
        Err(error(
            "InvalidFilterKey",
            format!("The following filter key is not valid: {key}. Valid filter keys include: [{valid}]."),
        ))
    };
    match key.as_str() {
        "Label" if by_path => return Err(ApiError::not_supported("ssm", "GetParametersByPath with labels")),
        "Label" => return wrong_key("Path, Name, Type, KeyId, Tier"),
        "Name" | "Path" | "Tier" if by_path => return wrong_key("Type, KeyId"),
        _ => {}
    }
    if values.is_empty() {
        return Err(error(
            "InvalidFilterValue",
            format!("The following filter values are missing : null for filter key {key}."),
        ));
    }
    let (options, shown): (&[&str], &str) = match key.as_str() {
        "Path" => (&["Recursive", "OneLevel"], "Recursive, OneLevel"),
        "Name" => (&["BeginsWith", "Equals", "Contains"], "BeginsWith, Equals"),
        _ => (&["BeginsWith", "Equals"], "BeginsWith, Equals"),
    };
    if !options.contains(&option.as_str()) {
        return Err(error(
            "InvalidFilterOption",
            format!("The following filter option is not valid: {option}. Valid options include: [{shown}]."),
        ));
    }
    for value in values {
        let valid = match key.as_str() {
            "Type" => Kind::NAMES,
            "Tier" => TIERS,
            "Path" => {
                let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte));
                if !value.starts_with('/') || value.contains("//") || !plain {
                    return Err(invalid(PATH_REQUIREMENTS));
                }
                continue;
            }
            _ => continue,
        };
        if !valid.contains(&value.as_str()) {
            return Err(error(
                "InvalidFilterOption",
                format!(
                    "The following filter value is not valid: {value}. Valid values include: [{}].",
                    valid.join(", ")
                ),
            ));
        }
    }
    Ok(())
}

/// `Filters` of DescribeParameters: `Name` is a beginning, the others are whole.
pub fn parse_old(members: &Members<'_>) -> Result<Vec<Filter>, ApiError> {
    let mut violations = Violations::default();
    let mut filters = Vec::new();
    for (index, filter) in members.objects("Filters")?.unwrap_or_default().iter().enumerate() {
        let key = filter.string("Key")?.unwrap_or_default();
        let values = filter.strings("Values")?.unwrap_or_default();
        violations.one_of(&key, &format!("filters.{}.member.key", index + 1), &["Name", "Type", "KeyId"]);
        violations.list_length(&values, &format!("filters.{}.member.values", index + 1), 1, 50);
        let option = if key == "Name" { "BeginsWith" } else { "Equals" };
        filters.push(Filter { key, option: option.to_owned(), values });
    }
    violations.finish()?;
    Ok(filters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beneath_a_path() {
        for (name, path, recursive, expected) in [
            ("/a/b", "/a", false, true),
            ("/a/b", "/a/", false, true),
            ("/a/b/c", "/a", false, false),
            ("/a/b/c", "/a", true, true),
            ("/ab", "/a", true, false),
            ("/a", "/a", true, false),
            ("a", "/", false, true),
            ("/a", "/", false, true),
            ("/a/b", "/", false, false),
            ("/a/b", "/", true, true),
        ] {
            assert_eq!(beneath(name, path, recursive), expected, "{name} {path} {recursive}");
        }
    }

    #[test]
    fn what_is_refused() {
        let check = |filters: &str, by_path: bool, expected: &str| {
            let body = format!("{{\"ParameterFilters\": {filters}}}");
            let members = Members::parse(body.as_bytes()).unwrap();
            assert_eq!(parse(&members, by_path).unwrap_err().code, expected, "{filters}");
        };
        check(r#"[{"Key": "Nonsense", "Values": ["x"]}]"#, false, "ValidationException");
        check(r#"[{"Key": "Label", "Values": ["x"]}]"#, false, "InvalidFilterKey");
        check(r#"[{"Key": "Name", "Values": ["x"]}]"#, true, "InvalidFilterKey");
        check(r#"[{"Key": "Name"}]"#, false, "InvalidFilterValue");
        check(r#"[{"Key": "Name", "Option": "Almost", "Values": ["x"]}]"#, false, "InvalidFilterOption");
        check(r#"[{"Key": "Type", "Values": ["x"]}]"#, false, "InvalidFilterOption");
        check(r#"[{"Key": "Path", "Values": ["x"]}]"#, false, "ValidationException");
        check(
            r#"[{"Key": "Name", "Values": ["x"]}, {"Key": "Name", "Values": ["y"]}]"#,
            false,
            "InvalidFilterKey",
        );
    }
}
