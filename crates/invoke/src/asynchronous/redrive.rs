//! Sends events again that were given up: those the store keeps, and those whose letters wait in a queue.
//!
//! A message is deleted only after its event is durable. A crash in between leaves a message whose event was sent again, which the
//! event's story tells: the next redrive deletes the message and sends nothing.

use crate::asynchronous::letter::{self, Letter};
use crate::asynchronous::options::{self, EventInvokeOptions, FunctionDestination};
use crate::invoker::{Invoker, service_error};
use crate::request::InvokeRequest;
use crate::resolve::check_call;
use lamplight_model::{
    ErrorCode, FunctionName, FunctionVersion, OutcomeStatus, RequestId, Scope, ServiceError,
};
use lamplight_services::queues::{QueueAddress, QueueError, Queues, Receive, ReceivedMessage};
use lamplight_store::function_documents::{self, Owner};
use lamplight_store::{EventRecord, EventState, EventStory, Redrive, StepKind, StoreError};
use std::collections::HashSet;

/// Messages one redrive of a queue looks at, at most.
pub const MESSAGES_AT_ONCE: usize = 1_000;
/// Messages of one receive.
const BATCH: usize = 10;
/// For how long a message that is looked at is nobody else's, seconds: long enough for those of one receive, and how long the
/// next redrive waits for them after a crash of this one.
const HELD_SECONDS: i64 = 30;
/// Functions looked through for the one whose dead letter queue a queue is, per page.
const FUNCTIONS_PER_PAGE: usize = 500;

/// Why an event that succeeded is not sent again.
const DONE: &str = "its event is done";

/// What came of one event or message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redriven {
    /// The event; `None` for a message that is no letter.
    pub request_id: Option<RequestId>,
    /// The message, when it was one.
    pub message_id: Option<String>,
    /// The function that gets, or would get, the event; or why nothing was sent.
    pub result: Result<FunctionName, String>,
}

/// What came of the messages of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueRedriven {
    /// One for each message that was looked at.
    pub rows: Vec<Redriven>,
    /// Whether more messages may be there.
    pub more: bool,
}

/// Why a redrive of a queue did not take place.
#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    /// The queue says so.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The platform.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// What is to be done with a letter, by what the store knows of its event. Pure.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// The dead letter that is kept goes back to the queue.
    SendKept,
    /// Nothing is known of the event: it is accepted anew.
    SendAnew,
    /// It was sent again after this message was: only the message is left over.
    Sent,
    /// Not now.
    Refuse(&'static str),
}

fn decide(story: &EventStory, message: &ReceivedMessage) -> Decision {
    let sent_again =
        story.steps.iter().any(|step| step.kind == StepKind::Redriven && step.at >= message.sent);
    match story.record.as_ref().map(|record| &record.state) {
        Some(EventState::DeadLettered { .. }) => Decision::SendKept,
        _ if sent_again => Decision::Sent,
        Some(EventState::Waiting { .. } | EventState::Running { .. }) => {
            Decision::Refuse("its event waits or runs; try again when that has ended")
        }
        Some(EventState::Done { .. }) => Decision::Refuse(DONE),
        None => Decision::SendAnew,
    }
}

impl Invoker {
    /// Sends dead letters again, each for itself; with `dry_run` says only what would come of each.
    ///
    /// Fails with `ServiceException` when storage refuses; nothing was sent then.
    pub async fn redrive(
        &self,
        scope: &Scope,
        request_ids: Vec<RequestId>,
        dry_run: bool,
    ) -> Result<Vec<Redriven>, ServiceError> {
        let failed = |error: StoreError| service_error("send events again", &error);
        let mut rows = Vec::with_capacity(request_ids.len());
        let mut wanted = Vec::new();
        for request_id in request_ids {
            let story = self.store.event_story(scope, request_id).await.map_err(failed)?;
            let result = self.check_letter(scope, story.record).await?;
            if result.is_ok() {
                wanted.push(request_id);
            }
            rows.push(Redriven { request_id: Some(request_id), message_id: None, result });
        }
        if dry_run || wanted.is_empty() {
            return Ok(rows);
        }
        let mut outcomes = self.store.redrive(scope, wanted).await.map_err(failed)?.into_iter();
        for row in rows.iter_mut().filter(|row| row.result.is_ok()) {
            if let Some(outcome) = outcomes.next() {
                row.result = said(outcome);
            }
        }
        self.queue.wake();
        Ok(rows)
    }

    /// Whether what the store knows of an event is a letter that its function would take.
    async fn check_letter(
        &self,
        scope: &Scope,
        record: Option<EventRecord>,
    ) -> Result<Result<FunctionName, String>, ServiceError> {
        let Some(record) = record else { return Ok(said(Redrive::Unknown)) };
        match record.state {
            EventState::DeadLettered { .. } => {
                match self.resolve(scope, &record.function, record.qualifier.as_ref()).await {
                    Ok(_) => Ok(Ok(record.function)),
                    Err(gone) if gone.code == ErrorCode::ResourceNotFoundException => Ok(Err(gone.message)),
                    Err(error) => Err(error),
                }
            }
            EventState::Waiting { .. } | EventState::Running { .. } => Ok(said(Redrive::Pending)),
            EventState::Done { .. } => Ok(Err("it is done".to_owned())),
        }
    }

    /// Sends the events again whose letters wait in a queue, at most `limit` messages; with `dry_run` only looks. `function`
    /// is who gets letters of which nobody else knows the function. What is no letter, or cannot be sent now, stays in the
    /// queue and is named.
    ///
    /// Fails when the queue does not exist or storage refuses; events that were sent until then are, and their messages are
    /// gone or known to be left over.
    pub async fn redrive_queue(
        &self,
        address: &QueueAddress,
        function: Option<&FunctionName>,
        limit: usize,
        dry_run: bool,
    ) -> Result<QueueRedriven, RedriveError> {
        let queues = self.queues.get().ok_or(QueueError::QueueDoesNotExist)?;
        let mut found = QueueRedriven::default();
        let mut kept = Vec::new();
        let outcome =
            self.redrive_messages(queues, address, function, limit, dry_run, &mut found, &mut kept).await;
        // Also after a failure: what was not sent is anybody's again at once.
        for handles in kept.chunks(BATCH) {
            queues
                .change_visibility(address, handles.iter().map(|handle| (handle.clone(), 0)).collect())
                .await?;
        }
        outcome.map(|()| found)
    }

    #[allow(clippy::too_many_arguments)] // What is asked, and the two lists it fills.
    async fn redrive_messages(
        &self,
        queues: &Queues,
        address: &QueueAddress,
        function: Option<&FunctionName>,
        limit: usize,
        dry_run: bool,
        found: &mut QueueRedriven,
        kept: &mut Vec<String>,
    ) -> Result<(), RedriveError> {
        let limit = limit.clamp(1, MESSAGES_AT_ONCE);
        let mut owner = None;
        let mut seen = HashSet::new();
        while found.rows.len() < limit {
            let most = (limit - found.rows.len()).min(BATCH);
            let receive = Receive {
                messages: i64::try_from(most).ok(),
                visibility_timeout: Some(HELD_SECONDS),
                wait: Some(0),
                attempt_id: None,
            };
            let messages = queues.receive(address, receive).await?;
            if messages.is_empty() {
                return Ok(());
            }
            kept.extend(messages.iter().map(|message| message.receipt_handle.clone()));
            if messages.iter().any(|message| !seen.insert(message.message_id.clone())) {
                // One that stays has come again: it was looked at so long ago. Whatever is behind it is for another redrive.
                break;
            }
            for message in &messages {
                let letter = letter::read(message);
                let request_id = letter.as_ref().ok().map(|letter| letter.request_id);
                let result = match letter {
                    Err(why) => Err(why),
                    Ok(letter) => {
                        self.redrive_letter(address, function, &mut owner, message, letter, dry_run).await?
                    }
                };
                if result.is_ok() && !dry_run {
                    for deleted in queues.delete(address, vec![message.receipt_handle.clone()]).await? {
                        deleted?;
                    }
                    kept.retain(|handle| *handle != message.receipt_handle);
                }
                let message_id = Some(message.message_id.clone());
                found.rows.push(Redriven { request_id, message_id, result });
            }
        }
        found.more = true;
        Ok(())
    }

    /// Makes the event of one letter durable, unless it is only looked at.
    async fn redrive_letter(
        &self,
        address: &QueueAddress,
        function: Option<&FunctionName>,
        owner: &mut Option<Result<FunctionName, String>>,
        message: &ReceivedMessage,
        letter: Letter,
        dry_run: bool,
    ) -> Result<Result<FunctionName, String>, ServiceError> {
        let scope = address.scope.clone();
        // Whoever may send to a queue may write any record.
        if letter.target.as_ref().is_some_and(|target| target.scope != scope) {
            return Ok(Err("its record names a function of another account or region".to_owned()));
        }
        let failed = |error: StoreError| service_error("send an event again", &error);
        let story = self.store.event_story(&scope, letter.request_id).await.map_err(failed)?;
        match decide(&story, message) {
            Decision::Refuse(why) => Ok(Err(why.to_owned())),
            Decision::SendKept => {
                let rows = self.redrive(&scope, vec![letter.request_id], dry_run).await?;
                let unknown = || said(Redrive::Unknown);
                Ok(rows.into_iter().next().map_or_else(unknown, |row| row.result))
            }
            Decision::Sent => {
                let known =
                    story.record.map(|record| record.function).or(letter.target.map(|to| to.function));
                // Of a letter that was sent again and is done since, only its queue may know the function.
                Ok(known.or_else(|| function.cloned()).ok_or_else(|| "it was sent again before".to_owned()))
            }
            Decision::SendAnew if self.has_succeeded(&scope, letter.request_id).await? => {
                Ok(Err(DONE.to_owned()))
            }
            Decision::SendAnew => {
                let to = match (letter.target.clone(), function) {
                    (Some(target), _) => target,
                    (None, Some(name)) => named(&scope, name),
                    (None, None) => {
                        if owner.is_none() {
                            *owner = Some(self.owner_of(address).await?);
                        }
                        match owner.clone().unwrap_or_else(|| Err(String::new())) {
                            Ok(name) => named(&scope, &name),
                            Err(why) => return Ok(Err(why)),
                        }
                    }
                };
                let vouched_for = letter.target.is_none() || function == Some(&to.function);
                self.send_anew(to, letter, (!vouched_for).then_some(address), dry_run).await
            }
        }
    }

    /// Whether some run of a request succeeded: events that are done are kept for so long, records of runs for longer.
    async fn has_succeeded(&self, scope: &Scope, request_id: RequestId) -> Result<bool, ServiceError> {
        let runs = self.ledger.attempts(scope, request_id).await;
        let runs = runs.map_err(|error| service_error("read the runs of an event", &error))?;
        Ok(runs.iter().any(|run| run.outcome.status == OutcomeStatus::Success))
    }

    /// Accepts the event of a letter of which nothing is known here any more, under its own request id. `from` is the queue
    /// where only the letter itself names the function: it is to be one that the function's failures go to.
    async fn send_anew(
        &self,
        to: FunctionDestination,
        letter: Letter,
        from: Option<&QueueAddress>,
        dry_run: bool,
    ) -> Result<Result<FunctionName, String>, ServiceError> {
        let Some(payload) = letter.payload else {
            return Ok(Err(
                "its record is without the event, and the event is not kept here any more".to_owned()
            ));
        };
        let FunctionDestination { scope, function, qualifier } = to;
        let mut request = InvokeRequest::new(scope, function.clone(), qualifier, letter.request_id, payload);
        request.trace_header = None;
        let version = match self.resolve(&request.scope, &request.name, request.qualifier.as_ref()).await {
            Ok(version) => version,
            Err(gone) if gone.code == ErrorCode::ResourceNotFoundException => return Ok(Err(gone.message)),
            Err(error) => return Err(error),
        };
        if let Some(queue) = from
            && !self.sends_failures_to(&queue.arn(), &version, &request).await?
        {
            return Ok(Err(format!(
                "failures of function {function} do not go to this queue; name the function with Function"
            )));
        }
        if let Err(refused) = check_call(&version, &request) {
            return Ok(Err(refused.message));
        }
        if !dry_run {
            match self.accept_again(request, &version).await {
                Ok(()) => {}
                // Since it was looked for, or elsewhere. The message stays until that is known.
                Err(StoreError::AlreadyExists(_)) => return Ok(said(Redrive::Pending)),
                Err(error) => return Err(service_error("store the event", &error)),
            }
        }
        Ok(Ok(function))
    }

    /// Whether a queue is dead letter queue or `OnFailure` destination of what a request means.
    async fn sends_failures_to(
        &self,
        queue_arn: &str,
        version: &FunctionVersion,
        request: &InvokeRequest,
    ) -> Result<bool, ServiceError> {
        if version.dead_letter_target_arn.as_deref() == Some(queue_arn) {
            return Ok(true);
        }
        let owner =
            Owner { scope: &request.scope, function: &request.name, qualifier: request.qualifier.as_ref() };
        let options: Option<EventInvokeOptions> = function_documents::get(&*self.store, options::KIND, owner)
            .await
            .map_err(|error| service_error("read where failures go", &error))?;
        Ok(options.and_then(|options| options.on_failure).as_deref() == Some(queue_arn))
    }

    /// The one function whose dead letter queue this is. Why there is none, when there is none or there are several.
    async fn owner_of(&self, address: &QueueAddress) -> Result<Result<FunctionName, String>, ServiceError> {
        let arn = address.arn();
        let mut owners: Vec<FunctionName> = Vec::new();
        let mut after: Option<FunctionName> = None;
        loop {
            let page = self
                .store
                .list_functions(&address.scope, after.as_ref(), FUNCTIONS_PER_PAGE)
                .await
                .map_err(|error| service_error("read the functions", &error))?;
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            let named = page.iter().filter(|version| version.dead_letter_target_arn.as_ref() == Some(&arn));
            owners.extend(named.map(|version| version.name.clone()));
        }
        Ok(match owners.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err("nobody knows its function; name one with Function".to_owned()),
            _ => Err("it may be of several functions; name one with Function".to_owned()),
        })
    }
}

fn named(scope: &Scope, function: &FunctionName) -> FunctionDestination {
    FunctionDestination { scope: scope.clone(), function: function.clone(), qualifier: None }
}

fn said(outcome: Redrive) -> Result<FunctionName, String> {
    match outcome {
        Redrive::Sent(function) => Ok(function),
        Redrive::Pending => Err("it waits or runs already".to_owned()),
        Redrive::Unknown => Err("there is no dead letter of this id".to_owned()),
        Redrive::Full(function) => Err(format!("too many events wait for function {function}")),
    }
}
