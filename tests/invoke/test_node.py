"""Node functions as Lambda runs them: both module systems, every handler style, and the shapes of what goes wrong."""

import pytest


@pytest.mark.covers("runtime:nodejs")
@pytest.mark.parametrize(
    "name, source",
    [
        ("app.mjs", "export const handler = async (event, context) => ({ event, id: context.awsRequestId });"),
        ("app.js", "exports.handler = async (event, context) => ({ event, id: context.awsRequestId });"),
        ("app.cjs", "exports.handler = async (event, context) => ({ event, id: context.awsRequestId });"),
        ("app.js", "exports.handler = (event, context, callback) => callback(null, { event, id: context.awsRequestId });"),
        ("app.js", "exports.handler = (event, context) => new Promise(r => setTimeout(() => r({ event, id: context.awsRequestId }), 5));"),
    ],
    ids=["es module", "commonjs", "cjs", "callback", "promise"],
)
def test_handler_styles(deploy, node, name, source):
    function = deploy({name: source}, runtime=node)
    for n in range(2):
        answer = function.invoke({"n": n})
        assert answer.error is None, answer.log
        assert answer.json == {"event": {"n": n}, "id": answer.request_id}


@pytest.mark.covers("runtime:nodejs")
def test_a_package_of_type_module(deploy, node):
    function = deploy({"package.json": '{"type": "module"}', "app.js": "import { join } from 'node:path'; export const handler = async () => join('a', 'b');"}, runtime=node)
    assert function.ok() == "a/b"


@pytest.mark.covers("runtime:nodejs")
def test_context_environment_and_top_level_await(deploy, node):
    function = deploy({"app.mjs": """
        const ready = await new Promise(resolve => setTimeout(() => resolve("awaited"), 10));
        export const handler = async (event, context) => ({
            ready,
            name: context.functionName, version: context.functionVersion, arn: context.invokedFunctionArn,
            memory: context.memoryLimitInMB, group: context.logGroupName, stream: context.logStreamName,
            remaining: context.getRemainingTimeInMillis(), cwd: process.cwd(), environment: process.env,
        });
    """}, runtime=node, Timeout=9, variables={"SOME": "b"})
    seen = function.ok()
    assert seen["ready"] == "awaited"
    assert seen["name"] == function.name and seen["version"] == "$LATEST"
    assert seen["arn"].endswith(f":function:{function.name}")
    assert int(seen["memory"]) == 128 and 7000 < seen["remaining"] <= 9000
    assert seen["cwd"] == "/var/task"
    assert seen["environment"]["SOME"] == "b"
    assert seen["environment"]["AWS_EXECUTION_ENV"] == f"AWS_Lambda_{node}"
    assert "/var/runtime" in seen["environment"]["NODE_PATH"]


@pytest.mark.covers("runtime:nodejs")
def test_the_callback_waits_for_the_event_loop_unless_told_not_to(deploy, node):
    function = deploy({"app.js": """
        exports.handler = (event, context, callback) => {
            context.callbackWaitsForEmptyEventLoop = event.wait;
            setTimeout(() => { globalThis.late = true; }, 300);
            callback(null, Boolean(globalThis.late));
        };
    """}, runtime=node)
    waited = function.invoke({"wait": True})
    assert float(waited.report["Duration"].split()[0]) >= 290
    quick = function.invoke({"wait": False})
    assert float(quick.report["Duration"].split()[0]) < 250


@pytest.mark.covers("runtime:nodejs errors")
@pytest.mark.parametrize(
    "source, error_type, message",
    [
        ("exports.handler = async () => { throw new TypeError('wrong ü'); };", "TypeError", "wrong ü"),
        ("class Refused extends Error { constructor(m) { super(m); this.name = 'Refused'; } } exports.handler = async () => { throw new Refused('no'); };", "Refused", "no"),
        ("exports.handler = (e, c, callback) => callback(new Error('by callback'));", "Error", "by callback"),
        ("exports.handler = () => { throw new RangeError('at once'); };", "RangeError", "at once"),
        ("exports.handler = async () => { Promise.reject(new Error('nobody looks')); await new Promise(r => setTimeout(r, 1000)); };", "Runtime.UnhandledPromiseRejection", "Error: nobody looks"),
    ],
    ids=["async throw", "own class", "callback", "sync throw", "unhandled rejection"],
)
def test_errors_have_type_message_and_trace(deploy, node, source, error_type, message):
    answer = deploy({"app.js": source}, runtime=node).invoke({})
    assert answer.error == "Unhandled"
    document = answer.json
    assert document["errorType"] == error_type
    assert document["errorMessage"] == message
    assert isinstance(document["trace"], list) and message in document["trace"][0]


@pytest.mark.covers("runtime:nodejs errors")
def test_process_exit_is_an_exit_error(deploy, node):
    function = deploy({"app.js": "exports.handler = async (e) => { if (e.exit) process.exit(4); return 'fine'; };"}, runtime=node)
    answer = function.invoke({"exit": True})
    assert answer.json["errorType"] == "Runtime.ExitError"
    assert answer.json["errorMessage"] == f"RequestId: {answer.request_id} Error: Runtime exited with error: exit status 4"
    assert function.ok({}) == "fine"


@pytest.mark.covers("input:missing handler, module, bootstrap")
@pytest.mark.covers("runtime:nodejs errors")
@pytest.mark.parametrize(
    "files, error_type, message",
    [
        ({"app.js": "exports.other = 1;"}, "Runtime.HandlerNotFound", "app.handler is undefined or not exported"),
        ({"other.js": ""}, "Runtime.ImportModuleError", "Error: Cannot find module 'app'"),
        ({"app.js": "require('nothing-like-it');"}, "Runtime.ImportModuleError", "Error: Cannot find module 'nothing-like-it'"),
        ({"app.js": "exports.handler = ("}, "Runtime.UserCodeSyntaxError", "SyntaxError:"),
    ],
)
def test_what_is_missing_is_said_on_invoke(deploy, node, files, error_type, message):
    answer = deploy(files, runtime=node).invoke({})
    assert answer.error == "Unhandled"
    assert answer.json["errorType"] == error_type
    assert answer.json["errorMessage"].startswith(message)


@pytest.mark.covers("runtime:nodejs")
@pytest.mark.covers("meter:REPORT")
def test_console_lines_carry_time_request_and_level(deploy, node):
    import re

    answer = deploy({"app.js": "exports.handler = async () => { console.log('said', 1); console.error('cried\\nout'); };"}, runtime=node).invoke({})
    assert re.search(rf"\S+Z\t{answer.request_id}\tINFO\tsaid 1", answer.log), answer.log
    assert re.search(rf"\S+Z\t{answer.request_id}\tERROR\tcried", answer.log), answer.log


@pytest.mark.covers("runtime:nodejs streaming")
def test_a_streaming_handler_answers_a_buffered_call(deploy, node):
    function = deploy({"app.mjs": """
        export const handler = awslambda.streamifyResponse(async (event, stream, context) => {
            stream.write("[1,");
            await new Promise(resolve => setTimeout(resolve, 20));
            stream.write("2]");
            stream.end();
        });
    """}, runtime=node)
    assert function.ok() == [1, 2]
