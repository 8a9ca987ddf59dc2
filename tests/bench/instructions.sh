#!/bin/sh
# A guard against regressions that noise cannot hide: the instructions of one call of some
# workloads, in one thread, as valgrind counts them, compared with those recorded in
# instructions.txt. Fails when a count has grown by more than TOLERANCE percent; one that has
# shrunk as much is worth recording.
#     sh tests/bench/instructions.sh [--record]    a minute; --record rewrites instructions.txt
# From the environment: BUILD=build/release, folder of the build.
#
# It is no part of the test run: the counts are those of one compiler and its flags (gcc 12, the
# release preset) and of the instructions that the library chooses at run time (AVX2; valgrind has
# no AVX-512, and the library notices).
set -eu
TOLERANCE=2
root=$(cd "$(dirname "$0")/../.." && pwd)
recorded=$root/tests/bench/instructions.txt
build=${BUILD:-$root/build/release}
case "${1-}" in
    '' | --record) ;;
    *) echo "usage: sh $0 [--record]" >&2; exit 2 ;;
esac
if ! command -v valgrind >/dev/null; then
    echo "$0: valgrind is not here, which counts instructions" >&2
    exit 1
fi

echo "== building ($build)" >&2
cmake --preset release -S "$root" -B "$build" >/dev/null
cmake --build "$build" -j "$(nproc)" --target bench >/dev/null

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# count WORKLOAD: the instructions of its counted call. Only bench_counted_call and what it calls
# is collected.
count() {
    OMP_NUM_THREADS=1 valgrind --tool=callgrind --callgrind-out-file=/dev/null \
        --toggle-collect=bench_counted_call \
        "$build/tests/bench/bench" "$1" --once >"$work/output" 2>&1 ||
        { cat "$work/output" >&2; exit 1; }
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$work/output"
}

# Lines of the record: comments, and "workload count".
grep '^#' "$recorded" >"$work/record"
failed=0
printf '%-32s %12s %12s %8s\n' workload recorded now change
while read -r name before; do
    case $name in '' | '#'*) continue ;; esac
    now=$(count "$name")
    [ "${now:-0}" -gt 0 ] || { echo "$0: $name: nothing was counted" >&2; exit 1; }
    printf '%s %s\n' "$name" "$now" >>"$work/record"
    verdict=$(awk -v before="$before" -v now="$now" -v tolerance="$TOLERANCE" 'BEGIN {
        change = before > 0 ? 100 * (now - before) / before : 0
        word = ""
        if (change > tolerance) word = "  MORE"
        if (change < -tolerance) word = "  less"
        printf "%+7.2f%%%s", change, word }')
    printf '%-32s %12s %12s %s\n' "$name" "$before" "$now" "$verdict"
    case $verdict in *MORE) failed=1 ;; esac
done <"$recorded"

if [ "${1-}" = --record ]; then
    cp "$work/record" "$recorded"
    echo "recorded in tests/bench/instructions.txt"
elif [ "$failed" -ne 0 ]; then
    echo "FAILED: a count has grown by more than $TOLERANCE %;" \
        "if there is a reason for it: sh $0 --record"
    exit 1
fi
