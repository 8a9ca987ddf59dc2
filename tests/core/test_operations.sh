#!/bin/sh
# Compares the guide's table of operations with core/ops.h and with a fresh run of the cases.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"

page=$LORIKEET_SOURCE_DIR/examples/guide/operations.md
here=$LORIKEET_SOURCE_DIR/tests/core
fresh() { sh "$here/operations.sh" "$LORIKEET_BUILD_DIR" >"$work/fresh"; }
must "the cases run" fresh
rows() { grep '^| `lk_' "$1"; }

rows "$page" | sed 's/^| `//; s/`.*//' | sort >"$work/shown"
grep -oE '^LK_API [A-Za-z_ *0-9]*lk_[A-Za-z0-9_]+\(' "$LORIKEET_SOURCE_DIR/core/ops.h" |
    grep -oE 'lk_[A-Za-z0-9_]+' | sort >"$work/declared"
check "the page has all operations of core/ops.h" diff "$work/declared" "$work/shown"

# Without the last column: the last bits of an error depend on the processor.
same_cases() {
    rows "$page" | sed 's/|[^|]*|$//' >"$work/page_cases"
    rows "$work/fresh" | sed 's/|[^|]*|$//' | diff "$work/page_cases" -
}
check "the page has the cases of the tests" same_cases
exact() { rows "$work/fresh" | awk -F '|' '$5 + 0 > 1e-12 { print; bad = 1 } END { exit bad }'; }
check "no error is above 1e-12" exact
tally
