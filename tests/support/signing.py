"""Requests signed as clients sign them: by botocore, for a function URL or an API."""

from __future__ import annotations

import datetime
import json
import subprocess
from unittest import mock
from urllib.parse import urlsplit

import botocore.auth
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from support.server import BINARY, PLAIN_ENVIRONMENT, Server


def key(server: Server, *arguments: str) -> dict:
    """Runs `lamplight key ...` and gives its JSON; for `create` credentials that botocore takes are in it, too."""
    done = run(server, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.startswith("{") else {}


def run(server: Server, *arguments: str, json_output: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs `lamplight key ...`."""
    command = [BINARY, "--endpoint", server.endpoint, *(["--json"] if json_output else []), "key", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=PLAIN_ENVIRONMENT, check=False)


def credentials(made: dict) -> Credentials:
    """Those of a new key, or of AssumeRole's answer."""
    return Credentials(made["AccessKeyId"], made["SecretAccessKey"], made.get("SessionToken"))


def sign(who: Credentials, url: str, method: str = "GET", body: bytes = b"", headers: dict[str, str] | None = None, *, service: str = "lambda", region: str = "us-east-1", seconds_ago: int = 0) -> dict[str, str]:
    """The headers of a signed request, without Host."""
    request = AWSRequest(method, url, headers=headers or {}, data=body)
    with at(seconds_ago):
        SigV4Auth(who, service, region).add_auth(request)
    return dict(request.headers)


def presign(who: Credentials, url: str, seconds: int = 60, *, service: str = "lambda", seconds_ago: int = 0) -> str:
    """Path and query of a presigned GET."""
    request = AWSRequest("GET", url)
    with at(seconds_ago):
        SigV4QueryAuth(who, service, "us-east-1", expires=seconds).add_auth(request)
    parts = urlsplit(request.url)
    return f"{parts.path}?{parts.query}"


def at(seconds_ago: int):
    """The signer's clock."""
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) - datetime.timedelta(seconds=seconds_ago)
    return mock.patch.object(botocore.auth, "get_current_datetime", lambda *_, **__: now)
