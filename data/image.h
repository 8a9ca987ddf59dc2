/* image.h - pictures in files: PNG (needs libpng, LORIKEET_PNG), PGM and PPM.
 *
 *     Tensor *cat = lk_image_new("cat.png", 3, &err);      -- (3, H, W) uint8
 *     lk_write_png(sample, "sample.png", &err);            -- (1, 28, 28), floats from 0 to 1
 *
 * data/image_folder.h makes a dataset of a folder of them. */
#ifndef LK_IMAGE_H
#define LK_IMAGE_H

#include "core/tensor.h"

/* torchvision.io.read_image: (channels, H, W) uint8. channels: 1 (gray), 3 (red, green, blue) or 0
 * (what the file has). Colours become gray, and gray colours, as with convert() of Pillow. Of 16
 * bits the high 8 count, transparency is dropped, a palette is replaced by its colours. The first
 * bytes of the file tell its format; PGM and PPM may be binary or text. Errors: LK_EIO,
 * LK_EMEMORY, LK_EFORMAT, LK_EVALUE (channels), LK_ESTATE (PNG, but this build has no libpng). */
LK_API Tensor *lk_image_new(const char *path, int channels, Error *err);

/* torchvision.utils.save_image of one picture: (H, W), (1, H, W) or (3, H, W). uint8 are written
 * as they are, floats x as 255 x + 0.5 cut to 0 … 255. At every moment path is the whole old file
 * or the whole new one. lk_write_pnm writes PGM (gray) or PPM (colours) and needs no library.
 * Errors: LK_ESHAPE, LK_EDTYPE, LK_EIO, LK_EMEMORY, LK_ESTATE (PNG, but this build has no
 * libpng). */
LK_API LK_MUST_CHECK bool lk_write_png(const Tensor *image, const char *path, Error *err);
LK_API LK_MUST_CHECK bool lk_write_pnm(const Tensor *image, const char *path, Error *err);

#endif
