#!/bin/sh
# The pages that roberta_sst2 and lora_lab write with --report, of a small model, opened in a
# browser: report_view.sh.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"
. "$LORIKEET_SOURCE_DIR/tests/examples/report_view.sh"
[ -x "$LORIKEET_BUILD_DIR/examples/lora_lab" ] || skip "lora_lab was not built"
. "$LORIKEET_SOURCE_DIR/tests/shared/small_roberta.sh"

run() {
    name=$1
    shift
    "$LORIKEET_BUILD_DIR/examples/$name" --model model --data . --max-length 38 --batch-size 16 \
        --threads 1 \
        --report page.html "$@"
}

# facts SCHEME PAPER: what is on every page, and what is on this one.
facts() {
    printf '%s\n' "scheme $1" "paper $2" "bars 0" "images " "answers 0" "maps 0"
    cat page_facts
}

both() {
    cat >page_facts
    look "" light 'rgb(255, 255, 255)'
    look --force-dark-mode dark 'rgb(18, 23, 29)'
}

# ---- roberta_sst2

program=roberta_sst2
must "roberta_sst2 writes a page" run roberta_sst2 --epochs 3 --lr 1e-2 --warmup 5 --output out
both <<END
title SST-2 with LoRA
heading SST-2 with LoRA
heading Evaluations
heading Loss
heading Norm of the gradient
heading Learning rate, in millionths
heading Checks
drawings 3
curves 1 1 1
dots 0 0 0
rows 4
checks 1
END
check "one epoch a row" grep -q '<td>30</td><td>3.00</td>' page.html

program="roberta_sst2 --eval-only"
must "roberta_sst2 writes a page without a training" run roberta_sst2 --eval-only --full
least=30000
both <<END
title SST-2 with a model as it is
heading SST-2 with a model as it is
drawings 0
curves 
dots 
rows 
checks 0
END

# ---- lora_lab

program=lora_lab
least=100000
must "lora_lab writes a page" run lora_lab --train-rows 64 --epochs 1 --seeds 2
both <<END
title LoRA, measured
heading LoRA, measured
heading Full fine-tuning and LoRA on all Linears
heading Rank, LoRA on all Linears
heading Accuracy and rank
heading Which Linears have LoRA, of rank 8
heading Accuracy and trained parameters
drawings 2
curves 2 2
dots 8 11
rows 3 7 6
checks 0
END

# ---- pages with a fault, and one without

cp page.html good.html
check "fault: a table too wide for a desktop" fault "desktop: a table is" \
    's/<td>LoRA, rank 8/<td>LoRA of rank 8 on all Linears, the head included/'
check "fault: a table that cannot be pushed aside" fault "phone: the page is" 's/overflow-x:auto//'
check "fault: texts overlap" fault "texts .* overlap" 's/class="x" x="[0-9.]*"/class="x" x="300"/'
check "fault: a pale dot" fault "a dot has contrast" 's/--c1:#0072b2/--c1:#ddeeff/'

cell='<td>[0-9.]*<\/td>'
sed "s/<td>[0-9,]*<\/td><td>100.00/<td>124,647,170<\/td><td>100.00/
     s/$cell$cell$cell<\/tr>/<td>2,630<\/td><td>1,008<\/td><td>504<\/td><\/tr>/" \
    good.html >page.html
check "the numbers of RoBERTa-base are in the page" grep -q 'td>124,647,170.*>2,630.*>1,008' \
    page.html
check "chromium opens the page" view
check "they have room" no_problem
tally
