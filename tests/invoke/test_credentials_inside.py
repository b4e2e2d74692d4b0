"""The credentials in a function's environment: a session of its role, with which it signs for URLs and APIs of other functions."""

from __future__ import annotations

import json
import re
import threading
import time
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from urllib.parse import parse_qs, quote, urlsplit

import boto3
import pytest

from support import functions, host, signing, urls
from support.inside import libraries

ACCOUNT = "000000000000"
ECHO = {"app.py": "def handler(event, context): return event"}
NODE_MODULES = Path(__file__).parents[2] / ".cache/node-sdk/node_modules"
# Every call starts an instance.
COLD = {"LAMPLIGHT_INSTANCES_KEEP_ALIVE_SECONDS": "0"}
BOTH = ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"]
INVALID_TOKEN = "The security token included in the request is invalid."

# Signs as its event says and calls what the platform's endpoint leads to; `host` names a URL there, else the path does.
CALLER = """
    import http.client, os
    from urllib.parse import urlsplit
    import botocore.session
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    inside = urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc

    def send(event):
        body = event.get("body", "").encode()
        request = AWSRequest(event.get("method", "GET"), f"http://{event.get('host', inside)}{event['path']}", data=body)
        if event.get("signed", True):
            found = botocore.session.get_session().get_credentials().get_frozen_credentials()
            credentials = Credentials(found.access_key, found.secret_key, found.token[:-5] + "AAAA=" if event.get("forged") else found.token)
            SigV4Auth(credentials, event.get("service", "lambda"), os.environ["AWS_REGION"]).add_auth(request)
        connection = http.client.HTTPConnection(inside, timeout=8)
        connection.request(request.method, event["path"], body or None, {"Host": event.get("host", inside), **event.get("headers", {}), **dict(request.headers.items())})
        response = connection.getresponse()
        return [response.status, response.getheader("x-amzn-errortype"), response.read().decode()]

    def handler(event, context):
        if event.get("who"):
            own = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
            identity = botocore.session.get_session().create_client("sts").get_caller_identity()
            return [{name: identity[name] for name in ("Arn", "UserId", "Account")}, [os.environ[name] for name in own]]
        return send(event)
"""

NODE_CALLER = """
    const { SignatureV4 } = require("@smithy/signature-v4");
    const { createHash, createHmac } = require("node:crypto");
    const http = require("node:http");
    class Sha256 {
        constructor(secret) { this.hash = secret ? createHmac("sha256", secret) : createHash("sha256"); }
        update(data) { this.hash.update(data); }
        async digest() { return new Uint8Array(this.hash.digest()); }
    }
    const credentials = () => Promise.resolve({
        accessKeyId: process.env.AWS_ACCESS_KEY_ID, secretAccessKey: process.env.AWS_SECRET_ACCESS_KEY, sessionToken: process.env.AWS_SESSION_TOKEN,
    });
    exports.handler = async ({ path, body }) => {
        const { hostname, port, host } = new URL(process.env.AWS_ENDPOINT_URL);
        const signer = new SignatureV4({ credentials, region: process.env.AWS_REGION, service: "lambda", sha256: Sha256 });
        const signed = await signer.sign({ method: "POST", protocol: "http:", hostname, port, path, query: {}, headers: { host, "content-type": "text/plain" }, body });
        return new Promise((resolve, reject) => {
            const request = http.request({ hostname, port, method: "POST", path, headers: signed.headers }, (response) => {
                let text = "";
                response.on("data", (piece) => { text += piece; }).on("end", () => resolve([response.statusCode, null, text]));
            });
            request.on("error", reject).end(body);
        });
    };
"""


def policy(*actions: str, effect: str = "Allow", resource: str = "*") -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": effect, "Action": list(actions), "Resource": resource}]})


class Role:
    """A role that functions may have."""

    def __init__(self, server, name: str):
        self.iam, self.name = server.client("iam"), name
        self.made = self._make()
        self.arn = self.made["Arn"]

    def _make(self) -> dict:
        trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
        return self.iam.create_role(RoleName=self.name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]

    def put(self, document: str | None) -> None:
        """Its one policy; `None`: it has none."""
        if document is None:
            self.iam.delete_role_policy(RoleName=self.name, PolicyName="p")
        else:
            self.iam.put_role_policy(RoleName=self.name, PolicyName="p", PolicyDocument=document)

    def delete(self) -> None:
        for name in self.iam.list_role_policies(RoleName=self.name)["PolicyNames"]:
            self.iam.delete_role_policy(RoleName=self.name, PolicyName=name)
        self.iam.delete_role(RoleName=self.name)


@pytest.fixture(scope="module")
def layer(shared_server):
    client = shared_server.get().client()
    published = client.publish_layer_version(LayerName="botocore-sts", Content={"ZipFile": libraries(("lambda", "sts"))})
    yield published["LayerVersionArn"]
    client.delete_layer_version(LayerName="botocore-sts", VersionNumber=published["Version"])


@pytest.fixture
def role(server):
    role = Role(server, "signer")
    yield role
    if any(row["RoleName"] == role.name for row in role.iam.list_roles()["Roles"]):
        role.delete()


@pytest.fixture
def caller(deploy, layer, role):
    return deploy({"app.py": CALLER}, Layers=[layer], MemorySize=256, Timeout=20).update(Role=role.arn)


@pytest.fixture
def target(deploy):
    return deploy(ECHO)


@pytest.fixture
def url(target):
    return urls.create(target.server, target.name, public=False, auth_type="AWS_IAM")


@pytest.mark.covers("runtime:credentials inside", client="botocore inside")
def test_a_function_signs_for_the_url_of_another(server, caller, role, url):
    by_path = {"path": f"/_url/{url.id}/a%20b?x=1%202&x=1", "method": "POST", "body": '{"a": 1}'}
    by_host = {"path": "/plain", "host": url.host}
    for request in (by_path, by_host):
        assert caller.ok(request)[:2] == [403, "AccessDeniedException"], "its role allows nothing"
    role.put(policy(*BOTH, resource=f"arn:aws:lambda:*:{ACCOUNT}:function:*"))
    status, _, body = caller.ok(by_path)
    assert status == 200, body
    event = json.loads(body)
    assert (event["rawPath"], event["rawQueryString"], b64decode(event["body"])) == ("/a%20b", "x=1%202&x=1", b'{"a": 1}')
    iam, http = event["requestContext"]["authorizer"]["iam"], event["requestContext"]["http"]
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.name}/{caller.name}"
    assert (iam["userArn"], iam["userId"]) == (session, f"{role.made['RoleId']}:{caller.name}")
    assert re.fullmatch("ASIA[A-Z2-7]{16}", iam["accessKey"])
    # Not from loopback: what that may is not for functions.
    assert http["sourceIp"] == "169.254.76.1"
    status, _, body = caller.ok(by_host)
    assert (status, json.loads(body)["rawPath"]) == (200, "/plain")
    # A change of the policy counts for the next request.
    role.put(policy("lambda:InvokeFunctionUrl"))
    assert caller.ok(by_path)[0] == 403, "since October 2025 one of the two is not enough"
    role.put(policy(*BOTH))
    assert caller.ok(by_path)[0] == 200


@pytest.mark.covers("runtime:credentials inside", client="botocore inside")
def test_the_functions_own_policy_is_enough_in_one_account(caller, role, target, url, client):
    request, name = {"path": f"/_url/{url.id}/"}, target.name
    assert caller.ok(request)[0] == 403
    client.add_permission(FunctionName=name, StatementId="u", Action="lambda:InvokeFunctionUrl", Principal=role.arn, FunctionUrlAuthType="AWS_IAM")
    assert caller.ok(request)[0] == 403
    client.add_permission(FunctionName=name, StatementId="f", Action="lambda:InvokeFunction", Principal=role.arn, InvokedViaFunctionUrl=True)
    assert caller.ok(request)[0] == 200
    # What its role denies stays denied.
    role.put(policy("lambda:InvokeFunction", effect="Deny"))
    assert caller.ok(request)[:2] == [403, "AccessDeniedException"]


@pytest.mark.covers("runtime:credentials inside", client="@smithy/signature-v4 inside")
def test_javascript_signs_inside(server, deploy, role, url):
    runtime = functions.node_runtime()
    if not runtime or not (NODE_MODULES / "@smithy/signature-v4").is_dir():
        pytest.skip("no Node.js SDK here")
    files = {"index.js": NODE_CALLER}
    for module in ("@smithy/signature-v4", "@smithy/core", "@smithy/types", "tslib", "@aws/lambda-invoke-store"):
        for file in (NODE_MODULES / module).rglob("*"):
            if file.is_file() and file.suffix in {".js", ".json", ".cjs", ".mjs"} and "dist-es" not in file.parts:
                files[f"node_modules/{file.relative_to(NODE_MODULES)}"] = file.read_bytes()
    caller = deploy(files, runtime=runtime, handler="index.handler", MemorySize=256, Timeout=20).update(Role=role.arn)
    request = {"path": f"/_url/{url.id}/a", "body": "hello"}
    assert caller.ok(request)[0] == 403
    role.put(policy(*BOTH))
    status, _, body = caller.ok(request)
    assert (status, json.loads(body)["body"]) == (200, "hello"), body
    assert json.loads(body)["requestContext"]["authorizer"]["iam"]["userArn"].endswith(f"/{role.name}/{caller.name}")


@pytest.mark.covers("runtime:credentials inside", client="botocore inside")
@pytest.mark.covers("operation:GetCallerIdentity", client="botocore inside")
def test_credentials_say_who_they_are_and_end_with_their_role(server, caller, role, url):
    role.put(policy(*BOTH))
    identity, made = caller.ok({"who": True})
    expected = {"Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.name}/{caller.name}", "UserId": f"{role.made['RoleId']}:{caller.name}", "Account": ACCOUNT}
    assert identity == expected
    # They are good elsewhere, too, and say the same.
    keys = dict(zip(("aws_access_key_id", "aws_secret_access_key", "aws_session_token"), made))
    sts = boto3.client("sts", endpoint_url=server.endpoint, region_name="us-east-1", **keys)
    answer = sts.get_caller_identity()
    assert {name: answer[name] for name in expected} == expected
    session = signing.credentials(dict(zip(("AccessKeyId", "SecretAccessKey", "SessionToken"), made)))
    target = f"http://{url.host}/"
    assert url.request(headers=signing.sign(session, target)).status == 200
    assert url.request("GET", signing.presign(session, target)).status == 200
    token = session.token
    for wrong in (None, "", token[:-4], token + "AAAA", token.swapcase()):
        session.token = wrong
        reply = url.request(headers=signing.sign(session, target))
        assert (reply.status, reply.header("x-amzn-errortype"), reply.json["message"]) == (403, "UnrecognizedClientException", INVALID_TOKEN), wrong
    session.token = token
    assert caller.ok({"path": f"/_url/{url.id}/", "forged": True})[:2] == [403, "UnrecognizedClientException"]
    # A role of the same name is another role.
    role.delete()
    for again in (False, True):
        if again:
            role._make()
            role.put(policy(*BOTH))
        reply = url.request(headers=signing.sign(session, target))
        assert (reply.status, reply.header("x-amzn-errortype")) == (403, "UnrecognizedClientException")
        with pytest.raises(sts.exceptions.ClientError) as refused:
            sts.get_caller_identity()
        assert refused.value.response["Error"]["Code"] == "InvalidClientTokenId"


@pytest.mark.covers("runtime:credentials inside", client="botocore")
@pytest.mark.covers("input:forged and stale signatures", client="botocore")
def test_random_requests_are_taken_and_one_changed_bit_refuses(caller, role, url):
    role.put(policy(*BOTH))
    made = caller.ok({"who": True})[1]
    session = signing.credentials(dict(zip(("AccessKeyId", "SecretAccessKey", "SessionToken"), made)))
    random = Random(20261122)
    changes = 0
    for number in range(120):
        parts = random.choices(["a", "Z", "0", "-", "_", ".", "~", "/", "%20", "%2F", "%C3%A4", "$", ":", "@", "+"], k=random.randrange(12))
        path = f"/{''.join(parts)}".replace("/.", "/a")
        query = "&".join("".join(random.choices("abcXYZ019-_.~", k=random.randrange(1, 5))) + random.choice(["", "=", "=1", "=%20", "=%C3%A4", "=a%2Bb"]) for _ in range(random.randrange(4)))
        body = random.randbytes(random.randrange(40)) if number % 3 else b""
        target, headers = f"{path}?{query}" if query else path, {"X-Own": "".join(random.choices("abc  019", k=8))}
        if number % 4 == 0:
            target, signed, method = signing.presign(session, f"http://{url.host}{target}"), {}, "GET"
            body = b""
        else:
            method = random.choice(["GET", "POST", "PUT", "DELETE"])
            signed = signing.sign(session, f"http://{url.host}{target}", method, body, headers)
        reply = url.request(method, target, headers=signed, body=body or None)
        assert reply.status == 200, (method, target, reply.text)
        name = random.choice(sorted(signed) or ["X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-Date", "X-Amz-Expires"])
        text = signed[name] if name in signed else parse_qs(urlsplit(target).query)[name][0]
        at, bit = random.randrange(len(text)), 1 << random.randrange(7)
        other = text[:at] + chr(ord(text[at]) ^ bit) + text[at + 1 :]
        if not other.isprintable() or other.split() == text.split():
            continue
        changes += 1
        if name in signed:
            reply = url.request(method, target, headers=signed | {name: other}, body=body or None)
        else:
            changed = target.replace(f"{name}={quote(text, safe='-_.~')}", f"{name}={quote(other, safe='-_.~')}")
            assert changed != target
            reply = url.request(method, changed)
        assert reply.status == 403, (name, text, other, reply.text)
        if body:
            spot = random.randrange(len(body))
            wrong = body[:spot] + bytes([body[spot] ^ 1 << random.randrange(8)]) + body[spot + 1 :]
            assert url.request(method, target, headers=signed, body=wrong).status == 403
    assert changes > 80


@pytest.mark.covers("runtime:credentials inside", client="botocore inside")
def test_two_instances_have_credentials_of_their_own(caller, role):
    first = caller.ok({"who": True})[1]
    assert caller.ok({"who": True})[1] == first, "as long as the instance lives"
    caller.update(Description="another revision")
    second = caller.ok({"who": True})[1]
    assert all(one != other for one, other in zip(first, second))


@pytest.mark.covers("runtime:endpoint inside", client="raw HTTP")
def test_what_is_open_is_open_inside_and_the_rest_is_not(server, caller, role, deploy, url):
    public = urls.create(server, deploy(ECHO).name)
    unsigned = {"signed": False}
    status, _, body = caller.ok({"path": f"/_url/{public.id}/x", **unsigned})
    assert (status, json.loads(body)["requestContext"]["http"]["sourceIp"]) == (200, "169.254.76.1")
    assert caller.ok({"path": f"/_url/{url.id}/x", **unsigned})[:2] == [403, "AccessDeniedException"]
    assert caller.ok({"path": "/_url/nosuchurl/x", **unsigned})[0] == 403
    # Who may come from loopback only is not reached from inside.
    condition = {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}
    role.put(json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": BOTH, "Resource": "*", "Condition": condition}]}))
    assert caller.ok({"path": f"/_url/{url.id}/"})[:2] == [403, "AccessDeniedException"]


@pytest.mark.covers("runtime:credentials inside", client="botocore inside")
def test_a_function_signs_for_a_route_of_an_api(server, caller, role, deploy):
    http, echo = server.client("apigatewayv2"), deploy(ECHO)
    api = http.create_api(Name="inside", ProtocolType="HTTP")["ApiId"]
    try:
        arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{echo.name}"
        server.client().add_permission(FunctionName=echo.name, StatementId="api", Action="lambda:InvokeFunction", Principal="apigateway.amazonaws.com", SourceArn=f"arn:aws:execute-api:us-east-1:{ACCOUNT}:{api}/*")
        integration = http.create_integration(ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=arn, PayloadFormatVersion="2.0")["IntegrationId"]
        http.create_route(ApiId=api, RouteKey="GET /signed", AuthorizationType="AWS_IAM", Target=f"integrations/{integration}")
        http.create_stage(ApiId=api, StageName="$default", AutoDeploy=True)
        request = {"path": f"/_api/{api}/signed", "service": "execute-api"}
        assert caller.ok(request)[0] == 403
        role.put(policy("execute-api:Invoke", resource=f"arn:aws:execute-api:us-east-1:{ACCOUNT}:{api}/*/GET/signed"))
        status, _, body = caller.ok(request)
        assert status == 200, body
        assert json.loads(body)["requestContext"]["authorizer"]["iam"]["userArn"].endswith(f"assumed-role/{role.name}/{caller.name}")
    finally:
        http.delete_api(ApiId=api)


@pytest.mark.covers("wall:host network", client="raw HTTP")
def test_an_open_api_is_no_way_to_the_network(server, caller, role):
    class Backend(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"behind the wall")

        def log_message(self, *arguments):
            pass

    backend, http = ThreadingHTTPServer(("127.0.0.1", 0), Backend), server.client("apigatewayv2")
    threading.Thread(target=backend.serve_forever, daemon=True).start()
    api = http.create_api(Name="proxy", ProtocolType="HTTP")["ApiId"]
    try:
        uri = f"http://127.0.0.1:{backend.server_port}/"
        integration = http.create_integration(ApiId=api, IntegrationType="HTTP_PROXY", IntegrationMethod="GET", IntegrationUri=uri, PayloadFormatVersion="1.0")["IntegrationId"]
        for key, kind in (("GET /open", "NONE"), ("GET /signed", "AWS_IAM")):
            http.create_route(ApiId=api, RouteKey=key, AuthorizationType=kind, Target=f"integrations/{integration}")
        http.create_stage(ApiId=api, StageName="$default", AutoDeploy=True)
        outside = urls.Url(server, f"http://127.0.0.1:{server.port}/").request("GET", f"/_api/{api}/open")
        assert (outside.status, outside.text) == (200, "behind the wall")
        role.put(policy("execute-api:Invoke"))
        for signed in (False, True):
            assert caller.ok({"path": f"/_api/{api}/open", "service": "execute-api", "signed": signed})[0] == 403
        assert caller.ok({"path": f"/_api/{api}/signed", "service": "execute-api"})[::2] == [200, "behind the wall"]
        for kind in ("HTTP", "HTTP_PROXY"):
            check_rest_api(server, caller, kind, uri)
    finally:
        http.delete_api(ApiId=api)
        backend.shutdown()
        backend.server_close()


def check_rest_api(server, caller, kind: str, uri: str) -> None:
    rest = server.client("apigateway")
    made = rest.create_rest_api(name="proxy")
    api, plan = made["id"], None
    key = rest.create_api_key(name="proxy", enabled=True)
    try:
        for path, options in (("open", {}), ("signed", {"authorizationType": "AWS_IAM"}), ("keyed", {"apiKeyRequired": True})):
            resource = rest.create_resource(restApiId=api, parentId=made["rootResourceId"], pathPart=path)["id"]
            place = {"restApiId": api, "resourceId": resource, "httpMethod": "GET"}
            rest.put_method(**place, **({"authorizationType": "NONE"} | options))
            rest.put_integration(**place, type=kind, integrationHttpMethod="GET", uri=uri)
            if kind == "HTTP":
                rest.put_method_response(**place, statusCode="200")
                rest.put_integration_response(**place, statusCode="200")
        rest.create_deployment(restApiId=api, stageName="dev")
        # One request a month.
        plan = rest.create_usage_plan(name="proxy", apiStages=[{"apiId": api, "stage": "dev"}], quota={"limit": 1, "period": "MONTH"})["id"]
        rest.create_usage_plan_key(usagePlanId=plan, keyId=key["id"], keyType="API_KEY")
        place, headers = f"/_api/{api}/dev", {"x-api-key": key["value"]}
        outside = urls.Url(server, f"http://127.0.0.1:{server.port}/")
        reply = outside.request("GET", f"{place}/open")
        assert (reply.status, reply.text) == (200, "behind the wall"), kind
        ask = lambda path, **options: caller.ok({"path": f"{place}/{path}", "service": "execute-api"} | options)  # noqa: E731
        for signed in (False, True):
            assert ask("open", signed=signed)[0] == 403, kind
            assert ask("keyed", signed=signed, headers=headers)[0] == 403, "a key does not say who asks"
        assert ask("signed")[::2] == [200, "behind the wall"], kind
        assert ask("signed", signed=False)[0] == 403, kind
        # What was refused has not used the quota.
        assert [outside.request("GET", f"{place}/keyed", headers=headers).status for _ in range(2)] == [200, 429], kind
    finally:
        rest.delete_rest_api(restApiId=api)
        rest.delete_api_key(apiKey=key["id"])
        if plan:
            rest.delete_usage_plan(usagePlanId=plan)


# Reads its credentials when it is imported, which takes long enough to be done once for many instances. It signs by itself, because
# botocore leaves things behind that instances must not share.
IMPORTS = """
    import datetime, hashlib, hmac, http.client, os, time
    from urllib.parse import urlsplit

    time.sleep(0.1)
    inside = urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    imported = [os.environ[name] for name in names]

    def sign(path, key_id, secret, token):
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        signed = {"host": inside, "x-amz-date": now, "x-amz-security-token": token}
        lines = [f"{name}:{value}" for name, value in signed.items()]
        request = "\\n".join(["GET", path, "", *lines, "", ";".join(signed), hashlib.sha256(b"").hexdigest()])
        scope = [now[:8], os.environ["AWS_REGION"], "lambda", "aws4_request"]
        text = "\\n".join(["AWS4-HMAC-SHA256", now, "/".join(scope), hashlib.sha256(request.encode()).hexdigest()])
        key = ("AWS4" + secret).encode()
        for part in [*scope, text]:
            key = hmac.new(key, part.encode(), "sha256").digest()
        authorization = f"AWS4-HMAC-SHA256 Credential={key_id}/{'/'.join(scope)}, SignedHeaders={';'.join(signed)}, Signature={key.hex()}"
        return {**signed, "Authorization": authorization}

    def handler(event, context):
        answers = []
        time.sleep(event["seconds"])
        for credentials in (imported, [os.environ[name] for name in names]):
            connection = http.client.HTTPConnection(inside, timeout=8)
            connection.request("GET", event["path"], None, sign(event["path"], *credentials))
            response = connection.getresponse()
            answers.append([response.status, response.read().decode(), credentials[0]])
        return answers
"""


@pytest.mark.covers("runtime:credentials inside", client="raw HTTP")
@pytest.mark.timeout(240)
def test_what_was_imported_for_many_instances_signs_too(new_server):
    server = new_server(environment=COLD).start()
    role = Role(server, "signer")
    role.put(policy(*BOTH))
    url = urls.create(server, functions.create(server, ECHO).name, public=False, auth_type="AWS_IAM")
    caller = functions.create(server, {"app.py": IMPORTS}).update(Role=role.arn)
    event = {"path": f"/_url/{url.id}/", "seconds": 0.05}
    with ThreadPoolExecutor(4) as threads:

        def call_until_forked() -> None:
            deadline, forked = time.monotonic() + 60 * host.SLOWNESS, 0
            while not forked:
                assert time.monotonic() < deadline, "no instance was forked after its import"
                for answer in threads.map(lambda _: caller.invoke(event), range(4)):
                    assert answer.error is None, answer.body
                    (status, text, imported), (own_status, own_text, own) = answer.json
                    assert (status, own_status) == (200, 200), (text, own_text)
                    if answer.report.get("Start", "").startswith("version zygote"):
                        assert imported == own, "what reads them when it is imported has them for good"
                        forked += 1

        call_until_forked()
        # Sessions end with their role: nothing is forked of what imported with the dead one's.
        role.delete()
        Role(server, "signer").put(policy(*BOTH))
        call_until_forked()


@pytest.mark.covers("runtime:credentials inside", client="botocore")
def test_a_restarted_server_knows_what_it_issued(new_server):
    server = new_server().start()
    role = Role(server, "signer")
    role.put(policy(*BOTH))
    source = "import os\ndef handler(event, context): return [os.environ[name] for name in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN')]"
    caller = functions.create(server, {"app.py": source}).update(Role=role.arn)
    session = signing.credentials(dict(zip(("AccessKeyId", "SecretAccessKey", "SessionToken"), caller.ok())))
    url = urls.create(server, functions.create(server, ECHO).name, public=False, auth_type="AWS_IAM")
    server.kill()
    server.start()
    again = urls.Url(server, f"http://{url.host.rsplit(':', 1)[0]}:{server.port}/")
    reply = again.request(headers=signing.sign(session, f"http://{again.host}/"))
    assert reply.status == 200, reply.text
    assert caller.ok() != list((session.access_key, session.secret_key, session.token)), "no instance outlives its server"
