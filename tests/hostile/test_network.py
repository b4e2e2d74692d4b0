"""The network as a function sees it: its own loopback with the platform's two listeners, and nothing of anybody else's."""

import socket
import threading

import pytest

from support.functions import custom_runtime

CONNECT = """
    import socket
    def attempt(address, port, kind):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as s:
            s.settimeout(2)
            try:
                s.connect((address, port))
                if kind == "udp":
                    s.send(b"x")
                return "connected"
            except OSError as error:
                return error.errno or str(error)
    def handler(event, context):
        return {f"{kind} {address}:{port}": attempt(address, port, kind) for kind, address, port in event["targets"]}
"""


class Listener:
    """A listener of the host that counts who came."""

    def __init__(self, address="0.0.0.0"):
        self.socket = socket.socket()
        self.socket.bind((address, 0))
        self.socket.listen()
        self.port = self.socket.getsockname()[1]
        self.came = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, peer = self.socket.accept()
            except OSError:
                return
            self.came.append(peer)
            connection.close()


@pytest.fixture
def listener():
    made = Listener()
    yield made
    made.socket.close()


def host_addresses() -> list[str]:
    """Addresses of this machine beside loopback."""
    import json
    import subprocess

    links = json.loads(subprocess.run(["ip", "-j", "address"], capture_output=True, check=True).stdout)
    return [entry["local"] for link in links for entry in link["addr_info"] if entry["scope"] == "global"]


@pytest.mark.covers("wall:host network")
def test_no_address_of_the_host_answers(attack, server, listener):
    addresses = ["127.0.0.1", "127.0.0.2", "::1", *host_addresses()]
    answer = attack(CONNECT, {"targets": [["tcp", address, port] for address in addresses for port in (listener.port, server.port)]}, Timeout=60)
    assert answer.error is None, answer.body
    assert {target: what for target, what in answer.json.items() if what == "connected"} == {}
    assert listener.came == []


@pytest.mark.covers("wall:host network")
def test_abstract_unix_sockets_of_the_host_are_not_there(attack):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("\0lamplight-test-abstract")
        listening.listen()
        answer = attack("""
            import socket
            def handler(event, context):
                with socket.socket(socket.AF_UNIX) as s:
                    try:
                        s.connect("\\0lamplight-test-abstract")
                        return "connected"
                    except OSError as error:
                        return error.errno
        """)
    assert isinstance(answer.json, int), answer.body


@pytest.mark.covers("wall:private networks")
def test_without_egress_there_is_only_loopback(attack):
    """No packet can leave, so nothing needs to be tried: there is no other interface and no route."""
    answer = attack("""
        import os, socket
        def handler(event, context):
            return [sorted(os.listdir("/sys/class/net")) if os.path.isdir("/sys/class/net") else None,
                    open("/proc/net/route").read().splitlines()[1:], [name for _, name in socket.if_nameindex()]]
    """)
    assert answer.error is None, answer.body
    listed, routes, names = answer.json
    assert names == ["lo"] and routes == [] and listed in (None, ["lo"])


@pytest.mark.covers("wall:other instances")
def test_two_instances_do_not_share_loopback(deploy, neighbour):
    listening = deploy({"app.py": """
        import socket, threading
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("0.0.0.0", 18080))
        s.listen()
        def handler(event, context):
            return s.getsockname()[1]
    """})
    assert listening.ok() == 18080
    other = deploy({"app.py": CONNECT})
    assert set(other.ok({"targets": [["tcp", "127.0.0.1", 18080]]}).values()) == {111}


@pytest.mark.covers("wall:runtime API abuse")
def test_the_platforms_ports_cannot_be_taken(deploy, neighbour):
    """A custom runtime, whose Runtime API listens; our own bootstraps speak frames and leave port 9001 free."""
    function = deploy(custom_runtime("""
        import socket
        def attempt(port, option):
            with socket.socket() as s:
                if option:
                    s.setsockopt(socket.SOL_SOCKET, option, 1)
                try:
                    s.bind(("127.0.0.1", port))
                    s.listen()
                    return "bound"
                except OSError as error:
                    return error.errno
        def handler(event, context):
            return [attempt(port, option) for port in (9001, 19001) for option in (0, socket.SO_REUSEADDR, socket.SO_REUSEPORT)]
    """), runtime="provided.al2023", handler="app.handler")
    assert set(function.ok()) == {98}
