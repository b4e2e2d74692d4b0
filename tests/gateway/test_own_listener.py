"""A listener of the gateway's own: what answers there and what never does, names, bounds, reload, and the end."""

import json
import signal
import socket
import subprocess
import threading
import urllib.request

import pytest

from support import functions, gateway, host
from support.errors import arn

ECHO = """
    import time

    def handler(event, context):
        if event["rawPath"] == "/slow":
            print("begun")
            time.sleep(3)
        return {"path": event["rawPath"], "headers": event["headers"], "domain": event["requestContext"]["domainName"]}
"""

# A request of each service and protocol that the API has: method, target, headers, body.
MANAGEMENT = {
    "Lambda": ("GET", "/2015-03-31/functions/", {}, b""),
    "Lambda invoke": ("POST", "/2015-03-31/functions/echo/invocations", {}, b"{}"),
    "HTTP APIs": ("GET", "/v2/apis", {}, b""),
    "REST APIs": ("GET", "/restapis", {}, b""),
    "SQS": ("POST", "/", {"X-Amz-Target": "AmazonSQS.ListQueues", "Content-Type": "application/x-amz-json-1.0"}, b"{}"),
    "SQS query": ("POST", "/", {"Content-Type": "application/x-www-form-urlencoded"}, b"Action=ListQueues&Version=2012-11-05"),
    "logs": ("POST", "/", {"X-Amz-Target": "Logs_20140328.DescribeLogGroups", "Content-Type": "application/x-amz-json-1.1"}, b"{}"),
    "parameters": ("POST", "/", {"X-Amz-Target": "AmazonSSM.DescribeParameters", "Content-Type": "application/x-amz-json-1.1"}, b"{}"),
    "secrets": ("POST", "/", {"X-Amz-Target": "secretsmanager.ListSecrets", "Content-Type": "application/x-amz-json-1.1"}, b"{}"),
    "metrics": ("POST", "/service/GraniteServiceVersion20100801/operation/ListMetrics", {"Smithy-Protocol": "rpc-v2-cbor"}, b"\xa0"),
    "STS": ("GET", "/?Action=GetCallerIdentity&Version=2011-06-15", {}, b""),
    "IAM": ("GET", "/?Action=ListRoles&Version=2010-05-08", {}, b""),
    "S3": ("GET", "/", {"Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"}, b""),
    "S3 object": ("PUT", "/bucket/key", {}, b"x"),
    "ours": ("GET", "/lamplight/v1/runtimes", {}, b""),
    "health": ("GET", "/health", {}, b""),
    "ready": ("GET", "/ready", {}, b""),
    "metrics page": ("GET", "/metrics", {}, b""),
}


@pytest.fixture
def public(new_server, work_directory, tmp_path_factory):
    return gateway.start(new_server, work_directory / tmp_path_factory.mktemp("own").name)


@pytest.mark.covers("gateway:listener of its own", client="HTTP")
def test_the_management_api_never_answers_there(public):
    function = functions.create(public.server, {"app.py": ECHO}, name="echo")
    url = gateway.url_of(public, function)
    assert gateway.port_in(url) == public.port != public.server.port
    own = url.removeprefix("http://").rstrip("/")
    for name, (method, target, headers, body) in MANAGEMENT.items():
        # By address, by name, and by a name that only the API would take.
        for name_of_host in (f"127.0.0.1:{public.port}", "localhost", f"localhost:{public.server.port}", "bucket.s3.us-east-1.localhost"):
            head = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
            request = f"{method} {target} HTTP/1.1\r\nHost: {name_of_host}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n{head}\r\n"
            answer = public.raw(request.encode() + body)
            assert answer.startswith(b"HTTP/1.1 404"), (name, name_of_host, answer)
            assert answer.endswith(b'{"message":"Not Found"}'), (name, name_of_host, answer)
    # Nor by way of a function's name: there it is a path like any other.
    request = f"GET /2015-03-31/functions/ HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\n\r\n"
    assert b'"path":"/2015-03-31/functions/"' in public.raw(request.encode()).replace(b": ", b":")
    # And the API's own listener does not serve what the other one is for.
    with socket.create_connection(("127.0.0.1", public.server.port), timeout=20) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\n\r\n".encode())
        assert b'"path"' not in gateway.read_to_end(connection)
    assert public.server.client().list_functions()["Functions"]


@pytest.mark.covers("gateway:public URL")
def test_the_public_url_is_what_clients_get_and_can_change(public):
    function = functions.create(public.server, {"app.py": ECHO})
    asked = gateway.url_of(public, function)
    assert ".lambda-url.us-east-1.localhost:" in asked
    listen = public.configuration["gateway"]
    public.write(gateway=f'{listen}\npublic_url = "http://apps.example.com:{public.port}"')
    assert "gateway.public_url" in public.reload()
    client = public.server.client()
    url = client.get_function_url_config(FunctionName=function.name)["FunctionUrl"]
    assert url == asked.replace("localhost", "apps.example.com")
    assert client.list_function_url_configs(FunctionName=function.name)["FunctionUrlConfigs"][0]["FunctionUrl"] == url
    answered = json.loads(public.curl(f"{url}x").stdout)
    assert answered["path"] == "/x" and answered["domain"].endswith(".apps.example.com")
    # A wrong one changes nothing.
    public.write(gateway=f'{listen}\npublic_url = "apps.example.com"')
    assert "gateway.public_url" in public.reload("not taken over")
    assert client.get_function_url_config(FunctionName=function.name)["FunctionUrl"] == url


@pytest.mark.covers("http-api:Requests: custom domains", client="HTTP")
def test_a_custom_domain_may_be_the_gateways_own_name(new_server, work_directory, tmp_path_factory):
    # A name in gateway.acme.domains is one of these, too: it is what a custom domain gets its certificate by.
    directory = work_directory / tmp_path_factory.mktemp("domain").name
    public = gateway.start(new_server, directory, gateway='public_url = "http://pets.example.com"')
    function = functions.create(public.server, {"app.py": ECHO})
    source = "arn:aws:execute-api:us-east-1:000000000000:*"
    public.server.client().add_permission(FunctionName=function.name, StatementId="api", Action="lambda:InvokeFunction", Principal="apigateway.amazonaws.com", SourceArn=source)
    apis = public.server.client("apigatewayv2")
    api = apis.create_api(Name="pets", ProtocolType="HTTP", Target=arn(function.name))["ApiId"]

    def get(name):
        return public.raw(f"GET /v1/pets HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())

    assert get("pets.example.com").startswith(b"HTTP/1.1 404")
    apis.create_domain_name(DomainName="pets.example.com", DomainNameConfigurations=[{"EndpointType": "REGIONAL"}])
    apis.create_api_mapping(DomainName="pets.example.com", ApiId=api, Stage="$default", ApiMappingKey="v1")
    answered = get("pets.example.com")
    assert answered.startswith(b"HTTP/1.1 200") and json.loads(answered.split(b"\r\n\r\n")[1])["domain"] == "pets.example.com", answered
    assert get("cats.example.com").startswith(b"HTTP/1.1 404")


@pytest.mark.covers("gateway:bounds", client="curl")
def test_bounds_hold_and_change_while_it_runs(public, tmp_path):
    function = functions.create(public.server, {"app.py": ECHO})
    url = gateway.url_of(public, function)
    body = tmp_path / "body"
    body.write_bytes(b"x" * (3 << 20))
    assert public.status(url, "--data-binary", f"@{body}") == 200
    public.write(gateway_limits="body_mib = 2\nhead_kib = 8\nhead_seconds = 1\nconnections_per_address = 2")
    assert "taken_over=4" in public.reload()
    assert public.status(url, "--data-binary", f"@{body}") == 413
    assert public.status(url, "--header", "Transfer-Encoding: chunked", "--data-binary", f"@{body}") == 413
    assert public.status(url, "--http2-prior-knowledge", "--data-binary", f"@{body}") == 413
    assert public.status(url, "--header", f"X-Long: {'x' * 9_000}") == 431
    with socket.create_connection(("127.0.0.1", public.port), timeout=60) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: ")
        with socket.create_connection(("127.0.0.1", public.port), timeout=60) as second:
            second.sendall(b"GET / HTTP/1.1\r\n")
            assert public.raw(b"") == b"", "the third is closed without a word"
            assert gateway.read_to_end(second) == b"" and gateway.read_to_end(slow) == b""
    assert public.status(url) == 200
    public.write(gateway_limits="bodies_mib = 1")
    public.reload()
    for _ in range(3):  # What is refused or answered gives its room back.
        assert public.status(url, "--data-binary", f"@{body}") == 503
        assert public.status(url, "--data-binary", "x" * 100_000) == 200
    public.write(gateway_limits="idle_seconds = 0")
    assert "nothing could ever be answered" in public.reload("not taken over")


@pytest.mark.covers("gateway:drain", client="curl")
@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_the_end_answers_what_is_in_flight(public, version):
    function = functions.create(public.server, {"app.py": ECHO}, Timeout=20)
    url = gateway.url_of(public, function)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(public.curl(f"{url}slow", version, "--include")))
    asking.start()
    wait_until_begun(public.server, function.name)
    public.server.process.send_signal(signal.SIGTERM)
    asking.join(60)
    assert public.server.stop() == 0
    answer = answers[0]
    assert answer.returncode == 0 and b" 200" in answer.stdout.splitlines()[0] and b"/slow" in answer.stdout, answer
    if version == "--http1.1":
        assert b"connection: close" in answer.stdout.lower()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", public.port), timeout=5)


def wait_until_begun(server, name: str) -> None:
    group = f"/aws/lambda/{name}"
    logs = server.client("logs")

    def begun():
        groups = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        return groups and any("begun" in event["message"] for event in logs.filter_log_events(logGroupName=group)["events"])

    host.eventually(begun, "the function has begun")


def test_a_listener_that_cannot_be_is_refused_with_a_sentence(new_server, work_directory):
    for flag, said in [("443", "gateway.listen"), ("127.0.0.1:99999", "gateway.listen")]:
        server = new_server(arguments=("--gateway-listen", flag))
        with pytest.raises(AssertionError, match=said):
            server.start()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = new_server(arguments=("--gateway-listen", f"127.0.0.1:{taken.getsockname()[1]}"))
        with pytest.raises(AssertionError, match="failed to listen"):
            server.start()


@pytest.mark.covers("gateway:HTTP/2", client="curl")
def test_the_api_speaks_http2_in_clear_text_too(server):
    command = ["curl", "--silent", "--http2-prior-knowledge", "--write-out", "%{http_version}", f"{server.endpoint}/health"]
    answered = subprocess.run(command, capture_output=True, check=True).stdout
    assert answered.startswith(b"{") and answered.endswith(b"}2")
    with urllib.request.urlopen(f"{server.endpoint}/health", timeout=20) as answer:
        assert answer.status == 200
