#!/bin/sh
# Two rules about our own code that no compiler checks: no call has two arguments that draw random
# numbers, whose order C leaves open, and numbers are printed and read by core/decimal.h, whatever
# the locale.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"
cd "$LORIKEET_SOURCE_DIR" || exit 1
here=tests/core

# ---- draws --------------------------------------------------------------------------------------

# finds N LINE…: draws.awk reports N of the lines.
finds() {
    expected=$1
    shift
    printf '%s\n' "$@" >"$work/planted.c"
    test "$(awk -f $here/draws.awk "$work/planted.c" | tee /dev/stderr | wc -l)" -eq "$expected"
}
check "two draws of one call are found" finds 7 \
    'x = lk_sub(t, lk_randn(t, &rng, s), lk_randn(t, &rng, s));' \
    'x = lk_sub(t, lk_dropout(t, x, 0.5), lk_neg(t, lk_dropout(t, x, 0.5)));' \
    'Module *m = lk_sequential_new(LK_MODULES(lk_linear_new(2, 3, true, rng, err),
                                   lk_linear_new(3, 2, true, rng, err)), err);' \
    'Tensor *x[] = { leaf(&rng), leaf(&rng) };' \
    'double x = lk_random(&r->rng) - lk_random(&r->rng);' \
    'Pair p = { .a = draw(&rng), .b = { 0, draw(&rng) } };' \
    'f((Pair){ draw(&rng), "(", draw(&rng) });'
check "an order that C gives is no fault" finds 0 \
    'Tensor *a = lk_randn(t, &rng, s), *b = lk_randn(t, &rng, s);' \
    'Module *m = lk_linear_with_lora_new(lk_linear_new(2, 3, true, &rng, err), 2, 1, &rng, err);' \
    'bool ok = draw(&rng) && draw(&rng) && f(lk_randn(t, &rng, s), x);' \
    'void f(Rng *rng) { if (draw(rng)) draw(rng);
                        for (int i = 0; i < draw(rng); i++) draw(rng); }' \
    'x = f("lk_dropout(t, x, 0.5), lk_dropout(t, x, 0.5)"); /* f(draw(&rng), draw(&rng)) */'
check "no call of ours draws in two of its arguments" awk -f $here/draws.awk \
    $(find core nn optim data examples tests -name '*.[ch]')

# The C of the README and of the guide, without what stands around it.
awk '/^```/ { inside = $0 == "```c"; next } inside' README.md examples/guide/*.md >"$work/pages.c"
check "nor does one of the README and the guide" awk -f $here/draws.awk "$work/pages.c"

# ---- numbers ------------------------------------------------------------------------------------

# C's functions where a number with a point may pass; sscanf and scanf have no counterpart and read
# whole numbers only.
by_locale() {
    grep -nE '(^|[^_a-z])(v?f?printf|v?snprintf|v?sprintf)\([^"]*"[^"]*%[-+ #0-9.*]*[aAeEfFgG]' \
        "$@" ||
        grep -nE '(^|[^_a-z])(strto[df]|strtold|atof|v(f|sn|s)?printf)\(' "$@"
}
echo 'printf("%d %5.2f", 1, x);' >"$work/planted.c"
check "a number that follows the locale is found" by_locale "$work/planted.c"
no_number_by_locale() {
    ! by_locale $(find core nn optim data examples -name '*.c' | grep -v '^core/decimal.c$')
}
check "numbers are printed and read with a dot" no_number_by_locale
tally
