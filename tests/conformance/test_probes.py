"""What supervisors and Prometheus ask, without signature."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest


def get(server, path, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(server.endpoint + path, headers=headers), timeout=10) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


@pytest.mark.covers("meter:health, ready, metrics", client="raw HTTP")
def test_probes(server):
    status, _, body = get(server, "/health")
    assert status == 200 and json.loads(body)["Status"] == "ok" and json.loads(body)["Version"]
    status, _, body = get(server, "/ready")
    assert (status, json.loads(body)) == (200, {"Status": "ready"})
    status, headers, page = get(server, "/metrics")
    assert status == 200 and headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "# TYPE lamplight_invocations_total counter" in page
    # Every line is one that Prometheus reads: a comment, or a name with labels and a number.
    for line in page.splitlines():
        assert line.startswith("# ") or float(line.rsplit(" ", 1)[1]) >= 0, line
    assert get(server, "/lamplight/v1/metrics")[2].splitlines()[0] == page.splitlines()[0]
    # A web page of another site learns nothing.
    assert get(server, "/metrics", Origin="https://evil.example")[0] == 403
    assert get(server, "/metrics/more")[0] in (403, 404)
