/* png.c - reads and writes PNG with libpng. Its memory is the library's, its errors are returned,
 * and nothing is printed. libpng leaves a function that failed by longjmp, so all that must be
 * freed is in a struct of the caller. */
#include "data/png.h"

#include <string.h>

bool lk__png_is(const WholeFile *file)
{
    return file->size >= 8 && memcmp(file->bytes, "\x89PNG\r\n\x1a\n", 8) == 0;
}

#ifndef LK_HAVE_PNG

static bool no_libpng(const FileReport *report)
{
    return lk__file_fail(report, LK_ESTATE,
                         "PNG needs libpng, which this build is without (LORIKEET_PNG=ON); PGM "
                         "and PPM need no library");
}

bool lk__png_read(const WholeFile *file, Pixels *p, const FileReport *report)
{
    (void)file, (void)p;
    return no_libpng(report);
}

bool lk__png_make(const Pixels *p, WholeFile *file, const FileReport *report)
{
    (void)p, (void)file;
    return no_libpng(report);
}

#else

#include <png.h>

#include "core/memory.h"

typedef struct Png {
    const FileReport *report;
    png_structp png;
    png_infop info;
    WholeFile *file; /* what is written */
    size_t room;     /* bytes of it */
    const char *from;
    size_t left; /* bytes that are not read yet */
    Pixels *pixels;
    bool no_memory;
} Png;

/* ---- what libpng calls ---------------------------------------------------------------------- */

/* Takes the allocation that failed for the reason, whatever libpng calls it. */
static void on_error(png_structp png, const char *message)
{
    Png *x = png_get_error_ptr(png);
    if (x->no_memory) lk__file_fail(x->report, LK_EMEMORY, "no memory for libpng");
    else lk__file_fail(x->report, LK_EFORMAT, "is no good PNG: %s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, const char *message) { (void)png, (void)message; }

static void *take(png_structp png, png_alloc_size_t bytes)
{
    Png *x = png_get_mem_ptr(png);
    void *block = lk_mem_alloc(bytes ? bytes : 1);
    if (!block) x->no_memory = true;
    return block;
}

static void give_back(png_structp png, void *block)
{
    (void)png;
    lk_mem_free(block);
}

static void read_bytes(png_structp png, png_bytep to, size_t n)
{
    Png *x = png_get_io_ptr(png);
    if (n > x->left) png_error(png, "it ends too early");
    memcpy(to, x->from, n);
    x->from += n;
    x->left -= n;
}

static void write_bytes(png_structp png, png_bytep from, size_t n)
{
    Png *x = png_get_io_ptr(png);
    if (x->file->size + n > x->room) {
        size_t room = 2 * (x->file->size + n) + 1024;
        char *bytes = lk_mem_alloc(room);
        if (!bytes) {
            x->no_memory = true;
            png_error(png, "no memory");
        }
        if (x->file->size > 0) memcpy(bytes, x->file->bytes, x->file->size);
        lk_mem_free(x->file->bytes);
        x->file->bytes = bytes;
        x->room = room;
    }
    memcpy(x->file->bytes + x->file->size, from, n);
    x->file->size += n;
}

static void flush_nothing(png_structp png) { (void)png; }

/* ---- reading -------------------------------------------------------------------------------- */

/* Refuses sizes that the bytes cannot hold, before memory is allocated for them. */
static bool check_size(const Png *x, size_t row_bytes, png_uint_32 height)
{
    enum { DEFLATE_LIMIT = 1032 }; /* deflate cannot expand a byte to more */
    return row_bytes / DEFLATE_LIMIT * height <= x->left ||
           lk__file_fail(x->report, LK_EFORMAT,
                         "announces %lld rows of %zu bytes, more than its %zu bytes can hold",
                         (long long)height, row_bytes, x->left);
}

/* Asks for 8 bits, and gray or colours, whatever the file has. */
static void convert(Png *x)
{
    png_set_expand(x->png);
    png_set_strip_16(x->png);
    png_set_strip_alpha(x->png);
}

static bool read_picture(Png *x)
{
    if (setjmp(png_jmpbuf(x->png))) return false;
    png_set_read_fn(x->png, x, read_bytes);
    png_read_info(x->png, x->info);
    if (!check_size(x, png_get_rowbytes(x->png, x->info), png_get_image_height(x->png, x->info)))
        return false;
    convert(x);
    const int passes = png_set_interlace_handling(x->png);
    png_read_update_info(x->png, x->info);
    Pixels *p = x->pixels;
    p->height = png_get_image_height(x->png, x->info);
    p->width = png_get_image_width(x->png, x->info);
    p->channels = png_get_channels(x->png, x->info);
    if (!lk__pixels_make(p, x->report->caller, x->report->err)) return false;
    for (int pass = 0; pass < passes; pass++)
        for (int64_t i = 0; i < p->height; i++)
            png_read_row(x->png, p->data + i * p->width * p->channels, NULL);
    png_read_end(x->png, NULL);
    return true;
}

bool lk__png_read(const WholeFile *file, Pixels *p, const FileReport *report)
{
    Png x = { .report = report, .pixels = p, .from = file->bytes, .left = file->size };
    x.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &x, on_error, on_warning, &x, take,
                                     give_back);
    if (x.png) x.info = png_create_info_struct(x.png);
    bool ok =
        x.info ? read_picture(&x) : lk__file_fail(report, LK_EMEMORY, "no memory for libpng");
    png_destroy_read_struct(&x.png, &x.info, NULL);
    return ok;
}

/* ---- writing -------------------------------------------------------------------------------- */

static bool write_picture(Png *x)
{
    const Pixels *p = x->pixels;
    if (setjmp(png_jmpbuf(x->png))) return false;
    png_set_write_fn(x->png, x, write_bytes, flush_nothing);
    png_set_IHDR(x->png, x->info, (png_uint_32)p->width, (png_uint_32)p->height, 8,
                 p->channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(x->png, x->info);
    for (int64_t i = 0; i < p->height; i++)
        png_write_row(x->png, p->data + i * p->width * p->channels);
    png_write_end(x->png, NULL);
    return true;
}

bool lk__png_make(const Pixels *p, WholeFile *file, const FileReport *report)
{
    enum { MOST = 1000000 }; /* libpng's own limit */
    if (p->width > MOST || p->height > MOST)
        return lk__file_fail(report, LK_ESHAPE, "%lld x %lld pixels; PNG has at most %d a side",
                             (long long)p->width, (long long)p->height, MOST);
    Png x = { .report = report, .pixels = (Pixels *)p, .file = file };
    x.png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, &x, on_error, on_warning, &x, take,
                                      give_back);
    if (x.png) x.info = png_create_info_struct(x.png);
    bool ok =
        x.info ? write_picture(&x) : lk__file_fail(report, LK_EMEMORY, "no memory for libpng");
    png_destroy_write_struct(&x.png, &x.info);
    return ok;
}

#endif
