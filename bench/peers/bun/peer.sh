#!/bin/sh
# Bun's own WebSocket, client and server.
set -eu
# shellcheck source=bench/peers/need.sh
. "$PEERS/need.sh"
bun=$PEERS_BUILD/bun/node_modules/.bin/bun

case $1 in
  prepare)
    need_npm bun bun
    version=$("$bun" --version) || leave_out "bun does not start"
    echo "Bun $version"
    ;;
  server) exec "$bun" "$PEERS/bun/server.js" ;;
  client) shift && exec "$bun" "$PEERS/bun/client.js" "$@" ;;
esac
