//! The funnel as its callers see it. The clock is moved by hand; nothing sleeps.

mod asynchronous;
mod destinations;
mod durable;
mod executions;
mod lifecycle;
mod memory;
mod provisioned;
mod recursion;
mod redrive;
mod synchronous;
mod whole;

use crate::workers::fake::FakeWorkers;
use crate::{AsynchronousConfig, InvokeRequest, Invoker, InvokerConfig, Workers};
use bytes::Bytes;
use lamplight_model::function::{
    CodeDigest, FunctionState, FunctionVersion, Lifecycle, LoggingConfig, UpdateStatus,
};
use lamplight_model::{FunctionName, Qualifier, RequestId, Scope, Timestamp, VersionNumber};
use lamplight_store::{Expect, Store};
use memory::{MemoryLedger, MemoryStore};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Where the manual clock begins.
const START: Timestamp = Timestamp(1_700_000_000_000);

/// A funnel on fakes with a clock moved by hand.
struct Funnel {
    now: Arc<AtomicI64>,
    store: Arc<MemoryStore>,
    ledger: Arc<MemoryLedger>,
    workers: Arc<FakeWorkers>,
    invoker: Arc<Invoker>,
}

impl Funnel {
    fn new(workers: Arc<FakeWorkers>) -> Self {
        Self::with(workers, InvokerConfig::default())
    }

    fn with(workers: Arc<FakeWorkers>, config: InvokerConfig) -> Self {
        let store = Arc::new(MemoryStore::default());
        Self::on(store, workers, config)
    }

    fn on(store: Arc<MemoryStore>, workers: Arc<FakeWorkers>, mut config: InvokerConfig) -> Self {
        // What has not begun when everything ran must not begin.
        config.asynchronous.pause_between_looks = Duration::ZERO;
        let now = Arc::new(AtomicI64::new(START.0));
        let ledger = Arc::new(MemoryLedger::default());
        let clock = {
            let now = Arc::clone(&now);
            Arc::new(move || Timestamp(now.load(Ordering::SeqCst)))
        };
        let invoker = Invoker::new(
            config,
            Arc::clone(&store) as Arc<dyn Store>,
            Arc::clone(&workers) as Arc<dyn Workers>,
            Arc::clone(&ledger) as Arc<dyn lamplight_store::Ledger>,
            clock,
        );
        Self { now, store, ledger, workers, invoker }
    }

    async fn create(&self, version: FunctionVersion) {
        self.store.put_version(version, Expect::Anything).await.unwrap();
    }

    fn advance(&self, by: Duration) {
        self.now.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
        self.invoker.wake_queue();
    }

    /// Waits until the store satisfies `holds`; it is looked at after every change.
    async fn until(&self, holds: impl Fn(&MemoryStore) -> bool) {
        let mut changes = self.store.watch();
        while !holds(&self.store) {
            tokio::time::timeout(Duration::from_secs(20), changes.changed())
                .await
                .expect("what was waited for never came")
                .unwrap();
        }
    }
}

fn name(text: &str) -> FunctionName {
    FunctionName::parse(text).unwrap()
}

fn request(function: &str, qualifier: Option<Qualifier>, payload: &'static str) -> InvokeRequest {
    let request_id = RequestId(uuid::Uuid::new_v4());
    InvokeRequest::new(
        Scope::default(),
        name(function),
        qualifier,
        request_id,
        Bytes::from_static(payload.as_bytes()),
    )
}

fn active() -> Lifecycle {
    Lifecycle {
        state: FunctionState::Active,
        state_reason: None,
        state_reason_code: None,
        last_update_status: Some(UpdateStatus::Successful),
        last_update_status_reason: None,
        last_update_status_reason_code: None,
    }
}

fn digest(byte: u8) -> CodeDigest {
    CodeDigest::from_bytes(&[byte; 32])
}

fn function(function: &str) -> FunctionVersion {
    FunctionVersion {
        scope: Scope::default(),
        name: name(function),
        version: VersionNumber::Latest,
        runtime: "python3.11".to_owned(),
        handler: "app.handler".to_owned(),
        role: "arn:aws:iam::000000000000:role/r".to_owned(),
        description: String::new(),
        memory_mib: 128,
        timeout_seconds: 3,
        ephemeral_storage_mib: 512,
        environment: None,
        architecture: "x86_64".to_owned(),
        code: digest(1),
        code_size_bytes: 100,
        last_modified: START,
        revision_id: "r1".to_owned(),
        lifecycle: active(),
        logging: LoggingConfig {
            json: false,
            application_log_level: None,
            system_log_level: None,
            log_group: format!("/aws/lambda/{function}"),
        },
        tracing_mode: "PassThrough".to_owned(),
        snap_start: "None".to_owned(),
        per_tenant: false,
        max_concurrency: None,
        dead_letter_target_arn: None,
        kms_key_arn: None,
        vpc: None,
        file_systems: Vec::new(),
        layers: Vec::new(),
        durable: None,
        tags: std::collections::BTreeMap::new(),
        egress: None,
        code_signing_config_arn: None,
    }
}
