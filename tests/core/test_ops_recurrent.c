/* test_ops_recurrent.c - LSTM and GRU (core/recurrent.c) against PyTorch
 * (fixtures/ops_recurrent.h) and against single steps, for every instruction set and number of
 * threads, without a state that is asked for, called wrongly. */
#include "core/kernels/for_tests.h"
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_recurrent.h"

/* arg: reverse, whether it has states, whether it has biases, then lengths, if there are any */
static SequenceOptions options_of(Tape *t, const Case *c)
{
    SequenceOptions o = { .reverse = c->arg[0] };
    if (c->args > 3) o.lengths = lk_tensor(t, LK_I64, LK_SHAPE(c->args - 3), c->arg + 3);
    return o;
}

static Tensor *state_of(Tensor **x, const Case *c, int i) { return c->arg[1] ? x[3 + i] : NULL; }

static Tensor *bias_of(Tensor **x, const Case *c, int i, int states)
{
    return c->arg[2] ? x[3 + i + (c->arg[1] ? states : 0)] : NULL;
}

static Tensor *joined(Tape *t, Tensor *y, Tensor *h_n, Tensor *c_n)
{
    h_n = lk_unsqueeze(t, h_n, 0);
    if (!c_n) return lk_cat(t, LK_TENSORS(y, h_n), 0);
    return lk_cat(t, LK_TENSORS(y, h_n, lk_unsqueeze(t, c_n, 0)), 0);
}

static Tensor *lstm(Tape *t, Tensor **x, const Case *c)
{
    Tensor *h_n, *c_n;
    Tensor *y = lk_lstm(t, x[0], state_of(x, c, 0), state_of(x, c, 1), x[1], x[2],
                        bias_of(x, c, 0, 2), bias_of(x, c, 1, 2), options_of(t, c), &h_n, &c_n);
    return joined(t, y, h_n, c_n);
}

static Tensor *lstm_cell(Tape *t, Tensor **x, const Case *c)
{
    Tensor *next, *h = lk_lstm_cell(t, x[0], state_of(x, c, 0), state_of(x, c, 1), x[1], x[2],
                                    bias_of(x, c, 0, 2), bias_of(x, c, 1, 2), &next);
    return lk_cat(t, LK_TENSORS(h, next), 0);
}

static Tensor *gru(Tape *t, Tensor **x, const Case *c)
{
    Tensor *h_n, *y = lk_gru(t, x[0], state_of(x, c, 0), x[1], x[2], bias_of(x, c, 0, 1),
                             bias_of(x, c, 1, 1), options_of(t, c), &h_n);
    return joined(t, y, h_n, NULL);
}

static Tensor *gru_cell(Tape *t, Tensor **x, const Case *c)
{
    Tensor *h = lk_gru_cell(t, x[0], state_of(x, c, 0), x[1], x[2], bias_of(x, c, 0, 1),
                            bias_of(x, c, 1, 1));
    return lk_cat(t, LK_TENSORS(h), 0);
}

static const Caller callers[] = {
    { "lstm", lstm }, { "lstm_cell", lstm_cell }, { "gru", gru }, { "gru_cell", gru_cell }
};

TEST_CASES(recurrent, recurrent_cases, callers)

/* ---- beyond the table ----------------------------------------------------------------------- */

enum { STEPS = 5, BATCH = 37, WIDTH = 19, UNITS = 65 }; /* enough for several threads */
enum { X, H0, C0, W_IH, W_HH, B_IH, B_HH, LEAVES };

static void leaves_new(DType d, bool is_gru, Tensor *leaf[LEAVES])
{
    Rng rng;
    const int64_t wide = (is_gru ? 3 : 4) * UNITS;
    lk_manual_seed(&rng, 3);
    leaf[X] = lk_param_new(d, LK_SHAPE(STEPS, BATCH, WIDTH), NULL);
    leaf[H0] = lk_param_new(d, LK_SHAPE(BATCH, UNITS), NULL);
    leaf[C0] = lk_param_new(d, LK_SHAPE(BATCH, UNITS), NULL);
    leaf[W_IH] = lk_param_new(d, LK_SHAPE(wide, WIDTH), NULL);
    leaf[W_HH] = lk_param_new(d, LK_SHAPE(wide, UNITS), NULL);
    leaf[B_IH] = lk_param_new(d, LK_SHAPE(wide), NULL);
    leaf[B_HH] = lk_param_new(d, LK_SHAPE(wide), NULL);
    for (int i = 0; i < LEAVES; i++) {
        Tensor *exact = lk_tensor_new(LK_F64, leaf[i]->ndim, leaf[i]->shape, NULL);
        lk_uniform_(exact, -0.3, 0.3, &rng);
        check(lk_copy_(leaf[i], exact, NULL));
        lk_free(exact);
    }
}

static void free_all(Tensor *x[LEAVES])
{
    for (int i = 0; i < LEAVES; i++) lk_free(x[i]);
}

static Tensor *fused(Tape *t, Tensor *const *l, bool is_gru, SequenceOptions o)
{
    Tensor *h_n, *c_n = NULL;
    Tensor *y =
        is_gru ? lk_gru(t, l[X], l[H0], l[W_IH], l[W_HH], l[B_IH], l[B_HH], o, &h_n)
               : lk_lstm(t, l[X], l[H0], l[C0], l[W_IH], l[W_HH], l[B_IH], l[B_HH], o, &h_n, &c_n);
    return joined(t, y, h_n, c_n);
}

/* The same by cells, step after step. */
static Tensor *by_cells(Tape *t, Tensor *const *l, bool is_gru, bool reverse)
{
    Tensor *h = l[H0], *c = l[C0], *step[STEPS];
    for (int k = 0; k < STEPS; k++) {
        const int s = reverse ? STEPS - 1 - k : k;
        Tensor *x = lk_select(t, l[X], 0, s);
        h = is_gru ? lk_gru_cell(t, x, h, l[W_IH], l[W_HH], l[B_IH], l[B_HH])
                   : lk_lstm_cell(t, x, h, c, l[W_IH], l[W_HH], l[B_IH], l[B_HH], &c);
        step[s] = lk_unsqueeze(t, h, 0);
    }
    return joined(t, lk_cat(t, STEPS, step, 0), h, is_gru ? NULL : c);
}

/* Σ y v for a fixed v goes backward, and the gradients move to grads; NULL where there is none. */
static void gradients(Tape *t, Tensor *y, Tensor *const *leaf, Tensor *grads[LEAVES])
{
    Tensor *v = lk_zeros(t, LK_F64, y->ndim, y->shape);
    Rng rng;
    lk_manual_seed(&rng, 8);
    lk_uniform_(v, -1, 1, &rng);
    check(lk_backward_with(t, y, lk_to(t, v, y->dtype), false), "%s", lk_tape_error(t)->message);
    for (int i = 0; i < LEAVES; i++) {
        grads[i] = lk_clone(lk_grad(leaf[i]), NULL);
        lk_zero_grad_(leaf[i]);
    }
}

Test(recurrent, a_sequence_is_its_steps)
{
    Tape *t = lk_tape_new(NULL);
    for (int kind = 0; kind < 4; kind++) {
        const bool is_gru = kind & 1, reverse = kind & 2;
        Tensor *leaf[LEAVES], *one[LEAVES], *other[LEAVES];
        leaves_new(LK_F64, is_gru, leaf);
        Tensor *y = fused(t, leaf, is_gru, (SequenceOptions){ reverse, NULL }),
               *z = by_cells(t, leaf, is_gru, reverse);
        check_close_to(lk_detach(t, y), lk_detach(t, z), 1e-14);
        gradients(t, y, leaf, one);
        gradients(t, z, leaf, other);
        for (int i = 0; i < LEAVES; i++) {
            check(!one[i] == !other[i] && !one[i] == (is_gru && i == C0));
            if (one[i]) check_close_to(one[i], other[i], 1e-12);
        }
        free_all(leaf), free_all(one), free_all(other);
        lk_tape_reset(t);
    }
    lk_tape_free(t);
}

/* Each sequence on its own, in the shape of `fused`. */
static Tensor *apart(Tape *t, Tensor *const *l, bool is_gru, bool reverse, const int64_t *lengths)
{
    Tensor *row[BATCH];
    for (int64_t b = 0; b < BATCH; b++) {
        const int64_t n = lengths[b];
        Tensor *own[LEAVES];
        memcpy(own, l, sizeof own);
        own[X] = lk_slice(t, lk_slice(t, l[X], 0, 0, n, 1), 1, b, b + 1, 1);
        own[H0] = lk_slice(t, l[H0], 0, b, b + 1, 1);
        own[C0] = lk_slice(t, l[C0], 0, b, b + 1, 1);
        Tensor *y = fused(t, own, is_gru, (SequenceOptions){ reverse, NULL }),
               *zeros = lk_zeros(t, LK_F64, LK_SHAPE(STEPS - n, 1, UNITS)),
               *last = lk_slice(t, y, 0, n, INT64_MAX, 1);
        row[b] = lk_cat(t, LK_TENSORS(lk_slice(t, y, 0, 0, n, 1), zeros, last), 0);
    }
    return lk_cat(t, BATCH, row, 1);
}

/* Nothing of the padding, which is NaN, reaches a value or a gradient. */
Test(recurrent, a_padded_sequence_is_the_sequence_alone)
{
    Tape *t = lk_tape_new(NULL);
    for (int kind = 0; kind < 4; kind++) {
        const bool is_gru = kind & 1, reverse = kind & 2;
        Tensor *leaf[LEAVES], *one[LEAVES], *other[LEAVES];
        int64_t lengths[BATCH];
        leaves_new(LK_F64, is_gru, leaf);
        for (int b = 0; b < BATCH; b++) {
            lengths[b] = 1 + b * 3 % STEPS;
            for (int64_t i = lengths[b] * BATCH * WIDTH; i < lk_numel(leaf[X]); i++)
                if (i / WIDTH % BATCH == b) ((double *)leaf[X]->data)[i] = NAN;
        }
        Tensor *given = lk_tensor(t, LK_I64, LK_SHAPE(BATCH), lengths),
               *y = fused(t, leaf, is_gru, (SequenceOptions){ reverse, given }),
               *z = apart(t, leaf, is_gru, reverse, lengths);
        memset(given->data, 0, sizeof lengths); /* backward has its own copy */
        check_close_to(lk_detach(t, y), lk_detach(t, z), 1e-14);
        gradients(t, y, leaf, one);
        gradients(t, z, leaf, other);
        for (int i = 0; i < LEAVES; i++)
            if (!is_gru || i != C0) check_close_to(one[i], other[i], 1e-12);
        free_all(leaf), free_all(one), free_all(other);
        lk_tape_reset(t);
    }
    lk_tape_free(t);
}

/* Lengths that are all S change no bit, and no number of threads does. */
Test(recurrent, lengths_and_bits)
{
    Tape *t = lk_tape_new(NULL);
    for (int kind = 0; kind < 4; kind++) {
        const bool is_gru = kind & 1, reverse = kind & 2;
        Tensor *leaf[LEAVES], *one[LEAVES], *other[LEAVES];
        leaves_new(LK_F32, is_gru, leaf);
        Tensor *full = lk_zeros(t, LK_I64, LK_SHAPE(BATCH)),
               *some = lk_zeros(t, LK_I64, LK_SHAPE(BATCH));
        for (int b = 0; b < BATCH; b++) ((int64_t *)full->data)[b] = STEPS;
        for (int b = 0; b < BATCH; b++) ((int64_t *)some->data)[b] = 1 + b % STEPS;
        for (int pair = 0; pair < 2; pair++) {
            lk_set_num_threads(1);
            Tensor *y = fused(t, leaf, is_gru, (SequenceOptions){ reverse, pair ? some : NULL });
            gradients(t, y, leaf, one);
            lk_set_num_threads(3);
            Tensor *z = fused(t, leaf, is_gru, (SequenceOptions){ reverse, pair ? some : full });
            gradients(t, z, leaf, other);
            check_equal(y, z);
            for (int i = 0; i < LEAVES; i++)
                if (one[i]) check_equal(one[i], other[i]);
            lk_tape_set_grad(t, false);
            check_equal(fused(t, leaf, is_gru, (SequenceOptions){ reverse, pair ? some : full }),
                        y);
            lk_tape_set_grad(t, true);
            free_all(one), free_all(other);
        }
        free_all(leaf);
        lk_tape_reset(t);
    }
    lk_tape_free(t);
}

/* Every instruction set within rounding of float64's, and each with the same bits for every number
 * of threads and without a graph. */
Test(recurrent, every_instruction_set_and_number_of_threads)
{
    const SequenceOptions plain = { 0 };
    Tape *t = lk_tape_new(NULL);
    for (int kind = 0; kind < 2; kind++) {
        Tensor *leaf[LEAVES], *single[LEAVES], *exact[LEAVES], *expected[LEAVES], *now[LEAVES];
        leaves_new(LK_F64, kind, leaf);
        leaves_new(LK_F32, kind, single);
        Tensor *first = lk_clone(fused(t, leaf, kind, plain), NULL);
        gradients(t, fused(t, leaf, kind, plain), leaf, exact);
        for (KernelSet set = LK_PORTABLE; set < LK_KERNEL_SETS; set++) {
            if (!lk__kernels_use(set)) continue;
            Tensor *y = NULL;
            for (int threads = 1; threads <= 3; threads++) {
                lk_set_num_threads(threads);
                Tensor *again = fused(t, single, kind, plain);
                check_close_to(lk_to(t, lk_detach(t, again), LK_F64), first, 2e-6);
                if (y) check_equal(again, y);
                y = again;
                gradients(t, y, single, threads == 1 ? expected : now);
                for (int i = 0; threads > 1 && i < LEAVES; i++) {
                    if (now[i]) check_equal(now[i], expected[i]);
                    lk_free(now[i]);
                }
                lk_tape_set_grad(t, false);
                check_equal(fused(t, single, kind, plain), y);
                lk_tape_set_grad(t, true);
            }
            for (int i = 0; i < LEAVES; i++) {
                if (exact[i]) check_close_to(lk_to(t, expected[i], LK_F64), exact[i], 1e-4);
                lk_free(expected[i]);
            }
            lk_tape_reset(t);
        }
        free_all(leaf), free_all(single), free_all(exact);
        lk_free(first);
    }
    lk_tape_free(t);
}

/* The gradient of Σ h² or, with c, of Σ h c, as a copy; x's own is cleared. */
static Tensor *gradient_of(Tape *t, Tensor *h, Tensor *c, Tensor *x)
{
    check(lk_backward(t, lk_sum(t, lk_mul(t, h, c ? c : h), LK_ALL, false)));
    Tensor *grad = lk_clone(lk_grad(x), NULL);
    lk_zero_grad_(x);
    return grad;
}

/* One tensor in several places: what its gradients add up to. */
Test(recurrent, one_tensor_in_several_places)
{
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 1);
    Tensor *w = lk_param_new(LK_F64, LK_SHAPE(8, 2), NULL);
    lk_uniform_(w, -1, 1, &rng);
    Tensor *sum[2][3];
    for (int apart = 0; apart < 2; apart++) {
        Tensor *place[5], *c;
        for (int i = 0; i < 5; i++) place[i] = apart ? lk_scale(t, w, 1) : w;
        Tensor *h =
            lk_lstm_cell(t, place[0], place[1], place[2], place[3], place[4], NULL, NULL, &c);
        sum[apart][0] = gradient_of(t, h, c, w);
        h = lk_lstm_cell(t, place[0], NULL, NULL, place[3], place[4], NULL, NULL, NULL);
        sum[apart][1] = gradient_of(t, h, NULL, w);
        Tensor *row = lk_select(t, lk_T(t, w), 0, 0), *other = row;
        if (apart) other = lk_scale(t, row, 1);
        h = lk_lstm_cell(t, place[0], NULL, NULL, place[3], place[4], row, other, NULL);
        sum[apart][2] = gradient_of(t, h, NULL, w);
    }
    for (int i = 0; i < 3; i++) {
        check_close_to(sum[0][i], sum[1][i], 1e-14);
        lk_free(sum[0][i]), lk_free(sum[1][i]);
    }
    lk_free(w);
    lk_tape_free(t);
}

Test(recurrent, refuses_wrong_shapes)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3, 4)), *wi = lk_ones(t, LK_F32, LK_SHAPE(8, 4)),
           *wh = lk_ones(t, LK_F32, LK_SHAPE(8, 2)), *b = lk_ones(t, LK_F32, LK_SHAPE(8)),
           *h = lk_ones(t, LK_F32, LK_SHAPE(3, 2)), *last = x;
    const SequenceOptions plain = { 0 };
    Tensor *none = lk_ones(t, LK_F32, LK_SHAPE(0, 3, 4)), *d = lk_ones(t, LK_F64, LK_SHAPE(3, 2));
    REFUSES(lk_lstm(t, h, NULL, NULL, wi, wh, NULL, NULL, plain, &last, NULL), LK_ESHAPE,
            "lk_lstm: x (3, 2) must be (S, B, I)");
    check(!last);
    REFUSES(lk_lstm(t, none, NULL, NULL, wi, wh, NULL, NULL, plain, NULL, NULL), LK_ESHAPE,
            "lk_lstm: x (0, 3, 4) has no step; it needs at least one");
    REFUSES(lk_lstm(t, x, NULL, NULL, wi, wi, NULL, NULL, plain, NULL, NULL), LK_ESHAPE,
            "lk_lstm: weight_hh (8, 4) must be (4 H, H)");
    REFUSES(lk_lstm(t, x, NULL, NULL, wh, wh, NULL, NULL, plain, NULL, NULL), LK_ESHAPE,
            "lk_lstm: weight_ih (8, 2) must be (4 H, I) = (8, 4)");
    REFUSES(lk_lstm(t, x, b, NULL, wi, wh, NULL, NULL, plain, NULL, NULL), LK_ESHAPE,
            "lk_lstm: h0 (8,) must be (B, H) = (3, 2)");
    REFUSES(lk_lstm(t, x, h, wh, wi, wh, NULL, NULL, plain, NULL, NULL), LK_ESHAPE,
            "lk_lstm: c0 (8, 2) must be (B, H) = (3, 2)");
    REFUSES(lk_lstm(t, x, h, h, wi, wh, wh, b, plain, NULL, NULL), LK_ESHAPE,
            "lk_lstm: bias_ih (8, 2) must be (4 H) = (8,)");
    const SequenceOptions none_long = { .lengths = lk_arange(t, 0, 3) },
                          too_long = { .lengths = lk_arange(t, 1, 4) },
                          one_short = { .lengths = lk_arange(t, 1, 3) },
                          floats = { .lengths = lk_ones(t, LK_F32, LK_SHAPE(3)) };
    REFUSES(lk_lstm(t, x, h, h, wi, wh, b, b, none_long, &last, NULL), LK_EVALUE,
            "lk_lstm: lengths[0] is 0; it must be from 1 to the 2 steps of x");
    check(!last);
    REFUSES(lk_lstm(t, x, h, h, wi, wh, b, b, too_long, NULL, NULL), LK_EVALUE,
            "lk_lstm: lengths[2] is 3; it must be from 1 to the 2 steps of x");
    REFUSES(lk_lstm(t, x, h, h, wi, wh, b, b, one_short, NULL, NULL), LK_ESHAPE,
            "lk_lstm: lengths (2,) must be (B) = (3,)");
    REFUSES(lk_lstm(t, x, h, h, wi, wh, b, b, floats, NULL, NULL), LK_EDTYPE,
            "lk_lstm: lengths must be int64, not float32; lk_to converts");
    REFUSES(lk_lstm_cell(t, x, h, h, wi, wh, b, b, NULL), LK_ESHAPE,
            "lk_lstm_cell: x (2, 3, 4) must be (B, I)");
    REFUSES(lk_gru(t, x, NULL, wi, wh, NULL, NULL, plain, NULL), LK_ESHAPE,
            "lk_gru: weight_hh (8, 2) must be (3 H, H)");
    Tensor *g = lk_ones(t, LK_F32, LK_SHAPE(6, 2));
    REFUSES(lk_gru_cell(t, h, wh, g, g, NULL, NULL), LK_ESHAPE,
            "lk_gru_cell: h (8, 2) must be (B, H) = (3, 2)");
    REFUSES(lk_gru_cell(t, h, NULL, g, g, NULL, b), LK_ESHAPE,
            "lk_gru_cell: bias_hh (8,) must be (3 H) = (6,)");
    reports = 0;
    check(!lk_gru_cell(t, h, d, g, g, NULL, NULL) && reports == 1);
    lk_tape_clear_error(t);
    PASSES_NULL(lk_lstm(t, NULL, NULL, NULL, wi, wh, NULL, NULL, plain, NULL, NULL));
    lk_tape_free(t);
}
