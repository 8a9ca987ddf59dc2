#!/bin/sh
# Writes the guide's table of operations: for each one PyTorch's name, the cases that compare it
# with PyTorch 1.13 in float64, and the worst error of results and gradients,
# |x - expected| / (1 + |expected|). PyTorch's names are in operations.txt.
#     sh tests/core/operations.sh build/test >examples/guide/operations.md
set -eu
build=$1
here=$(cd "$(dirname "$0")" && pwd)
report=$(mktemp)
trap 'rm -f "$report"' EXIT
for program in "$build"/tests/test_ops_*; do
    LORIKEET_OPS_REPORT=$report "$program" >/dev/null 2>&1
done
cat <<'MD'
# Operations

All operations of [core/ops.h](../../core/ops.h), which has their formulas. The cases compare
results and gradients with PyTorch 1.13 in float64, over contiguous, strided, broadcast and empty
inputs. The error is the largest |x - expected| / (1 + |expected|); 0 means the same bits. Every
gradient is also compared with central differences: `build/release/examples/gradcheck`. An
operation without cases here has tests of its own, because it makes tensors, draws random numbers,
compares, or is compared with the operations that it joins.

| operation | PyTorch | cases | worst error |
| --- | --- | --- | --- |
MD
awk -F '\t' '
    FILENAME ~ /operations\.txt$/ { name[$1] = $2; order[++count] = $1; next }
    {
        split($0, word, " ")
        op = word[1]
        # rows of one operation: with soft labels, a single operand, its indices
        while (!(op in name) && sub(/_[a-z]+$/, "", op)) continue
        cases[op] += word[2]
        if (word[3] + 0 > worst[op] + 0) worst[op] = word[3]
    }
    END {
        for (i = 1; i <= count; i++) {
            op = order[i]
            error = cases[op] ? (worst[op] + 0 ? worst[op] : "0") : "–"
            number = cases[op] ? cases[op] : "–"
            printf "| `lk_%s` | `%s` | %s | %s |\n", op, name[op], number, error
        }
    }' "$here/operations.txt" "$report"
