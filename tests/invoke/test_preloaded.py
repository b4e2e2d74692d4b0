"""What a zygote has imported is what AWS's runtime client has; a function's own modules win, and nothing of a rehearsal is left."""

import pytest

from support.functions import create

# The modules that AWS's own runtime client has loaded when it imports a handler.
STANDARD = ["decimal", "json", "logging", "re", "threading", "traceback"]
TELLS = """
    import sys
    LOADED = [name for name in %r if name in sys.modules]
    import json, logging, os
    def handler(event, context):
        logging.getLogger().warning("said by %%s", "logging")
        return {
            "loaded": LOADED,
            "json": json.__file__,
            "handlers": len(logging.getLogger().handlers),
            "hooks": [type(hook).__name__ for hook in sys.meta_path if not isinstance(hook, type)],
            "path": [entry for entry in sys.path if "runtime" in entry],
            "rehearsal": "rehearsal" in sys.modules,
            "trace": "_X_AMZN_TRACE_ID" in os.environ,
        }
""" % STANDARD


def forked_call(deploy, files):
    """The first answer of an instance that was forked from a zygote, and its log."""
    for _ in range(10):
        function = deploy(files)
        answer = function.invoke()
        assert answer.error is None, answer.body
        if answer.report["Start"].startswith(("zygote", "blank")):
            return answer
    raise AssertionError("no instance was forked")


@pytest.mark.covers("runtime:python")
def test_what_most_functions_import_is_there(deploy):
    answer = forked_call(deploy, {"app.py": TELLS})
    told = answer.json
    assert told["loaded"] == STANDARD
    assert told["json"].startswith("/usr/") or "/lib/python3" in told["json"]
    assert told["handlers"] == 1 and "LoggingHook" not in told["hooks"]
    assert told["path"] == [] and not told["rehearsal"]
    assert any(line.startswith("[WARNING]") and line.endswith("\tsaid by logging") for line in answer.log.splitlines())


@pytest.mark.covers("runtime:python")
@pytest.mark.parametrize("name", ["json.py", "decimal/__init__.py", "traceback.py"])
def test_a_module_of_the_package_wins(deploy, name):
    module = name.removesuffix(".py").removesuffix("/__init__")
    source = f"""
        import {module}
        def handler(event, context):
            return [{module}.WHOSE, {module}.__file__]
    """
    answer = forked_call(deploy, {"app.py": source, name: "WHOSE = 'the function'\n"})
    assert answer.json == ["the function", f"/var/task/{name}"]
