"""Management of REST APIs (API Gateway's first version) with boto3. Serving them is tests/clients/test_rest_apis.py."""

from __future__ import annotations

import datetime
import json

import pytest

from support.errors import members, refused

FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:pets"
URI = f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{FUNCTION}/invocations"
BAD = ("BadRequestException", 400)
NOT_FOUND = ("NotFoundException", 404)
CONFLICT = ("ConflictException", 409)
NO_API = (*NOT_FOUND, "Invalid API identifier specified 000000000000:absent")
NO_RESOURCE = (*NOT_FOUND, "Invalid Resource identifier specified")
NO_METHOD = (*NOT_FOUND, "Invalid Method identifier specified")


@pytest.fixture
def rest(server):
    return server.client("apigateway")


@pytest.fixture
def api(rest):
    created = rest.create_rest_api(name="pets")
    yield created
    rest.delete_rest_api(restApiId=created["id"])


@pytest.fixture
def put(rest, api):
    """`put(path_part, method="GET")` makes a resource beneath the root with a method that calls the function; gives its id."""

    def make(path_part: str, method: str = "GET", **options) -> str:
        resource = rest.create_resource(restApiId=api["id"], parentId=api["rootResourceId"], pathPart=path_part)["id"]
        place = {"restApiId": api["id"], "resourceId": resource, "httpMethod": method}
        rest.put_method(**place, **({"authorizationType": "NONE"} | options))
        rest.put_integration(**place, type="AWS_PROXY", integrationHttpMethod="POST", uri=URI)
        return resource

    return make


def replace(path: str, value: str) -> list[dict]:
    return [{"op": "replace", "path": path, "value": value}]


@pytest.mark.covers("rest-api:CreateRestApi, GetRestApi, GetRestApis, UpdateRestApi, DeleteRestApi")
def test_the_life_of_an_api(rest):
    created = rest.create_rest_api(name="life", description="about pets", version="v1", binaryMediaTypes=["image/png"], tags={"team": "blue"}, endpointConfiguration={"types": ["REGIONAL"]}, minimumCompressionSize=10)
    assert created["ResponseMetadata"]["HTTPStatusCode"] == 201
    id = created["id"]
    assert len(id) == 10 and id.isalnum() and id.islower() or id.isdigit()
    assert abs((datetime.datetime.now(datetime.UTC) - created["createdDate"]).total_seconds()) < 100
    expected = {
        "id": id, "name": "life", "description": "about pets", "version": "v1", "binaryMediaTypes": ["image/png"], "minimumCompressionSize": 10, "apiKeySource": "HEADER",
        "endpointConfiguration": {"types": ["REGIONAL"], "ipAddressType": "ipv4"}, "tags": {"team": "blue"}, "disableExecuteApiEndpoint": False,
        "createdDate": created["createdDate"], "rootResourceId": created["rootResourceId"],
    }  # fmt: skip
    assert members(created) == expected
    assert members(rest.get_rest_api(restApiId=id)) == expected
    # What was never given is absent.
    plain = rest.create_rest_api(name="plain")
    assert set(members(plain)) == {"id", "name", "createdDate", "apiKeySource", "endpointConfiguration", "disableExecuteApiEndpoint", "rootResourceId"}
    assert plain["endpointConfiguration"] == {"types": ["EDGE"], "ipAddressType": "ipv4"}
    assert rest.delete_rest_api(restApiId=plain["id"])["ResponseMetadata"]["HTTPStatusCode"] == 202
    patched = rest.update_rest_api(restApiId=id, patchOperations=[
        {"op": "add", "path": "/binaryMediaTypes/*~1*"}, {"op": "remove", "path": "/binaryMediaTypes/image~1png"}, {"op": "remove", "path": "/description"},
        {"op": "replace", "path": "/minimumCompressionSize"}, *replace("/name", "renamed"), *replace("/endpointConfiguration/types/REGIONAL", "EDGE"),
    ])  # fmt: skip
    assert (patched["name"], patched["binaryMediaTypes"], patched["endpointConfiguration"]["types"]) == ("renamed", ["*/*"], ["EDGE"])
    assert "description" not in patched and "minimumCompressionSize" not in patched
    names = [one["name"] for page in rest.get_paginator("get_rest_apis").paginate(PaginationConfig={"PageSize": 1}) for one in page["items"]]
    assert "renamed" in names
    rest.delete_rest_api(restApiId=id)
    assert refused(rest.delete_rest_api, restApiId=id) == (*NOT_FOUND, f"Invalid API identifier specified 000000000000:{id}")
    assert refused(rest.get_rest_api, restApiId="absent") == NO_API


@pytest.mark.covers("rest-api:CreateRestApi, GetRestApi, GetRestApis, UpdateRestApi, DeleteRestApi")
def test_refusals_of_apis(rest, api):
    def update(operation):
        return refused(rest.update_rest_api, restApiId=api["id"], patchOperations=[operation])

    assert refused(rest.create_rest_api, name="x", description="") == (*BAD, "Description cannot be an empty string")
    size = (*BAD, "Invalid minimum compression size, must be between 0 and 10485760")
    assert refused(rest.create_rest_api, name="x", minimumCompressionSize=10485761) == size
    assert update({"op": "replace", "path": "/minimumCompressionSize", "value": "-1"}) == size
    assert update({"op": "add", "path": "/minimumCompressionSize", "value": "10"}) == (*BAD, "Invalid patch operation specified. Must be one of: [replace]")
    assert update({"op": "add", "path": "/binaryMediaTypes", "value": "a/b"}) == (*BAD, "Invalid patch path /binaryMediaTypes")
    assert refused(rest.create_rest_api, name="x", policy="{}") == (*BAD, "Lamplight does not support resource policies of REST APIs yet.")
    assert refused(rest.create_rest_api, name="x", endpointConfiguration={"types": ["PRIVATE"]})[2] == "Lamplight does not support private REST APIs yet."
    assert refused(rest.create_rest_api, name="x", apiKeySource="COOKIE")[:2] == ("ValidationException", 400)
    assert refused(rest.update_rest_api, restApiId="absent", patchOperations=[]) == NO_API


@pytest.mark.covers("rest-api:Resources")
def test_resources(rest, api):
    id, root = api["id"], api["rootResourceId"]

    def create(parent, part):
        return rest.create_resource(restApiId=id, parentId=parent, pathPart=part)

    assert rest.get_resources(restApiId=id)["items"] == [{"id": root, "path": "/"}]
    pets = create(root, "pets")
    assert members(pets) == {"id": pets["id"], "parentId": root, "pathPart": "pets", "path": "/pets"}
    pet = create(pets["id"], "{petId}")
    toys = create(pet["id"], "toys")
    assert [one["path"] for one in rest.get_resources(restApiId=id)["items"]] == ["/", "/pets", "/pets/{petId}", "/pets/{petId}/toys"]
    pages = rest.get_paginator("get_resources").paginate(restApiId=id, PaginationConfig={"PageSize": 3})
    assert [len(page["items"]) for page in pages] == [3, 1]
    renamed = rest.update_resource(restApiId=id, resourceId=pets["id"], patchOperations=replace("/pathPart", "dogs"))
    assert (renamed["path"], rest.get_resource(restApiId=id, resourceId=toys["id"])["path"]) == ("/dogs", "/dogs/{petId}/toys")
    moved = rest.update_resource(restApiId=id, resourceId=toys["id"], patchOperations=replace("/parentId", root))
    assert moved["path"] == "/toys"

    def wrong(operation, resource=pets["id"]):
        return refused(rest.update_resource, restApiId=id, resourceId=resource, patchOperations=[operation])

    assert wrong(replace("/parentId", pet["id"])[0]) == (*BAD, "Resources cannot be cyclical.")
    assert wrong(replace("/parentId", "absent")[0]) == NO_RESOURCE
    assert wrong(replace("/pathPart", "toys")[0]) == (*CONFLICT, "Another resource with the same parent already has this name: toys")
    assert wrong(replace("/invalid", "x")[0])[2] == "Invalid patch path  '/invalid' specified for op 'replace'. Must be one of: [/parentId, /pathPart]"
    assert wrong({"op": "remove", "path": "/pathPart"})[2] == "Invalid patch path  '/pathPart' specified for op 'remove'. Please choose supported operations"
    everything = create(root, "{proxy+}")
    assert refused(create, parent=root, part="{other}") == (*BAD, "A sibling ({proxy+}) of this resource already has a variable path part -- only one is allowed")
    assert refused(create, parent=everything["id"], part="x") == (*BAD, "Cannot create a child of a resource with a greedy path variable: {proxy+}")
    assert refused(create, parent=root, part="a/b")[:2] == BAD
    assert refused(create, parent="absent", part="x") == NO_RESOURCE
    assert rest.delete_resource(restApiId=id, resourceId=pets["id"])["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert refused(rest.delete_resource, restApiId=id, resourceId=pet["id"]) == NO_RESOURCE
    assert refused(rest.get_resource, restApiId="absent", resourceId=root) == NO_RESOURCE


@pytest.mark.covers("rest-api:Methods and integrations")
def test_methods(rest, api):
    place = {"restApiId": api["id"], "resourceId": api["rootResourceId"], "httpMethod": "ANY"}
    made = rest.put_method(**place, authorizationType="NONE", requestParameters={"method.request.querystring.q": True})
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert members(made) == {"httpMethod": "ANY", "authorizationType": "NONE", "apiKeyRequired": False, "requestParameters": {"method.request.querystring.q": True}}
    assert members(rest.get_method(**place)) == members(made)
    changed = rest.update_method(**place, patchOperations=[*replace("/apiKeyRequired", "true"), *replace("/operationName", "List"), {"op": "remove", "path": "/requestParameters/method.request.querystring.q"}])
    assert members(changed) == {"httpMethod": "ANY", "authorizationType": "NONE", "apiKeyRequired": True, "operationName": "List"}
    assert refused(rest.update_method, **place, patchOperations=replace("/httpMethod", "GET")) == (*BAD, "Invalid patch path /httpMethod")
    no_authorizer = (*BAD, "Invalid authorizer ID specified. Setting the authorization type to CUSTOM or COGNITO_USER_POOLS requires a valid authorizer.")
    assert refused(rest.update_method, **place, patchOperations=replace("/authorizationType", "CUSTOM")) == no_authorizer
    assert refused(rest.put_method, **place | {"httpMethod": "GET"}, authorizationType="CUSTOM", authorizerId="absent") == no_authorizer
    assert refused(rest.put_method, **place | {"httpMethod": "WRONG"}, authorizationType="NONE") == (*BAD, "Invalid HttpMethod specified. Valid options are GET,PUT,POST,DELETE,PATCH,OPTIONS,HEAD,ANY")
    assert refused(rest.put_method, **place | {"httpMethod": "GET"}, authorizationType="NONE", requestValidatorId="v")[2] == "Invalid Request Validator identifier specified"
    signed = rest.put_method(**place | {"httpMethod": "PATCH"}, authorizationType="AWS_IAM", authorizerId="not kept")
    assert members(signed) == {"httpMethod": "PATCH", "authorizationType": "AWS_IAM", "apiKeyRequired": False}
    assert refused(rest.put_method, **place | {"httpMethod": "GET"}, authorizationType="COGNITO_USER_POOLS", authorizerId="absent") == no_authorizer
    twice = {"method.request.querystring.a": True, "method.request.header.a": True}
    assert refused(rest.put_method, **place | {"httpMethod": "GET"}, authorizationType="NONE", requestParameters=twice)[2] == "Parameter names must be unique across querystring, header and path"
    assert refused(rest.put_method, **place, authorizationType="NONE")[:2] == CONFLICT
    assert refused(rest.put_method, **place | {"resourceId": "absent"}, authorizationType="NONE") == NO_RESOURCE
    assert refused(rest.put_method, **place | {"restApiId": "absent"}, authorizationType="NONE") == NO_RESOURCE
    assert rest.delete_method(**place)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert refused(rest.get_method, **place) == NO_METHOD
    assert refused(rest.delete_method, **place) == NO_METHOD


@pytest.mark.covers("rest-api:Methods and integrations")
def test_integrations(rest, api, put):
    resource = put("pets")
    place = {"restApiId": api["id"], "resourceId": resource, "httpMethod": "GET"}
    expected = {"type": "AWS_PROXY", "httpMethod": "POST", "uri": URI, "passthroughBehavior": "WHEN_NO_MATCH", "timeoutInMillis": 29000, "cacheNamespace": resource, "cacheKeyParameters": []}
    assert members(rest.get_integration(**place)) == expected
    assert rest.get_method(**place)["methodIntegration"] == expected
    [shown] = [one for one in rest.get_resources(restApiId=api["id"], embed=["methods"])["items"] if one["id"] == resource]
    assert shown["resourceMethods"]["GET"]["methodIntegration"] == expected
    [named] = [one for one in rest.get_resources(restApiId=api["id"])["items"] if one["id"] == resource]
    assert named["resourceMethods"] == {"GET": {}}
    changed = rest.update_integration(**place, patchOperations=[*replace("/timeoutInMillis", "1000"), *replace("/contentHandling", "CONVERT_TO_TEXT")])
    assert (changed["timeoutInMillis"], changed["contentHandling"]) == (1000, "CONVERT_TO_TEXT")
    assert "contentHandling" not in rest.update_integration(**place, patchOperations=replace("/contentHandling", ""))

    def wrong(**given):
        return refused(rest.put_integration, **place, **({"type": "AWS_PROXY", "integrationHttpMethod": "POST", "uri": URI} | given))

    assert wrong(type="HTTPS_PROXY") == ("ValidationException", 400, "1 validation error detected: Value 'HTTPS_PROXY' at 'putIntegrationInput.type' failed to satisfy constraint: Member must satisfy enum value set: [HTTP, MOCK, AWS_PROXY, HTTP_PROXY, AWS]")
    assert wrong(type="HTTP_PROXY") == (*BAD, f"Invalid HTTP endpoint specified for URI: {URI}")
    assert wrong(type="HTTP_PROXY", uri="https://{host}/")[:2] == BAD
    assert wrong(type="HTTP", uri="https://example.org", integrationHttpMethod="GOT")[2].startswith("Invalid HttpMethod specified. Valid options are GET,")
    assert wrong(type="HTTP", uri="https://example.org", requestTemplates={"application/json": "$input.body"})[2].startswith("Lamplight does not run mapping templates (VTL)")
    undeclared = {"integration.request.path.id": "method.request.path.id"}
    assert wrong(type="HTTP_PROXY", uri="https://example.org/{id}", requestParameters=undeclared) == (
        *BAD, "Invalid mapping expression specified: Validation Result: warnings : [], errors : [Invalid mapping expression parameter specified: method.request.path.id]",
    )  # fmt: skip
    assert wrong(type="HTTP_PROXY", uri="https://example.org", requestParameters={"integration.request.cookie.a": "'b'"})[:2] == BAD
    framing = {"integration.request.header.Transfer-Encoding": "'chunked'"}
    assert wrong(type="HTTP_PROXY", uri="https://example.org", requestParameters=framing)[:2] == BAD
    assert wrong(type="HTTP_PROXY", uri="https://example.org", tlsConfig={"insecureSkipVerification": True})[2] == "Lamplight does not support tlsConfig.insecureSkipVerification yet."
    assert rest.get_integration(**place)["type"] == "AWS_PROXY"
    proxied = rest.put_integration(**place, type="HTTP_PROXY", integrationHttpMethod="ANY", uri="https://example.org/{id}", requestParameters={"integration.request.path.id": "context.requestId"})
    assert (proxied["type"], proxied["httpMethod"], proxied["requestParameters"]) == ("HTTP_PROXY", "ANY", {"integration.request.path.id": "context.requestId"})
    assert refused(rest.update_integration, **place, patchOperations=replace("/requestParameters/integration.request.path.id", "method.request.path.id"))[:2] == BAD
    assert "requestParameters" not in rest.update_integration(**place, patchOperations=[{"op": "remove", "path": "/requestParameters/integration.request.path.id"}])
    assert wrong(type="AWS")[2].startswith("Lamplight does not support integrations of type AWS ")
    assert wrong(uri="arn:aws:apigateway:us-east-1:s3:path/bucket")[:2] == BAD
    assert wrong(timeoutInMillis=29001)[2] == "Timeout should be between 50 ms and 29000 ms"
    assert wrong(type="MOCK", requestTemplates={"application/json": "#set($a = 1)"})[2].startswith("Lamplight does not run mapping templates (VTL)")
    assert refused(rest.put_integration, **place | {"httpMethod": "PUT"}, type="MOCK") == NO_METHOD
    assert rest.delete_integration(**place)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert refused(rest.get_integration, **place) == (*NOT_FOUND, "Invalid Integration identifier specified")
    assert refused(rest.create_deployment, restApiId=api["id"]) == (*BAD, "No integration defined for method")


@pytest.mark.covers("rest-api:Methods and integrations")
def test_responses(rest, api, put):
    place = {"restApiId": api["id"], "resourceId": put("pets", "OPTIONS"), "httpMethod": "OPTIONS"}
    rest.put_integration(**place, type="MOCK", requestTemplates={"application/json": '{"statusCode": 200}'})
    header = "method.response.header.Access-Control-Allow-Origin"
    of_status = place | {"statusCode": "200"}
    invalid = "Invalid mapping expression specified: Validation Result: warnings : [], errors : "
    assert refused(rest.put_integration_response, **of_status, responseParameters={header: "'*'"})[2] == invalid + "[No method response exists for method.]"
    assert members(rest.put_method_response(**of_status, responseParameters={header: False})) == {"statusCode": "200", "responseParameters": {header: False}}
    assert refused(rest.put_method_response, **of_status)[:2] == CONFLICT
    assert refused(rest.put_integration_response, **of_status, responseParameters={"method.response.header.X": "'*'"})[2] == invalid + "[Invalid mapping expression parameter specified: method.response.header.X]"
    assert refused(rest.put_integration_response, **of_status, responseParameters={header: "context.stage"})[2].startswith("Lamplight does not support the response parameter")
    assert refused(rest.put_integration_response, **of_status, responseTemplates={"application/json": "$input.json('$')"})[2].startswith("Lamplight does not run mapping templates (VTL)")
    made = rest.put_integration_response(**of_status, responseParameters={header: "'*'"}, responseTemplates={"application/json": ""})
    assert members(made) == {"statusCode": "200", "responseParameters": {header: "'*'"}, "responseTemplates": {"application/json": ""}}
    assert members(rest.get_integration_response(**of_status)) == members(made)
    assert members(rest.get_method_response(**of_status))["statusCode"] == "200"
    # What was answered by a back end is not a mock's to say.
    rest.put_integration(**place, type="HTTP", integrationHttpMethod="GET", uri="https://example.org")
    rest.put_integration_response(**of_status, responseParameters={header: "integration.response.header.X"})
    mock = {"type": "MOCK", "requestTemplates": {"application/json": '{"statusCode": 200}'}}
    assert refused(rest.put_integration, **place, **mock)[2].startswith("Lamplight does not support the response parameter")
    assert rest.get_integration(**place)["type"] == "HTTP"
    rest.put_integration_response(**of_status, responseParameters={header: "'*'"})
    assert set(rest.put_integration(**place, **mock)["integrationResponses"]) == {"200"}
    method = rest.get_method(**place)
    assert set(method["methodResponses"]) == {"200"} and set(method["methodIntegration"]["integrationResponses"]) == {"200"}
    assert refused(rest.put_method_response, **place, statusCode="abc")[:2] == BAD
    rest.delete_integration_response(**of_status)
    rest.delete_method_response(**of_status)
    assert refused(rest.get_integration_response, **of_status)[:2] == NOT_FOUND
    assert refused(rest.delete_method_response, **of_status)[:2] == NOT_FOUND


@pytest.mark.covers("rest-api:Authorizers")
def test_authorizers(rest, api, put):
    id = api["id"]
    made = rest.create_authorizer(restApiId=id, name="guard", type="TOKEN", authorizerUri=URI, identitySource="method.request.header.Authorization")
    assert members(made) == {"id": made["id"], "name": "guard", "type": "TOKEN", "authType": "custom", "authorizerUri": URI, "identitySource": "method.request.header.Authorization", "authorizerResultTtlInSeconds": 300}
    assert members(rest.get_authorizer(restApiId=id, authorizerId=made["id"])) == members(made)
    assert rest.get_authorizers(restApiId=id)["items"] == [members(made)]
    changed = rest.update_authorizer(restApiId=id, authorizerId=made["id"], patchOperations=[*replace("/authorizerResultTtlInSeconds", "0"), *replace("/identityValidationExpression", "^Bearer .+$")])
    assert (changed["authorizerResultTtlInSeconds"], changed["identityValidationExpression"]) == (0, "^Bearer .+$")

    def wrong(**given):
        return refused(rest.create_authorizer, restApiId=id, **({"name": "other", "type": "REQUEST", "authorizerUri": URI, "identitySource": "method.request.querystring.key"} | given))

    assert wrong(type="COGNITO_USER_POOLS", providerARNs=["arn:aws:cognito-idp:us-east-1:000000000000:userpool/x"])[2] == "Lamplight does not support COGNITO_USER_POOLS authorizers yet."
    assert wrong(authorizerUri=FUNCTION) == (*BAD, "Invalid Authorizer URI")
    assert wrong(authorizerResultTtlInSeconds=3601)[:2] == BAD
    assert wrong(type="TOKEN")[:2] == BAD
    assert wrong(name="guard")[:2] == CONFLICT
    assert refused(rest.update_authorizer, restApiId=id, authorizerId=made["id"], patchOperations=replace("/id", "x")) == (*BAD, "Invalid patch path /id")
    put("pets", authorizationType="CUSTOM", authorizerId=made["id"])
    assert refused(rest.delete_authorizer, restApiId=id, authorizerId=made["id"]) == (*CONFLICT, "Cannot delete authorizer 'guard', is referenced in method: /pets/GET")
    assert refused(rest.get_authorizer, restApiId=id, authorizerId="absent") == (*NOT_FOUND, "Invalid Authorizer identifier specified")
    assert refused(rest.get_authorizers, restApiId="absent") == NO_API


@pytest.mark.covers("rest-api:Deployments and stages")
def test_deployments_and_stages(rest, api, put):
    id = api["id"]
    assert refused(rest.create_deployment, restApiId=id) == (*BAD, "The REST API doesn't contain any methods")
    put("pets")
    first = rest.create_deployment(restApiId=id, description="first")
    assert set(members(first)) == {"id", "description", "createdDate"}
    stage = rest.create_stage(restApiId=id, stageName="dev", deploymentId=first["id"], variables={"alias": "live"}, tags={"a": "b"})
    assert members(stage) == {
        "deploymentId": first["id"], "stageName": "dev", "variables": {"alias": "live"}, "tags": {"a": "b"}, "cacheClusterEnabled": False, "cacheClusterStatus": "NOT_AVAILABLE",
        "methodSettings": {}, "tracingEnabled": False, "createdDate": stage["createdDate"], "lastUpdatedDate": stage["lastUpdatedDate"],
    }  # fmt: skip
    assert refused(rest.create_stage, restApiId=id, stageName="dev", deploymentId=first["id"]) == (*CONFLICT, "Stage already exists")
    assert refused(rest.create_stage, restApiId=id, stageName="other", deploymentId="absent") == (*BAD, "Deployment id does not exist")
    assert refused(rest.create_stage, restApiId=id, stageName="a b", deploymentId=first["id"])[:2] == BAD
    assert refused(rest.delete_deployment, restApiId=id, deploymentId=first["id"]) == (*BAD, "Active stages pointing to this deployment must be moved or deleted")
    # A deployment that names a stage moves it; its variables are added.
    second = rest.create_deployment(restApiId=id, stageName="dev", variables={"b": "2"}, tracingEnabled=True)
    moved = rest.get_stage(restApiId=id, stageName="dev")
    assert (moved["deploymentId"], moved["variables"], moved["tracingEnabled"]) == (second["id"], {"alias": "live", "b": "2"}, True)
    assert {one["id"] for one in rest.get_deployments(restApiId=id)["items"]} == {first["id"], second["id"]}
    assert [one["stageName"] for one in rest.get_stages(restApiId=id, deploymentId=second["id"])["item"]] == ["dev"]
    assert rest.get_stages(restApiId=id, deploymentId=first["id"])["item"] == []
    # As Zappa sends them.
    patched = rest.update_stage(restApiId=id, stageName="dev", patchOperations=[*replace("/*/*/logging/loglevel", "INFO"), *replace("/*/*/metrics/enabled", "true"), *replace("/variables/alias", "next"), {"op": "remove", "path": "/variables/b"}])
    settings = patched["methodSettings"]["*/*"]
    assert (settings["loggingLevel"], settings["metricsEnabled"], patched["variables"]) == ("INFO", True, {"alias": "next"})
    assert refused(rest.update_stage, restApiId=id, stageName="dev", patchOperations=replace("/tags/tag1", "x"))[2].startswith("Invalid method setting path: /tags/tag1. Must be one of: [/deploymentId, /description, ")
    assert refused(rest.update_stage, restApiId=id, stageName="dev", patchOperations=replace("/deploymentId", "absent"))[:2] == BAD
    assert refused(rest.create_deployment, restApiId=id, stageName="dev", canarySettings={"percentTraffic": 5})[2] == "Lamplight does not support canary releases yet."
    assert rest.update_deployment(restApiId=id, deploymentId=first["id"], patchOperations=replace("/description", "changed"))["description"] == "changed"
    assert rest.delete_deployment(restApiId=id, deploymentId=first["id"])["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert refused(rest.get_deployment, restApiId=id, deploymentId=first["id"]) == (*NOT_FOUND, "Invalid Deployment identifier specified")
    rest.delete_stage(restApiId=id, stageName="dev")
    assert refused(rest.get_stage, restApiId=id, stageName="dev") == (*NOT_FOUND, "Invalid stage identifier specified")


@pytest.mark.covers("rest-api:Gateway responses")
def test_gateway_responses(rest, api):
    place = {"restApiId": api["id"], "responseType": "MISSING_AUTHENTICATION_TOKEN"}
    default = {"responseType": "MISSING_AUTHENTICATION_TOKEN", "statusCode": "403", "defaultResponse": True, "responseParameters": {}, "responseTemplates": {"application/json": '{"message":$context.error.messageString}'}}
    assert members(rest.get_gateway_response(**place)) == default
    made = rest.put_gateway_response(**place, statusCode="404", responseParameters={"gatewayresponse.header.X-A": "'b'"})
    assert members(made) == default | {"statusCode": "404", "defaultResponse": False, "responseParameters": {"gatewayresponse.header.X-A": "'b'"}}
    listed = rest.get_gateway_responses(restApiId=api["id"])["items"]
    assert len(listed) == 21 and members(made) in listed and "statusCode" not in listed[6]
    changed = rest.update_gateway_response(**place, patchOperations=replace("/responseParameters/gatewayresponse.header.X-A", "'c'"))
    assert changed["responseParameters"] == {"gatewayresponse.header.X-A": "'c'"}
    assert refused(rest.update_gateway_response, **place, patchOperations=replace("/responseTemplates/text~1html", "x")) == (*NOT_FOUND, "Invalid parameter name specified")
    assert refused(rest.update_gateway_response, **place, patchOperations=replace("/wrongPath", "x")) == (*BAD, "Invalid patch path /wrongPath")
    rest.delete_gateway_response(**place)
    assert members(rest.get_gateway_response(**place)) == default
    assert refused(rest.delete_gateway_response, **place) == (*NOT_FOUND, "Gateway response type not defined on api")
    assert refused(rest.get_gateway_response, restApiId=api["id"], responseType="FAKE")[:2] == ("ValidationException", 400)
    assert refused(rest.get_gateway_responses, restApiId="absent") == NO_API


def document(**paths) -> bytes:
    proxy = {"type": "aws_proxy", "httpMethod": "POST", "uri": URI, "passthroughBehavior": "when_no_match"}
    return json.dumps({
        "swagger": "2.0", "info": {"title": "imported", "version": "7"}, "basePath": "/base",
        "securityDefinitions": {"guard": {"type": "apiKey", "name": "Auth", "in": "header", "x-amazon-apigateway-authtype": "custom", "x-amazon-apigateway-authorizer": {"type": "token", "authorizerUri": URI}}},
        "paths": {path: {method: {"security": [{"guard": []}], "x-amazon-apigateway-integration": proxy}} for path, method in paths.items()},
        "x-amazon-apigateway-gateway-responses": {"DEFAULT_4XX": {"responseParameters": {"gatewayresponse.header.X-A": "'b'"}}},
    }).encode()  # fmt: skip


@pytest.mark.covers("rest-api:ImportRestApi, PutRestApi")
@pytest.mark.covers("rest-api:GetExport")
def test_imports_and_exports(rest):
    made = rest.import_rest_api(body=document(**{"/pets/{id}": "get", "/all": "x-amazon-apigateway-any-method"}), parameters={"endpointConfigurationTypes": "REGIONAL"})
    id = made["id"]
    assert (made["name"], made["version"], made["endpointConfiguration"]["types"]) == ("imported", "7", ["REGIONAL"])

    def paths():
        return {one["path"]: sorted(one.get("resourceMethods", {})) for one in rest.get_resources(restApiId=id)["items"]}

    def ids():
        return {one["path"]: one["id"] for one in rest.get_resources(restApiId=id)["items"]}

    assert paths() == {"/": [], "/all": ["ANY"], "/pets": [], "/pets/{id}": ["GET"]}
    [guard] = rest.get_authorizers(restApiId=id)["items"]
    assert (guard["name"], guard["identitySource"]) == ("guard", "method.request.header.Auth")
    assert rest.get_gateway_response(restApiId=id, responseType="DEFAULT_4XX")["defaultResponse"] is False
    before = ids()
    rest.put_rest_api(restApiId=id, mode="merge", body=document(**{"/more": "put"}))
    assert paths() == {"/": [], "/all": ["ANY"], "/more": ["PUT"], "/pets": [], "/pets/{id}": ["GET"]}
    put = rest.put_rest_api(restApiId=id, mode="overwrite", body=document(**{"/pets/{id}": "post"}))
    assert put["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert paths() == {"/": [], "/pets": [], "/pets/{id}": ["POST"]}
    assert ids() == {path: before[path] for path in ids()} and rest.get_authorizers(restApiId=id)["items"][0]["id"] == guard["id"]
    rest.create_deployment(restApiId=id, stageName="dev")
    exported = rest.get_export(restApiId=id, stageName="dev", exportType="swagger", parameters={"extensions": "integrations,authorizers"})
    assert exported["contentType"] == "application/octet-stream" and exported["contentDisposition"].startswith('attachment; filename="swagger_')
    text = json.loads(exported["body"].read())
    assert text["basePath"] == "/dev" and text["paths"]["/pets/{id}"]["post"]["x-amazon-apigateway-integration"]["type"] == "aws_proxy"
    assert "openapi" in json.loads(rest.get_export(restApiId=id, stageName="dev", exportType="oas30")["body"].read())
    # What was exported is a document again.
    again = rest.import_rest_api(body=json.dumps(text).encode())
    assert [one["path"] for one in rest.get_resources(restApiId=again["id"])["items"]] == ["/", "/pets", "/pets/{id}"]
    based = rest.import_rest_api(body=document(**{"/a": "get"}), parameters={"basepath": "prepend"})
    assert [one["path"] for one in rest.get_resources(restApiId=based["id"])["items"]] == ["/", "/base", "/base/a"]
    assert refused(rest.get_export, restApiId=id, stageName="absent", exportType="swagger")[:2] == NOT_FOUND
    for one in (id, again["id"], based["id"]):
        rest.delete_rest_api(restApiId=one)


YAML = f"""
swagger: 2.0
info: {{title: from yaml, version: 1.0}}
x-parts:
  proxy: &proxy {{type: aws_proxy, httpMethod: POST, uri: '{URI}', passthroughBehavior: when_no_match}}
paths:
  /pets/{{id}}:
    get:
      responses: {{200: {{description: found}}}}
      x-amazon-apigateway-integration: *proxy
    x-amazon-apigateway-any-method:
      x-amazon-apigateway-integration:
        <<: *proxy
        timeoutInMillis: 1000
"""


@pytest.mark.covers("rest-api:ImportRestApi, PutRestApi")
def test_documents_as_yaml(rest):
    made = rest.import_rest_api(body=YAML.encode())
    id = made["id"]
    try:
        assert (made["name"], made["version"]) == ("from yaml", "1.0")
        [pet] = [one for one in rest.get_resources(restApiId=id, embed=["methods"])["items"] if one["path"] == "/pets/{id}"]
        methods = pet["resourceMethods"]
        assert list(methods["GET"]["methodResponses"]) == ["200"]
        assert [methods[name]["methodIntegration"]["timeoutInMillis"] for name in ("GET", "ANY")] == [29000, 1000]
        rest.put_rest_api(restApiId=id, mode="overwrite", body=YAML.replace("/pets/{id}", "/dogs").encode())
        assert [one["path"] for one in rest.get_resources(restApiId=id)["items"]] == ["/", "/dogs"]
    finally:
        rest.delete_rest_api(restApiId=id)


@pytest.mark.covers("rest-api:ImportRestApi, PutRestApi")
def test_documents_that_are_refused(rest, api):
    def wrong(text):
        return refused(rest.import_rest_api, body=text if isinstance(text, bytes) else json.dumps(text).encode())

    assert wrong(b"{") [:2] == BAD
    assert wrong(b"swagger: '2.0") [2].startswith("Invalid OpenAPI input: ") and wrong(b"- a")[:2] == BAD
    names = "abcdefghij"
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip(names, names[1:]))
    assert wrong(bomb.encode())[:2] == BAD
    assert wrong({"info": {"title": "x"}}) == (*BAD, "Invalid OpenAPI input.")
    proxied = {"openapi": "3.0.1", "info": {"title": "x"}, "paths": {"/a": {"get": {"x-amazon-apigateway-integration": {"type": "aws", "uri": "https://a.b"}}}}}
    assert wrong(proxied)[2].startswith("Unable to put GET on resource at path /a: Lamplight does not support integrations of type AWS ")
    assert wrong({"openapi": "3.0.1", "info": {"title": "x"}, "x-amazon-apigateway-policy": {"Statement": []}})[2] == "Lamplight does not support resource policies of REST APIs yet."
    assert refused(rest.put_rest_api, restApiId="absent", body=document()) == NO_API
    # Nothing of a document that was refused is there.
    refused(rest.put_rest_api, restApiId=api["id"], mode="overwrite", body=json.dumps(proxied).encode())
    assert [one["path"] for one in rest.get_resources(restApiId=api["id"])["items"]] == ["/"]


@pytest.mark.covers("rest-api:Tags and account")
def test_tags_and_account(rest, api, put):
    put("pets")
    rest.create_deployment(restApiId=api["id"], stageName="dev")
    of_api = f"arn:aws:apigateway:us-east-1::/restapis/{api['id']}"
    for arn in (of_api, f"{of_api}/stages/dev"):
        assert rest.tag_resource(resourceArn=arn, tags={"a": "1", "b": "2"})["ResponseMetadata"]["HTTPStatusCode"] == 204
        rest.untag_resource(resourceArn=arn, tagKeys=["a"])
        assert rest.get_tags(resourceArn=arn)["tags"] == {"b": "2"}
    assert rest.get_rest_api(restApiId=api["id"])["tags"] == {"b": "2"}
    assert refused(rest.get_tags, resourceArn="arn:aws:s3:::bucket")[:2] == BAD
    assert refused(rest.get_tags, resourceArn="arn:aws:apigateway:us-east-1::/restapis/absent") == NO_API
    role = "arn:aws:iam::000000000000:role/logs"
    assert rest.update_account(patchOperations=replace("/cloudwatchRoleArn", role))["cloudwatchRoleArn"] == role
    account = rest.get_account()
    assert account["cloudwatchRoleArn"] == role and account["throttleSettings"] == {"burstLimit": 5000, "rateLimit": 10000.0}
    rest.update_account(patchOperations=[{"op": "remove", "path": "/cloudwatchRoleArn"}])
    assert "cloudwatchRoleArn" not in rest.get_account()


@pytest.mark.covers("rest-api:API keys and usage plans")
def test_api_keys(rest, api, put):
    put("pets")
    rest.create_deployment(restApiId=api["id"], stageName="dev")
    stage = f"{api['id']}/dev"
    made = rest.create_api_key(name="first", description="about", enabled=True, stageKeys=[{"restApiId": api["id"], "stageName": "dev"}], tags={"a": "b"})
    other = rest.create_api_key(name="other", value="x" * 20)
    no_key = (*NOT_FOUND, "Invalid API Key identifier specified")
    try:
        assert made["ResponseMetadata"]["HTTPStatusCode"] == 201 and len(made["value"]) == 40 and made["value"].isalnum()
        expected = {name: made[name] for name in ("id", "createdDate", "lastUpdatedDate")} | {"name": "first", "description": "about", "enabled": True, "stageKeys": [stage], "tags": {"a": "b"}}
        assert members(made) == expected | {"value": made["value"]}
        # The value is told when it is asked for.
        assert members(rest.get_api_key(apiKey=made["id"])) == expected
        assert rest.get_api_key(apiKey=made["id"], includeValue=True)["value"] == made["value"]
        assert set(members(other)) == {"id", "value", "name", "enabled", "createdDate", "lastUpdatedDate", "stageKeys"} and other["enabled"] is False
        names = lambda **wanted: {one["name"] for one in rest.get_api_keys(**wanted)["items"]}  # noqa: E731
        assert names() == {"first", "other"} and names(nameQuery="fi") == {"first"} and names(nameQuery="x") == set() and names(customerId="nobody") == set()
        assert [one.get("value") for one in rest.get_api_keys(nameQuery="other", includeValues=True)["items"]] == ["x" * 20]
        assert [len(page["items"]) for page in rest.get_paginator("get_api_keys").paginate(PaginationConfig={"PageSize": 1})] == [1, 1]
        changed = rest.update_api_key(apiKey=made["id"], patchOperations=[*replace("/enabled", "false"), *replace("/name", "renamed"), {"op": "remove", "path": "/stages", "value": stage}, {"op": "remove", "path": "/description"}])
        assert (changed["enabled"], changed["name"], changed["stageKeys"], "description" in changed) == (False, "renamed", [], False)
        # As Zappa does.
        assert rest.update_api_key(apiKey=made["id"], patchOperations=[{"op": "add", "path": "/stages", "value": stage}])["stageKeys"] == [stage]
        assert refused(rest.update_api_key, apiKey=made["id"], patchOperations=replace("/value", "x")) == (*BAD, "Invalid patch path /value")
        assert refused(rest.update_api_key, apiKey=made["id"], patchOperations=[{"op": "add", "path": "/stages", "value": f"{api['id']}/absent"}])[:2] == NOT_FOUND
        assert refused(rest.create_api_key, value="x" * 20) == (*CONFLICT, "API Key already exists")
        assert refused(rest.create_api_key, value="12345") == (*BAD, "API Key value should be at least 20 characters")
        assert refused(rest.create_api_key, value="x" * 129) == (*BAD, "API Key value exceeds maximum size of 128 characters")
        assert refused(rest.create_api_key, stageKeys=[{"restApiId": "absent", "stageName": "dev"}])[:2] == NOT_FOUND
    finally:
        for key in (made, other):
            assert rest.delete_api_key(apiKey=key["id"])["ResponseMetadata"]["HTTPStatusCode"] == 202
    for call in (rest.get_api_key, rest.delete_api_key, rest.update_api_key):
        assert refused(call, apiKey=made["id"]) == no_key
    # A value can be taken again when its key is gone.
    rest.delete_api_key(apiKey=rest.create_api_key(value="x" * 20)["id"])


@pytest.mark.covers("rest-api:API keys and usage plans")
def test_usage_plans(rest, api, put):
    put("pets")
    rest.create_deployment(restApiId=api["id"], stageName="dev")
    rest.create_deployment(restApiId=api["id"], stageName="prod")
    stage = lambda name: {"apiId": api["id"], "stage": name}  # noqa: E731
    plan = rest.create_usage_plan(name="basic", description="about", apiStages=[stage("dev") | {"throttle": {"/pets/GET": {"burstLimit": 1, "rateLimit": 2}}}], throttle={"burstLimit": 5, "rateLimit": 0.5}, quota={"limit": 7, "offset": 1, "period": "WEEK"}, tags={"a": "b"})
    id = plan["id"]
    expected = {
        "id": id, "name": "basic", "description": "about", "apiStages": [stage("dev") | {"throttle": {"/pets/GET": {"burstLimit": 1, "rateLimit": 2.0}}}],
        "throttle": {"burstLimit": 5, "rateLimit": 0.5}, "quota": {"limit": 7, "offset": 1, "period": "WEEK"}, "tags": {"a": "b"},
    }  # fmt: skip
    assert plan["ResponseMetadata"]["HTTPStatusCode"] == 201 and members(plan) == expected == members(rest.get_usage_plan(usagePlanId=id))
    bare = rest.create_usage_plan(name="bare")
    assert members(bare) == {"id": bare["id"], "name": "bare", "apiStages": []}
    key = rest.create_api_key(name="key", enabled=True)
    no_plan = (*NOT_FOUND, "Invalid Usage Plan ID specified")
    no_key = (*NOT_FOUND, "Invalid API Key identifier specified")

    def update(*operations, plan=id):
        return rest.update_usage_plan(usagePlanId=plan, patchOperations=list(operations))

    try:
        attached = rest.create_usage_plan_key(usagePlanId=id, keyId=key["id"], keyType="API_KEY")
        assert attached["ResponseMetadata"]["HTTPStatusCode"] == 201
        assert members(attached) == {"id": key["id"], "type": "API_KEY", "value": key["value"], "name": "key"} == members(rest.get_usage_plan_key(usagePlanId=id, keyId=key["id"]))
        assert rest.get_usage_plan_keys(usagePlanId=id, nameQuery="k")["items"] == [members(attached)] and rest.get_usage_plan_keys(usagePlanId=bare["id"])["items"] == []
        assert [one["id"] for one in rest.get_usage_plans(keyId=key["id"])["items"]] == [id] and len(rest.get_usage_plans()["items"]) == 2
        attach = {"usagePlanId": id, "keyId": key["id"], "keyType": "API_KEY"}
        assert refused(rest.create_usage_plan_key, **attach)[:2] == CONFLICT
        assert refused(rest.create_usage_plan_key, **attach | {"keyType": "OTHER"})[:2] == BAD
        assert refused(rest.create_usage_plan_key, **attach | {"keyId": "absent"}) == no_key
        assert refused(rest.create_usage_plan_key, **attach | {"usagePlanId": "absent"}) == no_plan
        assert refused(rest.get_usage_plan_key, usagePlanId=bare["id"], keyId=key["id"]) == no_key
        # One key has one plan for a stage. That AWS refuses the second one is documented, its text is a guess.
        update({"op": "add", "path": "/apiStages", "value": f"{api['id']}:dev"}, plan=bare["id"])
        assert refused(rest.create_usage_plan_key, **attach | {"usagePlanId": bare["id"]})[:2] == CONFLICT
        # Nor does a stage come to a plan of a key that has another one for it.
        other = rest.create_usage_plan(name="other")["id"]
        try:
            rest.create_usage_plan_key(**attach | {"usagePlanId": other})
            assert refused(rest.update_usage_plan, usagePlanId=other, patchOperations=[{"op": "add", "path": "/apiStages", "value": f"{api['id']}:dev"}])[:2] == CONFLICT
            assert len(update({"op": "add", "path": "/apiStages", "value": f"{api['id']}:prod"}, plan=other)["apiStages"]) == 1
        finally:
            rest.delete_usage_plan(usagePlanId=other)
        changed = update(*replace("/name", "better"), *replace("/throttle/rateLimit", "9.5"), *replace("/quota/period", "MONTH"), *replace("/quota/offset", "27"), {"op": "add", "path": "/apiStages", "value": f"{api['id']}:prod"}, *replace(f"/apiStages/{api['id']}:prod/throttle/~1pets/GET/burstLimit", "3"))
        assert (changed["name"], changed["throttle"], changed["quota"]) == ("better", {"burstLimit": 5, "rateLimit": 9.5}, {"limit": 7, "offset": 27, "period": "MONTH"})
        assert changed["apiStages"][1] == stage("prod") | {"throttle": {"/pets/GET": {"burstLimit": 3, "rateLimit": 0.0}}}
        changed = update({"op": "remove", "path": "/quota"}, {"op": "remove", "path": "/throttle"}, {"op": "remove", "path": "/apiStages", "value": f"{api['id']}:prod"})
        assert "quota" not in changed and "throttle" not in changed and len(changed["apiStages"]) == 1

        def wrong(**given):
            return refused(rest.create_usage_plan, **{"name": "wrong"} | given)

        assert wrong(name="")[:2] == BAD
        assert wrong(apiStages=[{"apiId": "absent", "stage": "dev"}]) == NO_API
        assert wrong(apiStages=[stage("absent")]) == (*NOT_FOUND, f"API Stage not found: {api['id']}:absent")
        assert wrong(quota={"limit": 1, "offset": 1, "period": "DAY"}) == (*BAD, "Usage Plan quota offset must be zero in the DAY period")
        assert wrong(quota={"limit": 1, "period": "YEAR"})[0] == "ValidationException"
        assert refused(rest.update_usage_plan, usagePlanId=id, patchOperations=replace("/keys", "x")) == (*BAD, "Invalid patch path /keys")
        assert rest.delete_usage_plan_key(usagePlanId=id, keyId=key["id"])["ResponseMetadata"]["HTTPStatusCode"] == 202
        assert refused(rest.delete_usage_plan_key, usagePlanId=id, keyId=key["id"]) == no_key
        rest.create_usage_plan_key(**attach)
    finally:
        for one in (plan, bare):
            assert rest.delete_usage_plan(usagePlanId=one["id"])["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert refused(rest.get_usage_plan, usagePlanId=id) == no_plan and refused(rest.get_usage_plan_keys, usagePlanId=id) == no_plan
    # Its keys stay, and are in it no more.
    assert rest.get_usage_plans(keyId=key["id"])["items"] == []
    rest.delete_api_key(apiKey=key["id"])


@pytest.mark.covers("rest-api:Operations that are not there")
def test_operations_that_are_not_there(rest):
    for call, arguments in ((rest.get_usage, {"usagePlanId": "x", "startDate": "2026-01-01", "endDate": "2026-01-02"}), (rest.get_client_certificates, {}), (rest.get_models, {"restApiId": "x"}), (rest.get_sdk, {"restApiId": "x", "stageName": "y", "sdkType": "java"})):
        code, status, text = refused(call, **arguments)
        assert (code, status) == ("NotImplementedException", 400) and text.startswith("Lamplight does not support apigateway:")
