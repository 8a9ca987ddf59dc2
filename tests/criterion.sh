#!/bin/sh
# Runs one Criterion program and looks at more than its exit code: Criterion 2.4.1 exits 0 when
# LeakSanitizer found a leak, when no test ran, and when tests were skipped. Ends with a line
# "FAILED - SUITE::TEST: MESSAGE" for each test that failed, and with "tally: N passed, N failed".
#     criterion.sh PROGRAM [Criterion's options]
set -u
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT

# Shown at once: ctest has it even when the time is over, and tests/run.sh sees what was running.
{
    "$@" --verbose --tap="$folder/tap" 2>&1
    echo $? >"$folder/status"
} | tee "$folder/output"
status=$(cat "$folder/status")
touch "$folder/tap"

count() { grep -cE "$1" "$folder/$2"; }
passed=$(count '^ok ' tap)
failed=$(count '^not ok ' tap)
skipped=$(count '^ok .*# SKIP' tap)
# Warnings are no reports: AddressSanitizer gives one when malloc returns NULL for an absurd size,
# as a test wants it.
report='ERROR: [A-Za-z]*Sanitizer|runtime error:'
reports=$(count "$report" output)

# From "not ok - SUITE::TEST  (0.01s)" with "Assertion failed: " and the message below it, or from
# "not ok - SUITE::TEST unexpected signal after FILE:LINE".
awk -v report="$(grep -m 1 -E "$report" "$folder/output")" '
    function name() {
        if (!text) text = report ? report : "it ended by itself"
        if (test) print "FAILED - " test ": " text
        test = ""
    }
    /^(not )?ok / { name() }
    /^not ok - / {
        test = $4
        text = $0
        sub(/^not ok - [^ ]* */, "", text)
        sub(/^\(.*s\)$/, "", text)
    }
    test && !text && sub(/^ *Assertion failed: /, "") { text = $0 }
    END { name() }' "$folder/tap"

problem() { echo "FAILED - $1"; failed=$((failed + 1)); }
[ "$skipped" -eq 0 ] || { passed=$((passed - skipped)); problem "$skipped tests were skipped"; }
[ "$reports" -eq 0 ] || [ "$failed" -gt 0 ] || problem "$reports sanitizer reports"
[ "$status" -eq 0 ] || [ "$failed" -gt 0 ] || problem "exit code $status"
[ "$((passed + failed))" -gt 0 ] || problem "no test ran"

echo "tally: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
