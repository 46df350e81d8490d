#!/bin/sh
# Starts the agents and an nginx in front of them, on loopback, until INT.
#
#   examples/openresty/run.sh [PORT]
#
# PROGRAM is nginx (openresty), MODULES a folder with the modules
# ndk_http_module.so and ngx_http_lua_module.so where they are not built in, LUA
# what runs the agents, LUA_MODULES and LUA_C_MODULES further paths for the modules
# of nginx's Lua. Then:
#
#   curl -N -H 'Authorization: Bearer token-of-ada' -d 'Hello' 127.0.0.1:8080/ask
set -eu

HERE=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
PORT=${1:-8080}
PROGRAM=${PROGRAM:-openresty}
MODULES=${MODULES:-}
RUN=$(mktemp -d)
agents=

stop() {
  trap '' INT TERM EXIT
  [ -z "$agents" ] || kill "$agents" 2>/dev/null || true
  wait
  rm -rf "$RUN"
}
trap stop EXIT
trap 'exit 0' INT TERM

mkfifo "$RUN/ready"
${LUA:-lua5.4} "$HERE/agents.lua" "ws+unix:$RUN/agents.sock" >"$RUN/ready" &
agents=$!
read -r ready <"$RUN/ready"
[ "$ready" = ready ]

{
  for part in client_body proxy fastcgi uwsgi scgi; do
    echo "${part}_temp_path $RUN/$part;"
  done
  echo "lua_package_cpath \"${LUA_C_MODULES:-};;\";"
} >"$RUN/paths.conf"
{
  if [ -n "$MODULES" ]; then
    echo "load_module $MODULES/ndk_http_module.so;"
    echo "load_module $MODULES/ngx_http_lua_module.so;"
  fi
  [ "$(id -u)" -ne 0 ] || echo "user root;"
  echo "daemon off;"
  sed -e "s|/run/agentwire|$RUN|g" -e "s|127.0.0.1:8080|127.0.0.1:$PORT|" \
    -e "s|lua_package_path \"|&$HERE/?.lua;${LUA_MODULES:-}|" \
    -e "s|^http {|&\n  include $RUN/paths.conf;|" "$HERE/nginx.conf"
} >"$RUN/nginx.conf"
echo "http://127.0.0.1:$PORT"
"$PROGRAM" -p "$RUN" -c "$RUN/nginx.conf" &
nginx=$!
trap 'kill -QUIT $nginx; wait $nginx; exit 0' INT TERM
wait $nginx
