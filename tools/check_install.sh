#!/bin/sh
# The two ways to install give the same files, and a module that loads from
# there alone. As TAP.
#
#   sh tools/check_install.sh BUILD      BUILD/release is built, for both Luas
set -u
build=$1
work=$build/install
number=0

# report STATUS NAME [FILE]: FILE explains a failure.
report() {
  number=$((number + 1))
  if [ "$1" -eq 0 ]; then
    echo "ok $number - $2"
    return
  fi
  echo "not ok $number - $2"
  [ -z "${3:-}" ] || sed 's/^/# /' "$3" | tail -n 40
}

# installed_files TREE VERSION: without what LuaRocks keeps for itself.
installed_files() {
  (cd "$1" && find "lib/lua/$2" "share/lua/$2" -type f | LC_ALL=C sort)
}

# loads_from TREE VERSION INTERPRETER: with no other place to look.
loads_from() {
  (cd / && env -u LUA_INIT -u LUA_PATH_5_4 -u LUA_CPATH_5_4 \
    LUA_PATH="$1/share/lua/$2/?.lua;$1/share/lua/$2/?/init.lua" \
    LUA_CPATH="$1/lib/lua/$2/?.so" \
    "$3" -e 'assert(type(require("agentwire").connect) == "function")')
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

# A copy: the builds of LuaRocks stay out of the tree.
rm -rf "$work"
mkdir -p "$work/source"
cp -r CMakeLists.txt ./*.rockspec bin csrc lua "$work/source" || exit 1

echo 1..10
cmake --install "$build/release" --prefix "$work/cmake" >"$work/log" 2>&1
report $? "cmake installs" "$work/log"
for version in 5.4 5.1; do
  (cd "$work/source" && luarocks --lua-version $version --tree "$work/rocks" \
    make --deps-mode none) >"$work/log" 2>&1
  report $? "luarocks makes it for Lua $version" "$work/log"
  installed_files "$work/cmake" $version >"$work/cmake.files"
  installed_files "$work/rocks" $version >"$work/rocks.files"
  diff -u "$work/cmake.files" "$work/rocks.files" >"$work/log" 2>&1 &&
    grep -q "^lib/lua/$version/agentwire/core.so$" "$work/cmake.files"
  report $? "both install the same files for Lua $version" "$work/log"
done
for pair in "5.4 lua5.4" "5.1 luajit"; do
  status=0
  for tree in cmake rocks; do
    loads_from "$work/$tree" ${pair} >"$work/log" 2>&1 || status=1
  done
  report $status "${pair#* } loads it from both" "$work/log"
done

status=0
: >"$work/log"
for tree in cmake rocks; do
  for version in 5.4 5.1; do
    is_hardened "$work/$tree/lib/lua/$version/agentwire/core.so" \
      >>"$work/log" 2>&1 || status=1
  done
done
report $status "all of them are hardened" "$work/log"

# It finds the module beside itself, and an interpreter that has it.
status=0
: >"$work/log"
for tree in cmake rocks; do
  (cd / && env -u LUA_INIT -u LUA_PATH -u LUA_CPATH -u LUA_PATH_5_4 \
    -u LUA_CPATH_5_4 "$work/$tree/bin/agentwire" version) >>"$work/log" 2>&1 ||
    status=1
done
[ "$(sort -u "$work/log" | grep -c '^agentwire [0-9]')" -eq 1 ] || status=1
report $status "the command runs from both" "$work/log"

# Its ABI is LuaJIT's, but no wait of ours crosses its pcall.
loads_from "$work/rocks" 5.1 lua5.1 >"$work/log" 2>&1
grep -q "agentwire needs LuaJIT or Lua 5.4; this is Lua 5.1" "$work/log"
report $? "lua5.1 refuses it in one sentence" "$work/log"
