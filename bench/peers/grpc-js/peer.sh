#!/bin/sh
# gRPC server streaming, 64 calls on one HTTP/2 connection; protobuf, not JSON.
set -eu
# shellcheck source=bench/peers/need.sh
. "$PEERS/need.sh"
NODE_PATH=$PEERS_BUILD/grpc-js/node_modules
export NODE_PATH

case $1 in
  prepare)
    need_npm grpc-js @grpc/grpc-js @grpc/proto-loader
    echo "grpc-js $(pinned_version @grpc/grpc-js) on node $(node --version)"
    ;;
  server) exec node "$PEERS/grpc-js/server.js" ;;
  client) shift && exec node "$PEERS/grpc-js/client.js" "$@" ;;
esac
