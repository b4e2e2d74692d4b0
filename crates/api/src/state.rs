//! What the front door works with; made by the program's wiring, shared by all listeners.

use crate::iam::RoleWrites;
use crate::s3::S3;
use hmac::{Hmac, KeyInit as _};
use lamplight_invoke::{DurableExecutions, Invoker};
use lamplight_model::{GatewayUrl, Live, PriceBook, Timestamp};
use lamplight_services::metrics::MetricStore;
use lamplight_services::objects::ObjectStore;
use lamplight_services::queues::Queues;
use lamplight_store::{CodeStore, Ledger, Logs, Store};
use sha2::Sha256;
use std::sync::Arc;
use tokio::sync::{Mutex, Semaphore};

/// How many uploads (CreateFunction, UpdateFunctionCode) are read and unpacked at once; more wait. Each may
/// hold 120 MB, the request and the ZIP decoded from it, or a ZIP of 250 MB from the object store.
const CONCURRENT_UPLOADS: usize = 4;

/// Gives the present moment.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A managed runtime that can run on this host, as `/lamplight/v1/runtimes` and `runtime list` show it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RuntimeRow {
    /// `python3.11`.
    pub identifier: String,
    /// Version the interpreter prints; empty for an alias.
    pub version: String,
    /// Path of the interpreter on the host; empty for an alias.
    pub interpreter: String,
    /// The identifier it stands for, when the operator made an alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias_of: Option<String>,
}

/// Settings of the front door.
#[derive(Clone)]
pub struct ApiConfig {
    /// Host names (without port) besides loopback that requests may name.
    pub allowed_hosts: Arc<Live<Vec<String>>>,
    /// How clients see the URLs of functions and APIs.
    pub gateway_url: Arc<Live<GatewayUrl>>,
    /// Secret for expiring links to code packages. Links of another key are refused.
    pub code_location_key: [u8; 32],
    /// `x86_64` or `arm64`: what this host runs.
    pub architecture: &'static str,
    /// `ConcurrentExecutions` of GetAccountSettings.
    pub account_concurrency: Arc<Live<usize>>,
    /// For the prices of `/lamplight/v1/usage`.
    pub price_book: Arc<Live<PriceBook>>,
    /// The runtimes of this host; asked anew at every request.
    pub runtimes: Arc<dyn Fn() -> Vec<RuntimeRow> + Send + Sync>,
    /// Why instances cannot be started now, for `/ready`; `None` when they can.
    pub trouble: Arc<dyn Fn() -> Option<String> + Send + Sync>,
}

impl Default for ApiConfig {
    /// Loopback only, a random key, the architecture this program was built for, no runtimes and no trouble.
    fn default() -> Self {
        Self {
            allowed_hosts: Arc::default(),
            gateway_url: Arc::default(),
            code_location_key: rand::random(),
            architecture: if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" },
            account_concurrency: Arc::new(lamplight_model::limits::ACCOUNT_CONCURRENCY.into()),
            price_book: Arc::default(),
            runtimes: Arc::new(Vec::new),
            trouble: Arc::new(|| None),
        }
    }
}

/// The parts the front door calls.
pub struct ApiState {
    /// Metadata and queue.
    pub store: Arc<dyn Store>,
    /// Code packages.
    pub code: Arc<dyn CodeStore>,
    /// The funnel.
    pub invoker: Arc<Invoker>,
    /// Executions of durable functions.
    pub durable: Arc<DurableExecutions>,
    /// Function logs.
    pub logs: Arc<dyn Logs>,
    /// Invocation records.
    pub ledger: Arc<dyn Ledger>,
    /// Objects.
    pub objects: ObjectStore,
    /// Queues.
    pub queues: Queues,
    /// Metrics that clients put, and counts of the funnel.
    pub metrics: MetricStore,
    /// Settings.
    pub config: ApiConfig,
    /// The clock.
    pub clock: Clock,
    pub(crate) s3: S3,
    pub(crate) uploads: Semaphore,
    pub(crate) role_writes: RoleWrites,
    pub(crate) recorder: crate::cloudwatch::Recorder,
    pub(crate) live_tails: Arc<Semaphore>,
    /// Held from reading a configuration until its change is written.
    pub(crate) configuration_writes: Mutex<()>,
    /// The same for parameters.
    pub(crate) parameter_writes: Mutex<()>,
    /// The same for secrets.
    pub(crate) secret_writes: Mutex<()>,
    /// The same for REST APIs, their deployments and stages.
    pub(crate) rest_api_writes: Mutex<()>,
    /// Held while a session is added or sessions are removed.
    pub(crate) session_writes: Mutex<()>,
}

impl ApiState {
    /// Puts the parts together.
    #[allow(clippy::too_many_arguments)] // Each is a part, and they are named at the one place that calls this.
    pub fn new(
        store: Arc<dyn Store>,
        code: Arc<dyn CodeStore>,
        invoker: Arc<Invoker>,
        durable: Arc<DurableExecutions>,
        logs: Arc<dyn Logs>,
        ledger: Arc<dyn Ledger>,
        objects: ObjectStore,
        queues: Queues,
        metrics: MetricStore,
        config: ApiConfig,
        clock: Clock,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            code,
            invoker,
            durable,
            logs,
            ledger,
            s3: S3::new(objects.clone()),
            objects,
            queues,
            metrics,
            config,
            clock,
            uploads: Semaphore::new(CONCURRENT_UPLOADS),
            role_writes: RoleWrites::default(),
            recorder: crate::cloudwatch::Recorder::default(),
            live_tails: Arc::new(Semaphore::new(crate::logs::LIVE_TAIL_SESSIONS)),
            configuration_writes: Mutex::default(),
            parameter_writes: Mutex::default(),
            secret_writes: Mutex::default(),
            rest_api_writes: Mutex::default(),
            session_writes: Mutex::default(),
        })
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// A keyed hash for links; SHA-256.
    pub(crate) fn link_mac(&self) -> Option<Hmac<Sha256>> {
        Hmac::<Sha256>::new_from_slice(&self.config.code_location_key).ok()
    }
}
