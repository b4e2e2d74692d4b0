"""`backup` while the server works, `restore` into an empty directory: nothing of what was acknowledged before is missing."""

import gzip
import json
import os
import re
import stat
import subprocess
import tarfile
import threading

import pytest

from support import host, signing, urls
from support.functions import Function, create, hold_its_place, zip_of
from support.server import BINARY, PLAIN_ENVIRONMENT, binary_for_everybody

CODE = {"app.py": "import os, time\ndef handler(event, context):\n    time.sleep(100 if event.get('hold') else 0)\n    print('said', event.get('n'))\n    return os.environ.get('SECRET')\n"}
WAITING = 25


def lamplight(*arguments, expected=0, **options):
    program = binary_for_everybody() if "user" in options else BINARY
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=100 * host.SLOWNESS, env=PLAIN_ENVIRONMENT, **options)
    assert done.returncode == expected, f"lamplight {arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def requests(server) -> int:
    """Calls of the worker that the ledger knows."""
    return sum(row["Requests"] for row in json.loads(lamplight("usage", "worker", "--json", "--endpoint", server.endpoint).stdout)["Rows"])


class Load:
    """Calls, events and objects, all the while; every acknowledged object is known with its bytes."""

    def __init__(self, server, function):
        self._server, self._function = server, function
        self._stop = threading.Event()
        self.objects: dict[str, bytes] = {}
        self.events = self.calls = 0
        self.failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(work,)) for work in (self._call, self._event, self._put, self._replace)]

    def __enter__(self):
        self._server.client(), self._server.client("s3").create_bucket(Bucket="load")
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, work):
        count = 0
        while not self._stop.is_set():
            count += 1
            try:
                work(count)
            except BaseException as error:  # noqa: BLE001 - told by the test
                self.failures.append(error)
                return

    def _call(self, count):
        self._function.ok({"n": count})
        self.calls = count

    def _event(self, count):
        self._server.client().invoke(FunctionName=self._function.name, InvocationType="Event", Payload=json.dumps({"n": -count}))
        self.events = count

    def _put(self, count):
        body = os.urandom(20_000)
        self._server.client("s3").put_object(Bucket="load", Key=f"kept-{count}", Body=body)
        self.objects[f"kept-{count}"] = body

    def _replace(self, count):
        self._server.client("s3").put_object(Bucket="load", Key="replaced", Body=b"%d " % count * 5_000)


@pytest.fixture(scope="module")
def backup(work_directory):
    """One server under load, its backup, and what it must hold."""
    from support.server import Server

    server = Server(work_directory / "backup-source", environment={"LAMPLIGHT_DRAIN_SECONDS": "0"}).start()
    try:
        client = server.client()
        layer = client.publish_layer_version(LayerName="shared", Content={"ZipFile": zip_of({"python/shared.py": "VALUE = 'from the layer'"})})
        function = create(server, CODE, name="worker", variables={"SECRET": "sealed"}, Layers=[layer["LayerVersionArn"]], Tags={"team": "blue"})
        version = client.publish_version(FunctionName="worker")["Version"]
        client.create_alias(FunctionName="worker", Name="live", FunctionVersion=version)
        create(server, CODE, name="waiting", variables={"SECRET": "later"}, Timeout=120)
        hold_its_place(server, "waiting")
        for number in range(WAITING):
            client.invoke(FunctionName="waiting", InvocationType="Event", Payload=json.dumps({"n": number}))
        queue = server.client("sqs").create_queue(QueueName="orders")["QueueUrl"]
        server.client("sqs").send_message(QueueUrl=queue, MessageBody="an order")
        server.client("ssm").put_parameter(Name="/app/password", Value="parameter", Type="SecureString")
        server.client("secretsmanager").create_secret(Name="app", SecretString="secret")
        urls.create(server, "worker", public=False, auth_type="AWS_IAM")
        key = signing.key(server, "create", "--name", "ann")
        file = work_directory / "lamplight.tar.gz"
        load = Load(server, function)
        with load:
            host.eventually(lambda: load.failures or (load.calls > 5 and load.events > 5 and len(load.objects) > 5), "the load is under way")
            before, recorded = dict(load.objects), requests(server)
            done = lamplight("backup", file, "--data-dir", server.data_directory, "--json")
            after = len(load.objects)
            host.eventually(lambda: load.failures or len(load.objects) > after, "the load goes on")
        assert not load.failures, load.failures
        said = json.loads(done.stdout)
        text = lamplight("backup", work_directory / "again.tar.gz", "--data-dir", server.data_directory)
        code = client.get_function_configuration(FunctionName="worker")["CodeSha256"]
    finally:
        server.stop()
        server.assert_nothing_left()
    return {"file": file, "said": said, "text": text, "before": before, "all": load.objects, "requests": recorded, "code": code, "source": server, "key": key}


@pytest.mark.covers("living:backup", client="boto3")
def test_what_was_acknowledged_before_is_in_it(backup, new_server, work_directory):
    target = work_directory / "restored"
    done = lamplight("restore", backup["file"], "--data-dir", target)
    assert "every checksum right" in done.stdout and "file-systems/" in done.stderr
    server = new_server(data_directory=target).start()
    client, s3 = server.client(), server.client("s3")
    configuration = client.get_function_configuration(FunctionName="worker")
    assert configuration["CodeSha256"] == backup["code"]
    assert configuration["Environment"]["Variables"] == {"SECRET": "sealed"}
    assert client.list_tags(Resource=configuration["FunctionArn"])["Tags"] == {"team": "blue"}
    assert client.get_alias(FunctionName="worker", Name="live")["FunctionVersion"] == "1"
    worker = Function(server, "worker")
    assert worker.ok({"n": "after"}, Qualifier="live") == "sealed"
    there = {key["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket="load") for key in page["Contents"]}
    assert set(backup["before"]) <= there and there <= set(backup["all"]) | {"replaced"}
    for key in there - {"replaced"}:
        assert s3.get_object(Bucket="load", Key=key)["Body"].read() == backup["all"][key], key
    replaced = s3.get_object(Bucket="load", Key="replaced")["Body"].read()
    assert replaced == replaced[: replaced.index(b" ") + 1] * 5_000, "one of the bodies that were put, whole"
    # The log of a call that had been answered, and its record.
    logs = server.client("logs")
    messages = [event["message"] for page in logs.get_paginator("filter_log_events").paginate(logGroupName="/aws/lambda/worker") for event in page["events"]]
    assert "said 1" in [message.strip() for message in messages]
    assert requests(server) >= backup["requests"]
    sqs = server.client("sqs")
    received = sqs.receive_message(QueueUrl=sqs.get_queue_url(QueueName="orders")["QueueUrl"])
    assert [message["Body"] for message in received["Messages"]] == ["an order"]
    parameter = server.client("ssm").get_parameter(Name="/app/password", WithDecryption=True)["Parameter"]
    assert parameter["Value"] == "parameter"
    assert server.client("secretsmanager").get_secret_value(SecretId="app")["SecretString"] == "secret"
    # The key signs on.
    url = urls.Url(server, client.get_function_url_config(FunctionName="worker")["FunctionUrl"])
    assert url.request(headers=signing.sign(signing.credentials(backup["key"]), url.url)).text == "sealed"


@pytest.mark.timeout(200)
@pytest.mark.covers("living:backup of waiting events", client="boto3")
def test_waiting_events_run_after_the_restore(backup, new_server, work_directory):
    target = work_directory / "restored-events"
    lamplight("restore", backup["file"], "--data-dir", target)
    server = new_server(data_directory=target).start()
    server.client().delete_function_concurrency(FunctionName="waiting")
    logs = server.client("logs")

    def said():
        try:
            pages = logs.get_paginator("filter_log_events").paginate(logGroupName="/aws/lambda/waiting")
            return sorted(int(event["message"].split()[1]) for page in pages for event in page["events"] if re.fullmatch(r"said \d+", event["message"].strip()))
        except logs.exceptions.ResourceNotFoundException:
            return []

    # Events that were refused for want of a place are tried again after a while that doubles: a minute is usual.
    host.eventually(lambda: len(set(said())) == WAITING, "every waiting event runs", seconds=110)
    assert set(said()) == set(range(WAITING))


@pytest.mark.covers("living:backup", client="lamplight")
def test_what_it_says(backup):
    said = backup["said"]
    assert said["contains_key"] is True and said["left_out"] == [] and said["bytes"] == backup["file"].stat().st_size
    mode = backup["file"].stat()
    assert stat.S_IMODE(mode.st_mode) == 0o600 and mode.st_uid == 0
    text = backup["text"]
    assert "WARNING: this file holds the key" in text.stderr and "not in it:" in text.stderr and "file-systems/" in text.stderr
    with tarfile.open(backup["file"]) as archive:
        names = archive.getnames()
    assert names[0] == "lamplight-backup.json" and names[-1] == "checksums.json"
    assert {"key", "metadata.sqlite", "ledger.sqlite", "objects.sqlite"} <= set(names)
    assert not any(name.startswith(("code/unpacked", "temporary", "host")) or name in ("lock", "keeper.lock") for name in names)
    assert not (backup["source"].data_directory / "backup.partial").exists()


def refused(work_directory, file, *words, name="refused"):
    target = work_directory / name
    done = lamplight("restore", file, "--data-dir", target, expected=2)
    for word in words:
        assert word in done.stderr, done.stderr
    assert not target.exists(), "as it was before: absent"


@pytest.mark.covers("living:restore refuses", client="lamplight")
def test_damaged_archives_restore_nothing(backup, work_directory, tmp_path):
    whole = gzip.decompress(backup["file"].read_bytes())
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(backup["file"].read_bytes()[: backup["file"].stat().st_size // 2])
    refused(work_directory, cut, "the backup is damaged")
    with tarfile.open(backup["file"]) as archive:
        content = next(member for member in archive if member.name.startswith("objects/content/") and member.isfile())
    changed = bytearray(whole)
    changed[content.offset_data + 7] ^= 1
    flipped = tmp_path / "flipped.tar.gz"
    flipped.write_bytes(gzip.compress(bytes(changed), 1))
    refused(work_directory, flipped, "the backup is damaged", f"{content.name} is not what was backed up")
    stranger = tmp_path / "stranger.tar.gz"
    with tarfile.open(stranger, "w:gz") as archive:
        archive.add(__file__, "something.py")
    refused(work_directory, stranger, "is no backup of Lamplight")
    refused(work_directory, work_directory / "absent", "failed to open the backup")


@pytest.mark.covers("living:restore refuses", client="lamplight")
def test_paths_that_escape_are_refused(backup, work_directory, tmp_path):
    for name in ("../escaped", "/var/tmp/escaped", "restore.partial/x"):
        hostile = tmp_path / "hostile.tar.gz"
        with tarfile.open(backup["file"]) as source, tarfile.open(hostile, "w:gz") as archive:
            head = source.next()
            archive.addfile(head, source.extractfile(head))
            entry = tarfile.TarInfo(name)
            archive.addfile(entry)
        refused(work_directory, hostile, "the backup is damaged")
    assert not (work_directory / "escaped").exists()


@pytest.mark.covers("living:restore refuses", client="lamplight")
def test_only_an_empty_directory_is_restored_into(backup, work_directory):
    target = work_directory / "used"
    target.mkdir()
    (target / "mine").write_text("kept")
    done = lamplight("restore", backup["file"], "--data-dir", target, expected=2)
    assert "is not empty" in done.stderr and "mine" in done.stderr
    assert (target / "mine").read_text() == "kept" and os.listdir(target) == ["mine"]
    source = backup["source"].data_directory
    assert "is not empty" in lamplight("restore", backup["file"], "--data-dir", source, expected=2).stderr


@pytest.mark.covers("living:restore refuses", client="lamplight")
def test_a_server_does_not_start_on_half_a_restore_and_another_restore_mends_it(backup, new_server, work_directory):
    target = work_directory / "half"
    lamplight("restore", backup["file"], "--data-dir", target)
    owner = (target / "metadata.sqlite").stat()
    (target / "restore.partial").mkdir()
    os.chown(target / "restore.partial", owner.st_uid, owner.st_gid)
    started = lamplight("serve", "--listen", "127.0.0.1:0", "--data-dir", target, expected=2)
    assert "was not finished" in started.stderr
    lamplight("restore", backup["file"], "--data-dir", target)
    server = new_server(data_directory=target).start()
    assert server.client().get_function(FunctionName="worker")["Configuration"]["CodeSha256"] == backup["code"]


@pytest.mark.covers("living:backup", client="lamplight")
def test_a_stopped_server_is_backed_up_too_and_strangers_are_refused(backup, work_directory, tmp_path):
    source = backup["source"].data_directory
    lamplight("backup", tmp_path / "stopped.tar.gz", "--data-dir", source)
    assert (tmp_path / "stopped.tar.gz").stat().st_size > 0
    assert "is there already" in lamplight("backup", tmp_path / "stopped.tar.gz", "--data-dir", source, expected=2).stderr
    assert "would lie in what it copies" in lamplight("backup", source / "a.tar.gz", "--data-dir", source, expected=2).stderr
    assert "there is nothing to back up" in lamplight("backup", tmp_path / "b.tar.gz", "--data-dir", tmp_path / "absent", expected=2).stderr
    assert os.listdir(tmp_path) == ["stopped.tar.gz"], "no half a file"
    for command in ("backup", "restore"):
        done = lamplight(command, "/var/tmp/x.tar.gz", expected=2, user=65534)
        assert f"{command} must be started as root" in done.stderr
