#!/bin/sh
# The README and the pages of the guide are true. Behind a line <!-- program: NAME --> stands a
# block ```c, and where the output is shown, a block ```text. NAME is a word, for a whole program,
# or a file that the block is a part of; of its output the page may show the first lines only.
# Links and file names lead to files that exist, and every program is in the list of programs.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"
cd "$LORIKEET_SOURCE_DIR" || exit 1
pages=$(ls ./*.md examples/*.md examples/guide/*.md examples/course/*.md |
    sed 's|^\./||')

# block PAGE NAME LANGUAGE: the first block of that language between the name's line and the next
# name's.
block() {
    awk -v name="<!-- program: $2 -->" -v open="\`\`\`$3" '
        /^<!-- program: / { here = $0 == name; next }
        here && $0 == open { inside = 1; next }
        inside && /^```$/ { exit }
        inside { print }' "$1"
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

# The page's own command, or the README's, with this build, its compiler and its flags, and all
# warnings.
compile() {
    from=$page
    grep -q '^cc my_program.c.*liblorikeet\|^cc my_program.c.*\\$' "$page" || from=README.md
    command=$(sed -n ":next
        /\\\\\$/ { N; s/\\\\\n *//; b next
        }
        s|\$L/build/release|$LORIKEET_BUILD_DIR|g
        s|^cc \(my_program.c.* -I\)\$L|\1$LORIKEET_SOURCE_DIR|p" "$from")
    flags="${CFLAGS:-} -std=gnu11 -Wall -Wextra -Wshadow -Wconversion -Werror"
    (cd "$work" && eval "${CC:-cc} $flags $command")
}

# shows COMMAND: the page shows the beginning of the command's output.
shows() {
    (cd "$work" && "$1") >"$work/printed" || return 1 # a program may write files
    head -n "$(wc -l <"$work/expected")" "$work/printed" | diff "$work/expected" -
}

for page in $pages; do
    for name in $(sed -n 's/^<!-- program: \(.*\) -->$/\1/p' "$page"); do
        block "$page" "$name" c >"$work/my_program.c"
        block "$page" "$name" text >"$work/expected"
        if [ -e "$name" ]; then
            program=$LORIKEET_BUILD_DIR/examples/$(basename "$name" .c)
            check "$page: $name has the block" part_of "$name" "$work/my_program.c"
        else
            program=$work/my_program
            check "$page: $name compiles" compile
        fi
        if [ -s "$work/expected" ]; then
            check "$page: $name prints what is shown" shows "$program"
        fi
    done
    case $page in
    examples/guide/*)
        check "$page: every block of C is a program, a part of one, or called a mistake" \
            [ "$(grep -c '^```c$' "$page")" -eq \
            "$(grep -cx '<!-- \(program: .*\|mistake\) -->' "$page")" ] ;;
    esac
    folder=$(dirname "$page")
    for link in $( (grep -o '](\([^)#:]*\)[)#]' "$page" | sed 's/^](//; s/.$//'
        sed -n 's/^\[.*\]: //p' "$page") | sort -u); do
        check "$page: $link exists" [ -e "$folder/$link" ]
    done
done

# A file name is one word in backticks. The list of changes names files that are gone.
for name in $(echo "$pages" | grep -v CHANGELOG | xargs sed '/^```/,/^```/d' |
    grep -oE '`(core|optim|nn|data|examples|tests)/[a-zA-Z0-9_./]*`' | tr -d '`' | sort -u); do
    check "$name exists" [ -e "$name" ]
done

# The tables of calls name functions that the headers have.
declared() {
    grep -oh 'lk_[a-z0-9_]*' examples/guide/from_pytorch*.md | sort -u | while read -r name; do
        grep -rqw --include='*.h' "$name" core optim nn data || echo "$name"
    done | diff /dev/null -
}
check "every function of the tables is declared" declared

for option in $("$LORIKEET_BUILD_DIR/examples/digit9" --help | grep -o '^  --[a-z]*'); do
    check "$option is described" grep -q "^|.*\`$option .*\` |" examples/guide/digits.md
done
for program in $(grep -rl '^int main(' examples --include='*.c' | sed 's|^examples/||'); do
    check "$program is in the list of programs" grep -qF "]($program) |" examples/README.md
done
check "README.md has at most 200 lines" [ "$(wc -l <README.md)" -le 200 ]
tally
