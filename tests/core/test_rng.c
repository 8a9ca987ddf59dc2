/* test_rng.c - the number streams of PyTorch: known values one by one, then whole streams from
 * fixtures/rng.h.
 *
 * Words, uniform numbers, integers and permutations are compared exactly; float64 normals to 1e-14
 * (the last bit is libm's), float32 normals to 1e-6. */
#include <math.h>
#include <string.h>

#include "core/rng.h"
#include "tests/check.h"

#include "tests/fixtures/rng.h"

enum { COUNT_OF_STREAMS = sizeof streams / sizeof *streams };

static Rng seeded(uint64_t seed)
{
    Rng rng;
    lk_manual_seed(&rng, seed);
    return rng;
}

static void check_near(double got, double expected, double tolerance, const char *what, int64_t i)
{
    check(fabs(got - expected) <= tolerance, "%s, number %lld: expected %.17g, got %.17g", what,
          (long long)i, expected, got);
}

static void check_int(int64_t got, int64_t expected, const char *what, int64_t i)
{
    check(got == expected, "%s, number %lld: expected %lld, got %lld", what, (long long)i,
          (long long)expected, (long long)got);
}

/* The next word of rng is the one that follows `words` words of the stream of `seed`. */
static void check_words_used(Rng *rng, uint64_t seed, int words, const char *what)
{
    Rng other = seeded(seed);
    for (int i = 0; i < words; i++) lk_random_u32(&other);
    check_int(lk_random_u32(rng), lk_random_u32(&other), what, words);
}

static uint64_t fnv(const void *bytes, size_t size)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3u;
    return hash;
}

/* ---- words and uniform numbers -------------------------------------------------------------- */

Test(rng, first_words)
{
    static const int64_t zero[] = { 2357136044, 2546248239, 3071714933, 3626093760, 2588848963 };
    static const int64_t forty_two[] = { 1608637542, 3421126067, 4083286876 };
    Rng rng = seeded(0);
    for (int i = 0; i < 5; i++) check_int(lk_random_u32(&rng), zero[i], "seed 0", i);
    rng = seeded(42);
    for (int i = 0; i < 3; i++) check_int(lk_random_u32(&rng), forty_two[i], "seed 42", i);
}

/* C++ demands this value of std::mt19937, whose default seed is 5489. */
Test(rng, ten_thousandth_word)
{
    Rng rng = seeded(5489);
    for (int i = 0; i < 9999; i++) lk_random_u32(&rng);
    check_int(lk_random_u32(&rng), 4123659995, "seed 5489", 9999);
}

Test(rng, upper_half_of_a_seed_is_ignored)
{
    Rng low = seeded(5), high = seeded((uint64_t)7 << 32 | 5), other = seeded(6);
    for (int i = 0; i < 1000; i++) {
        uint32_t word = lk_random_u32(&low);
        check_int(lk_random_u32(&high), word, "seed 5 + 7·2^32", i);
        check(word != lk_random_u32(&other), "seeds 5 and 6 agree in word %d", i);
    }
}

Test(rng, bits_of_uniform_numbers)
{
    Rng rng = seeded(1), words = rng;
    for (int i = 0; i < 1000; i++) {
        uint64_t high = lk_random_u32(&words), low = lk_random_u32(&words);
        check(lk_random_u64(&rng) == (high << 32 | low),
              "number %d: the first word is the high half", i);
    }
    for (int i = 0; i < 1000; i++) {
        double bits = lk_random_u32(&words) & 0xffffff;
        check_near(lk_random_f32(&rng), ldexp(bits, -24), 0, "float32", i);
    }
    for (int i = 0; i < 1000; i++) {
        uint64_t bits = lk_random_u64(&words) & ((1ull << 53) - 1);
        check_near(lk_random_f64(&rng), ldexp((double)bits, -53), 0, "float64", i);
    }
}

/* ---- integers ------------------------------------------------------------------------------- */

Test(rng, integers_stay_in_range)
{
    static const int64_t ranges[][2] = {
        { -3, 4 },
        { 0, 1 },
        { 5, INT64_C(1) << 32 },
        { -1, INT64_C(1) << 40 },
        { INT64_MIN, INT64_MAX },
        { INT64_MIN, INT64_MIN + 2 },
    };
    Rng rng = seeded(2);
    for (size_t r = 0; r < sizeof ranges / sizeof *ranges; r++) {
        for (int i = 0; i < 1000; i++) {
            int64_t low = ranges[r][0], high = ranges[r][1], n = lk_random_int(&rng, low, high);
            check(n >= low && n < high, "%lld is not in [%lld, %lld)", (long long)n,
                  (long long)low, (long long)high);
        }
    }
}

Test(rng, words_per_integer)
{
    Rng rng = seeded(3);
    lk_random_int(&rng, 0, UINT32_MAX);
    check_words_used(&rng, 3, 1, "a range below 2^32");
    rng = seeded(3);
    lk_random_int(&rng, -1, UINT32_MAX);
    check_words_used(&rng, 3, 2, "a range of 2^32");
    rng = seeded(3);
    check(lk_random_int(&rng, 4, 4) == 4 && lk_random_int(&rng, 5, -5) == 5,
          "an empty range gives its lower end");
    check_words_used(&rng, 3, 0, "an empty range");
}

Test(rng, permutations)
{
    enum { MOST = 1000 };
    int64_t order[MOST + 1];
    for (int n = 0; n <= MOST; n = n < 20 ? n + 1 : n + 245) {
        bool seen[MOST] = { false };
        Rng rng = seeded(4);
        order[n] = -7;
        lk_random_perm(&rng, n, order);
        for (int i = 0; i < n; i++) {
            int64_t item = order[i];
            check(item >= 0 && item < n && !seen[item], "n = %d: order[%d] = %lld", n, i,
                  (long long)item);
            seen[item] = true;
        }
        check_int(order[n], -7, "the place behind the end", n);
        check_words_used(&rng, 4, n > 1 ? n - 1 : 0, "words of a permutation");
    }
}

/* ---- normal numbers ------------------------------------------------------------------------- */

Test(rng, second_normal_waits)
{
    static const double first[] = { 1.5409961, -0.2934289, -2.1787894 };
    Rng rng = seeded(0);
    for (int i = 0; i < 3; i++) check_near(lk_random_normal(&rng), first[i], 5e-8, "randn(3)", i);
    check_near(lk_random_f32(&rng), 0.4556280, 5e-8, "rand(1)", 3);
    check_near(lk_random_normal(&rng), 0.5684313, 5e-8, "randn(1), which waited", 4);
    check_words_used(&rng, 0, 9, "two pairs and a float");

    /* A block of sixteen leaves the waiting value alone; a new seed forgets it. */
    float block[16];
    rng = seeded(0);
    lk_random_normal(&rng);
    lk_random_normals_f32(&rng, block, 16, 0, 1);
    check_near(lk_random_normal(&rng), -0.2934289, 5e-8, "randn(1) after randn(16)", 1);
    lk_random_normal(&rng);
    lk_manual_seed(&rng, 0);
    check_near(lk_random_normal(&rng), 1.5409961, 5e-8, "randn(1) after manual_seed", 0);
}

Test(rng, seventeen_normals)
{
    static const double expected[17] = { -1.1258398, -1.6959312, 0.5666506, 0.7935084, 0.5988395,
                                         -1.5550951, -0.3413604, 1.8530061, 0.4680964, -0.5854976,
                                         -0.1733968, 0.1834779,  1.3893661, 1.5863342, 0.9462984,
                                         -0.8436767, 0.9318266 };
    Rng rng = seeded(0);
    float x[17];
    lk_random_normals_f32(&rng, x, 17, 0, 1);
    for (int i = 0; i < 17; i++) check_near(x[i], expected[i], 1e-6, "randn(17)", i);

    rng = seeded(0);
    double y[16];
    lk_random_normals_f64(&rng, y, 16, 0, 1);
    check_near(y[0], -2.310411800234176, 1e-14, "randn(16), float64", 0);
    check_near(y[1], -0.3732508612577643, 1e-14, "randn(16), float64", 1);
    check_near(lk_random_f64(&rng), 0.40728157436444157, 0, "rand(2) after it, float64", 0);
    check_near(lk_random_f64(&rng), 0.2054385934615871, 0, "rand(2) after it, float64", 1);
}

Test(rng, words_per_normal)
{
    static const int counts[][2] = {
        { 16, 16 }, { 17, 33 }, { 31, 47 }, { 32, 32 }, { 40, 56 }, { 784, 784 }, { 1000, 1016 },
    };
    float x[1000];
    double y[1000];
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        Rng rng = seeded(5);
        lk_random_normals_f32(&rng, x, counts[i][0], 0, 1);
        check_words_used(&rng, 5, counts[i][1], "float32 normals");
        rng = seeded(5);
        lk_random_normals_f64(&rng, y, counts[i][0], 0, 1);
        check_words_used(&rng, 5, 2 * counts[i][1], "float64 normals");
    }
}

/* Fewer than sixteen are no block; they are what lk_random_normal gives. */
Test(rng, few_normals)
{
    for (int n = 0; n < 16; n++) {
        Rng rng = seeded(6), single = rng;
        double x[17];
        x[n] = 7;
        lk_random_normals_f64(&rng, x, n, 0.5, 2);
        for (int i = 0; i < n; i++)
            check_near(x[i], lk_random_normal(&single) * 2 + 0.5, 1e-15, "few normals", i);
        check_near(x[n], 7, 0, "the place behind the end", n);
        check_int(lk_random_u32(&rng), lk_random_u32(&single), "the word after few normals", n);
    }
}

Test(rng, angle_is_rounded_to_float)
{
    static float x[HARD_NORMALS];
    Rng rng = seeded(0);
    lk_random_normals_f32(&rng, x, HARD_NORMALS, 0, 1);
    for (size_t i = 0; i < sizeof hard_normals / sizeof *hard_normals; i++)
        check_near(x[hard_normals[i].index], hard_normals[i].value, 1e-6, "randn(65536)",
                   hard_normals[i].index);
}

/* ---- whole streams -------------------------------------------------------------------------- */

static void check_ints(Rng *rng, const Step *step, const char *what)
{
    int64_t order[64];
    if (step->draw == RANDPERM) lk_random_perm(rng, step->n, order);
    for (int i = 0; i < step->n; i++) {
        int64_t got = 0;
        if (step->draw == WORDS) got = lk_random_u32(rng);
        if (step->draw == SEEDS) got = lk_random_seed(rng);
        if (step->draw == RANDINT) got = lk_random_int(rng, step->low, step->high);
        if (step->draw == RANDPERM) got = order[i];
        check_int(got, step->ints[i], what, i);
    }
}

static void check_reals(Rng *rng, const Step *step, const char *what)
{
    Tensor *x = lk_tensor_new(step->dtype, LK_SHAPE(step->n), NULL);
    Tensor view = *x;
    if (step->layout != DENSE) {
        bool sliced = step->layout == SLICED;
        view.ndim = 2;
        view.shape[0] = sliced ? step->n / 5 : 5, view.stride[0] = sliced ? 5 : 1;
        view.shape[1] = sliced ? 3 : step->n / 5, view.stride[1] = sliced ? 1 : 5;
    }
    if (step->draw == UNIFORM) check(lk_uniform_(&view, step->a, step->b, rng));
    if (step->draw == NORMAL) check(lk_normal_(&view, step->a, step->b, rng));
    double tolerance = step->dtype == LK_F32 ? 1e-6 : 1e-14;
    if (step->draw != NORMAL) tolerance = 0;
    for (int i = 0; i < step->n; i++) {
        double got = lk_at(x, LK_INDEX(i));
        if (step->draw == RAND)
            got = step->dtype == LK_F32 ? (double)lk_random_f32(rng) : lk_random_f64(rng);
        check_near(got, step->reals[i], tolerance, what, i);
    }
    lk_tensor_free(x);
}

Test(rng, streams)
{
    for (int s = 0; s < COUNT_OF_STREAMS; s++) {
        Rng rng = seeded(streams[s].seed);
        for (int i = 0; i < streams[s].steps; i++) {
            const Step *step = &streams[s].step[i];
            char what[64];
            snprintf(what, sizeof what, "stream %d, step %d, draw %d of %s", s, i, (int)step->draw,
                     lk_dtype_name(step->dtype));
            if (step->dtype == LK_I64) check_ints(&rng, step, what);
            else check_reals(&rng, step, what);
        }
    }
}

/* A copy of the struct is a saved generator. */
Test(rng, copy_continues)
{
    Rng rng = seeded(7);
    for (int i = 0; i < 700; i++) lk_random_u32(&rng);
    lk_random_normal(&rng);
    Rng copy = rng;
    for (int i = 0; i < 1001; i++)
        check_near(lk_random_normal(&copy), lk_random_normal(&rng), 0, "copy", i);
}

/* ---- what the notebooks draw ---------------------------------------------------------------- */

/* Draws the weights and biases of 784-128-64-10 and, with hashes, compares them bit for bit. */
static void draw_linears(Rng *rng, const uint64_t *hashes)
{
    static const int64_t shapes[6][2] = { { 128, 784 }, { 1, 128 }, { 64, 128 },
                                          { 1, 64 },    { 10, 64 }, { 1, 10 } };
    for (int i = 0; i < 6; i++) {
        Tensor *x = lk_tensor_new(LK_F32, 2, shapes[i], NULL);
        double bound = 1 / sqrt((double)shapes[i / 2 * 2][1]);
        check(lk_uniform_(x, -bound, bound, rng));
        if (hashes) {
            uint64_t hash = fnv(x->data, x->storage->bytes);
            check(hash == hashes[i],
                  "tensor %d: expected %016llx, got %016llx, its first values are %a %a", i,
                  (unsigned long long)hashes[i], (unsigned long long)hash,
                  (double)((float *)x->data)[0], (double)((float *)x->data)[1]);
        }
        lk_tensor_free(x);
    }
}

Test(rng, linear_weights_bit_for_bit)
{
    for (uint64_t seed = 0; seed < 2; seed++) {
        Rng rng = seeded(seed);
        draw_linears(&rng, linear_hashes[seed]);
    }
    /* Where one rounding and two differ: the hashes above would differ too, these say why. */
    Tensor *x = lk_tensor_new(LK_F32, LK_SHAPE(7), NULL);
    Rng rng = seeded(0);
    lk_uniform_(x, -1.0 / 28, 1.0 / 28, &rng);
    check_near(lk_at(x, LK_INDEX(1)), 0x1.39e56ap-6, 0, "Linear(784, 128).weight", 1);
    check_near(lk_at(x, LK_INDEX(6)), -0x1.72fe4ap-11, 0, "Linear(784, 128).weight", 6);
    lk_tensor_free(x);
}

/* One pass over a DataLoader: a base seed and, when it shuffles, the seed of a generator for the
 * order alone. */
static void check_pass(Rng *rng, int number)
{
    enum { ITEMS = 60000 };
    static int64_t order[ITEMS];
    lk_random_seed(rng);
    Rng own = seeded((uint64_t)lk_random_seed(rng));
    lk_random_perm(&own, ITEMS, order);
    for (int i = 0; i < 4; i++)
        check_int(order[i], course_orders[number].start[i], "shuffled order", i);
    check(fnv(order, sizeof order) == course_orders[number].hash,
          "order %d differs behind its start", number);
}

Test(rng, course_of_a_notebook)
{
    Rng rng = seeded(0);
    draw_linears(&rng, linear_hashes[0]);
    for (int i = 0; i < 4; i++) check_pass(&rng, i);
    lk_random_seed(&rng); /* the test pass does not shuffle */
    for (int i = 0; i < 3; i++) {
        static const int64_t inputs[] = { 784, 128, 64 };
        Tensor *a = lk_tensor_new(LK_F32, LK_SHAPE(inputs[i], 4), NULL);
        check(lk_normal_(a, 0, 1, &rng));
        for (int j = 0; j < 4; j++)
            check_near(lk_at(a, LK_INDEX(0, j)), course_adapters[i][j], 1e-6, "A", j);
        lk_tensor_free(a);
    }
    lk_random_seed(&rng);
    check_pass(&rng, 4);
}
