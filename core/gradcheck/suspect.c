/* suspect.c - the helpers that all hints about a wrong gradient share: they compare its values and
 * write the text of the hint. */
#include <math.h>
#include <stdarg.h>

#include "core/decimal.h"
#include "core/gradcheck/parts.h"

bool lk__hint_equals(const Suspect *w, double a, double expected)
{
    return fabs(a - expected) <= w->tolerance + 1e-5 * fabs(expected); /* false for NaN */
}

/* Whether two elements with different values of x have a gradient that is not 0. With two such
 * points a hint can tell a wrong factor from a wrong formula. */
bool lk__hint_is_varied(const Suspect *w)
{
    const double *x = w->x->data;
    int64_t first = -1;
    for (int64_t k = 0; k < w->n; k++) {
        if (lk__hint_equals(w, w->numeric[0][k], 0)) continue;
        if (first >= 0 && x[k] != x[first]) return true;
        if (first < 0) first = k;
    }
    return false;
}

bool lk__hint_say(Suspect *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    lk_vsnprintf(w->text, HINT, format, args);
    va_end(args);
    return true;
}
