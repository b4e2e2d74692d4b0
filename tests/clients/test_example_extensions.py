"""examples/extensions: the commands of its README, typed by bash with whatever AWS command line there is."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "extensions"


@pytest.mark.covers("runtime:external extensions", client="aws-cli")
@pytest.mark.covers("runtime:telemetry", client="aws-cli")
def test_the_readme_does_what_it_says(server, tmp_path):
    program = shutil.which("aws")
    if program is None:
        pytest.skip("no AWS command line (get it with: apt-get install awscli)")
    if shutil.which("zip") is None:
        pytest.skip("no zip on this machine (get it with: apt-get install zip)")
    directory = tmp_path / "extensions"
    shutil.copytree(EXAMPLE, directory)
    # For command lines that do not read AWS_ENDPOINT_URL yet.
    aws = tmp_path / "bin" / "aws"
    aws.parent.mkdir()
    aws.write_text(f'#!/bin/sh\nexec "{program}" --endpoint-url "$AWS_ENDPOINT_URL" "$@"\n')
    aws.chmod(0o755)
    environment = server.environment_for_clients()
    environment["PATH"] = f"{aws.parent}:{environment['PATH']}"
    text = (EXAMPLE / "README.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    (promised,) = re.findall(r"The log says `(.*)`", text)
    try:
        for commands in blocks:
            done = subprocess.run(["bash", "-euc", commands], cwd=directory, env=environment, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr
        assert done.stdout.strip().endswith(promised), done.stdout
    finally:
        client = server.client()
        client.delete_function(FunctionName="visited")
        client.delete_layer_version(LayerName="collector", VersionNumber=1)
