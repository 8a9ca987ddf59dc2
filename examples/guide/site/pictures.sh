#!/bin/sh
# Makes the pictures in examples/guide: four of the built pages, and one of the report of digit9.
# Needs chromium; the playground's needs build/wasm/playground.html (examples/playground/run.sh),
# the report's MNIST in DATA/mnist, and is left as it is without.
#     sh examples/guide/site/pictures.sh [DATA]
set -eu
cd "$(dirname "$0")/../../.."
site=$PWD/build/docs
playground=$PWD/build/wasm/playground.html
data=${1:-$PWD/data}
sh examples/guide/site/site.sh "$site"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# picture NAME ADDRESS SIZE [OPTION…]: examples/guide/NAME.png, at most 200 KB
picture() {
    name=$1 address=$2 window=$3
    shift 3
    chromium --headless=new --no-sandbox --disable-gpu --no-first-run --hide-scrollbars \
        --disable-background-networking --disable-component-update --disable-sync \
        --allow-file-access-from-files --user-data-dir="$work/profile" --window-size="$window" \
        --screenshot="$PWD/examples/guide/$name.png" "$@" "$address" 2>"$work/log" ||
        { cat "$work/log"; exit 1; }
    size=$(wc -c <"examples/guide/$name.png")
    echo "examples/guide/$name.png: $size bytes"
    [ "$size" -le 204800 ] || { echo "$0: that is more than 200 KB"; exit 1; }
}

# The playground trains in a worker, for which virtual time does not wait. An open document holds
# the load event, and with it the picture, until the page has trained.
playground_frame() {
    cat <<HTML
<!DOCTYPE html>
<style>html, body, iframe { margin: 0; width: 100%; height: 100%; border: 0; display: block }
[name=hold] { display: none }</style>
<iframe name="page" src="file://$playground#$1"></iframe><iframe name="hold"></iframe>
<script>
const hold = window.frames.hold.document;
hold.open();
const timer = setInterval(() => {
  const view = window.frames.page;
  if (view.document?.documentElement?.dataset.ready !== "yes") return;
  if (view.eval("live.busy") !== "" || view.eval("state.lsteps") === 0) return;
  clearInterval(timer);
  setTimeout(() => hold.close(), 500);
}, 100);
</script>
HTML
}

waits=--virtual-time-budget=9000
picture site_front "file://$site/index.html" 1200,760 $waits
picture site_guide "file://$site/examples/guide/lora_three_ways.html" 1200,760 $waits \
    --force-dark-mode
picture site_reference "file://$site/nn/lora.h.html" 1200,760 $waits
if [ -e "$playground" ]; then
    playground_frame 'steps=600&lsteps=100' >"$work/frame.html"
    picture playground "file://$work/frame.html" 1280,800
fi
if [ -d "$data/mnist" ]; then
    build/release/examples/digit9 --data "$data" --report "$work/digit9.html" >/dev/null
    picture digit9 "file://$work/digit9.html" 1100,696 --force-device-scale-factor=1.5
fi
