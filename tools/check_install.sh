#!/bin/sh
# All ways to install give the same files, and a module that works from there
# alone: CMake, LuaRocks from a checkout, from a source rock of a tag, from a
# packed binary rock. As TAP.
#
#   sh tools/check_install.sh BUILD      BUILD/release is built, for both Luas
set -u
build=$1
work=$build/install
number=0
TREES="cmake checkout source packed"
# What a rock is packed with. LuaRocks' own flags have neither.
HARDENED="-O2 -fPIC -fstack-protector-strong"
HARDENED_LINK="-shared -Wl,-z,relro,-z,now"

# report STATUS NAME [FILE]: FILE explains a failure.
report() {
  number=$((number + 1))
  if [ "$1" -eq 0 ]; then
    echo "ok $number - $2"
    return
  fi
  echo "not ok $number - $2"
  [ -z "${3:-}" ] || tail -n 40 "$3" | cut -c 1-300 | sed 's/^/# /'
}

# step NAME COMMAND...: in the folder of one Lua, to be reported later.
step() {
  name=$1
  shift
  ("$@") >"$name.log" 2>&1
  echo $? >"$name.status"
}

# reported VERSION STEP TEXT
reported() {
  status=$(cat "$work/$1/$2.status" 2>/dev/null || echo 1)
  report "$status" "$3" "$work/$1/$2.log"
}

# A proxy that is not there: nothing is to be fetched.
rocks() {
  http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 \
    luarocks --lua-version "$version" "$@"
}

from_checkout() {
  cp -r "$work/repository" checkout-source && cd checkout-source &&
    rocks --tree ../checkout make && [ -z "$(git status --porcelain)" ]
}

# fails_with TEXT COMMAND...
fails_with() {
  text=$1
  shift
  if "$@" >fails.log 2>&1; then
    echo "it did not fail: $*"
    return 1
  fi
  cat fails.log
  grep -q "$text" fails.log
}

# Where LuaRocks is told that another libuv is, there it is looked for: a
# compiler that fails at once leaves its command to be read.
other_libuv() {
  mkdir -p other/include && touch other/include/uv.h
  cd checkout-source && fails_with "^false .* -I$PWD/../other/include" \
    rocks --tree ../none make LIBUV_INCDIR="$PWD/../other/include" CC=false
}

missing_libuv() {
  cd checkout-source && fails_with "Could not find header file for LIBUV" \
    rocks --tree ../none make LIBUV_DIR="$PWD/nothing"
}

# make_all VERSION: everything of LuaRocks for one Lua.
make_all() {
  version=$1
  cd "$work/$version" || return 1
  step checkout from_checkout
  step source rocks --tree source install "$work/$rock.src.rock" \
    CFLAGS="$HARDENED" LIBFLAG="$HARDENED_LINK"
  step pack rocks --tree source pack agentwire
  step packed rocks --tree packed install "$PWD"/agentwire-*.linux-*.rock
  step missing missing_libuv
  step other other_libuv
}

# A repository of its own, with the release's tag. What is packed is what is in
# the tree, committed or not.
make_repository() {
  mkdir -p "$work/repository" &&
    cp -r .gitignore CMakeLists.txt CHANGELOG.md LICENSE README.md ./*.rockspec \
      bin csrc doc docs examples lua "$work/repository" && cd "$work/repository" &&
    git init -q . && git add . &&
    git -c user.name=test -c user.email=test@localhost commit -q -m release &&
    git tag "v$(cd "$here" && lua5.4 tools/rockspec.lua name |
      sed 's/agentwire-//; s/-1$//')"
}

# The release's rockspec, of a change log that has the release in it.
make_source_rock() {
  version_of_tree=$(lua5.4 tools/rockspec.lua name | sed 's/agentwire-//; s/-1$//')
  url=git+file://$work/repository
  mkdir -p "$work/release" && cp -r CMakeLists.txt csrc lua tools "$work/release" &&
    sed "s/^## \[Unreleased\]/## [$version_of_tree]/" CHANGELOG.md \
      >"$work/release/CHANGELOG.md" &&
    (cd "$work/release" && lua5.4 tools/rockspec.lua release "$url" \
      "v$version_of_tree") >"$work/$rock.rockspec" &&
    cd "$work" && luarocks pack "$rock.rockspec"
}

# installed_files TREE VERSION: without what LuaRocks keeps for itself.
installed_files() {
  (cd "$1" && find bin "lib/lua/$2" "share/lua/$2" -type f | LC_ALL=C sort)
}

# tree_of KIND VERSION
tree_of() {
  [ "$1" = cmake ] && echo "$work/cmake" || echo "$work/$2/$1"
}

# run_from TREE VERSION COMMAND...: with no other place to look.
run_from() {
  tree=$1 lua=$2
  shift 2
  (cd / && env -u LUA_INIT -u LUA_PATH_5_4 -u LUA_CPATH_5_4 \
    LUA_PATH="$tree/share/lua/$lua/?.lua;$tree/share/lua/$lua/?/init.lua" \
    LUA_CPATH="$tree/lib/lua/$lua/?.so" "$@")
}

# runs_example VERSION COMMAND...: of each tree; the last argument is the file.
runs_example() {
  lua=$1
  shift
  for kind in $TREES; do
    echo "$kind:"
    run_from "$(tree_of "$kind" "$lua")" "$lua" timeout 60 "$@" 2>&1 |
      tee "$work/example" || return 1
    grep -q "stop reason: stop" "$work/example" || return 1
  done
}

# is_hardened MODULE: stack protector, checked copies, and nothing that is
# looked up later stays writable. Says what is missing.
is_hardened() {
  { readelf -dlW "$1" && readelf -sW --dyn-syms "$1"; } >"$work/elf" || return 1
  for mark in __stack_chk_fail __memcpy_chk BIND_NOW GNU_RELRO; do
    grep -q "$mark" "$work/elf" && continue
    echo "$1 has no $mark"
    return 1
  done
}

exports_one_name() {
  nm -D --defined-only "$1" | sed 's/.* //' >"$work/names"
  [ "$(cat "$work/names")" = luaopen_agentwire_core ] && return
  echo "$1 has these dynamic symbols:" && cat "$work/names"
  return 1
}

# each_module COMMAND KIND...: of the module of both Luas.
each_module() {
  command=$1 each_status=0
  shift
  for kind in "$@"; do
    for version in 5.4 5.1; do
      "$command" "$(tree_of "$kind" $version)/lib/lua/$version/agentwire/core.so" ||
        each_status=1
    done
  done
  return $each_status
}

same_files() {
  installed_files "$work/cmake" "$1" >"$work/cmake.files"
  grep -q "^lib/lua/$1/agentwire/core.so$" "$work/cmake.files" || return 1
  for kind in $TREES; do
    installed_files "$(tree_of "$kind" "$1")" "$1" >"$work/$kind.files"
    diff -u "$work/cmake.files" "$work/$kind.files" || return 1
  done
}

rm -rf "$work"
mkdir -p "$work/5.4" "$work/5.1"
here=$PWD
rock=$(lua5.4 tools/rockspec.lua name)

cmake --install "$build/release" --prefix "$work/cmake" >"$work/log" 2>&1
report $? "cmake installs" "$work/log"
(make_repository && cd "$here" && make_source_rock) >"$work/log" 2>&1
report $? "a tag is packed as a source rock" "$work/log"
(make_all 5.4) &
(make_all 5.1) &
wait
for version in 5.4 5.1; do
  reported $version checkout \
    "luarocks makes it for Lua $version in a checkout, which stays clean"
  reported $version source "luarocks builds the source rock for Lua $version"
  reported $version pack "a binary rock is packed for Lua $version"
  reported $version packed "it installs into an empty tree for Lua $version"
  reported $version missing "a libuv that is not there is named, Lua $version"
  reported $version other "the libuv that LuaRocks names is taken, Lua $version"
  same_files $version >"$work/log" 2>&1
  report $? "all ways install the same files for Lua $version" "$work/log"
done

example=$here/examples/01_stream.lua
for pair in "5.4 lua5.4" "5.1 luajit"; do
  runs_example ${pair} "$example" >"$work/log" 2>&1
  report $? "${pair#* } runs an example from each" "$work/log"
done
# A host that is not there is left out, and told.
if command -v nvim >/dev/null; then
  runs_example 5.1 nvim -u NONE --headless +"lua arg = {}" \
    +"luafile $example" +qa! >"$work/log" 2>&1
  report $? "nvim runs an example from each" "$work/log"
else
  echo "# there is no nvim: its example is left out"
fi

# The example of embedding, in Lua's own library.
embedded() {
  cc -o "$work/embed" "$here/examples/embed.c" -Wl,-E \
    $(pkg-config --cflags --libs lua5.4) &&
    runs_example 5.4 "$work/embed" "$example"
}
embedded >"$work/log" 2>&1
report $? "a program in C with a loop of its own runs it" "$work/log"

each_module exports_one_name $TREES >"$work/log" 2>&1
report $? "none of the modules has another dynamic symbol than its entry" "$work/log"
each_module is_hardened cmake source packed >"$work/log" 2>&1
report $? "what CMake installs and what is packed is hardened" "$work/log"

# It finds the module beside itself, and an interpreter that has it.
commands_run() {
  for kind in $TREES; do
    for version in 5.4 5.1; do
      (cd / && env -u LUA_INIT -u LUA_PATH -u LUA_CPATH -u LUA_PATH_5_4 \
        -u LUA_CPATH_5_4 "$(tree_of "$kind" $version)/bin/agentwire" version) ||
        return 1
    done
  done
}
commands_run >"$work/log" 2>&1 &&
  [ "$(sort -u "$work/log" | grep -c '^agentwire [0-9]')" -eq 1 ]
report $? "the command of each runs" "$work/log"

# Its ABI is LuaJIT's, but no wait of ours crosses its pcall.
run_from "$work/5.1/packed" 5.1 lua5.1 -e 'require("agentwire")' >"$work/log" 2>&1
grep -q "agentwire needs LuaJIT or Lua 5.4; this is Lua 5.1" "$work/log"
report $? "lua5.1 refuses it in one sentence" "$work/log"
echo "1..$number"
