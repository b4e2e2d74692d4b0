//! May whoever asks do this? The policy of the resource and the policies of who asks, together.
//!
//! Source: IAM user guide, "Policy evaluation logic"; Lambda developer guide, "Control access to Lambda function URLs": URLs made
//! since October 2025 need both `lambda:InvokeFunctionUrl` and `lambda:InvokeFunction`.

use lamplight_model::credentials::Identity;
use lamplight_model::policy::{
    ConditionKeys, Decision, Principal, Request, ResourceDecision, evaluate_resource_policy, evaluate_with,
};

/// Actions a request of a function URL needs, all of them.
const URL_ACTIONS: [&str; 2] = ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"];

/// Whether a function URL may be used.
///
/// `policy` is that of the function or alias, `resource` its ARN, `account` the one it belongs to, `auth_type` the URL's
/// `AuthType`. Without an identity it is anyone who asks.
pub fn allow_url(
    policy: Option<&str>,
    identity: Option<&Identity>,
    (resource, account): (&str, &str),
    auth_type: &str,
    keys: &ConditionKeys,
) -> bool {
    URL_ACTIONS.into_iter().all(|action| {
        let mut keys = keys.clone();
        match action {
            "lambda:InvokeFunctionUrl" => keys.set("lambda:FunctionUrlAuthType", auth_type),
            _ => keys.set("lambda:InvokedViaFunctionUrl", "true"),
        }
        allow(policy, identity, account, &Request { action, resource, keys: &keys })
    })
}

/// Whether one action on one resource of `account` is allowed.
pub fn allow(
    policy: Option<&str>,
    identity: Option<&Identity>,
    account: &str,
    request: &Request<'_>,
) -> bool {
    decide(policy, identity, account, request) == Decision::Allowed
}

/// What both policies together say of one action on one resource of `account`; where none denies it and not enough of them allow
/// it, it is not mentioned.
pub fn decide(
    policy: Option<&str>,
    identity: Option<&Identity>,
    account: &str,
    request: &Request<'_>,
) -> Decision {
    let who = identity.map_or(Principal::Anonymous, |identity| Principal::Identity {
        account: &identity.account,
        arn: &identity.arn,
        role: identity.role_arn.as_deref(),
    });
    let of_resource = match policy {
        Some(policy) => evaluate_resource_policy(policy, &who, request),
        None => ResourceDecision::NotMentioned,
    };
    if of_resource == ResourceDecision::Denied {
        return Decision::Denied;
    }
    let given = |is_allowed: bool| if is_allowed { Decision::Allowed } else { Decision::NotMentioned };
    let Some(identity) = identity else { return given(of_resource == ResourceDecision::Allowed) };
    let own = evaluate_with(identity.policies.iter().map(String::as_str), request);
    // The policy of a session narrows it; what it does not mention is out.
    let session = identity.session_policy.as_deref().map(|policy| evaluate_with([policy], request));
    if own == Decision::Denied || session == Some(Decision::Denied) {
        return Decision::Denied;
    }
    let own = own == Decision::Allowed;
    let is_allowed = match of_resource {
        ResourceDecision::Allowed => own || identity.account == account,
        ResourceDecision::AllowedToAccount => own,
        ResourceDecision::NotMentioned => own && identity.account == account,
        ResourceDecision::Denied => false,
    };
    given(is_allowed && session.is_none_or(|session| session == Decision::Allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:f";
    const HERE: &str = "000000000000";

    fn ann(account: &str, policy: Option<&str>) -> Identity {
        Identity {
            account: account.to_owned(),
            access_key_id: "AKIA".to_owned(),
            arn: format!("arn:aws:iam::{account}:user/ann"),
            user_id: "AIDA".to_owned(),
            role_arn: None,
            user: Some("ann".to_owned()),
            policies: policy.map(str::to_owned).into_iter().collect(),
            session_policy: None,
        }
    }

    fn statement(effect: &str, principal: Option<&str>, actions: &str) -> String {
        let principal = principal.map(|who| format!(r#""Principal": {who}, "#)).unwrap_or_default();
        format!(
            r#"{{"Statement": {{"Effect": "{effect}", {principal}"Action": {actions}, "Resource": "*"}}}}"#
        )
    }

    fn check(policy: Option<&str>, identity: Option<&Identity>, auth_type: &str, expected: bool) {
        let got = allow_url(policy, identity, (ARN, HERE), auth_type, &ConditionKeys::default());
        assert_eq!(got, expected, "{policy:?} {identity:?}");
    }

    #[test]
    fn an_open_url_needs_the_policy_for_both_actions() {
        let url = r#"{"Effect": "Allow", "Principal": "*", "Action": "lambda:InvokeFunctionUrl", "Resource": "*",
            "Condition": {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}}"#;
        let function = r#"{"Effect": "Allow", "Principal": "*", "Action": "lambda:InvokeFunction", "Resource": "*",
            "Condition": {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}}"#;
        let policy = |statements: &str| format!(r#"{{"Statement": [{statements}]}}"#);
        check(None, None, "NONE", false);
        check(Some(&policy(url)), None, "NONE", false);
        check(Some(&policy(function)), None, "NONE", false);
        let both = policy(&format!("{url}, {function}"));
        check(Some(&both), None, "NONE", true);
        check(Some(&both), None, "AWS_IAM", false);
        let plain = statement("Allow", Some(r#""*""#), r#""lambda:*""#);
        check(Some(&plain), None, "NONE", true);
        let elsewhere = plain.replace(r#""Resource": "*""#, r#""Resource": "arn:aws:lambda:*:*:function:g""#);
        check(Some(&elsewhere), None, "NONE", false);
    }

    #[test]
    fn in_one_account_either_policy_is_enough() {
        let all = statement("Allow", None, r#"["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"]"#);
        let half = statement("Allow", None, r#""lambda:InvokeFunctionUrl""#);
        check(None, Some(&ann(HERE, Some(&all))), "AWS_IAM", true);
        check(None, Some(&ann(HERE, Some(&half))), "AWS_IAM", false);
        check(None, Some(&ann(HERE, None)), "AWS_IAM", false);
        let in_person = r#"{"AWS": "arn:aws:iam::000000000000:user/ann"}"#;
        let to_ann = statement("Allow", Some(in_person), r#""lambda:*""#);
        check(Some(&to_ann), Some(&ann(HERE, None)), "AWS_IAM", true);
        // To the account: its own policies say what its users may.
        let to_account = statement("Allow", Some(r#"{"AWS": "000000000000"}"#), r#""lambda:*""#);
        check(Some(&to_account), Some(&ann(HERE, None)), "AWS_IAM", false);
        check(Some(&to_account), Some(&ann(HERE, Some(&all))), "AWS_IAM", true);
        // One action by this policy, the other by that.
        let other_half = statement("Allow", Some(in_person), r#""lambda:InvokeFunction""#);
        check(Some(&other_half), Some(&ann(HERE, Some(&half))), "AWS_IAM", true);
    }

    #[test]
    fn a_denial_wins() {
        let all = statement("Allow", None, r#""*""#);
        let deny = statement("Deny", Some(r#"{"AWS": "*"}"#), r#""lambda:InvokeFunction""#);
        check(Some(&deny), Some(&ann(HERE, Some(&all))), "AWS_IAM", false);
        let anyone = statement("Allow", Some(r#""*""#), r#""*""#);
        let own = statement("Deny", None, r#""lambda:InvokeFunctionUrl""#);
        check(Some(&anyone), Some(&ann(HERE, Some(&own))), "AWS_IAM", false);
        check(Some("not JSON"), Some(&ann(HERE, Some(&all))), "AWS_IAM", false);
    }

    #[test]
    fn another_account_needs_both() {
        let stranger = |policy| ann("111111111111", policy);
        let all = statement("Allow", None, r#""*""#);
        let to_account = statement("Allow", Some(r#"{"AWS": "111111111111"}"#), r#""*""#);
        check(None, Some(&stranger(Some(&all))), "AWS_IAM", false);
        check(Some(&to_account), Some(&stranger(None)), "AWS_IAM", false);
        check(Some(&to_account), Some(&stranger(Some(&all))), "AWS_IAM", true);
        let anyone = statement("Allow", Some(r#""*""#), r#""*""#);
        check(Some(&anyone), Some(&stranger(None)), "AWS_IAM", false);
        check(Some(&anyone), Some(&stranger(Some(&all))), "AWS_IAM", true);
    }

    #[test]
    fn the_policy_of_a_session_narrows_it() {
        let all = statement("Allow", None, r#""*""#);
        let narrowed =
            |policy: &str| Identity { session_policy: Some(policy.to_owned()), ..ann(HERE, Some(&all)) };
        check(None, Some(&narrowed(&all)), "AWS_IAM", true);
        check(None, Some(&narrowed(&statement("Allow", None, r#""s3:*""#))), "AWS_IAM", false);
        check(None, Some(&narrowed("broken")), "AWS_IAM", false);
    }
}
