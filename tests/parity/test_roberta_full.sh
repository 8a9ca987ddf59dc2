#!/bin/sh
# RoBERTa against PyTorch through files: small always where python3-torch is there, at full size (4
# GB, half a minute) when $LORIKEET_FULL is set. 77: skipped.
python=/usr/bin/python3
"$python" -c 'import torch' 2>/dev/null || { echo "no python3-torch"; exit 77; }
program="$LORIKEET_BUILD_DIR/tests/roberta_gradients"
[ -x "$program" ] || { echo "roberta_gradients was not built: it needs the examples"; exit 77; }
[ -n "$LORIKEET_FULL" ] &&
    exec "$python" "$LORIKEET_SOURCE_DIR/tests/parity/roberta_full.py" "$program"
exec "$python" "$LORIKEET_SOURCE_DIR/tests/parity/roberta_full.py" "$program" --small
