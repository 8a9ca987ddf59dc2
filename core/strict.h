/* strict.h - strict mode: finds mistakes that are too costly to look for in every run.
 *
 *     LORIKEET_STRICT=1 build/release/examples/my_program
 *
 * or lk_set_strict(true) as the first statement of main. It then refuses
 *
 *   - tensors that outlive lk_tape_reset or lk_tape_release, however long ago that was: no header
 *     is used again, and the elements of a reset tape become NaN;
 *   - tensors and modules that are freed twice, or used after they were freed or consumed by a
 *     constructor that failed;
 *   - tables of fields that do not fit their struct (lk_module_new).
 *
 * It reports once (lk_on_strict), and goes on: many backwards without a lk_tape_reset; a parameter
 * that a forward reads but no table of fields lists; a BatchNorm whose running statistics move
 * although no gradients are recorded, so that lk_eval may be missing.
 *
 * All of that needs memory, so strict mode is for tests and for finding mistakes, not for long
 * trainings. */
#ifndef LK_STRICT_H
#define LK_STRICT_H

#include "core/error.h"

/* Strict mode is on from the start when LORIKEET_STRICT is set to anything but "" and "0". Turn it
 * on before the first tensor is made: earlier frees are not known. */
LK_API bool lk_strict(void);
LK_API void lk_set_strict(bool on);

/* Sets the handler of mistakes that have no tape and no Error to go to, such as a second lk_free.
 * The default prints the message to stderr; NULL silences them. */
LK_API void lk_on_strict(ErrorHandler *handler, void *user);

/* Hands a mistake to the handler; returns false. */
LK_API bool lk_strict_report(ErrorCode code, const char *format, ...) LK_PRINTF(2, 3);

/* Takes the place of the number of owners in a tensor or module that was freed in strict mode. */
enum { LK_BURIED = -1 };

#endif
