"""Function URLs with AWS_IAM, as real signers call them: botocore, curl, JavaScript; and everything that is not signed rightly."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.credentials import Credentials

from support import functions, signing, urls

SOURCE = {"app.py": "def handler(event, context): return event"}
ACCOUNT = "000000000000"
FORBIDDEN = "Forbidden. For troubleshooting Function URL authorization issues, see: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"
MISMATCH = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
INVALID_TOKEN = "The security token included in the request is invalid."
NODE_MODULES = Path(__file__).parents[2] / ".cache/node-sdk/node_modules"


@pytest.fixture(scope="module")
def echo(shared_server):
    function = functions.create(shared_server.get(), SOURCE)
    yield function
    function.delete()


@pytest.fixture(scope="module")
def url(echo):
    return urls.create(echo.server, echo.name, public=False, auth_type="AWS_IAM")


@pytest.fixture(scope="module")
def ann(echo):
    return signing.credentials(signing.key(echo.server, "create", "--name", "ann", "--policy", "invoke-only"))


def call(url: urls.Url, who: Credentials, target: str = "/", method: str = "GET", body: bytes = b"", headers: dict[str, str] | None = None, **how) -> urls.Reply:
    """One signed request."""
    signed = signing.sign(who, f"http://{url.host}{target}", method, body, headers, **how)
    return url.request(method, target, headers=signed, body=body or None)


def refused(reply: urls.Reply) -> tuple[int, str, str]:
    """Status, error type and message of a refusal of who asks."""
    assert reply.header("content-type") == "application/json"
    return reply.status, reply.header("x-amzn-errortype"), reply.json.get("message") or reply.json["Message"]


@pytest.mark.covers("operation:Signed function URLs", client="botocore")
def test_botocore_signs_and_the_event_says_who_asked(url, ann):
    reply = call(url, ann, "/a%20b/%C3%A4/arn%3Aaws?b=2&a=1&a=&q=%20x%2By", "POST", b'{"a": 1}', {"Content-Type": "application/json"})
    assert reply.status == 200, reply.text
    event = reply.json
    assert (event["rawPath"], event["body"]) == ("/a%20b/%C3%A4/arn%3Aaws", '{"a": 1}')
    iam = event["requestContext"]["authorizer"]["iam"]
    user_id = iam["userId"]
    assert re.fullmatch("AIDA[A-Z2-7]{17}", user_id)
    assert event["requestContext"]["accountId"] == ACCOUNT
    assert iam == {
        "accessKey": ann.access_key, "accountId": ACCOUNT, "callerId": user_id, "cognitoIdentity": None, "principalOrgId": None,
        "userArn": f"arn:aws:iam::{ACCOUNT}:user/ann", "userId": user_id,
    }
    # The same URL by path is signed as it is called.
    by_path = f"http://127.0.0.1:{url.server.port}/_url/{url.id}/x"
    headers = signing.sign(ann, by_path)
    assert url.request("GET", urlsplit(by_path).path, headers=headers, host=urlsplit(by_path).netloc).json["rawPath"] == "/x"


@pytest.mark.covers("operation:Signed function URLs", client="botocore, presigned")
def test_presigned(url, ann):
    target = signing.presign(ann, f"http://{url.host}/file?x=1%202")
    assert url.request("GET", target).json["rawPath"] == "/file"
    assert refused(url.request("GET", target + "&y=1")) == (403, "InvalidSignatureException", MISMATCH)
    assert refused(url.request("POST", target, body=b"x")) == (403, "InvalidSignatureException", MISMATCH)
    stale = signing.presign(ann, f"http://{url.host}/", 60, seconds_ago=120)
    assert refused(url.request("GET", stale))[2].startswith("Signature expired: ")


@pytest.mark.covers("operation:Signed function URLs", client="curl")
def test_curl_signs(url, ann):
    user = f"{ann.access_key}:{ann.secret_key}"
    arguments = ("--aws-sigv4", "aws:amz:us-east-1:lambda", "--user", user)
    done = url.curl(*arguments, "-H", "content-type: application/json", "-d", '{"a": 1}', target="/plain/path?a=1&b=2")
    event = json.loads(done.stdout)
    assert (event["rawPath"], event["rawQueryString"], event["body"]) == ("/plain/path", "a=1&b=2", '{"a": 1}')
    assert event["requestContext"]["authorizer"]["iam"]["accessKey"] == ann.access_key
    assert json.loads(url.curl(*arguments[:3], f"{user}x").stdout)["message"] == MISMATCH


@pytest.mark.covers("operation:Signed function URLs", client="@smithy/signature-v4")
def test_javascript_signs(url, ann, tmp_path):
    node = shutil.which("node")
    if not node or not (NODE_MODULES / "@smithy/signature-v4").is_dir():
        pytest.skip("no Node.js SDK here")
    script = tmp_path / "sign.mjs"
    script.write_text(
        """
        import { createRequire } from "node:module";
        const require = createRequire(process.argv[2] + "/");
        const { SignatureV4 } = require("@smithy/signature-v4");
        const { createHash, createHmac } = require("node:crypto");
        class Sha256 {
            constructor(secret) { this.hash = secret ? createHmac("sha256", secret) : createHash("sha256"); }
            update(data) { this.hash.update(data); }
            async digest() { return new Uint8Array(this.hash.digest()); }
        }
        const [host, accessKeyId, secretAccessKey] = process.argv.slice(3);
        const signer = new SignatureV4({ credentials: { accessKeyId, secretAccessKey }, region: "us-east-1", service: "lambda", sha256: Sha256 });
        const request = { method: "POST", protocol: "http:", hostname: host, path: "/a%20b/c", query: { "q r": "1 2", list: ["b", "a"] }, headers: { host, "content-type": "text/plain" }, body: "hello" };
        console.log(JSON.stringify((await signer.sign(request)).headers));
        """
    )
    arguments = [node, str(script), str(NODE_MODULES), url.host, ann.access_key, ann.secret_key]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    headers = {name: value for name, value in json.loads(done.stdout).items() if name != "host"}
    assert "x-amz-content-sha256" in headers
    reply = url.request("POST", "/a%20b/c?q%20r=1%202&list=b&list=a", headers=headers, body=b"hello")
    assert (reply.status, reply.json["body"]) == (200, "hello"), reply.text


@pytest.mark.covers("input:forged and stale signatures")
def test_what_is_not_signed_rightly(url, ann):
    target = f"http://{url.host}/x"
    assert refused(url.request("GET", "/x")) == (403, "AccessDeniedException", FORBIDDEN)
    forged = Credentials(ann.access_key, "x" * 40)
    assert refused(call(url, forged, "/x")) == (403, "InvalidSignatureException", MISMATCH)
    nobody = Credentials("AKIAAAAAAAAAAAAAAAAA", ann.secret_key)
    assert refused(call(url, nobody, "/x")) == (403, "UnrecognizedClientException", INVALID_TOKEN)
    assert refused(call(url, Credentials("test", "test"), "/x")) == (403, "UnrecognizedClientException", INVALID_TOKEN)
    odd = Credentials(ann.access_key, ann.secret_key, "a token")
    assert refused(call(url, odd, "/x")) == (403, "UnrecognizedClientException", INVALID_TOKEN)
    status, kind, text = refused(call(url, ann, "/x", seconds_ago=310))
    assert (status, kind) == (403, "InvalidSignatureException") and re.fullmatch(r"Signature expired: \d{8}T\d{6}Z is now earlier than \d{8}T\d{6}Z \(\d{8}T\d{6}Z - 5 min\.\)", text)
    status, kind, text = refused(call(url, ann, "/x", seconds_ago=-310))
    assert (status, kind) == (403, "InvalidSignatureException") and text.startswith("Signature not yet current: ")
    assert refused(call(url, ann, "/x", region="eu-west-1")) == (403, "InvalidSignatureException", "Credential should be scoped to a valid region, not 'eu-west-1'. ")
    assert refused(call(url, ann, "/x", service="execute-api")) == (403, "InvalidSignatureException", "Credential should be scoped to correct service: 'lambda'. ")
    signed = signing.sign(ann, target, "POST", b"one")
    assert url.request("POST", "/x", headers=signed, body=b"one").status == 200
    assert refused(url.request("POST", "/x", headers=signed, body=b"two")) == (403, "InvalidSignatureException", MISMATCH)
    assert refused(url.request("PUT", "/x", headers=signed, body=b"one")) == (403, "InvalidSignatureException", MISMATCH)
    assert refused(url.request("POST", "/x?y", headers=signed, body=b"one")) == (403, "InvalidSignatureException", MISMATCH)
    unsigned_payload = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    assert refused(call(url, ann, "/x", "POST", b"one", unsigned_payload)) == (403, "InvalidSignatureException", MISMATCH)
    cut = signed | {"Authorization": signed["Authorization"].split(", Signature=")[0]}
    status, kind, text = refused(url.request("POST", "/x", headers=cut, body=b"one"))
    assert (status, kind) == (403, "IncompleteSignatureException") and text.startswith("Authorization header requires 'Signature' parameter. ")
    status, kind, _ = refused(url.request("GET", "/x", headers={"Authorization": "Bearer abc"}))
    assert (status, kind) == (403, "IncompleteSignatureException")
    added = signed | {"x-amz-more": "1"}
    assert refused(url.request("POST", "/x", headers=added, body=b"one"))[1] == "InvalidSignatureException"


@pytest.mark.covers("input:forged and stale signatures")
def test_a_request_for_one_url_is_none_for_another(url, ann, echo):
    client = echo.server.client()
    version = client.publish_version(FunctionName=echo.name)["Version"]
    client.create_alias(FunctionName=echo.name, Name="other", FunctionVersion=version)
    other = urls.create(echo.server, echo.name, qualifier="other", public=False, auth_type="AWS_IAM")
    signed = signing.sign(ann, f"http://{url.host}/")
    assert url.request(headers=signed).status == 200
    assert refused(other.request(headers=signed)) == (403, "InvalidSignatureException", MISMATCH)


@pytest.mark.covers("operation:Access keys", client="lamplight key")
@pytest.mark.covers("operation:GetCallerIdentity", client="boto3")
def test_keys_are_made_switched_and_deleted(url, echo):
    server = echo.server
    made = signing.key(server, "create", "--name", "carl")
    assert re.fullmatch("AKIA[A-Z2-7]{16}", made["AccessKeyId"]) and len(made["SecretAccessKey"]) == 40
    carl, id = signing.credentials(made), made["AccessKeyId"]

    def listed() -> dict:
        rows = {row["AccessKeyId"]: row for row in signing.key(server, "list")["Keys"]}
        assert all("SecretAccessKey" not in row for row in rows.values())
        return rows.get(id, {})

    assert listed()["Status"] == "Active" and "LastUsed" not in listed()
    assert call(url, carl).status == 200
    deadline = time.monotonic() + 30
    while "LastUsed" not in listed():
        assert time.monotonic() < deadline, "the use is never noted"
    used = listed()["LastUsed"]
    assert (used["ServiceName"], used["Region"]) == ("lambda", "us-east-1") and abs(used["Date"] / 1000 - time.time()) < 60
    # Who it is, for the API, which does not verify signatures.
    sts = boto3.client("sts", endpoint_url=server.endpoint, region_name="us-east-1", aws_access_key_id=id, aws_secret_access_key=made["SecretAccessKey"])
    assert sts.get_caller_identity()["Arn"] == made["UserArn"] == f"arn:aws:iam::{ACCOUNT}:user/carl"
    assert signing.run(server, "disable", id).returncode == 0
    assert refused(call(url, carl)) == (403, "UnrecognizedClientException", INVALID_TOKEN)
    assert signing.run(server, "enable", id).returncode == 0
    assert call(url, carl).status == 200
    table = signing.run(server, "list", json_output=False).stdout
    assert re.search(rf"{id}\s+carl\s+Active\s+all\s", table)
    assert signing.run(server, "delete", id).returncode == 0
    assert refused(call(url, carl)) == (403, "UnrecognizedClientException", INVALID_TOKEN)
    assert listed() == {}
    gone = signing.run(server, "delete", id, json_output=False)
    assert gone.returncode == 2 and "cannot be found" in gone.stderr and "lamplight key list" in gone.stderr
    wrong = signing.run(server, "create", "--policy", "everything", json_output=False)
    assert wrong.returncode == 2 and "--policy invoke-only" in wrong.stderr
    assert signing.run(server, "create", "--name", "a b", json_output=False).returncode == 2


@pytest.mark.covers("operation:Access keys", client="lamplight key")
def test_secrets_are_encrypted_at_rest(server, deploy):
    function = deploy(SOURCE)
    url = urls.create(server, function.name, public=False, auth_type="AWS_IAM")
    dora = signing.credentials(signing.key(server, "create", "--name", "dora"))
    assert call(url, dora).status == 200
    data = server.data_directory
    for path in data.glob("metadata.sqlite*"):
        content = path.read_bytes()
        assert dora.secret_key.encode() not in content
    assert any(dora.access_key.encode() in path.read_bytes() for path in data.glob("metadata.sqlite*"))


def policy(effect: str, *actions: str, **more) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": effect, "Action": list(actions), "Resource": "*"} | more]})


@pytest.mark.covers("operation:Signed function URLs", client="botocore")
def test_a_signature_is_good_for_one_path_only(url, ann):
    # botocore signs the same for each of these; they are served as they come.
    for target in ("/other/../b", "/b/.", "/other/%2E%2e/b"):
        status, kind, text = refused(call(url, ann, target))
        assert (status, kind) == (403, "InvalidSignatureException") and "'..' segments" in text, target
    assert call(url, ann, "/b..c/...").json["rawPath"] == "/b..c/..."


@pytest.mark.covers("operation:Signed function URLs", client="boto3")
def test_policies_say_who_may(server, deploy, tmp_path):
    name = deploy(SOURCE).name
    url = urls.create(server, name, public=False, auth_type="AWS_IAM")
    client = server.client()

    def user(name: str, document: str) -> Credentials:
        path = tmp_path / f"{name}.json"
        path.write_text(document)
        return signing.credentials(signing.key(server, "create", "--name", name, "--policy", str(path)))

    def may(who: Credentials) -> bool:
        reply = call(url, who)
        assert reply.status == 200 or refused(reply) == (403, "AccessDeniedException", FORBIDDEN)
        return reply.status == 200

    both = ("lambda:InvokeFunctionUrl", "lambda:InvokeFunction")
    assert may(user("whole", policy("Allow", *both)))
    # Since October 2025 one of the two is not enough.
    assert not may(user("half", policy("Allow", "lambda:InvokeFunctionUrl")))
    assert may(user("here", policy("Allow", *both, Condition={"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}})))
    assert not may(user("elsewhere", policy("Allow", *both, Condition={"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}})))
    assert not may(user("unknown", policy("Allow", *both, Condition={"NumericLessThan": {"aws:MultiFactorAuthAge": "60"}})))
    assert not may(user("other", policy("Allow", *both, Resource="arn:aws:lambda:*:*:function:another")))
    bare = signing.credentials(signing.key(server, "create", "--name", "bare", "--policy", "none"))
    assert not may(bare)
    # Its account is meant, but the account's own policies do not allow it.
    client.add_permission(FunctionName=name, StatementId="account", Action="lambda:InvokeFunctionUrl", Principal=ACCOUNT, FunctionUrlAuthType="AWS_IAM")
    client.add_permission(FunctionName=name, StatementId="account2", Action="lambda:InvokeFunction", Principal=ACCOUNT, InvokedViaFunctionUrl=True)
    assert not may(bare)
    arn = f"arn:aws:iam::{ACCOUNT}:user/bare"
    client.add_permission(FunctionName=name, StatementId="user", Action="lambda:InvokeFunctionUrl", Principal=arn, FunctionUrlAuthType="AWS_IAM")
    assert not may(bare)
    client.add_permission(FunctionName=name, StatementId="user2", Action="lambda:InvokeFunction", Principal=arn, InvokedViaFunctionUrl=True)
    assert may(bare)
    client.remove_permission(FunctionName=name, StatementId="user2")
    assert not may(bare)
    # What was granted to URLs without authentication is granted to no other.
    client.update_function_url_config(FunctionName=name, AuthType="NONE")
    assert url.request().status == 403


@pytest.mark.covers("operation:Signed function URLs", client="boto3")
def test_sessions_of_roles_sign(server, deploy):
    url = urls.create(server, deploy(SOURCE).name, public=False, auth_type="AWS_IAM")
    iam, sts = server.client("iam"), server.client("sts")
    role = iam.create_role(RoleName="url-caller", AssumeRolePolicyDocument="{}")["Role"]
    try:
        made = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="me")
        session = signing.credentials(made["Credentials"])
        assert refused(call(url, session)) == (403, "AccessDeniedException", FORBIDDEN)
        iam.put_role_policy(RoleName="url-caller", PolicyName="p", PolicyDocument=policy("Allow", "lambda:*"))
        event = call(url, session).json
        assert event["requestContext"]["authorizer"]["iam"]["userArn"] == made["AssumedRoleUser"]["Arn"]
        assert event["requestContext"]["authorizer"]["iam"]["userId"] == made["AssumedRoleUser"]["AssumedRoleId"]
        assert url.request("GET", signing.presign(session, f"http://{url.host}/")).status == 200
        for token in (None, "another"):
            wrong = Credentials(session.access_key, session.secret_key, token)
            assert refused(call(url, wrong)) == (403, "UnrecognizedClientException", INVALID_TOKEN)
        narrow = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="me", Policy=policy("Allow", "s3:*"))
        assert refused(call(url, signing.credentials(narrow["Credentials"]))) == (403, "AccessDeniedException", FORBIDDEN)
    finally:
        iam.delete_role_policy(RoleName="url-caller", PolicyName="p")
        iam.delete_role(RoleName="url-caller")
    # A session ends with its role.
    assert refused(call(url, session)) == (403, "UnrecognizedClientException", INVALID_TOKEN)
