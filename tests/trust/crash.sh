#!/bin/sh
# crash.sh - a process that saves or trains is killed at every call about files and at random, and
# several processes write at once. The old content is there or the new one, the next save works,
# and a training that goes on ends with the bits of one that was not killed.
#     sh tests/trust/crash.sh [--full]      --full: 1,000 random kills, 100 rounds of writers
set -u
. "$(dirname "$0")/programs.sh"
kills=50
[ "${1-}" != --full ] || kills=1000
build_libraries
build_program crash
run_program crash "$root" "$kills"
finish
