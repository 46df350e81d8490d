#!/bin/sh
# The standard job: one connection, STREAMS interleaved streams, EVENTS deltas
# each, Lua at both ends, one core for each process. Prints one line of JSON.
# Environment: LUA (lua5.4), STREAMS (64), EVENTS (3125), PINGS (2000),
# IDLE_MS (5000); LUA_PATH and LUA_CPATH as `./dev` sets them.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
lua=${LUA:-lua5.4}
LUA_PATH="$here/../?.lua;$LUA_PATH"
export LUA_PATH
out=$(mktemp)
taskset -c 0 "$lua" "$here/server.lua" ws://127.0.0.1:0 >"$out" &
server=$!
trap 'kill $server 2>/dev/null || true; rm -f "$out"' EXIT INT TERM
tail -n +1 -f --pid=$server "$out" | head -n 1 >"$out.url"
url=$(cat "$out.url")
rm -f "$out.url"
taskset -c 1 "$lua" "$here/client.lua" "$url" "${STREAMS:-64}" \
  "${EVENTS:-3125}" "${PINGS:-2000}" "${IDLE_MS:-5000}"
wait $server
trap - EXIT
rm -f "$out"
