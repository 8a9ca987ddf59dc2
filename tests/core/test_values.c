/* test_values.c - values in and out of tensors: copies and conversions, versions, random fills,
 * comparison. */
#include <math.h>

#include "core/ops.h"
#include "tests/check.h"

static const DType all_dtypes[] = { LK_F32, LK_F64, LK_I64, LK_U8, LK_BOOL };
enum { DTYPES = sizeof all_dtypes / sizeof *all_dtypes };

/* ---- values --------------------------------------------------------------------------------- */

Test(values, from_values)
{
    Tensor *a = lk_tensor_from_new(LK_F32, LK_SHAPE(2), (float[]){ 0.5f, -1 }, NULL);
    Tensor *b = lk_tensor_from_new(LK_I64, LK_SHAPE(2), (int64_t[]){ INT64_MAX, -3 }, NULL);
    Tensor *c = lk_tensor_from_new(LK_BOOL, LK_SHAPE(3), (bool[]){ true, false, true }, NULL);
    check_values(a, 0, 0.5, -1);
    check_bits(b, ((int64_t[]){ INT64_MAX, -3 }), 2);
    check_values(c, 0, 1, 0, 1);
    check(lk_count(c) == 2 && lk_count(b) == 2);
    lk_free(a);
    lk_free(b);
    lk_free(c);
}

Test(values, at_and_item)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_tensor(LK_U8, LK_SHAPE(2, 3), 1, 2, 3, 4, 5, 255),
           *one = make_tensor(LK_I64, LK_SHAPE(1, 1), -7);
    check(lk_at(x, LK_INDEX(1, 2)) == 255 && lk_at(x, LK_INDEX(0, 1)) == 2);
    check(lk_at(lk_T(t, x), LK_INDEX(2, 1)) == 255 && lk_at(lk_T(t, x), LK_INDEX(1, 0)) == 2);
    check(isnan(lk_at(x, LK_INDEX(2, 0))) && isnan(lk_at(x, LK_INDEX(0, 3))) &&
          isnan(lk_at(x, LK_INDEX(0, -1))));
    check(lk_item(one) == -7 && isnan(lk_item(x)) && isnan(lk_item(NULL)) &&
          isnan(lk_at(NULL, LK_INDEX(0))));
    lk_free(x);
    lk_free(one);
    lk_tape_free(t);
}

/* Every pair of dtypes, with the values that both have. */
Test(values, copy_converts)
{
    for (int i = 0; i < DTYPES; i++)
        for (int k = 0; k < DTYPES; k++) {
            Tensor *src = make_tensor(all_dtypes[i], LK_SHAPE(3), 0, 1, 7);
            Tensor *dst = make_tensor(all_dtypes[k], LK_SHAPE(3), 9, 9, 9);
            bool booleans = src->dtype == LK_BOOL || dst->dtype == LK_BOOL;
            check(lk_copy_(dst, src, NULL));
            check_values(dst, 0, 0, 1, booleans ? 1 : 7);
            lk_free(src);
            lk_free(dst);
        }
}

Test(values, copy_rounds_and_saturates)
{
    Tensor *x = make_tensor(LK_F64, LK_SHAPE(6), 2.7, -2.7, 1e30, -1e30, NAN, 0.25);
    Tensor *i = make_tensor(LK_I64, LK_SHAPE(6), 9, 9, 9, 9, 9, 9);
    Tensor *u = make_tensor(LK_U8, LK_SHAPE(6), 9, 9, 9, 9, 9, 9);
    Tensor *b = make_tensor(LK_BOOL, LK_SHAPE(6), 0, 0, 0, 0, 1, 0);
    Tensor *f = make_tensor(LK_F32, LK_SHAPE(6), 0, 0, 0, 0, 0, 0);
    check(lk_copy_(i, x, NULL) && lk_copy_(u, x, NULL) && lk_copy_(b, x, NULL) &&
          lk_copy_(f, x, NULL));
    check_bits(i, ((int64_t[]){ 2, -2, INT64_MAX, INT64_MIN, 0, 0 }), 6);
    check_values(u, 0, 2, 0, 255, 0, 0, 0);
    check_values(b, 0, 1, 1, 1, 1, 1, 1);
    check_values(f, 0, 2.7f, -2.7f, 1e30f, -1e30f, NAN, 0.25);
    Tensor *large =
        lk_tensor_from_new(LK_I64, LK_SHAPE(1), (int64_t[]){ ((int64_t)1 << 53) + 1 }, NULL);
    Tensor *same = lk_clone(large, NULL); /* through double it would lose its last bit */
    check_bits(same, ((int64_t[]){ ((int64_t)1 << 53) + 1 }), 1);
    lk_free(x), lk_free(i), lk_free(u), lk_free(b), lk_free(f), lk_free(large), lk_free(same);
}

Test(values, copy_broadcasts_and_follows_strides)
{
    Tape *t = lk_tape_new(NULL);
    Error err = { 0 };
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(2, 3), 0, 0, 0, 0, 0, 0),
           *row = make_tensor(LK_F32, LK_SHAPE(3), 1, 2, 3);
    Tensor *column = make_tensor(LK_F64, LK_SHAPE(2, 1), 5, 6),
           *one = make_tensor(LK_I64, LK_SCALAR, 4);
    check(lk_copy_(x, row, &err));
    check_values(x, 0, 1, 2, 3, 1, 2, 3);
    check(lk_copy_(x, column, &err));
    check_values(x, 0, 5, 5, 5, 6, 6, 6);
    check(lk_copy_(lk_slice(t, x, 1, 0, 3, 2), one, &err)); /* x[:, ::2] = 4 */
    check_values(x, 0, 4, 5, 4, 4, 6, 4);
    check(lk_copy_(lk_T(t, x),
                   lk_T(t, lk_tensor(t, LK_F32, LK_SHAPE(2, 3), (float[]){ 1, 2, 3, 4, 5, 6 })),
                   &err));
    check_values(x, 0, 1, 2, 3, 4, 5, 6);
    check_no_error(&err);
    lk_free(x), lk_free(row), lk_free(column), lk_free(one);
    lk_tape_free(t);
}

Test(values, copy_refuses_what_does_not_fit)
{
    Error err = { 0 };
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(2, 3), 1, 2, 3, 4, 5, 6),
           *y = lk_tensor_new(LK_F32, LK_SHAPE(2), NULL);
    /* broadcasts with x, but to more dimensions */
    Tensor *z = lk_tensor_new(LK_F32, LK_SHAPE(1, 2, 3), NULL);
    check(!lk_copy_(x, y, &err));
    check_error(&err, LK_ESHAPE, "lk_copy_: src (2,) cannot be broadcast to dst (2, 3)");
    err = (Error){ 0 };
    check(!lk_copy_(x, z, &err));
    check_error(&err, LK_ESHAPE, "src (1, 2, 3)");
    err = (Error){ 0 };
    check(!lk_copy_(y, x, &err) && !lk_copy_(NULL, x, NULL));
    check_error(&err, LK_ESHAPE, "dst (2,)");
    err = (Error){ 0 };
    check(!lk_copy_(x, NULL, &err));
    check_error(&err, LK_EVALUE, "src is NULL");
    check_values(x, 0, 1, 2, 3, 4, 5, 6);
    check(x->storage->version == 0);
    check(!lk_fill_(NULL, 1));
    lk_free(x), lk_free(y), lk_free(z);
}

Test(values, every_write_raises_the_version)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(2), 1, 2), *view = lk_unsqueeze(t, x, 0);
    Rng rng;
    lk_manual_seed(&rng, 0);
    uint32_t version = x->storage->version;
    lk_fill_(x, 3);
    check(x->storage->version == ++version);
    check(lk_copy_(view, x, NULL));
    check(x->storage->version == ++version);
    lk_fill_(view, 4); /* through a view of it */
    check(x->storage->version == ++version);
    lk_touch(x);
    check(x->storage->version == ++version);
    lk_uniform_(x, 0, 1, &rng);
    lk_normal_(x, 0, 1, &rng);
    version += 2;
    check(x->storage->version == version);
    check(lk_convert_(x, LK_F64, NULL) && x->storage->version > version);
    version = x->storage->version;
    check(lk_item(x) != lk_at(x, LK_INDEX(0)) && lk_count(x) == 2 && lk_equal(x, x));
    check(x->storage->version == version, "reading is no write");
    lk_tape_free(t);
    lk_free(x);
}

/* PyTorch fills a strided tensor one number at a time, in the order of its memory. */
Test(values, random_fill_of_a_strided_tensor)
{
    Tape *t = lk_tape_new(NULL);
    Rng rng, same;
    Tensor *x = lk_zeros(t, LK_F32, LK_SHAPE(4, 5));
    lk_manual_seed(&rng, 5);
    check(lk_normal_(lk_T(t, x), 0, 1, &rng));
    check_values(lk_slice(t, lk_view(t, x, LK_SHAPE(20)), 0, 0, 6, 1), 1e-4, -0.4868, -0.6038,
                 -0.5581, 0.6675, -0.1974, 1.9428);
    lk_manual_seed(&same, 5);
    for (int i = 0; i < 20; i++) lk_random_normal(&same);
    check(lk_random_u32(&rng) == lk_random_u32(&same), "another number of draws");

    x = lk_zeros(t, LK_F32, LK_SHAPE(3, 4));
    lk_manual_seed(&rng, 5);
    check(lk_uniform_(lk_slice(t, x, 1, 0, 4, 2), 0, 1, &rng));
    check_values(x, 1e-4, 0.8303, 0, 0.1261, 0, 0.9075, 0, 0.8199, 0, 0.9201, 0, 0.1166, 0);

    Tensor *labels = lk_zeros(t, LK_I64, LK_SHAPE(20));
    check(!lk_normal_(labels, 0, 1, &rng) && !lk_uniform_(labels, 0, 1, &rng) &&
          lk_count(labels) == 0);
    check(!lk_normal_(NULL, 0, 1, &rng) && !lk_uniform_(NULL, 0, 1, &rng));
    lk_tape_free(t);
}

/* ---- cloning and converting ----------------------------------------------------------------- */

Test(values, clone_is_an_owned_contiguous_leaf)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *w = make_param(LK_F64, LK_SHAPE(2, 3), 1, 2, 3, 4, 5, 6);
    Tensor *y = lk_T(t, lk_scale(t, w, 2)), *copy = lk_clone(y, NULL);
    check(copy->refs == 1 && !copy->requires_grad && !copy->node && !copy->grad &&
          lk_is_contiguous(copy));
    lk_tape_reset(t);
    check(lk_full(t, LK_F64, LK_SHAPE(100), -1)); /* over the old memory */
    check_shape(copy, LK_SHAPE(3, 2));
    check_values(copy, 0, 2, 8, 4, 10, 6, 12);
    lk_tape_free(t);
    check_values(copy, 0, 2, 8, 4, 10, 6, 12);
    lk_fill_(copy, 0);
    check_values(w, 0, 1, 2, 3, 4, 5, 6);
    check(!lk_clone(NULL, NULL));
    lk_free(copy);
    lk_free(w);
}

Test(values, convert_keeps_the_tensor_and_drops_the_gradient)
{
    check_alloc_begin();
    Tape *t = lk_tape_new(NULL);
    Error err = { 0 };
    Tensor *w = make_param(LK_F32, LK_SHAPE(2, 2), 0.1, -2, 3, 4), *same = lk_retain(w);
    check(lk_backward(t, lk_sum(t, lk_mul(t, w, w), LK_ALL, false)) && lk_grad(w));
    lk_tape_reset(t);

    check(lk_convert_(w, LK_F32, &err) && lk_grad(w), "nothing to do: the gradient stays");
    check(lk_convert_(w, LK_F64, &err));
    check(same == w && w->dtype == LK_F64 && w->requires_grad && !lk_grad(w) && w->refs == 2);
    check_bits(w, ((double[]){ 0.1f, -2, 3, 4 }), 4);

    check(lk_backward(t, lk_sum(t, lk_mul(t, w, w), LK_ALL, false)));
    check_bits(lk_grad(w), ((double[]){ 2 * (double)0.1f, -4, 6, 8 }), 4);

    for (int round = 0; round < 3; round++)
        check(lk_convert_(w, round % 2 ? LK_F64 : LK_F32, &err));
    check_bits(w, ((float[]){ 0.1f, -2, 3, 4 }), 4);
    check_no_error(&err);
    lk_tape_free(t);
    lk_free(w);
    lk_free(same);
    check(check_alloc_live() == 0);
}

Test(values, convert_refuses)
{
    Tape *t = lk_tape_new(NULL);
    Error err = { 0 };
    Tensor *w = make_param(LK_F32, LK_SHAPE(2), 1, 2),
           *labels = make_tensor(LK_I64, LK_SHAPE(2), 1, 300);
    check(!lk_convert_(w, LK_I64, &err));
    check_error(&err, LK_EDTYPE, "requires_grad cannot become int64");
    err = (Error){ 0 };
    check(!lk_convert_(lk_scale(t, w, 2), LK_F64, &err));
    check_error(&err, LK_ESTATE, "only an owned leaf");
    err = (Error){ 0 };
    check(!lk_convert_(lk_ones(t, LK_F32, LK_SHAPE(1)), LK_F64, &err) &&
          !lk_convert_(NULL, LK_F64, NULL));
    check_error(&err, LK_ESTATE, "only an owned leaf");
    check(lk_convert_(labels, LK_U8, NULL));
    check_values(labels, 0, 1, 255);
    check_values(w, 0, 1, 2);
    lk_free(w);
    lk_free(labels);
    lk_tape_free(t);
}

/* ---- comparing ------------------------------------------------------------------------------ */

Test(values, equal)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(2, 2), 1, 2, 3, 4),
           *y = make_tensor(LK_F32, LK_SHAPE(2, 2), 1, 3, 2, 4);
    Tensor *d = make_tensor(LK_F64, LK_SHAPE(2, 2), 1, 2, 3, 4),
           *flat = make_tensor(LK_F32, LK_SHAPE(4), 1, 2, 3, 4);
    Tensor *nan = make_tensor(LK_F32, LK_SHAPE(1), NAN),
           *zero = make_tensor(LK_F32, LK_SHAPE(2), 0, -0.0);
    check(lk_equal(x, x) && lk_equal(x, lk_T(t, y)) && !lk_equal(x, y) && !lk_equal(x, d) &&
          !lk_equal(x, flat));
    check(!lk_equal(nan, nan) &&
          lk_equal(lk_slice(t, zero, 0, 0, 1, 1), lk_slice(t, zero, 0, 1, 2, 1)));
    check(!lk_equal(NULL, x) && !lk_equal(x, NULL));
    /* These differ by less than a double can say. */
    Tensor *i = lk_tensor_from_new(LK_I64, LK_SHAPE(1), (int64_t[]){ INT64_MAX }, NULL);
    Tensor *k = lk_tensor_from_new(LK_I64, LK_SHAPE(1), (int64_t[]){ INT64_MAX - 1 }, NULL);
    check(lk_equal(i, i) && !lk_equal(i, k));
    /* The last of many elements counts too. */
    Tensor *many = lk_zeros(t, LK_F32, LK_SHAPE(1000)),
           *other = lk_zeros(t, LK_F32, LK_SHAPE(1000));
    ((float *)other->data)[999] = 1e-30f;
    check(!lk_equal(many, other) && lk_allclose(many, other, 0, 1e-20));
    lk_free(x), lk_free(y), lk_free(d), lk_free(flat), lk_free(nan), lk_free(zero), lk_free(i),
        lk_free(k);
    lk_tape_free(t);
}

Test(values, allclose)
{
    Tensor *a = make_tensor(LK_F64, LK_SHAPE(3), 100, -1, INFINITY);
    Tensor *b = make_tensor(LK_F64, LK_SHAPE(3), 101, -1, INFINITY);
    Tensor *c = make_tensor(LK_F64, LK_SHAPE(3), 100, -1, -INFINITY),
           *nan = make_tensor(LK_F64, LK_SHAPE(1), NAN);
    check(lk_allclose(a, b, 0, 1) && !lk_allclose(a, b, 0, 0.99));
    check(lk_allclose(a, b, 0.0099010, 0) && !lk_allclose(a, b, 0.0099009, 0),
          "relative to the second: 1/101");
    check(lk_allclose(a, b, 0.005, 0.5), "atol and rtol add up");
    check(!lk_allclose(a, c, 1, 1e300) && !lk_allclose(nan, nan, 1, 1),
          "infinities of other signs, NaN");
    check(!lk_allclose(a, nan, 1, 1) && !lk_allclose(NULL, a, 1, 1));
    lk_free(a), lk_free(b), lk_free(c), lk_free(nan);
}
