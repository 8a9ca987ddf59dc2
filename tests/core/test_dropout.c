/* test_dropout.c - lk_dropout (core/ops_dropout.c) and the masks behind it
 * (core/kernels/dropout.c): Philox's published numbers, any part of a mask by itself, PyTorch's
 * rounding, the stream of a tape, threads, special values, bad calls. */
#include "core/kernels/dropout.h"

#include <math.h>
#include <string.h>

#include "core/ops.h"
#include "tests/core/ops_cases.h"

/* ---- masks ---------------------------------------------------------------------------------- */

/* Philox4x32-10 as the paper writes it, one counter at a time. */
static void philox(uint32_t x[4], uint32_t key0, uint32_t key1)
{
    for (int round = 0; round < 10; round++, key0 += 0x9E3779B9u, key1 += 0xBB67AE85u) {
        uint64_t a = (uint64_t)x[0] * 0xD2511F53u, b = (uint64_t)x[2] * 0xCD9E8D57u;
        uint32_t y[4] = { (uint32_t)(b >> 32) ^ x[1] ^ key0, (uint32_t)b,
                          (uint32_t)(a >> 32) ^ x[3] ^ key1, (uint32_t)a };
        memcpy(x, y, sizeof y);
    }
}

/* The vectors of the authors' library (Random123, kat_vectors). */
Test(dropout, the_plain_philox_is_philox)
{
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } vectors[] = {
        { { 0 }, { 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff },
          { 0xffffffff, 0xffffffff },
          { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
          { 0xa4093822, 0x299f31d0 },
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (int i = 0; i < LENGTH(vectors); i++) {
        uint32_t x[4];
        memcpy(x, vectors[i].counter, sizeof x);
        philox(x, vectors[i].key[0], vectors[i].key[1]);
        check(memcmp(x, vectors[i].expected, sizeof x) == 0, "vector %d: %08x %08x %08x %08x", i,
              x[0], x[1], x[2], x[3]);
    }
}

/* Words of counter c of a group decide elements 2 c, 2 c + 1, 32 + 2 c, 33 + 2 c of its 64. */
static bool is_kept(const DropoutMask *m, int64_t element)
{
    int64_t in_group = element % 64, word = in_group / 32 * 2 + in_group % 2;
    uint64_t counter = (uint64_t)(element / 64) * 16 + (uint64_t)(in_group % 32 / 2);
    uint32_t x[4] = { (uint32_t)counter, (uint32_t)(counter >> 32), (uint32_t)m->call,
                      (uint32_t)(m->call >> 32) };
    philox(x, (uint32_t)m->seed, (uint32_t)(m->seed >> 32));
    return (double)x[word] >= floor(m->p * 0x1p32);
}

Test(dropout, masks_are_philox_from_any_place)
{
    static const DropoutMask masks[] = { { 0, 0, 0.5 },
                                         { 1, 2, 0.1 },
                                         { 7, 0, 0 },
                                         { 7, 0, 1 },
                                         { 0x123456789abcdef0u, 0xfedcba9876543210u, 0.9 },
                                         { UINT64_MAX, UINT64_MAX, 0x1p-32 } };
    static const int64_t starts[] = {
        0, 1, 63, 64, 100, (int64_t)1 << 33, ((int64_t)1 << 34) - 30
    };
    uint8_t keep[402];
    for (int i = 0; i < LENGTH(masks); i++)
        for (int s = 0; s < LENGTH(starts); s++)
            for (int64_t n = 0; n <= 400; n += n < 140 ? 1 : 65) {
                memset(keep, 7, sizeof keep);
                lk__dropout_keep(&masks[i], starts[s], n, keep + 1);
                check(keep[0] == 7 && keep[n + 1] == 7, "written outside of %d elements", (int)n);
                for (int64_t j = 0; j < n; j++)
                    check(keep[j + 1] == is_kept(&masks[i], starts[s] + j),
                          "mask %d, element %lld", i, (long long)(starts[s] + j));
            }
}

/* Six standard deviations for a million elements. */
Test(dropout, keeps_as_many_as_it_should)
{
    enum { N = 1 << 20 };
    static uint8_t keep[N];
    for (int i = 1; i < 10; i++) {
        DropoutMask m = { 3, (uint64_t)i, 0.1 * i };
        lk__dropout_keep(&m, 0, N, keep);
        int64_t kept = 0, pairs = 0;
        for (int64_t j = 0; j < N; j++) kept += keep[j], pairs += j > 0 && keep[j] && keep[j - 1];
        double q = 1 - m.p;
        check(fabs((double)kept - q * N) < 6 * sqrt(q * m.p * N), "p %g: %lld kept", m.p,
              (long long)kept);
        check(fabs((double)pairs - q * q * N) < 12 * sqrt(q * q * N), "p %g: %lld pairs", m.p,
              (long long)pairs);
    }
}

/* ---- the operation -------------------------------------------------------------------------- */

/* PyTorch 1.13: F.dropout(torch.ones(n), p).max() */
Test(dropout, scales_as_pytorch_rounds)
{
    static const struct {
        double p;
        float single;
    } scales[] = {
        { 0.05, 1.0526316165924072f },
        { 0.1, 1.1111111640930176f },
        { 0.123, 1.1402509212493896f },
        { 0.3, 1.4285714626312256f },
        { 0.5, 2.0f },
        { 0.7, 3.3333332538604736f },
        { 0.9, 10.0f },
    };
    Tape *t = lk_tape_new(NULL);
    for (int i = 0; i < LENGTH(scales); i++)
        for (DType dtype = LK_F32; dtype <= LK_F64; dtype++) {
            Tensor *y = lk_dropout(t, lk_ones(t, dtype, LK_SHAPE(300)), scales[i].p);
            int64_t kept = lk_count(y);
            check(kept > 0 && kept < 300);
            for (int64_t j = 0; j < 300; j++) {
                double v = lk_at(y, LK_INDEX(j)), single = (double)scales[i].single;
                double scale = dtype == LK_F64 ? 1 / (1 - scales[i].p) : single;
                check(v == 0 || v == scale, "p %g: %.17g", scales[i].p, v);
            }
        }
    lk_tape_free(t);
}

/* x itself, turned, or every second column of it. */
static Tensor *view_of(Tape *t, Tensor *x, int form)
{
    if (form == 0) return x;
    return form == 1 ? lk_T(t, x) : lk_slice(t, x, 1, 0, INT64_MAX, 2);
}

/* y = x noise and dx = dy noise, the same noise, whatever the strides; every call has its own. */
Test(dropout, has_one_mask_forward_and_backward)
{
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 0);
    for (int form = 0; form < 3; form++) {
        Tensor *x = lk_param_new(LK_F64, LK_SHAPE(70, 50), NULL), *once = NULL;
        lk_normal_(x, 0, 1, &rng);
        for (int call = 0; call < 2; call++) {
            Tensor *in = view_of(t, x, form);
            uint64_t calls = lk_tape_random(t).calls;
            Tensor *y = lk_dropout(t, in, 0.25),
                   *dy = lk_randn(t, &rng, LK_F64, y->ndim, y->shape);
            check(strcmp(lk_grad_fn(y), "MulBackward0") == 0 &&
                  lk_tape_random(t).calls == calls + 1);
            check(lk_backward_with(t, y, dy, false) && lk_tape_random(t).calls == calls + 1);
            Tensor *noise = lk_div(t, lk_detach(t, y), lk_detach(t, in));
            Tensor *dx = lk_zeros(t, LK_F64, LK_SHAPE(70, 50));
            Tensor *place = view_of(t, dx, form);
            check(lk_copy_(place, lk_mul(t, dy, noise), NULL));
            check_close_to(lk_grad(x), dx, 1e-15);
            check(!once || !lk_equal(noise, once), "two calls drop the same");
            once = noise;
            lk_zero_grad_(x);
        }
        lk_free(x);
        lk_tape_reset(t);
    }
    lk_tape_free(t);
}

Test(dropout, has_a_stream_that_can_be_put_back)
{
    Tape *t = lk_tape_new(NULL), *other = lk_tape_new(NULL);
    Tensor *x = lk_tensor_new(LK_F32, LK_SHAPE(1000), NULL);
    lk_fill_(x, 1);
    TapeRandom start = lk_tape_random(t);
    check(start.seed == 0 && start.calls == 0);
    Tensor *first = lk_clone(lk_dropout(t, x, 0.5), NULL);
    lk_tape_reset(t); /* goes on where it was */
    TapeRandom at = lk_tape_random(t);
    check(at.calls == 1);
    Tensor *second = lk_clone(lk_dropout(t, x, 0.5), NULL);
    check(!lk_equal(first, second));
    lk_tape_set_random(other, at); /* a new process */
    check_equal(lk_dropout(other, x, 0.5), second);
    lk_tape_seed(other, 0);
    check_equal(lk_dropout(other, x, 0.5), first);
    lk_tape_seed(other, (uint64_t)1 << 40); /* the upper half counts, too */
    check(!lk_equal(lk_dropout(other, x, 0.5), first));
    check(lk_dropout(t, x, 0) == x);
    lk_free(first), lk_free(second), lk_free(x);
    lk_tape_free(t), lk_tape_free(other);
}

Test(dropout, has_the_same_bits_for_any_number_of_threads)
{
    enum { N = 100003 };
    Tensor *y[2], *dx[2], *x = lk_param_new(LK_F32, LK_SHAPE(N), NULL);
    Rng rng;
    lk_manual_seed(&rng, 0);
    lk_normal_(x, 0, 1, &rng);
    for (int threads = 1; threads <= 2; threads++) {
        lk_set_num_threads(threads);
        Tape *t = lk_tape_new(NULL);
        Tensor *z = lk_dropout(t, x, 0.1);
        check(lk_backward(t, lk_sum(t, lk_mul(t, z, z), LK_ALL, false)));
        y[threads - 1] = lk_clone(z, NULL), dx[threads - 1] = lk_clone(lk_grad(x), NULL);
        lk_zero_grad_(x);
        lk_tape_free(t);
    }
    check_equal(y[0], y[1]);
    check_equal(dx[0], dx[1]);
    for (int i = 0; i < 2; i++) lk_free(y[i]), lk_free(dx[i]);
    lk_free(x);
}

/* p = 1 drops everything; 0 · inf and 0 · NaN are NaN, as in PyTorch; nothing can be dropped of
 * nothing. */
Test(dropout, of_special_values)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_param(LK_F32, LK_SHAPE(4), 1, -2, INFINITY, NAN);
    Tensor *y = lk_dropout(t, x, 1);
    check_values(y, 0, 0, 0, NAN, NAN);
    check(lk_backward_with(t, y, lk_ones(t, LK_F32, LK_SHAPE(4)), false));
    check_values(lk_grad(x), 0, 0, 0, 0, 0);
    check_shape(lk_dropout(t, lk_ones(t, LK_F32, LK_SHAPE(0, 3)), 0.5), LK_SHAPE(0, 3));
    check_shape(lk_dropout(t, lk_ones(t, LK_F64, LK_SCALAR), 0.5), LK_SCALAR);
    lk_free(x);
    lk_tape_free(t);
}

Test(dropout, refuses_bad_operands)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2));
    PASSES_NULL(lk_dropout(t, NULL, 0.5));
    REFUSES(lk_dropout(t, x, 1.5), LK_EVALUE,
            "lk_dropout: dropout probability has to be between 0 and 1, but got 1.5");
    REFUSES(lk_dropout(t, x, -0.1), LK_EVALUE,
            "lk_dropout: dropout probability has to be between 0 and 1, but got -0.1");
    REFUSES(lk_dropout(t, x, NAN), LK_EVALUE,
            "lk_dropout: dropout probability has to be between 0 and 1, but got nan");
    REFUSES(lk_dropout(t, lk_ones(t, LK_I64, LK_SHAPE(2)), 0.5), LK_EDTYPE,
            "lk_dropout: takes float32 or float64, not int64; lk_to converts");
    check(lk_tape_random(t).calls == 0, "a refused call takes no number");
    lk_tape_free(t);
}
