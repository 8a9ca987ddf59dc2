/* lorikeet.c - what bench runs: everything, and matrix products by lk_gemm. */
#include "core/kernels.h"
#include "core/kernels/gemm.h"
#include "core/tape.h"
#include "tests/bench/bench.h"

const char *const bench_name = "bench";
const Workload *const bench_tables[] = {
    bench_limits,   bench_matmul, bench_training, bench_transformer, bench_tokenizer,
    bench_programs, NULL
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
    return lk_gemm_workspace(LK_F32, s.m, s.n, s.k);
}

void bench_product(const Product *p)
{
    Sizes s = sizes_of(p);
    Mat x = { p->x, p->in, 1 }, w = { p->w, p->in, 1 }, y = { p->y, p->out, 1 };
    Mat w_t = { p->w, 1, p->in }, y_t = { p->y, 1, p->out };
    if (p->pass == FORWARD)
        lk_gemm(LK_F32, s.m, s.n, s.k, x, w_t, false, p->y, p->out, p->workspace);
    if (p->pass == GRAD_X) lk_gemm(LK_F32, s.m, s.n, s.k, y, w, false, p->x, p->in, p->workspace);
    if (p->pass == GRAD_W)
        lk_gemm(LK_F32, s.m, s.n, s.k, y_t, x, false, p->w, p->in, p->workspace);
}

void bench_product_threads(int n) { lk_set_num_threads(n); }
