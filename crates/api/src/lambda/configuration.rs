//! `FunctionConfiguration`: how a version looks to a client.
//!
//! Optional blocks are absent when unset, never null or empty: Terraform shows a difference otherwise.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lamplight_model::FunctionVersion;
use lamplight_model::function::UpdateStatus;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// What of a version an operation shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// `FunctionArn` with the version's number.
    pub qualified: bool,
    /// `State*`, `LastUpdateStatus*` and `RuntimeVersionConfig`, which lists leave out.
    pub status: bool,
}

/// The configuration of one version.
pub fn configuration(version: &FunctionVersion, form: Form) -> Map<String, Value> {
    let mut map = Map::new();
    let mut set = |name: &str, value: Value| map.insert(name.to_owned(), value);
    set("FunctionName", version.name.as_str().into());
    set(
        "FunctionArn",
        if form.qualified { version.qualified_arn() } else { version.unqualified_arn() }.into(),
    );
    set("Runtime", version.runtime.as_str().into());
    set("Role", version.role.as_str().into());
    set("Handler", version.handler.as_str().into());
    set("CodeSize", version.code_size_bytes.into());
    set("Description", version.description.as_str().into());
    set("Timeout", version.timeout_seconds.into());
    set("MemorySize", version.memory_mib.into());
    set("LastModified", version.last_modified.lambda_format().into());
    set("CodeSha256", STANDARD.encode(version.code.to_bytes()).into());
    set("Version", version.version.to_string().into());
    if let Some(vpc) = &version.vpc {
        set(
            "VpcConfig",
            json!({
                "SubnetIds": vpc.subnet_ids,
                "SecurityGroupIds": vpc.security_group_ids,
                "VpcId": "",
                "Ipv6AllowedForDualStack": vpc.ipv6_allowed_for_dual_stack,
            }),
        );
    }
    if let Some(arn) = &version.dead_letter_target_arn {
        set("DeadLetterConfig", json!({"TargetArn": arn}));
    }
    if let Some(variables) = &version.environment {
        set("Environment", json!({"Variables": variables}));
    }
    if let Some(arn) = &version.kms_key_arn {
        set("KMSKeyArn", arn.as_str().into());
    }
    set("TracingConfig", json!({"Mode": version.tracing_mode}));
    set("RevisionId", version.revision_id.as_str().into());
    if !version.layers.is_empty() {
        let layers: Vec<Value> = version
            .layers
            .iter()
            .map(|layer| json!({"Arn": layer.arn, "CodeSize": layer.code_size_bytes}))
            .collect();
        set("Layers", layers.into());
    }
    if form.status {
        set_status(version, &mut set);
    }
    if !version.file_systems.is_empty() {
        let file_systems: Vec<Value> = version
            .file_systems
            .iter()
            .map(|config| json!({"Arn": config.arn, "LocalMountPath": config.local_mount_path}))
            .collect();
        set("FileSystemConfigs", file_systems.into());
    }
    set("PackageType", "Zip".into());
    set("Architectures", json!([version.architecture]));
    set("EphemeralStorage", json!({"Size": version.ephemeral_storage_mib}));
    let optimised = if version.has_snap_start() { "On" } else { "Off" };
    set("SnapStart", json!({"ApplyOn": version.snap_start, "OptimizationStatus": optimised}));
    if form.status {
        set("RuntimeVersionConfig", json!({"RuntimeVersionArn": runtime_version_arn(version)}));
    }
    set("LoggingConfig", logging(version));
    if version.per_tenant {
        set("TenancyConfig", json!({"TenantIsolationMode": "PER_TENANT"}));
    }
    if let Some(durable) = &version.durable {
        let mut config = json!({
            "RetentionPeriodInDays": durable.retention_days,
            "ExecutionTimeout": durable.execution_timeout_seconds,
        });
        if let Some(arn) = &durable.kms_key_arn {
            config["KMSKeyArn"] = arn.as_str().into();
        }
        set("DurableConfig", config);
    }
    map
}

fn set_status(version: &FunctionVersion, set: &mut impl FnMut(&str, Value) -> Option<Value>) {
    let lifecycle = &version.lifecycle;
    set("State", format!("{:?}", lifecycle.state).into());
    let mut optional = |name: &str, text: &Option<String>| {
        if let Some(text) = text {
            set(name, text.as_str().into());
        }
    };
    optional("StateReason", &lifecycle.state_reason);
    optional("StateReasonCode", &lifecycle.state_reason_code);
    let update = lifecycle.last_update_status.map(|status| match status {
        UpdateStatus::Successful => "Successful".to_owned(),
        UpdateStatus::Failed => "Failed".to_owned(),
        UpdateStatus::InProgress => "InProgress".to_owned(),
    });
    optional("LastUpdateStatus", &update);
    optional("LastUpdateStatusReason", &lifecycle.last_update_status_reason);
    optional("LastUpdateStatusReasonCode", &lifecycle.last_update_status_reason_code);
}

fn logging(version: &FunctionVersion) -> Value {
    let logging = &version.logging;
    let mut map = Map::new();
    map.insert("LogFormat".to_owned(), if logging.json { "JSON" } else { "Text" }.into());
    if let Some(level) = &logging.application_log_level {
        map.insert("ApplicationLogLevel".to_owned(), level.as_str().into());
    }
    if let Some(level) = &logging.system_log_level {
        map.insert("SystemLogLevel".to_owned(), level.as_str().into());
    }
    map.insert("LogGroup".to_owned(), logging.log_group.as_str().into());
    Value::Object(map)
}

/// AWS names the patch version of a runtime by an opaque hash; ours is the hash of the identifier.
pub fn runtime_version_arn(version: &FunctionVersion) -> String {
    let digest = Sha256::digest(version.runtime.as_bytes());
    let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("arn:aws:lambda:{}::runtime:{hash}", version.scope.region.as_str())
}
