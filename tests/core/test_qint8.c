/* test_qint8.c - matrices in qint8 (core/quantize.h): PyTorch's integers, values through the
 * scales of the rows, products and tables with them, and who refuses them. Modules:
 * tests/nn/test_frozen.c. */
#include "core/quantize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/kernels/for_tests.h"
#include "core/kernels/gemm.h"
#include "core/op.h"
#include "tests/core/ops_cases.h"
#include "tests/core/stored.h"

#include "tests/fixtures/qint8.h"

enum { ROWS = LENGTH(quantized_rows), COLUMNS = LENGTH(quantized_rows[0].values) };

/* ---- numbers -------------------------------------------------------------------------------- */

Test(qint8, quantizes_as_pytorch)
{
    Tensor *x = lk_tensor_new(LK_F32, LK_SHAPE(ROWS, COLUMNS), NULL);
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLUMNS; j++)
            ((float *)x->data)[i * COLUMNS + j] = float_of(quantized_rows[i].values[j]);
    Tensor *y = converted(x, LK_QI8);
    check(y->storage->bytes == ROWS * COLUMNS);
    for (int i = 0; i < ROWS; i++) {
        const float scale = lk__row_scales(y)[-i];
        check(scale == float_of(quantized_rows[i].scale), "row %d", i);
        for (int j = 0; j < COLUMNS; j++) {
            const int8_t integer = ((int8_t *)y->data)[i * COLUMNS + j];
            const double value = lk_at(y, LK_INDEX(i, j)), exact = lk_at(x, LK_INDEX(i, j));
            check(integer == quantized_rows[i].quantized[j], "row %d, column %d", i, j);
            check(value == (double)(scale * integer) &&
                  fabs(value - exact) <= scale * (0.5 + 1e-5));
        }
    }
    lk_free(x);
    lk_free(y);
}

/* Rows that are zeros or too small for a scale become zeros; odd sizes keep their scales apart. */
Test(qint8, ends)
{
    Error err = { 0 };
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(3, 1), 1e-41, 0, -3e38);
    Tensor *y = converted(x, LK_QI8);
    check(lk_at(y, LK_INDEX(0, 0)) == 0 && lk_at(y, LK_INDEX(1, 0)) == 0);
    check(fabs(lk_at(y, LK_INDEX(2, 0)) + 3e38) < 1e32 && lk_count(y) == 1);
    lk_free(y);
    for (int i = 0; i < 2; i++) {
        ((float *)x->data)[1] = i ? NAN : INFINITY;
        check(!lk_convert_(x, LK_QI8, &err) && x->dtype == LK_F32);
        check_error(&err, LK_EVALUE, "row 1 has an element that is infinite or NaN");
        err = (Error){ 0 };
    }
    lk_free(x);
    x = lk_tensor_new(LK_QI8, LK_SHAPE(0, 5), &err);
    check(x && lk_numel(x) == 0 && lk_count(x) == 0);
    lk_free(x);
    x = lk_tensor_new(LK_QI8, LK_SHAPE(5, 0), &err);
    check(x && lk_numel(x) == 0);
    lk_free(x);
}

Test(qint8, values)
{
    Tape *t = lk_tape_new(NULL);
    Error err = { 0 };
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(3, 2), 127, -2, 12.7, 0.04, 0, 254);
    Tensor *y = converted(x, LK_QI8), *copy = lk_clone(y, &err);
    check(lk_equal(y, y) && lk_equal(copy, y) && lk_allclose(y, copy, 0, 0));
    check_values(lk_to(t, y, LK_F32), 1e-6, 127, -2, 12.7, 0, 0, 254);
    check_values(lk_to(t, lk_T(t, y), LK_F64), 1e-6, 127, 12.7, 0, -2, 0, 254);
    check_values(lk_to(t, lk_select(t, y, 1, 1), LK_F32), 0, -2, 0, 254);
    Tensor *rows = lk_slice(t, y, 0, 1, 3, 1), *part = lk_clone(rows, &err);
    check_no_error(&err);
    check(lk_equal(part, rows) && lk__row_scales(part)[-1] == 2);
    check(lk_copy_(rows, x, &err) == false);
    check_error(&err, LK_ESHAPE, "cannot be broadcast");
    err = (Error){ 0 };
    Tensor *ones = make_tensor(LK_F32, LK_SCALAR, 1);
    check(lk_copy_(rows, ones, &err), "%s", err.message);
    check_values(lk_to(t, y, LK_F32), 0, 127, -2, 1, 1, 1, 1);
    check(lk_equal(lk_eq(t, y, y), lk_ones(t, LK_BOOL, LK_SHAPE(3, 2))));
    check(lk_count(lk_logical_not(t, y)) == 0);
    check(lk_tape_ok(t, NULL));
    Tensor *all[] = { x, y, copy, part, ones };
    for (int i = 0; i < LENGTH(all); i++) lk_free(all[i]);
    lk_tape_free(t);
}

/* One element for all stays one element. */
Test(qint8, converts_a_repeated_element)
{
    Error err = { 0 };
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(1), 0.1);
    x->ndim = 2;
    x->shape[0] = 1000, x->shape[1] = 500;
    x->stride[0] = x->stride[1] = 0;
    check(lk_convert_(x, LK_QI8, &err) && x->storage->bytes == 1);
    check(fabs(lk_at(x, LK_INDEX(999, 499)) - 0.1) < 1e-8 && lk_size(x, 0) == 1000);
    lk_free(x);
}

#define STORES_ONLY \
    ": qint8 only stores weights and has no arithmetic; convert it: lk_to(t, x, LK_F32)"
#define NO_ROWS \
    ": a qint8 weight has a scale for each row, and this view has no whole rows; lk_to(t, x, " \
    "LK_F32) has its values"

Test(qint8, refusals)
{
    int reports;
    Tape *t = counting_tape(&reports);
    Error err = { 0 };
    Tensor *y = make_tensor(LK_F32, LK_SHAPE(2, 2), 1, 2, 3, 4), *x = converted(y, LK_QI8),
           *z = make_tensor(LK_F64, LK_SHAPE(2, 2), 1, 2, 3, 4),
           *ids = make_tensor(LK_I64, LK_SHAPE(1), 1);
    REFUSES(lk_relu(t, x), LK_EDTYPE, "lk_relu" STORES_ONLY);
    REFUSES(lk_any(t, x, LK_ALL, false), LK_EDTYPE, "lk_any" STORES_ONLY);
    REFUSES(lk_matmul(t, x, y), LK_EDTYPE, "lk_matmul" STORES_ONLY);
    REFUSES(lk_flip(t, x, LK_DIMS(1)), LK_EDTYPE, "lk_empty" STORES_ONLY);
    REFUSES(lk_select_rows(t, x, ids), LK_EDTYPE, "lk_empty" STORES_ONLY);
    REFUSES(lk_contiguous(t, lk_T(t, x)), LK_EDTYPE, "lk_empty" STORES_ONLY);
    REFUSES(lk_to(t, y, LK_QI8), LK_EDTYPE, "lk_empty" STORES_ONLY);
    REFUSES(lk_matmul(t, z, x), LK_EDTYPE,
            "lk_matmul: a qint8 weight takes float32 beside it, not float64; lk_to converts");
    REFUSES(lk_linear(t, y, lk_view(t, x, LK_SHAPE(4, 1)), NULL), LK_ESHAPE, "lk_linear" NO_ROWS);
    REFUSES(lk_matmul(t, y, lk_unsqueeze(t, x, 0)), LK_ESHAPE, "lk_matmul" NO_ROWS);
    REFUSES(lk_matmul(t, y, lk_select(t, x, 1, 0)), LK_ESHAPE, "lk_matmul" NO_ROWS);
    REFUSES(lk_embedding(t, lk_T(t, x), ids, -1), LK_ESHAPE, "lk_embedding" NO_ROWS);
    check(!lk_fill_(x, 1) && lk_at(x, LK_INDEX(1, 1)) == 4);
    check(!lk_tensor_new(LK_QI8, LK_SHAPE(2), &err));
    check_error(&err, LK_ESHAPE, "a scale for each row, so it needs 2 dimensions, not 1");
    err = (Error){ 0 };
    check(!lk_tensor_from_new(LK_QI8, LK_SHAPE(2, 2), x->data, &err));
    check_error(&err, LK_EDTYPE, "lk_tensor_from_new: qint8 has scales");
    err = (Error){ 0 };
    check(!lk_from_blob_new(LK_QI8, LK_SHAPE(2, 2), x->data, NULL, NULL, &err));
    check_error(&err, LK_EDTYPE, "lk_from_blob_new: qint8 has scales");
    err = (Error){ 0 };
    check(!lk_clone(lk_T(t, x), &err));
    check_error(&err, LK_ESTATE, "no whole rows");
    err = (Error){ 0 };
    check(!lk_copy_(lk_T(t, x), y, &err));
    check_error(&err, LK_ESTATE, "copy whole rows");
    err = (Error){ 0 };
    ((float *)y->data)[3] = NAN;
    check(!lk_copy_(x, y, &err) && lk_at(x, LK_INDEX(1, 0)) != 0);
    check_error(&err, LK_EVALUE, "lk_copy_: row 1 has");
    Tensor *all[] = { x, y, z, ids };
    for (int i = 0; i < LENGTH(all); i++) lk_free(all[i]);
    lk_tape_free(t);
}

/* ---- products ------------------------------------------------------------------------------- */

/* x as a matrix; turned: its transpose. */
static Mat matrix(const Tensor *x, bool turned)
{
    Mat m = lk__mat(x->dtype, x->shape[0], x->shape[1], x->data);
    if (x->dtype == LK_QI8) {
        m.scales = lk__row_scales(x);
        m.scale_row = -1;
    }
    return turned ? lk__mat_T(m) : m;
}

/* C = A B or C += A B has the bits that it has with float32 operands of the same values. */
static void check_product(int64_t m, int64_t n, int64_t k, int layout, bool add)
{
    const bool turn_a = layout & 1, turn_b = layout & 2;
    Tensor *a = turn_a ? drawn(1, LK_SHAPE(k, m)) : drawn(1, LK_SHAPE(m, k));
    Tensor *b = turn_b ? drawn(2, LK_SHAPE(n, k)) : drawn(2, LK_SHAPE(k, n));
    Tensor *a_q = converted(a, LK_QI8), *b_q = converted(b, LK_QI8);
    Tensor *a_w = converted(a_q, LK_F32), *b_w = converted(b_q, LK_F32);
    const struct {
        Tensor *a, *b, *wide_a, *wide_b;
    } forms[] = { { a, b_q, a, b_w }, { a_q, b, a_w, b } };
    void *workspace = aligned_alloc(64, (lk__gemm_workspace(LK_F32, m, n, k) + 64) / 64 * 64);
    Tensor *expected = drawn(5, LK_SHAPE(m, n)), *c = drawn(5, LK_SHAPE(m, n));
    for (int f = 0; f < LENGTH(forms); f++) {
        lk__gemm(matrix(expected, false), matrix(forms[f].wide_a, turn_a),
                 matrix(forms[f].wide_b, turn_b), add, workspace);
        lk__gemm(matrix(c, false), matrix(forms[f].a, turn_a), matrix(forms[f].b, turn_b), add,
                 workspace);
        check(memcmp(c->data, expected->data, c->storage->bytes) == 0,
              "%d x %d x %d, layout %d, form %d, add %d", (int)m, (int)n, (int)k, layout, f, add);
    }
    Tensor *all[] = { a, b, a_q, b_q, a_w, b_w, expected, c };
    for (int i = 0; i < LENGTH(all); i++) lk_free(all[i]);
    free(workspace);
}

Test(qint8, products_have_the_bits_of_float32)
{
    for (int threads = 1; threads <= 3; threads += 2) {
        lk_set_num_threads(threads);
        for (KernelSet set = LK_PORTABLE; lk__kernels_use(set); set++)
            for (int s = 0; s < LENGTH(product_sizes); s++)
                for (int layout = 0; layout < 4; layout++)
                    check_product(product_sizes[s][0], product_sizes[s][1], product_sizes[s][2],
                                  layout, layout & 1);
    }
}

/* y and dx of each operation that takes a qint8 weight are those of the widened weight. */
Test(qint8, weights_of_operations)
{
    enum { LINEAR, LINEAR_LORA, MATMUL, TURNED, OPERATIONS };
    Tensor *single = drawn(1, LK_SHAPE(25, 30)), *stored = converted(single, LK_QI8),
           *wide = converted(stored, LK_F32), *bias = make_tensor(LK_F32, LK_SHAPE(1), 0.5),
           *A = drawn(4, LK_SHAPE(4, 30)), *B = drawn(5, LK_SHAPE(20, 4)),
           *weights[] = { wide, stored };
    check(lk_set_requires_grad(A, true) && lk_set_requires_grad(B, true));
    for (int op = 0; op < OPERATIONS; op++) {
        Tensor *y[2], *inputs[2];
        Tape *t[2];
        for (int i = 0; i < 2; i++) {
            t[i] = lk_tape_new(NULL);
            Tensor *w = lk_slice(t[i], weights[i], 0, 3, 23, 1); /* some of its rows */
            Tensor *x = inputs[i] =
                op == TURNED ? drawn(3, LK_SHAPE(14, 20)) : drawn(3, LK_SHAPE(14, 30));
            check(lk_set_requires_grad(x, true));
            if (op == LINEAR) y[i] = lk_linear(t[i], x, w, lk_expand(t[i], bias, LK_SHAPE(20)));
            if (op == LINEAR_LORA)
                y[i] = lk_linear_lora(t[i], x, w, NULL, A, B, 0.5, LK_LORA_ADDED);
            if (op == MATMUL) y[i] = lk_matmul(t[i], x, lk_T(t[i], w));
            if (op == TURNED) y[i] = lk_matmul(t[i], x, w);
            check(lk_backward(t[i], lk_sum(t[i], lk_mul(t[i], y[i], y[i]), LK_ALL, false)), "%s",
                  lk_tape_error(t[i])->message);
        }
        check_equal(y[0], y[1]);
        check_equal(lk_grad(inputs[0]), lk_grad(inputs[1]));
        check(y[1]->dtype == LK_F32 && !stored->grad);
        for (int i = 0; i < 2; i++) {
            lk_free(inputs[i]);
            lk_tape_free(t[i]);
        }
    }
    Tape *t = lk_tape_new(NULL);
    Tensor *ids = make_tensor(LK_I64, LK_SHAPE(3), 19, 0, 19);
    check_equal(lk_embedding(t, stored, ids, -1), lk_embedding(t, wide, ids, -1));
    check_equal(lk_embedding(t, lk_slice(t, stored, 0, 5, 25, 1), ids, 0),
                lk_embedding(t, lk_slice(t, wide, 0, 5, 25, 1), ids, 0));
    check(lk_tape_ok(t, NULL));
    lk_tape_free(t);
    Tensor *all[] = { single, stored, wide, ids, bias, A, B };
    for (int i = 0; i < LENGTH(all); i++) lk_free(all[i]);
}
