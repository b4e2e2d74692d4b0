"""A layer with an unmodified botocore, for functions that call the platform as they would call AWS."""

from __future__ import annotations

import functools
import io
import zipfile
from pathlib import Path

import botocore
import dateutil
import jmespath
import six
import urllib3


@functools.cache
def libraries(services: tuple[str, ...]) -> bytes:
    """A ZIP with botocore, what it imports, and these services: the whole of it is larger than a package may be."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for module in (botocore, dateutil, jmespath, urllib3):
            root = Path(module.__file__).parent
            for file in root.rglob("*"):
                path = file.relative_to(root.parent)
                is_service = path.parts[:2] == ("botocore", "data") and len(path.parts) > 3
                if file.is_file() and "__pycache__" not in path.parts and (not is_service or path.parts[2] in services):
                    archive.write(file, f"python/{path}")
        archive.write(six.__file__, "python/six.py")
    return buffer.getvalue()
