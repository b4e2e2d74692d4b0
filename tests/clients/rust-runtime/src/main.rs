//! Answers what it was given and what its context says; streams, fails, exits or waits for other events when the event asks
//! for it. Takes several events at once where it is told that it may.

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
        Some("meet") => Ok(FunctionResponse::BufferedResponse(meet(payload, context.request_id).await?)),
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

/// Waits until so many events are here at the same time, as files tell; gives the process they are in.
async fn meet(payload: Value, request_id: String) -> Result<Value, Error> {
    std::fs::create_dir_all("/tmp/meet")?;
    std::fs::write(format!("/tmp/meet/{request_id}"), "")?;
    while std::fs::read_dir("/tmp/meet")?.count() < usize::try_from(payload["meet"].as_u64().unwrap_or(1))? {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(json!({ "event": payload, "request_id": request_id, "process": std::process::id(), "log_stream": std::env::var("AWS_LAMBDA_LOG_STREAM_NAME")? }))
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
    lambda_runtime::run_concurrent(service_fn(handler)).await
}
