/* test_ops_sample.c - lk_multinomial (core/ops_sample.c): PyTorch's choices
 * (fixtures/ops_multinomial.h), their frequencies, and bad calls. */
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_multinomial.h"

Test(ops_sample, draws_are_those_of_pytorch)
{
    Tape *t = lk_tape_new(NULL);
    for (int i = 0; i < LENGTH(draws); i++) {
        Rng rng;
        lk_manual_seed(&rng, (uint64_t)i);
        const int64_t shape[] = { 2, 5 }, all = 10;
        const int ndim = draws[i].ndim;
        Tensor *probs = check_make_tensor(draws[i].is_double ? LK_F64 : LK_F32, false, all,
                                          weights, ndim, ndim == 2 ? shape : &all);
        Tensor *y = lk_multinomial(t, &rng, probs, draws[i].count, draws[i].replacement);
        if (ndim == 2) check_shape(y, LK_SHAPE(2, draws[i].count));
        else check_shape(y, LK_SHAPE(draws[i].count));
        check_close(y, draws[i].y, lk_numel(y), 0);
        check((double)lk_random_f32(&rng) == draws[i].follows, "the stream of draw %d", i);
        lk_free(probs);
    }
    lk_tape_free(t);
}

/* 20000 draws with each way: a frequency is within 5 standard deviations of p. */
Test(ops_sample, frequencies)
{
    enum { DRAWS = 20000, N = 4 };
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 0);
    const double p[N] = { 0.1, 0.6, 0, 0.3 };
    Tensor *probs = lk_expand(t, lk_tensor(t, LK_F64, LK_SHAPE(N), p), LK_SHAPE(DRAWS, N));
    for (int replacement = 0; replacement < 2; replacement++) {
        Tensor *y = lk_multinomial(t, &rng, probs, 1, replacement);
        const int64_t *at = y->data;
        for (int c = 0; c < N; c++) {
            int count = 0;
            for (int i = 0; i < DRAWS; i++) count += at[i] == c;
            check(fabs(count - DRAWS * p[c]) <= 5 * sqrt(DRAWS * p[c] * (1 - p[c])), "%d: %d", c,
                  count);
        }
    }
    lk_tape_free(t);
}

/* Without replacement no place comes twice, and a place without probability only at the end. */
Test(ops_sample, all_places_without_replacement)
{
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 0);
    Tensor *probs = make_param(LK_F32, LK_SHAPE(4), 3, 0, 1, 2);
    for (int i = 0; i < 50; i++) {
        Tensor *y = lk_multinomial(t, &rng, probs, 4, false);
        check(!y->node && lk_at(y, LK_INDEX(3)) == 1);
        check_values(lk_sort(t, y, 0, false, NULL), 0, 0, 1, 2, 3);
    }
    check_shape(lk_multinomial(t, &rng, lk_ones(t, LK_F32, LK_SHAPE(0, 3)), 2, false),
                LK_SHAPE(0, 2));
    check_shape(lk_multinomial(t, &rng, lk_ones(t, LK_F32, LK_SHAPE(0, 3)), 5, true),
                LK_SHAPE(0, 5));
    lk_free(probs);
    lk_tape_free(t);
}

Test(ops_sample, refuses_bad_operands)
{
    int reports;
    Rng rng;
    lk_manual_seed(&rng, 0);
    Tape *t = counting_tape(&reports);
    Tensor *p = lk_ones(t, LK_F32, LK_SHAPE(2, 3));
    PASSES_NULL(lk_multinomial(t, &rng, NULL, 1, false));
    REFUSES(lk_multinomial(t, NULL, p, 1, false), LK_EVALUE,
            "lk_multinomial: the generator is NULL");
    REFUSES(lk_multinomial(t, &rng, lk_arange(t, 0, 3), 1, false), LK_EDTYPE,
            "lk_multinomial: takes float32 or float64, not int64; lk_to converts");
    REFUSES(lk_multinomial(t, &rng, lk_scalar(t, LK_F32, 1), 1, false), LK_ESHAPE,
            "lk_multinomial: the probabilities () must have 1 or 2 dimensions");
    REFUSES(lk_multinomial(t, &rng, p, 0, true), LK_EVALUE,
            "lk_multinomial: 0 samples; there must be one at least");
    REFUSES(lk_multinomial(t, &rng, p, 4, false), LK_EVALUE,
            "lk_multinomial: 4 samples from rows of (2, 3) without replacement");
    ((float *)p->data)[4] = -1;
    REFUSES(lk_multinomial(t, &rng, p, 1, false), LK_EVALUE,
            "lk_multinomial: probability -1 at position 4 of (2, 3): it must be finite and not "
            "negative");
    ((float *)p->data)[4] = NAN;
    REFUSES(lk_multinomial(t, &rng, p, 1, true), LK_EVALUE,
            "lk_multinomial: probability nan at position 4 of (2, 3): it must be finite and not "
            "negative");
    lk_fill_(lk_select(t, p, 0, 1), 0);
    REFUSES(lk_multinomial(t, &rng, p, 1, true), LK_EVALUE,
            "lk_multinomial: row 1 of (2, 3) sums to 0: it must be above 0 and finite");
    lk_fill_(p, 2e38);
    REFUSES(lk_multinomial(t, &rng, p, 1, false), LK_EVALUE,
            "lk_multinomial: row 0 of (2, 3) sums to inf: it must be above 0 and finite");
    check(rng.next == 624, "a refused call draws nothing");
    lk_tape_free(t);
}
