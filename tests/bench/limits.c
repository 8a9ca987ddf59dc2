/* limits.c - what the machine can do at most: multiply-adds in registers, reading and streaming
 * memory of several sizes, and the time it takes to start and end an OpenMP region. The other
 * workloads are held against these. */
#include "core/memory.h"
#include "tests/bench/bench.h"

#ifdef __x86_64__
#include <immintrin.h>
#define HAS(isa) __builtin_cpu_supports(isa)
#define TARGET(isa) __attribute__((target(isa)))
#endif

/* ---- multiply-adds -------------------------------------------------------------------------- */

/* A multiply-add takes 4 or 5 cycles and two begin in each: as many chains as that, and some more.
 * The empty statements keep the chains in registers and make the compiler believe that they
 * change. */
enum { CHAINS = 12, FMA_ROUNDS = 100000 };
#define TWELVE(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define KEEP(class) \
    __asm__ volatile("" : class(c0), class(c1), class(c2), class(c3), class(c4), class(c5)); \
    __asm__ volatile("" : class(c6), class(c7), class(c8), class(c9), class(c10), class(c11))

#ifdef __x86_64__
#define BEGIN(i) Vector c##i = b;
#define SIMD_REGISTER "+v"
#define SSE_REGISTER "+x"

/* Multiplications and additions of four floats: what portable code can hope for on x86-64. */
static void multiply_add_sse(void)
{
    typedef __m128 Vector;
    Vector a = _mm_set1_ps(0.999f), b = _mm_set1_ps(1e-3f);
    TWELVE(BEGIN)
    for (int i = 0; i < FMA_ROUNDS; i++) {
#define ADD(i) c##i = c##i * a + b;
        TWELVE(ADD)
#undef ADD
        KEEP(SSE_REGISTER);
    }
}

TARGET("avx2,fma") static void multiply_add_avx2(void)
{
    typedef __m256 Vector;
    Vector a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(1e-3f);
    TWELVE(BEGIN)
    for (int i = 0; i < FMA_ROUNDS; i++) {
#define ADD(i) c##i = _mm256_fmadd_ps(c##i, a, b);
        TWELVE(ADD)
#undef ADD
        KEEP(SSE_REGISTER);
    }
}

TARGET("avx512f") static void multiply_add_avx512(void)
{
    typedef __m512 Vector;
    Vector a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(1e-3f);
    TWELVE(BEGIN)
    for (int i = 0; i < FMA_ROUNDS; i++) {
#define ADD(i) c##i = _mm512_fmadd_ps(c##i, a, b);
        TWELVE(ADD)
#undef ADD
        KEEP(SIMD_REGISTER);
    }
}
#endif

static void on_all_threads(void *state)
{
    void (**multiply_add)(void) = state;
#pragma omp parallel
    (*multiply_add)();
}

static bool run_fma(const Bench *b, const Workload *w, Result *r, Error *err)
{
    (void)err;
    void (*multiply_add)(void) = NULL;
#ifdef __x86_64__
    if (w->kind == 128) multiply_add = multiply_add_sse;
    if (w->kind == 256) multiply_add = HAS("avx2") && HAS("fma") ? multiply_add_avx2 : NULL;
    if (w->kind == 512) multiply_add = HAS("avx512f") ? multiply_add_avx512 : NULL;
#endif
    if (!multiply_add) return true; /* reps stays 0: not measured */
    r->flops = 2.0 * CHAINS * FMA_ROUNDS * (w->kind / 32) * b->threads;
    bench_time(b, on_all_threads, &multiply_add, r);
    return true;
}

/* ---- memory --------------------------------------------------------------------------------- */

/* Each instruction set has vectors of its own width, of gcc's and clang's making: wider ones would
 * go through memory. sum: eight sums, so that additions do not wait for each other, and four
 * places at a time, as more of the processor's prefetchers then work. triad: a = b + c / 2, as in
 * McCalpin's STREAM. */
enum { UNIT = 128 }; /* floats: eight of the widest vectors */
#define FOR_ISA(isa, target, width) \
    target static float sum_##isa(float *x, int64_t n) \
    { \
        typedef float Vector __attribute__((vector_size(4 * (width)))); \
        int64_t quarter = n / 4 / (width); \
        const Vector *v = (const Vector *)(void *)x; \
        Vector s0 = { 0 }, s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0; \
        for (const Vector *end = v + quarter; v < end; v += 2) { \
            s0 += v[0], s1 += v[quarter], s2 += v[2 * quarter], s3 += v[3 * quarter]; \
            s4 += v[1], s5 += v[quarter + 1], s6 += v[2 * quarter + 1], s7 += v[3 * quarter + 1]; \
        } \
        s0 += s1 + s2 + s3 + s4 + s5 + s6 + s7; \
        return s0[0] + s0[1] + s0[2] + s0[3]; \
    } \
    target static float triad_##isa(float *x, int64_t n) \
    { \
        typedef float Vector __attribute__((vector_size(4 * (width)))); \
        int64_t third = n / 3 / UNIT * UNIT; \
        Vector *a = (Vector *)(void *)x; \
        const Vector *b = a + third / (width), *c = b + third / (width); \
        for (int64_t i = 0; i < third / (width); i++) a[i] = b[i] + c[i] * 0.5f; \
        return x[0]; \
    }
#ifdef __x86_64__
FOR_ISA(sse, , 4)
FOR_ISA(avx2, TARGET("avx2"), 8)
FOR_ISA(avx512, TARGET("avx512f"), 16)
#else
FOR_ISA(any, , 4)
#endif

typedef float Walk(float *x, int64_t n);
typedef struct Memory {
    float *data;
    int64_t part;   /* elements of one thread: its own part, which it was the first to write */
    int64_t passes; /* of a call, so that starting the threads does not count */
    int threads;
    Walk *walk;
    volatile float sink;
} Memory;

static void walk_memory(void *state)
{
    Memory *m = state;
#pragma omp parallel for schedule(static, 1)
    for (int i = 0; i < m->threads; i++)
        for (int64_t p = 0; p < m->passes; p++) m->sink = m->walk(m->data + i * m->part, m->part);
}

static Walk *walk_of(bool triad)
{
#ifdef __x86_64__
    if (HAS("avx512f")) return triad ? triad_avx512 : sum_avx512;
    if (HAS("avx2")) return triad ? triad_avx2 : sum_avx2;
    return triad ? triad_sse : sum_sse;
#else
    return triad ? triad_any : sum_any;
#endif
}

static bool run_memory(const Bench *b, const Workload *w, Result *r, Error *err)
{
    bool triad = w->limit != LIMIT_READ;
    int64_t bytes = w->size[0] << 10, part = bytes / 4 / b->threads / UNIT * UNIT;
    Memory m = { .part = part, .threads = b->threads, .walk = walk_of(triad) };
    m.passes = bytes < 16 << 20 ? (16 << 20) / bytes : 1;
    m.data = lk_mem_alloc((size_t)bytes);
    if (!m.data)
        return lk_error_set(err, LK_EMEMORY, "no memory for %lld bytes", (long long)bytes);
#pragma omp parallel for schedule(static, 1)
    for (int i = 0; i < b->threads; i++)
        for (int64_t j = 0; j < part; j++) m.data[i * part + j] = 1e-3f;
    int64_t walked = triad ? part / 3 / UNIT * UNIT * 3 : part;
    r->bytes = 4.0 * (double)(walked * b->threads) * (double)m.passes;
    r->working_set = (double)bytes;
    bench_time(b, walk_memory, &m, r);
    lk_mem_free(m.data);
    return true;
}

/* ---- threads -------------------------------------------------------------------------------- */

static void empty_region(void *state)
{
    (void)state;
#pragma omp parallel
    __asm__ volatile("" ::: "memory");
}

static bool run_region(const Bench *b, const Workload *w, Result *r, Error *err)
{
    (void)w;
    (void)err;
    bench_time(b, empty_region, NULL, r);
    return true;
}

#define READ(name, kib) \
    { \
        "read_" name, "reading " name " bytes again and again", run_memory, LIMIT_READ, { kib }, \
            0 \
    }
#define TRIAD(name, kib) \
    { \
        "triad_" name, "a = b + c / 2, " name " bytes together", run_memory, NO_LIMIT, { kib }, 0 \
    }

const Workload bench_limits[] = {
    { "fma_avx512", "multiply-adds in registers, AVX-512", run_fma, LIMIT_FMA, { 0 }, 512 },
    { "fma_avx2", "multiply-adds in registers, AVX2", run_fma, LIMIT_FMA, { 0 }, 256 },
    { "fma_sse",
      "multiplications and additions in registers, SSE2",
      run_fma,
      LIMIT_FMA,
      { 0 },
      128 },
    READ("16K", 16),
    READ("256K", 256),
    READ("1M", 1 << 10),
    READ("4M", 4 << 10),
    READ("16M", 16 << 10),
    READ("32M", 32 << 10),
    READ("64M", 64 << 10),
    READ("256M", 256 << 10),
    TRIAD("1M", 1 << 10),
    TRIAD("16M", 16 << 10),
    TRIAD("256M", 256 << 10),
    { "omp_region", "starting and ending an OpenMP region", run_region, NO_LIMIT, { 0 }, 0 },
    { .name = NULL },
};
