/* report.c - the report of a gradient check: its messages, and the names of inputs and elements in
 * them. */
#include <stdarg.h>
#include <string.h>

#include "core/decimal.h"
#include "core/gradcheck/parts.h"

static void add_text(char *text, size_t size, const char *format, va_list args)
{
    size_t used = strlen(text);
    if (used + 1 < size) lk_vsnprintf(text + used, size - used, format, args);
}

static void add(char *text, size_t size, const char *format, ...) LK_PRINTF(3, 4);
static void add(char *text, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_text(text, size, format, args);
    va_end(args);
}

/* The first mistake is also the hint. Each kind of mistake has its own line in the message. */
void lk__check_found(Check *c, const char *mistake, const char *format, ...)
{
    GradcheckReport *r = c->report;
    char text[HINT], name[32];
    lk_snprintf(name, sizeof name, "%s: ", mistake);
    if (strstr(r->message, name)) return;
    va_list args;
    va_start(args, format);
    lk_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!r->mistake) {
        r->mistake = mistake;
        lk_snprintf(r->hint, sizeof r->hint, "%.13s: %.*s", mistake, HINT - 1, text);
    }
    add(r->message, sizeof r->message, "%s%s%s", r->message[0] ? "\n" : "", name, text);
}

bool lk__check_stop(Check *c, const char *mistake, const char *format, ...)
{
    GradcheckReport *r = c->report;
    va_list args;
    va_start(args, format);
    if (!r->mistake) r->mistake = mistake;
    add(r->message, sizeof r->message, "%slk_gradcheck: ", r->message[0] ? "\n" : "");
    add_text(r->message, sizeof r->message, format, args);
    va_end(args);
    c->stopped = true;
    return false;
}

bool lk__check_no_memory(Check *c) { return lk__check_stop(c, "function", "no memory"); }

const char *lk__check_name(const Check *c, int i, char text[96])
{
    if (c->names && c->names[i]) lk_snprintf(text, 96, "%s", c->names[i]);
    else lk_snprintf(text, 96, "input %d", i);
    return text;
}

const char *lk__check_index(const Tensor *x, int64_t k, char text[LK_SHAPE_TEXT])
{
    Tensor index = { .ndim = x->ndim };
    for (int d = x->ndim; d-- > 0; k /= x->shape[d]) index.shape[d] = k % x->shape[d];
    return lk_shape_text(&index, text);
}

int64_t lk__check_offset(const Check *c, int i)
{
    int64_t offset = 0;
    for (int j = 0; j < i; j++)
        if (lk__check_is_on(c, j)) offset += lk_numel(c->in[j]);
    return offset;
}
