#!/bin/sh
# Uses the playground's page in a browser, light and dark: the tour to its end, a drawn nine, keys,
# a copied link, a phone's width, contrast (page_view.js). The C lines that it shows compile. Its
# exercises print what the native programs print.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"
for program in chromium clang-14 wasm-ld-14; do
    command -v $program >/dev/null || skip "there is no $program"
done
[ -e /usr/include/wasm32-wasi ] || skip "there is no wasi-libc"
ls /usr/lib/llvm-14/lib/clang/*/lib/wasi >/dev/null 2>&1 ||
    skip "there is no libclang-rt-14-dev-wasm32"

native=${CC:-cc}
wasm=$LORIKEET_BUILD_DIR/playground # it stays for the next run
module() {
    unset CC CFLAGS # those of the native tests
    cmake -S "$LORIKEET_SOURCE_DIR" --preset wasm -B "$wasm" && cmake --build "$wasm" -t playground
}
must "the module is built" module
playground=$LORIKEET_SOURCE_DIR/examples/playground
bundle() { sh "$playground/bundle.sh" "$playground" "$wasm/playground.wasm" playground.html; }
cd "$work" || exit 1
must "the page is bundled" bundle
cp "$LORIKEET_SOURCE_DIR"/tests/playground/page_view.* \
    "$LORIKEET_SOURCE_DIR/tests/shared/contrast.js" .

view() {
    rm -rf profile
    timeout 900 chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync \
        --user-data-dir="$work/profile" --allow-file-access-from-files --enable-logging=stderr \
        --window-size=1400,1800 --dump-dom "$@" "file://$work/page_view.html" >dom 2>log
    sed 's/^.*<pre id="lines">//; s/&lt;/</g; s/&gt;/>/g; s/&amp;/\&/g' dom >lines
    grep -x 'the end' lines || { tail -3 log; return 1; }
}
no_problem() { grep '^ok: ' lines >/dev/null && ! grep '^problem: ' lines; }
silent() { ! grep CONSOLE log; }
look() {
    scheme=$1
    shift
    must "$scheme: chromium uses the page" view "$@"
    check "$scheme: it is the scheme of the page" grep -x "scheme: $scheme" lines
    check "$scheme: $(grep -c '^ok: ' lines) findings, no problem" no_problem
    check "$scheme: nothing on the console" silent
}
look dark --force-dark-mode
look light

# Each panel's lines become a function; its parameters are what the lines use.
program() {
    cat <<'C'
#include "core/ops.h"
#include "data/loader.h"
#include "nn/adapter.h"
#include "optim/optimizer.h"
#define USES Tape *t, Module *net, Rng rng, Error err, DataLoader *loader, Tensor *x, Batch b
C
    for panel in base lora draw matrices dial changed merge; do
        printf 'bool %s(USES, %s *train);\n' $panel "$(type_of $panel)"
        printf 'bool %s(USES, %s *train)\n{\n' $panel "$(type_of $panel)"
        grep "^code $panel:" lines >/dev/null || echo "#error no lines of $panel"
        sed -n "s/^code $panel: //p" lines
        printf 'return true;\n}\n'
    done
}
# The base's loop goes over the loader, LoRA's lines choose from the data set.
type_of() { if [ $1 = base ]; then echo DataLoader; else echo 'const Dataset'; fi; }
compiles() {
    program >lines.c
    $native -std=gnu11 -Wall -Werror -Wno-unused -I "$LORIKEET_SOURCE_DIR" -fsyntax-only lines.c
}
check "the C lines compile" compiles

same_source() { sed -n "s/^source $1: //p" lines | diff - "$exercises/$1.c"; }
# The two C libraries differ in the last bit of about 3 in 100 sines and cosines, and so do random
# inputs. Only the rounding error that a gradient check reports shows it.
printed() { sed 's/(worst error: .*)/(worst error: …)/'; }
same_output() {
    LORIKEET_KERNELS=portable "$LORIKEET_BUILD_DIR/examples/$1" >said || return 1
    printed <said >native
    sed -n "s/^output $1: //p" lines | printed | diff native -
}
exercises=$LORIKEET_SOURCE_DIR/examples/exercises
for file in "$exercises"/ex[0-9]*.c; do
    name=$(basename "$file" .c)
    check "$name: the page shows its source" same_source "$name"
    check "$name: prints in the page what the native program prints" same_output "$name"
done
tally
