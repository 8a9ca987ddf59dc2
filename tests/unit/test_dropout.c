/* test_dropout.c - the tape's stream and the masks it gives: functions of seed, call and element alone. */
#include <math.h>
#include <string.h>

#include "core/dropout.h"
#include "core/ops.h"
#include "tests/check.h"

enum { MANY = 200000 };
static uint8_t whole[MANY], part[MANY];

Test(dropout, a_mask_is_a_function_of_the_element)
{
    DropoutMask m = { 5, 2, 0.3 };
    lk_dropout_keep(&m, 0, MANY, whole);
    for (int64_t first = 0, n = 1; first < MANY; first += n, n = n * 3 % 1009 + 1) {
        if (n > MANY - first) n = MANY - first;
        lk_dropout_keep(&m, first, n, part);
        check(memcmp(part, whole + first, (size_t)n) == 0, "%lld elements from %lld on", (long long)n, (long long)first);
    }
    int64_t kept = 0;
    for (int64_t i = 0; i < MANY; i++) kept += whole[i];
    check(fabs((double)kept - 0.7 * MANY) < 5 * sqrt(0.21 * MANY), "%lld of %d are kept", (long long)kept, MANY);
    const uint64_t high = 1ull << 32;
    const DropoutMask others[] = { { 6, 2, 0.3 }, { 5, 3, 0.3 }, { 5 + high, 2, 0.3 }, { 5, 2 + high, 0.3 } };
    for (int k = 0; k < 4; k++) { /* each half of seed and call counts: two masks agree as if by chance */
        int64_t same = 0;
        lk_dropout_keep(&others[k], 0, MANY, part);
        for (int64_t i = 0; i < MANY; i++) same += part[i] == whole[i];
        check(fabs((double)same - 0.58 * MANY) < 6 * sqrt(0.25 * MANY), "mask %d: %lld agree", k, (long long)same);
    }
}

Test(dropout, threads_and_gradients)
{
    Tape *t = quiet_tape();
    Rng rng;
    lk_manual_seed(&rng, 0);
    Tensor *x = lk_param_new(LK_F32, LK_SHAPE(300, 257), NULL), *y[2], *dx[2];
    check(lk_normal_(x, 0, 1, &rng));
    for (int threads = 1; threads <= 2; threads++) {
        lk_set_num_threads(threads);
        lk_tape_seed(t, 9);
        Tensor *z = lk_dropout(t, x, 0.1);
        check(lk_backward(t, lk_sum(t, lk_mul(t, z, z), LK_ALL, false)));
        y[threads - 1] = lk_clone(z, NULL);
        dx[threads - 1] = lk_clone(lk_grad(x), NULL);
        lk_zero_grad_(x);
    }
    check_equal(y[0], y[1]);
    check_equal(dx[0], dx[1]);
    /* y = x noise, dx = 2 y noise, noise 0 or 1 / (1 - p) in float */
    const float *in = x->data, *out = y[0]->data, *grad = dx[0]->data, noise = 1.0f / (1.0f - 0.1f);
    for (int64_t i = 0; i < lk_numel(x); i++) {
        check(out[i] == in[i] * noise || out[i] == 0);
        check(grad[i] == (out[i] == 0 ? 0 : 2 * out[i] * noise), "element %lld", (long long)i);
    }
    for (int i = 0; i < 2; i++) {
        lk_free(y[i]);
        lk_free(dx[i]);
    }
    lk_free(x);
    lk_tape_free(t);
}

Test(dropout, the_stream_can_be_taken_up_again)
{
    Tape *t = quiet_tape();
    lk_tape_seed(t, 3);
    Tensor *x = lk_ones(t, LK_F64, LK_SHAPE(100));
    check(lk_dropout(t, x, 0) == x && lk_tape_random(t).seed == 3);
    TapeRandom before = lk_tape_random(t);
    Tensor *a = lk_dropout(t, x, 0.5), *b = lk_dropout(t, x, 0.5);
    check(!lk_equal(a, b));
    lk_tape_set_random(t, before);
    check_equal(lk_dropout(t, x, 0.5), a);
    check_equal(lk_dropout(t, x, 0.5), b);
    check(lk_count(lk_dropout(t, x, 1)) == 0);
    lk_tape_free(t);
}

Test(dropout, what_is_no_probability)
{
    static const double wrong[] = { -0.1, 1.5, NAN, INFINITY };
    Tape *t = quiet_tape();
    for (int i = 0; i < 4; i++) {
        check(!lk_dropout(t, lk_ones(t, LK_F32, LK_SHAPE(2)), wrong[i]));
        check_error(lk_tape_error(t), LK_EVALUE, "lk_dropout");
        lk_tape_clear_error(t);
    }
    lk_tape_free(t);
}
