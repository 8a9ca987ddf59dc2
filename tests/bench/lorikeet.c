/* lorikeet.c - what bench runs: everything, and matrix products by lk__gemm. */
#include "core/kernels.h"
#include "core/kernels/gemm.h"
#include "core/tape.h"
#include "tests/bench/bench.h"

const char *const bench_name = "bench";
const Workload *const bench_tables[] = {
    bench_limits,      bench_matmul,    bench_reduce,    bench_convolution, bench_training,
    bench_transformer, bench_recurrent, bench_tokenizer, bench_programs,    NULL
};

const char *bench_kernels(Error *err) { return lk_kernels(err); }

typedef struct Sizes {
    int64_t m, n, k;
} Sizes;

static Sizes sizes_of(const Product *p)
{
    if (p->pass == FORWARD) return (Sizes){ p->m, p->out, p->in };
    if (p->pass == GRAD_X) return (Sizes){ p->m, p->in, p->out };
    return (Sizes){ p->out, p->in, p->m };
}

size_t bench_product_workspace(const Product *p)
{
    Sizes s = sizes_of(p);
    return lk__gemm_workspace(LK_F32, s.m, s.n, s.k);
}

void bench_product(const Product *p)
{
    Mat x = lk__mat(LK_F32, p->m, p->in, p->x), w = lk__mat(LK_F32, p->out, p->in, p->w),
        y = lk__mat(LK_F32, p->m, p->out, p->y);
    if (p->pass == FORWARD) lk__gemm(y, x, lk__mat_T(w), false, p->workspace);
    if (p->pass == GRAD_X) lk__gemm(x, y, w, false, p->workspace);
    if (p->pass == GRAD_W) lk__gemm(w, lk__mat_T(y), x, false, p->workspace);
}

void bench_product_threads(int n) { lk_set_num_threads(n); }
