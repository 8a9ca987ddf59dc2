/* test_mark.c - lk_tape_mark and lk_tape_release: everything made since a mark is given back, and
 * the result moves. */
#include <math.h>
#include <string.h>

#include "core/op.h"
#include "core/ops.h"
#include "tests/check.h"

/* Bytes in use of the arena's current chunk. */
static size_t used(Tape *t) { return lk_tape_mark(t).memory.used; }

static Tensor *counting(Tape *t, int64_t rows, int64_t columns)
{
    Tensor *x = lk_zeros(t, LK_F64, LK_SHAPE(rows, columns));
    for (int64_t i = 0; x && i < rows * columns; i++) ((double *)x->data)[i] = (double)i;
    return x;
}

/* Whether what is made next leaves y alone. */
static void overwrite(Tape *t, size_t bytes)
{
    void *p = lk_tape_alloc(t, bytes);
    check(p);
    memset(p, 0xee, bytes);
}

Test(mark, a_result_moves_down)
{
    Tape *t = quiet_tape();
    Tensor *x = counting(t, 10, 10);
    TapeMark mark = lk_tape_mark(t);
    size_t before = used(t);
    for (int i = 0; i < 5; i++) check(lk_scale(t, x, i)); /* intermediates */
    Tensor *y = lk_scale(t, x, 7);
    const char *from = y->data;
    Tensor *z = lk_tape_release(t, mark, y);
    check(z == y && (const char *)z->data < from && z->storage->data == z->data);
    overwrite(t, 10000);
    check_shape(z, LK_SHAPE(10, 10));
    check(lk_at(z, LK_INDEX(9, 9)) == 693 && lk_at(z, LK_INDEX(0, 1)) == 7 &&
          lk_at(x, LK_INDEX(9, 9)) == 99);
    check_close_to(z, lk_scale(t, x, 7), 0);

    /* A second time around there is nothing but y's own size between the mark and the next
     * tensor. */
    z = lk_tape_release(t, mark, lk_scale(t, x, 3));
    check(used(t) - before <= 800 + 512, "%zu bytes for 800", used(t) - before);
    check(lk_at(z, LK_INDEX(9, 9)) == 297);
    lk_tape_free(t);
}

Test(mark, a_loop_of_layers_needs_the_memory_of_one)
{
    check_alloc_begin();
    Tape *t = quiet_tape();
    lk_tape_set_grad(t, false);
    Tensor *w = lk_param_new(LK_F32, LK_SHAPE(64, 64), NULL);
    for (int i = 0; i < 64; i++) ((float *)w->data)[i * 65] = 0.5f; /* half of the identity */
    int64_t before = 0;
    Tensor *y = lk_ones(t, LK_F32, LK_SHAPE(100, 64));
    TapeMark mark = lk_tape_mark(t);
    for (int layer = 0; layer < 1000; layer++) { /* a header waits for a thousand others */
        Tensor *h = lk_add_scalar(t, lk_relu(t, lk_linear(t, y, w, NULL)), 0.5);
        y = lk_tape_release(t, mark, h);
        if (layer == 500) before = check_alloc_count();
    }
    check(check_alloc_count() == before);
    check(lk_count(lk_eq(t, y, lk_ones(t, LK_F32, LK_SHAPE(1)))) == 6400);
    lk_tape_free(t);
    lk_free(w);
    check(check_alloc_live() == 0);
}

Test(mark, what_was_there_before_does_not_move)
{
    Tape *t = quiet_tape();
    Tensor *owned = make_tensor(LK_F32, LK_SHAPE(2), 1, 2), *x = counting(t, 2, 2);
    TapeMark mark = lk_tape_mark(t);
    size_t before = used(t);
    check(lk_scale(t, x, 2));
    check(lk_tape_release(t, mark, x) == x && used(t) == before);
    check(lk_scale(t, x, 2));
    check(lk_tape_release(t, mark, owned) == owned && used(t) == before);
    check(lk_scale(t, x, 2));
    check(lk_tape_release(t, mark, NULL) == NULL && used(t) == before,
          "a failed layer gives its memory back too");
    overwrite(t, 1000);
    check_values(x, 0, 0, 1, 2, 3);
    check_values(owned, 0, 1, 2);
    lk_free(owned);
    lk_tape_free(t);
}

Test(mark, a_view_of_earlier_memory_stays_a_view)
{
    Tape *t = quiet_tape();
    Tensor *x = counting(t, 3, 4);
    TapeMark mark = lk_tape_mark(t);
    check(lk_scale(t, x, 2));
    Tensor *y = lk_tape_release(t, mark, lk_slice(t, lk_T(t, x), 0, 1, 4, 2)); /* x.T[1::2] */
    overwrite(t, 1000);
    check_shape(y, LK_SHAPE(2, 3));
    check_values(y, 0, 1, 5, 9, 3, 7, 11);
    check(y->storage == x->storage);
    lk_fill_(x, 6);
    check_values(y, 0, 6, 6, 6, 6, 6, 6);
    lk_tape_free(t);
}

Test(mark, a_view_of_memory_behind_the_mark_takes_it_along)
{
    Tape *t = quiet_tape();
    Tensor *x = counting(t, 4, 6), *expected = lk_slice(t, lk_T(t, lk_scale(t, x, 2)), 0, 1, 6, 2);
    /* the viewed tensor lies at the mark, near it, or far */
    for (int lead = 0; lead < 3; lead++) {
        TapeMark mark = lk_tape_mark(t);
        if (lead > 0) check(lk_tape_alloc(t, lead == 1 ? 64 : 5000));
        Tensor *y = lk_tape_release(t, mark, lk_slice(t, lk_T(t, lk_scale(t, x, 2)), 0, 1, 6, 2));
        overwrite(t, 10000);
        check_equal(y, expected);
        check(y->stride[0] == 2 && y->stride[1] == 6);
        lk_fill_(lk_detach(t, y), 5); /* the moved storage is shared by its views */
        check(lk_count(lk_eq(t, y, lk_full(t, LK_F64, LK_SCALAR, 5))) == 12);
    }
    lk_tape_free(t);
}

Test(mark, results_in_other_chunks)
{
    for (int64_t rows = 1; rows < 20000; rows *= 3) {
        Tape *t = quiet_tape();
        TapeMark empty = lk_tape_mark(t); /* before the first chunk */
        Tensor *x = counting(t, rows, 7);
        TapeMark mark = lk_tape_mark(t);
        for (int i = 0; i < 6; i++) check(lk_scale(t, x, i)); /* across the ends of chunks */
        Tensor *y = lk_tape_release(t, mark, lk_add_scalar(t, x, 1));
        overwrite(t, (size_t)rows * 70);
        for (int64_t i = 0; i < rows * 7; i++)
            check(((double *)y->data)[i] == (double)i + 1 && ((double *)x->data)[i] == (double)i,
                  "%lld rows, element %lld", (long long)rows, (long long)i);
        y = lk_tape_release(t, empty, y);
        overwrite(t, (size_t)rows * 70);
        for (int64_t i = 0; i < rows * 7; i++)
            check(((double *)y->data)[i] == (double)i + 1, "%lld rows, element %lld",
                  (long long)rows, (long long)i);
        lk_tape_free(t);
    }
}

Test(mark, empty_results_and_scalars)
{
    Tape *t = quiet_tape();
    TapeMark mark = lk_tape_mark(t);
    check(counting(t, 3, 3));
    Tensor *y = lk_tape_release(t, mark, lk_zeros(t, LK_F32, LK_SHAPE(0, 3)));
    check(y->ndim == 2 && y->shape[0] == 0 && y->shape[1] == 3);
    TapeMark next = lk_tape_mark(t);
    check(counting(t, 3, 3));
    Tensor *s = lk_tape_release(t, next, lk_scalar(t, LK_I64, 42));
    overwrite(t, 1000);
    check(lk_item(s) == 42 && s->dtype == LK_I64);
    lk_tape_free(t);
}

Test(mark, nothing_is_released_when_something_was_recorded)
{
    Tape *t = quiet_tape();
    Tensor *w = make_param(LK_F64, LK_SHAPE(2), 3, 4), *x = lk_full(t, LK_F64, LK_SHAPE(2), 2);
    TapeMark mark = lk_tape_mark(t);
    Tensor *h = lk_mul(t, w, x), *y = lk_exp(t, h);
    size_t before = used(t);
    check(lk_tape_release(t, mark, y) == y && used(t) == before);
    overwrite(t, 10000);
    check(lk_backward(t, lk_sum(t, y, LK_ALL, false)));
    check_values(lk_grad(w), 1e-12, 2 * exp(6), 2 * exp(8));

    /* With grad mode on, but nothing that wants a gradient, it is as good as no-grad mode. */
    lk_tape_reset(t);
    lk_set_requires_grad(w, false);
    x = lk_full(t, LK_F64, LK_SHAPE(2), 2);
    mark = lk_tape_mark(t);
    check(lk_mul(t, w, w));
    y = lk_mul(t, w, x);
    const char *from = y->data;
    check(lk_tape_release(t, mark, y) == y && (const char *)y->data < from);
    lk_free(w);
    lk_tape_free(t);
}

Test(mark, nested)
{
    Tape *t = quiet_tape();
    Tensor *x = counting(t, 2, 2);
    TapeMark outer = lk_tape_mark(t);
    Tensor *a = lk_scale(t, x, 2), *b = NULL;
    for (int i = 0; i < 3; i++) {
        TapeMark inner = lk_tape_mark(t);
        check(lk_exp(t, a));
        b = lk_tape_release(t, inner, lk_add(t, a, b ? b : x));
    }
    b = lk_tape_release(t, outer, b);
    overwrite(t, 1000);
    check_values(b, 0, 0, 7, 14, 21);
    lk_tape_free(t);
}

/* Blocks in which gradients passed are used again, but not after the memory under them was given
 * back. */
Test(mark, gradients_do_not_return_to_released_memory)
{
    Tape *t = quiet_tape();
    Tensor *w = make_param(LK_F64, LK_SHAPE(3), 1, 2, 3), *h = w;
    for (int i = 0; i < 10; i++) h = i % 2 ? lk_tanh(t, h) : lk_scale(t, h, 0.5);
    Tensor *loss = lk_sum(t, h, LK_ALL, false);
    TapeMark mark = lk_tape_mark(t);
    check(lk_backward_with(t, loss, NULL, true));
    Tensor *first = lk_clone(lk_grad(w), NULL);
    check(!lk_tape_release(t, mark, NULL));
    Tensor *kept[20];
    for (int i = 0; i < 20; i++) kept[i] = lk_full(t, LK_F64, LK_SHAPE(3), i);
    lk_zero_grad_(w);
    check(lk_backward(t, loss));
    check_equal(lk_grad(w), first);
    for (int i = 0; i < 20; i++) check_values(kept[i], 0, i, i, i);
    lk_free(w), lk_free(first);
    lk_tape_free(t);
}

/* A graph from before the mark leaves gradients behind it, which must outlive the release: of a
 * leaf of the tape, and of an intermediate. */
Test(mark, nothing_is_released_when_a_backward_ran)
{
    Tape *t = quiet_tape();
    Tensor *w = make_param(LK_F64, LK_SHAPE(2), 3, 4), *x = lk_full(t, LK_F64, LK_SHAPE(2), 2);
    check(lk_set_requires_grad(x, true));
    Tensor *h = lk_retain_grad(lk_mul(t, w, x)), *y = lk_sum(t, h, LK_ALL, false);
    TapeMark outer = lk_tape_mark(t), inner = lk_tape_mark(t);
    check(lk_backward(t, y));
    size_t before = used(t);
    check(!lk_tape_release(t, inner, NULL) && !lk_tape_release(t, outer, NULL) &&
          used(t) == before);
    overwrite(t, 5000);
    check_values(lk_grad(x), 0, 3, 4);
    check_values(lk_grad(h), 0, 1, 1);

    /* A leaf is its own graph. */
    lk_tape_reset(t);
    x = lk_full(t, LK_F64, LK_SHAPE(1), 2);
    check(lk_set_requires_grad(x, true));
    TapeMark mark = lk_tape_mark(t);
    check(lk_backward(t, x));
    check(!lk_tape_release(t, mark, NULL));
    overwrite(t, 5000);
    check_values(lk_grad(x), 0, 1);
    lk_free(w);
    lk_tape_free(t);
}

/* One that was refused has left nothing. */
Test(mark, a_refused_backward_keeps_no_memory)
{
    Tape *t = quiet_tape();
    Tensor *w = make_param(LK_F64, LK_SHAPE(2), 3, 4),
           *y = lk_sum(t, lk_mul(t, w, w), LK_ALL, false);
    lk_fill_(w, 1);
    TapeMark mark = lk_tape_mark(t);
    size_t before = used(t);
    check(!lk_backward(t, y) && used(t) > before);
    check(!lk_tape_release(t, mark, NULL) && used(t) == before);
    lk_free(w);
    lk_tape_free(t);
}
