#!/bin/sh
# examples/roberta/tokenize.c on SST-2 with RoBERTa's vocabulary, where they are at hand
# ($LORIKEET_DATA/roberta-base and /sst2): the ids of all sentences are the reference's, the npm
# package tokenizers'.
set -u
. "$LORIKEET_SOURCE_DIR/tests/check.sh"

data=${LORIKEET_DATA:-$LORIKEET_SOURCE_DIR/../shared/data}
[ -e "$data/roberta-base/vocab.json" ] && [ -e "$data/sst2/dev.tsv" ] ||
    skip "no roberta-base and sst2 in $data"

# ids FILE IDS SHA256
ids() {
    "$LORIKEET_BUILD_DIR/examples/tokenize" --model "$data/roberta-base" \
        --tsv "$data/sst2/$1" >"$work/ids" || return
    echo "$(wc -w <"$work/ids") ids"
    [ "$(wc -w <"$work/ids")" -eq "$2" ] && echo "$3  $work/ids" | sha256sum -c
}

back() {
    "$LORIKEET_BUILD_DIR/examples/tokenize" --model "$data/roberta-base" --lines "$work/ids" \
        --decode >"$work/text" &&
        tail -n +2 "$data/sst2/dev.tsv" | cut -f 1 | cmp - "$work/text"
}

check "train.tsv" ids train.tsv 967103 \
    45cad69be1827feb0024daa4e139514221331ad41d310edbc9ee2d7b111fd562
check "dev.tsv" ids dev.tsv 22680 edd1fd306f67136c24813c73cd3054d41ced12b51e53f86723d759eb2a59162c
check "dev.tsv comes back" back
tally
