/* sweep.c - matrix products of random shapes beside a BLAS, to find those that the workloads of
 * matmul.c do not: C = A B with m, n and k from 1 to 4096, whose logarithms are drawn evenly, with
 * m n k below 2^31, A and B as they are or transposed, in float32 and float64.
 *     sweep [--shapes N] [--seed N] [--threads N]
 * It prints the worst shapes, as a ratio: the time of the BLAS by ours. A shape below LIMIT is
 * measured again, in alternating pairs, of which the median counts. The exit code is 1 when a
 * shape stays below LIMIT. run.sh runs it beside the BLAS of the other benchmarks. */
#include <cblas.h>
#include <math.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/decimal.h"
#include "core/kernels.h"
#include "core/kernels/gemm.h"
#include "core/memory.h"
#include "examples/shared/cli.h"

enum { LARGEST = 4096, WORST = 20, PAIRS = 3, MORE_PAIRS = 15, SHAPES_MAX = 100000 };
static const double LIMIT = 0.6, WORK_MAX = 0x1p31;
static const double REP_SECONDS = 1e-3; /* a call that is shorter is repeated */

/* OpenBLAS has its own number of threads; other libraries take $OMP_NUM_THREADS. */
void openblas_set_num_threads(int n) __attribute__((weak));

typedef struct Shape {
    int64_t m, n, k;
    DType dtype;
    bool transposed_a, transposed_b; /* stored as (k, m), as (n, k) */
    double ratio, gflops;            /* the BLAS's time by ours; ours */
} Shape;

typedef struct Buffers {
    void *a, *b, *c, *workspace; /* for the largest shape */
} Buffers;

/* ---- one product, by both ------------------------------------------------------------------- */

static void ours(const Shape *s, const Buffers *x)
{
    const Mat a = s->transposed_a ? lk__mat_T(lk__mat(s->dtype, s->k, s->m, x->a))
                                  : lk__mat(s->dtype, s->m, s->k, x->a);
    const Mat b = s->transposed_b ? lk__mat_T(lk__mat(s->dtype, s->n, s->k, x->b))
                                  : lk__mat(s->dtype, s->k, s->n, x->b);
    lk__gemm(lk__mat(s->dtype, s->m, s->n, x->c), a, b, false, x->workspace);
}

static void theirs(const Shape *s, const Buffers *x)
{
    const int m = (int)s->m, n = (int)s->n, k = (int)s->k;
    const int row_a = s->transposed_a ? m : k, row_b = s->transposed_b ? k : n;
    const CBLAS_TRANSPOSE a = s->transposed_a ? CblasTrans : CblasNoTrans,
                          b = s->transposed_b ? CblasTrans : CblasNoTrans;
    if (s->dtype == LK_F32)
        cblas_sgemm(CblasRowMajor, a, b, m, n, k, 1, x->a, row_a, x->b, row_b, 0, x->c, n);
    else cblas_dgemm(CblasRowMajor, a, b, m, n, k, 1, x->a, row_a, x->b, row_b, 0, x->c, n);
}

typedef void ProductFn(const Shape *s, const Buffers *x);

static double seconds_of(ProductFn *product, const Shape *s, const Buffers *x, int64_t calls)
{
    const double start = lk_seconds();
    for (int64_t i = 0; i < calls; i++) product(s, x);
    return (lk_seconds() - start) / (double)calls;
}

/* ---- pairs ---------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Measures both in turn, and sets the medians of the ratio and of our speed. */
static void measure(Shape *s, const Buffers *x, int pairs)
{
    double ratios[MORE_PAIRS], times[MORE_PAIRS];
    seconds_of(theirs, s, x, 1); /* warms up */
    const double first = fmax(seconds_of(ours, s, x, 1), 1e-8);
    const int64_t calls = 1 + (int64_t)(REP_SECONDS / first);
    for (int i = 0; i < pairs; i++) {
        const double blas = seconds_of(theirs, s, x, calls);
        times[i] = seconds_of(ours, s, x, calls);
        ratios[i] = blas / times[i];
    }
    qsort(ratios, (size_t)pairs, sizeof *ratios, ascending);
    qsort(times, (size_t)pairs, sizeof *times, ascending);
    s->ratio = ratios[pairs / 2];
    s->gflops = 2e-9 * (double)s->m * (double)s->n * (double)s->k / times[pairs / 2];
}

/* ---- shapes --------------------------------------------------------------------------------- */

static int64_t random_size(Rng *rng)
{
    return (int64_t)floor(exp2((double)lk_random_f32(rng) * log2(LARGEST + 1)));
}

static Shape random_shape(Rng *rng)
{
    Shape s = { 0 };
    do {
        s.m = random_size(rng);
        s.n = random_size(rng);
        s.k = random_size(rng);
    } while ((double)s.m * (double)s.n * (double)s.k >= WORK_MAX);
    s.dtype = lk_random_int(rng, 0, 2) ? LK_F64 : LK_F32;
    s.transposed_a = lk_random_int(rng, 0, 2);
    s.transposed_b = lk_random_int(rng, 0, 2);
    return s;
}

/* Memory for every shape, filled with small numbers in float32. Two of them side by side are a
 * small float64, and neither is subnormal, which would be slow. */
static bool buffers_new(Buffers *x, const Shape *shapes, int64_t count, Rng *rng, Error *err)
{
    int64_t most = 1;
    size_t workspace = 1;
    for (const Shape *s = shapes; s < shapes + count; s++) {
        const int64_t sizes[] = { s->m * s->k, s->k * s->n, s->m * s->n };
        for (int i = 0; i < 3; i++) most = sizes[i] > most ? sizes[i] : most;
        const size_t bytes = lk__gemm_workspace(s->dtype, s->m, s->n, s->k);
        workspace = bytes > workspace ? bytes : workspace;
    }
    void **places[] = { &x->a, &x->b, &x->c };
    for (int i = 0; i < 3; i++) {
        float *p = lk_mem_alloc((size_t)most * sizeof(double));
        for (int64_t j = 0; p && j < 2 * most; j++) p[j] = lk_random_f32(rng) - 0.5f;
        *places[i] = p;
    }
    x->workspace = lk_mem_alloc(workspace);
    return (x->a && x->b && x->c && x->workspace) ||
           lk_error_set(err, LK_EMEMORY, "no memory for the matrices");
}

static void buffers_free(Buffers *x)
{
    lk_mem_free(x->a);
    lk_mem_free(x->b);
    lk_mem_free(x->c);
    lk_mem_free(x->workspace);
}

/* ---- the program ---------------------------------------------------------------------------- */

typedef struct Options {
    int64_t seed, threads, shapes;
} Options;

static const CliOption options[] = {
    CLI_INT("shapes", Options, shapes, "N", 1, SHAPES_MAX, "number of random shapes"),
    CLI_SEED(Options),
    CLI_THREADS(Options),
    CLI_END,
};

static int worst_first(const void *a, const void *b)
{
    const Shape *x = a, *y = b;
    return (x->ratio > y->ratio) - (x->ratio < y->ratio);
}

static void print_worst(Shape *shapes, int64_t count)
{
    qsort(shapes, (size_t)count, sizeof *shapes, worst_first);
    lk_printf("| C = A B: m x n x k | stored | dtype | GFLOP/s | x BLAS |\n"
              "| --- | --- | --- | --- | --- |\n");
    for (int64_t i = 0; i < count && i < WORST; i++) {
        const Shape *s = &shapes[i];
        lk_printf("| %lld x %lld x %lld | %s %s | %s | %.1f | %.2f |\n", (long long)s->m,
                  (long long)s->n, (long long)s->k, s->transposed_a ? "Aᵀ" : "A",
                  s->transposed_b ? "Bᵀ" : "B", lk_dtype_name(s->dtype), s->gflops, s->ratio);
    }
    const Shape *middle = &shapes[count / 2];
    lk_printf("\n%lld shapes, kernels %s: median %.2f x BLAS\n", (long long)count,
              lk_kernels(NULL), middle->ratio);
}

static bool sweep(Tape *t, Rng *rng, const void *given, Error *err)
{
    (void)t;
    const Options *o = given;
    Buffers x = { 0 };
    Shape *shapes = calloc((size_t)o->shapes, sizeof *shapes);
    bool ok = shapes || lk_error_set(err, LK_EMEMORY, "no memory for the shapes");
    for (int64_t i = 0; ok && i < o->shapes; i++) shapes[i] = random_shape(rng);
    ok = ok && buffers_new(&x, shapes, o->shapes, rng, err);
    if (openblas_set_num_threads && o->threads > 0) openblas_set_num_threads((int)o->threads);
    int64_t below = 0;
    for (int64_t i = 0; ok && i < o->shapes; i++) {
        measure(&shapes[i], &x, PAIRS);
        if (shapes[i].ratio < LIMIT) measure(&shapes[i], &x, MORE_PAIRS);
        below += shapes[i].ratio < LIMIT;
    }
    if (ok) print_worst(shapes, o->shapes);
    if (ok && below > 0)
        ok = lk_error_set(err, LK_ESTATE, "%lld shapes are below %g x BLAS", (long long)below,
                          LIMIT);
    buffers_free(&x);
    free(shapes);
    return ok;
}

int main(int argc, char **argv)
{
    const CliProgram program = {
        .name = "sweep",
        .about = "Measures matrix products of random shapes beside a BLAS.",
        .options = options,
    };
    return cli_main(&program, argc, argv, &(Options){ .shapes = 500 }, sweep);
}
