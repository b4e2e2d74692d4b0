"""Certificates from a real ACME server on loopback: Pebble, Let's Encrypt's own test authority."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from support import functions, gateway, host

DOMAIN = "shop.example.com"
# Long enough for a busy machine to get one, short enough to see the next.
LIFE_SECONDS = 30


def program() -> str:
    """Pebble, as `cargo xtask test` installs it."""
    found = Path(__file__).resolve().parents[2] / ".cache/pebble/pebble"
    path = os.environ.get("LAMPLIGHT_TEST_PEBBLE") or (str(found) if found.exists() else shutil.which("pebble"))
    if not path:
        pytest.skip("no pebble (cargo xtask test installs it, which takes go)")
    return path


class NameServer:
    """Answers every question for an address with 127.0.0.1: the authority must find us under any name."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection.makefile("rwb"),), daemon=True).start()

    def _serve(self, stream):
        # Pebble asks over TCP: each message after its length (RFC 1035, 4.2.2).
        while len(length := stream.read(2)) == 2:
            question = stream.read(int.from_bytes(length, "big"))
            end = 12
            while question[end]:
                end += question[end] + 1
            is_address = question[end + 1 : end + 3] == b"\0\1"
            # Name (the question's), type A, class IN, one second, four bytes. Source: RFC 1035, 4.1.
            answer = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x7f\0\0\1" if is_address else b""
            counts = b"\0\1" + (b"\0\1" if answer else b"\0\0") + b"\0\0\0\0"
            message = question[:2] + b"\x81\x80" + counts + question[12 : end + 5] + answer
            stream.write(len(message).to_bytes(2, "big") + message)
            stream.flush()

    def close(self):
        self._listener.close()


@pytest.fixture
def authority(work_directory, tmp_path_factory):
    """Starts Pebble for a gateway at the port it is called with. Gives directory URL and file of its root."""
    directory = work_directory / tmp_path_factory.mktemp("authority").name
    directory.mkdir(mode=0o755)
    pebble, names = program(), NameServer()
    started = []

    def start(port: int) -> tuple[str, Path]:
        chain, key = gateway.certificate(directory, "authority", "localhost")
        listen, manage = gateway.free_port(), gateway.free_port()
        configuration = {
            "listenAddress": f"127.0.0.1:{listen}", "managementListenAddress": f"127.0.0.1:{manage}", "certificate": str(chain), "privateKey": str(key),
            "httpPort": 1, "tlsPort": port, "ocspResponderURL": "", "externalAccountBindingRequired": False, "keyAlgorithm": "ecdsa",
            "retryAfter": {"authz": 1, "order": 1}, "profiles": {"default": {"description": "short", "validityPeriod": LIFE_SECONDS}},
        }
        file = directory / "pebble.json"
        file.write_text(json.dumps({"pebble": configuration}))
        log = (directory / "pebble.log").open("wb")
        command = [pebble, "-config", str(file), "-dnsserver", f"127.0.0.1:{names.port}"]
        process = subprocess.Popen(command, stdout=log, stderr=log, env={"PATH": os.environ["PATH"], "PEBBLE_VA_NOSLEEP": "1"})
        started.append(process)
        host.eventually(lambda: listens(listen), "Pebble listens")
        return f"https://localhost:{listen}/dir", chain

    yield start
    for process in started:
        process.kill()
        process.wait()
    names.close()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def names_and_end(der: bytes, directory: Path) -> tuple[str, float]:
    file = directory / "shown.pem"
    file.write_text(ssl.DER_cert_to_PEM_cert(der))
    said = subprocess.run(["openssl", "x509", "-noout", "-ext", "subjectAltName", "-enddate", "-in", str(file)], capture_output=True, text=True, check=True).stdout
    return said, ssl.cert_time_to_seconds(said.split("notAfter=")[1].strip())


def shown(public) -> bytes | None:
    try:
        return public.shown(DOMAIN)
    except (ssl.SSLError, ConnectionError):
        return None


@pytest.mark.covers("gateway:ACME", client="pebble")
def test_a_certificate_is_got_renewed_and_kept(new_server, work_directory, authority):
    directory = work_directory / "acme-life"
    directory.mkdir(mode=0o755)
    public = gateway.Public(directory, gateway.free_port())
    url, root = authority(public.port)
    public.write(
        gateway=f'listen = "127.0.0.1:{public.port}"',
        gateway_acme=f'directory = "{url}"\ndomains = ["{DOMAIN}"]\nroots = "{root}"\ncontacts = ["mailto:me@example.com"]\nterms_of_service_agreed = true',
    )
    public.server = new_server(data_directory=directory / "data", environment={"LAMPLIGHT_CONFIG": str(public.file)})
    public.server.start()
    first = host.eventually(lambda: shown(public), "a certificate is shown", seconds=60)
    said, end = names_and_end(first, directory)
    assert f"DNS:{DOMAIN}" in said and end > time.time()
    # The path form is what one certificate for one name can serve of all functions.
    function = functions.create(public.server, {"app.py": "def handler(event, context): return event['rawPath']"})
    identifier = gateway.url_of(public, function).split("://")[1].split(".")[0]
    answered = public.curl(f"https://{DOMAIN}:{public.port}/_url/{identifier}/x", "--insecure")
    assert answered.stdout == b"/x", answered
    kept = directory / "data/certificates"
    assert {file.name: file.stat().st_mode & 0o777 for file in kept.iterdir()} == {"account.json": 0o600, f"{DOMAIN}.pem": 0o600}
    assert kept.stat().st_mode & 0o777 == 0o700
    second = host.eventually(lambda: (now := shown(public)) != first and now, "it is renewed", seconds=2 * LIFE_SECONDS)
    assert names_and_end(second, directory)[1] > end
    assert time.time() < end + LIFE_SECONDS / 3, "before the first had ended"
    # What is kept is shown at once by the next start, whoever is at the other end.
    assert public.server.stop() == 0
    public.server.start()
    assert shown(public) is not None
    assert "failed to get a certificate" not in public.server.log()


@pytest.mark.covers("gateway:ACME", client="pebble")
def test_a_name_that_leads_elsewhere_is_told_and_costs_nothing_else(new_server, work_directory, authority):
    directory = work_directory / "acme-elsewhere"
    # The authority looks at a port where nobody is.
    url, root = authority(elsewhere := gateway.free_port())
    acme = f'directory = "{url}"\ndomains = ["{DOMAIN}"]\nroots = "{root}"\nterms_of_service_agreed = true'
    public = gateway.start(new_server, directory, secured=True, gateway_acme=acme)
    host.eventually(lambda: "failed to get a certificate" in public.server.log(), "it is told", seconds=60)
    told = next(line for line in public.server.log().splitlines() if "failed to get a certificate" in line)
    assert DOMAIN in told and "again_in" in told and f":{elsewhere}" in told, told
    assert public.shown(DOMAIN) == ssl.PEM_cert_to_DER_cert(public.root.read_text()), "the one from a file goes on"
