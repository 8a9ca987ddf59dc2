#!/bin/sh
# A safetensors file of ours, read by the few lines of examples/own/plain_safetensors.py. 77:
# skipped, there is no python3.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"

python3 -c 'import array, json' 2>/dev/null || skip "no python3 to read the file"
must "files are written" "$LORIKEET_BUILD_DIR/tests/python_files" "$work"
check "plain Python reads them" \
    python3 "$LORIKEET_SOURCE_DIR/tests/parity/python_files.py" plain "$work"
reader_shown() {
    awk '/^```/ { inside = $0 == "```python"; next } inside' \
        "$LORIKEET_SOURCE_DIR/examples/guide/from_pytorch.md" >"$work/shown"
    [ -s "$work/shown" ] && head -n "$(wc -l <"$work/shown")" \
        "$LORIKEET_SOURCE_DIR/examples/own/plain_safetensors.py" | diff "$work/shown" -
}
check "the guide shows the reader as it is" reader_shown
tally
