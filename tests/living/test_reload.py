"""SIGHUP: a running server takes a changed configuration over as far as it can, and says what it did."""

import http.client
import json
import os
import signal
import socket

import pytest

from support import host
from support.functions import create


def hang_up(server, said):
    """Sends SIGHUP and waits until the server has said how it went."""
    offset = len(server.log())
    os.kill(server.pid, signal.SIGHUP)
    host.eventually(lambda: said in server.log()[offset:], said)
    return server.log()[offset:]


@pytest.fixture
def configured(new_server, work_directory, tmp_path_factory):
    directory = work_directory / f"reload-{tmp_path_factory.mktemp('reload').name}"
    directory.mkdir(mode=0o755)
    file = directory / "config.toml"
    file.write_text('log = "info"\n[instances]\nconcurrency = 500\n')
    file.chmod(0o644)
    # The variable that every server of these tests has would win over the file.
    server = new_server(data_directory=directory / "data", environment={"LAMPLIGHT_CONFIG": str(file)}, prefix=("env", "-u", "LAMPLIGHT_LOG"))
    return server.start(), file


@pytest.mark.covers("living:reload")
def test_what_can_change_changes_and_what_cannot_is_named(configured):
    server, file = configured
    client = server.client()
    function = create(server, {"app.py": "def handler(event, context): return 1"}, name="steady")
    function.ok()
    assert client.get_account_settings()["AccountLimit"]["ConcurrentExecutions"] == 500
    file.write_text('hosts = ["lamp.example"]\n[instances]\nconcurrency = 150\nkeep_alive_seconds = 60\nmost = 40\n[prices]\nper_request = 0.25\n')
    said = hang_up(server, "read the configuration again")
    assert "taken_over=4" in said and "waiting=1" in said
    assert "instances.concurrency" in said and "instances.most" in said and "needs a restart" in said
    assert client.get_account_settings()["AccountLimit"] | {"ConcurrentExecutions": 150, "UnreservedConcurrentExecutions": 150} == client.get_account_settings()["AccountLimit"]
    # Enforced, not only shown: 100 are left for all functions, so 50 can be reserved.
    with pytest.raises(client.exceptions.InvalidParameterValueException):
        client.put_function_concurrency(FunctionName="steady", ReservedConcurrentExecutions=51)
    client.put_function_concurrency(FunctionName="steady", ReservedConcurrentExecutions=50)
    assert answer_for_host(server, "lamp.example") == 200 and answer_for_host(server, "other.example") == 403
    usage = host_json(server, "/lamplight/v1/usage")
    assert usage["Rows"][0]["Price"] >= 0.25
    assert server.tree().daemon, "the same server goes on"


def answer_for_host(server, name: str) -> int:
    return request(server, "/2015-03-31/functions/", name)[0]


def host_json(server, path: str):
    return json.loads(request(server, path, f"127.0.0.1:{server.port}")[1])


def request(server, path: str, name: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", path, headers={"Host": name})
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.mark.covers("living:reload")
def test_lower_limits_hold_at_once(configured):
    server, file = configured
    function = create(server, {"app.py": "def handler(event, context): return 1"}, name="few")
    assert function.ok() == 1
    file.write_text("[instances]\ncalls_per_second_each = 1\nconcurrency = 1\n")
    hang_up(server, "read the configuration again")
    client = server.client()
    with pytest.raises(client.exceptions.TooManyRequestsException):
        for _ in range(50):
            function.invoke()
    file.write_text("[instances]\ncalls_per_second_each = 0\n")
    hang_up(server, "read the configuration again")
    for _ in range(50):
        function.ok()


@pytest.mark.covers("living:reload")
def test_a_wrong_configuration_changes_nothing(configured):
    server, file = configured
    for text in ("lisen = 1\n", "[instances]\nconcurrency = 0\n", 'log = "=,=nonsense=["\n'):
        file.write_text(text)
        hang_up(server, "is not taken over, nothing changed")
        assert server.client().get_account_settings()["AccountLimit"]["ConcurrentExecutions"] == 500
    file.write_text("[instances]\nconcurrency = 500\n")
    assert "taken_over=0" in hang_up(server, "read the configuration again")


@pytest.mark.covers("living:reload")
def test_the_log_filter_changes(configured):
    server, file = configured
    file.write_text('log = "debug"\n[instances]\nconcurrency = 500\n')
    offset = len(server.log())
    assert "taken_over=1" in hang_up(server, "read the configuration again")
    create(server, {"app.py": "def handler(event, context): return 1"}, name="seen").ok()
    host.eventually(lambda: "DEBUG" in server.log()[offset:], "a line of the finer log")
    file.write_text("[instances]\nconcurrency = 500\n")
    assert "log" in hang_up(server, "read the configuration again")


@pytest.mark.covers("living:service manager")
def test_the_service_manager_is_told(new_server, work_directory):
    path = work_directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        path.chmod(0o777)
        listener.settimeout(60 * host.SLOWNESS)
        server = new_server(environment={"NOTIFY_SOCKET": str(path)}).start()
        assert listener.recv(100) == b"READY=1"
        server.stop()
        assert listener.recv(100) == b"STOPPING=1"
