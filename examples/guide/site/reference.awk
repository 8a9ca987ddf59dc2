# reference.awk - reads installed headers and writes a page of the reference for each.
#     awk -v out=FOLDER -f reference.awk core/*.h nn/*.h …
# FOLDER/<header>.html gets the body of the page, FOLDER/symbols a line for each name:
# name, file#anchor, declaration (tabs between). page.awk adds colours and links. A public name
# without a comment before, behind or inside of its declaration is an error.
FNR == 1 { files[++count] = FILENAME }
{
    line[FILENAME, FNR] = $0
    length_of[FILENAME] = FNR
    if (match($0, /^(typedef )?(struct|enum) [A-Za-z]+ \{/)) {
        split($0, word, / /)
        defined[word[1] == "typedef" ? word[3] : word[2]] = 1
    }
}
END {
    symbols = out "/symbols"
    printf "" >symbols
    contents = out "/reference.html"
    print "<h1>Reference</h1>\n<p>All public headers. <code>#include &lt;lorikeet/lorikeet.h&gt;" \
          "</code> includes all but <code>core/real.h</code>. It lies in the build folder, " \
          "<code>-Ibuild/release/include</code>, and in the installed tree.</p>" >contents
    for (f = 1; f <= count; f++) header(files[f])
    exit bad
}

function header(path,    i, n, s) {
    page = out "/" path ".html"
    here = path
    doc = ""
    signatures = ""
    undocumented = ""
    first = 1
    n = length_of[path]
    printf "<h1>%s</h1>\n", path >page
    for (i = 1; i <= n; i++) {
        s = line[path, i]
        if (s ~ /^\/\* clang-format/ || s ~ /^#include/ || s ~ /^#(ifndef|define) LK_[A-Z_]*_H$/)
            continue
        if (s ~ /^\/\* ---- /) {
            end_item()
            gsub(/^\/\* -+ | -+ \*\/$/, "", s)
            section(s)
        } else if (s ~ /^\/\*/) {
            i = comment(path, i)
        } else if (s == "") {
            end_item()
        } else if (i == n && s == "#endif") {
            break
        } else {
            i = declaration(path, i)
        }
    }
    end_item()
    close(page)
    in_contents(path)
}

# A row of the page that lists all headers.
function in_contents(path,    folder, words) {
    folder = folder_of(path)
    if (folder != last_folder) print "<h2>" folder "</h2>" >contents
    last_folder = folder
    words = about
    sub(/\n *\n.*/, "", words)
    sub(/\. [A-Z].*/, ".", words)
    print "<p class=\"file\"><a href=\"" path "\">" path "</a> " inline(words) "</p>" >contents
}

# "reductions (ops_reduce.c)": a heading, and where the code is.
function section(s,    file) {
    if (match(s, / \([a-z_\/]+\.c\)$/)) {
        file = substr(s, RSTART + 2, RLENGTH - 3)
        s = substr(s, 1, RSTART - 1)
        if (file !~ /\//) file = folder_of(here) "/" file
    }
    printf "<h2>%s</h2>\n", inline(toupper(substr(s, 1, 1)) substr(s, 2)) >page
    if (file != "") printf "<p class=\"where\">In <code>%s</code></p>\n", file >page
}

function folder_of(path) {
    sub(/\/[^\/]*$/, "", path)
    return path
}

# Reads the comment that begins at line i; returns its last line.
function comment(path, i,    s, text, last) {
    if (signatures != "") end_item()
    for (;; i++) {
        s = line[path, i]
        last = s ~ /\*\/ *$/
        sub(/^\/\* ?/, "", s)
        sub(/^ \* ?/, "", s)
        sub(/ *\*\/ *$/, "", s)
        text = text s "\n"
        if (last) break
    }
    if (first) {
        sub(/^[a-z_]+\.h - /, "", text)
        text = toupper(substr(text, 1, 1)) substr(text, 2)
        print "<div class=\"about\">" prose(text) "</div>" >page
        about = text
        first = 0
    } else {
        doc = doc (doc == "" ? "" : "\n") text
    }
    return i
}

function end_item(    text) {
    if (signatures != "") {
        text = doc == "" ? "" : "<div class=\"doc\">" prose(doc) "</div>\n"
        printf "<section class=\"item\">\n%s%s</section>\n", signatures, text >page
        if (undocumented != "" && doc == "") {
            print undocumented >"/dev/stderr"
            bad = 1
        }
    } else if (doc != "") {
        print prose(doc) >page
    }
    signatures = ""
    doc = ""
    undocumented = ""
}

# Reads the declaration that begins at line i; returns its last line.
function declaration(path, i,    s, text, plain, depth, begin, note, kind, name, cut, code, n, k) {
    begin = i
    s = line[path, i]
    kind = s ~ /^#if/ ? "if" : s ~ /^#/ ? "macro" : s ~ /^LK_MODULE_TYPE/ ? "module" : \
           s ~ /^LK_API_DATA/ ? "data" : s ~ /^LK_API/ ? "function" : \
           s ~ /^(typedef|struct|enum)/ ? "type" : "hidden"
    cut = 0
    if (match(s, /^(LK_API_DATA |LK_API |LK_MUST_CHECK )+/)) cut = RLENGTH
    for (;; i++) {
        s = line[path, i]
        code = code (i > begin ? "\n" : "") (cut && (i == begin || substr(s, 1, cut) ~ /^ *$/) ? \
                                              substr(s, cut + 1) : s)
        plain = plain " " s
        if (kind == "if") {
            depth += (s ~ /^#if/) - (s ~ /^#endif/)
            if (depth == 0) break
        } else if (kind == "macro") {
            if (s !~ /\\$/) break
        } else {
            text = without_comments(plain)
            if (text ~ /;[ ]*$/ && balanced(text)) break
        }
        if (i >= length_of[path]) break
    }
    if (kind == "hidden") return i
    text = without_comments(plain)
    note = ""
    if ((kind == "function" || kind == "data") && match(code, / *\/\* .* \*\/$/)) {
        note = substr(code, RSTART)
        code = substr(code, 1, RSTART - 1)
        gsub(/^ *\/\* | \*\/$/, "", note)
    }
    anchors = ""
    if (kind == "function" || kind == "data") {
        if (kind == "function") sub(/\(.*/, "", text)
        sub(/[;\[].*/, "", text)
        n = split(text, word, / *, */)
        for (k = 1; k <= n; k++) {
            match(word[k], /[A-Za-z_0-9]+ *$/)
            name = substr(word[k], RSTART)
            symbol(name, code)
        }
    } else if (kind == "module") {
        gsub(/^ *LK_MODULE_TYPE\(|\).*/, "", text)
        split(text, word, / *, */)
        symbol(word[2], code)
        symbol(word[3], code)
        note = "The type, and isinstance(m, " word[1] "): m as a " word[1] ", or NULL."
    } else if (kind == "macro") {
        match(text, /#define [A-Za-z_0-9]+/)
        name = substr(text, RSTART + 8, RLENGTH - 8)
        symbol(name, "#define " name)
    } else if (kind == "if") {
        while (match(text, /#define [A-Za-z_0-9]+/)) {
            name = substr(text, RSTART + 8, RLENGTH - 8)
            text = substr(text, RSTART + RLENGTH)
            symbol(name, "#define " name)
        }
    } else {
        name = type_names(text)
    }
    if (kind != "module" && kind != "if" && note == "" && name !~ /_$/ && name != "" &&
        !((kind == "type" || kind == "macro") && code ~ /\/\*/) && !index(about, name))
        undocumented = undocumented (undocumented == "" ? "" : "\n") here ":" begin ": " name \
                       " has no comment"
    signatures = signatures "<div class=\"decl\">" anchors "<pre><code class=\"language-c\">" \
                 escape(code) "\n</code></pre>" \
                 (note == "" ? "" : "<p class=\"note\">" inline(note) "</p>") "</div>\n"
    return i
}

# Registers the names that a typedef, struct or enum declares; returns one that needs a comment.
function type_names(text,    name, inside, part, n, i) {
    name = ""
    if (match(text, /^ *typedef (struct|enum) [A-Za-z]+ [A-Za-z]+;/)) {
        n = split(text, part, /[ ;]+/)
        name = part[n - 1]
        if (!(name in defined)) symbol(name, text)
        return part[n - 2] == name || (part[n - 2] in defined) ? "" : name
    }
    if (text ~ /\{/) {
        if (match(text, /(struct|enum) [A-Za-z]+ \{/)) {
            split(substr(text, RSTART, RLENGTH), part, / /)
            name = part[2]
            symbol(name, part[1] " " part[2])
        }
        if (match(text, /enum [A-Za-z]* ?\{[^}]*\}/)) {
            inside = substr(text, RSTART, RLENGTH)
            sub(/^[^{]*\{/, "", inside)
            n = split(inside, part, /,/)
            for (i = 1; i <= n; i++)
                if (match(part[i], /LK_[A-Z0-9_]+/))
                    symbol(substr(part[i], RSTART, RLENGTH), "enum " name)
            if (name == "") name = "enum"
        }
        return name
    }
    if (text ~ /^ *typedef/) { # of a function, a pointer, an array
        sub(/[(\[].*|;.*/, "", text)
        match(text, /[A-Za-z_0-9]+ *$/)
        name = substr(text, RSTART)
        symbol(name, text)
    }
    return name
}

function symbol(name, code) {
    if (name in seen) return
    seen[name] = 1
    gsub(/[ \n]+/, " ", code)
    anchors = anchors "<a id=\"" name "\"></a>"
    printf "%s\t%s.html#%s\t%s\n", name, here, name, code >symbols
}

function without_comments(s,    begin, end) {
    while (begin = index(s, "/*")) {
        end = index(substr(s, begin + 2), "*/")
        if (!end) return substr(s, 1, begin - 1) " …" # inside of a comment: not the end
        s = substr(s, 1, begin - 1) substr(s, begin + end + 3)
    }
    sub(/ +$/, "", s)
    return s
}

function balanced(s,    open, close_) {
    open = gsub(/[({]/, "", s)
    close_ = gsub(/[)}]/, "", s)
    return open == close_
}

function escape(s) {
    gsub(/&/, "\\&amp;", s)
    gsub(/</, "\\&lt;", s)
    gsub(/>/, "\\&gt;", s)
    gsub(/"/, "\\&quot;", s)
    return s
}

# A sentence: names and `words` become code.
function inline(s,    result, token, rest, names) {
    s = escape(s)
    result = ""
    names = "`[^`]+`|(lk|LK)_[A-Za-z0-9_]+|(core|nn|optim|data|examples)/[a-z0-9_/]+[.][ch]"
    while (match(s, names)) {
        token = substr(s, RSTART, RLENGTH)
        rest = substr(s, RSTART + RLENGTH)
        result = result substr(s, 1, RSTART - 1)
        gsub(/`/, "", token)
        result = result "<code>" token "</code>"
        s = rest
    }
    return result s
}

# A comment: paragraphs, lists, and indented lines as they are.
function prose(text,    n, l, i, s, html, mode) {
    n = split(text, l, /\n/)
    mode = ""
    for (i = 1; i <= n; i++) {
        s = l[i]
        if (s ~ /^ +- /) {
            html = html (mode == "ul" ? "</li>" : closed(mode) "<ul>")
            mode = "ul"
            sub(/^ +- /, "", s)
            html = html "<li>" inline(s) "\n"
        } else if (mode == "ul" && s ~ /^   /) {
            sub(/^ +/, "", s)
            html = html inline(s) "\n"
        } else if (s ~ /^  / || (mode == "pre" && s == "" && l[i + 1] ~ /^  /)) {
            if (mode != "pre") html = html closed(mode) "<pre><code class=\"language-c\">"
            mode = "pre"
            sub(/^    ?/, "", s)
            html = html escape(s) "\n"
        } else if (s == "") {
            html = html closed(mode)
            mode = ""
        } else {
            if (mode != "p") html = html closed(mode) "<p>"
            mode = "p"
            html = html inline(s) "\n"
        }
    }
    return html closed(mode)
}

function closed(mode) {
    return mode == "p" ? "</p>\n" : mode == "pre" ? "</code></pre>\n" : \
           mode == "ul" ? "</li></ul>\n" : ""
}
