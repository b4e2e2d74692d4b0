"""The platform's API from inside a function: it may invoke and ask who it is, by its own identity, and nothing else."""

import json

import pytest

# A signed request is not needed: the listener itself says who calls.
CALLER = """
    import json, os, urllib.request, urllib.error
    def call(method, path, body=None, headers={}):
        request = urllib.request.Request(os.environ["AWS_ENDPOINT_URL"] + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return [answer.status, answer.read().decode()]
        except urllib.error.HTTPError as error:
            return [error.code, error.read().decode()]
    def handler(event, context):
        return call(event["method"], event["path"], event.get("body", "").encode() or None, event.get("headers", {}))
"""


@pytest.mark.covers("runtime:endpoint inside", client="raw HTTP")
def test_a_function_invokes_a_function(deploy):
    callee = deploy({"app.py": "def handler(event, context): return {'got': event}"})
    caller = deploy({"app.py": CALLER})
    status, body = caller.ok({"method": "POST", "path": f"/2015-03-31/functions/{callee.name}/invocations", "body": '{"a": 1}'})
    assert (status, json.loads(body)) == (200, {"got": {"a": 1}})


@pytest.mark.covers("runtime:endpoint inside", client="raw HTTP")
@pytest.mark.covers("wall:other functions", client="raw HTTP")
def test_everything_else_is_access_denied(deploy, client):
    secret = deploy({"app.py": "def handler(event, context): return 1"}, variables={"SECRET": "xyzzy"})
    caller = deploy({"app.py": CALLER})
    # With another region and another account's signature the identity stays the listener's.
    forged = {"Authorization": "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=00"}
    for method, path in [
        ("GET", f"/2015-03-31/functions/{secret.name}"),
        ("GET", f"/2015-03-31/functions/{secret.name}/configuration"),
        ("GET", "/2015-03-31/functions"),
        ("PUT", f"/2015-03-31/functions/{secret.name}/configuration"),
        ("DELETE", f"/2015-03-31/functions/{secret.name}"),
        ("POST", f"/2015-03-31/functions/{secret.name}/versions"),
        ("GET", "/lamplight/v1/usage"),
        ("GET", f"/lamplight/v1/invocations?function={secret.name}"),
    ]:
        for headers in ({}, forged):
            status, body = caller.ok({"method": method, "path": path, "headers": headers, "body": "{}" if method in ("PUT", "POST") else ""})
            assert status == 403, (method, path, status, body)
            assert "xyzzy" not in body
    headers = {"X-Amz-Target": "Logs_20140328.FilterLogEvents", "Content-Type": "application/x-amz-json-1.1"}
    status, body = caller.ok({"method": "POST", "path": "/", "headers": headers, "body": json.dumps({"logGroupName": f"/aws/lambda/{secret.name}"})})
    assert status in (400, 403) and "AccessDenied" in body, (status, body)
    assert client.get_function(FunctionName=secret.name)["Configuration"]["FunctionName"] == secret.name


@pytest.mark.covers("runtime:endpoint inside", client="raw HTTP")
@pytest.mark.covers("operation:GetCallerIdentity", client="raw HTTP")
def test_a_function_asks_who_it_is(deploy):
    caller = deploy({"app.py": CALLER})
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/sts/aws4_request, SignedHeaders=host, Signature=00"}
    status, body = caller.ok({"method": "POST", "path": "/", "headers": headers, "body": "Action=GetCallerIdentity&Version=2011-06-15"})
    assert status == 200, body
    assert "000000000000" in body and caller.name in body
