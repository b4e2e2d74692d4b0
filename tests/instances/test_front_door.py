"""Until there is authentication: loopback only, and a web page must not reach it."""

import http.client
import json
import subprocess

import pytest


def ask(server, headers: dict[str, str], method="GET", path="/2015-03-31/functions", body=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


@pytest.mark.covers("input:foreign origin", client="raw HTTP")
@pytest.mark.parametrize("host_header", ["localhost:{port}", "127.0.0.1:{port}", "127.0.0.1", "localhost", "[::1]:{port}"])
def test_loopback_names_are_served(server, host_header):
    status, body = ask(server, {"Host": host_header.format(port=server.port)})
    assert status == 200, body


@pytest.mark.covers("input:foreign origin", client="raw HTTP")
@pytest.mark.parametrize("host_header", ["example.com", "lamplight.example.com:9000", "127.0.0.1.example.com", "192.0.2.1", "localhost.example.com"])
def test_other_hosts_are_refused(server, host_header):
    status, body = ask(server, {"Host": host_header})
    assert status == 403, body
    json.loads(body)


@pytest.mark.covers("input:foreign origin", client="raw HTTP")
@pytest.mark.parametrize("origin", ["https://example.com", "null", "http://127.0.0.1.example.com", "http://localhost.example.com:9000"])
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST"])
def test_foreign_origins_are_refused(server, origin, method):
    status, body = ask(server, {"Host": f"127.0.0.1:{server.port}", "Origin": origin}, method=method, body=b"{}" if method == "POST" else None)
    assert status == 403, (status, body)


@pytest.mark.covers("input:foreign origin", client="curl")
def test_with_curl(server):
    for extra, expected in (([], "200"), (["-H", "Origin: https://example.com"], "403"), (["-H", "Host: evil.example"], "403")):
        command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *extra, f"{server.endpoint}/2015-03-31/functions"]
        assert subprocess.run(command, capture_output=True, text=True, timeout=20).stdout == expected, extra


def test_it_listens_on_loopback_only(server):
    """The listening socket's address, as the kernel has it."""
    with open("/proc/net/tcp") as table:
        listening = [line.split()[1] for line in table.readlines()[1:] if line.split()[3] == "0A"]
    mine = [address for address in listening if int(address.split(":")[1], 16) == server.port]
    assert mine == [f"0100007F:{server.port:04X}"]
