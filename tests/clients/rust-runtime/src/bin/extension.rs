//! An external extension written with the stock lambda-extension crate: prints what it is told of events and telemetry.

use lambda_extension::{
    Error, Extension, LambdaEvent, LambdaLog, LambdaTelemetry, NextEvent, SharedService, service_fn,
};

async fn events(event: LambdaEvent) -> Result<(), Error> {
    match event.next {
        NextEvent::Invoke(invoke) => println!("told of {} of {}", invoke.request_id, invoke.invoked_function_arn),
        NextEvent::Shutdown(shutdown) => println!("told of the end: {}", shutdown.shutdown_reason),
    }
    Ok(())
}

async fn telemetry(batch: Vec<LambdaTelemetry>) -> Result<(), Error> {
    for event in batch {
        println!("telemetry {:?}", event.record);
    }
    Ok(())
}

async fn logs(batch: Vec<LambdaLog>) -> Result<(), Error> {
    for event in batch {
        println!("log {:?}", event.record);
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let extension = Extension::new().with_events_processor(service_fn(events));
    // Either API: an extension may not have both.
    if std::env::var_os("LOGS").is_some() {
        let logs = extension.with_log_types(&["platform", "function"]).with_logs_processor(SharedService::new(service_fn(logs)));
        return logs.run().await;
    }
    let types = &["platform", "function"];
    extension.with_telemetry_types(types).with_telemetry_processor(SharedService::new(service_fn(telemetry))).run().await
}
