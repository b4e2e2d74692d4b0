"""Byte code of our own bootstrap, made by the interpreter that will run it, when the server finds it.

Takes `<name> <length>` pairs as arguments and the sources from standard input; writes for each a length (four bytes,
big-endian) and an unchecked hash-based pyc (PEP 552): the source beside it never changes. Uses nothing but what every
interpreter has loaded when it starts.
"""

import _imp
import sys

external = sys.modules["_frozen_importlib_external"]
# Where Python 3.14 and later keep the number.
magic = getattr(external, "_RAW_MAGIC_NUMBER", None) or _imp.pyc_magic_number_token
names = sys.argv[1:]
for name, length in zip(names[::2], names[1::2]):
    source = sys.stdin.buffer.read(int(length))
    code = compile(source, "/var/runtime/" + name, "exec", dont_inherit=True)
    key = _imp.source_hash(magic, source)
    data = external._code_to_hash_pyc(code, key, False)
    sys.stdout.buffer.write(len(data).to_bytes(4, "big") + data)
