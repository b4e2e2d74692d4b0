"""CloudWatch metrics: the platform's own after real calls, and those that clients put. Three protocols."""

from __future__ import annotations

import datetime
import json
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from botocore.exceptions import ClientError

from support.functions import PYTHON, ROLE, zip_of

CODE = zip_of({
    "app.py": """
        import time
        def handler(event, context):
            time.sleep(event.get("sleep", 0))
            if event.get("fail"):
                raise ValueError("as asked")
    """
})
UTC = datetime.timezone.utc


@pytest.fixture
def metrics(server):
    return server.client("cloudwatch")


@pytest.fixture
def function(client):
    name = f"measured-{time.monotonic_ns() % 10**9}"
    client.create_function(FunctionName=name, Runtime=PYTHON, Role=ROLE, Handler="app.handler", Code={"ZipFile": CODE})
    client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    yield name
    client.delete_function(FunctionName=name)


def span(minutes=60):
    now = datetime.datetime.now(UTC)
    return {"StartTime": now - datetime.timedelta(minutes=minutes), "EndTime": now + datetime.timedelta(minutes=5)}


def error_of(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def of_function(name, **more):
    return {"Namespace": "AWS/Lambda", "MetricName": "Invocations", "Dimensions": [{"Name": "FunctionName", "Value": name}], "Period": 3600, "Statistics": ["Sum"]} | span() | more


def points(metrics, name, metric, **more):
    """Of a day in one period, so that no boundary falls between."""
    return metrics.get_metric_statistics(**of_function(name, MetricName=metric, Period=86400, **more))["Datapoints"]


@pytest.mark.covers("operation:GetMetricStatistics")
def test_calls_are_measured(client, metrics, function):
    for event in ({}, {}, {"fail": True}, {"sleep": 0.2}):
        client.invoke(FunctionName=function, Payload=json.dumps(event))
    (point,) = points(metrics, function, "Invocations", Statistics=["Sum", "SampleCount", "Average", "Minimum", "Maximum"])
    assert {key: point[key] for key in ("Sum", "SampleCount", "Average", "Minimum", "Maximum", "Unit")} == {"Sum": 4, "SampleCount": 4, "Average": 1, "Minimum": 1, "Maximum": 1, "Unit": "Count"}
    assert abs((point["Timestamp"] - datetime.datetime.now(UTC)).total_seconds()) < 2 * 86400 and "ExtendedStatistics" not in point
    (point,) = points(metrics, function, "Errors", Statistics=["Sum", "Average"])
    assert (point["Sum"], point["Average"]) == (1, 0.25)
    (point,) = points(metrics, function, "Duration", Statistics=["Maximum", "Average"], ExtendedStatistics=["p50", "p100"])
    assert point["Unit"] == "Milliseconds" and 200 <= point["Maximum"] < 3000 and point["ExtendedStatistics"]["p100"] == point["Maximum"]
    assert 0 < point["ExtendedStatistics"]["p50"] < 200 and point["ExtendedStatistics"]["p50"] < point["Average"] * 4
    (point,) = points(metrics, function, "ConcurrentExecutions", Statistics=["Maximum"])
    assert point["Maximum"] == 1
    assert points(metrics, function, "Invocations", Unit="Seconds") == []
    assert points(metrics, "absent", "Invocations") == []
    minutes = metrics.get_metric_statistics(**of_function(function, Period=60))["Datapoints"]
    assert sum(point["Sum"] for point in minutes) == 4 and all(point["Timestamp"].second == 0 for point in minutes)
    published = client.publish_version(FunctionName=function)["Version"]
    client.get_waiter("function_active_v2").wait(FunctionName=function, WaiterConfig={"Delay": 1})
    client.invoke(FunctionName=function, Qualifier=published)
    for resource, count in ((function, 4), (f"{function}:{published}", 1)):
        dimensions = [{"Name": "Resource", "Value": resource}, {"Name": "FunctionName", "Value": function}]
        (point,) = points(metrics, function, "Invocations", Dimensions=dimensions)
        assert point["Sum"] == count, resource


@pytest.mark.covers("operation:GetMetricStatistics")
def test_what_no_record_tells_is_counted(client, metrics, function):
    client.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    for _ in range(3):
        with pytest.raises(client.exceptions.TooManyRequestsException):
            client.invoke(FunctionName=function)
    client.delete_function_concurrency(FunctionName=function)
    for _ in range(2):
        client.invoke(FunctionName=function, InvocationType="Event")
    assert sum(point["Sum"] for point in points(metrics, function, "Throttles")) == 3
    assert sum(point["Sum"] for point in points(metrics, function, "AsyncEventsReceived")) == 2


@pytest.mark.covers("operation:GetMetricStatistics")
def test_requests_for_statistics_are_checked(metrics):
    call = lambda **more: error_of(metrics.get_metric_statistics, **(of_function("f") | more))  # noqa: E731
    start, end = span()["StartTime"], span()["EndTime"]
    assert call(StartTime=end, EndTime=start) == ("InvalidParameterCombination", "The parameter StartTime must be less than the parameter EndTime.")
    code, message = call(Period=1)
    assert code == "InvalidParameterCombination" and "which exceeds the limit of 1,440." in message
    assert call(Period=90)[0] == "InvalidParameterValue"
    assert call(Statistics=["Median"]) == ("InvalidParameterValue", "The value Median for parameter Statistics.member.1 is invalid.")
    assert call(ExtendedStatistics=["p101"])[0] == "InvalidParameterValue"
    assert call(Unit="Parsecs") == ("InvalidParameterValue", "The value Parsecs for parameter Unit is invalid.")
    arguments = of_function("f")
    del arguments["Statistics"]
    assert error_of(metrics.get_metric_statistics, **arguments) == ("InvalidParameterCombination", "At least one of the parameters Statistics and ExtendedStatistics must be specified.")


@pytest.mark.covers("operation:PutMetricData")
@pytest.mark.covers("operation:ListMetrics")
def test_custom_metrics(metrics):
    namespace = f"App/{time.monotonic_ns()}"
    now = datetime.datetime.now(UTC)
    host = [{"Name": "Host", "Value": "a"}, {"Name": "Zone", "Value": "ä<1>"}]
    metrics.put_metric_data(Namespace=namespace, MetricData=[
        {"MetricName": "Latency", "Dimensions": host, "Unit": "Milliseconds", "Value": 10, "Timestamp": now},
        {"MetricName": "Latency", "Dimensions": host, "Unit": "Milliseconds", "Values": [20, 30], "Counts": [1, 2], "Timestamp": now},
        {"MetricName": "Sizes", "StatisticValues": {"SampleCount": 4, "Sum": 10, "Minimum": 1, "Maximum": 4}},
        {"MetricName": "Now", "Value": -0.5},
    ])
    ask = {"Namespace": namespace, "Period": 86400, **span()}
    (point,) = metrics.get_metric_statistics(**ask, MetricName="Latency", Dimensions=host[::-1], Statistics=["Sum", "SampleCount", "Maximum"], ExtendedStatistics=["p25", "p50", "p90"])["Datapoints"]
    assert (point["Sum"], point["SampleCount"], point["Maximum"], point["Unit"]) == (90, 4, 30, "Milliseconds")
    assert point["ExtendedStatistics"] == {"p25": 10, "p50": 20, "p90": 30}
    (point,) = metrics.get_metric_statistics(**ask, MetricName="Sizes", Statistics=["Average", "Minimum"], ExtendedStatistics=["p50"])["Datapoints"]
    assert (point["Average"], point["Minimum"], point["Unit"]) == (2.5, 1, "None") and "ExtendedStatistics" not in point, "totals alone tell no percentile"
    assert metrics.get_metric_statistics(**ask, MetricName="Latency", Statistics=["Sum"])["Datapoints"] == [], "other dimensions are another metric"
    rows = metrics.list_metrics(Namespace=namespace)["Metrics"]
    assert [(row["MetricName"], row["Dimensions"]) for row in rows] == [("Latency", host), ("Now", []), ("Sizes", [])]
    assert [row["MetricName"] for row in metrics.list_metrics(Namespace=namespace, Dimensions=[{"Name": "Host"}], RecentlyActive="PT3H")["Metrics"]] == ["Latency"]
    assert metrics.list_metrics(Namespace=namespace, Dimensions=[{"Name": "Host", "Value": "b"}])["Metrics"] == []
    # Large: boto3 packs the request.
    many = [{"MetricName": "Many", "Dimensions": [{"Name": "Number", "Value": f"{number:04}"}], "Value": number} for number in range(700)]
    metrics.put_metric_data(Namespace=namespace, MetricData=many)
    found = [row for page in metrics.get_paginator("list_metrics").paginate(Namespace=namespace, MetricName="Many") for row in page["Metrics"]]
    assert [row["Dimensions"][0]["Value"] for row in found] == [f"{number:04}" for number in range(700)]


@pytest.mark.covers("operation:PutMetricData")
def test_metrics_that_are_refused(metrics):
    put = lambda datum, namespace="App": error_of(metrics.put_metric_data, Namespace=namespace, MetricData=[{"MetricName": "m"} | datum])  # noqa: E731
    assert put({"Value": 1}, "AWS/Lambda") == ("InvalidParameterValue", "The value AWS/Lambda for parameter Namespace is invalid.")
    assert put({})[0] == "MissingParameter"
    assert put({"Value": 1, "Values": [1]}) == ("InvalidParameterCombination", "The parameters MetricData.member.1.Value and MetricData.member.1.Values are mutually exclusive and you have specified both.")
    assert put({"Value": float("nan")}) == ("InvalidParameterValue", "The value NaN for parameter MetricData.member.1.Value is invalid.")
    assert put({"Value": 2.0**361})[0] == "InvalidParameterValue"
    assert put({"Values": [1, 2], "Counts": [1]})[0] == "InvalidParameterValue"
    assert put({"Values": list(range(151))})[0] == "InvalidParameterValue"
    assert put({"Value": 1, "StorageResolution": 7})[0] == "InvalidParameterValue"
    for days in (-15, 1):
        code, message = put({"Value": 1, "Timestamp": datetime.datetime.now(UTC) + datetime.timedelta(days=days)})
        assert code == "InvalidParameterValue" and "MetricData.member.1.Timestamp" in message
    code, _ = error_of(metrics.put_metric_data, Namespace="App", MetricData=[{"MetricName": "m", "Value": 1}] * 1001)
    assert code == "InvalidParameterValue"


@pytest.mark.covers("operation:GetMetricData")
@pytest.mark.covers("operation:ListMetrics")
def test_metric_data(client, metrics, function):
    for event in ({}, {"fail": True}):
        client.invoke(FunctionName=function, Payload=json.dumps(event))
    query = lambda id, name, stat, **more: {"Id": id, "MetricStat": {"Metric": {"Namespace": "AWS/Lambda", "MetricName": name, "Dimensions": [{"Name": "FunctionName", "Value": function}]}, "Period": 86400, "Stat": stat}} | more  # noqa: E731
    answer = metrics.get_metric_data(MetricDataQueries=[query("calls", "Invocations", "Sum"), query("slow", "Duration", "p99", Label="slow ones"), query("hidden", "Errors", "Sum", ReturnData=False)], **span())
    calls, slow = answer["MetricDataResults"]
    assert (calls["Id"], calls["Label"], calls["Values"], calls["StatusCode"]) == ("calls", "Invocations", [2], "Complete")
    assert slow["Label"] == "slow ones" and slow["Values"][0] > 0 and slow["Timestamps"] == calls["Timestamps"]
    assert answer["Messages"] == [] and "NextToken" not in answer
    names = {row["MetricName"] for row in metrics.list_metrics(Namespace="AWS/Lambda", Dimensions=[{"Name": "FunctionName", "Value": function}])["Metrics"]}
    assert {"Invocations", "Errors", "Duration", "ConcurrentExecutions"} <= names
    # Pages: three points, one at a time, both orders.
    namespace, now = f"Pages/{time.monotonic_ns()}", datetime.datetime.now(UTC)
    metrics.put_metric_data(Namespace=namespace, MetricData=[{"MetricName": "m", "Value": number, "Timestamp": now - datetime.timedelta(minutes=number)} for number in range(3)])
    for scan, expected in (("TimestampDescending", [0, 1, 2]), ("TimestampAscending", [2, 1, 0])):
        ask = [{"Id": "m", "MetricStat": {"Metric": {"Namespace": namespace, "MetricName": "m"}, "Period": 60, "Stat": "Sum"}}]
        pages = list(metrics.get_paginator("get_metric_data").paginate(MetricDataQueries=ask, ScanBy=scan, MaxDatapoints=1, **span()))
        assert [value for page in pages for value in page["MetricDataResults"][0]["Values"]] == expected and len(pages) == 3
        assert [page["MetricDataResults"][0]["StatusCode"] for page in pages] == ["PartialData", "PartialData", "Complete"]
    wrong = lambda queries, **more: error_of(metrics.get_metric_data, MetricDataQueries=queries, **(span() | more))  # noqa: E731
    assert wrong([query("m", "Errors", "Sum")] * 2)[0] == "ValidationError"
    assert wrong([query("M", "Errors", "Sum")])[0] == "ValidationError"
    assert wrong([{"Id": "m", "Expression": "1+1"}])[0] == "ValidationError"
    assert wrong([query("m", "Errors", "Median")])[0] == "InvalidParameterValue"
    assert wrong([query("m", "Errors", "Sum")], NextToken="nonsense")[0] == "InvalidNextToken"


@pytest.mark.covers("operation:GetMetricStatistics", client="query protocol")
@pytest.mark.covers("operation:GetMetricStatistics", client="JSON protocol")
def test_older_protocols(server, metrics):
    namespace = f"Old/{time.monotonic_ns()}"
    now = datetime.datetime.now(UTC)
    url = server.client().meta.endpoint_url + "/"

    def post(body, **headers):
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    form = {"Action": "PutMetricData", "Version": "2010-08-01", "Namespace": namespace, "MetricData.member.1.MetricName": "m", "MetricData.member.1.Value": "2.5",
            "MetricData.member.1.Dimensions.member.1.Name": "d", "MetricData.member.1.Dimensions.member.1.Value": "<v>"}
    status, body = post(urllib.parse.urlencode(form).encode(), **{"Content-Type": "application/x-www-form-urlencoded"})
    assert status == 200 and "<PutMetricDataResponse" in body and "<RequestId>" in body
    ask = {"Action": "GetMetricStatistics", "Version": "2010-08-01", "Namespace": namespace, "MetricName": "m", "Period": "86400", "Statistics.member.1": "Sum",
           "Dimensions.member.1.Name": "d", "Dimensions.member.1.Value": "<v>", "StartTime": (now - datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"), "EndTime": (now + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")}
    status, body = post(urllib.parse.urlencode(ask).encode(), **{"Content-Type": "application/x-www-form-urlencoded"})
    assert status == 200 and "<Sum>2.5</Sum>" in body and "<Label>m</Label>" in body, body
    status, body = post(urllib.parse.urlencode(ask | {"Period": "7"}).encode(), **{"Content-Type": "application/x-www-form-urlencoded"})
    assert status == 400 and "<Code>InvalidParameterValue</Code>" in body, body
    target = {"X-Amz-Target": "GraniteServiceVersion20100801.GetMetricStatistics", "Content-Type": "application/x-amz-json-1.0"}
    question = {"Namespace": namespace, "MetricName": "m", "Period": 86400, "Statistics": ["Sum"], "Dimensions": [{"Name": "d", "Value": "<v>"}], "StartTime": now.timestamp() - 3600, "EndTime": now.timestamp() + 3600}
    status, body = post(json.dumps(question).encode(), **target)
    assert status == 200 and json.loads(body)["Datapoints"][0]["Sum"] == 2.5
    status, body = post(json.dumps(question | {"Period": 7}).encode(), **target)
    assert status == 400 and json.loads(body)["__type"] == "InvalidParameterValueException"


@pytest.mark.covers("operation:PutMetricData")
def test_metrics_survive_kill_9(new_server):
    server = new_server().start()
    server.client("cloudwatch").put_metric_data(Namespace="Kept", MetricData=[{"MetricName": "m", "Value": 7}])
    server.kill()
    server.start()
    (point,) = server.client("cloudwatch").get_metric_statistics(Namespace="Kept", MetricName="m", Period=86400, Statistics=["Sum"], **span())["Datapoints"]
    assert point["Sum"] == 7
