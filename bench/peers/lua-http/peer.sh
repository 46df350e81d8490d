#!/bin/sh
# lua-http on cqueues with lua-cjson. LUA is lua5.4 or luajit.
set -eu
# shellcheck source=bench/peers/need.sh
. "$PEERS/need.sh"

# Debian has lua-http's files, plain Lua, up to 5.3; its C parts up to 5.4.
LUA_PATH="$PEERS/lua-http/?.lua;;"
if [ "$LUA" = lua5.4 ]; then
  share=/usr/share/lua
  LUA_PATH="$LUA_PATH;$share/5.3/?.lua;$share/5.1/?.lua;$share/5.1/?/init.lua"
fi
export LUA_PATH
unset LUA_CPATH

case $1 in
  prepare)
    need_command "$LUA"
    need_debian lua-http lua-cjson
    "$LUA" -e 'require("http.websocket")' ||
      leave_out "lua-http does not load on $LUA"
    version=$(dpkg-query -W -f '${Version}' lua-http)
    echo "lua-http $version on $($LUA -v 2>&1 | cut -d ' ' -f 1,2)"
    ;;
  server) exec "$LUA" "$PEERS/lua-http/server.lua" ;;
  client) shift && exec "$LUA" "$PEERS/lua-http/client.lua" "$@" ;;
esac
