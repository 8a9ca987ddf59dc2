/* bench.h - what the workloads share with the program that measures them, bench.c.
 *
 * A workload is a row of a table: a name, what it does, a function that prepares it and hands one
 * call of it to bench_time. Each runs in a process of its own, so that its peak memory is its own
 * and no other has warmed it up. */
#ifndef BENCH_H
#define BENCH_H

#include "core/error.h"

/* The limits of the machine, against which other workloads are held. */
typedef enum Limit {
    NO_LIMIT,
    LIMIT_FMA,  /* flops: multiply-adds in registers; the fastest kind counts */
    LIMIT_READ, /* bytes: reading memory, of `working_set` bytes again and again */
} Limit;

typedef struct Result {
    double median, min, max; /* seconds of a call */
    int reps;
    /* of a call: floating-point operations that it cannot do without; 0: not what limits it */
    double flops;
    double bytes;       /* of a call: memory that it must read or write at least; 0: the same */
    double working_set; /* bytes among which those are: it chooses the bandwidth to compare with */
    double peak_mb;     /* most memory of the whole process, 10^6 bytes; filled in by bench.c */
} Result;

typedef struct Bench {
    int threads;
    int reps;
    bool once;        /* fixed calls instead of a measurement, for counting instructions */
    const char *data; /* --data, or NULL */
} Bench;

typedef struct Workload Workload;
struct Workload {
    const char *name, *about;
    bool (*run)(const Bench *b, const Workload *w, Result *r, Error *err);
    Limit limit;
    int64_t size[5]; /* what the function makes of it: sizes of matrices, of layers */
    int kind;        /* the same: which of several */
};

/* Calls call(state) until a repetition is long enough, then b->reps such repetitions; fills
 * median, min, max and reps. A call that fails says so in the state: whoever made it looks
 * there. */
typedef void BenchCall(void *state);
void bench_time(const Bench *b, BenchCall *call, void *state, Result *r);

/* Tables end with a row without a name. */
/* all of a program's tables, NULL at the end: lorikeet.c, blas_peer.c */
extern const Workload *const bench_tables[];
extern const char *const bench_name; /* of the program */
/* The kernels it computes with, for the table: "avx2", "cblas_sgemm"; NULL: refused. */
const char *bench_kernels(Error *err);
extern const Workload bench_limits[], bench_matmul[], bench_reduce[], bench_convolution[],
    bench_training[], bench_transformer[], bench_recurrent[], bench_tokenizer[], bench_programs[];

/* ---- matrix products: what differs between bench and blas_peer ------------------------------ */

typedef enum Pass { FORWARD, GRAD_X, GRAD_W } Pass; /* y = x Wᵀ, dx = dy W, dW = dyᵀ x */

typedef struct Product {
    Pass pass;
    int64_t m, in, out;
    /* (m, in), (out, in), (m, out), row after row; the one that the pass computes is
     * overwritten */
    float *x, *w, *y;
    void *workspace; /* bench_product_workspace bytes */
} Product;
size_t bench_product_workspace(const Product *p); /* may be 0 */
void bench_product(const Product *p);
void bench_product_threads(int n);

#endif
