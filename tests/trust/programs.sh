# programs.sh - builds the programs of the classes `disk` and `crash`, and adds up their tallies.
#     . tests/trust/programs.sh
#     build_program NAME            tests/trust/NAME.c, as build/trust/NAME
#     run_program NAME ARGUMENT…    its lines but the tally; counted in $passed and $failed
#     finish                        the tally, and the exit code
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root" || exit 1
out=build/trust
mkdir -p "$out"
passed=0
failed=0
# Where it is possible, files are made in memory: the programs never flush to a real disk.
if [ -z "${TMPDIR-}" ] && [ -w /dev/shm ]; then export TMPDIR=/dev/shm; fi

fail() {
    echo "FAILED - $1"
    failed=$((failed + 1))
}

# All of the libraries' packages are the test preset's own.
build_libraries() {
    { cmake --preset test && cmake --build --preset test --target lorikeet_data; } \
        >"$out/build.log" 2>&1 || { cat "$out/build.log"; fail "the libraries were not built"; }
}
build_program() {
    "${CC:-cc}" -std=gnu11 -O1 -g -Wall -Wextra -Wshadow -Wconversion -Werror -fopenmp -I. \
        "tests/trust/$1.c" build/test/liblorikeet_data.a build/test/liblorikeet_core.a \
        -lz -lpng -lutf8proc -lm -o "$out/$1" || fail "$1 was not built"
}
run_program() {
    name=$1
    shift
    [ -x "$out/$name" ] || return
    "$out/$name" "$@" >"$out/$name.log" 2>&1
    code=$?
    tally=$(sed -n '$s/^tally: \([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$out/$name.log")
    sed '$d' "$out/$name.log" | head -n 200
    if [ -z "$tally" ] || { [ "$code" -ne 0 ] && [ "${tally#* }" -eq 0 ]; }; then
        fail "$name ended with the exit code $code: $(tail -n 1 "$out/$name.log")"
    else
        passed=$((passed + ${tally% *}))
        failed=$((failed + ${tally#* }))
    fi
}
finish() {
    echo "tally: $passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}
