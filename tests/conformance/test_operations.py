"""Every operation of Lambda's endpoint, from the installed service models: routed to its name and served, or refused by it."""

from __future__ import annotations

import re

import boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

SERVED = {
    "CreateFunction", "GetFunction", "GetFunctionConfiguration", "ListFunctions", "UpdateFunctionCode", "UpdateFunctionConfiguration",
    "DeleteFunction", "PublishVersion", "ListVersionsByFunction", "Invoke", "InvokeWithResponseStream", "InvokeAsync", "GetAccountSettings", "ListTags", "TagResource", "UntagResource",
    "GetFunctionConcurrency", "GetFunctionCodeSigningConfig", "GetFunctionEventInvokeConfig", "GetPolicy", "GetRuntimeManagementConfig",
    "AddPermission", "RemovePermission", "PutResourcePolicy", "GetResourcePolicy", "DeleteResourcePolicy",
    "PutFunctionEventInvokeConfig", "UpdateFunctionEventInvokeConfig", "ListFunctionEventInvokeConfigs", "DeleteFunctionEventInvokeConfig",
    "CreateFunctionUrlConfig", "GetFunctionUrlConfig", "UpdateFunctionUrlConfig", "DeleteFunctionUrlConfig", "ListFunctionUrlConfigs",
    "CreateCodeSigningConfig", "GetCodeSigningConfig", "UpdateCodeSigningConfig", "DeleteCodeSigningConfig", "ListCodeSigningConfigs",
    "ListFunctionsByCodeSigningConfig", "PutFunctionCodeSigningConfig", "DeleteFunctionCodeSigningConfig",
    "PutRuntimeManagementConfig", "PutFunctionRecursionConfig", "GetFunctionRecursionConfig",
    "CreateEventSourceMapping", "GetEventSourceMapping", "UpdateEventSourceMapping", "DeleteEventSourceMapping", "ListEventSourceMappings",
    "ListCapacityProviders", "GetCapacityProvider", "UpdateCapacityProvider", "DeleteCapacityProvider", "ListFunctionVersionsByCapacityProvider",
    "PutFunctionScalingConfig", "GetFunctionScalingConfig",
    "CreateAlias", "GetAlias", "ListAliases", "UpdateAlias", "DeleteAlias", "PutFunctionConcurrency", "DeleteFunctionConcurrency",
    "PutProvisionedConcurrencyConfig", "GetProvisionedConcurrencyConfig", "ListProvisionedConcurrencyConfigs", "DeleteProvisionedConcurrencyConfig",
    "PublishLayerVersion", "GetLayerVersion", "GetLayerVersionByArn", "ListLayers", "ListLayerVersions", "DeleteLayerVersion",
    "AddLayerVersionPermission", "GetLayerVersionPolicy", "RemoveLayerVersionPermission",
    "CheckpointDurableExecution", "GetDurableExecutionState", "GetDurableExecution", "GetDurableExecutionHistory", "ListDurableExecutionsByFunction",
    "StopDurableExecution", "PauseDurableExecution", "ResumeDurableExecution", "DeleteDurableExecution",
    "SendDurableExecutionCallbackSuccess", "SendDurableExecutionCallbackFailure", "SendDurableExecutionCallbackHeartbeat",
}
SERVICES = ("lambda", "lambda-core", "lambda-microvms", "lambda-web")


def operations():
    session = botocore.session.get_session()
    for service in SERVICES:
        try:
            model = session.get_service_model(service)
        except botocore.exceptions.UnknownServiceError:
            continue
        for name in model.operation_names:
            yield pytest.param(service, name, id=f"{service}.{name}")


def value_of(shape):
    """Something the client's own validation lets pass."""
    match shape.type_name:
        case "string":
            if shape.enum:
                return shape.enum[0]
            if "Arn" in shape.name or shape.name == "TaggableResource":
                return "arn:aws:lambda:us-east-1:000000000000:function:absent"
            return "x" * max(1, shape.metadata.get("min", 1))
        case "integer" | "long" | "float" | "double":
            return max(1, shape.metadata.get("min", 1))
        case "boolean":
            return False
        case "timestamp":
            return 0
        case "blob":
            return b"{}"
        case "list":
            return [value_of(shape.member)] * max(1, shape.metadata.get("min", 1))
        case "map":
            return {value_of(shape.key): value_of(shape.value)}
        case "structure":
            if getattr(shape, "is_tagged_union", False):
                first = next(iter(shape.members))
                return {first: value_of(shape.members[first])}
            return {name: value_of(shape.members[name]) for name in shape.required_members}
    raise AssertionError(shape.type_name)


@pytest.mark.covers("operation:every other operation")
@pytest.mark.parametrize("service, name", operations())
def test_operation_is_served_or_refused_by_name(server, service, name):
    client = boto3.client(
        service, endpoint_url=server.client().meta.endpoint_url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=20, inject_host_prefix=False),
    )
    shape = client.meta.service_model.operation_model(name).input_shape
    arguments = value_of(shape) if shape else {}
    call = getattr(client, re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower(), None)
    if call is None:
        call = next(getattr(client, method) for method, operation in client.meta.method_to_api_mapping.items() if operation == name)
    try:
        call(**arguments)
    except ClientError as error:
        code, text = error.response["Error"]["Code"], error.response["Error"]["Message"]
        if service in SERVICES and name in SERVED and not (service == "lambda-web"):
            # Nothing of that name exists, but the operation is known.
            assert code in ("ResourceNotFoundException", "ValidationException", "InvalidParameterValueException"), text
        else:
            assert code == "NotImplementedException"
            assert re.fullmatch(rf"Lamplight does not support lambda(-[a-z]+)?:{name} yet\.", text), text
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    else:
        assert name in SERVED and service != "lambda-web"


@pytest.mark.covers("operation:every other operation")
@pytest.mark.parametrize(
    "service, call, arguments",
    [("dynamodb", "list_tables", {}), ("kinesis", "list_streams", {}), ("s3", "get_bucket_versioning", {"Bucket": "bucket"}), ("s3", "get_object_acl", {"Bucket": "bucket", "Key": "a/b"}),
     ("cloudformation", "list_stacks", {}), ("sns", "list_topics", {}), ("logs", "put_metric_filter", {"logGroupName": "g", "filterName": "f", "filterPattern": "", "metricTransformations": [{"metricName": "m", "metricNamespace": "n", "metricValue": "1"}]}),
     ("iam", "list_users", {}), ("sts", "get_session_token", {}), ("events", "list_rules", {}), ("apigatewayv2", "get_vpc_links", {}), ("apigateway", "get_vpc_links", {})],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_other_services_answer_at_once(server, service, call, arguments):
    client = boto3.client(
        service, endpoint_url=server.client().meta.endpoint_url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=20, s3={"addressing_style": "path"}),
    )
    with pytest.raises(ClientError) as caught:
        getattr(client, call)(**arguments)
    assert caught.value.response["Error"]["Code"] in ("NotImplementedException", "NotImplemented"), caught.value.response
    assert "Lamplight does not support" in caught.value.response["Error"]["Message"]
