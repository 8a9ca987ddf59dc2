# small_roberta.sh - for the scripts that run the programs of RoBERTa: in $work a model of two
# layers of 16 without weights (model), and sentences whose last word tells their label (sst2).
# They read it behind check.sh.
mkdir "$work/model" "$work/sst2"
for file in vocab.json merges.txt; do
    cp "$LORIKEET_SOURCE_DIR/tests/fixtures/tokenizer/$file" "$work/model"
done
cat >"$work/model/config.json" <<'END'
{"vocab_size": 684, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
 "intermediate_size": 32, "max_position_embeddings": 40, "initializer_range": 0.2}
END

sentences() {
    awk -v n="$1" 'BEGIN {
        split("bad awful dull good great fine", word, " ")
        print "sentence\tlabel"
        for (i = 0; i < n; i++) print "the film is " word[i % 6 + 1] " \t" (i % 6 > 2)
    }'
}
sentences 160 >"$work/sst2/train.tsv"
sentences 40 >"$work/sst2/dev.tsv"
