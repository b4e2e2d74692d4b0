"""Internal extensions: threads of a custom runtime that register beside it."""

import pytest

# A custom runtime whose second thread registers as an extension before the first asks for events. After each event it works
# on for as long as the event says.
BOOTSTRAP = """\
#!/usr/bin/python3
import json, os, threading, time, urllib.request
base = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}"
def ask(method, path, headers={}, body=None):
    request = urllib.request.Request(base + path, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=None) as answer:
        return json.loads(answer.read() or b"null"), answer.headers
told, headers = ask("POST", "/2020-01-01/extension/register", {"Lambda-Extension-Name": "inside"}, b'{"events":["INVOKE"]}')
me = {"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]}
seen = []
def extension():
    while True:
        event, _ = ask("GET", "/2020-01-01/extension/event/next", me)
        seen.append(event["requestId"])
        os.environ.get("FAILS") and ask("POST", "/2020-01-01/extension/exit/error", {**me, "Lambda-Extension-Function-Error-Type": "Extension.Mine"}, b"{}")
        time.sleep(0.3)
        print("extension done", event["requestId"], flush=True)
threading.Thread(target=extension, daemon=True).start()
while True:
    event, headers = ask("GET", "/2018-06-01/runtime/invocation/next")
    request_id = headers["Lambda-Runtime-Aws-Request-Id"]
    if os.environ.get("FAILS"): time.sleep(60)
    ask("POST", f"/2018-06-01/runtime/invocation/{request_id}/response", body=json.dumps({"told": told, "seen": seen}).encode())
"""


@pytest.mark.covers("runtime:internal extensions", client="raw HTTP")
def test_the_instance_waits_for_its_extension(deploy):
    function = deploy({"bootstrap": BOOTSTRAP}, runtime="provided.al2023", handler="my.handler")
    first, second = function.invoke(), function.invoke()
    assert first.json["told"] == {"functionName": function.name, "functionVersion": "$LATEST", "handler": "my.handler"}
    # The answer does not wait for the extension; the instance, the duration and the log do.
    assert second.json["seen"][:1] == [first.request_id]
    for answer in (first, second):
        assert f"extension done {answer.request_id}" in answer.log
        assert float(answer.report["Duration"].split()[0]) >= 300


@pytest.mark.covers("runtime:internal extensions", client="raw HTTP")
def test_an_extension_that_fails_ends_the_instance(deploy):
    function = deploy({"bootstrap": BOOTSTRAP}, runtime="provided.al2023", handler="x", variables={"FAILS": "1"})
    answer = function.invoke()
    assert answer.error == "Unhandled" and answer.json["errorType"] == "Extension.ExitError"
    function.update(Environment={"Variables": {}})
    assert function.ok()["told"]["functionName"] == function.name
