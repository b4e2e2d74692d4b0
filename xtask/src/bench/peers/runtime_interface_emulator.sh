#!/bin/sh
# Peer: AWS's Runtime Interface Emulator with AWS's own Python runtime client, for warm calls. No wall.
# aws-lambda-rie on the path or in .cache/peers/bin (the PyPI package aws-sam-cli has it in samcli/local/rapid); pip install awslambdaric in .cache/peers/venv.
# See ../rows/peers.rs for what a script answers.
program=$(command -v "$PEERS/bin/aws-lambda-rie" || command -v aws-lambda-rie)
python="$PEERS/venv/bin/python"
case "$1" in
  installed) [ -n "$program" ] && "$python" -c 'import awslambdaric' 2>/dev/null ;;
  describe) echo "aws-lambda-rie, awslambdaric $("$python" -c 'from importlib.metadata import version; print(version("awslambdaric"))')" ;;
  measures) echo warm python ;;
  path) echo /2015-03-31/functions/function/invocations ;;
  command)
    printf '%s\n' env -C "$FOLDER" "$program" --log-level error \
      --runtime-interface-emulator-address "127.0.0.1:$PORT" --runtime-api-address "127.0.0.1:$((PORT + 1))" \
      "$python" -m awslambdaric index.handler ;;
esac
