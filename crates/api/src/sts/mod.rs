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
use lamplight_store::credentials;

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
            match session::find(state, context, key_id).await? {
                Some(session) => (session.arn(account), session.user_id()),
                None => match credentials::find(&*state.store, &context.scope.account, key_id).await? {
                    Some(key) => (key.identity.arn, key.identity.user_id),
                    None => (context.caller_arn(), account.to_owned()),
                },
            }
        }
        // AWS writes the role's id before the session; functions have no role id of their own.
        Caller::Function { arn, .. } => {
            let name = arn.rsplit(':').next().unwrap_or_default();
            (context.caller_arn(), format!("AROALAMPLIGHTFUNCTION:{name}"))
        }
    };
    Ok(element("Arn", &arn) + &element("UserId", &user_id) + &element("Account", account))
}
