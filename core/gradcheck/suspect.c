/* suspect.c - a wrong gradient under suspicion: the questions that every hint asks about it, and
 * the way it says its answer. */
#include <math.h>
#include <stdarg.h>

#include "core/decimal.h"
#include "core/gradcheck/parts.h"

bool lk__hint_equals(const Suspect *w, double a, double expected)
{
    return fabs(a - expected) <= w->tolerance + 1e-5 * fabs(expected); /* false for NaN */
}

/* Elements whose right gradient is not 0, at different values of x: two points tell a factor
 * from a formula. */
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
