"""Functions that bring their own `bootstrap` and speak HTTP to the Runtime API."""

import pytest

# A whole custom runtime with the standard library of the host's Python only.
BOOTSTRAP = """\
#!/usr/bin/python3
import json, os, sys, urllib.request
base = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime"
def post(path, document, headers={}):
    request = urllib.request.Request(base + path, json.dumps(document).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 202, answer.status
while True:
    with urllib.request.urlopen(base + "/invocation/next", timeout=None) as answer:
        event, request_id = json.load(answer), answer.headers["Lambda-Runtime-Aws-Request-Id"]
        headers = dict(answer.headers)
    if event.get("fail"):
        post(f"/invocation/{request_id}/error", {"errorMessage": "asked to", "errorType": "Asked", "stackTrace": []}, {"Lambda-Runtime-Function-Error-Type": "Runtime.Asked"})
        continue
    post(f"/invocation/{request_id}/response", {"event": event, "headers": headers, "argv": sys.argv, "cwd": os.getcwd(), "environment": dict(os.environ)})
"""


@pytest.mark.covers("runtime:provided", client="raw HTTP")
@pytest.mark.parametrize("runtime", ["provided", "provided.al2", "provided.al2023"])
def test_a_bootstrap_of_its_own(deploy, runtime):
    function = deploy({"bootstrap": BOOTSTRAP}, runtime=runtime, handler="my.handler")
    answer = function.invoke({"n": 1})
    assert answer.error is None, answer.log
    seen = answer.json
    headers = {name.lower(): value for name, value in seen["headers"].items()}
    assert seen["event"] == {"n": 1}
    assert headers["lambda-runtime-aws-request-id"] == answer.request_id
    assert headers["lambda-runtime-invoked-function-arn"].endswith(f":function:{function.name}")
    assert int(headers["lambda-runtime-deadline-ms"]) > 0
    assert headers["content-type"] == "application/json"
    assert seen["cwd"] == "/var/task"
    assert seen["environment"]["_HANDLER"] == "my.handler"
    assert "AWS_EXECUTION_ENV" not in seen["environment"]
    failed = function.invoke({"fail": True})
    assert failed.error == "Unhandled"
    assert failed.json["errorType"] == "Asked"
    assert function.ok({"n": 2})["event"] == {"n": 2}


@pytest.mark.covers("input:missing handler, module, bootstrap")
@pytest.mark.parametrize("files", [{"readme": "no bootstrap"}], ids=["absent"])
def test_without_a_bootstrap(deploy, files):
    answer = deploy(files, runtime="provided.al2023", handler="x").invoke({})
    assert answer.error == "Unhandled"
    assert answer.json["errorType"] == "Runtime.InvalidEntrypoint"
    assert "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]" in answer.json["errorMessage"]


@pytest.mark.covers("runtime:provided", client="raw HTTP")
def test_a_shell_script_with_curl_like_tools_only(deploy):
    """A bootstrap that exits is an exit error with its status."""
    answer = deploy({"bootstrap": "#!/bin/sh\nexit 9\n"}, runtime="provided.al2023", handler="x").invoke({})
    assert answer.error == "Unhandled"
    assert answer.json["errorType"] == "Runtime.ExitError"
    assert "exit status 9" in answer.json["errorMessage"]
