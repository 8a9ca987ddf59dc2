/* hw3.c - the tables behind the analysis. The page: hw3.md; the questions: hw3.answers.md. */
#include "core/decimal.h"
#include "examples/course/course.h"
#include "nn/linear.h"

/* The parameters that LoRA adds to a Linear (in → out). */
int64_t lora_parameters(int64_t in, int64_t out, int64_t rank)
{
    //> starter
    //    /* TODO 1: A (in, rank) and B (rank, out). */
    //    return -1;
    //> solution
    return rank * (in + out);
    //> wrong product: looks like in times out
    //    return rank * in * out;
    //> wrong precedence: looks like parentheses forgotten
    //    return rank * in + out;
    //> wrong two_a: looks like A counted twice
    //    return 2 * rank * in;
    //> end
}

/* The same for all Linears of a model that the words choose. */
int64_t lora_parameters_of(Module *model, const char *const *words, int64_t rank)
{
    int64_t sum = 0;
    //> starter
    //    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
    //        const Linear *l = lk_as_linear(it.module); /* NULL: no Linear */
    //        if (!l) continue;
    //        /* TODO 2: add lora_parameters of l->in_features and l->out_features, if
    //         * is_lora_target(it.name, words). */
    //    }
    //> solution
    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
        const Linear *l = lk_as_linear(it.module); /* NULL: no Linear */
        if (!l || !is_lora_target(it.name, words)) continue;
        sum += lora_parameters(l->in_features, l->out_features, rank);
    }
    //> wrong every_linear: looks like every Linear counted
    //    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
    //        const Linear *l = lk_as_linear(it.module);
    //        if (l) sum += lora_parameters(l->in_features, l->out_features, rank);
    //    }
    //> wrong first_found: looks like only the first one counted
    //    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
    //        const Linear *l = lk_as_linear(it.module);
    //        if (!l || !is_lora_target(it.name, words)) continue;
    //        return lora_parameters(l->in_features, l->out_features, rank);
    //    }
    //> wrong with_weights: looks like the frozen weights counted
    //    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
    //        const Linear *l = lk_as_linear(it.module);
    //        if (!l || !is_lora_target(it.name, words)) continue;
    //        sum += lora_parameters(l->in_features, l->out_features, rank);
    //        sum += l->in_features * l->out_features;
    //    }
    //> wrong square: looks like all Linears taken for square
    //    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
    //        const Linear *l = lk_as_linear(it.module);
    //        if (!l || !is_lora_target(it.name, words)) continue;
    //        sum += lora_parameters(l->in_features, l->in_features, rank);
    //    }
    //> end
    return sum;
}

/* Tunes a copy of base with LoRA on the chosen Linears; base stays as it is. */
bool measure_lora(Tape *t, const Module *base, const char *const *words, int64_t rank,
                  double alpha, const Tuning *how, TuningRow *row, Error *err)
{
    //> starter
    //    Module *copy = lk_deepcopy(base, err);
    //    if (!copy) return false;
    //    Rng rng;
    //    lk_manual_seed(&rng, how->seed); /* of A */
    //    lk_tape_seed(t, how->seed);      /* of dropout: each row drops the same */
    //    /* TODO 3: as apply_lora_to_roberta of hw1, but with the words: freeze all, put_lora,
    //     * let "classifier.*" require gradients. Then tune_and_measure. Free the copy. */
    //    lk_free(copy);
    //    return lk_error_set(err, LK_ESTATE, "measure_lora: TODO 3");
    //> solution
    Module *copy = lk_deepcopy(base, err);
    if (!copy) return false;
    Rng rng;
    lk_manual_seed(&rng, how->seed); /* of A */
    lk_tape_seed(t, how->seed);      /* of dropout: each row drops the same */
    lk_require_grad(copy, "*", false);
    bool ok = put_lora(copy, words, rank, alpha, &rng, err) >= 0;
    lk_require_grad(copy, "classifier.*", true);
    ok = ok && tune_and_measure(t, copy, how, row, err);
    lk_free(copy);
    return ok;
    //> wrong no_copy: looks like base itself changed
    //    Module *copy = lk_retain((Module *)base);
    //    Rng rng;
    //    lk_manual_seed(&rng, how->seed);
    //    lk_tape_seed(t, how->seed);
    //    lk_require_grad(copy, "*", false);
    //    bool ok = put_lora(copy, words, rank, alpha, &rng, err) >= 0;
    //    lk_require_grad(copy, "classifier.*", true);
    //    ok = ok && tune_and_measure(t, copy, how, row, err);
    //    lk_free(copy);
    //    return ok;
    //> wrong words_ignored: looks like the words ignored
    //    Module *copy = lk_deepcopy(base, err);
    //    if (!copy) return false;
    //    Rng rng;
    //    lk_manual_seed(&rng, how->seed);
    //    lk_tape_seed(t, how->seed);
    //    bool ok = apply_lora_to_roberta(copy, rank, alpha, &rng, err) &&
    //              tune_and_measure(t, copy, how, row, err);
    //    lk_free(copy);
    //    return ok;
    //> wrong classifier_frozen: looks like classifier frozen
    //    Module *copy = lk_deepcopy(base, err);
    //    if (!copy) return false;
    //    Rng rng;
    //    lk_manual_seed(&rng, how->seed);
    //    lk_tape_seed(t, how->seed);
    //    lk_require_grad(copy, "*", false);
    //    bool ok = put_lora(copy, words, rank, alpha, &rng, err) >= 0;
    //    ok = ok && tune_and_measure(t, copy, how, row, err);
    //    lk_free(copy);
    //    return ok;
    //> wrong nothing_frozen: looks like nothing frozen
    //    Module *copy = lk_deepcopy(base, err);
    //    if (!copy) return false;
    //    Rng rng;
    //    lk_manual_seed(&rng, how->seed);
    //    lk_tape_seed(t, how->seed);
    //    bool ok = put_lora(copy, words, rank, alpha, &rng, err) >= 0;
    //    ok = ok && tune_and_measure(t, copy, how, row, err);
    //    lk_free(copy);
    //    return ok;
    //> wrong leak: looks like leak
    //    Module *copy = lk_deepcopy(base, err);
    //    if (!copy) return false;
    //    Rng rng;
    //    lk_manual_seed(&rng, how->seed);
    //    lk_tape_seed(t, how->seed);
    //    lk_require_grad(copy, "*", false);
    //    bool ok = put_lora(copy, words, rank, alpha, &rng, err) >= 0;
    //    lk_require_grad(copy, "classifier.*", true);
    //    return ok && tune_and_measure(t, copy, how, row, err);
    //> wrong tape_not_seeded: looks like the tape's seed forgotten
    //    Module *copy = lk_deepcopy(base, err);
    //    if (!copy) return false;
    //    Rng rng;
    //    lk_manual_seed(&rng, how->seed);
    //    lk_require_grad(copy, "*", false);
    //    bool ok = put_lora(copy, words, rank, alpha, &rng, err) >= 0;
    //    lk_require_grad(copy, "classifier.*", true);
    //    ok = ok && tune_and_measure(t, copy, how, row, err);
    //    lk_free(copy);
    //    return ok;
    //> wrong alpha_over_rank: looks like alpha divided by the rank
    //    Module *copy = lk_deepcopy(base, err);
    //    if (!copy) return false;
    //    Rng rng;
    //    lk_manual_seed(&rng, how->seed);
    //    lk_tape_seed(t, how->seed);
    //    lk_require_grad(copy, "*", false);
    //    bool ok = put_lora(copy, words, rank, alpha / (double)rank, &rng, err) >= 0;
    //    lk_require_grad(copy, "classifier.*", true);
    //    ok = ok && tune_and_measure(t, copy, how, row, err);
    //    lk_free(copy);
    //    return ok;
    //> end
}

/* A row for each rank, with LoRA on query and value. */
bool rank_table(Tape *t, const Module *base, const int64_t *ranks, int count, double alpha,
                const Tuning *how, TuningRow *rows, Error *err)
{
    static const char *const words[] = { "query", "value", NULL };
    //> starter
    //    /* TODO 4: measure_lora for each rank, into rows[i]. */
    //    (void)words;
    //    return lk_error_set(err, LK_ESTATE, "rank_table: TODO 4");
    //> solution
    for (int i = 0; i < count; i++)
        if (!measure_lora(t, base, words, ranks[i], alpha, how, &rows[i], err)) return false;
    return true;
    //> wrong same_rank: looks like the first rank in every row
    //    for (int i = 0; i < count; i++)
    //        if (!measure_lora(t, base, words, *ranks, alpha, how, &rows[i], err)) return false;
    //    return true;
    //> wrong first_row: looks like only the first row filled
    //    (void)count;
    //    return measure_lora(t, base, words, *ranks, alpha, how, rows, err);
    //> wrong number_for_rank: looks like the row's number taken for its rank
    //    (void)ranks;
    //    for (int i = 0; i < count; i++)
    //        if (!measure_lora(t, base, words, i + 1, alpha, how, &rows[i], err)) return false;
    //    return true;
    //> end
}

/* Writes a table in Markdown: names[i] begins row i. */
void print_tuning_table(FILE *out, const char *const *names, const TuningRow *rows, int count)
{
    fprintf(out, "| LoRA | trainable | percent | bytes | seconds | loss | accuracy |\n");
    fprintf(out, "| --- | --- | --- | --- | --- | --- | --- |\n");
    //> starter
    //    /* TODO 5: a line for each row, with the columns of the header. %lld prints
    //     * (long long)rows[i].trainable; %.4f is enough for what is not whole. */
    //> solution
    for (int i = 0; i < count; i++) {
        const TuningRow *r = &rows[i];
        lk_fprintf(out, "| %s | %lld | %.4f | %lld | %.4f | %.4f | %.4f |\n", names[i],
                   (long long)r->trainable, r->percent, (long long)r->bytes, r->seconds, r->loss,
                   r->accuracy);
    }
    //> wrong one_line: looks like a newline forgotten
    //    for (int i = 0; i < count; i++) {
    //        const TuningRow *r = &rows[i];
    //        lk_fprintf(out, "| %s | %lld | %.4f | %lld | %.4f | %.4f | %.4f |", names[i],
    //                (long long)r->trainable, r->percent, (long long)r->bytes, r->seconds,
    //                r->loss, r->accuracy);
    //    }
    //> wrong exchanged: looks like loss and accuracy exchanged
    //    for (int i = 0; i < count; i++) {
    //        const TuningRow *r = &rows[i];
    //        lk_fprintf(out, "| %s | %lld | %.4f | %lld | %.4f | %.4f | %.4f |\n", names[i],
    //                (long long)r->trainable, r->percent, (long long)r->bytes, r->seconds,
    //                r->accuracy, r->loss);
    //    }
    //> wrong first_name: looks like wrong value
    //    for (int i = 0; i < count; i++) {
    //        const TuningRow *r = &rows[i];
    //        lk_fprintf(out, "| %s | %lld | %.4f | %lld | %.4f | %.4f | %.4f |\n", names[0],
    //                (long long)r->trainable, r->percent, (long long)r->bytes, r->seconds,
    //                r->loss, r->accuracy);
    //    }
    //> wrong three_columns: looks like columns missing
    //    for (int i = 0; i < count; i++) {
    //        const TuningRow *r = &rows[i];
    //        lk_fprintf(out, "| %s | %.4f | %.4f |\n", names[i], r->loss, r->accuracy);
    //    }
    //> end
}

//> hint
// A comparison is fair when one thing changes and all else is the same: the same base, the same
// sentences, the same seeds. So each row begins with a copy of the base and with the seeds.
//> hint
// LoRA adds rank · (in + out) numbers to a Linear. A row: copy, freeze "*", put_lora, unfreeze
// "classifier.*", tune_and_measure, free the copy. A table: a row for each rank.
//> hint
// if (!measure_lora(t, base, words, ranks[i], alpha, how, &rows[i], err)) return false;
//> end
