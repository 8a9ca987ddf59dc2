#!/bin/sh
# Makes the pictures of the site in examples/guide from the built pages: the first page, a page of
# the guide, one of the reference. Needs chromium.
#     sh examples/guide/site/pictures.sh
set -eu
cd "$(dirname "$0")/../../.."
site=$PWD/build/docs
sh examples/guide/site/site.sh "$site"
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT

# picture NAME PAGE [OPTION]: examples/guide/NAME.png, at most 200 KB
picture() {
    chromium --headless=new --no-sandbox --disable-gpu --no-first-run --hide-scrollbars \
        --disable-background-networking --disable-component-update --disable-sync \
        --user-data-dir="$profile" --window-size=1200,760 --virtual-time-budget=9000 \
        --screenshot="$PWD/examples/guide/$1.png" ${3-} "file://$site/$2" 2>"$profile/log" ||
        { cat "$profile/log"; exit 1; }
    size=$(wc -c <"examples/guide/$1.png")
    echo "examples/guide/$1.png: $size bytes"
    [ "$size" -le 204800 ] || { echo "$0: that is more than 200 KB"; exit 1; }
}

picture site_front index.html
picture site_guide examples/guide/lora_three_ways.html --force-dark-mode
picture site_reference nn/lora.h.html
