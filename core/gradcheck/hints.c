/* hints.c - which mistake a wrong gradient shows. Each hint has a formula that computes the wrong
 * gradient a from the right one n, the cotangent v and the Jacobian J (n[k] = Σ_j v[j] J[k][j]).
 * A hint is given only when its formula holds for every element and both cotangents. The first
 * hint that holds is taken, so simple formulas come first. This file has the hints about the
 * gradient as a whole; core/gradcheck/places.c has those about single elements and rows. */
#include <math.h>
#include <string.h>

#include "core/decimal.h"
#include "core/gradcheck/parts.h"

/* Returns the gradient that a mistake would give element k for cotangent v, or NaN when the
 * mistake cannot be tried there. */
typedef double Formula(const Suspect *w, int v, int64_t k, int64_t which);
/* Whether every element of the wrong gradient is the one that the formula expects. */
static bool holds(const Suspect *w, Formula *expected, int64_t which)
{
    for (int v = 0; v < COTANGENTS; v++)
        for (int64_t k = 0; k < w->n; k++)
            if (!lk__hint_equals(w, w->a[v][k], expected(w, v, k, which))) return false;
    return true;
}

/* ---- dy ------------------------------------------------------------------------------------- */

static bool not_finite(Suspect *w)
{
    for (int v = 0; v < COTANGENTS; v++)
        for (int64_t k = 0; k < w->n; k++)
            if (!isfinite(w->a[v][k]))
                return lk__hint_say(w, "range: NaN or infinity in the analytic gradient");
    return false;
}

static double with_other_dy(const Suspect *w, int v, int64_t k, int64_t which)
{
    (void)which;
    return w->a[!v][k];
}

static bool dy_forgotten(Suspect *w)
{
    return holds(w, with_other_dy, 0) &&
           lk__hint_say(w, "dy forgotten: the analytic gradient does not depend on dy; it must be "
                           "multiplied by it");
}

static bool dy_twice(Suspect *w)
{
    bool linear = true, squared = true;
    for (int64_t k = 0; k < w->n; k++) {
        linear = linear && lk__hint_equals(w, w->doubled[k], -2 * w->a[0][k]);
        squared = squared && lk__hint_equals(w, w->doubled[k], 4 * w->a[0][k]);
    }
    if (linear) return false;
    return squared ? lk__hint_say(w, "dy twice: -2 dy gives 4 times the analytic gradient of dy; "
                                     "dy stands in it as a square")
                   : lk__hint_say(w, "dy: -2 dy does not give -2 times the analytic gradient of "
                                     "dy; it must be linear in dy");
}

/* ---- sign, factor --------------------------------------------------------------------------- */

static double times(const Suspect *w, int v, int64_t k, int64_t which)
{
    return (double)which * w->numeric[v][k];
}

static bool sign(Suspect *w)
{
    return holds(w, times, -1) &&
           lk__hint_say(w, "sign: the analytic gradient is the negative of what it should be");
}

/* Adds "; it is NAME" to the hint when |factor| is the value of that name, or "; it is 1 / NAME"
 * when the reciprocal is. */
static void name_factor(Suspect *w, double factor, const char *name, double value)
{
    size_t used = strlen(w->text);
    bool is = fabs(fabs(factor) - value) <= 1e-5 * value,
         inverse = fabs(fabs(factor) * value - 1) <= 1e-5;
    if (!(value > 0) || value == 1 || !(is || inverse) || used >= HINT) return;
    const char *begin = strstr(w->text, "; it is ") ? " or " : "; it is ";
    lk_snprintf(w->text + used, HINT - used, "%s%s%s%s", begin, factor < 0 ? "-" : "",
                is ? "" : "1 / ", name);
}

static bool constant_factor(Suspect *w)
{
    double an = 0, nn = 0;
    for (int v = 0; v < COTANGENTS; v++)
        for (int64_t k = 0; k < w->n; k++) {
            an += w->a[v][k] * w->numeric[v][k];
            nn += w->numeric[v][k] * w->numeric[v][k];
        }
    double factor = nn > 0 ? an / nn : 0;
    if (factor == 0 || !lk__hint_is_varied(w)) return false;
    for (int v = 0; v < COTANGENTS; v++)
        for (int64_t k = 0; k < w->n; k++)
            if (!lk__hint_equals(w, w->a[v][k], factor * w->numeric[v][k])) return false;
    lk__hint_say(w, "factor: the analytic gradient is %.6g times what it should be", factor);
    const Check *c = w->c;
    for (int i = 0; c->o.constants && i < c->o.constant_count; i++)
        name_factor(w, factor, c->o.constants[i].name, fabs(c->o.constants[i].value));
    name_factor(w, factor, "the number of its elements", (double)w->n);
    if (w->outputs != w->n) name_factor(w, factor, "the number of results", (double)w->outputs);
    for (int d = 0; d < w->x->ndim; d++) {
        char name[48];
        lk_snprintf(name, sizeof name, "the size of its dimension %d", d);
        if (w->x->shape[d] != w->n) name_factor(w, factor, name, (double)w->x->shape[d]);
    }
    const Tensor *y = &c->shapes[0];
    for (int d = 0; c->results == 1 && d < y->ndim; d++) {
        char name[48];
        lk_snprintf(name, sizeof name, "the size of dimension %d of the result", d);
        if (y->shape[d] != w->outputs) name_factor(w, factor, name, (double)y->shape[d]);
    }
    if (w->outputs == 1) name_factor(w, factor, "the result", fabs(c->first.y[0]));
    return true;
}

/* ---- transposed, swapped, moved ------------------------------------------------------------- */

/* Returns the index, in a matrix of `rows` rows, of the element that its transpose has at k. */
static int64_t exchanged(int64_t k, int64_t count, int64_t rows)
{
    return k % rows * (count / rows) + k / rows;
}

static double transposed_gradient(const Suspect *w, int v, int64_t k, int64_t which)
{
    return w->numeric[v][exchanged(k, w->n, which)];
}

/* Σ_j v[σ(j)] J[k][j], where σ exchanges rows and columns of the result. */
static double transposed_dy(const Suspect *w, int v, int64_t k, int64_t which)
{
    double sum = 0;
    for (int64_t j = 0; j < w->outputs; j++)
        sum += w->c->v[v][exchanged(j, w->outputs, which)] * w->jacobian[k * w->outputs + j];
    return sum;
}

/* Σ_j v[j] J[j][k]: the matrix without the transposition that backward needs. */
static double untransposed(const Suspect *w, int v, int64_t k, int64_t which)
{
    double sum = 0;
    (void)which;
    for (int64_t j = 0; j < w->outputs; j++)
        sum += w->c->v[v][j] * w->jacobian[j * w->outputs + k];
    return sum;
}

static bool transposed(Suspect *w)
{
    const Tensor *y = &w->c->shapes[0];
    if (w->x->ndim >= 2 && holds(w, transposed_gradient, w->x->shape[0]))
        return lk__hint_say(w, "transposed: the analytic gradient has rows and columns exchanged");
    if (w->jacobian && w->c->results == 1 && y->ndim >= 2 && y->shape[0] > 0 &&
        holds(w, transposed_dy, y->shape[0]))
        return lk__hint_say(w, "transposed: dy is read with rows and columns exchanged");
    if (w->jacobian && w->n == w->outputs && holds(w, untransposed, 0))
        return lk__hint_say(
            w, "transposed: dy is multiplied by a matrix that must be transposed in backward");
    return false;
}

static double of_another_input(const Suspect *w, int v, int64_t k, int64_t which)
{
    return w->c->numeric[v][which + k];
}

static bool swapped(Suspect *w)
{
    char name[96];
    for (int i = 0; i < w->c->count; i++) {
        const Tensor *x = w->c->in[i];
        if (i == w->input || x == w->x || !lk__check_is_on(w->c, i) || lk_numel(x) != w->n)
            continue;
        if (holds(w, of_another_input, lk__check_offset(w->c, i)))
            return lk__hint_say(w, "swapped: this is the gradient of %s",
                                lk__check_name(w->c, i, name));
    }
    return false;
}

/* The right gradient, `which` elements too far. */
static double moved_gradient(const Suspect *w, int v, int64_t k, int64_t which)
{
    return k - which >= 0 && k - which < w->n ? w->numeric[v][k - which] : 0;
}

/* The gradient when dy is read `which` elements too far; NaN where that is outside of dy. */
static double moved_dy(const Suspect *w, int v, int64_t k, int64_t which)
{
    double sum = 0;
    for (int64_t j = 0; j < w->outputs; j++) {
        double slope = w->jacobian[k * w->outputs + j];
        if (slope == 0) continue;
        if (j + which < 0 || j + which >= w->outputs) return NAN;
        sum += w->c->v[v][j + which] * slope;
    }
    return sum;
}

static bool moved(Suspect *w)
{
    for (int64_t s = 1 - w->n; s < w->n && w->n <= 4096; s++)
        if (s != 0 && lk__hint_is_varied(w) && holds(w, moved_gradient, s))
            return lk__hint_say(w, "offset: the analytic gradient lies %lld elements too far",
                                (long long)s);
    for (int64_t s = 1 - w->outputs; w->jacobian && s < w->outputs && w->outputs <= 4096; s++)
        if (s != 0 && w->n > 1 && holds(w, moved_dy, s))
            return lk__hint_say(w, "offset: dy is read %lld elements too far", (long long)s);
    return false;
}

/* ---- sums ----------------------------------------------------------------------------------- */

enum { FIRST = 0, LAST = 1 };

/* The part of the sum that comes from the first or the last result that x[k] goes into. */
static double one_term(const Suspect *w, int v, int64_t k, int64_t which)
{
    for (int64_t i = 0; i < w->outputs; i++) {
        int64_t j = which == FIRST ? i : w->outputs - 1 - i;
        double slope = w->jacobian[k * w->outputs + j];
        if (slope != 0) return w->c->v[v][j] * slope;
    }
    return 0;
}

/* The part that comes from index 0 (or the last) of dimension which / 2 of the result. */
static double one_slice(const Suspect *w, int v, int64_t k, int64_t which)
{
    const Tensor *y = &w->c->shapes[0];
    int d = (int)(which / 2);
    int64_t inner = 1, at = which % 2 == FIRST ? 0 : y->shape[d] - 1;
    for (int e = d + 1; e < y->ndim; e++) inner *= y->shape[e];
    double sum = 0;
    for (int64_t j = 0; j < w->outputs; j++)
        if (j / inner % y->shape[d] == at) sum += w->c->v[v][j] * w->jacobian[k * w->outputs + j];
    return sum;
}

static bool incomplete_sum(Suspect *w)
{
    static const char *const ends[] = { "first", "last" };
    if (!w->jacobian) return false;
    for (int end = FIRST; end <= LAST; end++)
        if (w->n > 1 && holds(w, one_term, end))
            return lk__hint_say(
                w,
                "sum: only the %s of the results that an element goes into reaches its gradient; "
                "those of all must be added (a broadcast, a repeated index, = for += in a loop)",
                ends[end]);
    const Tensor *y = &w->c->shapes[0];
    for (int d = 0; w->c->results == 1 && d < y->ndim; d++)
        for (int end = FIRST; end <= LAST; end++)
            if (y->shape[d] > 1 && holds(w, one_slice, 2 * d + end))
                return lk__hint_say(w,
                                    "sum: only the %s index of dimension %d of the result reaches "
                                    "the gradient; all of them must be added (a broadcast)",
                                    ends[end], d);
    return false;
}

/* ---- all of them ---------------------------------------------------------------------------- */

static bool (*const hints[])(Suspect *w) = {
    /* clang-format off */
    not_finite, dy_forgotten, dy_twice, sign, constant_factor, transposed, swapped, incomplete_sum,
    lk__hint_mask, lk__hint_one_sided, lk__hint_incomplete, moved,
    lk__hint_other_value, lk__hint_row_factor, lk__hint_lost_term,
    /* clang-format on */
};

bool lk__check_hint(Suspect *w)
{
    double largest = 0, analytic = 0;
    for (int v = 0; v < COTANGENTS; v++)
        for (int64_t k = 0; k < w->n; k++) {
            largest = fmax(largest, fabs(w->numeric[v][k]));
            analytic = fmax(analytic, isnan(w->a[v][k]) ? INFINITY : fabs(w->a[v][k]));
        }
    w->tolerance = 1e-6 * largest;
    bool visible = analytic > 100 * w->tolerance; /* a tiny gradient fits every formula */
    for (size_t i = 0; visible && i < sizeof hints / sizeof *hints; i++)
        if (hints[i](w)) return true;
    w->text[0] = '\0';
    return false;
}
