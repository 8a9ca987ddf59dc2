/* test_image_folder.c - a folder of pictures as a dataset: torchvision's order, refusals. */
#include "tests/check.h"

#include <string.h>
#include <sys/stat.h>

#include "data/image.h"
#include "data/image_folder.h"

/* Makes the folders of a path in the scratch folder; returns the path. */
static const char *make_folder(const char *path)
{
    char part[256];
    for (const char *end = path; *end; end++)
        if (end[1] == '/' || end[1] == '\0') {
            snprintf(part, sizeof part, "%.*s", (int)(end + 1 - path), path);
            mkdir(check_scratch(part), 0777);
        }
    return check_scratch(path);
}

/* A gray picture of one row, in which all pixels have this value. */
static void make_picture(const char *path, int64_t width, int value)
{
    Tensor *x = lk_tensor_new(LK_U8, LK_SHAPE(1, width), NULL);
    lk_fill_(x, value);
    check(lk_write_pnm(x, check_scratch(path), NULL));
    lk_free(x);
}

/* zebra, Ant and bee: classes and files are sorted by bytes, nested folders come last. */
static const char *make_zoo(void)
{
    make_folder("zoo/zebra/b/c");
    make_folder("zoo/zebra/a.b");
    make_folder("zoo/Ant");
    make_folder("zoo/bee");
    make_picture("zoo/bee/10.pgm", 2, 10);
    make_picture("zoo/bee/9.PGM", 2, 11);
    make_picture("zoo/bee/a.pnm", 2, 12);
    make_picture("zoo/Ant/x.pgm", 2, 1);
    make_picture("zoo/zebra/z.pgm", 2, 20);
    make_picture("zoo/zebra/b/a.pgm", 2, 22);
    make_picture("zoo/zebra/b/c/a.pgm", 2, 23);
    make_picture("zoo/zebra/a.b/a.pgm", 2, 21);
    check_write("zoo/zebra/notes.txt", "no picture", 10);
    check_write("zoo/readme.pgm", "in no class", 11);
    return check_scratch("zoo");
}

Test(image_folder, samples_are_in_the_order_of_torchvision)
{
    check_alloc_begin();
    Error err = { 0 };
    Names classes = { 0 };
    Dataset *d = lk_image_folder_new(make_zoo(), 1, LK_TO_TENSOR, &classes, &err);
    check_no_error(&err);
    check(classes.count == 3 && strcmp(classes.items[0], "Ant") == 0 &&
          strcmp(classes.items[1], "bee") == 0 && strcmp(classes.items[2], "zebra") == 0);
    check_shape(d->x, LK_SHAPE(8, 1, 1, 2));
    check_values(d->x, 0, 1, 1, 10, 10, 11, 11, 12, 12, 20, 20, 21, 21, 22, 22, 23, 23);
    check(d->y->dtype == LK_I64);
    check_values(d->y, 0, 0, 1, 1, 1, 2, 2, 2, 2);
    lk_names_free(&classes);
    lk_dataset_free(d);

    d = lk_image_folder_new(make_zoo(), 3, LK_TO_TENSOR, NULL, &err);
    check_shape(d->x, LK_SHAPE(8, 3, 1, 2));
    lk_dataset_free(d);
    d = lk_image_folder_new(make_zoo(), 0, LK_TO_TENSOR, NULL, &err);
    check_shape(d->x, LK_SHAPE(8, 1, 1, 2));
    lk_dataset_free(d);
    check(check_alloc_live() == 0);
}

static void check_refused(const char *folder, ErrorCode code, const char *text)
{
    Error err = { 0 };
    Names classes = { 0 };
    check(!lk_image_folder_new(folder, 0, LK_TO_TENSOR, &classes, &err));
    check_error(&err, code, text);
    check(classes.count == 0 && check_alloc_live() == 0);
}

Test(image_folder, what_is_refused)
{
    check_alloc_begin();
    check_refused(NULL, LK_EVALUE, "lk_image_folder_new: the path is NULL");
    check_refused(check_scratch("nowhere"), LK_EIO,
                  "nowhere: no folder of pictures: No such file");
    check_refused(make_folder("empty"), LK_EFORMAT, "empty has no folders, one for each class");

    make_folder("bare/cat");
    check_refused(check_scratch("bare"), LK_EFORMAT, "bare/cat has no PNG, PGM or PPM files");

    make_folder("mixed/cat");
    make_picture("mixed/cat/1.pgm", 2, 1);
    make_picture("mixed/cat/2.pgm", 3, 1);
    check_refused(check_scratch("mixed"), LK_ESHAPE,
                  "2.pgm is (1, 1, 3), and the first picture, ");
    check_refused(check_scratch("mixed"), LK_ESHAPE, "is (1, 1, 2); all need one size");

    make_folder("photos/cat");
    check_write("photos/cat/1.JPG", "\xff\xd8", 2);
    check_refused(check_scratch("photos"), LK_EFORMAT,
                  "1.JPG: pictures of this format are not read; convert it to PNG");

    make_folder("broken/cat");
    check_write("broken/cat/1.png", "text", 4);
    check_refused(check_scratch("broken"), LK_EFORMAT, "1.png: is no PNG, PGM or PPM file");

    Error err = { 0 };
    check(!lk_image_folder_new(make_zoo(), 2, LK_TO_TENSOR, NULL, &err));
    check_error(&err, LK_EVALUE, "2 channels; possible are 1, 3 and 0");
    check(check_alloc_live() == 0);
}

Test(image_folder, without_memory_nothing_leaks)
{
    const char *zoo = make_zoo();
    check_alloc_begin();
    for (int64_t n = 0, failed = 1; failed; n++) {
        Error err = { 0 };
        Names classes = { 0 };
        check_fail_after(n);
        Dataset *d = lk_image_folder_new(zoo, 3, LK_TO_TENSOR, &classes, &err);
        failed = check_alloc_failed();
        check(!d == (failed > 0));
        if (failed) check_error(&err, LK_EMEMORY, "memory");
        lk_dataset_free(d);
        lk_names_free(&classes);
        check(check_alloc_live() == 0);
    }
}
