#!/bin/sh
# Runs one Criterion program and looks at more than its exit code: Criterion 2.4.1 exits 0 when LeakSanitizer found a
# leak, when no test ran, and when tests were skipped. Ends with the line "tally: N passed, N failed".
#     criterion.sh PROGRAM [Criterion's options]
set -u
program=$1
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT

"$@" --tap="$folder/tap" >"$folder/output" 2>&1
status=$?
cat "$folder/output"
touch "$folder/tap"

count() { grep -cE "$1" "$folder/$2"; }
passed=$(count '^ok ' tap)
failed=$(count '^not ok ' tap)
skipped=$(count '^ok .*# SKIP' tap)
# Warnings are no reports: AddressSanitizer gives one when malloc returns NULL for an absurd size, as a test wants it.
reports=$(count 'ERROR: [A-Za-z]*Sanitizer|runtime error:' output)

problem() { echo "$(basename "$program"): $1"; failed=$((failed + 1)); }
[ "$skipped" -eq 0 ] || { passed=$((passed - skipped)); problem "$skipped tests were skipped"; }
[ "$reports" -eq 0 ] || [ "$failed" -gt 0 ] || problem "$reports sanitizer reports"
[ "$status" -eq 0 ] || [ "$failed" -gt 0 ] || problem "exit code $status"
[ "$((passed + failed))" -gt 0 ] || problem "no test ran"

echo "tally: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
