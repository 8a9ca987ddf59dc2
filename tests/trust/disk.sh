#!/bin/sh
# disk.sh - every call about files fails, one after the other, with each error that it can have;
# then the power is gone after every call. The old content is there or the new one, whole, no name
# is left over, and the result and the message agree with the disk.
#     sh tests/trust/disk.sh [--full]      --full: more errors, and pairs of them
set -u
. "$(dirname "$0")/programs.sh"
build_libraries
build_program disk
build_program power
run_program disk "$root" ${1:+full}
run_program power "$root"
finish
