/* test_image.c - pictures: Pillow's pixels in every kind of file, what is written is read again,
 * and what is refused. */
#include "tests/check.h"

#include <math.h>
#include <string.h>

#include "core/ops.h"
#include "data/image.h"
#include "tests/fixtures/images.h"

/* Whether this build reads such files. */
static bool can_read(const char *name)
{
#ifdef LK_HAVE_PNG
    return (void)name, true;
#else
    return !strstr(name, ".png");
#endif
}

/* ---- reading -------------------------------------------------------------------------------- */

/* x (channels, H, W) has these pixels, which lie one after the other. */
static void check_pixels(const char *name, const Tensor *x, int channels, const uint8_t *pixels)
{
    check_shape(x, LK_SHAPE(channels, IMAGE_HEIGHT, IMAGE_WIDTH));
    check(x->dtype == LK_U8);
    const int64_t n = IMAGE_HEIGHT * IMAGE_WIDTH;
    for (int64_t i = 0; i < n; i++)
        for (int c = 0; c < channels; c++) {
            int got = ((const uint8_t *)x->data)[c * n + i], want = pixels[i * channels + c];
            check(got == want, "%s, pixel %d, channel %d: %d, not %d", name, (int)i, c, got, want);
        }
}

Test(image, pixels_are_those_of_pillow)
{
    for (size_t k = 0; k < sizeof image_cases / sizeof *image_cases; k++) {
        const struct ImageCase *c = &image_cases[k];
        if (!can_read(c->name)) continue;
        for (int channels = 0; channels <= 3; channels++) {
            if (channels == 2) continue;
            Error err = { 0 };
            Tensor *x = lk_image_new(check_fixture(c->name), channels, &err);
            check_no_error(&err);
            int made = channels ? channels : c->channels;
            check_pixels(c->name, x, made, made == 1 ? c->gray : c->rgb);
            lk_free(x);
        }
    }
}

static Tensor *read_text(const char *text, size_t size, Error *err)
{
    return lk_image_new(check_write("picture", text, size), 0, err);
}

Test(image, other_maxima_and_wide_numbers)
{
    Error err = { 0 };
    Tensor *x = read_text("P2 3 1 15 0 7 15", 16, &err);
    check_values(x, 0, 0, 119, 255);
    lk_free(x);
    x = read_text("P5 2 1 65535\n\x80\x00\xff\xff", 17, &err);
    check_values(x, 0, 128, 255);
    lk_free(x);
    x = read_text("P6\n# by hand\n1 1\n# 255\n255\n\x01\x02\x03", 30, &err);
    check_shape(x, LK_SHAPE(3, 1, 1));
    check_values(x, 0, 1, 2, 3);
    check_no_error(&err);
    lk_free(x);
}

/* ---- writing -------------------------------------------------------------------------------- */

typedef bool WriteFn(const Tensor *image, const char *path, Error *err);

static void check_written(WriteFn *write, const char *name, const Tensor *image, bool colours,
                          const Tensor *expected)
{
    Error err = { 0 };
    const char *path = check_scratch(name);
    check(write(image, path, &err), "%s", err.message);
    Tensor *again = lk_image_new(path, 0, &err);
    check_no_error(&err);
    check(again->shape[0] == (colours ? 3 : 1));
    check_close_to(again, expected, 0);
    lk_free(again);
}

static void check_writes(WriteFn *write, const char *name)
{
    Tensor *gray = make_tensor(LK_U8, LK_SHAPE(1, 2, 3), 0, 1, 127, 128, 254, 255);
    Tensor *flat = make_tensor(LK_F32, LK_SHAPE(2, 3), 0, 1 / 255.0, 127.4 / 255, 128 / 255.0,
                               254.4 / 255, 1.5);
    Tensor *doubles = make_tensor(LK_F64, LK_SHAPE(1, 2, 3), -3, 1 / 255.0, 127 / 255.0,
                                  128.4 / 255, 254 / 255.0, INFINITY);
    Tensor *colours = make_tensor(LK_U8, LK_SHAPE(3, 1, 2), 1, 2, 3, 4, 5, 6);
    check_written(write, name, gray, false, gray);
    check_written(write, name, flat, false, gray);
    check_written(write, name, doubles, false, gray);
    check_written(write, name, colours, true, colours);
    ((double *)doubles->data)[0] = NAN; /* no number: black */
    check_written(write, name, doubles, false, gray);

    /* a strided picture on a tape */
    Tape *t = lk_tape_new(NULL);
    Tensor *turned = lk_transpose(t, colours, 1, 2);
    Tensor *expected = lk_clone(turned, NULL);
    check_written(write, name, turned, true, expected);
    lk_tape_free(t);
    lk_free(expected);
    lk_free(gray);
    lk_free(flat);
    lk_free(doubles);
    lk_free(colours);
}

Test(image, what_is_written_is_read_again)
{
    check_writes(lk_write_pnm, "picture.pnm");
#ifdef LK_HAVE_PNG
    check_writes(lk_write_png, "picture.png");
#endif
}

/* ---- what is refused ------------------------------------------------------------------------ */

static void check_no_picture(const char *bytes, size_t size, const char *text)
{
    Error err = { 0 };
    check(!read_text(bytes, size, &err), "read, but expected \"%s\"", text);
    check_error(&err, LK_EFORMAT, text);
    check_error(&err, LK_EFORMAT, "lk_image_new: ");
}
#define NO_PICTURE(bytes, text) check_no_picture(bytes, sizeof bytes - 1, text)

Test(image, bad_files_are_refused)
{
    check_alloc_begin();
    NO_PICTURE("GIF89a", "is no PNG, PGM or PPM file");
    NO_PICTURE("P4 1 1 \x01", "is no PNG, PGM or PPM file");
    NO_PICTURE("P5 x", "its width is missing or no number");
    NO_PICTURE("P5 2", "its height is missing or no number");
    NO_PICTURE("P5 2 2\n", "its maximum is missing or no number");
    NO_PICTURE("P5 0 2 255\n", "has no pixel: 0 x 2");
    NO_PICTURE("P5 1 1 0\n1", "its maximum is 0");
    NO_PICTURE("P5 1 1 65536\n1", "its maximum is 65536");
    NO_PICTURE("P5 2 2 255\nabc", "announces 4 numbers, 4 bytes, and has 3 bytes");
    NO_PICTURE("P5 2 2 255\nabcde", "announces 4 numbers, 4 bytes, and has 5 bytes");
    NO_PICTURE("P6 999999999 999999999 65535\n12", "and has 2 bytes");
    NO_PICTURE("P5 9999999999 1 255\n1", "its width is missing or no number");
    NO_PICTURE("P5 1 1 100\n\xff", "number 0 is 255, above its maximum 100");
    NO_PICTURE("P2 2 1 255 12 x", "its next pixel is missing or no number");
    NO_PICTURE("P2 2 1 255 123", "its next pixel is missing or no number");
    NO_PICTURE("P2 9 9 255 123", "announces 81 numbers, at least 161 bytes, and has 3 bytes");
    Error err = { 0 };
    check(!lk_image_new("picture", 2, &err));
    check_error(&err, LK_EVALUE, "lk_image_new: 2 channels; possible are 1, 3 and 0");
    err = (Error){ 0 };
    check(!lk_image_new(NULL, 3, &err));
    check_error(&err, LK_EVALUE, "lk_image_new: the path is NULL");
    err = (Error){ 0 };
    check(!lk_image_new(check_scratch("none"), 3, &err));
    check_error(&err, LK_EIO, "none: cannot be opened: No such file");
    check(check_alloc_live() == 0);
}

static void check_not_written(WriteFn *write, const Tensor *image, ErrorCode code,
                              const char *text)
{
    Error err = { 0 };
    check(!write(image, check_scratch("bad"), &err));
    check_error(&err, code, text);
}

Test(image, bad_pictures_are_refused)
{
    check_alloc_begin();
    static WriteFn *const writers[] = { lk_write_png, lk_write_pnm };
    for (int k = 0; k < 2; k++) {
        Tensor *bad[] = { make_tensor(LK_F32, LK_SHAPE(2), 1, 2),
                          make_tensor(LK_F32, LK_SHAPE(2, 1, 1), 1, 2),
                          make_tensor(LK_F32, LK_SHAPE(1, 1, 1, 1), 1),
                          lk_tensor_new(LK_F32, LK_SHAPE(3, 0, 2), NULL) };
        for (int i = 0; i < 4; i++) {
            check_not_written(writers[k], bad[i], LK_ESHAPE,
                              "; needed is (H, W), (1, H, W) or (3, H, W)");
            lk_free(bad[i]);
        }
        Tensor *whole = make_tensor(LK_I64, LK_SHAPE(1, 1), 1);
        check_not_written(writers[k], whole, LK_EDTYPE,
                          "uint8, or floats from 0 to 1, and this is int64");
        lk_free(whole);
        check_not_written(writers[k], NULL, LK_EVALUE, "the picture is NULL");
    }
    Tensor *good = make_tensor(LK_U8, LK_SHAPE(1, 1), 1);
    Error err = { 0 };
    check(!lk_write_pnm(good, NULL, &err));
    check_error(&err, LK_EVALUE, "lk_write_pnm: the path is NULL");
    err = (Error){ 0 };
    check(!lk_write_pnm(good, check_scratch("no/folder/x.pgm"), &err));
    check_error(&err, LK_EIO, "No such file");
#ifndef LK_HAVE_PNG
    check_not_written(lk_write_png, good, LK_ESTATE,
                      "PNG needs libpng, which this build is without");
    err = (Error){ 0 };
    check(!lk_image_new(check_fixture("images/gray.png"), 0, &err));
    check_error(&err, LK_ESTATE, "PNG needs libpng");
#endif
    lk_free(good);
    check(check_alloc_live() == 0);
}

#ifdef LK_HAVE_PNG
/* Cut anywhere, or with any byte changed, a PNG is refused or read, and nothing leaks. */
Test(image, damaged_png_files)
{
    static char bytes[1024], changed[1024];
    FILE *in = fopen(check_fixture("images/rgb.png"), "rb");
    size_t size = fread(bytes, 1, sizeof bytes, in);
    fclose(in);
    check_alloc_begin();
    for (size_t i = 1; i < size - 12; i++) { /* its last 12 bytes have no pixels */
        Error err = { 0 };
        check(!read_text(bytes, i, &err), "cut to %zu bytes", i);
        check(err.code == LK_EFORMAT, "%s", err.message);
        check(check_alloc_live() == 0);
    }
    for (size_t i = 0; i < size; i++) {
        Error err = { 0 };
        memcpy(changed, bytes, size);
        changed[i] ^= 0x10;
        Tensor *x = read_text(changed, size, &err);
        check(x || err.code == LK_EFORMAT || err.code == LK_EMEMORY, "%s", err.message);
        lk_free(x);
        check(check_alloc_live() == 0);
    }
}
#endif

Test(image, without_memory_nothing_leaks)
{
    check_alloc_begin();
    static WriteFn *const writers[] = { lk_write_pnm, lk_write_png };
    static const char *const names[] = { "few.ppm", "few.png" };
    for (int k = 0; k < 2; k++) {
        if (!can_read(names[k])) continue;
        Tensor *x = make_tensor(LK_U8, LK_SHAPE(3, 1, 2), 1, 2, 3, 4, 5, 6);
        int64_t live = check_alloc_live();
        const char *path = check_scratch(names[k]);
        for (int64_t n = 0, failed = 1; failed; n++) {
            Error err = { 0 };
            check_fail_after(n);
            bool ok = writers[k](x, path, &err);
            Tensor *again = ok ? lk_image_new(path, 3, &err) : NULL;
            failed = check_alloc_failed();
            check(!again == (failed > 0), "%s, %d: %s", names[k], (int)n, err.message);
            if (failed) check_error(&err, LK_EMEMORY, "memory");
            lk_free(again);
            check(check_alloc_live() == live);
        }
        check_fail_after(-1);
        lk_free(x);
    }
}
