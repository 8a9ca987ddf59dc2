#!/bin/sh
# Makes the site: the guide, the course, and a reference from the comments of the headers. Needs
# cmark-gfm. Every warning is an error, and so is a public name without a comment.
#     sh examples/guide/site/site.sh [FOLDER]     FOLDER is build/docs; open FOLDER/index.html
# The playground is on the first page if it was built (build/wasm/playground.html).
set -eu
export LC_ALL=C
cd "$(dirname "$0")/../../.."
here=examples/guide/site
out=${1:-build/docs}
command -v cmark-gfm >/dev/null || {
    echo "$0: cmark-gfm is not here. Install what Debian calls cmark-gfm." >&2
    exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bodies=$work/bodies

pages=$(ls README.md CONTRIBUTING.md CHANGELOG.md SECURITY.md examples/README.md \
    examples/guide/*.md examples/course/*.md examples/course/units/*.md | grep -v '\.answers\.md$')
headers=$({ find core nn optim data -name '*.h' | xargs grep -l LK_API; echo core/real.h; } |
    sed 's|/\([^/]*\)$| \1|' | LC_ALL=C sort | sed 's| |/|') # folder by folder

# Files that a page links to have pages too.
sources=$(for page in $pages; do
    grep -o '](\([^)#:]*\)[)#]' "$page" | sed "s|^](|${page%"${page##*/}"}|; s|.\$||"
done | sort -u | xargs realpath -m --relative-to=. | sort -u |
    grep -E '\.(c|h|sh|py)$|/[A-Z]*$|^LICENSE$' | while read -r file; do
        [ ! -f "$file" ] || echo "$headers" | grep -qx "$file" || echo "$file"
    done)

for file in $pages $headers $sources; do dirname "$bodies/$file"; done | sort -u | xargs mkdir -p
awk -v out="$bodies" -f $here/reference.awk $headers
mv "$bodies/symbols" "$work/symbols"
for page in $pages; do
    cmark-gfm --unsafe -e table "$page" >"$bodies/$page.html"
done
for file in $sources; do
    {
        echo "<h1>$file</h1>"
        case $file in
        *.[ch]) printf '<pre><code class="language-c">' ;;
        *.sh) printf '<pre><code class="language-sh">' ;;
        *) printf '<pre><code>' ;;
        esac
        sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g; s/"/\&quot;/g' "$file"
        echo '</code></pre>'
    } >"$bodies/$file.html"
done

rm -rf "$out/examples" "$out/core" "$out/nn" "$out/optim" "$out/data" "$out/tests" "$out"/*.html
(cd "$bodies" && find . -type d) | sed "s|^|$out/|" | xargs mkdir -p
cp $here/style.css $here/site.js "$out/"
cp examples/guide/*.png "$out/examples/guide/"
if [ -e build/wasm/playground.html ]; then
    cp build/wasm/playground.html "$out/"
    sed '/<!-- no playground -->/,/<!-- end -->/d' $here/front.html
else
    sed '/<!-- playground -->/,/<!-- end -->/d' $here/front.html
fi >"$bodies/index.html"

{
    cat $here/menu
    echo "# Reference"
    echo "reference All headers"
    for header in $headers; do echo "$header $header"; done
} >"$work/menu"
awk -v bodies="$bodies" -v out="$out" -f $here/math.awk -f $here/chart.awk -f $here/page.awk \
    "$work/menu" "$work/symbols" $(find "$bodies" -name '*.html' | sort)
echo "$out/index.html: $(find "$out" -name '*.html' | wc -l) pages"
