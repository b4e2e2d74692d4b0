"""Powertools for AWS Lambda (Python) inside a function, unmodified: what it reads of the environment and writes to the log."""

import json
from pathlib import Path

import pytest

from support.host import eventually
from support.queues import FILE_SYSTEM, Sources

CACHE = Path(__file__).parents[2] / ".cache"
SOURCE = """
    from aws_lambda_powertools import Logger, Metrics, Tracer
    from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
    from aws_lambda_powertools.metrics import MetricUnit
    from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

    logger, metrics, tracer = Logger(), Metrics(namespace="shop"), Tracer()
    resolver = APIGatewayHttpResolver()
    processor = BatchProcessor(event_type=EventType.SQS)

    @resolver.get("/hello/<name>")
    def hello(name):
        return {"hello": name}

    @tracer.capture_method
    def priced(order):
        return order["price"] * 2

    def work(record):
        if record.body == "bad":
            raise ValueError("asked to fail")

    @logger.inject_lambda_context(log_event=True, correlation_id_path="id")
    @metrics.log_metrics(capture_cold_start_metric=True)
    @tracer.capture_lambda_handler
    def handler(event, context):
        kind = event.get("kind")
        if kind == "http":
            return resolver.resolve(event["request"], context)
        if kind == "batch":
            return process_partial_response(event=event, record_handler=work, processor=processor, context=context)
        metrics.add_metric(name="Orders", unit=MetricUnit.Count, value=1)
        logger.info("priced", extra={"order": event})
        return priced(event)
"""


def site_packages() -> Path:
    site = next((CACHE / "powertools/lib").glob("python3.*/site-packages"), None)
    if site is None or not (site / "aws_lambda_powertools").exists():
        pytest.skip("Powertools is not installed in .cache/ (cargo xtask tools installs it)")
    return site


def files(site: Path, source: str = SOURCE) -> dict[str, bytes | str]:
    """The function with Powertools and what it needs that is in no Lambda runtime."""
    found: dict[str, bytes | str] = {"app.py": source}
    for name in ("aws_lambda_powertools", "aws_xray_sdk", "botocore", "jmespath", "wrapt", "dateutil", "urllib3", "six.py", "typing_extensions.py", "*.dist-info"):
        for top in site.glob(name):
            for path in [top] if top.is_file() else top.rglob("*"):
                # Of botocore only what an import reads: the models of four hundred services are 25 MB.
                if path.is_file() and "__pycache__" not in path.parts and not ("botocore" in path.parts and "data" in path.parts and len(path.relative_to(site).parts) > 3):
                    found[str(path.relative_to(site))] = path.read_bytes()
    return found


def logged(function, wanted):
    logs = function.server.client("logs")

    def documents():
        lines = [event["message"] for event in logs.filter_log_events(logGroupName=f"/aws/lambda/{function.name}")["events"]]
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return next((document for document in found if wanted(document)), None)

    return eventually(documents, "a JSON line of the function")


@pytest.mark.covers("client:powertools", client="Powertools for AWS Lambda (Python) 3.37.0")
def test_powertools(deploy):
    variables = {"POWERTOOLS_SERVICE_NAME": "shop", "POWERTOOLS_LOG_LEVEL": "INFO"}
    function = deploy(files(site_packages()), variables=variables, MemorySize=512, Timeout=30)
    answer = function.invoke({"id": "abc", "price": 21})
    assert answer.error is None and answer.json == 42, f"{answer.body}\n{answer.log}"
    line = logged(function, lambda document: document.get("message") == "priced")
    assert line["level"] == "INFO" and line["service"] == "shop" and line["correlation_id"] == "abc"
    assert line["function_name"] == function.name and line["function_request_id"] == answer.request_id and line["cold_start"] is True
    assert line["function_memory_size"] in ("512", 512) and line["function_arn"].endswith(f":function:{function.name}")
    assert line["xray_trace_id"], "from _X_AMZN_TRACE_ID, which every call has"
    metric = logged(function, lambda document: "Orders" in document)
    assert metric["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "shop" and metric["service"] == "shop"
    cold = logged(function, lambda document: "ColdStart" in document)
    assert cold["function_name"] == function.name
    warm = function.invoke({"id": "def", "price": 1})
    line = logged(function, lambda document: document.get("message") == "priced" and document.get("correlation_id") == "def")
    assert line["cold_start"] is False and line["function_request_id"] == warm.request_id
    request = {"version": "2.0", "rawPath": "/hello/you", "requestContext": {"http": {"method": "GET", "path": "/hello/you"}, "stage": "$default"}, "headers": {}}
    http = function.ok({"kind": "http", "request": request})
    assert http["statusCode"] == 200 and json.loads(http["body"]) == {"hello": "you"}
    records = [{"messageId": str(number), "body": body, "eventSource": "aws:sqs"} for number, body in enumerate(["good", "bad"])]
    assert function.ok({"kind": "batch", "Records": records}) == {"batchItemFailures": [{"itemIdentifier": "1"}]}


# Notes every message it works on; those that say so fail the first time.
BATCHES = """
    import json, os, time, uuid
    from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, SqsFifoPartialProcessor, process_partial_response
    fifo = os.environ["KIND"] == "fifo"
    processor = SqsFifoPartialProcessor() if fifo else BatchProcessor(event_type=EventType.SQS)
    def work(record):
        first = record.attributes.approximate_receive_count == "1"
        path = f"/mnt/out/{os.environ['AWS_LAMBDA_FUNCTION_NAME']}.{time.monotonic_ns():020}.{uuid.uuid4().hex}.event"
        with open(path + ".part", "w") as file:
            json.dump({"event": {"Records": [{"body": record.body}]}}, file)
        os.rename(path + ".part", path)
        if record.body.startswith("fail") and first:
            raise ValueError(record.body)
    def handler(event, context):
        return process_partial_response(event=event, record_handler=work, processor=processor, context=context)
"""


@pytest.mark.covers("client:powertools", client="Powertools for AWS Lambda (Python) 3.37.0")
@pytest.mark.parametrize("kind", ["standard", "fifo"])
def test_powertools_works_a_queue_off(server, deploy, kind):
    sources = Sources(server, deploy)
    try:
        url = sources.queue(fifo=kind == "fifo", VisibilityTimeout="10")
        function = deploy(files(site_packages(), BATCHES), variables={"KIND": kind}, FileSystemConfigs=FILE_SYSTEM, MemorySize=512, Timeout=10)
        bodies = ["a", "fail b", "c"]
        sources.send(url, *bodies, **({"MessageGroupId": "g"} if kind == "fifo" else {}))
        sources.map(function.name, url, FunctionResponseTypes=["ReportBatchItemFailures"])
        sources.until_empty(url, 60)
        worked = sources.bodies(function.name)
        if kind == "fifo":
            assert worked == ["a", "fail b", "fail b", "c"], "what comes after a failure waits for it"
        else:
            assert sorted(worked) == ["a", "c", "fail b", "fail b"]
    finally:
        sources.clean()
