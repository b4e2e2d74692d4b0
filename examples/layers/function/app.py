import greetings  # From the layer: the package of this function does not have it.


def handler(event, context):
    return greetings.greet(event["name"], event.get("language", "en"))
