#!/bin/sh
# Measures the kernels, or three layers of Flash stored in several ways, and prints the tables.
# Usage: scripts/bench.sh DSV4 OUT_DIR kernels|model
# Rows are kept as OUT_DIR/*.jsonl. Environment: TYPES picks some of the files below; PRESET and
# LAYERS another model; KEEP=1 keeps the files, 6 to 13 GB each and otherwise one at a time;
# ARGS are further options, such as --threads 1.
set -eu

if [ $# -ne 3 ]; then
  echo "usage: scripts/bench.sh DSV4 OUT_DIR kernels|model" >&2
  exit 2
fi
dsv4=$1
out=$2
label=$(git describe --always --dirty 2>/dev/null || echo "no commit")
mkdir -p "$out"

# bench NAME OPTIONS...: a run as $out/NAME.jsonl, which an interrupted one does not replace.
bench() {
  name=$1
  shift
  echo "bench: $name" >&2
  # shellcheck disable=SC2086
  "$dsv4" bench --json --label "$label" "$@" ${ARGS:-} >"$out/$name.part"
  mv "$out/$name.part" "$out/$name.jsonl"
  "$dsv4" bench --markdown --replay "$out/$name.jsonl"
}

# The options of dsv4 synth for a file of our list, or for a type.
synth_options() {
  case $1 in
    native) echo "--type native" ;;
    Q4_K-BF16) echo "--type Q4_K --head BF16" ;;
    MXFP4) echo "--type MXFP4 --head Q8_0" ;;
    *) echo "--type $1" ;;
  esac
}

bench_model() {
  model=$out/$1
  [ -d "$model" ] || trap 'rm -rf "$model"' EXIT INT TERM
  if [ ! -d "$model" ]; then
    # shellcheck disable=SC2046
    "$dsv4" synth --preset "${PRESET:-flash}" --layers "${LAYERS:-0,2,3}" --no-mtp \
      $(synth_options "$1") -o "$model" >&2
  fi
  bench "model-$1" -m "$model"
  [ "${KEEP:-0}" = 1 ] || rm -rf "$model"
  trap - EXIT INT TERM
}

case $3 in
  kernels) bench kernels ;;
  model)
    for name in ${TYPES:-Q4_K Q4_K-BF16 MXFP4 IQ2_XXS native}; do
      bench_model "$name"
    done
    ;;
  *) echo "scripts/bench.sh: kernels or model, not $3" >&2; exit 2 ;;
esac
