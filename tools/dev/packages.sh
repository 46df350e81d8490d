# shellcheck shell=sh disable=SC2034,SC2153
# Which Debian packages each command needs, and how they come.

BUILD_PACKAGES="gcc libc6-dev make cmake pkg-config lua5.4 liblua5.4-dev
  libuv1-dev libssl-dev libcurl4-openssl-dev lua-cjson"
LINT_PACKAGES="cppcheck clang-format lua5.4 lua-check shellcheck"
MUSL_PACKAGES="musl-tools $BUILD_PACKAGES"
SPEC_PACKAGES="luajit liblua5.1-0-dev lua-busted lua-luv lua-cqueues python3
  openssl curl procps"
C_TEST_PACKAGES="libcmocka-dev"
FUZZ_PACKAGES="clang libclang-rt-14-dev"
VALGRIND_PACKAGES="valgrind libc6-dbg"
INSTALL_PACKAGES="luarocks lua5.1 git"
FAULT_PACKAGES="openssl iproute2"
NVIM_PACKAGES="neovim"
SCHEMA_PACKAGES="json-schema-test-suite"
OPENRESTY_PACKAGES="curl procps python3"
# Unpacked, not installed: nginx would start to serve, and its LuaJIT cannot be
# installed beside the one that all else has.
NGINX_PACKAGES="nginx nginx-common libnginx-mod-http-lua libnginx-mod-http-ndk
  libluajit2-5.1-2 libluajit2-5.1-common lua-resty-core lua-resty-lrucache"

# The tests' independent WebSocket peer, and the gate's baseline.
C_TEST_PACKAGES="$C_TEST_PACKAGES libwebsockets-dev libwebsockets-evlib-uv"

is_installed() {
  dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q ' installed$'
}

# The build asks pkg-config, which says itself what it misses.
warn_without_apt() {
  command -v lua5.4 >/dev/null && command -v cmake >/dev/null && return 0
  echo "dev: this is not Debian; install what these packages have:" >&2
  echo "  $*" >&2
  return 1
}

install_with() {
  "$@" && return 0
  echo "dev: trying again with fresh package lists" >&2
  $AS_ROOT apt-get update -q && "$@"
}

# need_packages NAME...: installs those that are missing.
need_packages() {
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    warn_without_apt "$@"
    return
  fi
  missing=
  for package in "$@"; do
    is_installed "$package" || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  AS_ROOT=
  if [ "$(id -u)" -ne 0 ]; then
    AS_ROOT=sudo
    if ! command -v sudo >/dev/null; then
      echo "dev: missing, and neither root nor sudo to install:$missing" >&2
      return 1
    fi
  fi
  echo "dev: installing with apt:$missing"
  # Lists of a fresh machine are empty: asking first saves a failed attempt.
  if ! apt-cache show --no-all-versions $missing >/dev/null 2>&1; then
    $AS_ROOT apt-get update -q || return 1
  fi
  install_with $AS_ROOT env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qy -o Dpkg::Use-Pty=0 --no-install-recommends \
    $missing </dev/null || {
    echo "dev: apt could not install:$missing" >&2
    return 1
  }
}

download_packages() {
  folder=$1
  shift
  rm -rf "$folder"
  mkdir -p "$folder"
  chmod a+rwx "$folder" # apt downloads as another user, where it may
  (cd "$folder" && apt-get download -q "$@") >/dev/null 2>&1
}

# unpack_packages FOLDER NAME...: below FOLDER/root, once. Nothing is installed.
unpack_packages() {
  into=$1
  shift
  [ ! -d "$into/root" ] || return 0
  AS_ROOT=
  [ "$(id -u)" -eq 0 ] || AS_ROOT=sudo
  echo "dev: downloading, to be unpacked into $into: $*"
  download_packages "$into/debs" "$@" ||
    { $AS_ROOT apt-get update -q && download_packages "$into/debs" "$@"; } ||
    return 1
  for package in "$into"/debs/*.deb; do
    dpkg -x "$package" "$into/part" || return 1
  done
  mv "$into/part" "$into/root"
}
