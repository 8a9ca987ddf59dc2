#!/bin/sh
# Makes one self-contained page of page.html: the marks in it name the files that take their
# place. A mark stands alone on its line.
#     sh bundle.sh FOLDER WASM OUTPUT         FOLDER has page.html and the files of the marks
#
#     <!-- bundle: js FILE… -->               a <script>: the files one after the other
#     <!-- bundle: function FILE NAME -->     a C function of FILE, as text of HTML
#
# These become the same kind of <script>, gzip in base64, with the mark's name as id. A name may be
# a pattern.
#     <!-- bundle: wasm -->                   the module
#     <!-- bundle: worker FILE -->            the program of the worker
#     <!-- bundle: packed FILE… -->           scripts, for start.js
#     <!-- bundle: style FILE… -->            the text of a <style>, for start.js
#     <!-- bundle: sources FILE… -->          C programs, each after a form feed, its name and a
#                                             new line
set -eu
[ $# -eq 3 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
folder=$1
wasm=$2
output=$3
limit=250000 # bytes: a page that opens at once, also on a phone

# Everything goes into a file beside the output, which only a complete page replaces.
trap 'rm -f "$output.new" "$output.part"' EXIT

fail() {
    echo "bundle.sh: $1" >&2
    exit 1
}
need() {
    [ -r "$folder/$1" ] || fail "page.html names $1, which is not in $folder"
}
texts() {
    for name; do need "$name"; cat "$folder/$name"; done
}
# script FILE…: a closing tag in a file would end the element early.
script() {
    for name; do
        need "$name"
        ! grep -qi '</script' "$folder/$name" || fail "$name contains </script"
    done
    echo "<script>"
    texts "$@"
    echo "</script>"
}
# From the line that begins with a type and the name to the first that is a closing brace. A
# function on one line ends there.
function_text() {
    need "$1"
    awk -v name="$2" '
        !found && index($0, name "(") && /^[A-Za-z].*[^;]$/ { found = inside = 1 }
        inside { print }
        inside && (/^}/ || /}$/ && /^[A-Za-z]/) { exit }
        END { exit !found }' "$folder/$1" >"$output.part" || fail "$1 has no function $2"
    sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g' "$output.part"
}
# gzipped ID: the input in a <script> that is only text.
gzipped() {
    echo "<script type=\"text/plain\" id=\"$1\">"
    gzip -9 -n | base64
    echo "</script>"
}
# each COMMAND PATTERN…: the command with each file of the folder.
each() {
    command=$1
    shift
    for pattern; do
        for file in "$folder"/$pattern; do
            need "${file#"$folder/"}"
            $command "$file"
        done
    done >"$output.part"
}
named() {
    printf '\f%s\n' "$(basename "$1" .c)"
    cat "$1"
}
mark() {
    kind=$1
    shift
    case $kind in
    js) script "$@" ;;
    wasm) gzipped wasm <"$wasm" ;;
    style | worker | packed)
        each cat "$@"
        gzipped $kind <"$output.part"
        ;;
    sources)
        each named "$@"
        gzipped sources <"$output.part"
        ;;
    function) function_text "$@" ;;
    *) fail "page.html has a mark of an unknown kind: $kind" ;;
    esac
}

while IFS= read -r line; do
    case $line in
    *'<!-- bundle: '*' -->'*)
        words=${line#*'<!-- bundle: '}
        mark ${words%%' -->'*} || exit 1
        ;;
    *) printf '%s\n' "$line" ;;
    esac
done <"$folder/page.html" >"$output.new"

bytes=$(wc -c <"$output.new")
[ "$bytes" -le $limit ] || fail "the page has $bytes bytes; at most $limit are allowed"
mv "$output.new" "$output"
echo "$output: $((bytes / 1000)) KB"
