/* test_gradcheck_functions.c - lk_gradcheck: which functions it takes (several results, refused
 * views, segments that are computed again, leaves of their own), and that its cotangents are
 * independent of them. */
#include <math.h>
#include <string.h>

#include "core/gradcheck/parts.h" /* lk__gradcheck_cotangent */
#include "core/ops.h"
#include "tests/check.h"

static const GradcheckOptions strict = { .atol = 1e-7, .rtol = 1e-5 };

/* dx += 2 dy dy where y = x²: right for x = dy, so the cotangent must not be one that a user
 * can have drawn. */
static void squared_backward(Tape *t, Node *n)
{
    Tensor *dx = lk_grad_in(t, n, 0);
    const double *dy = n->grad->data;
    for (int64_t i = 0; dx && i < lk_numel(dx); i++) ((double *)dx->data)[i] += 2 * dy[i] * dy[i];
}
static const Op SQUARED = { "SquareBackward", squared_backward, { LK_IN0 } };
static Tensor *squared(Tape *t, Tensor *const *x, void *user)
{
    (void)user;
    Tensor *packed = lk_packed(t, x[0]), *y = lk_empty(t, LK_F64, x[0]->ndim, x[0]->shape);
    for (int64_t i = 0; packed && y && i < lk_numel(y); i++)
        ((double *)y->data)[i] = pow(((double *)packed->data)[i], 2);
    return lk_record(t, &SQUARED, y, LK_INPUTS(x[0]), NULL, 0);
}

/* ---- several results ------------------------------------------------------------------------ */

/* (x², Σ eˣ), the sum, if user is given, of a wrong square. */
static bool both_parts(Tape *t, Tensor *const *x, Tensor **out, void *user)
{
    out[0] = lk_mul(t, x[0], x[0]);
    out[1] = lk_sum(t, user ? squared(t, x, NULL) : lk_exp(t, x[0]), LK_ALL, false);
    return true;
}

static bool second_fails(Tape *t, Tensor *const *x, Tensor **out, void *user)
{
    (void)user;
    out[0] = x[0];
    out[1] = lk_matmul(t, x[0], lk_zeros(t, LK_F64, LK_SHAPE(7)));
    return true;
}

static bool second_is_missing(Tape *t, Tensor *const *x, Tensor **out, void *user)
{
    (void)t, (void)user;
    out[0] = x[0];
    return true;
}

static bool second_is_detached(Tape *t, Tensor *const *x, Tensor **out, void *user)
{
    (void)user;
    out[0] = lk_scale(t, x[0], 2);
    out[1] = lk_exp(t, lk_detach(t, x[0]));
    return true;
}

Test(gradcheck_functions, functions_of_several_results)
{
    Tensor *x = make_param(LK_F64, LK_SHAPE(2, 3), 0.5, -1, 2, 0.25, -0.75, 1.5);
    GradcheckReport r;
    check(lk_gradcheck_many(both_parts, 2, NULL, 1, &x, NULL, &strict, &r) && r.checked == 6, "%s",
          r.message);
    check(!lk_gradcheck_many(both_parts, 2, &r, 1, &x, NULL, &strict, &r) && r.worst > 1, "%s",
          r.message);
    check(!lk_gradcheck_many(second_is_detached, 2, NULL, 1, &x, NULL, &strict, &r),
          "its differences are not 0");
    check(!lk_gradcheck_many(second_fails, 2, NULL, 1, &x, NULL, &strict, &r));
    check(strstr(r.message, "lk_gradcheck: lk_matmul: (2, 3)"), "%s", r.message);
    check(!lk_gradcheck_many(second_is_missing, 2, NULL, 1, &x, NULL, &strict, &r));
    check(strstr(r.message, "the function returned NULL"), "%s", r.message);
    check(!lk_gradcheck_many(NULL, 1, NULL, 1, &x, NULL, NULL, &r) &&
          strstr(r.message, "the function is NULL"));
    check(!lk_gradcheck_many(both_parts, 0, NULL, 1, &x, NULL, NULL, &r) &&
          strstr(r.message, "0 results"));
    lk_free(x);
}

/* ---- views ---------------------------------------------------------------------------------- */

/* Refuses what is not contiguous; without a word, or with one. */
static Tensor *contiguous_only(Tape *t, Tensor *const *x, void *user)
{
    if (lk_is_contiguous(x[0])) return lk_exp(t, x[0]);
    return user ? NULL : lk_fail(t, LK_EVALUE, "my_op: takes contiguous tensors only");
}

/* x is the same tensor in every call, whatever stands in the array. */
static Tensor *reads_its_own(Tape *t, Tensor *const *in, void *user)
{
    (void)in;
    return lk_exp(t, user);
}

Test(gradcheck_functions, a_view_may_be_refused)
{
    Tensor *x = make_param(LK_F64, LK_SHAPE(2, 3), 0.5, -1, 2, 0.25, -0.75, 1.5);
    GradcheckReport r;
    bool silent = true;
    check(lk_gradcheck(contiguous_only, NULL, 1, &x, NULL, &strict, &r), "%s", r.message);
    check(!lk_gradcheck(contiguous_only, &silent, 1, &x, NULL, &strict, &r) &&
          strcmp(r.mistake, "strided") == 0);
    check(strstr(r.message, "gives NULL without a reason"), "%s", r.message);
    check(lk_gradcheck(reads_its_own, x, 1, &x, NULL, &strict, &r), "%s", r.message);
    lk_free(x);
}

/* Both faults of one operation are said: it overwrites, and it reads views as if they were
 * contiguous. */
static void assigning_backward(Tape *t, Node *n)
{
    Tensor *x = lk_packed(t, n->in[0]), *dx = lk_grad_in(t, n, 0);
    for (int64_t i = 0; x && dx && i < lk_numel(dx); i++)
        ((double *)dx->data)[i] = 2 * ((double *)x->data)[i] * ((double *)n->grad->data)[i];
}
static const Op ASSIGNING = { "SquareBackward", assigning_backward, { LK_IN0 } };
static Tensor *assigning(Tape *t, Tensor *const *x, void *user)
{
    (void)user;
    Tensor *y = lk_empty(t, LK_F64, x[0]->ndim, x[0]->shape);
    for (int64_t i = 0; y && i < lk_numel(y); i++)
        ((double *)y->data)[i] = pow(((double *)x[0]->data)[i], 2);
    return lk_record(t, &ASSIGNING, y, LK_INPUTS(x[0]), NULL, 0);
}

/* y = x² that records the packed copy: with a view the gradient is lost. */
static void square_backward(Tape *t, Node *n)
{
    Tensor *x = lk_packed(t, n->in[0]), *dx = lk_grad_in(t, n, 0);
    for (int64_t i = 0; x && dx && i < lk_numel(dx); i++)
        ((double *)dx->data)[i] += 2 * ((double *)x->data)[i] * ((double *)n->grad->data)[i];
}
static const Op SQUARE = { "SquareBackward", square_backward, { LK_IN0 } };
static Tensor *records_a_copy(Tape *t, Tensor *const *x, void *user)
{
    (void)user;
    Tensor *packed = lk_packed(t, x[0]), *y = lk_empty(t, LK_F64, x[0]->ndim, x[0]->shape);
    for (int64_t i = 0; packed && y && i < lk_numel(y); i++)
        ((double *)y->data)[i] = pow(((double *)packed->data)[i], 2);
    return lk_record(t, &SQUARE, y, LK_INPUTS(packed), NULL, 0);
}

Test(gradcheck_functions, a_recorded_copy_is_not_the_input)
{
    Tensor *x = make_param(LK_F64, LK_SHAPE(2, 3), 0, 1, 2, 3, 4, 5);
    GradcheckReport r;
    check(!lk_gradcheck(records_a_copy, NULL, 1, &x, NULL, NULL, &r));
    check(strcmp(r.mistake, "strided") == 0 && strstr(r.message, "records a copy"), "%s",
          r.message);
    lk_free(x);
}

Test(gradcheck_functions, all_that_is_found_is_said)
{
    Tensor *x = make_param(LK_F64, LK_SHAPE(2, 3), 0, 1, 2, 3, 4, 5);
    GradcheckReport r;
    check(!lk_gradcheck(assigning, NULL, 1, &x, NULL, NULL, &r) &&
          strcmp(r.mistake, "overwritten") == 0);
    check(
        strstr(r.message, "overwritten: the backward of SquareBackward does not add (= for +=)") ==
            r.message,
        "%s", r.message);
    check(strstr(r.message, "\nstrided: input 0 (2, 3) as a transposed view gives "), "%s",
          r.message);
    check_values(x, 0, 0, 1, 2, 3, 4, 5);
    lk_free(x);
}

/* ---- chance --------------------------------------------------------------------------------- */

Test(gradcheck_functions, no_draw_of_a_user_is_the_cotangent)
{
    for (uint64_t seed = 0; seed < 50; seed++)
        for (int uniform = 0; uniform < 2; uniform++) {
            Rng rng;
            GradcheckReport r;
            lk_manual_seed(&rng, seed);
            Tensor *x = lk_param_new(LK_F64, LK_SHAPE(2, 3), NULL);
            if (uniform) lk_uniform_(x, 0.5, 1.5, &rng);
            else lk_normal_(x, 0, 1, &rng);
            check(
                !lk_gradcheck(squared, NULL, 1, &x, NULL, &(GradcheckOptions){ .seed = seed }, &r),
                "seed %d", (int)seed);
            check(strncmp(r.hint, "dy twice: ", 10) == 0, "seed %d: %s", (int)seed, r.message);
            lk_free(x);
        }
    double v[1000], w[1000];
    lk__gradcheck_cotangent(0, 0, 1000, v);
    lk__gradcheck_cotangent(0, 1, 1000, w);
    double mean = 0, product = 0;
    for (int i = 0; i < 1000; i++) {
        check(fabs(v[i]) >= 0.5 && fabs(v[i]) < 1.5);
        mean += v[i] / 1000;
        product += v[i] * w[i] / 1000;
    }
    check(fabs(mean) < 0.15 && fabs(product) < 0.15, "%g and %g: both are sums of 1000 signs",
          mean, product);
}

/* ---- what is not an input ------------------------------------------------------------------- */

/* Gradients of leaves that f reads by itself are not touched. */
static Tensor *times_weight(Tape *t, Tensor *const *x, void *user)
{
    return lk_linear(t, x[0], user, NULL);
}

Test(gradcheck_functions, other_leaves_are_left_alone)
{
    Tensor *x = make_param(LK_F64, LK_SHAPE(1, 2), 0.5, -1),
           *w = make_param(LK_F64, LK_SHAPE(2, 2), 1, 2, 3, 4);
    GradcheckReport r;
    check(lk_gradcheck(times_weight, w, 1, &x, NULL, &strict, &r), "%s", r.message);
    check(!lk_grad(w) && !w->grad_room && r.checked == 2);
    lk_free(x), lk_free(w);
}

/* A segment that is computed again in backward, with dropout in it, and a parameter that only
 * the segment reads. */
static Tensor *segment(Tape *t, const void *state, Tensor *x)
{
    return lk_dropout(t, lk_tanh(t, lk_linear(t, x, *(Tensor *const *)state, NULL)), 0.3);
}
static Tensor *recomputed(Tape *t, Tensor *const *x, void *user)
{
    (void)user;
    return lk_recompute(t, segment, &x[1], sizeof x[1], x[0]);
}

Test(gradcheck_functions, recomputed_segments_pass)
{
    Tensor *x = make_param(LK_F64, LK_SHAPE(2, 2), 0.5, -1, 2, 0.25);
    Tensor *w = make_param(LK_F64, LK_SHAPE(3, 2), 0.5, -0.3, 0.2, 0.7, -0.1, 0.4);
    GradcheckReport r;
    check(lk_gradcheck(recomputed, NULL, 2, (Tensor *[]){ x, w }, NULL, &strict, &r) &&
              r.checked == 10,
          "%s", r.message);
    lk_free(x), lk_free(w);
}
