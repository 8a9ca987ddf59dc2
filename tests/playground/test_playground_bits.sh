#!/bin/sh
# The playground's module in a browser computes the bits of the native portable kernels: losses,
# parameters, the dial, probabilities, singular vectors (trace.c, bits.js). The page bits.html is
# bundled by the playground's own script and opened from a file.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"
. "$LORIKEET_SOURCE_DIR/examples/shared/packages.sh"
want chromium has chromium
for_wasm want
[ -z "$wanted" ] || skip "there is no$wanted"

module() {
    unset CC CFLAGS # those of the native tests
    cmake -S "$LORIKEET_SOURCE_DIR" --preset wasm -B "$wasm" && cmake --build "$wasm" -t playground
}
wasm=$LORIKEET_BUILD_DIR/playground # it stays for the next run
must "the module is built" module

playground=$LORIKEET_SOURCE_DIR/examples/playground
cp "$playground/client.js" "$playground/worker.js" "$playground"/*.c "$work"
cp "$LORIKEET_SOURCE_DIR/tests/playground/bits.js" "$work"
cp "$LORIKEET_SOURCE_DIR/tests/playground/bits.html" "$work/page.html"
bundle() { sh "$playground/bundle.sh" "$work" "$wasm/playground.wasm" "$work/bits.html"; }
must "the page is bundled" bundle

browse() {
    timeout 600 chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync \
        --user-data-dir="$work/profile" --enable-logging=stderr --dump-dom \
        "file://$work/bits.html" >"$work/dom" 2>"$work/log"
    sed 's/^.*<pre id="lines">//; s/<\/pre>$//' "$work/dom" >"$work/lines"
    grep '^time' "$work/lines"
}
must "the page has run in chromium" browse
grep '^time' "$work/lines"

silent() { ! grep CONSOLE "$work/log"; }
check "nothing on the console" silent

native() {
    LORIKEET_KERNELS=portable "$LORIKEET_BUILD_DIR/tests/playground_trace" >"$work/native"
}
must "the native program has run" native
# same NAME: all lines that begin with it.
same() {
    grep "^$1" "$work/native" >"$work/a"
    grep "^$1" "$work/lines" >"$work/b"
    diff "$work/a" "$work/b" >"$work/difference" && [ -s "$work/a" ] && return
    echo "$(grep -c '^>' "$work/difference") of $(wc -l <"$work/a") lines differ, the first:"
    sed 4q "$work/difference"
    return 1
}
check "the base has the same bits: 300 losses, all parameters, right answers" same base
check "LoRA has the same bits: 100 losses, all parameters, right answers" same lora
check "the dial has the same bits, and those of the base at 0" same dial
check "probabilities have the same bits" same probability
check "singular values have the same bits" same singular
check "singular vectors have the same bits" same vector
check "ΔW has the same bits" same delta

# ---- the bundler

page() { printf '%s\n' "$@" >"$work/page.html"; }
refused() {
    rm -f "$work/bits.html"
    ! bundle >"$work/said" 2>&1 && [ ! -e "$work/bits.html" ] && grep "$1" "$work/said"
}
page '<pre>' '<!-- bundle: function engine.c train_step -->' '</pre>'
shows() { bundle && grep -q '^static bool train_step' "$work/bits.html" &&
    grep -q '\*loss = (float)lk_item(mean);' "$work/bits.html" &&
    ! grep -q 'engine_train(' "$work/bits.html"; }
check "a page shows one function of the source" shows
page '<!-- bundle: function engine.c no_such -->'
check "a function that is not there is refused" refused 'no function no_such'
page '<!-- bundle: js missing.css -->'
check "a file that is not there is refused" refused 'names missing.css'
for kind in style worker packed sources; do
    page "<!-- bundle: $kind missing.* -->"
    check "$kind: a pattern without a file is refused" refused 'names missing.\*'
done
page '<!-- bundle: picture x -->'
check "an unknown mark is refused" refused 'unknown kind: picture'
head -c 200000 "$wasm/playground.wasm" >"$work/large.css"
page '<!-- bundle: js large.css -->' '<!-- bundle: wasm -->'
check "a page that is too large is refused" refused 'at most'
for kind in style worker packed sources; do # two modules are too much, gzipped too
    page "<!-- bundle: $kind large.css -->" '<!-- bundle: wasm -->'
    check "$kind: a page that is too large is refused" refused 'at most'
done
tally
