#!/bin/sh
# Installs what is missing and builds the playground: one HTML file that trains in the browser, by
# this library compiled to WebAssembly.
#     sh examples/playground/run.sh
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/examples/shared/packages.sh"

need make has make
need cmake has cmake
for_wasm need
install_missing

echo "== building (build/wasm)"
cd "$root"
cmake --workflow --preset wasm

page=build/wasm/playground.html
cat <<END
== $page is ready: $(($(wc -c <$page) / 1000)) KB that need nothing else
   Open it in a browser: file://$root/$page
   To show it to a class, send the file, or put it on any web server.
END
