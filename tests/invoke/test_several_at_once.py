"""Functions whose instances take several events at once (tag `lamplight:max-concurrency`)."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.errors import INVALID, arn, refused
from support.functions import PYTHON, ROLE, node_runtime, zip_of

TAG = "lamplight:max-concurrency"
# A custom runtime that asks for as many events as it may take; each thread answers its own. `meet` waits until so many are here.
BOOTSTRAP = """\
#!/usr/bin/python3
import http.client, json, os, sys, threading, time
most = int(os.environ.get("AWS_LAMBDA_MAX_CONCURRENCY", "1"))
barriers, lock, late, beats = {}, threading.Lock(), [], [0]

def beat():
    while True:
        time.sleep(0.005)
        beats[0] += 1

def barrier(number):
    with lock:
        return barriers.setdefault(number, threading.Barrier(number))

def handle(event):
    if event.get("meet"):
        barrier(event["meet"]).wait(20)
    if event.get("exit"):
        os._exit(7)
    if event.get("print"):
        print(event["print"], flush=True)
    if event.get("error"):
        raise ValueError(event["error"])
    before = beats[0]
    time.sleep(event.get("seconds", 0))
    return {"event": event, "instance": os.environ["AWS_LAMBDA_LOG_STREAM_NAME"], "most": most, "late": late, "beats": [before, beats[0]]}

def serve():
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    base = "/2018-06-01/runtime/invocation/"
    while True:
        connection.request("GET", base + "next")
        answer = connection.getresponse()
        event, request_id = json.loads(answer.read()), answer.headers["Lambda-Runtime-Aws-Request-Id"]
        try:
            path, body = "/response", handle(event)
        except ValueError as error:
            path, body = "/error", {"errorMessage": str(error), "errorType": "ValueError"}
        connection.request("POST", base + request_id + path, json.dumps(body))
        answer = connection.getresponse()
        answer.read()
        if answer.status != 202:
            late.append(answer.status)

threading.Thread(target=beat, daemon=True).start()
threads = [threading.Thread(target=serve) for _ in range(most)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
RUNTIME = {"bootstrap": BOOTSTRAP}


@pytest.fixture
def several(deploy):
    def make(most: int, **configuration):
        return deploy(RUNTIME, runtime="provided.al2023", handler="unused", Tags={TAG: str(most)}, **configuration)

    return make


def at_once(function, events):
    """The answers of calls made at the same time."""
    with ThreadPoolExecutor(len(events)) as threads:
        return list(threads.map(lambda event: function.invoke(event), events))


@pytest.mark.covers("operation:Several events at once")
def test_one_instance_takes_as_many_as_it_may(several):
    function = several(4)
    # Nobody answers before all four are there: also the start is shared.
    answers = at_once(function, [{"meet": 4, "n": number} for number in range(4)])
    assert [answer.json["event"]["n"] for answer in answers] == [0, 1, 2, 3]
    assert {answer.json["most"] for answer in answers} == {4}
    assert len({answer.json["instance"] for answer in answers}) == 1
    assert sum("Init Duration" in answer.report for answer in answers) == 1, "one of them reports the start"
    # Four more than it may take need another instance, and both do what they are given.
    answers = at_once(function, [{"meet": 4, "n": number, "seconds": 1.5} for number in range(8)])
    assert [answer.json["event"]["n"] for answer in answers] == list(range(8))
    assert len({answer.json["instance"] for answer in answers}) == 2
    # One after the other again, on one that is there.
    assert "Init Duration" not in function.invoke({}).report


@pytest.mark.covers("operation:Several events at once")
def test_a_failure_is_that_call_s_alone(several):
    function = several(3)
    failed, one, other = at_once(function, [{"meet": 3, "error": "mine"}, {"meet": 3, "n": 1}, {"meet": 3, "n": 2}])
    assert (failed.error, failed.json) == ("Unhandled", {"errorMessage": "mine", "errorType": "ValueError"})
    assert [one.json["event"]["n"], other.json["event"]["n"]] == [1, 2]


@pytest.mark.covers("operation:Several events at once")
def test_a_timeout_ends_no_neighbour(several):
    function = several(3, Timeout=2)
    first = function.ok()["instance"]
    with ThreadPoolExecutor(3) as threads:
        hanging = threads.submit(function.invoke, {"seconds": 3})
        # Somebody is always there, from before the deadline until after the late answer.
        chains = [threads.submit(lambda pause=pause: [function.ok({"seconds": seconds}) for seconds in (pause, 1, 1, 1, 1)]) for pause in (0.1, 0.6)]
        neighbours = [answer for chain in chains for answer in chain.result()]
        assert hanging.result().error_type == "Sandbox.Timedout"
        assert "Task timed out after 2.00 seconds" in hanging.result().json["errorMessage"]
    assert {answer["instance"] for answer in neighbours} == {first}, "they stayed where they were"
    assert neighbours[-1]["late"] == [410], "what comes too late is refused, and the runtime goes on"
    # Nobody knows what the late one left behind: with its last call the instance goes.
    assert function.ok()["instance"] != first


@pytest.mark.covers("operation:Several events at once")
def test_an_exit_ends_all_and_the_next_call_works(several):
    function = several(2)
    answers = at_once(function, [{"meet": 2, "exit": True}, {"meet": 2, "seconds": 5}])
    assert {answer.error_type for answer in answers} == {"Runtime.ExitError"}
    assert all("exit status 7" in answer.json["errorMessage"] for answer in answers)
    assert function.ok({"n": 1})["event"] == {"n": 1}


@pytest.mark.covers("operation:Several events at once")
def test_it_stands_still_only_when_no_call_is_left(several):
    function = several(2)
    function.ok()
    with ThreadPoolExecutor(2) as threads:
        long = threads.submit(function.ok, {"seconds": 1.5})
        short = function.ok({"seconds": 0.01})
        after_short = long.result()
    assert after_short["instance"] == short["instance"]
    assert after_short["beats"][1] - after_short["beats"][0] > 100, "the end of the short one froze nothing"
    time.sleep(1)
    idle = function.ok()["beats"][0] - after_short["beats"][1]
    assert idle < 100, f"{idle} beats while nobody called"


@pytest.mark.covers("operation:Several events at once")
def test_each_log_tail_has_its_own_lines(several):
    function = several(2)
    answers = at_once(function, [{"meet": 2, "seconds": 0.2, "n": number} for number in range(2)])
    for answer, other in (answers, answers[::-1]):
        assert all(f"{kind} RequestId: {answer.request_id}" in answer.log for kind in ("START", "END", "REPORT"))
        assert other.request_id not in answer.log


@pytest.mark.covers("operation:Several events at once")
def test_tenants_are_apart_all_the_same(several):
    function = several(4, TenancyConfig={"TenantIsolationMode": "PER_TENANT"})
    with ThreadPoolExecutor(4) as threads:
        calls = [(tenant, threads.submit(function.ok, {"meet": 2}, TenantId=tenant)) for tenant in ("blue", "green") * 2]
        instances = {}
        for tenant, call in calls:
            instances.setdefault(tenant, set()).add(call.result()["instance"])
    assert [len(of) for of in instances.values()] == [1, 1]
    assert instances["blue"] != instances["green"]


@pytest.mark.covers("operation:Several events at once")
def test_the_tag(client, several, deploy):
    new = {"Role": ROLE, "Handler": "app.handler", "Code": {"ZipFile": zip_of(RUNTIME)}}
    for value in ("0", "65", "many", ""):
        assert refused(client.create_function, FunctionName="several", Runtime="provided.al2023", Tags={TAG: value}, **new)[:2] == INVALID
    for runtime in filter(None, (PYTHON, node_runtime())):
        code, status, text = refused(client.create_function, FunctionName="several", Runtime=runtime, Tags={TAG: "2"}, **new)
        assert (code, status) == INVALID and "needs a runtime that asks for several events at once" in text
    python = deploy({"app.py": "def handler(event, context): return 1"})
    assert refused(client.tag_resource, Resource=arn(python.name), Tags={TAG: "2"})[:2] == INVALID
    function = several(2)
    assert refused(client.update_function_configuration, FunctionName=function.name, Runtime=PYTHON)[:2] == INVALID
    assert function.ok()["most"] == 2
    client.tag_resource(Resource=arn(function.name), Tags={TAG: "3"})
    assert function.ok()["most"] == 3
    client.untag_resource(Resource=arn(function.name), TagKeys=[TAG])
    assert function.ok()["most"] == 1
    code, status, text = refused(client.create_function, FunctionName="several", Runtime="provided.al2023", Environment={"Variables": {"AWS_LAMBDA_MAX_CONCURRENCY": "2"}}, **new)
    assert (code, status) == INVALID and "AWS_LAMBDA_MAX_CONCURRENCY" in text
