//! Whatever arrives, the front door answers in the form of a protocol and goes on.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::FrontDoor;

/// Pieces that lead deep into the parsers, and noise.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,40}",
        "\\PC{0,20}",
        Just("hello".to_owned()),
        Just("%".to_owned()),
        Just("%ff%00%2F".to_owned()),
        Just("arn:aws:lambda:us-east-1:000000000000:function:hello:$LATEST".to_owned()),
        Just("é:é".to_owned()),
        Just("\"\\\"".to_owned()),
        Just("Ynl0ZXM".to_owned()),
    ]
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        text().prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::vec((member(), inner), 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

fn member() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "FunctionName",
        "Runtime",
        "Role",
        "Handler",
        "Code",
        "ZipFile",
        "Timeout",
        "MemorySize",
        "Environment",
        "Variables",
        "Tags",
        "Layers",
        "FileSystemConfigs",
        "Arn",
        "LocalMountPath",
        "LoggingConfig",
        "LogFormat",
        "EphemeralStorage",
        "Size",
        "RevisionId",
        "Publish",
        "Architectures",
        "logGroupName",
        "filterPattern",
        "nextToken",
        "limit",
        "startTime",
        "endTime",
        "logStreamName",
        "Description",
        "CodeSha256",
        "VpcConfig",
        "Name",
        "Names",
        "Value",
        "Type",
        "Path",
        "ParameterFilters",
        "Key",
        "Values",
        "SecretId",
        "SecretString",
        "SecretBinary",
        "VersionStages",
        "ClientRequestToken",
        "Filters",
        "RecoveryWindowInDays",
        "PasswordLength",
    ])
    .prop_map(str::to_owned)
}

/// A request of one of the protocols with garbage in it.
fn request() -> impl Strategy<Value = (usize, String, String, Vec<u8>)> {
    let body = prop_oneof![
        json().prop_map(|value| value.to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..200),
        Just(Vec::new()),
    ];
    (0..lamplight_api::lambda::operations::OPERATIONS.len() + 10, text(), text(), body)
}

fn build((which, label, value, body): (usize, String, String, Vec<u8>)) -> Request<Body> {
    let operations = lamplight_api::lambda::operations::OPERATIONS;
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let mut builder = Request::builder().header("host", "localhost");
    let header = |text: &str| text.bytes().filter(|byte| (0x20..0x7f).contains(byte)).collect::<Vec<u8>>();
    builder = builder.header("x-amz-client-context", header(&value)).header("authorization", header(&label));
    let (method, path) = match which.checked_sub(operations.len()) {
        None => {
            let (method, path) = operations[which].example(&encode(&label));
            let separator = if path.contains('?') { '&' } else { '?' };
            let value = encode(&value);
            let query = format!(
                "{separator}Qualifier={value}&Marker={value}&MaxItems={value}&FunctionVersion={value}"
            );
            (method, path + &query)
        }
        Some(0) => {
            builder = builder.header("x-amz-target", "Logs_20140328.FilterLogEvents");
            (http::Method::POST, "/".to_owned())
        }
        Some(1) => {
            builder = builder.header("x-amz-target", "Logs_20140328.GetLogEvents");
            (http::Method::POST, "/".to_owned())
        }
        Some(2) => {
            builder = builder.header("x-amz-target", header(&value));
            (http::Method::POST, "/".to_owned())
        }
        Some(3) => (
            http::Method::POST,
            format!("/?Action=CreateRole&RoleName={0}&AssumeRolePolicyDocument={0}&Path={0}", encode(&value)),
        ),
        Some(4) => (http::Method::GET, format!("/lamplight/v1/{}", encode(&label))),
        Some(kind @ (5 | 6)) => {
            let kinds = ["GET", "PUT", "POST", "DELETE", "HEAD"];
            let resources = [
                "",
                "delete",
                "uploads",
                "uploadId=a&partNumber=1",
                "tagging",
                "acl",
                "list-type=2",
                "versions",
                "location",
            ];
            let pick = |list: &[&'static str], by: usize| list[by % list.len()];
            let (method, resource) = (pick(&kinds, value.len()), pick(&resources, label.len()));
            for name in [
                "range",
                "x-amz-copy-source",
                "x-amz-tagging",
                "if-match",
                "x-amz-checksum-crc32",
                "content-md5",
            ] {
                if value.len() % 3 > 0 {
                    builder = builder.header(name, header(&value));
                }
            }
            if kind == 6 {
                builder = builder
                    .header("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
                    .header("x-amz-trailer", "x-amz-checksum-crc32")
                    .header("x-amz-decoded-content-length", body.len());
            }
            let (label, value) = (encode(&label), encode(&value));
            let list =
                format!("prefix={value}&delimiter={label}&marker={value}&max-keys={label}&versionId={label}");
            let path = format!(
                "/garbage-bucket/{label}?AWSAccessKeyId=a&Signature=a&Expires=9999999999&{resource}&{list}"
            );
            (method.parse().unwrap(), path)
        }
        Some(7) => {
            let targets = [
                "AmazonSSM.PutParameter",
                "AmazonSSM.GetParameter",
                "AmazonSSM.GetParameters",
                "AmazonSSM.GetParametersByPath",
                "AmazonSSM.DescribeParameters",
                "AmazonSSM.DeleteParameters",
                "secretsmanager.CreateSecret",
                "secretsmanager.PutSecretValue",
                "secretsmanager.GetSecretValue",
                "secretsmanager.ListSecrets",
                "secretsmanager.DeleteSecret",
                "secretsmanager.GetRandomPassword",
            ];
            builder = builder.header("x-amz-target", targets[(value.len() + label.len()) % targets.len()]);
            (http::Method::POST, "/".to_owned())
        }
        Some(8) => {
            let actions =
                ["CreatePolicy", "GetPolicyVersion", "ListPolicies", "AttachRolePolicy", "AssumeRole"];
            let (action, value) = (actions[label.len() % actions.len()], encode(&value));
            let version = if action == "AssumeRole" { "2011-06-15" } else { "2010-05-08" };
            let parameters = format!(
                "PolicyName={value}&PolicyDocument={value}&PolicyArn={value}&VersionId={value}&Path={value}&Marker={value}\
                 &RoleArn={value}&RoleSessionName={value}&RoleName={value}&DurationSeconds={value}"
            );
            (http::Method::POST, format!("/?Version={version}&Action={action}&{parameters}"))
        }
        Some(_) => (
            http::Method::GET,
            format!("/lamplight/v1/code/{}?Expires={1}&Signature={1}", encode(&label), encode(&value)),
        ),
    };
    builder.method(method).uri(path).body(Body::from(body)).unwrap()
}

#[test]
fn garbage_is_answered_in_the_form_of_a_protocol() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let door = runtime.block_on(FrontDoor::echo());
    runtime.block_on(door.create("hello"));
    let objects = &door.state.objects;
    runtime.block_on(objects.create_bucket(&lamplight_model::Scope::default(), "garbage-bucket")).unwrap();
    let router = lamplight_api::router(door.state.clone());
    let cases = if std::env::var_os("LAMPLIGHT_LONG").is_some() { 100_000 } else { 2_000 };
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let checked = runner.run(&request(), |parts| {
        let request = build(parts);
        let said = format!("{} {}", request.method(), request.uri());
        let (head, body) = runtime.block_on(async {
            let (head, body) = router.clone().answer(request).await.into_parts();
            (head, body.collect().await.unwrap().to_bytes())
        });
        prop_assert!(head.status != 500, "{said}: {body:?}");
        prop_assert!(head.headers.contains_key("x-amzn-requestid"));
        let text = String::from_utf8_lossy(&body);
        let kind = head.headers.get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        match kind.as_deref() {
            Some("application/json" | "application/x-amz-json-1.1") => {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok(), "{said}: {text}");
            }
            Some("text/xml" | "application/xml") => prop_assert!(text.starts_with('<'), "{said}: {text}"),
            None => prop_assert!(body.is_empty(), "{said}: {text}"),
            Some(other) => prop_assert!(false, "{said}: {other}"),
        }
        Ok(())
    });
    checked.unwrap();
    // And the front door still works.
    assert_eq!(runtime.block_on(door.get("/health")).status, 200);
}
