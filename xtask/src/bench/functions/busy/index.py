import os
import time

MODE = os.environ.get("MODE", "")


def handler(event, context):
    if "hold_seconds" in event:
        time.sleep(event["hold_seconds"])
    elif MODE == "slow":
        time.sleep(2)
    elif MODE == "failing":
        raise RuntimeError("it fails")
    return event
