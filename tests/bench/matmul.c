/* matmul.c - matrix products: y = x Wᵀ, dx = dy W and dW = dyᵀ x for x (m, in) and W (out, in).
 * lorikeet.c and blas_peer.c compute them. */
#include "core/memory.h"
#include "core/rng.h"
#include "tests/bench/bench.h"

static void call(void *state) { bench_product(state); }

/* Small numbers around 0, so that sums do not overflow however often a pass is repeated. */
static float *random_matrix(int64_t rows, int64_t columns, Rng *rng)
{
    float *x = lk_mem_alloc((size_t)(rows * columns) * sizeof *x);
    for (int64_t i = 0; x && i < rows * columns; i++) x[i] = lk_random_f32(rng) - 0.5f;
    return x;
}

static bool run(const Bench *b, const Workload *w, Result *r, Error *err)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Product p = { .pass = (Pass)w->kind, .m = w->size[0], .in = w->size[1], .out = w->size[2] };
    size_t workspace = bench_product_workspace(&p);
    p.x = random_matrix(p.m, p.in, &rng);
    p.w = random_matrix(p.out, p.in, &rng);
    p.y = random_matrix(p.m, p.out, &rng);
    p.workspace = workspace > 0 ? lk_mem_alloc(workspace) : NULL;
    bool ok = p.x && p.w && p.y && (p.workspace || workspace == 0);
    if (ok) {
        r->flops = 2.0 * (double)p.m * (double)p.in * (double)p.out;
        r->bytes = r->working_set = 4.0 * (double)(p.m * p.in + p.out * p.in + p.m * p.out);
        bench_product_threads(b->threads);
        bench_time(b, call, &p, r);
    }
    lk_mem_free(p.workspace);
    lk_mem_free(p.y);
    lk_mem_free(p.w);
    lk_mem_free(p.x);
    return ok || lk_error_set(err, LK_EMEMORY, "no memory for the matrices");
}

#define PRODUCT(m, in, out, pass, name, text) \
    { \
        "matmul_" #m "x" #in "x" #out "_" name, text, run, NO_LIMIT, { m, in, out }, pass \
    }
#define PRODUCTS(m, in, out) \
    PRODUCT(m, in, out, FORWARD, "forward", "y = x W^T for x " #m "x" #in ", W " #out "x" #in), \
        PRODUCT(m, in, out, GRAD_X, "dX", "dx = dy W for dy " #m "x" #out ", W " #out "x" #in), \
        PRODUCT(m, in, out, GRAD_W, "dW", "dW = dy^T x for dy " #m "x" #out ", x " #m "x" #in)
#define BATCHES(in, out) PRODUCTS(1, in, out), PRODUCTS(10, in, out), PRODUCTS(64, in, out)
#define RANKS(m, width, r) PRODUCTS(m, width, r), PRODUCTS(m, r, width)

const Workload bench_matmul[] = {
    /* square ones; the layers of RoBERTa-base (W4) with 512 and with 32 x 32 tokens */
    PRODUCTS(512, 512, 512),
    PRODUCTS(1024, 1024, 1024),
    PRODUCTS(2048, 2048, 2048),
    PRODUCTS(512, 768, 768),
    PRODUCTS(512, 768, 3072),
    PRODUCTS(512, 3072, 768),
    PRODUCTS(1024, 768, 768),
    PRODUCTS(1024, 768, 3072),
    PRODUCTS(1024, 3072, 768),
    /* the layers of W1, W2, W3 */
    BATCHES(784, 128),
    BATCHES(128, 64),
    BATCHES(64, 10),
    BATCHES(784, 1000),
    BATCHES(1000, 2000),
    BATCHES(2000, 10),
    BATCHES(1000, 1500),
    BATCHES(1500, 1300),
    BATCHES(1300, 10),
    /* low rank: x A and (x A) B, and with dX and dW all their gradients */
    RANKS(1024, 768, 1),
    RANKS(1024, 768, 4),
    RANKS(1024, 768, 8),
    RANKS(1024, 768, 16),
    { .name = NULL },
};
