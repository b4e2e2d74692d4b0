//! Which operation a request means: method, path and, for a few, the query string.
//!
//! The table is the list of the four botocore service models that share Lambda's endpoint (botocore 1.44.5:
//! `lambda`, `lambda-core`, `lambda-microvms`, `lambda-web`); a conformance test compares it with the
//! installed models. Operations without a handler are refused by name.

use http::Method;

/// One row: how an operation is called on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// Which of the four services: `lambda`, `lambda-core`, `lambda-microvms`, `lambda-web`.
    pub service: &'static str,
    /// Name in the service model, e.g. `GetFunction`.
    pub name: &'static str,
    method: Verb,
    /// Path template; `{...}` stands for one segment.
    template: &'static str,
    /// A `key=value` the query string must hold.
    query: Option<(&'static str, &'static str)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    Post,
    Put,
    Delete,
    Patch,
}

/// An operation and the raw (still percent-encoded) path segments its placeholders stand for, in order.
#[derive(Debug, PartialEq, Eq)]
pub struct Match<'a> {
    /// The row.
    pub operation: &'static Operation,
    /// Values of the placeholders.
    pub labels: Vec<&'a str>,
}

/// Finds the operation of a request; `None` when no service of this endpoint has such a path and method.
///
/// `path` is the raw path: a percent-encoded `/` of an ARN must not separate segments. Older SDKs write a
/// slash at the end; it is ignored. Among several matches the one with a fitting query requirement wins.
pub fn find<'a>(method: &Method, path: &'a str, query: &[(String, String)]) -> Option<Match<'a>> {
    if let Some(label) = invoked(method, path) {
        return Some(Match { operation: &OPERATIONS[0], labels: vec![label] });
    }
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let mut found: Option<Match<'a>> = None;
    for operation in OPERATIONS {
        if !operation.method.is(method) {
            continue;
        }
        let Some(labels) = labels(operation.template, &segments) else { continue };
        match operation.query {
            Some((key, value)) if query.iter().any(|(k, v)| k == key && v == value) => {
                return Some(Match { operation, labels });
            }
            Some(_) => {}
            // A literal segment is more exact than a placeholder: fewer labels win.
            None if found.as_ref().is_none_or(|other| labels.len() < other.labels.len()) => {
                found = Some(Match { operation, labels });
            }
            None => {}
        }
    }
    found
}

/// The function of an Invoke request in its usual form: found without looking at every row.
fn invoked<'a>(method: &Method, path: &'a str) -> Option<&'a str> {
    let label = path.strip_prefix("/2015-03-31/functions/")?.strip_suffix("/invocations")?;
    (method == Method::POST && !label.is_empty() && !label.contains('/')).then_some(label)
}

fn labels<'a>(template: &str, segments: &[&'a str]) -> Option<Vec<&'a str>> {
    let mut labels = Vec::new();
    let mut given = segments.iter();
    for wanted in template.split('/') {
        let segment = given.next()?;
        if wanted.starts_with('{') {
            if segment.is_empty() {
                return None;
            }
            labels.push(*segment);
        } else if wanted != *segment {
            return None;
        }
    }
    given.next().is_none().then_some(labels)
}

impl Operation {
    /// A request that means this operation, with `label` for every placeholder: for tests and documentation.
    pub fn example(&self, label: &str) -> (Method, String) {
        let segments: Vec<&str> =
            self.template.split('/').map(|part| if part.starts_with('{') { label } else { part }).collect();
        let query = self.query.map(|(key, value)| format!("?{key}={value}")).unwrap_or_default();
        (self.method.method(), format!("/{}{query}", segments.join("/")))
    }
}

impl Verb {
    fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Post => Method::POST,
            Self::Put => Method::PUT,
            Self::Delete => Method::DELETE,
            Self::Patch => Method::PATCH,
        }
    }

    fn is(self, method: &Method) -> bool {
        *method == self.method()
    }
}

const fn operation(
    service: &'static str,
    name: &'static str,
    method: Verb,
    template: &'static str,
    query: Option<(&'static str, &'static str)>,
) -> Operation {
    Operation { service, name, method, template, query }
}

/// All operations; the most frequent one first.
#[rustfmt::skip]
pub const OPERATIONS: &[Operation] = &[
    // lambda (2015-03-31): 91 operations
    operation("lambda", "Invoke", Verb::Post, "2015-03-31/functions/{FunctionName}/invocations", None),
    operation("lambda", "AddLayerVersionPermission", Verb::Post, "2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy", None),
    operation("lambda", "AddPermission", Verb::Post, "2015-03-31/functions/{FunctionName}/policy", None),
    operation("lambda", "CheckpointDurableExecution", Verb::Post, "2025-12-01/durable-executions/{DurableExecutionArn}/checkpoint", None),
    operation("lambda", "CreateAlias", Verb::Post, "2015-03-31/functions/{FunctionName}/aliases", None),
    operation("lambda", "CreateCapacityProvider", Verb::Post, "2025-11-30/capacity-providers", None),
    operation("lambda", "CreateCodeSigningConfig", Verb::Post, "2020-04-22/code-signing-configs", None),
    operation("lambda", "CreateEventSourceMapping", Verb::Post, "2015-03-31/event-source-mappings", None),
    operation("lambda", "CreateFunction", Verb::Post, "2015-03-31/functions", None),
    operation("lambda", "CreateFunctionUrlConfig", Verb::Post, "2021-10-31/functions/{FunctionName}/url", None),
    operation("lambda", "DeleteAlias", Verb::Delete, "2015-03-31/functions/{FunctionName}/aliases/{Name}", None),
    operation("lambda", "DeleteCapacityProvider", Verb::Delete, "2025-11-30/capacity-providers/{CapacityProviderName}", None),
    operation("lambda", "DeleteCodeSigningConfig", Verb::Delete, "2020-04-22/code-signing-configs/{CodeSigningConfigArn}", None),
    operation("lambda", "DeleteDurableExecution", Verb::Delete, "2025-12-01/durable-executions/{DurableExecutionArn}", None),
    operation("lambda", "DeleteEventSourceMapping", Verb::Delete, "2015-03-31/event-source-mappings/{UUID}", None),
    operation("lambda", "DeleteFunction", Verb::Delete, "2015-03-31/functions/{FunctionName}", None),
    operation("lambda", "DeleteFunctionCodeSigningConfig", Verb::Delete, "2020-06-30/functions/{FunctionName}/code-signing-config", None),
    operation("lambda", "DeleteFunctionConcurrency", Verb::Delete, "2017-10-31/functions/{FunctionName}/concurrency", None),
    operation("lambda", "DeleteFunctionEventInvokeConfig", Verb::Delete, "2019-09-25/functions/{FunctionName}/event-invoke-config", None),
    operation("lambda", "DeleteFunctionUrlConfig", Verb::Delete, "2021-10-31/functions/{FunctionName}/url", None),
    operation("lambda", "DeleteLayerVersion", Verb::Delete, "2018-10-31/layers/{LayerName}/versions/{VersionNumber}", None),
    operation("lambda", "DeleteProvisionedConcurrencyConfig", Verb::Delete, "2019-09-30/functions/{FunctionName}/provisioned-concurrency", None),
    operation("lambda", "DeleteResourcePolicy", Verb::Delete, "2026-07-09/resource-policy/{ResourceArn}", None),
    operation("lambda", "GetAccountSettings", Verb::Get, "2016-08-19/account-settings", None),
    operation("lambda", "GetAlias", Verb::Get, "2015-03-31/functions/{FunctionName}/aliases/{Name}", None),
    operation("lambda", "GetCapacityProvider", Verb::Get, "2025-11-30/capacity-providers/{CapacityProviderName}", None),
    operation("lambda", "GetCodeSigningConfig", Verb::Get, "2020-04-22/code-signing-configs/{CodeSigningConfigArn}", None),
    operation("lambda", "GetDurableExecution", Verb::Get, "2025-12-01/durable-executions/{DurableExecutionArn}", None),
    operation("lambda", "GetDurableExecutionHistory", Verb::Get, "2025-12-01/durable-executions/{DurableExecutionArn}/history", None),
    operation("lambda", "GetDurableExecutionState", Verb::Get, "2025-12-01/durable-executions/{DurableExecutionArn}/state", None),
    operation("lambda", "GetEventSourceMapping", Verb::Get, "2015-03-31/event-source-mappings/{UUID}", None),
    operation("lambda", "GetFunction", Verb::Get, "2015-03-31/functions/{FunctionName}", None),
    operation("lambda", "GetFunctionCodeSigningConfig", Verb::Get, "2020-06-30/functions/{FunctionName}/code-signing-config", None),
    operation("lambda", "GetFunctionConcurrency", Verb::Get, "2019-09-30/functions/{FunctionName}/concurrency", None),
    operation("lambda", "GetFunctionConfiguration", Verb::Get, "2015-03-31/functions/{FunctionName}/configuration", None),
    operation("lambda", "GetFunctionEventInvokeConfig", Verb::Get, "2019-09-25/functions/{FunctionName}/event-invoke-config", None),
    operation("lambda", "GetFunctionRecursionConfig", Verb::Get, "2024-08-31/functions/{FunctionName}/recursion-config", None),
    operation("lambda", "GetFunctionScalingConfig", Verb::Get, "2025-11-30/functions/{FunctionName}/function-scaling-config", None),
    operation("lambda", "GetFunctionUrlConfig", Verb::Get, "2021-10-31/functions/{FunctionName}/url", None),
    operation("lambda", "GetLayerVersion", Verb::Get, "2018-10-31/layers/{LayerName}/versions/{VersionNumber}", None),
    operation("lambda", "GetLayerVersionByArn", Verb::Get, "2018-10-31/layers", Some(("find", "LayerVersion"))),
    operation("lambda", "GetLayerVersionPolicy", Verb::Get, "2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy", None),
    operation("lambda", "GetPolicy", Verb::Get, "2015-03-31/functions/{FunctionName}/policy", None),
    operation("lambda", "GetProvisionedConcurrencyConfig", Verb::Get, "2019-09-30/functions/{FunctionName}/provisioned-concurrency", None),
    operation("lambda", "GetResourcePolicy", Verb::Get, "2026-07-09/resource-policy/{ResourceArn}", None),
    operation("lambda", "GetRuntimeManagementConfig", Verb::Get, "2021-07-20/functions/{FunctionName}/runtime-management-config", None),
    operation("lambda", "InvokeAsync", Verb::Post, "2014-11-13/functions/{FunctionName}/invoke-async", None),
    operation("lambda", "InvokeWithResponseStream", Verb::Post, "2021-11-15/functions/{FunctionName}/response-streaming-invocations", None),
    operation("lambda", "ListAliases", Verb::Get, "2015-03-31/functions/{FunctionName}/aliases", None),
    operation("lambda", "ListCapacityProviders", Verb::Get, "2025-11-30/capacity-providers", None),
    operation("lambda", "ListCodeSigningConfigs", Verb::Get, "2020-04-22/code-signing-configs", None),
    operation("lambda", "ListDurableExecutionsByFunction", Verb::Get, "2025-12-01/functions/{FunctionName}/durable-executions", None),
    operation("lambda", "ListEventSourceMappings", Verb::Get, "2015-03-31/event-source-mappings", None),
    operation("lambda", "ListFunctionEventInvokeConfigs", Verb::Get, "2019-09-25/functions/{FunctionName}/event-invoke-config/list", None),
    operation("lambda", "ListFunctionUrlConfigs", Verb::Get, "2021-10-31/functions/{FunctionName}/urls", None),
    operation("lambda", "ListFunctionVersionsByCapacityProvider", Verb::Get, "2025-11-30/capacity-providers/{CapacityProviderName}/function-versions", None),
    operation("lambda", "ListFunctions", Verb::Get, "2015-03-31/functions", None),
    operation("lambda", "ListFunctionsByCodeSigningConfig", Verb::Get, "2020-04-22/code-signing-configs/{CodeSigningConfigArn}/functions", None),
    operation("lambda", "ListLayerVersions", Verb::Get, "2018-10-31/layers/{LayerName}/versions", None),
    operation("lambda", "ListLayers", Verb::Get, "2018-10-31/layers", None),
    operation("lambda", "ListProvisionedConcurrencyConfigs", Verb::Get, "2019-09-30/functions/{FunctionName}/provisioned-concurrency", Some(("List", "ALL"))),
    operation("lambda", "ListTags", Verb::Get, "2017-03-31/tags/{Resource}", None),
    operation("lambda", "ListVersionsByFunction", Verb::Get, "2015-03-31/functions/{FunctionName}/versions", None),
    operation("lambda", "PauseDurableExecution", Verb::Post, "2025-12-01/durable-executions/{DurableExecutionArn}/pause", None),
    operation("lambda", "PublishLayerVersion", Verb::Post, "2018-10-31/layers/{LayerName}/versions", None),
    operation("lambda", "PublishVersion", Verb::Post, "2015-03-31/functions/{FunctionName}/versions", None),
    operation("lambda", "PutFunctionCodeSigningConfig", Verb::Put, "2020-06-30/functions/{FunctionName}/code-signing-config", None),
    operation("lambda", "PutFunctionConcurrency", Verb::Put, "2017-10-31/functions/{FunctionName}/concurrency", None),
    operation("lambda", "PutFunctionEventInvokeConfig", Verb::Put, "2019-09-25/functions/{FunctionName}/event-invoke-config", None),
    operation("lambda", "PutFunctionRecursionConfig", Verb::Put, "2024-08-31/functions/{FunctionName}/recursion-config", None),
    operation("lambda", "PutFunctionScalingConfig", Verb::Put, "2025-11-30/functions/{FunctionName}/function-scaling-config", None),
    operation("lambda", "PutProvisionedConcurrencyConfig", Verb::Put, "2019-09-30/functions/{FunctionName}/provisioned-concurrency", None),
    operation("lambda", "PutResourcePolicy", Verb::Put, "2026-07-09/resource-policy/{ResourceArn}", None),
    operation("lambda", "PutRuntimeManagementConfig", Verb::Put, "2021-07-20/functions/{FunctionName}/runtime-management-config", None),
    operation("lambda", "RemoveLayerVersionPermission", Verb::Delete, "2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy/{StatementId}", None),
    operation("lambda", "RemovePermission", Verb::Delete, "2015-03-31/functions/{FunctionName}/policy/{StatementId}", None),
    operation("lambda", "ResumeDurableExecution", Verb::Post, "2025-12-01/durable-executions/{DurableExecutionArn}/resume", None),
    operation("lambda", "SendDurableExecutionCallbackFailure", Verb::Post, "2025-12-01/durable-execution-callbacks/{CallbackId}/fail", None),
    operation("lambda", "SendDurableExecutionCallbackHeartbeat", Verb::Post, "2025-12-01/durable-execution-callbacks/{CallbackId}/heartbeat", None),
    operation("lambda", "SendDurableExecutionCallbackSuccess", Verb::Post, "2025-12-01/durable-execution-callbacks/{CallbackId}/succeed", None),
    operation("lambda", "StopDurableExecution", Verb::Post, "2025-12-01/durable-executions/{DurableExecutionArn}/stop", None),
    operation("lambda", "TagResource", Verb::Post, "2017-03-31/tags/{Resource}", None),
    operation("lambda", "UntagResource", Verb::Delete, "2017-03-31/tags/{Resource}", None),
    operation("lambda", "UpdateAlias", Verb::Put, "2015-03-31/functions/{FunctionName}/aliases/{Name}", None),
    operation("lambda", "UpdateCapacityProvider", Verb::Put, "2025-11-30/capacity-providers/{CapacityProviderName}", None),
    operation("lambda", "UpdateCodeSigningConfig", Verb::Put, "2020-04-22/code-signing-configs/{CodeSigningConfigArn}", None),
    operation("lambda", "UpdateEventSourceMapping", Verb::Put, "2015-03-31/event-source-mappings/{UUID}", None),
    operation("lambda", "UpdateFunctionCode", Verb::Put, "2015-03-31/functions/{FunctionName}/code", None),
    operation("lambda", "UpdateFunctionConfiguration", Verb::Put, "2015-03-31/functions/{FunctionName}/configuration", None),
    operation("lambda", "UpdateFunctionEventInvokeConfig", Verb::Post, "2019-09-25/functions/{FunctionName}/event-invoke-config", None),
    operation("lambda", "UpdateFunctionUrlConfig", Verb::Put, "2021-10-31/functions/{FunctionName}/url", None),
    // lambda-core (2026-04-30): 22 operations
    operation("lambda-core", "CreateNetworkConnector", Verb::Post, "2026-04-04/network-connectors", None),
    operation("lambda-core", "CreateRuntime", Verb::Post, "2026-10-01/runtimes", None),
    operation("lambda-core", "CreateRuntimeAlias", Verb::Post, "2026-10-01/runtimes/{RuntimeName}/aliases", None),
    operation("lambda-core", "CreateRuntimeVersion", Verb::Post, "2026-10-01/runtimes/{RuntimeName}/versions", None),
    operation("lambda-core", "DeleteNetworkConnector", Verb::Delete, "2026-04-04/network-connectors/{Identifier}", None),
    operation("lambda-core", "DeleteRuntime", Verb::Delete, "2026-10-01/runtimes/{RuntimeName}", None),
    operation("lambda-core", "DeleteRuntimeAlias", Verb::Delete, "2026-10-01/runtimes/{RuntimeName}/aliases/{Name}", None),
    operation("lambda-core", "DeleteRuntimeVersion", Verb::Delete, "2026-10-01/runtimes/{RuntimeName}/versions/{Name}", None),
    operation("lambda-core", "GetNetworkConnector", Verb::Get, "2026-04-04/network-connectors/{Identifier}", None),
    operation("lambda-core", "GetRuntime", Verb::Get, "2026-10-01/runtimes/{RuntimeName}", None),
    operation("lambda-core", "GetRuntimeAlias", Verb::Get, "2026-10-01/runtimes/{RuntimeName}/aliases/{Name}", None),
    operation("lambda-core", "GetRuntimeVersion", Verb::Get, "2026-10-01/runtimes/{RuntimeName}/versions/{Name}", None),
    operation("lambda-core", "ListNetworkConnectorVersions", Verb::Get, "2026-04-04/network-connectors/{Identifier}/versions", None),
    operation("lambda-core", "ListNetworkConnectors", Verb::Get, "2026-04-04/network-connectors", None),
    operation("lambda-core", "ListRuntimeAliases", Verb::Get, "2026-10-01/runtimes/{RuntimeName}/aliases", None),
    operation("lambda-core", "ListRuntimeVersions", Verb::Get, "2026-10-01/runtimes/{RuntimeName}/versions", None),
    operation("lambda-core", "ListRuntimes", Verb::Get, "2026-10-01/runtimes", None),
    operation("lambda-core", "RestoreRuntime", Verb::Post, "2026-10-01/runtimes/{RuntimeName}/restore", None),
    operation("lambda-core", "UpdateNetworkConnector", Verb::Put, "2026-04-04/network-connectors/{Identifier}", None),
    operation("lambda-core", "UpdateRuntime", Verb::Put, "2026-10-01/runtimes/{RuntimeName}", None),
    operation("lambda-core", "UpdateRuntimeAlias", Verb::Put, "2026-10-01/runtimes/{RuntimeName}/aliases/{Name}", None),
    operation("lambda-core", "UpdateRuntimeVersion", Verb::Patch, "2026-10-01/runtimes/{RuntimeName}/versions/{Name}", None),
    // lambda-microvms (2025-09-09): 24 operations
    operation("lambda-microvms", "CreateMicrovmAuthToken", Verb::Post, "2025-09-09/microvms/{microvmIdentifier}/auth-token", None),
    operation("lambda-microvms", "CreateMicrovmImage", Verb::Post, "2025-09-09/microvm-images", None),
    operation("lambda-microvms", "CreateMicrovmShellAuthToken", Verb::Post, "2025-09-09/microvms/{microvmIdentifier}/shell-auth-token", None),
    operation("lambda-microvms", "DeleteMicrovmImage", Verb::Delete, "2025-09-09/microvm-images/{imageIdentifier}", None),
    operation("lambda-microvms", "DeleteMicrovmImageVersion", Verb::Delete, "2025-09-09/microvm-images/{imageIdentifier}/versions/{imageVersion}", None),
    operation("lambda-microvms", "GetMicrovm", Verb::Get, "2025-09-09/microvms/{microvmIdentifier}", None),
    operation("lambda-microvms", "GetMicrovmImage", Verb::Get, "2025-09-09/microvm-images/{imageIdentifier}", None),
    operation("lambda-microvms", "GetMicrovmImageBuild", Verb::Get, "2025-09-09/microvm-images/{imageIdentifier}/versions/{imageVersion}/builds/{buildId}", None),
    operation("lambda-microvms", "GetMicrovmImageVersion", Verb::Get, "2025-09-09/microvm-images/{imageIdentifier}/versions/{imageVersion}", None),
    operation("lambda-microvms", "ListManagedMicrovmImageVersions", Verb::Get, "2025-09-09/managed-microvm-images/{imageIdentifier}/versions", None),
    operation("lambda-microvms", "ListManagedMicrovmImages", Verb::Get, "2025-09-09/managed-microvm-images", None),
    operation("lambda-microvms", "ListMicrovmImageBuilds", Verb::Get, "2025-09-09/microvm-images/{imageIdentifier}/versions/{imageVersion}/builds", None),
    operation("lambda-microvms", "ListMicrovmImageVersions", Verb::Get, "2025-09-09/microvm-images/{imageIdentifier}/versions", None),
    operation("lambda-microvms", "ListMicrovmImages", Verb::Get, "2025-09-09/microvm-images", None),
    operation("lambda-microvms", "ListMicrovms", Verb::Get, "2025-09-09/microvms", None),
    operation("lambda-microvms", "ListTags", Verb::Get, "2017-03-31/tags/{Resource}", None),
    operation("lambda-microvms", "ResumeMicrovm", Verb::Post, "2025-09-09/microvms/{microvmIdentifier}/resume", None),
    operation("lambda-microvms", "RunMicrovm", Verb::Post, "2025-09-09/microvms", None),
    operation("lambda-microvms", "SuspendMicrovm", Verb::Post, "2025-09-09/microvms/{microvmIdentifier}/suspend", None),
    operation("lambda-microvms", "TagResource", Verb::Post, "2017-03-31/tags/{Resource}", None),
    operation("lambda-microvms", "TerminateMicrovm", Verb::Delete, "2025-09-09/microvms/{microvmIdentifier}", None),
    operation("lambda-microvms", "UntagResource", Verb::Delete, "2017-03-31/tags/{Resource}", None),
    operation("lambda-microvms", "UpdateMicrovmImage", Verb::Put, "2025-09-09/microvm-images/{imageIdentifier}", None),
    operation("lambda-microvms", "UpdateMicrovmImageVersion", Verb::Patch, "2025-09-09/microvm-images/{imageIdentifier}/versions/{imageVersion}", None),
    // lambda-web (2025-03-07): 20 operations
    operation("lambda-web", "CreateWebFunction", Verb::Put, "2025-03-07/web-functions", None),
    operation("lambda-web", "CreateWebFunctionEndpoint", Verb::Put, "2025-03-07/web-functions/{functionName}/endpoints", None),
    operation("lambda-web", "CreateWebFunctionRevision", Verb::Post, "2025-03-07/web-functions/{functionName}/revisions", None),
    operation("lambda-web", "DeleteResourcePolicy", Verb::Delete, "2025-03-07/resource-policy/{resourceArn}", None),
    operation("lambda-web", "DeleteWebFunction", Verb::Delete, "2025-03-07/web-functions/{functionName}", None),
    operation("lambda-web", "DeleteWebFunctionEndpoint", Verb::Delete, "2025-03-07/web-functions/{functionName}/endpoints/{endpointName}", None),
    operation("lambda-web", "DeleteWebFunctionRevision", Verb::Delete, "2025-03-07/web-functions/{functionName}/revisions/{revisionId}", None),
    operation("lambda-web", "GetResourcePolicy", Verb::Get, "2025-03-07/resource-policy/{resourceArn}", None),
    operation("lambda-web", "GetWebAccountSettings", Verb::Get, "2025-03-07/web-account-settings", None),
    operation("lambda-web", "GetWebFunction", Verb::Get, "2025-03-07/web-functions/{functionName}", None),
    operation("lambda-web", "GetWebFunctionEndpoint", Verb::Get, "2025-03-07/web-functions/{functionName}/endpoints/{endpointName}", None),
    operation("lambda-web", "GetWebFunctionRevision", Verb::Get, "2025-03-07/web-functions/{functionName}/revisions/{revisionId}", None),
    operation("lambda-web", "ListTags", Verb::Get, "2025-03-07/tags/{resource}", None),
    operation("lambda-web", "ListWebFunctionEndpoints", Verb::Post, "2025-03-07/web-functions/{functionName}/list-endpoints", None),
    operation("lambda-web", "ListWebFunctionRevisions", Verb::Post, "2025-03-07/web-functions/{functionName}/list-revisions", None),
    operation("lambda-web", "ListWebFunctions", Verb::Post, "2025-03-07/web-functions", None),
    operation("lambda-web", "PutResourcePolicy", Verb::Put, "2025-03-07/resource-policy/{resourceArn}", None),
    operation("lambda-web", "TagResource", Verb::Post, "2025-03-07/tags/{resource}", None),
    operation("lambda-web", "UntagResource", Verb::Delete, "2025-03-07/tags/{resource}", None),
    operation("lambda-web", "UpdateWebFunctionEndpoint", Verb::Patch, "2025-03-07/web-functions/{functionName}/endpoints/{endpointName}", None),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, path: &str, query: &str, expected: Option<(&str, &[&str])>) {
        let query: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let found = find(&method, path, &query);
        let got = found.as_ref().map(|found| (found.operation.name, found.labels.as_slice()));
        assert_eq!(got, expected, "{method} {path}");
    }

    #[test]
    fn path_method_and_query_name_the_operation() {
        check(
            Method::POST,
            "/2015-03-31/functions/hello/invocations",
            "Qualifier=1",
            Some(("Invoke", &["hello"])),
        );
        check(Method::GET, "/2015-03-31/functions/", "", Some(("ListFunctions", &[])));
        check(
            Method::GET,
            "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af",
            "",
            Some(("GetFunction", &["arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af"])),
        );
        check(
            Method::GET,
            "/2018-10-31/layers",
            "find=LayerVersion&Arn=x",
            Some(("GetLayerVersionByArn", &[])),
        );
        check(Method::GET, "/2018-10-31/layers", "", Some(("ListLayers", &[])));
        check(
            Method::GET,
            "/2019-09-30/functions/f/provisioned-concurrency",
            "List=ALL",
            Some(("ListProvisionedConcurrencyConfigs", &["f"])),
        );
        check(
            Method::GET,
            "/2019-09-30/functions/f/provisioned-concurrency",
            "Qualifier=1",
            Some(("GetProvisionedConcurrencyConfig", &["f"])),
        );
        check(Method::POST, "/2014-11-13/functions/f/invoke-async/", "", Some(("InvokeAsync", &["f"])));
        check(Method::PATCH, "/2015-03-31/functions/f", "", None);
        check(Method::GET, "/2015-03-31/functions//configuration", "", None);
        check(Method::GET, "/", "", None);
    }
}
