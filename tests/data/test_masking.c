/* test_masking.c - what is hidden from a language model: how often, by what, and what never. */
#include "data/masking.h"

#include <math.h>

#include "core/ops.h"
#include "tests/check.h"

enum { SIZE = 100, ROWS = 64, LENGTH = 50 };
static const Tokenizer tok = { .size = SIZE, .bos = 0, .pad = 1, .eos = 2, .unk = 3, .mask = 99 };

/* Sentences of the tokens 10 … 59 between <s> and </s>; of the others nobody ever is hidden or put
 * in. */
static TextDataset *sentences(void)
{
    Error err = { 0 };
    TextDataset *d = lk_text_dataset_new(&err);
    for (int i = 0; i < ROWS; i++) {
        int64_t ids[LENGTH] = { tok.bos };
        for (int k = 1; k < LENGTH - 1; k++) ids[k] = 10 + (i * 7 + k) % 50;
        ids[LENGTH - 1] = i % 2 ? tok.eos : tok.unk;
        check(lk_text_add(d, ids, LENGTH, 0, &err), "%s", err.message);
    }
    return d;
}

Test(masking, parts)
{
    enum { BATCHES = 40 };
    Error err = { 0 };
    TextDataset *d = sentences();
    Masking m;
    check(lk_masking_init(&m, &tok, d, 3, &err), "%s", err.message);
    check(m.tokens->shape[0] == 50 && lk_at(m.tokens, LK_INDEX(0)) == 10 && m.place[59] == 49 &&
          m.place[60] == -1);
    Tape *t = lk_tape_new(&err);
    Tensor *ids = lk_tensor_from_new(LK_I64, LK_SHAPE(ROWS, LENGTH), d->ids, &err);
    double chosen = 0, masked = 0, other = 0;
    for (int batch = 0; batch < BATCHES; batch++, lk_tape_reset(t)) {
        MaskedBatch b;
        check(lk_masking_next(&m, t, ids, &b), "%s", lk_tape_error(t)->message);
        const int64_t *now = b.ids->data, *row = b.rows->data, *target = b.targets->data;
        int64_t next = 0, count = b.rows->shape[0];
        check_shape(b.targets, LK_SHAPE(count));
        for (int64_t i = 0; i < ROWS * LENGTH; i++) {
            bool here = next < count && row[next] == i;
            check(here || now[i] == d->ids[i], "element %lld changed and is no target",
                  (long long)i);
            if (!here) continue;
            check(m.place[d->ids[i]] == target[next++], "target of element %lld", (long long)i);
            check(now[i] == tok.mask || m.place[now[i]] >= 0);
            chosen++;
            masked += now[i] == tok.mask;
            other += now[i] != tok.mask && now[i] != d->ids[i];
        }
        check(next == count);
    }
    /* Of a binomial distribution's standard deviations, 4 */
    double n = (double)BATCHES * ROWS * (LENGTH - 2);
    check(fabs(chosen / n - 0.15) < 4 * sqrt(0.15 * 0.85 / n), "%g of all", chosen / n);
    check(fabs(masked / chosen - 0.8) < 4 * sqrt(0.8 * 0.2 / chosen), "%g masked",
          masked / chosen);
    check(fabs(other / chosen - 0.098) < 4 * sqrt(0.098 * 0.902 / chosen), "%g replaced",
          other / chosen);
    lk_free(ids);
    lk_tape_free(t);
    lk_masking_free(&m);
    lk_text_dataset_free(d);
}

Test(masking, nothing_to_hide)
{
    Error err = { 0 };
    TextDataset *d = lk_text_dataset_new(&err);
    Masking m;
    check(lk_text_add(d, LK_I64S(0, 3, 2), 3, 0, &err));
    check(!lk_masking_init(&m, &tok, d, 0, &err));
    check_error(&err, LK_EVALUE, "no token that could be hidden");
    lk_masking_free(&m);
    lk_text_dataset_free(d);
}
