#!/bin/sh
# Peer: the same handler as a web service of uvicorn and Starlette, for 16 clients. No wall, no meter.
# pip install uvicorn starlette uvloop httptools, in .cache/peers/venv. With the loop of the standard library, processes that share
# a socket leave Nagle's algorithm on, and every answer waits 40 ms for an acknowledgement.
# See ../rows/peers.rs for what a script answers.
program="$PEERS/venv/bin/uvicorn"
case "$1" in
  installed) [ -x "$program" ] && "$PEERS/venv/bin/python" -c 'import starlette, uvloop, httptools' 2>/dev/null ;;
  describe) echo "uvicorn + Starlette $("$PEERS/venv/bin/python" -c 'from importlib.metadata import version; print(version("starlette"))'), 2 processes" ;;
  measures) echo http python ;;
  path) echo / ;;
  command)
    printf '%s\n' env "PYTHONPATH=$FOLDER:$(dirname "$0")" "$program" --host 127.0.0.1 --port "$PORT" --workers 2 --loop uvloop --http httptools \
      --no-access-log --log-level error --timeout-keep-alive 75 web_applications:starlette_application ;;
esac
