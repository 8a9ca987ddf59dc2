# page.awk - makes pages of the site from the bodies that cmark-gfm and reference.awk wrote.
#     awk -v bodies=FOLDER -v out=FOLDER -f math.awk -f chart.awk -f page.awk menu symbols BODY…
# The body of FILE is FOLDER/FILE.html, and its page is FILE.html: lora.md becomes lora.html, and
# lora.h becomes lora.h.html. C gets colours, a name of the library a link to the reference; a link
# to a file becomes one to its page. The text of all pages goes into search.js.
BEGIN {
    split("auto bool break case char const continue default do double else enum extern float " \
          "for goto if inline int long register return short signed sizeof static struct switch " \
          "typedef union unsigned void volatile while int64_t int32_t uint8_t uint32_t uint64_t " \
          "size_t true false NULL", word, / /)
    for (i in word) keyword[word[i]] = 1
    for (i = 3; i < ARGC; i++) { # all bodies are known before the first page is written
        source = substr(ARGV[i], length(bodies) + 2)
        sub(/\.html$/, "", source)
        url_of[source] = url(source)
        if (source ~ /^(core|nn|optim|data)\/.*\.h$/) {
            sub(/\/[^\/]*$/, "", source)
            has_header[source] = source
            gsub(/\//, "", has_header[source]) # the slug
        }
    }
}
FILENAME == ARGV[1] { # menu: "# heading", or "path title"
    if ($0 ~ /^ *$/) next
    menu[++menus] = $0
    next
}
FILENAME == ARGV[2] {
    split($0, word, /\t/)
    symbol_url[word[1]] = word[2]
    entry(word[1], word[2], "", word[3])
    next
}
FNR == 1 {
    if (source_now != "") end_page()
    begin_page()
}
{ body_line($0) }
END {
    end_page()
    printf "const PAGES = [\n%s];\n", entries >(out "/search.js")
    exit bad
}

# ---- one page -----------------------------------------------------------------------------------

function begin_page() {
    source_now = substr(FILENAME, length(bodies) + 2)
    sub(/\.html$/, "", source_now)
    folder = source_now
    if (!sub(/\/[^\/]*$/, "", folder)) folder = ""
    root = folder == "" ? "" : folder "/"
    gsub(/[^\/]+\//, "../", root)
    html = ""
    toc = ""
    title = ""
    language = ""
    comment = 0
    inside = 0 # of a link
    dropped = 0 # its beginning, since it leads nowhere
    heading = ""
    place = ""
    text = ""
    split("", used)
}

function body_line(s,    level, name, id) {
    if (language == "" && s ~ /^<!-- /) {
        if (s ~ /^<!-- chart -->/) html = html chart_from(source_now)
        return
    }
    if (language == "" && match(s, /<pre><code( class="language-[a-z]+")?>/)) {
        language = substr(s, RSTART, RLENGTH)
        name = substr(s, 1, RSTART - 1)
        s = substr(s, RSTART + RLENGTH)
        declared = name
        gsub(/.*language-|".*|<pre><code>/, "", language)
        if (language == "") language = "text"
        comment = 0
        formula = ""
        html = html name (language == "math" ? "" : "<pre class=\"" language "\"><code>")
    }
    if (language != "") {
        if (s ~ /^<\/code><\/pre>/) {
            html = html (language == "math" ? mathml(formula) : "</code></pre>") substr(s, 14) "\n"
            language = ""
        } else if (language == "math") {
            formula = formula " " s
        } else {
            html = html (language == "c" ? colours(s) : language == "sh" ? shell(s) : s) "\n"
        }
        return
    }
    if (match(s, /^<h[1-4]>/)) {
        level = substr(s, 3, 1)
        name = s
        gsub(/<[^>]*>/, "", name)
        if (level == 1 && title == "") title = name
        id = slug(name)
        section(name, level == 1 ? "" : id)
        if (level == 2) toc = toc "<a href=\"#" id "\">" name "</a>\n"
        sub(/^<h[1-4]>/, "", s)
        sub(/<\/h[1-4]>$/, "", s)
        html = html "<h" level " id=\"" id "\">" links(s) \
               (level == 1 ? "" : " <a class=\"here\" href=\"#" id "\">#</a>") "</h" level ">\n"
        return
    }
    if (s ~ /^<table>/) s = "<div class=\"table\">" s
    if (s ~ /^<\/table>/) s = s "</div>"
    html = html links(s) "\n"
    gsub(/<[^>]*>/, "", s)
    text = text " " s
}

function end_page(    page) {
    section("", "")
    page = out "/" url_of[source_now]
    printf "%s", head() >page
    printf "<main id=\"main\">\n%s</main>\n", html >page
    if (toc != "" && source_now != "index") {
        print "<aside><nav aria-label=\"On this page\"><h2>On this page</h2>" >page
        print toc "</nav></aside>" >page
    }
    print "</div>\n</body>\n</html>" >page
    close(page)
}

function head(    s, i, path, current) {
    s = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n" \
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n" \
        "<meta name=\"color-scheme\" content=\"light dark\">\n" \
        "<title>" (source_now == "index" ? "Lorikeet" : title " – Lorikeet") "</title>\n" \
        "<link rel=\"icon\" href=\"data:,\">\n" \
        "<link rel=\"stylesheet\" href=\"" root "style.css\">\n" \
        "<script src=\"" root "search.js\" defer></script>\n" \
        "<script src=\"" root "site.js\" data-root=\"" root "\" defer></script>\n" \
        "</head>\n<body class=\"" (source_now == "index" ? "front" : "page") "\">\n" \
        "<a class=\"skip\" href=\"#main\">To the text</a>\n<header>\n" \
        "<button id=\"menu-button\" aria-expanded=\"false\" aria-controls=\"menu\">Menu" \
        "</button>\n" \
        "<a class=\"name\" href=\"" root "index.html\">Lorikeet</a>\n" \
        "<div class=\"search\" role=\"search\"><input id=\"search\" type=\"search\" " \
        "placeholder=\"Search (press /)\" aria-label=\"Search\" autocomplete=\"off\">" \
        "<ol id=\"found\" hidden></ol></div>\n</header>\n<div class=\"columns\">\n" \
        "<nav id=\"menu\" aria-label=\"All pages\">\n"
    for (i = 1; i <= menus; i++) {
        if (sub(/^# /, "", menu[i])) {
            heads[i] = 1
        }
        if (heads[i]) {
            s = s (i > 1 ? "</details>\n" : "") "<details" \
                (menu[i] ~ /^Reference/ && !(source_now ~ /\.h$/) ? "" : " open") "><summary>" \
                menu[i] "</summary>\n"
            continue
        }
        path = menu[i]
        sub(/ .*/, "", path)
        if (!(path in url_of)) complain("menu: " path " is no page")
        current = path == source_now ? " aria-current=\"page\"" : ""
        s = s "<a href=\"" root url_of[path] "\"" current ">" \
            substr(menu[i], length(path) + 2) "</a>\n"
    }
    return s "</details>\n</nav>\n"
}

function complain(message) {
    if (message in complaints) return
    complaints[message] = 1
    print message >"/dev/stderr"
    bad = 1
}

function url(path) {
    sub(/\.md$/, "", path)
    return path ".html"
}

# As GitHub makes it, so that a page's own links to its parts work in both places.
function slug(s,    id) {
    id = tolower(s)
    gsub(/&[a-z]+;/, "", id)
    gsub(/[][!"#$%&'()*+,.\/:;<=>?@\\^`{|}~]/, "", id)
    gsub(/…|·|→|–/, "", id)
    gsub(/ /, "-", id)
    used[id]++
    return id (used[id] > 1 ? "-" used[id] - 1 : "")
}

# ---- links --------------------------------------------------------------------------------------

# Links of a line of HTML, and links from names in <code> to the reference.
function links(s,    result, tag, target) {
    result = ""
    while (match(s, /<a href="[^"]*">|<\/a>|<img src="[^"]*"|<code>[^<]*<\/code>/)) {
        result = result substr(s, 1, RSTART - 1)
        tag = substr(s, RSTART, RLENGTH)
        s = substr(s, RSTART + RLENGTH)
        if (tag ~ /^<a/) {
            target = tag
            gsub(/^<a href="|">$/, "", target)
            target = link(target)
            dropped = target == ""
            inside = !dropped
            if (inside) result = result "<a href=\"" target "\">"
        } else if (tag == "</a>") {
            if (!dropped) result = result tag
            dropped = 0
            inside = 0
        } else if (tag ~ /^<img/) {
            result = result tag
        } else {
            gsub(/<\/?code>/, "", tag)
            result = result "<code>" (inside ? tag : linked_name(tag)) "</code>"
        }
    }
    return result s
}

function linked_name(s,    name) {
    if (s ~ /^[a-z]+\/[a-z0-9_\/]+\.[a-z]+$/ && s in url_of)
        return "<a href=\"" root url_of[s] "\">" s "</a>"
    name = s
    sub(/[^A-Za-z0-9_].*/, "", name)
    if (!(name in symbol_url) || (name !~ /^(lk|LK)_/ && name != s)) return s
    return "<a href=\"" root symbol_url[name] "\">" name "</a>" substr(s, length(name) + 1)
}

# The address on the site; "" for a file that has no page there: the words stay without a link.
function link(target,    fragment, path) {
    if (target ~ /^[a-z]+:/ || target ~ /^#/ || source_now == "index") return target
    fragment = target ~ /#/ ? target : ""
    sub(/^[^#]*/, "", fragment)
    sub(/#.*/, "", target)
    path = normal((folder == "" ? "" : folder "/") target)
    if (path in url_of) return root url_of[path] fragment
    if ((path "/README.md") in url_of) return root url_of[path "/README.md"] fragment
    if (path in has_header) return root "reference.html#" has_header[path]
    return ""
}

function normal(path,    part, n, i, kept, result) {
    n = split(path, part, /\//)
    kept = 0
    for (i = 1; i <= n; i++) {
        if (part[i] == "." || part[i] == "") continue
        if (part[i] == "..") kept--
        else part[++kept] = part[i]
    }
    for (i = 1; i <= kept; i++) result = result (i > 1 ? "/" : "") part[i]
    return result
}

# ---- colours ------------------------------------------------------------------------------------

# A line of C, which is HTML already.
function colours(s,    result, end, token) {
    result = ""
    while (s != "") {
        if (comment) {
            end = index(s, "*/")
            token = end ? substr(s, 1, end + 1) : s
            comment = !end
            s = substr(s, length(token) + 1)
            result = result "<i>" token "</i>"
        } else if (s ~ /^\/\*/) {
            end = index(substr(s, 3), "*/")
            token = end ? substr(s, 1, end + 3) : s
            comment = !end
            s = substr(s, length(token) + 1)
            result = result "<i>" token "</i>"
        } else if (s ~ /^(\/\/|-- )/) {
            return result "<i>" s "</i>"
        } else if (match(s, /^&quot;([^&\\]|\\.|&[lg]t;|&amp;)*&quot;/) || \
                   match(s, /^'([^'\\]|\\.)[^']*'/)) {
            result = result "<s>" substr(s, 1, RLENGTH) "</s>"
            s = substr(s, RLENGTH + 1)
        } else if (match(s, /^[A-Za-z_][A-Za-z0-9_]*/)) {
            token = substr(s, 1, RLENGTH)
            s = substr(s, RLENGTH + 1)
            if (token in keyword) token = "<b>" token "</b>"
            else if (index(declared, "<a id=\"" token "\"></a>"))
                token = "<a class=\"own\" href=\"#" token "\">" token "</a>"
            else if (token in symbol_url)
                token = "<a href=\"" root symbol_url[token] "\">" token "</a>"
            result = result token
        } else if (match(s, /^#[a-z]+/)) {
            result = result "<b>" substr(s, 1, RLENGTH) "</b>"
            s = substr(s, RLENGTH + 1)
        } else if (match(s, /^&[a-z]+;/) || match(s, /^[^A-Za-z_&\/'#-]+/)) {
            result = result substr(s, 1, RLENGTH)
            s = substr(s, RLENGTH + 1)
        } else {
            result = result substr(s, 1, 1)
            s = substr(s, 2)
        }
    }
    return result
}

function shell(s) {
    if (match(s, /(^| )# .*$/)) s = substr(s, 1, RSTART - 1) "<i>" substr(s, RSTART) "</i>"
    return s
}

# ---- search -------------------------------------------------------------------------------------

# Ends the section so far; the next one has this heading.
function section(name, id) {
    if (text != "" || heading != "") entry(heading == title ? title : heading, place, title, text)
    heading = name
    place = url_of[source_now] (id == "" ? "" : "#" id)
    text = ""
}

function entry(name, place, page, words) {
    gsub(/[ \n\t]+/, " ", words)
    words = substr(words, 1, 1500)
    # half a character at the end
    if (length(words) == 1500) sub(/[^ ]*$/, "", words)
    entries = entries "[" quoted(name) "," quoted(place) "," quoted(page) "," quoted(words) "],\n"
}

function quoted(s) {
    gsub(/&lt;/, "<", s)
    gsub(/&gt;/, ">", s)
    gsub(/&quot;/, "\"", s)
    gsub(/&amp;/, "\\&", s)
    gsub(/\\/, "\\\\", s)
    gsub(/"/, "\\\"", s)
    return "\"" s "\""
}
