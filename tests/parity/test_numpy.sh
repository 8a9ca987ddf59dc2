#!/bin/sh
# Arrays and archives of ours, read by NumPy. 77: skipped, there is no python3 with numpy.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"

for python in python3 /usr/bin/python3 none; do
    "$python" -c 'import numpy' 2>/dev/null && break
done
[ "$python" != none ] || skip "no python3 with numpy to read the files"
must "files are written" "$LORIKEET_BUILD_DIR/tests/python_files" "$work"
check "NumPy reads them" \
    "$python" "$LORIKEET_SOURCE_DIR/tests/parity/python_files.py" numpy "$work"
tally
