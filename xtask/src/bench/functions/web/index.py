import json


def respond(body):
    note = json.loads(body)
    return json.dumps({"key": note["key"], "number": note["number"] + 1})


def handler(event, context):
    # What the same function is invoked with directly.
    text = json.dumps(event) if event["rawPath"].endswith("/event") else respond(event["body"])
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": text}
