/* test_tensor_in_place.c - lk_add_, lk_mul_, lk_scale_, lk_lerp_: values, broadcast, strides,
 * threads, versions, bad calls. */
#include <math.h>

#include "core/ops.h"
#include "tests/check.h"

Test(tensor_in_place, values)
{
    Tape *t = lk_tape_new(NULL);
    for (DType d = LK_F32; d <= LK_F64; d++) {
        Tensor *x = make_tensor(d, LK_SHAPE(2, 3), 1, 2, 3, 4, 5, 6);
        Tensor *y = make_tensor(d, LK_SHAPE(2, 3), 1, -1, 2, 0, 0.5, 4);
        Tensor *row = make_tensor(d, LK_SHAPE(3), 1, 0, -1), *two = make_tensor(d, LK_SCALAR, 2);
        check(lk_add_(x, y, 2, NULL));
        check_values(x, 0, 3, 0, 7, 4, 6, 14);
        check(lk_add_(x, row, -1, NULL));
        check_values(x, 0, 2, 0, 8, 3, 6, 15);
        check(lk_mul_(x, two, NULL));
        check_values(x, 0, 4, 0, 16, 6, 12, 30);
        check(lk_mul_(x, y, NULL));
        check_values(x, 0, 4, 0, 32, 0, 6, 120);
        check(lk_scale_(x, 0.5, NULL));
        check_values(x, 0, 2, 0, 16, 0, 3, 60);
        check(lk_add_(x, x, 1, NULL));
        check_values(x, 0, 4, 0, 32, 0, 6, 120);
        /* through a view, with a view */
        check(lk_add_(lk_select(t, x, 1, 0), lk_select(t, y, 1, 2), 1, NULL));
        check_values(x, 0, 6, 0, 32, 4, 6, 120);
        check(lk_mul_(lk_T(t, x), lk_T(t, y), NULL));
        check_values(x, 0, 6, 0, 64, 0, 3, 480);
        lk_free(x), lk_free(y), lk_free(row), lk_free(two);
    }
    lk_tape_free(t);
}

/* torch.lerp, exact at both ends. */
Test(tensor_in_place, lerp)
{
    const double weights[] = { 0, 1, 0.25, 0.75, 2, -0.5 };
    for (DType d = LK_F32; d <= LK_F64; d++)
        for (int i = 0; i < 6; i++) {
            Tensor *x = make_tensor(d, LK_SHAPE(3), 1, -2, 0.125),
                   *end = make_tensor(d, LK_SHAPE(3), 3, 4, 0.375);
            const double w = weights[i];
            check(lk_lerp_(x, end, w, NULL));
            check_values(x, 0, 1 + 2 * w, -2 + 6 * w, 0.125 + 0.25 * w);
            lk_free(x), lk_free(end);
        }
    Tensor *tiny = make_tensor(LK_F32, LK_SHAPE(1), 0.1),
           *large = make_tensor(LK_F32, LK_SHAPE(1), 1e9);
    check(lk_lerp_(large, tiny, 1, NULL));
    check_equal(large, tiny);
    lk_free(tiny), lk_free(large);
    /* an average of weights */
    Tensor *average = make_tensor(LK_F64, LK_SHAPE(2), 0, 8),
           *now = make_param(LK_F64, LK_SHAPE(2), 1, 0);
    for (int i = 0; i < 3; i++) check(lk_lerp_(average, now, 0.5, NULL));
    check_values(average, 0, 0.875, 1);
    lk_free(average), lk_free(now);
}

Test(tensor_in_place, threads_strides_and_nothing)
{
    enum { N = 400 };
    Tape *t = lk_tape_new(NULL);
    Rng rng;
    lk_manual_seed(&rng, 2);
    Tensor *x = lk_tensor_new(LK_F32, LK_SHAPE(N, N), NULL), *y = lk_clone(x, NULL);
    Tensor *row = lk_tensor_new(LK_F32, LK_SHAPE(N), NULL), *kept = NULL;
    lk_normal_(y, 0, 1, &rng), lk_normal_(row, 0, 1, &rng);
    for (int threads = 1; threads <= 3; threads++) {
        lk_set_num_threads(threads);
        lk_fill_(x, 0.5);
        check(lk_add_(x, lk_T(t, y), 3, NULL) && lk_mul_(lk_T(t, x), row, NULL));
        check(lk_lerp_(x, row, 0.125, NULL));
        if (threads == 1) kept = lk_clone(x, NULL);
        else check_equal(x, kept);
    }
    Tensor *none = lk_zeros(t, LK_F32, LK_SHAPE(0, 3));
    check(lk_add_(none, none, 1, NULL) && lk_scale_(none, 2, NULL));
    lk_free(x), lk_free(y), lk_free(row), lk_free(kept);
    lk_tape_free(t);
}

/* A leaf may change between steps; a value that backward needs may not. */
Test(tensor_in_place, raises_the_version)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(2), 1, 2), *y = make_tensor(LK_F32, LK_SHAPE(2), 1, 1);
    for (int way = 0; way < 4; way++) {
        Tensor *loss = lk_sum(t, lk_mul(t, x, x), LK_ALL, false);
        if (way == 0) check(lk_add_(x, y, 1, NULL));
        if (way == 1) check(lk_mul_(x, y, NULL));
        if (way == 2) check(lk_scale_(x, 1, NULL));
        if (way == 3) check(lk_lerp_(lk_detach(t, x), y, 0.5, NULL));
        check(!lk_backward(t, loss));
        check_error(lk_tape_error(t), LK_ESTATE, "was changed in place");
        lk_tape_clear_error(t);
    }
    lk_free(x), lk_free(y);
    lk_tape_free(t);
}

Test(tensor_in_place, bad_calls)
{
    Tape *t = quiet_tape();
    Error err = { 0 };
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(2), 1, 2),
           *wide = make_tensor(LK_F64, LK_SHAPE(2), 1, 1),
           *whole = make_tensor(LK_I64, LK_SHAPE(2), 1, 1),
           *matrix = make_tensor(LK_F32, LK_SHAPE(2, 2), 1, 1, 1, 1);
#define FAILS(call, code, message) \
    do { \
        err = (Error){ 0 }; \
        check(!(call)); \
        check_error(&err, code, message); \
    } while (0)
    FAILS(lk_add_(NULL, x, 1, &err), LK_EVALUE, "lk_add_: the tensor is NULL");
    FAILS(lk_add_(x, NULL, 1, &err), LK_EVALUE, "lk_add_: the tensor is NULL");
    FAILS(lk_add_(x, wide, 1, &err), LK_EDTYPE,
          "lk_add_: x is float32 and y is float64; they must be the same");
    FAILS(lk_mul_(whole, whole, &err), LK_EDTYPE, "lk_mul_: takes float32 or float64, not int64");
    FAILS(lk_lerp_(x, matrix, 1, &err), LK_ESHAPE,
          "lk_lerp_: end (2, 2) cannot be broadcast to x (2,)");
    FAILS(lk_lerp_(x, lk_ones(t, LK_F32, LK_SHAPE(3)), 1, &err), LK_ESHAPE,
          "lk_lerp_: end (3,) cannot be broadcast to x (2,)");
    FAILS(lk_scale_(lk_expand(t, x, LK_SHAPE(3, 2)), 2, &err), LK_EVALUE,
          "lk_scale_: elements of x (3, 2) share their memory, because x was expanded; lk_clone "
          "gives each its own");
    check_values(x, 0, 1, 2);
    lk_free(x), lk_free(wide), lk_free(whole), lk_free(matrix);
    lk_tape_free(t);
}
