//! Resource-based policies, statement by statement: AddPermission, RemovePermission, GetPolicy.
//!
//! A policy belongs to a function, a version or an alias. It is stored as the text a client reads; the whole-document
//! operations are in `resource_policies`. The `RevisionId` is the policy's own: on AWS it is the function's, but here a new
//! revision of a function lets go of its warm instances.

use crate::http::request::decode_segment;
use crate::http::{ApiError, Context, Members, Response, reply};
use crate::lambda::owned;
use crate::lambda::patterns as pattern;
use crate::lambda::reference::Target;
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use bytes::Bytes;
use http::StatusCode;
use lamplight_model::{ErrorCode, Qualifier, ServiceError};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Kind of the stored documents.
const KIND: &str = lamplight_store::function_documents::POLICY_KIND;
/// Largest policy, bytes. Source: Lambda quotas, "Function resource-based policy".
const POLICY_BYTES: usize = 20_480;

/// A policy as it is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StoredPolicy {
    /// The document.
    pub policy: String,
    /// A new UUID at every change.
    pub revision_id: String,
}

impl StoredPolicy {
    /// A policy with a new revision.
    pub fn new(policy: String) -> Self {
        Self { policy, revision_id: uuid::Uuid::new_v4().to_string() }
    }

    /// The answer of the operations that show a policy.
    pub fn answer(&self) -> Response {
        reply::json(StatusCode::OK, &json!({"Policy": self.policy, "RevisionId": self.revision_id}))
    }
}

/// The document with its statements as they were written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// One statement, or a list of them.
    statement: Box<RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement<'a> {
    sid: &'a str,
    effect: &'static str,
    principal: Principal,
    action: &'a str,
    resource: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    condition: BTreeMap<&'static str, BTreeMap<&'static str, String>>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Principal {
    Anyone(&'static str),
    Of(BTreeMap<&'static str, String>),
}

/// What AddPermission was given.
#[derive(Debug, Default)]
struct Permission {
    statement_id: String,
    action: String,
    principal: String,
    source_arn: Option<String>,
    source_account: Option<String>,
    principal_org_id: Option<String>,
    event_source_token: Option<String>,
    function_url_auth_type: Option<String>,
    invoked_via_function_url: Option<bool>,
}

impl Permission {
    fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        let mut violations = Violations::default();
        let mut required = |member: &str, path: &str| -> Result<String, ApiError> {
            let text = members.string(member)?;
            if text.is_none() {
                violations.missing(path);
            }
            Ok(text.unwrap_or_default())
        };
        let statement_id = required("StatementId", "statementId")?;
        let action = required("Action", "action")?;
        let principal = required("Principal", "principal")?;
        let permission = Self {
            statement_id,
            action,
            principal,
            source_arn: members.string("SourceArn")?,
            source_account: members.string("SourceAccount")?,
            principal_org_id: members.string("PrincipalOrgID")?,
            event_source_token: members.string("EventSourceToken")?,
            function_url_auth_type: members.string("FunctionUrlAuthType")?,
            invoked_via_function_url: members.boolean("InvokedViaFunctionUrl")?,
        };
        permission.note_violations(members, &mut violations);
        violations.finish()?;
        Ok(permission)
    }

    fn note_violations(&self, members: &Members<'_>, violations: &mut Violations) {
        for (member, text, path, longest, pattern) in [
            ("StatementId", &self.statement_id, "statementId", 100, &pattern::STATEMENT_ID),
            ("Action", &self.action, "action", 10_000, &pattern::ACTION),
            ("Principal", &self.principal, "principal", 2_048, &pattern::PRINCIPAL),
        ] {
            if members.has(member) {
                violations.length(text, path, longest);
                violations.fits(text, path, pattern);
            }
        }
        for (text, path, longest, pattern) in [
            (&self.source_arn, "sourceArn", 10_000, &pattern::SOURCE_ARN),
            (&self.source_account, "sourceAccount", 12, &pattern::ACCOUNT),
            (&self.principal_org_id, "principalOrgID", 34, &pattern::ORGANIZATION),
            (&self.event_source_token, "eventSourceToken", 256, &pattern::EVENT_SOURCE_TOKEN),
        ] {
            if let Some(text) = text {
                violations.length(text, path, longest);
                violations.fits(text, path, pattern);
            }
        }
        if let Some(kind) = &self.function_url_auth_type {
            violations.one_of(kind, "functionUrlAuthType", &["NONE", "AWS_IAM"]);
        }
    }

    /// The statement for a resource. Fails with `InvalidParameterValueException` for a principal that is none, and for
    /// conditions of function URLs on actions that have nothing to do with them.
    fn statement(&self, resource: String) -> Result<Box<RawValue>, ApiError> {
        if self.function_url_auth_type.is_some() && self.action != "lambda:InvokeFunctionUrl" {
            return Err(ApiError::invalid_parameter(
                "FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action",
            ));
        }
        if self.invoked_via_function_url.is_some() && self.action != "lambda:InvokeFunction" {
            return Err(ApiError::invalid_parameter(
                "InvokedViaFunctionUrl is only supported for lambda:InvokeFunction action",
            ));
        }
        let Some(principal) = principal(&self.principal) else {
            return Err(ApiError::invalid_parameter(
                "The provided principal was invalid. Please check the principal and try again.",
            ));
        };
        let mut condition: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (operator, key, value) in [
            ("StringEquals", "lambda:FunctionUrlAuthType", &self.function_url_auth_type),
            ("StringEquals", "aws:PrincipalOrgID", &self.principal_org_id),
            ("StringEquals", "AWS:SourceAccount", &self.source_account),
            ("StringEquals", "lambda:EventSourceToken", &self.event_source_token),
            ("ArnLike", "AWS:SourceArn", &self.source_arn),
            (
                "Bool",
                "lambda:InvokedViaFunctionUrl",
                &self.invoked_via_function_url.map(|via_url| via_url.to_string()),
            ),
        ] {
            if let Some(value) = value {
                condition.entry(operator).or_default().insert(key, value.clone());
            }
        }
        raw(&Statement {
            sid: &self.statement_id,
            effect: "Allow",
            principal,
            action: &self.action,
            resource,
            condition,
        })
    }
}

/// A service, an account (as its root), an ARN of IAM or STS, or anyone.
fn principal(text: &str) -> Option<Principal> {
    let of = |kind, text: String| Some(Principal::Of(BTreeMap::from([(kind, text)])));
    let is_service = [".amazonaws.com", ".amazonaws.com.cn", ".amazon.com", ".aws.internal"]
        .iter()
        .any(|end| text.ends_with(end));
    if text == "*" {
        Some(Principal::Anyone("*"))
    } else if is_service {
        of("Service", text.to_owned())
    } else if pattern::ACCOUNT.matches(text) {
        of("AWS", format!("arn:aws:iam::{text}:root"))
    } else if text.starts_with("arn:aws") && (text.contains(":iam::") || text.contains(":sts::")) {
        of("AWS", text.to_owned())
    } else {
        None
    }
}

/// AddPermission.
pub async fn add(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let target = Target::from_path(context, label)?;
    let members = Members::parse(body)?;
    let permission = Permission::read(&members)?;
    let revision = members.string("RevisionId")?;
    refuse_latest(&target)?;
    let version = owned::existing(state, &target).await?;
    let owner_revision = owned::revision(state, &target, &version).await?;
    let statement = permission.statement(target.arn())?;
    let _write = state.configuration_writes.lock().await;
    let stored = load(state, &target).await?;
    check_revision(revision.as_deref(), stored.as_ref(), Some(&owner_revision))?;
    let policy = with_statement(stored.as_ref(), &permission.statement_id, statement.clone())?;
    store(state, &target, &policy).await?;
    Ok(reply::json(StatusCode::CREATED, &json!({"Statement": statement.get()})))
}

/// RemovePermission. The policy goes with its last statement.
pub async fn remove(
    state: &ApiState,
    context: &Context,
    label: &str,
    statement_id: &str,
) -> Result<Response, ApiError> {
    let target = Target::from_path(context, label)?;
    let statement_id = decode_segment(statement_id).unwrap_or_else(|| statement_id.to_owned());
    let mut violations = Violations::default();
    violations.length(&statement_id, "statementId", 100);
    violations.fits(&statement_id, "statementId", &pattern::NAMESPACED_STATEMENT_ID);
    violations.finish()?;
    let Some(version) = owned::find(state, &target).await? else {
        return Err(ApiError::not_found(format!("No policy found for: {}", target.arn())));
    };
    let owner_revision = owned::revision(state, &target, &version).await?;
    let _write = state.configuration_writes.lock().await;
    let Some(stored) = load(state, &target).await? else {
        return Err(ApiError::not_found("No policy is associated with the given resource."));
    };
    let (document, mut statements) = take_apart(&stored.policy)?;
    let before = statements.len();
    statements.retain(|statement| sid(statement).as_deref() != Some(&statement_id));
    if statements.len() == before {
        let message = format!("Statement {statement_id} is not found in resource policy.");
        return Err(ApiError::not_found(message));
    }
    check_revision(context.parameter("RevisionId"), Some(&stored), Some(&owner_revision))?;
    if statements.is_empty() {
        delete(state, &target).await?;
    } else {
        store(state, &target, &put_together(document, &statements)?).await?;
    }
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// GetPolicy.
pub async fn get(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let target = Target::from_path(context, label)?;
    owned::existing(state, &target).await?;
    load(state, &target).await?.map(|policy| policy.answer()).ok_or_else(owned::absent)
}

/// The policy of a target, when it has one.
pub async fn load(state: &ApiState, target: &Target) -> Result<Option<StoredPolicy>, ApiError> {
    owned::get(state, KIND, target).await
}

/// Takes the policy away. Call with `configuration_writes` held.
pub async fn delete(state: &ApiState, target: &Target) -> Result<bool, ApiError> {
    owned::delete(state, KIND, target).await
}

/// Stores a policy. Call with `configuration_writes` held. Fails with `PolicyLengthExceededException`.
pub async fn store(state: &ApiState, target: &Target, policy: &StoredPolicy) -> Result<(), ApiError> {
    let size = policy.policy.len();
    if size > POLICY_BYTES {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "PolicyLengthExceededException",
            format!("The final policy size ({size}) is bigger than the limit ({POLICY_BYTES})."),
        ));
    }
    owned::put(state, KIND, target, policy).await
}

/// Fails with 412 `PreconditionFailedException` when a revision is given that is not the policy's. That of the function or alias is
/// good, too: that is the one a client knows before there is a policy.
pub fn check_revision(
    given: Option<&str>,
    stored: Option<&StoredPolicy>,
    owner_revision: Option<&str>,
) -> Result<(), ApiError> {
    let is_newest =
        |given| stored.is_some_and(|stored| stored.revision_id == given) || owner_revision == Some(given);
    match given {
        Some(given) if !is_newest(given) => Err(ServiceError::new(
            ErrorCode::PreconditionFailedException,
            "The Revision Id provided does not match the latest Revision Id. Call the GetPolicy API to retrieve the \
             latest Revision Id",
        )
        .into()),
        _ => Ok(()),
    }
}

/// `$LATEST` by its name has no policy; without a qualifier it is the function's.
pub fn refuse_latest(target: &Target) -> Result<(), ApiError> {
    match target.qualifier {
        Some(Qualifier::Latest) => {
            Err(ApiError::invalid_parameter("We currently do not support adding policies for $LATEST."))
        }
        _ => Ok(()),
    }
}

fn with_statement(
    stored: Option<&StoredPolicy>,
    statement_id: &str,
    statement: Box<RawValue>,
) -> Result<StoredPolicy, ApiError> {
    let (document, mut statements) = match stored {
        Some(stored) => take_apart(&stored.policy)?,
        None => (
            Document {
                version: "2012-10-17".to_owned(),
                id: Some("default".to_owned()),
                statement: RawValue::NULL.to_owned(),
            },
            Vec::new(),
        ),
    };
    if statements.iter().any(|statement| sid(statement).as_deref() == Some(statement_id)) {
        return Err(ApiError::conflict(format!(
            "The statement id ({statement_id}) provided already exists. Please provide a new statement id, or \
             remove the existing statement."
        )));
    }
    statements.push(statement);
    put_together(document, &statements)
}

fn take_apart(policy: &str) -> Result<(Document, Vec<Box<RawValue>>), ApiError> {
    let unreadable = |_| ApiError::from(ServiceError::internal("The stored policy cannot be read."));
    let document: Document = serde_json::from_str(policy).map_err(unreadable)?;
    let statements = if document.statement.get().starts_with('[') {
        serde_json::from_str(document.statement.get()).map_err(unreadable)?
    } else {
        vec![document.statement.clone()]
    };
    Ok((document, statements))
}

fn put_together(mut document: Document, statements: &[Box<RawValue>]) -> Result<StoredPolicy, ApiError> {
    document.statement = raw(&statements)?;
    Ok(StoredPolicy::new(raw(&document)?.get().to_owned()))
}

fn raw<T: Serialize>(value: &T) -> Result<Box<RawValue>, ApiError> {
    serde_json::value::to_raw_value(value)
        .map_err(|_| ServiceError::internal("The policy cannot be written.").into())
}

fn sid(statement: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(rename = "Sid")]
        sid: Option<String>,
    }
    serde_json::from_str::<Named>(statement.get()).ok()?.sid
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: &str, expected: Result<&str, &str>) {
        let members = Members::parse(request.as_bytes()).unwrap();
        let statement =
            Permission::read(&members).and_then(|permission| permission.statement("arn".to_owned()));
        match (statement, expected) {
            (Ok(statement), Ok(expected)) => assert_eq!(statement.get(), expected),
            (Err(error), Err(part)) => assert!(error.message.contains(part), "{error}"),
            (got, expected) => panic!("{request}: {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn statements_as_lambda_writes_them() {
        check(
            r#"{"StatementId":"s","Action":"lambda:InvokeFunction","Principal":"s3.amazonaws.com","SourceArn":"arn:aws:s3:::b","SourceAccount":"000000000000"}"#,
            Ok(
                r#"{"Sid":"s","Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},"Action":"lambda:InvokeFunction","Resource":"arn","Condition":{"ArnLike":{"AWS:SourceArn":"arn:aws:s3:::b"},"StringEquals":{"AWS:SourceAccount":"000000000000"}}}"#,
            ),
        );
        check(
            r#"{"StatementId":"s","Action":"lambda:InvokeFunctionUrl","Principal":"*","FunctionUrlAuthType":"NONE"}"#,
            Ok(
                r#"{"Sid":"s","Effect":"Allow","Principal":"*","Action":"lambda:InvokeFunctionUrl","Resource":"arn","Condition":{"StringEquals":{"lambda:FunctionUrlAuthType":"NONE"}}}"#,
            ),
        );
        check(
            r#"{"StatementId":"s","Action":"lambda:InvokeFunction","Principal":"123456789012","InvokedViaFunctionUrl":true}"#,
            Ok(
                r#"{"Sid":"s","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"lambda:InvokeFunction","Resource":"arn","Condition":{"Bool":{"lambda:InvokedViaFunctionUrl":"true"}}}"#,
            ),
        );
        check(
            r#"{"StatementId":"s","Action":"lambda:InvokeFunction","Principal":"nobody"}"#,
            Err("The provided principal was invalid."),
        );
        check(
            r#"{"StatementId":"s s","Action":"lambda:InvokeFunction"}"#,
            Err("2 validation errors detected"),
        );
    }

    #[test]
    fn statements_are_added_to_a_document_with_a_single_one() {
        let stored =
            StoredPolicy::new(r#"{"Version":"2012-10-17","Statement":{"Sid":"a","X":1.0}}"#.to_owned());
        let statement = raw(&json!({"Sid": "b"})).unwrap();
        let policy = with_statement(Some(&stored), "b", statement.clone()).unwrap();
        assert_eq!(
            policy.policy,
            r#"{"Version":"2012-10-17","Statement":[{"Sid":"a","X":1.0},{"Sid":"b"}]}"#
        );
        assert_ne!(policy.revision_id, stored.revision_id);
        let error = with_statement(Some(&policy), "a", statement).unwrap_err();
        assert!(error.message.contains("The statement id (a) provided already exists."), "{error}");
    }
}
