#!/bin/sh
# What the README shows is true. Behind a line <!-- program: NAME --> stand a block ```c and what
# the program prints, a block ```text. NAME is a word, for a whole program, or a file, of which the
# block is a part; of its output the README may show the first lines only. The links lead to files
# that exist.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"
cd "$LORIKEET_SOURCE_DIR" || exit 1

# block NAME LANGUAGE: the first block of that language behind the name's line.
block() {
    awk -v name="<!-- program: $1 -->" -v open="\`\`\`$2" '
        $0 == name { here = 1; next }
        here && $0 == open { inside = 1; next }
        inside && /^```$/ { exit }
        inside { print }' README.md
}

# part_of FILE PART: the lines of PART stand in FILE, one behind the other. (An empty part is no
# part.)
part_of() {
    awk 'NR == FNR { part[++n] = $0; next }
         { line[++m] = $0 }
         END { for (i = 0; n && i + n <= m; i++) {
                   for (j = 1; j <= n && line[i + j] == part[j]; j++);
                   if (j > n) exit 0
               }
               exit 1 }' "$2" "$1"
}

# Flags are words: CFLAGS stays unquoted.
compile() {
    ${CC:-cc} ${CFLAGS:-} -std=gnu11 -Wall -Wextra -Wshadow -Wconversion -Werror -I. \
        -o "$work/program" \
        "$work/block.c" "$LORIKEET_BUILD_DIR"/liblorikeet_core.* -fopenmp -lm
}

# shows COMMAND: what the README shows is how the command's output begins.
shows() {
    "$1" >"$work/printed" || return 1
    [ -s "$work/expected" ] && head -n "$(wc -l <"$work/expected")" "$work/printed" |
        diff "$work/expected" -
}

names=$(sed -n 's/^<!-- program: \(.*\) -->$/\1/p' README.md)
check "there are programs" [ -n "$names" ]
for name in $names; do
    block "$name" c >"$work/block.c"
    block "$name" text >"$work/expected"
    if [ "${name%.c}" = "$name" ]; then
        program=$work/program
        check "$name compiles" compile
    else
        program=$LORIKEET_BUILD_DIR/examples/$(basename "$name" .c)
        check "$name has the block" part_of "$name" "$work/block.c"
    fi
    check "$name prints what the README shows" shows "$program"
done

for option in $("$LORIKEET_BUILD_DIR/examples/digit9" --help | grep -o '^  --[a-z]*'); do
    check "$option is described" grep -q "^|.*\`$option .*\` |" README.md
done

for link in $(grep -o '](\([^)#:]*\))' README.md | sed 's/^](//; s/)$//'); do
    check "$link exists" [ -e "$link" ]
done
tally
