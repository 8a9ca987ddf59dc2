/* test_autograd.c - what backward means: who gets a gradient, what is added to it, and when it
 * refuses. Everything here is what PyTorch does, unless a comment says otherwise. Memory, errors
 * and marks of a tape: test_tape.c. */
#include <math.h>
#include <string.h>

#include "core/op.h"
#include "core/ops.h"
#include "tests/check.h"

static Tensor *total(Tape *t, Tensor *x) { return lk_sum(t, x, LK_ALL, false); }

/* ---- what is added -------------------------------------------------------------------------- */

Test(autograd, two_backwards_accumulate)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(2), 3, -1);
    check(!lk_grad(x));
    check(lk_backward(t, total(t, lk_mul(t, x, x))));
    check_values(lk_grad(x), 0, 6, -2);
    check(lk_backward(t, total(t, lk_scale(t, x, 10))));
    check_values(lk_grad(x), 0, 16, 8);
    lk_free(x);
    lk_tape_free(t);
}

Test(autograd, zero_grad_is_none_and_keeps_the_memory)
{
    check_alloc_begin();
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(2), 3, -1);
    check(lk_backward(t, total(t, lk_mul(t, x, x))));
    const void *memory = lk_grad(x)->data;
    int64_t before = check_alloc_count();
    for (int i = 0; i < 3; i++) {
        lk_zero_grad_(x);
        check(!lk_grad(x));
        lk_tape_reset(t);
        check(lk_backward(t, total(t, lk_scale(t, x, i))));
        check_values(lk_grad(x), 0, i, i); /* nothing is left of what was there */
        check(lk_grad(x)->data == memory && check_alloc_count() == before);
    }
    lk_zero_grad_(NULL);
    check(!lk_grad(NULL));
    lk_free(x);
    lk_tape_free(t);
}

Test(autograd, diamond)
{
    /* a = 2x, b = x², y = Σ a b + a = Σ 2x³ + 2x: dy/dx = 6x² + 2 */
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F64, LK_SHAPE(3), 1, -2, 0.5);
    Tensor *a = lk_scale(t, x, 2), *b = lk_mul(t, x, x);
    check(lk_backward(t, total(t, lk_add(t, lk_mul(t, a, b), a))));
    check_values(lk_grad(x), 1e-15, 8, 26, 3.5);
    lk_free(x);
    lk_tape_free(t);
}

Test(autograd, deep_diamonds_are_gone_through_once)
{
    /* y = y + y, 60 times: 2^60 paths, and a backward of 60 steps. */
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F64, LK_SCALAR, 1), *y = x;
    for (int i = 0; i < 60; i++) y = lk_add(t, y, y);
    check(lk_backward(t, y));
    check(lk_item(lk_grad(x)) == (double)((int64_t)1 << 60));
    lk_free(x);
    lk_tape_free(t);
}

Test(autograd, one_tensor_many_times)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F64, LK_SHAPE(2), 2, 3), *h = lk_scale(t, x, 1),
           *y = lk_zeros(t, LK_F64, LK_SHAPE(2));
    for (int i = 1; i <= 100; i++) y = lk_add(t, y, lk_scale(t, i % 2 ? x : h, i));
    check(lk_backward(t, total(t, y)));
    check_values(lk_grad(x), 0, 5050, 5050);
    lk_free(x);
    lk_tape_free(t);
}

Test(autograd, one_tensor_as_both_operands)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F64, LK_SHAPE(2, 2), 1, 2, 3, 4);
    static const double expected[][4] = {
        { 2, 4, 6, 8 },   /* x * x: 2x */
        { 0, 0, 0, 0 },   /* x - x */
        { 7, 11, 9, 13 }, /* x @ x: 1 xᵀ + xᵀ 1 */
        { 8, 12, 8, 12 }, /* x xᵀ: 2 · column sums */
    };
    for (int leaf = 0; leaf < 2; leaf++)
        for (int i = 0; i < 4; i++) {
            /* matmul writes a gradient that is not written yet, then adds */
            Tensor *h = leaf ? x : lk_scale(t, x, 1);
            Tensor *y = NULL;
            if (i == 0) y = lk_mul(t, h, h);
            if (i == 1) y = lk_sub(t, h, h);
            if (i == 2) y = lk_matmul(t, h, h);
            if (i == 3) y = lk_linear(t, h, h, NULL);
            lk_zero_grad_(x);
            check(lk_backward(t, total(t, y)), "%s", lk_tape_error(t)->message);
            check_close(lk_grad(x), expected[i], 4, 1e-14);
        }
    lk_free(x);
    lk_tape_free(t);
}

Test(autograd, what_the_loss_does_not_depend_on_gets_nothing)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(2), 1, 2), *w = make_param(LK_F32, LK_SHAPE(2), 3, 4);
    Tensor *unused = lk_retain_grad(lk_mul(t, x, w)), *loss = total(t, lk_scale(t, x, 2));
    check(lk_mul(t, w, unused)); /* newer than the loss */
    check(lk_backward(t, loss));
    check_values(lk_grad(x), 0, 2, 2);
    check(!lk_grad(w) && !lk_grad(unused), "None, not zeros");
    lk_free(x), lk_free(w);
    lk_tape_free(t);
}

Test(autograd, nothing_has_a_gradient_of_nothing)
{
    Tape *t = quiet_tape();
    Tensor *x = lk_param_new(LK_F32, LK_SHAPE(0, 3), NULL),
           *w = make_param(LK_F32, LK_SHAPE(2, 3), 1, 2, 3, 4, 5, 6);
    check(lk_backward(t, total(t, lk_linear(t, lk_relu(t, x), w, NULL))), "%s",
          lk_tape_error(t)->message);
    check_shape(lk_grad(x), LK_SHAPE(0, 3));
    check_values(lk_grad(w), 0, 0, 0, 0, 0, 0, 0);
    lk_free(x), lk_free(w);
    lk_tape_free(t);
}

/* ---- where it starts ------------------------------------------------------------------------ */

Test(autograd, implicit_gradient_of_one_element)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(1, 1), 3);
    check(lk_backward(t, lk_mul(t, x, x)));
    check_values(lk_grad(x), 0, 6);
    check(lk_backward(t, x), "a leaf too");
    check_values(lk_grad(x), 0, 7);
    lk_zero_grad_(x);
    check(lk_backward(t, x));
    check_values(lk_grad(x), 0, 1);
    check_shape(lk_grad(x), LK_SHAPE(1, 1));
    lk_free(x);
    lk_tape_free(t);
}

Test(autograd, given_gradient)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F64, LK_SHAPE(2, 3), 1, 2, 3, 4, 5, 6);
    Tensor *v = make_tensor(LK_F64, LK_SHAPE(2, 3), 1, -1, 2, 0, 3, 0.5);
    /* transposed: v, strided */
    Tensor *turned = make_tensor(LK_F64, LK_SHAPE(3, 2), 1, 0, -1, 3, 2, 0.5);
    check(lk_backward_with(t, lk_mul(t, x, x), v, false));
    check_values(lk_grad(x), 0, 2, -4, 12, 0, 30, 6);
    lk_zero_grad_(x);
    check(lk_backward_with(t, lk_mul(t, x, x), lk_T(t, turned), false));
    check_values(lk_grad(x), 0, 2, -4, 12, 0, 30, 6);
    check(lk_backward_with(t, x, lk_T(t, turned), false), "from a leaf");
    check_values(lk_grad(x), 0, 3, -5, 14, 0, 33, 6.5);
    check(lk_backward_with(t, lk_scale(t, x, 2), lk_grad(x), false),
          "the gradient itself, which changes meanwhile");
    check_values(lk_grad(x), 0, 9, -15, 42, 0, 99, 19.5);
    check_values(v, 0, 1, -1, 2, 0, 3, 0.5);
    lk_free(x), lk_free(v), lk_free(turned);
    lk_tape_free(t);
}

Test(autograd, refuses_to_start)
{
    Tape *t = quiet_tape(), *other = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(2), 1, 2), *c = make_tensor(LK_F32, LK_SHAPE(2), 1, 1);
    Tensor *bad_shape = make_tensor(LK_F32, LK_SHAPE(2, 1), 1, 1),
           *bad_dtype = make_tensor(LK_F64, LK_SHAPE(2), 1, 1);
    Tensor *y = lk_scale(t, x, 2);
    const struct {
        Tensor *y;
        const Tensor *gradient;
        ErrorCode code;
        const char *message;
    } cases[] = {
        { NULL, NULL, LK_EVALUE, "the tensor is NULL" },
        { c, c, LK_ESTATE, "(2,) does not require a gradient" },
        { lk_detach(t, y), c, LK_ESTATE, "does not require a gradient" },
        { y, NULL, LK_ESHAPE, "(2,) has 2 elements; only a scalar has an implicit gradient" },
        { x, NULL, LK_ESHAPE, "(2,) has 2 elements" },
        { y, bad_shape, LK_ESHAPE,
          "gradient (2, 1) of float32 does not fit the tensor (2,) of float32" },
        { y, bad_dtype, LK_ESHAPE,
          "gradient (2,) of float64 does not fit the tensor (2,) of float32" },
        { lk_scale(other, x, 2), c, LK_ESTATE, "belongs to another tape" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check(!lk_backward_with(t, cases[i].y, cases[i].gradient, false), "case %zu", i);
        check_error(lk_tape_error(t), cases[i].code, cases[i].message);
        check(!lk_backward_with(t, y, c, true), "an error stays until it is cleared");
        check(!lk_grad(x));
        lk_tape_clear_error(t);
    }
    check(lk_backward_with(t, y, c, false), "and then all is well");
    check_values(lk_grad(x), 0, 2, 2);
    lk_free(x), lk_free(c), lk_free(bad_shape), lk_free(bad_dtype);
    lk_tape_free(t);
    lk_tape_free(other);
}

/* ---- who gets one --------------------------------------------------------------------------- */

Test(autograd, frozen_leaf_gets_nothing)
{
    Tape *t = quiet_tape();
    Tensor *in[] = { make_param(LK_F64, LK_SHAPE(2, 3), 1, 2, 3, 4, 5, 6),
                     make_param(LK_F64, LK_SHAPE(2, 3), 1, 0, -1, 2, 1, 0),
                     make_param(LK_F64, LK_SHAPE(2), 1, -1) };
    static const double expected[3][6] = { { 3, 1, -1, 3, 1, -1 },
                                           { 5, 7, 9, 5, 7, 9 },
                                           { 2, 2 } };
    for (unsigned wanted = 1; wanted < 8; wanted++) {
        lk_tape_reset(t);
        for (int i = 0; i < 3; i++) {
            lk_zero_grad_(in[i]);
            check(lk_set_requires_grad(in[i], wanted >> i & 1));
        }
        check(lk_backward(t, total(t, lk_linear(t, in[0], in[1], in[2]))));
        for (int i = 0; i < 3; i++) {
            check(!lk_grad(in[i]) == !(wanted >> i & 1), "input %d when %u are wanted", i, wanted);
            if (lk_grad(in[i])) check_close(lk_grad(in[i]), expected[i], lk_numel(in[i]), 1e-14);
        }
    }
    for (int i = 0; i < 3; i++) lk_free(in[i]);
    lk_tape_free(t);
}

Test(autograd, a_frozen_leaf_keeps_an_old_gradient)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(1), 2), *w = make_param(LK_F32, LK_SHAPE(1), 5);
    check(lk_backward(t, lk_mul(t, x, w)));
    lk_set_requires_grad(w, false);
    check(lk_backward(t, lk_mul(t, x, w)));
    check_values(lk_grad(x), 0, 10);
    check_values(lk_grad(w), 0, 2);
    lk_free(x), lk_free(w);
    lk_tape_free(t);
}

/* y = Σ x w + x, with requires_grad of x switched at some moment. */
Test(autograd, requires_grad_switched_between_forward_and_backward)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(2), 1, 2), *w = make_param(LK_F32, LK_SHAPE(2), 3, 4);

    Tensor *y = total(t, lk_add(t, lk_mul(t, x, w), x));
    check(lk_set_requires_grad(x, false));
    check(lk_backward(t, y));
    check(!lk_grad(x), "off before backward: nothing");
    check_values(lk_grad(w), 0, 1, 2);

    lk_zero_grad_(w);
    y = total(t, lk_add(t, lk_mul(t, x, w), x)); /* x is frozen now */
    check(lk_set_requires_grad(x, true));
    check(lk_backward(t, y));
    check(!lk_grad(x),
          "on after forward: nothing, rather than what some of the operations happened to record");
    check_values(lk_grad(w), 0, 1, 2);

    y = total(t, lk_add(t, lk_mul(t, x, w), x));
    check(lk_set_requires_grad(x, false) && lk_set_requires_grad(x, true));
    check(lk_backward(t, y));
    check_values(lk_grad(x), 0, 4, 5);
    lk_free(x), lk_free(w);
    lk_tape_free(t);
}

Test(autograd, only_floating_leaves_can_switch)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(1), 1), *y = lk_scale(t, x, 2);
    Tensor *labels = make_tensor(LK_I64, LK_SHAPE(1), 1);
    check(!lk_set_requires_grad(y, false) && y->requires_grad);
    check(!lk_set_requires_grad(labels, true) && !labels->requires_grad);
    check(!lk_set_requires_grad(NULL, true));
    Tensor *leaf = lk_detach(t, y); /* a leaf of the tape */
    check(lk_set_requires_grad(leaf, true));
    check(lk_backward(t, lk_mul(t, leaf, leaf)));
    check_values(lk_grad(leaf), 0, 4);
    check(!lk_grad(x));
    lk_free(x), lk_free(labels);
    lk_tape_free(t);
}

Test(autograd, detach_cuts_the_graph_and_shares_the_values)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(2), 3, 4), *h = lk_scale(t, x, 2),
           *cut = lk_detach(t, h);
    check(!cut->requires_grad && !lk_grad_fn(cut) && cut->storage == h->storage);
    check(lk_backward(t, total(t, lk_mul(t, h, cut))));
    check_values(lk_grad(x), 0, 12, 16); /* d(2x · c)/dx = 2c, not 8x */
    lk_fill_(cut, 1);
    check_values(h, 0, 1, 1);
    check(!lk_detach(t, NULL));
    lk_free(x);
    lk_tape_free(t);
}

Test(autograd, no_grad_records_nothing)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(2), 3, 4), *before = lk_scale(t, x, 2);
    check(lk_tape_grad(t) && lk_tape_set_grad(t, false) == true && !lk_tape_grad(t));
    check(lk_tape_set_grad(t, false) == false);
    Tensor *y = lk_mul(t, before, x);
    check(!y->requires_grad && !lk_grad_fn(y));
    check(lk_set_requires_grad(y, true), "it is a leaf");
    check(lk_tape_set_grad(t, true) == false);
    check(lk_backward(t, total(t, lk_mul(t, before, y))));
    check_values(lk_grad(x), 0, 36, 64); /* 2y, y = 2x² a constant */
    check_values(lk_grad(y), 0, 6, 8);
    lk_free(x);
    lk_tape_free(t);
}

/* ---- gradients of intermediates ------------------------------------------------------------- */

Test(autograd, retain_grad)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F64, LK_SHAPE(2), 1, 2), *h = lk_scale(t, x, 2);
    check(lk_retain_grad(h) == h && !lk_retain_grad(NULL));
    Tensor *left = lk_mul(t, h, h), *right = lk_scale(t, h, 3);
    Tensor *loss = lk_retain_grad(total(t, lk_add(t, left, right)));
    check(lk_backward_with(t, loss, NULL, true));
    check_values(lk_grad(h), 0, 7, 11); /* 2h + 3: the sum over both branches */
    check_values(lk_grad(x), 0, 14, 22);
    check_values(lk_grad(loss), 0, 1);
    check(!lk_grad(left) && !lk_grad(right), "no retain_grad");
    check(lk_backward(t, loss));
    check_values(lk_grad(h), 0, 14, 22); /* it accumulates, as a leaf's does */
    lk_zero_grad_(h);
    check(!lk_grad(h));
    lk_free(x);
    lk_tape_free(t);
}

/* A gradient that is kept must not share memory with those that are only passing. */
Test(autograd, retained_gradients_survive_the_rest_of_backward)
{
    Tape *t = quiet_tape();
    enum { N = 20 };
    Tensor *x = make_param(LK_F64, LK_SHAPE(3), 1, 1, 1), *h[N + 1] = { x };
    for (int round = 0; round < 2; round++) { /* the second time in memory that is not clear */
        for (int i = 0; i < N; i++) h[i + 1] = lk_retain_grad(lk_scale(t, h[i], 2));
        check(lk_backward(t, total(t, h[N])));
        for (int i = 0; i <= N; i++) {
            double g = ldexp(1, N - i);
            check_values(lk_grad(h[i]), 0, g, g, g);
        }
        lk_zero_grad_(x);
        lk_tape_reset(t);
        memset(lk_tape_alloc(t, 1 << 15), 0x3f, 1 << 15);
        lk_tape_reset(t);
    }
    lk_free(x);
    lk_tape_free(t);
}

/* ---- the same graph again ------------------------------------------------------------------- */

typedef Tensor *MapFn(Tape *t, Tensor *x);
#define MAP(name, expression) \
    static Tensor *name(Tape *t, Tensor *x) { return expression; }
MAP(map_add, lk_add(t, x, x))
MAP(map_add_scalar, lk_add_scalar(t, x, 2))
MAP(map_neg, lk_neg(t, x))
MAP(map_mean, lk_mean(t, x, LK_DIMS(0), false))
MAP(map_T, lk_T(t, x))
MAP(map_slice, lk_slice(t, x, 0, 1, 3, 1))
MAP(map_expand, lk_expand(t, lk_unsqueeze(t, x, 0), LK_SHAPE(2, 3, 3)))
MAP(map_copy, lk_contiguous(t, lk_T(t, x)))
MAP(map_to, lk_to(t, lk_to(t, x, LK_F64), LK_F32))
MAP(map_mul, lk_mul(t, x, x))
MAP(map_relu, lk_relu(t, x))
MAP(map_exp, lk_exp(t, x))
MAP(map_abs, lk_abs(t, x))
MAP(map_cube, lk_pow_scalar(t, x, 3))
MAP(map_matmul, lk_matmul(t, x, x))
MAP(map_softmax, lk_softmax(t, x, 1))
MAP(map_max_dim, lk_max_dim(t, x, 1, false, NULL))
MAP(map_rows, lk_select_rows(t, x, lk_arange(t, 0, 2)))

/* Only what keeps values for backward gives them back after the first one. */
Test(autograd, second_backward_complains_where_values_are_gone)
{
    const struct {
        const char *name;
        MapFn *map;
        bool complains;
    } cases[] = {
        { "add", map_add, false },
        { "add_scalar", map_add_scalar, false },
        { "neg", map_neg, false },
        { "mean", map_mean, false },
        { "T", map_T, false },
        { "slice", map_slice, false },
        { "expand", map_expand, false },
        { "contiguous", map_copy, false },
        { "to", map_to, false },
        { "mul", map_mul, true },
        { "relu", map_relu, true },
        { "exp", map_exp, true },
        { "abs", map_abs, true },
        { "pow_scalar", map_cube, true },
        { "matmul", map_matmul, true },
        { "softmax", map_softmax, true },
        { "max_dim", map_max_dim, true },
        { "select_rows", map_rows, true },
    };
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(3, 3), 1, 2, 3, 4, 5, 6, 7, 8, 9);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lk_zero_grad_(x);
        Tensor *loss = total(t, cases[i].map(t, x));
        check(lk_backward_with(t, loss, NULL, true) && lk_backward(t, loss),
              "%s: the graph was kept", cases[i].name);
        Tensor *twice = lk_clone(lk_grad(x), NULL);
        check(lk_backward(t, loss) == !cases[i].complains, "%s", cases[i].name);
        if (cases[i].complains) {
            check_error(lk_tape_error(t), LK_ESTATE, "was gone through before; keep the graph");
            check_equal(lk_grad(x), twice);
        }
        lk_tape_clear_error(t);
        lk_free(twice);
    }
    lk_free(x);
    lk_tape_free(t);
}

Test(autograd, two_losses_over_one_part)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(2), 1, 2), *w = make_param(LK_F32, LK_SHAPE(2), 1, 1);
    Tensor *h = lk_mul(t, x, x), *first = total(t, h), *second = total(t, lk_add(t, h, w));
    check(lk_backward_with(t, first, NULL, true));
    check(lk_backward(t, second));
    check_values(lk_grad(x), 0, 4, 8);
    check(!lk_backward(t, first), "the second one used up h");
    check_error(lk_tape_error(t), LK_ESTATE, "MulBackward0 was gone through before");
    check_values(lk_grad(w), 0, 1, 1);
    lk_tape_clear_error(t);
    check(!lk_backward(t, second));
    check_values(lk_grad(w), 0, 1, 1); /* although its part of the graph could run */
    lk_free(x), lk_free(w);
    lk_tape_free(t);
}
