# shellcheck shell=sh
# Four processes on loopback: provider, agent, tool server, client.

DEMO=$ROOT/examples/demo
READY_SECONDS=20
demo_pids=
demo_dir=

stop_demo() {
  trap '' INT TERM
  for pid in $demo_pids; do
    kill "$pid" 2>/dev/null
  done
  for pid in $demo_pids; do
    wait "$pid" 2>/dev/null
  done
  demo_pids=
  [ -z "$demo_dir" ] || rm -rf "$demo_dir"
  demo_dir=
}

# start_part NAME ARGUMENT...: leaves its first line in $ready. The reader of
# the pipe stays open, so that a later line of the part does not end it.
start_part() {
  part=$1
  shift
  mkfifo "$demo_dir/$part" || return 1
  become_lua 5.4 lua5.4 "$DEMO/$part.lua" "$@" \
    >"$demo_dir/$part" 2>"$demo_dir/$part.err" </dev/null &
  part_pid=$!
  demo_pids="$demo_pids $part_pid"
  case $part in
    provider_server) exec 3<"$demo_dir/$part" && from=3 ;;
    agent_server) exec 4<"$demo_dir/$part" && from=4 ;;
    *) exec 5<"$demo_dir/$part" && from=5 ;;
  esac
  (
    sleep $READY_SECONDS &
    trap 'kill $!' TERM
    wait $! && kill $part_pid
  ) 2>/dev/null &
  watchdog=$!
  read -r ready <&$from
  status=$?
  kill $watchdog 2>/dev/null
  wait $watchdog 2>/dev/null
  if [ $status -ne 0 ]; then
    echo "dev: $part.lua did not get ready:" >&2
    cat "$demo_dir/$part.err" >&2
    return 1
  fi
}

say_no_adapters() {
  for variable in OPENAI_BASE_URL OPENAI_API_KEY ANTHROPIC_API_KEY \
    OLLAMA_HOST; do
    eval "value=\${$variable:-}"
    if [ -n "$value" ]; then
      echo "demo: $variable is set, but adapters for real models are not in" \
        "this version yet: the embedded scripted model answers"
    fi
  done
}

# A text file of the caller's folder that is worth a question.
interesting_file() {
  for candidate in README.md README README.txt ./*.md ./*.txt ./*.lua ./*.c; do
    if [ -f "$CALLER_DIR/$candidate" ]; then
      basename "$candidate"
      return
    fi
  done
}

# start_client ARGUMENT...: in the background, because a shell that waits for
# the foreground would hear of a signal only when that has ended.
start_client() {
  become_lua 5.4 lua5.4 "$DEMO/client.lua" "$@" <&6 &
  client=$!
  demo_pids="$client $demo_pids"
  wait $client
}

ask_demo() {
  if [ "$chat" = yes ]; then
    exec 6<&0
    echo "Ask about the files of $CALLER_DIR; Ctrl-D ends."
    start_client "$1" --chat
    return
  fi
  exec 6</dev/null
  file=$(interesting_file)
  second="Which file is the largest?"
  [ -z "$file" ] || second="What is $file about?"
  start_client "$1" "Which files are here?" "$second"
}

run_demo() {
  chat=no
  case "${1:-}" in
    --chat) chat=yes ;;
    '') ;;
    *)
      echo "usage: ./dev demo [--chat]" >&2
      return 2
      ;;
  esac
  need_packages $BUILD_PACKAGES || return 1
  say_no_adapters
  echo "demo: building"
  build_release || return 1
  trap stop_demo EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  demo_dir=$(mktemp -d) || return 1
  start_part provider_server 0 || return 1
  echo "demo: provider server $ready (pid $part_pid)"
  start_part agent_server 0 "$ready" || return 1
  agent=$ready
  echo "demo: agent server    $agent (pid $part_pid)"
  start_part tool_executor "$agent" "$CALLER_DIR" || return 1
  echo "demo: tool server     $ready (pid $part_pid)"
  ask_demo "$agent"
}
