/* test_digits.c - rendered digits: the same bits everywhere, all ten classes, neither empty nor
 * too easy. */
#include "tests/check.h"

#include <string.h>

#include "data/digits.h"

enum { PIXELS = 28 * 28 };

static Dataset *digits(int64_t count, uint64_t seed)
{
    Error err = { 0 };
    Dataset *d = lk_rendered_digits_new(count, seed, LK_TO_TENSOR, &err);
    check_no_error(&err);
    return d;
}

static const uint8_t *image(const Dataset *d, int64_t i)
{
    return (const uint8_t *)d->x->data + i * PIXELS;
}

static uint64_t fnv(uint64_t hash, const void *bytes, int64_t n)
{
    for (int64_t i = 0; i < n; i++) hash = (hash ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3u;
    return hash;
}

static uint64_t hash_of(const Dataset *d)
{
    return fnv(fnv(0xcbf29ce484222325u, d->x->data, lk_numel(d->x)), d->y->data, d->count);
}

/* Made once with gcc 12 and clang 14, -O0 to -O3: a machine or a compiler that differs must be
 * noticed. */
Test(digits, same_bits_on_every_machine)
{
    static const uint64_t expected[] = { 0x17f28016282b030fu, 0x3263c2ce454c4bd9u,
                                         0x057ea170056cd49cu };
    static const uint8_t first_labels[] = { 4, 1, 6, 1, 5, 6, 9, 7, 7, 2, 3, 1, 8, 7, 8, 6 };
    for (uint64_t seed = 0; seed < 3; seed++) {
        Dataset *d = digits(500, seed);
        check_shape(d->x, LK_SHAPE(500, 28, 28));
        check_shape(d->y, LK_SHAPE(500));
        check(d->x->dtype == LK_U8 && d->y->dtype == LK_U8);
        check(hash_of(d) == expected[seed], "seed %d: 0x%016llx", (int)seed,
              (unsigned long long)hash_of(d));
        if (seed == 0) check(memcmp(d->y->data, first_labels, sizeof first_labels) == 0);
        lk_dataset_free(d);
    }
}

Test(digits, same_bits_for_every_number_of_threads)
{
    lk_set_num_threads(1);
    Dataset *one = digits(257, 5);
    for (int threads = 2; threads <= 5; threads++) {
        lk_set_num_threads(threads);
        Dataset *many = digits(257, 5);
        check_equal(many->x, one->x);
        check_equal(many->y, one->y);
        lk_dataset_free(many);
    }

    /* More digits are the same digits and then others. */
    Dataset *more = digits(300, 5);
    check(memcmp(more->x->data, one->x->data, 257 * PIXELS) == 0 &&
          memcmp(more->y->data, one->y->data, 257) == 0);
    lk_dataset_free(more);
    lk_dataset_free(one);
}

static int compare_images(const void *a, const void *b) { return memcmp(a, b, PIXELS); }

/* No image comes twice, neither in one seed nor in two; all 64 bits of the seed count. */
Test(digits, all_different)
{
    static const uint64_t seeds[] = { 0, 1, 2, 1u << 31, UINT64_C(1) << 32, UINT64_MAX };
    enum { SEEDS = sizeof seeds / sizeof *seeds, EACH = 300 };
    static uint8_t all[SEEDS * EACH][PIXELS];
    for (int s = 0; s < SEEDS; s++) {
        Dataset *d = digits(EACH, seeds[s]);
        memcpy(all[s * EACH], d->x->data, EACH * PIXELS);
        lk_dataset_free(d);
    }
    qsort(all, SEEDS * EACH, PIXELS, compare_images);
    for (int i = 1; i < SEEDS * EACH; i++) check(memcmp(all[i - 1], all[i], PIXELS) != 0);
}

/* Ten classes, each about a tenth (± 5 standard deviations of a fair draw), in random order. */
Test(digits, classes)
{
    enum { COUNT = 10000 };
    Dataset *d = digits(COUNT, 3);
    int64_t counts[10] = { 0 }, repeats = 0;
    for (int64_t i = 0; i < COUNT; i++) {
        int64_t label = lk_dataset_label(d, i);
        check(label >= 0 && label <= 9);
        counts[label]++;
        repeats += i > 0 && label == lk_dataset_label(d, i - 1);
    }
    for (int c = 0; c < 10; c++)
        check(counts[c] > 850 && counts[c] < 1150, "%lld times %d", (long long)counts[c], c);
    check(repeats > 850 && repeats < 1150, "%lld neighbours of one class", (long long)repeats);
    lk_dataset_free(d);
}

/* White strokes on black in the middle, as in MNIST, whose mean pixel is 0.1307 with a deviation
 * of 0.3081. */
Test(digits, look_like_mnist)
{
    enum { COUNT = 5000 };
    Dataset *d = digits(COUNT, 4);
    double sum = 0, squares = 0, border = 0;
    for (int64_t i = 0; i < COUNT; i++) {
        double ink = 0, x_mass = 0, y_mass = 0;
        int brightest = 0;
        for (int p = 0; p < PIXELS; p++) {
            double value = image(d, i)[p] / 255.0;
            int x = p % 28, y = p / 28;
            ink += value;
            squares += value * value;
            x_mass += value * x;
            y_mass += value * y;
            if (x == 0 || y == 0 || x == 27 || y == 27) border += value;
            if (image(d, i)[p] > brightest) brightest = image(d, i)[p];
        }
        check(ink > 15 && ink < 300, "image %lld has ink for %.1f pixels", (long long)i, ink);
        check(brightest >= 180, "image %lld: the brightest pixel is %d", (long long)i, brightest);
        check(x_mass / ink > 9 && x_mass / ink < 18, "image %lld lies to the side", (long long)i);
        check(y_mass / ink > 9 && y_mass / ink < 18, "image %lld lies too high or low",
              (long long)i);
        sum += ink;
    }
    double mean = sum / COUNT / PIXELS, deviation = squares / COUNT / PIXELS - mean * mean;
    check(mean > 0.12 && mean < 0.14, "mean pixel %.4f", mean);
    check(deviation > 0.29 * 0.29 && deviation < 0.32 * 0.32, "variance %.4f", deviation);
    check(border / sum < 0.002, "%.4f of the ink lies on the border", border / sum);
    lk_dataset_free(d);
}

/* Comparing with the average image of each class is right for three quarters (MNIST: 0.82): the
 * classes have a shape of their own, but it takes more than a template to tell them apart. */
Test(digits, neither_noise_nor_trivial)
{
    enum { TRAIN = 4000, TEST = 2000 };
    static double mean[10][PIXELS];
    int64_t counts[10] = { 0 }, right = 0;
    Dataset *train = digits(TRAIN, 0), *test = digits(TEST, 1);
    for (int64_t i = 0; i < TRAIN; i++) {
        int64_t c = lk_dataset_label(train, i);
        counts[c]++;
        for (int p = 0; p < PIXELS; p++) mean[c][p] += image(train, i)[p];
    }
    for (int64_t i = 0; i < TEST; i++) {
        int64_t nearest = 0;
        double least = 1e300;
        for (int64_t c = 0; c < 10; c++) {
            double distance = 0;
            for (int p = 0; p < PIXELS; p++) {
                double difference = image(test, i)[p] - mean[c][p] / (double)counts[c];
                distance += difference * difference;
            }
            if (distance < least) {
                least = distance;
                nearest = c;
            }
        }
        right += nearest == lk_dataset_label(test, i);
    }
    double accuracy = (double)right / TEST;
    check(accuracy > 0.68 && accuracy < 0.82, "a template is right for %.3f", accuracy);
    lk_dataset_free(train);
    lk_dataset_free(test);
}

Test(digits, arguments)
{
    Error err = { 0 };
    check(lk_rendered_digits_new(-1, 0, LK_TO_TENSOR, &err) == NULL);
    check_error(&err, LK_EVALUE, "lk_rendered_digits_new: -1 digits");
    err = (Error){ 0 };
    check(lk_rendered_digits_new(INT64_MAX, 0, LK_TO_TENSOR, &err) == NULL);
    check_error(&err, LK_EVALUE, "9223372036854775807 digits");
    err = (Error){ 0 };
    check(lk_rendered_digits_new(2, 0, (Transform){ 0, 0 }, &err) == NULL);
    check_error(&err, LK_EVALUE, "std 0");

    Dataset *none = digits(0, 0);
    check_shape(none->x, LK_SHAPE(0, 28, 28));
    lk_dataset_free(none);
    err = (Error){ 0 };
    Dataset *d = lk_rendered_digits_new(1, 0, LK_MNIST_NORMALIZE, &err);
    check(d->transform.mean == 0.1307f && d->transform.std == 0.3081f && d->count == 1);
    lk_dataset_free(d);
}

Test(digits, out_of_memory)
{
    check_alloc_begin();
    int64_t tried = 0;
    for (int64_t n = 0, failed = 1; failed; n++, tried++) {
        Error err = { 0 };
        check_fail_after(n);
        Dataset *d = lk_rendered_digits_new(2, 0, LK_TO_TENSOR, &err);
        failed = check_alloc_failed();
        check(!d == (failed > 0));
        check(err.code == (failed ? LK_EMEMORY : LK_OK), "%s", err.message);
        lk_dataset_free(d);
        check(check_alloc_live() == 0);
    }
    check(tried == 4);
}
