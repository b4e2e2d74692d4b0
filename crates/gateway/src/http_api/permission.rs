//! Whether a function's resource-based policy lets API Gateway call it.
//!
//! Source: Lambda developer guide, "Invoking a Lambda function using an Amazon API Gateway endpoint", permissions: the service
//! `apigateway.amazonaws.com`, with the ARN of the route as `aws:SourceArn`.

use lamplight_model::http_api::{FunctionTarget, Route};
use lamplight_model::policy::{
    ConditionKeys, Principal, Request, ResourceDecision, evaluate_resource_policy,
};
use lamplight_model::{Qualifier, Scope};
use lamplight_store::function_documents::{self, Owner};
use lamplight_store::{Store, StoreError};
use serde::Deserialize;

/// Kind of the documents with resource-based policies.
const POLICY_KIND: &str = "function/policy";
/// Who calls.
const SERVICE: Principal<'static> = Principal::Service("apigateway.amazonaws.com");

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoredPolicy {
    policy: String,
}

/// Reads the policy of a function, a version or an alias, and asks it. Fails when storage does.
pub async fn may_call(
    store: &dyn Store,
    function: &FunctionTarget,
    source: &str,
) -> Result<bool, StoreError> {
    let qualifier = function.qualifier.as_ref().filter(|qualifier| **qualifier != Qualifier::Latest);
    let owner = Owner { scope: &function.scope, function: &function.name, qualifier };
    let stored: Option<StoredPolicy> = function_documents::get(store, POLICY_KIND, owner).await?;
    Ok(stored.is_some_and(|stored| allows(&stored.policy, function, source)))
}

fn allows(policy: &str, function: &FunctionTarget, source: &str) -> bool {
    let mut keys = ConditionKeys::default();
    keys.set("aws:SourceArn", source);
    keys.set("aws:SourceAccount", function.scope.account.as_str());
    let arn = function.arn();
    let request = Request { action: "lambda:InvokeFunction", resource: &arn, keys: &keys };
    evaluate_resource_policy(policy, &SERVICE, &request) == ResourceDecision::Allowed
}

/// The ARN of a route as policies name it: `arn:aws:execute-api:<region>:<account>:<api>/<stage>/<method>/<path>`, or
/// `…/<stage>/$default`.
pub fn route_arn(scope: &Scope, api_id: &str, stage: &str, route: &Route) -> String {
    let key = match route.route_key.split_once(' ') {
        Some(("ANY", path)) => format!("*{path}"),
        Some((method, path)) => format!("{method}{path}"),
        None => route.route_key.clone(),
    };
    scope.arn("execute-api", &format!("{api_id}/{stage}/{key}"))
}

/// The ARN of an authorizer as policies name it.
pub fn authorizer_arn(scope: &Scope, api_id: &str, authorizer_id: &str) -> String {
    scope.arn("execute-api", &format!("{api_id}/authorizers/{authorizer_id}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_model::http_api::function_of_uri;
    use serde_json::json;

    const FUNCTION: &str = "arn:aws:lambda:us-east-1:000000000000:function:pets";

    fn check(route_key: &str, principal: &str, pattern: Option<&str>, expected: bool) {
        let route = Route { route_key: route_key.to_owned(), ..Route::default() };
        let source = route_arn(&Scope::default(), "abc", "dev", &route);
        let mut statement = json!({
            "Sid": "s", "Effect": "Allow", "Principal": {"Service": principal},
            "Action": "lambda:InvokeFunction", "Resource": FUNCTION
        });
        if let Some(pattern) = pattern {
            statement["Condition"] = json!({"ArnLike": {"AWS:SourceArn": pattern}});
        }
        let policy = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
        let function = function_of_uri(FUNCTION).unwrap();
        assert_eq!(allows(&policy, &function, &source), expected, "{source}: {policy}");
    }

    #[test]
    fn the_source_is_the_route() {
        let api = "arn:aws:execute-api:us-east-1:000000000000:abc";
        let gateway = "apigateway.amazonaws.com";
        check("GET /pets/{id}", gateway, None, true);
        check("GET /pets/{id}", gateway, Some(&format!("{api}/*/*/pets/*")), true);
        check("GET /pets/{id}", gateway, Some(&format!("{api}/*/GET/pets/{{id}}")), true);
        check("GET /pets/{id}", gateway, Some(&format!("{api}/prod/*")), false);
        check("ANY /pets", gateway, Some(&format!("{api}/*/*/pets")), true);
        check("$default", gateway, Some(&format!("{api}/*/$default")), true);
        check("GET /", gateway, Some("arn:aws:execute-api:us-east-1:000000000000:other/*"), false);
        check("GET /", "s3.amazonaws.com", None, false);
    }
}
