//! What the store's tests share: functions, events and reports to store.
#![allow(dead_code)] // Each test program uses its part.
#![allow(clippy::unwrap_used)] // A helper that fails is a failed test.

pub mod mount;

use bytes::Bytes;
use lamplight_model::function::{FunctionState, Lifecycle, LoggingConfig, UpdateStatus};
use lamplight_model::*;
use lamplight_store::*;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

pub fn scope() -> Scope {
    Scope::default()
}

pub fn other_scope() -> Scope {
    Scope { region: Region::parse("eu-west-1").unwrap(), ..Scope::default() }
}

pub fn name(text: &str) -> FunctionName {
    FunctionName::parse(text).unwrap()
}

pub fn revision() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// `$LATEST` of a function, settled, with a new revision.
pub fn function(text: &str) -> FunctionVersion {
    FunctionVersion {
        scope: scope(),
        name: name(text),
        version: VersionNumber::Latest,
        runtime: "python3.11".to_owned(),
        handler: "app.handler".to_owned(),
        role: "arn:aws:iam::000000000000:role/any".to_owned(),
        description: String::new(),
        memory_mib: 128,
        timeout_seconds: 3,
        ephemeral_storage_mib: 512,
        environment: None,
        architecture: "x86_64".to_owned(),
        code: CodeDigest::from_bytes(&[7; 32]),
        code_size_bytes: 100,
        last_modified: Timestamp(1_700_000_000_000),
        revision_id: revision(),
        lifecycle: Lifecycle {
            state: FunctionState::Active,
            state_reason: None,
            state_reason_code: None,
            last_update_status: Some(UpdateStatus::Successful),
            last_update_status_reason: None,
            last_update_status_reason_code: None,
        },
        logging: LoggingConfig {
            json: false,
            application_log_level: None,
            system_log_level: None,
            log_group: format!("/aws/lambda/{text}"),
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
        tags: BTreeMap::new(),
        egress: None,
        code_signing_config_arn: None,
    }
}

pub fn request_id() -> RequestId {
    RequestId(uuid::Uuid::new_v4())
}

/// An event accepted and due at `at`.
pub fn event(function: &str, at: i64) -> QueuedEvent {
    QueuedEvent {
        request_id: request_id(),
        scope: scope(),
        function: name(function),
        qualifier: Some(Qualifier::Version(3)),
        payload: Bytes::from_static(b"{\"a\":1}"),
        client_context: Some("{}".to_owned()),
        trace_header: Some("Root=1".to_owned()),
        tenant_id: TenantId::parse("blue"),
        accepted_at: Timestamp(at),
        attempts: 0,
        not_before: Timestamp(at),
    }
}

pub fn report(function: &str, arrived_at: i64, status: OutcomeStatus) -> InvocationReport {
    InvocationReport {
        request_id: request_id(),
        scope: scope(),
        function: function.into(),
        version: VersionNumber::Latest,
        instance_id: "i".into(),
        outcome: Outcome { status, error_type: None },
        arrived_at: Timestamp(arrived_at),
        queue_us: 1,
        duration_us: 1_500,
        billed_ms: 100,
        memory_mib: 512,
        max_memory_used_mib: 40,
        init_us: None,
        start: StartKind::Warm,
        cold_start: None,
        event_accepted_at: None,
    }
}

/// A ZIP of plain files.
pub fn zip_of(files: &[(&str, &[u8])]) -> Bytes {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        let options = zip::write::SimpleFileOptions::default().unix_permissions(0o600);
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner().into()
}

/// Opens with the defaults and a clock of the test's own.
pub fn open_at(directory: &Path, clock: &std::sync::Arc<std::sync::atomic::AtomicI64>) -> Opened {
    let clock = clock.clone();
    let mut options = Options::new(directory);
    options.clock = std::sync::Arc::new(move || Timestamp(clock.load(std::sync::atomic::Ordering::SeqCst)));
    open(options).unwrap()
}

/// Every regular file below `directory` with its content.
pub fn files_below(directory: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let kind = std::fs::symlink_metadata(&path).unwrap();
        if kind.is_dir() {
            found.extend(files_below(&path));
        } else if kind.is_file() {
            found.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    found
}
