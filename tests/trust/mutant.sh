#!/bin/sh
# Makes one mutant and lets tests try to kill it. Prints one line: "killed NAME by TEST",
# "survived NAME", or "broken NAME: REASON" (the patch does not apply, or does not compile).
#     sh tests/trust/mutant.sh NAME.patch FOLDER
#
# The first line of a patch is "killed by TEST…": the tests, in the order in which they are tried.
# Only the files that the patch changes are compiled, from a copy of the sources in FOLDER. Their
# objects stand in front of build/test's library, so the linker takes them in place of its own.
# Without any change in it, a patch whose lines "+++ b/FILE" name files tries the tests themselves.
set -u
patch=$(realpath "$1")
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$root/build/test
name=$(basename "$patch" .patch)
mkdir -p "$2/$name" || exit 1
work=$(cd "$2/$name" && pwd)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
ulimit -c 0
ulimit -v 8000000 # a mutant may ask for any amount of memory
# As ctest runs them; and git must not take the copy for a part of the clone around it.
export LORIKEET_SOURCE_DIR="$root" LORIKEET_BUILD_DIR="$build" OMP_WAIT_POLICY=passive
export GIT_CEILING_DIRECTORIES="$work"

broken() {
    echo "broken $name: $1"
    exit
}

mkdir tree
for folder in core nn optim data; do ln -s "$root/$folder" "tree/$folder"; done
files=$(sed -n 's|^+++ b/||p' "$patch")
for file in $files; do # a copy of what changes, links for the rest
    folder=${file%%/*}
    if [ -L "tree/$folder" ]; then rm "tree/$folder" && cp -r "$root/$folder" tree; fi
done
if grep -q '^@@' "$patch"; then
    (cd tree && git apply -C1 "$patch") >log 2>&1 || broken "it does not apply any more"
fi

# The files that are compiled: each source, and each one that reads a header.
sources() {
    for file in $files; do
        case $file in
        *.h) (cd "$build/CMakeFiles" &&
            grep -lE "[ /]$file( |\$)" lorikeet_*.dir/*/*.d lorikeet_*.dir/*/*/*.d) |
            sed 's/^[^/]*\///; s/\.o\.d$//' ;;
        *) echo "$file" ;;
        esac
    done | sort -u
}

# The compiler and its options for a source, without warnings and without optimization.
command_for() {
    awk -v end="\"file\": \"$root/$1\"" '
        /"command":/ { line = $0 }
        index($0, end) { print line }' "$build/compile_commands.json" |
        sed "s|^ *\"command\": \"||; s| -o .*||; s|$root/|$work/tree/|g; s|-I$root |-I$work/tree |g
             s| -O[0-9]\( -DNDEBUG\)*| -O0 -w|; s| -Werror||" | head -1
}

count=0
for source in $(sources); do
    compile=$(command_for "$source")
    [ -n "$compile" ] || broken "$source is not in compile_commands.json"
    count=$((count + 1))
    $compile -c "tree/$source" -o "mutant_$count.o" >log 2>&1 || broken "$source does not compile"
done
[ "$count" -gt 0 ] || broken "it changes no file of the library"

for test in $(sed -n '1s/^killed by //p' "$patch"); do
    object=$(echo "$build"/tests/CMakeFiles/"$test".dir/*/"$test".c.o)
    [ -e "$object" ] || broken "$test is not built"
    "${CC:-cc}" "$object" mutant_*.o "$build/tests/liblorikeet_check.a" -fopenmp -lcriterion \
        -lpng -lz -lutf8proc -lm -o "$test" >log 2>&1 || broken "$test does not link"
    timeout 600 "./$test" >log 2>&1
    status=$?
    rm "$test"
    if [ "$status" -ne 0 ]; then
        echo "killed $name by $test"
        exit
    fi
done
echo "survived $name"
