# math.awk - a formula of the Markdown pages (a block ```math, TeX as GitHub shows it) as MathML.
# It knows what the pages use: letters, numbers, signs, ^ and _, {groups}, \\frac, Greek letters,
# \\mathbb, \\text and rows (\\\\) with one & each.
BEGIN {
    greek["alpha"] = "α"; greek["Delta"] = "Δ"; greek["sigma"] = "σ"; greek["partial"] = "∂"
    sign["cdot"] = "·"; sign["times"] = "×"; sign["in"] = "∈"; sign["top"] = "⊤"
    sign["to"] = "→"; sign["quad"] = "&emsp;"; sign["ll"] = "≪"; sign["sum"] = "∑"
}

function mathml(tex,    row, n, i, cell, html, rest) {
    gsub(/&amp;/, "\\&", tex)
    gsub(/\\begin\{aligned\}|\\end\{aligned\}/, "", tex)
    n = split(tex, row, /\\\\/)
    html = "<div class=\"formula\"><math display=\"block\">" \
           "<mtable displaystyle=\"true\" class=\"rows\">"
    for (i = 1; i <= n; i++) {
        if (row[i] ~ /^ *$/) continue
        cell = row[i]
        rest = ""
        if (index(cell, "&")) {
            rest = substr(cell, index(cell, "&") + 1)
            cell = substr(cell, 1, index(cell, "&") - 1)
        }
        html = html "<mtr><mtd>" expression(cell) "</mtd><mtd>" expression(rest) "</mtd></mtr>"
    }
    return html "</mtable></math></div>"
}

# All of s; `tex` is what is left to read.
function expression(s,    html) {
    tex = s
    html = terms()
    return html
}

# Terms up to the end or a closing brace.
function terms(    html, term, low, high, op) {
    while (1) {
        sub(/^ +/, "", tex)
        if (tex == "" || tex ~ /^}/) break
        term = atom()
        low = ""
        high = ""
        sub(/^ +/, "", tex)
        while (tex ~ /^[_^]/) {
            op = substr(tex, 1, 1)
            tex = substr(tex, 2)
            sub(/^ +/, "", tex)
            if (op == "_") low = atom()
            else high = atom()
            sub(/^ +/, "", tex)
        }
        if (low != "" && high != "") term = "<msubsup>" term low high "</msubsup>"
        else if (low != "") term = "<msub>" term low "</msub>"
        else if (high != "") term = "<msup>" term high "</msup>"
        html = html term
    }
    return html
}

function atom(    c, word, first, second) {
    c = substr(tex, 1, 1)
    if (c == "{") {
        tex = substr(tex, 2)
        first = terms()
        sub(/^}/, "", tex)
        return "<mrow>" first "</mrow>"
    }
    if (match(tex, /^\\[A-Za-z]+/)) {
        word = substr(tex, 2, RLENGTH - 1)
        tex = substr(tex, RLENGTH + 1)
        if (word == "frac") {
            sub(/^ +/, "", tex)
            first = atom()
            sub(/^ +/, "", tex)
            second = atom()
            return "<mfrac>" first second "</mfrac>"
        }
        if (word == "text" || word == "mathbb") {
            match(tex, /^\{[^}]*\}/)
            first = substr(tex, 2, RLENGTH - 2)
            tex = substr(tex, RLENGTH + 1)
            if (word == "text") return "<mtext>" first "</mtext>"
            return "<mi>" (first == "R" ? "ℝ" : first) "</mi>"
        }
        if (word in greek) return "<mi>" greek[word] "</mi>"
        if (word in sign) return "<mo>" sign[word] "</mo>"
        complain(source_now ": math.awk does not know \\" word)
        return ""
    }
    if (match(tex, /^\\[,;!]/)) {
        tex = substr(tex, 3)
        return "<mspace width=\".3em\"/>"
    }
    if (match(tex, /^[0-9.]+/)) {
        first = substr(tex, 1, RLENGTH)
        tex = substr(tex, RLENGTH + 1)
        return "<mn>" first "</mn>"
    }
    tex = substr(tex, 2)
    if (c == "'") return "<mo>′</mo>"
    if (c ~ /[()]/) return "<mo stretchy=\"false\">" c "</mo>"
    return c ~ /[A-Za-z]/ ? "<mi>" c "</mi>" : "<mo>" (c == "-" ? "−" : c) "</mo>"
}
