/* test_ops_compare.c - comparisons that give masks (core/ops_compare.c) and those that give an
 * answer (lk_equal, lk_allclose, lk_count, lk_at and lk_item of core/tensor_values.c), and bad
 * calls of both. */
#include "tests/core/ops_cases.h"

#include "tests/fixtures/ops_isclose.h"

/* ---- relations ------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    Tensor *(*call)(Tape *t, Tensor *a, Tensor *b);
    bool below, equal, above, unordered; /* what holds when a < b, a = b, a > b, one is NaN */
} relations[] = {
    { "lk_eq", lk_eq, false, true, false, false }, { "lk_ne", lk_ne, true, false, true, true },
    { "lk_lt", lk_lt, true, false, false, false }, { "lk_le", lk_le, true, true, false, false },
    { "lk_gt", lk_gt, false, false, true, false }, { "lk_ge", lk_ge, false, true, true, false },
};

/* Every pair of n values in rising order, the last NaN when `nan` is set: a goes down the columns,
 * b along the rows. */
static void check_relations(Tape *t, Tensor *values, bool nan)
{
    int64_t n = lk_numel(values);
    Tensor *a = lk_unsqueeze(t, values, 1), *b = values;
    for (int r = 0; r < LENGTH(relations); r++) {
        Tensor *y = relations[r].call(t, a, b);
        check_shape(y, LK_SHAPE(n, n));
        check(y->dtype == LK_BOOL && !y->requires_grad && lk_is_contiguous(y));
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                bool unordered = nan && (i == n - 1 || j == n - 1);
                bool expected = relations[r].equal;
                if (i != j) expected = i < j ? relations[r].below : relations[r].above;
                if (unordered) expected = relations[r].unordered;
                check(((bool *)y->data)[i * n + j] == expected, "%s of %s values %d and %d",
                      relations[r].name, lk_dtype_name(values->dtype), (int)i, (int)j);
            }
    }
}

Test(compare, relations_of_every_dtype)
{
    const float singles[] = { -INFINITY,     -1,       -0x1p-149f, 0, 0x1p-149f, 1,
                              0x1.000002p0f, INFINITY, NAN };
    const double doubles[] = { -INFINITY,           -1,       -0x1p-1074, 0, 0x1p-1074, 1,
                               0x1.0000000000001p0, INFINITY, NAN };
    const int64_t past = (int64_t)1 << 53; /* past + 1 is no double */
    const int64_t wholes[] = { INT64_MIN, INT64_MIN + 1, -past - 1, -past,         -1,       0,
                               past,      past + 1,      past + 2,  INT64_MAX - 1, INT64_MAX };
    const uint8_t bytes[] = { 0, 1, 127, 128, 255 };
    const bool bits[] = { false, true };
    Tape *t = lk_tape_new(NULL);
    check_relations(t, lk_tensor(t, LK_F32, LK_SHAPE(9), singles), true);
    check_relations(t, lk_tensor(t, LK_F64, LK_SHAPE(9), doubles), true);
    check_relations(t, lk_tensor(t, LK_I64, LK_SHAPE(11), wholes), false);
    check_relations(t, lk_tensor(t, LK_U8, LK_SHAPE(5), bytes), false);
    check_relations(t, lk_tensor(t, LK_BOOL, LK_SHAPE(2), bits), false);
    lk_tape_free(t);
}

/* Rows longer than one piece, every second element, and more than one thread takes. */
Test(compare, long_and_strided_rows)
{
    enum { N = 70001 };
    Tape *t = lk_tape_new(NULL);
    for (int threads = 1; threads <= 3; threads += 2)
        for (DType d = LK_F32; d <= LK_I64; d++) {
            lk_set_num_threads(threads);
            Tensor *x = lk_to(t, lk_arange(t, 0, 2 * N), d),
                   *even = lk_slice(t, x, 0, 0, 2 * N, 2);
            Tensor *half = lk_to(t, lk_arange(t, 0, N), d);
            Tensor *middle = lk_full(t, d, LK_SCALAR, 40000);
            check(lk_count(lk_lt(t, even, middle)) == 20000 &&
                  lk_count(lk_ge(t, middle, even)) == 20001);
            check(lk_count(lk_gt(t, even, half)) == N - 1 && lk_count(lk_eq(t, half, even)) == 1);
            check(lk_count(lk_isclose(t, even, middle, 0, 3.5)) == 3);
            lk_tape_reset(t);
        }
    lk_tape_free(t);
}

Test(compare, broadcast_and_nothing)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *a = make_param(LK_F32, LK_SHAPE(2, 1, 2), 1, 2, 3, 4),
           *b = make_tensor(LK_F32, LK_SHAPE(2, 1), 2, 3);
    check_values(lk_le(t, a, b), 0, 1, 1, 1, 1, 0, 0, 1, 0);
    check_values(lk_le(t, lk_transpose(t, a, 0, 2), b), 0, 1, 0, 1, 1, 1, 0, 1, 0);
    check_values(lk_isclose(t, b, a, 0, 0), 0, 0, 1, 0, 0, 0, 0, 1, 0);
    check_shape(lk_eq(t, lk_zeros(t, LK_F32, LK_SHAPE(0)), b), LK_SHAPE(2, 0));
    check_shape(lk_isclose(t, lk_zeros(t, LK_F32, LK_SHAPE(3, 0)), lk_scalar(t, LK_F32, 0), 0, 0),
                LK_SHAPE(3, 0));
    lk_free(a), lk_free(b);
    lk_tape_free(t);
}

/* ---- closeness ------------------------------------------------------------------------------ */

Test(compare, isclose_and_allclose_as_pytorch)
{
    enum { N = LENGTH(close_values) };
    Tape *t = lk_tape_new(NULL);
    for (DType d = LK_F32; d <= LK_F64; d++) {
        Tensor *x = check_make_tensor(d, false, N, close_values, LK_SHAPE(N));
        for (int k = 0; k < LENGTH(closeness); k++) {
            double rtol = closeness[k].rtol, atol = closeness[k].atol;
            check_close(lk_isclose(t, lk_unsqueeze(t, x, 1), x, rtol, atol), closeness[k].close,
                        N * N, 0);
            for (int64_t i = 0; i < N * N; i++) {
                Tensor *a = lk_select(t, x, 0, i / N), *b = lk_select(t, x, 0, i % N);
                bool close = closeness[k].close[i] != 0;
                check(lk_allclose(a, b, rtol, atol) == close, "%g and %g", lk_item(a), lk_item(b));
            }
        }
        lk_free(x);
        lk_tape_reset(t);
    }
    const uint8_t bytes[] = { 3, 200 };
    Tensor *a = lk_tensor(t, LK_U8, LK_SHAPE(2), bytes), *b = lk_full(t, LK_U8, LK_SCALAR, 201);
    check_values(lk_isclose(t, a, b, 0, 1), 0, 0, 1);
    check_values(lk_isclose(t, b, a, 0, 198), 0, 1, 1);
    lk_tape_free(t);
}

Test(compare, equal)
{
    Tape *t = lk_tape_new(NULL);
    const int64_t whole = ((int64_t)1 << 53) + 1;
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(2, 2), 1, 2, 3, 4), *y = lk_clone(x, NULL);
    Tensor *nan = lk_scalar(t, LK_F32, NAN);
    check(lk_equal(x, y) && lk_equal(x, x) && lk_equal(lk_T(t, x), lk_contiguous(t, lk_T(t, y))));
    check(!lk_equal(x, lk_T(t, x)));
    /* No broadcasting, no conversion. */
    check(!lk_equal(x, lk_view(t, y, LK_SHAPE(4))) &&
          !lk_equal(x, lk_view(t, y, LK_SHAPE(1, 2, 2))));
    check(!lk_equal(x, lk_to(t, x, LK_F64)) && !lk_allclose(x, lk_to(t, x, LK_F64), 1, 1));
    check(!lk_equal(nan, nan) && !lk_allclose(nan, nan, 1, INFINITY));
    check(lk_equal(lk_scalar(t, LK_F64, -0.0), lk_scalar(t, LK_F64, 0)));
    check(lk_equal(lk_zeros(t, LK_F32, LK_SHAPE(0, 3)), lk_zeros(t, LK_F32, LK_SHAPE(0, 3))));
    check(!lk_equal(lk_zeros(t, LK_F32, LK_SHAPE(0, 3)), lk_zeros(t, LK_F32, LK_SHAPE(3, 0))));
    check(
        !lk_equal(lk_tensor(t, LK_I64, LK_SCALAR, &whole), lk_full(t, LK_I64, LK_SCALAR, 0x1p53)));
    check(lk_allclose(lk_tensor(t, LK_I64, LK_SCALAR, &whole),
                      lk_full(t, LK_I64, LK_SCALAR, 0x1p53), 0, 1));
    check(!lk_allclose(x, lk_select(t, x, 0, 0), 9, 9)); /* shapes must be equal */
    check(!lk_equal(NULL, x) && !lk_equal(x, NULL) && !lk_equal(NULL, NULL) &&
          !lk_allclose(NULL, x, 1, 1));
    /* One difference in the last place of a long row. */
    Tensor *long_row = lk_zeros(t, LK_F32, LK_SHAPE(3, 70001)), *other = lk_clone(long_row, NULL);
    check(lk_equal(long_row, other));
    lk_fill_(lk_select(t, lk_select(t, other, 0, 2), 0, 70000), 1e-3);
    check(!lk_equal(long_row, other));
    check(!lk_allclose(long_row, other, 0, 9e-4) && lk_allclose(long_row, other, 0, 2e-3));
    lk_free(x), lk_free(y), lk_free(other);
    lk_tape_free(t);
}

Test(compare, count)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(2, 3), 0, -0.0, NAN, INFINITY, -1, 0);
    check(lk_count(x) == 3 && lk_count(lk_select(t, x, 1, 2)) == 1);
    check(lk_count(lk_expand(t, lk_select(t, x, 0, 1), LK_SHAPE(4, 3))) == 8);
    for (DType d = LK_F32; d <= LK_BOOL; d++)
        check(lk_count(lk_ones(t, d, LK_SHAPE(300, 3))) == 900 &&
              lk_count(lk_zeros(t, d, LK_SHAPE(2))) == 0 &&
              lk_count(lk_ones(t, d, LK_SHAPE(3, 0))) == 0 &&
              lk_count(lk_ones(t, d, LK_SCALAR)) == 1);
    check(lk_count(NULL) == -1);
    check(lk_count(lk_transpose(t, lk_ones(t, LK_U8, LK_SHAPE(500, 300)), 0, 1)) == 150000);
    lk_free(x);
    lk_tape_free(t);
}

Test(compare, at_and_item)
{
    Tape *t = lk_tape_new(NULL);
    for (DType d = LK_F32; d <= LK_BOOL; d++) {
        Tensor *x = make_tensor(d, LK_SHAPE(2, 3), 0, 1, 0, 1, 1, 0);
        check(lk_at(x, LK_INDEX(0, 1)) == 1 && lk_at(x, LK_INDEX(0, 2)) == 0 &&
              lk_at(lk_T(t, x), LK_INDEX(0, 1)) == 1);
        check(isnan(lk_at(x, LK_INDEX(2, 0))) && isnan(lk_at(x, LK_INDEX(0, 3))) &&
              isnan(lk_at(x, LK_INDEX(-1, 0))));
        check(isnan(lk_at(x, LK_INDEX(INT64_MAX, INT64_MAX))) && isnan(lk_at(NULL, LK_INDEX(0))));
        check(lk_item(lk_select(t, lk_select(t, x, 0, 1), 0, 1)) == 1);
        check(lk_item(lk_ones(t, d, LK_SHAPE(1, 1, 1))) == 1);
        check(isnan(lk_item(x)) && isnan(lk_item(lk_ones(t, d, LK_SHAPE(0)))) &&
              isnan(lk_item(NULL)));
        lk_free(x);
    }
    lk_tape_free(t);
}

/* ---- bad calls ------------------------------------------------------------------------------ */

static Tensor *near(Tape *t, Tensor *a, Tensor *b) { return lk_isclose(t, a, b, 1e-5, 1e-8); }

Test(compare, refuses_bad_operands)
{
    int reports;
    char text[256];
    Tape *t = counting_tape(&reports);
    Tensor *a = lk_ones(t, LK_F32, LK_SHAPE(2, 3)), *b = lk_ones(t, LK_F32, LK_SHAPE(2));
    for (int r = 0; r <= LENGTH(relations); r++) {
        Tensor *(*call)(Tape *, Tensor *, Tensor *) =
            r < LENGTH(relations) ? relations[r].call : near;
        const char *name = r < LENGTH(relations) ? relations[r].name : "lk_isclose";
        PASSES_NULL(call(t, NULL, a));
        PASSES_NULL(call(t, a, NULL));
        snprintf(text, sizeof text,
                 "%s: (2, 3) and (2,) do not broadcast: aligned at the last dimension, sizes must "
                 "be equal or 1",
                 name);
        REFUSES(call(t, a, b), LK_ESHAPE, text);
        snprintf(text, sizeof text, "%s: operands are float32 and bool; lk_to makes them the same",
                 name);
        REFUSES(call(t, a, lk_ones(t, LK_BOOL, LK_SHAPE(2, 3))), LK_EDTYPE, text);
        if (!WIDE_ADDRESSES) continue;
        Tensor *wide =
            lk_expand(t, lk_ones(t, LK_I64, LK_SHAPE(1)), LK_SHAPE((int64_t)1 << 33, 1));
        REFUSES(call(t, wide,
                     lk_expand(t, lk_ones(t, LK_I64, LK_SHAPE(1)), LK_SHAPE(1, (int64_t)1 << 33))),
                LK_EMEMORY,
                "tensor: shape (8589934592, 8589934592) of bool is larger than any memory");
    }
    REFUSES(lk_isclose(t, a, a, -1, 0), LK_EVALUE,
            "lk_isclose: rtol -1 and atol 0 must not be negative or NaN");
    REFUSES(lk_isclose(t, a, a, 0, NAN), LK_EVALUE,
            "lk_isclose: rtol 0 and atol nan must not be negative or NaN");
    lk_tape_free(t);
}
