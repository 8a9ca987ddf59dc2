#!/bin/sh
# Installs this build, moves it, and uses it from there with find_package, with pkg-config, and
# header by header.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"
. "$LORIKEET_SOURCE_DIR/tests/install/package.sh"

install_and_move "$LORIKEET_BUILD_DIR"
check_find_package
check_pkg_config

# Each header is enough by itself, and none gives a warning to a strict user. real.h is a template,
# not a header.
include=$prefix/include
for header in $(cd "$include" && find lorikeet -name '*.h' ! -name real.h | sort); do
    echo "#include <$header>" >"$work/header.c"
    check "<$header> compiles alone" "$CC" -std=c11 -Wall -Wextra -Wshadow -Wconversion \
        -Wpedantic -Werror \
        -I"$include" -I"$include/lorikeet" -fsyntax-only "$work/header.c"
done

# The same from C++, and programs in it: a strict user of C++17 sees no warning either.
cpp() {
    "${CXX:-c++}" -std=c++17 -Wall -Wextra -Wpedantic -Werror "$@"
}
for header in $(cd "$include" && find lorikeet -name '*.h' ! -name real.h | sort); do
    echo "#include <$header>" >"$work/header.cpp"
    check "<$header> compiles alone as C++" cpp -I"$include" -I"$include/lorikeet" \
        -fsyntax-only "$work/header.cpp"
done
for program in smallest lora; do
    must "C++: compile, $program" cpp "$here/consumer/$program.cpp" -o "$work/$program" \
        $(pkg_config --cflags --libs lorikeet)
    check "C++: run, $program" env LD_LIBRARY_PATH="$lib" "$work/$program"
done

hidden_lk__() {
    awk '$5 == "GLOBAL" && $7 != "UND" && ($6 == "HIDDEN") != ($8 ~ /^lk__/) { print; bad = 1 }
         END { exit bad }' "$work/symbols"
}
only_lk() { no_match -v '^(.* [A-Z] lk_.*|.*:|)$' "$work/symbols"; }
for archive in "$lib"/*.a; do
    [ -e "$archive" ] || continue # a shared build: its symbols are the matter of test_shared.sh
    nm -g --defined-only "$archive" >"$work/symbols"
    check "$(basename "$archive") has global names with lk_ only, hidden ones too" only_lk
    readelf -sW "$archive" >"$work/symbols"
    check "$(basename "$archive"): lk__ marks the hidden names, and no other" hidden_lk__
done
check "internal headers stay at home" test ! -e "$include/lorikeet/core/internal.h"
tally
