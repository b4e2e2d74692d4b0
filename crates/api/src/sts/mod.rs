//! STS: who am I. Query protocol.

use crate::http::xml::element;
use crate::http::{ApiError, Context, Response, reply};
use lamplight_model::Caller;

/// API version in requests.
pub const VERSION: &str = "2011-06-15";
/// XML namespace of answers.
pub const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Answers one operation.
pub fn handle(context: &Context, action: &str) -> Result<Response, ApiError> {
    context.authorize("sts", action, "*")?;
    match action {
        "GetCallerIdentity" => {
            let account = context.scope.account.as_str();
            let user_id = match context.caller.as_ref() {
                Caller::Loopback => account.to_owned(),
                // AWS writes the role's id before the session; functions have no role id of their own.
                Caller::Function { arn, .. } => {
                    format!("AROALAMPLIGHTFUNCTION:{}", arn.rsplit(':').next().unwrap_or_default())
                }
            };
            let result = element("Arn", &context.caller_arn())
                + &element("UserId", &user_id)
                + &element("Account", account);
            Ok(reply::query_xml(NAMESPACE, action, Some(&result), context.request_id))
        }
        _ => Err(ApiError::not_supported("sts", action)),
    }
}
