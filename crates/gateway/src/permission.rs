//! Whether a function's resource-based policy lets API Gateway call it.
//!
//! Source: Lambda developer guide, "Invoking a Lambda function using an Amazon API Gateway endpoint", permissions: the service
//! `apigateway.amazonaws.com`, with the ARN of the route, method or authorizer as `aws:SourceArn`.

use crate::remembered::Remembered;
use lamplight_model::Qualifier;
use lamplight_model::http_api::FunctionTarget;
use lamplight_model::policy::{
    ConditionKeys, Principal, Request, ResourceDecision, evaluate_resource_policy,
};
use lamplight_store::function_documents::{self, Owner, POLICY_KIND};
use lamplight_store::{Store, StoreError};
use serde::Deserialize;

/// Who calls.
const SERVICE: Principal<'static> = Principal::Service("apigateway.amazonaws.com");

/// The part of a stored policy that is read here.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StoredPolicy {
    /// The document.
    pub policy: String,
}

/// What policies said, by ARN of the function and of who asks.
#[derive(Debug, Default)]
pub struct Permissions(Remembered<(String, String), bool>);

impl Permissions {
    /// Whether a function, a version or an alias may be called for `source`. Fails when storage does.
    pub async fn may_call(
        &self,
        store: &dyn Store,
        function: &FunctionTarget,
        source: &str,
    ) -> Result<bool, StoreError> {
        let read = async {
            let qualifier = function.qualifier.as_ref().filter(|qualifier| **qualifier != Qualifier::Latest);
            let owner = Owner { scope: &function.scope, function: &function.name, qualifier };
            let stored: Option<StoredPolicy> = function_documents::get(store, POLICY_KIND, owner).await?;
            Ok(stored.is_some_and(|stored| allows(&stored.policy, function, source)))
        };
        self.0.get(store, &(function.arn(), source.to_owned()), read).await
    }
}

/// Whether a policy lets API Gateway call the function for `source`.
pub fn allows(policy: &str, function: &FunctionTarget, source: &str) -> bool {
    let mut keys = ConditionKeys::default();
    keys.set("aws:SourceArn", source);
    keys.set("aws:SourceAccount", function.scope.account.as_str());
    let arn = function.arn();
    let request = Request { action: "lambda:InvokeFunction", resource: &arn, keys: &keys };
    evaluate_resource_policy(policy, &SERVICE, &request) == ResourceDecision::Allowed
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_model::http_api::function_of_uri;
    use serde_json::json;

    #[test]
    fn who_may_call_a_function() {
        const FUNCTION: &str = "arn:aws:lambda:us-east-1:000000000000:function:pets";
        let source = "arn:aws:execute-api:us-east-1:000000000000:abc/dev/GET/pets/{id}";
        let function = function_of_uri(FUNCTION).unwrap();
        let check = |principal: &str, pattern: Option<&str>, expected: bool| {
            let mut statement = json!({"Sid": "s", "Effect": "Allow", "Principal": {"Service": principal},
                "Action": "lambda:InvokeFunction", "Resource": FUNCTION});
            if let Some(pattern) = pattern {
                let arn = format!("arn:aws:execute-api:us-east-1:000000000000:{pattern}");
                statement["Condition"] = json!({"ArnLike": {"AWS:SourceArn": arn}});
            }
            let policy = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
            assert_eq!(allows(&policy, &function, source), expected, "{policy}");
        };
        let gateway = "apigateway.amazonaws.com";
        check(gateway, None, true);
        check(gateway, Some("abc/*"), true);
        check(gateway, Some("abc/*/GET/pets/*"), true);
        check(gateway, Some("abc/*/GET/pets/{id}"), true);
        check(gateway, Some("abc/prod/*"), false);
        check(gateway, Some("abc/*/POST/pets/*"), false);
        check(gateway, Some("other/*"), false);
        check("s3.amazonaws.com", None, false);
        assert!(!allows("nonsense", &function, source));
    }
}
