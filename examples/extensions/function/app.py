def handler(event, context):
    print(f"{event['name']} was here")
    return "done"
