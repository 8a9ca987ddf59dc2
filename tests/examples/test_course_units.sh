#!/bin/sh
# test_course_units.sh - the course checks itself: starters fail, solutions pass (plain, with
# sanitizers, in strict mode, for ten seeds), wrong solutions get their names.
. "$LORIKEET_SOURCE_DIR/tests/check.sh"

course=$LORIKEET_BUILD_DIR/examples/course
must "the program is there" [ -x "$course" ]

# tests/run.sh has built the program with sanitizers before; else dev-check builds it.
"$course" dev-check ${LORIKEET_COURSE_MEMORY:+--memory "$LORIKEET_COURSE_MEMORY"} \
    >"$work/lines" 2>&1
status=$?
cat "$work/lines"
while read -r line; do
    case $line in
        *": ok") check "$line" true ;;
        "FAILED - "*) check "${line#FAILED - }" false ;;
    esac
done <"$work/lines"
check "dev-check ends with status 0" [ "$status" -eq 0 ]

# Every starter compiles as strictly as the library, by both compilers, with single headers.
"$course" init "$work/class" --no-memory >/dev/null
for file in "$work/class"/*.c; do
    name=$(basename "$file" .c)
    for compiler in cc clang; do
        command -v $compiler >/dev/null || continue
        check "$name.c, the starter: $compiler" $compiler -std=gnu11 -Wall -Wextra -Wshadow \
            -Wno-unused-parameter -Werror -I "$LORIKEET_SOURCE_DIR" -fsyntax-only "$file"
    done
    check "$name.c includes neither LoRA's headers nor all of them" \
        sh -c "! grep -qE 'include .*(nn/lora\.h|nn/adapter\.h|lorikeet\.h)' '$file'"
done
tally
