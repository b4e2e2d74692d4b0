//! A version and credentials for tests.

use lamplight_model::credentials::TemporaryCredentials;
use lamplight_model::function::{FunctionState, Lifecycle, LoggingConfig};
use lamplight_model::{CodeDigest, FunctionName, FunctionVersion, Scope, Timestamp, VersionNumber};

/// `$LATEST` of a 128 MB function with a timeout of three seconds and the handler `app.handler`.
pub fn version(name: &str, runtime: &str) -> FunctionVersion {
    FunctionVersion {
        scope: Scope::default(),
        name: FunctionName::parse(name).unwrap(),
        version: VersionNumber::Latest,
        runtime: runtime.to_owned(),
        handler: "app.handler".to_owned(),
        role: "arn:aws:iam::000000000000:role/test".to_owned(),
        description: String::new(),
        memory_mib: 128,
        timeout_seconds: 3,
        ephemeral_storage_mib: 512,
        environment: None,
        architecture: "x86_64".to_owned(),
        code: CodeDigest::from_bytes(&[1; 32]),
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

/// Credentials that nobody knows.
pub fn credentials() -> TemporaryCredentials {
    TemporaryCredentials {
        access_key_id: "ASIAEXAMPLE".to_owned(),
        secret_access_key: "secret".to_owned(),
        session_token: "token".to_owned(),
        expires_at: Timestamp(i64::MAX),
        role_id: None,
    }
}
