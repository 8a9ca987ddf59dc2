#!/bin/sh
# test_course.sh - the program `course` as learners and teachers use it: without a terminal, in
# folders with blanks in their names, offline.
. "$LORIKEET_SOURCE_DIR/tests/check.sh"

course=$LORIKEET_BUILD_DIR/examples/course
pages=$LORIKEET_SOURCE_DIR/examples/course
units=$pages/units
must "the program is there" [ -x "$course" ]
here="$work/my course"

# in_folder COMMAND…: in the learner's folder; what it prints is in $work/said.
in_folder() {
    (cd "$here" && "$@") >"$work/said" 2>&1
}
fails() { # fails CODE COMMAND…
    code=$1
    shift
    in_folder "$@"
    test $? -eq "$code"
}
says() { grep -qF -- "$1" "$work/said"; }
said() { cat "$work/said"; }

# change FROM TO: in ex1.c, which becomes the solution first
change() {
    "$course" solution --now ex1 >"$here/ex1.c"
    sed "s|$1|$2|" "$here/ex1.c" >"$work/changed"
    ! cmp -s "$work/changed" "$here/ex1.c" && cp "$work/changed" "$here/ex1.c"
}
solve() { in_folder "$course" solution ex1 --now && cp "$work/said" "$here/ex1.c"; }
# wrong FROM TO TEXT…: the change is made, check fails with status 1, and says each text
wrong() {
    from=$1
    to=$2
    shift 2
    solve && sed "s|$from|$to|" "$work/said" >"$here/ex1.c" || return 1
    ! cmp -s "$work/said" "$here/ex1.c" || return 1
    fails 1 "$course" check ex1 || { said; return 1; }
    for part; do says "$part" || { echo "not said: $part"; said; return 1; }; done
}

# ---- beginning ----------------------------------------------------------------------------------

must "init writes a folder" "$course" init "$here" --no-memory
for file in Makefile compile_flags.txt ex1.c ex1.md hw3.answers.md; do
    check "init writes $file" [ -s "$here/$file" ]
done
check "the starter holds no mark and no solution" sh -c "! grep -q '//>\|lk_scale' '$here/ex1.c'"
rm "$here/ex2.c"
echo mine >"$here/ex3.c"
check "a second init restores what is missing" in_folder "$course" init . --no-memory
check "a missing starter" [ -s "$here/ex2.c" ]
check "and keeps the rest" [ "$(cat "$here/ex3.c")" = mine ]
check "it says so" says "Kept as they were"
check "a folder that is none is refused" sh -c "cd '$work' && ! '$course' check ex1 2>/dev/null"

check "the starter fails" fails 1 "$course" check ex1
check "a TODO is named, with its line" says "TODO left, ex1.c:"
check "later checks are listed" says "the output is alpha (x A B)"
check "no colours without a terminal" sh -c "! grep -q '$(printf '\033')' '$work/said'"
check "an unknown unit is refused" fails 2 "$course" check ex99
check "with the list of units" says "ex1"
check "an unknown option is refused" fails 2 "$course" check ex1 --sed 3
check "so is a negative seed" fails 2 "$course" check ex1 --seed -3
check "make checks a unit" fails 2 make ex1
check "list shows what is done" in_folder "$course" list
check "nothing is done" says "0 of"

# Lines of C that a change puts in front of the unit's own.
lib='include <math.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n'
first='__attribute__((constructor)) static void first(void)'

# ---- verdicts -----------------------------------------------------------------------------------

check "a compiler's error" wrong 'l->alpha);' 'l->alhpa);' "does not compile, ex1.c:" \
    "has no member named"
check "a function that is not there" wrong lk_matmul lk_matmull "does not compile" \
    "No header declares"
check "a declared function that is not there" wrong 'include <math.h>' \
    'include <math.h>\nTensor *own(Tape *t);\n#define lk_scale(t, x, a) own(t)' \
    "unknown function" own
check "a constructor of another name" wrong 'lora_layer_new' 'layer_new' "function missing" \
    "lora_layer_new is not defined"
check "other arguments" wrong 'int64_t rank, double alpha, Rng' 'int64_t rank, float alpha, Rng' \
    "does not compile" "course.h"
check "a NULL pointer" wrong 'Tensor \*update' 'int *p = NULL; *p = 1; Tensor *update' \
    "crash, ex1.c:" "SIGSEGV"
check "_Exit(0)" wrong 'Tensor \*update' '_Exit(0); Tensor *update' "ended early"
check "exit(0) while it is loaded" wrong 'include <math.h>' \
    "$lib$first { exit(0); }" \
    "ended early"
report='x\\\\t1\\\\t4\\\\t0\\\\t0\\\\t0\\\\t\\\\t\\\\t\\\\n'
check "a forged report" wrong 'return lk_scale(t, update, l->alpha);' \
    "ssize_t write(int, const void *, size_t); write(3, \"$report\", 17); return update;" \
    "ended early" "wrote into the report"
check "an operation that fails, with its line" wrong 'low_rank, l->B' 'low_rank, l->A' \
    "call failed, ex1.c:" "lk_matmul"
check "a shape" wrong 'return lk_scale(t, update, l->alpha)' \
    'return lk_transpose(t, lk_scale(t, update, l->alpha), 0, 1)' "wrong shape"
check "a value, with its element" wrong 'l->alpha);' 'l->alpha + 1.0);' "wrong value" "element [" \
    "12 of 12 differ"
check "a mistake by its name" wrong 'l->alpha);' '1.0);' "looks like: alpha forgotten"
sed -n '/^ex1  LoRALayer/,/^```$/p' "$pages/README.md" | sed '$d' >"$work/sample"
sed -n "2,$(($(wc -l <"$work/sample") + 1))p" "$work/said" >"$work/shown"
check "README.md shows its beginning" diff "$work/sample" "$work/shown"
check "what the code prints is shown" wrong 'l->alpha);' \
    '(printf("alpha is %g\\\\n", l->alpha), 1.0));' "printed by the code" "alpha is 8"
cat >"$here/ex1.c" <<'END'
#include "nn/module.h"
Module *lk_lora_layer_new(int64_t, int64_t, int64_t, double, Rng *, Error *);
Module *lora_layer_new(int64_t in, int64_t out, int64_t rank, double alpha, Rng *rng, Error *err)
{
    return lk_lora_layer_new(in, out, rank, alpha, rng, err);
}
END
check "the library's own class is refused" fails 1 "$course" check ex1
check "by name" says "the library's own class"
check "no file" sh -c "rm '$here/ex1.c'"
check "is a verdict too" fails 1 "$course" check ex1
check "which names the file" says "ex1.c is not there"

# ---- hints, the solution, reset -----------------------------------------------------------------

for hint in "the idea" "the formula" "the line" "the line"; do
    check "hint: $hint" in_folder "$course" hint ex1
    check "hint says $hint" says "$hint"
done
check "a hint by its number" in_folder "$course" hint ex1 1
check "is the idea" says "the idea"
check "the solution waits" fails 1 "$course" solution ex1
check "and says how to get it" says --now
check "--now shows it" solve
check "the solution passes" in_folder "$course" check ex1
check "and is done" says "Done. Next:"
check "list knows" in_folder "$course" list
check "one is done" says "1 of"
check "then the solution is free" in_folder "$course" solution ex1
check "--diff compares" in_folder "$course" solution ex1 --diff
check "equal files" says "Your file is the solution."
check "other seeds pass too" in_folder "$course" check ex1 --seed 77
check "reset" in_folder "$course" reset ex1
check "keeps the file" sh -c "grep -q lk_scale '$here/ex1.c.1' && ! grep -q lk_scale '$here/ex1.c'"
check "and undoes the mark" in_folder "$course" list
check "none is done" says "0 of"
solve
check "--json" in_folder "$course" check ex1 --json
if command -v python3 >/dev/null; then
    check "is JSON" python3 -c "import json, sys; r = json.load(open(sys.argv[1])); \
assert r[0]['unit'] == 'ex1' and r[0]['done'] and len(r[0]['checks']) == r[0]['of']" "$work/said"
fi

# ---- watch --------------------------------------------------------------------------------------

# Keys come from a pipe; each next one waits for what the one before makes watch print.
wait_for() { # wait_for TEXT FILE: for at most two minutes of waiting
    for _ in $(seq 1200); do
        grep -qF -- "$1" "$2" 2>/dev/null && return 0
        sleep 0.1
    done
    return 1
}
mkfifo "$work/keys"
"$course" reset ex1 >/dev/null 2>&1
(cd "$here" && "$course" reset ex1 >/dev/null && exec "$course" watch ex1 <"$work/keys" \
    >"$work/watched" 2>&1) &
watcher=$!
exec 9>"$work/keys"
check "watch checks at once" wait_for "TODO left" "$work/watched"
"$course" --help >/dev/null
(cd "$here" && "$course" solution ex1 --now >"$work/solved" && cp "$work/solved" ex1.c)
check "and when the file is saved" wait_for "8 of 8" "$work/watched"
check "and says what comes next" wait_for "Done. n:" "$work/watched"
printf h >&9
check "h: a hint" wait_for "hint 1 of 3" "$work/watched"
printf l >&9
check "l: the list" wait_for "units done" "$work/watched"
printf x >&9
check "x asks" wait_for "x again" "$work/watched"
printf x >&9
check "x resets" wait_for "is the starter again" "$work/watched"
printf q >&9
exec 9>&-
check "q: the end" wait "$watcher"

# ---- the pages ----------------------------------------------------------------------------------

# In teacher.md's table the third column is what the program says, a remark in parentheses apart.
sed -n '/what the learner sees |/,/^$/p' "$pages/teacher.md" |
    awk -F ' [|] ' 'NR > 2 && NF && !/verdict:/ { sub(/ \(.*/, "", $3); print $3 }' \
        >"$work/mistakes"
sed -n 's/.*: looks like //p' "$units"/*.c >"$work/known"
check "teacher.md has two mistakes a unit" [ "$(wc -l <"$work/mistakes")" -ge 28 ]
check "the units know all of them" sh -c "! grep -vxFf '$work/known' '$work/mistakes'"

# The C of these pages is the solution's.
for unit in nb1 nb2 nb3 hw1 hw2 hw3; do
    in_folder "$course" solution "$unit" --now
    awk '/^```/ { inside = $0 == "```c"; next } inside && NF' "$units/$unit.md" >"$work/lines"
    check "$unit.md has lines of C" [ -s "$work/lines" ]
    check "they are the solution's" sh -c "! grep -vxFf '$work/said' '$work/lines'"
done

# ---- answers in words ---------------------------------------------------------------------------

in_folder "$course" solution --now hw3
cp "$work/said" "$here/hw3.c"
check "an answer that is missing is noted" fails 1 "$course" check hw3
check "by its heading" says "8. Which rank is best"
sed 's/^## .*/&\n\nA text./' "$units/hw3.answers.md" >"$here/hw3.answers.md"
check "a text of any kind will do" fails 0 "$course" check hw3

# ---- a class ------------------------------------------------------------------------------------

mkdir "$work/class"
for name in right wrong half hanging crashing leaving copied1 copied2 given empty; do
    "$course" init "$work/class/$name" --no-memory >/dev/null
    rm "$work/class/$name"/*.c
done
solve
cp "$here/ex1.c" "$work/class/given"
own() { sed "s|$2|$3|; s|/\* ex1.c|/* mine: ex1.c|" "$here/ex1.c" >"$work/class/$1/ex1.c"; }
own right 'l->alpha);' '1.0 * l->alpha);'
own wrong 'l->alpha);' '1.0);'
own half 'return lk_scale(t, update, l->alpha);' 'return NULL;'
own hanging 'Tensor \*update' 'for (;;) l->alpha++; Tensor *update'
own crashing 'Tensor \*update' 'l->A = NULL; *(int *)l->A = 1; Tensor *update'
own leaving 'include <math.h>' \
    "$lib$first { puts(\"PASS\"); exit(0); }"
own copied1 'update' 'change'
cp "$work/class/copied1/ex1.c" "$work/class/copied2"
check "grade" sh -c "cd '$work/class' && '$course' grade * --seed 5 --csv ../class.csv \
    --answers ../answers.md >'$work/graded' 2>/dev/null"
# points NAME N: the points of ex1 in the CSV, whose columns are named in its first line
points() {
    awk -F , -v name="\"$1\"" '
        NR == 1 { for (i = 1; i <= NF; i++) mine[i] = $i ~ /^ex1\./ }
        $1 == name { for (i = 1; i <= NF; i++) if (mine[i]) sum += $i; print sum + 0 }' \
        "$work/class.csv"
}
has_points() { test "$(points "$1")" = "$2" || { points "$1"; cat "$work/class.csv"; return 1; }; }
check "the right one has all points" has_points right 8
check "a wrong one has some" has_points wrong 5
check "a half one too" has_points half 4
check "a hanging one keeps those before it" has_points hanging 3
check "a crashing one too" has_points crashing 3
check "one that leaves has none" has_points leaving 0
check "an empty folder has none" has_points empty 0
for reason in "hanging .*time-out" "crashing .*crash" "leaving .*ended early" \
    "given .*the course's solution" "copied1 .*the same file as copied2"; do
    check "needs a look: $reason" grep -q "$reason" "$work/graded"
done
check "it says whether there is a sandbox" grep -q "sandbox" "$work/graded"
check "answers are collected" grep -q "# right, hw3" "$work/answers.md"
tally
