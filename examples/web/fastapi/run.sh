#!/bin/sh
# What starts the web server; the adapter waits until it listens and hands it every request.
exec python3 -m uvicorn app:app --host 127.0.0.1 --port "${AWS_LWA_PORT:-8080}" --no-access-log
