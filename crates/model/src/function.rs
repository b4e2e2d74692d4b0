//! A function version: the unit that is stored, resolved and run.

use crate::durable::DurableConfig;
use crate::layer::AttachedLayer;
use crate::name::{FunctionName, Qualifier, function_arn};
use crate::scope::Scope;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// SHA-256 of a ZIP, as 64 lower-case hexadecimal digits. Names the unpacked code on disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CodeDigest(String);

impl CodeDigest {
    /// From the 32 digest bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// From 64 hexadecimal digits; otherwise `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == 64
            && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        valid.then(|| Self(text.to_owned()))
    }

    /// The 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digest bytes, for `CodeSha256` (which is base64 of them).
    pub fn to_bytes(&self) -> Vec<u8> {
        (0..self.0.len())
            .step_by(2)
            .filter_map(|at| u8::from_str_radix(&self.0[at..at + 2], 16).ok())
            .collect()
    }
}

/// `$LATEST` or a published number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum VersionNumber {
    /// The one version that changes.
    Latest,
    /// An immutable snapshot, 1 and up.
    Published(u64),
}

impl std::fmt::Display for VersionNumber {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Qualifier::from(*self).fmt(formatter)
    }
}

/// `State` of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum FunctionState {
    Pending,
    Active,
    Inactive,
    Failed,
}

/// `LastUpdateStatus` of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum UpdateStatus {
    Successful,
    Failed,
    InProgress,
}

/// A status with the reason a client may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// `State`.
    pub state: FunctionState,
    /// `StateReason`, absent when there is nothing to say.
    pub state_reason: Option<String>,
    /// `StateReasonCode`.
    pub state_reason_code: Option<String>,
    /// `LastUpdateStatus`; absent right after create, as AWS does.
    pub last_update_status: Option<UpdateStatus>,
    /// `LastUpdateStatusReason`.
    pub last_update_status_reason: Option<String>,
    /// `LastUpdateStatusReasonCode`.
    pub last_update_status_reason_code: Option<String>,
}

/// `LoggingConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggingConfig {
    /// Whether logs are written as JSON rather than text.
    pub json: bool,
    /// `ApplicationLogLevel`, JSON format only.
    pub application_log_level: Option<String>,
    /// `SystemLogLevel`, JSON format only.
    pub system_log_level: Option<String>,
    /// The group, `/aws/lambda/<name>` unless configured.
    pub log_group: String,
}

/// One entry of `FileSystemConfigs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystemConfig {
    /// Access-point ARN; its last component names a directory of the platform.
    pub arn: String,
    /// Where the function sees it, `/mnt/...`.
    pub local_mount_path: String,
}

/// `VpcConfig` as given; stored and echoed, and it does not route traffic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VpcConfig {
    /// `SubnetIds`.
    pub subnet_ids: Vec<String>,
    /// `SecurityGroupIds`.
    pub security_group_ids: Vec<String>,
    /// `Ipv6AllowedForDualStack`.
    pub ipv6_allowed_for_dual_stack: bool,
}

/// Everything about one version of a function: configuration and which code it runs.
///
/// Field names follow `FunctionConfiguration` of the Lambda API. Optional blocks are absent when unset.
/// `Debug` prints the names of environment variables, never their values.
///
/// Records of older releases are read with this type: a new field that is not an `Option` needs
/// `#[serde(default)]` (the old-format fixture of `store` fails otherwise).
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionVersion {
    /// Where it lives.
    pub scope: Scope,
    /// Its plain name.
    pub name: FunctionName,
    /// `$LATEST` or a number.
    pub version: VersionNumber,
    /// Managed runtime identifier such as `python3.13`.
    pub runtime: String,
    /// `Handler`; empty for runtimes that need none.
    pub handler: String,
    /// Role ARN.
    pub role: String,
    /// Free text.
    pub description: String,
    /// `MemorySize`, MiB.
    pub memory_mib: u32,
    /// `Timeout`, seconds.
    pub timeout_seconds: u32,
    /// `EphemeralStorage.Size`, MiB.
    pub ephemeral_storage_mib: u32,
    /// `Environment.Variables`; `None` when the block was never given.
    pub environment: Option<BTreeMap<String, String>>,
    /// `Architectures`, exactly one: `x86_64` or `arm64`.
    pub architecture: String,
    /// The package.
    pub code: CodeDigest,
    /// `CodeSize`: bytes of the ZIP.
    pub code_size_bytes: u64,
    /// `LastModified`.
    pub last_modified: Timestamp,
    /// `RevisionId`, a new UUID at every change.
    pub revision_id: String,
    /// `State` and `LastUpdateStatus`.
    pub lifecycle: Lifecycle,
    /// `LoggingConfig`.
    pub logging: LoggingConfig,
    /// `TracingConfig.Mode`: `Active` or `PassThrough`.
    pub tracing_mode: String,
    /// `SnapStart.ApplyOn`: `None` or `PublishedVersions`.
    pub snap_start: String,
    /// `DeadLetterConfig.TargetArn`.
    pub dead_letter_target_arn: Option<String>,
    /// `KMSKeyArn`.
    pub kms_key_arn: Option<String>,
    /// `VpcConfig`.
    pub vpc: Option<VpcConfig>,
    /// `FileSystemConfigs`.
    pub file_systems: Vec<FileSystemConfig>,
    /// `Layers`, in the order in which they are laid over each other.
    pub layers: Vec<AttachedLayer>,
    /// ARN of the code-signing configuration new packages are checked by (kept on `$LATEST`).
    pub code_signing_config_arn: Option<String>,
    /// Tags of the function (kept on `$LATEST`).
    pub tags: BTreeMap<String, String>,
    /// `TenancyConfig.TenantIsolationMode` is `PER_TENANT`: instances are never shared between tenants. Fixed at creation.
    #[serde(default)]
    pub per_tenant: bool,
    /// Whether instances reach the public internet (tag `lamplight:egress`, default from the server).
    pub egress: Option<bool>,
    /// Events one instance is given at once (tag `lamplight:max-concurrency`); one after the other when absent.
    #[serde(default)]
    pub max_concurrency: Option<u16>,
    /// `DurableConfig`: set for durable functions.
    pub durable: Option<DurableConfig>,
}

/// What is kept on `$LATEST` and is no part of the configuration: changing it makes no new revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FunctionMarks {
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// What the tags say about egress.
    pub egress: Option<bool>,
    /// What they say about events at once.
    pub max_concurrency: Option<u16>,
    /// ARN of the code-signing configuration.
    pub code_signing_config_arn: Option<String>,
}

// By hand, so that a secret in the environment cannot reach a log through `{:?}`. Taken apart by name, so
// that a new field cannot be forgotten.
impl std::fmt::Debug for FunctionVersion {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            scope,
            name,
            version,
            runtime,
            handler,
            role,
            description,
            memory_mib,
            timeout_seconds,
            ephemeral_storage_mib,
            environment,
            architecture,
            code,
            code_size_bytes,
            last_modified,
            revision_id,
            lifecycle,
            logging,
            tracing_mode,
            snap_start,
            dead_letter_target_arn,
            kms_key_arn,
            vpc,
            file_systems,
            layers,
            code_signing_config_arn,
            tags,
            per_tenant,
            egress,
            max_concurrency,
            durable,
        } = self;
        let environment = environment.as_ref().map(|variables| variables.keys().collect::<Vec<_>>());
        formatter
            .debug_struct("FunctionVersion")
            .field("scope", scope)
            .field("name", name)
            .field("version", version)
            .field("runtime", runtime)
            .field("handler", handler)
            .field("role", role)
            .field("description", description)
            .field("memory_mib", memory_mib)
            .field("timeout_seconds", timeout_seconds)
            .field("ephemeral_storage_mib", ephemeral_storage_mib)
            .field("environment", &environment)
            .field("architecture", architecture)
            .field("code", code)
            .field("code_size_bytes", code_size_bytes)
            .field("last_modified", last_modified)
            .field("revision_id", revision_id)
            .field("lifecycle", lifecycle)
            .field("logging", logging)
            .field("tracing_mode", tracing_mode)
            .field("snap_start", snap_start)
            .field("dead_letter_target_arn", dead_letter_target_arn)
            .field("kms_key_arn", kms_key_arn)
            .field("vpc", vpc)
            .field("file_systems", file_systems)
            .field("layers", layers)
            .field("code_signing_config_arn", code_signing_config_arn)
            .field("tags", tags)
            .field("per_tenant", per_tenant)
            .field("egress", egress)
            .field("max_concurrency", max_concurrency)
            .field("durable", durable)
            .finish()
    }
}

impl FunctionVersion {
    /// A copy of the marks.
    pub fn marks(&self) -> FunctionMarks {
        FunctionMarks {
            tags: self.tags.clone(),
            egress: self.egress,
            max_concurrency: self.max_concurrency,
            code_signing_config_arn: self.code_signing_config_arn.clone(),
        }
    }

    /// Replaces the marks.
    pub fn set_marks(&mut self, marks: FunctionMarks) {
        self.tags = marks.tags;
        self.egress = marks.egress;
        self.max_concurrency = marks.max_concurrency;
        self.code_signing_config_arn = marks.code_signing_config_arn;
    }

    /// The ARN without qualifier.
    pub fn unqualified_arn(&self) -> String {
        function_arn(&self.scope, &self.name, None)
    }

    /// The ARN with this version's number, `...:$LATEST` for the unpublished one.
    pub fn qualified_arn(&self) -> String {
        function_arn(&self.scope, &self.name, Some(&self.version.into()))
    }

    /// Events one instance is given at once, at least one.
    pub fn concurrency(&self) -> usize {
        usize::from(self.max_concurrency.unwrap_or(1).max(1))
    }

    /// Whether an instance of one is an instance of the other: the same revision with the same marks that instances know.
    pub fn runs_as(&self, other: &Self) -> bool {
        self.revision_id == other.revision_id
            && self.version == other.version
            && self.name == other.name
            && self.egress == other.egress
            && self.max_concurrency == other.max_concurrency
            && self.code == other.code
            && self.layers == other.layers
            && self.scope == other.scope
    }

    /// Whether its instances are to start from a snapshot: SnapStart is for published versions.
    pub fn has_snap_start(&self) -> bool {
        matches!(self.version, VersionNumber::Published(_)) && self.snap_start == "PublishedVersions"
    }

    /// Every package its instances have mounted: its own, and its layers'.
    pub fn packages(&self) -> impl Iterator<Item = &CodeDigest> {
        std::iter::once(&self.code).chain(self.layers.iter().map(|layer| &layer.code))
    }

    /// `Timeout` as a duration.
    pub fn timeout(&self) -> std::time::Duration {
        std::time::Duration::from_secs(u64::from(self.timeout_seconds))
    }
}
