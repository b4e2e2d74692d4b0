//! What requests about event source mappings may hold: the shapes of the model first, then the rules of the kind of source,
//! as AWS does.

use crate::http::{ApiError, Members};
use crate::lambda::patterns as pattern;
use crate::lambda::validation::{self as shape, Violations};
use lamplight_model::{EventPattern, EventSourceMapping};

/// Most filters of one mapping. Source: Lambda developer guide, "Event filtering".
const FILTERS: usize = 5;
/// Largest batch of a queue without a window.
const BATCH_WITHOUT_WINDOW: i64 = 10;
/// Largest batch of a FIFO queue.
const FIFO_BATCH: i64 = 10;

/// Kinds of sources that AWS polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
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
    pub fn of(arn: Option<&str>, self_managed: bool) -> Option<Self> {
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

    /// As it is called in refusals.
    pub fn name(self) -> &'static str {
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

    /// Whether records stay where they are when they were read, so that they may be read again.
    fn is_log(self) -> bool {
        matches!(self, Self::Kinesis | Self::DynamoDb | Self::Kafka | Self::SelfManagedKafka)
    }

    /// Whether a place to start reading from must be given.
    fn is_stream(self) -> bool {
        matches!(
            self,
            Self::Kinesis | Self::DynamoDb | Self::Kafka | Self::SelfManagedKafka | Self::DocumentDb
        )
    }
}

/// What breaks the shapes of the model, in the members that create and update have in common.
pub fn note_violations(members: &Members<'_>, violations: &mut Violations) -> Result<(), ApiError> {
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
pub fn check_source(source: Source, members: &Members<'_>) -> Result<(), ApiError> {
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
    match position.as_deref() {
        Some("AT_TIMESTAMP") if source == Source::DynamoDb => {
            return Err(ApiError::invalid_parameter(
                "AT_TIMESTAMP is not supported for Amazon DynamoDB streams.",
            ));
        }
        Some("AT_TIMESTAMP") if !members.has("StartingPositionTimestamp") => {
            return Err(ApiError::invalid_parameter(
                "StartingPositionTimestamp is required when StartingPosition is AT_TIMESTAMP.",
            ));
        }
        _ => {}
    }
    check_members(source, members)
}

/// No member of another kind of source.
fn check_members(source: Source, members: &Members<'_>) -> Result<(), ApiError> {
    let is_kafka = matches!(source, Source::Kafka | Source::SelfManagedKafka);
    for (member, is_allowed) in [
        ("ParallelizationFactor", matches!(source, Source::Kinesis | Source::DynamoDb)),
        ("TumblingWindowInSeconds", matches!(source, Source::Kinesis | Source::DynamoDb)),
        ("BisectBatchOnFunctionError", source.is_log()),
        ("MaximumRecordAgeInSeconds", source.is_log()),
        ("MaximumRetryAttempts", source.is_log()),
        ("DestinationConfig", source.is_log()),
        (
            "SourceAccessConfigurations",
            !matches!(source, Source::Queue { .. } | Source::Kinesis | Source::DynamoDb),
        ),
        ("ScalingConfig", matches!(source, Source::Queue { .. })),
        ("ProvisionedPollerConfig", is_kafka || matches!(source, Source::Queue { .. })),
        ("LoggingConfig", is_kafka),
        ("Topics", is_kafka),
        ("Queues", source == Source::MessageBroker),
        ("AmazonManagedKafkaEventSourceConfig", source == Source::Kafka),
        ("SelfManagedKafkaEventSourceConfig", source == Source::SelfManagedKafka),
        ("DocumentDBEventSourceConfig", source == Source::DocumentDb),
    ] {
        if members.has(member) && !is_allowed {
            return Err(ApiError::invalid_parameter(format!(
                "Unsupported {member} parameter for given event source mapping type."
            )));
        }
    }
    Ok(())
}

fn check_queue(fifo: bool, members: &Members<'_>, has_position: bool) -> Result<(), ApiError> {
    if has_position {
        return Err(ApiError::invalid_parameter("StartingPosition is not valid for SQS event sources."));
    }
    let batch = members.integer("BatchSize")?.unwrap_or(BATCH_WITHOUT_WINDOW);
    let window = members.integer("MaximumBatchingWindowInSeconds")?.unwrap_or(0);
    check_batch(fifo, batch, window)?;
    let pollers = members.object("ProvisionedPollerConfig")?;
    let concurrency = members.object("ScalingConfig")?.map(|block| block.integer("MaximumConcurrency"));
    let concurrency = concurrency.transpose()?.flatten();
    let metrics = members.object("MetricsConfig")?.map(|block| block.strings("Metrics"));
    check_metrics(&metrics.transpose()?.flatten().unwrap_or_default())?;
    match pollers {
        Some(pollers) => {
            if pollers.has("PollerGroupName") {
                return Err(ApiError::invalid_parameter(
                    "Unsupported PollerGroupName parameter for given event source mapping type.",
                ));
            }
            check_pollers(
                pollers.integer("MinimumPollers")?,
                pollers.integer("MaximumPollers")?,
                concurrency.is_some(),
            )
        }
        None => Ok(()),
    }
}

/// Bounds of provisioned pollers of a queue. Source: API reference, `ProvisionedPollerConfig`; the texts are not published.
pub fn check_pollers(
    minimum: Option<i64>,
    maximum: Option<i64>,
    has_concurrency: bool,
) -> Result<(), ApiError> {
    let refused = |text: &str| Err(ApiError::invalid_parameter(text));
    if has_concurrency {
        return refused("ProvisionedPollerConfig and MaximumConcurrency cannot be used together.");
    }
    if minimum.is_some_and(|count| count < 2) || maximum.is_some_and(|count| count < 2) {
        return refused("MinimumPollers and MaximumPollers of an Amazon SQS event source are 2 at least.");
    }
    if minimum.unwrap_or(2) > maximum.unwrap_or(200) {
        return refused("MinimumPollers must not be greater than MaximumPollers.");
    }
    Ok(())
}

/// Whether a mapping of this source may be what a request makes of it. Source: as `check_source`.
pub fn check_change(
    source: Source,
    members: &Members<'_>,
    changed: &EventSourceMapping,
) -> Result<(), ApiError> {
    check_members(source, members)?;
    let Source::Queue { fifo } = source else { return Ok(()) };
    let (batch, window) = (changed.batch_size, changed.maximum_batching_window_in_seconds);
    check_batch(fifo, batch.into(), window.into())?;
    check_metrics(changed.metrics.as_deref().unwrap_or_default())?;
    match &changed.provisioned_pollers {
        Some(pollers) => check_pollers(
            pollers.minimum_pollers.map(i64::from),
            pollers.maximum_pollers.map(i64::from),
            changed.maximum_concurrency.is_some(),
        ),
        None => Ok(()),
    }
}

/// The texts are not published.
fn check_metrics(metrics: &[String]) -> Result<(), ApiError> {
    if metrics.iter().any(|metric| metric != "EventCount") {
        return Err(ApiError::invalid_parameter(
            "Amazon SQS event sources have the metrics EventCount only.",
        ));
    }
    Ok(())
}

/// Size and window (seconds) of the batches of a queue.
pub fn check_batch(fifo: bool, batch: i64, window: i64) -> Result<(), ApiError> {
    let refused = |text: &str| Err(ApiError::invalid_parameter(text));
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
pub fn check_filters(members: &Members<'_>) -> Result<(), ApiError> {
    let filters = filters(members)?;
    if filters.len() > FILTERS {
        return Err(ApiError::invalid_parameter(format!(
            "An event source mapping has {FILTERS} filters at most."
        )));
    }
    for filter in &filters {
        let text = filter.string("Pattern")?.unwrap_or_default();
        if EventPattern::parse(&text).is_err() {
            return Err(ApiError::invalid_parameter("Invalid filter pattern definition."));
        }
    }
    Ok(())
}

/// `FilterCriteria.Filters`; none when it is absent.
pub fn filters<'a>(members: &Members<'a>) -> Result<Vec<Members<'a>>, ApiError> {
    match members.object("FilterCriteria")? {
        Some(block) => Ok(block.objects("Filters")?.unwrap_or_default()),
        None => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
            Err("Unsupported ParallelizationFactor parameter for given event source mapping type."),
        );
        check(&format!("{QUEUE}.fifo"), r#"{"BatchSize":11}"#, Err("FIFO"));
        for member in [r#""MaximumRetryAttempts":1"#, r#""DestinationConfig":{}"#, r#""LoggingConfig":{}"#] {
            check(QUEUE, &format!("{{{member}}}"), Err("parameter for given event source mapping type."));
        }
        check(QUEUE, r#"{"ProvisionedPollerConfig":{"MinimumPollers":2,"MaximumPollers":3}}"#, Ok(()));
        check(QUEUE, r#"{"ProvisionedPollerConfig":{"MinimumPollers":1}}"#, Err("2 at least"));
        check(
            QUEUE,
            r#"{"ProvisionedPollerConfig":{"MinimumPollers":4,"MaximumPollers":3}}"#,
            Err("greater"),
        );
        check(
            QUEUE,
            r#"{"ProvisionedPollerConfig":{},"ScalingConfig":{"MaximumConcurrency":2}}"#,
            Err("together"),
        );
        check(QUEUE, r#"{"MetricsConfig":{"Metrics":["KafkaMetrics"]}}"#, Err("EventCount only"));
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
