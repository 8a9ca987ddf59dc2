/* for_tests.h - lets tests make the choice of core/kernels.h. Internal: not installed, hidden in
 * the shared library. */
#ifndef LK_KERNELS_FOR_TESTS_H
#define LK_KERNELS_FOR_TESTS_H

#include "core/kernels.h"

/* Uses that set from now on. Returns false and changes nothing when the processor lacks it. */
bool lk__kernels_use(KernelSet set);

#endif
