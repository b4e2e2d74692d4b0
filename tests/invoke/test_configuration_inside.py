"""Functions read parameters and secrets with an unmodified boto3, as far as their role's policies allow it."""

from __future__ import annotations

import json

import pytest

from support.functions import ROLE, create
from support.inside import libraries

SERVICES = ("secretsmanager", "ssm", "sts")
HANDLER = """
    import botocore.exceptions, botocore.session
    session = botocore.session.get_session()
    def handler(event, context):
        # Endpoint, region and credentials come from the environment, as on AWS.
        client = session.create_client(event["service"])
        try:
            answer = getattr(client, event["call"])(**event["arguments"])
        except botocore.exceptions.ClientError as error:
            return [error.response["Error"]["Code"], error.response["Error"]["Message"]]
        answer.pop("ResponseMetadata")
        return [None, str(answer)]
"""


@pytest.fixture(scope="module")
def layer(shared_server):
    client = shared_server.get().client()
    published = client.publish_layer_version(LayerName="botocore", Content={"ZipFile": libraries(SERVICES)})
    yield published["LayerVersionArn"]
    client.delete_layer_version(LayerName="botocore", VersionNumber=published["Version"])


@pytest.fixture
def configured(server):
    """A parameter, a secret, and a role that may read some of it."""
    ssm, secrets, iam = (server.client(service) for service in ("ssm", "secretsmanager", "iam"))
    ssm.put_parameter(Name="/inside/key", Value="parameter-value", Type="SecureString")
    ssm.put_parameter(Name="/other/key", Value="hidden", Type="String")
    arn = secrets.create_secret(Name="inside/db", SecretString="secret-value")["ARN"]
    role = iam.create_role(RoleName="inside-reader", AssumeRolePolicyDocument="{}")["Role"]
    statements = [
        {"Effect": "Allow", "Action": ["ssm:GetParameter", "ssm:GetParametersByPath"], "Resource": "arn:aws:ssm:*:000000000000:parameter/inside*"},
        {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": arn},
    ]
    iam.put_role_policy(RoleName="inside-reader", PolicyName="read", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    yield role["Arn"]
    iam.delete_role_policy(RoleName="inside-reader", PolicyName="read")
    iam.delete_role(RoleName="inside-reader")
    ssm.delete_parameters(Names=["/inside/key", "/other/key"])
    secrets.delete_secret(SecretId="inside/db", ForceDeleteWithoutRecovery=True)


@pytest.mark.covers("runtime:parameters and secrets inside", client="botocore inside")
@pytest.mark.covers("wall:parameters and secrets", client="botocore inside")
def test_a_function_reads_what_its_role_allows(server, layer, configured):
    assert ROLE.startswith("arn:aws:iam::000000000000:role/"), "a role that does not exist"
    function = create(server, {"app.py": HANDLER}, Layers=[layer], MemorySize=256, Timeout=30)
    try:
        def call(service, call, **arguments):
            return function.ok({"service": service, "call": call, "arguments": arguments})

        name = f"arn:aws:sts::000000000000:assumed-role/test/{function.name}"
        denied = f"User: {name} is not authorized to perform: ssm:GetParameter on resource: arn:aws:ssm:us-east-1:000000000000:parameter/inside/key because no identity-based policy allows the ssm:GetParameter action"
        assert call("ssm", "get_parameter", Name="/inside/key") == ["AccessDeniedException", denied]
        assert call("secretsmanager", "get_secret_value", SecretId="inside/db")[0] == "AccessDeniedException"
        assert call("secretsmanager", "get_secret_value", SecretId="absent")[0] == "AccessDeniedException", "nothing is learnt"
        assert call("sts", "assume_role", RoleArn=configured, RoleSessionName="me")[0] == "AccessDenied"
        function.update(Role=configured)
        code, answer = call("ssm", "get_parameter", Name="/inside/key", WithDecryption=True)
        assert code is None and "'parameter-value'" in answer
        code, answer = call("ssm", "get_parameters_by_path", Path="/inside", WithDecryption=True)
        assert code is None and "'parameter-value'" in answer
        code, answer = call("secretsmanager", "get_secret_value", SecretId="inside/db")
        assert code is None and "'secret-value'" in answer
        for service, operation, arguments in [
            ("ssm", "get_parameter", {"Name": "/other/key"}),
            ("ssm", "put_parameter", {"Name": "/inside/key", "Value": "mine", "Overwrite": True}),
            ("ssm", "describe_parameters", {}),
            ("secretsmanager", "put_secret_value", {"SecretId": "inside/db", "SecretString": "mine"}),
            ("secretsmanager", "delete_secret", {"SecretId": "inside/db"}),
            ("secretsmanager", "list_secrets", {}),
        ]:
            assert call(service, operation, **arguments)[0] == "AccessDeniedException", operation
        # A change of the role counts at once.
        server.client("iam").put_role_policy(RoleName="inside-reader", PolicyName="read", PolicyDocument='{"Statement": []}')
        assert call("ssm", "get_parameter", Name="/inside/key")[0] == "AccessDeniedException"
    finally:
        function.delete()
