#!/bin/sh
# Installs what is missing, builds Lorikeet, and runs the main job: notebook 1's MLP on MNIST, then
# LoRA on top of it.
#     sh examples/run.sh [OPTION…]   options of mnist_lora, such as --epochs N; --help lists them
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/examples/shared/packages.sh"

need_compiler
install_missing

echo "== building (build/release)"
(
    cd "$root"
    cmake --preset release
    cmake --build --preset release -j "$(nproc)"
)

echo "== build/release/examples/mnist_lora $*"
exec "$root/build/release/examples/mnist_lora" "$@"
