"""Many at once: distinct instances, none refused, none lost."""

import concurrent.futures
import threading
import time
import urllib.request

import pytest

CALLS = 200
SLEEP_SECONDS = 5


@pytest.mark.covers("instance:200 at once")
@pytest.mark.timeout(400)
def test_two_hundred_first_calls_run_at_once_on_two_hundred_instances(new_server):
    from support.functions import create

    server = new_server().start()
    function = create(
        server,
        {"app.py": """
            import time, uuid
            me = uuid.uuid4().hex
            def handler(event, context):
                begun = time.time()
                time.sleep(event["seconds"])
                return [me, begun, time.time()]
        """},
        Timeout=60,
    )
    barrier = threading.Barrier(CALLS)

    def call(_):
        barrier.wait(60)
        return function.invoke({"seconds": SLEEP_SECONDS})

    server.client()  # Made once, before the threads share it.
    with concurrent.futures.ThreadPoolExecutor(CALLS) as pool:
        answers = list(pool.map(call, range(CALLS)))
    errors = [answer.body for answer in answers if answer.error]
    assert not errors, errors[:3]
    runs = [answer.json for answer in answers]
    assert len({me for me, _, _ in runs}) == CALLS, "an instance was used by two of the calls"
    # Handlers that run at one moment: the largest number of overlapping [begin, end].
    moments = sorted([(begun, 1) for _, begun, _ in runs] + [(ended, -1) for _, _, ended in runs])
    running = most = 0
    for _, change in moments:
        running += change
        most = max(most, running)
    print(f"{most} handlers ran at one moment")
    assert len(server.tree().inits) >= CALLS


@pytest.mark.covers("instance:reuse")
def test_scale_to_zero_after_the_keep_alive(new_server):
    from support.functions import create
    from support.host import eventually

    server = new_server(environment={"LAMPLIGHT_INSTANCES_KEEP_ALIVE_SECONDS": "2"}).start()
    function = create(server, {"app.py": "import uuid\nme = uuid.uuid4().hex\ndef handler(e, c): return me"})
    first = function.ok()
    assert function.ok() == first
    # Interpreters that belong to no function yet may wait on; instances of functions may not.
    eventually(lambda: set(instances(server)) == {"0"}, "the idle instance is stopped", seconds=30)
    assert function.ok() != first


def instances(server):
    """How many instances of functions there are, one count for each phase."""
    with urllib.request.urlopen(f"{server.endpoint}/lamplight/v1/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    return [line.split()[-1] for line in lines if line.startswith("lamplight_instances{")]


@pytest.mark.covers("instance:reuse")
def test_a_call_that_meets_freezing_or_stopping_never_fails(new_server):
    """Calls at every distance from the last answer, with a keep-alive as short as it can be."""
    from support.functions import create

    server = new_server(environment={"LAMPLIGHT_INSTANCES_KEEP_ALIVE_SECONDS": "1"}).start()
    function = create(server, {"app.py": "def handler(e, c): return e"})
    for pause_ms in [*range(0, 240, 12), *range(900, 1140, 12)]:
        time.sleep(pause_ms / 1000)
        assert function.ok(pause_ms) == pause_ms
