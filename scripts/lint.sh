#!/bin/sh
# The rules of docs/architecture.md that no compiler knows: format, levels of inclusion, headers
# that compile alone, sizes, words that do not belong in the repository, and symbols that leak out
# of a build for one instruction set (of the build folder $BUILD, if it is there). Prints every
# violation as "file:line: message" and fails if there is one. Needs git, clang-format-14 and g++.
set -eu
cd "$(dirname "$0")/.."

MAX_FILE_LINES=600
MAX_FUNCTION_LINES=80
BUILD=${BUILD:-build/release}

# Exceptions to the sizes: a path and the reason, one a line.
SIZE_EXCEPTIONS='
'

# Tracked files that match the patterns and are there.
files() {
  git ls-files -- "$@" | while read -r file; do
    if [ -f "$file" ]; then echo "$file"; fi
  done
}

check_format() {
  files '*.cc' '*.h' | xargs -r -P2 -n16 clang-format-14 --dry-run -Werror 2>&1 |
    sed -n 's/^\([^:]*:[0-9]*\):[0-9]*: error: .*/\1: differs from clang-format-14 (make format)/p' |
    sort -u
}

# A file of src may include its own folder and folders of lower levels, never of its own level.
check_levels() {
  files 'src/*.cc' 'src/*.h' | xargs -r awk '
    BEGIN {
      n = split("base:0 tensor:1 formats:2 quant:2 text:2 kernels:3 cache:3 grammar:3 model:4 " \
                "engine:5 synth:5 quantize:5 plan:6 server:6 bench:7 eval:7 cli:8", pairs, " ")
      for (i = 1; i <= n; ++i) {
        split(pairs[i], pair, ":")
        level[pair[1]] = pair[2]
      }
    }
    /^[ \t]*#[ \t]*include[ \t]*"/ {
      split(FILENAME, path, "/")
      from = path[2]
      split($0, quoted, "\"")
      to = quoted[2]
      sub("/.*", "", to)
      where = FILENAME ":" FNR ": "
      if (!(from in level)) print where "folder " from " has no level in scripts/lint.sh"
      else if (!(to in level)) print where "include \"" quoted[2] "\" by its path from src"
      else if (from != to && level[to] >= level[from])
        print where from " (level " level[from] ") includes " to " (level " level[to] ")"
      else if (from == "text" && to != "text" && to != "base")
        print where "text includes only base"
    }'
}

# `matches MESSAGE PATTERN FILE...`: lines of code, comments and strings apart, that match.
matches() {
  message=$1
  pattern=$2
  shift 2
  for file in "$@"; do
    grep -qE "$pattern" "$file" || continue
    awk -f scripts/strip-code.awk "$file" | grep -nE "$pattern" |
      sed "s|^\([0-9]*\):.*|$file:\1: $message|"
  done
}

check_words_of_code() {
  matches 'not in a header (docs/architecture.md)' \
    '#[[:space:]]*include[[:space:]]*[<"](iostream|regex|nlohmann/json\.hpp|CLI/)' $(files 'src/*.h' 'tests/*.h')
  matches 'intrinsics belong in kernels/cpu' '#[[:space:]]*include[[:space:]]*<[a-z0-9]*intrin\.h>' \
    $(files 'src/*.h' 'src/*.cc' | grep -v '^src/kernels/cpu/')
  matches 'only cli reads the environment' '(^|[^A-Za-z0-9_])(secure_)?getenv[[:space:]]*\(' \
    $(files 'src/*.h' 'src/*.cc' | grep -v '^src/cli/')
  matches 'only tensor allocates by hand' \
    '(^|[^A-Za-z0-9_])(new([[:space:]]+[A-Za-z_:]|[[:space:]]*\()|(malloc|calloc|realloc)[[:space:]]*\()' \
    $(files 'src/*.h' 'src/*.cc' | grep -vE '^src/tensor/|_allocation_test\.cc$')
}

# Patterns have brackets, so that this file does not match them.
check_words_of_text() {
  git grep -nIE '/wor[k]/|/roo[t]/|/tmp/bash_job[s]' -- ':!*.jsonl' |
    sed 's|^\([^:]*:[0-9]*\):.*|\1: path of one machine|' || true
  git grep -nIwE 'TOD[O]|FIXM[E]|XX[X]' -- '*.cc' '*.h' '*.md' '*.sh' '*.awk' '*.py' '*.cmake' \
    '*.txt' Makefile | sed 's|^\([^:]*:[0-9]*\):.*|\1: mark of unfinished work|' || true
}

check_headers() {
  files 'src/*.h' | sed 's|^src/||' | xargs -r -P2 -n1 sh -c '
    echo "#include \"$1\"" | g++ -std=c++20 -fsyntax-only -Wno-psabi -Isrc -DDSV4_SOURCE_DIR=\"\" -x c++ - 2>&1 |
      sed -n "s|^\([^:]*:[0-9]*\):[0-9]*: \(fatal \)\{0,1\}error: |\1: $1 does not compile alone: |p" |
      head -n 1' sh
}

is_exception() {
  echo "$SIZE_EXCEPTIONS" | grep -q "^$1 "
}

check_sizes() {
  files '*.cc' '*.h' | while read -r file; do
    is_exception "$file" && continue
    lines=$(wc -l < "$file")
    if [ "$lines" -gt $MAX_FILE_LINES ]; then
      echo "$file:$lines: file of $lines lines, at most $MAX_FILE_LINES are allowed"
    fi
    [ "$lines" -gt $MAX_FUNCTION_LINES ] || continue
    awk -f scripts/strip-code.awk "$file" |
      awk -v file="$file" -v max=$MAX_FUNCTION_LINES -f scripts/function-lengths.awk
  done
  files '*.cc' '*.h' | grep -E '(^|/)(utils?|common|helpers?|misc)[._]' |
    sed 's|$|:1: a name that says nothing|' || true
}

# Code compiled for one instruction set must not be linked into other code: its object files define
# their one table and nothing that the linker may take for a function of another file.
check_isa_leaks() {
  [ -d "$BUILD" ] || return 0
  for isa in avx2 avx512; do
    find "$BUILD" -name "isa_$isa.cc.o" | while read -r object; do
      nm -C --defined-only "$object" | sed 's/^[0-9a-f]* *//' |
        grep -E '^[A-Zuvwi] ' | grep -vE "^T dsv4::(kernel|encoder)_table_$isa\(\)" |
        sed "s|^|isa_$isa.cc:1: leaks into other code: |" || true
    done
  done
}

check_scripts() {
  files '*.sh' scripts .ci .githooks | sort -u | while read -r file; do
    case $(head -n 1 "$file") in
      '#!'*bash*) shell=bash ;;
      '#!'*sh*) shell=sh ;;
      *) continue ;;
    esac
    $shell -n "$file" 2>&1 | sed -n "s|^[^:]*: \(line \)\{0,1\}\([0-9]*\): |$file:\2: |p"
  done
}

for tool in git clang-format-14 g++ nm; do
  command -v $tool > /dev/null || { echo "lint: $tool is missing (make setup)" >&2; exit 1; }
done
violations=$(mktemp)
trap 'rm -f "$violations"' EXIT
for check in format levels words_of_code words_of_text headers sizes isa_leaks scripts; do
  "check_$check"
done | tee "$violations"
if [ -s "$violations" ]; then
  echo "lint: $(wc -l < "$violations") violations" >&2
  exit 1
fi
