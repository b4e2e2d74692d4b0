"""Queues that are mapped to functions which write down what they get."""

from __future__ import annotations

import itertools
import json

from support import functions
from support.host import eventually

ACCESS_POINT = "fsap-00000000000queue"
FILE_SYSTEM = [{"Arn": f"arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/{ACCESS_POINT}", "LocalMountPath": "/mnt/out"}]
# Writes down each event it gets, in the order of their coming, then does what the messages say.
RECORDER = """
    import json, os, time, uuid
    NAME = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
    def note(kind, content):
        path = f"/mnt/out/{NAME}.{time.monotonic_ns():020}.{uuid.uuid4().hex}.{kind}"
        with open(path + ".part", "w") as file:
            json.dump(content, file)
        os.rename(path + ".part", path)
    def handler(event, context):
        note("event", {"event": event, "arn": context.invoked_function_arn, "trace": os.environ.get("_X_AMZN_TRACE_ID")})
        failed = []
        for record in event["Records"]:
            body = record["body"]
            if body.startswith("sleep "):
                time.sleep(float(body.split()[1]))
            if body == "raise" or body == "raise once" and record["attributes"]["ApproximateReceiveCount"] == "1":
                raise ValueError(body)
            if body.startswith("fail always") or body.startswith("fail once") and record["attributes"]["ApproximateReceiveCount"] == "1":
                failed.append({"itemIdentifier": record["messageId"]})
        note("end", {})
        return {"batchItemFailures": failed}
"""
numbers = itertools.count(1)


class Sources:
    """Queues, functions and mappings of one test, on one server."""

    def __init__(self, server, deploy=None):
        self.server = server
        self.deploy = deploy or (lambda files, **configuration: functions.create(server, files, **configuration))
        self.client, self.sqs = server.client(), server.client("sqs")
        self.urls, self.mappings = [], []

    def refresh(self) -> None:
        """After the server was started again."""
        self.client, self.sqs = self.server.client(), self.server.client("sqs")

    def queue(self, *, fifo=False, **attributes) -> str:
        if fifo:
            attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true", **attributes}
        attributes.setdefault("VisibilityTimeout", "5")
        self.urls.append(self.sqs.create_queue(QueueName=f"source-{next(numbers)}" + (".fifo" if fifo else ""), Attributes=attributes)["QueueUrl"])
        return self.urls[-1]

    def recorder(self, **configuration):
        return self.deploy({"app.py": RECORDER}, FileSystemConfigs=FILE_SYSTEM, **({"Timeout": 5} | configuration))

    def map(self, function: str, url: str, **given) -> str:
        uuid = self.client.create_event_source_mapping(FunctionName=function, EventSourceArn=arn(url), **given)["UUID"]
        self.mappings.append(uuid)
        return self.rest(uuid)

    def rest(self, uuid: str) -> str:
        eventually(lambda: self.client.get_event_source_mapping(UUID=uuid)["State"] in ("Enabled", "Disabled"), "the end of a transition")
        return uuid

    def change(self, uuid: str, **given) -> None:
        self.client.update_event_source_mapping(UUID=uuid, **given)
        self.rest(uuid)

    def send(self, url: str, *bodies: str, **given) -> list[str]:
        return [self.sqs.send_message(QueueUrl=url, MessageBody=body, **given)["MessageId"] for body in bodies]

    def send_one(self, url: str, body: str, **given) -> list[str]:
        """Sends one message and gives its body: what was acknowledged."""
        self.send(url, body, **given)
        return [body]

    def notes(self, function: str, kind: str = "event") -> list[dict]:
        directory = self.server.data_directory / "file-systems" / ACCESS_POINT
        return [json.loads(path.read_text()) for path in sorted(directory.glob(f"{function}.*.{kind}"))] if directory.exists() else []

    def events(self, function: str) -> list[dict]:
        return [note["event"] for note in self.notes(function)]

    def bodies(self, function: str) -> list[str]:
        return [record["body"] for event in self.events(function) for record in event["Records"]]

    def count(self, url: str) -> tuple[int, int]:
        """Visible, and in flight."""
        attributes = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return int(attributes["ApproximateNumberOfMessages"]), int(attributes["ApproximateNumberOfMessagesNotVisible"])

    def until_empty(self, url: str, seconds: float = 30.0) -> None:
        eventually(lambda: self.count(url) == (0, 0), f"{url} is empty", seconds)

    def until(self, function: str, events: int, seconds: float = 30.0) -> list[dict]:
        return eventually(lambda: len(found := self.events(function)) >= events and found, f"{events} events of {function}", seconds)

    def clean(self) -> None:
        for uuid in self.mappings:
            try:
                self.rest(uuid)
                self.client.delete_event_source_mapping(UUID=uuid)
            except self.client.exceptions.ResourceNotFoundException:
                pass
        for url in self.urls:
            try:
                self.sqs.delete_queue(QueueUrl=url)
            except self.sqs.exceptions.QueueDoesNotExist:
                pass


def arn(url: str) -> str:
    return f"arn:aws:sqs:us-east-1:000000000000:{url.rsplit('/', 1)[1]}"
