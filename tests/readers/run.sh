#!/bin/sh
# Writes a small GGUF file of every type with `dsv4 synth` and compares what the public Python reader
# finds in it with what dsv4 reads. Usage: tests/readers/run.sh BUILD_DIR PYTHON
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

# The error for an unknown type lists the known ones.
types=$("$build/dsv4" synth --config "$here/config.json" --type none -o "$work/none" 2>&1 |
  sed -n 's/.*there are //p' | tr -d ,)
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
exit $status
