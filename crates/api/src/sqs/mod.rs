//! SQS: queues and their messages, in both of its protocols: JSON 1.0 (`X-Amz-Target: AmazonSQS.*`) and query (`Action=`).
//!
//! A query request becomes the JSON request that says the same (`query`), is answered by the same handler, and its answer
//! becomes XML (`answer`). The rules are in `services::queues`.

mod answer;
mod batch;
mod error;
mod messages;
mod permissions;
mod query;
mod queues;
mod tasks;

use crate::access;
use crate::http::{ApiError, Context, Members, Response};
use crate::state::ApiState;
use ::http::Method;
use bytes::Bytes;
use lamplight_model::Caller;
use lamplight_services::queues::QueueAddress;
use serde_json::Value;

/// First part of `X-Amz-Target`.
pub const TARGET: &str = "AmazonSQS";
/// API version in query requests.
pub const VERSION: &str = "2012-11-05";
/// Bound of request bodies, bytes: a message of 1 MiB whose every byte is escaped as six, and what is around it.
pub const REQUEST_BYTES: usize = 8 << 20;

/// Whether a request is sent to the URL of a queue, `/<account>/<name>`, in the query protocol.
pub fn is_query_of_queue(context: &Context) -> bool {
    let form = context
        .header(::http::header::CONTENT_TYPE.as_str())
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let action = context.method == Method::POST && form || context.parameter("Action").is_some();
    let meant = matches!(context.signed_service.as_deref(), None | Some("sqs"));
    meant && action && name_of_url(&context.path).is_some()
}

/// Answers a request of the JSON protocol.
pub async fn handle_json(state: &ApiState, context: &Context, operation: &str, body: &Bytes) -> Response {
    match answer(state, context, operation, body).await {
        Ok(value) => answer::json(&value),
        Err(error) => error::json(&error),
    }
}

/// Answers a request of the query protocol.
pub async fn handle_query(
    state: &ApiState,
    context: &Context,
    action: &str,
    parameters: &[(String, String)],
) -> Response {
    let body = Bytes::from(query::request(parameters).to_string());
    match answer(state, context, action, &body).await {
        Ok(value) => answer::xml(action, &value, context.request_id),
        Err(error) => error::xml(&error, context.request_id),
    }
}

async fn answer(
    state: &ApiState,
    context: &Context,
    operation: &str,
    body: &Bytes,
) -> Result<Value, ApiError> {
    // Whatever is wrong with the document has this one name here.
    let members = Members::parse(body).map_err(|error| ApiError::serialization(error.message))?;
    let request = Request { state, context, members: &members, operation };
    match operation {
        "AddPermission" => permissions::add(&request).await,
        "CancelMessageMoveTask" => tasks::cancel(&request).await,
        "ChangeMessageVisibility" => messages::change_visibility(&request).await,
        "ChangeMessageVisibilityBatch" => batch::change_visibility(&request).await,
        "CreateQueue" => queues::create(&request).await,
        "DeleteMessage" => messages::delete(&request).await,
        "DeleteMessageBatch" => batch::delete(&request).await,
        "DeleteQueue" => queues::delete(&request).await,
        "GetQueueAttributes" => queues::get_attributes(&request).await,
        "GetQueueUrl" => queues::get_url(&request).await,
        "ListDeadLetterSourceQueues" => queues::list_sources(&request).await,
        "ListMessageMoveTasks" => tasks::list(&request).await,
        "ListQueueTags" => queues::list_tags(&request).await,
        "ListQueues" => queues::list(&request).await,
        "PurgeQueue" => queues::purge(&request).await,
        "ReceiveMessage" => messages::receive(&request).await,
        "RemovePermission" => permissions::remove(&request).await,
        "SendMessage" => messages::send(&request).await,
        "SendMessageBatch" => batch::send(&request).await,
        "SetQueueAttributes" => queues::set_attributes(&request).await,
        "StartMessageMoveTask" => tasks::start(&request).await,
        "TagQueue" => queues::tag(&request).await,
        "UntagQueue" => queues::untag(&request).await,
        unknown => {
            context.authorize("sqs", unknown, "*")?;
            Err(error::new(
                "InvalidActionException",
                format!("The action {unknown} is not valid for this endpoint."),
            ))
        }
    }
}

/// One request, in the form that both protocols share.
struct Request<'a> {
    state: &'a ApiState,
    context: &'a Context,
    members: &'a Members<'a>,
    operation: &'a str,
}

impl Request<'_> {
    /// The queue that `QueueUrl` means, or the path the request was sent to; the caller may do this to it.
    ///
    /// Fails with `AccessDeniedException`, `MissingRequiredParameterException`, `InvalidAddress`.
    async fn queue(&self) -> Result<QueueAddress, ApiError> {
        let url = self.members.string("QueueUrl")?;
        let name = match &url {
            Some(url) => name_of_url(url),
            None => name_of_url(&self.context.path),
        };
        let address =
            name.map(|(account, name)| (account == self.context.scope.account.as_str(), self.address(name)));
        let resource = address.as_ref().map_or_else(|| "*".to_owned(), |(_, address)| address.arn());
        // Batches are allowed by the permission of their one-message forms.
        let action = self.operation.strip_suffix("Batch").unwrap_or(self.operation);
        self.authorize(action, &resource).await?;
        match (address, url) {
            (Some((true, address)), _) => Ok(address),
            // Queues of other accounts are not told apart from those that do not exist.
            (Some((false, _)), _) => Err(lamplight_services::queues::QueueError::QueueDoesNotExist.into()),
            (None, Some(url)) => Err(error::new(
                "InvalidAddress",
                format!("The address {url} is not valid for this endpoint."),
            )),
            (None, None) => Err(error::missing("QueueUrl")),
        }
    }

    /// Lets the caller do this to a queue: a function what the policies of its role allow.
    ///
    /// Fails with `AccessDeniedException`.
    async fn authorize(&self, action: &str, resource: &str) -> Result<(), ApiError> {
        access::authorize(self.state, self.context, "sqs", action, resource).await
    }

    /// The queue of this name in the caller's scope.
    fn address(&self, name: &str) -> QueueAddress {
        QueueAddress::new(&self.context.scope, name)
    }

    /// A text that must be there.
    fn required(&self, name: &str) -> Result<String, ApiError> {
        self.members.string(name)?.ok_or_else(|| error::missing(name))
    }

    /// The URL of a queue, at the host name by which the client reached this server.
    fn url(&self, name: &str) -> String {
        format!("http://{}/{}/{name}", self.context.authority, self.context.scope.account.as_str())
    }

    /// `SenderId` of messages.
    fn sender(&self) -> String {
        match self.context.caller.as_ref() {
            Caller::Loopback => self.context.scope.account.as_str().to_owned(),
            Caller::Function { arn, .. } => {
                format!("AROALAMPLIGHTFUNCTION:{}", arn.rsplit(':').next().unwrap_or_default())
            }
        }
    }
}

/// Account and name at the end of a queue's URL. The host may be any by which the server was reached some time.
fn name_of_url(url: &str) -> Option<(&str, &str)> {
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?.1,
        None => url.strip_prefix('/')?,
    };
    let (account, name) = path.trim_end_matches('/').split_once('/')?;
    let digits = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    (digits && !name.is_empty() && !name.contains('/')).then_some((account, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_queues() {
        let expected = Some(("000000000000", "q.fifo"));
        assert_eq!(name_of_url("http://127.0.0.1:9000/000000000000/q.fifo"), expected);
        assert_eq!(name_of_url("/000000000000/q.fifo/"), expected);
        for bad in
            ["q", "http://127.0.0.1:9000", "http://h/q", "/1/q", "/000000000000/", "/000000000000/a/b", ""]
        {
            assert_eq!(name_of_url(bad), None, "{bad}");
        }
    }
}
