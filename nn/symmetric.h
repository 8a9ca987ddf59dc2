/* symmetric.h - a parametrization (nn/parametrize.h) that makes a matrix symmetric. */
#ifndef LK_SYMMETRIC_H
#define LK_SYMMETRIC_H

#include "nn/parametrize.h"

/* X ↦ the upper triangle of X and its mirror image. Its right_inverse is the upper triangle. */
LK_API Module *lk_symmetric_new(Error *err);
LK_API_DATA const ModuleType lk_symmetric_type;

#endif
