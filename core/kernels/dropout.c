/* dropout.c - which elements dropout keeps: Philox4x32-10, in groups that fill vector
 * registers. */
#include "core/kernels/dropout.h"

#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

bool lk_dropout_mask(Tape *t, const char *function, double p, DropoutMask *m)
{
    if (!(p >= 0 && p <= 1)) { /* NaN too */
        lk_fail(t, LK_EVALUE, "%s: dropout probability has to be between 0 and 1, but got %g",
                function, p);
        return false;
    }
    TapeRandom at = lk_tape_random(t);
    *m = (DropoutMask){ at.seed, at.calls++, p };
    lk_tape_set_random(t, at);
    return true;
}

double lk_dropout_scale(const DropoutMask *m, DType dtype)
{
    if (m->p == 1) return 0;
    return dtype == LK_F64 ? 1 / (1 - m->p) : (double)(1 / (float)(1 - m->p));
}

/* A group is 64 elements: 16 counters of four words each. The words of counter i decide elements 2
 * i, 2 i + 1, 32 + 2 i and 33 + 2 i of the group. A word has 64 bits of a vector for itself, of
 * which the upper half is left over from a product and means nothing: multiplying 32 bits to 64
 * and shifting is then all there is to a round. */
enum { WORDS = 4, COUNTERS = 16, GROUP = WORDS * COUNTERS, ROUNDS = 10 };

typedef void KeepGroups(uint64_t seed, uint64_t call, uint32_t threshold, uint64_t group,
                        int64_t groups, uint8_t *keep);

/* One source for each width of vectors; low_product(a, b) multiplies the lower halves. The same
 * bits from each. */
#define KEEP_GROUPS(name, target, bytes, low_product) \
    target static void name(uint64_t seed, uint64_t call, uint32_t threshold, uint64_t group, \
                            int64_t groups, uint8_t *keep) \
    { \
        enum { LANES = bytes / 8 }; \
        typedef uint64_t V __attribute__((vector_size(bytes))); \
        const V zero = { 0 }, a = zero + 0xD2511F53u, b = zero + 0xCD9E8D57u; \
        V lane; \
        memcpy(&lane, (const uint64_t[]){ 0, 1, 2, 3, 4, 5, 6, 7 }, sizeof lane); \
        for (int64_t g = 0; g < groups; g++, keep += GROUP) { \
            const uint64_t counter = (group + (uint64_t)g) * COUNTERS; \
            uint64_t pairs[GROUP / 2]; \
            for (uint64_t i = 0; i < COUNTERS; i += LANES) { \
                V x0 = lane + (counter + i), x1 = zero + (counter >> 32), x2 = zero + call, \
                  x3 = zero + (call >> 32); \
                V key0 = zero + seed, key1 = zero + (seed >> 32); \
                for (int round = 0; round < ROUNDS; \
                     round++, key0 += 0x9E3779B9u, key1 += 0xBB67AE85u) { \
                    V p = low_product(x0, a), q = low_product(x2, b); \
                    x0 = (q >> 32) ^ x1 ^ key0; \
                    x1 = q; \
                    x2 = (p >> 32) ^ x3 ^ key1; \
                    x3 = p; \
                } \
                V first = (x0 & UINT32_MAX) | x1 << 32, second = (x2 & UINT32_MAX) | x3 << 32; \
                memcpy(pairs + i, &first, sizeof first); \
                memcpy(pairs + COUNTERS + i, &second, sizeof second); \
            } \
            for (int i = 0; i < GROUP / 2; i++) { \
                keep[2 * i] = (uint32_t)pairs[i] >= threshold; \
                keep[2 * i + 1] = (uint32_t)(pairs[i] >> 32) >= threshold; \
            } \
        } \
    }
#ifdef __x86_64__
#define LOW_PRODUCT_512(x, y) (V) _mm512_mul_epu32((__m512i)(x), (__m512i)(y))
#define LOW_PRODUCT_256(x, y) (V) _mm256_mul_epu32((__m256i)(x), (__m256i)(y))
#define LOW_PRODUCT_128(x, y) (V) _mm_mul_epu32((__m128i)(x), (__m128i)(y))
KEEP_GROUPS(keep_avx512, __attribute__((target("avx512f"))), 64, LOW_PRODUCT_512)
KEEP_GROUPS(keep_avx2, __attribute__((target("avx2"))), 32, LOW_PRODUCT_256)
#else
#define LOW_PRODUCT_128(x, y) ((x)&UINT32_MAX) * (y)
#endif
KEEP_GROUPS(keep_portable, , 16, LOW_PRODUCT_128)

static KeepGroups *fastest(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f")) return keep_avx512;
    if (__builtin_cpu_supports("avx2")) return keep_avx2;
#endif
    return keep_portable;
}

void lk_dropout_keep(const DropoutMask *m, int64_t first, int64_t n, uint8_t *keep)
{
    if (m->p >= 1) { /* the threshold would need 33 bits */
        memset(keep, 0, (size_t)n);
        return;
    }
    KeepGroups *groups = fastest();
    const uint32_t threshold = (uint32_t)(m->p * 0x1p32);
    while (n > 0) {
        int64_t skip = first % GROUP, count = n / GROUP * GROUP;
        if (skip == 0 && count > 0) {
            groups(m->seed, m->call, threshold, (uint64_t)(first / GROUP), n / GROUP, keep);
        } else { /* a part of a group, at either end */
            uint8_t whole[GROUP];
            count = GROUP - skip < n ? GROUP - skip : n;
            groups(m->seed, m->call, threshold, (uint64_t)(first / GROUP), 1, whole);
            memcpy(keep, whole + skip, (size_t)count);
        }
        first += count;
        keep += count;
        n -= count;
    }
}
