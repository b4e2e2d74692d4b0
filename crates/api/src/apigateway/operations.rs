//! Which operation a request means: method and path; imports by `mode=import` in the query string.
//!
//! The table is botocore's service model `apigateway` (1.44.5). Operations without a handler are refused by name.

use http::Method;

/// An operation and the raw (still percent-encoded) path segments its placeholders stand for, in order.
#[derive(Debug, PartialEq, Eq)]
pub struct Match<'a> {
    /// Name in the service model.
    pub name: &'static str,
    /// Values of the placeholders.
    pub labels: Vec<&'a str>,
}

/// Finds the operation of a request; `None` when there is no such path and method. A literal segment wins over a placeholder.
pub fn find<'a>(method: &Method, path: &'a str, query: &[(String, String)]) -> Option<Match<'a>> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let rows = OPERATIONS.iter().filter(|(_, verb, _)| *verb == method.as_str());
    let matches = rows.filter_map(|(name, _, template)| Some((*name, labels(template, &segments)?)));
    let (name, labels) = matches.min_by_key(|(_, labels)| labels.len())?;
    let imports = query.iter().any(|(key, value)| key == "mode" && value == "import");
    let name = match name {
        "CreateRestApi" if imports => "ImportRestApi",
        "CreateApiKey" if imports => "ImportApiKeys",
        name => name,
    };
    Some(Match { name, labels })
}

fn labels<'a>(template: &str, segments: &[&'a str]) -> Option<Vec<&'a str>> {
    let mut labels = Vec::new();
    let mut given = segments.iter();
    for wanted in template.trim_matches('/').split('/') {
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

const OPERATIONS: &[(&str, &str, &str)] = &[
    ("CreateApiKey", "POST", "/apikeys"),
    ("CreateAuthorizer", "POST", "/restapis/{restapi_id}/authorizers"),
    ("CreateBasePathMapping", "POST", "/domainnames/{domain_name}/basepathmappings"),
    ("CreateDeployment", "POST", "/restapis/{restapi_id}/deployments"),
    ("CreateDocumentationPart", "POST", "/restapis/{restapi_id}/documentation/parts"),
    ("CreateDocumentationVersion", "POST", "/restapis/{restapi_id}/documentation/versions"),
    ("CreateDomainName", "POST", "/domainnames"),
    ("CreateDomainNameAccessAssociation", "POST", "/domainnameaccessassociations"),
    ("CreateModel", "POST", "/restapis/{restapi_id}/models"),
    ("CreateRequestValidator", "POST", "/restapis/{restapi_id}/requestvalidators"),
    ("CreateResource", "POST", "/restapis/{restapi_id}/resources/{parent_id}"),
    ("CreateRestApi", "POST", "/restapis"),
    ("CreateStage", "POST", "/restapis/{restapi_id}/stages"),
    ("CreateUsagePlan", "POST", "/usageplans"),
    ("CreateUsagePlanKey", "POST", "/usageplans/{usageplanId}/keys"),
    ("CreateVpcLink", "POST", "/vpclinks"),
    ("DeleteApiKey", "DELETE", "/apikeys/{api_Key}"),
    ("DeleteAuthorizer", "DELETE", "/restapis/{restapi_id}/authorizers/{authorizer_id}"),
    ("DeleteBasePathMapping", "DELETE", "/domainnames/{domain_name}/basepathmappings/{base_path}"),
    ("DeleteClientCertificate", "DELETE", "/clientcertificates/{clientcertificate_id}"),
    ("DeleteDeployment", "DELETE", "/restapis/{restapi_id}/deployments/{deployment_id}"),
    ("DeleteDocumentationPart", "DELETE", "/restapis/{restapi_id}/documentation/parts/{part_id}"),
    ("DeleteDocumentationVersion", "DELETE", "/restapis/{restapi_id}/documentation/versions/{doc_version}"),
    ("DeleteDomainName", "DELETE", "/domainnames/{domain_name}"),
    (
        "DeleteDomainNameAccessAssociation",
        "DELETE",
        "/domainnameaccessassociations/{domain_name_access_association_arn}",
    ),
    ("DeleteGatewayResponse", "DELETE", "/restapis/{restapi_id}/gatewayresponses/{response_type}"),
    (
        "DeleteIntegration",
        "DELETE",
        "/restapis/{restapi_id}/resources/{resource_id}/methods/{http_method}/integration",
    ),
    (
        "DeleteIntegrationResponse",
        "DELETE",
        "/restapis/{restapi_id}/resources/{resource_id}/methods/{http_method}/integration/responses/{status_code}",
    ),
    ("DeleteMethod", "DELETE", "/restapis/{restapi_id}/resources/{resource_id}/methods/{http_method}"),
    (
        "DeleteMethodResponse",
        "DELETE",
        "/restapis/{restapi_id}/resources/{resource_id}/methods/{http_method}/responses/{status_code}",
    ),
    ("DeleteModel", "DELETE", "/restapis/{restapi_id}/models/{model_name}"),
    ("DeleteRequestValidator", "DELETE", "/restapis/{restapi_id}/requestvalidators/{requestvalidator_id}"),
    ("DeleteResource", "DELETE", "/restapis/{restapi_id}/resources/{resource_id}"),
    ("DeleteRestApi", "DELETE", "/restapis/{restapi_id}"),
    ("DeleteStage", "DELETE", "/restapis/{restapi_id}/stages/{stage_name}"),
    ("DeleteUsagePlan", "DELETE", "/usageplans/{usageplanId}"),
    ("DeleteUsagePlanKey", "DELETE", "/usageplans/{usageplanId}/keys/{keyId}"),
    ("DeleteVpcLink", "DELETE", "/vpclinks/{vpclink_id}"),
    ("FlushStageAuthorizersCache", "DELETE", "/restapis/{restapi_id}/stages/{stage_name}/cache/authorizers"),
    ("FlushStageCache", "DELETE", "/restapis/{restapi_id}/stages/{stage_name}/cache/data"),
    ("GenerateClientCertificate", "POST", "/clientcertificates"),
    ("GetAccount", "GET", "/account"),
    ("GetApiKey", "GET", "/apikeys/{api_Key}"),
    ("GetApiKeys", "GET", "/apikeys"),
    ("GetAuthorizer", "GET", "/restapis/{restapi_id}/authorizers/{authorizer_id}"),
    ("GetAuthorizers", "GET", "/restapis/{restapi_id}/authorizers"),
    ("GetBasePathMapping", "GET", "/domainnames/{domain_name}/basepathmappings/{base_path}"),
    ("GetBasePathMappings", "GET", "/domainnames/{domain_name}/basepathmappings"),
    ("GetClientCertificate", "GET", "/clientcertificates/{clientcertificate_id}"),
    ("GetClientCertificates", "GET", "/clientcertificates"),
    ("GetDeployment", "GET", "/restapis/{restapi_id}/deployments/{deployment_id}"),
    ("GetDeployments", "GET", "/restapis/{restapi_id}/deployments"),
    ("GetDocumentationPart", "GET", "/restapis/{restapi_id}/documentation/parts/{part_id}"),
    ("GetDocumentationParts", "GET", "/restapis/{restapi_id}/documentation/parts"),
    ("GetDocumentationVersion", "GET", "/restapis/{restapi_id}/documentation/versions/{doc_version}"),
    ("GetDocumentationVersions", "GET", "/restapis/{restapi_id}/documentation/versions"),
    ("GetDomainName", "GET", "/domainnames/{domain_name}"),
    ("GetDomainNameAccessAssociations", "GET", "/domainnameaccessassociations"),
    ("GetDomainNames", "GET", "/domainnames"),
    ("GetExport", "GET", "/restapis/{restapi_id}/stages/{stage_name}/exports/{export_type}"),
    ("GetGatewayResponse", "GET", "/restapis/{restapi_id}/gatewayresponses/{response_type}"),
    ("GetGatewayResponses", "GET", "/restapis/{restapi_id}/gatewayresponses"),
    (
        "GetIntegration",
        "GET",
        "/restapis/{restapi_id}/resources/{resource_id}/methods/{http_method}/integration",
    ),
    (
        "GetIntegrationResponse",
        "GET",
        "/restapis/{restapi_id}/resources/{resource_id}/methods/{http_method}/integration/responses/{status_code}",
    ),
    ("GetMethod", "GET", "/restapis/{restapi_id}/resources/{resource_id}/methods/{http_method}"),
    (
        "GetMethodResponse",
        "GET",
        "/restapis/{restapi_id}/resources/{resource_id}/methods/{http_method}/responses/{status_code}",
    ),
    ("GetModel", "GET", "/restapis/{restapi_id}/models/{model_name}"),
    ("GetModelTemplate", "GET", "/restapis/{restapi_id}/models/{model_name}/default_template"),
    ("GetModels", "GET", "/restapis/{restapi_id}/models"),
    ("GetRequestValidator", "GET", "/restapis/{restapi_id}/requestvalidators/{requestvalidator_id}"),
    ("GetRequestValidators", "GET", "/restapis/{restapi_id}/requestvalidators"),
    ("GetResource", "GET", "/restapis/{restapi_id}/resources/{resource_id}"),
    ("GetResources", "GET", "/restapis/{restapi_id}/resources"),
    ("GetRestApi", "GET", "/restapis/{restapi_id}"),
    ("GetRestApis", "GET", "/restapis"),
    ("GetSdk", "GET", "/restapis/{restapi_id}/stages/{stage_name}/sdks/{sdk_type}"),
    ("GetSdkType", "GET", "/sdktypes/{sdktype_id}"),
    ("GetSdkTypes", "GET", "/sdktypes"),
    ("GetStage", "GET", "/restapis/{restapi_id}/stages/{stage_name}"),
    ("GetStages", "GET", "/restapis/{restapi_id}/stages"),
    ("GetTags", "GET", "/tags/{resource_arn}"),
    ("GetUsage", "GET", "/usageplans/{usageplanId}/usage"),
    ("GetUsagePlan", "GET", "/usageplans/{usageplanId}"),
    ("GetUsagePlanKey", "GET", "/usageplans/{usageplanId}/keys/{keyId}"),
    ("GetUsagePlanKeys", "GET", "/usageplans/{usageplanId}/keys"),
    ("GetUsagePlans", "GET", "/usageplans"),
    ("GetVpcLink", "GET", "/vpclinks/{vpclink_id}"),
    ("GetVpcLinks", "GET", "/vpclinks"),
    ("ImportDocumentationParts", "PUT", "/restapis/{restapi_id}/documentation/parts"),
    ("PutGatewayResponse", "PUT", "/restapis/{restapi_id}/gatewayresponses/{response_type}"),
    (
        "PutIntegration",
        "PUT",
        "/restapis/{restapi_id}/resources/{resource_id}/methods/{http_method}/integration",
    ),
    (
        "PutIntegrationResponse",
        "PUT",
        "/restapis/{restapi_id}/resources/{resource_id}/methods/{http_method}/integration/responses/{status_code}",
    ),
    ("PutMethod", "PUT", "/restapis/{restapi_id}/resources/{resource_id}/methods/{http_method}"),
    (
        "PutMethodResponse",
        "PUT",
        "/restapis/{restapi_id}/resources/{resource_id}/methods/{http_method}/responses/{status_code}",
    ),
    ("PutRestApi", "PUT", "/restapis/{restapi_id}"),
    ("RejectDomainNameAccessAssociation", "POST", "/rejectdomainnameaccessassociations"),
    ("TagResource", "PUT", "/tags/{resource_arn}"),
    ("TestInvokeAuthorizer", "POST", "/restapis/{restapi_id}/authorizers/{authorizer_id}"),
    ("TestInvokeMethod", "POST", "/restapis/{restapi_id}/resources/{resource_id}/methods/{http_method}"),
    ("UntagResource", "DELETE", "/tags/{resource_arn}"),
    ("UpdateAccount", "PATCH", "/account"),
    ("UpdateApiKey", "PATCH", "/apikeys/{api_Key}"),
    ("UpdateAuthorizer", "PATCH", "/restapis/{restapi_id}/authorizers/{authorizer_id}"),
    ("UpdateBasePathMapping", "PATCH", "/domainnames/{domain_name}/basepathmappings/{base_path}"),
    ("UpdateClientCertificate", "PATCH", "/clientcertificates/{clientcertificate_id}"),
    ("UpdateDeployment", "PATCH", "/restapis/{restapi_id}/deployments/{deployment_id}"),
    ("UpdateDocumentationPart", "PATCH", "/restapis/{restapi_id}/documentation/parts/{part_id}"),
    ("UpdateDocumentationVersion", "PATCH", "/restapis/{restapi_id}/documentation/versions/{doc_version}"),
    ("UpdateDomainName", "PATCH", "/domainnames/{domain_name}"),
    ("UpdateGatewayResponse", "PATCH", "/restapis/{restapi_id}/gatewayresponses/{response_type}"),
    (
        "UpdateIntegration",
        "PATCH",
        "/restapis/{restapi_id}/resources/{resource_id}/methods/{http_method}/integration",
    ),
    (
        "UpdateIntegrationResponse",
        "PATCH",
        "/restapis/{restapi_id}/resources/{resource_id}/methods/{http_method}/integration/responses/{status_code}",
    ),
    ("UpdateMethod", "PATCH", "/restapis/{restapi_id}/resources/{resource_id}/methods/{http_method}"),
    (
        "UpdateMethodResponse",
        "PATCH",
        "/restapis/{restapi_id}/resources/{resource_id}/methods/{http_method}/responses/{status_code}",
    ),
    ("UpdateModel", "PATCH", "/restapis/{restapi_id}/models/{model_name}"),
    ("UpdateRequestValidator", "PATCH", "/restapis/{restapi_id}/requestvalidators/{requestvalidator_id}"),
    ("UpdateResource", "PATCH", "/restapis/{restapi_id}/resources/{resource_id}"),
    ("UpdateRestApi", "PATCH", "/restapis/{restapi_id}"),
    ("UpdateStage", "PATCH", "/restapis/{restapi_id}/stages/{stage_name}"),
    ("UpdateUsage", "PATCH", "/usageplans/{usageplanId}/keys/{keyId}/usage"),
    ("UpdateUsagePlan", "PATCH", "/usageplans/{usageplanId}"),
    ("UpdateVpcLink", "PATCH", "/vpclinks/{vpclink_id}"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_and_path_name_the_operation() {
        let check = |method: Method, path: &str, query: &str, expected: Option<(&str, &[&str])>| {
            let query: Vec<(String, String)> =
                form_urlencoded::parse(query.as_bytes()).into_owned().collect();
            let found = find(&method, path, &query);
            assert_eq!(found.as_ref().map(|found| (found.name, found.labels.as_slice())), expected, "{path}");
        };
        check(Method::POST, "/restapis", "", Some(("CreateRestApi", &[])));
        check(Method::POST, "/restapis", "mode=import", Some(("ImportRestApi", &[])));
        check(Method::PUT, "/restapis/a", "mode=overwrite", Some(("PutRestApi", &["a"])));
        check(
            Method::GET,
            "/restapis/a/resources/b/methods/GET",
            "",
            Some(("GetMethod", &["a", "b", "GET"])),
        );
        check(Method::GET, "/tags/arn%3Aaws%2Fx", "", Some(("GetTags", &["arn%3Aaws%2Fx"])));
        check(Method::GET, "/apikeys", "", Some(("GetApiKeys", &[])));
        check(Method::GET, "/restapis//resources", "", None);
        check(Method::GET, "/nothing", "", None);
    }
}
