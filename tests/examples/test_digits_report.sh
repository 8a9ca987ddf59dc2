#!/bin/sh
# The pages that digit9 and weak_digits write with --report, opened in a browser: report_view.sh.
# In the end, pages with a fault: it is found.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"
. "$LORIKEET_SOURCE_DIR/tests/examples/report_view.sh"

# The digits are rendered: there is no MNIST here.
run() { "$LORIKEET_BUILD_DIR/examples/$1" --report "$work/page.html" $2; }
# facts SCHEME PAPER MAPS: what must be there; how many images LoRA fixed and broke is not known,
# but there are some.
facts() {
    cat <<END
title $program
scheme $1
paper $2
heading $program
heading Wrong answers per digit
heading The specialisation dial
$(grep -o 'heading Fixed by LoRA: [1-9][0-9,]* images' findings)
$(grep -o 'heading Broken by LoRA: [1-9],[0-9][0-9][0-9] images' findings)
heading Loss while all of the network was trained
heading Loss while LoRA alone was trained
heading What LoRA adds to each weight
heading Checks
drawings 4
bars 30
curves 0 2 1 1
dots 0 0 0 0
rows 12 17
images 24 24
answers 48
maps $3
checks 5
END
}

# ---- the pages

for program in digit9 weak_digits; do
    maps=3
    options="--limit 160 --batches 30"
    [ $program = digit9 ] || { maps=4; options="--limit 30 --batches 40 --rank 3"; }
    must "$program writes a page" run $program "$options"
    look "" light 'rgb(255, 255, 255)' $maps
    look --force-dark-mode dark 'rgb(18, 23, 29)' $maps
    [ $program = weak_digits ] || cp page.html good.html
done
check "large numbers have separators" grep -q '8,394\|25,182' page.html

# ---- pages with a fault

check "fault: a page too wide" fault "phone: the page is [0-9]* px wide" \
    's/<h2>Checks/<div style="width:500px">x<\/div>&/'
check "fault: text outside" fault "text \"1,\?[0-9]*\" leaves its drawing" \
    's/class="y" x="96"/class="y" x="8"/'
check "fault: texts overlap" fault "texts .* overlap" 's/class="x" x="[0-9.]*"/class="x" x="300"/'
check "fault: small text" fault "phone: text .* is only" \
    's/@media(max-width:36rem)/@media(max-width:9rem)/'
check "fault: pale text" fault "has contrast" 's/--soft:#5b6775/--soft:#aaaaaa/'
check "fault: a broken image" fault "shows nothing" 's/image\/bmp;base64,Qk/image\/bmp;base64,QQ/'
check "fault: an element that stays open" fault "/div closes nothing" 's/<\/figure>//'
check "fault: something from the network" fault "refers to the network" \
    's/<h1>/<img src="https:\/\/localhost:9\/x.png">&/'

sed 's/<h1>/<script>missing()<\/script>&/' good.html >page.html
view
check "fault: an error on the console" grep -q 'missing is not defined' console
sed '0,/<rect/s/<rect[^>]*>//' good.html >page.html
view
program=digit9
facts light 'rgb(255, 255, 255)' 3 >expected
lacks_a_bar() { ! has_facts >difference && grep 'bars 29' difference; }
check "fault: a missing bar" lacks_a_bar
tally
