/* failure.c - the first failure of a tape, stale tensors, and the checks that operations begin
 * with. */
#include <stdarg.h>
#include <string.h>

#include "core/decimal.h"
#include "core/report.h"
#include "core/strict.h"
#include "core/tape_parts.h"

/* ---- errors --------------------------------------------------------------------------------- */

const Error *lk_tape_error(const Tape *t)
{
    static const Error no_tape = { LK_ESTATE,
                                   "the tape is NULL: lk_tape_new failed, or was forgotten" };
    return t ? &t->error : &no_tape;
}

bool lk_tape_ok(const Tape *t, Error *err)
{
    const Error *first = t ? lk_tape_error(t) : NULL;
    bool ok = !first || first->code == LK_OK;
    if (!ok) lk_error_pass(err, first);
    return ok && (!err || err->code == LK_OK);
}

void lk_tape_clear_error(Tape *t)
{
    if (t) t->error = (Error){ 0 };
}

void lk_tape_on_error(Tape *t, ErrorHandler *handler, void *user)
{
    if (!t) return;
    t->handler = handler;
    t->handler_user = user;
}

/* Begins a message with the place of the innermost scope, such as "layers.2 (Linear): ", and
 * returns its length. A failure in the outermost scope needs no place. */
static size_t write_place(const TapeScope *scope, char *text, size_t size)
{
    size_t length = scope ? scope->path(scope, text, size) : 0;
    if (length) snprintf(text + length, size - length, " (%s): ", scope->kind);
    return strlen(text);
}

void *lk_fail(Tape *t, ErrorCode code, const char *format, ...)
{
    if (!t || t->error.code != LK_OK) return NULL;
    Error err = { .code = code };
    size_t placed = write_place(t->scope, err.message, sizeof err.message);
    va_list args;
    va_start(args, format);
    lk_vsnprintf(err.message + placed, sizeof err.message - placed, format, args);
    va_end(args);
    lk__seal_message(&err);
    if (t == &lk__graveyard) { /* its error is never read later: report it at once */
        lk_strict_report(code, "%s", err.message);
        return NULL;
    }
    t->error = err;
    if (t->handler) t->handler(&t->error, t->handler_user);
    return NULL;
}

void *lk__fail_memory(Tape *t, size_t bytes)
{
    if (!t) return NULL;
    return lk_fail(t, LK_EMEMORY, "tape: no memory for %zu bytes more than the %zu it holds",
                   bytes, lk__arena_bytes(&t->arena));
}

/* ---- stale tensors -------------------------------------------------------------------------- */

/* The tape of owned tensors that were freed in strict mode, and of the tensors of tapes that were
 * freed. All of them are stale, and their errors go to strict mode's handler. */
Tape lk__graveyard = { .headers.since[0] = INT64_MAX };

bool lk_is_stale(const Tensor *x) { return x && lk__is_gone(x); }

/* Writes why x is stale: "(3, 4) was made 2 resets ago, before the last lk_tape_reset: …" */
static void describe(const Tensor *x, char *text, size_t size)
{
    char shape[LK_SHAPE_TEXT];
    const int64_t *since = x->tape->headers.since;
    lk__sizes_text(x->ndim, x->shape, shape);
    if (x->tape == &lk__graveyard) {
        snprintf(text, size,
                 "%s was freed: its last owner gave it back with lk_free, or its tape was freed; "
                 "keep it with lk_retain or lk_clone",
                 shape);
        return;
    }
    if (x->serial < 0) {
        snprintf(
            text, size,
            "%s was given back by lk_tape_release, as lk_forward does with all but its result "
            "when no gradient is recorded: its elements are gone; keep it with lk_clone",
            shape);
        return;
    }
    int resets = 1;
    while (resets < LK_RESETS_KNOWN && x->serial < since[resets]) resets++;
    if (resets == 1)
        snprintf(text, size,
                 "%s was made before the last lk_tape_reset (tensor %lld of that step): its "
                 "elements are gone; keep a result with lk_clone",
                 shape, (long long)(x->serial - since[1] + 1));
    else
        snprintf(text, size,
                 "%s was made %d%s resets ago, before the last lk_tape_reset: its elements are "
                 "gone; keep a result with lk_clone",
                 shape, resets, resets == LK_RESETS_KNOWN ? " or more" : "");
}

void *lk__fail_stale(Tape *t, const char *function, const char *role, const Tensor *x)
{
    char text[LK_SHAPE_TEXT + 192];
    describe(x, text, sizeof text);
    return lk_fail(t, LK_ESTATE, "%s: %s%s%s", function, role, *role ? " " : "", text);
}

bool lk__is_usable(const char *function, const Tensor *x, Error *err)
{
    if (!x) return lk_error_set(err, LK_EVALUE, "%s: the tensor is NULL", function);
    if (!lk__is_gone(x)) return true;
    char text[LK_SHAPE_TEXT + 192];
    describe(x, text, sizeof text);
    if (!err) lk__fail_stale(x->tape, function, "", x);
    return lk_error_set(err, LK_ESTATE, "%s: %s", function, text);
}

/* ---- checks that many operations begin with ------------------------------------------------- */

void *lk__fail_operand(Tape *t, const char *function, int i, int count, const Tensor *x)
{
    char role[32] = "";
    if (count > 1) snprintf(role, sizeof role, "operand %d", i + 1);
    if (x) lk__fail_stale(t, function, role, x);
    else
        lk_fail(t, LK_EVALUE,
                "%s: %s is NULL: made by a call that failed without this tape, or a parametrized "
                "parameter that was not read with lk_param",
                function, *role ? role : "the operand");
    return NULL;
}

bool lk_check_operands(Tape *t, const char *function, int count, Tensor *const *x)
{
    for (int i = 0; i < count; i++)
        if (!x || !x[i] || lk__is_gone(x[i]))
            return lk__fail_operand(t, function, i, count, x ? x[i] : NULL);
    return t;
}

bool lk_check_optional(Tape *t, const char *function, const char *name, const Tensor *x)
{
    if (!x) return t && t->error.code == LK_OK;
    if (lk__is_gone(x)) lk__fail_stale(t, function, name, x);
    return !lk__is_gone(x);
}

void *lk__fail_storage_only(Tape *t, const char *function, DType dtype)
{
    return lk_fail(t, LK_EDTYPE,
                   "%s: %s only stores weights and has no arithmetic; convert it: lk_to(t, "
                   "x, LK_F32)",
                   function, lk_dtype_name(dtype));
}

void *lk__fail_no_whole_rows(Tape *t, const char *function)
{
    return lk_fail(t, LK_ESHAPE,
                   "%s: a qint8 weight has a scale for each row, and this view has no whole rows; "
                   "lk_to(t, x, LK_F32) has its values",
                   function);
}

/* Fails with a message that tells which operand lk_check_floating refuses, and why. */
static bool refuse_floating(Tape *t, const char *function, int count, Tensor *const *x)
{
    if (!lk_check_operands(t, function, count, x)) return false;
    for (int i = 0; i < count; i++) {
        if (lk_only_stores(x[i]->dtype)) return lk__fail_storage_only(t, function, x[i]->dtype);
        if (!lk_is_floating(x[i]->dtype))
            return lk_fail(t, LK_EDTYPE, "%s: takes float32 or float64, not %s; lk_to converts",
                           function, lk_dtype_name(x[i]->dtype));
        if (x[i]->dtype != x[0]->dtype)
            return lk_fail(t, LK_EDTYPE, "%s: operands are %s and %s; lk_to makes them the same",
                           function, lk_dtype_name(x[0]->dtype), lk_dtype_name(x[i]->dtype));
    }
    return t;
}

bool lk_check_floating(Tape *t, const char *function, int count, Tensor *const *x)
{
    if (!t || !x) return false;
    for (int i = 0; i < count; i++) /* float32 and float64 are the first two */
        if (!x[i] || lk__is_gone(x[i]) || x[i]->dtype > LK_F64 || x[i]->dtype != x[0]->dtype)
            return refuse_floating(t, function, count, x);
    return true;
}

int lk__check_dim(Tape *t, const char *function, int ndim, int64_t d)
{
    const int dims = ndim > 0 ? ndim : 1; /* a scalar's 0 and -1 are allowed, as in PyTorch */
    if (d >= -dims && d < dims) return (int)(d < 0 ? d + dims : d);
    lk_fail(t, LK_ESHAPE, "%s: dimension %lld is outside %d … %d", function, (long long)d, -dims,
            dims - 1);
    return -1;
}
