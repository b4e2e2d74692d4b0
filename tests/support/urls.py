"""Function URLs in tests: made with their policy, called over HTTP as a client without our help would."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
from dataclasses import dataclass
from urllib.parse import urlsplit

from support.server import Server

# What the console and SAM add to the policy of a function whose URL everybody may call.
PUBLIC = (
    {"StatementId": "FunctionURLAllowPublicAccess", "Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "NONE"},
    {"StatementId": "FunctionURLInvokeAllowPublicAccess", "Action": "lambda:InvokeFunction", "Principal": "*", "InvokedViaFunctionUrl": True},
)


@dataclass
class Reply:
    """One response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    def header(self, name: str) -> str | None:
        return self.headers[name]


@dataclass
class Url:
    """A function URL."""

    server: Server
    url: str

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def id(self) -> str:
        return self.host.split(".")[0]

    def request(self, method: str = "GET", target: str = "/", *, headers: dict[str, str] | list[tuple[str, str]] | None = None, body: bytes | None = None, host: str | None = None) -> Reply:
        """Sends one request to the server's address, with the URL's name as its Host."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", host or self.host)
            for name, value in headers.items() if isinstance(headers, dict) else headers or []:
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    def raw(self, request: bytes) -> bytes:
        """Sends bytes and reads until the server closes, which it does after a request it refuses or one with `Connection: close`."""
        received = b""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=20) as connection:
            try:
                connection.sendall(request.replace(b"{host}", self.host.encode()))
                while chunk := connection.recv(65_536):
                    received += chunk
            except (ConnectionResetError, BrokenPipeError):
                pass  # It did not wait for the rest.
        return received

    def curl(self, *arguments: str, target: str = "/") -> subprocess.CompletedProcess[bytes]:
        """Calls it with curl, which needs telling where names beneath localhost are."""
        name, port = self.host.rsplit(":", 1)
        command = ["curl", "--silent", "--show-error", "--max-time", "60", "--resolve", f"{name}:{port}:127.0.0.1", *arguments, f"http://{self.host}{target}"]
        return subprocess.run(command, capture_output=True, check=False)


def create(server: Server, name: str, *, qualifier: str | None = None, public: bool = True, auth_type: str = "NONE", **configuration) -> Url:
    """A URL of a function, or of its alias; with the policy that lets everybody call it unless told otherwise."""
    client = server.client()
    qualified = {"FunctionName": name} | ({"Qualifier": qualifier} if qualifier else {})
    if public:
        for statement in PUBLIC:
            client.add_permission(**qualified, **statement)
    return Url(server, client.create_function_url_config(**qualified, AuthType=auth_type, **configuration)["FunctionUrl"])
