#!/bin/sh
# Peer: the same handler behind Node's own HTTP server, for 16 clients. No wall, no meter, one process.
# See ../rows/peers.rs for what a script answers.
case "$1" in
  installed) [ -x "$INTERPRETER" ] ;;
  describe) echo "Node's http $("$INTERPRETER" --version), one process" ;;
  measures) echo http node ;;
  path) echo / ;;
  command)
    cat >"$WORK/server.mjs" <<SERVER
import http from "node:http";
import { respond } from "$FOLDER/index.mjs";
const server = http.createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const text = respond(Buffer.concat(parts).toString());
    response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
    response.end(text);
  });
});
server.keepAliveTimeout = 75000;
server.listen($PORT, "127.0.0.1");
SERVER
    printf '%s\n' "$INTERPRETER" "$WORK/server.mjs" ;;
esac
