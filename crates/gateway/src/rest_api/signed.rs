//! Methods with `AWS_IAM`: who signed the request, and may he call the method.
//!
//! Source: API Gateway developer guide, "Control access to a REST API with IAM permissions"; texts as the service answers.

use super::{Exchange, Kind, Reached};
use crate::Response;
use crate::authorization::{self, Asked, Claim, Refusal};
use http::StatusCode;
use lamplight_model::credentials::Identity;
use lamplight_model::policy::Decision;
use lamplight_model::rest_api::Routed;

impl Exchange<'_> {
    /// What the head of the request says of who signed it. Fails with the answer.
    pub(super) fn claim(&self, reached: &Reached<'_>) -> Result<Claim, Box<Response>> {
        authorization::claim_of_api_call(&self.api.scope, &self.asked())
            .map_err(|refusal| Box::new(self.wrongly_signed(&refusal, reached)))
    }

    fn asked(&self) -> Asked<'_> {
        Asked::of(self.incoming, &self.target.path, self.target.authority.as_deref())
    }

    /// Lets in who signed the request, which is whole, and may call the method. Fails with the answer.
    pub(super) async fn signed(
        &self,
        routed: &Routed<'_>,
        reached: &Reached<'_>,
    ) -> Result<Identity, Box<Response>> {
        let (asked, scope) = (self.asked(), &self.api.scope);
        let refused = |refusal: Refusal| Box::new(self.wrongly_signed(&refusal, reached));
        let claim = self.claim(reached)?;
        let (parts, body) = (&self.gateway.parts, &self.incoming.body);
        let identity = authorization::identify(parts, &scope.account, &claim, &asked, body).await;
        let identity = identity.map_err(refused)?;
        let arn = self.method_arn(self.incoming.method.as_str(), &routed.path);
        match authorization::decide_api_call(scope, &arn, None, Some(&identity), &asked) {
            Decision::Allowed => Ok(identity),
            decision => {
                let message = denial(Some(&identity), &arn, decision);
                let status = StatusCode::FORBIDDEN;
                Err(Box::new(self.say(Kind::AccessDenied, status, Some(&message), reached)))
            }
        }
    }

    fn wrongly_signed(&self, refusal: &Refusal, reached: &Reached<'_>) -> Response {
        let kind = match refusal {
            Refusal::Unsigned => Kind::MissingAuthenticationToken,
            Refusal::Incomplete(_) => Kind::IncompleteSignature,
            Refusal::Invalid(_) => Kind::InvalidSignature,
            Refusal::UnknownKey => Kind::UnknownKey,
            Refusal::ExpiredToken => Kind::ExpiredToken,
            Refusal::Forbidden => Kind::AccessDenied,
            Refusal::Trouble(error) => {
                let request_id = self.incoming.request_id;
                tracing::error!(%request_id, error, "failed to find out who signed a request");
                return self.failed(Kind::AuthorizerFailure, reached);
            }
        };
        self.say(kind, refusal.status(), Some(&refusal.to_string()), reached)
    }
}

/// What is told to who may not: his ARN, and that of the method without the greater part of the account's number.
pub(super) fn denial(identity: Option<&Identity>, arn: &str, decision: Decision) -> String {
    let who = identity.map_or("anonymous", |identity| identity.arn.as_str());
    let masked: Vec<String> = arn
        .splitn(6, ':')
        .enumerate()
        .map(|(at, part)| match part.len().checked_sub(4) {
            Some(hidden) if at == 4 => {
                format!("{}{}", "*".repeat(hidden), part.get(hidden..).unwrap_or_default())
            }
            _ => part.to_owned(),
        })
        .collect();
    let explicitly = if decision == Decision::Denied { " with an explicit deny" } else { "" };
    format!(
        "User: {who} is not authorized to perform: execute-api:Invoke on resource: {}{explicitly}",
        masked.join(":")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_is_told_what() {
        // As it is found in reports of users.
        let arn = "arn:aws:execute-api:us-west-2:123456782543:vd2gh6uqw3/api/GET/a:b";
        let text = "User: anonymous is not authorized to perform: execute-api:Invoke on resource: \
                    arn:aws:execute-api:us-west-2:********2543:vd2gh6uqw3/api/GET/a:b";
        assert_eq!(denial(None, arn, Decision::NotMentioned), text);
        assert_eq!(denial(None, arn, Decision::Denied), format!("{text} with an explicit deny"));
    }
}
