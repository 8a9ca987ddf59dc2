#!/bin/sh
# The site is built without a warning, and its links lead somewhere: files, parts of pages,
# pictures. Nothing is asked of another host, every page of the guide is in the menu, and every
# public function has an entry in the reference and in the search.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"
cd "$LORIKEET_SOURCE_DIR" || exit 1
command -v cmark-gfm >/dev/null || skip "cmark-gfm is not here, which makes pages of the guide"
site=$work/site

built() {
    sh examples/guide/site/site.sh "$site" >"$work/log" 2>&1 && [ "$(wc -l <"$work/log")" -eq 1 ]
    status=$?
    cat "$work/log"
    return $status
}
must "the site is built, without a warning" built
cd "$site" || exit 1
# the playground has tests of its own
find . -name '*.html' | sed 's|^\./||' | grep -vx playground.html | sort >"$work/pages"
find . -type f | sed 's|^\./||' >"$work/files"

# Prints links and pictures that lead nowhere, ids that are there twice, and requests to a host.
faults() {
    awk -v files="$work/files" '
        function fault(text) { print FILENAME ": " text }
        # the path of a link in the page FILENAME
        function path(link,    folder) {
            folder = FILENAME
            if (!sub(/[^\/]*$/, "", folder)) folder = ""
            link = folder link
            gsub(/\/\.\//, "/", link)
            while (sub(/[^\/.]+\/\.\.\//, "", link));
            return link
        }
        BEGIN { while ((getline file <files) > 0) exists[file] = 1 }
        {
            rest = $0
            open[FILENAME] += gsub(/<a( |$)/, "&") - gsub(/<\/a>/, "&")
            while (match(rest, / (id|href|src)="[^"]*"/)) {
                what = substr(rest, RSTART + 1, RLENGTH - 2)
                rest = substr(rest, RSTART + RLENGTH)
                value = what
                sub(/^[a-z]+="/, "", value)
                if (what ~ /^id=/) {
                    if ((FILENAME, value) in id) fault("two places are called " value)
                    id[FILENAME, value] = 1
                } else if (value ~ /^[a-z]+:/) {
                    if (value !~ /^data:/ && (what ~ /^src/ || $0 ~ /<link/))
                        fault("asks another host: " value)
                } else {
                    target = value
                    sub(/#.*/, "", target)
                    target = target == "" ? FILENAME : path(target)
                    if (!(target in exists)) fault("no file " target)
                    else if (value ~ /#./) {
                        sub(/^[^#]*#/, "", value)
                        wanted[++count] = target SUBSEP value
                        from[count] = FILENAME
                    }
                }
            }
        }
        END { for (page in open) if (open[page]) print page ": a link does not end"
              for (i = 1; i <= count; i++)
                  if (!(wanted[i] in id)) {
                      split(wanted[i], part, SUBSEP)
                      print from[i] ": no place " part[2] " in " part[1]
                  } }' $(cat "$work/pages") >"$work/faults"
    cat "$work/faults"
    [ ! -s "$work/faults" ]
}
check "links, pictures and parts of pages exist" faults

no_requests() { ! grep -nE '@import|url\((http|//)|fetch\(|XMLHttpRequest' style.css site.js; }
check "neither the style nor the script asks for anything" no_requests

in_menu() {
    for page in $(cd "$LORIKEET_SOURCE_DIR/examples/guide" && ls ./*.md | grep -v README); do
        page=examples/guide/$(basename "$page" .md).html
        grep -q "<a href=\"$page\"" index.html || { echo "$page"; return 1; }
    done
}
check "every page of the guide is in the menu" in_menu

# Functions as the compiler sees them, against the anchors and the search.
named() {
    for name in $(nm "$LORIKEET_BUILD_DIR"/liblorikeet_*.a 2>/dev/null |
        sed -n 's/^[0-9a-f]* [TDR] \(lk_[a-z].*\)/\1/p' | sort -u); do
        grep -qF "[\"$name\"," search.js || { echo "$name"; return 1; }
    done
}
[ ! -e "$LORIKEET_BUILD_DIR/liblorikeet_core.a" ] ||
    check "every exported name is in the reference" named

# In a browser: pages as wide as a phone, the search, the console.
command -v chromium >/dev/null || tally
cat >view.html <<'END'
<pre id="found"></pre>
<script>
const pages = ["index.html", "reference.html", "core/ops.h.html", "nn/module.h.html",
    "examples/guide/lora_three_ways.html", "examples/guide/speed.html", "README.html",
    "examples/course/units/ex4.html", "examples/own/custom_op.c.html"];
const say = text => { document.getElementById("found").textContent += "\nfound: " + text; };
async function look(page) {
    const frame = document.createElement("iframe");
    frame.style = "width:390px;height:844px";
    frame.src = page;
    document.body.append(frame);
    await new Promise(done => { frame.onload = done; });
    const inside = frame.contentDocument;
    const wide = inside.documentElement.scrollWidth;
    if (wide > 390) say(page + " is " + wide + " px wide");
    const search = inside.getElementById("search");
    search.value = "lk_linear_lora";
    search.dispatchEvent(new frame.contentWindow.Event("input"));
    const first = inside.querySelector("#found a");
    if (!first || !first.href.endsWith("/core/ops.h.html#lk_linear_lora"))
        say(page + ": the search finds " + (first && first.href));
    frame.remove();
}
(async () => {
    for (const page of pages) await look(page);
    say("the end");
})();
</script>
END
viewed() {
    timeout 300 chromium --headless --no-sandbox --disable-gpu --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync \
        --user-data-dir="$work/profile" --allow-file-access-from-files --enable-logging=stderr \
        --virtual-time-budget=60000 --dump-dom "file://$site/view.html" >"$work/dom" 2>"$work/log"
    grep CONSOLE "$work/log"
    sed -n 's|</pre>||; /^found: /p' "$work/dom" >"$work/found"
    cat "$work/found"
    ! grep -q CONSOLE "$work/log" && [ "$(cat "$work/found")" = "found: the end" ]
}
check "nothing is too wide, the search finds, the console is silent" viewed
tally
