#!/bin/sh
# The class "mutants" of tests/trust.sh: small changes of the library that a test must notice.
#
# Each file of tests/trust/mutants/ is a mutant that once survived all tests. It must apply, and
# one of the tests that its first line names must fail with it; without it they pass. With --full,
# 400 more are drawn (tests/trust/draw.awk) and tried by the tests of their folder and of the next;
# those that survive are listed. (Some of the drawn ones do not compile.)
#     sh tests/trust/mutants.sh [--full]
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root" || exit 1
here=tests/trust
work=build/trust/mutants
rm -rf "$work"
mkdir -p "$work/drawn" || exit 1
passed=0
failed=0
pass() { passed=$((passed + 1)); }
fail() {
    echo "FAILED - $1"
    failed=$((failed + 1))
}
tally() {
    echo "tally: $passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit
}

# try PATCH…: one line a patch
try() { printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} sh "$here/mutant.sh" {} "$work"; }

kept=$(echo "$here"/mutants/*.patch)
tests=$(sed -sn '1s/^killed by //p' $kept | tr ' ' '\n' | sort -u)
programs= # that tests run
in_folders() { (cd tests && ls $(printf '%s/test_*.c ' "$@")) | sed 's|.*/||; s|\.c$||'; }
if [ "${1-}" = --full ]; then
    tests=$(in_folders core nn optim data)
    programs=gradcheck
fi

cmake --preset test >"$work/log" 2>&1 &&
    cmake --build --preset test -j "$(nproc)" --target $tests $programs >>"$work/log" 2>&1 || {
    tail -20 "$work/log"
    fail "the tests were not built"
    tally
}

# Without a mutant, but compiled as one, the tests pass.
unchanged=$work/unchanged.patch
{
    echo killed by $tests
    sed -n '/^+++ b\//p' $kept | sort -u
} >"$unchanged"
verdict=$(try "$unchanged")
if [ "$verdict" = "survived unchanged" ]; then pass; else fail "without a mutant: $verdict"; fi

try $kept >"$work/verdicts"
while read -r verdict name rest; do
    case $verdict in
    killed) pass ;;
    survived) fail "$name survives $(sed -n '1s/^killed by //p' "$here/mutants/$name.patch")" ;;
    *) fail "$name $rest" ;;
    esac
done <"$work/verdicts"
[ "${1-}" = --full ] || tally

# ---- drawn mutants ------------------------------------------------------------------------------

# draw COUNT TESTS FILE…
draw() {
    awk -v seed="${SEED:-1}" -v count="$1" -v tests="$(echo $2)" -v out="$work/drawn" \
        -f "$here/draw.awk" $(shift 2 && ls "$@") >>"$work/log"
}
draw 168 "$(in_folders core nn)" core/ops_*.c core/ops_*_real.h
draw 105 "$(in_folders nn data)" nn/*.c nn/models/*.c
draw 42 "$(in_folders optim nn)" optim/*.c optim/*.h
draw 105 "$(in_folders data nn)" data/*.c

try "$work"/drawn/*.patch >"$work/drawn.verdicts"
killed=$(grep -c '^killed ' "$work/drawn.verdicts")
survived=$(grep -c '^survived ' "$work/drawn.verdicts")
share=$((killed * 1000 / (killed + survived)))
echo "$killed of $((killed + survived)) drawn mutants were killed," \
    "$((share / 10)).$((share % 10)) %; $(grep -c '^broken ' "$work/drawn.verdicts") others do" \
    "not compile. These survived:"
for name in $(sed -n 's/^survived //p' "$work/drawn.verdicts"); do
    sed -n '3s|^+++ b/|  |p; 6,7s|^\([-+]\) *|    \1 |p' "$work/drawn/$name.patch"
done
passed=$((passed + killed))
[ "$share" -ge 970 ] || fail "less than 97 % of the drawn mutants were killed"
tally
