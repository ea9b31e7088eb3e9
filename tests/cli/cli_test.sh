#!/bin/sh
# The program as a user runs it: results, errors, exit codes. Usage: cli_test.sh DSV4 SOURCE_DIR
set -u
dsv4=$1
source=$2
mini=$source/models/mini
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n_passed=0
n_failed=0

pass() { n_passed=$((n_passed + 1)); }
fail() { n_failed=$((n_failed + 1)); echo "FAILED: $1"; }

# expect NAME CODE TEXT command...: the exit code, and TEXT somewhere in the output.
expect() {
  name=$1; code=$2; text=$3; shift 3
  "$@" >"$work/out" 2>&1 </dev/null
  actual=$?
  if [ $actual -ne "$code" ]; then
    fail "$name: exit code $actual, expected $code: $(head -c 300 "$work/out")"
  elif ! grep -qF -- "$text" "$work/out"; then
    fail "$name: no '$text' in: $(head -c 300 "$work/out")"
  else
    pass
  fi
}

# same NAME A B: two files of the same bytes.
same() { if cmp -s "$2" "$3"; then pass; else fail "$1: $2 and $3 differ"; fi; }

one_line_error() {
  expect "$@"
  [ "$(wc -l <"$work/out")" -eq 1 ] || fail "$1: the error is not one line"
}

# --- the same bits however the work is cut
ids=$(awk 'BEGIN { srand(7); for (i = 0; i < 150; i++) printf "%s%d", i ? "," : "", int(rand() * 512) }')
logits() { "$dsv4" logits -m "$source/tests/golden/t1" --ids "$ids" "$@"; }
logits --mtp -o "$work/whole" || fail "logits"
logits -o "$work/exact" || fail "logits without MTP"
for chunk in 1 7 64; do
  logits --mtp --chunk $chunk -o "$work/part" && same "chunk $chunk" "$work/whole" "$work/part"
done
for k in 0 1 77 149; do
  logits --mtp --decode-from $k -o "$work/part" && same "decode from $k" "$work/whole" "$work/part"
done
for n in 1 3; do
  logits --mtp --threads $n -o "$work/part" && same "$n threads" "$work/whole" "$work/part"
done
logits --mtp --pin -o "$work/part" && same "pinned threads" "$work/whole" "$work/part"
for isa in scalar avx2 avx2_vnni avx512 avx512_vnni; do  # sets that this machine lacks say so
  "$dsv4" logits -m "$source/tests/golden/t3" --ids "$ids" --numerics fast -o "$work/best" || fail "fast"
  "$dsv4" logits -m "$source/tests/golden/t3" --ids "$ids" --numerics fast --isa $isa -o "$work/part" 2>"$work/err" &&
    same "instruction set $isa" "$work/best" "$work/part" || grep -q "this machine has no" "$work/err" || fail "--isa $isa"
done
for kv in native bf16 f32; do  # t3: quantised weights too
  kept() { "$dsv4" logits -m "$source/tests/golden/t3" --ids "$ids" --numerics fast --kv $kv "$@"; }
  kept -o "$work/whole.$kv" || fail "--kv $kv"
  kept --chunk 7 --threads 1 -o "$work/part" && same "$kv, chunk 7" "$work/whole.$kv" "$work/part"
  kept --decode-from 60 -o "$work/part" && same "$kv, decode from 60" "$work/whole.$kv" "$work/part"
done
same "the default of fast is native" "$work/best" "$work/whole.native"
for kv in native bf16; do
  cmp -s "$work/whole.$kv" "$work/whole.f32" && fail "--kv $kv changes nothing"
done
expect "fast with entries in float32 is exact where weights are BF16" 0 "logits" sh -c \
  "'$dsv4' logits -m '$source/tests/golden/t1' --ids '$ids' --numerics fast --kv f32 -o '$work/part' && '$dsv4' compare --tolerance 0 '$work/exact' '$work/part'"
one_line_error "exact rounds no entries" 1 "--kv: exact stores entries as f32 only: it rounds nothing" logits --kv native -o "$work/part"
one_line_error "official rounds by itself" 1 "--kv: official stores entries as f32 only" logits --numerics official --kv bf16 -o "$work/part"
expect "no such storage" 2 "--kv" logits --kv int8 -o "$work/part"
expect "inspect shows the state as it is kept" 0 "kept as native" "$dsv4" inspect "$source/tests/cli/flash-config.json"
expect "numerics that do not exist" 2 "foo is none of fast,exact,official" "$dsv4" run -m "$mini" --numerics foo
expect "numerics by number" 2 "1 is none of" "$dsv4" run -m "$mini" --numerics 1
expect "help names the numerics" 0 "{fast,exact,official}=fast" "$dsv4" run --help
expect "inspect --kv" 0 "kept as bf16" "$dsv4" inspect --kv bf16 "$source/tests/cli/flash-config.json"
logits --trace -o "$work/traced" || fail "logits --trace"
expect "a trace beside logits" 0 "logits" "$dsv4" compare "$work/traced" "$work/traced"
logits --numerics official -o "$work/official" || fail "official numerics"
expect "compare finds a difference" 3 "logits" "$dsv4" compare --tolerance 1e-6 "$work/whole" "$work/official"

# --- replies
expect "run" 0 "Sorted: 13, 19, 45" "$dsv4" run -m "$mini" -p "Sort these numbers from small to large: 45, 13, 19"
expect "reasoning is kept out of the answer" 0 "34 + 44 = 78" "$dsv4" run -m "$mini" --think high -p "What is 34 + 44?"
expect "reasoning in JSON" 0 '"reasoning_content": "4 3 + 4 4' "$dsv4" run -m "$mini" --think high --json -p "What is 34 + 44?"
expect "max tokens" 0 '"finish_reason": "length"' "$dsv4" run -m "$mini" --json --max-tokens 3 -p "Who are you?"
expect "stop string" 0 '"content": "Sorted: "' "$dsv4" run -m "$mini" --json --stop 13 -p "Sort these numbers from small to large: 45, 13, 19"
expect "special tokens of users are text" 0 '"prompt_tokens"' "$dsv4" run -m "$mini" --json --max-tokens 1 -p "<｜User｜>"
"$dsv4" run -m "$mini" --ids 0,1250 --seed 3 --temperature 1 --max-tokens 20 --json >"$work/a"
"$dsv4" run -m "$mini" --ids 0,1250 --seed 3 --temperature 1 --max-tokens 20 --json --threads 1 >"$work/b"
for f in a b; do sed 's/"prefill_seconds.*//' "$work/$f" >"$work/$f.ids"; done
same "the seed fixes the text" "$work/a.ids" "$work/b.ids"
expect "few experts in memory" 0 "Sorted: 13, 19, 45" "$dsv4" run -m "$mini" --expert-memory 1M --stats --record-routing "$work/routing" -p "Sort these numbers from small to large: 45, 13, 19"
grep -qE "experts: [0-9]+ of [0-9]+ in memory .*MiB read" "$work/out" && pass || fail "run --stats: $(cat "$work/out")"
[ "$(head -c 6 "$work/routing")" = DSV4RT ] && pass || fail "run --record-routing"
expect "reads of experts in JSON" 0 '"expert_cache": {"hits": ' "$dsv4" run -m "$mini" --json --expert-memory 2M --max-tokens 3 -p "Who are you?"
one_line_error "a trace that cannot be made" 1 "$work/absent/routing: cannot create" "$dsv4" run -m "$mini" --record-routing "$work/absent/routing" -p hello
expect "memory that is no size" 2 "--expert-memory" "$dsv4" run -m "$mini" --expert-memory=-5 -p hello
logits --expert-memory 20K -o "$work/part" && same "--expert-memory" "$work/exact" "$work/part"
printf 'Who are you?\n/think high\nWhat is 34 + 44?\n/save %s\n/nonsense\n' "$work/chat.json" |
  "$dsv4" chat -m "$mini" >"$work/out" 2>"$work/err"
grep -qF "I am Mini" "$work/out" && pass || fail "chat from a pipe"
grep -qF "34 + 44 = 78" "$work/out" && pass || fail "chat with thinking"
grep -qF "/nonsense: no such command" "$work/err" && pass || fail "chat refuses unknown commands"
expect "a saved chat is a conversation" 0 '"role": "assistant"' "$dsv4" run -m "$mini" --json --max-tokens 5 --messages "$work/chat.json"

# --- a synthetic model
expect "synth" 0 "" "$dsv4" synth --preset tiny --seed 5 -o "$work/tiny"
expect "inspect" 0 "activated per token" "$dsv4" inspect "$work/tiny"
expect "inspect of a config alone" 0 "284" "$dsv4" inspect "$source/tests/cli/flash-config.json"
expect "a synthetic model runs" 0 '"finish_reason"' "$dsv4" run -m "$work/tiny" --json --max-tokens 4 -p "hello"
expect "synth does not overwrite" 1 "$work/tiny" "$dsv4" synth --preset tiny -o "$work/tiny"

# --- quality against a reference
printf 'Lily lives near the market. One morning, she found a white lamp. She took it to the bridge.' >"$work/text"
quality() { "$dsv4" eval quality --text "$work/text" --context 16 "$@"; }
expect "a model agrees with itself" 0 '"kl":{"mean":0.0,"median":0.0,"p99":0.0,"max":0.0},"top1_agreement":1.0,"layer_errors":[0.0,0.0,0.0,0.0,0.0]' \
  quality --json -m "$mini" --reference "$mini" --numerics exact
[ "$(grep -o '"hash":"[0-9a-f]*","bytes":15798712' "$work/out" | uniq -c | awk '{ print $1 }')" = 2 ] &&
  pass || fail "two equal hashes of one model"
expect "a table for several models" 0 "100.00 %" quality -m "$mini" -m "$mini" --numerics official --reference "$mini" --reference-numerics official
[ "$(grep -c "^$mini  official" "$work/out")" -eq 3 ] && pass || fail "one row for each model: $(cat "$work/out")"
for n in 1 2; do
  quality -m "$work/tiny" --reference "$work/tiny" --threads $n --chunk $((3 * n)) >"$work/quality.$n" || fail "quality"
done
same "threads and chunks change no number" "$work/quality.1" "$work/quality.2"
quality -m "$work/tiny" --reference "$work/tiny" --expert-memory 20K >"$work/quality.part" || fail "quality"
same "experts that are read change no number" "$work/quality.1" "$work/quality.part"
expect "memory for experts that is no size" 2 "--expert-memory" quality -m "$mini" --reference "$mini" --expert-memory=-5
awk '/  fast / { found = ($7 > 1e-9 && $7 < 0.1) } END { exit !found }' "$work/quality.1" && pass || fail "fast is near exact: $(cat "$work/quality.1")"
printf '<｜User｜>Who are you?<｜Assistant｜>' >"$work/chat.txt"
for option in '' --special; do  # a marker is one token, or text
  "$dsv4" eval quality --text "$work/chat.txt" -m "$mini" --reference "$mini" --json $option | sed 's/.*"tokens":\([0-9]*\).*/\1/' >"$work/n$option"
done
[ "$(cat "$work/n--special")" -lt "$(($(cat "$work/n") - 10))" ] && pass || fail "--special reads markers as tokens"
expect "fewer tokens" 0 "5 tokens of" quality --max-tokens 5 -m "$mini" --reference "$mini"
one_line_error "another vocabulary" 1 "has another tokenizer than the reference" quality -m "$work/tiny" --reference "$mini"
one_line_error "no text" 1 "$work/nothing" "$dsv4" eval quality --text "$work/nothing" -m "$mini" --reference "$mini"
: >"$work/empty"
one_line_error "an empty text" 1 "has no text" "$dsv4" eval quality --text "$work/empty" -m "$mini" --reference "$mini"
printf 'abc\377' >"$work/binary"
one_line_error "a text that is not UTF-8" 1 "is not UTF-8 at byte 3" "$dsv4" eval quality --text "$work/binary" -m "$mini" --reference "$mini"
one_line_error "no reference there" 1 "$work/nowhere" quality -m "$mini" --reference "$work/nowhere"
one_line_error "too long a context" 1 "has a context of 4096 tokens" "$dsv4" eval quality --text "$work/text" -m "$mini" --reference "$mini" --context 5000
expect "a context without room for a token" 2 "--context" "$dsv4" eval quality --text "$work/text" -m "$mini" --reference "$mini" --context 1

# --- bench
"$dsv4" bench -m "$mini" --contexts 0 --batches 1 --prompts 16 --label first --json >"$work/run.jsonl" ||
  fail "bench"
grep -q '"label":"first"' "$work/run.jsonl" || fail "bench: no label in the first row"
for member in bytes_per_step share_of_read read_spread ops; do
  grep -q "\"$member\":" "$work/run.jsonl" || fail "bench: no $member"
done
"$dsv4" bench --replay "$work/run.jsonl" --json >"$work/again.jsonl" &&
  same "replayed rows" "$work/run.jsonl" "$work/again.jsonl"
expect "bench beside an earlier run" 0 "+0.0% |" \
  "$dsv4" bench --replay "$work/run.jsonl" --compare "$work/run.jsonl" --markdown --breakdown
grep -q "routed experts" "$work/out" || fail "bench: no breakdown"
"$dsv4" bench --replay "$work/run.jsonl" --svg "$work/roofline.svg" --json >/dev/null || fail "bench --svg"
grep -q ">prefill<" "$work/roofline.svg" || fail "bench --svg: no prefill"
echo '{"x": 1}' >"$work/no-run.jsonl"
one_line_error "rows that are none" 1 "no-run.jsonl: line 1" "$dsv4" bench --replay "$work/no-run.jsonl"
one_line_error "bench without a model, before it measures" 1 "no-model: cannot open" "$dsv4" bench -m "$work/no-model"

# --- bench serve, with what a run printed; its requests are tested in src/bench
cat >"$work/serve.jsonl" <<'END'
{"kind":"serve","url":"http://h:1","model":"m","load":"closed loop","date":"2026-01-01","label":"first"}
{"kind":"serve_request","conversation":0,"turn":0,"start_s":0,"total_s":2,"first_s":0.5,"prompt_tokens":100,"cached_tokens":0,"completion_tokens":3,"finish":"stop","gaps_s":[0.5,1]}
{"kind":"serve_request","conversation":0,"turn":1,"start_s":2,"total_s":2,"first_s":0.25,"prompt_tokens":200,"cached_tokens":150,"reusable_tokens":160,"completion_tokens":1,"finish":"length","gaps_s":[]}
{"kind":"serve_request","conversation":1,"turn":0,"start_s":3,"total_s":1,"failure":"HTTP 429","message":"slow down"}
END
expect "bench serve from a file" 0 "cached: 50.0% of 300 prompt tokens, 93.8% of the 160" \
  "$dsv4" bench serve --replay "$work/serve.jsonl" --svg "$work/serve.svg"
grep -qF "1 x HTTP 429: slow down" "$work/out" || fail "bench serve: no failure"
grep -qF "0.50 requests/s, 75.0 tokens/s in, 1.0 tokens/s out" "$work/out" || fail "bench serve: throughput"
grep -q "<svg" "$work/serve.svg" || fail "bench serve --svg"
one_line_error "bench serve without a server" 1 "/v1/models: " "$dsv4" bench serve --url http://127.0.0.1:1
one_line_error "bench serve over https" 1 "plain http only" "$dsv4" bench serve --url https://127.0.0.1:1
one_line_error "bench serve without work" 1 "needs --url or --replay" "$dsv4" bench serve
one_line_error "bench serve from another file" 1 "expected what dsv4 bench serve" \
  "$dsv4" bench serve --replay "$work/run.jsonl"
expect "bench serve: two kinds of loops" 2 "--rate excludes --concurrency" \
  "$dsv4" bench serve --url http://h --rate 1 --concurrency 2

# --- other types
quantize() { "$dsv4" quantize "$@"; }
expect "a GGUF file" 0 "Q4_K" quantize -m "$mini" -o "$work/q4.gguf" --type Q4_K_M
expect "it answers" 0 "34 + 44 = 78" "$dsv4" run -m "$work/q4.gguf" --think high -p "What is 34 + 44?"
expect "a folder of safetensors" 0 '"types":"FP4"' quantize -m "$mini" -o "$work/fp4" --type FP4 --json
expect "it answers too" 0 "34 + 44 = 78" "$dsv4" run -m "$work/fp4" --think high -p "What is 34 + 44?"
expect "FP4 becomes MXFP4" 0 '"types":"MXFP4"' quantize -m "$work/fp4" -o "$work/mx.gguf" --type MXFP4 --attention BF16 --shared BF16 --head BF16 --embedding BF16 --small F32 --json
expect "without changing a logit" 0 '"kl":{"mean":0.0,"median":0.0,"p99":0.0,"max":0.0}' \
  "$dsv4" eval quality --text "$work/text" --context 16 --json -m "$work/mx.gguf" --reference "$work/fp4" --numerics exact
expect "a dry run writes nothing" 0 "IQ2_XXS" quantize -m "$mini" -o "$work/dry.gguf" --type IQ2_XXS --dry-run
[ ! -e "$work/dry.gguf" ] && [ ! -e "$work/dry.gguf.part" ] && pass || fail "a dry run left files"
expect "types by part and layer" 0 '"types":"Q8_0, Q5_0"' quantize -m "$mini" -o "$work/dry.gguf" --type Q8_0 --attention Q5_0 --layers 0,1=Q8_0 --dry-run --json
one_line_error "there already" 1 "is there already; replace it with --force" quantize -m "$mini" -o "$work/q4.gguf" --type Q4_K_M
cp "$work/q4.gguf" "$work/before.gguf"
expect "--force" 0 "wrote $work/q4.gguf" quantize -m "$mini" -o "$work/q4.gguf" --type Q4_K_M --force --threads 1
same "the same bytes again" "$work/before.gguf" "$work/q4.gguf"
one_line_error "a source is not written over" 1 "is the model that is quantised" quantize -m "$work/q4.gguf" -o "$work/q4.gguf" --type Q8_0 --force
one_line_error "an unknown type" 1 "there is no type Q9_K; there are F32, F16" quantize -m "$mini" -o "$work/x" --type Q9_K
one_line_error "an unknown type of a part" 1 "--experts: there is no type x" quantize -m "$mini" -o "$work/x" --type Q8_0 --experts x
one_line_error "types of two containers" 1 "FP8 cannot stand in a GGUF file" quantize -m "$mini" -o "$work/x" --type Q8_0 --attention FP8
one_line_error "a type that the format lacks" 1 "Q8_0 cannot stand in a safetensors checkpoint" quantize -m "$mini" -o "$work/x" --type Q8_0 --format safetensors
one_line_error "parts that safetensors keep" 1 "--embedding: in safetensors this part stays" quantize -m "$mini" -o "$work/x" --type FP8 --embedding F32
one_line_error "a layer that is not there" 1 "layer" quantize -m "$mini" -o "$work/x" --type Q8_0 --layers 9=Q4_0
one_line_error "layers without a type" 1 "'3' is not of the form LIST=TYPE" quantize -m "$mini" -o "$work/x" --type Q8_0 --layers 3
one_line_error "no model to quantise" 1 "$work/nowhere" quantize -m "$work/nowhere" -o "$work/x" --type Q8_0
one_line_error "no folder to write to" 1 "cannot create" quantize -m "$mini" -o "$work/q4.gguf/x.gguf" --type Q8_0
expect "no type" 2 "--type is required" quantize -m "$mini" -o "$work/x"
expect "no output" 2 "--output is required" quantize -m "$mini" --type Q8_0
expect "a container that is none" 2 "--format" quantize -m "$mini" -o "$work/x" --type F16 --format zip
expect "no shards of nothing" 2 "--shard-size" quantize -m "$mini" -o "$work/x" --type FP8 --shard-size 0
# A run that is killed leaves its part; the same command goes on with it.
"$dsv4" quantize -m "$mini" -o "$work/killed.gguf" --type IQ2_XXS --threads 1 >/dev/null 2>&1 & killed=$!
for i in 1 2 3 4 5 6 7 8 9 10; do [ -e "$work/killed.gguf.part" ] && break; sleep 0.05; done
kill -9 $killed 2>/dev/null
wait $killed 2>/dev/null
expect "after a kill" 0 "wrote $work/killed.gguf" quantize -m "$mini" -o "$work/killed.gguf" --type IQ2_XXS --force
expect "uninterrupted" 0 "wrote $work/whole.gguf" quantize -m "$mini" -o "$work/whole.gguf" --type IQ2_XXS
same "a killed run's file" "$work/whole.gguf" "$work/killed.gguf"
[ ! -e "$work/killed.gguf.part.source" ] && pass || fail "the note of a run stayed"

# --- what each weight is fed with
calibrate() { "$dsv4" calibrate -m "$mini" --text "$work/text" "$@"; }
expect "calibrate" 0 "experts saw fewer than 32 tokens" calibrate -o "$work/importance"
expect "calibrate in JSON" 0 '"experts":40,' calibrate -o "$work/importance.2" --json --threads 1 --chunk 64
expect "few tokens" 0 '"tokens":10,' calibrate -o "$work/importance.3" --json --max-tokens 8 --chunk 5
expect "quantize with importance" 0 '"without_importance":' quantize -m "$mini" -o "$work/i.gguf" --type Q4_K_M --importance "$work/importance" --json
cmp -s "$work/i.gguf" "$work/q4.gguf" && fail "importance changes nothing" || pass
one_line_error "importance of another model" 1 "the importance matrix is of another model" quantize -m "$work/tiny" -o "$work/x" --type Q4_K_M --importance "$work/importance"
one_line_error "importance that is none" 1 "is no importance matrix" quantize -m "$mini" -o "$work/x" --type Q4_K_M --importance "$mini/model.safetensors"
one_line_error "no importance there" 1 "$work/nothing" quantize -m "$mini" -o "$work/x" --type Q4_K_M --importance "$work/nothing"
one_line_error "calibrate without text" 1 "has no text" "$dsv4" calibrate -m "$mini" --text "$work/empty" -o "$work/x"
one_line_error "calibrate with what is no text" 1 "is not UTF-8 at byte 3" "$dsv4" calibrate -m "$mini" --text "$work/binary" -o "$work/x"
one_line_error "calibrate to nowhere" 1 "is no place for a file" calibrate -o "$work/no/folder/x"
one_line_error "chunks without room for text" 1 "--chunk: must be 2 or more" calibrate -o "$work/x" --chunk 1
expect "calibrate without an output" 2 "--output is required" calibrate

# --- what goes wrong
expect "help" 0 "Usage" "$dsv4" --help
expect "no command" 2 "subcommand" "$dsv4"
expect "unknown option" 2 "--nope" "$dsv4" run -m "$mini" --nope
one_line_error "no such model" 1 "$work/nowhere" "$dsv4" run -m "$work/nowhere" -p x
one_line_error "id outside the vocabulary" 1 "99999" "$dsv4" run -m "$mini" --ids 1,99999
one_line_error "ids that are no numbers" 1 "'x'" "$dsv4" logits -m "$mini" --ids 1,x -o "$work/out.st"
one_line_error "an output folder that does not exist" 1 "does not exist" "$dsv4" logits -m "$source/no-model" --ids 1 -o "$work/no/out.st"
one_line_error "too long a prompt" 1 "context" "$dsv4" run -m "$mini" --context 4 -p "a b c d e f g h"
one_line_error "temperature" 1 "temperature" "$dsv4" run -m "$mini" --temperature=-1 -p x
cp -r "$source/tests/golden/t1" "$work/broken"
chmod -R u+w "$work/broken"
shard=$work/broken/model-00001-of-00001.safetensors
head -c 2000000 "$source/tests/golden/t1/model-00001-of-00001.safetensors" >"$shard"
one_line_error "truncated shard" 1 "model-00001-of-00001.safetensors: tensor" "$dsv4" logits -m "$work/broken" --ids 1 -o "$work/out.st"
head -c 100 "$source/tests/golden/t1/model-00001-of-00001.safetensors" >"$shard"
one_line_error "truncated header" 1 "truncated" "$dsv4" logits -m "$work/broken" --ids 1 -o "$work/out.st"
echo '{"vocab_size": 512' >"$work/broken/config.json"
one_line_error "broken config" 1 "config.json" "$dsv4" logits -m "$work/broken" --ids 1 -o "$work/out.st"
echo '[{"role": "wizard", "content": "x"}]' >"$work/messages.json"
one_line_error "unknown role" 1 "messages" "$dsv4" run -m "$mini" --messages "$work/messages.json"

# --- plans
export XDG_STATE_HOME="$work/state"
expect "catalogue" 0 "8x-b200" "$dsv4" plan --machines
expect "plan" 0 "runs" "$dsv4" plan -m 745b --machine 8x-b200 --format AWQ-INT4
expect "formulas" 0 "weights + state + scratch + runtime" "$dsv4" plan -m flash --machine h200 --format Q2_K --explain
expect "a size that does not fit" 0 "does not run" "$dsv4" plan -m 745b --machine mi300x --format FP8
"$dsv4" plan -m flash,pro --machine h200,8x-b200 --format FP4,Q2_K --json >"$work/plans.json" &&
  python3 -c "import json, sys; p = json.load(open(sys.argv[1])); assert len(p) == 4 and all(len(t['plans']) == 2 for t in p)" \
    "$work/plans.json" && pass || fail "plans as JSON"
one_line_error "plan for no machine" 1 "toaster" "$dsv4" plan -m flash --machine toaster
one_line_error "plan for no model" 1 "no preset" "$dsv4" plan -m nothing --machine h200
one_line_error "plan for no type" 1 "Q9" "$dsv4" plan -m flash --machine h200 --format Q9
one_line_error "negative users" 1 "users" "$dsv4" plan -m flash --machine h200 --users -1
one_line_error "more than the context" 1 "do not fit" "$dsv4" plan -m flash --machine h200 --context 100 --prompt 90 --reply 20
echo '{"name": "box", "kind": "cpu", "memory_gib": -1, "read_gb_s": 50}' >"$work/box.json"
one_line_error "negative memory" 1 "memory_gib" "$dsv4" plan -m flash --machine "$work/box.json"
echo '{"name": "box", "kind": "cpu", "memory_gib": 8, "read_gb_s": 0}' >"$work/box.json"
one_line_error "no bandwidth" 1 "read_gb_s" "$dsv4" plan -m flash --machine "$work/box.json"
echo '{"hidden_size": 64}' >"$work/config.json"
one_line_error "a configuration that lacks a key" 1 "config.json" "$dsv4" plan -m "$work/config.json" --machine h200
expect "a catalogue with problems" 3 "has no source" "$dsv4" plan --check-machines "$source/tests/cli/machine.json"
one_line_error "verify without a model" 1 "-m MODEL" "$dsv4" plan --verify
expect "no record yet" 0 "no run has been recorded" "$dsv4" plan --report
mkdir -p "$work/state/dsv4"
# As --probe would have written it on this machine.
for isa in scalar avx2 avx2_vnni avx512 avx512_vnni; do
  "$dsv4" logits -m "$source/tests/golden/t1" --ids 1 --isa $isa -o "$work/part" 2>/dev/null && best=$isa
done
cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1 | sed 's/[&/\\]/\\&/g')
version=$("$dsv4" --version | sed 's/dsv4 //')
sed "s/\"isa\":\"[^\"]*\"/\"isa\":\"$best\"/; s/\"title\":\"[^,]*,/\"title\":\"${cpu:-unknown},/; s/\"version\":\"[^\"]*\"/\"version\":\"$version\"/" \
  "$source/tests/cli/machine.json" >"$work/state/dsv4/machine.json"
expect "plan for this machine" 0 "as stored" "$dsv4" plan -m "$mini"
expect "plan of a small model says what it does not know" 0 "smaller than those that times are known for" "$dsv4" plan -m "$mini"
expect "verify" 0 "smaller than those that times are known for" "$dsv4" plan --verify -m "$mini" --prompt 64 --reply 8
expect "verify" 0 "prefill" "$dsv4" plan --verify -m "$mini" --prompt 64 --reply 8
# Memory within 5 % (3 % is aimed at, but libraries of other systems may be larger); sanitizers take more.
ldd "$dsv4" | grep -q 'lib[a-z]*san' || for model in "$mini" "$source"/tests/golden/t[123]; do
  "$dsv4" plan --verify -m "$model" --prompt 200 --reply 8 --json 2>/dev/null |
    sed -n 's/.*"what":"memory","predicted":\([0-9.]*\),"measured":\([0-9.]*\)}.*/\1 \2/p' >"$work/memory"
  awk '{ n++; off = $1 / $2 - 1 } END { exit !(n == 1 && off <= 0.05 && off >= -0.05) }' "$work/memory" ||
    fail "memory of $model, predicted and measured: $(cat "$work/memory")"
done
expect "report" 0 "memory" "$dsv4" plan --report
expect "report as JSON" 0 '"median_error"' "$dsv4" plan --report --json
expect "plan as a page" 0 "runs" "$dsv4" plan -m flash --machine 4x-h100-pcie --format Q4_K_M --html "$work/plan.html"
expect "the page has the machine" 0 "4x NVIDIA H100 PCIe" cat "$work/plan.html"
expect "page in no folder" 1 "nowhere" "$dsv4" plan -m flash --machine h200 --format Q2_K --html "$work/nowhere/x.html"

# --- the link to another machine, which is this one here
expect "help of links" 0 "HOST[:PORT]" "$dsv4" plan --help
one_line_error "no port to listen at" 1 "nowhere: expected PORT or ADDRESS:PORT" "$dsv4" plan --link-listen nowhere
one_line_error "no host to connect to" 1 ":80: expected HOST or HOST:PORT" "$dsv4" plan --link-to :80
expect "listening and connecting" 2 "excludes" "$dsv4" plan --link-listen 0 --link-to localhost
"$dsv4" plan --link-listen 0 >"$work/listener" 2>&1 &
listener=$!
for _ in $(seq 100); do grep -q listening "$work/listener" && break; sleep 0.1; done
port=$(sed -n 's/^listening at 127\.0\.0\.1:\([0-9]*\), for this machine alone.*/\1/p' "$work/listener")
python3 -c "import socket, sys
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
s.sendall(b'GET / HTTP/1.1\\r\\n')
s.recv(1)" "$port" || fail "a stranger that connects"
expect "link" 0 "round trip" "$dsv4" plan --link-to "127.0.0.1:$port"
wait $listener && grep -q '^127\.0\.0\.1:[0-9]*: received [0-9.]* GB, sent [0-9.]* GB$' "$work/listener" && pass ||
  fail "listening end: $(cat "$work/listener")"
expect "a stranger is no reason to end" 0 "its first bytes are others; waiting for another" cat "$work/listener"
expect "nobody listens any more" 1 "127.0.0.1:$port: cannot connect: Connection refused" "$dsv4" plan --link-to "127.0.0.1:$port"
sed 's/"memory_gib": [0-9.]*/"memory_gib": 24/; s/"reserved_gib": [0-9.]*/"reserved_gib": 1/' "$work/state/dsv4/machine.json" >"$work/linked.json"
plan_linked() { "$dsv4" plan -m flash --machine "$work/linked.json" --format Q2_K --explain "$@"; }
expect "plan for several with the measured link" 0 "GB/s, measured to 127.0.0.1:$port on 20" plan_linked
expect "plan for several with a given link" 0 "5.0 us + 65536 bytes of a token at 1.25 GB/s, --cluster-link" plan_linked --cluster-link 1.25
expect "plan without a link" 0 "experts on disk" plan_linked --cluster-link 0
"$dsv4" plan --link-listen 127.0.0.1:0 >"$work/listener" 2>&1 &
listener=$!
for _ in $(seq 100); do grep -q listening "$work/listener" && break; sleep 0.1; done
kill -INT $listener 2>/dev/null || fail "the listener has ended by itself"
kill $listener 2>/dev/null  # shells let background jobs ignore Ctrl-C
wait $listener
[ $? -gt 128 ] && pass || fail "a listener that is told to stop"

echo "$n_passed passed, $n_failed failed"
[ $n_failed -eq 0 ]
