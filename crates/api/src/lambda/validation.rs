//! Shape constraints, as the Lambda API checks and words them.
//!
//! All violations of a request are reported together in one `ValidationException`. The patterns are those of the
//! service model (botocore 1.44.5) and stand here as text for the message; the checks are written by hand.

use crate::http::ApiError;
use crate::lambda::patterns::Pattern;
use lamplight_model::{ErrorCode, ServiceError};
use std::fmt::{Display, Write as _};

/// Pattern of `FunctionName`.
pub const FUNCTION_NAME_PATTERN: &str = r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?";
/// Pattern of `Qualifier`.
pub const QUALIFIER_PATTERN: &str = "(|[a-zA-Z0-9$_-]+)";
/// Pattern of the names of aliases.
pub const ALIAS_PATTERN: &str = "(?!^[0-9]+$)([a-zA-Z0-9-_]+)";
/// Pattern of `FunctionVersion` of aliases.
pub const VERSION_PATTERN: &str = r"(\$LATEST(\.PUBLISHED)?|[0-9]+)";
/// Pattern of `Role`.
pub const ROLE_PATTERN: &str = r"arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+";
/// Pattern of `Handler`.
pub const HANDLER_PATTERN: &str = r"[^\s]+";
/// Pattern of the names of environment variables.
pub const VARIABLE_PATTERN: &str = "[a-zA-Z]([a-zA-Z0-9_])+";
/// Pattern of ARNs of dead-letter targets and keys.
pub const ARN_PATTERN: &str = r"(arn:(aws[a-zA-Z-]*)?:[a-z0-9-.]+:.*)|()";
/// Pattern of `LoggingConfig.LogGroup`.
pub const LOG_GROUP_PATTERN: &str = r"[\.\-_/#A-Za-z0-9]+";
/// Pattern of `FileSystemConfigs[].LocalMountPath`.
pub const MOUNT_PATH_PATTERN: &str = "/mnt/[a-zA-Z0-9-_.]+";
/// Pattern of access-point ARNs. Wider than AWS's (`fsap-` and 17 digits): the last component names a directory
/// of the platform.
pub const FILE_SYSTEM_PATTERN: &str = r"arn:aws[a-zA-Z-]*:(elasticfilesystem|s3files):[a-z0-9-]+:\d{12}:(file-system/[a-zA-Z0-9-_.]+/)?access-point/[a-zA-Z0-9-_.]+";
/// Pattern of tag keys and values.
pub const TAG_PATTERN: &str = r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)";

/// The violations found so far.
#[derive(Debug, Default)]
pub struct Violations(Vec<String>);

impl Violations {
    /// Notes that `value` at `path` (camel case, as AWS prints it) breaks a constraint.
    pub fn add(&mut self, value: impl Display, path: &str, constraint: impl Display) {
        self.0.push(format!("Value '{value}' at '{path}' failed to satisfy constraint: {constraint}"));
    }

    /// Notes that a required member is absent.
    pub fn missing(&mut self, path: &str) {
        self.0.push(format!("Value null at '{path}' failed to satisfy constraint: Member must not be null"));
    }

    /// A whole number between two bounds.
    pub fn range(&mut self, value: i64, path: &str, least: i64, most: i64) {
        if value < least {
            self.add(value, path, format!("Member must have value greater than or equal to {least}"));
        } else if value > most {
            self.add(value, path, format!("Member must have value less than or equal to {most}"));
        }
    }

    /// A text with a greatest length, characters.
    pub fn length(&mut self, value: &str, path: &str, most: usize) {
        if value.chars().count() > most {
            self.add(value, path, format!("Member must have length less than or equal to {most}"));
        }
    }

    /// A text that should have matched `pattern`.
    pub fn pattern(&mut self, value: &str, path: &str, matches: bool, pattern: &str) {
        if !matches {
            self.add(value, path, format!("Member must satisfy regular expression pattern: {pattern}"));
        }
    }

    /// A text that should match a pattern of the model.
    pub fn fits(&mut self, value: &str, path: &str, pattern: &Pattern) {
        self.pattern(value, path, pattern.matches(value), pattern.text());
    }

    /// A list with a least and a greatest length.
    pub fn list_length<T>(&mut self, list: &[T], path: &str, least: usize, most: usize) {
        let shown = format_args!("[{} members]", list.len());
        if list.len() < least {
            self.add(shown, path, format!("Member must have length greater than or equal to {least}"));
        } else if list.len() > most {
            self.add(shown, path, format!("Member must have length less than or equal to {most}"));
        }
    }

    /// One of a closed set.
    pub fn one_of(&mut self, value: &str, path: &str, set: &[&str]) {
        if !set.contains(&value) {
            self.add(value, path, format!("Member must satisfy enum value set: [{}]", set.join(", ")));
        }
    }

    /// Fails with `ValidationException` when something was noted.
    pub fn finish(self) -> Result<(), ApiError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let count = self.0.len();
        let mut message = format!("{count} validation error{} detected: ", if count == 1 { "" } else { "s" });
        let _ = write!(message, "{}", self.0.join("; "));
        Err(ServiceError::new(ErrorCode::ValidationException, message).into())
    }
}

fn is_partition(text: &str) -> bool {
    text.strip_prefix("aws").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-'))
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn all_of(text: &str, extra: &[u8]) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte))
}

/// `ROLE_PATTERN`.
pub fn is_role_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts.as_slice() else { return false };
    (partition.is_empty() || is_partition(partition))
        && is_account(account)
        && resource
            .strip_prefix("role")
            .is_some_and(|name| all_of(name.strip_prefix('/').unwrap_or(name), b"_+=,.@-/"))
}

/// `HANDLER_PATTERN`.
pub fn is_handler(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_whitespace)
}

/// `VARIABLE_PATTERN`.
pub fn is_variable_name(text: &str) -> bool {
    text.len() >= 2 && text.as_bytes()[0].is_ascii_alphabetic() && all_of(text, b"_")
}

/// `ARN_PATTERN`.
pub fn is_arn_or_empty(text: &str) -> bool {
    if text.is_empty() {
        return true;
    }
    let mut parts = text.splitn(4, ':');
    let (arn, partition, service, rest) = (parts.next(), parts.next(), parts.next(), parts.next());
    arn == Some("arn")
        && partition.is_some_and(|partition| partition.is_empty() || is_partition(partition))
        && service.is_some_and(|service| all_of(service, b"-."))
        && rest.is_some()
}

/// `LOG_GROUP_PATTERN`.
pub fn is_log_group(text: &str) -> bool {
    all_of(text, b".-_/#")
}

/// `MOUNT_PATH_PATTERN`. `/mnt/.` and `/mnt/..` fit AWS's pattern; here they are no mount points.
pub fn is_mount_path(text: &str) -> bool {
    text.strip_prefix("/mnt/").is_some_and(|name| all_of(name, b"-_.") && name != "." && name != "..")
}

/// `FILE_SYSTEM_PATTERN`; the last component is neither `.` nor `..`.
pub fn is_file_system_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, "elasticfilesystem" | "s3files", region, account, resource] = parts.as_slice()
    else {
        return false;
    };
    let name = match resource.split('/').collect::<Vec<_>>().as_slice() {
        ["access-point", name] => *name,
        ["file-system", system, "access-point", name] if all_of(system, b"-_.") => *name,
        _ => return false,
    };
    is_partition(partition)
        && all_of(region, b"-")
        && is_account(account)
        && all_of(name, b"-_.")
        && name != "."
        && name != ".."
}

/// `TAG_PATTERN`; letters, separators and digits of any script.
pub fn is_tag_text(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_are_joined() {
        let mut violations = Violations::default();
        violations.range(1, "memorySize", 128, 32_768);
        violations.missing("role");
        let error = violations.finish().unwrap_err();
        assert_eq!(error.code, "ValidationException");
        assert_eq!(
            error.message,
            "2 validation errors detected: Value '1' at 'memorySize' failed to satisfy constraint: Member must \
             have value greater than or equal to 128; Value null at 'role' failed to satisfy constraint: Member \
             must not be null"
        );
        assert!(Violations::default().finish().is_ok());
    }

    #[test]
    fn shapes() {
        assert!(is_role_arn("arn:aws:iam::000000000000:role/service-role/r"));
        assert!(is_role_arn("arn:aws-cn:iam::000000000000:role/r"));
        for wrong in [
            "",
            "r",
            "arn:aws:iam::1:role/r",
            "arn:aws:iam::000000000000:user/r",
            "arn:aws:iam::000000000000:role/",
        ] {
            assert!(!is_role_arn(wrong), "{wrong}");
        }
        assert!(is_handler("a.b::c") && !is_handler("a b") && !is_handler(""));
        assert!(is_variable_name("AB") && is_variable_name("a_1"));
        for wrong in ["A", "", "_A", "1A", "A-B", "ÄB"] {
            assert!(!is_variable_name(wrong), "{wrong}");
        }
        assert!(is_arn_or_empty("") && is_arn_or_empty("arn:aws:sqs:us-east-1:000000000000:q"));
        assert!(!is_arn_or_empty("arn:aws:sqs") && !is_arn_or_empty("x"));
        assert!(is_mount_path("/mnt/notes") && !is_mount_path("/mnt/a/b") && !is_mount_path("/mnt/.."));
        assert!(is_file_system_arn(
            "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0"
        ));
        assert!(is_file_system_arn("arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/notes"));
        assert!(!is_file_system_arn("arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/.."));
        assert!(!is_file_system_arn("arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/a/b"));
        assert!(is_tag_text("lamplight:egress=on ü") && !is_tag_text("a*b"));
    }
}
