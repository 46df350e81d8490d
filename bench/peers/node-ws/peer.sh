#!/bin/sh
# ws, the WebSocket library of most node programs.
set -eu
# shellcheck source=bench/peers/need.sh
. "$PEERS/need.sh"
NODE_PATH=$PEERS_BUILD/node-ws/node_modules
export NODE_PATH

case $1 in
  prepare)
    need_npm node-ws ws
    echo "ws $(pinned_version ws) on node $(node --version)"
    ;;
  server) exec node "$PEERS/node-ws/server.js" ;;
  client) shift && exec node "$PEERS/node-ws/client.js" "$@" ;;
esac
