"""The object store with stock clients: boto3, presigned URLs, the aws command line, and packages of functions."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import itertools
import json
import os
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request
import zlib

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from support.functions import PYTHON, ROLE, zip_of

MIB = 1 << 20
numbers = itertools.count(1)


def error_of(call, **arguments) -> tuple[str, int, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    return error["Code"], caught.value.response["ResponseMetadata"]["HTTPStatusCode"], error.get("Message", "")


def client_of(server, *, signature="s3v4", region="us-east-1", endpoint=None, style="auto", **more):
    return boto3.client(
        "s3", endpoint_url=endpoint or server.endpoint, region_name=region, aws_access_key_id="test", aws_secret_access_key="test",
        config=Config(signature_version=signature, retries={"total_max_attempts": 1}, s3={"addressing_style": style}, **more),
    )


@pytest.fixture
def s3(server):
    return server.client("s3")


@pytest.fixture
def bucket(s3):
    name = f"bucket-{next(numbers)}.test"
    s3.create_bucket(Bucket=name)
    yield name
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
        if page.get("Contents"):
            s3.delete_objects(Bucket=name, Delete={"Objects": [{"Key": row["Key"]} for row in page["Contents"]]})
    s3.delete_bucket(Bucket=name)


def send(server, method, path, body=None, headers=None):
    """One request without any client library: status, headers by lower-case names, body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


# Buckets


@pytest.mark.covers("operation:S3 buckets")
def test_buckets_are_created_listed_and_deleted(server, s3):
    name = f"made-{next(numbers)}"
    assert s3.create_bucket(Bucket=name)["Location"] == f"/{name}"
    assert s3.head_bucket(Bucket=name)["BucketRegion"] == "us-east-1"
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] is None
    listed = s3.list_buckets()
    assert name in [row["Name"] for row in listed["Buckets"]]
    assert len(listed["Owner"]["ID"]) == 64
    # Again in us-east-1 is no error; elsewhere it is, and a name is taken in all regions.
    s3.create_bucket(Bucket=name)
    elsewhere = server.client("s3", "eu-west-1")
    constraint = {"LocationConstraint": "eu-west-1"}
    assert error_of(elsewhere.create_bucket, Bucket=name, CreateBucketConfiguration=constraint)[:2] == ("BucketAlreadyOwnedByYou", 409)
    assert error_of(elsewhere.create_bucket, Bucket=f"{name}-x")[:2] == ("IllegalLocationConstraintException", 400)
    elsewhere.create_bucket(Bucket=f"{name}-eu", CreateBucketConfiguration=constraint)
    assert s3.get_bucket_location(Bucket=f"{name}-eu")["LocationConstraint"] == "eu-west-1"
    s3.delete_bucket(Bucket=f"{name}-eu")
    s3.put_object(Bucket=name, Key="a", Body=b"a")
    assert error_of(s3.delete_bucket, Bucket=name) == ("BucketNotEmpty", 409, "The bucket you tried to delete is not empty")
    s3.delete_object(Bucket=name, Key="a")
    s3.delete_bucket(Bucket=name)
    for call in (s3.delete_bucket, s3.get_bucket_location, s3.list_objects_v2):
        assert error_of(call, Bucket=name) == ("NoSuchBucket", 404, "The specified bucket does not exist")
    assert error_of(s3.head_bucket, Bucket=name)[:2] == ("404", 404)
    assert error_of(s3.put_object, Bucket=name, Key="a", Body=b"a")[0] == "NoSuchBucket"


@pytest.mark.covers("operation:S3 buckets")
def test_buckets_are_listed_by_pages(server, s3):
    prefix = f"paged-{next(numbers)}-"
    names = [f"{prefix}{letter}" for letter in "abc"]
    for name in names:
        s3.create_bucket(Bucket=name)
    pages = list(s3.get_paginator("list_buckets").paginate(Prefix=prefix, PaginationConfig={"PageSize": 2}))
    assert [[row["Name"] for row in page["Buckets"]] for page in pages] == [names[:2], names[2:]]
    for name in names:
        s3.delete_bucket(Bucket=name)


@pytest.mark.covers("operation:S3 buckets")
@pytest.mark.parametrize("name", ["ab", "Upper", "under_score", "127.0.0.1", "a..b", "-a-b"])
def test_bucket_names_are_checked(server, name):
    status, _, body = send(server, "PUT", f"/{name}", headers={"Authorization": "AWS key:signature"})
    assert (status, b"<Code>InvalidBucketName</Code>" in body) == (400, True), body
    assert b"<Message>The specified bucket is not valid.</Message>" in body


# Objects


@pytest.mark.covers("operation:S3 objects")
def test_an_object_comes_back_with_everything_said_about_it(s3, bucket):
    body = os.urandom(300_000)
    said = {
        "ContentType": "text/plain", "ContentEncoding": "gzip", "ContentLanguage": "de", "ContentDisposition": 'attachment; filename="a"',
        "CacheControl": "no-cache", "Metadata": {"color": "blue", "empty": "", "sp ace".replace(" ", "-"): "two words"},
    }
    put = s3.put_object(Bucket=bucket, Key="a/b", Body=body, Tagging="team=one&space=a+b", **said)
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    crc32 = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    assert (put["ChecksumCRC32"], put["ChecksumType"]) == (crc32, "FULL_OBJECT")
    for call in (s3.get_object, s3.head_object):
        got = call(Bucket=bucket, Key="a/b", ChecksumMode="ENABLED")
        assert {key: got[key] for key in said} == said
        assert (got["ETag"], got["ContentLength"], got["AcceptRanges"], got["ChecksumCRC32"]) == (put["ETag"], len(body), "bytes", crc32)
        assert "Expires" not in got and "VersionId" not in got and "PartsCount" not in got
        if "Body" in got:
            assert got["Body"].read() == body
            assert got["TagCount"] == 2
    tags = s3.get_object_tagging(Bucket=bucket, Key="a/b")["TagSet"]
    assert sorted((tag["Key"], tag["Value"]) for tag in tags) == [("space", "a b"), ("team", "one")]
    s3.put_object_tagging(Bucket=bucket, Key="a/b", Tagging={"TagSet": [{"Key": "only", "Value": ""}]})
    assert s3.get_object_tagging(Bucket=bucket, Key="a/b")["TagSet"] == [{"Key": "only", "Value": ""}]
    s3.delete_object_tagging(Bucket=bucket, Key="a/b")
    assert s3.get_object_tagging(Bucket=bucket, Key="a/b")["TagSet"] == []
    twice = [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]
    assert error_of(s3.put_object_tagging, Bucket=bucket, Key="a/b", Tagging={"TagSet": twice})[0] == "InvalidTag"


@pytest.mark.covers("operation:S3 objects")
def test_what_nobody_said_is_as_s3_says_it(s3, bucket):
    s3.put_object(Bucket=bucket, Key="plain", Body=b"")
    got = s3.get_object(Bucket=bucket, Key="plain")
    assert (got["ContentType"], got["ContentLength"], got["Body"].read(), got["Metadata"]) == ("binary/octet-stream", 0, b"", {})
    for absent in ("ContentEncoding", "CacheControl", "ContentDisposition", "TagCount"):
        assert absent not in got
    overridden = s3.get_object(Bucket=bucket, Key="plain", ResponseContentType="text/html", ResponseCacheControl="private")
    assert (overridden["ContentType"], overridden["CacheControl"]) == ("text/html", "private")


@pytest.mark.covers("operation:S3 objects")
def test_an_object_that_is_not_there(s3, bucket):
    with pytest.raises(s3.exceptions.NoSuchKey) as caught:
        s3.get_object(Bucket=bucket, Key="no/such")
    assert caught.value.response["Error"] == {"Code": "NoSuchKey", "Message": "The specified key does not exist.", "Key": "no/such", "Resource": f"/{bucket}/no/such"} | {
        key: value for key, value in caught.value.response["Error"].items() if key in ("RequestId", "HostId")
    }
    assert caught.value.response["ResponseMetadata"]["RequestId"]
    assert error_of(s3.head_object, Bucket=bucket, Key="no/such")[:2] == ("404", 404)
    assert error_of(s3.get_object_tagging, Bucket=bucket, Key="no/such")[0] == "NoSuchKey"
    assert error_of(s3.copy_object, Bucket=bucket, Key="x", CopySource={"Bucket": bucket, "Key": "no/such"})[0] == "NoSuchKey"
    # Deleting it is no error.
    assert s3.delete_object(Bucket=bucket, Key="no/such")["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert error_of(s3.get_object, Bucket=bucket, Key="no/such", VersionId="7")[:2] == ("InvalidArgument", 400)


ODD_KEYS = [
    "../../etc/passwd", "a/../b", "./.", "//", "a//b", "/leading", "trailing/", " space ", "plus+plus", "per%cent", "per%2Fcent", "question?mark", "hash#tag", "amp&<>'\"",
    "ümläut", "日本語", "emoji-😀", "tab\there", "line\nfeed", "back\\slash", "semi;colon", "a" * 1024, "CON", ".", "..", "{}|^`[]", "~", "*", "nul-free\x7f",
]


@pytest.mark.covers("operation:S3 objects")
@pytest.mark.covers("operation:S3 lists")
def test_every_odd_key_is_just_a_key(server, s3, bucket):
    for key in ODD_KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for key in ODD_KEYS:
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode(), key
    listed = [row["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 3}) for row in page["Contents"]]
    assert listed == sorted(ODD_KEYS, key=str.encode)
    for key in ODD_KEYS:
        s3.copy_object(Bucket=bucket, Key="copies/" + key[:1000], CopySource={"Bucket": bucket, "Key": key})
        assert s3.get_object(Bucket=bucket, Key="copies/" + key[:1000])["Body"].read() == key.encode(), key
    # Nothing of this became a path.
    files = [path for path in (server.data_directory / "objects").rglob("*") if path.is_file()]
    assert files and all(len(path.name) == 32 and path.parent.name == path.name[:2] for path in files if "content" in path.parts)
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in ODD_KEYS]})
    assert {row["Key"] for row in deleted["Deleted"]} == set(ODD_KEYS) and "Errors" not in deleted
    assert error_of(s3.put_object, Bucket=bucket, Key="a" * 1025, Body=b"") == ("KeyTooLongError", 400, "Your key is too long")


@pytest.mark.covers("operation:S3 objects")
def test_ranges(s3, bucket):
    body = bytes(range(256)) * 4096
    s3.put_object(Bucket=bucket, Key="a", Body=body)
    for text, begin, end in [("bytes=0-0", 0, 1), ("bytes=5-", 5, len(body)), ("bytes=-7", len(body) - 7, len(body)), ("bytes=262143-262146", 262143, 262147), ("bytes=10-99999999", 10, len(body))]:
        got = s3.get_object(Bucket=bucket, Key="a", Range=text)
        assert got["Body"].read() == body[begin:end], text
        assert got["ContentRange"] == f"bytes {begin}-{end - 1}/{len(body)}"
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert s3.head_object(Bucket=bucket, Key="a", Range=text)["ContentLength"] == end - begin
    for ignored in ("bytes=2-1", "lines=1-2", "bytes=0-1,3-4", "nonsense"):
        assert s3.get_object(Bucket=bucket, Key="a", Range=ignored)["ContentLength"] == len(body), ignored
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=bucket, Key="a", Range=f"bytes={len(body)}-")
    error = caught.value.response["Error"]
    assert (error["Code"], error["Message"], error["ActualObjectSize"], error["RangeRequested"]) == ("InvalidRange", "The requested range is not satisfiable", str(len(body)), f"bytes={len(body)}-")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 416


@pytest.mark.covers("operation:S3 objects")
def test_conditions(s3, bucket):
    put = s3.put_object(Bucket=bucket, Key="a", Body=b"one", IfNoneMatch="*")
    tag = put["ETag"]
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=bucket, Key="a", Body=b"two", IfNoneMatch="*")
    error = caught.value.response["Error"]
    assert (error["Code"], error["Condition"], error["Message"]) == ("PreconditionFailed", "If-None-Match", "At least one of the pre-conditions you specified did not hold")
    assert error_of(s3.put_object, Bucket=bucket, Key="a", Body=b"two", IfMatch='"0"')[:2] == ("PreconditionFailed", 412)
    assert error_of(s3.put_object, Bucket=bucket, Key="new", Body=b"two", IfMatch=tag)[:2] == ("NoSuchKey", 404)
    assert s3.get_object(Bucket=bucket, Key="a", IfMatch=tag)["Body"].read() == b"one"
    modified = s3.head_object(Bucket=bucket, Key="a")["LastModified"]
    for condition in ({"IfNoneMatch": tag}, {"IfModifiedSince": modified}):
        for call in (s3.get_object, s3.head_object):
            assert error_of(call, Bucket=bucket, Key="a", **condition)[:2] == ("304", 304)
    assert error_of(s3.get_object, Bucket=bucket, Key="a", IfMatch='"0"')[:2] == ("PreconditionFailed", 412)
    s3.put_object(Bucket=bucket, Key="a", Body=b"two", IfMatch=tag)
    assert error_of(s3.delete_object, Bucket=bucket, Key="a", IfMatch=tag)[:2] == ("PreconditionFailed", 412)
    assert error_of(s3.copy_object, Bucket=bucket, Key="b", CopySource=f"{bucket}/a", CopySourceIfMatch=tag)[:2] == ("PreconditionFailed", 412)
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"two"


@pytest.mark.covers("operation:S3 objects")
def test_only_one_of_many_creates(server, bucket):
    results = []

    def put(number):
        try:
            client_of(server).put_object(Bucket=bucket, Key="lock", Body=str(number).encode(), IfNoneMatch="*")
            results.append(number)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "PreconditionFailed"

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 1
    assert client_of(server).get_object(Bucket=bucket, Key="lock")["Body"].read() == str(results[0]).encode()


@pytest.mark.covers("operation:S3 checksums")
@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_checksums_in_trailers_are_checked_stored_and_returned(s3, bucket, algorithm):
    body = b"some bytes" * 1000
    member = f"Checksum{algorithm}"
    # A body that cannot be rewound is sent in chunks with a trailer.
    put = s3.put_object(Bucket=bucket, Key="a", Body=io.BytesIO(body), ChecksumAlgorithm=algorithm)
    expected = {"CRC32": lambda: zlib.crc32(body).to_bytes(4, "big"), "SHA1": hashlib.sha1(body).digest, "SHA256": hashlib.sha256(body).digest}[algorithm]()
    assert put[member] == base64.b64encode(expected).decode()
    got = s3.get_object(Bucket=bucket, Key="a", ChecksumMode="ENABLED")
    assert (got[member], got["Body"].read()) == (put[member], body)
    assert "ContentEncoding" not in got
    row = s3.list_objects_v2(Bucket=bucket)["Contents"][0]
    assert (row["ChecksumAlgorithm"], row["ChecksumType"]) == ([algorithm], "FULL_OBJECT")
    wrong = base64.b64encode(bytes(len(expected))).decode()
    code, status, text = error_of(s3.put_object, Bucket=bucket, Key="a", Body=body, **{member: wrong})
    assert (code, status, text) == ("BadDigest", 400, f"The {algorithm} you specified did not match the calculated checksum.")
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == body


@pytest.mark.covers("operation:S3 checksums")
@pytest.mark.parametrize("header, value", [("x-amz-checksum-crc32c", "4waSgw=="), ("x-amz-checksum-crc64nvme", "rosUhgp5mIg=")])
def test_checksums_this_client_cannot_compute(server, s3, bucket, header, value):
    """The check values of the CRC catalogue for 123456789, in the head and behind chunks."""
    path, body = f"/{bucket}/a", b"123456789"
    assert send(server, "PUT", path, body, {"Authorization": "AWS k:s", header: value})[0] == 200
    chunks = b"4\r\n1234\r\n5\r\n56789\r\n0\r\n" + f"{header}:{value}\r\n\r\n".encode()
    streaming = {"Authorization": "AWS k:s", "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "Content-Encoding": "aws-chunked", "x-amz-decoded-content-length": "9", "x-amz-trailer": header}
    assert send(server, "PUT", path, chunks, streaming)[0] == 200
    status, headers, got = send(server, "GET", path, headers={"Authorization": "AWS k:s", "x-amz-checksum-mode": "ENABLED"})
    assert (status, got, headers[header]) == (200, body, value)
    status, _, got = send(server, "PUT", path, chunks.replace(value.encode(), b"A" + value[1:].encode()), streaming)
    assert (status, b"<Code>BadDigest</Code>" in got) == (400, True), got
    status, _, got = send(server, "PUT", path, b"4\r\n1234\r\n5\r\n56789\r\n0\r\n\r\n", streaming)
    assert (status, b"<Code>MalformedTrailerError</Code>" in got) == (400, True), got
    status, _, got = send(server, "PUT", path, chunks, streaming | {"x-amz-decoded-content-length": "8"})
    assert (status, b"<Code>IncompleteBody</Code>" in got) == (400, True), got


@pytest.mark.covers("operation:S3 checksums")
def test_md5_and_signed_bodies_are_checked(server, s3, bucket):
    body = b"content"
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    s3.put_object(Bucket=bucket, Key="a", Body=body, ContentMD5=md5)
    code, status, text = error_of(s3.put_object, Bucket=bucket, Key="a", Body=b"other", ContentMD5=md5)
    assert (code, status, text) == ("BadDigest", 400, "The Content-MD5 you specified did not match what we received.")
    assert error_of(s3.put_object, Bucket=bucket, Key="a", Body=body, ContentMD5="nonsense")[0] == "InvalidDigest"
    status, _, got = send(server, "PUT", f"/{bucket}/a", b"other", {"Authorization": "AWS k:s", "x-amz-content-sha256": hashlib.sha256(body).hexdigest()})
    assert (status, b"<Code>XAmzContentSHA256Mismatch</Code>" in got) == (400, True), got
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == body


@pytest.mark.covers("operation:S3 objects")
def test_copies(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a b+ü", Body=b"content", ContentType="text/plain", Metadata={"color": "blue"}, Tagging="team=one")
    source = {"Bucket": bucket, "Key": "a b+ü"}
    copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource=source)["CopyObjectResult"]
    got = s3.get_object(Bucket=bucket, Key="copy")
    assert (got["Body"].read(), got["ContentType"], got["Metadata"], got["ETag"], got["TagCount"]) == (b"content", "text/plain", {"color": "blue"}, copied["ETag"], 1)
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=source, MetadataDirective="REPLACE", ContentType="text/html", Metadata={"a": "b"}, TaggingDirective="REPLACE", Tagging="x=y")
    got = s3.head_object(Bucket=bucket, Key="copy")
    assert (got["ContentType"], got["Metadata"]) == ("text/html", {"a": "b"})
    assert s3.get_object_tagging(Bucket=bucket, Key="copy")["TagSet"] == [{"Key": "x", "Value": "y"}]
    # To itself only with something changed.
    code, status, text = error_of(s3.copy_object, Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "copy"})
    assert (code, status) == ("InvalidRequest", 400) and text.startswith("This copy request is illegal because it is trying to copy an object to itself")
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "copy"}, MetadataDirective="REPLACE", Metadata={"new": "1"})
    got = s3.get_object(Bucket=bucket, Key="copy")
    assert (got["Metadata"], got["Body"].read()) == ({"new": "1"}, b"content")
    assert error_of(s3.copy_object, Bucket=bucket, Key="x", CopySource={"Bucket": "no-such-bucket", "Key": "a"})[0] == "NoSuchBucket"


@pytest.mark.covers("operation:S3 objects")
def test_a_reader_keeps_what_it_began_to_read(server, s3, bucket):
    body = os.urandom(24 * MIB)
    s3.put_object(Bucket=bucket, Key="a", Body=body)
    reading = s3.get_object(Bucket=bucket, Key="a")["Body"]
    begin = reading.read(MIB)
    s3.put_object(Bucket=bucket, Key="a", Body=b"new")
    s3.delete_object(Bucket=bucket, Key="a")
    assert begin + reading.read() == body


@pytest.mark.covers("operation:S3 objects")
def test_delete_many(s3, bucket):
    for key in "abc":
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a"}, {"Key": "none"}, {"Key": "b", "VersionId": "7"}]})
    assert sorted(row["Key"] for row in answer["Deleted"]) == ["a", "none"]
    assert [(row["Key"], row["Code"]) for row in answer["Errors"]] == [("b", "InvalidArgument")]
    assert "Deleted" not in s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "b"}], "Quiet": True})
    assert [row["Key"] for row in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["c"]
    many = [{"Key": str(number)} for number in range(1001)]
    assert error_of(s3.delete_objects, Bucket=bucket, Delete={"Objects": many})[:2] == ("MalformedXML", 400)


@pytest.mark.covers("operation:S3 objects")
@pytest.mark.parametrize("path, body", [("?delete", b"<Delete><Object>"), ("?delete", b"not xml"), ("?delete", b"<Other/>"), ("/key?uploadId=1", b"<a><b></a>"), ("/key?uploadId=1", b"")])
def test_malformed_documents(server, bucket, path, body):
    status, headers, got = send(server, "POST", f"/{bucket}{path}", body, {"Authorization": "AWS k:s"})
    assert (status, b"<Code>MalformedXML</Code>" in got or b"<Code>MissingRequestBodyError</Code>" in got) == (400, True), got
    assert headers["content-type"] == "application/xml" and headers["x-amz-request-id"].encode() in got


# Lists


@pytest.mark.covers("operation:S3 lists")
def test_lists_by_prefix_delimiter_and_page(s3, bucket):
    keys = ["asdf", "boo/bar", "boo/baz/xyzzy", "cquux/bla", "cquux/thud", "zoo"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")

    def pages(operation, **arguments):
        found = []
        for page in s3.get_paginator(operation).paginate(Bucket=bucket, **arguments):
            found.append(([row["Key"] for row in page.get("Contents", [])], [row["Prefix"] for row in page.get("CommonPrefixes", [])]))
        return found

    for operation in ("list_objects", "list_objects_v2"):
        assert pages(operation) == [(keys, [])]
        assert pages(operation, Prefix="boo/") == [(["boo/bar", "boo/baz/xyzzy"], [])]
        assert pages(operation, Delimiter="/") == [(["asdf", "zoo"], ["boo/", "cquux/"])]
        assert pages(operation, Prefix="boo/", Delimiter="/") == [(["boo/bar"], ["boo/baz/"])]
        assert pages(operation, Delimiter="/", PaginationConfig={"PageSize": 1}) == [(["asdf"], []), ([], ["boo/"]), ([], ["cquux/"]), (["zoo"], [])]
        assert pages(operation, Delimiter="z", PaginationConfig={"PageSize": 3}) == [(["asdf", "boo/bar"], ["boo/baz"]), (["cquux/bla", "cquux/thud"], ["z"])]
        assert pages(operation, Prefix="none") == [([], [])]
    listed = s3.list_objects_v2(Bucket=bucket, StartAfter="boo/bar", MaxKeys=2)
    assert [row["Key"] for row in listed["Contents"]] == ["boo/baz/xyzzy", "cquux/bla"]
    assert (listed["KeyCount"], listed["MaxKeys"], listed["IsTruncated"], listed["StartAfter"]) == (2, 2, True, "boo/bar")
    assert "Owner" not in listed["Contents"][0]
    assert "Owner" in s3.list_objects_v2(Bucket=bucket, FetchOwner=True)["Contents"][0]
    first = s3.list_objects(Bucket=bucket, MaxKeys=1)
    assert first["IsTruncated"] and "NextMarker" not in first and first["Marker"] == ""
    assert s3.list_objects(Bucket=bucket, MaxKeys=1, Delimiter="/", Marker="asdf")["NextMarker"] == "boo/"
    none = s3.list_objects_v2(Bucket=bucket, MaxKeys=0)
    assert (none["KeyCount"], none["IsTruncated"]) == (0, False)
    assert error_of(s3.list_objects_v2, Bucket=bucket, ContinuationToken="nonsense")[:2] == ("InvalidArgument", 400)
    assert error_of(s3.list_objects_v2, Bucket=bucket, MaxKeys=-1)[:2] == ("InvalidArgument", 400)


# Multipart uploads


@pytest.mark.covers("operation:S3 multipart uploads")
def test_a_large_file_goes_up_and_comes_down_in_parts(s3, bucket, tmp_path):
    body = os.urandom(13 * MIB + 17)
    (tmp_path / "up").write_bytes(body)
    transfer = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=3)
    s3.upload_file(str(tmp_path / "up"), bucket, "large", Config=transfer, ExtraArgs={"Metadata": {"a": "b"}, "ContentType": "application/zip"})
    head = s3.head_object(Bucket=bucket, Key="large", ChecksumMode="ENABLED")
    parts = [body[at : at + 5 * MIB] for at in range(0, len(body), 5 * MIB)]
    digest = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()
    assert (head["ETag"], head["ContentLength"], head["Metadata"], head["ContentType"]) == (f'"{digest}-3"', len(body), {"a": "b"}, "application/zip")
    composite = zlib.crc32(b"".join(zlib.crc32(part).to_bytes(4, "big") for part in parts)).to_bytes(4, "big")
    assert (head["ChecksumCRC32"], head["ChecksumType"]) == (base64.b64encode(composite).decode() + "-3", "COMPOSITE")
    s3.download_file(bucket, "large", str(tmp_path / "down"), Config=transfer)
    assert (tmp_path / "down").read_bytes() == body
    part = s3.get_object(Bucket=bucket, Key="large", PartNumber=2)
    assert (part["Body"].read(), part["PartsCount"], part["ContentRange"]) == (parts[1], 3, f"bytes {5 * MIB}-{10 * MIB - 1}/{len(body)}")
    across = s3.get_object(Bucket=bucket, Key="large", Range=f"bytes={5 * MIB - 3}-{5 * MIB + 2}")
    assert across["Body"].read() == body[5 * MIB - 3 : 5 * MIB + 3]
    assert error_of(s3.get_object, Bucket=bucket, Key="large", PartNumber=4)[:2] == ("InvalidPartNumber", 416)
    # A copy is one piece again.
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/large")
    assert s3.head_object(Bucket=bucket, Key="copy")["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'


@pytest.mark.covers("operation:S3 multipart uploads")
def test_parts_one_by_one(s3, bucket):
    source = os.urandom(6 * MIB)
    s3.put_object(Bucket=bucket, Key="source", Body=source)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="a", ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    assert (upload["ChecksumAlgorithm"], upload["ChecksumType"]) == ("CRC32", "FULL_OBJECT")
    arguments = {"Bucket": bucket, "Key": "a", "UploadId": upload["UploadId"]}
    copied = s3.upload_part_copy(PartNumber=2, CopySource=f"{bucket}/source", CopySourceRange=f"bytes=0-{5 * MIB - 1}", **arguments)["CopyPartResult"]
    s3.upload_part(PartNumber=7, Body=b"overwritten", **arguments)
    last = s3.upload_part(PartNumber=7, Body=b"the end", **arguments)
    unused = s3.upload_part(PartNumber=9, Body=b"not named", **arguments)
    listed = s3.list_parts(**arguments)
    assert [(part["PartNumber"], part["Size"], part["ETag"]) for part in listed["Parts"]] == [(2, 5 * MIB, copied["ETag"]), (7, 7, last["ETag"]), (9, 9, unused["ETag"])]
    page = s3.list_parts(MaxParts=1, PartNumberMarker=2, **arguments)
    assert ([part["PartNumber"] for part in page["Parts"]], page["NextPartNumberMarker"], page["IsTruncated"]) == ([7], 7, True)
    uploads = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [(row["Key"], row["UploadId"]) for row in uploads] == [("a", upload["UploadId"])]
    # Nothing is visible before it is complete.
    assert error_of(s3.head_object, Bucket=bucket, Key="a")[1] == 404

    def complete(*parts, **more):
        return s3.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": number, "ETag": tag} for number, tag in parts]}, **arguments, **more)

    assert error_of(lambda: complete((7, last["ETag"]), (2, copied["ETag"])))[0] == "InvalidPartOrder"
    assert error_of(lambda: complete((2, copied["ETag"]), (3, last["ETag"])))[0] == "InvalidPart"
    assert error_of(lambda: complete((2, last["ETag"])))[0] == "InvalidPart"
    code, status, text = error_of(lambda: complete((7, last["ETag"]), (9, unused["ETag"])))
    assert (code, status, text) == ("EntityTooSmall", 400, "Your proposed upload is smaller than the minimum allowed size")
    assert error_of(lambda: complete((2, copied["ETag"]), IfMatch='"0"'))[0] == "NoSuchKey"
    body = source[: 5 * MIB] + b"the end"
    whole = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    assert error_of(lambda: complete((2, copied["ETag"]), (7, last["ETag"]), ChecksumCRC32="AAAAAA==", ChecksumType="FULL_OBJECT"))[0] == "BadDigest"
    done = complete((2, copied["ETag"]), (7, last["ETag"]), ChecksumCRC32=whole, ChecksumType="FULL_OBJECT")
    assert (done["ChecksumCRC32"], done["ChecksumType"], done["ETag"].endswith('-2"')) == (whole, "FULL_OBJECT", True)
    assert s3.get_object(Bucket=bucket, Key="a", ChecksumMode="ENABLED")["Body"].read() == body
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    for call in (s3.list_parts, s3.abort_multipart_upload):
        assert error_of(call, **arguments)[:2] == ("NoSuchUpload", 404)
    assert error_of(s3.upload_part, PartNumber=1, Body=b"late", **arguments)[0] == "NoSuchUpload"


@pytest.mark.covers("operation:S3 multipart uploads")
def test_uploads_are_listed_and_aborted(server, s3, bucket):
    uploads = [(key, s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]) for key in ("a", "a", "dir/b", "dir/c", "z")]
    pages = list(s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, PaginationConfig={"PageSize": 1}))
    assert sorted((row["Key"], row["UploadId"]) for page in pages for row in page["Uploads"]) == sorted(uploads) and len(pages) == 5
    rolled = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert ([row["Key"] for row in rolled["Uploads"]], [row["Prefix"] for row in rolled["CommonPrefixes"]]) == (["a", "a", "z"], ["dir/"])
    key, identifier = uploads[0]
    s3.upload_part(Bucket=bucket, Key=key, UploadId=identifier, PartNumber=1, Body=os.urandom(MIB))
    before = sum(path.stat().st_size for path in (server.data_directory / "objects/content").rglob("*") if path.is_file())
    for key, identifier in uploads:
        s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=identifier)
    after = sum(path.stat().st_size for path in (server.data_directory / "objects/content").rglob("*") if path.is_file())
    assert before - after == MIB
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    number = {"Bucket": bucket, "Key": "a", "UploadId": "none", "Body": b""}
    assert error_of(s3.upload_part, PartNumber=10001, **number)[:2] == ("InvalidArgument", 400)
    assert error_of(s3.create_multipart_upload, Bucket=bucket, Key="a", ChecksumAlgorithm="SHA256", ChecksumType="FULL_OBJECT")[:2] == ("InvalidRequest", 400)


# Addresses and signatures


def fetch(url, method="GET", body=None, headers=None):
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.covers("operation:S3 presigned URLs", client="urllib")
@pytest.mark.parametrize("signature", ["s3v4", "s3"])
def test_presigned_urls_of_both_versions(server, bucket, signature):
    client = client_of(server, signature=signature, style="path")
    arguments = {"Bucket": bucket, "Key": "a b/ü"}
    upload = client.generate_presigned_url("put_object", Params=arguments, ExpiresIn=60)
    assert fetch(upload, "PUT", b"content", {"Content-Type": ""})[0] == 200
    download = client.generate_presigned_url("get_object", Params=arguments | {"ResponseContentType": "text/x-test"}, ExpiresIn=60)
    assert fetch(download) == (200, b"content")
    assert fetch(client.generate_presigned_url("head_object", Params=arguments), "HEAD") == (200, b"")
    expired = client.generate_presigned_url("get_object", Params=arguments, ExpiresIn=-60 if signature == "s3" else 1)
    if signature == "s3v4":
        # A URL of yesterday: the date is part of it.
        expired = expired.replace("X-Amz-Date=20", "X-Amz-Date=19")
    status, text = fetch(expired)
    assert (status, b"<Code>AccessDenied</Code>" in text, b"<Message>Request has expired</Message>" in text) == (403, True, True), text
    assert fetch(client.generate_presigned_url("delete_object", Params=arguments), "DELETE")[0] == 204
    assert fetch(download)[0] == 404


@pytest.mark.covers("operation:S3 addresses")
def test_virtual_hosts(server, s3, monkeypatch):
    # Names beneath localhost are this machine; this resolver may not know.
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *more, **named: resolve("127.0.0.1" if str(host).endswith(".localhost") else host, *more, **named))
    name = f"virtual-{next(numbers)}"
    s3.create_bucket(Bucket=name)
    for endpoint in (f"http://s3.us-east-1.localhost:{server.port}", f"http://s3.localhost:{server.port}", f"http://localhost:{server.port}"):
        client = client_of(server, endpoint=endpoint, style="virtual")
        hosts = []
        client.meta.events.register("before-send.s3", lambda request, **_: hosts.append(request.url))
        client.put_object(Bucket=name, Key="a/b", Body=b"virtual")
        assert client.get_object(Bucket=name, Key="a/b")["Body"].read() == b"virtual"
        assert all(url.startswith(f"http://{name}.") for url in hosts), hosts
        assert [row["Key"] for row in client.list_objects_v2(Bucket=name)["Contents"]] == ["a/b"]
        unsigned = client_of(server, endpoint=endpoint, style="virtual", signature=UNSIGNED)
        assert unsigned.get_object(Bucket=name, Key="a/b")["Body"].read() == b"virtual"
    status, _, body = send(server, "GET", "/a/b", headers={"Host": f"{name}.localhost"})
    assert (status, body) == (200, b"virtual")
    s3.delete_object(Bucket=name, Key="a/b")
    s3.delete_bucket(Bucket=name)


@pytest.mark.covers("operation:S3 addresses")
def test_unsigned_and_signature_version_2(server, bucket):
    for signature in (UNSIGNED, "s3"):
        client = client_of(server, signature=signature, style="path")
        client.put_object(Bucket=bucket, Key="a", Body=b"x")
        assert client.get_object(Bucket=bucket, Key="a")["Body"].read() == b"x"
    # What is no bucket is still an unknown operation of Lambda.
    status, headers, _ = send(server, "GET", "/2031-01-01/nothing")
    assert (status, headers["x-amzn-errortype"]) == (404, "UnknownOperationException")


@pytest.mark.covers("operation:S3 addresses")
def test_a_bucket_may_be_called_like_a_path_of_another_service(server, s3):
    for name in ("2015-03-31", "lamplight"):
        s3.create_bucket(Bucket=name)
        s3.put_object(Bucket=name, Key="functions/", Body=b"x")
        assert [row["Key"] for row in s3.list_objects_v2(Bucket=name)["Contents"]] == ["functions/"]
        s3.delete_object(Bucket=name, Key="functions/")
        s3.delete_bucket(Bucket=name)


@pytest.mark.covers("operation:S3 objects")
@pytest.mark.parametrize(
    "arguments, code",
    [
        ({"ACL": "public-read"}, "AccessControlListNotSupported"), ({"StorageClass": "GLACIER"}, "NotImplemented"), ({"ServerSideEncryption": "aws:kms"}, "NotImplemented"),
        ({"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": "2030-01-01"}, "InvalidRequest"), ({"Metadata": {"a": "x" * 2048}}, "MetadataTooLarge"),
        ({"Tagging": "&".join(f"k{number}=v" for number in range(11))}, "BadRequest"), ({"IfNoneMatch": '"a"'}, "NotImplemented"), ({"ExpectedBucketOwner": "123456789012"}, "AccessDenied"),
    ],
)
def test_what_is_not_served_is_refused(s3, bucket, arguments, code):
    assert error_of(s3.put_object, Bucket=bucket, Key="a", Body=b"x", **arguments)[0] == code
    assert error_of(s3.head_object, Bucket=bucket, Key="a")[1] == 404


@pytest.mark.covers("operation:S3 objects")
def test_encryption_that_tools_ask_for_by_habit(s3, bucket):
    # A guess at what serves people best: S3 encrypts every object and says so; this takes the wish and says nothing.
    put = s3.put_object(Bucket=bucket, Key="a", Body=b"x", ServerSideEncryption="AES256", ACL="private", StorageClass="STANDARD")
    assert "ServerSideEncryption" not in put and "ServerSideEncryption" not in s3.head_object(Bucket=bucket, Key="a")


@pytest.mark.covers("operation:S3 objects")
@pytest.mark.parametrize("call", ["get_bucket_versioning", "get_bucket_acl", "get_bucket_policy", "list_object_versions", "get_bucket_notification_configuration", "get_bucket_lifecycle_configuration"])
def test_operations_that_are_not_served_say_so(s3, bucket, call):
    code, status, text = error_of(getattr(s3, call), Bucket=bucket)
    assert (code, status) == ("NotImplemented", 501)
    assert text.startswith("Lamplight does not support s3:") and text.endswith(" yet.")


# Functions


@pytest.mark.covers("operation:CreateFunction")
@pytest.mark.covers("operation:UpdateFunctionCode")
@pytest.mark.covers("operation:packages in the object store")
def test_functions_from_objects(server, client, s3, bucket):
    name = f"from-object-{next(numbers)}"
    package = zip_of({"app.py": "def handler(event, context):\n    return 'first'\n"})
    s3.put_object(Bucket=bucket, Key="dir/app 1.zip", Body=package)
    created = client.create_function(FunctionName=name, Runtime=PYTHON, Handler="app.handler", Role=ROLE, Code={"S3Bucket": bucket, "S3Key": "dir/app 1.zip"})
    assert (created["CodeSize"], created["CodeSha256"]) == (len(package), base64.b64encode(hashlib.sha256(package).digest()).decode())
    client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    assert json.load(client.invoke(FunctionName=name)["Payload"]) == "first"
    # The function has a copy of its own.
    s3.put_object(Bucket=bucket, Key="dir/app 1.zip", Body=zip_of({"app.py": "def handler(event, context):\n    return 'second'\n"}))
    assert json.load(client.invoke(FunctionName=name)["Payload"]) == "first"
    client.update_function_code(FunctionName=name, S3Bucket=bucket, S3Key="dir/app 1.zip", S3ObjectVersion="null")
    client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    assert json.load(client.invoke(FunctionName=name)["Payload"]) == "second"
    missing = "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist."
    assert error_of(client.update_function_code, FunctionName=name, S3Bucket=bucket, S3Key="none") == ("InvalidParameterValueException", 400, missing)
    assert error_of(client.update_function_code, FunctionName=name, S3Bucket=bucket, S3Key="dir/app 1.zip", ZipFile=package)[0] == "InvalidParameterValueException"
    s3.put_object(Bucket=bucket, Key="text", Body=b"not a zip")
    assert "Could not unzip uploaded file" in error_of(client.update_function_code, FunctionName=name, S3Bucket=bucket, S3Key="text")[2]
    layer = client.publish_layer_version(LayerName=name, Content={"S3Bucket": bucket, "S3Key": "dir/app 1.zip"})
    assert layer["Content"]["CodeSha256"] == client.get_function(FunctionName=name)["Configuration"]["CodeSha256"]
    assert error_of(client.publish_layer_version, LayerName=name, Content={"S3Bucket": bucket, "S3Key": "none"})[2] == missing
    client.delete_layer_version(LayerName=name, VersionNumber=layer["Version"])
    client.delete_function(FunctionName=name)


@pytest.mark.covers("operation:S3 objects")
def test_a_function_may_not(server, deploy, bucket):
    function = deploy({"app.py": f"""
        import os, urllib.error, urllib.request
        def handler(event, context):
            answers = []
            for method, path in event:
                request = urllib.request.Request(os.environ["AWS_ENDPOINT_URL"] + path, method=method, data=b"x" if method == "PUT" else None, headers={{"Authorization": "AWS key:signature"}})
                try:
                    answers.append([urllib.request.urlopen(request).status, ""])
                except urllib.error.HTTPError as error:
                    answers.append([error.code, error.read().decode()])
            return answers
    """})
    for status, text in function.ok([["PUT", f"/{bucket}/a"], ["GET", f"/{bucket}/a"], ["GET", "/"], ["GET", f"/{bucket}?acl"]]):
        assert status == 403 and "<Code>AccessDenied</Code>" in text and "is not authorized to perform: s3:" in text, text


# Durability


@pytest.mark.covers("operation:S3 survives kill -9")
def test_what_was_acknowledged_survives_kill_9(new_server):
    server = new_server().start()
    s3 = client_of(server)
    s3.create_bucket(Bucket="bucket")
    acknowledged, stop = {}, threading.Event()

    def work(worker):
        client = client_of(server)
        for number in itertools.count():
            body = os.urandom(1 + (number * 7919) % 400_000)
            try:
                client.put_object(Bucket="bucket", Key=f"{worker}/{number % 5}", Body=body)
            except Exception:  # The server was killed.
                return
            acknowledged[f"{worker}/{number % 5}"] = hashlib.md5(body).hexdigest()
            if number == 12:
                stop.set()

    upload = s3.create_multipart_upload(Bucket="bucket", Key="parts")["UploadId"]
    tag = s3.upload_part(Bucket="bucket", Key="parts", UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(3)]
    for thread in threads:
        thread.start()
    assert stop.wait(120)
    server.kill()
    for thread in threads:
        thread.join()
    server.start()
    s3 = client_of(server)
    # A put in flight may have come to be or not; what is there is whole in any case.
    for key, digest in acknowledged.items():
        got = s3.get_object(Bucket="bucket", Key=key)
        body = got["Body"].read()
        assert got["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    rows = s3.list_objects_v2(Bucket="bucket")["Contents"]
    assert {row["Key"] for row in rows} >= set(acknowledged)
    unchanged = sum(row["ETag"].strip('"') == acknowledged.get(row["Key"]) for row in rows)
    assert unchanged >= len(acknowledged) - 3, "at most one put of each worker was in flight"
    # No file is left without a row: three objects' worth of parts are counted besides.
    files = [path for path in (server.data_directory / "objects").rglob("*") if path.is_file()]
    assert len(files) == len(rows) + 1
    s3.complete_multipart_upload(Bucket="bucket", Key="parts", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]})
    assert s3.get_object(Bucket="bucket", Key="parts")["Body"].read() == b"part"


@pytest.mark.covers("operation:S3 objects")
def test_bounds_are_configuration(new_server):
    server = new_server(environment={"LAMPLIGHT_OBJECTS_BODY_MIB": "1", "LAMPLIGHT_OBJECTS_MIB": "2"}).start()
    s3 = client_of(server)
    s3.create_bucket(Bucket="bucket")
    code, status, text = error_of(s3.put_object, Bucket="bucket", Key="a", Body=bytes(MIB + 1))
    assert (code, status, text) == ("EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed size")
    for key in "ab":
        s3.put_object(Bucket="bucket", Key=key, Body=bytes(MIB))
    assert error_of(s3.put_object, Bucket="bucket", Key="c", Body=bytes(MIB))[:2] == ("ServiceUnavailable", 503)
    s3.delete_object(Bucket="bucket", Key="a")
    s3.put_object(Bucket="bucket", Key="c", Body=bytes(MIB))


# The aws command line


@pytest.fixture
def aws(server, tmp_path):
    """Version 2 of the command line, as in test_aws_cli.py."""
    program = os.environ.get("LAMPLIGHT_AWS_CLI") or shutil.which("aws")
    if program is None:
        pytest.skip("no aws client on this machine (get it with: apt-get install awscli)")
    environment = server.environment_for_clients() | {"HOME": str(tmp_path), "AWS_PAGER": "", "LC_ALL": "C.UTF-8"}

    def run(*arguments):
        command = [program, "--endpoint-url", server.endpoint, *arguments]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.covers("operation:S3 objects", client="aws-cli 2")
@pytest.mark.covers("operation:S3 multipart uploads", client="aws-cli 2")
def test_aws_s3_cp_sync_and_rm(aws, s3, bucket, tmp_path):
    tree = tmp_path / "tree"
    (tree / "sub dir").mkdir(parents=True)
    files = {"a.txt": b"a", "sub dir/b+c.txt": b"bc", "ü.bin": os.urandom(9 * MIB)}
    for name, content in files.items():
        (tree / name).write_bytes(content)
        # S3 has whole seconds: a file of the second it is uploaded in counts as newer.
        os.utime(tree / name, (1_700_000_000, 1_700_000_000))
    aws("s3", "sync", "tree", f"s3://{bucket}/t")
    assert {row["Key"]: row["Size"] for row in s3.list_objects_v2(Bucket=bucket)["Contents"]} == {f"t/{name}": len(content) for name, content in files.items()}
    assert s3.head_object(Bucket=bucket, Key="t/ü.bin")["ETag"].endswith('-2"')
    # Nothing is new the second time.
    assert aws("s3", "sync", "tree", f"s3://{bucket}/t") == ""
    aws("s3", "sync", f"s3://{bucket}/t", "back")
    assert {name: (tmp_path / "back" / name).read_bytes() for name in files} == files
    assert "PRE sub dir/" in aws("s3", "ls", f"s3://{bucket}/t/")
    aws("s3", "cp", f"s3://{bucket}/t/a.txt", f"s3://{bucket}/copy.txt")
    aws("s3", "mv", f"s3://{bucket}/copy.txt", f"s3://{bucket}/moved.txt")
    assert s3.get_object(Bucket=bucket, Key="moved.txt")["Body"].read() == b"a"
    aws("s3", "rm", "--recursive", f"s3://{bucket}/t")
    assert [row["Key"] for row in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["moved.txt"]
    shown = json.loads(aws("s3api", "head-object", "--bucket", bucket, "--key", "moved.txt", "--output", "json"))
    assert shown["ContentLength"] == 1
    aws("s3", "mb", f"s3://{bucket}-cli")
    aws("s3", "rb", f"s3://{bucket}-cli")
