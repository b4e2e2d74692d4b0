"""TLS of the gateway as clients meet it: versions, names, certificates that change under load, files that are wrong."""

import json
import ssl
import subprocess
import threading

import pytest

from support import functions, gateway
from support.server import BINARY, PLAIN_ENVIRONMENT

ECHO = """
    def handler(event, context):
        return {"headers": event["headers"], "protocol": event["requestContext"]["http"]["protocol"]}
"""


@pytest.fixture
def public(new_server, work_directory, tmp_path_factory):
    return gateway.start(new_server, work_directory / tmp_path_factory.mktemp("tls").name, secured=True)


@pytest.mark.covers("gateway:TLS from files", client="curl")
@pytest.mark.covers("gateway:HTTP/2", client="curl")
def test_both_protocols_and_both_versions(public):
    function = functions.create(public.server, {"app.py": ECHO})
    url = gateway.url_of(public, function)
    assert url.startswith("https://") and gateway.port_in(url) == public.port
    for arguments, version in [(("--http1.1",), b"1.1"), (("--http2",), b"2"), (("--http1.1", "--tls-max", "1.2"), b"1.1"), (("--http2", "--tls-max", "1.2"), b"2")]:
        answer = public.curl(url, "--write-out", "\n%{http_version}", *arguments)
        body, said = answer.stdout.rsplit(b"\n", 1)
        assert (answer.returncode, said) == (0, version), (arguments, answer)
        event = json.loads(body)
        assert event["headers"]["x-forwarded-proto"] == "https" and event["headers"]["x-forwarded-port"] == str(public.port)
    # Versions and clear text that nobody should speak any more.
    assert public.curl(url, "--tls-max", "1.1").returncode == 35
    assert b"HTTP/1.1" not in public.raw(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")


def der(file) -> bytes:
    return ssl.PEM_cert_to_DER_cert(file.read_text())


@pytest.mark.covers("gateway:TLS from files", client="openssl")
def test_the_name_decides_which_certificate_is_shown(public):
    first = public.configuration["gateway_tls"]
    chain, key = gateway.certificate(public.directory, "second", "shop.example.com", "*.shop.example.com")
    assert public.shown("shop.example.com") == der(public.root), "the first is for everybody else"
    both = first.replace('"]', '", "{}"]').format(chain, key)
    public.write(gateway_tls=both)
    public.reload()
    for name, file in [("shop.example.com", chain), ("a.shop.example.com", chain), (gateway.NAME, public.root), ("other.example", public.root), (None, public.root)]:
        assert public.shown(name) == der(file), name


@pytest.mark.covers("gateway:reload", client="curl")
def test_certificates_are_read_again_under_load_and_no_request_fails(public):
    function = functions.create(public.server, {"app.py": ECHO})
    url = gateway.url_of(public, function)
    assert public.status(url) == 200
    failures, statuses, done = [], [], threading.Event()
    roots = public.directory / "roots.pem"
    roots.write_bytes(public.root.read_bytes())
    public.root = roots

    def load(version):
        while not done.is_set():
            answered = public.curl(url, version, "--output", "/dev/null", "--write-out", "%{http_code}")
            statuses.append(answered.stdout)
            if answered.returncode or answered.stdout != b"200":
                failures.append(answered)

    clients = [threading.Thread(target=load, args=(version,)) for version in ("--http1.1", "--http2")]
    for client in clients:
        client.start()
    shown = set()
    names = (gateway.NAME, f"*.lambda-url.us-east-1.{gateway.NAME}")
    for turn in range(6):
        # As a renewal does it: made elsewhere, trusted, then put in place.
        chain, key = gateway.certificate(public.directory, f"renewed-{turn}", *names)
        with roots.open("ab") as file:
            file.write(chain.read_bytes())
        public.write(gateway_tls=f'certificates = ["{chain}"]\nkeys = ["{key}"]', gateway_limits=f"headers = {60 + turn}")
        public.reload()
        shown.add(public.shown(gateway.NAME))
    done.set()
    for client in clients:
        client.join(60)
    assert len(shown) == 6
    assert not failures and len(statuses) >= 10, (failures[:3], len(statuses))


@pytest.mark.covers("gateway:reload", client="openssl")
def test_a_wrong_certificate_changes_nothing_and_is_told(public):
    before = public.shown(gateway.NAME)
    chain, key = public.root, public.root.with_suffix(".key")
    for content, said in [(b"", "there is no certificate in"), (chain.read_bytes()[:200], "is not PEM")]:
        good = chain.read_bytes()
        chain.write_bytes(content)
        assert said in public.reload("not taken over")
        chain.write_bytes(good)
        assert public.shown(gateway.NAME) == before
    other = gateway.certificate(public.directory, "other", gateway.NAME)
    public.write(gateway_tls=f'certificates = ["{chain}"]\nkeys = ["{other[1]}"]')
    assert "does not belong to the first certificate" in public.reload("not taken over")
    public.write(gateway_tls="")
    assert "cannot begin or end to speak TLS" in public.reload("not taken over")
    assert public.shown(gateway.NAME) == before
    public.write(gateway_tls=f'certificates = ["{chain}"]\nkeys = ["{key}"]')
    public.reload()


@pytest.mark.covers("gateway:TLS from files", client="lamplight")
def test_wrong_files_are_refused_at_the_start(new_server, work_directory, tmp_path_factory):
    directory = work_directory / tmp_path_factory.mktemp("wrong").name
    directory.mkdir(mode=0o755)
    chain, key = gateway.certificate(directory, "a", "a.example")
    other = gateway.certificate(directory, "b", "b.example")[1]
    secret = gateway.certificate(directory, "c", "c.example")
    secret[1].chmod(0o600)
    for files, said in [
        ((chain, other), "does not belong to the first certificate"),
        ((directory / "none.pem", key), "failed to read .*none.pem"),
        ((key, key), "there is no certificate in"),
        ((chain, chain), "there is no private key in"),
        (secret, "chgrp [0-9]+ .*c.key && chmod g\\+r"),
    ]:
        environment = {"LAMPLIGHT_GATEWAY_TLS_CERTIFICATES": str(files[0]), "LAMPLIGHT_GATEWAY_TLS_KEYS": str(files[1])}
        server = new_server(arguments=("--gateway-listen", "127.0.0.1:0"), environment=environment)
        with pytest.raises(AssertionError, match=said):
            server.start()
    # Without a listener of the gateway's own there is nothing to secure.
    server = new_server(environment={"LAMPLIGHT_GATEWAY_TLS_CERTIFICATES": str(chain), "LAMPLIGHT_GATEWAY_TLS_KEYS": str(key)})
    with pytest.raises(AssertionError, match="a listener of the gateway's own"):
        server.start()


@pytest.mark.covers("gateway:TLS from files", client="lamplight")
def test_doctor_tells_what_is_wrong_with_certificates(work_directory, tmp_path_factory):
    directory = work_directory / tmp_path_factory.mktemp("doctor").name
    directory.mkdir(mode=0o755)

    def row(chain, key):
        environment = {"LAMPLIGHT_GATEWAY_LISTEN": "127.0.0.1:0", "LAMPLIGHT_GATEWAY_TLS_CERTIFICATES": str(chain), "LAMPLIGHT_GATEWAY_TLS_KEYS": str(key)}
        said = subprocess.run([BINARY, "doctor", "--json", "--data-dir", str(directory / "data")], env=PLAIN_ENVIRONMENT | environment, capture_output=True, check=False)
        return next(row for row in json.loads(said.stdout)["rows"] if row["name"] == "certificates")

    chain, key = gateway.certificate(directory, "good", "a.example", days=90)
    good = row(chain, key)
    assert good["ok"] and "a.example" in good["found"] and "days" in good["found"]
    ending = row(*gateway.certificate(directory, "ending", "b.example", days=3))
    assert not ending["ok"] and "ends in" in ending["found"] and "renew" in ending["mend"]
    absent = row(directory / "none.pem", key)
    assert not absent["ok"] and "failed to read" in absent["found"]
