"""Refusals as a client sees them."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError


def refused(call, **arguments) -> tuple[str, int, str]:
    """Code, status and text of the error that `call` must end with."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error, metadata = caught.value.response["Error"], caught.value.response["ResponseMetadata"]
    assert metadata["RetryAttempts"] == 0
    return error["Code"], metadata["HTTPStatusCode"], error["Message"]


def members(answer: dict) -> dict:
    """An answer without what the client added."""
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


NOT_FOUND = ("ResourceNotFoundException", 404)
INVALID = ("InvalidParameterValueException", 400)
VALIDATION = ("ValidationException", 400)
CONFLICT = ("ResourceConflictException", 409)
ABSENT = (*NOT_FOUND, "The resource you requested does not exist.")


def arn(name: str, qualifier: str | None = None) -> str:
    return f"arn:aws:lambda:us-east-1:000000000000:function:{name}" + (f":{qualifier}" if qualifier else "")
