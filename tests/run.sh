#!/bin/sh
# Installs what is missing, checks the style, then builds and runs the tests: under
# AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer (without whole programs), all of
# them with the default compiler (the installed library included), and with clang; and the short
# form of the trust suite, for 32-bit x86 and 64-bit Arm and under ThreadSanitizer too. Warnings
# are errors. In the end there is a line for each failure, and last "N passed, N failed"; the exit
# code is 0 only when nothing failed.
#     sh tests/run.sh
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root" || exit 1
. examples/shared/packages.sh

clang_has() { echo 'int main(void) { return 0; }' | clang "$1" -x c - -o /dev/null; }

need_compiler
need g++ has c++ # a test uses the headers from C++
need libcriterion-dev has_header criterion/criterion.h
need pkg-config has pkg-config
need clang has clang
need clang-format has clang-format
need clang-tidy has clang-tidy
need cmark-gfm has cmark-gfm # makes the site
need git has git
need libomp-dev clang_has -fopenmp
need libclang-rt-dev clang_has -fsanitize=thread
need locales test -e /usr/share/i18n/locales/de_DE # a test writes numbers as a German does
want chromium has chromium # some tests open pages in it
for_wasm want # a test trains in a browser
want python3 has python3 # two tests read with it what was written
arm_headers() { test -e /usr/aarch64-linux-gnu/include/stdio.h; }
want gcc-aarch64-linux-gnu has aarch64-linux-gnu-gcc
want libc6-dev-arm64-cross arm_headers
want qemu-user has qemu-aarch64 # runs what these two have compiled
install_missing

passed=0
failed=0
output=$(mktemp)
trap 'rm -f "$output"' EXIT
failures= # a line for each: "PRESET: TEST: MESSAGE"

# count PASSED FAILED [FAILURES]: the end of a step
count() {
    echo "== $step: $1 passed, $2 failed"
    passed=$((passed + $1))
    failed=$((failed + $2))
    [ "$2" -eq 0 ] || failures="$failures
$3"
}

build() {
    cmake --preset "$step" && cmake --build --preset "$step" -j "$(nproc)"
}

# Adds up a ctest log: the tallies that the tests print, and a failure for each test that ended
# without one.
tally() {
    awk '/^[0-9]+\/[0-9]+ Testing: / { tests++; bad = 0 }
         /^tally: / { passed += $2; failed += $4; bad = $4 }
         /^Test Passed\.$/ { ended++ }
         /^Test Failed\.$/ { ended++; if (!bad) failed++ }
         END { failed += tests - ended; print passed + 0, failed + 0 }' "$1"
}

# Names what failed, from a ctest log and the list of failed tests beside it: the lines
# "FAILED - …" that a test printed, or what had failed or was running when one was ended without
# such a line.
name_failures() {
    awk -v step="$step" '
        function say(text) { print step ": " name ": " text; said = 1 }
        FNR == NR { sub(/^[0-9]+:/, ""); bad[$0] = 1; next }
        /^[0-9]+\/[0-9]+ Testing: / { name = $3; said = 0; split("", open) }
        /^\[RUN \] / { open[$3] = "had not ended after" }
        /^\[FAIL\] / { sub(/:$/, "", $2); open[$2] = "had failed, the program was ended after" }
        /^\[PASS\] / { sub(/:$/, "", $2); delete open[$2] }
        bad[name] && sub(/^FAILED - /, "") { say($0) }
        bad[name] && !said && /^Test time = / {
            for (test in open) say(test ": " open[test] " " $4 " s")
            if (!said) say("ended after " $4 " s without a tally")
        }' "${1%.log}sFailed.log" "$1"
}

# run_tests PRESET TEXT
run_tests() {
    step=$1
    log=build/$step/Testing/Temporary/LastTest.log
    echo "== $step: $2"
    rm -f "$log" "${log%.log}sFailed.log"
    if build; then
        ctest --preset "$step"
        status=$?
        set -- $(tally "$log")
        [ "$status" -eq 0 ] || [ "$2" -gt 0 ] || set -- "$1" 1
        count "$1" "$2" "$([ "$2" -eq 0 ] || name_failures "$log")"
    else
        count 0 1 "$step: was not built"
    fi
}

# run_script STEP SCRIPT TEXT: a script that names failures in lines "FAILED - …" and ends with a
# tally.
run_script() {
    step=$1
    echo "== $step: $3"
    sh "$2" 2>&1 | tee "$output" | grep -v '^ok'
    tallied=$(sed -n '$s/^tally: \([0-9]*\) passed, \([0-9]*\) failed/\1 \2/p' "$output")
    tallied=${tallied:-0 1}
    count "${tallied% *}" "${tallied#* }" "$(sed -n "s/^FAILED - /$step: /p" "$output")"
}

run_script style tests/style.sh "how files and commits are written"
run_tests asan "address, leak and undefined-behaviour sanitizers"
if [ -x build/asan/examples/course ]; then # a test of the course needs it too
    export LORIKEET_COURSE_MEMORY="$root/build/asan/examples/course"
fi
run_tests test "the default compiler, and the installed library"
run_script trust tests/trust.sh "the short form of the trust suite, which uses that build"
run_tests clang "clang"
step=docs
echo "== docs: the site of guide and reference"
if cmake --workflow --preset docs
then count 1 0
else count 0 1 "$step: the site was not built"
fi

[ -z "$failures" ] || echo "== failed:$failures"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
