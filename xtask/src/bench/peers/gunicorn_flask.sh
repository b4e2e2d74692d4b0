#!/bin/sh
# Peer: the same handler as a web service of gunicorn and Flask, for 16 clients. No wall, no meter.
# pip install gunicorn flask, in .cache/peers/venv. See ../rows/peers.rs for what a script answers.
program="$PEERS/venv/bin/gunicorn"
case "$1" in
  installed) [ -x "$program" ] && "$PEERS/venv/bin/python" -c 'import flask' 2>/dev/null ;;
  describe) echo "gunicorn + Flask $("$PEERS/venv/bin/python" -c 'from importlib.metadata import version; print(version("flask"))'), 2 processes of 8 threads" ;;
  measures) echo http python ;;
  path) echo / ;;
  command)
    printf '%s\n' "$program" --bind "127.0.0.1:$PORT" --workers 2 --worker-class gthread --threads 8 --keep-alive 75 \
      --log-level error --pythonpath "$FOLDER,$(dirname "$0")" web_applications:flask_application ;;
esac
