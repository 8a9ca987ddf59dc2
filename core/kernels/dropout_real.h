/* dropout_real.h - which elements dropout keeps: Philox4x32-10, in groups that fill vector
 * registers, for each instruction set (core/real.h). It has only integers, so it is read for
 * float32 only. */
#if LK_REAL_IS_FLOAT

/* The products of the lower halves of the elements. */
#if defined(__x86_64__) && LK_VECTOR_BYTES == 64
#define LOW_PRODUCT(x, y) (LK_F(V)) _mm512_mul_epu32((__m512i)(x), (__m512i)(y))
#elif defined(__x86_64__) && LK_VECTOR_BYTES == 32
#define LOW_PRODUCT(x, y) (LK_F(V)) _mm256_mul_epu32((__m256i)(x), (__m256i)(y))
#elif defined(__x86_64__)
#define LOW_PRODUCT(x, y) (LK_F(V)) _mm_mul_epu32((__m128i)(x), (__m128i)(y))
#else
#define LOW_PRODUCT(x, y) ((x)&UINT32_MAX) * (y)
#endif

typedef uint64_t LK_F(V) __attribute__((vector_size(LK_VECTOR_BYTES)));

/* A group is 64 elements: 16 counters of four words each. The words of counter i decide elements 2
 * i, 2 i + 1, 32 + 2 i and 33 + 2 i of the group. A word has 64 bits of a vector for itself. The
 * upper half is left over from a product and means nothing. So a round is little more than
 * multiplying 32 bits to 64 and shifting. */
static void LK_F(keep_groups)(uint64_t seed, uint64_t call, uint32_t threshold, uint64_t group,
                              int64_t groups, uint8_t *keep)
{
    enum { COUNTERS = 16, ELEMENTS = 4 * COUNTERS, ROUNDS = 10, LANES = LK_VECTOR_BYTES / 8 };
    typedef LK_F(V) V;
    const V zero = { 0 }, a = zero + 0xD2511F53u, b = zero + 0xCD9E8D57u;
    V lane;
    memcpy(&lane, (const uint64_t[]){ 0, 1, 2, 3, 4, 5, 6, 7 }, sizeof lane);
    for (int64_t g = 0; g < groups; g++, keep += ELEMENTS) {
        const uint64_t counter = (group + (uint64_t)g) * COUNTERS;
        uint64_t pairs[ELEMENTS / 2];
        for (uint64_t i = 0; i < COUNTERS; i += LANES) {
            V x0 = lane + (counter + i), x1 = zero + (counter >> 32), x2 = zero + call,
              x3 = zero + (call >> 32);
            V key0 = zero + seed, key1 = zero + (seed >> 32);
            for (int round = 0; round < ROUNDS; round++) {
                const V p = LOW_PRODUCT(x0, a), q = LOW_PRODUCT(x2, b);
                x0 = (q >> 32) ^ x1 ^ key0;
                x1 = q;
                x2 = (p >> 32) ^ x3 ^ key1;
                x3 = p;
                key0 += 0x9E3779B9u;
                key1 += 0xBB67AE85u;
            }
            const V first = (x0 & UINT32_MAX) | x1 << 32, second = (x2 & UINT32_MAX) | x3 << 32;
            memcpy(pairs + i, &first, sizeof first);
            memcpy(pairs + COUNTERS + i, &second, sizeof second);
        }
        for (int i = 0; i < ELEMENTS / 2; i++) {
            keep[2 * i] = (uint32_t)pairs[i] >= threshold;
            keep[2 * i + 1] = (uint32_t)(pairs[i] >> 32) >= threshold;
        }
    }
}
#undef LOW_PRODUCT
#endif
