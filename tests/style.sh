#!/bin/sh
# Checks how files are written: clang-format and clang-tidy for all C files, 99 columns for all
# that people read, and the subject of the last commit. There is a line "FAILED - …" for each
# fault. On 2 idle processors it needs less than a minute.
#     sh tests/style.sh
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/check.sh"
cd "$root" || exit 1
export LC_ALL=C.UTF-8 # a column is a character

# none TEXT COMMAND…: the command prints no fault; each line of its output is one.
none() {
    rule=$1
    shift
    "$@" >"$work/faults"
    [ -s "$work/faults" ] || check "$rule" true
    while read -r fault; do check "$rule: $fault" false; done <"$work/faults"
}

# The files that match the patterns, without fixtures. The scripts that make fixtures stay.
sources() { git ls-files "$@" | grep -v '^tests/fixtures/\(.*/\|.*\.h$\)'; }

if [ ! -e .git ]; then
    echo "skipped - this folder is no git clone"
    tally
fi
must "git knows the files" [ -n "$(git ls-files 2>&1)" ]

unformatted() {
    sources '*.[ch]' '*.cpp' | xargs clang-format --dry-run 2>&1 |
        sed -n 's/:[0-9:]* warning: .*//p' | uniq
}
none "clang-format" unformatted

long_lines() {
    sources '*.[ch]' '*.cpp' '*.in' '*.sh' '*.py' '*.awk' '*.mjs' '*.js' '*.css' \
        '*.md' '*.cmake' '*CMakeLists.txt' |
        xargs grep -nE '^.{100,}' | cut -d : -f 1,2
}
none "lines end within 99 columns" long_lines

odd_subjects() {
    sources '*.[ch]' | xargs grep -nE '/\* (What|Who|Whoever|Nobody) ' | cut -d : -f 1,2
}
none "a comment names its subject" odd_subjects

long_subject() { git log -1 --format=%s | grep -E '^.{73,}'; }
none "the commit's subject has at most 72 characters" long_subject

# test_calls.c needs a file that the build makes; tests/install/consumer is built by its test; the
# benchmarks' peers need headers of the peers.
untidy() {
    sources '*.c' | grep -v '^tests/core/test_calls\.c$\|^tests/install/' |
        grep -v '^tests/bench/\(blas_peer\|kann_peer\|sweep\)\.c$' |
        xargs -n 1 -P "$(nproc)" clang-tidy -quiet -p build/test 2>&1 |
        grep -E ': (error|warning): ' | sed "s|$root/||" | sort -u
}
must "compile commands" cmake --preset test
none "clang-tidy" untidy
tally
