"""Layers as functions see them: one read-only tree at /opt, found by the interpreters, on every way of starting."""

from __future__ import annotations

import glob
import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from support import functions, host
from support.functions import PYTHON, create, zip_of

# Every call starts an instance.
COLD = {"LAMPLIGHT_INSTANCES_KEEP_ALIVE_SECONDS": "0"}
FROM_NOTHING = COLD | {"LAMPLIGHT_INSTANCES_BLANKS": "0", "LAMPLIGHT_INSTANCES_ZYGOTES": "false"}
# A library that no interpreter has loaded under this name.
LIBRARY = next(iter(glob.glob("/lib/*/libz.so.1") + glob.glob("/usr/lib*/libz.so.1")), None)
SITE = f"python/lib/{PYTHON}/site-packages"


def publish(server, name, files) -> str:
    content = files if isinstance(files, bytes) else zip_of(files)
    return server.client().publish_layer_version(LayerName=name, Content={"ZipFile": content})["LayerVersionArn"]


PYTHON_LAYERS = [
    {
        "python/shared.py": "WHO = 'the lower layer'\n",
        f"{SITE}/exact.py": "WHO = 'site-packages'\n",
        "python/exact.py": "WHO = 'python'\n",
        "python/package/__init__.py": "from . import lower\n",
        "python/package/lower.py": "WHO = 'lower'\n",
        "bin/tool": "#!/bin/sh\necho the tool of the layer\n",
        "lib/libof_the_layer.so": open(LIBRARY, "rb").read() if LIBRARY else b"",
        "lower": "",
    },
    {"python/shared.py": "WHO = 'the upper layer'\n", "python/own.py": "WHO = 'the layer'\n", "python/package/upper.py": "WHO = 'upper'\n", "upper": ""},
]
PYTHON_FUNCTION = {
    "lib/libof_the_function.so": open(LIBRARY, "rb").read() if LIBRARY else b"",
    "own.py": "WHO = 'the function'\n",
    "app.py": """
        import time
        if IMPORTS_TAKE:
            time.sleep(IMPORTS_TAKE)
        import ctypes, os, subprocess, sys
        import exact, own, package.lower, package.upper, shared
        def refused(change):
            try:
                change()
            except OSError as error:
                return error.strerror
        def handler(event, context):
            time.sleep(event.get("seconds", 0))
            return {
                "modules": [exact.WHO, own.WHO, shared.WHO, package.lower.WHO, package.upper.WHO],
                "path": sys.path[:3],
                "tool": subprocess.run(["tool"], capture_output=True, text=True).stdout,
                "libraries": [bool(ctypes.CDLL(f"libof_the_{owner}.so").zlibVersion) for owner in ("layer", "function")],
                "files": sorted(os.listdir("/opt")),
                "refused": [refused(lambda: open("/opt/x", "w")), refused(lambda: os.remove("/opt/upper")), refused(lambda: open("/opt/python/own.py", "a"))],
                "mounts": sum(" /opt" in line for line in open("/proc/self/mountinfo")),
            }
    """,
}
PYTHON_SEES = {
    "modules": ["site-packages", "the function", "the upper layer", "lower", "upper"],
    "path": ["/var/task", f"/opt/{SITE}", "/opt/python"],
    "tool": "the tool of the layer\n",
    "libraries": [True, True],
    "files": ["bin", "lib", "lower", "python", "upper"],
    "refused": ["Read-only file system"] * 3,
    "mounts": 1,
}


def python_function(server, imports_take=0.0, **more):
    layers = [publish(server, f"layer-{number}", files) for number, files in enumerate(PYTHON_LAYERS)]
    files = PYTHON_FUNCTION | {"app.py": f"IMPORTS_TAKE = {imports_take}\n" + __import__("textwrap").dedent(PYTHON_FUNCTION["app.py"])}
    return create(server, files, Layers=layers, **more)


def ways_of(function, expected, wanted, seconds=60.0) -> set[str]:
    """The ways that calls found their instances, several calls at once until all wanted ones were seen; every answer is as expected."""
    ways: set[str] = set()
    until = time.monotonic() + seconds * host.SLOWNESS
    with ThreadPoolExecutor(4) as threads:
        while not wanted <= ways and time.monotonic() < until:
            for answer in threads.map(lambda _: function.invoke({"seconds": 0.05}), range(4)):
                assert answer.error is None, f"{answer.body.decode()}\n{answer.log}"
                way = answer.report.get("Start", "").partition(" (")[0]
                assert answer.json == expected, way
                ways.add(way)
    return ways


@pytest.mark.covers("layer:python")
@pytest.mark.timeout(240)
def test_python_on_every_way_of_starting(new_server):
    assert LIBRARY, "a library to copy"
    server = new_server(environment=COLD).start()
    quick = python_function(server)
    assert {"blank", "zygote"} <= ways_of(quick, PYTHON_SEES, {"blank", "zygote"})
    slow = python_function(server, imports_take=0.03)
    assert "version zygote" in ways_of(slow, PYTHON_SEES, {"version zygote"})
    # Of a published version, too.
    version = server.client().publish_version(FunctionName=slow.name)["Version"]
    answer = slow.invoke({}, Qualifier=version)
    assert answer.error is None and answer.json == PYTHON_SEES
    assert server.stop() == 0
    server.assert_nothing_left()


@pytest.mark.covers("layer:python")
def test_python_in_a_booted_blank(new_server):
    server = new_server(environment=COLD | {"LAMPLIGHT_INSTANCES_ZYGOTES": "false"}).start()
    assert "blank" in ways_of(python_function(server), PYTHON_SEES, {"blank"})


@pytest.mark.covers("layer:python")
def test_python_from_nothing(new_server):
    server = new_server(environment=FROM_NOTHING | {"LAMPLIGHT_INSTANCES_VERSION_ZYGOTES": "0"}).start()
    assert ways_of(python_function(server), PYTHON_SEES, {"from nothing"}) == {"from nothing"}


NODE_FUNCTION = """
    const fs = require("node:fs");
    const { execFileSync } = require("node:child_process");
    const refused = (change) => { try { change(); } catch (error) { return error.code; } };
    exports.handler = async (event) => {
        await new Promise((resolve) => setTimeout(resolve, (event.seconds ?? 0) * 1000));
        return {
            modules: [require("exact"), require("shared"), require("own")],
            tool: execFileSync("tool", { encoding: "utf8" }),
            files: fs.readdirSync("/opt").sort(),
            refused: [refused(() => fs.writeFileSync("/opt/x", "")), refused(() => fs.rmSync("/opt/bin/tool"))],
        };
    };
"""


@pytest.mark.covers("layer:nodejs")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("environment, wanted", [(COLD, {"blank"}), (FROM_NOTHING, {"from nothing"})], ids=["blank", "from nothing"])
def test_node_on_every_way_of_starting(new_server, node, environment, wanted):
    major = node.removeprefix("nodejs").removesuffix(".x")
    server = new_server(environment=environment).start()
    lower = {
        f"nodejs/node{major}/node_modules/exact/index.js": "module.exports = 'of this version';",
        "nodejs/node_modules/exact/index.js": "module.exports = 'of any version';",
        "nodejs/node_modules/shared/index.js": "module.exports = 'the lower layer';",
        "bin/tool": "#!/bin/sh\necho the tool of the layer\n",
    }
    upper = {"nodejs/node_modules/shared/index.js": "module.exports = 'the upper layer';", "nodejs/node_modules/own/index.js": "module.exports = 'the layer';"}
    layers = [publish(server, "lower", lower), publish(server, "upper", upper)]
    function = create(server, {"app.js": NODE_FUNCTION, "node_modules/own/index.js": "module.exports = 'the function';"}, runtime=node, Layers=layers)
    expected = {
        "modules": ["of this version", "the upper layer", "the function"],
        "tool": "the tool of the layer\n",
        "files": ["bin", "nodejs"],
        "refused": ["EROFS", "EROFS"],
    }
    assert wanted <= ways_of(function, expected, wanted)


@pytest.mark.covers("layer:compiled")
def test_python_layers_are_compiled_once_for_all_functions(deploy, server):
    source = """
        import shared
        def handler(event, context):
            return [shared.WHO, shared.__cached__, shared.fail.__code__.co_filename]
    """
    contents = [zip_of({"python/shared.py": f"WHO = '{who}'\ndef fail():\n    pass\n"}) for who in ("first", "second")]
    layers = [publish(server, f"compiled-{number}", content) for number, content in enumerate(contents)]
    deploy({"app.py": source}, Layers=layers).ok()
    unpacked = server.data_directory / "code" / "unpacked"
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    host.eventually(lambda: all(list(unpacked.glob(f"{digest}-python-*-layer")) for digest in digests), "both are compiled", 60)
    for order, who in ((layers, "second"), (layers[::-1], "first"), (layers[:1], "first")):
        seen = deploy({"app.py": source}, Layers=order).ok()
        assert seen[0] == who and seen[2] == "/opt/python/shared.py"
        assert seen[1].startswith("/var/compiled/opt/python/__pycache__/shared."), seen


@pytest.mark.covers("layer:provided", client="raw HTTP")
def test_a_bootstrap_in_a_layer(deploy, server):
    app = "def handler(event, headers):\n    import sys\n    return [event, sys.argv[0]]\n"
    layer = publish(server, "runtime", {"bootstrap": functions.BOOTSTRAP})
    other = publish(server, "no-runtime", {"data": "x"})
    from_layer = deploy({"app.py": app}, runtime="provided.al2023", handler="x", Layers=[other, layer])
    assert from_layer.ok(1) == [1, "/opt/bootstrap"]
    own = deploy({"app.py": app, "bootstrap": functions.BOOTSTRAP}, runtime="provided.al2023", handler="x", Layers=[layer])
    assert own.ok(2) == [2, "/var/task/bootstrap"]
    none = deploy({"app.py": app}, runtime="provided.al2023", handler="x", Layers=[other]).invoke(3)
    assert none.json["errorType"] == "Runtime.InvalidEntrypoint"
    assert "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]" in none.json["errorMessage"]


# The example of the Lambda guide ("Using a wrapper script"), with another option.
WRAPPER = """\
#!/bin/bash
args=("$@")
extra_args=("-X" "of_the_wrapper")
args=("${args[@]:0:$#-1}" "${extra_args[@]}" "${args[@]: -1}")
export SET_BY_THE_WRAPPER=yes
exec "${args[@]}"
"""


@pytest.mark.covers("layer:wrapper")
def test_a_wrapper_of_a_layer_starts_the_interpreter(deploy, server, node):
    layer = publish(server, "wrapper", {"bin/python-wrapper": WRAPPER, "bin/node-wrapper": '#!/bin/sh\nSET_BY_THE_WRAPPER=yes exec "$@"\n', "not-executable": "#!/bin/sh\n"})
    source = "import os, sys\ndef handler(event, context): return ['of_the_wrapper' in sys._xoptions, os.environ['SET_BY_THE_WRAPPER'], os.getpid() > 1]"
    wrapped = deploy({"app.py": source}, Layers=[layer], variables={"AWS_LAMBDA_EXEC_WRAPPER": "/opt/bin/python-wrapper"})
    answer = wrapped.invoke()
    assert answer.error is None, answer.log
    assert answer.json == [True, "yes", True]
    assert answer.report["Start"].startswith("from nothing")
    script = "exports.handler = async () => process.env.SET_BY_THE_WRAPPER;"
    assert deploy({"app.js": script}, runtime=node, Layers=[layer], variables={"AWS_LAMBDA_EXEC_WRAPPER": "/opt/bin/node-wrapper"}).ok() == "yes"
    for wrapper, status, said in (("/opt/missing", 127, "does not exist"), ("/opt/not-executable", 126, "is not an executable")):
        answer = deploy({"app.py": source}, Layers=[layer], variables={"AWS_LAMBDA_EXEC_WRAPPER": wrapper}).invoke()
        assert answer.json["errorType"] == "Runtime.ExitError"
        assert f"exit status {status}" in answer.json["errorMessage"]
        assert f"{wrapper}: {said}" in answer.log


LOOK = "import os\ndef handler(event, context): return {name: oct(os.lstat('/opt/' + name).st_mode) for name in os.listdir('/opt')}\n"


@pytest.mark.covers("layer:isolation")
def test_functions_see_their_own_layers_only(deploy, server):
    one, other = publish(server, "one", {"of-one": "1"}), publish(server, "other", {"of-other": "1"})
    file = "0o100644"
    expected = [([one], {"of-one": file}), ([other], {"of-other": file}), ([one, other], {"of-one": file, "of-other": file})]
    made = [(deploy({"app.py": LOOK}, Layers=layers), seen) for layers, seen in expected]
    # /opt/lib is there without layers, for the dynamic linker of an interpreter that waits.
    made.append((deploy({"app.py": LOOK}), {"lib": "0o40755"}))
    for function, seen in made * 2:
        assert function.ok() == seen
    # The same archive published twice, around another one.
    again = publish(server, "one-again", {"of-one": "1"})
    assert deploy({"app.py": LOOK}, Layers=[one, other, again]).ok() == {"of-one": file, "of-other": file}
    # An update is another revision: its instances have other layers.
    function = made[0][0].update(Layers=[other])
    assert function.ok() == {"of-other": file}
    assert function.update(Layers=[]).ok() == {"lib": "0o40755"}


@pytest.mark.covers("layer:isolation")
def test_set_user_id_bits_are_not_unpacked(deploy, server):
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, mode in (("setuid", 0o104755), ("setgid", 0o102711), ("writable", 0o100666)):
            information = zipfile.ZipInfo(name)
            information.external_attr = mode << 16
            archive.writestr(information, "#!/bin/sh\nid\n")
    layer = publish(server, "modes", buffer.getvalue())
    assert deploy({"app.py": LOOK}, Layers=[layer]).ok() == {"setuid": "0o100755", "setgid": "0o100755", "writable": "0o100644"}


@pytest.mark.covers("layer:deleted")
def test_a_deleted_layer_works_where_it_is_used_and_is_collected_where_not(new_server):
    server = new_server(environment=COLD).start()
    client = server.client()
    source = "import shared\ndef handler(event, context): return shared.WHO"
    used = publish(server, "used", {"python/shared.py": "WHO = 'used'\n"})
    unused = publish(server, "unused", {"python/shared.py": "WHO = 'unused'\n"})
    kept = publish(server, "kept", {"python/shared.py": "WHO = 'kept'\n"})
    function = create(server, {"app.py": source}, Layers=[used])
    version = client.publish_version(FunctionName=function.name)["Version"]
    function.update(Layers=[unused])
    function.update(Layers=[])
    for layer in ("used", "unused"):
        client.delete_layer_version(LayerName=layer, VersionNumber=1)
    assert function.ok(Qualifier=version) == "used"
    kept_location = client.get_layer_version_by_arn(Arn=kept)["Content"]["CodeSha256"]
    server.kill()
    packages = server.data_directory / "code" / "zip"
    before = set(os.listdir(packages))
    for package in before:
        os.utime(packages / package, (0, 0))
    server.start()
    # The deleted layer that nobody uses; the server collects as soon as it is up.
    host.eventually(lambda: len(before - set(os.listdir(packages))) == 1, "one package is collected")
    client = server.client()
    assert functions.Function(server, function.name).ok(Qualifier=version) == "used"
    assert client.get_layer_version_by_arn(Arn=kept)["Content"]["CodeSha256"] == kept_location
    assert publish(server, "used", {"python/shared.py": "WHO = 'again'\n"}).endswith(":2")
