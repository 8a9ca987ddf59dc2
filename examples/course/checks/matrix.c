/* matrix.c - see matrix.h. */
#include "examples/course/checks/matrix.h"

#include <math.h>

#include "examples/course/checks/check.h"

Matrix matrix_zeros(Exam *e, int64_t rows, int64_t columns)
{
    Matrix m = { rows, columns, NULL };
    int64_t n = rows * columns;
    if (rows >= 0 && columns >= 0 && e->block_count < EXAM_BLOCKS)
        m.v = e->blocks[e->block_count] = lk_mem_calloc((size_t)(n ? n : 1), sizeof *m.v);
    if (m.v) e->block_count++;
    else exam_fail(e, VERDICT_FAILED, "the checks have no memory for %lld numbers", (long long)n);
    return m;
}

Matrix matrix_random(Exam *e, int64_t rows, int64_t columns)
{
    Matrix m = matrix_zeros(e, rows, columns);
    if (m.v) lk_random_normals_f64(&e->own_rng, m.v, rows * columns, 0.0, 1.0);
    return m;
}

Matrix matrix_of(Exam *e, const Tensor *x)
{
    if (!x || lk_numel(x) < 0) return (Matrix){ 0, 0, NULL };
    int64_t n = lk_numel(x), columns = x->ndim ? x->shape[x->ndim - 1] : 1;
    Matrix m = matrix_zeros(e, columns ? n / columns : 0, columns);
    for (int64_t i = 0; m.v && i < n; i++) {
        int64_t index[LK_MAX_DIMS], rest = i;
        for (int d = x->ndim - 1; d >= 0; d--) {
            index[d] = rest % x->shape[d];
            rest /= x->shape[d];
        }
        m.v[i] = lk_at(x, index);
    }
    return m;
}

static const Matrix nothing = { 0, 0, NULL };

Matrix matrix_product(Exam *e, Matrix a, Matrix b)
{
    if (!a.v || !b.v || a.columns != b.rows) return nothing;
    Matrix y = matrix_zeros(e, a.rows, b.columns);
    for (int64_t i = 0; y.v && i < a.rows; i++)
        for (int64_t j = 0; j < b.columns; j++)
            for (int64_t k = 0; k < a.columns; k++)
                y.v[i * y.columns + j] += a.v[i * a.columns + k] * b.v[k * b.columns + j];
    return y;
}

Matrix matrix_T(Exam *e, Matrix a)
{
    if (!a.v) return nothing;
    Matrix y = matrix_zeros(e, a.columns, a.rows);
    for (int64_t i = 0; y.v && i < a.rows; i++)
        for (int64_t j = 0; j < a.columns; j++) y.v[j * a.rows + i] = a.v[i * a.columns + j];
    return y;
}

Matrix matrix_reshape(Exam *e, Matrix a, int64_t rows, int64_t columns)
{
    if (!a.v || rows * columns != a.rows * a.columns) return nothing;
    Matrix y = matrix_zeros(e, rows, columns);
    for (int64_t i = 0; y.v && i < rows * columns; i++) y.v[i] = a.v[i];
    return y;
}

Matrix matrix_scale(Exam *e, Matrix a, double factor)
{
    if (!a.v) return nothing;
    Matrix y = matrix_zeros(e, a.rows, a.columns);
    for (int64_t i = 0; y.v && i < a.rows * a.columns; i++) y.v[i] = factor * a.v[i];
    return y;
}

/* The element of b beside element i of a; b may be one row. */
static double beside(Matrix a, Matrix b, int64_t i)
{
    return b.rows == 1 && a.rows != 1 ? b.v[i % a.columns] : b.v[i];
}

static bool fit(Matrix a, Matrix b)
{
    return a.v && b.v && a.columns == b.columns && (b.rows == a.rows || b.rows == 1);
}

Matrix matrix_sum(Exam *e, Matrix a, Matrix b)
{
    if (!fit(a, b)) return nothing;
    Matrix y = matrix_zeros(e, a.rows, a.columns);
    for (int64_t i = 0; y.v && i < a.rows * a.columns; i++) y.v[i] = a.v[i] + beside(a, b, i);
    return y;
}

Matrix matrix_times(Exam *e, Matrix a, Matrix b)
{
    if (!fit(a, b)) return nothing;
    Matrix y = matrix_zeros(e, a.rows, a.columns);
    for (int64_t i = 0; y.v && i < a.rows * a.columns; i++) y.v[i] = a.v[i] * beside(a, b, i);
    return y;
}

Matrix matrix_map(Exam *e, Matrix a, double (*f)(double))
{
    if (!a.v) return nothing;
    Matrix y = matrix_zeros(e, a.rows, a.columns);
    for (int64_t i = 0; y.v && i < a.rows * a.columns; i++) y.v[i] = f(a.v[i]);
    return y;
}

Matrix matrix_column_sums(Exam *e, Matrix a)
{
    if (!a.v) return nothing;
    Matrix y = matrix_zeros(e, 1, a.columns);
    for (int64_t i = 0; y.v && i < a.rows * a.columns; i++) y.v[i % a.columns] += a.v[i];
    return y;
}

Matrix matrix_rows(Exam *e, Matrix a, int64_t first, int64_t count)
{
    if (!a.v || first < 0 || count < 0 || first + count > a.rows) return nothing;
    Matrix y = matrix_zeros(e, count, a.columns);
    for (int64_t i = 0; y.v && i < count * a.columns; i++) y.v[i] = a.v[first * a.columns + i];
    return y;
}

bool matrix_near(Matrix a, Matrix b, double tolerance)
{
    if (!a.v || !b.v || a.rows != b.rows || a.columns != b.columns) return false;
    for (int64_t i = 0; i < a.rows * a.columns; i++) {
        double size = fabs(b.v[i]) > 1.0 ? fabs(b.v[i]) : 1.0;
        if (!(fabs(a.v[i] - b.v[i]) <= tolerance * size)) return false;
    }
    return true;
}
