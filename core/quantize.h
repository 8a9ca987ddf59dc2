/* quantize.h - matrices in qint8: each row is a float32 scale times integers from -127 to 127, as
 * torch.quantize_per_channel(x, scale, zeros, 0, torch.qint8) with scale_i = max|x_i| / 127. 0 is
 * exact, the largest of a row is off by at most its last bit, and each other element by at most
 * half of its scale. A row below 4e-37 becomes zeros. Internal: not installed. */
#ifndef LK_QUANTIZE_H
#define LK_QUANTIZE_H

#include "core/tensor.h"

/* Whether x is some whole rows of its matrix: the rows lie as they were made. All operations but
 * views and conversions ask for this, or for the transpose of such an x. */
bool lk__has_whole_rows(const Tensor *x);

/* Returns the scale of the first row of x, which has whole rows; the next ones lie before it. */
static inline float *lk__row_scales(const Tensor *x)
{
    const int64_t offset = (const int8_t *)x->data - (const int8_t *)x->storage->data;
    return (float *)x->storage->data - 1 - (x->storage->row ? offset / x->storage->row : 0);
}

/* y = the nearest in qint8. y has whole rows, and x its shape. From whole rows of qint8 nothing is
 * rounded again. */
void lk__quantize(Tensor *y, const Tensor *x);

/* Whether x has only finite elements: no scale makes an infinite element an integer. */
bool lk__can_quantize(const char *caller, const Tensor *x, Error *err);

#endif
