/* test_bfloat16.c - bfloat16 (core/bfloat16.h): PyTorch's rounding, values in storages, products
 * with weights in it or with operands that are rounded to it, and who refuses it. Printing:
 * test_print.c. Modules: tests/nn/test_frozen.c. */
#include "core/bfloat16.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/kernels/for_tests.h"
#include "core/kernels/gemm.h"
#include "core/op.h"
#include "tests/core/ops_cases.h"
#include "tests/core/stored.h"

#include "tests/fixtures/bfloat16.h"

/* ---- numbers -------------------------------------------------------------------------------- */

Test(bfloat16, rounds_as_pytorch)
{
    enum { N = LENGTH(rounded), DOUBLES = LENGTH(rounded_doubles) };
    Error err = { 0 };
    Tensor *x = lk_tensor_new(LK_F32, LK_SHAPE(N), &err),
           *d = lk_tensor_new(LK_F64, LK_SHAPE(DOUBLES), &err);
    for (int i = 0; i < N; i++) {
        ((float *)x->data)[i] = float_of(rounded[i].single);
        check(lk__bf16_of_f32(float_of(rounded[i].single)) == rounded[i].half, "0x%08x",
              rounded[i].single);
    }
    for (int i = 0; i < DOUBLES; i++) ((double *)d->data)[i] = rounded_doubles[i].value;
    check(lk_convert_(x, LK_BF16, &err) && lk_convert_(d, LK_BF16, &err));
    for (int i = 0; i < N; i++) check(((uint16_t *)x->data)[i] == rounded[i].half, "number %d", i);
    for (int i = 0; i < DOUBLES; i++)
        check(((uint16_t *)d->data)[i] == rounded_doubles[i].half, "double %d", i);
    lk_free(x);
    lk_free(d);
}

/* All patterns: widened to the same number, and rounded back to the same pattern. */
Test(bfloat16, widens_exactly)
{
    enum { N = 1 << 16 };
    Tensor *x = lk_tensor_new(LK_BF16, LK_SHAPE(N), NULL);
    for (int i = 0; i < N; i++) ((uint16_t *)x->data)[i] = (uint16_t)i;
    Tensor *single = converted(x, LK_F32), *wide = converted(x, LK_F64);
    Tensor *back = converted(wide, LK_BF16);
    for (int i = 0; i < N; i++) {
        const float value = float_of((uint32_t)i << 16);
        const uint16_t half = ((uint16_t *)back->data)[i];
        if (isnan(value)) {
            check(isnan(((float *)single->data)[i]) && isnan(((double *)wide->data)[i]) &&
                  isnan(lk__bf16_to_f32(half)) && isnan(lk_at(x, LK_INDEX(i))));
        } else {
            check(((float *)single->data)[i] == value && ((double *)wide->data)[i] == value &&
                      lk_at(x, LK_INDEX(i)) == value && half == i,
                  "0x%04x", (unsigned)i);
        }
    }
    lk_free(x);
    lk_free(single);
    lk_free(wide);
    lk_free(back);
}

Test(bfloat16, values)
{
    Tape *t = lk_tape_new(NULL);
    Error err = { 0 };
    Tensor *x = make_tensor(LK_BF16, LK_SHAPE(2, 3), 1, -2, 0.5, 1.01, 300, -0.0);
    check(lk_at(x, LK_INDEX(1, 0)) == 1.0078125 && x->storage->bytes == 12);
    check(signbit(lk_at(x, LK_INDEX(1, 2))) && lk_count(x) == 5 && lk_equal(x, x));
    Tensor *turned = lk_T(t, x), *copy = lk_clone(turned, &err);
    check_values(copy, 0, 1, 1.0078125, -2, 300, 0.5, -0.0);
    check(lk_fill_(x, 1.0 / 3) && lk_at(x, LK_INDEX(0, 2)) == 0.333984375);
    check(lk_copy_(turned, copy, &err) && lk_at(x, LK_INDEX(1, 1)) == 300);
    Tensor *ids = make_tensor(LK_I64, LK_SHAPE(2), 257, -3);
    check_values(lk_to(t, ids, LK_BF16), 0, 256, -3);
    check_values(lk_to(t, lk_to(t, ids, LK_BF16), LK_I64), 0, 256, -3);
    lk_free(ids);
    lk_free(copy);
    lk_free(x);
    lk_tape_free(t);
}

/* One element for all stays one element. */
Test(bfloat16, converts_a_repeated_element)
{
    Error err = { 0 };
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(1), 0.1);
    x->ndim = 2;
    x->shape[0] = 1000, x->shape[1] = 500;
    x->stride[0] = x->stride[1] = 0;
    check(lk_convert_(x, LK_BF16, &err) && x->storage->bytes == 2);
    check(lk_at(x, LK_INDEX(999, 499)) == 0.10009765625 && lk_size(x, 0) == 1000);
    lk_free(x);
}

/* ---- operations that only move or compare elements ------------------------------------------ */

Test(bfloat16, moves)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_tensor(LK_BF16, LK_SHAPE(2, 3), 3, -1, 2, 0, 5, -4),
           *y = make_tensor(LK_BF16, LK_SHAPE(2, 3), 7, 7, 7, 8, 8, 8);
    Tensor *mask = lk_lt(t, x, y), *index = make_tensor(LK_I64, LK_SHAPE(2, 1), 2, 0), *order;
    check_values(mask, 0, 1, 1, 1, 1, 1, 1);
    check_values(lk_where(t, lk_gt(t, x, lk_zeros(t, LK_BF16, LK_SCALAR)), x, y), 0, 3, 7, 2, 8, 5,
                 8);
    check_values(lk_cat(t, LK_INPUTS(x, y), 1), 0, 3, -1, 2, 7, 7, 7, 0, 5, -4, 8, 8, 8);
    check_values(lk_gather(t, x, 1, index), 0, 2, 0);
    check_values(lk_sort(t, x, 1, false, &order), 0, -1, 2, 3, -4, 0, 5);
    check_values(order, 0, 1, 2, 0, 2, 0, 1);
    check_values(lk_triu(t, lk_flip(t, x, LK_DIMS(1)), 0), 0, 2, -1, 3, 0, 5, 0);
    check_values(lk_contiguous(t, lk_T(t, x)), 0, 3, 0, -1, 5, 2, -4);
    check_values(lk_pad(t, x, 2, (int64_t[]){ 1, 0 }, 0.5), 0, 0.5, 3, -1, 2, 0.5, 0, 5, -4);
    check_values(lk_repeat(t, lk_slice(t, x, 1, 0, 1, 1), 2, LK_I64S(1, 2)), 0, 3, 3, 0, 0);
    check(lk_tape_ok(t, NULL));
    lk_free(x);
    lk_free(y);
    lk_free(index);
    lk_tape_free(t);
}

#define REFUSES_HALF(call, function) \
    REFUSES(call, LK_EDTYPE, \
            function ": bfloat16 only stores weights and has no arithmetic; convert it: " \
                     "lk_to(t, x, LK_F32)")

Test(bfloat16, refusals)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Error err = { 0 };
    Tensor *x = make_tensor(LK_BF16, LK_SHAPE(2, 2), 1, 2, 3, 4),
           *y = make_tensor(LK_F32, LK_SHAPE(2, 2), 1, 2, 3, 4),
           *z = make_tensor(LK_F64, LK_SHAPE(2, 2), 1, 2, 3, 4);
    REFUSES_HALF(lk_relu(t, x), "lk_relu");
    REFUSES_HALF(lk_sum(t, x, LK_ALL, false), "lk_sum");
    REFUSES_HALF(lk_any(t, x, LK_ALL, false), "lk_any");
    REFUSES_HALF(lk_div(t, x, x), "lk_div");
    REFUSES_HALF(lk_matmul(t, x, y), "lk_matmul");
    REFUSES_HALF(lk_matmul(t, x, x), "lk_matmul");
    REFUSES_HALF(lk_linear(t, y, x, lk_select(t, x, 0, 0)), "lk_linear");
    REFUSES(lk_add(t, x, y), LK_EDTYPE,
            "lk_add: takes float32, float64 or int64, not bfloat16; lk_to converts");
    REFUSES(lk_matmul(t, z, x), LK_EDTYPE,
            "lk_matmul: a bfloat16 weight takes float32 beside it, not float64; lk_to converts");
    check(!lk_set_requires_grad(x, true) && !x->requires_grad);
    check(!lk_param_new(LK_BF16, LK_SHAPE(2), &err));
    check_error(&err, LK_EDTYPE, "not bfloat16");
    err = (Error){ 0 };
    check(lk_set_requires_grad(y, true) && !lk_convert_(y, LK_BF16, &err));
    check_error(&err, LK_EDTYPE, "a tensor with requires_grad cannot become bfloat16");
    err = (Error){ 0 };
    check(!lk_add_(x, x, 1, &err));
    check_error(&err, LK_EDTYPE, "takes float32 or float64, not bfloat16");
    lk_free(x);
    lk_free(y);
    lk_free(z);
    lk_tape_free(t);
}

/* ---- products ------------------------------------------------------------------------------- */

/* How an operand of lk__gemm is given. */
typedef enum Given { WIDE, NARROW, ROUNDING } Given;

/* The matrix of the first rows · cols numbers of x, row by row or column by column, as bfloat16,
 * as float32 that rounds, or as float32 that was rounded before. */
static Mat matrix(const Tensor *single, const Tensor *half, const Tensor *widened, Given form,
                  bool by_columns, int64_t rows, int64_t cols)
{
    const Tensor *x = form == NARROW ? half : widened;
    if (form == ROUNDING) x = single;
    Mat m = lk__mat(x->dtype, by_columns ? cols : rows, by_columns ? rows : cols, x->data);
    m.rounds = form == ROUNDING;
    return by_columns ? lk__mat_T(m) : m;
}

/* C = A B or C += A B has the bits that it has with float32 operands of the same values. */
static void check_product(const int64_t *size, const Tensor *const x[3], const Tensor *const w[3],
                          int layout, bool add)
{
    static const Given forms[][2] = { { WIDE, NARROW }, { NARROW, WIDE }, { ROUNDING, ROUNDING } };
    const int64_t m = size[0], n = size[1], k = size[2];
    const size_t bytes = (size_t)(m * n) * sizeof(float);
    void *workspace = aligned_alloc(64, (lk__gemm_workspace(LK_F32, m, n, k) + 64) / 64 * 64);
    float *expected = malloc(bytes), *c = malloc(bytes);
    draw(m * n, 5, expected);
    lk__gemm(lk__mat(LK_F32, m, n, expected), matrix(x[0], x[1], x[2], WIDE, layout & 1, m, k),
             matrix(w[0], w[1], w[2], WIDE, layout & 2, k, n), add, workspace);
    for (int f = 0; f < LENGTH(forms); f++) {
        draw(m * n, 5, c);
        lk__gemm(lk__mat(LK_F32, m, n, c), matrix(x[0], x[1], x[2], forms[f][0], layout & 1, m, k),
                 matrix(w[0], w[1], w[2], forms[f][1], layout & 2, k, n), add, workspace);
        check(memcmp(c, expected, bytes) == 0, "%d x %d x %d, layout %d, form %d, add %d", (int)m,
              (int)n, (int)k, layout, f, add);
    }
    free(workspace);
    free(expected);
    free(c);
}

Test(bfloat16, products_have_the_bits_of_float32)
{
    const Tensor *x[3], *w[3];
    x[0] = drawn(1, LK_SHAPE(400000)), w[0] = drawn(2, LK_SHAPE(2300000));
    for (int i = 1; i < 3; i++) {
        x[i] = converted(x[i - 1], i == 1 ? LK_BF16 : LK_F32);
        w[i] = converted(w[i - 1], i == 1 ? LK_BF16 : LK_F32);
    }
    for (int threads = 1; threads <= 3; threads += 2) {
        lk_set_num_threads(threads);
        for (KernelSet set = LK_PORTABLE; lk__kernels_use(set); set++)
            for (int s = 0; s < LENGTH(product_sizes); s++)
                for (int layout = 0; layout < 4; layout++)
                    for (int add = 0; add < 2; add++)
                        check_product(product_sizes[s], x, w, layout, add);
    }
    for (int i = 0; i < 3; i++) {
        lk_tensor_free((Tensor *)(uintptr_t)x[i]);
        lk_tensor_free((Tensor *)(uintptr_t)w[i]);
    }
}

/* y and dx of each operation that takes a bfloat16 weight are those of the widened weight. */
Test(bfloat16, weights_of_operations)
{
    enum { LINEAR, LINEAR_LORA, MATMUL, BATCHED, OPERATIONS };
    Tensor *half = drawn(1, LK_SHAPE(2, 20, 30)), *bias = drawn(2, LK_SHAPE(20)),
           *A = drawn(4, LK_SHAPE(4, 30)), *B = drawn(5, LK_SHAPE(20, 4));
    check(lk_convert_(half, LK_BF16, NULL));
    check(lk_set_requires_grad(A, true) && lk_set_requires_grad(B, true));
    Tensor *wide = converted(half, LK_F32), *weights[] = { wide, half };
    for (int op = 0; op < OPERATIONS; op++) {
        Tensor *y[2], *inputs[2];
        Tape *t[2];
        for (int i = 0; i < 2; i++) {
            t[i] = lk_tape_new(NULL);
            Tensor *w = weights[i], *one = lk_select(t[i], w, 0, 1);
            Tensor *x = inputs[i] = drawn(3, LK_SHAPE(2, 7, 30));
            check(lk_set_requires_grad(x, true));
            if (op == LINEAR) y[i] = lk_linear(t[i], x, one, bias);
            if (op == LINEAR_LORA)
                y[i] = lk_linear_lora(t[i], x, one, NULL, A, B, 0.5, LK_LORA_ADDED);
            if (op == MATMUL) y[i] = lk_matmul(t[i], x, lk_T(t[i], one));
            if (op == BATCHED) y[i] = lk_matmul(t[i], x, lk_transpose(t[i], w, 1, 2));
            check(lk_backward(t[i], lk_sum(t[i], lk_mul(t[i], y[i], y[i]), LK_ALL, false)), "%s",
                  lk_tape_error(t[i])->message);
        }
        check_equal(y[0], y[1]);
        check_equal(lk_grad(inputs[0]), lk_grad(inputs[1]));
        check(y[1]->dtype == LK_F32 && !half->grad);
        for (int i = 0; i < 2; i++) {
            lk_free(inputs[i]);
            lk_tape_free(t[i]);
        }
    }
    Tape *t = lk_tape_new(NULL);
    Tensor *ids = make_tensor(LK_I64, LK_SHAPE(3), 19, 0, 19);
    Tensor *table = lk_select(t, half, 0, 0), *same = lk_select(t, wide, 0, 0);
    check_equal(lk_embedding(t, table, ids, -1), lk_embedding(t, same, ids, -1));
    check_equal(lk_embedding(t, lk_T(t, table), ids, 0), lk_embedding(t, lk_T(t, same), ids, 0));
    check(lk_tape_ok(t, NULL));
    lk_tape_free(t);
    for (int i = 0; i < 2; i++) lk_free(weights[i]);
    lk_free(ids);
    lk_free(bias);
    lk_free(A);
    lk_free(B);
}

/* ---- the precision of a tape's products ----------------------------------------------------- */

static double half_at(const Tensor *x, int64_t i, int64_t j)
{
    return (double)lk__bf16_to_f32(lk__bf16_of_f32((float)lk_at(x, LK_INDEX(i, j))));
}

/* y = x wᵀ, dx = dy w and dw = dyᵀ x of rounded numbers, by plain loops. */
Test(bfloat16, matmul_precision)
{
    enum { M = 5, N = 40, K = 60 };
    Tape *t = lk_tape_new(NULL);
    Tensor *x = drawn(1, LK_SHAPE(M, K)), *w = drawn(2, LK_SHAPE(N, K)),
           *dy = drawn(3, LK_SHAPE(M, N));
    check(lk_set_requires_grad(x, true) && lk_set_requires_grad(w, true));
    Tensor *full = lk_linear(t, x, w, NULL);
    check(lk_tape_matmul_precision(t) == LK_F32 && lk_tape_set_matmul_precision(t, LK_BF16));
    Tensor *y = lk_linear(t, x, w, NULL), *z = lk_matmul(t, x, lk_T(t, w));
    check(lk_backward_with(t, y, dy, false), "%s", lk_tape_error(t)->message);
    double expected[M * N], dx[M * K] = { 0 }, dw[N * K] = { 0 }, differs = 0;
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            expected[i * N + j] = 0;
            for (int k = 0; k < K; k++) {
                expected[i * N + j] += half_at(x, i, k) * half_at(w, j, k);
                dx[i * K + k] += half_at(dy, i, j) * half_at(w, j, k);
                dw[j * K + k] += half_at(dy, i, j) * half_at(x, i, k);
            }
            differs = fmax(differs, fabs(lk_at(full, LK_INDEX(i, j)) - expected[i * N + j]));
        }
    check(differs > 1e-4, "rounding changes something");
    check_close(y, expected, M * N, 1e-5);
    check_close(z, expected, M * N, 1e-5);
    check_close(lk_grad(x), dx, M * K, 1e-5);
    check_close(lk_grad(w), dw, N * K, 1e-5);
    check(lk_tape_set_matmul_precision(t, LK_F32));
    check_equal(lk_linear(t, x, w, NULL), full);
    lk_tape_on_error(t, NULL, NULL);
    check(!lk_tape_set_matmul_precision(t, LK_F64));
    check_error(lk_tape_error(t), LK_EDTYPE, "the precision is LK_F32 or LK_BF16, not float64");
    lk_free(x);
    lk_free(w);
    lk_free(dy);
    lk_tape_free(t);
}

Test(bfloat16, matmul_precision_leaves_float64_alone)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_tensor(LK_F64, LK_SHAPE(1, 1), 1.01);
    check(lk_tape_set_matmul_precision(t, LK_BF16));
    check(lk_item(lk_matmul(t, x, x)) == 1.01 * 1.01);
    lk_free(x);
    lk_tape_free(t);
}
