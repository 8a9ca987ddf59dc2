# report_view.sh - for the scripts that open a page of --report in a browser (Debian's chromium):
# what report_view.html finds there, in windows as wide as a phone and a desktop, light and dark.
# Read by them behind check.sh; they set $program, for the names of the checks, and define facts.
command -v chromium >/dev/null || skip "there is no chromium to open the pages in"
cd "$work" || exit 1
unset LORIKEET_DATA
export HOME="$work" # no data there
cp "$LORIKEET_SOURCE_DIR/tests/examples/report_view.html" \
    "$LORIKEET_SOURCE_DIR/tests/shared/contrast.js" .

# view [OPTION]: what the browser finds in page.html (findings), says on its console (console), and
# shows (view.png).
view() {
    rm -rf profile view.png
    timeout 600 chromium \
        --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking \
        --disable-component-update --disable-sync --hide-scrollbars \
        --user-data-dir="$work/profile" \
        --allow-file-access-from-files --enable-logging=stderr --window-size=1450,2600 \
        --screenshot="$work/view.png" \
        --dump-dom "$@" "file://$work/report_view.html" >dom 2>log
    grep -E '^(.*>)?(fact|problem|the end)' dom | sed 's/^.*>//' >findings
    grep CONSOLE log >console
    grep -qx 'the end' findings
}

no_problem() { ! grep problem: findings; }
silent() { ! cat console | grep .; }
has_facts() { sort expected >a && grep fact: findings | sed 's/^fact: //' | sort >b && diff a b; }
# The bytes of a picture: an empty one compresses to a tenth of that. A page of three lines sets
# least to less.
least=100000
has_colors() { wc -c <view.png; [ "$(wc -c <view.png)" -gt $least ]; }

# look OPTION SCHEME PAPER …: all of it. facts, with what follows OPTION, says what must be there.
look() {
    option=$1
    shift
    check "$program: chromium opens the page" view $option
    facts "$@" >expected
    check "$program, $1: everything is there" has_facts
    check "$program, $1: nothing is too wide, too small, pale, covered or from elsewhere" \
        no_problem
    check "$program, $1: nothing on the console" silent
    check "$program, $1: the screenshot shows it" has_colors
}

# fault TEXT SED-SCRIPT: view finds a problem with this text, of good.html as the script changes
# it.
fault() {
    sed "$2" good.html >page.html
    ! cmp -s good.html page.html || { echo "the page is the same"; return 1; }
    view
    grep "problem: .*$1" findings || { cat findings console; return 1; }
}
