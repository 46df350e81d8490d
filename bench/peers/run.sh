#!/bin/sh
# The standard job of bench/wire in agentwire and in what one would use
# instead: one connection, STREAMS interleaved streams, EVENTS deltas each,
# two processes, one core each.
#
#   run.sh [ROUNDS]     3; each round runs every peer once
#
# Environment: STREAMS (64), EVENTS (3125), ONLY (all peers, by name);
# LUA_PATH and LUA_CPATH as `./dev` sets them.
set -eu
PEERS=$(cd "$(dirname "$0")" && pwd)
ROOT=$(cd "$PEERS/../.." && pwd)
PEERS_BUILD=${PEERS_BUILD:-$ROOT/build/peers}
export PEERS ROOT PEERS_BUILD

# FOLDER or FOLDER:LUA
ALL="agentwire:lua5.4 agentwire:luajit bun node-ws grpc-js lua-http:lua5.4
  python"
SERVER_CORE=0
CLIENT_CORE=1
LIMIT_SECONDS=120
INSTALL_SECONDS=600
MOST_ROUNDS=20

rounds=${1:-3}
streams=${STREAMS:-64}
events=${EVENTS:-3125}
if ! [ "$rounds" -ge 1 ] 2>/dev/null || [ "$rounds" -gt $MOST_ROUNDS ]; then
  echo "peers: rounds are 1 to $MOST_ROUNDS" >&2
  exit 2
fi

work=$(mktemp -d)
server=
stop_server() {
  [ -n "$server" ] || return 0
  kill "$server" 2>/dev/null || true
  wait "$server" 2>/dev/null || true
  server=
}
trap 'stop_server; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# become PEER PART PREFIX...: the shell becomes PREFIX with that part of the
# peer, so that in the background its pid is $!.
become() {
  script=$PEERS/${1%%:*}/peer.sh
  LUA=${1#*:}
  export LUA
  part=$2
  shift 2
  exec "$@" sh "$script" $part
}

# measure PEER: one line of JSON in `report`.
measure() {
  rm -f "$work/address"
  mkfifo "$work/address"
  (become "$1" server taskset -c $SERVER_CORE timeout -k 5 $LIMIT_SECONDS) \
    >"$work/address" 2>"$work/server.err" &
  server=$!
  status=1
  if read -r address <"$work/address"; then
    (become "$1" "client $address $streams $events" \
      taskset -c $CLIENT_CORE timeout -k 5 $LIMIT_SECONDS) \
      >"$work/report" 2>"$work/client.err" && status=0 || status=$?
  fi
  stop_server
  return $status
}

# A trace has its error in some line; else the last line says most.
last_words() {
  cat "$work/client.err" "$work/server.err" >"$work/words" 2>/dev/null || true
  [ -s "$work/words" ] || echo "it says nothing"
  grep -m 1 -iE '^([a-z.]*(error|exception)|lua[^ ]*): ' "$work/words" ||
    grep -v '^[[:space:]]*$' "$work/words" | tail -n 1
}

runs=$work/runs
left_out=$work/left_out
versions=$work/versions
: >"$runs" && : >"$left_out" && : >"$versions"

leave_out() {
  echo "$1: left out: $2"
  printf '%s\t%s\n' "$1" "$2" >>"$left_out"
}

ready=
for name in ${ONLY:-$ALL}; do
  if (become "$name" prepare timeout -k 5 $INSTALL_SECONDS) \
    >"$work/about" 2>"$work/prepare.err"; then
    grep installing "$work/prepare.err" || true
    printf '%s\t%s\n' "$name" "$(cat "$work/about")" >>"$versions"
    ready="$ready $name"
  else
    leave_out "$name" "$(tail -n 1 "$work/prepare.err")"
  fi
done

round=1
while [ "$round" -le "$rounds" ]; do
  going=
  for name in $ready; do
    rm -f "$work/client.err"
    status=0
    measure "$name" || status=$?
    if [ $status -eq 0 ]; then
      printf '%s\t%s\n' "$name" "$(tail -n 1 "$work/report")" >>"$runs"
      echo "round $round: $name"
      going="$going $name"
    elif [ $status -eq 124 ]; then
      leave_out "$name" "round $round took more than $LIMIT_SECONDS s"
    else
      leave_out "$name" "failed in round $round: $(last_words)"
    fi
  done
  ready=$going
  round=$((round + 1))
done

lua5.4 "$PEERS/table.lua" "$work" "$rounds" "$streams" "$events" \
  "$PEERS/results.json"
