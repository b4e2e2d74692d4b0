//! A pool over plain processes: the real bootstrap, a folder as code store, and a log that is kept in memory.

use async_trait::async_trait;
use bytes::Bytes;
use lamplight_model::credentials::TemporaryCredentials;
use lamplight_model::function::{FunctionState, Lifecycle, LoggingConfig};
use lamplight_model::{
    CodeDigest, FunctionName, FunctionVersion, Invocation, Outcome, RequestId, Scope, ServiceError,
    Timestamp, VersionNumber,
};
use lamplight_pool::{Finished, Pool, PoolConfig, RuntimePlan, RuntimeSource};
use lamplight_sandbox::SandboxBackend;
use lamplight_sandbox::fake::{FakeBackend, FakeHost};
use lamplight_store::logs::LogQuery;
use lamplight_store::{CodeStore, LogEvent, LogGroupInfo, LogGroupSettings, LogStreamInfo, Logs, StoreError};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(100);
/// How long the credentials of its instances hold.
pub const CREDENTIALS_LIFE: Duration = Duration::from_secs(12 * 3_600);

pub struct Fixture {
    pub pool: Arc<Pool>,
    pub log: Arc<MemoryLog>,
    /// How far the pool's clock is ahead, milliseconds.
    pub ahead_ms: Arc<AtomicI64>,
    /// Where functions are put.
    code: PathBuf,
    plain: Option<(Arc<FakeBackend>, tempfile::TempDir)>,
}

/// Credentials of one instance, which nobody checks.
fn credentials(now: Timestamp) -> TemporaryCredentials {
    let random = || uuid::Uuid::new_v4().simple().to_string();
    TemporaryCredentials {
        access_key_id: format!("ASIA{}", random()),
        secret_access_key: random(),
        session_token: random(),
        expires_at: now.plus(CREDENTIALS_LIFE),
        role_id: None,
    }
}

/// An answer with everything that follows it.
#[derive(Debug)]
pub struct Answered {
    pub body: String,
    pub outcome: Outcome,
    pub finished: Finished,
}

impl Answered {
    /// `"cold"` or `"warm"`.
    pub fn start(&self) -> &'static str {
        if self.finished.report.init_us.is_some() { "cold" } else { "warm" }
    }
}

impl Fixture {
    /// Plain processes and the default bounds.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// Plain processes and other bounds.
    pub fn with(change: impl FnOnce(&mut PoolConfig)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["code", "temporary"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let bootstraps = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../runtime/bootstraps");
        let code = directory.path().join("code");
        let backend = Arc::new(FakeBackend::new(FakeHost {
            code: code.clone(),
            temporary: directory.path().join("temporary"),
            paths: vec![("/var/runtime".to_owned(), bootstraps.canonicalize().unwrap())],
        }));
        let python = python();
        let runtimes = Arc::new(move |identifier: &str| match identifier {
            "provided.al2023" => Ok(RuntimePlan::provided(identifier)),
            "python3.11" => {
                let command =
                    vec![python.clone(), "-S".to_owned(), "/var/runtime/python/bootstrap.py".to_owned()];
                Ok(RuntimePlan::managed(identifier, command, "3.11.7"))
            }
            other => Err(ServiceError::new(
                lamplight_model::ErrorCode::InvalidRuntimeException,
                format!("{other} is not installed"),
            )),
        });
        let fixture = Self::over(backend.clone(), code, runtimes, change);
        Self { plain: Some((backend, directory)), ..fixture }
    }

    /// Any backend, whose code directory is `code`.
    pub fn over(
        backend: Arc<dyn SandboxBackend>,
        code: PathBuf,
        runtimes: RuntimeSource,
        change: impl FnOnce(&mut PoolConfig),
    ) -> Self {
        let log = Arc::new(MemoryLog::default());
        let mut config = PoolConfig::for_host(24 << 30);
        config.compile_limit = Duration::ZERO;
        change(&mut config);
        let ahead_ms: Arc<AtomicI64> = Arc::default();
        let clock: lamplight_pool::Clock = {
            let ahead_ms = ahead_ms.clone();
            Arc::new(move || {
                Timestamp(Timestamp::from_system(SystemTime::now()).0 + ahead_ms.load(Ordering::SeqCst))
            })
        };
        let pool = Pool::new(
            config,
            backend,
            Arc::new(FolderCode(code.clone())),
            log.clone(),
            runtimes,
            Arc::new(|listener, _caller| {
                tokio::spawn(async move {
                    let _kept_open = listener;
                    std::future::pending().await
                })
            }),
            {
                let clock = clock.clone();
                Arc::new(move |_version| {
                    let credentials = credentials(clock());
                    Box::pin(async { Ok(credentials) })
                })
            },
            clock,
        );
        Self { pool, log, ahead_ms, code, plain: None }
    }

    /// The backend of plain processes.
    pub fn backend(&self) -> &FakeBackend {
        &self.plain.as_ref().expect("a fixture of plain processes").0
    }

    /// A Python function of the given source with the handler `app.handler`.
    pub fn python(&self, name: &str, source: &str) -> FunctionVersion {
        self.function(name, "python3.11", "app.py", source)
    }

    /// A function whose package is one executable file.
    pub fn function(&self, name: &str, runtime: &str, file: &str, source: &str) -> FunctionVersion {
        use std::os::unix::fs::PermissionsExt as _;
        let mut digest = [0; 32];
        digest[..name.len().min(32)].copy_from_slice(&name.as_bytes()[..name.len().min(32)]);
        let code = CodeDigest::from_bytes(&digest);
        let folder = self.code.join(code.as_str());
        std::fs::create_dir_all(&folder).unwrap();
        if !file.is_empty() {
            std::fs::write(folder.join(file), source).unwrap();
            std::fs::set_permissions(folder.join(file), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        version(name, runtime, code)
    }

    pub async fn call(&self, version: &Arc<FunctionVersion>, payload: &str) -> Answered {
        self.try_call(version, payload).await.unwrap()
    }

    pub async fn try_call(
        &self,
        version: &Arc<FunctionVersion>,
        payload: &str,
    ) -> Result<Answered, ServiceError> {
        let answer = self.pool.run(invocation(version, payload)).await?;
        let whole = async {
            let collected = answer.collect(lamplight_model::limits::SYNC_PAYLOAD_BYTES).await?;
            Ok(Answered {
                body: String::from_utf8(collected.body.to_vec()).unwrap(),
                outcome: collected.outcome.clone(),
                finished: collected.finished().await.unwrap(),
            })
        };
        tokio::time::timeout(PATIENCE, whole).await.expect("the call did not end")
    }

    /// Waits until the pool looks as it should.
    pub async fn until(&self, what: &str, holds: impl Fn(&lamplight_pool::Snapshot) -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !holds(&self.pool.snapshot()) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        assert!(waited.await.is_ok(), "never: {what}: {:?}", self.pool.snapshot());
    }
}

pub fn invocation(version: &Arc<FunctionVersion>, payload: &str) -> Invocation {
    Invocation {
        request_id: RequestId(uuid::Uuid::new_v4()),
        version: version.clone(),
        invoked_arn: version.unqualified_arn(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        client_context: None,
        trace_header: None,
        tenant_id: None,
        arrived_at: Timestamp::from_system(SystemTime::now()),
        log_tail: true,
        place: Default::default(),
    }
}

fn version(name: &str, runtime: &str, code: CodeDigest) -> FunctionVersion {
    FunctionVersion {
        scope: Scope::default(),
        name: FunctionName::parse(name).unwrap(),
        version: VersionNumber::Latest,
        runtime: runtime.to_owned(),
        handler: "app.handler".to_owned(),
        role: "arn:aws:iam::000000000000:role/test".to_owned(),
        description: String::new(),
        memory_mib: 128,
        timeout_seconds: 20,
        ephemeral_storage_mib: 512,
        environment: None,
        architecture: "x86_64".to_owned(),
        code,
        code_size_bytes: 1,
        last_modified: Timestamp(1),
        revision_id: format!("revision-of-{name}"),
        lifecycle: Lifecycle {
            state: FunctionState::Active,
            state_reason: None,
            state_reason_code: None,
            last_update_status: None,
            last_update_status_reason: None,
            last_update_status_reason_code: None,
        },
        logging: LoggingConfig {
            json: false,
            application_log_level: None,
            system_log_level: None,
            log_group: format!("/aws/lambda/{name}"),
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
        tags: Default::default(),
        egress: None,
        code_signing_config_arn: None,
    }
}

/// The real interpreter, not a version manager's shim.
fn python() -> String {
    let output = std::process::Command::new("python3")
        .args(["-c", "import os, sys; print(os.path.realpath(sys.executable))"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Packages that lie unpacked already.
struct FolderCode(PathBuf);

#[async_trait]
impl CodeStore for FolderCode {
    async fn put(&self, _zip: Bytes) -> Result<CodeDigest, ServiceError> {
        Err(ServiceError::internal("not used"))
    }
    async fn get(&self, _digest: &CodeDigest) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }
    async fn unpacked(&self, digest: &CodeDigest) -> Result<String, StoreError> {
        Ok(digest.as_str().to_owned())
    }
    async fn renew(&self, _digest: &CodeDigest) -> Result<u64, StoreError> {
        Ok(0)
    }
    fn has_file(&self, digest: &CodeDigest, name: &str) -> bool {
        self.0.join(digest.as_str()).join(name).is_file()
    }
    async fn collect(&self, _referenced: &[CodeDigest]) -> Result<u64, StoreError> {
        Ok(0)
    }
}

/// Keeps every line: (group, stream, text).
#[derive(Default)]
pub struct MemoryLog {
    lines: Mutex<Vec<(String, String, String)>>,
}

impl MemoryLog {
    /// All text of a function's log.
    pub fn text(&self, function: &str) -> String {
        let group = format!("/aws/lambda/{function}");
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|line| line.0 == group).map(|line| line.2.as_str()).collect()
    }

    /// Names of the streams of a function's log, each once.
    pub fn stream_names(&self, function: &str) -> Vec<String> {
        let group = format!("/aws/lambda/{function}");
        let lines = self.lines.lock().unwrap();
        let mut names: Vec<String> =
            lines.iter().filter(|line| line.0 == group).map(|line| line.1.clone()).collect();
        names.sort();
        names.dedup();
        names
    }
}

#[async_trait]
impl Logs for MemoryLog {
    fn append(&self, _scope: &Scope, group: &str, stream: &str, lines: Vec<(Timestamp, String)>) {
        let mut kept = self.lines.lock().unwrap();
        kept.extend(lines.into_iter().map(|(_, text)| (group.to_owned(), stream.to_owned(), text)));
    }
    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
    async fn groups(
        &self,
        _scope: &Scope,
        _prefix: Option<&str>,
        _after: Option<&str>,
        _limit: usize,
    ) -> Result<Vec<LogGroupInfo>, StoreError> {
        Ok(Vec::new())
    }
    // The pool does none of these.
    async fn put(
        &self,
        _scope: &Scope,
        _group: &str,
        _stream: &str,
        _events: Vec<(Timestamp, String)>,
    ) -> Result<bool, StoreError> {
        Ok(false)
    }
    async fn create_group(
        &self,
        _scope: &Scope,
        group: &str,
        _settings: LogGroupSettings,
    ) -> Result<(), StoreError> {
        Err(StoreError::AlreadyExists(group.to_owned()))
    }
    async fn configure_group(
        &self,
        _scope: &Scope,
        group: &str,
        _settings: LogGroupSettings,
    ) -> Result<(), StoreError> {
        Err(StoreError::NotFound(group.to_owned()))
    }
    async fn delete_group(&self, _scope: &Scope, group: &str) -> Result<(), StoreError> {
        Err(StoreError::NotFound(group.to_owned()))
    }
    async fn group(&self, _scope: &Scope, group: &str) -> Result<LogGroupInfo, StoreError> {
        Err(StoreError::NotFound(group.to_owned()))
    }
    async fn create_stream(&self, _scope: &Scope, group: &str, _stream: &str) -> Result<(), StoreError> {
        Err(StoreError::NotFound(group.to_owned()))
    }
    async fn delete_stream(&self, _scope: &Scope, group: &str, _stream: &str) -> Result<(), StoreError> {
        Err(StoreError::NotFound(group.to_owned()))
    }
    async fn last_sequence(&self, _scope: &Scope, group: &str) -> Result<u64, StoreError> {
        Err(StoreError::NotFound(group.to_owned()))
    }
    async fn streams(&self, _scope: &Scope, _group: &str) -> Result<Vec<LogStreamInfo>, StoreError> {
        Ok(Vec::new())
    }
    async fn events(
        &self,
        _scope: &Scope,
        _group: &str,
        _query: LogQuery,
    ) -> Result<Vec<LogEvent>, StoreError> {
        Ok(Vec::new())
    }
    async fn retain(&self, _now: Timestamp) -> Result<u64, StoreError> {
        Ok(0)
    }
    fn watch(&self) -> tokio::sync::watch::Receiver<u64> {
        tokio::sync::watch::channel(0).1
    }
}
