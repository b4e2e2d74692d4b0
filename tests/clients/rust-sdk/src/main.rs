//! The stock SDK for Rust against one server: the life of a function, a stream, and the errors as the SDK types them.
//!
//! Called by `test_sdks.py` as `rust-sdk ENDPOINT FUNCTION ZIP SECOND_ZIP STREAMING_FUNCTION`; what it saw is one JSON
//! document on standard output.

use aws_sdk_lambda::Client;
use aws_sdk_lambda::client::Waiters as _;
use aws_sdk_lambda::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_lambda::error::{DisplayErrorContext, ProvideErrorMetadata as _};
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{FunctionCode, InvokeWithResponseStreamResponseEvent, Runtime};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

/// How long a function may take to become usable.
const SETTLE: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, name, zip, second_zip, streaming] = arguments.as_slice() else {
        return Err("five arguments are needed".into());
    };
    let configuration = aws_sdk_lambda::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(endpoint)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .build();
    let client = Client::from_conf(configuration);
    match life(&client, name, zip, second_zip, streaming).await {
        Ok(seen) => println!("{seen}"),
        Err(error) => return Err(DisplayErrorContext(&*error).to_string().into()),
    }
    Ok(())
}

async fn life(
    client: &Client,
    name: &str,
    zip: &str,
    second_zip: &str,
    streaming: &str,
) -> Result<Value, Box<dyn Error>> {
    let created = client
        .create_function()
        .function_name(name)
        .runtime(Runtime::Python311)
        .handler("app.handler")
        .role("arn:aws:iam::000000000000:role/any")
        .code(FunctionCode::builder().zip_file(Blob::new(std::fs::read(zip)?)).build())
        .tags("made-by", "rust")
        .send()
        .await?;
    let arn = created.function_arn().unwrap_or_default().to_owned();
    client.wait_until_function_active_v2().function_name(name).wait(SETTLE).await?;
    let first = invoke(client, name, r#"{"do": "answer"}"#).await?;
    let failed = invoke(client, name, r#"{"do": "fail"}"#).await?;
    client
        .update_function_code()
        .function_name(name)
        .zip_file(Blob::new(std::fs::read(second_zip)?))
        .publish(true)
        .send()
        .await?;
    client.wait_until_function_updated_v2().function_name(name).wait(SETTLE).await?;
    let second = invoke(client, name, "{}").await?;
    client.create_alias().function_name(name).name("live").function_version("1").send().await?;
    let aliased = invoke(client, &format!("{arn}:live"), "{}").await?;
    let tags: HashMap<String, String> =
        client.list_tags().resource(&arn).send().await?.tags().cloned().unwrap_or_default();
    let names: Vec<String> = client
        .list_functions()
        .into_paginator()
        .items()
        .send()
        .collect::<Result<Vec<_>, _>>()
        .await?
        .into_iter()
        .filter_map(|function| function.function_name)
        .collect();
    let streamed = stream(client, streaming).await?;
    let missing = client.get_function().function_name("never-made").send().await;
    let conflict = client.create_alias().function_name(name).name("live").function_version("1").send().await;
    let invalid = client.update_function_configuration().function_name(name).memory_size(1).send().await;
    let errors = json!({
        "missing": missing.as_ref().err().and_then(|error| error.code()),
        "missing_is_typed": missing.as_ref().err().is_some_and(|error| {
            error.as_service_error().is_some_and(|error| error.is_resource_not_found_exception())
        }),
        "conflict_is_typed": conflict.as_ref().err().is_some_and(|error| {
            error.as_service_error().is_some_and(|error| error.is_resource_conflict_exception())
        }),
        "invalid": invalid.as_ref().err().and_then(|error| error.code()),
    });
    client.delete_function().function_name(name).send().await?;
    Ok(json!({
        "state": created.state().map(|state| state.as_str()),
        "arn": arn, "first": first, "failed": failed, "second": second, "aliased": aliased,
        "tags": tags, "listed": names.iter().any(|listed| listed == name), "streamed": streamed, "errors": errors,
    }))
}

/// The answer of one call and what its headers say.
async fn invoke(client: &Client, name: &str, payload: &str) -> Result<Value, Box<dyn Error>> {
    let answer = client.invoke().function_name(name).payload(Blob::new(payload)).send().await?;
    let body = answer.payload().map(|blob| blob.as_ref().to_vec()).unwrap_or_default();
    Ok(json!({
        "status": answer.status_code(), "error": answer.function_error(), "version": answer.executed_version(),
        "payload": serde_json::from_slice::<Value>(&body)?,
    }))
}

/// The pieces of a streamed answer put together, and whether its end was told.
async fn stream(client: &Client, name: &str) -> Result<Value, Box<dyn Error>> {
    let mut answer = client.invoke_with_response_stream().function_name(name).payload(Blob::new("{}")).send().await?;
    let (mut text, mut complete) = (String::new(), false);
    while let Some(event) = answer.event_stream.recv().await? {
        match event {
            InvokeWithResponseStreamResponseEvent::PayloadChunk(chunk) => {
                text.push_str(&String::from_utf8_lossy(chunk.payload().map_or(&[], |blob| blob.as_ref())));
            }
            InvokeWithResponseStreamResponseEvent::InvokeComplete(_) => complete = true,
            _ => {}
        }
    }
    Ok(json!({ "text": text, "complete": complete }))
}
