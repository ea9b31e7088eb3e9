#!/bin/sh
# Agents' prefixes after kill -9: the server is killed in the middle of their conversations, started
# again, and asked the same once more. Usage: restart_test.sh DSV4 SOURCE_DIR
set -u
dsv4=$1
source=$2
work=$(mktemp -d)
export XDG_STATE_HOME="$work/state"
pid=
trap '[ -n "$pid" ] && kill -9 $pid 2>/dev/null; rm -rf "$work"' EXIT

start() {
  rm -f "$work/port"
  "$dsv4" serve -m "$source/models/mini" --port 0 --port-file "$work/port" --quiet \
    --state-memory 24M --cache-dir "$work/cache" >"$work/log" 2>&1 &
  pid=$!
  while [ ! -f "$work/port" ]; do
    kill -0 $pid 2>/dev/null || { cat "$work/log"; exit 1; }
    sleep 0.05
  done
  url=http://127.0.0.1:$(cat "$work/port")
}

agents() {
  "$dsv4" bench serve --url "$url" --concurrency 12 --conversations 12 --turns 8 --tools \
    --prompt-words 20..60 --result-words 10..40 --system-words 200 --max-tokens 40 --seed 3 --json
}

share_of() { sed -n 's/.*"kind":"serve_summary".*"'"$1"'":\([0-9.]*\),.*/\1/p'; }

start
agents >"$work/first" || { echo "FAILED: a reply was not whole"; exit 1; }
kill -9 $pid
wait $pid 2>/dev/null
start
agents >"$work/second" || { echo "FAILED: a reply was not whole after the restart"; exit 1; }
first=$(share_of cached_share_of_reusable <"$work/first")
second=$(share_of cached_share <"$work/second")
echo "of the reusable tokens $first were cached; after the restart $second of all"
awk -v a="$first" -v b="$second" 'BEGIN { exit !(a >= 0.98 && b >= 0.95) }'
