"""An order that takes as long as it takes: it reserves, waits for somebody's approval, and ships."""

from aws_durable_execution_sdk_python import DurableContext, durable_execution
from aws_durable_execution_sdk_python.config import CallbackConfig, Duration


def reserve(order: dict) -> dict:
    return {"order": order["id"], "reserved": order["items"]}


def ship(reservation: dict) -> str:
    return f"shipped {', '.join(reservation['reserved'])} for order {reservation['order']}"


@durable_execution
def handler(order: dict, context: DurableContext) -> str:
    # Runs once, however often the function is invoked: its result is checkpointed.
    reservation = context.step(lambda step: reserve(order), name="reserve")
    # The function ends here, and costs nothing, until somebody answers or three days have passed.
    approval = context.create_callback(name="approval", config=CallbackConfig(timeout=Duration.from_days(3)))
    context.logger.info("waiting for approval", extra={"callback_id": approval.callback_id})
    answer = approval.result()
    if answer != "yes":
        return f"order {order['id']} was turned down: {answer}"
    # A pause of the same kind: a second here, up to a year elsewhere.
    context.wait(Duration.from_seconds(1), name="let the parcel be packed")
    return context.step(lambda step: ship(reservation), name="ship")
