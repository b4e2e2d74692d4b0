//! AssumeRole.

use super::session::{self, SECRET_ALPHABET, Session, letters};
use crate::http::xml::element;
use crate::http::{ApiError, Context};
use crate::iam::{self, Parameters, document, invalid};
use crate::state::ApiState;
use ::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lamplight_model::credentials::SECRET_LENGTH;
use std::time::Duration;

/// Length of a session without `DurationSeconds`.
const SESSION_SECONDS: u32 = 3_600;
/// Bytes of a session policy that are a hundred percent of `PackedPolicySize`. AWS packs before it counts.
const POLICY_BYTES: usize = 2_048;

/// AssumeRole.
///
/// Source of the texts: answers recorded from the service.
pub async fn assume(
    state: &ApiState,
    context: &Context,
    parameters: &Parameters,
) -> Result<String, ApiError> {
    let arn = parameters.required("RoleArn")?;
    let name = parameters.required("RoleSessionName")?;
    check_session_name(name)?;
    let seconds = duration_seconds(parameters)?;
    check_arn(arn)?;
    let policy = parameters.get("Policy").unwrap_or_default();
    if !policy.is_empty() {
        document::check_identity(policy)?;
    }
    let account = context.scope.account.as_str();
    let role = iam::find_role(state, context, arn.rsplit('/').next().unwrap_or_default()).await?;
    let role = role.filter(|role| role.arn(account) == arn).ok_or_else(|| {
        // AWS does not tell whether there is such a role.
        ApiError::new(
            StatusCode::FORBIDDEN,
            "AccessDenied",
            format!(
                "User: {} is not authorized to perform: sts:AssumeRole on resource: {arn}",
                context.caller_arn()
            ),
        )
    })?;
    if seconds > role.max_session_seconds {
        return Err(invalid(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        ));
    }
    let secret = letters(SECRET_ALPHABET, SECRET_LENGTH);
    let token: Vec<u8> = (0..180).map(|_| rand::random()).collect();
    let token = STANDARD.encode(token);
    let session = Session {
        role: role.name.clone(),
        role_id: role.id.clone(),
        name: name.to_owned(),
        expires_at: state.now().plus(Duration::from_secs(u64::from(seconds))),
        secret: Some(secret.clone()),
        token: Some(token.clone()),
        policy: (!policy.is_empty()).then(|| policy.to_owned()),
    };
    let key_id = session::add(state, context, &session).await?;
    let credentials = element("AccessKeyId", &key_id)
        + &element("SecretAccessKey", &secret)
        + &element("SessionToken", &token)
        + &element("Expiration", &session.expires_at.iso_format());
    let user = element("AssumedRoleId", &session.user_id()) + &element("Arn", &session.arn(account));
    let mut answer =
        format!("<Credentials>{credentials}</Credentials><AssumedRoleUser>{user}</AssumedRoleUser>");
    if !policy.is_empty() {
        answer += &element("PackedPolicySize", &(policy.len() * 100).div_ceil(POLICY_BYTES).to_string());
    }
    if let Some(identity) = parameters.get("SourceIdentity") {
        answer += &element("SourceIdentity", identity);
    }
    Ok(answer)
}

fn check_session_name(name: &str) -> Result<(), ApiError> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte));
    let constraint = match name.chars().count() {
        _ if !plain => r"Member must satisfy regular expression pattern: [\w+=,.@-]*",
        ..2 => "Member must have length greater than or equal to 2",
        2..=64 => return Ok(()),
        _ => "Member must have length less than or equal to 64",
    };
    Err(invalid(format!(
        "1 validation error detected: Value '{name}' at 'roleSessionName' failed to satisfy constraint: {constraint}"
    )))
}

fn duration_seconds(parameters: &Parameters) -> Result<u32, ApiError> {
    let Some(text) = parameters.get("DurationSeconds") else { return Ok(SESSION_SECONDS) };
    let bound = match text.parse::<i64>() {
        Ok(..900) => "greater than or equal to 900",
        Ok(seconds @ 900..=43_200) => return Ok(u32::try_from(seconds).unwrap_or(SESSION_SECONDS)),
        _ => "less than or equal to 43200",
    };
    Err(invalid(format!(
        "1 validation error detected: Value '{text}' at 'durationSeconds' failed to satisfy constraint: Member must have \
         value {bound}"
    )))
}

fn check_arn(arn: &str) -> Result<(), ApiError> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", partition, service, _, _, resource]
            if !partition.is_empty() && !service.is_empty() && !resource.is_empty() =>
        {
            Ok(())
        }
        _ => Err(invalid(format!("{arn} is invalid"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns() {
        assert!(check_arn("arn:aws:iam::000000000000:role/r").is_ok());
        for wrong in [
            "nothing-valid-in-here",
            "arn::b:::something/r",
            "arn:a::::something/r",
            "arn:a:::something/r",
            "arn:a:a::1:",
        ] {
            assert_eq!(check_arn(wrong).unwrap_err().message, format!("{wrong} is invalid"));
        }
    }

    #[test]
    fn session_names() {
        for good in ["ab", "a_+=,.@-b", &"s".repeat(64)] {
            assert!(check_session_name(good).is_ok(), "{good}");
        }
        for wrong in ["a", "a:b", "ä", &"s".repeat(65)] {
            assert_eq!(check_session_name(wrong).unwrap_err().code, "ValidationError", "{wrong}");
        }
    }
}
