/* blas_peer.c - the matrix products of matmul.c by somebody else's cblas_sgemm: the same program,
 * sizes and JSON as bench, in a program of its own so that Lorikeet is linked with no BLAS. */
#include <cblas.h>

#include "tests/bench/bench.h"

/* OpenBLAS has its own number of threads; other libraries take $OMP_NUM_THREADS. */
void openblas_set_num_threads(int n) __attribute__((weak));

const char *const bench_name = "blas_peer";
const Workload *const bench_tables[] = { bench_matmul, NULL };

const char *bench_kernels(Error *err)
{
    (void)err;
    return "cblas_sgemm";
}

size_t bench_product_workspace(const Product *p)
{
    (void)p;
    return 0;
}

void bench_product(const Product *p)
{
    int m = (int)p->m, in = (int)p->in, out = (int)p->out;
    if (p->pass == FORWARD)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, out, in, 1, p->x, in, p->w, in, 0,
                    p->y, out);
    if (p->pass == GRAD_X)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, in, out, 1, p->y, out, p->w, in,
                    0, p->x, in);
    if (p->pass == GRAD_W)
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, out, in, m, 1, p->y, out, p->x, in, 0,
                    p->w, in);
}

void bench_product_threads(int n)
{
    if (openblas_set_num_threads) openblas_set_num_threads(n);
}
