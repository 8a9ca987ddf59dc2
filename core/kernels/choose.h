/* choose.h - the choice of core/kernels.h as tests make it. Internal: not installed, hidden in the
 * shared library. */
#ifndef LK_CHOOSE_H
#define LK_CHOOSE_H

#include "core/kernels.h"

/* That set is used from now on; false, and nothing changed, when the processor lacks it. */
bool lk__kernels_use(KernelSet set);

#endif
