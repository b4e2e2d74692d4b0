#!/bin/sh
# What starts the web server; the adapter waits until it listens and hands it every request.
exec node app.js
