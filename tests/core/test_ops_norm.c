/* test_ops_norm.c - lk_layer_norm and lk_residual_norm (core/ops_norm.c) against PyTorch
 * (fixtures/ops_norm.h) and against the operations they are made of, for every instruction set and
 * number of threads, with frozen inputs, called wrongly. */
#include "core/op.h"
#include "core/kernels/for_tests.h"
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_norm.h"

/* arg: how many dimensions; c: eps */
static Tensor *layer_norm(Tape *t, Tensor **x, const Case *c)
{
    return lk_layer_norm(t, x[0], (int)c->arg[0], x[1], x[2], c->c);
}
static const Caller callers[] = { { "layer_norm", layer_norm } };

TEST_CASES(norm, norm_cases, callers)

/* ---- beyond the table ----------------------------------------------------------------------- */

enum { X, RESIDUAL, WEIGHT, BIAS, LEAVES };

/* Leaves with random values, and a random gradient for the result. */
typedef struct Block {
    Tensor *leaf[LEAVES], *dy;
} Block;

static Block block_new(DType d, int64_t rows, int64_t n, unsigned wanted)
{
    Block b;
    Rng rng;
    lk_manual_seed(&rng, 7);
    for (int i = 0; i < LEAVES; i++) {
        b.leaf[i] = i < WEIGHT ? lk_tensor_new(d, LK_SHAPE(rows, n), NULL)
                               : lk_tensor_new(d, LK_SHAPE(n), NULL);
        lk_normal_(b.leaf[i], i == X ? 3 : 0, 2, &rng);
        lk_set_requires_grad(b.leaf[i], wanted >> i & 1);
    }
    b.dy = lk_tensor_new(d, LK_SHAPE(rows, n), NULL);
    lk_normal_(b.dy, 0, 1, &rng);
    return b;
}

static void block_free(Block *b)
{
    for (int i = 0; i < LEAVES; i++) lk_free(b->leaf[i]);
    lk_free(b->dy);
}

static Tensor *fused(Tape *t, const Block *b, double p)
{
    Tensor *const *l = b->leaf;
    return lk_residual_norm(t, l[X], l[RESIDUAL], p, l[WEIGHT], l[BIAS], 1e-5);
}

static Tensor *literal(Tape *t, const Block *b, double p)
{
    Tensor *const *l = b->leaf;
    return lk_layer_norm(t, lk_add(t, l[RESIDUAL], lk_dropout(t, l[X], p)), 1, l[WEIGHT], l[BIAS],
                         1e-5);
}

/* (x - mean) / √(variance + eps) w + b, operation by operation. */
static Tensor *by_hand(Tape *t, Tensor *x, Tensor *w, Tensor *b)
{
    Tensor *centred = lk_sub(t, x, lk_mean(t, x, LK_DIMS(-1), true));
    Tensor *variance = lk_mean(t, lk_mul(t, centred, centred), LK_DIMS(-1), true);
    Tensor *y = lk_div(t, centred, lk_sqrt(t, lk_add_scalar(t, variance, 1e-5)));
    return lk_add(t, lk_mul(t, y, w), b);
}

/* Runs y backward and moves the gradients to grads; NULL where there is none. */
static void gradients(Tape *t, const Block *b, Tensor *y, Tensor *grads[LEAVES])
{
    check(lk_backward_with(t, y, b->dy, false), "%s", lk_tape_error(t)->message);
    for (int i = 0; i < LEAVES; i++) {
        grads[i] = lk_clone(lk_grad(b->leaf[i]), NULL);
        lk_zero_grad_(b->leaf[i]);
    }
}

static void check_and_free(Tensor *a[LEAVES], Tensor *b[LEAVES], double tol)
{
    for (int i = 0; i < LEAVES; i++) {
        check(!a[i] == !b[i], "gradient %d", i);
        if (a[i] && tol == 0) check_equal(a[i], b[i]);
        else if (a[i]) check_close_to(a[i], b[i], tol);
        lk_free(a[i]), lk_free(b[i]);
    }
}

static const int64_t sizes[][2] = { { 3, 1 },    { 5, 7 },    { 4, 64 },   { 33, 70 },
                                    { 2, 1100 }, { 70, 768 }, { 1100, 50 } };

/* The fused operation has the bits of the literal one, in values and in gradients, and leaves the
 * stream there too. */
Test(norm, residual_norm_is_the_literal_form)
{
    Tape *t = lk_tape_new(NULL);
    for (DType d = LK_F32; d <= LK_F64; d++)
        for (int s = 0; s < LENGTH(sizes); s++)
            for (int i = 0; i < 4; i++) {
                double p = (double[]){ 0, 0.1, 0.5, 1 }[i];
                Block b = block_new(d, sizes[s][0], sizes[s][1], 15);
                Tensor *one[LEAVES], *other[LEAVES];
                lk_tape_seed(t, 3);
                lk_dropout(t, b.leaf[X], 0.5); /* somewhere in the stream */
                TapeRandom start = lk_tape_random(t);
                Tensor *y = fused(t, &b, p);
                TapeRandom end = lk_tape_random(t);
                lk_tape_set_random(t, start);
                Tensor *z = literal(t, &b, p);
                check(end.calls == lk_tape_random(t).calls && end.calls == start.calls + 1);
                check_equal(y, z);
                gradients(t, &b, y, one);
                gradients(t, &b, z, other);
                check_and_free(one, other, 0);
                block_free(&b);
                lk_tape_reset(t);
            }
    lk_tape_free(t);
}

/* In float64 the gradients are those of the single operations; in float32 both are near
 * float64. */
Test(norm, layer_norm_is_its_formula)
{
    Tape *t = lk_tape_new(NULL);
    for (DType d = LK_F32; d <= LK_F64; d++)
        for (int s = 1; s < LENGTH(sizes); s++) { /* one column alone is 0 */
            Block b = block_new(d, sizes[s][0], sizes[s][1], 15 - (1 << RESIDUAL));
            Tensor *one[LEAVES], *other[LEAVES];
            Tensor *y = lk_layer_norm(t, b.leaf[X], 1, b.leaf[WEIGHT], b.leaf[BIAS], 1e-5);
            Tensor *z = by_hand(t, b.leaf[X], b.leaf[WEIGHT], b.leaf[BIAS]);
            check_close_to(y, z, d == LK_F64 ? 1e-14 : 2e-6);
            gradients(t, &b, y, one);
            gradients(t, &b, z, other);
            check_and_free(one, other, d == LK_F64 ? 1e-12 : 3e-5);
            block_free(&b);
            lk_tape_reset(t);
        }
    lk_tape_free(t);
}

/* A large mean costs what rounding x costs, not its square: 1000 ± 1 in float32. */
Test(norm, a_large_mean_does_no_harm)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(1, 4), 999, 1001, 999, 1001);
    check_values(lk_layer_norm(t, x, 1, NULL, NULL, 0), 1e-6, -1, 1, -1, 1);
    Tensor *far = make_tensor(LK_F32, LK_SHAPE(1, 3), 1e6, 1e6 + 1, 1e6 + 2);
    check_values(lk_layer_norm(t, far, 1, NULL, NULL, 0), 1e-6, -sqrt(1.5), 0, sqrt(1.5));
    /* variance 0: eps keeps it finite */
    Tensor *same = make_param(LK_F32, LK_SHAPE(2, 3), 5, 5, 5, -1, -1, -1);
    Tensor *y = lk_layer_norm(t, same, 1, NULL, NULL, 1e-5);
    check_values(y, 0, 0, 0, 0, 0, 0, 0);
    check(lk_backward_with(t, y, lk_ones(t, LK_F32, LK_SHAPE(2, 3)), false));
    check_values(lk_grad(same), 0, 0, 0, 0, 0, 0, 0);
    lk_free(x), lk_free(far), lk_free(same);
    lk_tape_free(t);
}

/* Every instruction set within rounding of float64's, and each with the same bits for every number
 * of threads. */
Test(norm, every_instruction_set_and_number_of_threads)
{
    Tape *t = lk_tape_new(NULL);
    Block exact = block_new(LK_F64, 300, 257, 15);
    for (KernelSet set = LK_PORTABLE; set < LK_KERNEL_SETS; set++) {
        if (!lk__kernels_use(set)) continue;
        for (DType d = LK_F32; d <= LK_F64; d++) {
            Block b = block_new(d, 300, 257, 15);
            for (int i = 0; i < LEAVES; i++) check(lk_copy_(b.leaf[i], exact.leaf[i], NULL));
            check(lk_copy_(b.dy, exact.dy, NULL));
            Tensor *expected[LEAVES], *now[LEAVES], *first = NULL;
            for (int threads = 1; threads <= 3; threads++) {
                lk_set_num_threads(threads);
                lk_tape_seed(t, 1);
                Tensor *y = fused(t, &b, 0.1);
                gradients(t, &b, y, threads == 1 ? expected : now);
                if (threads == 1) {
                    first = lk_clone(y, NULL);
                    continue;
                }
                check_equal(y, first);
                for (int i = 0; i < LEAVES; i++) {
                    check_equal(now[i], expected[i]);
                    lk_free(now[i]);
                }
            }
            lk_tape_seed(t, 1);
            Tensor *y = lk_to(t, fused(t, &exact, 0.1), d);
            check_close_to(first, lk_detach(t, y), d == LK_F64 ? 1e-14 : 2e-6);
            check(lk_backward_with(t, y, b.dy, false));
            for (int i = 0; i < LEAVES; i++) {
                check_close_to(expected[i], lk_to(t, lk_grad(exact.leaf[i]), d),
                               d == LK_F64 ? 1e-13 : 2e-5);
                lk_zero_grad_(exact.leaf[i]);
                lk_free(expected[i]);
            }
            lk_free(first);
            block_free(&b);
            lk_tape_reset(t);
        }
    }
    block_free(&exact);
    lk_tape_free(t);
}

/* Rows that float sums get wrong: against the definition, in double. h' has 8 roundings of a float
 * at most, for |h'| < 4, and dx as many of 1 / std. */
static void check_row(const float *row, int64_t n)
{
    enum { MOST = 64 };
    double mean = 0, variance = 0, normal[MOST], g = 0, gh = 0, gradient[MOST], dy[MOST];
    for (int64_t i = 0; i < n; i++) mean += (double)row[i] / (double)n;
    for (int64_t i = 0; i < n; i++)
        variance += ((double)row[i] - mean) * ((double)row[i] - mean) / (double)n;
    const double scale = 1 / sqrt(variance + 1e-5);
    for (int64_t i = 0; i < n; i++) {
        normal[i] = ((double)row[i] - mean) * scale;
        dy[i] = (double)(i % 3) - 1;
        g += dy[i] / (double)n;
        gh += dy[i] * normal[i] / (double)n;
    }
    /* without the factor `scale` */
    for (int64_t i = 0; i < n; i++) gradient[i] = dy[i] - g - normal[i] * gh;

    Tape *t = lk_tape_new(NULL);
    Tensor *x = lk_tensor_from_new(LK_F32, LK_SHAPE(1, n), row, NULL),
           *zero = lk_zeros(t, LK_F32, LK_SHAPE(1, n));
    Tensor *up = lk_zeros(t, LK_F32, LK_SHAPE(1, n));
    lk_set_requires_grad(x, true);
    for (int64_t i = 0; i < n; i++) ((float *)up->data)[i] = (float)dy[i];
    for (KernelSet set = LK_PORTABLE; set < LK_KERNEL_SETS && lk__kernels_use(set); set++)
        for (int form = 0; form < 2; form++) {
            Tensor *y = form ? lk_residual_norm(t, zero, x, 0, NULL, NULL, 1e-5)
                             : lk_layer_norm(t, x, 1, NULL, NULL, 1e-5);
            check_close(y, normal, n, 8 * 0x1p-24 * 4);
            check(lk_backward_with(t, y, up, false));
            for (int64_t i = 0; i < n; i++) {
                const double got = lk_at(lk_grad(x), LK_INDEX(0, i)),
                             limit = 8 * 0x1p-24 * 4 * scale;
                check(fabs(got - gradient[i] * scale) <= limit, "dx at %d: expected %g, got %g",
                      (int)i, gradient[i] * scale, got);
            }
            lk_zero_grad_(x);
        }
    lk_free(x);
    lk_tape_free(t);
}

Test(norm, huge_rows_and_rows_of_large_mean)
{
    float near[64];
    const float huge[] = { 1e30f, -1e30f, 2e30f, 0 };
    /* the second is farther from the mean than FLT_MAX */
    const float largest[] = { 3.4e38f, -3.4e38f, 3.4e38f, 0 };
    for (int i = 0; i < 16; i++) near[i] = 1000 + (float)i * 1e-3f;
    check_row(huge, 4);
    check_row(largest, 4);
    check_row(near, 1);
    check_row(near, 16);

    Tape *t = lk_tape_new(NULL);
    Tensor *y = lk_layer_norm(t, lk_tensor(t, LK_F32, LK_SHAPE(4), huge), 1, NULL, NULL, 1e-5);
    check_values(y, 1e-3, 0.447, -1.342, 1.342, -0.447);
    y = lk_layer_norm(t, lk_tensor(t, LK_F32, LK_SHAPE(16), near), 1, NULL, NULL, 1e-5);
    check(fabs(lk_at(y, LK_INDEX(0)) + 1.3415) < 5e-5);
    for (int i = 0; i < 64; i++) near[i] = i == 5 ? 1e6f : 1e6f + 0.0625f;
    check_row(near, 64);
    /* all equal: exactly 0, though float sums of 0.1 are rounded */
    for (int i = 0; i < 40; i++) near[i] = 0.1f;
    y = lk_layer_norm(t, lk_tensor(t, LK_F32, LK_SHAPE(40), near), 1, NULL, NULL, 0x1p-40);
    check(lk_count(y) == 0);
    lk_tape_free(t);
}

/* Inputs that are not frozen get the same gradients whichever others are frozen, also when they
 * have a gradient already. */
Test(norm, frozen_inputs_and_gradients_that_add_up)
{
    Tape *t = lk_tape_new(NULL);
    Block b = block_new(LK_F64, 21, 33, 15);
    Tensor *all[LEAVES];
    gradients(t, &b, fused(t, &b, 0), all);
    for (unsigned wanted = 1; wanted < 16; wanted++) {
        for (int i = 0; i < LEAVES; i++) lk_set_requires_grad(b.leaf[i], wanted >> i & 1);
        for (int times = 1; times <= 2; times++) {
            check(lk_backward_with(t, fused(t, &b, 0), b.dy, false));
            for (int i = 0; i < LEAVES; i++) {
                Tensor *grad = lk_grad(b.leaf[i]);
                check(!grad == !(wanted >> i & 1), "leaf %d of %#x", i, wanted);
                if (grad) check_equal(grad, lk_scale(t, all[i], times));
            }
        }
        for (int i = 0; i < LEAVES; i++) lk_zero_grad_(b.leaf[i]);
        lk_tape_reset(t);
    }
    for (int i = 0; i < LEAVES; i++) lk_free(all[i]);
    block_free(&b);
    lk_tape_free(t);
}

/* x and residual may be one tensor, a leaf or a result, and weight and bias too. */
Test(norm, one_tensor_as_several_inputs)
{
    Tape *t = lk_tape_new(NULL);
    for (int inner = 0; inner < 2; inner++) {
        Block b = block_new(LK_F64, 6, 5, 15);
        Tensor *w = b.leaf[WEIGHT], *one[LEAVES], *other[LEAVES];
        for (int form = 0; form < 2; form++) {
            Tensor *x = inner ? lk_scale(t, b.leaf[X], 0.5) : b.leaf[X];
            lk_tape_seed(t, 2);
            Tensor *y = form ? by_hand(t, lk_add(t, x, lk_dropout(t, x, 0.3)), w, w)
                             : lk_residual_norm(t, x, x, 0.3, w, w, 1e-5);
            gradients(t, &b, y, form ? other : one);
        }
        check_and_free(one, other, 1e-12);
        block_free(&b);
        lk_tape_reset(t);
    }
    lk_tape_free(t);
}

/* Memory kept until backward: the result, two numbers a row and the record, but no sum and no
 * mask. */
Test(norm, keeps_two_numbers_a_row)
{
    enum { ROWS = 512, N = 96 };
    Tape *t = lk_tape_new(NULL);
    Block b = block_new(LK_F32, ROWS, N, 15);
    TapeMark empty = lk_tape_mark(t);
    lk_tape_alloc(t, 8 << 20); /* room in one chunk */
    lk_tape_release(t, empty, NULL);
    size_t before = lk_tape_mark(t).memory.used;
    check(fused(t, &b, 0.1));
    size_t kept = lk_tape_mark(t).memory.used - before, result = ROWS * N * sizeof(float);
    check(kept < result + ROWS * 2 * sizeof(double) + 1024, "%zu bytes for a result of %zu", kept,
          result);
    lk_tape_reset(t);
    lk_tape_set_grad(t, false);
    before = lk_tape_mark(t).memory.used;
    check(fused(t, &b, 0.1));
    kept = lk_tape_mark(t).memory.used - before;
    check(kept < result + 1024, "%zu bytes for a result of %zu without gradients", kept, result);
    block_free(&b);
    lk_tape_free(t);
}

/* ---- bad calls ------------------------------------------------------------------------------ */

Test(norm, refuses_bad_operands)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Tensor *x = lk_ones(t, LK_F32, LK_SHAPE(2, 3)), *w = lk_ones(t, LK_F32, LK_SHAPE(3));
    Tensor *wrong = lk_ones(t, LK_F32, LK_SHAPE(2)), *wide = lk_ones(t, LK_F64, LK_SHAPE(3));
    Tensor *whole = lk_ones(t, LK_I64, LK_SHAPE(2, 3));
    PASSES_NULL(lk_layer_norm(t, NULL, 1, w, w, 1e-5));
    PASSES_NULL(lk_residual_norm(t, NULL, x, 0.1, w, w, 1e-5));
    PASSES_NULL(lk_residual_norm(t, x, NULL, 0.1, w, w, 1e-5));
    REFUSES(lk_layer_norm(t, whole, 1, w, w, 1e-5), LK_EDTYPE,
            "lk_layer_norm: takes float32 or float64, not int64; lk_to converts");
    REFUSES(lk_layer_norm(t, x, 1, wide, w, 1e-5), LK_EDTYPE,
            "lk_layer_norm: operands are float32 and float64; lk_to makes them the same");
    REFUSES(lk_layer_norm(t, x, 1, NULL, wide, 1e-5), LK_EDTYPE,
            "lk_layer_norm: operands are float32 and float64; lk_to makes them the same");
    REFUSES(lk_layer_norm(t, x, 0, NULL, NULL, 1e-5), LK_ESHAPE,
            "lk_layer_norm: x (2, 3) cannot be normalized over its last 0 dimensions");
    REFUSES(lk_layer_norm(t, x, 3, NULL, NULL, 1e-5), LK_ESHAPE,
            "lk_layer_norm: x (2, 3) cannot be normalized over its last 3 dimensions");
    REFUSES(lk_layer_norm(t, lk_ones(t, LK_F32, LK_SCALAR), 1, NULL, NULL, 1e-5), LK_ESHAPE,
            "lk_layer_norm: x () cannot be normalized over its last 1 dimensions");
    REFUSES(lk_layer_norm(t, x, 1, wrong, w, 1e-5), LK_ESHAPE,
            "lk_layer_norm: weight (2,) does not have the last 1 sizes of x (2, 3)");
    REFUSES(lk_layer_norm(t, x, 2, x, w, 1e-5), LK_ESHAPE,
            "lk_layer_norm: bias (3,) does not have the last 2 sizes of x (2, 3)");
    REFUSES(lk_residual_norm(t, x, w, 0.1, w, w, 1e-5), LK_ESHAPE,
            "lk_residual_norm: x (2, 3) and residual (3,) must be the same shape");
    REFUSES(lk_residual_norm(t, x, whole, 0.1, w, w, 1e-5), LK_EDTYPE,
            "lk_residual_norm: takes float32 or float64, not int64; lk_to converts");
    REFUSES(lk_residual_norm(t, x, x, 1.5, w, w, 1e-5), LK_EVALUE,
            "lk_residual_norm: dropout probability has to be between 0 and 1, but got 1.5");
    REFUSES(lk_residual_norm(t, x, x, 0.1, w, wrong, 1e-5), LK_ESHAPE,
            "lk_residual_norm: bias (2,) does not have the last 1 sizes of x (2, 3)");
    check(lk_residual_norm(t, x, x, 0.1, w, w, 1e-5) && lk_tape_error(t)->code == LK_OK);
    lk_tape_free(t);
}
