"""A server with a gateway listener of its own, configured by a file, and clients of it: curl, Python's ssl, raw sockets."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from support import host, urls

NAME = "apps.example.com"


def free_port() -> int:
    """A port nobody has now; names in certificates and URLs must know it before the server does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def certificate(directory: Path, name: str, *hosts: str, days: int = 30) -> tuple[Path, Path]:
    """A self-signed chain and its key, PEM, readable for everybody: the server is somebody else."""
    chain, key = directory / f"{name}.pem", directory / f"{name}.key"
    names = ",".join(f"DNS:{host}" for host in hosts)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(key), "-out", str(chain)]
    subprocess.run([*command, "-days", str(days), "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}", "-addext", "basicConstraints=critical,CA:FALSE"], check=True, capture_output=True)
    key.chmod(0o644)
    return chain, key


@dataclass
class Public:
    """Where the gateway of a server is."""

    directory: Path
    port: int
    configuration: dict[str, str] = field(default_factory=dict)
    server: object = None
    root: Path | None = None

    @property
    def file(self) -> Path:
        return self.directory / "config.toml"

    def write(self, **tables: str) -> None:
        """Changes tables of the configuration file: `gateway_limits="body_mib = 1"` is `[gateway.limits]`."""
        self.configuration |= tables
        text = ""
        for table, content in self.configuration.items():
            text += f"[{table.replace('_', '.')}]\n{content}\n"
        self.file.write_text(text)
        self.file.chmod(0o644)

    def reload(self, said: str = "read the configuration again") -> str:
        """SIGHUP, and what the server said until it had said `said`."""
        offset = len(self.server.log())
        os.kill(self.server.pid, signal.SIGHUP)
        host.eventually(lambda: said in self.server.log()[offset:], said)
        return self.server.log()[offset:]

    def curl(self, url: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Asks for a URL whose name leads to the gateway."""
        parts = urlsplit(url)
        command = ["curl", "--silent", "--show-error", "--max-time", "60", "--resolve", f"{parts.hostname}:{self.port}:127.0.0.1"]
        roots = ["--cacert", str(self.root)] if self.root else []
        return subprocess.run([*command, *roots, *arguments, url], capture_output=True, check=False)

    def status(self, url: str, *arguments: str) -> int:
        """The status alone."""
        answered = self.curl(url, "--output", "/dev/null", "--write-out", "%{http_code}", *arguments)
        assert answered.returncode == 0, answered.stderr
        return int(answered.stdout)

    def raw(self, request: bytes) -> bytes:
        """Bytes in clear text, and what comes until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(request)
            return read_to_end(connection)

    def shown(self, name: str | None) -> bytes:
        """The certificate that a client gets to see, DER."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            with context.wrap_socket(connection, server_hostname=name) as secured:
                return secured.getpeercert(binary_form=True)


def read_to_end(connection: socket.socket) -> bytes:
    received = b""
    try:
        while piece := connection.recv(65_536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def start(new_server, directory: Path, *, secured: bool = False, gateway: str = "", **tables: str) -> Public:
    """A running server whose gateway listens by itself. With `secured` it shows one certificate for `NAME` and the names beneath."""
    directory.mkdir(mode=0o755, parents=True)
    public = Public(directory, free_port())
    if secured:
        chain, key = certificate(directory, "first", NAME, f"*.lambda-url.us-east-1.{NAME}")
        tables = {"gateway_tls": f'certificates = ["{chain}"]\nkeys = ["{key}"]'} | tables
        gateway += f'\npublic_url = "https://{NAME}:{public.port}"'
        public.root = chain
    public.write(gateway=f'listen = "127.0.0.1:{public.port}"\n{gateway}', **tables)
    public.server = new_server(data_directory=directory / "data", environment={"LAMPLIGHT_CONFIG": str(public.file)})
    public.server.start()
    return public


def url_of(public: Public, function) -> str:
    """The URL of a function that everybody may call, as the API gives it."""
    return urls.create(public.server, function.name).url


def port_in(url: str) -> int:
    return int(re.search(r":(\d+)/", url).group(1))
