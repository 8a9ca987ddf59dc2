#!/bin/sh
# threads.sh - what threads may share, under clang's ThreadSanitizer: one model that four threads
# read, two tapes in two threads, two Trainers and loaders on one dataset, a training with four
# threads. Results must have the bits of one thread alone; a report of the sanitizer is a failure.
#     sh tests/trust/threads.sh [--full]      --full: again and again for 20 minutes
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root" || exit 1
seconds=0
[ "${1-}" != --full ] || seconds=1200
build=build/tsan
passed=0
failed=0

# A program exits with 66 after a report. clang's OpenMP tells the sanitizer what its own threads
# do (libarcher).
export TSAN_OPTIONS=ignore_noninstrumented_modules=1

# run NAME COMMAND…: a case that passes when the command succeeds
run() {
    name=$1
    shift
    if "$@" >"$build/threads.log" 2>&1; then
        passed=$((passed + 1))
    else
        cat "$build/threads.log"
        echo "FAILED - threads: $name"
        failed=$((failed + 1))
    fi
}

build() {
    cmake --preset tsan &&
        cmake --build --preset tsan --target two_tapes mnist_lora &&
        clang -std=gnu11 -O2 -g -fsanitize=thread -fopenmp -I. tests/trust/threads.c \
            "$build/liblorikeet_data.a" "$build/liblorikeet_core.a" -lz -lpng -lutf8proc -lm \
            -o "$build/threads"
}

if ! build >/dev/null; then
    echo "FAILED - threads: the programs were not built"
    echo "tally: 0 passed, 1 failed"
    exit 1
fi
run "one model read by four threads, two trainings" "$build/threads" "$seconds"
# one of the cases is the report that did not come
cases=$(sed -n 's/^tally: \([0-9]*\) passed.*/\1/p' "$build/threads.log" | tail -n 1)
passed=$((passed + ${cases:-0}))
run "two_tapes" "$build/examples/two_tapes" --steps 30
run "mnist_lora with four threads" "$build/examples/mnist_lora" --threads 4 --epochs 1 --limit 5
echo "tally: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
