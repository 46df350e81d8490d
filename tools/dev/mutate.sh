# shellcheck shell=sh disable=SC2153,SC2154
# Do the tests see a mistake? One-line mutants, planted one at a time in a copy
# of the tree, and whether the lanes c, lua54 and websocket catch each.
#
#   ./dev mutate [COUNT [SEED [PATTERN]]]
#
# 100 mutants of seed 1, in files whose path matches PATTERN; a COUNT that is a
# file has them in it, as plant.lua prints them. First each test runs once, to
# find out which lines it runs; a mutant then only meets those that run its line,
# the quick ones first. What no test runs survives.

# No test of a mutant takes longer than five times what it took, and this.
MUTANT_SECONDS=20

# What was built of an earlier copy is kept.
copy_tree() {
  mkdir -p "$1"
  find "$1" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
  git ls-files -z | xargs -0 tar -cf - | tar -xf - -C "$1"
}

# in_copy SECONDS COMMAND...: bounded, its output in the log.
in_copy() {
  bound=$1
  shift
  (cd "$copy" && timeout -k 5 "$bound" "$@") >>"$copy/mutant.log" 2>&1 \
    </dev/null
}

# run_one TEST BUILD SECONDS: a test of C by its program's name, or a spec.
run_one() {
  case $1 in
    spec/*)
      in_copy "$3" env LUA_PATH="./lua/?.lua;./lua/?/init.lua;./?.lua;;" \
        LUA_CPATH="./build/$2/lib/lua/5.4/?.so;;" lua5.4 \
        "$(command -v busted)" --no-keep-going -o TAP "$1" ;;
    *) in_copy "$3" env UBSAN_OPTIONS=halt_on_error=1 "build/$2/tests/$1" ;;
  esac
}

c_tests() {
  ctest --test-dir "$copy/build/cover" -N | sed -n 's/^ *Test *#[0-9]*: //p'
}

specs() {
  (cd "$copy" && find spec -name '*_spec.lua' ! -path 'spec/chain/*' \
    ! -path 'spec/faults/*' ! -path 'spec/nvim/*' ! -path 'spec/editor/*' \
    ! -path 'spec/openresty/*' \
    ! -name suite_spec.lua | sort)
}

# cover TEST SOURCE: which lines it runs, in a file of its own; and how long it
# takes.
cover() {
  raw=$copy/raw
  rm -rf "$raw"
  mkdir -p "$raw"
  GCOV_PREFIX=$raw AW_COVER=$raw/lua LUA_INIT=@$ROOT/tools/mutate/cover.lua
  export GCOV_PREFIX AW_COVER LUA_INIT
  began=$(date +%s%N)
  run_one "$1" cover 600 || echo "mutate: $1 fails under observation"
  took=$((($(date +%s%N) - began) / 1000000))
  unset GCOV_PREFIX AW_COVER LUA_INIT
  find "$raw" -name '*.gcda' | while read -r counts; do
    notes=${counts#"$raw"}
    cp "${notes%.gcda}.gcno" "${counts%.gcda}.gcno" 2>/dev/null &&
      gcov -t "$counts" 2>/dev/null
  done | cat - $([ ! -f "$raw/lua" ] || echo "$raw/lua") |
    lua5.4 tools/mutate/lines.lua "$copy" >"$covered/$2"
  printf '%s\t%s\t%s\n' "$2" "$1" "$took" >>"$covered.tests"
}

# Each test once, and again when it has changed: files are named by its content.
cover_all() {
  covered=$BUILD/mutate/covered
  mkdir -p "$covered"
  touch "$covered.tests"
  in_copy 900 cmake -S . -B build/cover -DCMAKE_BUILD_TYPE=Debug \
    -DCMAKE_C_FLAGS=--coverage -DAW_TESTS=ON -DAW_LUA51=OFF || return 1
  built=no
  for each in $(c_tests) $(specs); do
    case $each in
      spec/*) source=$each ;;
      *) source=tests/$(echo "$each" | sed 's,_,/test_,').c ;;
    esac
    name=$(git hash-object "$source")
    [ ! -f "$covered/$name" ] || continue
    [ $built = yes ] ||
      in_copy 1800 cmake --build build/cover -j "$JOBS" || return 1
    built=yes
    cover "$each" "$name"
  done
}

# who_knows FILE LINE: tests that run it, or what is nearest to it, with the
# seconds they may take. Those that bear the file's name go first, then the
# quick ones.
who_knows() {
  name=$(basename "$1" | sed 's/\..*//; s/^aw_//; s/^_//')
  lua5.4 tools/mutate/lines.lua "$whole" "$1" "$2" >"$copy.lines"
  while read -r known; do
    (cd "$covered" && grep -lxF "$known" -- *) && break
  done <"$copy.lines" |
    awk -F '\t' -v name="$name" 'NR == FNR { known[$1] = 1; next }
      known[$1] { print index($2, name) ? 0 : 1, int($3), $2 }' \
      - "$covered.tests" | sort -k 1,1n -k 2,2n |
    awk -v more=$MUTANT_SECONDS '{ print $3, int($2 / 200) + more }'
}

# build_for TEST: what it is run with. The first test of C is built alone, for it
# most often knows, then all others. Fails when the mutant does not compile.
build_for() {
  case $1 in
    spec/*) flavour=release targets=all ;;
    *) flavour=c targets=$1 ;;
  esac
  case " $built " in
    *" $flavour:others "*) return 0 ;;
    *" $flavour "*)
      targets=$(awk '$1 !~ /^spec/ { print $1 }' "$copy.tests")
      built="$built $flavour:others" ;;
    *) built="$built $flavour" ;;
  esac
  [ $flavour = c ] || built="$built $flavour:others"
  in_copy 900 cmake --build "build/$flavour" -j "$JOBS" --target $targets
}

# judge: caught by whom, survived, unseen or stillborn (it does not compile).
judge() {
  : >"$copy/mutant.log"
  built=
  case $file in *.lua) built=release:others ;; esac
  verdict=unseen
  who_knows "$file" "$line" >"$copy.tests"
  while read -r each seconds; do
    verdict=survived
    build_for "$each" || { echo stillborn && return; }
    run_one "$each" $flavour "$seconds" || { echo "caught $each" && return; }
  done <"$copy.tests"
  echo $verdict
}

prepare_copy() {
  copy_tree "$whole" && copy_tree "$copy" && cover_all &&
    in_copy 900 cmake -S . -B build/c -DCMAKE_BUILD_TYPE=Debug -DAW_TESTS=ON \
      -DAW_SANITIZE=ON -DAW_LUA54=OFF -DAW_LUA51=OFF &&
    in_copy 1800 cmake --build build/c -j "$JOBS" &&
    in_copy 900 cmake -S . -B build/release -DAW_LUA51=OFF &&
    in_copy 1800 cmake --build build/release -j "$JOBS"
}

run_mutants() {
  count=${1:-100} seed=${2:-1} pattern=${3:-.}
  need_packages $BUILD_PACKAGES $C_TEST_PACKAGES $SPEC_PACKAGES || return 1
  copy=$BUILD/mutate/tree whole=$BUILD/mutate/whole
  mkdir -p "$BUILD/mutate"
  echo "preparing a copy of the tree, and which test runs what"
  prepare_copy || { tail -n 40 "$copy/mutant.log"; return 1; }
  report=$BUILD/mutate/report-$seed.tsv
  : >"$report"
  if [ -f "$count" ]; then
    cat "$count"
  else
    lua5.4 tools/mutate/plant.lua choose "$seed" "$count" "$pattern"
  fi |
    while IFS="$(printf '\t')" read -r file line rule text; do
      lua5.4 tools/mutate/plant.lua plant "$copy/$file" "$line" "$text"
      verdict=$(judge)
      printf '%s\t%s:%s\t%s\t%s\n' "$verdict" "$file" "$line" "$rule" "$text" |
        tee -a "$report"
      cp "$whole/$file" "$copy/$file"
    done
  awk -F '\t' '{ split($1, word, " "); n[word[1]]++ }
    END { printf "%d caught, %d survived, %d of no test, %d did not compile\n",
      n["caught"], n["survived"], n["unseen"], n["stillborn"] }' "$report"
}
