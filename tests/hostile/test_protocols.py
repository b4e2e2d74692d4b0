"""The Runtime API, the frames and the platform's listener under abuse: the sender fails, nobody else does."""

import pytest

from support import host
from support.functions import custom_runtime

RAW = """
    import os, socket, threading
    def connect(port=9001):
        s = socket.create_connection(("127.0.0.1", port), timeout=5)
        return s
    def talk(data, port=9001):
        try:
            with connect(port) as s:
                s.sendall(data)
                return s.recv(4096).decode(errors="replace")[:400]
        except OSError as error:
            return f"errno {error.errno}"
"""


@pytest.mark.covers("wall:runtime API abuse", client="raw HTTP")
def test_garbage_on_the_runtime_api(deploy, neighbour):
    """From beside the runtime client: each is refused by an answer of its own, and the call goes on unharmed."""
    function = deploy(custom_runtime(RAW + """
    def post(path, body=b"{}"):
        return talk(b"POST " + path.encode() + b" HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: " + str(len(body)).encode() + b"\\r\\n\\r\\n" + body)
    def handler(event, context):
        base = "/2018-06-01/runtime"
        return {
            "garbage": talk(b"\\x00\\xff" * 5000),
            "endless header": talk(b"GET / HTTP/1.1\\r\\n" + b"X: " + b"y" * 2_000_000),
            "no such path": talk(b"GET /nothing HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"),
            "wrong id": post(base + "/invocation/00000000-0000-0000-0000-000000000000/response"),
            "not an id": post(base + "/invocation/../../x/response"),
            "huge length": talk(b"POST " + base.encode() + b"/invocation/x/response HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 99999999999999\\r\\n\\r\\n{}"),
            "negative length": talk(b"POST " + base.encode() + b"/invocation/x/response HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: -1\\r\\n\\r\\n{}"),
        }
    """), runtime="provided.al2023", handler="app.handler", Timeout=60)
    for name, said in function.ok().items():
        # Garbage may also have its connection closed; whatever is answered is a client's error.
        assert said.startswith("HTTP/1.1 4") or (said in ("", "errno 104", "errno 32") and name in ("garbage", "endless header", "negative length")), (name, said)
    assert set(function.ok()) == set(function.ok()), "it goes on"


@pytest.mark.covers("wall:runtime API abuse", client="raw HTTP")
@pytest.mark.parametrize("port", [9001, 19001])
def test_hundreds_of_stalled_connections(deploy, neighbour, server, port):
    daemon = server.tree().daemon
    before = host.descriptors(daemon.pid)
    function = deploy(custom_runtime(RAW + f"""
    kept = []
    def handler(event, context):
        try:
            while len(kept) < 900:
                s = connect({port})
                s.settimeout(1)
                s.sendall(b"POST /2018-06-01/runtime/invocation/x/response HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 100000\\r\\n\\r\\nslow")
                kept.append(s)
        except OSError as error:
            return [len(kept), str(error)]
        return [len(kept), ""]
    """), runtime="provided.al2023", handler="app.handler", Timeout=30)
    assert function.invoke().status == 200
    assert function.invoke().status == 200
    open_now = host.descriptors(daemon.pid)
    assert open_now - before < 600, f"one instance holds {open_now - before} descriptors of the daemon"
    function.delete()
    host.eventually(lambda: host.descriptors(daemon.pid) < before + 40, "the daemon's descriptors are closed again", 30)


@pytest.mark.covers("wall:runtime API abuse", client="raw HTTP")
def test_a_custom_runtime_that_answers_twice_or_for_another(deploy, neighbour):
    function = deploy({"bootstrap": """\
#!/usr/bin/python3
import json, os, urllib.request, urllib.error
base = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime"
def post(path, body):
    try:
        with urllib.request.urlopen(urllib.request.Request(base + path, body)) as answer:
            return [answer.status, answer.read().decode()]
    except urllib.error.HTTPError as error:
        return [error.code, error.read().decode()]
seen = []
while True:
    with urllib.request.urlopen(base + "/invocation/next", timeout=None) as answer:
        request_id = answer.headers["Lambda-Runtime-Aws-Request-Id"]
        answer.read()
    seen.append(post("/invocation/00000000-0000-0000-0000-000000000000/response", b'"forged"'))
    post(f"/invocation/{request_id}/response", json.dumps(seen).encode())
    seen.append(post(f"/invocation/{request_id}/response", b'"again"'))
"""}, runtime="provided.al2023", handler="x")
    first = function.ok()
    assert [status for status, _ in first] == [400] and "InvalidRequestID" in first[0][1]
    second = function.ok()
    assert [status for status, _ in second][1] in (400, 403), second
    assert all("errorType" in body for _, body in second)


@pytest.mark.covers("wall:frame abuse")
@pytest.mark.parametrize("garbage", ["random", "huge length", "close", "endless"])
def test_garbage_on_the_frame_socket(deploy, neighbour, server, garbage):
    daemon = server.tree().daemon
    function = deploy({"app.py": f"""
        import os, struct, threading, time
        def handler(event, context):
            if not event.get("attack"):
                return "fine"
            kind = {garbage!r}
            try:
                if kind == "random":
                    os.write(3, os.urandom(4096))
                elif kind == "huge length":
                    os.write(3, b"\\xff" * 64)
                elif kind == "close":
                    os.close(3)
                else:
                    while True:
                        os.write(3, b"\\x00" * 65536)
            except OSError:
                pass
            time.sleep(0.2)
            return "attacked"
    """}, Timeout=4)
    assert function.ok() == "fine"
    resident = int(host.read_process(daemon.pid).status["VmRSS"].split()[0])
    answer = function.invoke({"attack": True})
    assert answer.error == "Unhandled" and answer.error_type.startswith(("Runtime.", "Sandbox.")), answer.body
    assert server.tree().daemon.pid == daemon.pid
    assert int(host.read_process(daemon.pid).status["VmRSS"].split()[0]) - resident < 64 * 1024
    assert function.ok() == "fine"


@pytest.mark.covers("wall:frame abuse")
def test_descriptors_a_function_holds(attack):
    """Standard input and output, the frame socket, and nothing that leads out."""
    answer = attack("""
        import os
        def handler(event, context):
            return {name: os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}") or True and os.path.islink(f"/proc/self/fd/{name}")}
    """)
    assert answer.error is None, answer.body
    for name, target in answer.json.items():
        allowed = target.startswith(("pipe:", "socket:", "/dev/null", "/proc/", "/dev/urandom", "anon_inode:"))
        assert allowed and (not target.startswith("socket:") or name == "3"), answer.json
