/* idx.c - reads IDX files, plain or gzip, and says what is wrong with bad ones.
 *
 *     00 00 08 nn      element type (08: unsigned byte), number of dimensions
 *     size …           one big-endian 32-bit size a dimension
 *     elements         row by row, to the end of the file
 *
 * A header is never trusted: its sizes are compared with the size of the file before memory is
 * allocated. */
#include "data/idx.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "core/decimal.h"
#include "core/memory.h"
#include "data/file_report.h"
#include "data/io.h"
#include "data/zlib_memory.h"

enum { MAGIC_IMAGES = 0x803, MAGIC_LABELS = 0x801, CLASSES = 10 };

typedef struct Source {
    FileReport report;
    int file;       /* -1: not open */
    int64_t at;     /* the place that is read next */
    int64_t length; /* of the file, compressed or not */
    bool gzip;
#ifdef LK_HAVE_ZLIB
    z_stream zlib;
    bool ended; /* the last gzip member is over */
    unsigned char buffer[1 << 14];
#endif
} Source;

static bool read_file(Source *s, void *out, size_t n, size_t *got)
{
    *got = 0;
    int64_t count = lk__io_read(s->file, out, n, s->at);
    if (count < 0) return lk__file_fail(&s->report, LK_EIO, "cannot be read: %s", strerror(errno));
    s->at += count;
    *got = (size_t)count;
    return true;
}

/* ---- gzip ----------------------------------------------------------------------------------- */

#ifdef LK_HAVE_ZLIB

static bool gzip_begin(Source *s)
{
    /* added to the window size: expect gzip's wrapper and check its checksum */
    enum { GZIP_ONLY = 16 };
    s->zlib = (z_stream){ .zalloc = zlib_alloc, .zfree = zlib_free };
    if (inflateInit2(&s->zlib, MAX_WBITS + GZIP_ONLY) != Z_OK)
        return lk__file_fail(&s->report, LK_EMEMORY, "no memory to decompress it");
    s->gzip = true;
    return true;
}

static void gzip_end(Source *s) { inflateEnd(&s->zlib); }

static bool refill(Source *s)
{
    size_t got;
    if (!read_file(s, s->buffer, sizeof s->buffer, &got)) return false;
    s->zlib.next_in = s->buffer;
    s->zlib.avail_in = (uInt)got;
    return true;
}

/* Goes on to the next stream: a gzip file may be several compressed streams one after the other,
 * whose contents are joined. Each may be followed by zeros, with which tapes and disks fill their
 * blocks. */
static bool next_member(Source *s)
{
    do {
        if (s->zlib.avail_in == 0 && !refill(s)) return false;
        s->ended = s->zlib.avail_in == 0;
        while (s->zlib.avail_in > 0 && *s->zlib.next_in == 0)
            s->zlib.next_in++, s->zlib.avail_in--;
    } while (s->zlib.avail_in == 0 && !s->ended);
    if (!s->ended && *s->zlib.next_in != 0x1f)
        return lk__file_fail(&s->report, LK_EFORMAT, "has other bytes after its gzip data");
    inflateReset(&s->zlib);
    return true;
}

static bool read_gzip(Source *s, void *out, size_t n, size_t *got)
{
    *got = 0;
    while (*got < n && !s->ended) {
        if (s->zlib.avail_in == 0) {
            if (!refill(s)) return false;
            if (s->zlib.avail_in == 0)
                return lk__file_fail(&s->report, LK_EFORMAT,
                                     "is truncated: the gzip data end too early");
        }
        uInt room = n - *got < 1u << 30 ? (uInt)(n - *got) : 1u << 30; /* zlib counts in 32 bits */
        s->zlib.next_out = (unsigned char *)out + *got;
        s->zlib.avail_out = room;
        int code = inflate(&s->zlib, Z_NO_FLUSH);
        *got += room - s->zlib.avail_out;
        if (code == Z_MEM_ERROR)
            return lk__file_fail(&s->report, LK_EMEMORY, "no memory to decompress it");
        if (code == Z_STREAM_END) {
            if (!next_member(s)) return false;
        } else if (code != Z_OK && code != Z_BUF_ERROR) { /* Z_BUF_ERROR: needs more input */
            return lk__file_fail(&s->report, LK_EFORMAT, "is corrupt gzip: %s",
                                 s->zlib.msg ? s->zlib.msg : "a dictionary is missing");
        }
    }
    return true;
}

#else

static bool gzip_begin(Source *s)
{
    return lk__file_fail(
        &s->report, LK_EFORMAT,
        "is gzip, but Lorikeet was built without zlib: gunzip it (or LORIKEET_ZLIB=ON)");
}

static void gzip_end(Source *s) { (void)s; }

static bool read_gzip(Source *s, void *out, size_t n, size_t *got)
{
    return read_file(s, out, n, got);
}

#endif

/* ---- the file ------------------------------------------------------------------------------- */

/* Looks before it opens: opening a pipe would wait for a writer, and a folder opens but cannot be
 * read. */
static bool open_source(Source *s)
{
    struct stat info;
    if (lk__io->stat(s->report.path, &info) != 0)
        return lk__file_fail(&s->report, LK_EIO, "cannot be opened: %s", strerror(errno));
    if (S_ISDIR(info.st_mode)) return lk__file_fail(&s->report, LK_EIO, "is a folder, not a file");
    if (!S_ISREG(info.st_mode)) return lk__file_fail(&s->report, LK_EIO, "is not a regular file");
    s->length = info.st_size;
    s->file = lk__io_open(s->report.path, O_RDONLY);
    if (s->file < 0)
        return lk__file_fail(&s->report, LK_EIO, "cannot be opened: %s", strerror(errno));

    unsigned char head[2];
    size_t got;
    if (!read_file(s, head, sizeof head, &got)) return false;
    if (got == 0) return lk__file_fail(&s->report, LK_EFORMAT, "is empty");
    s->at = 0;
    return got < 2 || head[0] != 0x1f || head[1] != 0x8b || gzip_begin(s);
}

static void close_source(Source *s)
{
    if (s->gzip) gzip_end(s);
    if (s->file >= 0) lk__io_close(s->file);
}

/* Reads n bytes; *got is less only at the end of the content. */
static bool read_content(Source *s, void *out, size_t n, size_t *got)
{
    return s->gzip ? read_gzip(s, out, n, got) : read_file(s, out, n, got);
}

static uint32_t big_endian(const unsigned char *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* Reports what the first bytes are instead of the expected magic number. */
static bool wrong_magic(Source *s, const unsigned char *head, size_t got, uint32_t magic)
{
    const char *expected = magic == MAGIC_IMAGES ? "images" : "labels";
    /* UTF-8's byte order mark */
    size_t i = got >= 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (i < got && memchr(" \t\r\n", head[i], 4)) i++;
    if (i < got && head[i] == '<')
        return lk__file_fail(&s->report, LK_EFORMAT,
                             "is an HTML page, not IDX %s: the download went wrong", expected);
    if (got < 4)
        return lk__file_fail(&s->report, LK_EFORMAT, "has only %zu bytes, too short for IDX %s",
                             got, expected);
    uint32_t found = big_endian(head);
    if (found == MAGIC_IMAGES || found == MAGIC_LABELS)
        return lk__file_fail(&s->report, LK_EFORMAT, "holds %s (magic 0x%08x), not %s (0x%08x)",
                             found == MAGIC_IMAGES ? "images" : "labels", found, expected, magic);
    return lk__file_fail(&s->report, LK_EFORMAT,
                         "begins with 0x%08x, not with 0x%08x, the magic number of IDX %s", found,
                         magic, expected);
}

/* Reads the sizes in the header, and their product. The length of a plain file must fit exactly. A
 * compressed file must be long enough to expand to that many bytes, so that a forged header cannot
 * ask for terabytes. */
static bool read_header(Source *s, uint32_t magic, int ndim, int64_t *shape, int64_t *total)
{
    unsigned char head[16];
    size_t size = 4 + 4 * (size_t)ndim, got;
    if (!read_content(s, head, size, &got)) return false;
    if (got < 4 || big_endian(head) != magic) return wrong_magic(s, head, got, magic);
    if (got < size)
        return lk__file_fail(&s->report, LK_EFORMAT,
                             "ends inside its header, after %zu of %zu bytes", got, size);

    char text[64];
    int used = 0;
    bool overflow = false;
    *total = 1;
    for (int d = 0; d < ndim; d++) {
        shape[d] = big_endian(head + 4 + 4 * d);
        overflow |= __builtin_mul_overflow(*total, shape[d], total);
        used += snprintf(text + used, sizeof text - (size_t)used, d ? " x %lld" : "%lld",
                         (long long)shape[d]);
    }
    if (overflow)
        return lk__file_fail(&s->report, LK_EFORMAT, "announces %s bytes: larger than any file",
                             text);

    enum { DEFLATE_LIMIT = 1032 }; /* deflate cannot expand a byte to more */
    int64_t present = s->length - (int64_t)size;
    if (!s->gzip && present != *total)
        return lk__file_fail(&s->report, LK_EFORMAT,
                             "announces %s = %lld bytes after its header, but has %lld", text,
                             (long long)*total, (long long)present);
    if (s->gzip && *total / DEFLATE_LIMIT > s->length)
        return lk__file_fail(&s->report, LK_EFORMAT,
                             "announces %s = %lld bytes, more than %lld bytes of gzip can hold",
                             text, (long long)*total, (long long)s->length);
    return true;
}

/* Reads the whole file into one tensor of the final size. */
static Tensor *read_elements(Source *s, uint32_t magic, int ndim)
{
    int64_t shape[LK_MAX_DIMS], total = 0;
    if (!read_header(s, magic, ndim, shape, &total)) return NULL;
    Tensor *x = lk_tensor_new(LK_U8, ndim, shape, s->report.err);
    if (!x) return NULL;

    size_t got, more = 0;
    unsigned char extra;
    bool ok = read_content(s, x->data, (size_t)total, &got);
    if (ok && got < (size_t)total)
        ok = lk__file_fail(&s->report, LK_EFORMAT,
                           "announces %lld bytes after its header, but has %zu", (long long)total,
                           got);
    /* Reads one byte more. That finds bytes that were not announced, and lets gzip compare its
     * checksum, which comes last. */
    if (ok) ok = read_content(s, &extra, 1, &more);
    if (ok && more)
        ok = lk__file_fail(&s->report, LK_EFORMAT,
                           "has more than the %lld bytes that it announces", (long long)total);
    if (ok) return x;
    lk_tensor_free(x);
    return NULL;
}

static Tensor *read_idx(const char *caller, const char *path, uint32_t magic, int ndim, Error *err)
{
    if (!path) {
        lk_error_set(err, LK_EVALUE, "%s: the path is NULL", caller);
        return NULL;
    }
    Source s = { .report = { caller, path, err, 0 }, .file = -1 };
    Tensor *x = open_source(&s) ? read_elements(&s, magic, ndim) : NULL;
    close_source(&s);
    return x;
}

Tensor *lk_idx_images_new(const char *path, Error *err)
{
    return read_idx("lk_idx_images_new", path, MAGIC_IMAGES, 3, err);
}

Tensor *lk_idx_labels_new(const char *path, Error *err)
{
    const char *caller = "lk_idx_labels_new";
    Tensor *y = read_idx(caller, path, MAGIC_LABELS, 1, err);
    if (!y) return NULL;
    const uint8_t *label = y->data;
    int64_t i = 0, n = y->shape[0];
    while (i < n && label[i] < CLASSES) i++;
    if (i == n) return y;
    lk_error_set(err, LK_EFORMAT, "%s: %s: label %d at position %lld; digits are 0 to 9", caller,
                 path, label[i], (long long)i);
    lk_tensor_free(y);
    return NULL;
}
