#!/bin/sh
# A Debian with nothing on it: what the README says to install, the packed rocks
# of the lane install, and an example. As TAP; needs root, debootstrap and
# Debian's mirror.
#
#   sh tools/check_bare.sh BUILD [CODENAME]
set -u
build=$1
codename=${2:-bookworm}
work=$build/bare
root=$work/root
number=0
EXAMPLE=examples/01_stream.lua

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

# As this machine's apt has it.
mirror() {
  apt-get indextargets --format '$(REPO_URI) $(LABEL)' 'Created-By: Packages' |
    sed -n 's/ Debian$//p' | head -n 1
}

inside() {
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C \
    DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"
}

installs() {
  inside apt-get install -qy --no-install-recommends "$@"
}

# rock VERSION TREE FILE
rock() {
  inside luarocks --lua-version "$1" --tree "$2" install "$3"
}

# lacks TEXT: what a build says while something is not there.
lacks() {
  if rock 5.4 /none "$source_rock" >"$work/said" 2>&1; then
    echo "it was built"
    return 1
  fi
  cat "$work/said"
  grep -q "$1" "$work/said"
}

# runs_example VERSION INTERPRETER TREE: the rock's own copy of it.
runs_example() {
  inside env LUA_PATH="$3/share/lua/$1/?.lua;$3/share/lua/$1/?/init.lua" \
    LUA_CPATH="$3/lib/lua/$1/?.so" timeout 60 "$2" \
    "$3/lib/luarocks/rocks-$1/agentwire/$version-1/$EXAMPLE" >"$work/example"
  cat "$work/example"
  grep -q "stop reason: stop" "$work/example"
}

# in_51 COMMAND...: finds the rock for the 5.1 ABI.
in_51() {
  inside env LUA_PATH="/packed-5.1/share/lua/5.1/?.lua;/packed-5.1/share/lua/5.1/?/init.lua" \
    LUA_CPATH="/packed-5.1/lib/lua/5.1/?.so" timeout 60 "$@"
}

runs_in_nvim() {
  in_51 nvim -u NONE --headless +"lua arg = {}" +"luafile $rock_51/$EXAMPLE" \
    +qa! >"$work/example" 2>&1
  cat "$work/example"
  grep -q "stop reason: stop" "$work/example"
}

# What the example writes comes from nginx's own output and its log.
runs_in_nginx() {
  cat >"$root/nginx.conf" <<END
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
user root;
daemon off;
master_process off;
error_log stderr notice;
events {}
http {
  lua_package_path "/packed-5.1/share/lua/5.1/?.lua;/packed-5.1/share/lua/5.1/?/init.lua;;";
  lua_package_cpath "/packed-5.1/lib/lua/5.1/?.so;;";
  server {
    listen 127.0.0.1:17450;
    location / {
      content_by_lua_block {
        rawset(_G, "arg", {})
        assert(loadfile("$rock_51/$EXAMPLE"))() -- no wait crosses dofile
        ngx.say("carried out")
      }
    }
  }
}
END
  inside timeout 60 nginx -p / -c /nginx.conf >"$work/example" 2>&1 &
  inside timeout 50 bash -c '
    until exec 3<>/dev/tcp/127.0.0.1/17450; do sleep 0.1; done 2>/dev/null
    printf "GET / HTTP/1.0\r\n\r\n" >&3
    cat <&3
    kill "$(cat /run/nginx.pid)"' >"$work/answer"
  wait $!
  cat "$work/answer" "$work/example"
  grep -q "carried out" "$work/answer" &&
    grep -q "stop reason: stop" "$work/example"
}

has_no() {
  for tool in "$@"; do
    inside sh -c "command -v $tool" && return 1
  done
  return 0
}

version=$(lua5.4 tools/rockspec.lua name | sed 's/agentwire-//; s/-1$//')
source_rock=/rocks/agentwire-$version-1.src.rock
rm -rf "$work"
mkdir -p "$work"
log=$work/log
from=$(mirror)
began=$(date +%s)
debootstrap --variant=minbase "$codename" "$root" ${from:+"$from"} >"$log" 2>&1
report $? "debootstrap makes $codename" "$log"
echo "# $(du -sm "$root" | cut -f 1) MB, $(($(date +%s) - began)) s"
cp /etc/resolv.conf "$root/etc/resolv.conf"
mkdir -p "$root/rocks/5.4" "$root/rocks/5.1"
cp "$build"/install/agentwire-*.src.rock "$root/rocks"
cp "$build"/install/5.4/agentwire-*.rock "$root/rocks/5.4"
cp "$build"/install/5.1/agentwire-*.rock "$root/rocks/5.1"

began=$(date +%s)
installs lua5.4 luajit luarocks libuv1 libssl3 libcurl4 >"$log" 2>&1
report $? "apt installs what a packed rock needs" "$log"
echo "# $(du -sm "$root" | cut -f 1) MB, $(($(date +%s) - began)) s"
has_no gcc cmake pkg-config
report $? "there is no gcc, no CMake, no pkg-config"
for pair in "5.4 lua5.4" "5.1 luajit"; do
  lua=${pair% *}
  began=$(date +%s)
  packed=$(cd "$root" && ls "rocks/$lua"/agentwire-*.rock)
  rock "$lua" "/packed-$lua" "/$packed" >"$log" 2>&1
  report $? "luarocks installs the packed rock for Lua $lua" "$log"
  echo "# $(($(date +%s) - began)) s"
  runs_example ${pair} "/packed-$lua" >"$log" 2>&1
  report $? "${pair#* } runs the example" "$log"
  inside "/packed-$lua/bin/agentwire" version >"$log" 2>&1
  report $? "the command runs with it" "$log"
done

rock_51=/packed-5.1/lib/luarocks/rocks-5.1/agentwire/$version-1
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # nothing is started
chmod +x "$root/usr/sbin/policy-rc.d"
installs neovim nginx libnginx-mod-http-lua lua-resty-core \
  lua-resty-lrucache >"$log" 2>&1
report $? "apt installs Neovim and nginx" "$log"
runs_in_nvim >"$log" 2>&1
report $? "Neovim runs the example" "$log"
runs_in_nginx >"$log" 2>&1
report $? "nginx runs the example" "$log"

lacks "Failed finding Lua header files\|header file for LIBUV" >"$log" 2>&1
report $? "a build without headers says what it lacks" "$log"
installs liblua5.4-dev >"$log" 2>&1
lacks "Could not find header file for LIBUV" >"$log" 2>&1
report $? "it names libuv" "$log"
installs libuv1-dev >"$log" 2>&1
lacks "Could not find header file for OPENSSL" >"$log" 2>&1
report $? "it names OpenSSL" "$log"
installs libssl-dev >"$log" 2>&1
lacks "gcc: not found" >"$log" 2>&1
report $? "it names the compiler" "$log"
installs gcc >"$log" 2>&1
lacks "agentwire needs the headers of libcurl" >"$log" 2>&1
report $? "it names libcurl" "$log"
installs libcurl4-openssl-dev >"$log" 2>&1
began=$(date +%s)
rock 5.4 /built "$source_rock" >"$log" 2>&1
report $? "with gcc and the headers the source rock is built" "$log"
echo "# $(($(date +%s) - began)) s"
has_no cmake pkg-config make
report $? "there is still no CMake, no pkg-config, no make"
runs_example 5.4 lua5.4 /built >"$log" 2>&1
report $? "lua5.4 runs the example of what was built" "$log"
rm -rf --one-file-system "$root"
echo "1..$number"
