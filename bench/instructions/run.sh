#!/bin/sh
# Instructions an envelope costs both ends together, by callgrind: the
# difference between a long and a short conversation, so that starting costs
# nothing. The same for the same build whatever else the machine does.
#
#   ./dev bench instructions [CHECKOUT]
#
# CHECKOUT is another tree of this project, built: the ratio is printed too.
# Environment: LUA (lua5.4), LUA_VERSION (5.4).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
lua=${LUA:-lua5.4} version=${LUA_VERSION:-5.4}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
short=1000 long=9000

# count TREE ENVELOPES
count() {
  env LUA_PATH="$1/lua/?.lua;$1/lua/?/init.lua;;" \
    LUA_CPATH="$1/build/release/lib/lua/$version/?.so;;" \
    valgrind --tool=callgrind --callgrind-out-file="$work/out" \
    "$lua" "$here/hop.lua" "$2" >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    return 1
  }
  sed -n 's/^summary: *//p; s/^totals: *//p' "$work/out" | head -n 1
}

# each TREE: per envelope
each() {
  few=$(count "$1" $short) && many=$(count "$1" $long) || return 1
  echo $(((many - few) / (long - short)))
}

command -v valgrind >/dev/null || {
  echo "bench instructions needs valgrind" >&2
  exit 1
}
here_each=$(each "$(cd "$here/../.." && pwd)")
echo "instructions an envelope: $here_each"
[ $# -eq 0 ] || {
  there_each=$(each "$(cd "$1" && pwd)")
  echo "in $1: $there_each"
  awk -v a="$here_each" -v b="$there_each" \
    'BEGIN { printf "ratio: %.4f\n", a / b }'
}
