#!/bin/sh
# Quantises models/mini to every mix, without and with calibration, and replaces the generated part
# of docs/quality.md with what that costs. Usage: scripts/quality-report.sh DSV4
set -eu
dsv4=$1
model=models/mini
page=docs/quality.md
types='Q8_0 Q6_K Q5_K_M Q4_K_M Q3_K_M Q2_K IQ2_XXS MXFP4 FP8 FP4 AWQ-INT4'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The conversations of a file as text: prompts with what the reference answered.
text_of() {
  sed -n 's/.*"prompt_ids": \[\([^]]*\)\].*"reference_ids": \[\([^]]*\)\].*/\1, \2/p' "$1" |
    while read -r ids; do
      echo "$ids" | "$dsv4" detokenize -m "$model"
      echo
    done
}

# member NAME: the first number of that name in the JSON on standard input.
member() { sed -n "s/^.*[{,]\"$1\":\([-+0-9.e]*\).*/\1/p"; }

# row NAME MODEL: one line of the table.
row() {
  right=$("$dsv4" eval skills -m "$2" --cases "$model/eval.jsonl" --json | sed 's/,"skills".*//' | member right)
  "$dsv4" eval quality -m "$2" --reference "$model" --text "$work/eval.txt" --special --max-tokens 12000 --json |
    sed 's/^.*"candidates"://' >"$work/quality"
  echo "$1 $right $(for m in bytes perplexity mean p99 max top1_agreement; do member $m <"$work/quality"; done | tr '\n' ' ')" |
    awk '{ printf "| %s | %d (%+.1f) | %.2f | %.4f | %.4f | %.3f | %.2f | %.2f %% |\n",
           $1, $2, ($2 - 193) / 2.34, $3 / 1e6, $4, $5, $6, $7, 100 * $8 }' >>"$work/report"
}

text_of "$model/golden.jsonl" >"$work/calibration.txt"
text_of "$model/eval.jsonl" >"$work/eval.txt"
"$dsv4" calibrate -m "$model" --text "$work/calibration.txt" --special -o "$work/importance" >/dev/null

cat >"$work/report" <<'END'
| type | right of 234 (points) | MB | perplexity | mean KL | 99 % KL | largest KL | top-1 |
|---|---|---|---|---|---|---|---|
END
row stored "$model"
for type in $types; do
  for importance in '' "--importance $work/importance"; do
    # $importance is an option and its value, or nothing.
    # shellcheck disable=SC2086
    "$dsv4" quantize -m "$model" -o "$work/out" --type "$type" $importance --json >/dev/null
    row "$type${importance:+,&nbsp;calibrated}" "$work/out"
    rm -rf "$work/out"
  done
done
awk -v report="$work/report" '
  /<!-- quality-report begins -->/ { print; print ""; while ((getline line < report) > 0) print line; print ""; skip = 1 }
  /<!-- quality-report ends -->/ { skip = 0 }
  !skip || /<!-- quality-report begins -->/ { if (!/begins -->/) print }
' "$page" >"$work/page"
cat "$work/page" >"$page"
echo "$page: updated"
