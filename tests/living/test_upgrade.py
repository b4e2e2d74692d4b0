"""Data of every format there was, opened by this program: functions, versions, events, ledger, logs, objects are all there.

`format_1` is the fixture of the store's own tests: the format before the ledger's second one. `format_2.tar.gz` is a backup that
`LAMPLIGHT_MAKE_FIXTURES=1 pytest living/test_upgrade.py` made once, with a server of that format; it is never changed. A change
of a format adds the next.
"""

import hashlib
import io
import json
import os
import subprocess
import tarfile
import urllib.request
from pathlib import Path

import pytest

from support import host
from support.functions import Function, create, zip_of
from support.server import BINARY, PLAIN_ENVIRONMENT

FIXTURES = Path(__file__).parent / "fixtures"
STORE_FIXTURES = Path(__file__).parents[2] / "crates/store/tests/fixtures"
# Nothing is too old to be kept.
KEEP = {"LAMPLIGHT_KEEP_LOG_DAYS": "36500", "LAMPLIGHT_KEEP_LEDGER_DAYS": "36500"}


def restore(file: Path, target: Path) -> None:
    done = subprocess.run([BINARY, "restore", file, "--data-dir", target], capture_output=True, text=True, timeout=60, env=PLAIN_ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr


def lamplight_json(server, *arguments):
    environment = {**PLAIN_ENVIRONMENT, "LAMPLIGHT_ENDPOINT": server.endpoint}
    done = subprocess.run([BINARY, *arguments, "--json"], capture_output=True, text=True, timeout=60, env=environment, check=True)
    return json.loads(done.stdout)


def own_api(server, path: str):
    with urllib.request.urlopen(f"{server.endpoint}/lamplight/v1/{path}") as answer:
        return json.load(answer)


def packed(directory: Path, file: Path) -> Path:
    """A data directory in the form of a backup, so that it can be given to the user of a server."""
    checksums = []
    with tarfile.open(file, "w:gz") as archive:

        def add(name: str, content: bytes) -> None:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o600
            archive.addfile(entry, io.BytesIO(content))

        add("lamplight-backup.json", json.dumps({"format": 1, "lamplight": "0.1.0", "made_at": ""}).encode())
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                name, content = str(path.relative_to(directory)), path.read_bytes()
                add(name, content)
                checksums.append({"path": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
        add("checksums.json", json.dumps(checksums).encode())
    return file


def messages(server, group: str) -> list[str]:
    pages = server.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
    return [event["message"].strip() for page in pages for event in page["events"]]


@pytest.mark.covers("living:upgrade", client="boto3")
def test_the_first_format(new_server, work_directory, tmp_path):
    target = work_directory / "format-1"
    restore(packed(STORE_FIXTURES / "format_1", tmp_path / "format_1.tar.gz"), target)
    server = new_server(data_directory=target, environment=KEEP).start()
    client = server.client()
    configuration = client.get_function_configuration(FunctionName="old")
    assert configuration["Environment"]["Variables"] == {"KEY": "value"} and configuration["State"] == "Active"
    assert [version["Version"] for version in client.list_versions_by_function(FunctionName="old")["Versions"]] == ["$LATEST", "1"]
    assert client.list_tags(Resource=configuration["FunctionArn"])["Tags"] == {"a": "b"}
    events = own_api(server, "functions/old/events")
    # One was done and one had failed for good. The third is of the year 1970: too old by now, and kept as a dead letter.
    assert events["Accepted"] == 3 and events["Done"] == 1 and events["DeadLettered"] + events["Pending"] == 2
    host.eventually(lambda: own_api(server, "functions/old/events")["DeadLettered"] == 2, "the event that waited is seen to")
    assert len(own_api(server, "functions/old/invocations")["Invocations"]) == 1
    assert messages(server, "/aws/lambda/old") == ["old line"]
    # What is old is changed and used like anything else.
    client.update_function_code(FunctionName="old", ZipFile=zip_of({"app.py": "import os\ndef handler(event, context): return os.environ['KEY']"}))
    function = Function(server, "old").wait("function_updated_v2")
    assert function.ok() == "value"
    assert len(own_api(server, "functions/old/invocations")["Invocations"]) == 2


def make_format_2(new_server, file: Path) -> None:
    server = new_server().start()
    client = server.client()
    layer = client.publish_layer_version(LayerName="old-layer", Content={"ZipFile": zip_of({"python/shared.py": "VALUE = 'from the layer'"})})
    source = "import os, shared\ndef handler(event, context):\n    print('said', event['n'])\n    return [os.environ['KEY'], shared.VALUE, event['n']]\n"
    function = create(server, {"app.py": source}, name="old", variables={"KEY": "value"}, Layers=[layer["LayerVersionArn"]], Tags={"a": "b"})
    client.publish_version(FunctionName="old")
    client.create_alias(FunctionName="old", Name="live", FunctionVersion="1")
    client.put_function_event_invoke_config(FunctionName="old", MaximumRetryAttempts=1)
    client.add_permission(FunctionName="old", StatementId="s", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com")
    function.ok({"n": 1})
    waiting = create(server, {"app.py": source}, name="waiting", variables={"KEY": "later"}, Layers=[layer["LayerVersionArn"]])
    client.put_function_concurrency(FunctionName="waiting", ReservedConcurrentExecutions=0)
    # The age of an event is bounded by six hours, so this one becomes a dead letter: counted, not lost.
    client.invoke(FunctionName="waiting", InvocationType="Event", Payload=b'{"n": 2}')
    s3 = server.client("s3")
    s3.create_bucket(Bucket="old-bucket")
    s3.put_object(Bucket="old-bucket", Key="a/key", Body=b"content", Metadata={"m": "v"})
    own_api(server, "functions/old/invocations")
    done = subprocess.run([BINARY, "backup", file, "--data-dir", server.data_directory], capture_output=True, text=True, timeout=60, env=PLAIN_ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.covers("living:upgrade", client="boto3")
def test_the_second_format(new_server, work_directory):
    file = FIXTURES / "format_2.tar.gz"
    if os.environ.get("LAMPLIGHT_MAKE_FIXTURES") and not file.exists():
        FIXTURES.mkdir(exist_ok=True)
        make_format_2(new_server, file)
    target = work_directory / "format-2"
    restore(file, target)
    server = new_server(data_directory=target, environment=KEEP).start()
    client = server.client()
    function = Function(server, "old")
    assert function.ok({"n": 3}) == ["value", "from the layer", 3]
    assert function.ok({"n": 4}, Qualifier="live") == ["value", "from the layer", 4]
    assert client.get_alias(FunctionName="old", Name="live")["FunctionVersion"] == "1"
    assert client.get_function_event_invoke_config(FunctionName="old")["MaximumRetryAttempts"] == 1
    assert json.loads(client.get_policy(FunctionName="old")["Policy"])["Statement"][0]["Sid"] == "s"
    assert client.get_function_concurrency(FunctionName="waiting")["ReservedConcurrentExecutions"] == 0
    events = own_api(server, "functions/waiting/events")
    assert events["Accepted"] == 1 and events["Done"] + events["DeadLettered"] + events["Pending"] == 1
    assert "said 1" in messages(server, "/aws/lambda/old")
    rows = lamplight_json(server, "usage", "old")["Rows"]
    assert sum(row["Requests"] for row in rows) == 3
    got = server.client("s3").get_object(Bucket="old-bucket", Key="a/key")
    assert got["Body"].read() == b"content" and got["Metadata"] == {"m": "v"}
