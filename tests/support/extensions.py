"""Layers with external extensions, and an extension that notes what it is told where its function can read it."""

from __future__ import annotations

import contextlib
import itertools
import time
import uuid

from support.functions import zip_of

_numbers = itertools.count(1)

# Notes each event in /tmp/events and does for each INVOKE what the function's environment says.
NOTES = """\
#!/usr/bin/python3
import json, os, signal, sys, time, urllib.request
base = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2020-01-01/extension/"
name = os.path.basename(__file__)
def ask(path, headers={}, body=None):
    with urllib.request.urlopen(urllib.request.Request(base + path, body, headers), timeout=None) as answer:
        return json.load(answer), answer.headers
def note(what):
    with open("/tmp/events", "a") as file: file.write(json.dumps(what) + "\\n")
do = os.environ.get("DO", "")
if do == "crash at once": sys.exit(3)
note({"started": name, "environment": dict(os.environ), "directory": os.getcwd(), "runtime": os.path.exists("/tmp/runtime")})
told, headers = ask("register", {"Lambda-Extension-Name": name, "Lambda-Extension-Accept-Feature": "accountId"}, b'{"events":["INVOKE","SHUTDOWN"]}')
me = {"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]}
note({"registered": told})
print(f"{name} registered", flush=True)
if do == "init error":
    ask("init/error", {**me, "Lambda-Extension-Function-Error-Type": "Extension.NoConfiguration"}, b"{}")
    sys.exit(2)
while True:
    event, headers = ask("event/next", me)
    note(event)
    if event["eventType"] == "SHUTDOWN":
        left = event["deadlineMs"] / 1000 - time.time()
        print(f"{name} ends: {event['shutdownReason']}, {left > 1.4 and left < 2}", flush=True)
        if do == "linger": time.sleep(60)
        sys.exit(0)
    if do == "exit": sys.exit(4)
    if do == "exit error":
        ask("exit/error", {**me, "Lambda-Extension-Function-Error-Type": "Extension.Mine"}, b"{}")
        time.sleep(60)
    if do == "work": time.sleep(0.4)
    print(f"{name} done {event['requestId']}", flush=True)
"""

# Subscribes by both APIs as its environment says, and notes what comes in /tmp/telemetry, one event in each line.
LISTENS = """\
#!/usr/bin/python3
import http.server, json, os, socket, sys, threading, urllib.error, urllib.request
root = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}"
def ask(path, headers={}, body=None, method=None):
    try:
        with urllib.request.urlopen(urllib.request.Request(root + path, body, headers, method=method), timeout=None) as answer:
            return answer.status, json.load(answer), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), error.headers
def note(events, file="/tmp/telemetry"):
    with open(file, "a") as file: file.writelines(json.dumps(event) + "\\n" for event in events)
current, reported = None, threading.Event()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        note(events)
        if any(event["type"] == "platform.report" and event["record"]["requestId"] == current for event in events): reported.set()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("", 8080), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
listener = socket.create_server(("", 8081))
def lines():
    connection, _ = listener.accept()
    for line in connection.makefile(): note([json.loads(line)], "/tmp/lines")
threading.Thread(target=lines, daemon=True).start()
_, _, headers = ask("/2020-01-01/extension/register", {"Lambda-Extension-Name": os.path.basename(__file__)}, b'{"events":["INVOKE","SHUTDOWN"]}')
me = {"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]}
answers = []
for path, request in json.loads(os.environ["SUBSCRIBE"]):
    answers.append(ask(path, me, json.dumps(request).encode(), "PUT")[:2])
note(answers, "/tmp/answers")
while True:
    _, event, _ = ask("/2020-01-01/extension/event/next", me)
    if event["eventType"] == "SHUTDOWN":
        # As extensions do: the last report is on its way.
        if "platform" in os.environ["SUBSCRIBE"]: reported.wait(1)
        sys.exit(0)
    reported.clear()
    current = event["requestId"]
    if "LATE" in os.environ:
        path, request = json.loads(os.environ["SUBSCRIBE"])[0]
        note([ask(path, me, json.dumps(request).encode(), "PUT")[:2]], "/tmp/answers")
    print("the extension prints", flush=True)
"""

# Answers with what the extensions noted.
FUNCTION = """\
import json, os, signal, time
open("/tmp/runtime", "w").close()
def end(*_):
    with open("/tmp/events", "a") as file: file.write('{"runtime": "SIGTERM"}\\n')
    os._exit(0)
signal.signal(signal.SIGTERM, end)
def handler(event, context):
    if event.get("do") == "exit": os._exit(1)
    print("the function prints", event.get("print"), flush=True)
    time.sleep(event.get("sleep", 0))
    wanted = event.get("until")
    deadline = time.time() + 8
    while True:
        text = "".join(open(name).read() for name in event.get("files", ["/tmp/events"]) if os.path.exists(name))
        if wanted is None or wanted in text or time.time() > deadline:
            return [json.loads(line) for line in text.splitlines()]
        time.sleep(0.01)
"""


@contextlib.contextmanager
def layer(client, files: dict[str, str | bytes]):
    """The ARN of a layer with these files, which is deleted afterwards."""
    name = f"extension-{next(_numbers)}-{uuid.uuid4().hex[:6]}"
    published = client.publish_layer_version(LayerName=name, Content={"ZipFile": zip_of(files)})
    yield published["LayerVersionArn"]
    client.delete_layer_version(LayerName=name, VersionNumber=published["Version"])


def log_until(function, text: str) -> list[str]:
    """The lines of a function's log, once one holds this text."""
    logs = function.server.client("logs")
    deadline = time.monotonic() + 20
    while True:
        lines = []
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{function.name}"):
            lines += [event["message"] for event in page["events"]]
        if any(text in line for line in lines):
            return lines
        assert time.monotonic() < deadline, "".join(lines)
        time.sleep(0.05)
