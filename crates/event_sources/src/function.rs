//! What a batch is given to: a function, through the funnel. Tests give batches to a closure.

use async_trait::async_trait;
use bytes::Bytes;
use lamplight_invoke::durable::{check_invocable, has_succeeded};
use lamplight_invoke::{InvokeRequest, Invoker};
use lamplight_model::limits::SYNC_PAYLOAD_BYTES;
use lamplight_model::{FunctionReference, RequestId, Scope, ServiceError, lineage};
use std::sync::Arc;

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// The function answered this.
    Success(Bytes),
    /// The function failed.
    FunctionError,
}

/// Takes events.
#[async_trait]
pub trait Function: Send + Sync + 'static {
    /// Whether a call would find something to run. Fails as `Invoker::dry_run` does.
    async fn ready(&self) -> Result<(), ServiceError>;
    /// How often the function has been invoked in the chain of this trace header.
    fn invocations(&self, header: &str) -> u32;
    /// Runs the function and waits for its answer. Fails as `Invoker::invoke` does.
    async fn call(&self, event: Bytes, trace: Option<String>) -> Result<Answered, ServiceError>;
}

/// A function of this node. What the ARN means (an alias, the newest code) is looked up at every call.
pub struct InvokedFunction {
    invoker: Arc<Invoker>,
    scope: Scope,
    reference: FunctionReference,
}

impl InvokedFunction {
    /// The function of this ARN. `None` for what is none.
    pub fn new(invoker: Arc<Invoker>, scope: &Scope, arn: &str) -> Option<Self> {
        Some(Self { invoker, scope: scope.clone(), reference: FunctionReference::parse(arn)? })
    }

    fn request(&self, event: Bytes, trace: Option<String>) -> InvokeRequest {
        let (name, qualifier) = (self.reference.name.clone(), self.reference.qualifier.clone());
        let id = RequestId::generate();
        let request = InvokeRequest::new(self.scope.clone(), name, qualifier, id, event);
        InvokeRequest { trace_header: trace, ..request }
    }
}

#[async_trait]
impl Function for InvokedFunction {
    async fn ready(&self) -> Result<(), ServiceError> {
        let request = self.request(Bytes::new(), None);
        let version = self.invoker.resolve(&request.scope, &request.name, request.qualifier.as_ref()).await?;
        // Also when it has become one that nobody can wait for since the mapping was made.
        check_invocable(&request, &version, true)?;
        self.invoker.dry_run(&request).await
    }

    fn invocations(&self, header: &str) -> u32 {
        lineage::invocations(header, &self.scope, &self.reference.name)
    }

    async fn call(&self, event: Bytes, trace: Option<String>) -> Result<Answered, ServiceError> {
        let request = self.request(event, trace);
        let version = self.invoker.resolve(&request.scope, &request.name, request.qualifier.as_ref()).await?;
        // Each call is an execution of its own, also of records that come again. Source: Lambda developer guide, "Event source
        // mappings with durable functions", and "Idempotency" of durable executions.
        if let Some(ended) = self.invoker.execute(&request, &version).await? {
            let result = has_succeeded(&ended).then(|| ended.closing.result.unwrap_or_default());
            return Ok(result.map_or(Answered::FunctionError, |result| Answered::Success(result.into())));
        }
        let running = self.invoker.invoke_version(request, version).await?;
        let collected = running.answer.collect(SYNC_PAYLOAD_BYTES).await?;
        let answered = if collected.outcome.is_function_error() {
            Answered::FunctionError
        } else {
            Answered::Success(collected.body.clone())
        };
        // The instance is free again before the next batch is looked for.
        collected.finished().await;
        Ok(answered)
    }
}
