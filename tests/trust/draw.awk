# draw.awk - draws mutants of C sources and writes each as a patch for tests/trust/mutant.sh.
#     awk -v seed=1 -v count=100 -v tests="test_a test_b" -v out=FOLDER -f draw.awk FILE…
#
# A mutant changes one line: another operator, a bound moved by one, a result turned round, a
# statement dropped. The tests are tried in the order given, but those come first whose names share
# a word with the file: test_ops_sort for core/ops_sort.c. The same seed draws the same mutants,
# whichever awk it is.

function random(n) { # 0 … n - 1 (Park and Miller)
    state = state * 16807 % 2147483647
    return int(state / 2147483647 * n)
}

# Notes a mutant of this line.
function candidate(changed) {
    file[found] = FILENAME
    line[found] = FNR
    mutant[found++] = changed
}

# Every place of `old` in the code becomes `new` in a mutant of its own.
function replace(old, new,    at, from) {
    for (from = 1; (at = index(substr(code, from), old)) > 0; from += at + length(old) - 1)
        candidate(substr(code, 1, from + at - 2) new \
            substr(code, from + at - 1 + length(old)) rest)
}

function balanced(part) { return gsub(/\(/, "(", part) == gsub(/\)/, ")", part) }

BEGIN {
    state = seed * 7919 + 1
    pairs = split(" + | - | - | + | * | + | / | * | < | <= | <= | < | > | >= | >= | > | == | != " \
        "| != | == | += | = | -= | += | - 1|| + 1||return true;|return false;" \
        "|return false;|return true;|if (!|if (", pair, "|")
}

{ text[FILENAME, FNR] = $0; lines[FILENAME] = FNR }
FNR == 1 { in_comment = 0 }
/\/\*/ && !/\*\// { in_comment = 1 }
in_comment { if (/\*\//) in_comment = 0; next }
# Directives, tables, types and messages are no code.
/^[^ ]/ || /^ *#/ || /"/ || /\\$/ || /static const / { next }
{
    at = index($0, "/*")
    code = at ? substr($0, 1, at - 1) : $0
    rest = at ? substr($0, at) : ""
    for (i = 1; i < pairs; i += 2) replace(pair[i], pair[i + 1])
    replace(" && ", " || ")
    replace(" || ", " && ")
    # a statement of one line that declares nothing
    if (code ~ /^ +[a-z_][A-Za-z0-9_.>\[\]*-]*(\(.*\)| [-+*\/|]?= .*);$/ && balanced(code) &&
        code !~ /^ +(return|goto|const|static|int|bool|float|double|char|size_t|real)[ ;(*]/ &&
        text[FILENAME, FNR - 1] ~ /[;{}]( *\/\*.*)?$/) {
        drop = code
        sub(/[^ ].*/, ";", drop)
        candidate(drop rest)
    }
}

# The tests, those first that share a word with the file.
function order(name,    words, i, j, n, first, later, all, shared) {
    sub(/.*\//, "", name)
    sub(/(_real)?\.[ch]$/, "", name)
    n = split(name, words, "_")
    split(tests, all, " ")
    for (i = 1; i in all; i++) {
        shared = 0
        for (j = 1; j <= n; j++)
            if (words[j] != "ops" && index("_" all[i] "_", "_" words[j] "_")) shared = 1
        if (shared) first = first " " all[i]
        else later = later " " all[i]
    }
    return first later
}

END {
    for (drawn = 0; drawn < count && drawn < found;) {
        i = random(found)
        if (i in taken) continue
        taken[i] = 1
        drawn++
        f = file[i]
        l = line[i]
        stem = f
        gsub(/[\/.]/, "_", stem)
        path = sprintf("%s/%s_%d_%d.patch", out, stem, l, i)
        print "killed by" order(f) >path
        print "--- a/" f >path
        print "+++ b/" f >path
        print "@@ -" l - 1 ",3 +" l - 1 ",3 @@" >path
        print " " text[f, l - 1] >path
        print "-" text[f, l] >path
        print "+" mutant[i] >path
        print " " text[f, l + 1] >path
        close(path)
    }
    print found
}
