# shellcheck shell=sh
# bench/NAME.lua, or bench/NAME/run.sh with the tree's modules in reach.

list_benches() {
  for bench in bench/*.lua bench/*/run.sh; do
    [ -e "$bench" ] || continue
    bench=${bench#bench/}
    bench=${bench%/run.sh}
    echo "  ${bench%.lua}"
  done
}

run_bench() {
  if [ $# -eq 0 ]; then
    echo "./dev bench NAME [ARGUMENT...], where NAME is one of"
    list_benches
    return 0
  fi
  name=$1
  shift
  need_packages $BUILD_PACKAGES && build_release || return 1
  if [ -f "bench/$name/run.sh" ]; then
    with_lua 5.4 sh "bench/$name/run.sh" "$@"
  elif [ -f "bench/$name.lua" ]; then
    with_lua 5.4 lua5.4 "bench/$name.lua" "$@"
  else
    echo "dev: no benchmark '$name'; there are" >&2
    list_benches >&2
    return 2
  fi
}
