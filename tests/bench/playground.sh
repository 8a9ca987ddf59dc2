#!/bin/sh
# Times the playground in chromium, after sh examples/playground/run.sh.
#     sh tests/bench/playground.sh [build/wasm/playground.html]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
page=${1:-$here/../../build/wasm/playground.html}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$page" "$work/playground.html"
cp "$here"/playground_view.* "$work"
timeout 300 chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync \
    --user-data-dir="$work/profile" --allow-file-access-from-files --window-size=1400,1000 \
    --dump-dom "file://$work/playground_view.html" 2>"$work/log" >"$work/dom" ||
    { cat "$work/log" >&2; exit 1; }
sed 's/^.*<pre id="lines">//; /^<.pre>/,$d' "$work/dom" | grep ' ms'
