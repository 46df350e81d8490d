# shellcheck shell=sh
# Builds, and the environment in which the tree's own module is found.

c_files() {
  find csrc tests examples -name '*.[ch]' | sort
}

# build_flavour NAME TARGET CMAKE_ARGUMENT...: output only if it fails.
build_flavour() {
  flavour=$1 target=$2
  shift 2
  mkdir -p "$BUILD/log"
  log=$BUILD/log/build-$flavour.log
  if cmake -S "$ROOT" -B "$BUILD/$flavour" "$@" >"$log" 2>&1 </dev/null &&
    cmake --build "$BUILD/$flavour" -j "$JOBS" \
      --target "$target" >>"$log" 2>&1; then
    return 0
  fi
  grep -E -A8 'error:|undefined reference|CMake Error|[*]{3}' "$log" |
    head -n 80
  echo "dev: build/$flavour failed; all of it is in build/log" >&2
  return 1
}

lua51_here() {
  pkg-config --exists lua5.1 && echo ON || echo OFF
}

build_release() {
  build_flavour release all -DCMAKE_BUILD_TYPE=Release \
    -DAW_LUA51="$(lua51_here)"
}

# What takes the place of what Linux has alone, as macOS would compile it.
compile_plain_posix() {
  for file in csrc/net/os/*.c; do
    gcc -std=c11 -Wall -Wextra -Werror -fsyntax-only -D_GNU_SOURCE \
      -DAW_PLAIN_COMPILES -include tests/net/plain_posix.h -Icsrc/net/os \
      -Icsrc/core/base "$file" || return 1
  done
}

# With another C library. What is built is not run: the libraries beside it are
# the system's. Their headers are taken aside, away from those of its libc.
build_musl() {
  headers=$BUILD/musl-headers
  rm -rf "$headers"
  mkdir -p "$headers"
  for found in /usr/include/uv.h /usr/include/uv /usr/include/openssl \
    /usr/include/*-linux-*/openssl /usr/include/*-linux-*/curl /usr/include/*-linux-*/lua5*.h; do
    [ ! -e "$found" ] || cp -rp "$found" "$headers" || return 1
  done
  # What libcurl names as the folder of its headers has those of the libc, too.
  PKG_CONFIG_SYSTEM_INCLUDE_PATH=$(echo /usr/include /usr/include/*-linux-* |
    tr ' ' ':') CFLAGS="-isystem $headers" build_flavour musl all -DAW_WERROR=ON \
    -DCMAKE_C_COMPILER=musl-gcc -DOPENSSL_INCLUDE_DIR="$headers" \
    -DAW_LUA51="$(lua51_here)"
}

# become_lua VERSION COMMAND...: finds the modules of this tree and no others'.
# The shell becomes the command, so that in the background its pid is $!.
become_lua() {
  lua_version=$1
  shift
  exec env -u LUA_INIT -u LUA_INIT_5_4 -u LUA_PATH_5_4 -u LUA_CPATH_5_4 \
    -u AGENTWIRE_TRACE \
    LUA_PATH="$ROOT/lua/?.lua;$ROOT/lua/?/init.lua;$ROOT/?.lua;;" \
    LUA_CPATH="$BUILD/release/lib/lua/$lua_version/?.so;;" "$@"
}

with_lua() {
  (become_lua "$@")
}
