/* test_idx.c - IDX files: what is read, and one refusal for every way in which a file can be
 * wrong. */
#include "tests/check.h"

#include <string.h>
#include <sys/stat.h>

#include "data/idx.h"

#ifdef LK_HAVE_ZLIB
#include <zlib.h>
#endif

/* Three images of 2 x 4 pixels, five labels. */
static const uint8_t images[] = "\0\0\x08\x03"
                                "\0\0\0\x03"
                                "\0\0\0\x02"
                                "\0\0\0\x04"
                                "ABCDEFGHIJKLMNOPQRSTUVW\xff";
static const uint8_t labels[] = "\0\0\x08\x01"
                                "\0\0\0\x05"
                                "\x07\0\x09\x03\x01";
enum { IMAGES = sizeof images - 1, LABELS = sizeof labels - 1 }; /* without the strings' own 0 */

static Tensor *read_bytes(const char *name, bool as_images, const void *bytes, size_t size,
                          Error *err)
{
    const char *path = check_write(name, bytes, size);
    return as_images ? lk_idx_images_new(path, err) : lk_idx_labels_new(path, err);
}

/* The file that is written there reads as the three images, or as the five labels. */
static void check_reads(const char *name, bool as_images, const void *bytes, size_t size)
{
    Error err = { 0 };
    Tensor *x = read_bytes(name, as_images, bytes, size, &err);
    check_no_error(&err);
    check(x->dtype == LK_U8);
    if (as_images) check_shape(x, LK_SHAPE(3, 2, 4));
    else check_shape(x, LK_SHAPE(5));
    check_bits(x, as_images ? images + 16 : labels + 8, as_images ? 24 : 5);
    lk_tensor_free(x);
}

static void check_refused(bool as_images, const void *bytes, size_t size, const char *text)
{
    Error err = { 0 };
    check(read_bytes("refused", as_images, bytes, size, &err) == NULL, "read, but expected \"%s\"",
          text);
    check_error(&err, LK_EFORMAT, text);
    check_error(&err, LK_EFORMAT, as_images ? "lk_idx_images_new: " : "lk_idx_labels_new: ");
    check_error(&err, LK_EFORMAT, "/refused: ");
}

/* ---- plain files ---------------------------------------------------------------------------- */

Test(idx, plain)
{
    check_reads("images", true, images, IMAGES);
    check_reads("labels", false, labels, LABELS);
    check_reads("images.gz", true, images, IMAGES); /* the name says nothing */
}

Test(idx, nothing_in_it)
{
    Error err = { 0 };
    Tensor *none = read_bytes("none", true,
                              "\0\0\x08\x03"
                              "\0\0\0\0"
                              "\0\0\0\x1c"
                              "\0\0\0\x1c",
                              16, &err);
    check_no_error(&err);
    check_shape(none, LK_SHAPE(0, 28, 28));
    lk_tensor_free(none);
}

Test(idx, not_a_file)
{
    Error err = { 0 };
    check(lk_idx_images_new(check_scratch("missing"), &err) == NULL);
    check_error(&err, LK_EIO, "missing: cannot be opened: No such file");
    /* without an Error */
    check(lk_idx_images_new(check_scratch("missing"), NULL) == NULL);

    err = (Error){ 0 };
    check(lk_idx_labels_new(check_source("tests"), &err) == NULL);
    check_error(&err, LK_EIO, "tests: is a folder, not a file");

    err = (Error){ 0 };
    const char *pipe = check_scratch("pipe");
    check(mkfifo(pipe, 0600) == 0);
    check(lk_idx_images_new(pipe, &err) == NULL); /* and does not wait for a writer */
    check_error(&err, LK_EIO, "is not a regular file");
}

Test(idx, something_else)
{
    check_refused(true, "", 0, "is empty");
    check_refused(true, "\0\0\x08", 3, "has only 3 bytes, too short for IDX images");
    check_refused(true, labels, LABELS,
                  "holds labels (magic 0x00000801), not images (0x00000803)");
    check_refused(false, images, IMAGES,
                  "holds images (magic 0x00000803), not labels (0x00000801)");
    check_refused(true,
                  "\0\0\x0d\x03"
                  "\0\0\0\x01",
                  8, "begins with 0x00000d03, not with 0x00000803");
    check_refused(false,
                  "\x01\x08\0\0"
                  "\x05\0\0\0",
                  8, "begins with 0x01080000, not with 0x00000801");
    check_refused(true, "\x89PNG\r\n\x1a\n", 8, "begins with 0x89504e47");
    check_refused(true, "<!DOCTYPE html><html>", 21, "is an HTML page");
    check_refused(false, "\xef\xbb\xbf \r\n\t<html>", 13, "is an HTML page");
    check_refused(false, "<a>", 3, "is an HTML page");
}

Test(idx, sizes_and_length)
{
    check_refused(true, images, 15, "ends inside its header, after 15 of 16 bytes");
    check_refused(false, labels, 5, "ends inside its header, after 5 of 8 bytes");
    check_refused(true, images, IMAGES - 1,
                  "announces 3 x 2 x 4 = 24 bytes after its header, but has 23");
    check_refused(true, images, IMAGES + 1,
                  "announces 3 x 2 x 4 = 24 bytes after its header, but has 25");
    check_refused(false, labels, LABELS - 5, "announces 5 = 5 bytes after its header, but has 0");
}

/* 2^32 - 1 images of 2^32 - 1 squared, or of 28 x 28, are refused before anything is allocated for
 * them. */
Test(idx, absurd_sizes)
{
    check_alloc_begin();
    check_refused(true,
                  "\0\0\x08\x03"
                  "\xff\xff\xff\xff"
                  "\xff\xff\xff\xff"
                  "\xff\xff\xff\xff"
                  "data",
                  20,
                  "announces 4294967295 x 4294967295 x 4294967295 bytes: larger than any file");
    check_refused(true,
                  "\0\0\x08\x03"
                  "\x80\0\0\0"
                  "\x80\0\0\0"
                  "\0\0\0\x02"
                  "data",
                  20, "larger than any file");
    check_refused(
        true,
        "\0\0\x08\x03"
        "\xff\xff\xff\xff"
        "\0\0\0\x1c"
        "\0\0\0\x1c"
        "data",
        20, "announces 4294967295 x 28 x 28 = 3367254359280 bytes after its header, but has 4");
    check_refused(false,
                  "\0\0\x08\x01"
                  "\xff\xff\xff\xff"
                  "data",
                  12, "announces 4294967295 = 4294967295 bytes");
    check(check_alloc_count() == 0);
}

Test(idx, label_above_nine)
{
    uint8_t copy[LABELS];
    memcpy(copy, labels, LABELS);
    copy[8 + 3] = 10;
    check_refused(false, copy, LABELS, "label 10 at position 3; digits are 0 to 9");
    copy[8] = 255;
    check_refused(false, copy, LABELS, "label 255 at position 0");
}

Test(idx, out_of_memory)
{
    check_alloc_begin();
    Error err = { 0 };
    check_fail_after(0);
    check(read_bytes("images", true, images, IMAGES, &err) == NULL);
    check_error(&err, LK_EMEMORY, "(3, 2, 4)");
    check(check_alloc_live() == 0);
}

/* ---- gzip ----------------------------------------------------------------------------------- */

#ifdef LK_HAVE_ZLIB

static size_t gzip(const void *bytes, size_t size, void *out, size_t room)
{
    z_stream z = { 0 };
    check(deflateInit2(&z, 9, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    z.next_in = (Bytef *)bytes;
    z.avail_in = (uInt)size;
    z.next_out = out;
    z.avail_out = (uInt)room;
    check(deflate(&z, Z_FINISH) == Z_STREAM_END);
    deflateEnd(&z);
    return z.total_out;
}

static void check_refused_gzip(bool as_images, const void *bytes, size_t size, const char *text)
{
    uint8_t packed[512];
    check_refused(as_images, packed, gzip(bytes, size, packed, sizeof packed), text);
}

Test(idx, gzip)
{
    uint8_t packed[512];
    size_t size = gzip(images, IMAGES, packed, sizeof packed);
    check_reads("images.gz", true, packed, size);
    check_reads("images", true, packed, size); /* the name says nothing */
    size = gzip(labels, LABELS, packed, sizeof packed);
    check_reads("labels.gz", false, packed, size);
}

/* `cat a.gz b.gz` is a gzip file; here it is cut in the header, then before the last byte. An
 * empty one may follow. */
Test(idx, gzip_of_several_members)
{
    uint8_t packed[512];
    size_t size = gzip(images, 9, packed, sizeof packed);
    size += gzip(images + 9, IMAGES - 10, packed + size, sizeof packed - size);
    size += gzip(images + IMAGES - 1, 1, packed + size, sizeof packed - size);
    check_reads("images.gz", true, packed, size);
    size += gzip("", 0, packed + size, sizeof packed - size);
    check_reads("images.gz", true, packed, size);
}

/* Larger than the reader's buffer on both sides. */
Test(idx, gzip_of_many_bytes)
{
    enum { COUNT = 300000 };
    static uint8_t plain[8 + COUNT], packed[COUNT];
    Rng rng;
    lk_manual_seed(&rng, 0);
    memcpy(plain,
           "\0\0\x08\x01"
           "\0\x04\x93\xe0",
           8);
    for (int i = 0; i < COUNT; i++) plain[8 + i] = (uint8_t)lk_random_int(&rng, 0, 10);
    size_t size = gzip(plain, sizeof plain, packed, sizeof packed);
    check(size > 100000);
    Error err = { 0 };
    Tensor *y = read_bytes("many.gz", false, packed, size, &err);
    check_no_error(&err);
    check_bits(y, plain + 8, COUNT);
    lk_tensor_free(y);
    check_refused(false, packed, size / 2, "is truncated");
}

Test(idx, gzip_of_something_else)
{
    check_refused_gzip(true, "", 0, "has only 0 bytes");
    check_refused_gzip(true, labels, LABELS, "holds labels");
    check_refused_gzip(true, "<!DOCTYPE html><html>", 21, "is an HTML page");
    check_refused_gzip(true, images, 10, "ends inside its header, after 10 of 16 bytes");
    check_refused_gzip(true, images, IMAGES - 1,
                       "announces 24 bytes after its header, but has 23");
    check_refused_gzip(true, images, IMAGES + 1, "has more than the 24 bytes that it announces");
    check_refused_gzip(false,
                       "\0\0\x08\x01"
                       "\0\0\0\x02"
                       "\x01\x0c",
                       10, "label 12 at position 1");
}

/* gzip and Python too accept zeros after a stream, here up to more than a buffer of idx.c holds;
 * other bytes not. */
Test(idx, zeros_after_gzip)
{
    unsigned char packed[1 << 16] = { 0 };
    const size_t size = gzip(images, IMAGES, packed, sizeof packed),
                 zeros[] = { 1, 512, (1 << 14) - size, 50000 };
    for (int i = 0; i < 4; i++) check_reads("images.gz", true, packed, size + zeros[i]);
    memset(packed, 0, sizeof packed);
    gzip(images, 9, packed, 1000);
    size_t end = 20000 + gzip(images + 9, IMAGES - 9, packed + 20000, 1000);
    check_reads("images.gz", true, packed, end);
    packed[end + 100] = 1;
    check_refused(true, packed, end + 101, "has other bytes after its gzip data");
}

/* Bytes behind the compressed data are noticed, as gzip's own tool would do. */
Test(idx, bytes_after_gzip)
{
    uint8_t packed[512];
    size_t size = gzip(images, IMAGES, packed, sizeof packed);
    memcpy(packed + size, "more", 4);
    check_refused(true, packed, size + 4, "has other bytes after its gzip data");
    memcpy(packed + size, "\x1f more", 6);
    check_refused(true, packed, size + 6, "is corrupt gzip");
}

/* Cut anywhere, the file is refused, and nothing is left in memory. */
Test(idx, gzip_cut_at_every_byte)
{
    uint8_t packed[512];
    size_t size = gzip(images, IMAGES, packed, sizeof packed);
    check_alloc_begin();
    for (size_t n = 2; n < size; n++)
        check_refused(true, packed, n, "is truncated: the gzip data end too early");
    for (size_t n = 0; n < IMAGES; n++) check_refused(true, images, n, "");
    check(check_alloc_live() == 0);
}

/* With any one bit changed the file is refused, or the change is none to the content: a time
 * stamp, the bits that fill up the last byte of the compressed data. The magic number, and the
 * checksum at the end, are always looked at. */
Test(idx, gzip_with_every_bit_changed)
{
    uint8_t packed[512];
    size_t size = gzip(images, IMAGES, packed, sizeof packed);
    int accepted = 0;
    check_alloc_begin();
    for (size_t i = 0; i < 8 * size; i++) {
        Error err = { 0 };
        packed[i / 8] ^= (uint8_t)(1u << i % 8);
        Tensor *x = read_bytes("changed", true, packed, size, &err);
        packed[i / 8] ^= (uint8_t)(1u << i % 8);
        check(!x == (err.code == LK_EFORMAT), "bit %zu: %s", i, err.message);
        if (!x) continue;
        check_bits(x, images + 16, 24);
        check(i / 8 >= 3 && i / 8 < size - 8, "bit %zu", i);
        lk_tensor_free(x);
        accepted++;
    }
    check(accepted > 0 && check_alloc_live() == 0);
}

static size_t largest;

static void *watch_alloc(size_t bytes)
{
    if (bytes > largest) largest = bytes;
    return aligned_alloc(64, bytes);
}

/* The same absurd sizes behind compression: 60 bytes of gzip cannot become 3 TB, and none are
 * allocated. */
Test(idx, absurd_sizes_in_gzip)
{
    lk_set_allocator(watch_alloc, free);
    check_refused_gzip(true,
                       "\0\0\x08\x03"
                       "\xff\xff\xff\xff"
                       "\xff\xff\xff\xff"
                       "\xff\xff\xff\xff"
                       "data",
                       20, "larger than any file");
    check_refused_gzip(true,
                       "\0\0\x08\x03"
                       "\xff\xff\xff\xff"
                       "\0\0\0\x1c"
                       "\0\0\0\x1c"
                       "data",
                       20, "announces 4294967295 x 28 x 28 = 3367254359280 bytes, more than");
    check(largest > 0 && largest < 100000, "%zu bytes at once", largest);
    lk_set_allocator(NULL, NULL);

    /* The bound is not too narrow: a million equal bytes shrink about as far as possible. */
    enum { COUNT = 1000000 };
    uint8_t *plain = calloc(8 + COUNT, 1), packed[4096];
    memcpy(plain,
           "\0\0\x08\x01"
           "\0\x0f\x42\x40",
           8);
    size_t size = gzip(plain, 8 + COUNT, packed, sizeof packed);
    check(size < COUNT / 900);
    Error err = { 0 };
    Tensor *y = read_bytes("zeros.gz", false, packed, size, &err);
    check_no_error(&err);
    check_shape(y, LK_SHAPE(COUNT));
    lk_tensor_free(y);
    free(plain);
}

Test(idx, gzip_out_of_memory)
{
    uint8_t packed[512];
    size_t size = gzip(images, IMAGES, packed, sizeof packed);
    check_alloc_begin();
    int64_t tried = 0;
    for (int64_t n = 0, failed = 1; failed; n++, tried++) {
        Error err = { 0 };
        check_fail_after(n);
        Tensor *x = read_bytes("images.gz", true, packed, size, &err);
        failed = check_alloc_failed();
        check(!x == (failed > 0));
        check(err.code == (failed ? LK_EMEMORY : LK_OK), "%s", err.message);
        lk_tensor_free(x);
        check(check_alloc_live() == 0);
    }
    check(tried > 2); /* zlib's own memory too */
}

#else

Test(idx, gzip_without_zlib)
{
    check_refused(true, "\x1f\x8b\x08\0\0\0\0\0\0\x03", 10,
                  "is gzip, but Lorikeet was built without zlib");
    check_refused(false, "\x1f\x8b", 2, "is gzip, but Lorikeet was built without zlib");
}

#endif
