#!/bin/sh
# platforms.sh - other processors, libraries and builds: 32-bit x86 with SSE2, and 64-bit Arm under
# an emulator, on kernels, operations and files.
#     sh tests/trust/platforms.sh [--full]
# --full: all unit tests on both, with musl's C library, without OpenMP, and without each package;
# a big-endian processor must be refused when the library is compiled. A platform without its
# compiler is skipped, and a line says so.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root" || exit 1
. examples/shared/packages.sh
full=${1-}
passed=0
failed=0

i386_headers() { test -e /usr/i686-linux-gnu/include/stdio.h; }
arm_headers() { test -e /usr/aarch64-linux-gnu/include/stdio.h; }
want gcc-i686-linux-gnu has i686-linux-gnu-gcc
want libc6-dev-i386-cross i386_headers
want gcc-aarch64-linux-gnu has aarch64-linux-gnu-gcc
want libc6-dev-arm64-cross arm_headers
want qemu-user has qemu-aarch64
if [ "$full" = --full ]; then
    want musl-tools has musl-gcc
    want gcc-s390x-linux-gnu has s390x-linux-gnu-gcc
fi
install_missing >/dev/null

fail() {
    echo "FAILED - platforms: $1"
    failed=$((failed + 1))
}

# The short form compiles with fewer optimisations: the vector instructions are the same, and an
# idle processor needs 40 instead of 100 seconds.
optimise=-O1
[ "$full" != --full ] || optimise=-O3

# platform NAME COMMAND… -- OPTION…: builds in build/trust-platforms-NAME when the command is
# there, and runs its tests. Each case of a test counts.
platform() {
    name=$1
    shift
    needs=
    while [ "$1" != -- ]; do
        has "$1" >/dev/null || needs=$1
        shift
    done
    shift
    [ -z "$needs" ] || { echo "platforms: $name is skipped, there is no $needs"; return; }
    build=build/trust-platforms-$name
    log=$build/tests.log
    mkdir -p "$build"
    if ! { cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DLORIKEET_BUILD_EXAMPLES=OFF \
        "-DCMAKE_C_FLAGS_RELEASE=$optimise" "$@" && cmake --build "$build" -j "$(nproc)"
    } >"$log" 2>&1; then
        grep -E 'error' "$log" | head -n 5
        fail "$name was not built"
        return
    fi
    ctest --test-dir "$build" --no-tests=error -j "$(nproc)" --timeout 1200 -V -LE install \
        >"$log" 2>&1
    status=$?
    set -- $(awk '{ sub(/^[0-9]+: /, "") } /^tally: / { p += $2; f += $4 }
                  END { print p + 0, f + 0 }' "$log")
    [ "$status" -eq 0 ] || [ "$2" -gt 0 ] || set -- "$1" 1
    sed -n "s/^[0-9]*: FAILED - /FAILED - platforms: $name: /p" "$log"
    echo "platforms: $name: $1 passed, $2 failed"
    passed=$((passed + $1))
    failed=$((failed + $2))
}

none="-DLORIKEET_ZLIB=OFF -DLORIKEET_UTF8PROC=OFF -DLORIKEET_PNG=OFF"
tests=
[ "$full" != --full ] || tests='-DLORIKEET_CROSS_TESTS=(core|nn|optim|data)/.*[.]c'
platform x86-32 i686-linux-gnu-gcc -- --toolchain core/cmake/i686.cmake $none $tests
platform arm aarch64-linux-gnu-gcc qemu-aarch64 -- --toolchain core/cmake/aarch64.cmake $none \
    $tests

# refused NAME TEXT COMMAND…: a compiler that must not make a library, and says why
refused() {
    name=$1
    text=$2
    shift 2
    has "$1" >/dev/null || { echo "platforms: $name is skipped, there is no $1"; return; }
    if "$@" -std=gnu11 -I. -include core/exact.h -fsyntax-only data/safetensors.c 2>&1 |
        grep -q "$text"; then
        passed=$((passed + 1))
    else
        fail "$name is not refused"
    fi
}

refused "x87 arithmetic" "on 32-bit x86, -msse2 -mfpmath=sse" i686-linux-gnu-gcc \
    -D_FILE_OFFSET_BITS=64
refused "a small off_t" "larger than memory: -D_FILE_OFFSET_BITS=64" i686-linux-gnu-gcc -msse2 \
    -mfpmath=sse
if [ "$full" = --full ]; then
    refused "a big-endian processor" "little-endian" s390x-linux-gnu-gcc
    platform musl musl-gcc -- --toolchain core/cmake/musl.cmake $none $tests \
        -DLORIKEET_OPENMP=OFF
    platform no-openmp cc -- -DLORIKEET_OPENMP=OFF
    for package in ZLIB UTF8PROC PNG; do
        platform "no-$package" cc -- "-DLORIKEET_$package=OFF"
    done
fi
echo "tally: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
