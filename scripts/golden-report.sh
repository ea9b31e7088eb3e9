#!/bin/sh
# Replaces the generated part of docs/numerics.md with the output of PROGRAM.
set -eu
program=$1
page=docs/numerics.md
report=$(mktemp)
trap 'rm -f "$report" "$report.page"' EXIT
"$program" >"$report"
awk -v report="$report" '
  /<!-- golden-report begins -->/ { print; print ""; while ((getline line < report) > 0) print line; print ""; skip = 1 }
  /<!-- golden-report ends -->/ { skip = 0 }
  !skip || /<!-- golden-report begins -->/ { if (!/begins -->/) print }
' "$page" >"$report.page"
cat "$report.page" >"$page"
echo "$page: updated"
