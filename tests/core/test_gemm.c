/* test_gemm.c - lk__gemm against lk__gemm_reference, and both against integers: every set of
 * kernels that this processor has, both dtypes, sizes around the edges of tiles and blocks, all
 * layouts of the operands, any number of threads. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "core/kernels/for_tests.h"
#include "core/kernels/gemm.h"
#include "tests/check.h"

/* ---- matrices in memory --------------------------------------------------------------------- */

/* How a matrix lies in memory; the gaps hold NaN, and the block ends with the last element, where
 * ASan watches. */
/* elements of a row side by side, of a column, nothing is */
typedef enum Layout { ROWS, COLUMNS, NEITHER } Layout;

/* The forms of A and B in one product: N as in A B, T transposed, S with a step in both
 * directions. */
typedef struct Layouts {
    const char *name;
    Layout a, b;
} Layouts;
static const Layouts layouts[] = {
    /* clang-format off */
    { "NN", ROWS, ROWS },       { "NT", ROWS, COLUMNS },    { "TN", COLUMNS, ROWS },
    { "TT", COLUMNS, COLUMNS }, { "SN", NEITHER, ROWS },    { "TS", COLUMNS, NEITHER },
    /* clang-format on */
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

static void put(DType dtype, void *data, int64_t i, double value)
{
    if (dtype == LK_F64) ((double *)data)[i] = value;
    else ((float *)data)[i] = (float)value;
}

static double get(DType dtype, const void *data, int64_t i)
{
    return dtype == LK_F64 ? ((const double *)data)[i] : (double)((const float *)data)[i];
}

/* n elements, 64-byte aligned, all NaN: nothing may be read before it is written. */
static void *new_elements(DType dtype, int64_t n)
{
    void *data = NULL;
    cr_assert(posix_memalign(&data, 64, (size_t)n * lk_dtype_size(dtype) + 1) == 0);
    for (int64_t i = 0; i < n; i++) put(dtype, data, i, (double)NAN);
    return data;
}

/* The rows x cols matrix `values` (row by row) in the given layout; free its data. */
static Mat place(DType dtype, int64_t rows, int64_t cols, const double *values, Layout layout,
                 int64_t gap)
{
    Mat x = lk__mat_strided(dtype, rows, cols, NULL, cols + gap, 1);
    if (layout == COLUMNS) x.row = 1, x.col = rows + gap;
    if (layout == NEITHER) x.row = 2 * cols + gap, x.col = 2;
    x.data = new_elements(dtype, (rows - 1) * x.row + (cols - 1) * x.col + 1);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < cols; j++)
            put(dtype, x.data, i * x.row + j * x.col, values[i * cols + j]);
    }
    return x;
}

/* ---- one product ---------------------------------------------------------------------------- */

/* A B of given sizes with values that are exact in float32, and what it must be: computed once,
 * compared many times. */
typedef struct Case {
    DType dtype;
    int64_t m, n, k;
    double *a, *b, *c; /* the operands, and C before */
    /* the product, and C + the product; how far from it an element may be */
    double *result[2], *tol[2];
} Case;

static double *new_doubles(int64_t n)
{
    double *x = malloc((size_t)n * sizeof *x);
    check(x != NULL);
    return x;
}

/* Uniform in [-1, 1), a multiple of 2^-20 */
static double draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)(*state >> 43) / (1 << 20) - 1;
}

static double *absolute(const double *x, int64_t n)
{
    double *y = new_doubles(n);
    for (int64_t i = 0; i < n; i++) y[i] = fabs(x[i]);
    return y;
}

/* Summing up k rounded products in any order, fused or not, gives at most (Higham, Accuracy and
 * Stability, §3.1)
 *     |error| <= γ(k) Σ |a b|,   γ(k) = k u / (1 - k u),   u = eps / 2
 * and adding to C one rounding more, of a sum with |c| in it. Here k u < 1e-3, so (k + 3) u (|c| +
 * Σ |a b|) is enough; twice that for float64, where the reference rounds as much as the product.
 * For float32 it sums up in double. */
static Case new_case(DType dtype, int64_t m, int64_t n, int64_t k)
{
    Case s = { dtype,    m,       n, k, new_doubles(m * k), new_doubles(k * n), new_doubles(m * n),
               { NULL }, { NULL } };
    uint64_t state = (uint64_t)(m * 1000003 + n * 1009 + k);
    for (int64_t i = 0; i < m * k; i++) s.a[i] = draw(&state);
    for (int64_t i = 0; i < k * n; i++) s.b[i] = draw(&state);
    for (int64_t i = 0; i < m * n; i++) s.c[i] = draw(&state);
    double *abs_a = absolute(s.a, m * k), *abs_b = absolute(s.b, k * n);
    double u = dtype == LK_F64 ? DBL_EPSILON : (double)FLT_EPSILON / 2;
    for (int add = 0; add < 2; add++) {
        s.result[add] = new_doubles(m * n);
        s.tol[add] = new_doubles(m * n);
    }
    lk__gemm_reference(lk__mat(LK_F64, m, n, s.result[0]), lk__mat(LK_F64, m, k, s.a),
                       lk__mat(LK_F64, k, n, s.b), false);
    lk__gemm_reference(lk__mat(LK_F64, m, n, s.tol[0]), lk__mat(LK_F64, m, k, abs_a),
                       lk__mat(LK_F64, k, n, abs_b), false);
    for (int64_t i = 0; i < m * n; i++) {
        s.result[1][i] = s.c[i] + s.result[0][i];
        s.tol[1][i] = (fabs(s.c[i]) + s.tol[0][i]) * (double)(k + 3) * u;
        s.tol[0][i] *= (double)(k + 3) * u;
    }
    free(abs_a);
    free(abs_b);
    return s;
}

static void free_case(Case *s)
{
    free(s->a);
    free(s->b);
    free(s->c);
    for (int add = 0; add < 2; add++) {
        free(s->result[add]);
        free(s->tol[add]);
    }
}

/* C (m x n, rows ldc apart) of the case by the kernels that are in use; free it. */
static void *product(const Case *s, const Layouts *l, int64_t gap, bool add, int64_t ldc)
{
    Mat a = place(s->dtype, s->m, s->k, s->a, l->a, gap),
        b = place(s->dtype, s->k, s->n, s->b, l->b, gap);
    void *c = new_elements(s->dtype, (s->m - 1) * ldc + s->n);
    for (int64_t i = 0; add && i < s->m; i++) {
        for (int64_t j = 0; j < s->n; j++) put(s->dtype, c, i * ldc + j, s->c[i * s->n + j]);
    }
    size_t bytes = lk__gemm_workspace(s->dtype, s->m, s->n, s->k);
    void *workspace = new_elements(s->dtype, (int64_t)(bytes / lk_dtype_size(s->dtype)));
    lk__gemm(lk__mat_strided(s->dtype, s->m, s->n, c, ldc, 1), a, b, add, workspace);
    free(workspace);
    free(a.data);
    free(b.data);
    return c;
}

/* "avx2 float32 NT, m 3 n 5 k 4", for messages. */
static const char *describe(const Case *s, const Layouts *l)
{
    static char text[128];
    snprintf(text, sizeof text, "%s %s %s, m %lld n %lld k %lld", lk_kernels(NULL),
             lk_dtype_name(s->dtype), l->name, (long long)s->m, (long long)s->n, (long long)s->k);
    return text;
}

static void check_product(const Case *s, const Layouts *l, int64_t gap, bool add)
{
    int64_t ldc = s->n + gap;
    void *c = product(s, l, gap, add, ldc);
    for (int64_t i = 0; i < s->m; i++) {
        for (int64_t j = 0; j < s->n; j++) {
            double got = get(s->dtype, c, i * ldc + j), expected = s->result[add][i * s->n + j];
            double tol = s->tol[add][i * s->n + j];
            cr_assert(fabs(got - expected) <= tol,
                      "%s, gap %d, add %d: C(%d, %d) is %.17g, expected %.17g +- %.3g",
                      describe(s, l), (int)gap, add, (int)i, (int)j, got, expected, tol);
        }
        for (int64_t j = s->n; j < ldc && i < s->m - 1; j++) {
            cr_assert(isnan(get(s->dtype, c, i * ldc + j)), "%s: wrote beyond row %d",
                      describe(s, l), (int)i);
        }
    }
    free(c);
}

/* Where tests are slow, a case takes some of the layouts, and the next case takes others. */
static int turn;
#define EVERY_LAYOUT(l) for (int l = turn++ % CHECK_EVERY; l < LAYOUTS; l += CHECK_EVERY)

/* All kernels and layouts; gaps and accumulation in turn, so that every layout meets both. */
static void check_sizes(DType dtype, int64_t m, int64_t n, int64_t k)
{
    Case s = new_case(dtype, m, n, k);
    for (KernelSet set = LK_PORTABLE; lk__kernels_use(set); set++) {
        EVERY_LAYOUT(l)
        {
            int64_t mix = m + 2 * n + 3 * k + l + set;
            check_product(&s, &layouts[l], mix / 2 % 2 * 3, mix % 2);
        }
    }
    free_case(&s);
}

/* ---- the same as the reference -------------------------------------------------------------- */

/* Tiles have up to 4, 6 or 14 rows and 4 to 32 columns, dot products 2, 3 or 6 rows and 4 columns,
 * vectors 2 to 16 elements. */
static const int64_t edges[] = { 1, 2, 7, 16, 17, 31, 64, 65, 130 };
enum { EDGES = sizeof edges / sizeof *edges };

static void check_edges(DType dtype)
{
    const int step = CHECK_EVERY == 1 ? 1 : 2;
    for (int i = 0; i < EDGES; i++) {
        for (int j = 0; j < EDGES; j++) {
            for (int p = (i + j) % step; p < EDGES; p += step)
                check_sizes(dtype, edges[i], edges[j], edges[p]);
        }
    }
}

Test(gemm, edges_float32) { check_edges(LK_F32); }

Test(gemm, edges_float64) { check_edges(LK_F64); }

/* Every height and width of a tile. */
Test(gemm, tiles)
{
    for (int64_t i = 1; i <= 33; i++) {
        check_sizes(LK_F32, i, 40, 9);
        check_sizes(LK_F32, 15, i, 75);
        check_sizes(LK_F64, i, 20, 9);
        check_sizes(LK_F64, 15, i, 75);
    }
}

/* Beyond one block of k, of rows, of columns, in each of the three ways. Where cases are thinned,
 * the dtypes take turns. */
Test(gemm, blocks)
{
    static const int64_t sizes[][3] = {
        { 70, 70, 1000 },  { 5, 40, 5000 },  { 40, 5, 5000 },  { 1, 1, 10000 },
        { 2100, 40, 70 },  { 2100, 3, 130 }, { 5, 4200, 16 },  { 3, 4200, 70 },
        { 2100, 80, 390 }, { 70, 4200, 20 }, { 300, 40, 900 }, { 50, 30, 1024 },
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const int64_t *n = sizes[i];
        if (CHECK_EVERY == 1 || i % 2 == 0) check_sizes(LK_F32, n[0], n[1], n[2]);
        if (CHECK_EVERY == 1 || i % 2 == 1) check_sizes(LK_F64, n[0], n[1], n[2]);
    }
}

/* Small integers: every sum is exact, in any order, so sums in int64 must come out, by the
 * reference too. */
static void check_integers(DType dtype, int64_t m, int64_t n, int64_t k)
{
    Case s = {
        .dtype = dtype, .m = m, .n = n, .k = k, .a = new_doubles(m * k), .b = new_doubles(k * n)
    };
    for (int64_t i = 0; i < m * k; i++) s.a[i] = (double)(i * 7919 % 17 - 8);
    for (int64_t i = 0; i < k * n; i++) s.b[i] = (double)(i * 104729 % 19 - 9);
    int64_t *sum = calloc((size_t)(m * n), sizeof *sum);
    check(sum != NULL);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t p = 0; p < k; p++) {
            for (int64_t j = 0; j < n; j++)
                sum[i * n + j] += (int64_t)s.a[i * k + p] * (int64_t)s.b[p * n + j];
        }
    }
    for (KernelSet set = LK_PORTABLE; lk__kernels_use(set); set++) {
        EVERY_LAYOUT(l)
        {
            void *fast = product(&s, &layouts[l], 1, false, n),
                 *plain = new_elements(dtype, m * n);
            Mat a = place(dtype, m, k, s.a, layouts[l].a, 0),
                b = place(dtype, k, n, s.b, layouts[l].b, 1);
            lk__gemm_reference(lk__mat(dtype, m, n, plain), a, b, false);
            for (int64_t i = 0; i < m * n; i++) {
                cr_assert(get(dtype, fast, i) == (double)sum[i] &&
                              get(dtype, plain, i) == (double)sum[i],
                          "%s: C(%d, %d) is %g, by the reference %g, expected %lld",
                          describe(&s, &layouts[l]), (int)(i / n), (int)(i % n),
                          get(dtype, fast, i), get(dtype, plain, i), (long long)sum[i]);
            }
            free(a.data);
            free(b.data);
            free(plain);
            free(fast);
        }
    }
    free(sum);
    free_case(&s);
}

Test(gemm, integers_are_exact)
{
    static const int64_t sizes[][3] = {
        { 3, 5, 4 }, { 10, 33, 100 }, { 70, 66, 90 }, { 40, 3, 500 }, { 70, 65, 800 }
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check_integers(LK_F32, sizes[i][0], sizes[i][1], sizes[i][2]);
        check_integers(LK_F64, sizes[i][0], sizes[i][1], sizes[i][2]);
    }
}

/* A stride of 0 repeats a row or a column, as lk_expand makes it; a negative one goes
 * backwards. */
Test(gemm, repeated_and_reversed)
{
    enum { M = 20, N = 30, K = 40 };
    float a[K], b[K * N], c[M * N], expected[M * N],
        workspace[1 << 20] __attribute__((aligned(64)));
    for (int i = 0; i < K; i++) a[i] = (float)(i % 5 - 2);
    for (int i = 0; i < K * N; i++) b[i] = (float)(i % 7 - 3);
    cr_assert(lk__gemm_workspace(LK_F32, M, N, K) <= sizeof workspace);
    Mat row = lk__mat_strided(LK_F32, M, K, a, 0, 1),
        backwards = lk__mat_strided(LK_F32, K, N, b + K * N - 1, -N, -1);
    lk__gemm(lk__mat(LK_F32, M, N, c), row, backwards, false, workspace);
    for (int i = 0; i < M; i++) {
        for (int j = 0; j < N; j++) {
            expected[i * N + j] = 0;
            for (int p = 0; p < K; p++) expected[i * N + j] += a[p] * b[K * N - 1 - p * N - j];
        }
    }
    cr_assert(memcmp(c, expected, sizeof c) == 0);
}

/* ---- values that are no numbers ------------------------------------------------------------- */

/* A NaN in A makes its row of C NaN; an infinity in B meets 0 in one row (NaN) and 1 in the others
 * (infinite). Zeros are not skipped, and nothing leaks into other rows and columns. */
Test(gemm, nan_and_infinity)
{
    static const int64_t sizes[][3] = {
        { 3, 5, 4 }, { 10, 40, 100 }, { 70, 70, 100 }, { 100, 3, 30 }, { 70, 33, 9 }
    };
    for (size_t t = 0; t < sizeof sizes / sizeof *sizes; t++) {
        int64_t m = sizes[t][0], n = sizes[t][1], k = sizes[t][2];
        Case s = new_case(LK_F32, m, n, k);
        int64_t zero_row = 1, nan_row = 2, inf_column = n - 1, step = k - 1;
        for (int64_t i = 0; i < m; i++) s.a[i * k + step] = i == zero_row ? 0 : 1;
        s.a[nan_row * k] = (double)NAN;
        s.b[step * n + inf_column] = (double)INFINITY;
        for (KernelSet set = LK_PORTABLE; lk__kernels_use(set); set++) {
            EVERY_LAYOUT(l)
            {
                float *c = product(&s, &layouts[l], 0, false, n);
                for (int64_t i = 0; i < m; i++) {
                    for (int64_t j = 0; j < n; j++) {
                        float x = c[i * n + j];
                        bool ok = j == inf_column ? isinf(x) && x > 0 : isfinite(x);
                        if (i == nan_row || (i == zero_row && j == inf_column)) ok = isnan(x);
                        cr_assert(ok, "%s: C(%d, %d) is %g", describe(&s, &layouts[l]), (int)i,
                                  (int)j, (double)x);
                    }
                }
                free(c);
            }
        }
        free_case(&s);
    }
}

/* ---- nothing to multiply -------------------------------------------------------------------- */

Test(gemm, zero_sizes)
{
    double one = 1, c[6] = { 1, 2, 3, 4, 5, 6 };
    cr_assert(lk__gemm_workspace(LK_F64, 0, 3, 5) == 0);
    cr_assert(lk__gemm_workspace(LK_F64, 1000, 0, 1000) == 0);
    cr_assert(lk__gemm_workspace(LK_F64, 1000, 1000, 0) == 0);

    Mat ones = lk__mat_strided(LK_F64, 5, 3, &one, 0, 0),
        more = lk__mat_strided(LK_F64, 2, 5, &one, 0, 0);
    lk__gemm(lk__mat(LK_F64, 0, 3, c), lk__mat(LK_F64, 0, 5, NULL), ones, false,
             NULL); /* no row */
    lk__gemm(lk__mat(LK_F64, 2, 0, c), more, lk__mat(LK_F64, 5, 0, NULL), false, NULL);
    /* C += an empty sum */
    Mat narrow = lk__mat(LK_F64, 2, 0, NULL), low = lk__mat(LK_F64, 0, 3, NULL);
    lk__gemm(lk__mat(LK_F64, 2, 3, c), narrow, low, true, NULL);
    for (int i = 0; i < 6; i++) cr_assert(c[i] == i + 1);

    /* C = an empty sum, in two of three columns */
    lk__gemm(lk__mat_strided(LK_F64, 2, 2, c, 3, 1), narrow, lk__mat(LK_F64, 0, 2, NULL), false,
             NULL);
    static const double expected[6] = { 0, 0, 3, 0, 0, 6 };
    for (int i = 0; i < 6; i++) cr_assert(c[i] == expected[i], "c[%d] is %g", i, c[i]);
}

/* ---- threads -------------------------------------------------------------------------------- */

static void use_threads(int n)
{
#ifdef _OPENMP
    omp_set_num_threads(n);
#else
    (void)n;
#endif
}

/* Large enough to be shared: dot products, tiles in place, panels with rows that stay near and
 * with more of them, few columns, a few more, few steps, several blocks, dot products of whole
 * pages. */
static const int64_t shared_sizes[][3] = {
    /* clang-format off */
    { 10, 300, 500 }, { 130, 140, 150 }, { 600, 5, 300 }, { 400, 250, 10 },  { 70, 66, 800 },
    { 1, 900, 1100 }, { 350, 90, 400 },  { 300, 40, 500 }, { 200, 90, 16 }, { 40, 60, 1024 },
    /* clang-format on */
};
enum { SHARED_SIZES = sizeof shared_sizes / sizeof *shared_sizes };

Test(gemm, same_bits_for_any_number_of_threads)
{
    for (int t = 0; t < SHARED_SIZES; t++) {
        int64_t m = shared_sizes[t][0], n = shared_sizes[t][1], k = shared_sizes[t][2];
        for (int type = 0; type < 2; type++) {
            Case s = new_case(type ? LK_F64 : LK_F32, m, n, k);
            for (KernelSet set = LK_PORTABLE; lk__kernels_use(set); set++) {
                EVERY_LAYOUT(l)
                {
                    use_threads(1);
                    void *c = product(&s, &layouts[l], 0, true, n);
                    for (int threads = 2; threads <= 7; threads += threads == 3 ? 4 : 1) {
                        use_threads(threads);
                        void *again = product(&s, &layouts[l], 0, true, n);
                        cr_assert(memcmp(c, again, (size_t)(m * n) * lk_dtype_size(s.dtype)) == 0,
                                  "%s: %d threads give other bits than one",
                                  describe(&s, &layouts[l]), threads);
                        free(again);
                    }
                    free(c);
                }
            }
            free_case(&s);
        }
    }
}

/* Called by several threads at the same time, each has its own product. */
Test(gemm, inside_a_parallel_region)
{
    use_threads(3);
    for (int t = 0; t < SHARED_SIZES; t += CHECK_EVERY == 1 ? 1 : 3) {
        Case s = new_case(LK_F32, shared_sizes[t][0], shared_sizes[t][1], shared_sizes[t][2]);
        void *c[4];
        bool same = true;
#ifdef _OPENMP
#pragma omp parallel for
#endif
        for (int i = 0; i < 4; i++) c[i] = product(&s, &layouts[i], 0, false, s.n);
        for (int i = 0; i < 4; i++) {
            void *alone = product(&s, &layouts[i], 0, false, s.n);
            same = same && memcmp(c[i], alone, (size_t)(s.m * s.n) * sizeof(float)) == 0;
            free(alone);
            free(c[i]);
        }
        cr_assert(same, "m %d n %d k %d", (int)s.m, (int)s.n, (int)s.k);
        free_case(&s);
    }
}

/* The workspace of a call stays enough when the number of threads changes, and is bounded for any
 * sizes. */
Test(gemm, workspace)
{
    int64_t huge = INT64_C(1) << 40;
    for (int type = 0; type < 2; type++) {
        DType dtype = type ? LK_F64 : LK_F32;
        use_threads(1);
        size_t bytes = lk__gemm_workspace(dtype, 300, 400, 500);
        use_threads(64);
        cr_assert(lk__gemm_workspace(dtype, 300, 400, 500) == bytes && bytes > 0);
        cr_assert(lk__gemm_workspace(dtype, huge, huge, huge) < 16u << 20);
        cr_assert(lk__gemm_workspace(dtype, huge, huge, huge) >=
                  lk__gemm_workspace(dtype, 5000, 5000, 5000));
    }
}
