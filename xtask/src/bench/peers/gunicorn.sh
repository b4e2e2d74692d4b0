#!/bin/sh
# Peer: the same handler as a web service of gunicorn and Flask, for warm calls. No wall, no meter, one process for all.
# pip install gunicorn flask, on the path or in .cache/peers/venv. See ../rows/peers.rs for what a script answers.
program=$(command -v "$PEERS/venv/bin/gunicorn" || command -v gunicorn)
case "$1" in
  installed) [ -n "$program" ] ;;
  describe) "$program" --version ;;
  measures) echo warm python ;;
  path) echo / ;;
  command)
    printf '%s\n' "$program" --bind "127.0.0.1:$PORT" --workers 1 --worker-class gthread --threads 4 \
      --keep-alive 75 --log-level error \
      --pythonpath "$FOLDER,$(dirname "$0")" gunicorn_application:application ;;
esac
