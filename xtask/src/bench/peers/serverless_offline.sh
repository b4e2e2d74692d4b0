#!/bin/sh
# Peer: serverless-offline, for warm calls. No wall; functions run in worker threads of one Node process.
# npm install serverless@3 serverless-offline@13 in .cache/peers. See ../rows/peers.rs for what a script answers.
program="$PEERS/node_modules/.bin/serverless"
case "$1" in
  installed) [ -x "$program" ] && [ -d "$PEERS/node_modules/serverless-offline" ] ;;
  describe) echo "serverless-offline $(sed -n 's/^ *"version": "\(.*\)",*$/\1/p' "$PEERS/node_modules/serverless-offline/package.json")" ;;
  measures) echo warm node ;;
  path) echo /2015-03-31/functions/bench-dev-echo/invocations ;;
  command)
    cp "$FOLDER/index.mjs" "$WORK/index.mjs"
    ln -sfn "$PEERS/node_modules" "$WORK/node_modules"
    cat >"$WORK/serverless.yml" <<CONFIGURATION
service: bench
provider: {name: aws, runtime: nodejs20.x}
plugins: [serverless-offline]
functions: {echo: {handler: index.handler}}
custom:
  serverless-offline: {host: 127.0.0.1, httpPort: $((PORT + 1)), lambdaPort: $PORT, noTimeout: true}
CONFIGURATION
    printf '%s\n' env -C "$WORK" SLS_TELEMETRY_DISABLED=1 SLS_NOTIFICATIONS_MODE=off "$program" offline ;;
esac
