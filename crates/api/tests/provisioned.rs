//! Provisioned concurrency on the wire, over the real store and workers that count.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use http::Method;
use lamplight_invoke::workers::ProvisionedFailure;
use lamplight_invoke::workers::fake::FakeRun;
use lamplight_model::Caller;
use serde_json::{Value, json};
use support::{Answer, FrontDoor};

const PATH: &str = "/2019-09-30/functions/f/provisioned-concurrency";

async fn door() -> FrontDoor {
    let echo = |invocation: &lamplight_model::Invocation| FakeRun::Return(invocation.payload.clone());
    let door = FrontDoor::with_concurrency(echo, Caller::Loopback, 1_000).await;
    door.create("f").await;
    door
}

/// Publishes a version that differs from others in its timeout.
async fn publish(door: &FrontDoor, timeout_seconds: u32) {
    let change = json!({"Timeout": timeout_seconds});
    let changed =
        door.send(Method::PUT, "/2015-03-31/functions/f/configuration", &[], change.to_string()).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    door.wait_until_active("f").await;
    let published = door.post("/2015-03-31/functions/f/versions", &json!({})).await;
    assert_eq!(published.status, 201, "{published:?}");
}

async fn put(door: &FrontDoor, query: &str, body: &Value) -> Answer {
    door.send(Method::PUT, &format!("{PATH}{query}"), &[], body.to_string()).await
}

/// Waits until the workers were told of so many versions.
async fn told(door: &FrontDoor, versions: usize) {
    let mut targets = door.workers.targets();
    let told = targets.wait_for(|targets| targets.len() == versions);
    tokio::time::timeout(std::time::Duration::from_secs(20), told).await.unwrap().unwrap();
}

#[tokio::test]
async fn put_get_list_and_delete() {
    let door = door().await;
    for number in 1..=3 {
        publish(&door, 10 + number).await;
        let asked = json!({"ProvisionedConcurrentExecutions": number});
        let answer = put(&door, &format!("?Qualifier={number}"), &asked).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(
            answer.json(),
            json!({
                "RequestedProvisionedConcurrentExecutions": number,
                "AvailableProvisionedConcurrentExecutions": 0,
                "AllocatedProvisionedConcurrentExecutions": 0,
                "Status": "IN_PROGRESS",
                "LastModified": "2026-01-31T12:00:00+0000",
            })
        );
    }
    told(&door, 3).await;
    let got = door.get(&format!("{PATH}?Qualifier=2")).await.json();
    assert_eq!(
        (&got["Status"], &got["AllocatedProvisionedConcurrentExecutions"]),
        (&json!("READY"), &json!(2))
    );
    let settings = door.get("/2016-08-19/account-settings").await.json();
    assert_eq!(settings["AccountLimit"]["UnreservedConcurrentExecutions"], 994);

    let first = door.get(&format!("{PATH}?List=ALL&MaxItems=2")).await.json();
    let arns = |page: &Value| -> Vec<String> {
        let rows = page["ProvisionedConcurrencyConfigs"].as_array().unwrap();
        rows.iter()
            .map(|row| row["FunctionArn"].as_str().unwrap().rsplit(':').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(arns(&first), ["1", "2"]);
    let marker = first["NextMarker"].as_str().unwrap();
    let second = door.get(&format!("{PATH}?List=ALL&Marker={marker}")).await.json();
    assert_eq!((arns(&second), &second["NextMarker"]), (vec!["3".to_owned()], &Value::Null));

    door.workers.start_provisioned(|_| Err(ProvisionedFailure::Init));
    let failed = door.get(&format!("{PATH}?Qualifier=1")).await.json();
    assert_eq!(
        (&failed["Status"], &failed["StatusReason"]),
        (&json!("FAILED"), &json!("FUNCTION_ERROR_INIT_FAILURE"))
    );

    for _ in 0..2 {
        let deleted = door.send(Method::DELETE, &format!("{PATH}?Qualifier=1"), &[], "").await;
        assert_eq!((deleted.status.as_u16(), deleted.body.len()), (204, 0));
    }
    let gone = door.get(&format!("{PATH}?Qualifier=1")).await;
    assert_eq!(gone.error(), (404, "ProvisionedConcurrencyConfigNotFoundException"));
    assert_eq!(gone.json()["message"], "No Provisioned Concurrency Config found for this function");
    told(&door, 2).await;

    // A deleted version takes its configuration along, and so does the function.
    let deleted = door.send(Method::DELETE, "/2015-03-31/functions/f?Qualifier=2", &[], "").await;
    assert_eq!(deleted.status, 204);
    assert_eq!(arns(&door.get(&format!("{PATH}?List=ALL")).await.json()), ["3"]);
    told(&door, 1).await;
    assert_eq!(door.send(Method::DELETE, "/2015-03-31/functions/f", &[], "").await.status, 204);
    told(&door, 0).await;
    assert_eq!(door.get(&format!("{PATH}?List=ALL")).await.error(), (404, "ResourceNotFoundException"));
}

#[tokio::test]
async fn what_is_refused_and_how() {
    let door = door().await;
    publish(&door, 10).await;
    let one = json!({"ProvisionedConcurrentExecutions": 1});
    let check = async |answer: Answer, status: u16, code: &str, text: &str| {
        assert_eq!(answer.error(), (status, code), "{answer:?}");
        let body = answer.json();
        let message = body.get("message").or(body.get("Message")).and_then(Value::as_str).unwrap();
        assert!(message.contains(text), "{message}");
    };
    let invalid = "InvalidParameterValueException";
    check(put(&door, "?Qualifier=$LATEST", &one).await, 400, invalid, "unpublished function versions.").await;
    check(put(&door, "?Qualifier=2", &one).await, 404, "ResourceNotFoundException", "function:f:2").await;
    check(
        put(&door, "?Qualifier=live", &one).await,
        404,
        "ResourceNotFoundException",
        "Cannot find alias arn: ",
    )
    .await;
    check(put(&door, "", &one).await, 400, "ValidationException", "Value null at 'qualifier'").await;
    check(
        put(&door, "?Qualifier=1", &json!({})).await,
        400,
        "ValidationException",
        "Value null at 'provisionedConcurrentExecutions' failed",
    )
    .await;
    check(
        put(&door, "?Qualifier=1", &json!({"ProvisionedConcurrentExecutions": 0})).await,
        400,
        "ValidationException",
        "Value '0' at 'provisionedConcurrentExecutions' failed to satisfy constraint: Member must have value greater than or equal to 1",
    )
    .await;
    for (executions, text) in [
        (901, "decreases account's UnreservedConcurrentExecution below its minimum value of [100]."),
        (1_001, "greater than account's unreserved concurrency [1000]."),
    ] {
        let body = json!({"ProvisionedConcurrentExecutions": executions});
        check(put(&door, "?Qualifier=1", &body).await, 400, invalid, text).await;
    }
    for method in [Method::GET, Method::DELETE] {
        let latest = door.send(method, &format!("{PATH}?Qualifier=$LATEST"), &[], "").await;
        check(latest, 400, invalid, "must be an alias or a published version.").await;
    }
    check(door.get(&format!("{PATH}?List=ALL&MaxItems=51")).await, 400, "ValidationException", "'maxItems'")
        .await;
}
