//! Operations on queues.

use super::{Request, error};
use crate::http::{ApiError, page};
use lamplight_services::queues::QueueError;
use serde_json::{Map, Value, json};

/// Results of a page at most, and without `MaxResults`.
const PAGE: usize = 1_000;

/// CreateQueue.
pub async fn create(request: &Request<'_>) -> Result<Value, ApiError> {
    let name = request.members.string("QueueName")?.unwrap_or_default();
    let address = request.address(&name);
    request.authorize("CreateQueue", &address.arn()).await?;
    if name.is_empty() {
        return Err(error::missing("QueueName"));
    }
    let attributes = request.members.string_map("Attributes")?.unwrap_or_default();
    let tags = request.members.string_map("tags")?.unwrap_or_default();
    request.state.queues.create(&address, attributes, tags).await?;
    Ok(json!({"QueueUrl": request.url(&name)}))
}

/// DeleteQueue.
pub async fn delete(request: &Request<'_>) -> Result<Value, ApiError> {
    request.state.queues.delete_queue(&request.queue().await?).await?;
    Ok(Value::Null)
}

/// GetQueueUrl.
pub async fn get_url(request: &Request<'_>) -> Result<Value, ApiError> {
    let name = request.members.string("QueueName")?.unwrap_or_default();
    let address = request.address(&name);
    request.authorize("GetQueueUrl", &address.arn()).await?;
    if name.is_empty() {
        return Err(error::missing("QueueName"));
    }
    let owner = request.members.string("QueueOwnerAWSAccountId")?;
    if owner.is_some_and(|owner| owner != address.scope.account.as_str()) {
        return Err(QueueError::QueueDoesNotExist.into());
    }
    request.state.queues.describe(&address).await?;
    Ok(json!({"QueueUrl": request.url(&name)}))
}

/// ListQueues.
pub async fn list(request: &Request<'_>) -> Result<Value, ApiError> {
    request.authorize("ListQueues", "*").await?;
    let prefix = request.members.string("QueueNamePrefix")?.unwrap_or_default();
    let (limit, after) = page_of(request, "sqs-queues")?;
    let queues = &request.state.queues;
    let names = queues.list(&request.context.scope, &prefix, &after, limit.unwrap_or(PAGE) + 1).await?;
    let (urls, next) = cut(request, "sqs-queues", names, limit);
    let mut answer = Map::new();
    if !urls.is_empty() {
        answer.insert("QueueUrls".to_owned(), urls.into());
    }
    answer.extend(next.map(|token| ("NextToken".to_owned(), token.into())));
    Ok(answer.into())
}

/// ListDeadLetterSourceQueues.
pub async fn list_sources(request: &Request<'_>) -> Result<Value, ApiError> {
    let address = request.queue().await?;
    let (limit, after) = page_of(request, "sqs-sources")?;
    let queues = &request.state.queues;
    let names = queues.dead_letter_sources(&address, &after, limit.unwrap_or(PAGE) + 1).await?;
    let (urls, next) = cut(request, "sqs-sources", names, limit);
    let mut answer = Map::from_iter([("queueUrls".to_owned(), urls.into())]);
    answer.extend(next.map(|token| ("NextToken".to_owned(), token.into())));
    Ok(answer.into())
}

/// `MaxResults` and the name in `NextToken`.
fn page_of(request: &Request<'_>, list: &str) -> Result<(Option<usize>, String), ApiError> {
    let limit = match request.members.integer("MaxResults")? {
        None => None,
        Some(given) => match usize::try_from(given) {
            Ok(limit) if (1..=PAGE).contains(&limit) => Some(limit),
            _ => {
                return Err(error::invalid(format!(
                    "Value {given} for parameter MaxResults is invalid. Reason: Must be between 1 and {PAGE}, if \
                     provided."
                )));
            }
        },
    };
    let after = match request.members.string("NextToken")?.filter(|token| !token.is_empty()) {
        None => String::new(),
        Some(token) => {
            page::key(list, &token).ok_or_else(|| error::invalid("Invalid or expired next token."))?
        }
    };
    Ok((limit, after))
}

/// The URLs of a page; a token only when the client asked for pages.
fn cut(
    request: &Request<'_>,
    list: &str,
    mut names: Vec<String>,
    limit: Option<usize>,
) -> (Vec<Value>, Option<String>) {
    let size = limit.unwrap_or(PAGE);
    let more = names.len() > size;
    names.truncate(size);
    let next = names.last().filter(|_| more && limit.is_some()).map(|last| page::token(list, last));
    (names.iter().map(|name| request.url(name).into()).collect(), next)
}

/// GetQueueAttributes.
pub async fn get_attributes(request: &Request<'_>) -> Result<Value, ApiError> {
    let address = request.queue().await?;
    let description = request.state.queues.describe(&address).await?;
    let wanted = request.members.strings("AttributeNames")?.unwrap_or_default();
    if wanted.is_empty() {
        return Ok(json!({}));
    }
    let mut all: Map<String, Value> = description
        .settings
        .print()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let seconds = |time: lamplight_model::Timestamp| (time.as_millis() / 1_000).to_string();
    let mut add = |name: &str, value: String| all.insert(name.to_owned(), value.into());
    add("QueueArn", address.arn());
    add("CreatedTimestamp", seconds(description.created));
    add("LastModifiedTimestamp", seconds(description.modified));
    if wanted.iter().any(|name| name == "All" || name.starts_with("ApproximateNumberOf")) {
        let counts = request.state.queues.count(&address).await?;
        add("ApproximateNumberOfMessages", counts.visible.to_string());
        add("ApproximateNumberOfMessagesNotVisible", counts.in_flight.to_string());
        add("ApproximateNumberOfMessagesDelayed", counts.delayed.to_string());
    }
    if let Some(unknown) = wanted.iter().find(|name| !NAMES.contains(&name.as_str())) {
        return Err(error::new("InvalidAttributeName", format!("Unknown Attribute {unknown}.")));
    }
    if !wanted.iter().any(|name| name == "All") {
        all.retain(|name, _| wanted.contains(name));
    }
    Ok(json!({"Attributes": all}))
}

/// `QueueAttributeName` of the service model.
const NAMES: &[&str] = &[
    "All",
    "Policy",
    "VisibilityTimeout",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
    "ApproximateNumberOfMessagesDelayed",
    "DelaySeconds",
    "ReceiveMessageWaitTimeSeconds",
    "RedrivePolicy",
    "FifoQueue",
    "ContentBasedDeduplication",
    "KmsMasterKeyId",
    "KmsDataKeyReusePeriodSeconds",
    "DeduplicationScope",
    "FifoThroughputLimit",
    "RedriveAllowPolicy",
    "SqsManagedSseEnabled",
];

/// SetQueueAttributes.
pub async fn set_attributes(request: &Request<'_>) -> Result<Value, ApiError> {
    let address = request.queue().await?;
    let attributes = request.members.string_map("Attributes")?.ok_or_else(|| error::missing("Attributes"))?;
    request.state.queues.set_attributes(&address, attributes).await?;
    Ok(Value::Null)
}

/// PurgeQueue.
pub async fn purge(request: &Request<'_>) -> Result<Value, ApiError> {
    request.state.queues.purge(&request.queue().await?).await?;
    Ok(Value::Null)
}

/// TagQueue.
pub async fn tag(request: &Request<'_>) -> Result<Value, ApiError> {
    let address = request.queue().await?;
    let tags = request.members.string_map("Tags")?.filter(|tags| !tags.is_empty());
    let tags = tags.ok_or_else(|| error::missing("Tags"))?;
    request.state.queues.tag(&address, tags, Vec::new()).await?;
    Ok(Value::Null)
}

/// UntagQueue.
pub async fn untag(request: &Request<'_>) -> Result<Value, ApiError> {
    let address = request.queue().await?;
    let keys = request.members.strings("TagKeys")?.filter(|keys| !keys.is_empty());
    let keys = keys.ok_or_else(|| error::missing("TagKeys"))?;
    request.state.queues.tag(&address, Default::default(), keys).await?;
    Ok(Value::Null)
}

/// ListQueueTags.
pub async fn list_tags(request: &Request<'_>) -> Result<Value, ApiError> {
    let tags = request.state.queues.describe(&request.queue().await?).await?.tags;
    Ok(if tags.is_empty() { json!({}) } else { json!({"Tags": tags}) })
}
