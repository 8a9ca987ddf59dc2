/* pixels.c - pictures between the layout of files (H, W, C) and that of tensors (C, H, W). */
#include "data/pixels.h"

#include "core/memory.h"

bool lk__pixels_make(Pixels *p, const char *caller, Error *err)
{
    size_t bytes;
    bool fits = !__builtin_mul_overflow(p->height, p->width, &bytes) &&
                !__builtin_mul_overflow(bytes, (size_t)p->channels, &bytes);
    p->data = fits ? lk_mem_alloc(bytes ? bytes : 1) : NULL;
    return p->data ||
           lk_error_set(err, LK_EMEMORY, "%s: no memory for a picture of %lld x %lld pixels",
                        caller, (long long)p->width, (long long)p->height);
}

void lk__pixels_free(Pixels *p)
{
    lk_mem_free(p->data);
    p->data = NULL;
}

/* The weights of ITU-R 601-2, in the arithmetic of Pillow. */
static uint8_t gray_of(const uint8_t *rgb)
{
    return (uint8_t)((rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16);
}

Tensor *lk__pixels_tensor_new(const Pixels *p, int channels, Error *err)
{
    if (channels == 0) channels = p->channels;
    Tensor *x = lk_tensor_new(LK_U8, LK_SHAPE(channels, p->height, p->width), err);
    if (!x) return NULL;
    const int64_t n = p->height * p->width;
    uint8_t *to = x->data;
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *from = p->data + i * p->channels;
        if (channels < p->channels) to[i] = gray_of(from);
        else
            for (int c = 0; c < channels; c++) to[c * n + i] = from[p->channels == 1 ? 0 : c];
    }
    return x;
}

/* 255 x + 0.5, cut; NaN is 0. */
static uint8_t byte_of(double x)
{
    x = 255.0 * x + 0.5;
    if (!(x > 0.0)) return 0;
    return x < 255.0 ? (uint8_t)x : 255;
}

bool lk__pixels_of(const Tensor *image, Pixels *p, const char *caller, Error *err)
{
    char shape[LK_SHAPE_TEXT];
    Tensor *x = lk_clone(image, err); /* contiguous; it refuses what is stale */
    if (!x) return false;
    const int d = x->ndim - 2; /* the dimension of the rows */
    bool ok = d == 0 || (d == 1 && (x->shape[0] == 1 || x->shape[0] == 3));
    ok = (ok && x->shape[d] > 0 && x->shape[d + 1] > 0) ||
         lk_error_set(err, LK_ESHAPE,
                      "%s: the picture is %s; needed is (H, W), (1, H, W) or (3, H, W)", caller,
                      lk_shape_text(x, shape));
    ok = ok && (x->dtype == LK_U8 || lk_is_floating(x->dtype) ||
                lk_error_set(err, LK_EDTYPE,
                             "%s: a picture is uint8, or floats from 0 to 1, and this is %s",
                             caller, lk_dtype_name(x->dtype)));
    if (ok) {
        p->height = x->shape[d];
        p->width = x->shape[d + 1];
        p->channels = d == 1 ? (int)x->shape[0] : 1;
        ok = lk__pixels_make(p, caller, err);
    }
    const int64_t n = ok ? p->height * p->width : 0;
    for (int64_t i = 0; i < n; i++)
        for (int c = 0; c < p->channels; c++) {
            const int64_t at = c * n + i;
            uint8_t *to = p->data + i * p->channels + c;
            if (x->dtype == LK_U8) *to = ((const uint8_t *)x->data)[at];
            else if (x->dtype == LK_F64) *to = byte_of(((const double *)x->data)[at]);
            else *to = byte_of((double)((const float *)x->data)[at]);
        }
    lk_tensor_free(x);
    return ok;
}
