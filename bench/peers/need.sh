# shellcheck shell=sh
# For peer.sh: what a peer needs, or the reason why it is left out. ROOT,
# PEERS and PEERS_BUILD come from run.sh.

leave_out() {
  echo "$*" >&2
  exit 1
}

need_command() {
  command -v "$1" >/dev/null || leave_out "$1 is not installed"
}

# need_debian PACKAGE...: with apt if missing.
need_debian() {
  cd "$ROOT" && . tools/dev/packages.sh
  need_packages "$@" >&2 || leave_out "no Debian package of: $*"
}

pinned_version() {
  node -p "require('$PEERS/package.json').dependencies['$1']"
}

# need_npm FOLDER NAME...: in the pinned versions, into PEERS_BUILD/FOLDER.
need_npm() {
  need_command node
  need_command npm
  folder=$PEERS_BUILD/$1
  shift
  wanted=
  for name in "$@"; do
    wanted="$wanted $name@$(pinned_version "$name")"
  done
  [ "$(cat "$folder/installed" 2>/dev/null)" != "$wanted" ] || return 0
  echo "installing with npm:$wanted" >&2
  mkdir -p "$folder"
  timeout 300 npm install --prefix "$folder" --no-save --no-package-lock \
    --no-audit --no-fund --loglevel=error $wanted >&2 ||
    leave_out "npm could not install:$wanted"
  echo "$wanted" >"$folder/installed"
}
