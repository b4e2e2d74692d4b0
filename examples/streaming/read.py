"""Calls the example and prints each piece with the time of its arrival: python read.py [EVENT AS JSON]"""

import json
import sys
import time

import boto3

event = sys.argv[1] if len(sys.argv) > 1 else "{}"
begin = time.monotonic()
answer = boto3.client("lambda").invoke_with_response_stream(FunctionName="streaming", Payload=event)
for part in answer["EventStream"]:
    if "PayloadChunk" in part:
        print(f"{time.monotonic() - begin:.2f} s  {part['PayloadChunk']['Payload'].decode().rstrip()}", flush=True)
    elif "ErrorCode" in part.get("InvokeComplete", {}):
        # The status was 200 long ago: what went wrong later is in the last part.
        document = json.loads(part["InvokeComplete"]["ErrorDetails"])
        sys.exit(f"{document['errorType']}: {document['errorMessage']}")
