#!/bin/sh
# Writes a small GGUF file of every type with `dsv4 synth`, and the bundled model in every type with
# `dsv4 quantize`, and compares what the public Python readers find in them with what dsv4 reads. Usage: tests/readers/run.sh BUILD_DIR PYTHON
set -eu

if [ $# -ne 2 ]; then
  echo "usage: tests/readers/run.sh BUILD_DIR PYTHON" >&2
  exit 2
fi
build=$1
python=$2
here=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The error for an unknown type lists the known ones, last those of safetensors.
types=$("$build/dsv4" synth --config "$here/config.json" --type none -o "$work/none" 2>&1 |
  sed -n 's/.*there are //p' | tr -d , | sed 's/ FP4 .*//')
[ -n "$types" ] || { echo "run.sh: cannot list the types" >&2; exit 1; }

status=0
for type in $types; do
  "$build/dsv4" synth --config "$here/config.json" --type "$type" -o "$work/$type" 2> /dev/null
  "$build/tests/readers/dump_f32" "$work/$type" "$work/$type.safetensors"
  # The type that the mix is named after: Q4_K_M has tensors of Q4_K.
  "$python" "$here/check_gguf.py" "$work/$type/model.gguf" "$work/$type.safetensors" \
    --config "$here/config.json" --types "${type%_[SM]}" || status=1
  rm -rf "$work/$type" "$work/$type.safetensors"
done

mini=$here/../../models/mini
"$build/dsv4" calibrate -m "$mini" --text "$mini/README.md" -o "$work/importance" > /dev/null
for type in $types; do
  "$build/dsv4" quantize -m "$mini" -o "$work/mini.gguf" --type "$type" \
    --importance "$work/importance" --json > /dev/null
  "$build/tests/readers/dump_f32" "$work/mini.gguf" "$work/mini.safetensors"
  "$python" "$here/check_gguf.py" "$work/mini.gguf" "$work/mini.safetensors" \
    --config "$mini/config.json" --types "${type%_[SM]}" || status=1
  rm -f "$work/mini.gguf" "$work/mini.safetensors"
done
for type in BF16 FP8 FP4 AWQ-INT4; do
  "$build/dsv4" quantize -m "$mini" -o "$work/$type" --type "$type" --format safetensors \
    --importance "$work/importance" --shard-size 0.003 --json > /dev/null
  "$build/tests/readers/dump_weights" "$work/$type" "$work/$type.safetensors"
  "$python" "$here/check_safetensors.py" "$work/$type" "$work/$type.safetensors" \
    --types "${type#AWQ-}" || status=1
done
exit $status
