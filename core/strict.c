/* strict.c - the switch of strict mode, and its reports. The checks are in the files where the
 * mistakes are made: core/tensor.c, core/failure.c, nn/module.c. */
#include "core/strict.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/decimal.h"
#include "core/memory.h"
#include "core/report.h"

/* The process has one switch, like the environment that it comes from. Every free reads it, so
 * reading must stay cheap. */
static _Atomic int state = -1; /* -1: the environment has not been asked yet */
static ErrorHandler *report_handler = lk__print_error;
static void *report_user;

bool lk_strict(void)
{
    if (state < 0) {
        const char *text = getenv("LORIKEET_STRICT");
        state = text && *text && !(text[0] == '0' && text[1] == '\0');
    }
    return state;
}

void lk_set_strict(bool on) { state = on; }

void lk_on_strict(ErrorHandler *handler, void *user)
{
    report_handler = handler;
    report_user = user;
}

/* Freed blocks hang on a list, so that leak checkers see that they are kept on purpose. */
typedef struct Grave Grave;
struct Grave {
    Grave *next;
    void *block;
};
static _Atomic(Grave *) graves;

void lk__bury(void *block)
{
    Grave *g = block ? lk_mem_alloc(sizeof *g) : NULL;
    if (!g) return; /* the block is kept all the same */
    *g = (Grave){ graves, block };
    while (!atomic_compare_exchange_weak(&graves, &g->next, g)) continue;
}

bool lk_strict_report(ErrorCode code, const char *format, ...)
{
    Error err = { .code = code };
    va_list args;
    va_start(args, format);
    lk_vsnprintf(err.message, sizeof err.message, format, args);
    va_end(args);
    lk__seal_message(&err);
    if (report_handler) report_handler(&err, report_user);
    return false;
}
