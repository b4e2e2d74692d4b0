def handler(event, context):
    print("one line per call")
    return event
