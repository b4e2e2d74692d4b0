"""What bodies of requests may take of the server's memory: no sender all of it, and nothing who may not come in."""

import socket

import pytest

from support import functions, gateway, host
from support.errors import arn

SIZE = """
    import base64

    def handler(event, context):
        return {"statusCode": 200, "body": str(len(event["body"] or ""))}
"""
MIB = 1 << 20
# Of the whole net 127.0.0.0/8 every address is this machine: each is another sender.
GREEDY, OTHER, THIRD = "127.0.0.2", "127.0.0.3", "127.0.0.4"


@pytest.fixture
def public(new_server, work_directory, tmp_path_factory):
    directory = work_directory / tmp_path_factory.mktemp("bodies").name
    return gateway.start(new_server, directory, gateway_limits="bodies_mib = 8\nconnections_per_address = 0")


class Client:
    """Connections of one sender, by raw sockets."""

    def __init__(self, public, url, address):
        self.public, self.address = public, address
        self.host = url.removeprefix("http://").rstrip("/")
        self.open = []

    def connect(self, announced, sent, path="/", headers=""):
        connection = socket.create_connection(("127.0.0.1", self.public.port), timeout=60, source_address=(self.address, 0))
        head = f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {announced}\r\n{headers}\r\n"
        connection.sendall(head.encode() + b"x" * sent)
        return connection

    def stall(self, count, bytes):
        """Begins requests that send so much and then nothing."""
        for _ in range(count):
            self.open.append(self.connect(bytes + 1, bytes))

    def fill(self, bytes, tried):
        """Begins such requests until one of `tried` bytes is refused. Those that are refused while they grow give their room back."""

        def refused():
            self.stall(1, bytes)
            return self.status(tried) == 503

        host.eventually(refused, "no more for this sender")

    def status(self, bytes, path="/", headers=""):
        with self.connect(bytes, bytes, path, headers) as connection:
            return int(gateway.read_to_end(connection).split(b" ", 2)[1])

    def close(self):
        for connection in self.open:
            connection.close()
        self.open.clear()


@pytest.mark.covers("gateway:bounds", client="raw sockets")
def test_a_sender_of_slow_large_bodies_leaves_room_for_others(public):
    function = functions.create(public.server, {"app.py": SIZE})
    url = gateway.url_of(public, function)
    greedy, other, third = (Client(public, url, address) for address in (GREEDY, OTHER, THIRD))
    assert greedy.status(5 * MIB) == 200, "nobody else is there"
    greedy.fill(MIB, MIB)
    for _ in range(3):
        assert other.status(MIB) == 200 and third.status(MIB) == 200
        assert greedy.status(1_000) == 200, "what is small always passes"
    # A second one takes its share as well, and a third still finds some.
    other.fill(MIB // 4, MIB // 2)
    assert third.status(MIB // 4) == 200 and third.status(1_000) == 200 and other.status(1_000) == 200
    greedy.close()
    other.close()
    # A client that goes away gives its room back.
    host.eventually(lambda: greedy.status(5 * MIB) == 200, "the room is free again")


@pytest.mark.covers("gateway:bounds", client="raw sockets")
def test_slow_small_bodies_of_one_sender_leave_room_for_small_ones_of_others(public):
    function = functions.create(public.server, {"app.py": SIZE})
    url = gateway.url_of(public, function)
    greedy, other = Client(public, url, GREEDY), Client(public, url, OTHER)
    greedy.stall(300, 60_000)
    host.eventually(lambda: greedy.status(60_000) == 503, "no more for this sender")
    assert [other.status(60_000) for _ in range(3)] == [200, 200, 200]
    greedy.close()


@pytest.mark.covers("gateway:bounds", client="raw sockets")
def test_who_may_not_come_in_takes_no_memory(public):
    """Asked about first, read then: a body of more than there is room for is refused for what the head says, and for nothing else."""
    function = functions.create(public.server, {"app.py": SIZE})
    public.write(gateway_limits="bodies_mib = 1")
    public.reload()
    size = 3 * MIB
    source = "arn:aws:execute-api:us-east-1:000000000000:*"
    public.server.client().add_permission(FunctionName=function.name, StatementId="api", Action="lambda:InvokeFunction", Principal="apigateway.amazonaws.com", SourceArn=source)
    # A REST API with an authorizer that wants a token.
    rest = public.server.client("apigateway")
    uri = f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{arn(function.name)}/invocations"
    api = rest.create_rest_api(name="guarded")
    guard = rest.create_authorizer(restApiId=api["id"], name="guard", type="TOKEN", authorizerUri=uri, identitySource="method.request.header.Authorization")["id"]
    place = {"restApiId": api["id"], "resourceId": api["rootResourceId"], "httpMethod": "POST"}
    rest.put_method(**place, authorizationType="CUSTOM", authorizerId=guard)
    rest.put_integration(**place, type="AWS_PROXY", integrationHttpMethod="POST", uri=uri)
    rest.create_deployment(restApiId=api["id"], stageName="dev")
    client = Client(public, f"http://{api['id']}.execute-api.us-east-1.localhost:{public.port}/", OTHER)
    assert client.status(size, "/dev") == 401
    # The guard's answer is no policy; it was asked all the same.
    assert client.status(size, "/dev", "Authorization: me\r\n") == 500
    assert client.status(size, "/dev/absent") == 403
    # An HTTP API with the same.
    http = public.server.client("apigatewayv2")
    api = http.create_api(Name="guarded", ProtocolType="HTTP", Target=arn(function.name))["ApiId"]
    guard = http.create_authorizer(ApiId=api, Name="guard", AuthorizerType="REQUEST", AuthorizerUri=uri, IdentitySource=["$request.header.Authorization"], AuthorizerPayloadFormatVersion="2.0")["AuthorizerId"]
    [route] = http.get_routes(ApiId=api)["Items"]
    http.update_route(ApiId=api, RouteId=route["RouteId"], AuthorizationType="CUSTOM", AuthorizerId=guard)
    client = Client(public, f"http://{api}.execute-api.us-east-1.localhost:{public.port}/", OTHER)
    assert client.status(size) == 401
    # A function URL that wants signatures, and one that wants a policy that is not there.
    for kind in ("AWS_IAM", "NONE"):
        closed = functions.create(public.server, {"app.py": SIZE})
        url = public.server.client().create_function_url_config(FunctionName=closed.name, AuthType=kind)["FunctionUrl"]
        assert Client(public, url, OTHER).status(size) == 403
    # With room for nothing else it is 503.
    assert Client(public, gateway.url_of(public, function), OTHER).status(size) == 503


