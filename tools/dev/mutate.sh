# shellcheck shell=sh disable=SC2153,SC2154
# Do the tests see a mistake? One-line mutants, planted one at a time in a copy
# of the tree, and whether the lanes c, lua54 and websocket catch each.
#
#   ./dev mutate [COUNT [SEED]]      100 mutants of seed 1

# What makes a mutant that hangs a caught one.
MUTANT_SECONDS=240

copy_tree() {
  rm -rf "$1"
  mkdir -p "$1"
  git ls-files -z | xargs -0 tar -cf - | tar -xf - -C "$1"
}

# in_copy COMMAND...: the copy's own ./dev, bounded, its output in the log.
in_copy() {
  (cd "$copy" && timeout -k 10 "$MUTANT_SECONDS" "$@") \
    >>"$copy/mutant.log" 2>&1 </dev/null
}

c_catches() {
  in_copy cmake --build build/c -j "$JOBS" || return 2
  for which in -E -R; do
    in_copy ctest --test-dir build/c -j "$JOBS" --stop-on-failure $which \
      'websocket|ws_cases|wss' || return 0
  done
  return 1
}

# The specs of the module's own name go first: they most often know.
ordered_specs() {
  name=$(basename "$file" .lua | sed 's/^_//')
  (cd "$copy" && find spec -name '*_spec.lua' ! -path 'spec/chain/*' \
    ! -path 'spec/faults/*' | sort) >"$copy/specs"
  folder=$(basename "$(dirname "$file")")
  grep "$name" "$copy/specs"
  grep -v "$name" "$copy/specs" | grep "spec/$folder/"
  grep -v "$name" "$copy/specs" | grep -v "spec/$folder/"
}

# 0: caught, 1: not.
lua_catches() {
  in_copy cmake --build build/release -j "$JOBS" || return 0
  for spec in $(ordered_specs); do
    in_copy env LUA_PATH="./lua/?.lua;./lua/?/init.lua;./?.lua;;" \
      LUA_CPATH="./build/release/lib/lua/5.4/?.so;;" \
      lua5.4 "$(command -v busted)" --no-keep-going -o TAP "$spec" ||
      return 0
  done
  return 1
}

# judge: caught, survived or stillborn (it does not compile).
judge() {
  : >"$copy/mutant.log"
  case $file in
    *.c)
      c_catches
      case $? in
        0) echo caught && return ;;
        2) echo stillborn && return ;;
      esac ;;
  esac
  if lua_catches; then echo caught; else echo survived; fi
}

prepare_copy() {
  copy_tree "$copy" &&
    in_copy cmake -S . -B build/c -DCMAKE_BUILD_TYPE=Debug -DAW_TESTS=ON \
      -DAW_SANITIZE=ON -DAW_LUA54=OFF -DAW_LUA51=OFF &&
    in_copy cmake --build build/c -j "$JOBS" &&
    in_copy cmake -S . -B build/release -DAW_LUA51=OFF &&
    in_copy cmake --build build/release -j "$JOBS"
}

run_mutants() {
  count=${1:-100} seed=${2:-1}
  need_packages $BUILD_PACKAGES $C_TEST_PACKAGES $SPEC_PACKAGES || return 1
  copy=$BUILD/mutate/tree
  mkdir -p "$BUILD/mutate"
  echo "preparing a copy of the tree"
  prepare_copy || { tail -n 40 "$copy/mutant.log"; return 1; }
  report=$BUILD/mutate/report-$seed.tsv
  : >"$report"
  lua5.4 tools/mutate/plant.lua choose "$seed" "$count" |
    while IFS="$(printf '\t')" read -r file line rule text; do
      lua5.4 tools/mutate/plant.lua plant "$copy/$file" "$line" "$text"
      verdict=$(judge)
      printf '%s\t%s:%s\t%s\t%s\n' "$verdict" "$file" "$line" "$rule" "$text" |
        tee -a "$report"
      cp "$file" "$copy/$file"
    done
  awk -F '\t' '{ n[$1]++ } END { printf "%d caught, %d survived, %d did not " \
    "compile\n", n["caught"], n["survived"], n["stillborn"] }' "$report"
}
