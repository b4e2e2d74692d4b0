//! Shapes of names, as CloudWatch Logs checks them: what breaks one is an `InvalidParameterException`.

use super::invalid;
use crate::http::{ApiError, Members};
use crate::lambda::validation::{LOG_GROUP_PATTERN, Violations};

/// Longest name of a group, stream or filter, characters.
const NAME_CHARACTERS: usize = 512;
/// Pattern of the names of streams and filters.
const PLAIN_PATTERN: &str = "[^:*]*";

/// Fails with what was noted, under the code of this service.
pub(super) fn finish(violations: Violations) -> Result<(), ApiError> {
    violations.finish().map_err(|error| invalid(error.message))
}

/// `logGroupName`, which must be there and well formed.
pub(super) fn group_name(members: &Members<'_>, violations: &mut Violations) -> Result<String, ApiError> {
    let name = required(members, "logGroupName", violations)?;
    let fits = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_/#".contains(&byte));
    violations.pattern(&name, "logGroupName", fits, LOG_GROUP_PATTERN);
    Ok(name)
}

/// `logStreamName` or `filterName`, which must be there and well formed.
pub(super) fn plain_name(
    members: &Members<'_>,
    member: &str,
    violations: &mut Violations,
) -> Result<String, ApiError> {
    let name = required(members, member, violations)?;
    violations.pattern(&name, member, !name.contains([':', '*']), PLAIN_PATTERN);
    Ok(name)
}

fn required(members: &Members<'_>, member: &str, violations: &mut Violations) -> Result<String, ApiError> {
    let name = members.string(member)?;
    match &name {
        None => violations.missing(member),
        Some(name) if name.is_empty() => {
            violations.add(name, member, "Member must have length greater than or equal to 1");
        }
        Some(name) => violations.length(name, member, NAME_CHARACTERS),
    }
    Ok(name.unwrap_or_default())
}
