"""An issuer of JSON Web Tokens on loopback: discovery, a key set, and tokens signed with real keys (openssl's)."""

from __future__ import annotations

import base64
import http.server
import json
import subprocess
import threading
import time
from pathlib import Path


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def openssl(*arguments: str, content: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=content, capture_output=True, check=True).stdout


class Issuer:
    """Counts how often its keys are asked for. `new_key` replaces the key, as issuers do from time to time."""

    def __init__(self, directory: Path):
        self._directory = directory
        self.requests: list[str] = []
        self.kid = 0
        self.new_key()
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.requests.append(self.path)
                documents = {
                    "/.well-known/openid-configuration": {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"},
                    "/keys": {"keys": [issuer.public]},
                }
                content = json.dumps(documents.get(self.path, {})).encode()
                self.send_response(200 if self.path in documents else 404)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def new_key(self) -> None:
        self.kid += 1
        self._key = self._directory / f"key-{self.kid}.pem"
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(self._key))
        modulus = bytes.fromhex(openssl("rsa", "-in", str(self._key), "-noout", "-modulus").decode().strip().split("=")[1])
        self.public = {"kty": "RSA", "kid": str(self.kid), "use": "sig", "alg": "RS256", "n": encoded(modulus), "e": "AQAB"}

    def token(self, *, header: dict | None = None, **claims) -> str:
        """A token that is good unless told otherwise; a claim of None is left out."""
        now = int(time.time())
        said = {"iss": self.url, "aud": "pets", "sub": "ann", "iat": now - 1, "exp": now + 600} | claims
        parts = [{"alg": "RS256", "kid": str(self.kid)} | (header or {}), {name: value for name, value in said.items() if value is not None}]
        signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{encoded(openssl('dgst', '-sha256', '-sign', str(self._key), content=signed.encode()))}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
