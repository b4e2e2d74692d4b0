"""The handler that an interpreter which waits runs once; see warm.py."""

import os


def handler(event, context):
    return {"event": event, "remaining": context.get_remaining_time_in_millis(), "directory": os.curdir}
