//! The environment of an instance's process: exactly Lambda's.
//!
//! Source: facts recorded from nodejs22, python3.13 and provided in January 2026; "Defined runtime environment
//! variables" of the Lambda developer guide for which of them a function may set itself.

use crate::initialization::InitializationType;
use crate::plan::RuntimePlan;
use lamplight_model::FunctionVersion;
use lamplight_model::credentials::TemporaryCredentials;
use lamplight_model::managed_runtime::RuntimeFamily;
use std::collections::BTreeMap;

/// Where the HTTP Runtime API listens inside.
pub const RUNTIME_API: &str = "127.0.0.1:9001";
/// Where the platform's own API listens inside.
pub const PLATFORM_API: &str = "http://127.0.0.1:19001";

/// Variables of the platform that a function may set itself.
const OVERRIDABLE: &[&str] = &[
    "AWS_ENDPOINT_URL",
    "AWS_LAMBDA_LOG_FORMAT",
    "AWS_LAMBDA_LOG_LEVEL",
    "AWS_XRAY_CONTEXT_MISSING",
    "AWS_XRAY_DAEMON_ADDRESS",
    "LANG",
    "LD_LIBRARY_PATH",
    "NODE_PATH",
    "PATH",
    "PYTHONPATH",
    "TZ",
];

/// Names no function may set although this process does not have them.
const RESERVED_ABSENT: &[&str] = &[
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_MAX_CONCURRENCY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
];

/// Names a program that is started instead of the interpreter.
pub const EXEC_WRAPPER: &str = "AWS_LAMBDA_EXEC_WRAPPER";

/// What an interpreter itself reads when it starts, of the variables the platform sets.
const READ_AT_START: &[&str] = &[
    "AWS_LAMBDA_RUNTIME_API",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "LANG",
    "LD_LIBRARY_PATH",
    "NODE_PATH",
    "PATH",
    "PYTHONPATH",
    "TZ",
];

/// Beginnings of names that interpreters and their libraries read when they start, and not again.
const START_TIME_PREFIXES: &[&str] =
    &["PYTHON", "NODE_", "LD_", "LC_", "LANG", "GLIBC_", "MALLOC_", "OPENSSL_", "SSL_", "ICU_", "UV_", "V8_"];

/// The whole environment, in name order. `log_stream` is the instance's.
pub fn environment(
    version: &FunctionVersion,
    plan: &RuntimePlan,
    log_stream: &str,
    initialization: InitializationType,
    credentials: &TemporaryCredentials,
) -> Vec<(String, String)> {
    let mut variables: BTreeMap<&str, String> =
        platform_variables(version, plan, log_stream, Some(credentials));
    variables.insert("AWS_LAMBDA_INITIALIZATION_TYPE", initialization.as_str().to_owned());
    for (name, value) in version.environment.iter().flatten() {
        let reserved = name.starts_with('_')
            || RESERVED_ABSENT.contains(&name.as_str())
            || (variables.contains_key(name.as_str()) && !OVERRIDABLE.contains(&name.as_str()));
        // The API refuses these names; what an older record holds must still not win.
        if !reserved && !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0') {
            variables.insert(name, value.clone());
        }
    }
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The environment an interpreter may be started with before it is known which function it will run; the rest is told
/// later. `None` when the function sets what must be there at the start.
pub fn startup_environment(version: &FunctionVersion, plan: &RuntimePlan) -> Option<Vec<(String, String)>> {
    let mut own = version.environment.iter().flatten().map(|(name, _)| name.as_str());
    let needs_own_start = |name: &str| {
        name == EXEC_WRAPPER || START_TIME_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    if own.any(needs_own_start) {
        return None;
    }
    let variables = platform_variables(version, plan, "", None).into_iter();
    Some(
        variables
            .filter(|(name, _)| READ_AT_START.contains(name))
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

/// What differs between the instances of one version besides their credentials. `version_zygote.py` has the same list.
const TOLD_LATER: &[&str] = &["AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_STREAM_NAME"];

/// The environment in which a version's handler is imported for many instances: theirs, without what each is told.
pub fn shared_environment(
    version: &FunctionVersion,
    plan: &RuntimePlan,
    credentials: &TemporaryCredentials,
) -> Vec<(String, String)> {
    let mut variables = environment(version, plan, "", InitializationType::OnDemand, credentials);
    variables.retain(|(name, _)| !TOLD_LATER.contains(&name.as_str()));
    variables
}

fn platform_variables(
    version: &FunctionVersion,
    plan: &RuntimePlan,
    log_stream: &str,
    credentials: Option<&TemporaryCredentials>,
) -> BTreeMap<&'static str, String> {
    let region = version.scope.region.as_str();
    let mut variables = BTreeMap::from([
        ("AWS_DEFAULT_REGION", region.to_owned()),
        ("AWS_ENDPOINT_URL", PLATFORM_API.to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", version.memory_mib.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", version.name.to_string()),
        ("AWS_LAMBDA_FUNCTION_VERSION", version.version.to_string()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", version.logging.log_group.clone()),
        ("AWS_LAMBDA_LOG_STREAM_NAME", log_stream.to_owned()),
        ("AWS_LAMBDA_RUNTIME_API", RUNTIME_API.to_owned()),
        ("AWS_REGION", region.to_owned()),
        ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR".to_owned()),
        // Nothing listens there; datagrams to loopback vanish without disturbing the X-Ray SDKs.
        ("AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1:2000".to_owned()),
        ("LAMBDA_RUNTIME_DIR", "/var/runtime".to_owned()),
        ("LAMBDA_TASK_ROOT", "/var/task".to_owned()),
        ("LANG", "en_US.UTF-8".to_owned()),
        (
            "LD_LIBRARY_PATH",
            "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib"
                .to_owned(),
        ),
        ("PATH", "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin".to_owned()),
        ("TZ", ":UTC".to_owned()),
        ("_AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1".to_owned()),
        ("_AWS_XRAY_DAEMON_PORT", "2000".to_owned()),
        ("_HANDLER", version.handler.clone()),
    ]);
    if let Some(credentials) = credentials {
        variables.insert("AWS_ACCESS_KEY_ID", credentials.access_key_id.clone());
        variables.insert("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key.clone());
        variables.insert("AWS_SESSION_TOKEN", credentials.session_token.clone());
    }
    if version.concurrency() > 1 {
        variables.insert("AWS_LAMBDA_MAX_CONCURRENCY", version.concurrency().to_string());
    }
    if plan.family != RuntimeFamily::Provided {
        variables.insert("AWS_EXECUTION_ENV", format!("AWS_Lambda_{}", version.runtime));
    }
    match plan.family {
        RuntimeFamily::Python => {
            variables.insert("PYTHONPATH", "/var/runtime".to_owned());
        }
        RuntimeFamily::Node => {
            let digits = version.runtime.trim_start_matches("nodejs");
            let major = digits.split('.').next().unwrap_or_default();
            variables.insert(
                "NODE_PATH",
                format!(
                    "/opt/nodejs/node{major}/node_modules:/opt/nodejs/node_modules:\
                     /var/runtime/node_modules:/var/runtime:/var/task"
                ),
            );
        }
        RuntimeFamily::Provided | RuntimeFamily::Unserved => {}
    }
    if version.logging.json {
        variables.insert("AWS_LAMBDA_LOG_FORMAT", "JSON".to_owned());
        let level = version.logging.application_log_level.as_deref().unwrap_or("INFO");
        variables.insert("AWS_LAMBDA_LOG_LEVEL", level.to_owned());
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{credentials, version};

    fn get(variables: &[(String, String)], name: &str) -> Option<String> {
        variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }

    fn check(runtime: &str, user: &[(&str, &str)], expected: &[(&str, Option<&str>)]) {
        let mut version = version("hello", runtime);
        version.environment =
            Some(user.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect());
        let plan = if runtime.starts_with("provided") {
            RuntimePlan::provided(runtime)
        } else {
            RuntimePlan::managed(runtime, vec![], "1.2.3")
        };
        let got = environment(&version, &plan, "stream", InitializationType::OnDemand, &credentials());
        for (name, value) in expected {
            assert_eq!(get(&got, name).as_deref(), *value, "{name}");
        }
    }

    #[test]
    fn what_each_family_gets() {
        check(
            "python3.13",
            &[],
            &[
                ("AWS_EXECUTION_ENV", Some("AWS_Lambda_python3.13")),
                ("PYTHONPATH", Some("/var/runtime")),
                ("_HANDLER", Some("app.handler")),
                ("AWS_LAMBDA_FUNCTION_NAME", Some("hello")),
                ("AWS_LAMBDA_FUNCTION_VERSION", Some("$LATEST")),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", Some("128")),
                ("AWS_ENDPOINT_URL", Some("http://127.0.0.1:19001")),
                ("AWS_LAMBDA_LOG_FORMAT", None),
                ("AWS_ACCESS_KEY_ID", Some("ASIAEXAMPLE")),
                ("AWS_SECRET_ACCESS_KEY", Some("secret")),
                ("AWS_SESSION_TOKEN", Some("token")),
            ],
        );
        check(
            "nodejs22.x",
            &[],
            &[(
                "NODE_PATH",
                Some(
                    "/opt/nodejs/node22/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules:/var/runtime:/var/task",
                ),
            )],
        );
        check("provided.al2023", &[], &[("AWS_EXECUTION_ENV", None), ("NODE_PATH", None)]);
    }

    #[test]
    fn what_an_interpreter_is_started_with_before_it_has_a_function() {
        let check = |name: &str, possible: bool| {
            let mut version = version("hello", "python3.13");
            version.environment = Some([(name.to_owned(), "x".to_owned())].into());
            let plan = RuntimePlan::managed("python3.13", vec![], "1.2.3");
            let started_with = startup_environment(&version, &plan);
            assert_eq!(started_with.is_some(), possible, "{name}");
            for (variable, value) in started_with.into_iter().flatten() {
                assert_ne!(variable, name);
                assert!(!value.contains("hello"), "{variable} tells the function: {value}");
                let whole =
                    environment(&version, &plan, "stream", InitializationType::OnDemand, &credentials());
                assert_eq!(get(&whole, &variable), Some(value), "{variable}");
            }
        };
        check("TABLE", true);
        check("HOME", true);
        for name in
            ["PYTHONHASHSEED", "NODE_OPTIONS", "LD_PRELOAD", "LC_ALL", "LANG", "AWS_LAMBDA_EXEC_WRAPPER"]
        {
            check(name, false);
        }
    }

    #[test]
    fn user_variables_and_the_reserved_ones() {
        check(
            "python3.13",
            &[
                ("TABLE", "notes"),
                ("PATH", "/mine"),
                ("AWS_REGION", "mars-1"),
                ("_HANDLER", "evil.handler"),
                ("_ANY", "x"),
                ("AWS_LAMBDA_RUNTIME_API", "10.0.0.1:1"),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "x"),
                ("AWS_ENDPOINT_URL", "http://elsewhere"),
            ],
            &[
                ("TABLE", Some("notes")),
                ("PATH", Some("/mine")),
                ("AWS_REGION", Some("us-east-1")),
                ("_HANDLER", Some("app.handler")),
                ("_ANY", None),
                ("AWS_LAMBDA_RUNTIME_API", Some("127.0.0.1:9001")),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN", None),
                ("AWS_ENDPOINT_URL", Some("http://elsewhere")),
            ],
        );
    }
}
