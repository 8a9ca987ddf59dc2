/* rng.c - the random streams of PyTorch 1.13's CPU generator. lk_uniform_ and
 * lk_normal_ (core/tensor_values.c) fill tensors with them.
 *
 * Two things make a stream equal PyTorch's: how many words a value takes, and where it is rounded.
 * core/rng_real.h has the Gaussian blocks, which round differently in float and double. */
#include "core/rng.h"

#define LK_REAL_SOURCE "core/rng_real.h"
#include "core/real.h"

/* ---- MT19937 -------------------------------------------------------------------------------- */

enum { WORDS = 624, MIDDLE = 397 };

void lk_manual_seed(Rng *rng, uint64_t seed)
{
    if (!rng) return;
    rng->word[0] = (uint32_t)seed; /* PyTorch, too, drops the upper half */
    for (uint32_t i = 1; i < WORDS; i++) {
        uint32_t before = rng->word[i - 1];
        rng->word[i] = 1812433253u * (before ^ (before >> 30)) + i;
    }
    rng->next = WORDS;
    rng->has_normal = false;
    rng->normal = 0;
}

/* The recurrence x[k + 624] = x[k + 397] xor (top bit of x[k], other bits of x[k + 1]) · A. */
static uint32_t recur(uint32_t far, uint32_t here, uint32_t next)
{
    uint32_t y = (here & 0x80000000u) | (next & 0x7fffffffu);
    return far ^ (y >> 1) ^ (-(y & 1) & 0x9908b0dfu);
}

/* Makes 624 new words in place of the old, in three pieces and without a modulo, so that compilers
 * vectorise the first two pieces. */
static void twist(Rng *rng)
{
    uint32_t *x = rng->word;
    int k = 0;
    for (; k < WORDS - MIDDLE; k++) x[k] = recur(x[k + MIDDLE], x[k], x[k + 1]);
    for (; k < WORDS - 1; k++) x[k] = recur(x[k + MIDDLE - WORDS], x[k], x[k + 1]);
    x[k] = recur(x[MIDDLE - 1], x[k], x[0]);
    rng->next = 0;
}

uint32_t lk_random_u32(Rng *rng)
{
    if (!rng) return 0;
    if (rng->next >= WORDS) twist(rng);
    uint32_t y = rng->word[rng->next++];
    y ^= y >> 11; /* tempering: the raw words are too regular in their low bits */
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

uint64_t lk_random_u64(Rng *rng)
{
    uint64_t high = lk_random_u32(rng);
    return high << 32 | lk_random_u32(rng);
}

/* ---- uniform numbers ------------------------------------------------------------------------ */

float lk_random_f32(Rng *rng)
{
    /* exact: as many bits as a float has */
    return (float)(lk_random_u32(rng) & 0xffffffu) * 0x1p-24f;
}

double lk_random_f64(Rng *rng)
{
    return (double)(lk_random_u64(rng) & 0x1fffffffffffffu) * 0x1p-53;
}

int64_t lk_random_int(Rng *rng, int64_t low, int64_t high)
{
    if (low >= high) return low;
    /* unsigned: from INT64_MIN to INT64_MAX fits too */
    uint64_t range = (uint64_t)high - (uint64_t)low;
    uint64_t word = range >> 32 ? lk_random_u64(rng) : lk_random_u32(rng);
    return (int64_t)((uint64_t)low + word % range);
}

int64_t lk_random_seed(Rng *rng) { return (int64_t)(lk_random_u64(rng) & INT64_MAX); }

/* Fisher-Yates from the front, with n - 1 words: the last element has nowhere to go. */
void lk_random_perm(Rng *rng, int64_t n, int64_t *order)
{
    if (!rng || !order) return;
    for (int64_t i = 0; i < n; i++) order[i] = i;
    for (int64_t i = 0; i < n - 1; i++) {
        int64_t j = i + (int64_t)(lk_random_u32(rng) % (uint64_t)(n - i));
        int64_t element = order[i];
        order[i] = order[j];
        order[j] = element;
    }
}

/* ---- normal numbers: Box-Muller ------------------------------------------------------------- */

/* With u and v uniform in [0, 1), r = √(-2 ln(1 - v)) and θ = 2πu give two independent normals,
 * r cos θ and r sin θ. It takes ln(1 - v) because ln 0 is infinite. It calls log, not log1p,
 * because PyTorch's last bit comes from log. */
double lk_random_normal(Rng *rng)
{
    if (!rng) return 0;
    if (rng->has_normal) {
        rng->has_normal = false;
        return rng->normal;
    }
    double u = lk_random_f64(rng), v = lk_random_f64(rng);
    double r = sqrt(-2 * log(1 - v)), theta = 2 * M_PI * u;
    rng->normal = r * sin(theta);
    rng->has_normal = true;
    return r * cos(theta);
}

void lk_random_normals_f32(Rng *rng, float *x, int64_t n, double mean, double std)
{
    if (rng && x) LK_OF_SET(normals_f32)(rng, x, n, mean, std);
}

void lk_random_normals_f64(Rng *rng, double *x, int64_t n, double mean, double std)
{
    if (rng && x) LK_OF_SET(normals_f64)(rng, x, n, mean, std);
}
