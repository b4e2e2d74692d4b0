"""Function URLs with the clients people have: curl, fetch of Node.js, a browser with CORS, the AWS command line."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import subprocess
import textwrap
import threading

import pytest

from support import urls
from support.functions import PYTHON
from support.server import BINARY

SOURCE = """
    import json

    def handler(event, context):
        body = {"method": event["requestContext"]["http"]["method"], "path": event["rawPath"], "body": event.get("body"), "asked": event["headers"].get("x-asked")}
        return {"statusCode": 200, "headers": {"content-type": "application/json", "x-told": "yes"}, "cookies": ["seen=1"], "body": json.dumps(body)}
"""
PAGE = """<!doctype html><title>page</title><pre id=out>waiting</pre><script>
const url = "%s";
const tell = (text) => { document.getElementById("out").textContent = text; };
(async () => {
  const said = [];
  for (const headers of [{}, {"x-asked": "me"}, {"x-other": "me"}]) {
    try {
      const answer = await fetch(url + "page", {method: "PUT", headers: {"content-type": "application/json", ...headers}, body: "1"});
      said.push([answer.status, (await answer.json()).asked ?? null, answer.headers.get("x-told"), answer.headers.get("x-amzn-requestid")]);
    } catch (error) { said.push(String(error.name)); }
  }
  tell("done " + JSON.stringify(said));
})();
</script>"""


@pytest.fixture
def function(deploy):
    return deploy({"app.py": SOURCE})


@pytest.mark.covers("operation:Function URLs", client="curl")
def test_curl(function):
    url = urls.create(function.server, function.name)
    done = url.curl("-i", "-X", "POST", "-H", "content-type: application/json", "-d", '{"a":1}', target="/a%20b?c=d")
    head, body = done.stdout.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 200 OK") and b"set-cookie: seen=1" in head
    assert json.loads(body) == {"method": "POST", "path": "/a%20b", "body": '{"a":1}', "asked": None}
    assert json.loads(url.curl("--http2", "--compressed").stdout)["method"] == "GET"
    assert url.curl("-I").stdout.startswith(b"HTTP/1.1 200 OK")
    # Reached by the name alone, as a person would type it: curl knows where names beneath localhost are.
    by_name = subprocess.run(["curl", "--silent", "--max-time", "60", url.url], capture_output=True, check=True)
    assert json.loads(by_name.stdout)["path"] == "/"


@pytest.mark.covers("operation:Function URLs", client="fetch of Node.js")
def test_fetch_of_node(function):
    if not shutil.which("node"):
        pytest.skip("no Node.js on this machine (get it with: apt-get install nodejs)")
    url = urls.create(function.server, function.name)
    program = """
        const answer = await fetch(process.argv[1] + "from/node", {method: "PATCH", headers: {"content-type": "text/plain", "x-asked": "node"}, body: "ü"});
        console.log(JSON.stringify([answer.status, answer.headers.getSetCookie(), await answer.json()]));
    """
    target = f"{function.server.endpoint}/_url/{url.id}/"
    done = subprocess.run(["node", "--input-type=module", "-e", program, target], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == [200, ["seen=1"], {"method": "PATCH", "path": "/from/node", "body": "ü", "asked": "node"}]


@functools.cache
def browser() -> str | None:
    return next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)


@pytest.mark.covers("operation:Function URLs", client="Chromium, CORS")
def test_a_page_of_another_origin_in_a_browser(function, client, tmp_path):
    """The browser judges: what CORS allows is read by the page, everything else fails in it."""
    if browser() is None:
        pytest.skip("no browser on this machine (get one with: apt-get install chromium)")
    url = urls.create(function.server, function.name)

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write((PAGE % url.url).encode())

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as pages:
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        origin = f"http://127.0.0.1:{pages.server_port}"

        def seen() -> list:
            command = [
                browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", f"--user-data-dir={tmp_path / 'profile'}",
                "--host-resolver-rules=MAP *.localhost 127.0.0.1", "--virtual-time-budget=30000", "--dump-dom", origin,
            ]
            environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
            assert "done [" in done.stdout, done.stdout + done.stderr[-2_000:]
            return json.loads(done.stdout.split("done ", 1)[1].split("</pre>")[0].replace("&amp;", "&"))

        assert seen() == ["TypeError"] * 3
        cors = {"AllowOrigins": [origin], "AllowMethods": ["PUT"], "AllowHeaders": ["content-type", "x-asked"], "ExposeHeaders": ["x-told"], "MaxAge": 0}
        client.update_function_url_config(FunctionName=function.name, Cors=cors)
        # The header that is not allowed keeps its request from being made; the one that is not exposed is not shown.
        assert seen() == [[200, None, "yes", None], [200, "me", "yes", None], "TypeError"]
        client.update_function_url_config(FunctionName=function.name, Cors=cors | {"AllowOrigins": ["https://elsewhere.example"]})
        assert seen() == ["TypeError"] * 3
        pages.shutdown()


@pytest.mark.covers("operation:Function URLs", client="HTTP")
def test_what_a_preflight_is_told(function):
    cors = {"AllowOrigins": ["https://a.example"], "AllowMethods": ["*"], "AllowHeaders": ["x-a", "x-b"], "AllowCredentials": True, "MaxAge": 300}
    url = urls.create(function.server, function.name, Cors=cors)
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "x-a"}
    reply = url.request("OPTIONS", headers=asked)
    told = {name.lower(): value for name, value in reply.headers.items() if name.lower().startswith("access-control-")}
    assert (reply.status, reply.body) == (200, b"")
    assert told == {
        "access-control-allow-origin": "https://a.example", "access-control-allow-credentials": "true", "access-control-allow-methods": "DELETE",
        "access-control-allow-headers": "x-a,x-b", "access-control-max-age": "300",
    }
    elsewhere = url.request("OPTIONS", headers=asked | {"Origin": "https://b.example"})
    assert not [name for name in elsewhere.headers if name.lower().startswith("access-control-")]
    # Without the header that makes it a preflight it is a request like any other.
    assert url.request("OPTIONS", headers={"Origin": "https://a.example"}).json["method"] == "OPTIONS"
    assert url.request("GET", headers={"Origin": "https://a.example"}).header("access-control-allow-origin") == "https://a.example"
    assert url.request("GET").header("access-control-allow-origin") is None


@pytest.mark.covers("operation:Function URLs", client="lamplight deploy --url")
def test_deploy_with_a_url(server, client, tmp_path):
    """One command, and curl works; a second time changes nothing about it."""
    (tmp_path / "with-a-url").mkdir()
    (tmp_path / "with-a-url" / "app.py").write_text(textwrap.dedent(SOURCE))

    def lamplight(*arguments):
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NO_COLOR": "1", "LAMPLIGHT_ENDPOINT": server.endpoint}
        return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=120, env=environment, check=True, cwd=tmp_path)

    try:
        done = lamplight("deploy", "./with-a-url", "--runtime", PYTHON, "--url")
        url = client.get_function_url_config(FunctionName="with-a-url")["FunctionUrl"]
        assert done.stdout.splitlines()[-1] == url
        assert urls.Url(server, url).request("GET", "/x").json["path"] == "/x"
        assert json.loads(lamplight("deploy", "./with-a-url", "--runtime", PYTHON, "--url", "--json").stdout)["FunctionUrl"] == url
        assert f"url          {url}\n" in lamplight("get", "with-a-url").stdout
        client.update_function_url_config(FunctionName="with-a-url", AuthType="AWS_IAM")
        assert f"url          {url} (signed requests only)\n" in lamplight("get", "with-a-url").stdout
    finally:
        client.delete_function(FunctionName="with-a-url")


@pytest.mark.covers("operation:Function URLs", client="aws-cli 2")
def test_the_aws_command_line(server, function, tmp_path):
    program = shutil.which("aws")
    if program is None:
        pytest.skip("no aws command on this machine (get it with: apt-get install awscli)")
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1", "AWS_PAGER": "",
    }

    def aws(*arguments):
        command = [program, "--endpoint-url", server.endpoint, "lambda", *arguments, "--function-name", function.name]
        return json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout)

    url = urls.Url(server, aws("create-function-url-config", "--auth-type", "NONE")["FunctionUrl"])
    aws("add-permission", "--statement-id", "url", "--action", "lambda:InvokeFunctionUrl", "--principal", "*", "--function-url-auth-type", "NONE")
    assert url.request().status == 403
    # As a command line that is older than the condition says it.
    aws("add-permission", "--statement-id", "function", "--action", "lambda:InvokeFunction", "--principal", "*")
    assert url.request().status == 200
