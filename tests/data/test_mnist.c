/* test_mnist.c - MNIST's files in a folder: every name, every way in which they do not belong
 * together; the real ones too, when they lie beside the source tree. */
#include "tests/check.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "data/idx.h"
#include "data/digits.h"
#include "data/mnist.h"

#ifdef LK_HAVE_ZLIB
#include <zlib.h>
#endif

/* An empty folder: files that the test put there before are removed. */
static const char *fresh_folder(const char *name)
{
    static const char *const left[] = { "train-images-idx3-ubyte", "train-images.idx3-ubyte",
                                        "train-labels-idx1-ubyte", "train-labels.idx1-ubyte",
                                        "t10k-images-idx3-ubyte",  "t10k-images.idx3-ubyte",
                                        "t10k-labels-idx1-ubyte",  "t10k-labels.idx1-ubyte" };
    const char *folder = check_scratch(name);
    check(mkdir(folder, 0755) == 0 || errno == EEXIST, "%s: %s", folder, strerror(errno));
    for (size_t i = 0; i < 2 * sizeof left / sizeof *left; i++) {
        char path[1200];
        snprintf(path, sizeof path, "%s/%s%s", folder, left[i / 2], i % 2 ? ".gz" : "");
        remove(path);
    }
    return folder;
}

/* Writes FOLDER/NAME, compressed when the name ends in .gz. */
static void put(const char *folder, const char *name, const void *bytes, size_t size)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
#ifdef LK_HAVE_ZLIB
    if (strstr(name, ".gz")) {
        gzFile file = gzopen(path, "wb");
        check(file && gzwrite(file, bytes, (unsigned)size) == (int)size && gzclose(file) == Z_OK);
        return;
    }
#endif
    FILE *file = fopen(path, "wb");
    check(file && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

/* The first n images (or labels) of d as an IDX file with `rows` rows of 784 / rows pixels. */
static void put_images(const char *folder, const char *name, const Dataset *d, uint8_t n,
                       uint8_t rows)
{
    uint8_t bytes[16 + 16 * 784] = { 0, 0, 8, 3,    0, 0, 0, n,
                                     0, 0, 0, rows, 0, 0, 0, (uint8_t)(784 / rows) };
    memcpy(bytes + 16, d->x->data, n * 784u);
    put(folder, name, bytes, 16 + n * 784u);
}

static void put_labels(const char *folder, const char *name, const Dataset *d, uint8_t n)
{
    uint8_t bytes[8 + 16] = { 0, 0, 8, 1, 0, 0, 0, n };
    memcpy(bytes + 8, d->y->data, n);
    put(folder, name, bytes, 8u + n);
}

static Dataset *digits(int64_t count)
{
    Error err = { 0 };
    Dataset *d = lk_rendered_digits_new(count, 0, LK_TO_TENSOR, &err);
    check_no_error(&err);
    return d;
}

Test(mnist, every_name)
{
#ifdef LK_HAVE_ZLIB
    static const char *const ends[][2] = { { "-images-idx3-ubyte", "-labels-idx1-ubyte" },
                                           { "-images-idx3-ubyte.gz", "-labels-idx1-ubyte.gz" },
                                           { "-images.idx3-ubyte", "-labels.idx1-ubyte" },
                                           { "-images.idx3-ubyte.gz", "-labels.idx1-ubyte.gz" },
                                           { "-images-idx3-ubyte.gz", "-labels.idx1-ubyte" } };
#else
    static const char *const ends[][2] = { { "-images-idx3-ubyte", "-labels-idx1-ubyte" },
                                           { "-images.idx3-ubyte", "-labels.idx1-ubyte" } };
#endif
    Dataset *d = digits(12);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        for (int train = 0; train < 2; train++) {
            const char *folder = fresh_folder("names"), *start = train ? "train" : "t10k";
            char images[64], labels[64];
            snprintf(images, sizeof images, "%s%s", start, ends[i][0]);
            snprintf(labels, sizeof labels, "%s%s", start, ends[i][1]);
            check(!lk_mnist_exists(folder));
            put_images(folder, images, d, 12, 28);
            put_labels(folder, labels, d, 12);
            check(lk_mnist_exists(folder) == train); /* the test files alone are no MNIST */

            Error err = { 0 };
            Dataset *m = lk_mnist_new(folder, train, LK_MNIST_NORMALIZE, &err);
            check_no_error(&err);
            check(m->count == 12 && m->index == NULL && m->transform.mean == 0.1307f &&
                  m->transform.std == 0.3081f);
            check_equal(m->x, d->x);
            check_equal(m->y, d->y);
            lk_dataset_free(m);
            check(lk_mnist_new(folder, !train, LK_TO_TENSOR, &err) == NULL);
            check_error(&err, LK_EIO, train ? "holds no test images" : "holds no training images");
        }
    }
    lk_dataset_free(d);
}

static void check_refused(const char *folder, bool train, ErrorCode code, const char *text)
{
    Error err = { 0 };
    check(lk_mnist_new(folder, train, LK_TO_TENSOR, &err) == NULL);
    check_error(&err, code, text);
    check(check_alloc_live() == 0);
}

Test(mnist, missing)
{
    check_alloc_begin();
    check(!lk_mnist_exists(NULL) && !lk_mnist_exists(check_scratch("nowhere")));
    check_refused(NULL, true, LK_EVALUE, "folder is NULL");
    check_refused(check_scratch("nowhere"), true, LK_EIO,
                  "nowhere cannot be opened: No such file");
    check_refused(check_source("README.md"), true, LK_EIO, "README.md");
    const char *folder = fresh_folder("missing");
    check_refused(folder, true, LK_EIO, folder);
    check_refused(
        folder, true, LK_EIO,
        "holds no training images; tried train-images-idx3-ubyte, "
        "train-images-idx3-ubyte.gz, train-images.idx3-ubyte, train-images.idx3-ubyte.gz");
    check_refused(folder, false, LK_EIO, "holds no test images; tried t10k-images-idx3-ubyte, ");
    char file[1200], long_name[6000];
    put(folder, "a file", "", 0);
    snprintf(file, sizeof file, "%s/a file", folder);
    check_refused(file, true, LK_EIO, "a file is not a folder");
    /* every beginning of it exists */
    for (size_t i = 0; i < sizeof long_name; i++) long_name[i] = "./"[i % 2];
    long_name[sizeof long_name - 1] = 0;
    check(!lk_mnist_exists(long_name));
    check_refused(long_name, true, LK_EIO, "lk_mnist_new: ./././");
}

Test(mnist, files_that_do_not_belong_together)
{
    Dataset *d = digits(12);
    const char *folder = fresh_folder("together");
    check_alloc_begin();
    put_images(folder, "train-images-idx3-ubyte", d, 12, 28);
    check_refused(folder, true, LK_EIO,
                  "holds no training labels; tried train-labels-idx1-ubyte, ");
    put_labels(folder, "train-labels-idx1-ubyte", d, 11);
    check_refused(folder, true, LK_EFORMAT, "12 images but 11 labels");
    put_images(folder, "train-labels-idx1-ubyte", d, 12, 28);
    check_refused(folder, true, LK_EFORMAT, "holds images (magic 0x00000803), not labels");
    put_labels(folder, "train-labels-idx1-ubyte", d, 12);
    put_images(folder, "train-images-idx3-ubyte", d, 12, 14);
    check_refused(folder, true, LK_EFORMAT, "images of 14 x 56 pixels; MNIST's have 28 x 28");

    /* An error page under the name of a compressed file is found, and said to be one. */
    folder = fresh_folder("together");
    put(folder, "page", "<html>404</html>", 16);
    char from[1200], to[1200];
    snprintf(from, sizeof from, "%s/page", folder);
    snprintf(to, sizeof to, "%s/t10k-images-idx3-ubyte.gz", folder);
    check(rename(from, to) == 0);
    put_labels(folder, "t10k-labels-idx1-ubyte", d, 12);
    check_refused(folder, false, LK_EFORMAT, "t10k-images-idx3-ubyte.gz: is an HTML page");
    lk_dataset_free(d);
}

Test(mnist, out_of_memory)
{
    Dataset *d = digits(3);
    const char *folder = fresh_folder("memory");
    put_images(folder, "train-images-idx3-ubyte", d, 3, 28);
    put_labels(folder, "train-labels-idx1-ubyte", d, 3);
    lk_dataset_free(d);
    check_alloc_begin();
    int64_t tried = 0;
    for (int64_t n = 0, failed = 1; failed; n++, tried++) {
        Error err = { 0 };
        check_fail_after(n);
        Dataset *m = lk_mnist_new(folder, true, LK_TO_TENSOR, &err);
        failed = check_alloc_failed();
        check(!m == (failed > 0));
        check(err.code == (failed ? LK_EMEMORY : LK_OK), "%s", err.message);
        lk_dataset_free(m);
        check(check_alloc_live() == 0);
    }
    check(tried == 4);
}

/* ---- the real files, where they are at hand ------------------------------------------------- */

#ifdef LK_HAVE_ZLIB

static int64_t count_classes(const Dataset *d, int count, const int64_t *classes)
{
    Error err = { 0 };
    Dataset *some = lk_filter_classes_new(d, count, classes, &err);
    check_no_error(&err);
    int64_t n = some->count;
    lk_dataset_free(some);
    return n;
}

Test(mnist, real_files)
{
    const char *folder = check_source("../shared/data/mnist");
    if (!lk_mnist_exists(folder)) return;
    static const int64_t per_class[] = { 980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009 };
    Error err = { 0 };
    Dataset *train = lk_mnist_new(folder, true, LK_TO_TENSOR, &err);
    Dataset *test = lk_mnist_new(folder, false, LK_TO_TENSOR, &err);
    check_no_error(&err);
    check_shape(train->x, LK_SHAPE(60000, 28, 28));
    check_shape(test->x, LK_SHAPE(10000, 28, 28));
    for (int64_t c = 0; c < 10; c++) check(count_classes(test, 1, &c) == per_class[c]);
    check(count_classes(train, LK_SHAPE(9)) == 5949);
    check(count_classes(train, LK_SHAPE(3, 6, 8, 9)) == 23849);
    check(lk_dataset_label(train, 0) == 5 && lk_dataset_label(test, 0) == 7);
    int64_t sum = 0;
    for (int64_t i = 0; i < lk_numel(train->x); i++) sum += ((uint8_t *)train->x->data)[i];
    double mean = (double)sum / 255 / (double)lk_numel(train->x);
    check(mean > 0.1306595 && mean < 0.1306615, "mean pixel %.7f", mean);
    lk_dataset_free(train);
    lk_dataset_free(test);
}

#endif
