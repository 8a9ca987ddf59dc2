#!/bin/sh
# cnn_mnist against the same net in PyTorch (lenet.py): the first batches have the same loss, where
# python3-torch and MNIST are at hand. 77: skipped.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"

python=/usr/bin/python3
"$python" -c 'import torch' 2>/dev/null || skip "no python3-torch"
data=${LORIKEET_DATA:-$LORIKEET_SOURCE_DIR/../shared/data}
[ -e "$data/mnist/train-images-idx3-ubyte.gz" ] || skip "no MNIST in $data"

must "cnn_mnist trains" "$LORIKEET_BUILD_DIR/examples/cnn_mnist" --data "$data" --limit 20 \
    --epochs 2
grep '^epoch' "$work/output" >"$work/ours"
must "PyTorch trains" "$python" "$LORIKEET_SOURCE_DIR/tests/parity/lenet.py" "$data/mnist" 0 2 20
grep '^epoch' "$work/output" >"$work/theirs"

# Lines "epoch 1  loss 0.2310  test accuracy 97.50 %  0.8 s": loss within 0.0005, accuracy within
# 0.05. Times do not matter.
close() {
    paste -d ' ' "$work/ours" "$work/theirs"
    awk 'function far(a, b, most) { return a - b > most || b - a > most }
         FNR == NR { loss[$2] = $4; accuracy[$2] = $7; next }
         { lines++; if (far(loss[$2], $4, 0.0005) || far(accuracy[$2], $7, 0.05)) exit 1 }
         END { exit lines != 2 }' "$work/ours" "$work/theirs"
}

check "losses and accuracies are equal" close
tally
