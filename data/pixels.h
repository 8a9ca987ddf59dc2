/* pixels.h - the bytes of a picture as files have them, and as tensors have them; hidden. */
#ifndef LK_PIXELS_H
#define LK_PIXELS_H

#include "core/tensor.h"

/* Row after row, the channels of a pixel side by side. */
typedef struct Pixels {
    uint8_t *data; /* owned */
    int64_t height, width;
    int channels; /* 1 or 3 */
} Pixels;

/* Makes room; the sizes are set. Error: LK_EMEMORY. */
bool lk__pixels_make(Pixels *p, const char *caller, Error *err);
void lk__pixels_free(Pixels *p);

/* A tensor (channels, height, width) of them; channels 0: as many as they have. */
Tensor *lk__pixels_tensor_new(const Pixels *p, int channels, Error *err);
/* The pixels of a tensor as lk_write_png takes it. */
bool lk__pixels_of(const Tensor *image, Pixels *p, const char *caller, Error *err);

#endif
