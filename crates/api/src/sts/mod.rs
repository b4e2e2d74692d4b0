//! STS: who am I, and temporary credentials of a role. Query protocol.
//!
//! Nothing is enforced here by who signs: access keys and temporary credentials change what GetCallerIdentity answers, and
//! what is asked of a role (that it exists, how long its sessions may last) is checked; trust policies are not evaluated. The
//! gateway verifies signatures of both.

mod assume_role;
mod session;

pub use session::{ID_ALPHABET, SECRET_ALPHABET, forget_expired, letters};

use crate::http::xml::element;
use crate::http::{ApiError, Context, Response, reply, signature};
use crate::iam::Parameters;
use crate::state::ApiState;
use lamplight_model::Caller;
use lamplight_store::{credentials, function_sessions};

/// API version in requests.
pub const VERSION: &str = "2011-06-15";
/// XML namespace of answers.
pub const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Answers one operation.
pub async fn handle(
    state: &ApiState,
    context: &Context,
    action: &str,
    parameters: &Parameters,
) -> Result<Response, ApiError> {
    let resource = parameters.get("RoleArn").unwrap_or("*");
    context.authorize("sts", action, resource)?;
    let result = match action {
        "GetCallerIdentity" => caller_identity(state, context).await?,
        "AssumeRole" => assume_role::assume(state, context, parameters).await?,
        _ => return Err(ApiError::not_supported("sts", action)),
    };
    Ok(reply::query_xml(NAMESPACE, action, Some(&result), context.request_id))
}

/// GetCallerIdentity.
async fn caller_identity(state: &ApiState, context: &Context) -> Result<String, ApiError> {
    let account = context.scope.account.as_str();
    let (arn, user_id) = match context.caller.as_ref() {
        Caller::Loopback => {
            let key_id = signature::access_key_id(&context.headers, &context.query).unwrap_or_default();
            let token = context.header("x-amz-security-token").or(context.parameter("X-Amz-Security-Token"));
            match session::find(state, context, key_id).await? {
                Some(session) => (session.arn(account), session.user_id()),
                None => {
                    match credentials::find(&*state.store, &context.scope.account, key_id, token).await? {
                        Some(key) if key.expires_at.is_some_and(|end| end <= state.now()) => {
                            return Err(session::expired());
                        }
                        Some(key) => (key.identity.arn, key.identity.user_id),
                        // Like those of AssumeRole they name somebody only as long as they count.
                        None if key_id.starts_with(function_sessions::PREFIX) => {
                            return Err(session::unknown());
                        }
                        None => (context.caller_arn(), account.to_owned()),
                    }
                }
            }
        }
        // The role's id stands before the session's name; a role that is not stored here has none.
        Caller::Function { arn, role, scope } => {
            let id = credentials::role_id(&*state.store, &scope.account, role).await?;
            let id = id.as_deref().unwrap_or("AROALAMPLIGHTFUNCTION");
            (context.caller_arn(), format!("{id}:{}", arn.rsplit(':').next().unwrap_or_default()))
        }
    };
    Ok(element("Arn", &arn) + &element("UserId", &user_id) + &element("Account", account))
}
