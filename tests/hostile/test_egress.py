"""Egress on: the outside answers, everything near does not.

The server runs in a network namespace of its own whose only neighbour is a second one, "outside", that holds addresses of the
internet, of private ranges and of link-local, each with a listener. No packet leaves the machine.
"""

import subprocess
import textwrap

import pytest


# Addresses of the outside and whether a function with egress may reach them.
# (The internet's documentation ranges will not do for the first kind: they are refused too.)
PUBLIC = ["45.45.45.10", "46.46.46.10"]
REFUSED = ["10.9.8.7", "172.16.5.5", "192.168.77.7", "169.254.169.254", "100.64.3.3", "203.0.113.10"]
HOST_SIDE = "45.45.45.1"
PORT = 8088
CONNECT = """
    import socket
    def handler(event, context):
        found = {}
        for address in event["addresses"]:
            with socket.socket() as s:
                s.settimeout(3)
                try:
                    s.connect((address, event["port"]))
                    found[address] = s.recv(20).decode()
                except OSError as error:
                    found[address] = error.errno or str(error)
        return found
"""
LISTEN = textwrap.dedent("""
    import socket, sys
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", int(sys.argv[1])))
    s.listen()
    print("listening", flush=True)
    while True:
        connection, peer = s.accept()
        connection.sendall(peer[0].encode())
        connection.close()
""")


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def two_hosts():
    """Network namespaces `lltest-host` and `lltest-out`, joined by a veth pair; each runs a listener on PORT."""
    import os

    host, out = f"lltest-host-{os.getpid()}", f"lltest-out-{os.getpid()}"
    processes = []
    try:
        for name in (host, out):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", host, "link", "add", "uplink", "type", "veth", "peer", "name", "wire", "netns", out)
        ip("-n", host, "address", "add", f"{HOST_SIDE}/24", "dev", "uplink")
        ip("-n", host, "link", "set", "uplink", "up")
        for address in PUBLIC[:1]:
            ip("-n", out, "address", "add", f"{address}/24", "dev", "wire")
        for address in [*PUBLIC[1:], *REFUSED]:
            ip("-n", out, "address", "add", f"{address}/32", "dev", "wire")
        ip("-n", out, "link", "set", "wire", "up")
        ip("-n", host, "route", "add", "default", "via", PUBLIC[0])
        for name in (host, out):
            listener = subprocess.Popen(["ip", "netns", "exec", name, "/usr/bin/python3", "-c", LISTEN, str(PORT)], stdout=subprocess.PIPE, text=True)
            processes.append(listener)
            assert listener.stdout.readline() == "listening\n"
        yield host
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for name in (host, out):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


@pytest.mark.covers("wall:egress")
@pytest.mark.covers("wall:private networks")
@pytest.mark.covers("wall:host network")
def test_the_outside_answers_and_nothing_near_does(new_server, two_hosts):
    import json
    import base64

    from support.functions import ROLE, PYTHON, zip_of

    # Not `ip netns exec`: that would hide the control groups behind a new /sys.
    prefix = ("nsenter", f"--net=/run/netns/{two_hosts}")
    server = new_server(prefix=prefix, listen="127.0.0.1:9000", environment={"LAMPLIGHT_NETWORK_EGRESS": "true"}).start()

    def call(method, path, document):
        """A request from inside the server's network namespace, where alone its port is."""
        script = "import sys, urllib.request\nr = urllib.request.Request(sys.argv[2], sys.stdin.buffer.read() or None, method=sys.argv[1])\nprint(urllib.request.urlopen(r, timeout=60).read().decode())"
        done = subprocess.run([*prefix, "/usr/bin/python3", "-c", script, method, server.endpoint + path], input=json.dumps(document) if document is not None else "", capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    from support import host

    for name, tags in (("reaches", {"lamplight:egress": "on"}), ("shut", {"lamplight:egress": "off"})):
        call("POST", "/2015-03-31/functions", {"FunctionName": name, "Runtime": PYTHON, "Handler": "app.handler", "Role": ROLE, "Timeout": 60, "Tags": tags, "Code": {"ZipFile": base64.b64encode(zip_of({"app.py": CONNECT})).decode()}})
        host.eventually(lambda: call("GET", f"/2015-03-31/functions/{name}/configuration", None)["State"] == "Active", "the function is active")
    event = {"addresses": [*PUBLIC, *REFUSED, HOST_SIDE], "port": PORT}
    seen = call("POST", "/2015-03-31/functions/reaches/invocations", event)
    assert [seen[address] for address in PUBLIC] == [HOST_SIDE] * len(PUBLIC), seen
    for address in [*REFUSED, HOST_SIDE]:
        assert isinstance(seen[address], int), f"{address} answered: {seen}"
    shut = call("POST", "/2015-03-31/functions/shut/invocations", event)
    assert all(isinstance(what, int) for what in shut.values()), shut
