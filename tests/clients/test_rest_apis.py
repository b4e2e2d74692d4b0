"""REST APIs served: made with boto3 as tools make them, called over HTTP as a client without our help would."""

from __future__ import annotations

import base64
import http.server
import json
import re
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import signing
from support.gateway import free_port
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

KEY_GUARD = {
    "app.py": """
        def handler(event, context):
            statement = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "*"}
            return {"principalId": "me", "policyDocument": {"Version": "2012-10-17", "Statement": [statement]}, "usageIdentifierKey": event["authorizationToken"]}
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


@pytest.mark.covers("rest-api:Methods with AWS_IAM", client="botocore signatures")
def test_signed_requests(server, api, echo, tmp_path):
    place = api.method("/pets/{id}", "POST", echo, authorizationType="AWS_IAM")
    api.allow(echo)
    url = api.deploy()

    def key(name, resource, denied=None):
        statements = [{"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": f"arn:aws:execute-api:us-east-1:000000000000:{resource}"}]
        if denied:
            statements.append({"Effect": "Deny", "Action": "execute-api:Invoke", "Resource": f"arn:aws:execute-api:us-east-1:000000000000:{denied}"})
        policy = tmp_path / f"{name}.json"
        policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}))
        return signing.credentials(signing.key(server, "create", "--name", name, "--policy", str(policy)))

    def send(who, path="/dev/pets/a%20b?x=1", body=b"content", service="execute-api", seconds_ago=0, host=None, **changed):
        signed = signing.sign(who, f"http://{host or url.host}{path}", "POST", body, service=service, seconds_ago=seconds_ago)
        return url.request("POST", path, headers=signed | changed, body=body, host=host)

    ann = key("rest-ann", f"{api.id}/dev/POST/pets/*", denied=f"{api.id}/*/*/pets/secret")
    reply = send(ann)
    assert reply.status == 200, reply.text
    context = reply.json["requestContext"]
    identity = context["identity"]
    assert (identity["accessKey"], identity["userArn"], identity["accountId"]) == (ann.access_key, "arn:aws:iam::000000000000:user/rest-ann", "000000000000")
    assert identity["user"] == identity["caller"] and identity["user"].startswith("AIDA") and "authorizer" not in context
    # The path that is signed is that of the request, also where it names the API.
    assert send(ann, f"/_api/{api.id}/dev/pets/7", host=f"127.0.0.1:{server.port}").status == 200

    def refused(reply):
        assert reply.status == 403, reply.text
        return reply.header("x-amzn-ErrorType"), reply.json.get("message") or reply.json["Message"]

    may_not = f"User: arn:aws:iam::000000000000:user/{{}} is not authorized to perform: execute-api:Invoke on resource: arn:aws:execute-api:us-east-1:********0000:{api.id}/dev/POST/pets/{{}}"
    assert refused(url.request("POST", "/dev/pets/7")) == ("MissingAuthenticationTokenException", "Missing Authentication Token")
    assert refused(send(key("rest-bob", f"{api.id}/prod/*"))) == ("AccessDeniedException", may_not.format("rest-bob", "a b"))
    # Percent-encoding gets around no policy.
    for path in ("/dev/pets/secret", "/dev/pets/%73ecret"):
        assert refused(send(ann, path)) == ("AccessDeniedException", may_not.format("rest-ann", "secret") + " with an explicit deny")
    mismatch = refused(send(signing.credentials({"AccessKeyId": ann.access_key, "SecretAccessKey": "x" * 40})))
    assert mismatch[0] == "InvalidSignatureException" and mismatch[1].startswith("The request signature we calculated does not match")
    assert refused(url.request("POST", "/dev/pets/7", headers=signing.sign(ann, f"http://{url.host}/dev/pets/7", "POST", b"one", service="execute-api"), body=b"two"))[0] == "InvalidSignatureException"
    assert refused(send(ann, seconds_ago=1000))[0] == "InvalidSignatureException"
    assert refused(send(ann, service="lambda"))[0] == "InvalidSignatureException"
    assert refused(send(signing.credentials({"AccessKeyId": "AKIAIOSFODNN7EXAMPLE", "SecretAccessKey": "x"}))) == ("UnrecognizedClientException", "The security token included in the request is invalid.")
    assert refused(url.request("POST", "/dev/pets/7", headers={"Authorization": "Bearer x"}))[0] == "IncompleteSignatureException"
    # Gateway responses have types for that.
    api.client.put_gateway_response(restApiId=api.id, responseType="INVALID_SIGNATURE", statusCode="401", responseTemplates={"application/json": '{"who": "nobody"}'})
    api.client.put_gateway_response(restApiId=api.id, responseType="ACCESS_DENIED", responseTemplates={"application/json": '{"said": $context.error.messageString}'})
    api.deploy()
    reply = send(ann, seconds_ago=1000)
    assert (reply.status, reply.json) == (401, {"who": "nobody"})
    assert send(ann, "/dev/pets/secret").json == {"said": may_not.format("rest-ann", "secret") + " with an explicit deny"}
    # A deployment decides, as of everything else.
    api.client.update_method(**place, patchOperations=[{"op": "replace", "path": "/authorizationType", "value": "NONE"}])
    assert url.request("POST", "/dev/pets/7").status == 403
    api.deploy()
    assert url.request("POST", "/dev/pets/7").status == 200


@pytest.mark.covers("rest-api:Methods that want a key", client="HTTP")
def test_methods_that_want_a_key(server, api, echo, deploy):
    rest, guard = api.client, deploy(KEY_GUARD).name
    api.method("/open", "GET", echo)
    api.method("/pets", "ANY", echo, apiKeyRequired=True)
    api.method("/rare", "GET", echo, apiKeyRequired=True)
    authorizer = rest.create_authorizer(restApiId=api.id, name="guard", type="TOKEN", authorizerUri=uri(guard), identitySource="method.request.header.Auth", authorizerResultTtlInSeconds=0)
    api.method("/named", "GET", echo, apiKeyRequired=True, authorizationType="CUSTOM", authorizerId=authorizer["id"])
    api.allow(echo)
    api.allow(guard)
    url = api.deploy()
    api.deploy("prod")
    stage = {"apiId": api.id, "stage": "dev"}
    plan = rest.create_usage_plan(name="slow", apiStages=[stage | {"throttle": {"/rare/GET": {"burstLimit": 1, "rateLimit": 0.0001}}}])["id"]
    key, other = rest.create_api_key(name="key", enabled=True, stageKeys=[{"restApiId": api.id, "stageName": "dev"}]), rest.create_api_key(name="other", enabled=True)
    limited = {"usagePlanId": plan, "patchOperations": []}

    def ask(value=key["value"], path="/dev/pets", **headers):
        return url.request("GET", path, headers=headers | ({"x-api-key": value} if value else {}))

    def update(*operations):
        rest.update_usage_plan(**limited | {"patchOperations": [{"op": op, "path": path, "value": value} for op, path, value in operations]})

    forbidden = (403, {"message": "Forbidden"}, "ForbiddenException")
    answer = lambda reply: (reply.status, reply.json, reply.header("x-amzn-ErrorType"))  # noqa: E731
    try:
        # A key lets in through a usage plan, not by its stages.
        assert answer(ask()) == forbidden and ask(path="/dev/open").status == 200
        rest.create_usage_plan_key(usagePlanId=plan, keyId=key["id"], keyType="API_KEY")
        reply = ask()
        assert reply.status == 200, reply.text
        identity = reply.json["requestContext"]["identity"]
        assert (identity["apiKey"], identity["apiKeyId"]) == (key["value"], key["id"])
        assert "apiKeyId" not in ask(path="/dev/open").json["requestContext"]["identity"]
        for refused in (ask(None), ask("x" * 40), ask(other["value"]), ask(key["value"].swapcase()), ask(path="/prod/pets"), ask("")):
            assert answer(refused) == forbidden
        # A method with bounds of its own; `ANY` has them for whatever is asked for.
        too_many = (429, {"message": "Too Many Requests"}, "TooManyRequestsException")
        assert ask(path="/dev/rare").status == 200 and answer(ask(path="/dev/rare")) == too_many and ask().status == 200
        of_any = f"/apiStages/{api.id}:dev/throttle/~1pets/ANY"
        update(("replace", f"{of_any}/burstLimit", "1"), ("replace", f"{of_any}/rateLimit", "0.0001"))
        assert ask().status == 200 and answer(ask()) == too_many
        update(("remove", of_any, ""))
        update(("replace", "/throttle/burstLimit", "2"), ("replace", "/throttle/rateLimit", "0.0001"))
        assert [ask().status for _ in range(3)] == [200, 200, 429] and answer(ask()) == too_many
        # A quota counts for what gets through only.
        update(("remove", "/throttle", ""), ("replace", "/quota/limit", "2"), ("replace", "/quota/period", "MONTH"))
        assert [ask().status, ask().status] == [200, 200] and answer(ask()) == (429, {"message": "Limit Exceeded"}, "LimitExceededException")
        rest.put_gateway_response(restApiId=api.id, responseType="QUOTA_EXCEEDED", statusCode="402")
        api.deploy()
        assert ask().status == 402
        update(("remove", "/quota", ""))
        assert ask().status == 200
        # Keys that authorizers name.
        rest.update_rest_api(restApiId=api.id, patchOperations=[{"op": "replace", "path": "/apiKeySource", "value": "AUTHORIZER"}])
        assert ask(path="/dev/named", Auth="x" * 20).status == 403 and answer(ask()) == forbidden
        assert ask(None, path="/dev/named", Auth=key["value"]).json["requestContext"]["identity"]["apiKeyId"] == key["id"]
        rest.update_rest_api(restApiId=api.id, patchOperations=[{"op": "replace", "path": "/apiKeySource", "value": "HEADER"}])
        for operation in ({"op": "replace", "path": "/enabled", "value": "false"}, {"op": "replace", "path": "/enabled", "value": "true"}):
            rest.update_api_key(apiKey=key["id"], patchOperations=[operation])
            assert ask().status == (200 if operation["value"] == "true" else 403)
        rest.delete_usage_plan_key(usagePlanId=plan, keyId=key["id"])
        assert answer(ask()) == forbidden
        # Nobody reads it off the disk.
        files = [file for file in server.data_directory.rglob("*") if file.suffix in (".sqlite", ".sqlite-wal", ".log")]
        assert files and not [file for file in files if key["value"].encode() in file.read_bytes()]
    finally:
        rest.delete_usage_plan(usagePlanId=plan)
        for one in (key, other):
            rest.delete_api_key(apiKey=one["id"])


@pytest.mark.covers("rest-api:Throttles of stages", client="HTTP")
def test_throttles_of_stages(api, echo):
    api.method("/pets", "ANY", echo)
    api.method("/other", "GET", echo)
    api.allow(echo)
    url = api.deploy()

    def limit(path, burst):
        settings = [("throttling/burstLimit", burst), ("throttling/rateLimit", "0.0001")]
        api.client.update_stage(restApiId=api.id, stageName="dev", patchOperations=[{"op": "replace", "path": f"{path}/{name}", "value": value} for name, value in settings])

    limit("/~1pets/ANY", "1")
    # A bucket for the resource's method, whichever of its methods is asked for.
    assert [url.request(method, "/dev/pets").status for method in ("GET", "PUT")] == [200, 429]
    assert url.request("GET", "/dev/other").status == 200
    limit("/*/*", "2")
    assert [url.request("GET", "/dev/other").status for _ in range(3)] == [200, 200, 429]
    reply = url.request("GET", "/dev/other")
    assert (reply.json, reply.header("x-amzn-ErrorType")) == ({"message": "Too Many Requests"}, "TooManyRequestsException")
    api.client.update_stage(restApiId=api.id, stageName="dev", patchOperations=[{"op": "remove", "path": "/*/*"}])
    assert url.request("GET", "/dev/other").status == 200


@pytest.fixture
def back_end():
    """A server that says what it was asked: its base URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): self.headers.get_all(name) for name in self.headers}
            said = json.dumps({"path": self.path, "method": self.command, "body": body.decode(), "headers": headers}).encode()
            if self.path.startswith("/hangs"):
                # Until the gateway has gone.
                self.connection.settimeout(20)
                self.connection.recv(1)
                return
            self.send_response(int(self.path.rsplit("status=", 1)[1][:3]) if "status=" in self.path else 202)
            self.send_header("X-Back", "end")
            self.send_header("Set-Cookie", "a=1")
            self.send_header("Set-Cookie", "b=2")
            self.send_header("Content-Type", "application/vnd.said")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = do_PUT = answer

        def log_message(self, *arguments):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


@pytest.mark.covers("rest-api:HTTP and HTTP_PROXY integrations", client="HTTP")
def test_http_proxies(api, back_end):
    def proxy(path, uri, parameters=None, declared=(), method="ANY", **options):
        integration = {"type": "HTTP_PROXY", "integrationHttpMethod": "ANY", "uri": uri, "requestParameters": parameters or {}} | options
        return api.method(path, method, "unused", requestParameters={name: False for name in declared}, integration=integration)

    path = "method.request.path.proxy"
    proxy("/to/{proxy+}", f"{back_end}/at/{{proxy}}?k=v", {"integration.request.path.proxy": path}, [path])
    proxy("/one/{proxy}", f"{back_end}/pets/{{proxy}}/name", {"integration.request.path.proxy": path}, [path], method="GET", integrationHttpMethod="PUT")
    mapped = {
        "integration.request.querystring.q": "method.request.header.X-Ask", "integration.request.header.X-Ask": "'static'", "integration.request.header.X-Stage": "context.stage",
        "integration.request.header.X-Variable": "stageVariables.color", "integration.request.querystring.all": "method.request.multivaluequerystring.q", "integration.request.header.X-Absent": "method.request.header.Absent",
        "integration.request.querystring.absent": "method.request.header.Absent", "integration.request.header.Host": "'other.example'",
    }  # fmt: skip
    proxy("/mapped", f"{back_end}/${{stageVariables.place}}", mapped, ["method.request.header.X-Ask", "method.request.querystring.q", "method.request.header.Absent"])
    proxy("/hole", f"{back_end}/{{unmapped}}")
    proxy("/hangs", f"{back_end}/hangs", timeoutInMillis=300)
    proxy("/closed", f"http://127.0.0.1:{free_port()}/")
    url = api.deploy(variables={"color": "blue", "place": "stage"})

    reply = url.request("POST", "/dev/to/a/b%20c?q=1&q=%20", headers=[("X-Own", "1"), ("X-Own", "2"), ("X-Forwarded-For", "10.0.0.1"), ("Connection", "x-hop"), ("X-Hop", "1"), ("Content-Type", "text/plain")], body="grüße".encode())
    assert (reply.status, reply.header("X-Back"), reply.header("Content-Type")) == (202, "end", "application/vnd.said")
    assert reply.headers.get_all("Set-Cookie") == ["a=1", "b=2"] and reply.header("x-amzn-Remapped-Server") and reply.header("x-amzn-Remapped-Date")
    said = reply.json
    assert (said["path"], said["method"], said["body"]) == ("/at/a/b%20c?k=v&q=1&q=%20", "POST", "grüße")
    headers = said["headers"]
    assert headers["x-own"] == ["1", "2"] and headers["host"] == [back_end.removeprefix("http://")] and headers["content-type"] == ["text/plain"]
    assert headers["x-forwarded-for"] == ["10.0.0.1, 127.0.0.1"] and headers["x-forwarded-proto"] == ["http"] and headers["x-amzn-apigateway-api-id"] == [api.id]
    assert headers["x-amzn-trace-id"] == [reply.header("x-amzn-trace-id")] and "x-hop" not in headers
    # What one segment was stays one; the integration's method counts.
    assert [url.request("GET", "/dev/one/a%2Fb%20c").json[name] for name in ("path", "method")] == ["/pets/a%2Fb%20c/name", "PUT"]
    for status in (404, 302, 500):
        assert url.request("GET", f"/dev/to/x?status={status}").status == status
    said = url.request("GET", "/dev/mapped?q=1&other=x&q=2&absent=said", headers={"X-Ask": "a&b", "X-Absent": "said"}).json
    assert said["path"] == "/stage?other=x&all=1&all=2&q=a%26b"
    headers = said["headers"]
    assert (headers["x-ask"], headers["x-stage"], headers["x-variable"]) == (["static"], ["dev"], ["blue"])
    # What is mapped and has no value is not the client's to say.
    assert "x-absent" not in headers and headers["host"] == ["other.example"]
    # Nothing leads out of what the integration names.
    for path in ("/dev/to/../x", "/dev/to/a/%2e%2E/x", "/dev/to/a%2F..%2Fx", "/dev/one/..", "/dev/one/%2e"):
        assert (url.request("GET", path).status, url.request("GET", path).json) == (400, {"message": "Bad Request"}), path
    reply = url.request("GET", "/dev/hangs")
    assert (reply.status, reply.json) == (504, {"message": "Endpoint request timed out"})
    reply = url.request("GET", "/dev/closed")
    assert (reply.status, reply.json) == (504, {"message": "Network error communicating with endpoint"})
    reply = url.request("GET", "/dev/hole")
    assert (reply.status, reply.json) == (500, {"message": "Internal server error"})


@pytest.mark.covers("rest-api:HTTP and HTTP_PROXY integrations", client="botocore signatures")
def test_signatures_are_not_passed_on(server, api, back_end, tmp_path):
    api.method("/to", "GET", "unused", authorizationType="AWS_IAM", integration={"type": "HTTP_PROXY", "integrationHttpMethod": "GET", "uri": f"{back_end}/at"})
    url = api.deploy()
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": f"arn:aws:execute-api:us-east-1:000000000000:{api.id}/*"}]}))
    who = signing.credentials(signing.key(server, "create", "--name", "rest-proxied", "--policy", str(policy)))
    address = f"http://{url.host}/dev/to?q=1"
    reply = url.request("GET", "/dev/to?q=1", headers=signing.sign(who, address, service="execute-api"))
    assert reply.status == 202, reply.text
    assert reply.json["path"] == "/at?q=1" and "authorization" not in reply.json["headers"]
    reply = url.request("GET", signing.presign(who, address, service="execute-api"))
    assert (reply.status, reply.json["path"]) == (202, "/at?q=1"), reply.text


@pytest.mark.covers("rest-api:HTTP and HTTP_PROXY integrations", client="HTTP")
def test_http_integrations_that_are_mapped(api, back_end):
    header = "method.request.header.X-Ask"
    place = api.method("/pets", "POST", "unused", requestParameters={header: False}, integration={"type": "HTTP", "integrationHttpMethod": "PUT", "uri": f"{back_end}/pets?status=201", "requestParameters": {"integration.request.header.X-Told": header}})
    api.client.put_method_response(**place, statusCode="200", responseParameters={f"method.response.header.{name}": False for name in ("X-From", "X-Static", "Content-Length", "Transfer-Encoding")})
    api.client.put_method_response(**place, statusCode="418")
    api.client.put_integration_response(**place, statusCode="200", responseParameters={"method.response.header.X-From": "integration.response.header.X-Back", "method.response.header.X-Static": "'text'", "method.response.header.Content-Length": "'7'", "method.response.header.Transfer-Encoding": "'chunked'"})
    api.client.put_integration_response(**place, statusCode="418", selectionPattern="4\\d\\d", responseTemplates={"text/plain": "a teapot"})
    url = api.deploy()
    reply = url.request("POST", "/dev/pets?q=1", headers={"X-Ask": "me", "X-Own": "1", "Content-Type": "text/plain"}, body=b"content")
    # Only what is mapped goes on, and only what is mapped comes back.
    assert (reply.status, reply.header("X-From"), reply.header("X-Static"), reply.header("X-Back"), reply.header("Set-Cookie")) == (200, "end", "text", None, None)
    # Where an answer ends is nobody's to map.
    assert (reply.header("x-amzn-Remapped-Content-Length"), reply.header("Content-Length"), reply.header("Transfer-Encoding")) == ("7", str(len(reply.body)), None)
    said = reply.json
    assert (said["path"], said["method"], said["body"]) == ("/pets?status=201", "PUT", "content")
    headers = said["headers"]
    assert (headers["x-told"], headers["content-type"], headers["user-agent"]) == (["me"], ["text/plain"], [f"AmazonAPIGateway_{api.id}"]) and "x-own" not in headers
    replace = lambda path, value: api.client.update_integration(**place, patchOperations=[{"op": "replace", "path": path, "value": value}])  # noqa: E731
    replace("/uri", f"{back_end}/pets?status=404")
    api.deploy()
    reply = url.request("POST", "/dev/pets")
    assert (reply.status, reply.body, reply.header("Content-Type")) == (418, b"a teapot", "text/plain")
    replace("/passthroughBehavior", "NEVER")
    api.deploy()
    assert (url.request("POST", "/dev/pets").status, url.request("POST", "/dev/pets").json) == (415, {"message": "Unsupported Media Type"})
    api.client.delete_integration_response(**place, statusCode="200")
    replace("/passthroughBehavior", "WHEN_NO_MATCH")
    replace("/uri", f"{back_end}/pets?status=200")
    api.deploy()
    assert (url.request("POST", "/dev/pets").status, url.request("POST", "/dev/pets").json) == (500, {"message": "Internal server error"})


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
