# shellcheck shell=sh disable=SC2153
# The test lanes. Each adds to the totals; the last line printed is theirs.

ALL_LANES="lint c lua54 luajit schema websocket chain faults nvim openresty soak install valgrind fuzz"
FUZZ_SECONDS=${FUZZ_SECONDS:-60}
SOAK_SECONDS=${SOAK_SECONDS:-10}
# What makes a hanging test fail instead of the whole run hanging.
LIMIT_SECONDS=600

# What needs sockets, processes or time of its own has a lane of its own.
# Those of `editor` run inside of Neovim.
HEAVY_FOLDERS="schema websocket chain faults nvim editor openresty"

passed=0
failed=0
skipped=0

heading() {
  printf '\n== %s: %s\n' "$1" "$2"
}

# In a process group of its own a test would not get a terminal's interrupt.
BOUNDED="timeout -k 10 $LIMIT_SECONDS"
[ ! -t 0 ] || BOUNDED="timeout --foreground -k 10 $LIMIT_SECONDS"

# add_counts NAME STATUS SECONDS LOG: reads a log of test results.
add_counts() {
  counts=$BUILD/log/$1.counts
  rm -f "$counts"
  lua5.4 tools/results.lua "$4" "$2" "$counts" || rm -f "$counts"
  p=0 f=1 s=0
  [ ! -f "$counts" ] || read -r p f s <"$counts"
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  printf '   %-28s %4d passed, %d failed' "$1" "$p" "$f"
  [ "$s" -eq 0 ] || printf ', %d skipped' "$s"
  printf '  (%d s)\n' "$3"
}

# run_tests NAME COMMAND...: one that prints TAP or is ctest -V.
run_tests() {
  name=$1
  shift
  log=$BUILD/log/$name.log
  began=$(date +%s)
  "$@" >"$log" 2>&1 </dev/null
  add_counts "$name" $? $(($(date +%s) - began)) "$log"
}

# run_check NAME COMMAND...: one test, passed when the command succeeds.
run_check() {
  name=$1
  shift
  log=$BUILD/log/$name.log
  began=$(date +%s)
  if "$@" >"$log" 2>&1 </dev/null; then
    passed=$((passed + 1))
    verdict=passed
  else
    failed=$((failed + 1))
    verdict=FAILED
    head -n 200 "$log"
  fi
  printf '   %-28s %s  (%d s)\n' "$name" $verdict $(($(date +%s) - began))
}

# A build that fails is a failed test, and the end of its lane.
build_or_fail() {
  "$@" && return 0
  failed=$((failed + 1))
  return 1
}

nothing_to_run() {
  echo "   nothing to run: $1"
}

# spec_files [FOLDER]: those of a heavy folder, or all that are in none.
spec_files() {
  if [ $# -gt 0 ]; then
    [ ! -d "spec/$1" ] || find "spec/$1" -name '*_spec.lua' | sort
    return
  fi
  find spec -name '*_spec.lua' | sort | while read -r file; do
    for folder in $HEAVY_FOLDERS; do
      case $file in "spec/$folder/"*) continue 2 ;; esac
    done
    echo "$file"
  done
}

# busted's own script would start whichever Lua is the default.
# run_specs NAME VERSION INTERPRETER [FOLDER]
run_specs() {
  lane=$1 version=$2 interpreter=$3
  shift 3
  files=$(spec_files "$@")
  if [ -z "$files" ]; then
    nothing_to_run "there are no specs"
    return
  fi
  run_tests "$lane" with_lua "$version" $BOUNDED \
    "$interpreter" "$(command -v busted)" -o TAP $files
}

lane_lint() {
  heading lint "formatting, static analysis, rules of the tree"
  need_packages $LINT_PACKAGES || return 1
  run_check clang-format clang-format --dry-run -Werror $(c_files)
  run_check cppcheck cppcheck -q --std=c11 -j "$JOBS" --inline-suppr \
    --enable=warning,performance,portability --error-exitcode=1 \
    $(find csrc -type d -printf '-I%p ') csrc
  run_check luacheck luacheck -q --no-color \
    $(ls -d lua spec examples bench tools 2>/dev/null) ./*.rockspec
  run_check shellcheck shellcheck -x -S warning dev tools/*.sh tools/dev/*.sh .ci/run \
    $(find bench tests -name '*.sh')
  if (need_packages $MUSL_PACKAGES); then
    run_check plain-posix compile_plain_posix
    run_check musl build_musl
  else
    echo "   plain-posix, musl            left out: no musl-tools are to be had"
  fi
  run_tests tree lua5.4 tools/check_tree.lua
  run_tests api lua5.4 tools/api.lua check
  run_tests rockspec lua5.4 tools/rockspec.lua check
  run_tests vimdoc lua5.4 tools/vimdoc.lua check
}

build_c() {
  build_flavour "$@" -DCMAKE_BUILD_TYPE=Debug -DAW_TESTS=ON -DAW_SANITIZE=ON \
    -DAW_WERROR=ON -DAW_LUA54=OFF -DAW_LUA51=OFF
}

# run_ctest NAME FLAVOUR CTEST_ARGUMENT...
run_ctest() {
  lane=$1 flavour=$2
  shift 2
  run_tests "$lane" env UBSAN_OPTIONS=print_stacktrace=1 $BOUNDED \
    ctest --test-dir "$BUILD/$flavour" -V -j "$JOBS" "$@"
}

# These C tests are in the websocket lane.
WEBSOCKET_TESTS='websocket|ws_cases|wss|exchange'

lane_c() {
  heading c "C tests under ASan and UBSan"
  need_packages $BUILD_PACKAGES $C_TEST_PACKAGES || return 1
  build_or_fail build_c c all || return 0
  run_ctest c c -E "$WEBSOCKET_TESTS"
  run_check walks-catch-mutants sh tests/core/mutants.sh
  build_or_fail build_c c-nosimd core_tests -DAW_NO_SIMD=ON || return 0
  run_ctest c-nosimd c-nosimd -R '^core_'
}

need_specs() {
  need_packages $BUILD_PACKAGES $SPEC_PACKAGES && build_or_fail build_release
}

lane_lua54() {
  heading lua54 "specs on Lua 5.4"
  need_specs && run_specs lua54 5.4 lua5.4
}

lane_luajit() {
  heading luajit "specs on LuaJIT"
  need_specs && run_specs luajit 5.1 luajit
}

lane_schema() {
  heading schema "JSON Schema by its public test suite"
  need_packages $SCHEMA_PACKAGES && need_specs || return 1
  run_specs schema-lua54 5.4 lua5.4 schema
  run_specs schema-luajit 5.1 luajit schema
  grep -h '^# .* valid, none refused' "$BUILD/log/schema-lua54.log"
}

lane_websocket() {
  heading websocket "the WebSocket transport and its specs"
  need_packages $BUILD_PACKAGES $C_TEST_PACKAGES || return 1
  build_or_fail build_c c all || return 0
  run_ctest websocket-c c -R "$WEBSOCKET_TESTS"
  need_specs || return 1
  run_specs websocket-lua54 5.4 lua5.4 websocket
  run_specs websocket-luajit 5.1 luajit websocket
}

lane_chain() {
  heading chain "client, agent, provider and tool server as processes"
  need_specs && run_specs chain 5.4 lua5.4 chain
}

lane_faults() {
  heading faults "lost, cut, slow and hostile connections"
  need_packages $FAULT_PACKAGES $C_TEST_PACKAGES && need_specs || return 1
  build_or_fail build_flavour faults aw_fault_proxy -DAW_TESTS=ON \
    -DAW_LUA54=OFF -DAW_LUA51=OFF || return 0
  export AW_FAULT_PROXY="$BUILD/faults/tests/faults/aw_fault_proxy"
  run_specs faults 5.4 lua5.4 faults
}

# run_in_nvim NAME FILE...: busted, where its files may call the editor.
run_in_nvim() {
  name=$1
  shift
  run_tests "$name" with_lua 5.1 env AW_SPECS="$*" $BOUNDED nvim --headless \
    -u NONE -i NONE -n -c "luafile spec/editor/busted.lua"
}

lane_nvim() {
  heading nvim "Neovim as a host, in the chain, and its help"
  need_packages $NVIM_PACKAGES && need_specs || return 1
  run_in_nvim nvim-hosts spec/hosts_spec.lua spec/each_spec.lua
  run_in_nvim nvim-editor $(spec_files editor)
  run_specs nvim-chain 5.4 lua5.4 nvim
  grep '^# ' "$BUILD/log/nvim-chain.log"
}

# In the workers of a real nginx: what it does, and what that costs.
# AW_RELOADS: under load it is told so often to read its configuration again.
lane_openresty() {
  heading openresty "agentwire in nginx with lua-nginx-module"
  need_packages $OPENRESTY_PACKAGES && need_specs || return 1
  unpack_packages "$BUILD/nginx" $NGINX_PACKAGES || return 1
  export AW_NGINX="$BUILD/nginx/root"
  run_specs openresty 5.4 lua5.4 openresty
  grep '^# .*: ' "$BUILD/log/openresty.log" | grep -v '^# Failure\|^# spec'
}

# The line of counters of each tenth of it is shown: growth is seen by eye.
soak() {
  name=$1 lua_version=$2
  shift 2
  log=$BUILD/log/$name.log
  began=$(date +%s)
  with_lua "$lua_version" timeout -k 10 $((SOAK_SECONDS * 2 + 120)) "$@" \
    tests/soak/soak.lua "$SOAK_SECONDS" >"$log" 2>&1 </dev/null
  add_counts "$name" $? $(($(date +%s) - began)) "$log"
  grep '^#' "$log"
}

lane_soak() {
  heading soak "everything at once for $SOAK_SECONDS s, cancelled and cut"
  need_specs || return 1
  soak soak-lua54 5.4 lua5.4
  soak soak-luajit 5.1 luajit
}

lane_install() {
  heading install "CMake, LuaRocks and packed rocks give the same, and it runs"
  need_packages $INSTALL_PACKAGES && need_specs || return 1
  run_tests install $BOUNDED sh tools/check_install.sh "$BUILD"
}

# Not one of the lanes: it needs root, and minutes of the network.
run_bare() {
  mkdir -p "$BUILD/log"
  need_packages debootstrap && run_lane install && [ "$failed" -eq 0 ] || return 1
  heading bare "the packed rock in a Debian with nothing on it"
  run_tests bare timeout -k 10 1800 sh tools/check_bare.sh "$BUILD" "$@"
  grep '^# ' "$BUILD/log/bare.log"
  [ "$failed" -eq 0 ]
}

# They measure time, or only watch processes that valgrind does not see.
TIMED_SPECS='foreign_loop_spec\|waits_spec\|turn_spec\|signal_spec\|stdin_spec\|spec/command/\|http_spec\|http_stream_spec'
VALGRIND_SECONDS=1500

# Shards, one for each processor: valgrind runs one thread at a time.
lane_valgrind() {
  heading valgrind "specs on Lua 5.4, no memory error, no definite leak"
  need_packages $VALGRIND_PACKAGES && need_specs || return 1
  echo "   left out, as time says nothing here: $TIMED_SPECS"
  pids=
  shard=1
  began=$(date +%s)
  while [ $shard -le "$JOBS" ]; do
    files=$({ spec_files && spec_files websocket; } | grep -v "$TIMED_SPECS" |
      awk -v n="$JOBS" -v k=$shard 'NR % n == k % n')
    become_lua 5.4 AW_SMALL=1 timeout -k 10 $VALGRIND_SECONDS valgrind -q --error-exitcode=99 \
      --leak-check=full --show-leak-kinds=definite \
      --errors-for-leak-kinds=definite --num-callers=25 --keep-debuginfo=yes \
      --child-silent-after-fork=yes --suppressions=tools/valgrind.supp \
      lua5.4 "$(command -v busted)" -o TAP $files \
      >"$BUILD/log/valgrind-$shard.log" 2>&1 </dev/null &
    pids="$pids $!"
    shard=$((shard + 1))
  done
  shard=1
  for pid in $pids; do
    wait "$pid"
    add_counts "valgrind-$shard" $? $(($(date +%s) - began)) \
      "$BUILD/log/valgrind-$shard.log"
    shard=$((shard + 1))
  done
}

# fuzz_one NAME: new inputs go to the build folder, not to the corpus.
fuzz_one() {
  inputs=$BUILD/fuzz/inputs/$1
  mkdir -p "$inputs"
  seeds=tests/fuzz/corpus/$1
  [ -d "$seeds" ] || seeds=
  sizes=
  # Its inputs are choices, and a conversation takes some hundred of them.
  case $1 in fuzz_payload|fuzz_hub|fuzz_exchange) sizes="-len_control=0 -max_len=600" ;; esac
  "$BUILD/fuzz/tests/$1" -max_total_time="$FUZZ_SECONDS" -timeout=20 $sizes \
    -rss_limit_mb=2048 -artifact_prefix="$BUILD/fuzz/$1-" "$inputs" $seeds
}

lane_fuzz() {
  heading fuzz "each target for $FUZZ_SECONDS s"
  need_packages $BUILD_PACKAGES $FUZZ_PACKAGES || return 1
  build_or_fail build_flavour fuzz all -DCMAKE_C_COMPILER=clang -DAW_FUZZ=ON \
    -DCMAKE_BUILD_TYPE=Release -DAW_LUA54=OFF -DAW_LUA51=OFF || return 0
  for target in tests/fuzz/fuzz_*.c; do
    run_check "$(basename "$target" .c)" fuzz_one "$(basename "$target" .c)"
  done
}

# A lane that could not even start counts as a failed test.
run_lane() {
  case " $ALL_LANES " in
    *" $1 "*) ;;
    *)
      echo "dev: no lane '$1'; there are: $ALL_LANES" >&2
      exit 2
      ;;
  esac
  before=$((passed + failed))
  "lane_$1" && return
  [ $((passed + failed)) -gt "$before" ] || failed=$((failed + 1))
}

run_lanes() {
  mkdir -p "$BUILD/log"
  started=$(date +%s)
  [ $# -gt 0 ] || set -- $ALL_LANES
  for lane_name in "$@"; do
    run_lane "$lane_name"
  done
  printf '\n%d s in all\n%d passed, %d failed' $(($(date +%s) - started)) \
    "$passed" "$failed"
  [ "$skipped" -eq 0 ] || printf ', %d skipped' "$skipped"
  printf '\n'
  [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
