//! Who asks, and may he: signatures, policies of functions, policies of who asks.
//!
//! ```text
//! head ─► Claim::read (form, time, scope) ─► body ─► identify (credentials of the key, Claim::verify) ─► Identity
//!                                        policy of the function, policies of the identity ─► may_use_url
//! ```

pub mod canonical;
pub mod policies;
pub mod refusal;
#[cfg(test)]
mod session_tests;
pub mod signature;
#[cfg(test)]
mod tests;

pub use canonical::RequestHead;
pub use refusal::Refusal;
pub use signature::{Claim, Expected};

use crate::incoming::Incoming;
use crate::state::GatewayParts;
use lamplight_model::credentials::{Identity, KeyUse};
use lamplight_model::policy::{ConditionKeys, Decision, Request};
use lamplight_model::{AccountId, Scope, Timestamp};
use lamplight_store::StoreError;
use lamplight_store::credentials;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;

/// A request as it is authorized.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What is signed, but for the body.
    pub head: RequestHead<'a>,
    /// Address of whoever sent it.
    pub source: IpAddr,
    /// Whether it came over TLS.
    pub is_secure: bool,
    /// When it came.
    pub now: Timestamp,
}

impl<'a> Asked<'a> {
    /// A request that was read. `path` is that of its target as it came, `authority` the host and port the target names, if any.
    pub fn of(incoming: &'a Incoming, path: &'a str, authority: Option<&'a str>) -> Self {
        let head = RequestHead {
            method: incoming.method.as_str(),
            path,
            query: &incoming.raw_query,
            headers: &incoming.headers,
            authority,
        };
        let is_secure = incoming.tls_version.is_some();
        Self { head, source: incoming.source, is_secure, now: incoming.time }
    }
}

/// The function URL that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct UrlTarget<'a> {
    /// Where the function lives.
    pub scope: &'a Scope,
    /// ARN of the function, qualified for an alias.
    pub arn: &'a str,
    /// `AuthType`.
    pub auth_type: &'a str,
    /// The policy of the function or alias.
    pub policy: Option<&'a str>,
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Trouble(error.to_string())
    }
}

/// Whether a function URL may be used by `identity`, or by anyone.
///
/// Fails with `Refusal::Forbidden`.
pub fn may_use_url(
    target: &UrlTarget<'_>,
    identity: Option<&Identity>,
    asked: &Asked<'_>,
) -> Result<(), Refusal> {
    let keys = condition_keys(asked, identity, target.scope.region.as_str());
    let of = (target.arn, target.scope.account.as_str());
    match policies::allow_url(target.policy, identity, of, target.auth_type, &keys) {
        true => Ok(()),
        false => Err(Refusal::Forbidden),
    }
}

/// What policies say of a call of a method of an API of `scope`: that of the API and those of who asks, together.
/// `arn` is `arn:aws:execute-api:<region>:<account>:<api>/<stage>/<method>/<path>`.
pub fn decide_api_call(
    scope: &Scope,
    arn: &str,
    policy: Option<&str>,
    identity: Option<&Identity>,
    asked: &Asked<'_>,
) -> Decision {
    let keys = condition_keys(asked, identity, scope.region.as_str());
    let request = Request { action: "execute-api:Invoke", resource: arn, keys: &keys };
    policies::decide(policy, identity, scope.account.as_str(), &request)
}

/// What a request of an API in this region says of who signed it. Fails as `Claim::read` does.
pub fn claim_of_api_call(scope: &Scope, asked: &Asked<'_>) -> Result<Claim, Refusal> {
    let expected = Expected { service: "execute-api", region: scope.region.as_str() };
    Claim::read(&asked.head, expected, asked.now)
}

/// Says who signed a request: `claim` is what its head says, `body` comes last.
///
/// Fails when it is not signed rightly, or with credentials of nobody in `account`.
pub async fn identify(
    parts: &Arc<GatewayParts>,
    account: &AccountId,
    claim: &Claim,
    asked: &Asked<'_>,
    body: &[u8],
) -> Result<Identity, Refusal> {
    let credential =
        credentials::find(&*parts.store, account, &claim.access_key_id, claim.token.as_deref()).await?;
    let credential = credential.ok_or(Refusal::UnknownKey)?;
    claim.verify(&asked.head, body, &credential, asked.now)?;
    if credential.token.is_none() {
        note_use(parts, account, claim, asked.now).await?;
    }
    Ok(credential.identity)
}

/// Writes down that a key was used, once a minute at most, while the request goes on.
async fn note_use(
    parts: &Arc<GatewayParts>,
    account: &AccountId,
    claim: &Claim,
    now: Timestamp,
) -> Result<(), Refusal> {
    let known = credentials::last_use(&*parts.store, account, &claim.access_key_id).await?;
    if !credentials::is_worth_writing(known.map(|key_use| key_use.at), now) {
        return Ok(());
    }
    let key_use = KeyUse { at: now, service: claim.service().to_owned(), region: claim.region().to_owned() };
    let (parts, account, id) = (parts.clone(), account.clone(), claim.access_key_id.clone());
    tokio::spawn(async move {
        if let Err(error) = credentials::put_use(&*parts.store, &account, &id, &key_use).await {
            tracing::warn!(access_key_id = id, %error, "failed to note the use of a key");
        }
    });
    Ok(())
}

/// What conditions of policies may ask for.
///
/// Source: IAM user guide, "AWS global condition context keys".
pub fn condition_keys(asked: &Asked<'_>, identity: Option<&Identity>, region: &str) -> ConditionKeys {
    let mut keys = ConditionKeys::default();
    keys.set("aws:SourceIp", asked.source.to_canonical().to_string());
    keys.set("aws:SecureTransport", asked.is_secure.to_string());
    keys.set("aws:RequestedRegion", region);
    keys.set("aws:PrincipalIsAWSService", "false");
    keys.set("aws:ViaAWSService", "false");
    for (key, header) in [("aws:UserAgent", "user-agent"), ("aws:Referer", "referer")] {
        match asked.head.headers.get(header).map(http::HeaderValue::to_str) {
            Some(Ok(value)) => keys.set(key, value),
            // What cannot be read stays unknown.
            Some(Err(_)) => {}
            None => keys.absent(key),
        }
    }
    // There are no organizations, and it is not a service that calls on behalf of a resource.
    for key in ["aws:PrincipalOrgID", "aws:SourceArn", "aws:SourceAccount", "lambda:EventSourceToken"] {
        keys.absent(key);
    }
    match identity {
        Some(identity) => {
            // As of a role's session AWS compares the role's ARN.
            keys.set("aws:PrincipalArn", identity.role_arn.as_ref().unwrap_or(&identity.arn));
            keys.set("aws:PrincipalAccount", &identity.account);
            keys.set("aws:userid", &identity.user_id);
            match &identity.user {
                Some(user) => {
                    keys.set("aws:username", user);
                    keys.set("aws:PrincipalType", "User");
                }
                None => {
                    keys.absent("aws:username");
                    keys.set("aws:PrincipalType", "AssumedRole");
                }
            }
        }
        None => {
            keys.set("aws:PrincipalType", "Anonymous");
            for key in ["aws:PrincipalArn", "aws:PrincipalAccount", "aws:userid", "aws:username"] {
                keys.absent(key);
            }
        }
    }
    keys
}

/// `requestContext.authorizer` of a request that was signed.
///
/// Source: Lambda developer guide, "Invoking Lambda function URLs", request payload format.
pub fn authorizer(identity: &Identity) -> Value {
    json!({"iam": {
        "accessKey": identity.access_key_id,
        "accountId": identity.account,
        "callerId": identity.user_id,
        "cognitoIdentity": null,
        "principalOrgId": null,
        "userArn": identity.arn,
        "userId": identity.user_id,
    }})
}
