#!/bin/sh
# Peer: the same handler in workerd, for warm calls. Its wall: one V8 isolate for each function, in one process.
# npm install workerd, on the path or in .cache/peers. See ../rows/peers.rs for what a script answers.
program=$(command -v "$PEERS/node_modules/.bin/workerd" || command -v workerd)
case "$1" in
  installed) [ -n "$program" ] ;;
  describe) "$program" --version ;;
  measures) echo warm node ;;
  path) echo / ;;
  command)
    cp "$FOLDER/index.mjs" "$WORK/index.mjs"
    cat >"$WORK/worker.mjs" <<'WORKER'
import { handler } from "./index.mjs";
export default { fetch: async (request) => Response.json(await handler(await request.json())) };
WORKER
    cat >"$WORK/config.capnp" <<CONFIGURATION
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = (
    modules = [(name = "worker.mjs", esModule = embed "worker.mjs"), (name = "index.mjs", esModule = embed "index.mjs")],
    compatibilityDate = "2024-01-01"))],
  sockets = [(name = "http", address = "127.0.0.1:$PORT", http = (), service = "main")]);
CONFIGURATION
    printf '%s\n' "$program" serve "$WORK/config.capnp" ;;
esac
