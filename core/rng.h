/* rng.h - random numbers: the streams of PyTorch 1.13's CPU generator, number for number.
 *
 *     Rng rng;
 *     lk_manual_seed(&rng, 0);
 *
 * MT19937 (Matsumoto and Nishimura 1998). The generator is explicit state: every function that
 * draws takes it as an argument. Most functions here draw one number; a NULL generator draws
 * 0. lk_uniform_, lk_normal_, … (core/tensor.h) fill tensors. */
#ifndef LK_RNG_H
#define LK_RNG_H

#include "core/api.h"

typedef struct Rng {
    uint32_t word[624]; /* state of the twister */
    int next;           /* index of the next word, 624: twist first */
    bool has_normal;    /* Box-Muller makes two values; the second waits here */
    double normal;
} Rng;

/* torch.manual_seed: the low 32 bits seed the twister; a waiting normal is forgotten. */
LK_API void lk_manual_seed(Rng *rng, uint64_t seed);

LK_API uint32_t lk_random_u32(Rng *rng); /* 1 word */
LK_API uint64_t lk_random_u64(Rng *rng); /* 2 words, the first is the high half */
LK_API float lk_random_f32(Rng *rng);    /* torch.rand, float32: [0, 1) from 24 bits of 1 word */
LK_API double lk_random_f64(Rng *rng);   /* torch.rand, float64: [0, 1) from 53 bits of 2 words */
LK_API int64_t lk_random_seed(Rng *rng); /* int64 .random_(): 63 bits of 2 words, a seed */
/* torch.randint: a number in [low, high). When that is empty, returns low without a draw. */
LK_API int64_t lk_random_int(Rng *rng, int64_t low, int64_t high);

/* One element of a torch.randn of fewer than 16 elements: a double by Box-Muller. The second value
 * of a pair waits in the generator. */
LK_API double lk_random_normal(Rng *rng);

/* torch.randn of a contiguous tensor: x[0 … n-1] = mean + std * N(0, 1), in blocks of 16, or one
 * by one when there are fewer. */
LK_API void lk_random_normals_f32(Rng *rng, float *x, int64_t n, double mean, double std);
LK_API void lk_random_normals_f64(Rng *rng, double *x, int64_t n, double mean, double std);

/* torch.randperm: writes a permutation of 0 … n-1 into order. */
LK_API void lk_random_perm(Rng *rng, int64_t n, int64_t *order);

#endif
