//! Event source mappings: Create-, Get-, List-, Update- and DeleteEventSourceMapping.
//!
//! No source is served yet: a mapping that is right in every way is refused by the name of its source, and so none is
//! ever stored. The shapes are checked first, then the rules of the kind of source, as AWS does.

use crate::http::request::decode_segment;
use crate::http::{ApiError, Context, Members, Response, reply};
use crate::lambda::functions::page_rows;
use crate::lambda::owned;
use crate::lambda::patterns as pattern;
use crate::lambda::reference::Target;
use crate::lambda::tags;
use crate::lambda::validation::{self as shape, Violations};
use crate::state::ApiState;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

/// Most filters of one mapping. Source: Lambda developer guide, "Event filtering".
const FILTERS: usize = 5;
/// Largest batch of a queue without a window.
const BATCH_WITHOUT_WINDOW: i64 = 10;
/// Largest batch of a FIFO queue.
const FIFO_BATCH: i64 = 10;

/// Kinds of sources that AWS polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Queue { fifo: bool },
    Kinesis,
    DynamoDb,
    Kafka,
    SelfManagedKafka,
    MessageBroker,
    DocumentDb,
}

impl Source {
    /// From the ARN, or from the block of a self-managed one. `None` for what AWS does not poll.
    fn of(arn: Option<&str>, self_managed: bool) -> Option<Self> {
        let Some(arn) = arn else { return self_managed.then_some(Self::SelfManagedKafka) };
        match arn.split(':').nth(2)? {
            "sqs" => Some(Self::Queue { fifo: arn.ends_with(".fifo") }),
            "kinesis" => Some(Self::Kinesis),
            "dynamodb" if arn.contains("/stream/") => Some(Self::DynamoDb),
            "kafka" => Some(Self::Kafka),
            "mq" => Some(Self::MessageBroker),
            "rds" => Some(Self::DocumentDb),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Queue { .. } => "Amazon SQS queues",
            Self::Kinesis => "Amazon Kinesis streams",
            Self::DynamoDb => "Amazon DynamoDB streams",
            Self::Kafka => "Amazon MSK clusters",
            Self::SelfManagedKafka => "self-managed Apache Kafka clusters",
            Self::MessageBroker => "Amazon MQ brokers",
            Self::DocumentDb => "Amazon DocumentDB clusters",
        }
    }

    /// Whether a place to start reading from must be given.
    fn is_stream(self) -> bool {
        matches!(
            self,
            Self::Kinesis | Self::DynamoDb | Self::Kafka | Self::SelfManagedKafka | Self::DocumentDb
        )
    }
}

/// CreateEventSourceMapping.
pub async fn create(state: &ApiState, context: &Context, body: &Bytes) -> Result<Response, ApiError> {
    let members = Members::parse(body)?;
    let mut violations = Violations::default();
    let (function, arn) = (members.string("FunctionName")?, members.string("EventSourceArn")?);
    if function.is_none() {
        violations.missing("functionName");
    }
    if let Some(arn) = &arn {
        violations.fits(arn, "eventSourceArn", &pattern::SOURCE_ARN);
    }
    note_violations(&members, &mut violations)?;
    let tags = members.string_map("Tags")?.unwrap_or_default();
    tags::note_violations(&tags, &mut violations);
    violations.finish()?;
    let Some(source) = Source::of(arn.as_deref(), members.has("SelfManagedEventSource")) else {
        return Err(ApiError::invalid_parameter("Unrecognized event source."));
    };
    check_source(source, &members)?;
    check_filters(&members)?;
    tags::check_keys(&tags)?;
    let target = Target::parse(context, &function.unwrap_or_default(), None)?;
    if owned::find(state, &target).await?.is_none() {
        return Err(ApiError::invalid_parameter("Function does not exist"));
    }
    Err(ApiError::invalid_parameter(format!(
        "Lamplight does not support {} as event sources yet.",
        source.name()
    )))
}

/// GetEventSourceMapping, DeleteEventSourceMapping.
pub fn absent(label: &str) -> Result<Response, ApiError> {
    check_id(label, Violations::default())?;
    Err(owned::absent())
}

/// UpdateEventSourceMapping.
pub fn update(label: &str, body: &Bytes) -> Result<Response, ApiError> {
    let members = Members::parse(body)?;
    let mut violations = Violations::default();
    note_violations(&members, &mut violations)?;
    check_id(label, violations)?;
    Err(owned::absent())
}

/// ListEventSourceMappings.
pub async fn list(state: &ApiState, context: &Context) -> Result<Response, ApiError> {
    let mut violations = Violations::default();
    page_rows(context, &mut violations);
    if let Some(arn) = context.parameter("EventSourceArn") {
        violations.fits(arn, "eventSourceArn", &pattern::SOURCE_ARN);
    }
    violations.finish()?;
    if let Some(function) = context.parameter("FunctionName") {
        owned::existing(state, &Target::parse(context, function, None)?).await?;
    }
    Ok(reply::json(StatusCode::OK, &json!({ "EventSourceMappings": [] })))
}

fn check_id(label: &str, mut violations: Violations) -> Result<(), ApiError> {
    let id = decode_segment(label).unwrap_or_else(|| label.to_owned());
    violations.length(&id, "uUID", 36);
    if id.chars().count() < 36 {
        violations.add(&id, "uUID", "Member must have length greater than or equal to 36");
    }
    violations.finish()
}

/// What breaks the shapes of the model, in the members that create and update have in common.
fn note_violations(members: &Members<'_>, violations: &mut Violations) -> Result<(), ApiError> {
    for (member, path, least, most) in [
        ("BatchSize", "batchSize", 1, 10_000),
        ("MaximumBatchingWindowInSeconds", "maximumBatchingWindowInSeconds", 0, 300),
        ("ParallelizationFactor", "parallelizationFactor", 1, 10),
        ("MaximumRecordAgeInSeconds", "maximumRecordAgeInSeconds", -1, 604_800),
        ("MaximumRetryAttempts", "maximumRetryAttempts", -1, 10_000),
        ("TumblingWindowInSeconds", "tumblingWindowInSeconds", 0, 900),
    ] {
        if let Some(value) = members.integer(member)? {
            violations.range(value, path, least, most);
        }
    }
    members.boolean("Enabled")?;
    members.boolean("BisectBatchOnFunctionError")?;
    if let Some(position) = members.string("StartingPosition")? {
        violations.one_of(&position, "startingPosition", &["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"]);
    }
    if let Some(arn) = members.string("KMSKeyArn")? {
        violations.pattern(&arn, "kMSKeyArn", shape::is_arn_or_empty(&arn), shape::ARN_PATTERN);
    }
    note_lists(members, violations)?;
    note_blocks(members, violations)?;
    note_destinations(members, violations)
}

fn note_lists(members: &Members<'_>, violations: &mut Violations) -> Result<(), ApiError> {
    if let Some(topics) = members.strings("Topics")? {
        violations.list_length(&topics, "topics", 1, 1);
        for topic in &topics {
            violations.length(topic, "topics", 249);
            violations.fits(topic, "topics", &pattern::TOPIC);
        }
    }
    if let Some(queues) = members.strings("Queues")? {
        violations.list_length(&queues, "queues", 1, 1);
    }
    if let Some(kinds) = members.strings("FunctionResponseTypes")? {
        violations.list_length(&kinds, "functionResponseTypes", 0, 1);
        for kind in &kinds {
            violations.one_of(kind, "functionResponseTypes", &["ReportBatchItemFailures"]);
        }
    }
    let accesses = members.objects("SourceAccessConfigurations")?.unwrap_or_default();
    violations.list_length(&accesses, "sourceAccessConfigurations", 0, 23);
    for (index, access) in accesses.iter().enumerate() {
        if let Some(uri) = access.string("URI")? {
            let path = format!("sourceAccessConfigurations.{}.member.uRI", index + 1);
            violations.length(&uri, &path, 200);
            violations.fits(&uri, &path, &pattern::SOURCE_ACCESS_URI);
        }
    }
    Ok(())
}

fn note_blocks(members: &Members<'_>, violations: &mut Violations) -> Result<(), ApiError> {
    for (index, filter) in filters(members)?.iter().enumerate() {
        if let Some(text) = filter.string("Pattern")? {
            let path = format!("filterCriteria.filters.{}.member.pattern", index + 1);
            violations.length(&text, &path, 4_096);
        }
    }
    if let Some(scaling) = members.object("ScalingConfig")?
        && let Some(concurrency) = scaling.integer("MaximumConcurrency")?
    {
        violations.range(concurrency, "scalingConfig.maximumConcurrency", 2, 1_000);
    }
    if let Some(pollers) = members.object("ProvisionedPollerConfig")? {
        for (member, path, most) in [
            ("MinimumPollers", "provisionedPollerConfig.minimumPollers", 200),
            ("MaximumPollers", "provisionedPollerConfig.maximumPollers", 10_000),
        ] {
            if let Some(count) = pollers.integer(member)? {
                violations.range(count, path, 1, most);
            }
        }
        if let Some(group) = pollers.string("PollerGroupName")? {
            violations.length(&group, "provisionedPollerConfig.pollerGroupName", 128);
            violations.fits(&group, "provisionedPollerConfig.pollerGroupName", &pattern::POLLER_GROUP);
        }
    }
    if let Some(metrics) =
        members.object("MetricsConfig")?.map(|block| block.strings("Metrics")).transpose()?
    {
        let metrics = metrics.unwrap_or_default();
        violations.list_length(&metrics, "metricsConfig.metrics", 0, 3);
        for metric in &metrics {
            violations.one_of(metric, "metricsConfig.metrics", &["EventCount", "ErrorCount", "KafkaMetrics"]);
        }
    }
    if let Some(kafka) = members.object("SelfManagedEventSource")?
        && let Some(endpoints) = kafka.object("Endpoints")?
    {
        for endpoint in endpoints.strings("KAFKA_BOOTSTRAP_SERVERS")?.unwrap_or_default() {
            violations.length(&endpoint, "selfManagedEventSource.endpoints", 300);
            violations.fits(&endpoint, "selfManagedEventSource.endpoints", &pattern::ENDPOINT);
        }
    }
    Ok(())
}

fn note_destinations(members: &Members<'_>, violations: &mut Violations) -> Result<(), ApiError> {
    let Some(block) = members.object("DestinationConfig")? else { return Ok(()) };
    for (member, path) in [("OnSuccess", "onSuccess"), ("OnFailure", "onFailure")] {
        if let Some(destination) =
            block.object(member)?.map(|block| block.string("Destination")).transpose()?
        {
            let destination = destination.unwrap_or_default();
            let path = format!("destinationConfig.{path}.destination");
            violations.length(&destination, &path, 350);
            violations.fits(&destination, &path, &pattern::DESTINATION);
        }
    }
    Ok(())
}

/// The rules of one kind of source. Source: API reference, "CreateEventSourceMapping"; the texts of the first and the
/// batch window are AWS's, the others are not published.
fn check_source(source: Source, members: &Members<'_>) -> Result<(), ApiError> {
    let position = members.string("StartingPosition")?;
    if source.is_stream() && position.is_none() {
        return Err(ApiError::invalid_parameter(
            "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must \
             not be null.",
        ));
    }
    if let Source::Queue { fifo } = source {
        check_queue(fifo, members, position.is_some())?;
    }
    let refused = |what: &str| {
        Err(ApiError::invalid_parameter(format!("{what} is not supported for {}.", source.name())))
    };
    match position.as_deref() {
        Some("AT_TIMESTAMP") if source == Source::DynamoDb => return refused("AT_TIMESTAMP"),
        Some("AT_TIMESTAMP") if !members.has("StartingPositionTimestamp") => {
            return Err(ApiError::invalid_parameter(
                "StartingPositionTimestamp is required when StartingPosition is AT_TIMESTAMP.",
            ));
        }
        _ => {}
    }
    let is_kafka = matches!(source, Source::Kafka | Source::SelfManagedKafka);
    for (member, is_allowed) in [
        ("ParallelizationFactor", matches!(source, Source::Kinesis | Source::DynamoDb)),
        ("TumblingWindowInSeconds", matches!(source, Source::Kinesis | Source::DynamoDb)),
        ("ScalingConfig", matches!(source, Source::Queue { .. })),
        ("Topics", is_kafka),
        ("Queues", source == Source::MessageBroker),
        ("AmazonManagedKafkaEventSourceConfig", source == Source::Kafka),
        ("SelfManagedKafkaEventSourceConfig", source == Source::SelfManagedKafka),
        ("DocumentDBEventSourceConfig", source == Source::DocumentDb),
    ] {
        if members.has(member) && !is_allowed {
            return refused(member);
        }
    }
    Ok(())
}

fn check_queue(fifo: bool, members: &Members<'_>, has_position: bool) -> Result<(), ApiError> {
    let batch = members.integer("BatchSize")?.unwrap_or(BATCH_WITHOUT_WINDOW);
    let window = members.integer("MaximumBatchingWindowInSeconds")?.unwrap_or(0);
    let refused = |text: &str| Err(ApiError::invalid_parameter(text));
    if has_position {
        return refused("StartingPosition is not valid for Amazon SQS event sources.");
    }
    if fifo && batch > FIFO_BATCH {
        return refused("BatchSize of an event source mapping of a FIFO queue is 10 at most.");
    }
    if fifo && window > 0 {
        return refused("Batching window is not supported for FIFO queues.");
    }
    if batch > BATCH_WITHOUT_WINDOW && window == 0 {
        return refused(
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10",
        );
    }
    Ok(())
}

/// Filters are JSON objects whose leaves are lists of rules.
fn check_filters(members: &Members<'_>) -> Result<(), ApiError> {
    let filters = filters(members)?;
    if filters.len() > FILTERS {
        return Err(ApiError::invalid_parameter(format!(
            "An event source mapping has {FILTERS} filters at most."
        )));
    }
    for filter in &filters {
        let text = filter.string("Pattern")?.unwrap_or_default();
        let pattern: Result<Value, _> = serde_json::from_str(&text);
        if !pattern.is_ok_and(|pattern| pattern.is_object() && is_filter(&pattern)) {
            return Err(ApiError::invalid_parameter("Invalid filter pattern definition."));
        }
    }
    Ok(())
}

fn filters<'a>(members: &Members<'a>) -> Result<Vec<Members<'a>>, ApiError> {
    match members.object("FilterCriteria")? {
        Some(block) => Ok(block.objects("Filters")?.unwrap_or_default()),
        None => Ok(Vec::new()),
    }
}

/// Depth is bounded by the parser that made the value.
fn is_filter(pattern: &Value) -> bool {
    match pattern {
        Value::Object(fields) => !fields.is_empty() && fields.values().all(is_filter),
        Value::Array(rules) => !rules.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:q";

    fn check(arn: &str, request: &str, expected: Result<(), &str>) {
        let members = Members::parse(request.as_bytes()).unwrap();
        let source =
            Source::of(Some(arn).filter(|arn| !arn.is_empty()), members.has("SelfManagedEventSource"));
        let got = check_source(source.unwrap(), &members).and_then(|()| check_filters(&members));
        match (got, expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.message.contains(part), "{request}: {error}"),
            (got, expected) => panic!("{arn} {request}: {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn rules_of_sources() {
        check(QUEUE, "{}", Ok(()));
        check(
            QUEUE,
            r#"{"BatchSize":11}"#,
            Err("must be greater than 0 if maximum batch size is greater than 10"),
        );
        check(QUEUE, r#"{"BatchSize":11,"MaximumBatchingWindowInSeconds":1}"#, Ok(()));
        check(QUEUE, r#"{"StartingPosition":"LATEST"}"#, Err("StartingPosition"));
        check(
            QUEUE,
            r#"{"ParallelizationFactor":2}"#,
            Err("ParallelizationFactor is not supported for Amazon SQS"),
        );
        check(&format!("{QUEUE}.fifo"), r#"{"BatchSize":11}"#, Err("FIFO"));
        let stream = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
        check(stream, "{}", Err("Value null at 'startingPosition'"));
        check(stream, r#"{"StartingPosition":"LATEST","ParallelizationFactor":2}"#, Ok(()));
        check(stream, r#"{"StartingPosition":"AT_TIMESTAMP"}"#, Err("StartingPositionTimestamp is required"));
        let table = "arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/2026";
        check(
            table,
            r#"{"StartingPosition":"AT_TIMESTAMP","StartingPositionTimestamp":1}"#,
            Err("AT_TIMESTAMP"),
        );
        check("", r#"{"SelfManagedEventSource":{},"StartingPosition":"LATEST","Topics":["t"]}"#, Ok(()));
    }

    #[test]
    fn filters_are_objects_of_lists() {
        let with = |pattern: &str| json!({"FilterCriteria": {"Filters": [{"Pattern": pattern}]}}).to_string();
        check(QUEUE, &with(r#"{"body":{"a":["b",{"exists":false}]}}"#), Ok(()));
        for wrong in ["", "x", "[]", r#"{"body":"b"}"#, r#"{"body":[]}"#, "{}"] {
            check(QUEUE, &with(wrong), Err("Invalid filter pattern definition."));
        }
    }

    #[test]
    fn what_is_no_source() {
        for arn in ["arn:aws:sns:us-east-1:000000000000:t", "arn:aws:dynamodb:us-east-1:000000000000:table/t"]
        {
            assert_eq!(Source::of(Some(arn), false), None);
        }
        assert_eq!(Source::of(None, false), None);
    }
}
