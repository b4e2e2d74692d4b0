//! Parameters, secrets, sessions and roles on the wire, where time passes or a function asks; readiness.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use http::Method;
use lamplight_invoke::workers::fake::FakeRun;
use lamplight_model::{Caller, Scope};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use support::{Answer, FrontDoor, NOON};

const DAY_MS: i64 = 24 * 3_600 * 1_000;
const TOKEN: &str = "00000000-0000-0000-0000-000000000001";

async fn door() -> FrontDoor {
    FrontDoor::start(|invocation| FakeRun::Return(invocation.payload.clone()), Caller::Loopback).await
}

/// A JSON 1.1 call.
async fn call(door: &FrontDoor, target: &str, body: &Value) -> Answer {
    let headers = [("x-amz-target", target), ("content-type", "application/x-amz-json-1.1")];
    door.send(Method::POST, "/", &headers, body.to_string()).await
}

/// A query call; the answer is XML.
async fn query(door: &FrontDoor, form: &str, key_id: &str) -> (u16, String) {
    let credential = format!(
        "AWS4-HMAC-SHA256 Credential={key_id}/20260131/us-east-1/sts/aws4_request, SignedHeaders=host, Signature=0"
    );
    let service = if form.contains("2010-05-08") { credential.replace("/sts/", "/iam/") } else { credential };
    let headers =
        [("content-type", "application/x-www-form-urlencoded"), ("authorization", service.as_str())];
    let answer = door.send(Method::POST, "/", &headers, form.to_owned()).await;
    (answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).unwrap())
}

async fn iam(door: &FrontDoor, form: &str) {
    let (status, body) = query(door, &format!("Version=2010-05-08&{form}"), "AKID").await;
    assert_eq!(status, 200, "{form}: {body}");
}

/// The text of the first element of this name.
fn element(xml: &str, name: &str) -> String {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap();
    rest.split_once('<').unwrap().0.to_owned()
}

#[tokio::test]
async fn a_secret_is_gone_when_its_window_is_over() {
    let door = door().await;
    let create = json!({"Name": "s", "SecretString": "old", "ClientRequestToken": TOKEN});
    let first = call(&door, "secretsmanager.CreateSecret", &create).await.json();
    let delete = json!({"SecretId": "s", "RecoveryWindowInDays": 7});
    let deleted = call(&door, "secretsmanager.DeleteSecret", &delete).await.json();
    assert_eq!(deleted["DeletionDate"], json!((NOON + 7 * DAY_MS) as f64 / 1_000.0));
    door.now.store(NOON + 7 * DAY_MS - 1, Ordering::Relaxed);
    assert_eq!(call(&door, "secretsmanager.DescribeSecret", &json!({"SecretId": "s"})).await.status, 200);
    assert_eq!(lamplight_api::forget_expired(&door.state).await.unwrap(), 0);
    door.now.store(NOON + 7 * DAY_MS, Ordering::Relaxed);
    let gone = call(&door, "secretsmanager.RestoreSecret", &json!({"SecretId": "s"})).await;
    assert_eq!(gone.error(), (400, "ResourceNotFoundException"));
    let listed = call(&door, "secretsmanager.ListSecrets", &json!({"IncludePlannedDeletion": true})).await;
    assert_eq!(listed.json()["SecretList"], json!([]));
    // Nobody waits for the hourly round: the name is free.
    let again = json!({"Name": "s", "SecretString": "new", "ClientRequestToken": TOKEN});
    let second = call(&door, "secretsmanager.CreateSecret", &again).await.json();
    assert_ne!(first["ARN"], second["ARN"]);
    call(&door, "secretsmanager.DeleteSecret", &delete).await;
    door.now.store(NOON + 20 * DAY_MS, Ordering::Relaxed);
    assert_eq!(lamplight_api::forget_expired(&door.state).await.unwrap(), 1);
    for kind in ["sealed/secret", "secret-deletion"] {
        assert!(door.opened.store.documents_in_all_scopes(kind).await.unwrap().is_empty(), "{kind}");
    }
}

#[tokio::test]
async fn reads_are_noted_once_a_day() {
    let door = door().await;
    let create = json!({"Name": "s", "SecretString": "v", "ClientRequestToken": TOKEN});
    call(&door, "secretsmanager.CreateSecret", &create).await;
    let accessed = async || {
        let described = call(&door, "secretsmanager.DescribeSecret", &json!({"SecretId": "s"})).await;
        described.json().get("LastAccessedDate").cloned()
    };
    assert_eq!(accessed().await, None);
    for days in [0, 1] {
        door.now.store(NOON + days * DAY_MS, Ordering::Relaxed);
        let got = call(&door, "secretsmanager.GetSecretValue", &json!({"SecretId": "s"})).await;
        assert_eq!(got.json()["SecretString"], "v");
        let midnight = (NOON - DAY_MS / 2 + days * DAY_MS) as f64 / 1_000.0;
        assert_eq!(accessed().await, Some(json!(midnight)));
    }
}

#[tokio::test]
async fn sessions_end() {
    let door = door().await;
    iam(&door, "Action=CreateRole&RoleName=r&AssumeRolePolicyDocument=%7B%7D").await;
    let assume = "Version=2011-06-15&Action=AssumeRole&RoleSessionName=me&DurationSeconds=900\
                  &RoleArn=arn:aws:iam::000000000000:role/r";
    let (status, answer) = query(&door, assume, "AKID").await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(element(&answer, "Expiration"), "2026-01-31T12:15:00.000Z");
    let key_id = element(&answer, "AccessKeyId");
    let who = "Version=2011-06-15&Action=GetCallerIdentity";
    let (_, answer) = query(&door, who, &key_id).await;
    assert_eq!(element(&answer, "Arn"), "arn:aws:sts::000000000000:assumed-role/r/me");
    door.now.store(NOON + 900_000, Ordering::Relaxed);
    let (status, answer) = query(&door, who, &key_id).await;
    assert_eq!((status, element(&answer, "Code")), (403, "ExpiredToken".to_owned()));
    assert_eq!(lamplight_api::forget_expired(&door.state).await.unwrap(), 1);
    let (status, answer) = query(&door, who, &key_id).await;
    assert_eq!((status, element(&answer, "Code")), (403, "InvalidClientTokenId".to_owned()));
    // Credentials of a real account are nobody's here.
    let (status, answer) = query(&door, who, "ASIAIOSFODNN7EXAMPLE").await;
    assert_eq!((status, element(&answer, "Arn")), (200, "arn:aws:iam::000000000000:root".to_owned()));
}

/// The same server, asked through the listener of an instance whose function has this role.
async fn inside(door: FrontDoor, role: &str) -> FrontDoor {
    let caller = Caller::Function {
        scope: Scope::default(),
        arn: "arn:aws:lambda:us-east-1:000000000000:function:f".to_owned(),
        role: role.to_owned(),
    };
    door.asked_by(caller).await
}

#[tokio::test]
async fn functions_read_what_their_role_allows() {
    let outside = door().await;
    let put = json!({"Name": "/app/key", "Value": "v", "Type": "SecureString"});
    assert_eq!(call(&outside, "AmazonSSM.PutParameter", &put).await.status, 200);
    let create = json!({"Name": "app/db", "SecretString": "v", "ClientRequestToken": TOKEN});
    assert_eq!(call(&outside, "secretsmanager.CreateSecret", &create).await.status, 200);
    iam(&outside, "Action=CreateRole&RoleName=reader&Path=/app/&AssumeRolePolicyDocument=%7B%7D").await;
    iam(&outside, "Action=CreateRole&RoleName=bare&AssumeRolePolicyDocument=%7B%7D").await;
    let inline = r#"{"Statement":[{"Effect":"Allow","Action":"ssm:GetParameter*","Resource":"arn:aws:ssm:us-east-1:000000000000:parameter/app/*"},{"Effect":"Deny","Action":"ssm:GetParametersByPath","Resource":"*"}]}"#;
    let form = |fields: &[(&str, &str)]| {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields).finish()
    };
    iam(
        &outside,
        &form(&[
            ("Action", "PutRolePolicy"),
            ("RoleName", "reader"),
            ("PolicyName", "p"),
            ("PolicyDocument", inline),
        ]),
    )
    .await;
    let managed = r#"{"Statement":{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"arn:aws:secretsmanager:*:*:secret:app/*"}}"#;
    iam(&outside, &form(&[("Action", "CreatePolicy"), ("PolicyName", "m"), ("PolicyDocument", managed)]))
        .await;
    let attach = "Action=AttachRolePolicy&RoleName=reader&PolicyArn=";
    iam(&outside, &format!("{attach}arn:aws:iam::000000000000:policy/m")).await;
    iam(&outside, &format!("{attach}arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole")).await;

    let get = ("AmazonSSM.GetParameter", json!({"Name": "/app/key", "WithDecryption": true}));
    let many = ("AmazonSSM.GetParameters", json!({"Names": ["/app/key", "/other"]}));
    let path = ("AmazonSSM.GetParametersByPath", json!({"Path": "/app/x"}));
    let write = ("AmazonSSM.PutParameter", put);
    let secret = ("secretsmanager.GetSecretValue", json!({"SecretId": "app/db"}));
    let absent = ("secretsmanager.GetSecretValue", json!({"SecretId": "other/db"}));
    let list = ("secretsmanager.ListSecrets", json!({}));
    let denied = Some("because no identity-based policy allows the");
    let explicitly = Some("with an explicit deny in an identity-based policy");
    let role = |name: &str| format!("arn:aws:iam::000000000000:role/{name}");
    let mut door = outside;
    for (role, expected) in [
        (role("app/reader"), [None, denied, explicitly, denied, None, denied, denied]),
        // The same name in another path or account is another role; one without policies and none at all allow nothing.
        (role("reader"), [denied; 7]),
        ("arn:aws:iam::111111111111:role/app/reader".to_owned(), [denied; 7]),
        (role("bare"), [denied; 7]),
        (role("absent"), [denied; 7]),
    ] {
        door = inside(door, &role).await;
        for ((target, body), expected) in
            [&get, &many, &path, &write, &secret, &absent, &list].into_iter().zip(expected)
        {
            let answer = call(&door, target, body).await;
            match expected {
                None => assert_eq!(answer.status, 200, "{role} {target}: {answer:?}"),
                Some(reason) => {
                    assert_eq!(answer.error(), (400, "AccessDeniedException"), "{role} {target}");
                    let text = String::from_utf8_lossy(&answer.body).into_owned();
                    assert!(text.contains(reason), "{role} {target}: {text}");
                }
            }
        }
    }
}

#[tokio::test]
async fn ready_says_whether_calls_can_be_served() {
    let door = door().await;
    let ready = door.get("/ready").await;
    assert_eq!((ready.status.as_u16(), ready.json()), (200, json!({"Status": "ready"})));
    *door.trouble.lock().unwrap() = Some("no process that starts instances is alive".to_owned());
    let trouble = door.get("/ready").await;
    assert_eq!(trouble.status, 503);
    assert_eq!(trouble.json()["Reason"], "no process that starts instances is alive");
    assert_eq!(door.get("/health").await.status, 200, "alive all the same");
    let page = door.get("/metrics").await;
    assert!(page.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    assert_eq!(door.send(Method::POST, "/ready", &[], "").await.status, 404);
    let door = inside(door, "arn:aws:iam::000000000000:role/r").await;
    assert_eq!(door.get("/metrics").await.status, 403, "functions get none of this");
    assert_eq!(door.get("/ready").await.status, 403);
}
