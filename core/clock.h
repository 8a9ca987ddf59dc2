/* clock.h - time that only goes forward, for measuring how long something takes. */
#ifndef LK_CLOCK_H
#define LK_CLOCK_H

#include "core/api.h"

LK_API double lk_seconds(void); /* seconds since any fixed moment, as time.monotonic() */

#endif
