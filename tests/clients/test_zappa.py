"""Zappa's own classes, unmodified, in the order of `zappa deploy`, `update`, `rollback`, `tail` and `undeploy`.

Zappa makes its API from a CloudFormation template, which is not here: the test makes the same resources of Zappa's own template, with
boto3. Other methods of `zappa.core.Zappa` want services that are not here, either: EventBridge (schedule_events), Route 53 and
certificates (domain names), SNS, DynamoDB, Cognito, EFS and load balancers.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from support.functions import PYTHON, zip_of
from support.host import eventually
from support.urls import Url

INTERPRETER = Path(__file__).parents[2] / ".cache/zappa/bin/python"
DRIVER = Path(__file__).parent / "zappa/drive.py"
NAME = "notes-dev"
APPLICATION = """
import json, os

def handler(event, context):
    print("asked for", event["path"])
    said = {"version": VERSION, "stage": os.environ["STAGE"], "resource": event["resource"], "path": event["path"], "body": event["body"], "base64": event["isBase64Encoded"]}
    return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": json.dumps(said)}
"""


def package(version: int) -> bytes:
    return zip_of({"app.py": APPLICATION.replace("VERSION", str(version))})


@pytest.fixture
def zappa(server):
    """`zappa(method, **arguments)` calls a method of one `zappa.core.Zappa`."""
    if not INTERPRETER.exists():
        pytest.skip("Zappa is not installed in .cache/ (cargo xtask tools installs it)")
    with (server.data_directory.parent / "zappa.log").open("w+") as log:
        driver = subprocess.Popen([INTERPRETER, DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=server.environment_for_clients())

        def call(method: str, **arguments):
            driver.stdin.write(json.dumps([method, arguments]) + "\n")
            driver.stdin.flush()
            line = driver.stdout.readline()
            log.seek(0)
            assert line, log.read()
            answer = json.loads(line)
            assert "error" not in answer, f"{method}: {answer['error']}\n{log.read()}"
            return answer["said"]

        yield call
        driver.stdin.close()
        driver.wait(20)


def make(rest, template: dict) -> str:
    """What CloudFormation would make of the API's part of a template. Gives the API's id."""
    made: dict[str, dict] = {}

    def value(given):
        if isinstance(given, dict) and "Ref" in given:
            return made[given["Ref"]]["id"]
        if isinstance(given, dict) and "Fn::GetAtt" in given:
            name, attribute = given["Fn::GetAtt"]
            return made[name][attribute[0].lower() + attribute[1:]]
        return given

    def members(properties: dict, *, without=()) -> dict:
        return {name[0].lower() + name[1:]: value(given) for name, given in properties.items() if name not in without}

    for wanted in ("RestApi", "Resource", "Method"):
        for name, resource in template["Resources"].items():
            properties = resource["Properties"]
            match resource["Type"].removeprefix("AWS::ApiGateway::"):
                case "RestApi" if wanted == "RestApi":
                    made[name] = rest.create_rest_api(**members(properties))
                case "Resource" if wanted == "Resource":
                    made[name] = rest.create_resource(**members(properties))
                case "Method" if wanted == "Method":
                    place = {"restApiId": value(properties["RestApiId"]), "resourceId": value(properties["ResourceId"]), "httpMethod": properties["HttpMethod"]}
                    rest.put_method(**place, **members(properties, without=("RestApiId", "ResourceId", "HttpMethod", "Integration", "MethodResponses")))
                    for response in properties.get("MethodResponses", []):
                        rest.put_method_response(**place, **members(response))
                    integration = properties["Integration"]
                    rest.put_integration(**place, **members(integration, without=("IntegrationResponses",)))
                    for response in integration.get("IntegrationResponses", []):
                        rest.put_integration_response(**place, **members(response))
    return made["Api"]["id"]


@pytest.mark.covers("rest-api:Calls of Zappa", client="Zappa 0.63")
def test_the_life_of_an_application(server, zappa, tmp_path):
    lambda_client, rest = server.client(), server.client("apigateway")
    # deploy: the role, the package, the function, the API.
    role, updated = zappa("create_iam_roles")
    assert role.endswith(":role/ZappaLambdaExecution") and updated is True
    assert zappa("create_iam_roles") == [role, False]
    for version in (1, 2):
        (tmp_path / f"notes-{version}.zip").write_bytes(package(version))
        assert zappa("upload_to_s3", source_path=str(tmp_path / f"notes-{version}.zip"), bucket_name="zappa-notes", disable_progress=True) is True
    arn = zappa("create_lambda_function", bucket="zappa-notes", s3_key="notes-1.zip", function_name=NAME, handler="app.handler", runtime=PYTHON, aws_environment_variables={"STAGE": "dev"})
    try:
        assert NAME in arn
        assert zappa("remove_from_s3", file_name="notes-1.zip", bucket_name="zappa-notes") is True
        zappa("create_api_gateway_routes", lambda_arn=arn, api_name=NAME, cors_options={"allowed_headers": ["X-Own"], "allowed_methods": ["GET"], "allowed_origin": "*"})
        api = make(rest, zappa("cf_template"))
        zappa("add_binary_support", api_id=api, cors=True)
        zappa("add_api_compression", api_id=api, min_compression_size=5000)
        assert rest.get_rest_api(restApiId=api)["minimumCompressionSize"] == 5000
        zappa("remove_api_compression", api_id=api)
        assert "minimumCompressionSize" not in rest.get_rest_api(restApiId=api)
        expected = f"https://{api}.execute-api.us-east-1.amazonaws.com/dev"
        assert zappa("deploy_api_gateway", api_id=api, stage_name="dev", cloudwatch_log_level="INFO", cloudwatch_metrics_enabled=True) == expected
        assert zappa("get_api_url", lambda_name=NAME, stage_name="dev") == expected and zappa("get_api_id", lambda_name=NAME) == api
        url = Url(server, f"http://{api}.execute-api.us-east-1.localhost:{server.port}/")
        said = url.request("POST", "/dev/notes/7", headers={"Content-Type": "text/plain"}, body=b"text").json
        assert said == {"version": 1, "stage": "dev", "resource": "/{proxy+}", "path": "/notes/7", "body": "dGV4dA==", "base64": True}
        assert url.request("GET", "/dev").json["resource"] == "/"
        preflight = url.request("OPTIONS", "/dev/notes/7")
        assert (preflight.status, preflight.header("Access-Control-Allow-Headers"), preflight.header("Access-Control-Allow-Methods"), preflight.header("Access-Control-Allow-Origin")) == (200, "X-Own", "GET", "*")
        # A key of Zappa's. As on AWS, a usage plan is what lets it in.
        zappa("create_api_key", api_id=api, stage_name="dev")
        [key] = zappa("get_api_keys", api_id=api, stage_name="dev")
        zappa("add_api_stage_to_api_key", api_key=key, api_id=api, stage_name="dev")
        assert rest.get_api_key(apiKey=key)["stageKeys"] == [f"{api}/dev"]
        zappa("remove_api_key", api_id=api, stage_name="dev")
        assert zappa("get_api_keys", api_id=api, stage_name="dev") == []
        # update, of the code and of what is configured.
        assert NAME in zappa("update_lambda_function", bucket="zappa-notes", s3_key="notes-2.zip", function_name=NAME, num_revisions=5)
        zappa("update_lambda_configuration", lambda_arn=arn, function_name=NAME, handler="app.handler", runtime=PYTHON, aws_environment_variables={"STAGE": "updated"})
        zappa("wait_until_lambda_function_is_updated", function_name=NAME)
        assert [url.request("GET", "/dev").json[name] for name in ("version", "stage")] == [2, "updated"]
        zappa("update_stage_config", project_name=NAME, stage_name="dev", cloudwatch_log_level="ERROR", cloudwatch_data_trace=True, cloudwatch_metrics_enabled=False)
        settings = rest.get_stage(restApiId=api, stageName="dev")["methodSettings"]["*/*"]
        assert (settings["loggingLevel"], settings["dataTraceEnabled"], settings["metricsEnabled"]) == ("ERROR", True, False)
        # rollback reads the code of an older version and writes it again.
        assert len(zappa("get_lambda_function_versions", function_name=NAME)) == 3
        assert NAME in zappa("rollback_lambda_function_version", function_name=NAME, versions_back=1)
        lambda_client.get_waiter("function_updated_v2").wait(FunctionName=NAME)
        assert url.request("GET", "/dev").json["version"] == 1
        # tail and invoke.
        eventually(lambda: any("asked for /notes/7" in event["message"] for event in zappa("fetch_logs", lambda_name=NAME)), "the function's log")
        invoked = zappa("invoke_lambda_function", function_name=NAME, invocation_type="RequestResponse", payload=json.dumps({"path": "/", "resource": "/", "body": None, "isBase64Encoded": False}))
        assert invoked["StatusCode"] == 200
        # A function URL in the place of the API.
        config = {"authorizer": "NONE", "cors": {"allowCredentials": False, "allowedHeaders": ["x-own"], "allowedMethods": ["GET"], "allowedOrigins": ["*"], "exposedResponseHeaders": [], "maxAge": 5}}
        assert zappa("deploy_lambda_function_url", function_name=NAME, function_url_config=config)["AuthType"] == "NONE"
        zappa("update_lambda_function_url", function_name=NAME, function_url_config=config | {"cors": None})
        zappa("delete_lambda_function_url", function_name=NAME)
        # undeploy.
        zappa("remove_api_gateway_logs", project_name=NAME)
        zappa("undeploy_api_gateway", lambda_name=NAME)
        assert url.request("GET", "/dev").status == 404 and zappa("get_api_url", lambda_name=NAME, stage_name="dev") is None
    finally:
        zappa("delete_lambda_function", function_name=NAME)
    zappa("remove_lambda_function_logs", lambda_function_name=NAME)
    with pytest.raises(lambda_client.exceptions.ResourceNotFoundException):
        lambda_client.get_function(FunctionName=NAME)
