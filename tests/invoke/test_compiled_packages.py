"""Byte code made of a package after it was published: found by imports, never believed, never needed, gone with the package."""

import base64
import marshal
import time
from importlib.util import MAGIC_NUMBER, source_hash

import pytest

from support import host
from support.functions import PYTHON, node_runtime

HANDLER = """
    import json, os, sys
    import package.inner, shipped, plain
    def handler(event, context):
        return {
            "cached": {name: sys.modules[name].__cached__ for name in ("app", "package.inner", "shipped", "plain")},
            "values": [package.inner.VALUE, shipped.VALUE, plain.VALUE],
            "task": sorted(os.listdir("/var/task")),
            "line": package.inner.fail.__code__.co_filename,
            "json": json.__cached__,
        }
"""


def compiled_of(function, server, language="python"):
    """The directory of what was compiled of a function's package, once it is there."""
    digest = base64.b64decode(server.client().get_function(FunctionName=function.name)["Configuration"]["CodeSha256"]).hex()
    deadline = time.monotonic() + 60 * host.SLOWNESS
    while time.monotonic() < deadline:
        found = list((server.data_directory / "code" / "unpacked").glob(f"{digest}-{language}-*"))
        if found:
            return found[0] / "task"
        time.sleep(0.05)
    raise AssertionError(f"the package was not compiled:\n{server.log()[-2000:]}")


def start_anew(function):
    """A new revision, so that the next call starts a new instance."""
    return function.update(Description=f"at {time.monotonic_ns()}")


def files(value):
    return {
        "app.py": HANDLER,
        "package/__init__.py": "",
        "package/inner.py": f"VALUE = {value}\ndef fail():\n    raise ValueError('here')\n",
        "plain.py": "VALUE = 'plain'\n",
        "shipped.py": "VALUE = 'from source'\n",
    }


@pytest.mark.covers("runtime:python")
def test_imports_find_byte_code_of_their_own_version_of_the_package(deploy, server):
    function = deploy(files(1))
    place = compiled_of(function, server)
    for value in (1, 2):
        if value == 2:
            function.update(files(2))
            assert compiled_of(function, server) != place
        start_anew(function)
        seen = function.ok()
        assert seen["cached"]["package.inner"].startswith("/var/compiled/task/package/__pycache__/inner.")
        assert seen["cached"]["app"].startswith("/var/compiled/task/__pycache__/app.")
        assert seen["values"][0] == value
        # Nothing of it is seen in the package, and the interpreter's own modules are where they were.
        assert seen["task"] == ["app.py", "package", "plain.py", "shipped.py"]
        assert seen["line"] == "/var/task/package/inner.py"
        assert seen["json"].startswith("/usr/lib/")


def test_what_is_damaged_stale_or_absent_costs_time_only(deploy, server):
    function = deploy({**files(3), "app.py": HANDLER})
    place = compiled_of(function, server)
    inner = next(place.glob("package/__pycache__/inner.*"))
    whole = inner.read_bytes()
    other = compile("VALUE = 'stale'", "x", "exec")
    stale = MAGIC_NUMBER + (3).to_bytes(4, "little") + source_hash(b"something else") + marshal.dumps(other)
    for damage in (whole[: len(whole) // 2], whole[:16] + b"\0" * 40, whole[:10], b"", b"x" * 100, stale):
        inner.write_bytes(damage)
        start_anew(function)
        assert function.ok()["values"][0] == 3, damage
    inner.unlink()
    start_anew(function)
    seen = function.ok()
    assert seen["values"][0] == 3 and seen["cached"]["package.inner"].startswith("/var/task/")


def test_byte_code_in_the_package_is_used_as_before(deploy, server):
    """An unchecked hash-based pyc is used whatever the source says (PEP 552)."""
    code = compile("VALUE = 'from the package'", "/var/task/shipped.py", "exec")
    unchecked = MAGIC_NUMBER + (1).to_bytes(4, "little") + b"\0" * 8 + marshal.dumps(code)
    tag = PYTHON.replace("python", "cpython-").replace(".", "")
    own = f"__pycache__/shipped.{tag}.pyc"
    function = deploy({**files(4), own: unchecked})
    if MAGIC_NUMBER[:2] != (3495).to_bytes(2, "little"):
        pytest.skip("these tests run on another Python than the function")
    place = compiled_of(function, server)
    assert not (place / own).exists()
    start_anew(function)
    seen = function.ok()
    assert seen["values"][1] == "from the package" and seen["cached"]["shipped"] == f"/var/task/{own}"
    assert seen["cached"]["plain"].startswith("/var/compiled/")


def test_sources_that_are_hard_to_compile_cost_the_job_only(deploy, server):
    deep = "x = " + "(" * 100_000 + ")" * 100_000
    function = deploy(
        {
            **files(5),
            "deep.py": deep,
            "nested.py": "x = " + "-" * 200_000 + "1",
            "broken.py": "def (",
            "binary.py": bytes(range(256)),
            "long.py": "x = 1\n" * 600_000,
            "warns.py": "x = '\\d' is 1\n",
        }
    )
    place = compiled_of(function, server)
    assert next(place.glob("__pycache__/plain.*")) and not list(place.glob("__pycache__/broken.*"))
    start_anew(function)
    assert function.ok()["values"][0] == 5


LARGE = """
exports.handler = async (event) => {
  if (event.late) return require("./importing").late();
  if (event.fail) throw new Error("here");
  return [require.main === undefined, module.children.length, require("./small").parent, exports.handler === module.exports.handler];
};
const small = require("./small"), importing = require("./importing");
// PADDING
"""


@pytest.mark.covers("runtime:nodejs")
def test_large_files_of_node_are_loaded_from_compiled_code(deploy, server):
    if not node_runtime():
        pytest.skip("no Node.js on this host")
    source = LARGE.strip().replace("PADDING", "x" * 40_000)
    function = deploy(
        {
            "app.js": source,
            "small.js": "exports.parent = module.parent.filename;",
            "broken.js": "(" * 40_000,
            "importing.js": "exports.late = async () => (await import('./other.mjs')).sep; // " + "x" * 40_000,
            "other.mjs": "import path from 'node:path'; export const sep = path.sep;",
        },
        runtime=node_runtime(),
            )
    place = compiled_of(function, server, "nodejs")
    code = place / "app.js.v8"
    assert code.exists() and not (place / "small.js.v8").exists() and not (place / "broken.js.v8").exists()
    whole = code.read_bytes()
    for content in (whole, whole[:1000], b"", whole[:2000] + b"\0" * 500 + whole[2500:]):
        code.write_bytes(content)
        start_anew(function)
        assert function.ok() == [True, 2, "/var/task/app.js", True]
        assert function.ok({"late": True}) == "/"
        failed = function.invoke({"fail": True})
        assert "/var/task/app.js:3:25" in failed.json["trace"][1], failed.body
        assert "Warning" not in failed.log
