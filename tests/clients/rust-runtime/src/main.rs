//! Answers what it was given and what its context says; fails or exits when the event asks for it.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (payload, context) = event.into_parts();
    match payload["do"].as_str() {
        Some("fail") => Err("the handler was asked to fail".into()),
        Some("exit") => std::process::exit(7),
        _ => Ok(json!({
            "client": "lambda_runtime",
            "event": payload,
            "request_id": context.request_id,
            "arn": context.invoked_function_arn,
            "deadline_ms": context.deadline,
            "function": context.env_config.function_name,
            "memory_mib": context.env_config.memory,
            "client_context": context.client_context,
        })),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(handler)).await
}
