#!/bin/sh
# Lorikeet as a folder of somebody's project, without OpenMP and the libraries: builds
# without a warning, works serially, brings neither tests nor examples nor flags.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"

must "configure" cmake -S "$LORIKEET_SOURCE_DIR/tests/install/consumer" -B "$work/build" \
    -DCMAKE_C_COMPILER="$CC" \
    -DCMAKE_BUILD_TYPE=Debug -DLORIKEET_SUBPROJECT="$LORIKEET_SOURCE_DIR" \
    -DLORIKEET_OPENMP=OFF -DLORIKEET_ZLIB=OFF -DLORIKEET_UTF8PROC=OFF \
    -DLORIKEET_PNG=OFF \
    -DLORIKEET_WERROR=ON -DCMAKE_EXPORT_COMPILE_COMMANDS=ON
must "build" cmake --build "$work/build" -j 2
check "run, everything" "$work/build/everything"
check "run, core alone" "$work/build/core_alone"
check "no test, no example" test ! -e "$work/build/lorikeet/tests" \
    -a ! -e "$work/build/lorikeet/examples"

own_flags() {
    grep '"command"' "$work/build/compile_commands.json" | grep 'everything\.c' >"$work/command" &&
        ! grep -E -e '-W|-ffp-contract|-fvisibility|-fopenmp' "$work/command"
}
check "the user's files get no flag of ours" own_flags
tally
