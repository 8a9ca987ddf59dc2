#!/bin/sh
# test_bench.sh - the benchmarks run, name their workloads, refuse what they do not know and write
# their JSON. No test looks at a time, and most workloads are left out: they would take minutes
# under the sanitizers.
. "$LORIKEET_SOURCE_DIR/tests/check.sh"

bench=$LORIKEET_BUILD_DIR/tests/bench/bench
must "bench is built" [ -x "$bench" ]

# status CODE TEXT ARGUMENT…: bench ends with this status and says the text
status() {
    expected=$1
    says=$2
    shift 2
    "$bench" "$@" >"$work/said" 2>&1
    is=$?
    cat "$work/said"
    [ "$is" -eq "$expected" ] && grep -q -e "$says" "$work/said"
}
no_name_twice() { [ -s "$work/names" ] && [ -z "$(sort "$work/names" | uniq -d)" ]; }
# A number above 0 behind the field of the workload.
has() { grep "\"$1\": {.*\"$2\": [0-9.e+-]*[1-9]" "$work/results.json"; }

check "--list names the workloads" status 0 '^W2_full .* step of all parameters' --list
cut -d ' ' -f 1 "$work/said" >"$work/names"
check "no name stands there twice" no_name_twice
check "a pattern chooses" status 0 '^W1_lora ' 'W1_*' --list
check "and leaves out the rest" [ "$(wc -l <"$work/said")" -eq 2 ]
check "a misspelt name is an error" status 1 'no workload is called W9_full' W9_full
check "a flag takes no value" status 2 '--once takes no value' op --once=1
check "counted calls are made" "$bench" op 'matmul_1x64x10_*' W1_full W1_lora --once

must "a measurement ends well" status 0 '^op ' op matmul_10x64x10_dW --threads 1 --reps 1 \
    --json "$work/results.json"
check "the machine's limits are in it" has read_1M/1 gbs
check "and what was asked for" has op/1 median
check "with its speed" has matmul_10x64x10_dW/1 gflops
check "the fraction of the limit" has matmul_10x64x10_dW/1 fraction
check "and its memory" has op/1 peak_mb
check "nothing else was measured" [ "$(grep -c 'W1_full' "$work/results.json")" -eq 0 ]
tally
