//! Access keys on the wire, and what the store says of them and of sessions.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use http::Method;
use lamplight_model::credentials::named_policy;
use lamplight_model::{AccountId, Caller, Scope};
use lamplight_store::credentials;
use serde_json::{Value, json};
use support::{Answer, FrontDoor, NOON};

const KEYS: &str = "/lamplight/v1/keys";

async fn create(door: &FrontDoor, request: &Value) -> Answer {
    door.send(Method::POST, KEYS, &[], request.to_string()).await
}

async fn find(door: &FrontDoor, id: &str) -> Option<lamplight_model::credentials::Credential> {
    credentials::find(&*door.state.store, &AccountId::default(), id, None).await.unwrap()
}

#[tokio::test]
async fn a_key_is_made_listed_switched_and_deleted() {
    let door = FrontDoor::echo().await;
    let policy = named_policy("invoke-only").unwrap();
    let created = create(&door, &json!({"UserName": "ann", "Policy": policy})).await;
    assert_eq!(created.status, 201);
    let mut key = created.json();
    let id = key["AccessKeyId"].as_str().unwrap().to_owned();
    let secret = key.as_object_mut().unwrap().remove("SecretAccessKey").unwrap();
    assert!(id.starts_with("AKIA") && id.len() == 20 && secret.as_str().unwrap().len() == 40);
    let expected = json!({
        "AccessKeyId": id, "UserName": "ann", "UserArn": "arn:aws:iam::000000000000:user/ann",
        "Status": "Active", "CreateDate": NOON, "Policy": policy,
    });
    assert_eq!(key, expected);
    assert_eq!(door.get(KEYS).await.json(), json!({"Keys": [expected]}), "the secret is shown once");

    let found = find(&door, &id).await.unwrap();
    assert_eq!(json!(found.secret), secret);
    assert!(found.is_active && found.token.is_none() && found.expires_at.is_none());
    assert_eq!(found.identity.arn, "arn:aws:iam::000000000000:user/ann");
    assert_eq!(found.identity.policies, [policy]);

    let one = format!("{KEYS}/{id}");
    let put = |status: &'static str| json!({"Status": status}).to_string();
    let off = door.send(Method::PUT, &one, &[], put("Inactive")).await;
    assert_eq!((off.status.as_u16(), &off.json()["Status"]), (200, &json!("Inactive")));
    assert!(!find(&door, &id).await.unwrap().is_active);
    assert_eq!(door.send(Method::PUT, &one, &[], put("Active")).await.status, 200);
    assert!(find(&door, &id).await.unwrap().is_active);
    assert_eq!(door.send(Method::PUT, &one, &[], put("active")).await.error().0, 400);

    assert_eq!(door.send(Method::DELETE, &one, &[], "").await.status, 204);
    assert!(find(&door, &id).await.is_none());
    for (method, body) in [(Method::DELETE, String::new()), (Method::PUT, put("Active"))] {
        assert_eq!(door.send(method, &one, &[], body).await.error(), (404, "ResourceNotFoundException"));
    }
    assert_eq!(door.get(KEYS).await.json(), json!({"Keys": []}));
}

#[tokio::test]
async fn what_is_no_key_is_refused() {
    let door = FrontDoor::echo().await;
    for request in [
        json!({"UserName": ""}),
        json!({"UserName": "a b"}),
        json!({"UserName": "ann", "Policy": "{}"}),
        json!({"UserName": "ann", "Policy": "x".repeat(7_000)}),
    ] {
        let refused = create(&door, &request).await;
        assert_eq!(refused.error(), (400, "InvalidParameterValueException"), "{request}");
    }
    assert_eq!(create(&door, &json!({"UserName": 7})).await.error().1, "SerializationException");
    assert_eq!(door.send(Method::PATCH, KEYS, &[], "").await.error(), (404, "UnknownOperationException"));
    assert_eq!(door.get(&format!("{KEYS}/AKIA")).await.status, 404);
    let bare = create(&door, &json!({})).await.json();
    assert!(bare["UserName"] == "default" && bare.get("Policy").is_none());
    assert!(find(&door, "ASIALAMPAAAAAAAAAAAA").await.is_none());
    assert!(find(&door, "any").await.is_none());
}

#[tokio::test]
async fn functions_get_no_keys() {
    let caller = Caller::Function { scope: Scope::default(), arn: "arn".to_owned(), role: "role".to_owned() };
    let door = FrontDoor::echo().await.asked_by(caller).await;
    let denied = (403, "AccessDeniedException");
    assert_eq!(create(&door, &json!({})).await.error(), denied);
    assert_eq!(door.get(KEYS).await.error(), denied);
    let one = format!("{KEYS}/AKIAAAAAAAAAAAAAAAAA");
    assert_eq!(door.send(Method::DELETE, &one, &[], "").await.error(), denied);
    assert_eq!(door.send(Method::PUT, &one, &[], r#"{"Status": "Active"}"#).await.error(), denied);
}

/// A query call to IAM or STS; the answer is XML.
async fn query(door: &FrontDoor, version: &str, form: &str) -> String {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let answer = door.send(Method::POST, "/", &headers, format!("Version={version}&{form}")).await;
    assert_eq!(answer.status, 200, "{form}");
    String::from_utf8(answer.body.to_vec()).unwrap()
}

fn element(xml: &str, name: &str) -> String {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap();
    rest.split_once('<').unwrap().0.to_owned()
}

#[tokio::test]
async fn a_session_stands_for_its_role() {
    let door = FrontDoor::echo().await;
    let iam = "2010-05-08";
    let role = "Action=CreateRole&RoleName=caller&Path=/app/&AssumeRolePolicyDocument=%7B%7D";
    query(&door, iam, role).await;
    let policy = "%7B%22Statement%22%3A%5B%5D%7D";
    let put = format!("Action=PutRolePolicy&RoleName=caller&PolicyName=p&PolicyDocument={policy}");
    query(&door, iam, &put).await;
    let attach = "Action=AttachRolePolicy&RoleName=caller&PolicyArn=arn:aws:iam::aws:policy/service-role/AWSLambdaRole";
    query(&door, iam, attach).await;
    let arn = "arn:aws:iam::000000000000:role/app/caller";
    let assume = format!("Action=AssumeRole&RoleArn={arn}&RoleSessionName=me&Policy={policy}");
    let answer = query(&door, "2011-06-15", &assume).await;
    let found = find(&door, &element(&answer, "AccessKeyId")).await.unwrap();
    assert_eq!(found.secret, element(&answer, "SecretAccessKey"));
    assert_eq!(found.token, Some(element(&answer, "SessionToken")));
    assert_eq!(found.expires_at.unwrap().0, NOON + 3_600_000);
    let identity = found.identity;
    assert_eq!(identity.arn, "arn:aws:sts::000000000000:assumed-role/caller/me");
    assert_eq!(identity.role_arn.as_deref(), Some(arn));
    assert_eq!(identity.policies.len(), 2);
    assert_eq!(identity.session_policy.as_deref(), Some(r#"{"Statement":[]}"#));
    // A role of the same name that is made later is another one, and the session ended with the first.
    for form in [
        "Action=DetachRolePolicy&RoleName=caller&PolicyArn=arn:aws:iam::aws:policy/service-role/AWSLambdaRole",
        "Action=DeleteRolePolicy&RoleName=caller&PolicyName=p",
        "Action=DeleteRole&RoleName=caller",
        role,
        &put,
    ] {
        query(&door, iam, form).await;
    }
    assert!(find(&door, &element(&answer, "AccessKeyId")).await.is_none());
}
