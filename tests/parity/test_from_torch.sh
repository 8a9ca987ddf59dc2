#!/bin/sh
# Two nets trained in PyTorch: loaded and trained on by from_torch, and loaded by PyTorch again.
# 77: skipped, there is no python3 with torch.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"
program=$LORIKEET_BUILD_DIR/examples/from_torch
script=$LORIKEET_SOURCE_DIR/examples/own/from_torch.py
fails() { ! "$@"; }

check "without a folder it says how to make one" \
    sh -c '"$0" | grep "from_torch.py write"' "$program"
check "a folder without nets is refused" fails "$program" "$work"
for python in python3 /usr/bin/python3 none; do
    "$python" -c 'import torch' 2>/dev/null && break
done
if [ "$python" = none ]; then
    [ "$failed" -eq 0 ] || tally
    skip "no python3 with torch to make nets"
fi
must "PyTorch trains two nets" "$python" "$script" write "$work/nets"
must "from_torch gives the same and trains on" "$program" "$work/nets"
check "PyTorch gives what from_torch gave" "$python" "$script" check "$work/nets"
check "as it says of each net" \
    [ "$("$python" "$script" check "$work/nets" | grep -c '^PASS .* back again')" -eq 2 ]
cp "$work/nets/tagger.safetensors" "$work/nets/tagger_back.safetensors"
check "fault: the weights before training on" fails "$python" "$script" check "$work/nets"
tally
