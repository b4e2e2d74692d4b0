"""What functions need to be clients themselves."""

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
    """A layer with botocore and what it imports. The models of all services are more than a package may hold."""
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
