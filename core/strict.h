/* strict.h - strict mode: finds mistakes that are too costly to look for in every run.
 *
 *     LORIKEET_STRICT=1 build/release/examples/my_program    or lk_set_strict(true), first thing in main
 *
 * While it is on, no header of a tensor is used again, and the elements of a reset tape become
 * NaN: a tensor that outlives lk_tape_reset or lk_tape_release is refused for ever. Owned tensors
 * and modules that are freed twice, or used after they were freed (or consumed by a constructor
 * that failed), are named. So are tables of fields that do not fit their struct (lk_module_new).
 * It needs memory for all of that: for tests and for looking, not for long trainings. */
#ifndef LK_STRICT_H
#define LK_STRICT_H

#include "core/error.h"

/* On at first when the environment has LORIKEET_STRICT set to anything but "" and "0". Turn it on
 * before the first tensor is made: what was freed before is not known. */
LK_API bool lk_strict(void);
LK_API void lk_set_strict(bool on);

/* Called with each mistake that has no tape and no Error to go to, such as a second lk_free. The
 * default prints the message to stderr; NULL silences. */
LK_API void lk_on_strict(ErrorHandler *handler, void *user);

/* Hands a mistake to the handler. Always returns false. */
LK_API bool lk_strict_report(ErrorCode code, const char *format, ...) LK_PRINTF(2, 3);

/* The number of owners of a tensor or module that strict mode keeps although it was freed. */
enum { LK_BURIED = -1 };

#endif
