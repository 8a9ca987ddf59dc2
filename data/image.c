/* image.c - reads and writes one picture. The formats: data/png.c, data/pnm.c. */
#include "data/image.h"

#include "data/atomic_file.h"
#include "data/png.h"
#include "data/pnm.h"

static bool read_pixels(const WholeFile *file, Pixels *p, const FileReport *report)
{
    if (lk__png_is(file)) return lk__png_read(file, p, report);
    if (lk__pnm_is(file)) return lk__pnm_read(file, p, report);
    return lk__file_fail(report, LK_EFORMAT, "is no PNG, PGM or PPM file");
}

Tensor *lk_image_new(const char *path, int channels, Error *err)
{
    const char *caller = "lk_image_new";
    if (!path || (channels != 0 && channels != 1 && channels != 3)) {
        lk_error_set(err, LK_EVALUE,
                     path ? "%s: %d channels; possible are 1, 3 and 0" : "%s: the path is NULL",
                     caller, channels);
        return NULL;
    }
    const FileReport report = { caller, path, err, 0 };
    WholeFile file = { 0 };
    Pixels p = { 0 };
    bool ok = lk__read_whole_file(&file, &report) && read_pixels(&file, &p, &report);
    lk__whole_file_free(&file);
    Tensor *x = ok ? lk__pixels_tensor_new(&p, channels, err) : NULL;
    lk__pixels_free(&p);
    return x;
}

static bool check_arguments(const char *caller, const Tensor *image, const char *path, Error *err)
{
    return (image && path) ||
           lk_error_set(err, LK_EVALUE, "%s: the %s is NULL", caller, image ? "path" : "picture");
}

bool lk_write_png(const Tensor *image, const char *path, Error *err)
{
    const char *caller = "lk_write_png";
    const FileReport report = { caller, path, err, 0 };
    WholeFile file = { 0 };
    Pixels p = { 0 };
    bool ok = check_arguments(caller, image, path, err) && lk__pixels_of(image, &p, caller, err) &&
              lk__png_make(&p, &file, &report) &&
              lk_atomic_save(caller, path, file.bytes, file.size, err);
    lk__whole_file_free(&file);
    lk__pixels_free(&p);
    return ok;
}

bool lk_write_pnm(const Tensor *image, const char *path, Error *err)
{
    const char *caller = "lk_write_pnm";
    char header[LK_PNM_HEADER];
    AtomicFile f;
    Pixels p = { 0 };
    bool ok = check_arguments(caller, image, path, err) && lk__pixels_of(image, &p, caller, err);
    if (ok) {
        ok = lk_atomic_begin(&f, caller, path, err) &&
             lk_atomic_write(&f, header, (size_t)lk__pnm_header(&p, header)) &&
             lk_atomic_write(&f, p.data, (size_t)(p.height * p.width * p.channels));
        ok = lk_atomic_end(&f, ok);
    }
    lk__pixels_free(&p);
    return ok;
}
