#!/bin/sh
# The decision gate between two WebSocket engines: builds both, measures both,
# judges by criteria.json. Writes build/gate/baseline.json and candidate.json;
# the exit status is 0 for GO. Under ten minutes; with AW_SMALL=1 under two,
# once it is built.
# Environment: AW_BASELINE, AW_CANDIDATE (folders, relative to csrc/net),
# AW_GATE_DIR (build/gate).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
dir=${AW_GATE_DIR:-$root/build/gate}
baseline=${AW_BASELINE:-../../tests/peer_lws}
candidate=${AW_CANDIDATE:-websocket}
lua=lua5.4
jobs=$(nproc 2>/dev/null || echo 2)

rounds=5 events=3125 pings=5000 cuts=2000 sanitized_cuts=200
# An engine that lingers makes each refused case wait; waiting costs nothing.
shares=86
# Where it is allowed, other work on the machine is kept out of the figures:
# else the 99th percentile of a busy machine is the scheduler's time slice.
calm=
! chrt -f 1 true 2>/dev/null || calm="chrt -f 1"
if [ "${AW_SMALL:-0}" = 1 ]; then
  rounds=3 events=1000 pings=2000 cuts=200 sanitized_cuts=20
fi

engine_of() {
  if [ "$1" = baseline ]; then echo "$baseline"; else echo "$candidate"; fi
}

say() {
  echo "gate: $*" >&2
}

# build ROLE FLAVOUR TARGETS CMAKE_ARGUMENT...
build() {
  role=$1 flavour=$2 targets=$3
  shift 3
  say "building $role ($(engine_of "$role")), $flavour"
  log=$dir/$role/$flavour.log
  mkdir -p "$dir/$role"
  if ! { cmake -S "$root" -B "$dir/$role/$flavour" -DAW_LUA51=OFF \
    -DAW_ENGINE="$(engine_of "$role")" "$@" &&
    cmake --build "$dir/$role/$flavour" -j "$jobs" --target $targets; } \
    >"$log" 2>&1; then
    grep -E -A8 'error:|undefined reference|CMake Error' "$log" | head -n 60
    exit 2
  fi
}

build_both() {
  for role in baseline candidate; do
    build $role release agentwire_lua54 -DCMAKE_BUILD_TYPE=Release
    build $role sanitized "agentwire_lua54 net_tests" \
      -DCMAKE_BUILD_TYPE=Debug -DAW_SANITIZE=ON -DAW_TESTS=ON
    rm -rf "${dir:?}/$role/results"
    mkdir -p "$dir/$role/results"
  done
}

# with_module ROLE FLAVOUR COMMAND...
with_module() {
  path=$dir/$1/$2/lib/lua/5.4
  shift 2
  env -u LUA_INIT -u LUA_INIT_5_4 -u LUA_PATH_5_4 -u LUA_CPATH_5_4 \
    -u AGENTWIRE_TRACE \
    LUA_PATH="$root/lua/?.lua;$root/lua/?/init.lua;$root/bench/?.lua;;" \
    LUA_CPATH="$path/?.so;;" timeout -k 5 170 "$@"
}

# A failure leaves no file, and the judge sees that a figure is missing.
# keep ROLE FILE COMMAND...
keep() {
  role=$1 file=$dir/$1/results/$2
  shift 2
  if with_module "$role" release "$@" >"$file.part"; then
    mv "$file.part" "$file"
  else
    say "$role has failed: $*"
  fi
}

run_wire() {
  keep "$1" "wire-$2.json" env LUA=$lua EVENTS=$events PINGS=$pings \
    IDLE_MS=200 $calm sh "$root/bench/wire/run.sh"
}

# Whoever is first alternates, so that a machine which slows down does so for
# both.
run_rounds() {
  round=1
  while [ $round -le $rounds ]; do
    say "round $round of $rounds"
    if [ $((round % 2)) -eq 1 ]; then
      run_wire baseline $round
      run_wire candidate $round
    else
      run_wire candidate $round
      run_wire baseline $round
    fi
    round=$((round + 1))
  done
}

run_workloads() {
  say "$1: $cuts cuts, a reader that does not read"
  keep "$1" lua-reconnect.json $lua "$here/reconnect.lua" $cuts
  keep "$1" lua-backpressure.json $lua "$here/backpressure.lua"
}

# checked ROLE NAME COMMAND...: a program under the sanitizers.
checked() {
  role=$1 log=$dir/$1/results/$2.log
  shift 2
  status=0
  with_module "$role" sanitized env CMOCKA_MESSAGE_OUTPUT=TAP \
    UBSAN_OPTIONS=print_stacktrace=1 "$@" >"$log" 2>&1 || status=$?
  echo $status >"${log%.log}.rc"
}

# Lua itself is not sanitized, so the runtime has to be there before it.
checked_lua() {
  role=$1 name=$2
  shift 2
  checked "$role" "$name" AW_GATE_SANITIZED=1 \
    LD_PRELOAD="$(gcc -print-file-name=libasan.so)" $lua "$@"
}

check_cases() {
  share=0
  while [ $share -lt $shares ]; do
    checked "$1" cases-$share "$dir/$1/sanitized/tests/net_ws_cases" \
      $share $shares &
    share=$((share + 1))
  done
  wait
}

check_transport() {
  for program in "$dir/$1/sanitized/tests/net_websocket"*; do
    [ ! -x "$program" ] || checked "$1" "$(basename "$program")" "$program"
  done
}

check_workloads() {
  checked_lua "$1" lua-reconnect "$here/reconnect.lua" $sanitized_cuts
  checked_lua "$1" lua-backpressure "$here/backpressure.lua"
}

# The baseline's cases wait most of the time, so other checks run meanwhile.
run_checks() {
  say "frames, transport and workloads under the sanitizers"
  check_cases baseline &
  cases=$!
  for role in baseline candidate; do
    check_transport $role
    check_workloads $role
  done
  wait $cases
  check_cases candidate
}

collect() {
  for role in baseline candidate; do
    with_module candidate release $lua "$here/collect.lua" \
      "$(engine_of $role)" "$dir/$role.json" "$dir/$role/results/"*.json \
      "$dir/$role/results/"*.log
  done
}

build_both
run_rounds
for role in baseline candidate; do
  run_workloads $role
done
run_checks
collect
with_module candidate release $lua "$here/report.lua" "$here/criteria.json" \
  "$dir/baseline.json" "$dir/candidate.json"
