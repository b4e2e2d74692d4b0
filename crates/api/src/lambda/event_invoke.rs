//! Options of asynchronous invocation: the five operations on FunctionEventInvokeConfig.
//!
//! What is stored here the queue's worker reads at every attempt (`lamplight_invoke::asynchronous::options`).

use crate::http::{ApiError, Context, Members, Response, reply};
use crate::lambda::functions::page_rows_up_to;
use crate::lambda::owned;
use crate::lambda::patterns as pattern;
use crate::lambda::reference::Target;
use crate::lambda::validation::Violations;
use crate::state::ApiState;
use bytes::Bytes;
use http::StatusCode;
use lamplight_invoke::asynchronous::options::KIND;
use lamplight_invoke::{EventInvokeOptions, FunctionDestination};
use lamplight_model::Qualifier;
use lamplight_model::name::function_arn;
use lamplight_services::queues::{QueueAddress, QueueError};
use serde_json::{Map, Value, json};

/// Greatest `MaxItems`.
const MOST_ITEMS: i64 = 50;

/// What a request gave; `None` was not given.
struct Given {
    retries: Option<i64>,
    age_seconds: Option<i64>,
    destinations: Option<Destinations>,
}

/// An empty destination is none.
struct Destinations {
    on_success: Option<String>,
    on_failure: Option<String>,
}

/// PutFunctionEventInvokeConfig: what is not given is taken away.
pub async fn put(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let (target, given) = read(context, label, body)?;
    check(state, context, &target, &given).await?;
    let _write = state.configuration_writes.lock().await;
    store(state, &target, EventInvokeOptions::default(), given).await
}

/// UpdateFunctionEventInvokeConfig: what is not given stays.
pub async fn update(
    state: &ApiState,
    context: &Context,
    label: &str,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let (target, given) = read(context, label, body)?;
    check(state, context, &target, &given).await?;
    let _write = state.configuration_writes.lock().await;
    let stored = owned::get(state, KIND, &target).await?.ok_or_else(|| absent(&target))?;
    store(state, &target, stored, given).await
}

/// GetFunctionEventInvokeConfig.
pub async fn get(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let target = Target::from_path(context, label)?;
    let stored = owned::get(state, KIND, &target).await?.ok_or_else(|| absent(&target))?;
    Ok(reply::json(StatusCode::OK, &shown(&target, target.qualifier.as_ref(), &stored)))
}

/// DeleteFunctionEventInvokeConfig.
pub async fn delete(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let target = Target::from_path(context, label)?;
    let _write = state.configuration_writes.lock().await;
    if owned::delete(state, KIND, &target).await? {
        Ok(reply::empty(StatusCode::NO_CONTENT))
    } else {
        Err(absent(&target))
    }
}

/// ListFunctionEventInvokeConfigs.
pub async fn list(state: &ApiState, context: &Context, label: &str) -> Result<Response, ApiError> {
    let target = Target::from_path(context, label)?;
    let mut violations = Violations::default();
    let limit = page_rows_up_to(context, &mut violations, MOST_ITEMS);
    violations.finish()?;
    let function = Target { qualifier: None, ..target };
    if owned::find(state, &function).await?.is_none() {
        return Err(no_function());
    }
    let (rows, next) = owned::page(state, context, KIND, &function, limit).await?;
    let rows: Vec<Value> =
        rows.iter().map(|(qualifier, options)| shown(&function, Some(qualifier), options)).collect();
    let mut answer = json!({ "FunctionEventInvokeConfigs": rows });
    if let Some(next) = next {
        answer["NextMarker"] = next.into();
    }
    Ok(reply::json(StatusCode::OK, &answer))
}

fn read(context: &Context, label: &str, body: &Bytes) -> Result<(Target, Given), ApiError> {
    let target = Target::from_path(context, label)?;
    let members = Members::parse(body)?;
    let mut violations = Violations::default();
    let (retries, age_seconds) =
        (members.integer("MaximumRetryAttempts")?, members.integer("MaximumEventAgeInSeconds")?);
    if let Some(retries) = retries {
        violations.range(retries, "maximumRetryAttempts", 0, 2);
    }
    if let Some(age_seconds) = age_seconds {
        violations.range(age_seconds, "maximumEventAgeInSeconds", 60, 21_600);
    }
    let destinations = match members.object("DestinationConfig")? {
        Some(block) => Some(Destinations {
            on_success: read_destination(&block, "OnSuccess", "onSuccess", &mut violations)?,
            on_failure: read_destination(&block, "OnFailure", "onFailure", &mut violations)?,
        }),
        None => None,
    };
    violations.finish()?;
    if retries.is_none() && age_seconds.is_none() && destinations.is_none() {
        return Err(ApiError::invalid_parameter(
            "You must specify at least one of error handling or destination setting.",
        ));
    }
    Ok((target, Given { retries, age_seconds, destinations }))
}

fn read_destination(
    block: &Members<'_>,
    member: &str,
    path: &str,
    violations: &mut Violations,
) -> Result<Option<String>, ApiError> {
    let Some(block) = block.object(member)? else { return Ok(None) };
    let destination = block.string("Destination")?.unwrap_or_default();
    let path = format!("destinationConfig.{path}.destination");
    violations.length(&destination, &path, 350);
    violations.fits(&destination, &path, &pattern::DESTINATION);
    Ok(Some(destination).filter(|destination| !destination.is_empty()))
}

/// Checks what the service checks after the shapes: that the function exists, and where its records would go.
async fn check(state: &ApiState, context: &Context, target: &Target, given: &Given) -> Result<(), ApiError> {
    if owned::find(state, target).await?.is_none() {
        return Err(no_function());
    }
    let Some(destinations) = &given.destinations else { return Ok(()) };
    let given = [(&destinations.on_success, true), (&destinations.on_failure, false)];
    for (arn, is_success) in
        given.into_iter().filter_map(|(arn, is_success)| Some((arn.as_ref()?, is_success)))
    {
        match kind_of(arn, is_success) {
            Kind::Function(function) => check_function(state, context, target, arn, function).await?,
            Kind::Queue(queue) => {
                let absent = match state.queues.describe(&queue).await {
                    Ok(_) => queue.scope != context.scope,
                    Err(QueueError::QueueDoesNotExist) => true,
                    Err(error) => return Err(error.into()),
                };
                if absent {
                    return Err(ApiError::invalid_parameter(format!(
                        "The destination ARN {arn} is invalid."
                    )));
                }
            }
            Kind::Unserved(what) => {
                return Err(ApiError::invalid_parameter(format!(
                    "The destination {arn} is {what}, which Lamplight does not support as a destination yet. Use a \
                     Lambda function or an SQS queue."
                )));
            }
            Kind::Invalid => return Err(invalid(destinations)),
        }
    }
    Ok(())
}

async fn check_function(
    state: &ApiState,
    context: &Context,
    target: &Target,
    arn: &str,
    function: FunctionDestination,
) -> Result<(), ApiError> {
    if function.scope == target.scope && function.function == target.name {
        return Err(ApiError::invalid_parameter(
            "You can't specify the function as a destination for itself.",
        ));
    }
    let is_here = function.scope.region == context.scope.region;
    let destination =
        Target { scope: function.scope, name: function.function, qualifier: function.qualifier };
    if !is_here || owned::find(state, &destination).await?.is_none() {
        return Err(ApiError::invalid_parameter(format!("The destination ARN {arn} is invalid.")));
    }
    Ok(())
}

/// What an ARN means as a destination.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Function(FunctionDestination),
    Queue(QueueAddress),
    /// AWS delivers to it, Lamplight does not yet.
    Unserved(&'static str),
    Invalid,
}

/// `arn` fits `DESTINATION`.
fn kind_of(arn: &str, is_success: bool) -> Kind {
    match arn.split(':').nth(2) {
        Some("lambda") => FunctionDestination::parse(arn).map_or(Kind::Invalid, Kind::Function),
        // Standard queues only. Source: Lambda developer guide.
        Some("sqs") => QueueAddress::from_arn(arn)
            .filter(|queue| !queue.name.ends_with(".fifo"))
            .map_or(Kind::Invalid, Kind::Queue),
        Some("sns") => Kind::Unserved("an SNS topic"),
        Some("events") => Kind::Unserved("an event bus"),
        // Buckets get records of failures only. Source: Lambda developer guide.
        Some("s3") if !is_success => Kind::Unserved("an S3 bucket"),
        _ => Kind::Invalid,
    }
}

fn invalid(destinations: &Destinations) -> ApiError {
    let part = |name: &str, arn: &Option<String>| match arn {
        Some(arn) => format!("{name}(destination={arn})"),
        None => "null".to_owned(),
    };
    ApiError::invalid_parameter(format!(
        "The provided destination config DestinationConfig(onSuccess={}, onFailure={}) is invalid.",
        part("OnSuccess", &destinations.on_success),
        part("OnFailure", &destinations.on_failure)
    ))
}

async fn store(
    state: &ApiState,
    target: &Target,
    mut options: EventInvokeOptions,
    given: Given,
) -> Result<Response, ApiError> {
    let number = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
    options.maximum_retry_attempts = number(given.retries).or(options.maximum_retry_attempts);
    options.maximum_event_age_seconds = number(given.age_seconds).or(options.maximum_event_age_seconds);
    if let Some(destinations) = given.destinations {
        options.on_success = destinations.on_success;
        options.on_failure = destinations.on_failure;
    }
    options.last_modified = state.now();
    owned::put(state, KIND, target, &options).await?;
    Ok(reply::json(StatusCode::OK, &shown(target, target.qualifier.as_ref(), &options)))
}

fn shown(target: &Target, qualifier: Option<&Qualifier>, options: &EventInvokeOptions) -> Value {
    let destination = |arn: &Option<String>| match arn {
        Some(arn) => json!({ "Destination": arn }),
        None => json!({}),
    };
    let qualifier = qualifier.unwrap_or(&Qualifier::Latest);
    let mut shown = Map::new();
    let mut set = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    set("LastModified", (options.last_modified.as_millis() as f64 / 1_000.0).into());
    set("FunctionArn", function_arn(&target.scope, &target.name, Some(qualifier)).into());
    if let Some(retries) = options.maximum_retry_attempts {
        set("MaximumRetryAttempts", retries.into());
    }
    if let Some(age_seconds) = options.maximum_event_age_seconds {
        set("MaximumEventAgeInSeconds", age_seconds.into());
    }
    set(
        "DestinationConfig",
        json!({"OnSuccess": destination(&options.on_success), "OnFailure": destination(&options.on_failure)}),
    );
    Value::Object(shown)
}

fn no_function() -> ApiError {
    ApiError::not_found("The function doesn't exist.")
}

fn absent(target: &Target) -> ApiError {
    let qualifier = target.qualifier.as_ref().unwrap_or(&Qualifier::Latest);
    ApiError::not_found(format!(
        "The function {} doesn't have an EventInvokeConfig",
        function_arn(&target.scope, &target.name, Some(qualifier))
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_destinations() {
        let check = |arn: &str, is_success: bool, expected: &str| {
            let kind = match kind_of(arn, is_success) {
                Kind::Function(function) => function.function.to_string(),
                Kind::Queue(queue) => format!("queue {}", queue.name),
                Kind::Unserved(what) => what.to_owned(),
                Kind::Invalid => "invalid".to_owned(),
            };
            assert_eq!(kind, expected, "{arn}");
        };
        check("arn:aws:lambda:us-east-1:000000000000:function:sink:7", true, "sink");
        check("arn:aws:lambda:us-east-1:000000000000:layer:sink:7", true, "invalid");
        check("arn:aws:sqs:us-east-1:000000000000:q", true, "queue q");
        check("arn:aws:sqs:us-east-1:000000000000:q.fifo", true, "invalid");
        check("arn:aws:sns:us-east-1:000000000000:t", false, "an SNS topic");
        check("arn:aws:events:us-east-1:000000000000:event-bus/b", false, "an event bus");
        check("arn:aws:s3:::bucket", false, "an S3 bucket");
        check("arn:aws:s3:::bucket", true, "invalid");
        check("arn:aws:dynamodb:us-east-1:000000000000:table/t", false, "invalid");
        check("kafka://topic", false, "invalid");
    }
}
