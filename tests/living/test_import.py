"""`import --from-aws`: a function from one server to another, and over TLS with a signature that botocore's own code makes again."""

import hashlib
import hmac
import http.server
import json
import re
import ssl
import subprocess
import threading
import urllib.request

import pytest

from support.functions import Function, create, zip_of
from support.server import BINARY, PLAIN_ENVIRONMENT

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
CODE = "import os, shared\ndef handler(event, context): return [{!r}, os.environ.get('STAGE'), shared.VALUE, context.function_version]\n"


def lamplight(target, *arguments, expected=0, **more):
    environment = {**PLAIN_ENVIRONMENT, "LAMPLIGHT_ENDPOINT": target.endpoint, "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": SECRET, **more}
    done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == expected, f"lamplight {arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def source(work_directory):
    """A server with a function of four versions, three of them named by aliases, and two layers."""
    from support.server import Server

    server = Server(work_directory / "import-source").start()
    client = server.client()
    layers = []
    for number in range(2):
        layer = client.publish_layer_version(LayerName=f"shared-{number}", Description="shared", CompatibleRuntimes=["python3.11"], Content={"ZipFile": zip_of({f"python/shared{'' if number == 0 else '_more'}.py": "VALUE = 'layer'"})})
        layers.append(layer["LayerVersionArn"])
    function = create(server, {"app.py": CODE.format("one")}, name="orders", variables={"STAGE": "one"}, Layers=layers, Tags={"team": "blue"}, MemorySize=256, Timeout=7, Description="the first")
    for text in ("one", "two", "three", "four"):
        function.update({"app.py": CODE.format(text)}, Environment={"Variables": {"STAGE": text}}, Description=f"the {text}")
        client.publish_version(FunctionName="orders")
    function.update({"app.py": CODE.format("latest")}, Environment={"Variables": {}}, Description="")
    client.create_alias(FunctionName="orders", Name="live", FunctionVersion="4", RoutingConfig={"AdditionalVersionWeights": {"2": 0.0}})
    client.create_alias(FunctionName="orders", Name="old", FunctionVersion="2", Description="two")
    client.create_alias(FunctionName="orders", Name="next", FunctionVersion="$LATEST")
    client.put_function_concurrency(FunctionName="orders", ReservedConcurrentExecutions=5)
    yield server
    server.stop()
    server.assert_nothing_left()


def check_imported(target, name):
    client = target.client()
    function = Function(target, name)
    assert function.ok() == ["latest", None, "layer", "$LATEST"]
    assert function.ok(Qualifier="live") == ["four", "four", "layer", "2"]
    assert function.ok(Qualifier="old") == ["two", "two", "layer", "1"]
    assert function.ok(Qualifier="next")[0] == "latest"
    got = client.get_function(FunctionName=name)
    configuration = got["Configuration"]
    assert configuration["MemorySize"] == 256 and configuration["Timeout"] == 7 and configuration["Description"] == ""
    assert got["Tags"] == {"team": "blue"} and got["Concurrency"] == {"ReservedConcurrentExecutions": 5}
    assert len(configuration["Layers"]) == 2
    layer = client.get_layer_version_by_arn(Arn=configuration["Layers"][0]["Arn"])
    assert layer["Description"] == "shared" and layer["CompatibleRuntimes"] == ["python3.11"]
    alias = client.get_alias(FunctionName=name, Name="live")
    assert alias["FunctionVersion"] == "2" and alias["RoutingConfig"]["AdditionalVersionWeights"] == {"1": 0.0}
    assert client.get_alias(FunctionName=name, Name="old")["Description"] == "two"
    assert client.get_function_configuration(FunctionName=name, Qualifier="1")["Description"] == "the two"


@pytest.mark.covers("living:import", client="lamplight")
def test_from_one_server_to_another(source, server):
    said = json.loads(lamplight(server, "import", "--from-aws", "orders", "--endpoint-url", source.endpoint, "--json"))
    assert said["Versions"] == {"2": "1", "4": "2"} and sorted(said["Aliases"]) == ["live", "next", "old"]
    check_imported(server, "orders")
    # The layers are there already and are not published twice.
    text = lamplight(server, "import", "--from-aws", "orders", "--endpoint-url", source.endpoint, "--name", "orders-2")
    assert "version 4 is version 2 here" in text and "not copied: versions that no alias names" in text
    check_imported(server, "orders-2")
    assert len(server.client().list_layer_versions(LayerName="shared-0")["LayerVersions"]) == 1
    for name in ("orders", "orders-2"):
        server.client().delete_function(FunctionName=name)


@pytest.mark.covers("living:import", client="lamplight")
def test_what_goes_wrong_is_said_and_leaves_nothing(source, server):
    where = ("--endpoint-url", source.endpoint)
    assert "has no function absent" in lamplight(server, "import", "--from-aws", "absent", *where, expected=2)
    create(server, {"app.py": "def handler(event, context): return 1"}, name="taken")
    said = lamplight(server, "import", "--from-aws", "orders", *where, "--name", "taken", expected=2)
    assert "there is a function taken here already" in said and "--name NAME" in said
    assert Function(server, "taken").ok() == 1
    server.client().delete_function(FunctionName="taken")
    assert "there are no credentials" in lamplight(server, "import", "--from-aws", "orders", *where, expected=2, AWS_SECRET_ACCESS_KEY="")
    assert "failed to ask http://127.0.0.1:1" in lamplight(server, "import", "--from-aws", "orders", "--endpoint-url", "http://127.0.0.1:1", expected=2)
    # More than the other side may reserve: the function that was begun goes again.
    lowest = server.client().get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
    source.client().put_function_concurrency(FunctionName="orders", ReservedConcurrentExecutions=900)
    other = create(server, {"app.py": "def handler(event, context): return 1"}, name="greedy")
    server.client().put_function_concurrency(FunctionName="greedy", ReservedConcurrentExecutions=lowest - 200)
    try:
        assert "the server refused" in lamplight(server, "import", "--from-aws", "orders", *where, expected=2)
        with pytest.raises(server.client().exceptions.ResourceNotFoundException):
            server.client().get_function(FunctionName="orders")
    finally:
        source.client().put_function_concurrency(FunctionName="orders", ReservedConcurrentExecutions=5)
        other.delete()


def signature_is_right(method: str, path: str, headers) -> bool:
    """Makes the signature again from the request as it came. Source: AWS, "Create a signed AWS API request"."""
    found = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/(\d{8})/([^/]+)/lambda/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})", headers.get("authorization", ""))
    if not found:
        return False
    date, region, names, signature = found.groups()
    bare, _, query = path.partition("?")
    # Each part of a path that is encoded already is encoded once more, but for S3.
    canonical_path = "/".join(urllib.request.quote(part, safe="-_.~") for part in bare.split("/"))
    signed = "".join(f"{name}:{headers[name].strip()}\n" for name in names.split(";"))
    canonical = "\n".join([method, canonical_path, "&".join(sorted(query.split("&"))), signed, names, hashlib.sha256(b"").hexdigest()])
    to_sign = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], f"{date}/{region}/lambda/aws4_request", hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{SECRET}".encode()
    for part in (date, region, "lambda", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, to_sign.encode(), "sha256").hexdigest() == signature


@pytest.fixture
def tls(source, tmp_path):
    """The source behind TLS: takes right signatures only. Its certificate is known by the file it gives."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )
    seen: list[bool] = []

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            right = signature_is_right("GET", self.path, {name.lower(): value for name, value in self.headers.items()})
            seen.append(right)
            if not right:
                self.send_response(403)
                self.send_header("content-length", "0")
                self.end_headers()
                return
            request = urllib.request.Request(source.endpoint + self.path, headers={"authorization": self.headers["authorization"]})
            with urllib.request.urlopen(request) as answer:
                body = answer.read()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    proxy.socket = context.wrap_socket(proxy.socket, server_side=True)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    yield f"https://localhost:{proxy.server_port}", certificate, seen
    proxy.shutdown()
    proxy.server_close()


@pytest.mark.covers("living:import", client="lamplight")
def test_over_tls_with_a_signature(source, server, tls):
    endpoint, certificate, seen = tls
    arguments = ("import", "--from-aws", "orders", "--endpoint-url", endpoint, "--name", "by-tls")
    lamplight(server, *arguments, SSL_CERT_FILE=str(certificate))
    assert seen and all(seen)
    check_imported(server, "by-tls")
    server.client().delete_function(FunctionName="by-tls")
    assert "certificate" in lamplight(server, *arguments, expected=2, SSL_CERT_FILE="/etc/ssl/certs/ca-certificates.crt").lower()
    said = lamplight(server, *arguments, expected=2, SSL_CERT_FILE=str(certificate), AWS_SECRET_ACCESS_KEY="wrong")
    assert "status 403" in said and "lambda:Get*" in said
