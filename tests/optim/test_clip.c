/* test_clip.c - lk_clip_grad_norm_ and lk_clip_grad_value_: PyTorch's norm and gradients, what
 * counts, what is not finite, threads. */
#include <math.h>

#include "optim/clip.h"
#include "tests/fixtures/optim.h"
#include "tests/shared/nets.h"

/* The gradients of make_optim.py: (3, -4, 12), (84), (0, -0.5). */
static void make_params(Tensor *p[3], DType dtype)
{
    p[0] = make_param(dtype, LK_SHAPE(3), 3, -4, 12);
    p[1] = make_param(dtype, LK_SHAPE(1), 84);
    p[2] = make_param(dtype, LK_SHAPE(2), 0, -0.5);
    for (int i = 0; i < 3; i++) set_grad(p[i], p[i]);
}

static void free_params(Tensor *p[3])
{
    for (int i = 0; i < 3; i++) lk_free(p[i]);
}

Test(clip, norms_and_gradients_are_pytorchs)
{
    for (DType dtype = LK_F32; dtype <= LK_F64; dtype++)
        for (size_t i = 0; i < sizeof optim_clips / sizeof *optim_clips; i++) {
            const double *row = optim_clips[i], tol = dtype == LK_F64 ? 1e-15 : 1e-7;
            Tensor *p[3];
            make_params(p, dtype);
            uint32_t version = p[0]->grad->storage->version;
            double norm = lk_clip_grad_norm_(&(const TensorList){ p, 3 }, row[0]);
            check(fabs(norm - row[1]) <= 1e-15 * row[1], "%.17g, not %.17g", norm, row[1]);
            check_close(p[0]->grad, row + 2, 3, tol);
            check_close(p[1]->grad, row + 5, 1, tol);
            check_close(p[2]->grad, row + 6, 2, tol);
            check((p[0]->grad->storage->version == version) == (norm < row[0]), "max_norm %g",
                  row[0]);
            free_params(p);
        }
}

Test(clip, elements_are_cut_as_pytorch_cuts_them)
{
    for (DType dtype = LK_F32; dtype <= LK_F64; dtype++)
        for (size_t i = 0; i < sizeof optim_value_clips / sizeof *optim_value_clips; i++) {
            const double *row = optim_value_clips[i];
            Tensor *p[3];
            make_params(p, dtype);
            check(lk_clip_grad_value_(&(const TensorList){ p, 3 }, row[0]));
            check_close(p[0]->grad, row + 1, 3, 0);
            check_close(p[1]->grad, row + 4, 1, 0);
            check_close(p[2]->grad, row + 5, 2, 0);
            free_params(p);
        }
}

Test(clip, values_that_are_no_limit_change_nothing)
{
    Tensor *p[3];
    make_params(p, LK_F32);
    ((float *)p[0]->grad->data)[1] = NAN;
    ((float *)p[1]->grad->data)[0] = -INFINITY;
    const TensorList list = { p, 3 };
    check(!lk_clip_grad_value_(&list, -1.0) && !lk_clip_grad_value_(&list, NAN));
    check(!lk_clip_grad_value_(NULL, 1.0));
    check_values(p[0]->grad, 0, 3, NAN, 12);
    lk_set_requires_grad(p[2], false); /* frozen: no step uses its gradient */
    check(lk_clip_grad_value_(&list, 0.125));
    check_values(p[0]->grad, 0, 0.125, NAN, 0.125);
    check_values(p[1]->grad, 0, -0.125);
    check_values(p[2]->grad, 0, 0, -0.5);
    free_params(p);
}

Test(clip, only_what_a_step_uses_counts)
{
    Tensor *p[3];
    make_params(p, LK_F64);
    lk_set_requires_grad(p[1], false); /* frozen, with an old gradient */
    lk_zero_grad_(p[2]);
    double norm = lk_clip_grad_norm_(&(const TensorList){ p, 3 }, 6.5);
    check(norm == 13);
    check_values(p[0]->grad, 1e-7, 1.5, -2, 6);
    check_values(p[1]->grad, 0, 84);
    check(lk_clip_grad_norm_(&(const TensorList){ p + 1, 2 }, 1.0) == 0);
    check(lk_clip_grad_norm_(&(const TensorList){ NULL, 0 }, 1.0) == 0);
    free_params(p);
}

/* PyTorch's multiplications: 0 for what is finite beside an infinity, which becomes NaN, as 0 · ∞
 * is; NaN spreads. */
Test(clip, infinity_and_nan)
{
    Tensor *p[3];
    make_params(p, LK_F32);
    ((float *)p[1]->grad->data)[0] = INFINITY;
    check(lk_clip_grad_norm_(&(const TensorList){ p, 3 }, INFINITY) == INFINITY);
    check_values(p[0]->grad, 0, 3, -4, 12);
    check(lk_clip_grad_norm_(&(const TensorList){ p, 3 }, 1.0) == INFINITY);
    check_values(p[0]->grad, 0, 0, 0, 0);
    check_values(p[1]->grad, 0, NAN);
    check(isnan(lk_clip_grad_norm_(&(const TensorList){ p, 3 }, 1.0)));
    check_values(p[0]->grad, 0, NAN, NAN, NAN);
    free_params(p);
}

Test(clip, the_sum_of_large_floats_is_made_in_double)
{
    Tensor *p = make_param(LK_F32, LK_SHAPE(2), 3e30, 4e30);
    set_grad(p, p);
    check(fabs(lk_clip_grad_norm_(&(const TensorList){ &p, 1 }, INFINITY) / 5e30 - 1) < 1e-7);
    lk_free(p);
}

Test(clip, neither_threads_nor_memory)
{
    enum { LARGE = 3000001, MEDIUM = 70001 };
    check_alloc_begin();
    Tensor *p[4] = { lk_param_new(LK_F32, LK_SHAPE(LARGE), NULL),
                     lk_param_new(LK_F64, LK_SHAPE(MEDIUM), NULL),
                     lk_param_new(LK_F32, LK_SHAPE(7), NULL),
                     lk_param_new(LK_F32, LK_SHAPE(0), NULL) };
    Tensor *first[4];
    double norms[2];
    for (int run = 0; run < 2; run++) {
        Rng rng;
        lk_manual_seed(&rng, 5);
        for (int i = 0; i < 4; i++) {
            lk_normal_(p[i], 0, 1, &rng);
            set_grad(p[i], p[i]);
        }
        int64_t before = check_alloc_count();
        lk_set_num_threads(run ? 4 : 1);
        norms[run] = lk_clip_grad_norm_(&(const TensorList){ p, 4 }, 1.0);
        check(check_alloc_count() == before);
        for (int i = 0; i < 4; i++) {
            if (run) check_equal(p[i]->grad, first[i]);
            else first[i] = lk_clone(p[i]->grad, NULL);
        }
    }
    double squares = 0;
    for (int64_t i = 0; i < LARGE; i++) squares += pow(lk_at(p[0], &i), 2);
    for (int64_t i = 0; i < MEDIUM; i++) squares += pow(lk_at(p[1], &i), 2);
    for (int64_t i = 0; i < 7; i++) squares += pow(lk_at(p[2], &i), 2);
    check(norms[0] == norms[1] && fabs(norms[0] / sqrt(squares) - 1) < 1e-12,
          "%.17g, %.17g, %.17g", norms[0], norms[1], sqrt(squares));
    for (int i = 0; i < 4; i++) lk_free(p[i]), lk_free(first[i]);
    check(check_alloc_live() == 0);
}
