#!/bin/sh
# The shared library: exports lk_ symbols only, but every one that a header promises; works
# installed and moved.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"
. "$LORIKEET_SOURCE_DIR/tests/install/package.sh"

build=$work/build
must "configure" cmake -S "$LORIKEET_SOURCE_DIR" -B "$build" -DCMAKE_C_COMPILER="$CC" \
    -DCMAKE_BUILD_TYPE=Debug \
    -DBUILD_SHARED_LIBS=ON -DLORIKEET_BUILD_TESTS=OFF -DLORIKEET_BUILD_EXAMPLES=OFF
must "build" cmake --build "$build" -j 2

symbols() { nm -D --defined-only "$@" | awk 'NF == 3 { print $3 }' | sort; }
only_lk() {
    symbols "$@" >"$work/symbols" && test -s "$work/symbols" && no_match -v '^lk_' "$work/symbols"
}
check "core exports only lk_ symbols" only_lk "$build/liblorikeet_core.so"
check "data exports only lk_ symbols" only_lk "$build/liblorikeet_data.so"

# Promised: the name that begins with lk_ between LK_API and the first parenthesis, bracket, = or
# ;, and the type and the function of an LK_MODULE_TYPE(…).
headers() { (cd "$LORIKEET_SOURCE_DIR" && cat core/*.h nn/*.h optim/*.h data/*.h); }
promised() {
    headers | sed -n 's/^LK_API[_A-Z]* [^(;=]*\(lk_[a-zA-Z0-9_]*\)[(;[].*/\1/p'
    headers | tr '\n' ' ' | grep -o 'LK_MODULE_TYPE([^)]*)' | grep -o 'lk_[a-z0-9_]*'
}
all_there() {
    promised | sort -u >"$work/promised"
    symbols "$build/liblorikeet_core.so" "$build/liblorikeet_data.so" >"$work/symbols"
    test "$(wc -l <"$work/promised")" -gt 100 && ! comm -23 "$work/promised" "$work/symbols" |
        grep .
}
check "every function of the headers is exported" all_there

install_and_move "$build"
check_find_package
check_pkg_config
tally
