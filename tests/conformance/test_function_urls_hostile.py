"""Function URLs and requests that no honest client sends, over raw sockets: each gets the protocol's own error, and nobody else notices."""

from __future__ import annotations

import json
import re
import socket

import pytest

from support import functions, urls

# Counts its calls where all can see: the body of an answer says how often this instance was called.
COUNTER = """
    calls = []

    def handler(event, context):
        calls.append(event["rawPath"])
        return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": __import__("json").dumps({"calls": calls, "event": event})}
"""
HEAD = b"POST /first HTTP/1.1\r\nHost: {host}\r\n"


@pytest.fixture(scope="module")
def counter(shared_server):
    function = functions.create(shared_server.get(), {"app.py": COUNTER})
    yield function
    function.delete()


@pytest.fixture(scope="module")
def url(counter):
    return urls.create(counter.server, counter.name)


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


def calls(url) -> list[str]:
    """What reached the function until now, this question besides."""
    return url.request("GET", "/count").json["calls"]


@pytest.mark.covers("operation:Function URLs", client="raw sockets")
@pytest.mark.parametrize("name, request_bytes", [
    ("two different lengths", HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    ("a list of lengths", HEAD + b"Content-Length: 5, 6\r\n\r\nhello!"),
    ("a signed length", HEAD + b"Content-Length: +5\r\n\r\nhello"),
    ("a hexadecimal length", HEAD + b"Content-Length: 0x5\r\n\r\nhello"),
    ("a negative length", HEAD + b"Content-Length: -1\r\n\r\n"),
    ("a length with a space before the colon", HEAD + b"Content-Length : 5\r\n\r\nhello"),
    ("an encoding that is not chunked", HEAD + b"Transfer-Encoding: gzip\r\n\r\nhello"),
    ("chunked, but not last", HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    ("an obfuscated encoding", HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("chunked in HTTP/1.0", b"POST /first HTTP/1.0\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a folded header", HEAD + b"X-Folded: one\r\n two\r\nContent-Length: 0\r\n\r\n"),
    ("a header without a name", HEAD + b": nameless\r\n\r\n"),
    ("a space in a header's name", HEAD + b"X Y: z\r\n\r\n"),
    ("a NUL in a header's value", HEAD + b"X-Nul: a\x00b\r\n\r\n"),
    ("a bare carriage return in a header", HEAD + b"X-Bare: a\rContent-Length: 5\r\n\r\nhello"),
    ("a space in the path", b"GET /a b HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    ("a control character in the path", b"GET /a\x01b HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    ("an unknown version", b"GET / HTTP/9.9\r\nHost: {host}\r\n\r\n"),
    ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS\r\n\r\n"),
])
def test_what_is_no_request_is_400_and_reaches_nobody(url, name, request_bytes):
    before = calls(url)
    received = url.raw(request_bytes)
    assert statuses(received)[:1] in ([400], []), (name, received)
    assert statuses(received) in ([400], []), f"{name}: nothing after it is a request: {received!r}"
    assert calls(url) == [*before, "/count"], f"{name} reached the function"


@pytest.mark.covers("operation:Function URLs", client="raw sockets")
def test_length_and_encoding_together(url):
    # RFC 9112, 6.3: chunked counts, and the connection is not used again, whatever an intermediary took for the end.
    smuggled = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n"
    for headers in (b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n"):
        received = url.raw(HEAD + headers % len(smuggled) + b"\r\n" + smuggled)
        assert statuses(received) == [200], received
    assert "/smuggled" not in calls(url)


@pytest.mark.covers("operation:Function URLs", client="raw sockets")
def test_bare_line_feeds_end_no_other_request(url):
    # RFC 9112, 2.2 lets a server take a bare line feed for the end of a line; then it is the end for all of them.
    received = url.raw(b"GET /lenient HTTP/1.1\nHost: {host}\nConnection: close\n\n")
    assert statuses(received) in ([200], [400])


@pytest.mark.covers("operation:Function URLs", client="raw sockets")
def test_heads_that_are_too_long(url):
    for request_bytes in (HEAD + b"X-Long: " + b"x" * (1 << 20) + b"\r\n\r\n", b"GET /" + b"x" * (1 << 20) + b" HTTP/1.1\r\nHost: {host}\r\n\r\n", HEAD + b"X-Many: 1\r\n" * 50_000 + b"\r\n"):
        received = url.raw(request_bytes)
        assert statuses(received) in ([431], [414], [400], []), received[:200]


@pytest.mark.covers("operation:Function URLs", client="raw sockets")
def test_paths_stay_what_they_are(url):
    """Nothing is decoded, normalised or taken for another URL's; what is no UTF-8 is kept, too."""
    for path in ("/../../etc/passwd", "/a/./b//c", "/%2e%2e/%2F", "/%ff%zz%", "/a%00b", "/2015-03-31/functions", "/_url/x/y", "//evil.example/", "/?"):
        event = url.request("GET", path).json["event"]
        assert event["rawPath"] == path.split("?")[0], path
    event = url.request("GET", "/?a=%ff&b=%zz&%00=c&=&&d").json["event"]
    assert event["rawQueryString"] == "a=%ff&b=%zz&%00=c&=&&d"
    assert event["queryStringParameters"]["a"] == "\ufffd" and event["queryStringParameters"]["b"] == "%zz"
    received = url.raw(b"GET /raw HTTP/1.1\r\nHost: {host}\r\nX-Bytes: a\xff\xfeb\r\nConnection: close\r\n\r\n")
    assert statuses(received) == [200]
    assert json.loads(received.split(b"\r\n\r\n", 1)[1])["event"]["headers"]["x-bytes"] == "aÿþb"


@pytest.mark.covers("operation:Function URLs", client="raw sockets")
def test_which_host_counts(server, url):
    other = f"{'0' * 32}.lambda-url.us-east-1.localhost:{server.port}".encode()
    # RFC 9112, 3.2: two of them, or none, are no request; a target in absolute form counts more than the header.
    assert statuses(url.raw(b"GET / HTTP/1.1\r\nHost: {host}\r\nHost: " + other + b"\r\nConnection: close\r\n\r\n")) == [400]
    assert statuses(url.raw(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")) == [403]
    assert statuses(url.raw(b"GET http://{host}/absolute HTTP/1.1\r\nHost: " + other + b"\r\nConnection: close\r\n\r\n")) == [200]
    assert statuses(url.raw(b"GET http://" + other + b"/absolute HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")) == [403]


@pytest.mark.covers("operation:Function URLs", client="raw sockets")
def test_a_body_that_never_comes_keeps_nobody_else_waiting(url):
    before = calls(url)
    with socket.create_connection(("127.0.0.1", url.server.port), timeout=60) as connection:
        connection.sendall((HEAD + b"Content-Length: 100\r\n\r\nhalf").replace(b"{host}", url.host.encode()))
        assert url.request("GET", "/beside").status == 200
    assert calls(url) == [*before, "/beside", "/count"]


@pytest.mark.covers("operation:Function URLs", client="raw sockets")
def test_nothing_is_tunnelled(url):
    before = calls(url)
    for target in (b"/path", b"{host}", b"example.com:443"):
        received = url.raw(b"CONNECT " + target + b" HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\nGET /tunnelled HTTP/1.1\r\nHost: {host}\r\n\r\n")
        assert statuses(received) in ([405], [403], [400]), (target, received)
    assert calls(url) == [*before, "/count"]
