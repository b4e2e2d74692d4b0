"""kill -9 while events that were given up are sent again, from the store and from a queue: none is lost, and none that is done runs again."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import urllib.error
import urllib.request
import uuid
from collections import Counter

import pytest

from support import functions, host

FILE_SYSTEM = [{"Arn": "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0000000000redrive", "LocalMountPath": "/mnt/out"}]
# Fails as long as there is a file of this name; otherwise writes down which event it had.
SOURCE = """
    import os
    def handler(event, context):
        if os.path.exists("/mnt/out/broken"):
            raise ValueError(event["id"])
        descriptor = os.open("/mnt/out/ran-" + event["id"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        os.write(descriptor, b"x")
        os.close(descriptor)
"""
EVENTS = 150
# Events that nobody here knows: records of failures in the queue, whose letters were forgotten.
FOREIGN = 30


class Letters:
    """A function whose events were all given up, and what became of them since."""

    def __init__(self, server, queue_arn: str | None = None):
        self.server = server
        more = {"DeadLetterConfig": {"TargetArn": queue_arn}} if queue_arn else {}
        self.function = functions.create(server, {"app.py": SOURCE}, name="import", FileSystemConfigs=FILE_SYSTEM, Timeout=30, **more)
        server.client().put_function_event_invoke_config(FunctionName="import", MaximumRetryAttempts=0)
        self.function.ok({"id": "probe"})
        (probe,) = (server.data_directory / "file-systems").rglob("ran-probe")
        self.output = probe.parent
        probe.unlink()
        (self.output / "broken").touch()
        self.ids = {self.send(str(number)): str(number) for number in range(EVENTS)}
        host.eventually(lambda: self.counts()["DeadLettered"] == EVENTS, "all were given up", seconds=120)
        (self.output / "broken").unlink()
        # Runs of events that were known to be done.
        self.done: dict[str, int] = {}
        self.acknowledged: set[str] = set()
        self.kills = 0

    def send(self, identity: str) -> str:
        answer = self.server.client().invoke(FunctionName="import", InvocationType="Event", Payload=json.dumps({"id": identity}))
        return answer["ResponseMetadata"]["RequestId"]

    def ask(self, path: str, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.server.endpoint}/lamplight/v1/{path}", data), timeout=60) as answer:
            return json.load(answer)

    def counts(self) -> dict[str, int]:
        found = self.ask("events/counts?Function=import")
        assert found["Accepted"] == found["Done"] + found["DeadLettered"] + found["Pending"], found
        return found

    def runs(self) -> Counter[str]:
        return Counter({path.name.removeprefix("ran-"): path.stat().st_size for path in self.output.glob("ran-*")})

    def state(self, request_id: str) -> str | None:
        """`None` of an event that nobody here knows."""
        try:
            return self.ask(f"events/{request_id}")["State"]
        except urllib.error.HTTPError as error:
            assert error.code == 404
            return None

    def redrive(self, body: dict) -> None:
        """Asks for one redrive after the other until the server is killed or nothing is left; notes what was acknowledged."""
        try:
            while True:
                answer = self.ask("events/redrive", body)
                assert not answer["Refused"], answer["Refused"][:3]
                self.acknowledged |= {row["RequestId"] for row in answer["Redriven"]}
                if not answer["Redriven"]:
                    return
        except (OSError, http.client.HTTPException):
            return  # Killed.

    def kill_while(self, body: dict, reached) -> None:
        """Kills the server as soon as `reached` holds of a redrive that is under way, and starts it again."""
        victim = self.server.pid if self.kills % 2 else self.server.tree().daemon.pid
        asking = threading.Thread(target=self.redrive, args=(body,))
        asking.start()
        host.eventually(lambda: reached() or not asking.is_alive(), "the redrive is under way", seconds=60, pause=0.001)
        os.kill(victim, signal.SIGKILL)
        self.server.process.wait(30)
        asking.join(60)
        assert not asking.is_alive()
        self.kills += 1
        self.server.start()

    def check(self, accepted: int) -> None:
        """What must hold right after each start."""
        assert self.counts()["Accepted"] == accepted
        for request_id in self.acknowledged:
            assert self.state(request_id) != "dead-lettered", "what was said to be sent is"
        states = {request_id: self.state(request_id) for request_id in self.ids}
        runs = self.runs()
        for request_id, state in states.items():
            ran = runs[self.ids[request_id]]
            if state in (None, "dead-lettered"):
                assert ran == 0, "what runs was sent, durably, before"
            if state == "done":
                assert ran >= 1, "what is done has run"
                assert self.done.setdefault(request_id, ran) == ran, "what is done never runs again"

    def finish(self, accepted: int) -> None:
        host.eventually(lambda: self.counts()["Done"] == accepted, "all are done", seconds=120)
        self.check(accepted)
        runs = self.runs()
        assert set(runs) == set(self.ids.values()), "each event ran"
        # At least once: what ran when the server was killed may have run twice.
        assert max(runs.values()) <= 1 + self.kills, runs.most_common(5)


@pytest.fixture
def server(new_server):
    server = new_server(listen="127.0.0.1:0").start()
    server.listen = f"127.0.0.1:{server.port}"
    yield server
    assert server.stop() == 0


@pytest.mark.timeout(400)
@pytest.mark.covers("meter:redrive kill -9")
def test_letters_of_the_store(server):
    letters = Letters(server)
    letters.check(EVENTS)
    # While one page after the other is sent, the server killed at another place of it each time.
    halfway = 0
    for generation in range(3):
        before = len(letters.acknowledged)
        letters.kill_while({"Function": "import", "Limit": 7}, lambda: len(letters.acknowledged) > before + 10 * generation)
        letters.check(EVENTS)
        halfway += 0 < letters.counts()["DeadLettered"] < EVENTS
    assert halfway, "it was killed in the middle of it"
    # All that is left in one request: it happens as a whole or not at all.
    left = letters.counts()["DeadLettered"]
    if left:
        letters.kill_while({"Function": "import"}, lambda: letters.counts()["DeadLettered"] < left)
        letters.check(EVENTS)
        assert letters.counts()["DeadLettered"] in (0, left)
    letters.redrive({"Function": "import"})
    letters.finish(EVENTS)


@pytest.mark.timeout(400)
@pytest.mark.covers("meter:redrive kill -9")
def test_messages_of_a_queue(server):
    url = server.client("sqs").create_queue(QueueName="failures")["QueueUrl"]
    arn = "arn:aws:sqs:us-east-1:000000000000:failures"
    letters = Letters(server, arn)
    client, sqs = server.client(), server.client("sqs")
    client.update_function_event_invoke_config(FunctionName="import", DestinationConfig={"OnFailure": {"Destination": arn}})
    for number in range(FOREIGN):
        request_id = str(uuid.uuid4())
        letters.ids[request_id] = f"foreign-{number}"
        record = {
            "version": "1.0",
            "requestContext": {"requestId": request_id, "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:import:$LATEST", "condition": "RetriesExhausted"},
            "requestPayload": {"id": f"foreign-{number}"},
        }
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(record))

    def messages() -> int:
        attributes = server.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return int(attributes["ApproximateNumberOfMessages"]) + int(attributes["ApproximateNumberOfMessagesNotVisible"])

    assert messages() == EVENTS + FOREIGN
    # In the middle of one large request: some messages are deleted, and more were to be.
    halfway = 0
    for sent in (5, 40, 100):
        most = EVENTS + FOREIGN - sent
        letters.kill_while({"Queue": "failures"}, lambda: messages() <= most)
        halfway += 0 < messages() < EVENTS + FOREIGN
        counts = letters.counts()
        accepted = counts["Accepted"]
        letters.check(accepted)
        # Each event is in the queue, or was sent; one may be both, when its message outlived the kill.
        assert EVENTS <= accepted <= EVENTS + FOREIGN
        foreign_left = EVENTS + FOREIGN - accepted
        assert messages() >= counts["DeadLettered"] + foreign_left, "what was not sent has its message"
    assert halfway, "it was killed in the middle of it"

    def empty() -> bool:
        letters.redrive({"Queue": "failures"})
        return messages() == 0

    # What the killed redrive had received is anybody's again after half a minute.
    host.eventually(empty, "the queue is empty", seconds=90, pause=0.5)
    letters.finish(EVENTS + FOREIGN)
