//! PutParameter.

use super::parameter::{self, Kind, Parameter, Version, arn, opaque};
use super::{error, invalid, tags};
use crate::access;
use crate::http::{ApiError, Context, Members};
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use regex::RegexBuilder;
use serde_json::{Value, json};

/// Longest name. Source: PutParameter, Name: 1,011 characters beside the ARN.
const NAME_LENGTH: usize = 1_011;
/// Levels of a path. Source: PutParameter, Name.
const LEVELS: usize = 15;
/// Bytes of a value by tier. Source: Systems Manager quotas.
const STANDARD_BYTES: usize = 4_096;
const ADVANCED_BYTES: usize = 8_192;
/// Bytes a compiled `AllowedPattern` may take.
const PATTERN_BYTES: usize = 1 << 20;
/// Data types.
const DATA_TYPES: &[&str] = &["text", "aws:ec2:image", "aws:ssm:integration"];
/// Key of `SecureString` without `KeyId`.
const DEFAULT_KEY: &str = "alias/aws/ssm";

/// What a request asks for, its shapes checked.
struct Asked {
    name: String,
    value: String,
    kind: Option<Kind>,
    key_id: Option<String>,
    description: Option<String>,
    allowed_pattern: Option<String>,
    tier: Option<String>,
    data_type: Option<String>,
    overwrite: bool,
}

/// PutParameter.
pub async fn put(state: &ApiState, context: &Context, members: &Members<'_>) -> Result<Value, ApiError> {
    let asked = parse(members)?;
    access::authorize(state, context, "ssm", "PutParameter", &arn(context, &asked.name)).await?;
    check_name(&asked.name)?;
    let tags = tags::parse(members)?.unwrap_or_default();
    if asked.overwrite && !tags.is_empty() {
        return Err(invalid(
            "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please \
             remove overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or \
             RemoveTagsFromResource.",
        ));
    }
    if members.string("Policies")?.is_some_and(|policies| !policies.is_empty()) {
        return Err(ApiError::not_supported("ssm", "PutParameter with Policies"));
    }
    let _turn = state.parameter_writes.lock().await;
    let previous = parameter::find(state, context, &asked.name).await?;
    if previous.is_some() && !asked.overwrite {
        return Err(error(
            "ParameterAlreadyExists",
            "The parameter already exists. To overwrite this value, set the overwrite option in the request to \
             true.",
        ));
    }
    let name = asked.name.clone();
    let newest = version(context, state, asked, previous.as_ref().map(|previous| &previous.newest))?;
    let answer = json!({"Version": newest.number, "Tier": newest.tier});
    let changed = match &previous {
        Some(previous) => Parameter { newest, ..previous.clone() },
        None => Parameter { name, incarnation: uuid::Uuid::new_v4().to_string(), tags, newest },
    };
    parameter::save(state, context, &changed, previous.as_ref()).await?;
    Ok(answer)
}

fn parse(members: &Members<'_>) -> Result<Asked, ApiError> {
    let mut violations = Violations::default();
    let name = members.string("Name")?;
    match &name {
        None => violations.missing("name"),
        Some(name) if name.is_empty() => {
            violations.add(name, "name", "Member must have length greater than or equal to 1");
        }
        Some(name) => violations.length(name, "name", 2_048),
    }
    let value = members.string("Value")?;
    match &value {
        None => violations.missing("value"),
        Some(value) if value.is_empty() => {
            violations.add("", "value", "Member must have length greater than or equal to 1");
        }
        Some(_) => {}
    }
    let description = members.string("Description")?;
    violations.length(description.as_deref().unwrap_or_default(), "description", 1_024);
    let allowed_pattern = members.string("AllowedPattern")?;
    violations.length(allowed_pattern.as_deref().unwrap_or_default(), "allowedPattern", 1_024);
    let kind = members.string("Type")?;
    if let Some(kind) = &kind {
        violations.one_of(kind, "type", Kind::NAMES);
    }
    let tier = members.string("Tier")?;
    if let Some(tier) = &tier {
        violations.one_of(tier, "tier", &["Standard", "Advanced", "Intelligent-Tiering"]);
    }
    let key_id = members.string("KeyId")?;
    if let Some(key_id) = &key_id {
        let fits = (1..=256).contains(&key_id.len())
            && key_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":/_-".contains(&byte));
        violations.pattern(key_id, "keyId", fits, "^([a-zA-Z0-9:/_-]+)$");
    }
    let data_type = members.string("DataType")?;
    violations.length(data_type.as_deref().unwrap_or_default(), "dataType", 128);
    violations.finish()?;
    Ok(Asked {
        name: name.unwrap_or_default(),
        value: value.unwrap_or_default(),
        kind: kind.as_deref().and_then(Kind::parse),
        key_id,
        description,
        allowed_pattern: allowed_pattern.filter(|pattern| !pattern.is_empty()),
        tier,
        data_type: data_type.filter(|data_type| !data_type.is_empty()),
        overwrite: members.boolean("Overwrite")?.unwrap_or(false),
    })
}

/// Whether a parameter may have this name.
fn check_name(name: &str) -> Result<(), ApiError> {
    let lower = name.to_ascii_lowercase();
    let bare = lower.strip_prefix('/').unwrap_or(&lower);
    if lower.starts_with("/aws") && name.matches('/').count() > 1 {
        return Err(error("AccessDeniedException", format!("No access to reserved parameter name: {name}.")));
    }
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte));
    if !plain || name.contains("//") || name.ends_with('/') || bare.starts_with("ssm") {
        return Err(invalid(
            "Parameter name: can't be prefixed with \"ssm\" (case-insensitive). If formed as a path, it can consist \
             of sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the \
             following 3 symbols .-_",
        ));
    }
    if bare.starts_with("aws") {
        return Err(invalid("Parameter name: can't be prefixed with \"aws\" or \"ssm\" (case-insensitive)."));
    }
    if !name.starts_with('/') && name.contains('/') {
        return Err(invalid("Parameter name must be a fully qualified name."));
    }
    if name.len() > NAME_LENGTH {
        return Err(invalid(format!("Parameter name must be at most {NAME_LENGTH} characters long.")));
    }
    if name.matches('/').count() > LEVELS {
        return Err(error(
            "HierarchyLevelLimitExceededException",
            format!("The hierarchy can have a maximum of {LEVELS} levels."),
        ));
    }
    Ok(())
}

/// The version that a request makes. What it does not name stays as in the version before.
fn version(
    context: &Context,
    state: &ApiState,
    asked: Asked,
    previous: Option<&Version>,
) -> Result<Version, ApiError> {
    let kind = asked
        .kind
        .or(previous.map(|previous| previous.kind))
        .ok_or_else(|| invalid("A parameter type is required when you create a parameter."))?;
    let data_type = asked
        .data_type
        .or_else(|| previous.map(|previous| previous.data_type.clone()))
        .unwrap_or_else(|| "text".to_owned());
    if !DATA_TYPES.contains(&data_type.as_str()) {
        return Err(invalid(format!(
            "The following data type is not supported: {data_type} (Data type names are all lowercase.)"
        )));
    }
    let allowed_pattern =
        asked.allowed_pattern.or_else(|| previous.and_then(|previous| previous.allowed_pattern.clone()));
    check_pattern(allowed_pattern.as_deref(), &asked.value)?;
    let tier = tier(asked.tier.as_deref(), previous, asked.value.len())?.to_owned();
    let is_secure = kind == Kind::SecureString;
    let key_id = asked
        .key_id
        .or_else(|| previous.and_then(|previous| previous.key_id.clone()))
        .unwrap_or_else(|| DEFAULT_KEY.to_owned());
    Ok(Version {
        number: previous.map_or(1, |previous| previous.number + 1),
        kind,
        value: asked.value,
        opaque: is_secure.then(opaque),
        key_id: is_secure.then_some(key_id),
        description: asked
            .description
            .or_else(|| previous.and_then(|previous| previous.description.clone()))
            .filter(|description| !description.is_empty()),
        allowed_pattern,
        tier,
        data_type,
        modified_at: state.now(),
        modified_by: context.caller_arn(),
    })
}

fn check_pattern(pattern: Option<&str>, value: &str) -> Result<(), ApiError> {
    let Some(pattern) = pattern else { return Ok(()) };
    let regex = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build().map_err(|_| {
        error(
            "InvalidAllowedPatternException",
            format!("AllowedPattern, {pattern}, is not a valid regular expression."),
        )
    })?;
    if regex.is_match(value) {
        return Ok(());
    }
    Err(error(
        "ParameterPatternMismatchException",
        format!("Parameter value, cannot be validated against allowedPattern: {pattern}"),
    ))
}

/// The tier of a value of so many bytes. A parameter never goes back to the standard tier.
fn tier(asked: Option<&str>, previous: Option<&Version>, bytes: usize) -> Result<&'static str, ApiError> {
    let was_advanced = previous.is_some_and(|previous| previous.tier == "Advanced");
    let tier = match asked {
        Some("Standard") if was_advanced => {
            return Err(invalid(
                "This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the \
                 advanced-parameter tier to the standard-parameter tier. If necessary, you can delete the advanced \
                 parameter and recreate it as a standard parameter.",
            ));
        }
        _ if was_advanced => "Advanced",
        Some("Advanced") => "Advanced",
        Some("Intelligent-Tiering") if bytes > STANDARD_BYTES => "Advanced",
        _ => "Standard",
    };
    const GUIDE: &str = "https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html";
    match tier {
        "Standard" if bytes > STANDARD_BYTES => Err(invalid(format!(
            "Standard tier parameters support a maximum parameter value of {STANDARD_BYTES} characters. To create a \
             larger parameter value, upgrade the parameter to use the advanced-parameter tier. For more information, \
             see {GUIDE}"
        ))),
        "Advanced" if bytes > ADVANCED_BYTES => Err(invalid(format!(
            "Advanced tier parameters support a maximum parameter value of {ADVANCED_BYTES} characters. For more \
             information, see {GUIDE}"
        ))),
        tier => Ok(tier),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "/a", "/a/b.c/d_e-f", "DB", "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for (wrong, code) in [
            ("a b", "ValidationException"),
            ("/a/", "ValidationException"),
            ("/a//b", "ValidationException"),
            ("a/b", "ValidationException"),
            ("ssm-x", "ValidationException"),
            ("AWSx", "ValidationException"),
            ("/aws/x", "AccessDeniedException"),
            ("ä", "ValidationException"),
            ("/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16", "HierarchyLevelLimitExceededException"),
        ] {
            assert_eq!(check_name(wrong).unwrap_err().code, code, "{wrong}");
        }
    }

    #[test]
    fn tiers_by_size() {
        assert_eq!(tier(None, None, 4_096).unwrap(), "Standard");
        assert!(tier(None, None, 4_097).unwrap_err().message.starts_with("Standard tier parameters support"));
        assert_eq!(tier(Some("Advanced"), None, 8_192).unwrap(), "Advanced");
        assert!(tier(Some("Advanced"), None, 8_193).is_err());
        assert_eq!(tier(Some("Intelligent-Tiering"), None, 10).unwrap(), "Standard");
        assert_eq!(tier(Some("Intelligent-Tiering"), None, 5_000).unwrap(), "Advanced");
    }

    #[test]
    fn patterns_are_searched_for() {
        assert!(check_pattern(Some(r"^\d+$"), "12").is_ok());
        let wrong = check_pattern(Some(r"^\d+$"), "x").unwrap_err();
        assert_eq!(wrong.code, "ParameterPatternMismatchException");
        assert_eq!(check_pattern(Some("("), "x").unwrap_err().code, "InvalidAllowedPatternException");
        assert!(check_pattern(Some("(a{1000}){1000}{1000}"), "x").is_err(), "bounded");
    }
}
