/* choose.h - lets tests make the choice of core/kernels.h. Internal: not installed, hidden in the
 * shared library. */
#ifndef LK_CHOOSE_H
#define LK_CHOOSE_H

#include "core/kernels.h"

/* Uses that set from now on. Returns false and changes nothing when the processor lacks it. */
bool lk__kernels_use(KernelSet set);

#endif
