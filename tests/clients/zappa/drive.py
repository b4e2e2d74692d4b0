"""Runs in Zappa's own environment: calls of `zappa.core.Zappa` as they come, `["method", {arguments}]` a line; answers likewise."""

import json
import sys
import types

from zappa.core import Zappa

answers, sys.stdout = sys.stdout, sys.stderr  # Zappa prints.
zappa = Zappa(aws_region="us-east-1")
for line in sys.stdin:
    name, arguments = json.loads(line)
    try:
        found = getattr(zappa, name)
        said = found(**arguments) if callable(found) else found.to_dict()
        said = list(said) if isinstance(said, types.GeneratorType) else said
        answer = {"said": said}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer, default=str), file=answers, flush=True)
