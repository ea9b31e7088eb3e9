#!/bin/sh
# Runs fuzz targets of a build made with the preset "fuzz".
# Usage: scripts/fuzz.sh BUILD_DIR NAME SECONDS   (an empty NAME runs all, one after the other)
# New inputs go to a temporary folder; an input that fails is left in BUILD_DIR/fuzz.
set -u

if [ $# -ne 3 ]; then
  echo "usage: scripts/fuzz.sh BUILD_DIR NAME SECONDS" >&2
  exit 2
fi
build=$1
seconds=$3
root=$(cd "$(dirname "$0")/.." && pwd)
names=$2
if [ -z "$names" ]; then
  names=$(ls "$root"/tests/fuzz/fuzz_*.cc | sed 's/.*fuzz_//; s/\.cc$//')
fi
mkdir -p "$build/fuzz"

status=0
for name in $names; do
  program=$build/tests/fuzz/fuzz_$name
  if [ ! -x "$program" ]; then
    echo "fuzz_$name: not built in $build (use the preset fuzz)" >&2
    status=1
    continue
  fi
  corpus=$(mktemp -d)
  log=$build/fuzz/$name.log
  cp "$root/tests/fuzz/corpus/$name"/* "$corpus"
  dictionary=$root/tests/fuzz/$name.dict
  if "$program" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 \
      -artifact_prefix="$build/fuzz/$name-" -print_final_stats=1 \
      $([ -f "$dictionary" ] && echo "-dict=$dictionary") "$corpus" >"$log" 2>&1; then
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    covered=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
    echo "fuzz_$name: clean, $runs runs in $seconds s, coverage $covered"
  else
    echo "fuzz_$name: FAILED; $(grep -m1 -E 'ERROR|CHECK|runtime error|Test unit' "$log") (see $log)"
    status=1
  fi
  rm -rf "$corpus"
done
exit $status
