"""Metrics and access logs of function URLs and APIs, read as clients read them: GetMetricData and FilterLogEvents."""

from __future__ import annotations

import datetime
import json
import re

import pytest

from support import functions, urls
from support.errors import arn, refused
from support.host import eventually

HANDLER = """
    def handler(event, context):
        path = event.get("rawPath") or event.get("path")
        if path.endswith("/fail"):
            raise ValueError("as asked")
        if path.endswith("/wrong"):
            return {"statusCode": "none"}
        if path.endswith("/teapot"):
            return {"statusCode": 418, "body": "tea"}
        return {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": context.aws_request_id}
"""
GUARD = """
    def handler(event, context):
        return {"isAuthorized": True, "context": {"tenant-name": "blue \\"one\\"", "level": 7}}
"""


@pytest.fixture
def function(server):
    made = functions.create(server, {"app.py": HANDLER})
    server.client().add_permission(FunctionName=made.name, StatementId="api", Action="lambda:InvokeFunction", Principal="apigateway.amazonaws.com")
    yield made
    made.delete()


def data(server, namespace: str, names: str, statistic: str = "Sum", **dimensions: str) -> list[float | None]:
    """One value for each metric, of two days in one period; None where there is none."""
    now = datetime.datetime.now(datetime.UTC)
    dimensions = [{"Name": name, "Value": value} for name, value in dimensions.items()]
    queries = [
        {"Id": f"m{number}", "MetricStat": {"Metric": {"Namespace": namespace, "MetricName": name, "Dimensions": dimensions}, "Period": 86400, "Stat": statistic}}
        for number, name in enumerate(names.split())
    ]
    answer = server.client("cloudwatch").get_metric_data(MetricDataQueries=queries, StartTime=now - datetime.timedelta(days=1), EndTime=now + datetime.timedelta(days=1))
    return [sum(row["Values"]) if row["Values"] else None for row in answer["MetricDataResults"]]


@pytest.mark.covers("http-api:Requests: metrics")
def test_function_urls(server, function):
    client = server.client()
    client.publish_version(FunctionName=function.name)
    client.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1")
    url, alias = urls.create(server, function.name), urls.create(server, function.name, qualifier="live")
    assert [url.request("GET", target).status for target in ("/", "/", "/teapot", "/fail", "/wrong")] == [200, 200, 418, 502, 502]
    assert alias.request().status == 200
    assert data(server, "AWS/Lambda", "UrlRequestCount Url4xxCount Url5xxCount", FunctionName=function.name) == [6, 1, 2]
    for resource, expected in ((f"{function.name}:$LATEST", [5, 1, 2]), (f"{function.name}:live", [1, 0, 0])):
        assert data(server, "AWS/Lambda", "UrlRequestCount Url4xxCount Url5xxCount", FunctionName=function.name, Resource=resource) == expected
    [slowest] = data(server, "AWS/Lambda", "UrlRequestLatency", "Maximum", FunctionName=function.name)
    assert 0 < slowest < 60_000
    listed = server.client("cloudwatch").list_metrics(Namespace="AWS/Lambda", Dimensions=[{"Name": "FunctionName", "Value": function.name}])["Metrics"]
    assert {"UrlRequestCount", "Url4xxCount", "Url5xxCount", "UrlRequestLatency"} <= {row["MetricName"] for row in listed}
    # Who may not come in is counted, too.
    client.delete_function_url_config(FunctionName=function.name)
    closed = urls.Url(server, client.create_function_url_config(FunctionName=function.name, AuthType="AWS_IAM")["FunctionUrl"])
    assert closed.request().status == 403
    assert data(server, "AWS/Lambda", "UrlRequestCount Url4xxCount", FunctionName=function.name) == [7, 2]


@pytest.mark.covers("http-api:Requests: metrics")
def test_http_apis(server, function):
    http = server.client("apigatewayv2")
    created = http.create_api(Name="measured", ProtocolType="HTTP", Target=arn(function.name))
    api, door = created["ApiId"], urls.Url(server, created["ApiEndpoint"] + "/")
    assert [door.request("POST", target, body=b"12345").status for target in ("/", "/teapot", "/fail")] == [200, 418, 500]
    for dimensions in ({"ApiId": api}, {"ApiId": api, "Stage": "$default"}):
        assert data(server, "AWS/ApiGateway", "Count 4xx 5xx", **dimensions) == [3, 1, 1]
        # The bodies of both directions: a request id, tea, a message.
        assert data(server, "AWS/ApiGateway", "DataProcessed", **dimensions) == [3 * 5 + 36 + 3 + len('{"message":"Internal Server Error"}')]
        latency, integration = data(server, "AWS/ApiGateway", "Latency IntegrationLatency", "Maximum", **dimensions)
        assert 0 < integration <= latency < 60_000
    assert data(server, "AWS/ApiGateway", "Count", "SampleCount", ApiId=api) == [3] and data(server, "AWS/ApiGateway", "5xx", "Average", ApiId=api) == [pytest.approx(1 / 3)]
    # No route: counted, and nothing behind it was asked.
    [route] = http.get_routes(ApiId=api)["Items"]
    http.delete_route(ApiId=api, RouteId=route["RouteId"])
    assert door.request().status == 404
    assert data(server, "AWS/ApiGateway", "Count 4xx", ApiId=api) == [4, 2]
    assert data(server, "AWS/ApiGateway", "IntegrationLatency", "SampleCount", ApiId=api) == [3]
    http.delete_api(ApiId=api)


@pytest.mark.covers("http-api:Requests: metrics")
def test_rest_apis(server, function):
    rest = server.client("apigateway")
    uri = f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{arn(function.name)}/invocations"
    name = f"measured {function.name}"
    api = rest.create_rest_api(name=name)
    child = rest.create_resource(restApiId=api["id"], parentId=api["rootResourceId"], pathPart="{any}")["id"]
    place = {"restApiId": api["id"], "resourceId": child, "httpMethod": "GET"}
    rest.put_method(**place, authorizationType="NONE")
    rest.put_integration(**place, type="AWS_PROXY", integrationHttpMethod="POST", uri=uri)
    rest.create_deployment(restApiId=api["id"], stageName="dev")
    door = urls.Url(server, f"http://{api['id']}.execute-api.us-east-1.localhost:{server.port}/")
    assert [door.request("GET", target).status for target in ("/dev/x", "/dev/teapot", "/dev/fail", "/dev", "/absent/x")] == [200, 418, 502, 403, 403]
    for dimensions in ({"ApiName": name}, {"ApiName": name, "Stage": "dev"}):
        assert data(server, "AWS/ApiGateway", "Count 4XXError 5XXError", **dimensions) == [4, 2, 1]
        latency, integration = data(server, "AWS/ApiGateway", "Latency IntegrationLatency", "Maximum", **dimensions)
        assert 0 < integration <= latency < 60_000
        assert data(server, "AWS/ApiGateway", "IntegrationLatency", "SampleCount", **dimensions) == [3]
    rest.delete_rest_api(restApiId=api["id"])


@pytest.mark.covers("http-api:Requests: access logs")
def test_access_logs(server, function):
    http, logs = server.client("apigatewayv2"), server.client("logs")
    group = f"/aws/apigateway/{function.name}"
    logs.create_log_group(logGroupName=group)
    destination = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]["arn"]
    assert destination.endswith(":*")
    guard = functions.create(server, {"app.py": GUARD})
    server.client().add_permission(FunctionName=guard.name, StatementId="api", Action="lambda:InvokeFunction", Principal="apigateway.amazonaws.com")
    created = http.create_api(Name="logged", ProtocolType="HTTP", Target=arn(function.name))
    api, door = created["ApiId"], urls.Url(server, created["ApiEndpoint"] + "/")
    authorizer = http.create_authorizer(
        ApiId=api, Name="guard", AuthorizerType="REQUEST", AuthorizerPayloadFormatVersion="2.0", EnableSimpleResponses=True, IdentitySource=["$request.header.Key"],
        AuthorizerUri=f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{arn(guard.name)}/invocations",
    )["AuthorizerId"]  # fmt: skip
    [integration] = http.get_integrations(ApiId=api)["Items"]
    http.create_route(ApiId=api, RouteKey="GET /guarded", Target=f"integrations/{integration['IntegrationId']}", AuthorizationType="CUSTOM", AuthorizerId=authorizer)
    names = (
        "accountId apiId stage routeKey httpMethod path protocol domainName domainPrefix requestId extendedRequestId requestTime requestTimeEpoch identity.sourceIp identity.userAgent status "
        "responseLength responseLatency dataProcessed error.message integrationLatency integrationStatus integration.status integrationErrorMessage integration.requestId "
        "authorizer.tenant-name authorizer.level authorizer.claims.sub identity.userArn unknown"
    ).split()
    format = "[" + ",".join(f'"$context.{name}"' for name in names) + "]"

    def stage(**settings):
        return http.update_stage(ApiId=api, StageName="$default", AccessLogSettings=settings)["AccessLogSettings"]

    assert stage(DestinationArn=destination, Format=format) == {"DestinationArn": destination, "Format": format}
    told = 0

    def line(method, target, **more):
        """What a request is answered and what the log tells of it: one line."""
        nonlocal told
        reply = door.request(method, target, **more)
        told += 1
        events = eventually(lambda: [found for found in [logs.filter_log_events(logGroupName=group)["events"]] if len(found) == told], "one line more")[0]
        assert {event["logStreamName"] for event in events} == {f"{api}/$default"}
        return reply, dict(zip(names, json.loads(events[-1]["message"]), strict=True))

    reply, seen = line("POST", "/a%20b?x=1", body=b"12345", headers={"User-Agent": 'odd "\\ one', "Content-Type": "text/plain"})
    expected = {
        "accountId": "000000000000", "apiId": api, "stage": "$default", "routeKey": "$default", "httpMethod": "POST", "path": "/a%20b", "protocol": "HTTP/1.1",
        "domainName": door.host.split(":")[0], "domainPrefix": api, "requestId": reply.header("apigw-requestid"), "extendedRequestId": reply.header("apigw-requestid"),
        "identity.sourceIp": "127.0.0.1", "identity.userAgent": 'odd "\\ one', "status": "200", "responseLength": "36", "dataProcessed": "41", "error.message": "-",
        "integrationStatus": "200", "integration.status": "200", "integrationErrorMessage": "-", "integration.requestId": reply.text, "identity.userArn": "-", "unknown": "-",
        "authorizer.tenant-name": "-", "authorizer.level": "-", "authorizer.claims.sub": "-",
    }  # fmt: skip
    assert {name: seen[name] for name in expected} == expected
    assert re.fullmatch(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000", seen["requestTime"]) and abs(int(seen["requestTimeEpoch"]) / 1000 - datetime.datetime.now().timestamp()) < 100
    assert 0 <= int(seen["integrationLatency"]) <= int(seen["responseLatency"])
    # A function that fails, and one whose answer is none. The texts are those that AWS's guide and users show.
    _, seen = line("GET", "/fail")
    assert (seen["status"], seen["integrationStatus"], seen["integration.status"], seen["error.message"]) == ("500", "200", "-", "Internal Server Error")
    assert seen["integrationErrorMessage"] == "The Lambda function returned the following error: Unhandled. Check your Lambda function code and try again."
    _, seen = line("GET", "/wrong")
    assert seen["integrationErrorMessage"].startswith("The response from the Lambda function doesn't match the format that API Gateway expects.")
    # What an authorizer says, and who is refused: nothing behind the route was asked.
    _, seen = line("GET", "/guarded", headers={"Key": "x"})
    assert (seen["routeKey"], seen["status"], seen["authorizer.tenant-name"], seen["authorizer.level"]) == ("GET /guarded", "200", 'blue "one"', "7")
    _, seen = line("GET", "/guarded")
    assert (seen["status"], seen["error.message"], seen["integrationLatency"], seen["integrationStatus"], seen["routeKey"]) == ("401", "Unauthorized", "-", "-", "GET /guarded")
    # The common log format, and the end of it.
    stage(Format='$context.identity.sourceIp - - [$context.requestTime] "$context.httpMethod $context.routeKey $context.protocol" $context.status $context.responseLength $context.requestId\n')
    reply = door.request("GET", "/teapot")
    told += 1
    last = eventually(lambda: [event for event in logs.filter_log_events(logGroupName=group)["events"] if "418" in event["message"]], "the line")[0]["message"]
    assert re.fullmatch(rf'127\.0\.0\.1 - - \[[^]]+\] "GET \$default HTTP/1\.1" 418 3 {reply.header("apigw-requestid")}', last)
    wrong = ("BadRequestException", 400, "Invalid ARN specified in the request")
    for other in ("nonsense", arn(function.name), destination.replace("us-east-1", "eu-west-1"), destination.replace(group, "a b")):
        assert refused(http.update_stage, ApiId=api, StageName="$default", AccessLogSettings={"DestinationArn": other}) == wrong
    http.delete_access_log_settings(ApiId=api, StageName="$default")
    assert "AccessLogSettings" not in http.get_stage(ApiId=api, StageName="$default")
    assert door.request().status == 200
    assert len(logs.filter_log_events(logGroupName=group)["events"]) == told
    http.delete_api(ApiId=api)
    guard.delete()
