#!/bin/sh
# The adapters of 500 random nets, read by PEFT's rule in Python (its standard library is enough):
# the same modules, ranks and strengths. 77: skipped, there is no python3.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"
python3 -c 'import json, re, struct' 2>/dev/null || skip "no python3 to read the files"
rule="$LORIKEET_SOURCE_DIR/tests/parity/peft_rule.py"
fails() { ! "$@"; }

LORIKEET_PEFT_NETS="$work/nets"
export LORIKEET_PEFT_NETS
mkdir "$LORIKEET_PEFT_NETS"
must "500 nets are saved" sh "$LORIKEET_SOURCE_DIR/tests/criterion.sh" \
    "$LORIKEET_BUILD_DIR/tests/test_peft_random"
if grep -q '"peft_type"' "$LORIKEET_PEFT_NETS"/*/adapter_config.json 2>/dev/null; then
    check "PEFT's rule gives what was meant" sh -c 'python3 "$0" "$1" >"$1.log" && cat "$1.log"' \
        "$rule" "$work/nets"
    check "of more than 400 nets" grep -E '^4[0-9]{2} nets, [0-9]{4} adapters' "$work/nets.log"
    sed 's/"lora_alpha": .*/"lora_alpha": 7.25,/' "$work/nets/0/adapter_config.json" >"$work/other"
    cp "$work/other" "$work/nets/0/adapter_config.json"
    check "fault: another alpha" fails python3 "$rule" "$work/nets"
fi
tally
