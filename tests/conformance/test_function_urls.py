"""Function URLs as HTTP clients see them: events, answers, errors, and what belongs to a URL."""

from __future__ import annotations

import base64
import json
import re
import time

import pytest

from support import functions, urls

FORBIDDEN = "Forbidden. For troubleshooting Function URL authorization issues, see: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"

# Echoes its event with the id its context has; a request body, as JSON, is answered instead, and some paths do something else.
ECHO = """
    import base64, json, time

    def handler(event, context):
        path = event["rawPath"]
        if path == "/fail":
            raise ValueError("as asked")
        if path == "/exit":
            import os; os._exit(3)
        if path == "/sleep":
            time.sleep(60)
        if path == "/large":
            return "x" * (7 << 20)
        if path == "/answer":
            body = event["body"]
            return json.loads(base64.b64decode(body) if event["isBase64Encoded"] else body)
        return event | {"awsRequestId": context.aws_request_id, "invokedFunctionArn": context.invoked_function_arn}
"""


@pytest.fixture(scope="module")
def echo(shared_server):
    function = functions.create(shared_server.get(), {"app.py": ECHO}, Timeout=2)
    yield function
    function.delete()


@pytest.fixture(scope="module")
def url(echo):
    return urls.create(echo.server, echo.name)


def answer(url, value) -> urls.Reply:
    """What a client gets when the function returns this."""
    return url.request("POST", "/answer", headers={"Content-Type": "application/json"}, body=json.dumps(value).encode())


@pytest.mark.covers("operation:Function URLs", client="HTTP")
def test_the_event_is_payload_format_2(server, url):
    reply = url.request("GET", "/a%2Fb/../c%C3%A4?x=1&x=2&y=%20+z", headers=[("X-One", "1"), ("X-One", "2"), ("Cookie", "a=1; b=2"), ("User-Agent", "me")])
    assert (reply.status, reply.header("content-type")) == (200, "application/json")
    event = reply.json
    # Members that are not there are as telling as those that are.
    assert set(event) - {"awsRequestId", "invokedFunctionArn"} == {
        "version", "routeKey", "rawPath", "rawQueryString", "cookies", "headers", "queryStringParameters", "requestContext", "isBase64Encoded"
    }
    assert (event["version"], event["routeKey"], event["rawPath"]) == ("2.0", "$default", "/a%2Fb/../c%C3%A4")
    assert event["rawQueryString"] == "x=1&x=2&y=%20+z"
    assert event["queryStringParameters"] == {"x": "1,2", "y": "  z"}
    assert event["cookies"] == ["a=1", "b=2"] and "cookie" not in event["headers"]
    headers = event["headers"]
    assert (headers["x-one"], headers["host"], headers["user-agent"]) == ("1,2", url.host, "me")
    assert (headers["x-forwarded-for"], headers["x-forwarded-port"], headers["x-forwarded-proto"]) == ("127.0.0.1", str(server.port), "http")
    context = event["requestContext"]
    now = time.time()
    assert abs(context.pop("timeEpoch") / 1000 - now) < 60
    assert time.strptime(context.pop("time"), "%d/%b/%Y:%H:%M:%S +0000")
    request_id = context.pop("requestId")
    assert reply.header("x-amzn-requestid") == request_id == event["awsRequestId"]
    assert reply.header("x-amzn-trace-id").startswith(headers["x-amzn-trace-id"])
    domain = url.host.rsplit(":", 1)[0]
    assert context == {
        "accountId": "anonymous", "apiId": url.id, "domainName": domain, "domainPrefix": url.id, "routeKey": "$default", "stage": "$default",
        "http": {"method": "GET", "path": "/a%2Fb/../c%C3%A4", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "me"},
    }


@pytest.mark.covers("operation:Function URLs", client="HTTP")
def test_bodies_are_text_or_base64(url):
    text = url.request("POST", headers={"Content-Type": "text/plain; charset=utf-8"}, body="grüß".encode()).json
    assert (text["body"], text["isBase64Encoded"]) == ("grüß", False)
    for headers in ({"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": "image/png"}, {}):
        event = url.request("POST", headers=headers, body=b"\x00\xff").json
        assert (base64.b64decode(event["body"]), event["isBase64Encoded"]) == (b"\x00\xff", True)
    assert "body" not in url.request("POST", headers={"Content-Type": "text/plain"}, body=b"").json


@pytest.mark.covers("operation:Function URLs", client="HTTP")
def test_answers_are_inferred(url):
    for value, text in [({"a": 1}, '{"a": 1}'), ([1, 2], "[1, 2]"), ("plain", "plain"), (5, "5"), (True, "true"), (None, "null")]:
        reply = answer(url, value)
        assert (reply.status, reply.header("content-type")) == (200, "application/json")
        assert reply.text in (text, json.dumps(value, separators=(",", ":")))
    given = {"statusCode": "418", "headers": {"Content-Type": "text/x-tea", "X-Number": 5}, "cookies": ["a=1; Secure", "b=2"], "body": "dGVh", "isBase64Encoded": True}
    reply = answer(url, given)
    assert (reply.status, reply.body, reply.header("content-type"), reply.header("x-number")) == (418, b"tea", "text/x-tea", "5")
    assert reply.headers.get_all("set-cookie") == ["a=1; Secure", "b=2"]
    assert (answer(url, {"statusCode": 204}).status, answer(url, {"statusCode": 404, "body": "none"}).text) == (204, "none")
    head = url.request("HEAD", "/")
    assert (head.status, head.body) == (200, b"") and int(head.header("content-length")) > 100


@pytest.mark.covers("operation:Function URLs", client="curl")
@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_answers_without_content(url, version):
    asked = url.curl(version, "--head")
    assert asked.returncode == 0, asked.stderr
    assert int(re.search(rb"content-length: (\d+)", asked.stdout.lower())[1]) > 100, "of the body that a GET would get"
    for status in (204, 304):
        body = json.dumps({"statusCode": status, "body": "not to be seen"})
        got = url.curl(version, "--include", "--header", "Content-Type: application/json", "--data", body, target="/answer")
        assert got.returncode == 0, (status, got.stderr)
        head, _, rest = got.stdout.partition(b"\r\n\r\n")
        assert (head.split()[1], rest) == (str(status).encode(), b"")


@pytest.mark.covers("operation:Function URLs", client="HTTP")
@pytest.mark.parametrize("wrong", [
    {"statusCode": 99}, {"statusCode": 1000}, {"statusCode": "no"}, {"statusCode": 200, "headers": {"a": "b\r\nset-cookie: evil=1"}},
    {"statusCode": 200, "headers": {"a\r\nb": "c"}}, {"statusCode": 200, "cookies": ["a=b\r\nx: y"]}, {"statusCode": 200, "headers": {"a": ["b"]}},
    {"statusCode": 200, "body": "%%%", "isBase64Encoded": True}, {"statusCode": 200, "body": {"an": "object"}},
])
def test_answers_that_are_no_response_become_502(url, wrong):
    reply = answer(url, wrong)
    assert (reply.status, reply.body) == (502, b"Internal Server Error")
    assert not [name for name in reply.headers if name.lower() in ("set-cookie", "x", "a", "b")]


@pytest.mark.covers("operation:Function URLs", client="HTTP")
@pytest.mark.parametrize("path", ["/fail", "/exit", "/sleep", "/large"])
def test_failures_of_the_function_become_502(url, path):
    # That a timeout is 502 and not 504 follows from its being an error of the function like others; AWS does not say.
    reply = url.request("GET", path)
    assert (reply.status, reply.body, reply.header("content-type")) == (502, b"Internal Server Error", "application/json")
    assert reply.header("x-amzn-requestid")


@pytest.mark.covers("operation:Function URLs", client="HTTP")
def test_who_may_call(server, client, deploy):
    name = deploy({"app.py": "def handler(event, context): return 'in'"}).name
    url = urls.create(server, name, public=False)

    def refused():
        reply = url.request()
        assert reply.header("x-amzn-errortype") == "AccessDeniedException"
        return (reply.status, reply.json) == (403, {"Message": FORBIDDEN})

    assert refused()
    for statement in urls.PUBLIC:
        # One of the two is not enough.
        assert refused()
        client.add_permission(FunctionName=name, **statement)
    assert (url.request().status, url.request().text) == (200, "in")
    client.update_function_url_config(FunctionName=name, AuthType="AWS_IAM")
    assert refused()
    client.update_function_url_config(FunctionName=name, AuthType="NONE")
    assert url.request().status == 200
    client.remove_permission(FunctionName=name, StatementId=urls.PUBLIC[1]["StatementId"])
    assert refused()


@pytest.mark.covers("operation:Function URLs", client="HTTP")
def test_a_url_nobody_made(server, client, url, deploy):
    function = deploy({"app.py": "def handler(event, context): return 'in'"})
    own = urls.create(server, function.name)
    other_id = url.host.replace(url.id, "0" * 32)

    def unknown(host):
        reply = url.request(host=host)
        return (reply.status, reply.json, reply.header("x-amzn-errortype")) == (403, {"Message": None}, "AccessDeniedException")

    assert unknown(other_id) and unknown(url.host.replace("us-east-1", "eu-west-1"))
    assert own.request().status == 200
    client.delete_function_url_config(FunctionName=function.name)
    assert unknown(own.host)
    again = urls.Url(server, client.create_function_url_config(FunctionName=function.name, AuthType="NONE")["FunctionUrl"])
    assert again.request().status == 200
    function.delete()
    assert unknown(again.host)
    # A name that only looks like ours is a foreign page's, and gets nothing of the API either.
    reply = url.request(host=f"{url.id}.lambda-url.us-east-1.evil.example")
    assert reply.status == 403 and "Host" in reply.json["Message"]


@pytest.mark.covers("operation:Function URLs", client="HTTP")
def test_the_path_form(server, url):
    reply = url.request("GET", f"/_url/{url.id}/a%2Fb?c=d", host=f"127.0.0.1:{server.port}")
    event = reply.json
    assert (event["rawPath"], event["rawQueryString"], event["requestContext"]["domainPrefix"]) == ("/a%2Fb", "c=d", url.id)
    # A page that came so may not act as a page of the API's own host.
    assert reply.header("content-security-policy").startswith("sandbox ")
    assert url.request("GET", f"/_url/{url.id}", host=f"localhost:{server.port}").json["rawPath"] == "/"
    assert url.request("GET", f"/_url/{'0' * 32}/", host=f"localhost:{server.port}").json == {"Message": None}
    assert url.request("GET", f"/_url/{url.id}/", host="evil.example").status == 403
    # With the host form it is a path like any other.
    assert url.request("GET", f"/_url/{url.id}/").json["rawPath"] == f"/_url/{url.id}/"


@pytest.mark.covers("operation:Function URLs", client="HTTP")
def test_throttles(server, client, deploy):
    name = deploy({"app.py": "def handler(event, context): return 'in'"}).name
    url = urls.create(server, name)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    reply = url.request()
    assert (reply.status, reply.header("x-amzn-errortype")) == (429, "TooManyRequestsException")
    assert reply.json == {"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded", "Type": "User", "message": "Rate Exceeded."}
    client.delete_function_concurrency(FunctionName=name)
    assert url.request().status == 200


@pytest.mark.covers("operation:Function URLs", client="HTTP")
def test_too_large_a_request(url):
    headers = {"Content-Type": "text/plain"}
    reply = url.request("POST", headers=headers, body=b"x" * (6 << 20))
    assert (reply.status, reply.header("x-amzn-errortype")) == (413, "RequestEntityTooLargeException")
    # Base64 makes an event of this one that is too large.
    assert url.request("POST", body=b"x" * (5 << 20)).status == 413
    assert len(url.request("POST", headers=headers, body=b"x" * (2 << 20)).json["body"]) == 2 << 20


@pytest.mark.covers("operation:Function URLs", client="HTTP")
def test_urls_of_aliases(server, client, deploy):
    source = "import os\ndef handler(event, context): return os.environ['AWS_LAMBDA_FUNCTION_VERSION'] + ' ' + context.invoked_function_arn.split(':')[-1]"
    function = deploy({"app.py": source})
    name = function.name
    for number in "12":
        client.update_function_configuration(FunctionName=name, Timeout=10 + int(number))
        function.wait("function_updated_v2")
        assert client.publish_version(FunctionName=name)["Version"] == number
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    url = urls.create(server, name, qualifier="live")
    assert url.request().text == "1 live"
    client.update_alias(FunctionName=name, Name="live", RoutingConfig={"AdditionalVersionWeights": {"2": 1.0}})
    assert url.request().text == "2 live"
    client.delete_alias(FunctionName=name, Name="live")
    assert url.request().json == {"Message": None}


@pytest.mark.covers("operation:Function URLs", client="HTTP")
def test_a_websocket_is_refused_with_a_sentence(url):
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    reply = url.request(headers=headers)
    assert reply.status == 400 and "WebSocket" in reply.json["message"]
    # An offer of HTTP/2 may be passed over, as curl makes it.
    assert url.request(headers={"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}).status == 200


@pytest.mark.covers("operation:Function URLs", client="HTTP")
def test_urls_outlive_a_kill(new_server):
    server = new_server().start()
    name = functions.create(server, {"app.py": "def handler(event, context): return 'in'"}).name
    url = urls.create(server, name)
    server.kill()
    server.start()
    # The port is another one; the id, its index and the policy are the same.
    assert url.request().text == "in"
