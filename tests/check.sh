# check.sh - for the script tests tests/<folder>/test_<topic>.sh; read by them, not run by itself.
# ctest gives them LORIKEET_SOURCE_DIR, LORIKEET_BUILD_DIR, CC and CFLAGS (the sanitizers); this
# file adds $work, an empty folder that is removed at the end.
#     check "text" COMMAND…      the command succeeds; its output is shown when it does not
#     must "text" COMMAND…       the same, and without it the rest makes no sense: ends the script
#     skip "text"                nothing can be tested, and the text says why: ends the script
#     tally                      last line of the script
passed=0
failed=0
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

check() {
    text=$1
    shift
    if "$@" >"$work/output" 2>&1; then
        echo "ok - $text"
        passed=$((passed + 1))
    else
        echo "FAILED - $text"
        sed 's/^/    /' "$work/output"
        failed=$((failed + 1))
        return 1
    fi
}

must() {
    check "$@" || tally
}

skip() {
    echo "skipped - $1"
    exit 77 # tests/CMakeLists.txt tells ctest
}

tally() {
    echo "tally: $passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit
}
