//! Answers what it was given and what its context says; streams, fails or exits when the event asks for it.

use lambda_runtime::streaming::{Body, Response, channel};
use lambda_runtime::{Error, FunctionResponse, LambdaEvent, service_fn};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

async fn handler(event: LambdaEvent<Value>) -> Result<FunctionResponse<Value, Body>, Error> {
    let (payload, context) = event.into_parts();
    match payload["do"].as_str() {
        Some("fail") => Err("the handler was asked to fail".into()),
        Some("exit") => std::process::exit(7),
        Some("stream") => Ok(FunctionResponse::StreamingResponse(stream(payload))),
        _ => Ok(FunctionResponse::BufferedResponse(json!({
            "client": "lambda_runtime",
            "event": payload,
            "request_id": context.request_id,
            "arn": context.invoked_function_arn,
            "deadline_ms": context.deadline,
            "function": context.env_config.function_name,
            "memory_mib": context.env_config.memory,
            "client_context": context.client_context,
        }))),
    }
}

/// Two pieces; between them it waits until there is a file `gate`.
fn stream(payload: Value) -> Response<Body> {
    let (mut sender, body) = channel();
    tokio::spawn(async move {
        let _ = sender.send_data("one ".into()).await;
        let gate = payload["gate"].as_str().unwrap_or("/").to_owned();
        while !Path::new(&gate).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let _ = sender.send_data("two".into()).await;
    });
    Response::from(body)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(handler)).await
}
