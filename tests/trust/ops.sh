#!/bin/sh
# The class "ops" of tests/trust.sh: all operations with many inputs (ops.c), a process for each
# processor; and the tests of the table that the inputs come from. With --full it takes all
# samples, more than 100,000, instead of each 40th.
#     sh tests/trust/ops.sh [--full]
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root" || exit 1
work=build/trust/ops
rm -rf "$work"
mkdir -p "$work" || exit 1
every=40
[ "${1-}" != --full ] || every=1

cmake --preset test >"$work/log" 2>&1 &&
    cmake --build --preset test -j "$(nproc)" --target trust_ops test_gradient_table test_corners \
        gradcheck >>"$work/log" 2>&1 || {
    tail -20 "$work/log"
    echo "FAILED - the programs were not built"
    echo "tally: 0 passed, 1 failed"
    exit 1
}

# Each process takes its share of the samples.
processes=$(nproc)
run() {
    build/test/tests/trust_ops "$((every * processes))" "$((every * $1))" ||
        [ $? -eq 1 ] || echo "FAILED - trust_ops ended by itself"
}
i=0
while [ "$i" -lt "$processes" ]; do
    run "$i" >"$work/output_$i" 2>&1 &
    i=$((i + 1))
done
wait
ctest --preset test -V -R '^test_(gradient_table|corners)$' 2>&1 |
    sed -n 's/^[0-9]*: \(FAILED - .*\)/\1/p; s/^[0-9]*: \(tally: .*\)/\1/p' >"$work/output_tests"

awk '/^FAILED - / { print; named++ }
     /^tally: / { passed += $2; failed += $4; tallies++ }
     END {
         # the last file has two
         if (tallies != ARGC) {
             print "FAILED - a program ended without a tally"
             failed++
         } else if (named > failed) failed = named
         print "tally: " passed + 0 " passed, " failed + 0 " failed"
         exit failed > 0
     }' "$work"/output_*
