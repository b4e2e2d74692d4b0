"""REST APIs served: made with boto3 as tools make them, called over HTTP as a client without our help would."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.urls import Url

ECHO = {
    "app.py": """
        import base64, json, time

        def handler(event, context):
            what = (event["queryStringParameters"] or {}).get("do")
            if what == "fail":
                raise ValueError("asked to fail")
            if what == "text":
                return "text"
            if what == "inject":
                return {"statusCode": 200, "headers": {"X-A": "b\\r\\nX-Injected: yes"}}
            if what == "sleep":
                time.sleep(1)
            if what == "binary":
                return {"statusCode": 200, "headers": {"Content-Type": "image/png"}, "body": base64.b64encode(bytes(range(256))).decode(), "isBase64Encoded": True}
            if what == "headers":
                return {"statusCode": 201, "headers": {"X-One": "1", "Content-Length": "7"}, "multiValueHeaders": {"Set-Cookie": ["a=1", "b=2"]}, "body": ""}
            return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": json.dumps(event)}
    """
}
GUARD = {
    "app.py": """
        import time

        def handler(event, context):
            who = event["authorizationToken"] if event["type"] == "TOKEN" else event["queryStringParameters"]["key"]
            if who == "nobody":
                raise Exception("Unauthorized")
            if who == "broken":
                raise ValueError("broken")
            if who == "nonsense":
                return {"principalId": "x"}
            effect = {"deny": "Deny"}.get(who, "Allow")
            resource = event["methodArn"].rsplit("/", 1)[0] + "/other" if who == "elsewhere" else "*"
            statement = {"Effect": effect, "Action": "execute-api:Invoke", "Resource": resource}
            return {"principalId": who, "policyDocument": {"Version": "2012-10-17", "Statement": [statement]}, "context": {"asked": time.time(), "arn": event["methodArn"]}}
    """
}


def uri(function: str) -> str:
    return f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:000000000000:function:{function}/invocations"


@dataclass
class Api:
    """A REST API under construction."""

    server: object
    id: str
    root: str

    @property
    def client(self):
        return self.server.client("apigateway")

    def resource(self, path: str) -> str:
        """The id of a resource; those that are missing on the way are made."""
        at = self.root
        for part in path.strip("/").split("/") if path.strip("/") else []:
            found = [one["id"] for one in self.client.get_resources(restApiId=self.id, limit=500)["items"] if one.get("parentId") == at and one["pathPart"] == part]
            at = found[0] if found else self.client.create_resource(restApiId=self.id, parentId=at, pathPart=part)["id"]
        return at

    def method(self, path: str, method: str, function: str, **options) -> dict:
        place = {"restApiId": self.id, "resourceId": self.resource(path), "httpMethod": method}
        integration = options.pop("integration", {})
        self.client.put_method(**place, **({"authorizationType": "NONE"} | options))
        self.client.put_integration(**place, **({"type": "AWS_PROXY", "integrationHttpMethod": "POST", "uri": uri(function)} | integration))
        return place

    def allow(self, function: str, source: str = "*") -> None:
        self.server.client().add_permission(FunctionName=function, StatementId=f"for-{self.id}", Action="lambda:InvokeFunction", Principal="apigateway.amazonaws.com", SourceArn=f"arn:aws:execute-api:us-east-1:000000000000:{self.id}/{source}")

    def deploy(self, stage: str = "dev", **options) -> Url:
        self.client.create_deployment(restApiId=self.id, stageName=stage, **options)
        return Url(self.server, f"http://{self.id}.execute-api.us-east-1.localhost:{self.server.port}/")


@pytest.fixture
def api(server):
    client = server.client("apigateway")
    made = client.create_rest_api(name="served", binaryMediaTypes=["image/png"])
    yield Api(server, made["id"], made["rootResourceId"])
    client.delete_rest_api(restApiId=made["id"])


@pytest.fixture
def echo(deploy):
    return deploy(ECHO).name


@pytest.mark.covers("rest-api:Events of REST APIs")
def test_the_event(server, api, echo):
    place = api.method("/pets/{id}", "POST", echo)
    api.allow(echo)
    url = api.deploy(variables={"color": "blue"})
    reply = url.request("POST", "/dev/pets/a%20b/?x=1&x=2&y=%2B+z", headers=[("X-Two", "1"), ("X-Two", "2"), ("Content-Type", "text/plain"), ("User-Agent", "test/1")], body="grüße".encode())
    assert (reply.status, reply.header("Content-Type")) == (200, "application/json")
    event = reply.json
    # Every key there is, also those without a value, as recorded from the service.
    assert set(event) == {"resource", "path", "httpMethod", "headers", "multiValueHeaders", "queryStringParameters", "multiValueQueryStringParameters", "pathParameters", "stageVariables", "requestContext", "body", "isBase64Encoded"}
    assert (event["resource"], event["path"], event["httpMethod"]) == ("/pets/{id}", "/pets/a%20b/", "POST")
    assert event["queryStringParameters"] == {"x": "2", "y": "+ z"}
    assert event["multiValueQueryStringParameters"] == {"x": ["1", "2"], "y": ["+ z"]}
    assert event["pathParameters"] == {"id": "a b"} and event["stageVariables"] == {"color": "blue"}
    assert (event["body"], event["isBase64Encoded"]) == ("grüße", False)
    assert event["headers"]["X-Two"] == "2" and event["multiValueHeaders"]["X-Two"] == ["1", "2"]
    assert event["headers"]["Host"] == url.host and event["headers"]["X-Forwarded-For"] == "127.0.0.1" and event["headers"]["X-Forwarded-Proto"] == "http"
    context = event["requestContext"]
    assert set(context) == {"accountId", "apiId", "deploymentId", "domainName", "domainPrefix", "extendedRequestId", "httpMethod", "identity", "path", "protocol", "requestId", "requestTime", "requestTimeEpoch", "resourceId", "resourcePath", "stage"}
    assert (context["accountId"], context["apiId"], context["stage"], context["path"]) == ("000000000000", api.id, "dev", "/dev/pets/a%20b/")
    assert (context["resourceId"], context["resourcePath"], context["domainPrefix"]) == (place["resourceId"], "/pets/{id}", api.id)
    assert re.fullmatch(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000", context["requestTime"])
    identity = context["identity"]
    assert identity["sourceIp"] == "127.0.0.1" and identity["userAgent"] == "test/1" and len(identity) == 12
    assert [name for name, value in identity.items() if value is not None] == ["sourceIp", "userAgent"]
    assert reply.header("x-amzn-RequestId") == context["requestId"] and reply.header("x-amz-apigw-id") == context["extendedRequestId"]
    bare = url.request("POST", "/dev/pets/7").json
    assert (bare["body"], bare["queryStringParameters"], bare["multiValueQueryStringParameters"]) == (None, None, None)
    api.client.update_stage(restApiId=api.id, stageName="dev", patchOperations=[{"op": "remove", "path": "/variables/color"}])
    assert url.request("POST", "/dev/pets/7").json["stageVariables"] is None


@pytest.mark.covers("rest-api:Routes of REST APIs")
def test_routes(api, echo):
    for path, method in (("/", "GET"), ("/pets", "GET"), ("/pets/new", "GET"), ("/pets/{id}", "ANY"), ("/pets/{id}/{rest+}", "GET"), ("/files/{proxy+}", "ANY")):
        api.method(path, method, echo)
    api.allow(echo)
    url = api.deploy()
    for method, path, resource, parameters in (
        ("GET", "/dev", "/", None),
        ("GET", "/dev/", "/", None),
        ("GET", "/dev/pets", "/pets", None),
        ("GET", "/dev/pets/new", "/pets/new", None),
        ("GET", "/dev/pets/7", "/pets/{id}", {"id": "7"}),
        # The fixed segment has no such method, the variable has. That it counts then is a guess.
        ("DELETE", "/dev/pets/new", "/pets/{id}", {"id": "new"}),
        ("GET", "/dev/pets/7/a/b", "/pets/{id}/{rest+}", {"id": "7", "rest": "a/b"}),
        ("PUT", "/dev/files/a/../b//c", "/files/{proxy+}", {"proxy": "a/../b//c"}),
        ("GET", "/dev/nothing", None, None),
        ("POST", "/dev/pets", None, None),
        ("GET", "/dev/files", None, None),
    ):
        reply = url.request(method, path)
        if resource is None:
            assert (reply.status, reply.json) == (403, {"message": "Missing Authentication Token"}), path
            assert reply.header("x-amzn-ErrorType") == "MissingAuthenticationTokenException"
        else:
            assert (reply.status, reply.json["resource"], reply.json["pathParameters"]) == (200, resource, parameters), path
    for path in ("/other/pets", "/", "/devil"):
        reply = url.request("GET", path)
        assert (reply.status, reply.json) == (403, {"message": "Forbidden"}), path
    unknown = Url(api.server, f"http://absent0000.execute-api.us-east-1.localhost:{api.server.port}/").request("GET", "/dev")
    assert unknown.status == 404
    api.client.update_rest_api(restApiId=api.id, patchOperations=[{"op": "replace", "path": "/disableExecuteApiEndpoint", "value": "true"}])
    assert url.request("GET", "/dev/pets").status == 403


@pytest.mark.covers("rest-api:Routes of REST APIs")
def test_path_forms_and_curl(api, echo):
    api.method("/pets", "GET", echo)
    api.allow(echo)
    url = api.deploy()
    for form in (f"/_api/{api.id}/dev/pets", f"/_aws/execute-api/{api.id}/dev/pets"):
        reply = url.request("GET", form, host=f"127.0.0.1:{api.server.port}")
        assert (reply.status, reply.json["path"], reply.json["requestContext"]["path"]) == (200, "/pets", "/dev/pets"), form
    done = url.curl("--include", target="/dev/pets?a=b")
    assert done.returncode == 0 and b"HTTP/1.1 200" in done.stdout and b'"queryStringParameters": {"a": "b"}' in done.stdout


@pytest.mark.covers("rest-api:Deployments are frozen")
def test_a_deployment_is_frozen(api, echo):
    api.method("/one", "GET", echo)
    api.allow(echo)
    url = api.deploy()
    first = api.client.get_stage(restApiId=api.id, stageName="dev")["deploymentId"]
    api.method("/two", "GET", echo)
    assert (url.request("GET", "/dev/one").status, url.request("GET", "/dev/two").status) == (200, 403)
    api.deploy()
    assert url.request("GET", "/dev/two").status == 200
    api.client.update_stage(restApiId=api.id, stageName="dev", patchOperations=[{"op": "replace", "path": "/deploymentId", "value": first}])
    assert url.request("GET", "/dev/two").status == 403
    api.client.delete_stage(restApiId=api.id, stageName="dev")
    assert url.request("GET", "/dev/one").json == {"message": "Forbidden"}


@pytest.mark.covers("rest-api:Answers of functions")
def test_answers(api, echo):
    api.method("/", "ANY", echo)
    api.allow(echo)
    url = api.deploy()
    reply = url.request("GET", "/dev?do=headers")
    assert (reply.status, reply.body, reply.header("Content-Type")) == (201, b"", "application/json")
    assert reply.headers.get_all("Set-Cookie") == ["a=1", "b=2"] and reply.header("X-One") == "1" and reply.header("x-amzn-remapped-content-length") == "7"
    for wrong in ("fail", "text", "inject"):
        reply = url.request("GET", f"/dev?do={wrong}")
        assert (reply.status, reply.json, reply.header("X-Injected")) == (502, {"message": "Internal server error"}, None), wrong
    # Binary for those who accept it, and Base64 for all others, as on AWS.
    every = bytes(range(256))
    assert url.request("GET", "/dev?do=binary", headers={"Accept": "image/png,*/*"}).body == every
    assert url.request("GET", "/dev?do=binary", headers={"Accept": "*/*"}).body == base64.b64encode(every)
    event = url.request("POST", "/dev", headers={"Content-Type": "image/png"}, body=every).json
    assert (event["isBase64Encoded"], base64.b64decode(event["body"])) == (True, every)
    large = url.request("POST", "/dev", body=b"a" * (10 * 1024 * 1024 + 1))
    assert (large.status, large.json) == (413, {"message": "Request Too Long"})
    assert url.request("POST", "/dev", body=b"a" * (7 * 1024 * 1024)).status == 413
    head = url.request("HEAD", "/dev")
    assert (head.status, head.body) == (200, b"")


@pytest.mark.covers("rest-api:Answers of functions")
def test_timeouts_throttles_and_permissions(api, echo):
    client = api.server.client()
    api.method("/slow", "GET", echo, integration={"timeoutInMillis": 200})
    api.method("/get", "GET", echo, integration={"integrationHttpMethod": "GET"})
    api.method("/absent", "GET", "nobody-made-it")
    api.method("/alias", "GET", f"{echo}:${{stageVariables.alias}}")
    url = api.deploy(variables={"alias": "live"})
    refused = (500, {"message": "Internal server error"})
    assert (url.request("GET", "/dev/slow").status, url.request("GET", "/dev/slow").json) == refused
    api.allow(echo, source="other/*")
    assert url.request("GET", "/dev/slow").status == 500
    client.remove_permission(FunctionName=echo, StatementId=f"for-{api.id}")
    api.allow(echo, source="*/GET/slow")
    reply = url.request("GET", "/dev/slow?do=sleep")
    assert (reply.status, reply.json) == (504, {"message": "Endpoint request timed out"})
    for path in ("/dev/get", "/dev/absent", "/dev/alias"):
        reply = url.request("GET", path)
        assert (reply.status, reply.json) == refused, path
    client.publish_version(FunctionName=echo)
    client.create_alias(FunctionName=echo, Name="live", FunctionVersion="1")
    client.add_permission(FunctionName=echo, Qualifier="live", StatementId="gateway", Action="lambda:InvokeFunction", Principal="apigateway.amazonaws.com")
    assert url.request("GET", "/dev/alias").status == 200
    client.put_function_concurrency(FunctionName=echo, ReservedConcurrentExecutions=0)
    reply = url.request("GET", "/dev/alias")
    assert (reply.status, reply.json, reply.header("x-amzn-ErrorType")) == (429, {"message": "Too Many Requests"}, "TooManyRequestsException")


@pytest.mark.covers("rest-api:Authorizers of REST APIs")
def test_token_authorizers(api, deploy, echo):
    guard = deploy(GUARD).name
    made = api.client.create_authorizer(restApiId=api.id, name="guard", type="TOKEN", authorizerUri=uri(guard), identitySource="method.request.header.Auth", identityValidationExpression="[a-z]+")
    api.method("/pets", "GET", echo, authorizationType="CUSTOM", authorizerId=made["id"])
    api.method("/key", "GET", echo, apiKeyRequired=True)
    api.allow(echo)
    url = api.deploy()

    def ask(token, path="/dev/pets"):
        return url.request("GET", path, headers={"Auth": token} if token else {})

    # An authorizer's function wants a permission of its own.
    assert (ask("me").status, ask("me").json) == (500, {"message": None})
    api.allow(guard, source=f"authorizers/{made['id']}")
    reply = ask("me")
    authorizer = reply.json["requestContext"]["authorizer"]
    assert (reply.status, authorizer["principalId"]) == (200, "me") and isinstance(authorizer["asked"], str) and isinstance(authorizer["integrationLatency"], int)
    assert authorizer["arn"] == f"arn:aws:execute-api:us-east-1:000000000000:{api.id}/dev/GET/pets"
    # The same token is believed for five minutes.
    assert ask("me").json["requestContext"]["authorizer"]["asked"] == authorizer["asked"]
    for token in (None, "BIG", "nobody"):
        assert (ask(token).status, ask(token).json) == (401, {"message": "Unauthorized"}), token
    assert (ask("deny").status, ask("deny").json) == (403, {"Message": "User is not authorized to access this resource with an explicit deny"})
    assert (ask("elsewhere").status, ask("elsewhere").json) == (403, {"Message": "User is not authorized to access this resource"})
    for token in ("broken", "nonsense"):
        assert (ask(token).status, ask(token).json) == (500, {"message": None}), token
    assert ask("deny").header("x-amzn-ErrorType") == "AccessDeniedException"
    assert (ask("me", "/dev/key").status, ask("me", "/dev/key").json) == (403, {"message": "Forbidden"})
    # Without a time every request is decided anew.
    api.client.update_authorizer(restApiId=api.id, authorizerId=made["id"], patchOperations=[{"op": "replace", "path": "/authorizerResultTtlInSeconds", "value": "0"}])
    api.deploy()
    asked = [ask("me").json["requestContext"]["authorizer"]["asked"] for _ in range(2)]
    assert asked[0] != asked[1]


@pytest.mark.covers("rest-api:Authorizers of REST APIs")
def test_request_authorizers(api, deploy, echo):
    guard = deploy(GUARD).name
    made = api.client.create_authorizer(restApiId=api.id, name="guard", type="REQUEST", authorizerUri=uri(guard), identitySource="method.request.querystring.key, context.httpMethod")
    api.method("/pets/{id}", "ANY", echo, authorizationType="CUSTOM", authorizerId=made["id"])
    api.allow(echo)
    api.allow(guard)
    url = api.deploy()
    get = url.request("GET", "/dev/pets/7?key=me").json["requestContext"]["authorizer"]
    assert get["principalId"] == "me" and get["arn"].endswith("/dev/GET/pets/7")
    # Another method is another identity, another path is not.
    assert url.request("GET", "/dev/pets/8?key=me").json["requestContext"]["authorizer"]["asked"] == get["asked"]
    assert url.request("PUT", "/dev/pets/7?key=me").json["requestContext"]["authorizer"]["asked"] != get["asked"]
    assert url.request("GET", "/dev/pets/7").status == 401
    # So is a value more: the function saw the last one, and so does the one behind it.
    assert url.request("GET", "/dev/pets/7?key=me&key=deny").status == 403
    assert url.request("GET", "/dev/pets/7?key=deny").status == 403
    assert url.request("GET", "/dev/pets/7?key=deny&key=me").json["requestContext"]["authorizer"]["principalId"] == "me"
    # Policies are asked about the path as the route was chosen by it.
    for path in ("/dev/pets/%37/?key=he", "/dev/pets/7/?key=she"):
        assert url.request("GET", path).json["requestContext"]["authorizer"]["arn"].endswith("/dev/GET/pets/7"), path


@pytest.mark.covers("rest-api:Mocks and gateway responses")
def test_mocks_and_gateway_responses(api, echo):
    header = "method.response.header.Access-Control-Allow-Origin"
    place = {"restApiId": api.id, "resourceId": api.resource("/pets"), "httpMethod": "OPTIONS"}
    api.client.put_method(**place, authorizationType="NONE")
    api.client.put_method_response(**place, statusCode="200", responseParameters={header: True})
    api.client.put_integration(**place, type="MOCK", requestTemplates={"application/json": '{"statusCode": 200}'}, passthroughBehavior="NEVER")
    api.client.put_integration_response(**place, statusCode="200", responseParameters={header: "'*'"}, responseTemplates={"application/json": '{"ok": true}'})
    api.client.put_gateway_response(restApiId=api.id, responseType="DEFAULT_4XX", responseParameters={"gatewayresponse.header.Access-Control-Allow-Origin": "'*'", "gatewayresponse.header.X-Asked": "method.request.header.X-Ask"})
    api.client.put_gateway_response(restApiId=api.id, responseType="UNSUPPORTED_MEDIA_TYPE", statusCode="418", responseTemplates={"application/json": '{"said": $context.error.messageString, "type": "$context.error.responseType", "stage": "$context.stage", "none": "$context.nothing"}'})
    url = api.deploy()
    reply = url.request("OPTIONS", "/dev/pets")
    assert (reply.status, reply.json, reply.header("Access-Control-Allow-Origin")) == (200, {"ok": True}, "*")
    reply = url.request("GET", "/dev/nothing", headers={"X-Ask": "me"})
    assert (reply.status, reply.json) == (403, {"message": "Missing Authentication Token"})
    assert (reply.header("Access-Control-Allow-Origin"), reply.header("X-Asked")) == ("*", "me")
    reply = url.request("OPTIONS", "/dev/pets", headers={"Content-Type": "text/plain"}, body=b"x")
    assert (reply.status, reply.json) == (418, {"said": "Unsupported Media Type", "type": "UNSUPPORTED_MEDIA_TYPE", "stage": "dev", "none": ""})


@pytest.mark.covers("rest-api:Answers of functions")
def test_many_at_once_and_hostile_requests(api, echo):
    api.method("/{proxy+}", "ANY", echo)
    api.allow(echo)
    url = api.deploy()
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda number: url.request("GET", f"/dev/n/{number}").json["pathParameters"]["proxy"], range(40)))
    assert replies == [f"n/{number}" for number in range(40)]
    # Invalid UTF-8 and percent-encoding reach the function as text; a path stays in its API.
    assert url.request("GET", "/dev/%ff%zz/%00").json["pathParameters"]["proxy"] == "\ufffd%zz/\x00"
    assert url.request("GET", "/dev/../../restapis").json["path"] == "/../../restapis"
    smuggled = url.raw(b"POST /dev/x HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /restapis HTTP/1.1\r\nHost: {host}\r\n\r\n")
    assert b"createdDate" not in smuggled


@pytest.mark.covers("rest-api:Calls of Zappa")
def test_what_zappa_calls(api, echo):
    """The calls of zappa.core beside CloudFormation, in its order and with its arguments (version 0.63)."""
    rest = api.client
    api.method("/", "ANY", echo, integration={"credentials": "arn:aws:iam::000000000000:role/zappa", "cacheNamespace": "none", "cacheKeyParameters": [], "passthroughBehavior": "NEVER"})
    api.method("/{proxy+}", "ANY", echo, integration={"credentials": "arn:aws:iam::000000000000:role/zappa", "passthroughBehavior": "NEVER"})
    # get_api_id by name, add_binary_support, add_api_compression, deploy_api_gateway, update_stage_config, get_api_url, undeploy.
    assert api.id in [one["id"] for one in rest.get_rest_apis(limit=500)["items"] if one["name"] == "served"]
    rest.update_rest_api(restApiId=api.id, patchOperations=[{"op": "add", "path": "/binaryMediaTypes/*~1*"}])
    assert "*/*" in rest.get_rest_api(restApiId=api.id)["binaryMediaTypes"]
    rest.update_rest_api(restApiId=api.id, patchOperations=[{"op": "replace", "path": "/minimumCompressionSize", "value": "5000"}])
    rest.update_rest_api(restApiId=api.id, patchOperations=[{"op": "replace", "path": "/minimumCompressionSize"}])
    rest.create_deployment(restApiId=api.id, stageName="dev", stageDescription="", description="", cacheClusterEnabled=False, cacheClusterSize="0.5", variables={})
    operation = lambda path, value: {"op": "replace", "path": f"/*/*/{path}", "value": value}  # noqa: E731
    rest.update_stage(restApiId=api.id, stageName="dev", patchOperations=[operation("logging/loglevel", "OFF"), operation("logging/dataTrace", "false"), operation("metrics/enabled", "false"), operation("caching/ttlInSeconds", "300"), operation("caching/dataEncrypted", "false")])
    assert [stage["stageName"] for stage in rest.get_stages(restApiId=api.id)["item"]] == ["dev"]
    url = Url(api.server, f"http://{api.id}.execute-api.us-east-1.localhost:{api.server.port}/")
    # The role of the integration calls the function: no permission on it is needed. `*/*` is binary: bodies come as Base64.
    event = url.request("POST", "/dev/form", headers={"Content-Type": "application/x-www-form-urlencoded"}, body=b"a=b").json
    assert (event["path"], event["isBase64Encoded"], event["body"]) == ("/form", True, "YT1i")
    assert url.request("GET", "/dev").json["resource"] == "/"


@pytest.mark.covers("rest-api:Commands of the AWS CLI")
def test_the_aws_command_line(server, api, echo):
    def aws(*arguments):
        program = Path(__file__).parents[2] / ".cache/command-lines/bin/aws"
        if not program.exists():
            pytest.skip("aws is not installed in .cache/ (cargo xtask tools installs it)")
        done = subprocess.run([program, "apigateway", *arguments, "--output", "json"], capture_output=True, text=True, timeout=100, env=server.environment_for_clients())
        return json.loads(done.stdout) if done.stdout else done.stderr

    made = aws("create-resource", "--rest-api-id", api.id, "--parent-id", api.root, "--path-part", "pets")
    place = ("--rest-api-id", api.id, "--resource-id", made["id"], "--http-method", "GET")
    assert aws("put-method", *place, "--authorization-type", "NONE")["httpMethod"] == "GET"
    assert aws("put-integration", *place, "--type", "AWS_PROXY", "--integration-http-method", "POST", "--uri", uri(echo))["type"] == "AWS_PROXY"
    assert aws("create-deployment", "--rest-api-id", api.id, "--stage-name", "cli")["id"]
    api.allow(echo)
    url = Url(server, f"http://{api.id}.execute-api.us-east-1.localhost:{server.port}/")
    assert url.request("GET", "/cli/pets").json["requestContext"]["stage"] == "cli"
    assert "(NotFoundException) when calling the GetRestApi operation: Invalid API identifier specified 000000000000:absent" in aws("get-rest-api", "--rest-api-id", "absent")
