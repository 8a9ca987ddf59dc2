#!/bin/sh
# The arrows of the house: which file may call or include which. A file and its header are one, so
# object files are the nodes of the first rule. Each rule is first shown to find a planted fault.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"
cd "$LORIKEET_SOURCE_DIR" || exit 1

# none COMMAND…: the command, which prints faults, prints none.
none() {
    "$@" >"$work/faults"
    sed 50q "$work/faults"
    test ! -s "$work/faults"
}
# finds TEXT COMMAND…: the command prints exactly this one fault.
finds() {
    expected=$1
    shift
    "$@" | tee "$work/faults"
    test "$(cat "$work/faults")" = "$expected"
}
# plant FILE LINE…: a file under $work/planted, where faults are looked for as in the tree.
plant() {
    mkdir -p "$work/planted/$(dirname "$1")"
    file=$work/planted/$1
    shift
    printf '%s\n' "$@" >"$file"
}
planted() {
    (cd "$work/planted" && "$@")
}

# ---- no circle of calls -------------------------------------------------------------------------

# calls OBJECT…: "caller callee function", of CMakeFiles/lorikeet_core.dir/core/tape.c.o and such.
calls() {
    nm -A -g "$@" | sed 's|^.*\.dir/||; s|\.c\.o: *| |' | awk '
        $2 == "U" { caller[++n] = $1; wanted[n] = $3; next }
        { defined[$4] = $1 }
        END {
            for (i = 1; i <= n; i++) {
                callee = defined[wanted[i]]
                if (callee != "" && callee != caller[i]) print caller[i], callee, wanted[i]
            }
        }'
}
# circles: of the lines of calls on stdin, those in circles and between circles. A file that calls
# nothing, or that nothing calls, is in no circle: its lines go, until no more can go.
circles() {
    sort >"$work/calls"
    while :; do
        awk 'NR == FNR { calls[$1]; called[$2]; next } ($2 in calls) && ($1 in called)' \
            "$work/calls" "$work/calls" >"$work/left"
        cmp -s "$work/calls" "$work/left" && break
        mv "$work/left" "$work/calls"
    done
    cat "$work/left"
}
objects() {
    for source in $(find "$@" -name '*.c'); do
        ls "$LORIKEET_BUILD_DIR"/CMakeFiles/lorikeet_*.dir/"$source.o"
    done
}
circles_of() {
    calls $(objects "$@") | circles
}

plant core/low.c 'int lk_high(void); int lk_low(void); int lk_low(void) { return lk_high(); }'
plant core/high.c 'int lk_high(void); int lk_low(void); int lk_high(void) { return lk_low(); }'
plant core/user.c 'int lk_high(void); int lk_user(void); int lk_user(void) { return lk_high(); }'
for name in low high user; do
    must "core/$name.c can be planted" \
        "$CC" -c "$work/planted/core/$name.c" -o "$work/planted/core/$name.c.o"
done
planted_circle() {
    planted calls core/low.c.o core/high.c.o core/user.c.o | circles
}
check "a circle of calls is found" finds "core/high core/low lk_low
core/low core/high lk_high" planted_circle
check "no circle of calls in core, optim, nn and data" none circles_of core optim nn data

# ---- files are reached through data/io.c --------------------------------------------------------

# bypasses OBJECT…: "file function" of libc's functions about files, outside of the table.
bypasses() {
    nm -A -u "$@" | sed 's|^.*\.dir/||; s|\.c\.o: *U | |' | awk '
        BEGIN {
            n = split("open openat fopen fdopen freopen fdopendir opendir readdir closedir " \
                      "scandir close fclose read pread fread getline fgets write pwrite " \
                      "fsync fdatasync " \
                      "stat lstat fstat fstatat access realpath readlink chmod fchmod truncate " \
                      "ftruncate link symlink rename renameat renameat2 unlink unlinkat remove " \
                      "mkdir mkdtemp mkstemp tmpfile rmdir mmap flock lockf fcntl", list, " ")
            for (i = 1; i <= n; i++) known[list[i]]
        }
        { name = $2; sub(/^_+/, "", name); sub(/64$/, "", name) }
        $1 != "data/io" && name in known { print $1, name }'
}
plant core/bypass.c 'int open(const char *, int, ...); int lk_f(void);' \
    'int lk_f(void) { return open("x", 0); }'
must "core/bypass.c can be planted" \
    "$CC" -c "$work/planted/core/bypass.c" -o "$work/planted/core/bypass.c.o"
check "a call that goes round the table of data/io.h is found" finds "core/bypass open" \
    planted bypasses core/bypass.c.o
check "data reads and writes files through the table of data/io.h" none bypasses $(objects data)

# ---- core <- optim <- nn <- data ----------------------------------------------------------------

# includes FOLDER…: "file header" of each #include "header".
includes() {
    find "$@" -name '*.[ch]' | sort |
        xargs awk '/^ *# *include "/ { split($0, part, "\""); print FILENAME, part[2] }'
}
upwards() {
    includes core optim nn data | awk '
        BEGIN { level["core"] = 1; level["optim"] = 2; level["nn"] = 3; level["data"] = 4 }
        {
            split($1, from, "/"); split($2, to, "/")
            down = level[to[1]] && level[to[1]] <= level[from[1]]
            # the Trainer steps an optimizer, and a report on training looks at one
            if (from[1] == "nn" && to[1] == "optim" && $1 !~ /^nn\/(trainer|diagnose)/) down = 0
            if (!down) print
        }'
}
plant optim/adam.c '#include "core/tensor.h"' '#include "nn/module.h"'
plant nn/linear.c '#include "optim/optimizer.h"'
plant nn/trainer_log.c '#include "optim/optimizer.h"'
plant data/idx.c '#include "examples/shared/cli.h"' '#include <zlib.h>'
check "an include that goes up is found" finds "data/idx.c examples/shared/cli.h
nn/linear.c optim/optimizer.h
optim/adam.c nn/module.h" planted upwards
check "includes go down: core <- optim <- nn <- data" none upwards

# ---- tests include no source --------------------------------------------------------------------

sources() {
    includes tests | awk '$2 ~ /\.c$/'
}
plant tests/core/test_x.c '#include "tests/check.h"' '#include "examples/digits/net.c"'
check "a test that includes a source file is found" \
    finds "tests/core/test_x.c examples/digits/net.c" planted sources
check "no test includes a source file" none sources

# ---- examples include what is installed ---------------------------------------------------------

# An example includes headers that are installed (CMakeLists.txt), those of its own folder in
# examples/, and those of examples/shared.
strangers() {
    installed="core/real.h $(grep -l LK_API $(find core optim nn data -name '*.h'))"
    includes examples | awk -v installed="$installed" '
        BEGIN { n = split(installed, list, /[ \n]+/); for (i = 1; i <= n; i++) known[list[i]] }
        {
            split($1, part, "/"); folder = part[1] "/" part[2] "/"
            own = $2 !~ /\// || ($2 ~ /\.h$/ && index($2, folder) == 1)
            if (!($2 in known) && !own && $2 !~ /^examples\/shared\/[^\/]*\.h$/) print
        }'
}
plant core/tape.h 'LK_API void lk_tape_reset(Tape *t);'
plant core/internal.h 'int lk__thread(void);'
plant examples/own/op.c '#include "core/real.h"' '#include "core/tape.h"' \
    '#include "core/internal.h"' '#include "examples/own/table.h"' \
    '#include "examples/shared/cli.h"' '#include "examples/digits/net.h"'
check "an example that includes a hidden header is found" finds "examples/own/op.c core/internal.h
examples/own/op.c examples/digits/net.h" planted strangers
check "examples include what is installed, their own, and examples/shared" none strangers
tally
