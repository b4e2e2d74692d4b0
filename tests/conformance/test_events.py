"""Where asynchronous events are, and redrive: our own interface and `lamplight events`, with events sent by boto3."""

import json
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from support.functions import create
from support.host import eventually
from support.server import BINARY

# Fails while its bucket of environment says so.
FAILS = {"app.py": "import os\ndef handler(event, context):\n    if os.environ.get('BROKEN'):\n        raise ValueError('no ' + event['note'])\n    return event"}
SLEEPS = {"app.py": "import time\ndef handler(event, context):\n    time.sleep(event['seconds'])\n    return event"}


def ask(server, path, body=None):
    """One request to our own interface: status and document."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{server.endpoint}/lamplight/v1/{path}", data)) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def ok(server, path, body=None):
    status, document = ask(server, path, body)
    assert status == 200, document
    return document


def run(server, *arguments, status=0):
    """`lamplight events ...`: standard output and error."""
    done = subprocess.run([BINARY, "events", *arguments], capture_output=True, text=True, timeout=60, env=server.environment_for_clients(), stdin=subprocess.DEVNULL)
    assert done.returncode == status, f"{arguments}\n{done.stdout}{done.stderr}"
    return done.stdout, done.stderr


def send(client, name, event):
    answer = client.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps(event))
    assert answer["StatusCode"] == 202
    return answer["ResponseMetadata"]["RequestId"]


def state(server, request_id):
    return ok(server, f"events/{request_id}")["State"]


def counts(server, name):
    found = ok(server, f"events/counts?Function={name}")
    assert found["Accepted"] == found["Done"] + found["DeadLettered"] + found["Pending"]
    return tuple(found[key] for key in ("Accepted", "Done", "DeadLettered", "Pending"))


@pytest.fixture
def queue(server):
    sqs = server.client("sqs")
    name = f"failures-{time.monotonic_ns()}"
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    yield url, name
    sqs.delete_queue(QueueUrl=url)


def messages(server, url):
    attributes = server.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"])["Attributes"]
    return int(attributes["ApproximateNumberOfMessages"]), int(attributes["ApproximateNumberOfMessagesNotVisible"])


def broken(deploy, client, queue_arn=None):
    more = {"DeadLetterConfig": {"TargetArn": queue_arn}} if queue_arn else {}
    function = deploy(FAILS, variables={"BROKEN": "1"}, **more)
    client.put_function_event_invoke_config(FunctionName=function.name, MaximumRetryAttempts=0)
    return function


@pytest.mark.covers("meter:where a request is")
def test_where_events_are(server, client, deploy):
    function = deploy(SLEEPS, Timeout=30)
    done = send(client, function.name, {"seconds": 0})
    eventually(lambda: state(server, done) == "done", "the event is done")
    found = ok(server, f"events/{done}")
    assert (found["Type"], found["Function"], found["Outcome"]) == ("Event", function.name, {"status": "success", "error_type": None})
    assert len(found["Runs"]) == 1 and found["Runs"][0]["event_accepted_at"] == found["AcceptedAt"] and found["Steps"] == []
    # As before, the newest report is on the first level of an invocation; where it is stands beside it.
    report = ok(server, f"invocations/{done}")
    assert (report["State"], report["billed_ms"], report["version"]) == ("done", found["Runs"][0]["billed_ms"], "$LATEST")

    client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=1)
    running = send(client, function.name, {"seconds": 8})
    eventually(lambda: state(server, running) == "running", "the event runs")
    seen = ok(server, f"events/{running}")
    assert seen["Node"] == "local" and seen["Since"] >= seen["AcceptedAt"] and json.loads(seen["Payload"]) == {"seconds": 8}
    on = on_an_instance(server, running)
    assert on["Version"] == "$LATEST" and on["LeaseUntil"] > on["StageSince"] >= on["Since"]
    waiting = send(client, function.name, {"seconds": 0})
    eventually(lambda: ok(server, f"events/{waiting}").get("Reason") == "throttled", "the second one is throttled")
    seen = ok(server, f"events/{waiting}")
    assert json.loads(seen["Error"])["errorType"] == "TooManyRequestsException" and seen["WaitsUntil"] > seen["AcceptedAt"] and seen["Attempts"] == 0
    listed = {row["RequestId"]: row["State"] for row in ok(server, f"events?Function={function.name}")["Events"]}
    assert listed == {running: "running", waiting: "waiting"}
    shown, _ = run(server, "list", function.name)
    assert waiting in shown and "throttled, until " in shown and f"on node local, instance {on['Instance']}, since " in shown, shown
    shown, _ = run(server, "show", running)
    assert f"instance   {on['Instance']}\n" in shown and f"log stream {on['LogStream']}\n" in shown and "version    $LATEST" in shown, shown
    eventually(lambda: counts(server, function.name) == (3, 3, 0, 0), "all are done", seconds=60)
    assert ok(server, f"events/{waiting}")["Steps"][0]["What"] == "not run", "its story stays"
    ended = ok(server, f"events/{running}")
    assert ended["Runs"][0]["instance_id"] == on["Instance"], "the instance that was told of is the one that ran it"
    assert not {"Node", "Stage", "Instance", "LeaseUntil"} & set(ended), ended


def on_an_instance(server, request_id):
    """Where a request is once an instance has it."""

    def look():
        found = ok(server, f"events/{request_id}")
        return found if found.get("Stage") == "running" else None

    found = eventually(look, "an instance has it")
    assert found["State"] == "running" and found["Node"] == "local"
    assert found["LogStream"].endswith(f"]{found['Instance']}"), found
    return found


@pytest.mark.covers("meter:where a request is")
def test_where_a_synchronous_call_is_while_it_starts_and_runs(server, client, deploy):
    # An import that takes a while, so that the start is seen.
    source = "import time\ntime.sleep(3)\ndef handler(event, context):\n    print('here')\n    time.sleep(event['seconds'])\n    return context.log_stream_name"
    name = deploy({"app.py": source}, Timeout=30).name
    answers = []
    thread = threading.Thread(target=lambda: answers.append(client.invoke(FunctionName=name, Payload=b'{"seconds": 3}')))
    thread.start()
    (starting,) = eventually(lambda: ok(server, f"running?Function={name}")["Running"], "the call is there")
    request_id = starting["RequestId"]
    starting = eventually(lambda: (lambda found: found if found.get("Stage") == "starting" else None)(ok(server, f"events/{request_id}")), "its instance starts")
    assert (starting["Type"], starting["State"], starting["Version"], starting["Node"]) == ("RequestResponse", "running", "$LATEST", "local")
    shown, _ = run(server, "running", name)
    assert request_id in shown and "RequestResponse" in shown and f"instance {starting['Instance']} " in shown, shown
    running = on_an_instance(server, request_id)
    assert running["Instance"] == starting["Instance"] and running["StageSince"] > starting["StageSince"] >= running["Since"]
    assert "LeaseUntil" not in running, "nobody claims a call"
    thread.join(60)
    (answer,) = answers
    assert answer["ResponseMetadata"]["RequestId"] == request_id
    assert json.load(answer["Payload"]) == running["LogStream"], "the function writes where it was said"
    lines = server.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{name}", logStreamNames=[running["LogStream"]])["events"]
    assert any(line["message"].strip().endswith("here") for line in lines)
    ended = ok(server, f"events/{request_id}")
    assert (ended["State"], ended["Runs"][0]["instance_id"]) == ("done", running["Instance"]) and "Stage" not in ended
    eventually(lambda: ok(server, f"running?Function={name}") == {"Running": [], "Count": 0}, "nothing is left")
    assert run(server, "running", name)[1] == "nothing runs\n"


@pytest.mark.covers("meter:where a request is")
def test_where_a_call_is_that_waits_for_an_instance(new_server):
    """A node with room for one instance: the second call waits for it."""
    server = new_server(environment={"LAMPLIGHT_INSTANCES_MOST": "1"}).start()
    function = create(server, SLEEPS, Timeout=30)
    function.ok({"seconds": 0})
    threads = [threading.Thread(target=function.invoke, args=({"seconds": 4},)) for _ in range(2)]
    for thread in threads:
        thread.start()
    both = eventually(lambda: (lambda rows: rows if [row["Stage"] for row in rows] == ["running", "queued"] else None)(ok(server, "running")["Running"]), "one runs, one waits")
    found = ok(server, f"events/{both[1]['RequestId']}")
    assert (found["State"], found["Stage"]) == ("running", "queued") and "Instance" not in found
    shown, _ = run(server, "show", both[1]["RequestId"])
    assert "running: on node local, waits for an instance, since " in shown, shown
    for thread in threads:
        thread.join(60)
    assert state(server, both[1]["RequestId"]) == "done"


@pytest.mark.covers("meter:where a request is")
def test_where_synchronous_calls_are(server, client, deploy):
    name = deploy(SLEEPS).name
    answer = client.invoke(FunctionName=name, Payload=b'{"seconds": 0}')
    found = ok(server, f"events/{answer['ResponseMetadata']['RequestId']}")
    assert (found["State"], found["Type"], len(found["Runs"])) == ("done", "RequestResponse", 1)
    assert ask(server, "events/7f0b3a53-0000-4000-8000-000000000000")[0] == 404
    status, refused = ask(server, "events/nonsense")
    assert (status, refused["message"]) == (400, "'nonsense' is not a request id.")


@pytest.mark.covers("meter:where a request is")
def test_lists_come_in_pages_and_refuse_nonsense(server, client, deploy):
    function = broken(deploy, client)
    sent = [send(client, function.name, {"note": str(number)}) for number in range(5)]
    eventually(lambda: counts(server, function.name) == (5, 0, 5, 0), "all were given up")
    pages, path = [], f"events?Function={function.name}&State=dead-lettered&Condition=RetriesExhausted&Limit=2"
    answer = ok(server, path)
    while True:
        pages.append([row["RequestId"] for row in answer["Events"]])
        if "NextMarker" not in answer:
            break
        answer = ok(server, f"{path}&Marker={answer['NextMarker']}")
    assert [identifier for page in pages for identifier in page] == sent[::-1] and max(map(len, pages)) == 2
    assert ok(server, f"events?Function={function.name}&Condition=EventAgeExceeded")["Events"] == []
    assert ok(server, f"events?Function={function.name}&Until=1")["Events"] == []
    for wrong in ("State=gone", "Marker=x", "Limit=0", "Limit=1001", "From=yesterday", "Function=a:b"):
        status, refused = ask(server, f"events?{wrong}")
        assert (status, refused["Type"]) == (400, "User"), (wrong, refused)
    assert ask(server, "events?", body={})[0] == 404, "nothing is posted to a list"


@pytest.mark.covers("meter:redrive")
def test_redrive_of_one_and_of_all(server, client, deploy):
    function = broken(deploy, client)
    sent = [send(client, function.name, {"note": str(number)}) for number in range(4)]
    eventually(lambda: counts(server, function.name) == (4, 0, 4, 0), "all were given up")
    seen = ok(server, f"events/{sent[0]}")
    assert (seen["State"], seen["Condition"], json.loads(seen["Error"])["errorMessage"]) == ("dead-lettered", "RetriesExhausted", "no 0")
    assert json.loads(seen["Payload"]) == {"note": "0"} and [step["What"] for step in seen["Steps"]] == ["dead-lettered"]
    shown, _ = run(server, "show", sent[0])
    assert "dead-lettered: RetriesExhausted" in shown and "ValueError: no 0" in shown and '{"note": "0"}' in shown, shown
    function.update(Environment={"Variables": {}})

    shown, _ = run(server, "redrive", "--function", function.name, "--dry-run")
    assert sorted(shown.splitlines()) == sorted(f"{one} would be sent to {function.name}" for one in sent)
    assert counts(server, function.name) == (4, 0, 4, 0)
    shown, _ = run(server, "redrive", sent[0])
    assert shown == f"{sent[0]} sent to {function.name}\n"
    eventually(lambda: counts(server, function.name) == (4, 1, 3, 0), "the first is done")
    story = ok(server, f"events/{sent[0]}")
    assert [step["What"] for step in story["Steps"]] == ["dead-lettered", "sent again"]
    assert [one["outcome"]["status"] for one in story["Runs"]] == ["error", "success"]
    shown, _ = run(server, "show", sent[0])
    assert "sent again" in shown and "success" in shown
    _, why = run(server, "redrive", sent[0], status=1)
    assert why == f"{sent[0]} stays: it is done\n"
    answer = json.loads(run(server, "--json", "redrive", "--function", function.name, "--condition", "RetriesExhausted")[0])
    assert {row["RequestId"] for row in answer["Redriven"]} == set(sent[1:]) and answer["Refused"] == []
    eventually(lambda: counts(server, function.name) == (4, 4, 0, 0), "all are done")
    assert run(server, "redrive", "--function", function.name)[1] == "there is nothing to send again\n"
    shown, _ = run(server, "counts", function.name)
    assert shown.split() == ["FUNCTION", "ACCEPTED", "DONE", "DEAD-LETTERED", "PENDING", function.name, "4", "4", "0", "0"]


@pytest.mark.covers("meter:redrive from a queue")
@pytest.mark.parametrize("kind", ["dead letter queue", "destination"])
def test_a_failing_note_ends_in_the_queue_and_comes_back(server, client, deploy, queue, kind):
    url, queue_name = queue
    arn = f"arn:aws:sqs:us-east-1:000000000000:{queue_name}"
    function = broken(deploy, client, arn if kind == "dead letter queue" else None)
    if kind == "destination":
        client.update_function_event_invoke_config(FunctionName=function.name, DestinationConfig={"OnFailure": {"Destination": arn}})
    sent = send(client, function.name, {"note": "lost"})
    eventually(lambda: messages(server, url) == (1, 0), "the note is in the queue")
    eventually(lambda: state(server, sent) == "dead-lettered", "it was given up")
    (told,) = ok(server, f"events/{sent}")["Told"]
    assert told == {"Arn": arn, "Role": "Destination" if kind == "destination" else "DeadLetterQueue"}
    function.update(Environment={"Variables": {}})
    # Nothing that is no letter is lost or run.
    sqs = server.client("sqs")
    poison = sqs.send_message(QueueUrl=url, MessageBody="hello")["MessageId"]

    shown, why = run(server, "redrive", "--queue", queue_name, "--dry-run", status=1)
    assert shown == f"{sent} would be sent to {function.name}\n"
    assert why == f"message {poison} stays: it is neither a dead letter nor the record of a failure\n"
    assert messages(server, url) == (2, 0)
    shown, _ = run(server, "redrive", "--queue", arn, status=1)
    assert shown == f"{sent} sent to {function.name}\n"
    eventually(lambda: counts(server, function.name) == (1, 1, 0, 0), "the note is done")
    assert messages(server, url) == (1, 0)
    (left,) = sqs.receive_message(QueueUrl=url)["Messages"]
    assert left["MessageId"] == poison
    assert json.loads(ok(server, f"events/{sent}").get("Payload", "null")) is None


@pytest.mark.covers("meter:redrive")
@pytest.mark.parametrize(
    "body, expected",
    [
        ({}, "Give RequestIds, Function or Queue."),
        ({"RequestIds": ["x"]}, "'x' is not a request id."),
        ({"RequestIds": [], "Queue": "q"}, "Give RequestIds or Queue, not both."),
        ({"RequestIds": [], "Function": "f"}, "Give RequestIds or Function, not both."),
        ({"Queue": "q", "Condition": "RetriesExhausted"}, "Condition chooses among the dead letters of a Function, not among RequestIds or the messages of a Queue."),
        ({"RequestIds": [], "Until": 1}, "Until chooses among the dead letters of a Function, not among RequestIds or the messages of a Queue."),
        ({"Queue": "q", "Marker": "m"}, "Marker chooses among the dead letters of a Function, not among RequestIds or the messages of a Queue."),
        ({"RequestIds": ["7f0b3a53-0000-4000-8000-000000000000", "7f0b3a53-0000-4000-8000-000000000001"], "Limit": 1}, "Give at most 1 RequestIds."),
        ({"Function": "f", "Condition": "retriesexhausted"}, "Condition must be one of RetriesExhausted, EventAgeExceeded, FunctionDeleted, ZeroReservedConcurrency, RecursiveInvocation, and not 'retriesexhausted'."),
        ({"Function": "f", "Limit": 0}, "Limit must be between 1 and 1000."),
        ({"Function": "f", "Marker": "x"}, "Marker is none that this list gave."),
        ({"Function": "a b"}, "'a b' is not a plain function name."),
    ],
)
def test_redrive_refuses_what_it_does_not_understand(server, body, expected):
    status, refused = ask(server, "events/redrive", body)
    assert (status, refused["message"]) == (400, expected)


@pytest.mark.covers("meter:redrive")
def test_redrive_of_nobody(server, client, deploy):
    unknown = "7f0b3a53-0000-4000-8000-000000000000"
    answer = ok(server, "events/redrive", {"RequestIds": [unknown]})
    assert answer == {"Redriven": [], "Refused": [{"RequestId": unknown, "Why": "there is no dead letter of this id"}], "DryRun": False}
    assert ok(server, "events/redrive", {"Function": "nobody"}) == {"Redriven": [], "Refused": [], "DryRun": False}
    status, refused = ask(server, "events/redrive", {"Queue": "nobody"})
    assert status == 400 and "The specified queue does not exist" in refused["message"]
    inside = deploy({"app.py": """
        import os, urllib.request, urllib.error
        def handler(event, context):
            try:
                return urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL"] + "/lamplight/v1/events/redrive", b'{"Function": "x"}').status
            except urllib.error.HTTPError as error:
                return error.code
    """})
    assert inside.ok() == 403, "functions get none of this"


@pytest.mark.covers("meter:where a request is")
def test_the_command_line_with_what_is_wrong_or_large(server, client, deploy):
    function = broken(deploy, client)
    # What JSON lets through and a terminal would act on.
    payload = json.dumps({"note": "\u009b31m\u202e" + "x" * 900_000}, ensure_ascii=False).encode()
    request_id = client.invoke(FunctionName=function.name, InvocationType="Event", Payload=payload)["ResponseMetadata"]["RequestId"]
    eventually(lambda: state(server, request_id) == "dead-lettered", "it was given up")
    found = ok(server, f"events/{request_id}")
    assert found["Attempts"] == 1 and found["Payload"].encode() == payload
    # Of an error as long as the event, type and beginning are kept, and can be read.
    (step,) = found["Steps"]
    assert json.loads(step["Error"])["errorType"] == json.loads(found["Error"])["errorType"] == "ValueError"
    assert len(step["Error"]) <= 4096 and json.loads(step["Error"])["errorMessage"].startswith("no \u009b31m")
    shown, _ = run(server, "show", request_id)
    assert "\u009b" not in shown and "\u202e" not in shown and "\\u{9b}31m\\u{202e}xxx" in shown
    assert f"(the first 2000 of {len(payload.decode())} characters; --json shows all)" in shown and len(shown) < 5_000
    assert "RetriesExhausted; ValueError: no " in shown
    assert json.loads(run(server, "--json", "show", request_id)[0])["Payload"] == found["Payload"]

    unknown = "7f0b3a53-0000-4000-8000-000000000000"
    for arguments, what in (
        (("show", unknown), f"There is no record of request {unknown} in us-east-1."),
        (("show", "nonsense"), "'nonsense' is not a request id."),
        (("list", "a b"), "'a b' is not a plain function name."),
        (("redrive", "--queue", "nobody-has-this"), "The specified queue does not exist."),
    ):
        shown, why = run(server, *arguments, status=2)
        assert shown == "" and f"error: the server refused: {what}\n" in why, why
    assert "lamplight events list" in run(server, "show", unknown, status=2)[1]
    quiet = deploy(SLEEPS).name
    assert run(server, "counts", quiet)[1] == f"no event of {quiet} was accepted yet\n"
    assert run(server, "list", quiet)[1].startswith("no event that fits waits, runs or was given up")
    # Named twice it is meant once.
    function.update(Environment={"Variables": {}})
    shown, why = run(server, "redrive", request_id, request_id.upper())
    assert (shown, why) == (f"{request_id} sent to {function.name}\n", "")
    eventually(lambda: counts(server, function.name) == (1, 1, 0, 0), "it is done")


@pytest.mark.covers("meter:redrive")
def test_the_command_line_without_a_server(new_server):
    server = new_server().start()
    server.stop()
    for arguments in (("list",), ("running",), ("counts",), ("show", "7f0b3a53-0000-4000-8000-000000000000"), ("redrive", "--function", "import")):
        shown, why = run(server, *arguments, status=3)
        assert shown == "" and f"error: no Lamplight server answers at {server.endpoint}\n" in why
        failure = json.loads(run(server, "--json", *arguments, status=3)[1])["error"]
        assert failure["status"] == 3 and failure["next"]
