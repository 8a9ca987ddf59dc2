# calls.awk - reads installed headers and writes calls of every function that they declare, for
# tests/core/test_calls.c.
#     awk -f calls.awk core/*.h nn/*.h … > calls.h
# For each pointer parameter of a function there is a call with NULL in its place, and for each
# tensor or array of tensors one with stale ones and one with bfloat16. Everything else is
# GOOD_<type>, which the test defines: a type that it does not know does not compile, so no new
# function can be forgotten.

# A declaration may take several lines.
FNR == 1 { declaration = "" }
/^LK_API_DATA/ || /define/ { next }
# LK_MODULE_TYPE(Linear, lk_linear_type, lk_as_linear); declares Linear *lk_as_linear(Module *m).
/^LK_MODULE_TYPE/ { in_type = 1; declaration = "" }
in_type {
    declaration = declaration $0
    if ($0 !~ /;/) next
    gsub(/LK_MODULE_TYPE\(|\).*/, "", declaration)
    split(declaration, type, / *, */)
    declare(type[1] " *" type[3] "(Module *m);")
    declaration = ""
    in_type = 0
    next
}
declaration != "" || /^LK_API / {
    line = $0
    gsub(/\/\*[^*]*\*\//, "", line)
    sub(/\/\*.*/, "", line)
    declaration = declaration " " line
    if (line !~ /;/) next
    gsub(/LK_PRINTF\([^)]*\)|LK_API|LK_MUST_CHECK/, "", declaration)
    gsub(/[ \t]+/, " ", declaration)
    declare(declaration)
    declaration = ""
}

# "Tensor *const *" is Tensor_pp, "const char *" is char_p.
function mangled(type) {
    gsub(/const/, "", type)
    gsub(/\*/, "p", type)
    gsub(/struct /, "", type)
    gsub(/ /, "", type)
    return type
}

function declare(text,    open, head, name, result, list, n, i, depth, c, parameters, count) {
    open = index(text, "(")
    head = substr(text, 1, open - 1)
    match(head, /[A-Za-z_0-9]+$/)
    name = substr(head, RSTART)
    result = substr(head, 1, RSTART - 1)
    gsub(/^ | $/, "", result)
    list = substr(text, open + 1)
    sub(/\) *;.*$/, "", list)
    count = 1
    depth = 0
    for (i = 1; i <= length(list); i++) {
        c = substr(list, i, 1)
        depth += (c == "(") - (c == ")")
        if (c == "," && depth == 0) count++
        else parameters[count] = parameters[count] c
    }
    calls(name, result, parameters, count)
}

function calls(name, result, parameters, count,    i, type, what, types, names) {
    for (i = 1; i <= count; i++) {
        type = parameters[i]
        gsub(/^ | $/, "", type)
        if (type == "void") return
        if (type == "...") { types[i] = "dots"; continue }
        if (type ~ /\(\*/) { types[i] = "function_p"; names[i] = "release"; continue }
        what = type
        sub(/\[.*/, "", what)
        match(what, /[A-Za-z_0-9]+$/)
        names[i] = substr(what, RSTART)
        types[i] = mangled(substr(what, 1, RSTART - 1) (type ~ /\[/ ? "*" : ""))
    }
    for (i = 1; i <= count; i++) {
        if (types[i] ~ /p$/ && names[i] != "format")
            write(name, result, types, names, count, i, "NULL")
        if (types[i] == "Tensorp" || parameters[i] ~ /^ ?Tensor \*const \*(x|in)$/) {
            write(name, result, types, names, count, i, "STALE_" types[i])
            write(name, result, types, names, count, i, "HALF_" types[i])
        }
    }
}

function write(name, result, types, names, count, place, value,    i, arguments) {
    for (i = 1; i <= count; i++) {
        if (types[i] == "dots") continue
        good = "GOOD_" (names[i] == "format" ? "format" : types[i])
        arguments = arguments (i > 1 ? ", " : "") (i == place ? value : good)
    }
    sub(/_.*/, "", value)
    printf "%s_CALL(%s, %s, %s, %s, (%s))\n", value,
           result == "void" ? "NOTHING" : "RESULT", name, names[place], name, arguments
}
