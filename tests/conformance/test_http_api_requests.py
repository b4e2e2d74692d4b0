"""HTTP APIs as HTTP clients see them: routes, events, answers, errors, CORS and authorizers."""

from __future__ import annotations

import base64
import http.server
import json
import threading
import urllib.request

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from support import functions, urls
from support.errors import arn
from support.issuer import Issuer

ECHO = """
    import base64, json, time

    def handler(event, context):
        path = event.get("rawPath") or event.get("path")
        if path.endswith("/fail"):
            raise ValueError("as asked")
        if path.endswith("/sleep"):
            time.sleep(30)
        if path.endswith("/answer"):
            body = event["body"]
            return json.loads(base64.b64decode(body) if event["isBase64Encoded"] else body)
        return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(event)}
"""
AUTHORIZER = """
    import json

    calls = 0

    def handler(event, context):
        global calls
        calls += 1
        who = event["identitySource"]
        who = who if isinstance(who, str) else who[0]
        told = {"who": who, "calls": calls, "event": json.dumps(event)}
        if who == "broken":
            raise ValueError("as asked")
        if event["version"] == "2.0":
            return {"isAuthorized": who.startswith("good"), "context": told}
        statement = {"Action": "execute-api:Invoke", "Effect": "Allow" if who.startswith("good") else "Deny", "Resource": event["methodArn"]}
        return {"principalId": who, "policyDocument": {"Version": "2012-10-17", "Statement": [statement]}, "context": told}
"""
NOT_FOUND, UNAUTHORIZED, FORBIDDEN, BROKEN = {"message": "Not Found"}, {"message": "Unauthorized"}, {"message": "Forbidden"}, {"message": "Internal Server Error"}


@pytest.fixture(scope="module")
def echo(shared_server):
    function = functions.create(shared_server.get(), {"app.py": ECHO}, Timeout=40)
    permit(function.server, function.name)
    yield function
    function.delete()


@pytest.fixture(scope="module")
def asked(shared_server):
    function = functions.create(shared_server.get(), {"app.py": AUTHORIZER})
    permit(function.server, function.name)
    yield function
    function.delete()


@pytest.fixture(scope="module")
def issuer(tmp_path_factory):
    made = Issuer(tmp_path_factory.mktemp("issuer"))
    yield made
    made.stop()


def permit(server, name, source="arn:aws:execute-api:us-east-1:000000000000:*"):
    server.client().add_permission(FunctionName=name, StatementId="api", Action="lambda:InvokeFunction", Principal="apigateway.amazonaws.com", SourceArn=source)


class Api:
    """An HTTP API in a test: `route` adds one, `request` calls it by its host name."""

    def __init__(self, server, **configuration):
        self.http = server.client("apigatewayv2")
        created = self.http.create_api(Name="test", ProtocolType="HTTP", **configuration)
        self.id = created["ApiId"]
        self.door = urls.Url(server, created["ApiEndpoint"] + "/")
        self.request = self.door.request

    def integrate(self, uri, version="2.0", **more):
        kind = {"IntegrationType": "AWS_PROXY"} | more
        return self.http.create_integration(ApiId=self.id, IntegrationUri=uri, PayloadFormatVersion=version, **kind)["IntegrationId"]

    def route(self, key, integration, **more):
        return self.http.create_route(ApiId=self.id, RouteKey=key, Target=f"integrations/{integration}", **more)

    def stage(self, name="$default", **more):
        return self.http.create_stage(ApiId=self.id, StageName=name, **({"AutoDeploy": True} | more))


@pytest.fixture
def new_api(server):
    made = []

    def make(**configuration):
        made.append(Api(server, **configuration))
        return made[-1]

    yield make
    for api in made:
        api.http.delete_api(ApiId=api.id)


@pytest.fixture
def api(new_api, echo):
    """Routes to the echo, in the stage `$default` that deploys by itself."""
    made = new_api()
    made.integration = made.integrate(arn(echo.name))
    made.stage(StageVariables={"colour": "blue"})
    return made


@pytest.mark.covers("http-api:Requests: quick create", client="HTTP")
def test_quick_create_is_served(server, new_api, echo):
    api = new_api(Target=arn(echo.name))
    event = api.request("GET", "/any/where").json
    assert (event["routeKey"], event["rawPath"], event["version"]) == ("$default", "/any/where", "2.0")
    # Without a name beneath localhost, too.
    reply = api.request("GET", f"/_api/{api.id}/any/where?x=1", host=f"127.0.0.1:{server.port}")
    assert (reply.json["rawPath"], reply.json["queryStringParameters"]) == ("/any/where", {"x": "1"})
    curled = api.door.curl("--data", "x=1", target="/form")
    assert base64.b64decode(json.loads(curled.stdout)["body"]) == b"x=1"
    api.http.delete_route(ApiId=api.id, RouteId=api.http.get_routes(ApiId=api.id)["Items"][0]["RouteId"])
    assert (api.request().status, api.request().json) == (404, NOT_FOUND)
    assert api.request(host="abcdefghij.execute-api.us-east-1.localhost").json == NOT_FOUND
    assert api.request(host=api.door.host.replace("us-east-1", "eu-west-1")).status == 404


@pytest.mark.covers("http-api:Requests: routes", client="HTTP")
def test_the_most_specific_route_takes_a_request(api):
    for key in ("GET /pets/dog/1", "GET /pets/dog/{id}", "GET /pets/{proxy+}", "ANY /{proxy+}"):
        api.route(key, api.integration)

    def taken(method, path):
        reply = api.request(method, path)
        return (reply.json["routeKey"], reply.json.get("pathParameters")) if reply.status == 200 else reply.status

    assert taken("GET", "/pets/dog/1") == ("GET /pets/dog/1", None)
    assert taken("GET", "/pets/dog/a%2Fb%20c") == ("GET /pets/dog/{id}", {"id": "a/b c"})
    assert taken("GET", "/pets/cat/1") == ("GET /pets/{proxy+}", {"proxy": "cat/1"})
    assert taken("POST", "/pets/dog/1") == ("ANY /{proxy+}", {"proxy": "pets/dog/1"})
    assert taken("GET", "/") == 404
    api.route("$default", api.integration)
    assert taken("GET", "/") == ("$default", None)
    assert taken("GET", "/%FF") == 400


@pytest.mark.covers("http-api:Requests: payload format 2.0", client="HTTP")
def test_the_event_in_format_2(api):
    api.route("POST /pets/{id}", api.integration)
    headers = [("X-One", "1"), ("X-One", "2"), ("Cookie", "a=1; b=2"), ("User-Agent", "me"), ("Content-Type", "text/plain")]
    reply = api.request("POST", "/pets/7%208?x=1&x=2", headers=headers, body="hé".encode())
    assert reply.header("apigw-requestid")
    event = reply.json
    assert set(event) == {
        "version", "routeKey", "rawPath", "rawQueryString", "cookies", "headers", "queryStringParameters", "requestContext", "body", "pathParameters",
        "isBase64Encoded", "stageVariables",
    }
    assert (event["routeKey"], event["rawPath"], event["rawQueryString"], event["cookies"]) == ("POST /pets/{id}", "/pets/7 8", "x=1&x=2", ["a=1", "b=2"])
    assert (event["headers"]["x-one"], event["queryStringParameters"], event["pathParameters"], event["stageVariables"]) == ("1,2", {"x": "1,2"}, {"id": "7 8"}, {"colour": "blue"})
    assert (event["body"], event["isBase64Encoded"]) == ("hé", False)
    context = event["requestContext"]
    assert set(context) == {"accountId", "apiId", "domainName", "domainPrefix", "http", "requestId", "routeKey", "stage", "time", "timeEpoch"}
    assert (context["accountId"], context["apiId"], context["domainPrefix"], context["stage"]) == ("000000000000", api.id, api.id, "$default")
    assert context["http"] == {"method": "POST", "path": "/pets/7 8", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "me"}
    binary = api.request("POST", "/pets/1", body=b"\xff\x00", headers={"Content-Type": "application/octet-stream"}).json
    assert (base64.b64decode(binary["body"]), binary["isBase64Encoded"]) == (b"\xff\x00", True)


@pytest.mark.covers("http-api:Requests: payload format 1.0", client="HTTP")
def test_the_event_and_the_answer_in_format_1(api, echo):
    api.route("ANY /pets/{id}", api.integrate(arn(echo.name), "1.0"))
    event = api.request("GET", "/pets/7?x=1&x=2", headers=[("X-One", "1"), ("X-One", "2")]).json
    assert set(event) == {
        "version", "resource", "path", "httpMethod", "headers", "multiValueHeaders", "queryStringParameters", "multiValueQueryStringParameters", "requestContext",
        "pathParameters", "stageVariables", "body", "isBase64Encoded",
    }
    assert (event["version"], event["resource"], event["path"], event["httpMethod"]) == ("1.0", "/pets/{id}", "/pets/7", "GET")
    assert (event["headers"]["x-one"], event["multiValueHeaders"]["x-one"]) == ("2", ["1", "2"])
    assert (event["queryStringParameters"], event["multiValueQueryStringParameters"]) == ({"x": "2"}, {"x": ["1", "2"]})
    assert (event["pathParameters"], event["stageVariables"], event["body"]) == ({"id": "7"}, {"colour": "blue"}, None)
    context = event["requestContext"]
    assert set(context) == {
        "accountId", "apiId", "domainName", "domainPrefix", "extendedRequestId", "httpMethod", "identity", "path", "protocol", "requestId", "requestTime",
        "requestTimeEpoch", "resourceId", "resourcePath", "stage",
    }
    assert context["identity"]["sourceIp"] == "127.0.0.1" and "apiKey" in context["identity"]
    assert (context["resourceId"], context["resourcePath"], context["extendedRequestId"]) == ("ANY /pets/{id}", "/pets/{id}", context["requestId"])
    said = {"statusCode": 201, "headers": {"x-a": "1"}, "multiValueHeaders": {"x-b": ["2", "3"]}, "body": base64.b64encode(b"\xff").decode(), "isBase64Encoded": True}
    reply = api.request("POST", "/pets/answer", headers={"Content-Type": "application/json"}, body=json.dumps(said).encode())
    assert (reply.status, reply.header("x-a"), reply.headers.get_all("x-b"), reply.body) == (201, "1", ["2", "3"], b"\xff")
    for wrong in ({"body": "x"}, "text", {"statusCode": 200, "body": {}}):
        reply = api.request("POST", "/pets/answer", headers={"Content-Type": "application/json"}, body=json.dumps(wrong).encode())
        assert (reply.status, reply.json) == (500, BROKEN), wrong


@pytest.mark.covers("http-api:Requests: answers and errors", client="HTTP")
def test_answers_and_errors(server, api, echo, deploy):
    api.route("$default", api.integration)

    def answer(value):
        return api.request("POST", "/answer", headers={"Content-Type": "application/json"}, body=json.dumps(value).encode())

    inferred = answer({"hello": "world"})
    assert (inferred.status, inferred.json, inferred.header("content-type")) == (200, {"hello": "world"}, "application/json")
    said = answer({"statusCode": 418, "cookies": ["a=1", "b=2"], "headers": {"x-a": "1"}, "body": "tea"})
    assert (said.status, said.headers.get_all("set-cookie"), said.header("x-a"), said.text) == (418, ["a=1", "b=2"], "1", "tea")
    for wrong in ({"statusCode": 700}, {"statusCode": 200, "headers": {"x": "a\r\nb: c"}}):
        assert (answer(wrong).status, answer(wrong).json) == (500, BROKEN), wrong
    failed = api.request("GET", "/fail")
    assert (failed.status, failed.json) == (500, BROKEN)
    large = api.request("POST", "/", body=b"x" * (10 * 2**20 + 1))
    assert (large.status, large.json) == (413, {"message": "Request Entity Too Large"})
    api.http.update_integration(ApiId=api.id, IntegrationId=api.integration, TimeoutInMillis=200)
    slow = api.request("GET", "/sleep")
    assert (slow.status, slow.json) == (503, {"message": "Service Unavailable"})
    # A function that does not let API Gateway call it, one that lets another API, and one that is not there.
    other = deploy({"app.py": ECHO})
    api.http.update_integration(ApiId=api.id, IntegrationId=api.integration, IntegrationUri=arn(other.name), TimeoutInMillis=30000)
    assert (api.request().status, api.request().json) == (500, BROKEN)
    permit(server, other.name, f"arn:aws:execute-api:us-east-1:000000000000:{api.id}/*/GET/pets")
    assert api.request().status == 500
    server.client().remove_permission(FunctionName=other.name, StatementId="api")
    permit(server, other.name, f"arn:aws:execute-api:us-east-1:000000000000:{api.id}/*/$default")
    assert api.request().status == 200
    api.http.update_integration(ApiId=api.id, IntegrationId=api.integration, IntegrationUri=arn("nothing"))
    assert (api.request().status, api.request().json) == (500, BROKEN)
    api.http.create_route(ApiId=api.id, RouteKey="GET /nowhere")
    assert api.request("GET", "/nowhere").status == 500


@pytest.mark.covers("http-api:Requests: stages", client="HTTP")
def test_stages_serve_what_was_deployed_to_them(new_api, echo):
    api = new_api()
    api.route("GET /a", api.integrate("arn:aws:lambda:us-east-1:000000000000:function:${stageVariables.function}"))
    api.stage("prod", AutoDeploy=False, StageVariables={"function": echo.name})
    assert api.request("GET", "/prod/a").json == NOT_FOUND
    api.http.create_deployment(ApiId=api.id, StageName="prod")
    event = api.request("GET", "/prod/a").json
    assert (event["rawPath"], event["requestContext"]["stage"], event["requestContext"]["http"]["path"]) == ("/prod/a", "prod", "/prod/a")
    api.stage("dev", StageVariables={"function": echo.name})
    api.route("GET /b", api.http.get_integrations(ApiId=api.id)["Items"][0]["IntegrationId"])
    assert (api.request("GET", "/dev/b").status, api.request("GET", "/prod/b").status) == (200, 404)
    api.http.update_stage(ApiId=api.id, StageName="dev", AutoDeploy=False)
    api.route("GET /c", api.http.get_integrations(ApiId=api.id)["Items"][0]["IntegrationId"])
    assert (api.request("GET", "/dev/b").status, api.request("GET", "/dev/c").status) == (200, 404)
    assert api.request("GET", "/a").json == NOT_FOUND
    api.http.update_stage(ApiId=api.id, StageName="dev", RouteSettings={"GET /b": {"ThrottlingBurstLimit": 2, "ThrottlingRateLimit": 0.001}})
    statuses = [api.request("GET", "/dev/b").status for _ in range(3)]
    assert statuses == [200, 200, 429] and api.request("GET", "/dev/b").json == {"message": "Too Many Requests"}
    assert api.request("GET", "/dev/a").status == 200


@pytest.mark.covers("http-api:Requests: CORS", client="HTTP")
def test_cors(api):
    api.route("GET /x", api.integration)
    api.route("POST /answer", api.integration)
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
    assert api.request("OPTIONS", "/x", headers=asked).status == 404
    cors = {"AllowOrigins": ["https://a.example"], "AllowMethods": ["GET"], "AllowHeaders": ["x-a"], "ExposeHeaders": ["x-b"], "MaxAge": 60}
    api.http.update_api(ApiId=api.id, CorsConfiguration=cors)
    preflight = api.request("OPTIONS", "/anything", headers=asked)
    assert (preflight.status, preflight.body, preflight.header("access-control-allow-origin"), preflight.header("access-control-max-age")) == (204, b"", "https://a.example", "60")
    assert api.request("OPTIONS", "/x", headers=asked | {"Origin": "https://b.example"}).header("access-control-allow-origin") is None
    reply = api.request("GET", "/x", headers={"Origin": "https://a.example"})
    assert (reply.header("access-control-allow-origin"), reply.header("access-control-expose-headers")) == ("https://a.example", "x-b")
    own = {"statusCode": 200, "headers": {"access-control-allow-origin": "*"}}
    reply = api.request("POST", "/answer", headers={"Origin": "https://b.example", "Content-Type": "application/json"}, body=json.dumps(own).encode())
    assert (reply.status, reply.header("access-control-allow-origin")) == (200, None)
    api.http.delete_cors_configuration(ApiId=api.id)
    assert api.request("POST", "/answer", headers={"Content-Type": "application/json"}, body=json.dumps(own).encode()).header("access-control-allow-origin") == "*"


@pytest.mark.covers("http-api:Requests: JWT authorizers", client="HTTP")
def test_jwt_authorizers(api, issuer):
    jwt = {"Audience": ["pets", "dogs"], "Issuer": issuer.url}
    authorizer = api.http.create_authorizer(ApiId=api.id, AuthorizerType="JWT", Name="tokens", IdentitySource=["$request.header.Authorization"], JwtConfiguration=jwt)["AuthorizerId"]
    api.route("GET /open", api.integration, AuthorizationType="JWT", AuthorizerId=authorizer)
    api.route("GET /scoped", api.integration, AuthorizationType="JWT", AuthorizerId=authorizer, AuthorizationScopes=["read", "admin"])

    def get(path, token=None):
        return api.request("GET", path, headers={"Authorization": token} if token else {})

    missing = get("/open")
    assert (missing.status, missing.json, missing.header("www-authenticate")) == (401, UNAUTHORIZED, "Bearer")
    good = get("/open", "Bearer " + issuer.token(groups=["a", "b"], level=7, verified=True))
    assert good.status == 200
    authorized = good.json["requestContext"]["authorizer"]
    assert authorized["jwt"]["scopes"] is None
    claims = authorized["jwt"]["claims"]
    assert (claims["sub"], claims["groups"], claims["level"], claims["verified"]) == ("ann", "[a b]", "7", "true")
    assert get("/open", issuer.token(aud=["other", "dogs"])).status == 200
    assert get("/open", issuer.token(aud=None, client_id="pets")).status == 200
    token = issuer.token()
    head, body, signature = token.split(".")
    forged = f"{head}.{base64.urlsafe_b64encode(json.dumps({'sub': 'root'}).encode()).decode().rstrip('=')}.{signature}"
    for wrong in (
        issuer.token(iss="http://other"), issuer.token(aud="cats"), issuer.token(exp=1), issuer.token(exp=None), issuer.token(nbf=99999999999),
        issuer.token(header={"alg": "none"}), issuer.token(header={"alg": "HS256"}), forged, "Bearer x", f"{head}.{body}.",
    ):
        reply = get("/open", wrong)
        assert (reply.status, reply.json) == (401, UNAUTHORIZED) and 'error="invalid_token"' in reply.header("www-authenticate"), wrong
    assert get("/scoped", issuer.token(scope="write read")).json["requestContext"]["authorizer"]["jwt"]["scopes"] == ["write", "read"]
    unscoped = get("/scoped", issuer.token(scope="write"))
    assert (unscoped.status, unscoped.json) == (403, FORBIDDEN) and 'error="insufficient_scope"' in unscoped.header("www-authenticate")
    # Twenty tokens, one look at the keys.
    assert issuer.requests == ["/.well-known/openid-configuration", "/keys"]


@pytest.mark.covers("http-api:Requests: JWT authorizers", client="HTTP")
def test_an_issuer_that_cannot_be_reached(api):
    jwt = {"Audience": ["pets"], "Issuer": "http://127.0.0.1:1"}
    authorizer = api.http.create_authorizer(ApiId=api.id, AuthorizerType="JWT", Name="tokens", IdentitySource=["$request.header.Authorization"], JwtConfiguration=jwt)["AuthorizerId"]
    api.route("GET /x", api.integration, AuthorizationType="JWT", AuthorizerId=authorizer)
    token = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "RS256", "kid": "1"}, {"iss": "http://127.0.0.1:1"})) + ".AA"
    assert api.request("GET", "/x", headers={"Authorization": token}).status == 401


@pytest.mark.covers("http-api:Requests: Lambda authorizers", client="HTTP")
@pytest.mark.parametrize("version", ["2.0", "1.0"])
def test_lambda_authorizers(api, echo, asked, version):
    uri = f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{arn(asked.name)}/invocations"
    simple = {"EnableSimpleResponses": True} if version == "2.0" else {}
    authorizer = api.http.create_authorizer(
        ApiId=api.id, AuthorizerType="REQUEST", Name="asks", AuthorizerUri=uri, AuthorizerPayloadFormatVersion=version, IdentitySource=["$request.header.x-key"], **simple,
    )["AuthorizerId"]
    api.route("GET /pets/{id}", api.integration, AuthorizationType="CUSTOM", AuthorizerId=authorizer)
    api.route("GET /first/{id}", api.integrate(arn(echo.name), "1.0"), AuthorizationType="CUSTOM", AuthorizerId=authorizer)

    def get(path, key=None):
        return api.request("GET", path, headers={"x-key": key} if key else {})

    assert (get("/pets/1").status, get("/pets/1").json) == (401, UNAUTHORIZED)
    good = get("/pets/1", "good")
    assert good.status == 200
    told = good.json["requestContext"]["authorizer"]["lambda"]
    assert told["who"] == "good"
    event = json.loads(told["event"])
    route = f"arn:aws:execute-api:us-east-1:000000000000:{api.id}/$default/GET/pets"
    assert (event["type"], event["version"]) == ("REQUEST", version) and "body" not in event
    assert event["routeArn" if version == "2.0" else "methodArn"] == (f"{route}/{{id}}" if version == "2.0" else f"{route}/1")
    assert event["identitySource"] == (["good"] if version == "2.0" else "good") and event["pathParameters"] == {"id": "1"}
    assert get("/first/1", "good").json["requestContext"]["authorizer"]["who"] == "good"
    assert (get("/pets/1", "bad").status, get("/pets/1", "bad").json) == (403, FORBIDDEN)
    assert (get("/pets/1", "broken").status, get("/pets/1", "broken").json) == (500, BROKEN)
    # Without a time to live every request asks; with one, the same identity is asked about once.
    counts = [get("/pets/1", "good").json["requestContext"]["authorizer"]["lambda"]["calls"] for _ in range(2)]
    assert counts[1] == counts[0] + 1
    api.http.update_authorizer(ApiId=api.id, AuthorizerId=authorizer, AuthorizerResultTtlInSeconds=300)
    kept = [get("/pets/1", "good").json["requestContext"]["authorizer"]["lambda"]["calls"] for _ in range(3)]
    assert len(set(kept)) == 1
    assert get("/pets/1", "good-other").json["requestContext"]["authorizer"]["lambda"]["calls"] == kept[0] + 1
    assert get("/pets/1", "bad").status == 403
    # What one value got does not hold for a request with another one behind or before it.
    api.http.update_authorizer(ApiId=api.id, AuthorizerId=authorizer, IdentitySource=["$request.querystring.key"])
    said = [get(f"/pets/1?{query}") for query in ("key=good", "key=good&key=bad", "key=good%2Cbad", "key=good")]
    said = [reply.json["requestContext"]["authorizer"]["lambda"] for reply in said]
    assert [one["who"] for one in said] == ["good", "good,bad", "good,bad", "good"]
    assert [one["calls"] - said[0]["calls"] for one in said] == [0, 1, 2, 0]
    assert get("/pets/1?key=bad&key=good").status == 403


@pytest.mark.covers("http-api:Requests: AWS_IAM", client="botocore signatures")
def test_signed_requests(server, api):
    api.route("POST /signed/{id}", api.integration, AuthorizationType="AWS_IAM")

    def key(resource, denied=None):
        statements = [{"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": resource}]
        if denied:
            statements.append({"Effect": "Deny", "Action": "execute-api:Invoke", "Resource": denied})
        policy = {"Version": "2012-10-17", "Statement": statements}
        content = json.dumps({"UserName": "ann", "Policy": json.dumps(policy)}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{server.endpoint}/lamplight/v1/keys", content, method="POST")) as answer:
            return json.load(answer)

    def send(key, service="execute-api", path="/signed/a%20b?x=1", body=b"content"):
        url = f"http://{api.door.host}{path}"
        request = AWSRequest("POST", url, data=body)
        SigV4Auth(Credentials(key["AccessKeyId"], key["SecretAccessKey"]), service, "us-east-1").add_auth(request)
        return api.request("POST", path, headers=dict(request.headers), body=body)

    execute = f"arn:aws:execute-api:us-east-1:000000000000:{api.id}"
    good = key(f"{execute}/$default/POST/signed/*")
    reply = send(good)
    assert reply.status == 200
    iam = reply.json["requestContext"]["authorizer"]["iam"]
    assert (iam["accessKey"], iam["userArn"], iam["accountId"]) == (good["AccessKeyId"], "arn:aws:iam::000000000000:user/ann", "000000000000")
    assert send(key(f"{execute}/*"), path="/signed/%73ecret").status == 200
    for refused in (
        api.request("POST", "/signed/1", body=b"content"), send(key(f"{execute}/$default/GET/*")), send(good | {"SecretAccessKey": "x" * 40}), send(good, service="lambda"),
        send(good | {"AccessKeyId": "AKIAIOSFODNN7EXAMPLE"}),
        # A policy is asked about the path as the route was chosen by it: percent-encoding gets around nothing.
        send(key(f"{execute}/*", f"{execute}/*/POST/signed/secret"), path="/signed/%73ecret"),
    ):
        assert (refused.status, refused.json) == (403, FORBIDDEN)


@pytest.mark.covers("http-api:Requests: HTTP_PROXY", client="HTTP")
def test_http_proxy(api):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            said = json.dumps({"path": self.path, "method": self.command, "body": body.decode(), "forwarded": self.headers["Forwarded"], "own": self.headers["x-own"], "authorization": self.headers["Authorization"]}).encode()
            self.send_response(202)
            self.send_header("X-Back", "end")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST

        def log_message(self, *arguments):
            pass

    back_end = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=back_end.serve_forever, daemon=True).start()
    try:
        base = f"http://127.0.0.1:{back_end.server_port}"
        api.route("ANY /to/{proxy+}", api.integrate(f"{base}/at/{{proxy}}?k=v", "1.0", IntegrationType="HTTP_PROXY", IntegrationMethod="ANY"))
        reply = api.request("POST", "/to/a/b%20c?q=1", headers={"x-own": "1"}, body=b"content")
        assert (reply.status, reply.header("x-back")) == (202, "end")
        assert reply.json | {"forwarded": ""} == {"path": "/at/a/b%20c?k=v&q=1", "method": "POST", "body": "content", "own": "1", "authorization": None, "forwarded": ""}
        # A signature is no business of whoever is passed on to.
        for given, expected in (("AWS4-HMAC-SHA256 Credential=x", None), ("Bearer x", "Bearer x")):
            assert api.request("GET", "/to/x", headers={"Authorization": given}).json["authorization"] == expected
        assert reply.json["forwarded"].startswith("for=127.0.0.1;host=")
        # What one segment was stays one.
        api.route("GET /one/{id}", api.integrate(f"{base}/pets/{{id}}/name", "1.0", IntegrationType="HTTP_PROXY", IntegrationMethod="ANY"))
        assert api.request("GET", "/one/a%2Fb%20c").json["path"] == "/pets/a%2Fb%20c/name"
        # Nothing leads out of what the integration names.
        for path in ("/to/../x", "/to/a/%2e%2E/x", "/to/a%2F..%2Fx", "/one/..", "/one/%2e"):
            assert (api.request("GET", path).status, api.request("GET", path).json) == (400, {"message": "Bad Request"}), path
    finally:
        back_end.shutdown()
        back_end.server_close()
    assert (api.request("GET", "/to/x").status, api.request("GET", "/to/x").json) == (503, {"message": "Service Unavailable"})


@pytest.mark.covers("http-api:Requests: custom domains", client="HTTP")
def test_custom_domains(api):
    api.route("GET /pets", api.integration)
    http_client, domain = api.http, "pets.example.com"
    assert api.request("GET", "/v1/pets", host=domain).status == 403
    http_client.create_domain_name(DomainName=domain, DomainNameConfigurations=[{"EndpointType": "REGIONAL"}])
    try:
        assert api.request("GET", "/v1/pets", host=domain).json == NOT_FOUND
        http_client.create_api_mapping(DomainName=domain, ApiId=api.id, Stage="$default", ApiMappingKey="v1")
        event = api.request("GET", "/v1/pets", host=domain).json
        assert (event["routeKey"], event["rawPath"], event["requestContext"]["domainName"]) == ("GET /pets", "/v1/pets", domain)
        assert api.request("GET", "/pets", host=domain).json == NOT_FOUND
        http_client.update_api(ApiId=api.id, DisableExecuteApiEndpoint=True)
        assert (api.request("GET", "/pets").status, api.request("GET", "/v1/pets", host=domain).status) == (404, 200)
    finally:
        http_client.delete_domain_name(DomainName=domain)
    assert api.request("GET", "/v1/pets", host=domain).status == 403
