/* test_ops_create.c - tensors from nothing (core/ops_create.c): values, dtypes, empty ones, and
 * bad calls. The numbers that the generator draws: test_rng.c. */
#include "tests/core/ops_cases.h"

Test(create, constants_of_every_dtype)
{
    Tape *t = lk_tape_new(NULL);
    for (DType d = LK_F32; d <= LK_BOOL; d++) {
        Tensor *made[] = { lk_zeros(t, d, LK_SHAPE(2, 3)), lk_ones(t, d, LK_SHAPE(2, 3)),
                           lk_full(t, d, LK_SHAPE(2, 3), 7), lk_scalar(t, d, 7) };
        const double value[] = { 0, 1, d == LK_BOOL ? 1 : 7, d == LK_BOOL ? 1 : 7 };
        for (int i = 0; i < 4; i++) {
            Tensor *x = made[i];
            check(x->dtype == d && lk_is_contiguous(x) && x->refs == 0 && !x->requires_grad &&
                  !x->node && !x->grad);
            if (i < 3) check_shape(x, LK_SHAPE(2, 3));
            else check_shape(x, LK_SCALAR);
            Tensor *flat = lk_view(t, x, LK_SHAPE(-1));
            for (int64_t j = 0; j < lk_numel(x); j++) check(lk_at(flat, LK_INDEX(j)) == value[i]);
            check((uintptr_t)x->data % 64 == 0);
        }
        check_shape(lk_zeros(t, d, LK_SHAPE(3, 0, 2)), LK_SHAPE(3, 0, 2));
        check_shape(lk_ones(t, d, LK_SHAPE(1, 1, 1, 1, 1, 1, 1, 1)),
                    LK_SHAPE(1, 1, 1, 1, 1, 1, 1, 1));
    }
    check_values(lk_full(t, LK_F32, LK_SHAPE(2), 0.1), 0, (double)0.1f, (double)0.1f);
    check_values(lk_full(t, LK_F64, LK_SHAPE(1), 0.1), 0, 0.1);
    check_values(lk_full(t, LK_U8, LK_SHAPE(2), 300), 0, 255, 255);
    check(isnan(lk_item(lk_scalar(t, LK_F32, NAN))));
    check_no_error(lk_tape_error(t));
    lk_tape_free(t);
}

/* A leaf on the tape may ask for a gradient, which lives as long as it does. */
Test(create, a_leaf_of_the_tape_can_require_a_gradient)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = lk_full(t, LK_F64, LK_SHAPE(2), 3);
    check(lk_set_requires_grad(x, true));
    check(lk_backward(t, lk_sum(t, lk_mul(t, x, x), LK_ALL, false)));
    check_values(lk_grad(x), 0, 6, 6);
    lk_tape_free(t);
}

Test(create, from_values)
{
    Tape *t = lk_tape_new(NULL);
    const float singles[] = { 1, -0.0f, 0.1f };
    const int64_t wholes[] = { INT64_MIN, 0, INT64_MAX };
    const bool bits[] = { true, false, true };
    Tensor *x = lk_tensor(t, LK_F32, LK_SHAPE(3), singles);
    check_bits(x, singles, 3);
    check_bits(lk_tensor(t, LK_I64, LK_SHAPE(3, 1), wholes), wholes, 3);
    check_bits(lk_tensor(t, LK_BOOL, LK_SHAPE(3), bits), bits, 3);
    check(x->data != singles); /* a copy */
    check_shape(lk_tensor(t, LK_F64, LK_SHAPE(0), NULL), LK_SHAPE(0));
    lk_tape_free(t);
}

Test(create, arange)
{
    Tape *t = lk_tape_new(NULL);
    check_values(lk_arange(t, -2, 3), 0, -2, -1, 0, 1, 2);
    check(lk_arange(t, 0, 1)->dtype == LK_I64);
    check_shape(lk_arange(t, 3, 3), LK_SHAPE(0));
    check_shape(lk_arange(t, 3, -3), LK_SHAPE(0));
    const int64_t last[] = { INT64_MAX - 2, INT64_MAX - 1 };
    check_bits(lk_arange(t, INT64_MAX - 2, INT64_MAX), last, 2);
    check_shape(lk_arange(t, INT64_MAX, INT64_MIN), LK_SHAPE(0));
    lk_tape_free(t);
}

/* The stream goes from one call to the next, and dtype and shape decide how much of it is
 * taken. */
Test(create, random)
{
    Tape *t = lk_tape_new(NULL);
    Rng rng, other;
    lk_manual_seed(&rng, 0), lk_manual_seed(&other, 0);
    Tensor *u = lk_rand(t, &rng, LK_F32, LK_SHAPE(2, 3)),
           *v = lk_rand(t, &rng, LK_F64, LK_SHAPE(3));
    Tensor *n = lk_randn(t, &rng, LK_F32, LK_SHAPE(20)),
           *m = lk_randn(t, &rng, LK_F64, LK_SHAPE(3));
    Tensor *k = lk_randint(t, &rng, -3, 4, LK_SHAPE(5, 2)), *p = lk_randperm(t, &rng, 9);
    check_shape(u, LK_SHAPE(2, 3));
    float normals[20];
    double normal[3];
    int64_t order[9];
    for (int i = 0; i < 6; i++) check(((float *)u->data)[i] == lk_random_f32(&other));
    for (int i = 0; i < 3; i++) check(((double *)v->data)[i] == lk_random_f64(&other));
    lk_random_normals_f32(&other, normals, 20, 0, 1);
    check_bits(n, normals, 20);
    lk_random_normals_f64(&other, normal, 3, 0, 1);
    check_bits(m, normal, 3);
    for (int i = 0; i < 10; i++) check(((int64_t *)k->data)[i] == lk_random_int(&other, -3, 4));
    lk_random_perm(&other, 9, order);
    check_bits(p, order, 9);
    check(lk_random_u32(&rng) == lk_random_u32(&other)); /* nothing more was drawn */
    lk_rand(t, &rng, LK_F32, LK_SHAPE(0)), lk_randn(t, &rng, LK_F32, LK_SHAPE(0));
    lk_randint(t, &rng, 0, 2, LK_SHAPE(0)), lk_randperm(t, &rng, 0), lk_randperm(t, &rng, 1);
    check(lk_random_u32(&rng) == lk_random_u32(&other));
    check_no_error(lk_tape_error(t));
    lk_tape_free(t);
}

/* ---- bad calls ------------------------------------------------------------------------------ */

Test(create, refuses_bad_shapes)
{
    const int64_t nine[9] = { 0 }, huge = (int64_t)1 << 32;
    int reports;
    Rng rng;
    lk_manual_seed(&rng, 0);
    Tape *t = counting_tape(&reports);
    REFUSES(lk_zeros(t, LK_F32, 9, nine), LK_ESHAPE, "tensor: 9 dimensions; 0 to 8 are possible");
    REFUSES(lk_ones(t, LK_F32, -1, NULL), LK_ESHAPE, "tensor: -1 dimensions; 0 to 8 are possible");
    REFUSES(lk_full(t, LK_F32, LK_SHAPE(2, -3), 1), LK_ESHAPE,
            "tensor: size -3 of dimension 1 is negative");
    REFUSES(lk_tensor(t, LK_F32, LK_SHAPE(INT64_MIN), NULL), LK_ESHAPE,
            "tensor: size -9223372036854775808 of dimension 0 is negative");
    REFUSES(lk_zeros(t, LK_F64, LK_SHAPE(huge, huge)), LK_EMEMORY,
            "tensor: shape (4294967296, 4294967296) of float64 is larger than any memory");
    /* its strides are no numbers */
    REFUSES(lk_zeros(t, LK_U8, LK_SHAPE(0, huge, huge)), LK_EMEMORY,
            "tensor: shape (0, 4294967296, 4294967296) of uint8 is larger than any memory");
    REFUSES(lk_ones(t, LK_U8, LK_SHAPE(INT64_MAX)), LK_EMEMORY,
            "tensor: shape (9223372036854775807,) of uint8 is larger than any memory");
    REFUSES(lk_rand(t, &rng, LK_F32, LK_SHAPE(huge, huge)), LK_EMEMORY,
            "tensor: shape (4294967296, 4294967296) of float32 is larger than any memory");
    REFUSES(lk_randn(t, &rng, LK_F32, LK_SHAPE(-1)), LK_ESHAPE,
            "tensor: size -1 of dimension 0 is negative");
    REFUSES(lk_randint(t, &rng, 0, 2, LK_SHAPE(huge, huge)), LK_EMEMORY,
            "tensor: shape (4294967296, 4294967296) of int64 is larger than any memory");
    REFUSES(lk_randperm(t, &rng, -1), LK_ESHAPE, "tensor: size -1 of dimension 0 is negative");
    REFUSES(lk_randperm(t, &rng, INT64_MAX), LK_EMEMORY,
            "tensor: shape (9223372036854775807,) of int64 is larger than any memory");
    REFUSES(lk_arange(t, 0, INT64_MAX), LK_EMEMORY,
            "tensor: shape (9223372036854775807,) of int64 is larger than any memory");
    REFUSES(lk_arange(t, INT64_MIN, INT64_MAX), LK_EVALUE,
            "lk_arange: -9223372036854775808 … 9223372036854775807 has too many values");
    reports = 0;
    /* a number, but not of bytes that exist */
    check(!lk_zeros(t, LK_F64, LK_SHAPE((int64_t)1 << 50)) && reports == 1);
    check_error(lk_tape_error(t), LK_EMEMORY,
                WIDE_ADDRESSES ? "no memory for 900719925474" : "is larger than any memory");
    lk_tape_clear_error(t);
    check(lk_random_u32(&rng) == 2357136044u); /* seed 0's first word: nothing was drawn */
    lk_tape_free(t);
}

Test(create, refuses_bad_generators_and_ranges)
{
    int reports;
    Rng rng;
    lk_manual_seed(&rng, 0);
    Tape *t = counting_tape(&reports);
    REFUSES(lk_rand(t, NULL, LK_F32, LK_SHAPE(2)), LK_EVALUE, "lk_rand: the generator is NULL");
    REFUSES(lk_randn(t, NULL, LK_F32, LK_SHAPE(2)), LK_EVALUE, "lk_randn: the generator is NULL");
    REFUSES(lk_randint(t, NULL, 0, 2, LK_SHAPE(2)), LK_EVALUE,
            "lk_randint: the generator is NULL");
    REFUSES(lk_randperm(t, NULL, 2), LK_EVALUE, "lk_randperm: the generator is NULL");
    REFUSES(lk_rand(t, &rng, LK_I64, LK_SHAPE(2)), LK_EDTYPE,
            "lk_rand: makes float32 or float64, not int64");
    REFUSES(lk_randn(t, &rng, LK_BOOL, LK_SHAPE(2)), LK_EDTYPE,
            "lk_randn: makes float32 or float64, not bool");
    REFUSES(lk_randint(t, &rng, 2, 2, LK_SHAPE(2)), LK_EVALUE,
            "lk_randint: low 2 must be below high 2");
    REFUSES(lk_randint(t, &rng, INT64_MAX, INT64_MIN, LK_SHAPE(2)), LK_EVALUE,
            "lk_randint: low 9223372036854775807 must be below high -9223372036854775808");
    Tensor *whole = lk_zeros(t, LK_I64, LK_SHAPE(2));
    check(!lk_uniform_(whole, 0, 1, &rng) && !lk_normal_(whole, 0, 1, &rng));
    check(!lk_uniform_(NULL, 0, 1, &rng) && !lk_normal_(NULL, 0, 1, &rng));
    check_values(whole, 0, 0, 0);
    check(lk_random_u32(&rng) == 2357136044u);
    lk_tape_free(t);
}
