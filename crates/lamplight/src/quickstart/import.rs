//! Notes imported as asynchronous events: one fails, its letter lies in a queue, and is sent again when the function is mended.

use super::example::{self, Variant};
use crate::client::Client;
use crate::commands::{FunctionSettings, deploy_package};
use crate::failure::Failure;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const FUNCTION: &str = "notes-import";
const HANDLER: &str = "app.import_note";
/// Where events go that failed for good.
const QUEUE: &str = "notes-failed";
/// Variable that bounds notes, the bound the last of the notes fails at, and the mended one; characters.
const BOUND: (&str, usize, usize) = ("LONGEST_NOTE", 60, 10_000);
/// Looks at what happens in the background, and the time between two: half a minute.
const LOOKS: (usize, Duration) = (600, Duration::from_millis(50));

/// Shows it; `Right` says whether everything went as it must.
pub async fn show(
    client: &Client,
    variant: &Variant,
    package: &[u8],
    notes_url: &str,
    say: &impl Fn(&str),
) -> Result<Value, Failure> {
    say("\nAn import: notes as asynchronous events, each on disk before it is answered 202");
    let queue_url = client.sqs("CreateQueue", &json!({ "QueueName": QUEUE })).await?["QueueUrl"].clone();
    let attributes = json!({ "QueueUrl": queue_url, "AttributeNames": ["QueueArn"] });
    let arn = client.sqs("GetQueueAttributes", &attributes).await?["Attributes"]["QueueArn"].clone();
    let deploy = async |longest: usize| {
        let settings = FunctionSettings {
            memory_mib: Some(256),
            timeout_seconds: Some(10),
            environment: Some(BTreeMap::from([(BOUND.0.to_owned(), longest.to_string())])),
            // The same notes.
            file_systems: vec![(variant.function.to_owned(), "/mnt/notes".to_owned())],
            description: Some("lamplight quickstart: notes from events".to_owned()),
            ..FunctionSettings::default()
        };
        deploy_package(client, FUNCTION, &variant.runtime, HANDLER, package, &settings).await
    };
    deploy(BOUND.1).await?;
    // Without retries, which would come after one and two minutes.
    let options =
        json!({ "MaximumRetryAttempts": 0, "DestinationConfig": { "OnFailure": { "Destination": arn } } });
    let path = format!("/2019-09-25/functions/{FUNCTION}/event-invoke-config");
    client.json(Method::PUT, &path, Some(&options)).await?;
    let stamp = super::now().iso_format();
    let texts = [
        format!("imported {stamp}"),
        format!("imported, too {stamp}"),
        format!("imported {stamp} and far too long for a function that takes sixty characters"),
    ];
    let mut ids = Vec::new();
    for text in &texts {
        let payload = Bytes::from(json!({ "text": text }).to_string());
        let invoked = client.invoke(FUNCTION, None, "Event", false, None, payload).await?;
        ids.push(invoked.request_id.unwrap_or_default());
    }
    let mut right = true;
    for (number, (id, wanted)) in ids.iter().zip(["done", "done", "dead-lettered"]).enumerate() {
        let event = until(client, id, wanted).await?;
        right &= event["State"] == wanted;
        say(&format!("  event {}: {}", number + 1, told(&event)));
    }
    say(&format!("    its letter is in the queue {QUEUE}; the function is mended, and"));
    deploy(BOUND.2).await?;
    say(&format!("    lamplight events redrive --queue {QUEUE}"));
    let redrive = json!({ "Queue": QUEUE });
    client.json(Method::POST, "/lamplight/v1/events/redrive", Some(&redrive)).await?;
    let (last_id, last_text) = (&ids[ids.len() - 1], &texts[texts.len() - 1]);
    let event = until(client, last_id, "done").await?;
    let notes = client.fetch(notes_url, Method::GET, example::PATH, Bytes::new()).await?;
    let kept = String::from_utf8_lossy(&notes.body).into_owned();
    right &= event["State"] == "done" && texts.iter().all(|text| kept.contains(text));
    let remark = if kept.contains(last_text) { "its note is there" } else { "WRONG: its note is not there" };
    say(&format!("  event {}: {}, {remark}", ids.len(), told(&event)));
    Ok(json!({ "Function": FUNCTION, "Call": "import", "Right": right, "RequestIds": ids, "Queue": QUEUE }))
}

/// The event once it is in this state, or as it is when that takes too long.
async fn until(client: &Client, id: &str, state: &str) -> Result<Value, Failure> {
    let path = format!("/lamplight/v1/events/{id}");
    let mut event = client.json(Method::GET, &path, None).await?;
    for _ in 0..LOOKS.0 {
        if event["State"] == state {
            break;
        }
        tokio::time::sleep(LOOKS.1).await;
        event = client.json(Method::GET, &path, None).await?;
    }
    Ok(event)
}

fn told(event: &Value) -> String {
    let state = event["State"].as_str().unwrap_or_default();
    let error: Value = serde_json::from_str(event["Error"].as_str().unwrap_or_default()).unwrap_or_default();
    match error.get("errorMessage").and_then(Value::as_str).filter(|_| state != "done") {
        Some(message) => format!("{state}: {message}"),
        None => state.to_owned(),
    }
}
