"""examples/layers: the commands of its README, typed by bash with whatever AWS command line there is."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "layers"


@pytest.mark.covers("layer:example", client="aws-cli")
@pytest.mark.covers("operation:PublishLayerVersion", client="aws-cli")
def test_the_readme_does_what_it_says(server, tmp_path):
    program = shutil.which("aws")
    if program is None:
        pytest.skip("no AWS command line (get it with: apt-get install awscli)")
    directory = tmp_path / "layers"
    shutil.copytree(EXAMPLE, directory)
    # For command lines that do not read AWS_ENDPOINT_URL yet.
    aws = tmp_path / "bin" / "aws"
    aws.parent.mkdir()
    aws.write_text(f'#!/bin/sh\nexec "{program}" --endpoint-url "$AWS_ENDPOINT_URL" "$@"\n')
    aws.chmod(0o755)
    environment = server.environment_for_clients()
    environment["PATH"] = f"{aws.parent}:{environment['PATH']}"
    blocks = re.findall(r"```sh\n(.*?)```", (EXAMPLE / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    try:
        for commands, answer in zip(blocks, ("Guten Tag, Ada!", "Moin, Ada!")):
            done = subprocess.run(["bash", "-euc", commands], cwd=directory, env=environment, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr
            assert done.stdout.endswith(f'"{answer}"'), done.stdout
    finally:
        client = server.client()
        client.delete_function(FunctionName="greeter")
        for version in (1, 2):
            client.delete_layer_version(LayerName="greetings", VersionNumber=version)
