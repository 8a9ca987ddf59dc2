# draws.awk - finds calls and lists of C in which two elements draw random numbers: C leaves open
# which of them is first, and so which numbers it gets. Read by test_sources.sh.
#
# A call draws when it is handed a generator, a name that ends in "rng", or is one of those that
# draw from the tape's stream. An element of a group in brackets draws when there is such a call in
# it. Statements, conditions, declarators and the operands of && || ?: have an order of their own;
# a call around a call that draws comes after it.
function report(text) {
    printf "%s:%d: %s\n", FILENAME, FNR, text
    found = 1
}

function open_group(bracket) {
    depth++
    name[depth] = word
    call[depth] = bracket == "("
    draws[depth] = word ~ /^lk_(dropout|residual_norm|attention_with)$/
    statements[depth] = elements[depth] = element[depth] = operand[depth] = 0
}

function close_group(    drawn) {
    elements[depth] += element[depth]
    drawn = !statements[depth] && (draws[depth] || elements[depth])
    if (!statements[depth] && elements[depth] > 1)
        report(name[depth] "(…) draws in " elements[depth] " of its elements")
    depth--
    if (statements[depth + 1] || name[depth + 1] ~ /^(if|while|for|switch)$/) {
        element[depth] = operand[depth] = 0
    } else if (drawn) {
        if (operand[depth]) report("an expression draws twice")
        element[depth] = operand[depth] = 1
    }
}

FNR == 1 { depth = comment = 0; quote = "" }
depth == 0 { element[0] = operand[0] = 0 }
{
    for (i = 1; i <= length($0); i++) {
        c = substr($0, i, 1)
        two = substr($0, i, 2)
        if (comment) { if (two == "*/") { comment = 0; i++ } }
        else if (quote != "") { if (c == "\\") i++; else if (c == quote) quote = "" }
        else if (two == "/*") { comment = 1; i++ }
        else if (two == "//") break
        else if (c == "\"" || c == "\047") quote = c
        else if (c ~ /[A-Za-z0-9_]/) {
            match(substr($0, i), /^[A-Za-z0-9_]+/)
            word = substr($0, i, RLENGTH)
            if (word ~ /rng$/ && call[depth]) draws[depth] = 1
            i += RLENGTH - 1
        } else {
            if (c ~ /[({[]/) open_group(c)
            else if (c ~ /[)}\]]/ && depth > 0) close_group()
            else if (c == ",") {
                elements[depth] += element[depth]
                element[depth] = operand[depth] = 0
            }
            else if (c ~ /[&|?:]/) operand[depth] = 0
            else if (c == ";") {
                statements[depth] = 1
                elements[depth] = element[depth] = operand[depth] = 0
            }
            if (c != " ") word = ""
        }
    }
}
END { exit found }
