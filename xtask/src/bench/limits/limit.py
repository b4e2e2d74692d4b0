"""The limit for Python: the same handler behind the simplest HTTP responder, in one process, without any wall."""
import json, socket, sys


def handler(event, context):
    return event


if sys.argv[1] == "cold":
    # The bare interpreter: import the handler's module, answer one event over a pipe.
    print(json.dumps(handler(json.loads(sys.argv[2]), None)))
    sys.exit(0)

server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    connection, _ = server.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pending = b""
    while True:
        while b"\r\n\r\n" not in pending:
            chunk = connection.recv(65536)
            if not chunk:
                break
            pending += chunk
        if b"\r\n\r\n" not in pending:
            break
        head, _, pending = pending.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        while len(pending) < length:
            pending += connection.recv(65536)
        body, pending = pending[:length], pending[length:]
        answer = json.dumps(handler(json.loads(body), None)).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer))
