//! The settings that CreateFunction and UpdateFunctionConfiguration have in common: read, checked, applied.

use crate::http::{ApiError, Members};
use crate::lambda::layers::attach;
use crate::lambda::validation::{self as shape, Violations};
use lamplight_model::durable::{DEFAULT_RETENTION_DAYS, DurableConfig, LONGEST_SECONDS};
use lamplight_model::function::{FileSystemConfig, VpcConfig};
use lamplight_model::{FunctionVersion, limits, managed_runtime};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Greatest `MemorySize` and `EphemeralStorage` of the service model; ordinary functions have less.
const MODEL_SIZE_MIB: i64 = 32_768;
/// Greatest `Timeout` of the service model; ordinary functions have less.
const MODEL_TIMEOUT_SECONDS: i64 = 5_400;
/// Members that would change how a function runs and that nothing here honours yet. They are refused by name:
/// silently dropping one would run the function another way than was asked for.
const UNSERVED: &[&str] =
    &["AcceleratorConfig", "CapacityProviderConfig", "ImageConfig", "PublishTo", "RuntimeConfig"];
/// Largest `/tmp` of a function with SnapStart, MiB.
const SNAP_START_DISK_MIB: i64 = 512;
/// Names a function's environment may not set. Source: Lambda guide, "Defined runtime environment variables".
const RESERVED_VARIABLES: &[&str] = &[
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_MAX_CONCURRENCY",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
];
/// Levels of JSON logs.
const APPLICATION_LEVELS: &[&str] = &["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
/// Levels of the platform's JSON log lines.
const SYSTEM_LEVELS: &[&str] = &["DEBUG", "INFO", "WARN"];
/// Level of a JSON log without one.
const DEFAULT_LEVEL: &str = "INFO";

/// Settings a request gave; `None` was not given.
#[derive(Debug, Default)]
pub struct Settings {
    /// `Runtime`.
    pub runtime: Option<String>,
    /// `Handler`.
    pub handler: Option<String>,
    /// `Role`.
    pub role: Option<String>,
    description: Option<String>,
    memory_mib: Option<i64>,
    timeout_seconds: Option<i64>,
    ephemeral_storage_mib: Option<i64>,
    environment: Option<BTreeMap<String, String>>,
    tracing_mode: Option<String>,
    snap_start: Option<String>,
    dead_letter_target_arn: Option<String>,
    kms_key_arn: Option<String>,
    vpc: Option<VpcConfig>,
    file_systems: Option<Vec<FileSystemConfig>>,
    /// `Layers`, as ARNs: `layers::attach` makes of them what is stored.
    pub layers: Option<Vec<String>>,
    logging: Option<Logging>,
    durable: Option<Durable>,
}

/// `DurableConfig`: what a request says of it.
#[derive(Debug)]
struct Durable {
    execution_timeout_seconds: Option<i64>,
    retention_days: Option<i64>,
    kms_key_arn: Option<String>,
}

#[derive(Debug)]
struct Logging {
    /// `LogFormat`; what the function has stays when it is not given.
    json: Option<bool>,
    application_log_level: Option<String>,
    system_log_level: Option<String>,
    log_group: Option<String>,
}

impl Settings {
    /// Reads the members and notes what breaks the shapes of the service model.
    ///
    /// Fails with `SerializationException` for wrong types.
    pub fn read(members: &Members<'_>, violations: &mut Violations) -> Result<Self, ApiError> {
        let settings = Self {
            runtime: members.string("Runtime")?,
            handler: members.string("Handler")?,
            role: members.string("Role")?,
            description: members.string("Description")?,
            memory_mib: members.integer("MemorySize")?,
            timeout_seconds: members.integer("Timeout")?,
            ephemeral_storage_mib: match members.object("EphemeralStorage")? {
                Some(storage) => {
                    let size = storage.integer("Size")?;
                    if size.is_none() {
                        violations.missing("ephemeralStorage.size");
                    }
                    size
                }
                None => None,
            },
            environment: match members.object("Environment")? {
                Some(environment) => Some(environment.string_map("Variables")?.unwrap_or_default()),
                None => None,
            },
            tracing_mode: nested(members, "TracingConfig", "Mode")?,
            snap_start: nested(members, "SnapStart", "ApplyOn")?,
            dead_letter_target_arn: nested(members, "DeadLetterConfig", "TargetArn")?,
            kms_key_arn: members.string("KMSKeyArn")?,
            vpc: read_vpc(members)?,
            file_systems: read_file_systems(members, violations)?,
            layers: members.strings("Layers")?,
            logging: read_logging(members)?,
            durable: read_durable(members)?,
        };
        settings.note_violations(violations);
        Ok(settings)
    }

    fn note_violations(&self, violations: &mut Violations) {
        if let Some(handler) = &self.handler {
            violations.length(handler, "handler", 128);
            violations.pattern(handler, "handler", shape::is_handler(handler), shape::HANDLER_PATTERN);
        }
        if let Some(role) = &self.role {
            violations.pattern(role, "role", shape::is_role_arn(role), shape::ROLE_PATTERN);
        }
        if let Some(description) = &self.description {
            violations.length(description, "description", 256);
        }
        if let Some(memory_mib) = self.memory_mib {
            violations.range(memory_mib, "memorySize", 128, MODEL_SIZE_MIB);
        }
        if let Some(timeout_seconds) = self.timeout_seconds {
            violations.range(timeout_seconds, "timeout", 1, MODEL_TIMEOUT_SECONDS);
        }
        if let Some(size_mib) = self.ephemeral_storage_mib {
            violations.range(size_mib, "ephemeralStorage.size", 512, MODEL_SIZE_MIB);
        }
        if let Some(mode) = &self.tracing_mode {
            violations.one_of(mode, "tracingConfig.mode", &["Active", "PassThrough"]);
        }
        if let Some(apply_on) = &self.snap_start {
            violations.one_of(apply_on, "snapStart.applyOn", &["PublishedVersions", "None"]);
        }
        for (arn, path) in
            [(&self.dead_letter_target_arn, "deadLetterConfig.targetArn"), (&self.kms_key_arn, "kMSKeyArn")]
        {
            if let Some(arn) = arn {
                violations.pattern(arn, path, shape::is_arn_or_empty(arn), shape::ARN_PATTERN);
            }
        }
        if self.environment.iter().flat_map(BTreeMap::keys).any(|name| !shape::is_variable_name(name)) {
            // The values are the function's secrets: AWS marks the shape as sensitive, too.
            violations.add(
                "***",
                "environment.variables",
                format!(
                    "Map keys must satisfy constraint: [Member must satisfy regular expression pattern: {}]",
                    shape::VARIABLE_PATTERN
                ),
            );
        }
        if let Some(logging) = &self.logging {
            logging.note_violations(violations);
        }
        if let Some(durable) = &self.durable {
            durable.note_violations(violations);
        }
        if let Some(layers) = &self.layers {
            attach::note_violations(layers, violations);
        }
        if let Some(vpc) = &self.vpc {
            list_length(&vpc.subnet_ids, "vpcConfig.subnetIds", 16, violations);
            list_length(&vpc.security_group_ids, "vpcConfig.securityGroupIds", 5, violations);
        }
    }

    /// Checks what the service checks after the shapes: known runtime, sizes of ordinary functions, reserved and
    /// too large environments.
    ///
    /// `logs_json` says whether the function writes JSON logs so far. Fails with
    /// `InvalidParameterValueException`. Changes nothing.
    pub fn check(&self, members: &Members<'_>, logs_json: bool) -> Result<(), ApiError> {
        if let Some(name) = UNSERVED.iter().find(|name| members.has(name)) {
            return Err(ApiError::invalid_parameter(format!("{name} is not supported by Lamplight yet.")));
        }
        if let Some(runtime) = &self.runtime
            && !managed_runtime::is_known(runtime)
        {
            return Err(ApiError::invalid_parameter(format!(
                "Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: \
                 [{}] or be a valid ARN",
                managed_runtime::IDENTIFIERS.join(", ")
            )));
        }
        ordinary("MemorySize", self.memory_mib, limits::MEMORY_MIB)?;
        ordinary("Timeout", self.timeout_seconds, limits::TIMEOUT_SECONDS)?;
        ordinary("EphemeralStorage", self.ephemeral_storage_mib, limits::EPHEMERAL_STORAGE_MIB)?;
        if let Some(variables) = &self.environment {
            check_environment(variables)?;
        }
        if self.vpc.as_ref().is_some_and(|vpc| vpc.subnet_ids.is_empty() != vpc.security_group_ids.is_empty())
        {
            return Err(ApiError::invalid_parameter(
                "SubnetIds and SecurityIds must coexist or be both empty list.",
            ));
        }
        if self.logging.as_ref().is_some_and(|logging| logging.has_level_without_json(logs_json)) {
            return Err(ApiError::invalid_parameter(
                "Log level is not supported when LogFormat is set to 'Text'. Remove log level from your request \
                 or change the LogFormat to 'JSON' and try again.",
            ));
        }
        Ok(())
    }

    /// Whether what the function will be can have SnapStart, when it asks for it. `latest` is the function so far,
    /// `per_tenant` whether it keeps tenants apart.
    ///
    /// Fails with `InvalidParameterValueException`: for a runtime with AWS's text, for disk and file systems with one of
    /// our own, as AWS's are not published. Source: Lambda developer guide, "SnapStart", supported features.
    pub fn check_snap_start(
        &self,
        latest: Option<&FunctionVersion>,
        per_tenant: bool,
    ) -> Result<(), ApiError> {
        let apply_on = self.snap_start.as_deref().or(latest.map(|latest| latest.snap_start.as_str()));
        if apply_on != Some("PublishedVersions") {
            return Ok(());
        }
        let runtime = self.runtime.as_deref().or(latest.map(|latest| latest.runtime.as_str()));
        let refused = |what: &str| {
            Err(ApiError::invalid_parameter(format!(
                "{what} is not supported for SnapStart enabled functions."
            )))
        };
        if let Some(runtime) = runtime.filter(|runtime| !has_snap_start(runtime)) {
            return refused(runtime);
        }
        if per_tenant {
            return refused("TenancyConfig");
        }
        let disk_mib =
            self.ephemeral_storage_mib.or(latest.map(|latest| i64::from(latest.ephemeral_storage_mib)));
        if disk_mib.is_some_and(|size_mib| size_mib > SNAP_START_DISK_MIB) {
            return refused("EphemeralStorage above 512 MB");
        }
        let has_file_systems = match &self.file_systems {
            Some(file_systems) => !file_systems.is_empty(),
            None => latest.is_some_and(|latest| !latest.file_systems.is_empty()),
        };
        if has_file_systems { refused("FileSystemConfigs") } else { Ok(()) }
    }

    /// Whether the function, `latest` so far, can be durable when this asks for it, and is complete then.
    ///
    /// Fails with `InvalidParameterValueException` in AWS's words: a function is created durable or never is. Ours is that it cannot keep
    /// tenants apart besides: an execution does not know whose it is.
    pub fn check_durable(&self, latest: Option<&FunctionVersion>, per_tenant: bool) -> Result<(), ApiError> {
        match (&self.durable, latest) {
            (Some(_), _) if per_tenant => Err(ApiError::invalid_parameter(
                "Lamplight supports DurableConfig together with TenancyConfig not yet: use one of them.",
            )),
            (Some(durable), None) if durable.execution_timeout_seconds.is_none() => {
                Err(ApiError::invalid_parameter(
                    "You cannot create a function with a durable configuration without an executionTimeout",
                ))
            }
            (Some(_), Some(latest)) if latest.durable.is_none() => Err(ApiError::invalid_parameter(
                "You cannot add a durable configuration to a function that was originally created with no \
                 durable configuration",
            )),
            _ => Ok(()),
        }
    }

    /// What a durable function has unless it is created with something else: time for an invocation as long as for the
    /// execution, and JSON logs. Source: as AWS was seen to answer CreateFunction.
    pub fn apply_durable_defaults(&self, version: &mut FunctionVersion) {
        let Some(seconds) = self.durable.as_ref().and_then(|durable| durable.execution_timeout_seconds)
        else {
            return;
        };
        let longest = *limits::TIMEOUT_SECONDS.end();
        version.timeout_seconds = u32::try_from(seconds).unwrap_or(longest).min(longest);
        version.logging.json = true;
        version.logging.application_log_level = Some(DEFAULT_LEVEL.to_owned());
        version.logging.system_log_level = Some(DEFAULT_LEVEL.to_owned());
    }

    /// Writes what was given into `version`, but for layers, which must be looked up. Call after `check`.
    pub fn apply(self, version: &mut FunctionVersion) {
        fn set<T>(target: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *target = value;
            }
        }
        let size = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
        set(&mut version.runtime, self.runtime);
        set(&mut version.handler, self.handler);
        set(&mut version.role, self.role);
        set(&mut version.description, self.description);
        set(&mut version.memory_mib, size(self.memory_mib));
        set(&mut version.timeout_seconds, size(self.timeout_seconds));
        set(&mut version.ephemeral_storage_mib, size(self.ephemeral_storage_mib));
        set(&mut version.tracing_mode, self.tracing_mode);
        set(&mut version.snap_start, self.snap_start);
        set(&mut version.file_systems, self.file_systems);
        // An empty value takes a block away; a block that was never given is absent in answers.
        if let Some(variables) = self.environment {
            version.environment = Some(variables).filter(|variables| !variables.is_empty());
        }
        if let Some(arn) = self.dead_letter_target_arn {
            version.dead_letter_target_arn = Some(arn).filter(|arn| !arn.is_empty());
        }
        if let Some(arn) = self.kms_key_arn {
            version.kms_key_arn = Some(arn).filter(|arn| !arn.is_empty());
        }
        if let Some(vpc) = self.vpc {
            version.vpc =
                Some(vpc).filter(|vpc| !vpc.subnet_ids.is_empty() || !vpc.security_group_ids.is_empty());
        }
        if let Some(logging) = self.logging {
            logging.apply(version);
        }
        if let Some(durable) = self.durable {
            durable.apply(version);
        }
    }
}

impl Durable {
    fn note_violations(&self, violations: &mut Violations) {
        if let Some(seconds) = self.execution_timeout_seconds {
            violations.range(seconds, "durableConfig.executionTimeout", 1, i64::from(LONGEST_SECONDS));
        }
        if let Some(days) = self.retention_days {
            violations.range(days, "durableConfig.retentionPeriodInDays", 1, 90);
        }
        if let Some(arn) = &self.kms_key_arn {
            violations.pattern(
                arn,
                "durableConfig.kMSKeyArn",
                shape::is_arn_or_empty(arn),
                shape::ARN_PATTERN,
            );
        }
    }

    /// What is not given stays.
    fn apply(self, version: &mut FunctionVersion) {
        let number = |given: Option<i64>| given.and_then(|given| u32::try_from(given).ok());
        let stored = version.durable.take();
        let timeout = number(self.execution_timeout_seconds)
            .or(stored.as_ref().map(|stored| stored.execution_timeout_seconds));
        let retention = number(self.retention_days).or(stored.as_ref().map(|stored| stored.retention_days));
        version.durable = timeout.map(|execution_timeout_seconds| DurableConfig {
            execution_timeout_seconds,
            retention_days: retention.unwrap_or(DEFAULT_RETENTION_DAYS),
            kms_key_arn: match self.kms_key_arn {
                Some(arn) => Some(arn).filter(|arn| !arn.is_empty()),
                None => stored.and_then(|stored| stored.kms_key_arn),
            },
        });
    }
}

impl Logging {
    fn note_violations(&self, violations: &mut Violations) {
        if let Some(level) = &self.application_log_level {
            violations.one_of(level, "loggingConfig.applicationLogLevel", APPLICATION_LEVELS);
        }
        if let Some(level) = &self.system_log_level {
            violations.one_of(level, "loggingConfig.systemLogLevel", SYSTEM_LEVELS);
        }
        if let Some(group) = &self.log_group {
            violations.length(group, "loggingConfig.logGroup", 512);
            violations.pattern(
                group,
                "loggingConfig.logGroup",
                shape::is_log_group(group),
                shape::LOG_GROUP_PATTERN,
            );
        }
    }

    fn has_level_without_json(&self, logs_json: bool) -> bool {
        !self.json.unwrap_or(logs_json)
            && (self.application_log_level.is_some() || self.system_log_level.is_some())
    }

    fn apply(self, version: &mut FunctionVersion) {
        let logging = &mut version.logging;
        logging.json = self.json.unwrap_or(logging.json);
        let json = logging.json;
        // JSON logs always have levels, text logs never.
        let level = |given: Option<String>, stored: Option<String>| {
            json.then(|| given.or(stored).unwrap_or_else(|| DEFAULT_LEVEL.to_owned()))
        };
        logging.application_log_level =
            level(self.application_log_level, logging.application_log_level.take());
        logging.system_log_level = level(self.system_log_level, logging.system_log_level.take());
        if let Some(group) = self.log_group {
            logging.log_group = group;
        }
    }
}

/// Java 11, Python 3.12 and .NET 8 and later.
fn has_snap_start(runtime: &str) -> bool {
    let at_least = |prefix: &str, least: u32| {
        let number = runtime.strip_prefix(prefix).and_then(|rest| rest.split('.').next());
        number.and_then(|number| number.parse::<u32>().ok()).is_some_and(|number| number >= least)
    };
    at_least("java", 11)
        || at_least("python3.", 12)
        || (!runtime.starts_with("dotnetcore") && at_least("dotnet", 8))
}

fn nested(members: &Members<'_>, block: &str, name: &str) -> Result<Option<String>, ApiError> {
    match members.object(block)? {
        Some(block) => block.string(name),
        None => Ok(None),
    }
}

fn read_durable(members: &Members<'_>) -> Result<Option<Durable>, ApiError> {
    let Some(block) = members.object("DurableConfig")? else { return Ok(None) };
    Ok(Some(Durable {
        execution_timeout_seconds: block.integer("ExecutionTimeout")?,
        retention_days: block.integer("RetentionPeriodInDays")?,
        kms_key_arn: block.string("KMSKeyArn")?,
    }))
}

fn read_vpc(members: &Members<'_>) -> Result<Option<VpcConfig>, ApiError> {
    let Some(block) = members.object("VpcConfig")? else { return Ok(None) };
    Ok(Some(VpcConfig {
        subnet_ids: block.strings("SubnetIds")?.unwrap_or_default(),
        security_group_ids: block.strings("SecurityGroupIds")?.unwrap_or_default(),
        ipv6_allowed_for_dual_stack: block.boolean("Ipv6AllowedForDualStack")?.unwrap_or(false),
    }))
}

fn read_file_systems(
    members: &Members<'_>,
    violations: &mut Violations,
) -> Result<Option<Vec<FileSystemConfig>>, ApiError> {
    let Some(blocks) = members.objects("FileSystemConfigs")? else { return Ok(None) };
    list_length(&blocks, "fileSystemConfigs", 1, violations);
    let mut configs = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        let path = |member: &str| format!("fileSystemConfigs.{}.member.{member}", index + 1);
        let (arn, mount) = (block.string("Arn")?, block.string("LocalMountPath")?);
        match &arn {
            Some(arn) => violations.pattern(
                arn,
                &path("arn"),
                shape::is_file_system_arn(arn),
                shape::FILE_SYSTEM_PATTERN,
            ),
            None => violations.missing(&path("arn")),
        }
        match &mount {
            Some(mount) => {
                violations.length(mount, &path("localMountPath"), 160);
                violations.pattern(
                    mount,
                    &path("localMountPath"),
                    shape::is_mount_path(mount),
                    shape::MOUNT_PATH_PATTERN,
                );
            }
            None => violations.missing(&path("localMountPath")),
        }
        if let (Some(arn), Some(local_mount_path)) = (arn, mount) {
            configs.push(FileSystemConfig { arn, local_mount_path });
        }
    }
    Ok(Some(configs))
}

fn read_logging(members: &Members<'_>) -> Result<Option<Logging>, ApiError> {
    let Some(block) = members.object("LoggingConfig")? else { return Ok(None) };
    let format = block.string("LogFormat")?;
    let mut violations = Violations::default();
    if let Some(format) = &format {
        violations.one_of(format, "loggingConfig.logFormat", &["JSON", "Text"]);
    }
    violations.finish()?;
    Ok(Some(Logging {
        json: format.map(|format| format == "JSON"),
        application_log_level: block.string("ApplicationLogLevel")?,
        system_log_level: block.string("SystemLogLevel")?,
        log_group: block.string("LogGroup")?,
    }))
}

fn list_length<T>(list: &[T], path: &str, most: usize, violations: &mut Violations) {
    if list.len() > most {
        violations.add(
            format!("[{} members]", list.len()),
            path,
            format!("Member must have length less than or equal to {most}"),
        );
    }
}

/// Sizes between the bound of ordinary functions and the bound of the model.
fn ordinary(name: &str, value: Option<i64>, range: RangeInclusive<u32>) -> Result<(), ApiError> {
    match value {
        Some(value) if value > i64::from(*range.end()) => Err(ApiError::invalid_parameter(format!(
            "'{name}' value failed to satisfy constraint: Member must have value less than or equal to {}",
            range.end()
        ))),
        _ => Ok(()),
    }
}

fn check_environment(variables: &BTreeMap<String, String>) -> Result<(), ApiError> {
    let reserved: Vec<&str> =
        variables.keys().map(String::as_str).filter(|name| RESERVED_VARIABLES.contains(name)).collect();
    if !reserved.is_empty() {
        return Err(ApiError::invalid_parameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have \
             provided contains reserved keys that are currently not supported for modification. Reserved keys used \
             in this request: {}",
            reserved.join(", ")
        )));
    }
    let measured = serde_json::to_string(variables).unwrap_or_default();
    if measured.len() > limits::ENVIRONMENT_BYTES {
        return Err(ApiError::invalid_parameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have \
             provided exceeded the 4KB limit. String measured: {measured}"
        )));
    }
    if variables.values().any(|value| value.contains('\0')) {
        // A process cannot be given such a variable.
        return Err(ApiError::invalid_parameter("Environment variables must not hold NUL characters."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: &str, expected: Result<(), (&str, &str)>) {
        let members = Members::parse(request.as_bytes()).unwrap();
        let mut violations = Violations::default();
        let got = Settings::read(&members, &mut violations)
            .and_then(|settings| violations.finish().map(|()| settings))
            .and_then(|settings| settings.check(&members, false));
        match (got, expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err((code, part))) => {
                assert_eq!(error.code, code, "{request}: {error}");
                assert!(error.message.contains(part), "{request}: {error}");
            }
            (got, expected) => panic!("{request}: {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn what_is_refused_and_how() {
        const VALIDATION: &str = "ValidationException";
        const PARAMETER: &str = "InvalidParameterValueException";
        check("{}", Ok(()));
        check(r#"{"Runtime":"python3.13","Timeout":900,"MemorySize":10240,"Nonsense":{"a":1}}"#, Ok(()));
        check(r#"{"MemorySize":127}"#, Err((VALIDATION, "Value '127' at 'memorySize'")));
        check(r#"{"MemorySize":10241}"#, Err((PARAMETER, "'MemorySize' value failed")));
        check(r#"{"MemorySize":32769}"#, Err((VALIDATION, "less than or equal to 32768")));
        check(r#"{"MemorySize":"128"}"#, Err(("SerializationException", "An integer")));
        check(r#"{"Timeout":0}"#, Err((VALIDATION, "greater than or equal to 1")));
        check(r#"{"Timeout":901}"#, Err((PARAMETER, "'Timeout' value failed")));
        check(r#"{"EphemeralStorage":{"Size":511}}"#, Err((VALIDATION, "'ephemeralStorage.size'")));
        check(r#"{"EphemeralStorage":{}}"#, Err((VALIDATION, "Value null at 'ephemeralStorage.size'")));
        check(r#"{"Runtime":"cobol85"}"#, Err((PARAMETER, "Value cobol85 at 'runtime' failed")));
        check(r#"{"Handler":"a b"}"#, Err((VALIDATION, "'handler'")));
        check(r#"{"Role":"me"}"#, Err((VALIDATION, "'role'")));
        check(r#"{"Environment":{"Variables":{"1A":"secret"}}}"#, Err((VALIDATION, "Value '***'")));
        check(r#"{"Environment":{"Variables":{"AWS_REGION":"x"}}}"#, Err((PARAMETER, "reserved keys")));
        check(r#"{"Environment":{"Variables":{"AB":1}}}"#, Err(("SerializationException", "A map")));
        let large = format!(r#"{{"Environment":{{"Variables":{{"AB":"{}"}}}}}}"#, "x".repeat(4_096));
        check(&large, Err((PARAMETER, "exceeded the 4KB limit. String measured: {\"AB\":\"xxx")));
        check(r#"{"Layers":["a","b"]}"#, Err((VALIDATION, "Value '[a, b]' at 'layers' failed")));
        check(r#"{"Layers":["arn:aws:lambda:us-east-1:000000000000:layer:l:1"]}"#, Ok(()));
        check(r#"{"Layers":[]}"#, Ok(()));
        check(r#"{"VpcConfig":{"SubnetIds":["s"],"SecurityGroupIds":["g"]}}"#, Ok(()));
        check(r#"{"VpcConfig":{"SubnetIds":[],"SecurityGroupIds":[]}}"#, Ok(()));
        check(
            r#"{"VpcConfig":{"SubnetIds":["s"]}}"#,
            Err((PARAMETER, "SubnetIds and SecurityIds must coexist")),
        );
        check(r#"{"LoggingConfig":{"LogFormat":"XML"}}"#, Err((VALIDATION, "[JSON, Text]")));
        check(
            r#"{"LoggingConfig":{"LogFormat":"Text","SystemLogLevel":"INFO"}}"#,
            Err((PARAMETER, "Log level is not supported")),
        );
        check(
            r#"{"FileSystemConfigs":[{"Arn":"x","LocalMountPath":"/mnt/a"}]}"#,
            Err((VALIDATION, "fileSystemConfigs.1.member.arn")),
        );
        check(r#"{"TracingConfig":{"Mode":"Off"}}"#, Err((VALIDATION, "tracingConfig.mode")));
        check(r#"{"MemorySize":1,"Timeout":0}"#, Err((VALIDATION, "2 validation errors detected: ")));
    }

    #[test]
    fn who_can_have_snap_start() {
        for (request, expected) in [
            (r#""python3.12""#, ""),
            (r#""python3.14""#, ""),
            (r#""java21""#, ""),
            (r#""java17.al2023""#, ""),
            (r#""dotnet8""#, ""),
            (r#""python3.11""#, "python3.11 is not supported for SnapStart enabled functions."),
            (r#""java8.al2""#, "java8.al2 is not"),
            (r#""dotnet6""#, "dotnet6 is not"),
            (r#""dotnetcore3.1""#, "dotnetcore3.1 is not"),
            (r#""nodejs22.x""#, "nodejs22.x is not"),
            (r#""provided.al2023""#, "provided.al2023 is not"),
            (r#""python3.13","EphemeralStorage":{"Size":513}"#, "EphemeralStorage above 512 MB is not"),
        ] {
            for (apply_on, expected) in [("PublishedVersions", expected), ("None", "")] {
                let request = format!(r#"{{"Runtime":{request},"SnapStart":{{"ApplyOn":"{apply_on}"}}}}"#);
                let members = Members::parse(request.as_bytes()).unwrap();
                let settings = Settings::read(&members, &mut Violations::default()).unwrap();
                match settings.check_snap_start(None, false) {
                    Ok(()) => assert_eq!(expected, "", "{request}"),
                    Err(error) => {
                        assert!(
                            !expected.is_empty() && error.message.contains(expected),
                            "{request}: {error}"
                        );
                    }
                }
            }
        }
    }
}
