#!/bin/sh
# websockets on asyncio with Debian's Python.
set -eu
# shellcheck source=bench/peers/need.sh
. "$PEERS/need.sh"
python=/usr/bin/python3
PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE

case $1 in
  prepare)
    need_debian python3 python3-websockets
    echo "websockets $("$python" -c '
import platform, websockets
print(websockets.__version__, "on Python", platform.python_version())')"
    ;;
  server) exec "$python" "$PEERS/python/server.py" ;;
  client) shift && exec "$python" "$PEERS/python/client.py" "$@" ;;
esac
