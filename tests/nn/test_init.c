/* test_init.c - the initialisers (nn/init.c): PyTorch's numbers for the same generator
 * (fixtures/init.h), orthogonality, ends of a truncated normal, bad arguments. */
#include "nn/init.h"

#include <math.h>
#include <string.h>

#include "core/ops.h"
#include "tests/check.h"
#include "tests/fixtures/init.h"

static Rng rng;

/* An empty tensor, and the generator at its start. */
static Tensor *fresh(DType d, int ndim, const int64_t *shape)
{
    lk_manual_seed(&rng, 11);
    return lk_param_new(d, ndim, shape, NULL);
}

static void compare(Tensor *x, bool filled, const double *expected, double tol)
{
    check(filled);
    check_close(x, expected, lk_numel(x), tol);
    lk_free(x);
}

Test(init, draws_as_pytorch)
{
    Tensor *x = fresh(LK_F32, LK_SHAPE(3, 4));
    compare(x, lk_init_kaiming_uniform_(x, sqrt(5), LK_FAN_IN, LK_AFTER_LEAKY_RELU, &rng, NULL),
            kaiming_uniform, 0);
    x = fresh(LK_F32, LK_SHAPE(2, 3, 2, 2));
    compare(x, lk_init_kaiming_uniform_(x, 0, LK_FAN_OUT, LK_AFTER_RELU, &rng, NULL),
            kaiming_uniform_out, 0);
    x = fresh(LK_F32, LK_SHAPE(3, 4));
    compare(x, lk_init_kaiming_normal_(x, 0.2, LK_FAN_IN, LK_AFTER_LEAKY_RELU, &rng, NULL),
            kaiming_normal, 0);
    x = fresh(LK_F64, LK_SHAPE(4, 5));
    compare(x, lk_init_kaiming_normal_(x, 0, LK_FAN_OUT, LK_AFTER_TANH, &rng, NULL),
            kaiming_normal_tanh, 1e-15);
    x = fresh(LK_F32, LK_SHAPE(3, 4));
    compare(x, lk_init_xavier_uniform_(x, 1.5, &rng, NULL), xavier_uniform, 0);
    x = fresh(LK_F32, LK_SHAPE(2, 3, 3)); /* blocks of 16: core/rng_real.h */
    compare(x, lk_init_xavier_normal_(x, 1, &rng, NULL), xavier_normal, 5e-7);
}

Test(init, draws_truncated_normals_as_pytorch)
{
    Tensor *x = fresh(LK_F32, LK_SHAPE(4, 5));
    compare(x, lk_init_trunc_normal_(x, 0, 1, -2, 2, &rng, NULL), trunc_normal, 2e-7);
    x = fresh(LK_F32, LK_SHAPE(4, 5));
    compare(x, lk_init_trunc_normal_(x, 0.1, 0.02, 0.05, 0.11, &rng, NULL), trunc_normal_narrow,
            1e-8);
    x = fresh(LK_F64, LK_SHAPE(4, 5));
    compare(x, lk_init_trunc_normal_(x, 1, 2, -3, 3.5, &rng, NULL), trunc_normal_f64, 1e-15);
    x = fresh(LK_F32, LK_SHAPE(20000));
    check(lk_init_trunc_normal_(x, 0, 1, -0.5, 1, &rng, NULL));
    double mean = 0;
    for (int i = 0; i < 20000; i++) {
        const float v = ((float *)x->data)[i];
        check(v >= -0.5f && v <= 1, "%g", (double)v);
        mean += (double)v / 20000;
    }
    check(fabs(mean - 0.2068) < 0.01, "%g", mean); /* (φ(-0.5) - φ(1)) / (Φ(1) - Φ(-0.5)) */
    lk_free(x);
}

/* Rows or columns, whichever are fewer, have scalar products of 0, and gain² with themselves. */
static void check_orthogonal(Tensor *x, double gain, double tol)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *m = lk_reshape(t, lk_detach(t, x), LK_SHAPE(x->shape[0], -1));
    if (m->shape[0] > m->shape[1]) m = lk_T(t, m);
    Tensor *products = lk_matmul(t, m, lk_T(t, m));
    for (int64_t i = 0; i < m->shape[0]; i++)
        for (int64_t j = 0; j < m->shape[0]; j++) {
            const double p = lk_at(products, LK_INDEX(i, j));
            check(fabs(p - (i == j ? gain * gain : 0)) <= tol, "%d, %d: %g", (int)i, (int)j, p);
        }
    lk_free(x);
    lk_tape_free(t);
}

Test(init, orthogonal_matrices)
{
    Tensor *x = fresh(LK_F32, LK_SHAPE(3, 5));
    compare(x, lk_init_orthogonal_(x, 1, &rng, NULL), orthogonal, 1e-6);
    x = fresh(LK_F64, LK_SHAPE(5, 2, 2));
    compare(x, lk_init_orthogonal_(x, 2, &rng, NULL), orthogonal_high, 1e-13);
    static const int64_t sizes[][2] = { { 1, 1 }, { 7, 1 }, { 33, 33 }, { 70, 100 }, { 200, 65 } };
    for (int i = 0; i < 5; i++) {
        x = fresh(LK_F64, LK_SHAPE(sizes[i][0], sizes[i][1]));
        check(lk_init_orthogonal_(x, 1.5, &rng, NULL));
        check_orthogonal(x, 1.5, 1e-13);
    }
    x = fresh(LK_F32, LK_SHAPE(64, 2, 3, 7));
    check(lk_init_orthogonal_(x, 1, &rng, NULL));
    check_orthogonal(x, 1, 1e-5);
}

Test(init, gains_and_constants)
{
    check(lk_init_gain(LK_AFTER_LEAKY_RELU, 0.01) == sqrt(2 / 1.0001));
    check(lk_init_gain(LK_AFTER_RELU, 5) == sqrt(2) && lk_init_gain(LK_AFTER_LINEAR, 5) == 1);
    check(lk_init_gain(LK_AFTER_TANH, 0) == 5.0 / 3 && lk_init_gain(LK_AFTER_SELU, 0) == 0.75);
    Tensor *x = fresh(LK_F32, LK_SHAPE(2));
    check(lk_init_constant_(x, 3, NULL));
    check_values(x, 0, 3, 3);
    check(lk_init_zeros_(x, NULL));
    check_values(x, 0, 0, 0);
    lk_free(x);
}

Test(init, bad_arguments_get_one_message)
{
    Tensor *row = fresh(LK_F32, LK_SHAPE(3)), *ids = lk_tensor_new(LK_I64, LK_SHAPE(2, 2), NULL),
           *none = lk_param_new(LK_F32, LK_SHAPE(0, 3), NULL);
    Error err = { 0 };
    check(!lk_init_xavier_normal_(row, 1, &rng, &err));
    check(strcmp(err.message, "lk_init_xavier_normal_: x (3,) needs at least 2 dimensions") == 0);
    err = (Error){ 0 };
    check(!lk_init_orthogonal_(ids, 1, &rng, &err));
    check(strcmp(err.message, "lk_init_orthogonal_: x is int64, which is not floating") == 0);
    err = (Error){ 0 };
    check(!lk_init_kaiming_uniform_(none, 0, LK_FAN_IN, LK_AFTER_RELU, NULL, &err));
    check(strcmp(err.message, "lk_init_kaiming_uniform_: the generator is NULL; "
                              "lk_manual_seed(&rng, 0) begins one") == 0);
    err = (Error){ 0 };
    check(!lk_init_trunc_normal_(row, 0, 0, -1, 1, &rng, &err));
    check(strcmp(err.message,
                 "lk_init_trunc_normal_: std 0 from -1 to 1; std must be positive, and "
                 "the first end not above the second") == 0);
    check(!lk_init_zeros_(NULL, NULL) && !lk_init_constant_(ids, 1, NULL));
    err = (Error){ 0 };
    check(lk_init_kaiming_uniform_(none, 0, LK_FAN_IN, LK_AFTER_RELU, &rng, &err));
    check(lk_init_orthogonal_(none, 1, &rng, &err) && err.code == LK_OK);
    lk_free(row), lk_free(ids), lk_free(none);
}
