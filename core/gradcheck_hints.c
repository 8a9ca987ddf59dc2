/* gradcheck_hints.c - which mistake a wrong gradient shows. Each hint is a formula for the wrong gradient a, in the right
 * one n, the cotangent v and the Jacobian J (n[k] = Σ_j v[j] J[k][j]), and says so only where the formula holds for every
 * element and both cotangents. The first one that holds is taken: simple formulas come first. */
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "core/gradcheck_parts.h"

static bool say(Suspect *w, const char *format, ...) LK_PRINTF(2, 3);
static bool say(Suspect *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(w->text, HINT, format, args);
    va_end(args);
    return true;
}

static bool equals(const Suspect *w, double a, double expected)
{
    return fabs(a - expected) <= w->tolerance + 1e-5 * fabs(expected); /* false for NaN */
}

/* Whether a is what a formula expects, everywhere. NaN: the formula says nothing about that element. */
typedef double Formula(const Suspect *w, int v, int64_t k, int64_t which);
static bool holds(const Suspect *w, Formula *expected, int64_t which)
{
    for (int v = 0; v < COTANGENTS; v++)
        for (int64_t k = 0; k < w->n; k++)
            if (!equals(w, w->a[v][k], expected(w, v, k, which))) return false;
    return true;
}

static const double *values_of(const Tensor *x)
{
    return x->data;
}

/* Elements whose right gradient is not 0, at different values of x: two points tell a factor from a formula. */
static bool is_varied(const Suspect *w)
{
    const double *x = values_of(w->x);
    int64_t first = -1;
    for (int64_t k = 0; k < w->n; k++) {
        if (equals(w, w->numeric[0][k], 0)) continue;
        if (first >= 0 && x[k] != x[first]) return true;
        if (first < 0) first = k;
    }
    return false;
}

/* ---- dy --------------------------------------------------------------------------------------------------------- */

static bool not_finite(Suspect *w)
{
    for (int v = 0; v < COTANGENTS; v++)
        for (int64_t k = 0; k < w->n; k++)
            if (!isfinite(w->a[v][k])) return say(w, "range: NaN or infinity in the analytic gradient");
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
           say(w, "dy forgotten: the analytic gradient does not depend on dy; it must be multiplied by it");
}

static bool dy_twice(Suspect *w)
{
    bool linear = true, squared = true;
    for (int64_t k = 0; k < w->n; k++) {
        linear = linear && equals(w, w->doubled[k], 2 * w->a[0][k]);
        squared = squared && equals(w, w->doubled[k], 4 * w->a[0][k]);
    }
    if (linear) return false;
    return squared ? say(w, "dy twice: twice the dy gives 4 times the analytic gradient; dy stands in it as a square")
                   : say(w, "dy: twice the dy does not give twice the analytic gradient; it must be linear in dy");
}

/* ---- sign, factor ----------------------------------------------------------------------------------------------- */

static double times(const Suspect *w, int v, int64_t k, int64_t which)
{
    return (double)which * w->numeric[v][k];
}

static bool sign(Suspect *w)
{
    return holds(w, times, -1) && say(w, "sign: the analytic gradient is the negative of what it should be");
}

/* "; 4 is the size of dimension 1 of the result" for each number that the factor or its reciprocal is. */
static void name_factor(Suspect *w, double factor, const char *name, double value)
{
    size_t used = strlen(w->text);
    bool is = fabs(fabs(factor) - value) <= 1e-5 * value, inverse = fabs(fabs(factor) * value - 1) <= 1e-5;
    if (!(value > 0) || value == 1 || !(is || inverse) || used >= HINT) return;
    const char *begin = strstr(w->text, "; it is ") ? " or " : "; it is ";
    snprintf(w->text + used, HINT - used, "%s%s%s%s", begin, factor < 0 ? "-" : "", is ? "" : "1 / ", name);
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
    if (factor == 0 || !is_varied(w)) return false;
    for (int v = 0; v < COTANGENTS; v++)
        for (int64_t k = 0; k < w->n; k++)
            if (!equals(w, w->a[v][k], factor * w->numeric[v][k])) return false;
    say(w, "factor: the analytic gradient is %.6g times what it should be", factor);
    const Check *c = w->c;
    for (int i = 0; c->o.constants && i < c->o.constant_count; i++)
        name_factor(w, factor, c->o.constants[i].name, fabs(c->o.constants[i].value));
    name_factor(w, factor, "the number of its elements", (double)w->n);
    if (w->outputs != w->n) name_factor(w, factor, "the number of results", (double)w->outputs);
    for (int d = 0; d < w->x->ndim; d++) {
        char name[48];
        snprintf(name, sizeof name, "the size of its dimension %d", d);
        if (w->x->shape[d] != w->n) name_factor(w, factor, name, (double)w->x->shape[d]);
    }
    const Tensor *y = &c->shapes[0];
    for (int d = 0; c->results == 1 && d < y->ndim; d++) {
        char name[48];
        snprintf(name, sizeof name, "the size of dimension %d of the result", d);
        if (y->shape[d] != w->outputs) name_factor(w, factor, name, (double)y->shape[d]);
    }
    if (w->outputs == 1) name_factor(w, factor, "the result", fabs(c->first.y[0]));
    return true;
}

/* ---- transposed, swapped, moved --------------------------------------------------------------------------------- */

/* Element k of rows × columns as the element of columns × rows in its place. */
static int64_t exchanged(int64_t k, int64_t count, int64_t rows)
{
    return k % rows * (count / rows) + k / rows;
}

static double transposed_gradient(const Suspect *w, int v, int64_t k, int64_t which)
{
    return w->numeric[v][exchanged(k, w->n, which)];
}

/* Σ_j v[σ(j)] J[k][j] with rows and columns of the result exchanged in σ. */
static double transposed_dy(const Suspect *w, int v, int64_t k, int64_t which)
{
    double sum = 0;
    for (int64_t j = 0; j < w->outputs; j++)
        sum += w->c->v[v][exchanged(j, w->outputs, which)] * w->jacobian[k * w->outputs + j];
    return sum;
}

/* J v for Jᵀ v. */
static double untransposed(const Suspect *w, int v, int64_t k, int64_t which)
{
    double sum = 0;
    (void)which;
    for (int64_t j = 0; j < w->outputs; j++) sum += w->c->v[v][j] * w->jacobian[j * w->outputs + k];
    return sum;
}

static bool transposed(Suspect *w)
{
    const Tensor *y = &w->c->shapes[0];
    if (w->x->ndim >= 2 && holds(w, transposed_gradient, w->x->shape[0]))
        return say(w, "transposed: the analytic gradient has rows and columns exchanged");
    if (w->jacobian && w->c->results == 1 && y->ndim >= 2 && y->shape[0] > 0 && holds(w, transposed_dy, y->shape[0]))
        return say(w, "transposed: dy is read with rows and columns exchanged");
    if (w->jacobian && w->n == w->outputs && holds(w, untransposed, 0))
        return say(w, "transposed: dy is multiplied by a matrix that must be transposed in backward");
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
        if (i == w->input || x == w->x || !lk_check_is_on(w->c, i) || lk_numel(x) != w->n) continue;
        if (holds(w, of_another_input, lk_check_offset(w->c, i)))
            return say(w, "swapped: this is the gradient of %s", lk_check_name(w->c, i, name));
    }
    return false;
}

/* The right gradient, `which` elements too far. */
static double moved_gradient(const Suspect *w, int v, int64_t k, int64_t which)
{
    return k - which >= 0 && k - which < w->n ? w->numeric[v][k - which] : 0;
}

/* dy read `which` elements too far. Outside of dy nothing is expected. */
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
        if (s != 0 && is_varied(w) && holds(w, moved_gradient, s))
            return say(w, "offset: the analytic gradient lies %lld elements too far", (long long)s);
    for (int64_t s = 1 - w->outputs; w->jacobian && s < w->outputs && w->outputs <= 4096; s++)
        if (s != 0 && w->n > 1 && holds(w, moved_dy, s))
            return say(w, "offset: dy is read %lld elements too far", (long long)s);
    return false;
}

/* ---- sums ------------------------------------------------------------------------------------------------------- */

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
            return say(w, "sum: only the %s of the results that an element goes into reaches its gradient; those of all "
                       "must be added (a broadcast, a repeated index, = for += in a loop)", ends[end]);
    const Tensor *y = &w->c->shapes[0];
    for (int d = 0; w->c->results == 1 && d < y->ndim; d++)
        for (int end = FIRST; end <= LAST; end++)
            if (y->shape[d] > 1 && holds(w, one_slice, 2 * d + end))
                return say(w, "sum: only the %s index of dimension %d of the result reaches the gradient; all of them must be "
                           "added (a broadcast)", ends[end], d);
    return false;
}

/* ---- right in some places only ---------------------------------------------------------------------------------- */

static bool is_right(const Suspect *w, int64_t k)
{
    return equals(w, w->a[0][k], w->numeric[0][k]) && equals(w, w->a[1][k], w->numeric[1][k]);
}

static bool is_zero(const double *const g[COTANGENTS], int64_t k)
{
    return g[0][k] == 0 && g[1][k] == 0;
}

/* The one result of an elementwise function, NULL for other functions. */
static const double *elementwise_result(const Suspect *w)
{
    if (w->c->results != 1 || w->outputs != w->n || !w->jacobian) return NULL;
    for (int64_t k = 0; k < w->n; k++)
        for (int64_t j = 0; j < w->n; j++)
            if (j != k && w->jacobian[k * w->n + j] != 0) return NULL;
    return w->c->first.y;
}

/* Whether exactly the elements with a positive (or negative) value are right, and there are both. */
static bool right_where(const Suspect *w, const double *value, double direction)
{
    int64_t right = 0;
    for (int64_t k = 0; k < w->n; k++) {
        if (is_right(w, k) != (direction * value[k] > 0)) return false;
        right += is_right(w, k);
    }
    return right > 0 && right < w->n && w->n >= 8;
}

static bool mask(Suspect *w)
{
    int64_t right = 0, wrong = 0, without = 0;
    bool forgotten = true, inverted = true;
    for (int64_t k = 0; k < w->n; k++) {
        bool zero = is_zero(w->numeric, k);
        right += is_right(w, k) && !zero;
        wrong += !is_right(w, k);
        without += zero;
        forgotten = forgotten && (is_right(w, k) || zero);
        inverted = inverted && is_zero(w->a, k) != zero;
    }
    if (inverted && without > 0 && without < w->n)
        return say(w, "mask inverted: the analytic gradient is 0 exactly where it should not be");
    if (!forgotten || right == 0) return false;
    const double *y = elementwise_result(w), *x = values_of(w->x);
    const char *where = y && right_where(w, y, 1) ? "where y > 0" : right_where(w, x, 1) ? "where x > 0"
                      : right_where(w, x, -1) ? "where x < 0" : "where it is not 0";
    return say(w, "mask forgotten: the analytic gradient is right %s only; %lld elements must get 0", where, (long long)wrong);
}

static bool one_sided(Suspect *w)
{
    const double *x = values_of(w->x);
    double side = right_where(w, x, 1) ? 1 : right_where(w, x, -1) ? -1 : 0;
    if (side == 0) return false;
    bool negative = true, nothing = true;
    for (int64_t k = 0; k < w->n; k++) {
        if (is_right(w, k)) continue;
        nothing = nothing && is_zero(w->a, k);
        negative = negative && equals(w, w->a[0][k], -w->numeric[0][k]) && equals(w, w->a[1][k], -w->numeric[1][k]);
    }
    return say(w, "one side: the analytic gradient is right where x %s 0 only%s", side > 0 ? ">" : "<",
               negative ? "; elsewhere it has the wrong sign" : nothing ? "; elsewhere it is 0" : "");
}

static bool incomplete(Suspect *w)
{
    int64_t missing = 0, first = -1, right = 0;
    char index[LK_SHAPE_TEXT];
    for (int64_t k = 0; k < w->n; k++) {
        right += is_right(w, k) && !is_zero(w->numeric, k);
        if (is_right(w, k)) continue;
        if (!is_zero(w->a, k)) return false;
        if (first < 0) first = k;
        missing++;
    }
    return right > 0 && say(w, "incomplete: %lld of %lld elements get nothing, from %s on; the others are right (the end of a "
                            "loop, a mask too much?)", (long long)missing, (long long)w->n,
                            lk_check_index(w->x, first, index));
}

/* ---- another value than the right one --------------------------------------------------------------------------- */

/* 1, u, u², 1 - u, 1 - u² for every u that fits x: x, other inputs, the result. */
enum { FORMS = 4, MAX_OPERANDS = 5, TERMS = 1 + FORMS * MAX_OPERANDS };
typedef struct Operands {
    int count;
    const double *u[MAX_OPERANDS];
    char name[MAX_OPERANDS][96];
} Operands;

static Operands operands_of(const Suspect *w)
{
    const Check *c = w->c;
    Operands o = { 0 };
    for (int i = 0; i < c->count && o.count < MAX_OPERANDS - 1; i++) {
        const Tensor *x = c->in[i];
        if (x->dtype != LK_F64 || !lk_is_contiguous(x) || lk_numel(x) != w->n) continue;
        if (x == w->x && i != w->input) continue; /* given twice */
        o.u[o.count] = x->data;
        lk_check_name(c, i, o.name[o.count++]);
    }
    if (c->results == 1 && w->outputs == w->n) {
        o.u[o.count] = c->first.y;
        snprintf(o.name[o.count++], 96, "y");
    }
    return o;
}

/* Term 0 is 1; the others go through the operands form by form. */
static double term(const Operands *o, int number, int64_t k)
{
    if (number == 0) return 1;
    double u = o->u[(number - 1) % o->count][k];
    switch ((number - 1) / o->count) {
    case 0: return u;
    case 1: return u * u;
    case 2: return 1 - u;
    default: return 1 - u * u;
    }
}

static const char *term_text(const Operands *o, int number, char text[120])
{
    static const char *const before[] = { "", "", "(1 - ", "(1 - " }, *const behind[] = { "", "²", ")", "²)" };
    if (number == 0) return "1";
    int form = (number - 1) / o->count;
    snprintf(text, 120, "%s%.90s%s", before[form], o->name[(number - 1) % o->count], behind[form]);
    return text;
}

/* a = n · p / q with one of the terms as p and another one as q. */
static bool has_ratio(const Suspect *w, const Operands *o, int p, int q)
{
    for (int64_t k = 0; k < w->n; k++) {
        double r = term(o, p, k) / term(o, q, k);
        for (int v = 0; v < COTANGENTS; v++)
            if (!isfinite(r) || !equals(w, w->a[v][k], r * w->numeric[v][k])) return false;
    }
    return true;
}

static bool other_value(Suspect *w)
{
    Operands o = operands_of(w);
    char above[120], below[120];
    if (w->n < 3 || !is_varied(w)) return false;
    int terms = 1 + FORMS * o.count;
    for (int sum = 1; sum < 2 * terms; sum++) /* simple ones first */
        for (int p = 0; p <= sum; p++) {
            int q = sum - p;
            if (p == q || p >= terms || q >= terms || !has_ratio(w, &o, p, q)) continue;
            return say(w, "value: element by element the analytic gradient is %s / %s times what it should be",
                       term_text(&o, p, above), term_text(&o, q, below));
        }
    return false;
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

/* Whether d = s · base in each row (of the last dimension), with a number s of the row's own. same: for both cotangents
 * the same number. */
static bool fits_rows(const Suspect *w, const double *const d[COTANGENTS], const double *const base[COTANGENTS], bool same)
{
    int64_t columns = w->x->shape[w->x->ndim - 1];
    for (int64_t row = 0; row < w->n; row += columns) {
        double s[COTANGENTS];
        for (int v = 0; v < COTANGENTS; v++) {
            double db = 0, bb = 0;
            for (int64_t k = row; k < row + columns; k++) {
                db += d[v][k] * base[v][k];
                bb += base[v][k] * base[v][k];
            }
            s[v] = bb > 0 ? db / bb : 0;
            for (int64_t k = row; k < row + columns; k++)
                if (!equals(w, d[v][k], s[v] * base[v][k])) return false;
        }
        if (same && !(fabs(s[0] - s[1]) <= 1e-5 * fabs(s[0]))) return false;
    }
    return true;
}

static bool has_rows(const Suspect *w)
{
    return w->x->ndim > 0 && w->x->shape[w->x->ndim - 1] >= 3;
}

static bool row_factor(Suspect *w)
{
    return has_rows(w) && w->n > w->x->shape[w->x->ndim - 1] && fits_rows(w, w->a, w->numeric, true) &&
           say(w, "row factor: each row has a wrong factor of its own; look at the number that it is divided by");
}

/* A sum over the row that is lost or wrong: a - n = x, y or 1 times a number of the row. */
static bool lost_term(Suspect *w)
{
    if (!has_rows(w)) return false;
    double *room = lk_mem_alloc(3 * (size_t)w->n * sizeof *room), *ones = room ? room + 2 * w->n : NULL;
    const double *const d[] = { room, room ? room + w->n : NULL };
    for (int64_t k = 0; room && k < w->n; k++) {
        for (int v = 0; v < COTANGENTS; v++) room[v * w->n + k] = w->a[v][k] - w->numeric[v][k];
        ones[k] = 1;
    }
    bool has_y = w->c->results == 1 && w->outputs == w->n;
    const double *base[] = { ones, values_of(w->x), has_y ? w->c->first.y : NULL };
    static const char *const name[] = { "1", "x", "y" };
    bool found = false;
    for (int i = 0; room && !found && i < 3; i++)
        if (base[i] && fits_rows(w, d, (const double *const[]){ base[i], base[i] }, false))
            found = say(w, "term: in each row the analytic gradient is off by a number times %s; a sum over the row is "
                           "missing or wrong", name[i]);
    lk_mem_free(room);
    return found;
}

/* ---- all of them ------------------------------------------------------------------------------------------------ */

static bool (*const hints[])(Suspect *w) = {
    not_finite, dy_forgotten, dy_twice, sign, constant_factor, transposed, swapped, incomplete_sum, mask,
    one_sided, incomplete, moved, other_value, row_factor, lost_term,
};

bool lk_check_hint(Suspect *w)
{
    double largest = 0;
    for (int v = 0; v < COTANGENTS; v++)
        for (int64_t k = 0; k < w->n; k++) largest = fmax(largest, fabs(w->numeric[v][k]));
    w->tolerance = 1e-6 * largest;
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++)
        if (hints[i](w)) return true;
    w->text[0] = '\0';
    return false;
}
