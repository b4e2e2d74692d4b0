//! What a client on the wire sees, over a real connection and the real store.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use base64::Engine as _;
use http::Method;
use lamplight_invoke::workers::fake::FakeRun;
use lamplight_listener::Limits;
use lamplight_model::{Caller, ErrorCode, OutcomeStatus, Region, Scope, ServiceError, Timestamp};
use lamplight_services::metrics::Group;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use support::{FrontDoor, NOON, create_request, serve};
use tokio::sync::Semaphore;

const SIGNED: &str =
    "AWS4-HMAC-SHA256 Credential=k/20260131/eu-west-1/lambda/aws4_request, SignedHeaders=host, Signature=0";

#[tokio::test]
async fn a_web_page_does_not_get_in() {
    let door = FrontDoor::echo().await;
    let refused = [
        ("host", "evil.example"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
    ];
    for header in refused {
        for path in ["/2015-03-31/functions", "/health", "/lamplight/v1/usage", "/"] {
            let answer = door.send(Method::GET, path, &[header], "").await;
            assert_eq!(answer.error(), (403, "AccessDeniedException"), "{header:?} {path}");
            assert!(answer.json()["Message"].as_str().is_some_and(|text| !text.is_empty()));
        }
    }
    assert_eq!(
        door.send(Method::GET, "/health", &[("host", "lamplight.example:9000")], "").await.status,
        200
    );
}

#[tokio::test]
async fn errors_have_id_type_and_the_right_case() {
    let door = FrontDoor::echo().await;
    let answer = door.get("/2015-03-31/functions/absent").await;
    assert_eq!(answer.error(), (404, "ResourceNotFoundException"));
    assert_eq!(
        answer.json(),
        json!({"Type": "User", "Message": "Function not found: arn:aws:lambda:us-east-1:000000000000:function:absent"})
    );
    assert!(answer.header("x-amzn-requestid").is_some_and(|id| uuid::Uuid::try_parse(id).is_ok()));
    assert_eq!(answer.header("content-type"), Some("application/json"));

    let answer = door.post("/2015-03-31/functions", &json!({"FunctionName": "f", "MemorySize": 1})).await;
    assert_eq!(answer.error(), (400, "ValidationException"));
    assert_eq!(
        answer.json(),
        json!({"message": "3 validation errors detected: Value '1' at 'memorySize' failed to satisfy constraint: \
            Member must have value greater than or equal to 128; Value null at 'role' failed to satisfy constraint: \
            Member must not be null; Value null at 'code' failed to satisfy constraint: Member must not be null"})
    );
    let answer = door.send(Method::POST, "/2015-03-31/functions", &[], "{nonsense").await;
    assert_eq!(answer.error(), (400, "InvalidRequestContentException"));
    let answer = door.post("/2015-03-31/functions", &json!({"FunctionName": 7})).await;
    assert_eq!(answer.error(), (400, "SerializationException"));
    let answer = door.send(Method::PATCH, "/nowhere", &[], "").await;
    assert_eq!(answer.error(), (404, "UnknownOperationException"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn every_row_of_the_table_is_served_or_refused_by_name() {
    let door = FrontDoor::echo().await;
    let mut refused = 0;
    for operation in lamplight_api::lambda::operations::OPERATIONS {
        let (method, path) = operation.example("x");
        // Tags of MicroVMs have the path of tags of functions: the ARN says which, and functions are served.
        if operation.service == "lambda-microvms" && path.starts_with("/2017-03-31/tags/") {
            continue;
        }
        let answer = door.send(method, &path, &[], "").await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        if answer.error().1 == "NotImplementedException" {
            refused += 1;
            assert_eq!(answer.status, 400);
            assert!(
                text.contains(&format!("{}:{} yet", operation.service, operation.name)),
                "{path}: {text}"
            );
        } else {
            assert!(!text.contains("<html"), "{path}: {text}");
            assert_eq!(operation.service, "lambda", "{path}: {text}");
        }
    }
    let all = lamplight_api::lambda::operations::OPERATIONS.len() - 3;
    let served: usize = lamplight_api::lambda::SERVED.iter().map(|served| served.len()).sum();
    assert_eq!(refused, all - served);
}

#[tokio::test]
async fn percent_encoded_arns_and_regions_of_signatures() {
    let door = FrontDoor::echo().await;
    door.create("hello").await;
    let encoded = "arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Ahello";
    let answer = door.get(&format!("/2015-03-31/functions/{encoded}/configuration")).await;
    assert_eq!(answer.json()["FunctionName"], "hello");
    // The trailing slash of old clients, and an ARN that is not encoded.
    assert_eq!(door.get("/2015-03-31/functions/hello/").await.status, 200);
    let plain = "arn:aws:lambda:us-east-1:000000000000:function:hello:$LATEST";
    assert_eq!(door.get(&format!("/2015-03-31/functions/{plain}")).await.status, 200);
    let elsewhere =
        door.send(Method::GET, "/2015-03-31/functions/hello", &[("authorization", SIGNED)], "").await;
    assert_eq!(elsewhere.status, 404);
    assert!(elsewhere.json()["Message"].as_str().unwrap().contains(":eu-west-1:"));
    let answer = door
        .send(Method::GET, &format!("/2015-03-31/functions/{encoded}"), &[("authorization", SIGNED)], "")
        .await;
    assert_eq!(
        answer.json()["Message"],
        "Functions from 'us-east-1' are not reachable in this region ('eu-west-1')"
    );
}

#[tokio::test]
async fn links_to_code_expire() {
    let door = FrontDoor::echo().await;
    door.create("hello").await;
    let answer = door.get("/2015-03-31/functions/hello").await.json();
    let location = answer["Code"]["Location"].as_str().unwrap();
    let path = location.strip_prefix(&format!("http://{}", door.address)).unwrap();
    let zip = door.get(path).await;
    assert_eq!((zip.status.as_u16(), zip.header("content-type")), (200, Some("application/zip")));
    assert_eq!(zip.body, support::package());
    door.now.fetch_add(10 * 60 * 1_000 + 1, Ordering::Relaxed);
    assert_eq!(door.get(path).await.error(), (403, "AccessDeniedException"));
}

#[tokio::test]
async fn concurrent_changes_are_told() {
    let door = FrontDoor::echo().await;
    door.create("hello").await;
    let store = &door.opened.store;
    let name = lamplight_model::FunctionName::parse("hello").unwrap();
    let latest = lamplight_model::VersionNumber::Latest;
    let stored = store.get_version(&Scope::default(), &name, latest).await.unwrap().unwrap();
    let path = "/2015-03-31/functions/hello/configuration";
    let body = |revision: &str| json!({"Timeout": 9, "RevisionId": revision}).to_string();
    let stale = door.send(Method::PUT, path, &[], body("stale")).await;
    assert_eq!(stale.error(), (412, "PreconditionFailedException"));
    // Of two that change the same revision exactly one gets through, whatever the timing.
    let both = tokio::join!(
        door.send(Method::PUT, path, &[], body(&stored.revision_id)),
        door.send(Method::PUT, path, &[], body(&stored.revision_id)),
    );
    let mut statuses = [both.0.status.as_u16(), both.1.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses[0], 200, "{both:?}");
    assert!([409, 412].contains(&statuses[1]), "{both:?}");
    door.wait_until_active("hello").await;
    assert_eq!(door.get(path).await.json()["Timeout"], 9);
}

#[tokio::test]
async fn outcomes_become_headers() {
    let door = FrontDoor::start(
        |invocation| match invocation.payload.as_ref() {
            b"\"error\"" => FakeRun::handler_error("boom"),
            b"\"timeout\"" => FakeRun::Fail(
                OutcomeStatus::Timeout,
                "Sandbox.Timedout".to_owned(),
                "{\"errorType\":\"Sandbox.Timedout\"}".into(),
            ),
            b"\"full\"" => FakeRun::Refuse(ServiceError::throttled("ConcurrentInvocationLimitExceeded")),
            b"\"runtime\"" => {
                FakeRun::Refuse(ServiceError::new(ErrorCode::InvalidRuntimeException, "no such runtime"))
            }
            b"\"lost\"" => FakeRun::Break(ServiceError::internal("lost")),
            b"\"vanish\"" => FakeRun::Vanish,
            other => FakeRun::Return(other.to_vec().into()),
        },
        Caller::Loopback,
    )
    .await;
    door.create("hello").await;
    let answer = door.invoke("hello", &[], "{\"a\":1}").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-amz-executed-version")), (200, Some("$LATEST")));
    assert_eq!(answer.header("x-amz-function-error"), None);
    assert_eq!(answer.body, "{\"a\":1}");
    let begun = door.workers.begun();
    assert_eq!(answer.header("x-amzn-requestid"), Some(begun[0].request_id.to_string().as_str()));
    assert_eq!(begun[0].invoked_arn, "arn:aws:lambda:us-east-1:000000000000:function:hello");
    assert!(begun[0].trace_header.as_ref().is_some_and(|trace| trace.starts_with("Root=1-")));
    assert_eq!(door.invoke("hello", &[], "").await.body, "{}");

    for event in ["\"error\"", "\"timeout\""] {
        let answer = door.invoke("hello", &[], event).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-amz-function-error")), (200, Some("Unhandled")));
        assert!(answer.json()["errorType"].is_string());
    }
    let answer = door.invoke("hello", &[], "\"full\"").await;
    assert_eq!(answer.error(), (429, "TooManyRequestsException"));
    assert_eq!(
        answer.json(),
        json!({"Type": "User", "Reason": "ConcurrentInvocationLimitExceeded", "message": "Rate Exceeded."})
    );
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(door.invoke("hello", &[], "\"runtime\"").await.error(), (502, "InvalidRuntimeException"));
    assert_eq!(door.invoke("hello", &[], "\"lost\"").await.error(), (500, "ServiceException"));
    assert_eq!(door.invoke("hello", &[], "\"vanish\"").await.error(), (500, "ServiceException"));
}

#[tokio::test]
async fn what_invoke_hands_on() {
    let door = FrontDoor::echo().await;
    door.create("hello").await;
    let context = base64::engine::general_purpose::STANDARD.encode("{\"custom\":{}}");
    let headers = [
        ("x-amz-client-context", context.as_str()),
        ("x-amzn-trace-id", "Root=1-0-0"),
        ("x-amz-log-type", "Tail"),
    ];
    let answer = door.invoke("hello", &headers, "1").await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("x-amz-log-result").is_some());
    let begun = door.workers.begun();
    assert_eq!(begun[0].client_context.as_deref(), Some("{\"custom\":{}}"));
    let trace_header = begun[0].trace_header.as_deref().unwrap();
    assert_eq!(lamplight_model::lineage::without(trace_header), "Root=1-0-0");
    assert!(begun[0].log_tail);
    let published = door.post("/2015-03-31/functions/hello/versions", &json!({})).await;
    assert_eq!(published.json()["Version"], "1");
    let answer = door.invoke("hello:1", &[], "1").await;
    assert_eq!(answer.header("x-amz-executed-version"), Some("1"));
    assert!(door.workers.begun()[1].invoked_arn.ends_with(":function:hello:1"));
    let event = door.invoke("hello", &[("x-amz-invocation-type", "Event")], "2").await;
    assert_eq!((event.status.as_u16(), event.body.len()), (202, 0));
    let counts = door.get("/lamplight/v1/functions/hello/events").await.json();
    assert_eq!(counts, json!({"Accepted": 1, "Done": 0, "DeadLettered": 0, "Pending": 1}));
    let dry = door.invoke("hello", &[("x-amz-invocation-type", "DryRun")], "3").await;
    assert_eq!((dry.status.as_u16(), dry.body.len()), (204, 0));
    assert_eq!(door.workers.begun().len(), 2);
}

#[tokio::test]
async fn the_account_limit_is_throttled_with_a_reason() {
    let gate = Arc::new(Semaphore::new(0));
    let inner = Arc::clone(&gate);
    let door = FrontDoor::start(
        move |invocation| {
            FakeRun::After(Arc::clone(&inner), Box::new(FakeRun::Return(invocation.payload.clone())))
        },
        Caller::Loopback,
    )
    .await;
    door.create("hello").await;
    let (first, second, third) =
        tokio::join!(door.invoke("hello", &[], "1"), door.invoke("hello", &[], "2"), async {
            door.workers.wait_until_begun(2).await;
            let third = door.invoke("hello", &[], "3").await;
            gate.add_permits(2);
            third
        });
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (200, 200));
    assert_eq!(third.error(), (429, "TooManyRequestsException"));
    assert_eq!(third.json()["Reason"], "ConcurrentInvocationLimitExceeded");
}

#[tokio::test]
async fn a_function_may_invoke_and_ask_who_it_is_and_nothing_else() {
    let caller = Caller::Function {
        scope: Scope::default(),
        arn: "arn:aws:lambda:us-east-1:000000000000:function:inside".to_owned(),
        role: "arn:aws:iam::000000000000:role/service/r".to_owned(),
    };
    let door = FrontDoor::start(|invocation| FakeRun::Return(invocation.payload.clone()), caller).await;
    let identity = door
        .send(
            Method::POST,
            "/",
            &[("content-type", "application/x-www-form-urlencoded; charset=utf-8")],
            "Action=GetCallerIdentity&Version=2011-06-15",
        )
        .await;
    let text = String::from_utf8(identity.body.to_vec()).unwrap();
    assert!(text.contains("<Arn>arn:aws:sts::000000000000:assumed-role/r/inside</Arn>"), "{text}");
    // Allowed, and there is nothing of the name.
    assert_eq!(door.invoke("other", &[], "1").await.error(), (404, "ResourceNotFoundException"));

    let answer = door.get("/2015-03-31/functions/other").await;
    assert_eq!(answer.error(), (403, "AccessDeniedException"));
    assert_eq!(
        answer.json(),
        json!({"Message": "User: arn:aws:sts::000000000000:assumed-role/r/inside is not authorized to perform: \
            lambda:GetFunction on resource: arn:aws:lambda:us-east-1:000000000000:function:other because no \
            identity-based policy allows the lambda:GetFunction action"})
    );
    let created = door.post("/2015-03-31/functions", &create_request("mine")).await;
    assert_eq!(created.error(), (403, "AccessDeniedException"));
    // What a durable function asks about its own executions; those of others are no business of its.
    let own = ["CheckpointDurableExecution", "GetDurableExecutionState"];
    let others = "/2025-12-01/durable-executions/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Aother%3A1\
                  %2Fdurable-execution%2Fname%2F00000000-0000-0000-0000-000000000000";
    for (method, path) in [
        (Method::POST, format!("{others}/checkpoint")),
        (Method::GET, format!("{others}/state?CheckpointToken=QUJD")),
    ] {
        let answer = door.send(method, &path, &[], r#"{"CheckpointToken": "QUJD"}"#).await;
        assert_eq!(answer.error(), (403, "AccessDeniedException"), "{path}");
    }
    for operation in lamplight_api::lambda::operations::OPERATIONS {
        if !operation.name.starts_with("Invoke") && !own.contains(&operation.name) {
            let (method, path) = operation.example("x");
            assert_eq!(door.send(method, &path, &[], "").await.status, 403, "{}", operation.name);
        }
    }
    for path in ["/lamplight/v1/usage", "/lamplight/v1/runtimes", "/lamplight/v1/functions/f/dead-letters"] {
        assert_eq!(door.get(path).await.error(), (403, "AccessDeniedException"), "{path}");
    }
    let logs = door
        .send(
            Method::POST,
            "/",
            &[("x-amz-target", "Logs_20140328.FilterLogEvents")],
            "{\"logGroupName\":\"g\"}",
        )
        .await;
    assert_eq!(logs.json()["__type"], "AccessDeniedException");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let iam = door.send(Method::POST, "/", &form, "Action=ListRoles&Version=2010-05-08").await;
    assert_eq!(iam.status, 403);
    assert!(String::from_utf8_lossy(&iam.body).contains("<Code>AccessDenied</Code>"));
}

#[tokio::test]
async fn functions_cannot_be_made_in_another_account() {
    let door = FrontDoor::echo().await;
    let elsewhere = create_request("123456789012:function:hello");
    assert_eq!(door.post("/2015-03-31/functions", &elsewhere).await.error(), (403, "AccessDeniedException"));
    door.create("hello").await;
    let answer = door.get("/2015-03-31/functions/123456789012:function:hello").await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_refused_readably() {
    let door = FrontDoor::echo().await;
    door.create("hello").await;
    let large = vec![b' '; 8 * 1024 * 1024];
    let answer = door.invoke("hello", &[], large.clone()).await;
    assert_eq!(answer.error(), (413, "RequestEntityTooLargeException"));
    assert_eq!(
        answer.json()["message"],
        "8388608 byte payload is too large for the RequestResponse invocation type (limit 6291556 bytes)"
    );
    let answer =
        door.send(Method::PUT, "/2015-03-31/functions/hello/configuration", &[], large.clone()).await;
    assert_eq!(answer.error(), (413, "RequestEntityTooLargeException"));
    // Not served at all: still read on, so that the client sees why.
    let answer = door.send(Method::POST, "/2025-11-30/capacity-providers", &[], large).await;
    assert_eq!(answer.error(), (400, "NotImplementedException"));
}

#[tokio::test]
async fn usage_and_records_of_calls() {
    let door = FrontDoor::echo().await;
    door.create("hello").await;
    let answer = door.invoke("hello", &[], "1").await;
    let request_id = answer.header("x-amzn-requestid").unwrap().to_owned();
    // The report is handed over after the answer; the metrics say when the run is through.
    while door.state.invoker.metrics().concurrent > 0 {
        tokio::task::yield_now().await;
    }
    let usage = door.get("/lamplight/v1/usage?Function=hello").await.json();
    assert_eq!((&usage["Rows"][0]["Function"], &usage["Rows"][0]["Requests"]), (&json!("hello"), &json!(1)));
    assert_eq!(usage["Currency"], "USD");
    let found = door.get("/lamplight/v1/functions/hello/invocations").await.json();
    assert_eq!(found["Invocations"][0]["request_id"], request_id.as_str());
    let one = door.get(&format!("/lamplight/v1/invocations/{request_id}")).await.json();
    assert_eq!(one["function"], "hello");
    assert!(one["Price"].as_f64().is_some_and(|price| price > 0.0));
    let absent = door.get("/lamplight/v1/invocations/00000000-0000-0000-0000-000000000000").await;
    assert_eq!(absent.error(), (404, "ResourceNotFoundException"));
    assert_eq!(
        door.get("/lamplight/v1/usage?From=soon").await.error(),
        (400, "InvalidParameterValueException")
    );
}

#[tokio::test]
async fn log_events_come_by_time_and_by_page() {
    let door = FrontDoor::echo().await;
    let lines = |texts: &[&str]| texts.iter().map(|text| (Timestamp(NOON), format!("{text}\n"))).collect();
    door.opened.logs.append(&Scope::default(), "/g", "s1", lines(&["a", "b ERROR", "c"]));
    door.opened.logs.append(&Scope::default(), "/g", "s2", lines(&["d ERROR"]));
    door.opened.logs.flush().await.unwrap();
    let call = async |operation: &str, body: serde_json::Value| {
        let target = format!("Logs_20140328.{operation}");
        door.send(Method::POST, "/", &[("x-amz-target", &target)], body.to_string()).await
    };
    let answer = call("FilterLogEvents", json!({"logGroupName": "/g", "filterPattern": "ERROR"})).await;
    assert_eq!(answer.header("content-type"), Some("application/x-amz-json-1.1"));
    let found: Vec<_> = answer.json()["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["logStreamName"].clone(), event["message"].clone()))
        .collect();
    assert_eq!(found, [(json!("s1"), json!("b ERROR")), (json!("s2"), json!("d ERROR"))]);
    let only = call("FilterLogEvents", json!({"logGroupName": "/g", "logStreamNames": ["s2"]})).await.json();
    assert_eq!(only["events"].as_array().map(Vec::len), Some(1));
    let absent = call("GetLogEvents", json!({"logGroupName": "/absent", "logStreamName": "s"})).await;
    assert_eq!(absent.error(), (400, "ResourceNotFoundException"));
    let other = call("StartQuery", json!({})).await;
    assert_eq!(other.json()["__type"], "NotImplementedException");
}

#[tokio::test]
async fn shutting_down_finishes_what_is_in_flight_and_drops_what_is_idle() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let gate = Arc::new(Semaphore::new(0));
    let inner = Arc::clone(&gate);
    let door = FrontDoor::start(
        move |_| FakeRun::After(Arc::clone(&inner), Box::new(FakeRun::Return("1".into()))),
        Caller::Loopback,
    )
    .await;
    door.create("hello").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let router = lamplight_api::router(Arc::clone(&door.state));
    let server = tokio::spawn(serve(listener, router, Limits::api(), async move {
        let _ = stopped.await;
    }));
    let mut idle = tokio::net::TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 1024];
    let read = idle.read(&mut answer).await.unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200 OK"));
    let mut busy = tokio::net::TcpStream::connect(address).await.unwrap();
    busy.write_all(
        b"POST /2015-03-31/functions/hello/invocations HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n",
    )
    .await
    .unwrap();
    door.workers.wait_until_begun(1).await;
    stop.send(()).unwrap();
    assert_eq!(idle.read(&mut answer).await.unwrap(), 0, "an idle connection is closed at once");
    gate.add_permits(1);
    let mut text = String::new();
    busy.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("\r\n\r\n1"), "{text}");
    server.await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn metrics_are_counted_by_way_of_start_and_told_to_no_function() {
    let door = FrontDoor::echo().await;
    door.create("hello").await;
    for _ in 0..2 {
        // An answer with the log's tail comes after the record, which is counted then.
        let answer = door.invoke("hello", &[("x-amz-log-type", "Tail")], "1").await;
        assert_eq!(answer.status, 200);
    }
    let page = door.get("/lamplight/v1/metrics").await;
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    for line in [
        "lamplight_invocations_total 2",
        "lamplight_starts_total{start=\"warm\",runtime=\"python3.11\"} 2",
        "lamplight_provisioned_instances{state=\"wanted\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text.contains("hello"), "{text}");
    let inside = FrontDoor::start(
        |invocation| FakeRun::Return(invocation.payload.clone()),
        Caller::Function { scope: Scope::default(), arn: "arn".to_owned(), role: "role".to_owned() },
    )
    .await;
    assert_eq!(inside.get("/lamplight/v1/metrics").await.error(), (403, "AccessDeniedException"));
}

#[tokio::test]
async fn a_reader_of_metrics_who_leaves_takes_no_measurements_with_him() {
    let door = FrontDoor::echo().await;
    let scopes: Vec<Scope> = (1..=40)
        .map(|number| Scope {
            region: Region::parse(&format!("eu-west-{number}")).unwrap(),
            ..Scope::default()
        })
        .collect();
    for scope in &scopes {
        let dimensions = vec![("ApiId", "a".to_owned())];
        let group = Group { scope: scope.clone(), namespace: "AWS/ApiGateway", dimensions, series: &[1] };
        door.state.metrics.gather(group, Timestamp(NOON), &[("Count", "Count", 1.0)]);
    }
    let stored = async || {
        let mut stored = 0;
        for scope in &scopes {
            stored += door.state.metrics.list(scope, None, None, Timestamp(0)).await.unwrap().len();
        }
        stored
    };
    let headers = [
        ("content-type", "application/x-amz-json-1.0"),
        ("x-amz-target", "GraniteServiceVersion20100801.ListMetrics"),
    ];
    tokio::select! {
        // He leaves while some are stored and others are not.
        () = async { while stored().await == 0 {} } => {}
        answer = door.send(Method::POST, "/", &headers, "{}") => assert_eq!(answer.status, 200),
    }
    let all = async { while stored().await < scopes.len() {} };
    tokio::time::timeout(std::time::Duration::from_secs(30), all).await.expect("measurements are lost");
}
