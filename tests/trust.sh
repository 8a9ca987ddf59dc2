#!/bin/sh
# Runs the classes of the trust suite, tests/trust/CLASS.sh, and prints one table at its end. A
# class tries to break Lorikeet in one way: allocations that fail, kills, bytes at random, mutants.
# The short form of all classes belongs to tests/run.sh; --full is the long form, made for one
# class at a time. The exit code is 0 only when nothing failed.
#     sh tests/trust.sh [CLASS…] [--full]
#
# A class prints a line "FAILED - …" for each failure and "tally: N passed, N failed" as its last
# line. Its output is kept in build/trust/CLASS.log.
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root" || exit 1
export OMP_WAIT_POLICY=passive # waiting threads sleep, as in ctest

all="ops memory disk files crash threads platforms mutants soak"
full=
chosen=
for argument in "$@"; do
    case $argument in
    --full) full=--full ;;
    *)
        if [ ! -e "tests/trust/$argument.sh" ]; then
            echo "tests/trust.sh: there is no class $argument; the classes are: $all" >&2
            exit 2
        fi
        chosen="$chosen $argument"
        ;;
    esac
done
if [ -z "$chosen" ]; then
    for class in $all; do
        if [ -e "tests/trust/$class.sh" ]; then chosen="$chosen $class"; fi
    done
fi

logs=build/trust
table=$logs/table
mkdir -p "$logs" || exit 1
: >"$table"

# Shows the output of a class at once, keeps it, and leaves the exit code in $logs/status.
run() {
    { sh "tests/trust/$1.sh" $full 2>&1; echo $? >"$logs/status"; } | tee "$logs/$1.log"
}

for class in $chosen; do
    echo "== trust: $class"
    started=$(date +%s)
    run "$class"
    seconds=$(($(date +%s) - started))
    tallied=$(sed -n '$s/^tally: \([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$logs/$class.log")
    if [ -z "$tallied" ]; then
        echo "FAILED - $class ended without a tally" | tee -a "$logs/$class.log"
        tallied="0 1"
    elif [ "$(cat "$logs/status")" -ne 0 ] && [ "${tallied#* }" -eq 0 ]; then
        echo "FAILED - $class ended with the exit code $(cat "$logs/status")" |
            tee -a "$logs/$class.log"
        tallied="${tallied% *} 1"
    fi
    echo "$class $tallied $seconds" >>"$table"
done

awk -v full="$full" '
    BEGIN { printf "\n%-12s %8s %9s %8s\n", full ? "class, full" : "class", "cases", "failures",
                   "seconds" }
    function row(name, passed, failed, seconds) {
        printf "%-12s %8d %9d %8d\n", name, passed + failed, failed, seconds
    }
    { row($1, $2, $3, $4); passed += $2; failed += $3; seconds += $4 }
    END {
        row("together", passed, failed, seconds)
        print "tally: " passed + 0 " passed, " failed + 0 " failed"
        exit failed > 0
    }' "$table"
