#!/bin/sh
# -ffast-math is refused, with the reason, for all of the library's own files in a build by CMake,
# and by hand for those that include core/internal.h; a user's file that includes the headers may
# have it.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"

# refused FLAG: a build whose flags have FLAG stops at the first file of the library and says why.
refused() {
    cmake -S "$LORIKEET_SOURCE_DIR" -B "$work/build" -DCMAKE_C_COMPILER="$CC" \
        -DCMAKE_C_FLAGS_RELEASE="$1" \
        -DLORIKEET_BUILD_TESTS=OFF -DLORIKEET_BUILD_EXAMPLES=OFF >/dev/null || return 1
    for target in lorikeet_core lorikeet_data; do
        ! cmake --build "$work/build" --target "$target" >"$work/log" 2>&1 &&
            grep 'error.*Lorikeet cannot be compiled with -ffast-math' "$work/log" || return 1
    done
}
for flag in -ffast-math -Ofast -ffinite-math-only; do
    check "the library's files are refused with $flag" refused "$flag"
done
check "so is a file with core/internal.h that is compiled by hand" eval \
    '! "$CC" -ffast-math -I"$LORIKEET_SOURCE_DIR" -fsyntax-only \
    "$LORIKEET_SOURCE_DIR/core/ops_unary.c"'

# All headers, as a user has them: those that the library installs.
for folder in core nn optim data; do
    (cd "$LORIKEET_SOURCE_DIR" && grep -l LK_API $folder/*.h)
done | sed 's/.*/#include "&"/' >"$work/user.c"
echo 'int main(void) { return lk_count((Tensor *)0) != 0; }' >>"$work/user.c"
check "a user's file may have it" "$CC" -ffast-math -Wall -Werror -I"$LORIKEET_SOURCE_DIR" \
    -fsyntax-only "$work/user.c"
tally
