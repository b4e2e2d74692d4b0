"""Streamed answers as boto3 gives them, and a gate that functions wait at until a test opens it."""

from __future__ import annotations

import base64
import itertools
import json
from dataclasses import dataclass, field

from support import functions

ACCESS_POINT = {"Arn": "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-00000000000000a7e", "LocalMountPath": "/mnt/gate"}
_numbers = itertools.count(1)


@dataclass
class Stream:
    """One streamed answer; iterate for its chunks, then read what the last frame said."""

    answer: dict
    complete: dict | None = None
    _events: object = field(default=None)

    def __post_init__(self):
        self._events = iter(self.answer["EventStream"])

    def __iter__(self):
        return self

    def __next__(self) -> bytes:
        for event in self._events:
            assert self.complete is None, "nothing comes after InvokeComplete"
            if "PayloadChunk" in event:
                return event["PayloadChunk"]["Payload"]
            self.complete = event["InvokeComplete"]
        assert self.complete is not None, "the answer ended without InvokeComplete"
        raise StopIteration

    def rest(self) -> bytes:
        return b"".join(self)

    @property
    def error(self) -> dict:
        """The document of a failed function."""
        assert self.complete["ErrorCode"] == "Unhandled"
        return json.loads(self.complete["ErrorDetails"])

    @property
    def log(self) -> str:
        return base64.b64decode(self.complete["LogResult"]).decode(errors="replace")


def invoke(function: functions.Function, event=None, **more) -> Stream:
    """Invokes with boto3; gives the answer when its first byte is there."""
    payload = json.dumps(event if event is not None else {}).encode()
    return Stream(function.server.client().invoke_with_response_stream(FunctionName=function.name, Payload=payload, **more))


class Gate:
    """A file on a file system of the platform: functions look for it, another function makes it."""

    OPENER = """
        def handler(event, context):
            import os
            if event.get("list"):
                return {name: os.path.getsize("/mnt/gate/" + name) for name in os.listdir("/mnt/gate")}
            open("/mnt/gate/" + event["open"], "w").close()
    """

    def __init__(self, deploy):
        self._opener = deploy({"app.py": self.OPENER}, FileSystemConfigs=[ACCESS_POINT])

    def new(self) -> str:
        return f"gate-{next(_numbers)}"

    def open(self, name: str) -> None:
        self._opener.ok({"open": name})

    def size(self, name: str) -> int | None:
        """Bytes of a file that a function made there."""
        return self._opener.ok({"list": True}).get(name)
