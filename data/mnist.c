/* mnist.c - finds MNIST's four files under the names that are in use. Their format: data/idx.c.
 * Without them: data/digits.c draws digits. */
#include "data/mnist.h"

#include <errno.h>
#include <string.h>

#include "data/idx.h"
#include "data/io.h"

enum { SIDE = 28, NAMES = 4, NAME_ROOM = 32, PATH_ROOM = 4096 };

/* Writes name number i of a file: its author's name or that of torchvision's mirrors, each plain
 * or compressed. */
static const char *file_name(int i, bool train, bool images, char name[NAME_ROOM])
{
    snprintf(name, NAME_ROOM, "%s-%s%cidx%d-ubyte%s", train ? "train" : "t10k",
             images ? "images" : "labels", i < 2 ? '-' : '.', images ? 3 : 1, i % 2 ? ".gz" : "");
    return name;
}

/* Writes the path of the first name that exists. False: none does, with errno 0; or errno says why
 * that of the path cannot be told. */
static bool find_file(const char *folder, bool train, bool images, char path[PATH_ROOM])
{
    for (int i = 0; i < NAMES; i++) {
        char name[NAME_ROOM];
        struct stat info;
        int length = snprintf(path, PATH_ROOM, "%s/%s", folder, file_name(i, train, images, name));
        if (length >= PATH_ROOM) continue;
        if (lk__io->stat(path, &info) == 0) return true;
        if (!lk__io_is_missing()) return false;
    }
    errno = 0;
    return false;
}

bool lk_mnist_exists(const char *folder)
{
    char path[PATH_ROOM];
    return folder && find_file(folder, true, true, path);
}

/* Says why find_file found nothing. */
static bool not_found(const char *folder, bool train, bool images, const char *path, Error *err)
{
    struct stat info;
    if (errno != 0)
        return lk_error_set(err, LK_EIO, "lk_mnist_new: %.200s cannot be opened: %s", path,
                            strerror(errno));
    if (lk__io->stat(folder, &info) != 0)
        return lk_error_set(err, LK_EIO, "lk_mnist_new: %s cannot be opened: %s", folder,
                            strerror(errno));
    if (!S_ISDIR(info.st_mode))
        return lk_error_set(err, LK_EIO, "lk_mnist_new: %s is not a folder", folder);
    char name[NAMES][NAME_ROOM];
    for (int i = 0; i < NAMES; i++) file_name(i, train, images, name[i]);
    return lk_error_set(err, LK_EIO, "lk_mnist_new: %s holds no %s %s; tried %s, %s, %s, %s",
                        folder, train ? "training" : "test", images ? "images" : "labels", name[0],
                        name[1], name[2], name[3]);
}

/* Checks that images and labels belong together. */
static bool check(const char *folder, const Tensor *x, const Tensor *y, Error *err)
{
    if (x->shape[1] != SIDE || x->shape[2] != SIDE)
        return lk_error_set(err, LK_EFORMAT,
                            "lk_mnist_new: %s: images of %lld x %lld pixels; MNIST's have 28 x 28",
                            folder, (long long)x->shape[1], (long long)x->shape[2]);
    if (x->shape[0] != y->shape[0])
        return lk_error_set(err, LK_EFORMAT, "lk_mnist_new: %s: %lld images but %lld labels",
                            folder, (long long)x->shape[0], (long long)y->shape[0]);
    return true;
}

Dataset *lk_mnist_new(const char *folder, bool train, Transform transform, Error *err)
{
    char images[PATH_ROOM], labels[PATH_ROOM];
    if (!folder) {
        lk_error_set(err, LK_EVALUE, "lk_mnist_new: folder is NULL");
        return NULL;
    }
    bool there =
        (find_file(folder, train, true, images) || not_found(folder, train, true, images, err)) &&
        (find_file(folder, train, false, labels) || not_found(folder, train, false, labels, err));
    Tensor *x = there ? lk_idx_images_new(images, err) : NULL;
    Tensor *y = x ? lk_idx_labels_new(labels, err) : NULL;
    if (y && check(folder, x, y, err)) return lk_dataset_new(x, y, transform, err);
    lk_tensor_free(x);
    lk_tensor_free(y);
    return NULL;
}
