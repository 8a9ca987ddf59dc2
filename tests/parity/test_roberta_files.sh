#!/bin/sh
# What roberta_sst2 writes, read by roberta_files.py: of a small model always where there is a
# python3 (its standard library is enough), of RoBERTa-base when $LORIKEET_FULL is set and
# $LORIKEET_DATA holds sst2 and roberta-base (2 to 4 minutes, 1.2 GB of memory, 0.5 GB of disk).
# 77: skipped.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"
python3 -c 'import array, json, struct' 2>/dev/null || skip "no python3 to read the files"
examples="$LORIKEET_BUILD_DIR/examples"
[ -x "$examples/roberta_sst2" ] || skip "roberta_sst2 was not built"
. "$LORIKEET_SOURCE_DIR/tests/shared/small_roberta.sh"
cd "$work" || exit 1

look() {
    python3 "$LORIKEET_SOURCE_DIR/tests/parity/roberta_files.py" "$@" >report
    status=$?
    cat report
    return $status
}
fails() { ! "$@"; }

must "roberta_pretrain makes a base" "$examples/roberta_pretrain" --model model --data . \
    --output base --layers 2 \
    --hidden 16 --heads 2 --steps 3 --minutes 0 --batch-size 16 --threads 1
must "roberta_sst2 trains it" "$examples/roberta_sst2" --model base --data . --output out \
    --rank 4 --alpha 3 --lr 1e-2 \
    --warmup 2 --epochs 1 --batch-size 16 --max-length 38 --threads 1
check "what it wrote is what the homework and PEFT write" look out --model base --rank 4 --alpha 3
check "69 and 28 tensors" sh -c \
    'grep " 69 tensors.*14 Linears.*in 14; 37 tensors" report && grep " 28 tensors" report'

check "fault: another rank" fails look out --model base --rank 3 --alpha 3
check "fault: another alpha" fails look out --model base --rank 4 --alpha 2
check "fault: a number that is none" sh -c 'size=$(wc -c <out/best_checkpoint/model.safetensors)
    printf "\377\377\377\377" |
        dd of=out/best_checkpoint/model.safetensors bs=1 seek=$((size - 4)) conv=notrunc
    python3 "$0" out --model base --rank 4 --alpha 3 | grep "FAILED.*is finite"' \
    "$LORIKEET_SOURCE_DIR/tests/parity/roberta_files.py"

if [ -n "${LORIKEET_FULL-}" ] && [ -d "${LORIKEET_DATA-}/roberta-base" ]; then
    must "roberta_sst2 makes a step of RoBERTa-base" "$examples/roberta_sst2" \
        --model "$LORIKEET_DATA/roberta-base" \
        --output full --train-rows 32 --epochs 1 --batch-size 32 --warmup 0
    check "what it wrote is right" look full --model "$LORIKEET_DATA/roberta-base"
    check "349 tensors" grep \
        '349 tensors, 125,992,722 numbers, 1,345,552 of LoRA (1.0680%), 74 Linears' report
    cat report
fi
tally
