/* image_folder.c - finds the pictures of all classes, then reads them into one tensor. */
#include "data/image_folder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/memory.h"
#include "data/image.h"
#include "data/io.h"
#include "data/path.h"

static const char caller[] = "lk_image_folder_new";

/* ---- names ---------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort(Names *names)
{
    if (names->count > 0) qsort(names->items, (size_t)names->count, sizeof *names->items, compare);
}

/* Adds the entries of a folder to one of the lists: folders by their names, or by their paths, and
 * files by their paths. A list that is NULL is not wanted. */
static bool list_folder(const char *folder, Names *names, Names *folders, Names *files, Error *err)
{
    DIR *dir = lk__io_opendir(folder);
    if (!dir) return lk_path_failed(folder, "no folder of pictures", err);
    bool ok = true;
    for (const char *name; ok && (name = lk__io_next(dir));) {
        char path[LK_PATH_MAX];
        struct stat info;
        ok = lk_path_join(path, folder, name, err);
        if (!ok) break;
        if (lk__io->stat(path, &info) != 0) { /* a link to nothing is no picture */
            ok = lk__io_is_missing() || lk_path_failed(path, "cannot be read", err);
        } else if (S_ISDIR(info.st_mode)) {
            ok = (!names || lk_names_add(names, err, "%s", name)) &&
                 (!folders || lk_names_add(folders, err, "%s", path));
        } else if (files && S_ISREG(info.st_mode)) {
            ok = lk_names_add(files, err, "%s", path);
        }
    }
    if (ok && errno) ok = lk_path_failed(folder, "cannot be read", err);
    lk__io->closedir(dir);
    return ok;
}

/* Whether the name ends in one of the extensions, in any case. */
static bool ends_in(const char *name, const char *const *extensions)
{
    const char *dot = strrchr(name, '.');
    for (; dot && *extensions; extensions++)
        if (strcasecmp(dot, *extensions) == 0) return true;
    return false;
}

/* ---- finding -------------------------------------------------------------------------------- */

/* Adds the pictures among the files of a folder, sorted. */
static bool add_pictures(const char *folder, Names *pictures, Error *err)
{
    static const char *const read[] = { ".png", ".pgm", ".ppm", ".pnm", NULL };
    static const char *const not_read[] = {
        ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", NULL
    };
    Names files = { 0 };
    bool ok = list_folder(folder, NULL, NULL, &files, err);
    sort(&files);
    for (int i = 0; ok && i < files.count; i++) {
        const char *path = files.items[i];
        if (ends_in(path, read)) ok = lk_names_add(pictures, err, "%s", path);
        else if (ends_in(path, not_read))
            ok =
                lk_error_set(err, LK_EFORMAT,
                             "%s: %.300s: pictures of this format are not read; convert it to PNG",
                             caller, path);
    }
    lk_names_free(&files);
    return ok;
}

/* Finds the pictures in the folder of a class, and in all folders in it. */
static bool find_pictures(const char *folder, Names *pictures, Error *err)
{
    Names folders = { 0 };
    bool ok = lk_names_add(&folders, err, "%s", folder);
    for (int i = 0; ok && i < folders.count; i++)
        ok = list_folder(folders.items[i], NULL, &folders, NULL, err);
    sort(&folders);
    for (int i = 0; ok && i < folders.count; i++)
        ok = add_pictures(folders.items[i], pictures, err);
    lk_names_free(&folders);
    return ok && (pictures->count > 0 ||
                  lk_error_set(err, LK_EFORMAT, "%s: %.300s has no PNG, PGM or PPM files", caller,
                               folder));
}

/* ---- reading -------------------------------------------------------------------------------- */

typedef struct Samples {
    Tensor *x, *y;
    int64_t count;
    const char *first; /* the path of the first picture */
} Samples;

/* Appends a picture. The first one decides about size and channels; n: all pictures. */
static bool add_sample(Samples *s, const char *path, int64_t label, int *channels, int64_t n,
                       Error *err)
{
    char expected[LK_SHAPE_TEXT], got[LK_SHAPE_TEXT];
    Tensor *picture = lk_image_new(path, *channels, err);
    if (!picture) return false;
    const int64_t *size = picture->shape;
    if (!s->x) {
        s->first = path;
        *channels = (int)size[0];
        s->x = lk_tensor_new(LK_U8, LK_SHAPE(n, size[0], size[1], size[2]), err);
    }
    bool ok = s->x;
    if (ok && (s->x->shape[2] != size[1] || s->x->shape[3] != size[2])) {
        const Tensor one = { .ndim = 3,
                             .shape = { s->x->shape[1], s->x->shape[2], s->x->shape[3] } };
        ok = lk_error_set(err, LK_ESHAPE,
                          "%s: %.150s is %s, and the first picture, %.150s, is %s; all need one "
                          "size",
                          caller, path, lk_shape_text(picture, got), s->first,
                          lk_shape_text(&one, expected));
    }
    if (ok) {
        const size_t bytes = (size_t)lk_numel(picture);
        memcpy((uint8_t *)s->x->data + (size_t)s->count * bytes, picture->data, bytes);
        ((int64_t *)s->y->data)[s->count++] = label;
    }
    lk_tensor_free(picture);
    return ok;
}

/* Reads all pictures: one list of paths for each class. */
static bool read_all(Samples *s, int classes, const Names *pictures, int channels, Error *err)
{
    int64_t n = 0;
    for (int c = 0; c < classes; c++) n += pictures[c].count;
    s->y = lk_tensor_new(LK_I64, LK_SHAPE(n), err);
    bool ok = s->y;
    for (int c = 0; ok && c < classes; c++)
        for (int i = 0; ok && i < pictures[c].count; i++)
            ok = add_sample(s, pictures[c].items[i], c, &channels, n, err);
    return ok;
}

static bool find_all(const char *path, const Names *classes, Names *pictures, Error *err)
{
    char folder[LK_PATH_MAX];
    for (int c = 0; c < classes->count; c++)
        if (!lk_path_join(folder, path, classes->items[c], err) ||
            !find_pictures(folder, &pictures[c], err))
            return false;
    return true;
}

Dataset *lk_image_folder_new(const char *path, int channels, Transform transform, Names *classes,
                             Error *err)
{
    if (!path) {
        lk_error_set(err, LK_EVALUE, "%s: the path is NULL", caller);
        return NULL;
    }
    Names names = { 0 }, *pictures = NULL;
    Samples s = { 0 };
    bool ok = list_folder(path, &names, NULL, NULL, err);
    sort(&names);
    if (ok && names.count == 0)
        ok = lk_error_set(err, LK_EFORMAT, "%s: %.300s has no folders, one for each class", caller,
                          path);
    if (ok) {
        pictures = lk_mem_calloc((size_t)names.count, sizeof *pictures);
        ok = pictures ||
             lk_error_set(err, LK_EMEMORY, "%s: no memory for %d classes", caller, names.count);
    }
    ok = ok && find_all(path, &names, pictures, err) &&
         read_all(&s, names.count, pictures, channels, err);
    for (int c = 0; pictures && c < names.count; c++) lk_names_free(&pictures[c]);
    lk_mem_free(pictures);
    Dataset *d = NULL;
    if (ok) {
        d = lk_dataset_new(s.x, s.y, transform, err);
    } else {
        lk_tensor_free(s.x);
        lk_tensor_free(s.y);
    }
    if (d && classes) *classes = names;
    else lk_names_free(&names);
    return d;
}
