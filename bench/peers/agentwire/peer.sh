#!/bin/sh
# The job of bench/wire. LUA is lua5.4 or luajit.
set -eu
# shellcheck source=bench/peers/need.sh
. "$PEERS/need.sh"
wire=$PEERS/../wire
LUA_PATH="$PEERS/../?.lua;$LUA_PATH"
export LUA_PATH

# Whoever runs this has set the path for one of the two.
if [ "$LUA" = luajit ]; then
  LUA_CPATH=$(echo "$LUA_CPATH" | sed 's|/5\.4/|/5.1/|g')
else
  LUA_CPATH=$(echo "$LUA_CPATH" | sed 's|/5\.1/|/5.4/|g')
fi

case $1 in
  prepare)
    need_command "$LUA"
    "$LUA" -e 'require("agentwire")' || leave_out "no module for $LUA"
    echo "agentwire on $($LUA -v 2>&1 | cut -d ' ' -f 1,2)"
    ;;
  server) exec "$LUA" "$wire/server.lua" ws://127.0.0.1:0 ;;
  client) exec "$LUA" "$wire/client.lua" "$2" "$3" "$4" 1 1 ;;
esac
