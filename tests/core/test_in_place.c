/* test_in_place.c - a value that backward needs and that was changed since the forward is an
 * error, before any gradient is touched; one that it does not need may change. The table is
 * PyTorch 1.13's, measured; notes say what differs. */
#include <string.h>

#include "core/ops.h"
#include "tests/check.h"

static Tensor *total(Tape *t, Tensor *x) { return lk_sum(t, x, LK_ALL, false); }

/* ---- operation by operation ----------------------------------------------------------------- */

typedef Tensor *OpFn(Tape *t, Tensor *const *x);
#define OP(name, expression) \
    static Tensor *name(Tape *t, Tensor *const *x) { return expression; }
OP(add, lk_add(t, x[0], x[1]))
OP(sub, lk_sub(t, x[0], x[1]))
OP(mul, lk_mul(t, x[0], x[1]))
OP(divide, lk_div(t, x[0], x[1]))
OP(power, lk_pow(t, x[0], x[1]))
OP(neg, lk_neg(t, x[0]))
OP(scale, lk_scale(t, x[0], 2))
OP(add_scalar, lk_add_scalar(t, x[0], 2))
OP(cube, lk_pow_scalar(t, x[0], 3))
OP(exponential, lk_exp(t, x[0]))
OP(logarithm, lk_log(t, x[0]))
OP(square_root, lk_sqrt(t, x[0]))
OP(sigmoid, lk_sigmoid(t, x[0]))
OP(hyperbolic, lk_tanh(t, x[0]))
OP(gelu, lk_gelu(t, x[0]))
OP(relu, lk_relu(t, x[0]))
OP(absolute, lk_abs(t, x[0]))
OP(sine, lk_sin(t, x[0]))
OP(square, lk_square(t, x[0]))
OP(inverse_root, lk_rsqrt(t, x[0]))
OP(reciprocal, lk_reciprocal(t, x[0]))
OP(rounded, lk_round(t, x[0]))
OP(silu, lk_silu(t, x[0]))
OP(softplus, lk_softplus(t, x[0]))
OP(clamp, lk_clamp(t, x[0], 0, 1))
OP(larger, lk_maximum(t, x[0], x[1]))
OP(where, lk_where(t, lk_lt(t, x[0], x[1]), x[0], x[1])) /* the condition is a result of its own */
OP(l1, lk_l1_loss(t, x[0], x[1], LK_SUM))
OP(kl_div, lk_kl_div(t, x[0], x[1], false, LK_SUM))
OP(bce, lk_bce_with_logits(t, x[0], x[1], NULL, LK_SUM))
OP(nll_loss, lk_nll_loss(t, x[0], x[1], NULL, -100, LK_SUM))
OP(matmul, lk_matmul(t, x[0], x[1]))
OP(linear, lk_linear(t, x[0], x[1], x[2]))
OP(reversed, lk_T(t, x[0]))
OP(reshape, lk_reshape(t, x[0], LK_SHAPE(4)))
OP(slice, lk_slice(t, x[0], 0, 1, 2, 1))
OP(copy, lk_contiguous(t, lk_T(t, x[0])))
OP(to, lk_to(t, x[0], LK_F64))
OP(sum, lk_sum(t, x[0], LK_DIMS(0), false))
OP(mean, lk_mean(t, x[0], LK_DIMS(0), false))
OP(maximum, lk_max(t, x[0], LK_ALL, false))
OP(max_dim, lk_max_dim(t, x[0], 1, false, NULL))
OP(variance, lk_var(t, x[0], 1, LK_DIMS(0), false))
OP(deviation, lk_std(t, x[0], 1, LK_DIMS(0), false))
OP(norm, lk_norm(t, x[0], 2, LK_DIMS(0), false))
OP(logsumexp, lk_logsumexp(t, x[0], LK_DIMS(0), false))
OP(product, lk_prod(t, x[0], LK_DIMS(0), false))
OP(cosine, lk_cosine_similarity(t, x[0], x[1], 0, 1e-8))
OP(softmax, lk_softmax(t, x[0], 1))
OP(log_softmax, lk_log_softmax(t, x[0], 1))
OP(mse, lk_mse_loss(t, x[0], x[1]))
OP(layer_norm, lk_layer_norm(t, x[0], 2, x[1], x[0], 1e-5))
OP(residual_norm, lk_residual_norm(t, x[0], x[1], 0, x[2], NULL, 1e-5))
OP(batch_norm, lk_batch_norm(t, x[0], NULL, NULL, x[2], NULL, true, 0.1, 1e-5))
OP(group_norm, lk_group_norm(t, x[0], 1, x[2], NULL, 1e-5))
OP(rms_norm, lk_rms_norm(t, x[0], x[2], 1e-5))
OP(embedding, lk_embedding(t, x[0], x[1], -1))
OP(select_rows, lk_select_rows(t, x[0], x[1]))
OP(gather, lk_gather(t, lk_select(t, x[0], 0, 0), 0, x[1]))
OP(cat, lk_cat(t, LK_TENSORS(x[0], x[1]), 0))
OP(stack, lk_stack(t, LK_TENSORS(x[0], x[1]), 0))
OP(pad, lk_pad(t, x[0], LK_PADS(1, 1), 0))
OP(flip, lk_flip(t, x[0], LK_ALL))
OP(scatter_add, lk_scatter_add(t, x[0], 1, lk_unsqueeze(t, x[2], 1), x[1]))
OP(index_add, lk_index_add(t, x[0], 0, x[2], x[1]))
OP(cumsum, lk_cumsum(t, x[0], 0))
OP(sort, lk_sort(t, x[0], 0, false, NULL))
OP(topk, lk_topk(t, x[0], 1, 0, true, NULL))
OP(masked_fill,
   lk_masked_fill(t, x[0], lk_eq(t, x[1], x[1]), 2)) /* the mask is a result of its own */
OP(drop, lk_dropout(t, x[0], 0.5))
OP(bmm, lk_matmul(t, lk_unsqueeze(t, x[0], 0), lk_unsqueeze(t, x[1], 0)))
OP(cross_entropy, lk_cross_entropy(t, x[0], x[1]))

enum { MAX_INPUTS = 3, WANTED = 8 };

/* expected[wanted], wanted a mask of the inputs that require a gradient: one character for each
 * input and one for the result, X where changing it is an error. NULL: not tried. */
static const struct {
    const char *name;
    OpFn *op;
    int inputs;
    bool labels; /* the last input is int64 */
    const char *expected[WANTED];
} cases[] = {
    { "add", add, 2, false, { NULL, "...", "...", "..." } },
    { "sub", sub, 2, false, { NULL, "...", "...", "..." } },
    { "mul", mul, 2, false, { NULL, ".X.", "X..", "XX." } },
    { "div", divide, 2, false, { NULL, ".X.", "XX.", "XX." } },
    /* PyTorch saves the result for the base alone, too */
    { "pow", power, 2, false, { NULL, "XX.", "XXX", "XXX" } },
    { "neg", neg, 1, false, { NULL, ".." } },
    { "scale", scale, 1, false, { NULL, ".." } },
    { "add_scalar", add_scalar, 1, false, { NULL, ".." } },
    { "pow_scalar", cube, 1, false, { NULL, "X." } },
    { "exp", exponential, 1, false, { NULL, ".X" } },
    { "log", logarithm, 1, false, { NULL, "X." } },
    { "sqrt", square_root, 1, false, { NULL, ".X" } },
    { "sigmoid", sigmoid, 1, false, { NULL, ".X" } },
    { "tanh", hyperbolic, 1, false, { NULL, ".X" } },
    { "gelu", gelu, 1, false, { NULL, "X." } },
    { "relu", relu, 1, false, { NULL, ".X" } },
    { "abs", absolute, 1, false, { NULL, "X." } },
    { "sin", sine, 1, false, { NULL, "X." } },
    { "square", square, 1, false, { NULL, "X." } },
    { "rsqrt", inverse_root, 1, false, { NULL, ".X" } },
    { "reciprocal", reciprocal, 1, false, { NULL, ".X" } },
    { "round", rounded, 1, false, { NULL, ".." } },
    { "silu", silu, 1, false, { NULL, "X." } },
    { "softplus", softplus, 1, false, { NULL, "X." } },
    { "clamp", clamp, 1, false, { NULL, "X." } },
    { "maximum", larger, 2, false, { NULL, "XX.", "XX.", "XX." } },
    { "where", where, 2, false, { NULL, "...", "...", "..." } },
    { "l1_loss", l1, 2, false, { NULL, "XX.", "XX.", "XX." } },
    { "kl_div", kl_div, 2, false, { NULL, ".X.", "XX.", "XX." } },
    { "bce_with_logits", bce, 2, false, { NULL, "XX.", "X..", "XX." } },
    { "nll_loss", nll_loss, 2, true, { NULL, ".X." } },
    { "matmul", matmul, 2, false, { NULL, ".X.", "X..", "XX." } },
    { "linear",
      linear,
      3,
      false,
      { NULL, ".X..", "X...", "XX..", "....", ".X..", "X...", "XX.." } },
    { "T", reversed, 1, false, { NULL, ".." } },
    { "reshape", reshape, 1, false, { NULL, ".." } },
    { "slice", slice, 1, false, { NULL, ".." } },
    { "contiguous", copy, 1, false, { NULL, ".." } },
    { "to", to, 1, false, { NULL, ".." } },
    { "sum", sum, 1, false, { NULL, ".." } },
    { "mean", mean, 1, false, { NULL, ".." } }, /* PyTorch saves the input, and does not need it */
    { "max", maximum, 1, false, { NULL, "XX" } },
    { "max_dim", max_dim, 1, false, { NULL, ".." } },
    { "var", variance, 1, false, { NULL, "X." } },
    { "std", deviation, 1, false, { NULL, "XX" } },
    { "norm", norm, 1, false, { NULL, "XX" } },
    { "logsumexp", logsumexp, 1, false, { NULL, "XX" } },
    { "prod", product, 1, false, { NULL, "X." } }, /* PyTorch needs the result, too */
    { "cosine_similarity", cosine, 2, false, { NULL, "XX.", "XX.", "XX." } },
    { "softmax", softmax, 1, false, { NULL, ".X" } },
    { "log_softmax", log_softmax, 1, false, { NULL, ".X" } },
    /* PyTorch needs the weight for itself, too */
    { "layer_norm", layer_norm, 2, false, { NULL, "XX.", "X..", "XX." } },
    { "residual_norm",
      residual_norm,
      3,
      false,
      { NULL, "XXX.", "XXX.", "XXX.", "XX..", "XXX.", "XXX.", "XXX." } }, /* not in PyTorch */
    { "batch_norm", batch_norm, 3, false, { NULL, "X.X.", NULL, NULL, "X...", "X.X." } },
    { "group_norm", group_norm, 3, false, { NULL, "X.X.", NULL, NULL, "X...", "X.X." } },
    { "rms_norm",
      rms_norm,
      3,
      false,
      { NULL, "X.X.", NULL, NULL, "X...", "X.X." } }, /* not in PyTorch */
    { "mse_loss", mse, 2, false, { NULL, "XX.", "XX.", "XX." } },
    { "select_rows", select_rows, 2, true, { NULL, ".X." } },
    { "gather", gather, 2, true, { NULL, ".X." } },
    { "cat", cat, 2, false, { NULL, "...", "...", "..." } },
    { "stack", stack, 2, false, { NULL, "...", "...", "..." } },
    { "pad", pad, 1, false, { NULL, ".." } },
    { "flip", flip, 1, false, { NULL, ".." } },
    { "scatter_add", scatter_add, 3, true, { NULL, "....", "..X.", "..X." } },
    { "index_add", index_add, 3, true, { NULL, "....", "..X.", "..X." } },
    { "cumsum", cumsum, 1, false, { NULL, ".." } },
    { "sort", sort, 1, false, { NULL, ".." } },
    { "topk", topk, 1, false, { NULL, ".." } },
    /* the mask itself: test_ops_index.c */
    { "masked_fill", masked_fill, 2, true, { NULL, "..." } },
    { "dropout", drop, 1, false, { NULL, ".." } }, /* PyTorch saves the noise */
    { "matmul, batched", bmm, 2, false, { NULL, ".X.", "X..", "XX." } },
    { "embedding", embedding, 2, true, { NULL, ".X." } },
    /* PyTorch keeps a softmax instead of the logits */
    { "cross_entropy", cross_entropy, 2, true, { NULL, "XX." } },
};

/* The operation, with inputs behind an operation each, one of them or the result changed before
 * backward. */
static void try_change(size_t i, unsigned wanted, int changed)
{
    Tape *t = quiet_tape();
    Tensor *leaf[MAX_INPUTS], *x[MAX_INPUTS];
    for (int k = 0; k < cases[i].inputs; k++) {
        bool labels = cases[i].labels && k == cases[i].inputs - 1;
        if (labels) leaf[k] = make_tensor(LK_I64, LK_SHAPE(2), 0, 1);
        else if (k == 2) leaf[k] = make_tensor(LK_F32, LK_SHAPE(2), 1.5, 0.5);
        else leaf[k] = make_tensor(LK_F32, LK_SHAPE(2, 2), 0.5, 1.5, 1.25, 0.75);
        if (!labels) lk_set_requires_grad(leaf[k], wanted >> k & 1);
        x[k] = labels ? leaf[k] : lk_scale(t, leaf[k], 1);
    }
    Tensor *y = cases[i].op(t, x);
    check(y, "%s: %s", cases[i].name, lk_tape_error(t)->message);
    Tensor *loss = total(t, y);
    lk_fill_(changed == cases[i].inputs ? y : x[changed], 1);

    bool complains = cases[i].expected[wanted][changed] == 'X';
    check(lk_backward(t, loss) == !complains, "%s, wanted %u, changed %d: %s", cases[i].name,
          wanted, changed, lk_tape_error(t)->message);
    if (complains) check_error(lk_tape_error(t), LK_ESTATE, "was changed in place");
    for (int k = 0; k < cases[i].inputs; k++) {
        bool has = !complains && (wanted >> k & 1);
        check(!lk_grad(leaf[k]) == !has, "%s, wanted %u, changed %d: input %d", cases[i].name,
              wanted, changed, k);
        lk_free(leaf[k]);
    }
    lk_tape_free(t);
}

Test(in_place, an_error_exactly_where_the_value_is_needed)
{
    int tried = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (unsigned wanted = 1; wanted < WANTED; wanted++) {
            if (!cases[i].expected[wanted]) continue;
            check((int)strlen(cases[i].expected[wanted]) == cases[i].inputs + 1, "the table, %s",
                  cases[i].name);
            for (int changed = 0; changed <= cases[i].inputs; changed++, tried++)
                try_change(i, wanted, changed);
        }
    check(tried > 120, "%d tried", tried);
}

/* ---- how a change is noticed ---------------------------------------------------------------- */

Test(in_place, message_says_what_was_changed)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(2, 3), 1, 2, 3, 4, 5, 6);
    Tensor *loss = total(t, lk_mul(t, x, x));
    lk_fill_(x, 0);
    check(!lk_backward(t, loss));
    check_error(lk_tape_error(t), LK_ESTATE,
                "MulBackward0 needs its input (2, 3) as it was in the forward");
    lk_tape_clear_error(t);
    Tensor *y = lk_exp(t, x);
    loss = total(t, y);
    lk_fill_(y, 0);
    check(!lk_backward(t, loss));
    check_error(lk_tape_error(t), LK_ESTATE, "ExpBackward0 needs its result (2, 3) as it was");
    lk_free(x);
    lk_tape_free(t);
}

Test(in_place, no_gradient_is_touched)
{
    /* The newest operation could run; the one below it cannot. */
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(2), 1, 2), *w = make_param(LK_F32, LK_SHAPE(2), 3, 4);
    Tensor *b = make_param(LK_F32, LK_SHAPE(2), 5, 6), *c = make_param(LK_F32, LK_SHAPE(2), 7, 8);
    check(lk_backward(t, total(t, c)));
    Tensor *h = lk_retain_grad(lk_mul(t, x, w)), *loss = total(t, lk_add(t, lk_add(t, h, b), c));
    lk_fill_(w, 0);
    check(!lk_backward(t, loss));
    check(!lk_grad(x) && !lk_grad(w) && !lk_grad(b) && !lk_grad(h));
    check_values(lk_grad(c), 0, 1, 1);
    lk_tape_clear_error(t);
    loss = total(t, lk_add(t, lk_mul(t, x, w), b)); /* computed again, all is well */
    check(lk_backward(t, loss));
    check_values(lk_grad(x), 0, 0, 0);
    check_values(lk_grad(w), 0, 1, 2);
    lk_free(x), lk_free(w), lk_free(b), lk_free(c);
    lk_tape_free(t);
}

Test(in_place, a_refused_backward_uses_up_nothing)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(2), 1, 2), *w = make_param(LK_F32, LK_SHAPE(2), 3, 4);
    Tensor *y = lk_mul(t, x, w), *ones = lk_ones(t, LK_F32, LK_SHAPE(2));
    lk_fill_(w, 0);
    check(!lk_backward_with(t, y, ones, false));
    lk_tape_clear_error(t);
    lk_set_requires_grad(x, false); /* its gradient needed w */
    check(lk_backward_with(t, y, ones, false), "%s", lk_tape_error(t)->message);
    check_values(lk_grad(w), 0, 1, 2);
    lk_free(x), lk_free(w);
    lk_tape_free(t);
}

Test(in_place, a_change_through_any_view_counts)
{
    enum { BASE, TRANSPOSED, PART, DETACHED, RAW, WAYS };
    for (int used = 0; used < 3;
         used++) /* the operation sees the tensor, a view, or a detached view of it */
        for (int way = 0; way < WAYS; way++) {
            Tape *t = quiet_tape();
            Tensor *x = make_tensor(LK_F32, LK_SHAPE(2, 2), 1, 2, 3, 4);
            Tensor *w = make_param(LK_F32, LK_SHAPE(2, 2), 1, 1, 1, 1);
            Tensor *seen = x;
            if (used > 0) seen = used == 1 ? lk_T(t, x) : lk_detach(t, x);
            Tensor *loss = total(t, lk_mul(t, seen, w));
            switch (way) {
            case BASE: lk_fill_(x, 0); break;
            case TRANSPOSED: lk_fill_(lk_T(t, x), 0); break;
            case PART: lk_fill_(lk_slice(t, x, 0, 1, 2, 1), 0); break;
            case DETACHED:
                check(lk_copy_(lk_detach(t, x), lk_zeros(t, LK_F32, LK_SCALAR), NULL));
                break;
            case RAW: ((float *)x->data)[3] = 0, lk_touch(x); break;
            }
            check(!lk_backward(t, loss), "used %d, way %d", used, way);
            check_error(lk_tape_error(t), LK_ESTATE, "was changed in place");
            check(!lk_grad(w));
            lk_free(x), lk_free(w);
            lk_tape_free(t);
        }
}

Test(in_place, a_copy_is_another_value)
{
    Tape *t = quiet_tape();
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(2, 2), 1, 2, 3, 4),
           *w = make_param(LK_F32, LK_SHAPE(2, 2), 1, 1, 1, 1);
    Tensor *copy = lk_clone(x, NULL), *turned = lk_contiguous(t, lk_T(t, x));
    Tensor *loss = total(t, lk_mul(t, turned, lk_mul(t, copy, w)));
    lk_fill_(x, 0);
    check(lk_backward(t, loss));
    check_values(lk_grad(w), 0, 1, 6, 6, 16);
    lk_free(x), lk_free(w), lk_free(copy);
    lk_tape_free(t);
}

Test(in_place, a_change_after_backward_is_a_training_step)
{
    Tape *t = quiet_tape();
    Tensor *w = make_param(LK_F64, LK_SHAPE(1), 1);
    for (int step = 0; step < 3; step++) {
        lk_tape_reset(t);
        lk_zero_grad_(w);
        check(lk_backward(t, lk_mul(t, w, w)));
        /* w -= 0.25 · 2w */
        check(lk_copy_(w, lk_sub(t, lk_detach(t, w), lk_scale(t, lk_grad(w), 0.25)), NULL));
    }
    check_values(w, 0, 0.125);
    lk_free(w);
    lk_tape_free(t);
}

/* A tensor that no wanted gradient needs may change, however deep: w is frozen, so x is not
 * needed. */
Test(in_place, what_only_a_frozen_gradient_needs_may_change)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(2), 1, 2), *w = make_param(LK_F32, LK_SHAPE(2), 3, 4);
    lk_set_requires_grad(w, false);
    Tensor *loss = total(t, lk_mul(t, x, w));
    lk_fill_(x, 9);
    check(lk_backward(t, loss));
    check_values(lk_grad(x), 0, 3, 4);
    lk_free(x), lk_free(w);
    lk_tape_free(t);
}

/* ---- a leaf that became another one --------------------------------------------------------- */

/* PyTorch converts the gradient; here it would be a gradient of values that the forward never
 * saw. */
Test(in_place, converted_between_forward_and_backward)
{
    OpFn *const ops[] = { add, mul, scale, reversed, sum, matmul };
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        Tape *t = quiet_tape();
        Tensor *x[2];
        for (int k = 0; k < 2; k++) x[k] = make_param(LK_F32, LK_SHAPE(2, 2), 1, 2, 3, 4);
        Tensor *loss = total(t, ops[i](t, x));
        check(lk_convert_(x[0], LK_F64, NULL));
        check(!lk_backward(t, loss), "operation %zu", i);
        check(lk_tape_error(t)->code == LK_ESTATE && !lk_grad(x[0]) && !lk_grad(x[1]),
              "operation %zu", i);
        if (ops[i] == add)
            check_error(lk_tape_error(t), LK_ESTATE,
                        "input 0 of AddBackward0 was float32 in the forward and is");
        lk_free(x[0]), lk_free(x[1]);
        lk_tape_free(t);
    }
}
