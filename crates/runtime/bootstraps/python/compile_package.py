"""Compiles the Python files of a function's package or of a layer, so that cold starts need not.

Run in a sandbox of its own when a package is new: compiling does not execute anything of it, but whoever finds a flaw in the
compiler is no further than that sandbox. Writes a ZIP of checked hash-based pycs (PEP 552) to standard output, named as
bootstrap.py looks for them; one that is incomplete for lack of time is useful, too.
"""

import importlib.util
import os
import sys
import time
import zipfile
from importlib import _bootstrap_external as external

SECONDS = 40
# A source of some MB makes the compiler use hundreds.
SOURCE_BYTES = 2 * 1024 * 1024
FILES = 20_000
# /var/task or /opt; what is made of it goes to a directory of the same name.
ROOT = sys.argv[1]
NAME = os.path.basename(ROOT)


def has_its_own(source, cached, path):
    """Whether the package brings byte code for this file that the interpreter would use."""
    try:
        with open(cached, "rb") as file:
            data = file.read(16)
        flags = external._classify_pyc(data, path, {})
        if flags & 0b1:
            return not flags & 0b10 or data[8:16] == importlib.util.source_hash(source)
        status = os.stat(path)
        external._validate_timestamp_pyc(data, int(status.st_mtime), status.st_size, path, {})
        return True
    except (OSError, ImportError, EOFError):
        return False


def compile_file(path):
    """Its byte code, or nothing for what cannot be compiled or need not."""
    with open(path, "rb") as file:
        source = file.read(SOURCE_BYTES + 1)
    cached = importlib.util.cache_from_source(path)
    if len(source) > SOURCE_BYTES or has_its_own(source, cached, path):
        return None, None
    code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    return cached, external._code_to_hash_pyc(code, importlib.util.source_hash(source), True)


def main():
    output = os.fdopen(os.dup(1), "wb", buffering=1024 * 1024)
    nothing = os.open("/dev/null", os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    until, left = time.monotonic() + SECONDS, FILES
    with zipfile.ZipFile(output, "w") as archive:
        # There even when it holds no file: it says that this was done.
        archive.writestr(f"{NAME}/", b"")
        for directory, _, names in os.walk(ROOT):
            for name in names:
                if not name.endswith(".py"):
                    continue
                left -= 1
                if left < 0 or time.monotonic() > until:
                    return
                try:
                    cached, data = compile_file(os.path.join(directory, name))
                    if cached:
                        archive.writestr(NAME + cached[len(ROOT) :], data)
                except Exception:
                    pass  # Not for this interpreter, or not to be read: importing it says so.


main()
