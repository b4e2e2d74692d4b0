"""Management of HTTP APIs (API Gateway version 2) with boto3.

Exact texts are those that were seen from AWS (issues of terraform's and SST's providers, moto's recordings). Where AWS publishes none, the
tests ask for code and status and for a word that helps.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request

import pytest

from support.errors import arn, members, refused

FUNCTION = arn("pets")
INTEGRATION = {"IntegrationType": "AWS_PROXY", "IntegrationUri": FUNCTION, "PayloadFormatVersion": "2.0"}
BAD, ABSENT, CONFLICT = ("BadRequestException", 400), ("NotFoundException", 404), ("ConflictException", 409)


@pytest.fixture
def http(server):
    return server.client("apigatewayv2")


@pytest.fixture
def api(http):
    """The id of an API without anything."""
    made = http.create_api(Name="pets", ProtocolType="HTTP")["ApiId"]
    yield made
    http.delete_api(ApiId=made)


def integrate(http, api, **more):
    return http.create_integration(ApiId=api, **(INTEGRATION | more))["IntegrationId"]


@pytest.mark.covers("http-api:CreateApi, GetApi, UpdateApi, DeleteApi")
def test_apis_come_and_go(server, http):
    created = http.create_api(Name="pets", ProtocolType="HTTP")
    assert created["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert set(members(created)) == {
        "ApiEndpoint", "ApiId", "ApiKeySelectionExpression", "CreatedDate", "DisableExecuteApiEndpoint", "IpAddressType", "Name", "ProtocolType",
        "RouteSelectionExpression", "Tags",
    }
    api = created["ApiId"]
    assert re.fullmatch("[a-z0-9]{10}", api)
    assert created["ApiEndpoint"] == f"http://{api}.execute-api.us-east-1.localhost:{server.port}"
    assert (created["RouteSelectionExpression"], created["Tags"]) == ("$request.method $request.path", {})
    assert created["CreatedDate"].microsecond == 0
    assert members(http.get_api(ApiId=api)) == members(created)
    cors = {"AllowOrigins": ["https://example.com"], "AllowMethods": ["GET", "*"], "AllowHeaders": ["x-a"], "ExposeHeaders": [], "MaxAge": -1, "AllowCredentials": True}
    updated = http.update_api(ApiId=api, Description="d", Version="1", CorsConfiguration=cors, DisableExecuteApiEndpoint=True)
    assert (updated["Description"], updated["Version"], updated["CorsConfiguration"], updated["Name"]) == ("d", "1", cors, "pets")
    assert updated["DisableExecuteApiEndpoint"] is True
    assert http.delete_cors_configuration(ApiId=api)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert "CorsConfiguration" not in http.get_api(ApiId=api)
    assert http.delete_api(ApiId=api)["ResponseMetadata"]["HTTPStatusCode"] == 204
    for call in (http.get_api, http.update_api, http.delete_api, http.get_routes, http.delete_cors_configuration):
        assert refused(call, ApiId=api) == (*ABSENT, f"Invalid API identifier specified 000000000000:{api}")


@pytest.mark.covers("http-api:CreateApi, GetApi, UpdateApi, DeleteApi")
def test_what_an_api_is_refused_for(http, api):
    assert refused(http.create_api, Name="x", ProtocolType="FTP") == (*BAD, "Invalid protocol specified. Must be one of [HTTP, WEBSOCKET]")
    code, status, text = refused(http.create_api, Name="x", ProtocolType="WEBSOCKET", RouteSelectionExpression="$request.body.action")
    assert (code, status) == ("NotImplementedException", 400) and "WEBSOCKET" in text
    for wrong in (
        {"Name": ""}, {"Description": "d" * 1025}, {"RouteSelectionExpression": "$request.body.action"}, {"RouteKey": "GET /"},
        {"CorsConfiguration": {"MaxAge": 86401}}, {"CorsConfiguration": {"AllowOrigins": ["example.com"]}}, {"CorsConfiguration": {"AllowMethods": ["FETCH"]}},
        {"CorsConfiguration": {"AllowOrigins": ["*"], "AllowCredentials": True}}, {"Tags": {"aws:x": "y"}}, {"Target": "pets"},
    ):
        assert refused(http.create_api, **({"Name": "x", "ProtocolType": "HTTP"} | wrong))[:2] == BAD, wrong
    code, status, text = refused(http.get_models, ApiId=api)
    assert (code, status) == ("NotImplementedException", 400) and "models" in text
    assert refused(http.get_vpc_links)[:2] == ("NotImplementedException", 400)


@pytest.mark.covers("http-api:GetApis")
def test_apis_are_listed_in_pages(server):
    # A region of the test's own: APIs of others are not seen there.
    http = server.client("apigatewayv2", "eu-north-1")
    made = {http.create_api(Name=f"a{number}", ProtocolType="HTTP")["ApiId"] for number in range(3)}
    pages = list(http.get_paginator("get_apis").paginate(PaginationConfig={"PageSize": 2}))
    assert [len(page["Items"]) for page in pages] == [2, 1] and "NextToken" not in pages[1]
    assert {api["ApiId"] for page in pages for api in page["Items"]} == made
    assert refused(http.get_apis, MaxResults="0")[:2] == BAD
    assert refused(http.get_apis, NextToken="other")[:2] == BAD
    for api in made:
        http.delete_api(ApiId=api)
    assert http.get_apis()["Items"] == []


@pytest.mark.covers("http-api:Quick create")
def test_quick_create(http):
    created = http.create_api(Name="quick", ProtocolType="HTTP", Target=FUNCTION)
    api = created["ApiId"]
    (integration,) = http.get_integrations(ApiId=api)["Items"]
    assert integration | {"IntegrationId": ""} == {
        "ApiGatewayManaged": True, "ConnectionType": "INTERNET", "IntegrationId": "", "IntegrationMethod": "POST", "IntegrationType": "AWS_PROXY",
        "IntegrationUri": FUNCTION, "PayloadFormatVersion": "2.0", "TimeoutInMillis": 30000,
    }
    (route,) = http.get_routes(ApiId=api)["Items"]
    assert (route["RouteKey"], route["Target"], route["ApiGatewayManaged"]) == ("$default", f"integrations/{integration['IntegrationId']}", True)
    (stage,) = http.get_stages(ApiId=api)["Items"]
    assert (stage["StageName"], stage["AutoDeploy"], stage["ApiGatewayManaged"]) == ("$default", True, True)
    assert stage["LastDeploymentStatusMessage"] == f"Successfully deployed stage with deployment ID '{stage['DeploymentId']}'"
    http.update_api(ApiId=api, Target="http://127.0.0.1:1/x", RouteKey="GET /x")
    assert http.get_integrations(ApiId=api)["Items"][0]["IntegrationType"] == "HTTP_PROXY"
    assert http.get_routes(ApiId=api)["Items"][0]["RouteKey"] == "GET /x"
    http.delete_api(ApiId=api)


@pytest.mark.covers("http-api:Integrations")
def test_integrations(server, http, api):
    created = http.create_integration(ApiId=api, **INTEGRATION)
    assert created["ResponseMetadata"]["HTTPStatusCode"] == 201
    identifier = created["IntegrationId"]
    assert members(created) == INTEGRATION | {"ConnectionType": "INTERNET", "IntegrationId": identifier, "IntegrationMethod": "POST", "TimeoutInMillis": 30000}
    assert members(http.get_integration(ApiId=api, IntegrationId=identifier)) == members(created)
    updated = http.update_integration(ApiId=api, IntegrationId=identifier, TimeoutInMillis=50, Description="d", PayloadFormatVersion="1.0")
    assert members(updated) == members(created) | {"TimeoutInMillis": 50, "Description": "d", "PayloadFormatVersion": "1.0"}
    uri = f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{FUNCTION}/invocations"
    assert http.update_integration(ApiId=api, IntegrationId=identifier, IntegrationUri=uri)["IntegrationUri"] == uri
    assert [one["IntegrationId"] for one in http.get_integrations(ApiId=api)["Items"]] == [identifier]
    absent = (*ABSENT, "Invalid Integration identifier specified nothing")
    for call in (http.get_integration, http.update_integration, http.delete_integration):
        assert refused(call, ApiId=api, IntegrationId="nothing") == absent
    for wrong in (
        {"PayloadFormatVersion": "3.0"}, {"IntegrationUri": "pets"}, {"IntegrationType": "MOCK"},
        {"IntegrationType": "HTTP_PROXY", "PayloadFormatVersion": "1.0", "IntegrationUri": "http://x"}, {"IntegrationMethod": "get"},
    ):
        assert refused(http.create_integration, ApiId=api, **(INTEGRATION | wrong))[:2] == BAD, wrong
    assert refused(http.create_integration, ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=FUNCTION)[:2] == BAD
    # Who sends a request does not choose the host it goes on to; stage variables are the owner's.
    proxy = {"IntegrationType": "HTTP_PROXY", "PayloadFormatVersion": "1.0", "IntegrationMethod": "ANY"}
    for uri in ("http://{proxy}", "https://{id}.example.com/x", "http://example.com:{id}/", "http://${stageVariables.host}{id}/"):
        assert refused(http.create_integration, ApiId=api, IntegrationUri=uri, **proxy) == (*BAD, f"Invalid HTTP endpoint specified for URI {uri}")
    made = http.create_integration(ApiId=api, IntegrationUri="http://${stageVariables.host}/{proxy}?q={id}", **proxy)["IntegrationId"]
    assert refused(http.update_integration, ApiId=api, IntegrationId=made, IntegrationUri="http://{proxy}")[:2] == BAD
    http.delete_integration(ApiId=api, IntegrationId=made)
    # What boto3 itself would refuse, and what is no JSON object.
    for body in ({"timeoutInMillis": 49}, {"timeoutInMillis": 30001}, {"timeoutInMillis": "x"}, []):
        content = json.dumps({"integrationType": "AWS_PROXY", "integrationUri": FUNCTION, "payloadFormatVersion": "2.0"} | body if body else body)
        request = urllib.request.Request(f"{server.endpoint}/v2/apis/{api}/integrations", content.encode(), method="POST")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        assert (caught.value.code, caught.value.headers["x-amzn-ErrorType"]) == (400, "BadRequestException"), body
        assert json.loads(caught.value.read())["message"]
    code, status, text = refused(http.create_integration, ApiId=api, ConnectionType="VPC_LINK", ConnectionId="x", **INTEGRATION)
    assert (code, status) == ("NotImplementedException", 400) and "connectionId" in text
    http.create_route(ApiId=api, RouteKey="GET /", Target=f"integrations/{identifier}")
    route = http.get_routes(ApiId=api)["Items"][0]["RouteId"]
    assert refused(http.delete_integration, ApiId=api, IntegrationId=identifier) == (
        *CONFLICT, f"Cannot delete Integration because it is referenced by the following Routes with Ids: [{route}]",
    )
    http.delete_route(ApiId=api, RouteId=route)
    http.delete_integration(ApiId=api, IntegrationId=identifier)
    assert http.get_integrations(ApiId=api)["Items"] == []


@pytest.mark.covers("http-api:Routes")
def test_routes(http, api):
    created = http.create_route(ApiId=api, RouteKey="GET /pets/{id}")
    assert created["ResponseMetadata"]["HTTPStatusCode"] == 201
    identifier = created["RouteId"]
    assert members(created) == {"ApiKeyRequired": False, "AuthorizationType": "NONE", "RouteId": identifier, "RouteKey": "GET /pets/{id}"}
    integration = integrate(http, api)
    updated = http.update_route(ApiId=api, RouteId=identifier, Target=f"integrations/{integration}", OperationName="pet", RouteKey="ANY /pets/{id}", AuthorizationType="AWS_IAM")
    assert members(updated) == {
        "ApiKeyRequired": False, "AuthorizationType": "AWS_IAM", "OperationName": "pet", "RouteId": identifier, "RouteKey": "ANY /pets/{id}", "Target": f"integrations/{integration}",
    }
    assert members(http.get_route(ApiId=api, RouteId=identifier)) == members(updated)
    assert refused(http.create_route, ApiId=api, RouteKey="ANY /pets/{id}") == (*CONFLICT, "Route with key ANY /pets/{id} already exists for this API")
    for wrong in ("pets", "get /pets", "GET pets", "GET /{a+}/b", "GET /{a}/{a}", "GET /a{b}", "$connect"):
        assert refused(http.create_route, ApiId=api, RouteKey=wrong)[:2] == BAD, wrong
    assert refused(http.create_route, ApiId=api, RouteKey="GET /x", Target="integrations/nothing")[:2] == ABSENT
    assert refused(http.create_route, ApiId=api, RouteKey="GET /x", Target=integration)[:2] == BAD
    assert refused(http.create_route, ApiId=api, RouteKey="GET /x", ApiKeyRequired=True)[:2] == BAD
    assert refused(http.create_route, ApiId=api, RouteKey="GET /x", AuthorizationType="JWT") == (
        *BAD, "Invalid authorizer ID specified. Setting the authorization type to JWT requires a valid JWT authorizer.",
    )
    http.delete_route(ApiId=api, RouteId=identifier)
    for call in (http.get_route, http.update_route, http.delete_route):
        assert refused(call, ApiId=api, RouteId=identifier) == (*ABSENT, f"Invalid Route identifier specified {identifier}")


@pytest.mark.covers("http-api:Authorizers")
def test_authorizers(http, api):
    jwt = {"AuthorizerType": "JWT", "IdentitySource": ["$request.header.Authorization"], "Name": "tokens", "JwtConfiguration": {"Audience": ["a"], "Issuer": "https://issuer.example.com"}}
    created = http.create_authorizer(ApiId=api, **jwt)
    identifier = created["AuthorizerId"]
    assert members(created) == jwt | {"AuthorizerId": identifier}
    uri = f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{FUNCTION}/invocations"
    request = {"AuthorizerType": "REQUEST", "IdentitySource": ["$request.header.x-key"], "Name": "asks", "AuthorizerUri": uri, "AuthorizerPayloadFormatVersion": "2.0"}
    other = http.create_authorizer(ApiId=api, EnableSimpleResponses=True, AuthorizerResultTtlInSeconds=300, **request)
    assert members(other) == request | {"AuthorizerId": other["AuthorizerId"], "EnableSimpleResponses": True, "AuthorizerResultTtlInSeconds": 300}
    assert http.update_authorizer(ApiId=api, AuthorizerId=identifier, JwtConfiguration={"Audience": ["b"], "Issuer": "https://other"})["JwtConfiguration"]["Audience"] == ["b"]
    assert len(http.get_authorizers(ApiId=api)["Items"]) == 2
    without = {name: value for name, value in request.items() if name != "AuthorizerPayloadFormatVersion"}
    assert refused(http.create_authorizer, ApiId=api, **(without | {"Name": "n"})) == (*BAD, "AuthorizerPayloadFormatVersion is a required parameter for REQUEST authorizer")
    for wrong in (
        jwt, jwt | {"Name": "n", "IdentitySource": ["header"]}, jwt | {"Name": "n", "JwtConfiguration": {"Audience": ["a"], "Issuer": "issuer"}}, jwt | {"Name": "n", "AuthorizerUri": uri},
        request | {"Name": "n", "AuthorizerUri": "x"}, request | {"Name": "n", "AuthorizerResultTtlInSeconds": 3601}, request | {"Name": "n", "JwtConfiguration": {}},
        request | {"Name": "n", "AuthorizerPayloadFormatVersion": "1.0", "EnableSimpleResponses": True},
    ):
        assert refused(http.create_authorizer, ApiId=api, **wrong)[:2] == BAD, wrong
    route = http.create_route(ApiId=api, RouteKey="GET /", AuthorizationType="JWT", AuthorizerId=identifier, AuthorizationScopes=["read"])
    assert (route["AuthorizerId"], route["AuthorizationScopes"]) == (identifier, ["read"])
    assert refused(http.update_route, ApiId=api, RouteId=route["RouteId"], AuthorizationType="CUSTOM")[:2] == BAD
    assert refused(http.delete_authorizer, ApiId=api, AuthorizerId=identifier)[:2] == CONFLICT
    assert "AuthorizerId" not in http.update_route(ApiId=api, RouteId=route["RouteId"], AuthorizationType="NONE")
    http.delete_authorizer(ApiId=api, AuthorizerId=identifier)
    assert refused(http.get_authorizer, ApiId=api, AuthorizerId=identifier) == (*ABSENT, f"Invalid Authorizer identifier specified {identifier}")


@pytest.mark.covers("http-api:Stages")
@pytest.mark.covers("http-api:Deployments")
def test_stages_and_deployments(http, api):
    assert refused(http.create_deployment, ApiId=api) == (*BAD, "At least one route is required before deploying the Api.")
    http.create_route(ApiId=api, RouteKey="GET /", Target=f"integrations/{integrate(http, api)}")
    created = http.create_stage(ApiId=api, StageName="dev", StageVariables={"a": "b"})
    assert created["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert set(members(created)) == {"CreatedDate", "DefaultRouteSettings", "LastUpdatedDate", "RouteSettings", "StageName", "StageVariables", "Tags"}
    assert created["DefaultRouteSettings"] == {"DetailedMetricsEnabled": False}
    assert refused(http.create_stage, ApiId=api, StageName="dev") == (*CONFLICT, "Stage already exists")
    deployment = http.create_deployment(ApiId=api, StageName="dev", Description="first")
    identifier = deployment["DeploymentId"]
    assert members(deployment) == {"AutoDeployed": False, "CreatedDate": deployment["CreatedDate"], "DeploymentId": identifier, "DeploymentStatus": "DEPLOYED", "Description": "first"}
    assert http.get_stage(ApiId=api, StageName="dev")["DeploymentId"] == identifier
    assert refused(http.delete_deployment, ApiId=api, DeploymentId=identifier)[:2] == BAD
    assert http.update_deployment(ApiId=api, DeploymentId=identifier, Description="other")["Description"] == "other"
    settings = {"ThrottlingBurstLimit": 5, "ThrottlingRateLimit": 2.5, "DetailedMetricsEnabled": True}
    updated = http.update_stage(ApiId=api, StageName="dev", DefaultRouteSettings=settings, RouteSettings={"GET /": settings}, StageVariables={"c": "d"}, Description="d")
    assert (updated["DefaultRouteSettings"], updated["RouteSettings"], updated["StageVariables"]) == (settings, {"GET /": settings}, {"a": "b", "c": "d"})
    assert refused(http.update_stage, ApiId=api, StageName="dev", RouteSettings={"GET /no": settings}) == (*ABSENT, "Unable to find Route by key GET /no within the provided RouteSettings")
    assert http.delete_route_settings(ApiId=api, StageName="dev", RouteKey="GET /")["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert http.get_stage(ApiId=api, StageName="dev")["RouteSettings"] == {}
    automatic = http.update_stage(ApiId=api, StageName="dev", AutoDeploy=True)
    assert automatic["AutoDeploy"] is True and automatic["DeploymentId"] != identifier
    assert refused(http.create_deployment, ApiId=api, StageName="dev")[:2] == BAD
    assert refused(http.update_stage, ApiId=api, StageName="dev", DeploymentId=identifier)[:2] == BAD
    http.create_route(ApiId=api, RouteKey="GET /other")
    after = http.get_stage(ApiId=api, StageName="dev")["DeploymentId"]
    assert after != automatic["DeploymentId"]
    listed = {one["DeploymentId"]: one for one in http.get_deployments(ApiId=api)["Items"]}
    assert set(listed) == {identifier, after} and listed[after]["AutoDeployed"] is True
    assert http.update_stage(ApiId=api, StageName="dev", AutoDeploy=False, DeploymentId=identifier)["DeploymentId"] == identifier
    assert refused(http.update_stage, ApiId=api, StageName="dev", DeploymentId="nothing") == (*ABSENT, "Invalid Deployment identifier specified nothing")
    assert refused(http.create_stage, ApiId=api, StageName="a/b")[:2] == BAD
    assert refused(http.create_stage, ApiId=api, StageName="x", DefaultRouteSettings={"LoggingLevel": "INFO"})[:2] == BAD
    http.delete_stage(ApiId=api, StageName="dev")
    http.delete_deployment(ApiId=api, DeploymentId=identifier)
    for call in (http.get_stage, http.update_stage, http.delete_stage):
        assert refused(call, ApiId=api, StageName="dev") == (*ABSENT, "Invalid stage identifier specified dev")


@pytest.mark.covers("http-api:Custom domains")
def test_domains_and_mappings(http, api):
    http.create_stage(ApiId=api, StageName="$default", AutoDeploy=True)
    configuration = {"CertificateArn": "arn:aws:acm:us-east-1:000000000000:certificate/x", "EndpointType": "REGIONAL", "SecurityPolicy": "TLS_1_2"}
    created = http.create_domain_name(DomainName="API.example.com", DomainNameConfigurations=[configuration], Tags={"a": "b"})
    assert (created["DomainName"], created["ApiMappingSelectionExpression"], created["Tags"]) == ("api.example.com", "$request.basepath", {"a": "b"})
    assert configuration.items() <= created["DomainNameConfigurations"][0].items() and created["DomainNameConfigurations"][0]["DomainNameStatus"] == "AVAILABLE"
    try:
        assert members(http.get_domain_name(DomainName="api.example.com")) == members(created)
        assert refused(http.create_domain_name, DomainName="api.example.com")[:2] == CONFLICT
        for wrong in ("example", "a..b", "-a.b", "a.b/c"):
            assert refused(http.create_domain_name, DomainName=wrong)[:2] == BAD, wrong
        mapping = http.create_api_mapping(DomainName="api.example.com", ApiId=api, Stage="$default", ApiMappingKey="v1/pets")
        assert members(mapping) == {"ApiId": api, "ApiMappingId": mapping["ApiMappingId"], "ApiMappingKey": "v1/pets", "Stage": "$default"}
        named = {"DomainName": "api.example.com", "ApiMappingId": mapping["ApiMappingId"]}
        assert members(http.update_api_mapping(ApiId=api, ApiMappingKey="v2", **named)) == members(mapping) | {"ApiMappingKey": "v2"}
        assert [one["ApiMappingKey"] for one in http.get_api_mappings(DomainName="api.example.com")["Items"]] == ["v2"]
        twin = {"DomainName": "api.example.com", "ApiId": api, "Stage": "$default"}
        assert refused(http.create_api_mapping, ApiMappingKey="v2", **twin)[:2] == CONFLICT
        assert refused(http.create_api_mapping, ApiMappingKey="/v3", **twin)[:2] == BAD
        assert refused(http.create_api_mapping, **(twin | {"Stage": "no"}))[:2] == BAD
        assert refused(http.create_api_mapping, **(twin | {"ApiId": "no"}))[:2] == ABSENT
        http.delete_api_mapping(**named)
        assert refused(http.get_api_mapping, **named)[:2] == ABSENT
        assert [one["DomainName"] for one in http.get_domain_names()["Items"]] == ["api.example.com"]
    finally:
        http.delete_domain_name(DomainName="api.example.com")
    assert refused(http.get_domain_name, DomainName="api.example.com")[:2] == ABSENT


@pytest.mark.covers("http-api:Tags")
def test_tags(http, api):
    of_api, of_stage = f"arn:aws:apigateway:us-east-1::/apis/{api}", f"arn:aws:apigateway:us-east-1::/apis/{api}/stages/dev"
    http.create_stage(ApiId=api, StageName="dev", Tags={"x": "y"})
    assert http.tag_resource(ResourceArn=of_api, Tags={"a": "b", "c": "d"})["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert http.get_tags(ResourceArn=of_api)["Tags"] == {"a": "b", "c": "d"} == http.get_api(ApiId=api)["Tags"]
    assert http.untag_resource(ResourceArn=of_api, TagKeys=["a"])["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert http.get_tags(ResourceArn=of_api)["Tags"] == {"c": "d"}
    assert http.get_tags(ResourceArn=of_stage)["Tags"] == {"x": "y"}
    assert refused(http.get_tags, ResourceArn=f"{of_api}x")[:2] == ABSENT
    assert refused(http.get_tags, ResourceArn="arn:aws:apigateway:us-east-1::/other/x")[:2] == BAD
    assert refused(http.tag_resource, ResourceArn=of_api, Tags={f"k{number}": "" for number in range(50)})[:2] == BAD


def document(**more):
    proxy = {"type": "aws_proxy", "httpMethod": "POST", "uri": f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{FUNCTION}/invocations", "payloadFormatVersion": "2.0"}
    scheme = {"type": "oauth2", "x-amazon-apigateway-authorizer": {
        "type": "jwt", "identitySource": "$request.header.Authorization", "jwtConfiguration": {"audience": ["a"], "issuer": "https://issuer.example.com"},
    }}
    return {
        "openapi": "3.0.1", "info": {"title": "imported", "version": "2"},
        "paths": {"/pets/{id}": {"get": {"security": [{"tokens": ["read"]}], "x-amazon-apigateway-integration": proxy}}, "/$default": {"x-amazon-apigateway-any-method": {"x-amazon-apigateway-integration": proxy, "isDefaultRoute": True}}},
        "components": {"securitySchemes": {"tokens": scheme}}, "x-amazon-apigateway-cors": {"allowOrigins": ["*"]},
    } | more


@pytest.mark.covers("http-api:ImportApi, ReimportApi")
def test_import_of_openapi(http):
    imported = http.import_api(Body=json.dumps(document()))
    api = imported["ApiId"]
    assert (imported["Name"], imported["Version"], imported["CorsConfiguration"]) == ("imported", "2", {"AllowOrigins": ["*"]})
    routes = {route["RouteKey"]: route for route in http.get_routes(ApiId=api)["Items"]}
    assert set(routes) == {"GET /pets/{id}", "$default"}
    assert (routes["GET /pets/{id}"]["AuthorizationType"], routes["GET /pets/{id}"]["AuthorizationScopes"]) == ("JWT", ["read"])
    assert http.get_authorizers(ApiId=api)["Items"][0]["Name"] == "tokens"
    assert http.get_stages(ApiId=api)["Items"] == []
    http.create_stage(ApiId=api, StageName="dev", AutoDeploy=True)
    again = http.reimport_api(ApiId=api, Body=json.dumps(document(paths={"/x": {"get": {}}})))
    assert again["ResponseMetadata"]["HTTPStatusCode"] == 201 and again["Warnings"] == ["Route 'GET /x' has no integration"]
    assert [route["RouteKey"] for route in http.get_routes(ApiId=api)["Items"]] == ["GET /x"]
    assert http.get_stage(ApiId=api, StageName="dev")["AutoDeploy"] is True
    assert refused(http.reimport_api, ApiId=api, Body=json.dumps(document(paths={"/x": {"get": {}}})), FailOnWarnings=True)[:2] == BAD
    for wrong in ("{", json.dumps({"swagger": "2.0"}), json.dumps(document(info={}))):
        assert refused(http.import_api, Body=wrong)[:2] == BAD, wrong
    http.delete_api(ApiId=api)


YAML = """
openapi: 3.0.1
info: {title: from yaml, version: 1.0}
x-parts:
  proxy: &proxy {type: aws_proxy, uri: FUNCTION, payloadFormatVersion: 2.0}
paths:
  /pets/{id}:
    get: {x-amazon-apigateway-integration: *proxy}
  /all:
    x-amazon-apigateway-any-method: {x-amazon-apigateway-integration: *proxy}
"""


@pytest.mark.covers("http-api:ImportApi, ReimportApi")
def test_import_of_yaml(http):
    imported = http.import_api(Body=YAML.replace("FUNCTION", FUNCTION))
    api = imported["ApiId"]
    assert (imported["Name"], imported["Version"]) == ("from yaml", "1.0")
    assert {route["RouteKey"] for route in http.get_routes(ApiId=api)["Items"]} == {"GET /pets/{id}", "ANY /all"}
    assert {one["PayloadFormatVersion"] for one in http.get_integrations(ApiId=api)["Items"]} == {"2.0"}
    refusal = refused(http.reimport_api, ApiId=api, Body="openapi: 3.0.1\ninfo: {")
    assert refusal[:2] == BAD and refusal[2].startswith("Unable to parse API definition because of a malformed document: line ")
    http.delete_api(ApiId=api)
