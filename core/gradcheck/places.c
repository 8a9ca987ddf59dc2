/* places.c - hints of core/gradcheck/hints.c that look at elements and rows: right in
 * some places only, another value than the right one, wrong by a number for each row. */
#include <math.h>
#include <string.h>

#include "core/decimal.h"
#include "core/gradcheck/parts.h"

/* ---- right in some places only -------------------------------------------------------------- */

static bool is_right(const Suspect *w, int64_t k)
{
    return lk__hint_equals(w, w->a[0][k], w->numeric[0][k]) &&
           lk__hint_equals(w, w->a[1][k], w->numeric[1][k]);
}

/* Returns the result of an elementwise function; NULL for other functions. */
static const double *elementwise_result(const Suspect *w)
{
    if (w->c->results != 1 || w->outputs != w->n || !w->jacobian) return NULL;
    for (int64_t k = 0; k < w->n; k++)
        for (int64_t j = 0; j < w->n; j++)
            if (j != k && w->jacobian[k * w->n + j] != 0) return NULL;
    return w->c->first.y;
}

/* Whether exactly the elements with a positive (or negative) value are right. There must be at
 * least 8 elements, with right and wrong ones among them. */
static bool right_where(const Suspect *w, const double *value, double direction)
{
    int64_t right = 0;
    for (int64_t k = 0; k < w->n; k++) {
        if (is_right(w, k) != (direction * value[k] > 0)) return false;
        right += is_right(w, k);
    }
    return right > 0 && right < w->n && w->n >= 8;
}

bool lk__hint_mask(Suspect *w)
{
    int64_t right = 0, wrong = 0, without = 0;
    bool forgotten = true, inverted = true;
    for (int64_t k = 0; k < w->n; k++) {
        bool zero = lk__check_is_zero(w->numeric, k, 1);
        right += is_right(w, k) && !zero;
        wrong += !is_right(w, k);
        without += zero;
        forgotten = forgotten && (is_right(w, k) || zero);
        inverted = inverted && lk__check_is_zero(w->a, k, 1) != zero;
    }
    if (inverted && without > 0 && without < w->n)
        return lk__hint_say(
            w, "mask inverted: the analytic gradient is 0 exactly where it should not be");
    if (!forgotten || right == 0) return false;
    const double *y = elementwise_result(w), *x = w->x->data;
    const char *where = "where it is not 0";
    if (y && right_where(w, y, 1)) where = "where y > 0";
    else if (right_where(w, x, 1)) where = "where x > 0";
    else if (right_where(w, x, -1)) where = "where x < 0";
    return lk__hint_say(
        w, "mask forgotten: the analytic gradient is right %s only; %lld elements must get 0",
        where, (long long)wrong);
}

bool lk__hint_one_sided(Suspect *w)
{
    const double *x = w->x->data;
    const bool above = right_where(w, x, 1);
    if (!above && !right_where(w, x, -1)) return false;
    bool negative = true, nothing = true;
    for (int64_t k = 0; k < w->n; k++) {
        if (is_right(w, k)) continue;
        nothing = nothing && lk__check_is_zero(w->a, k, 1);
        negative = negative && lk__hint_equals(w, w->a[0][k], -w->numeric[0][k]) &&
                   lk__hint_equals(w, w->a[1][k], -w->numeric[1][k]);
    }
    const char *elsewhere = "";
    if (nothing) elsewhere = "; elsewhere it is 0";
    if (negative) elsewhere = "; elsewhere it has the wrong sign";
    return lk__hint_say(w, "one side: the analytic gradient is right where x %s 0 only%s",
                        above ? ">" : "<", elsewhere);
}

bool lk__hint_incomplete(Suspect *w)
{
    int64_t missing = 0, first = -1, right = 0;
    char index[LK_SHAPE_TEXT];
    for (int64_t k = 0; k < w->n; k++) {
        right += is_right(w, k) && !lk__check_is_zero(w->numeric, k, 1);
        if (is_right(w, k)) continue;
        if (!lk__check_is_zero(w->a, k, 1)) return false;
        if (first < 0) first = k;
        missing++;
    }
    return right > 0 &&
           lk__hint_say(
               w,
               "incomplete: %lld of %lld elements get nothing, from %s on; the others are "
               "right (the end of a loop, a mask too much?)",
               (long long)missing, (long long)w->n, lk__check_index(w->x, first, index));
}

/* ---- another value than the right one ------------------------------------------------------- */

/* The terms 1, u, u², 1 - u and 1 - u² for every operand u with as many elements as x: x itself,
 * other inputs and the result. */
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
        lk__check_name(c, i, o.name[o.count++]);
    }
    if (c->results == 1 && w->outputs == w->n) {
        o.u[o.count] = c->first.y;
        lk_snprintf(o.name[o.count++], 96, "y");
    }
    return o;
}

/* Term 0 is 1. Then come u of each operand, u² of each operand, and so on. */
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
    static const char *const before[] = { "", "", "(1 - ", "(1 - " }, *const behind[] = { "", "²",
                                                                                          ")",
                                                                                          "²)" };
    if (number == 0) return "1";
    int form = (number - 1) / o->count;
    const char *name = o->name[(number - 1) % o->count];
    lk_snprintf(text, 120, "%s%.90s%s", before[form], name, behind[form]);
    return text;
}

/* Whether a = n · (term p) / (term q) in every element. */
static bool has_ratio(const Suspect *w, const Operands *o, int p, int q)
{
    for (int64_t k = 0; k < w->n; k++) {
        double r = term(o, p, k) / term(o, q, k);
        for (int v = 0; v < COTANGENTS; v++)
            if (!isfinite(r) || !lk__hint_equals(w, w->a[v][k], r * w->numeric[v][k]))
                return false;
    }
    return true;
}

bool lk__hint_other_value(Suspect *w)
{
    Operands o = operands_of(w);
    char above[120], below[120];
    if (w->n < 3 || !lk__hint_is_varied(w)) return false;
    int terms = 1 + FORMS * o.count;
    for (int sum = 1; sum < 2 * terms; sum++) /* simple ones first */
        for (int p = 0; p <= sum; p++) {
            int q = sum - p;
            if (p == q || p >= terms || q >= terms || !has_ratio(w, &o, p, q)) continue;
            return lk__hint_say(w,
                                "value: element by element the analytic gradient is %s / %s times "
                                "what it should be",
                                term_text(&o, p, above), term_text(&o, q, below));
        }
    return false;
}

/* ---- rows ----------------------------------------------------------------------------------- */

/* Whether d = s · base in each row (of the last dimension), where each row has its own number s.
 * With `same`, s must be the same for both cotangents. */
static bool fits_rows(const Suspect *w, const double *const d[COTANGENTS],
                      const double *const base[COTANGENTS], bool same)
{
    int64_t columns = w->x->shape[w->x->ndim - 1];
    for (int64_t row = 0; row < w->n; row += columns) {
        double s[COTANGENTS];
        for (int v = 0; v < COTANGENTS; v++) {
            double db = 0, bb = 0;
            int64_t points = 0;
            for (int64_t k = row; k < row + columns; k++) {
                db += d[v][k] * base[v][k];
                bb += base[v][k] * base[v][k];
                points += base[v][k] != 0;
            }
            if (points < 3) return false; /* one number fits one or two points by chance */
            s[v] = db / bb;
            for (int64_t k = row; k < row + columns; k++)
                if (!lk__hint_equals(w, d[v][k], s[v] * base[v][k])) return false;
        }
        if (same && !(fabs(s[0] - s[1]) <= 1e-5 * fabs(s[0]))) return false;
    }
    return true;
}

static bool has_rows(const Suspect *w)
{
    return w->x->ndim > 0 && w->x->shape[w->x->ndim - 1] >= 3;
}

bool lk__hint_row_factor(Suspect *w)
{
    return has_rows(w) && w->n > w->x->shape[w->x->ndim - 1] &&
           fits_rows(w, w->a, w->numeric, true) &&
           lk__hint_say(w,
                        "row factor: each row has a wrong factor of its own; look at the number "
                        "that it is divided by");
}

/* Whether d = c · dy · base with one number c, when every result is made of its own elements of x.
 * Then the number of a row can be a plain constant and need not be a sum. */
static bool is_plain(const Suspect *w, const double *const d[COTANGENTS], const double *base)
{
    if (w->outputs == 0 || w->n % w->outputs != 0) return false;
    int64_t part = w->n / w->outputs;
    double db = 0, bb = 0;
    for (int v = 0; v < COTANGENTS; v++)
        for (int64_t k = 0; k < w->n; k++) {
            double b = w->c->v[v][k / part] * base[k];
            db += d[v][k] * b;
            bb += b * b;
        }
    for (int v = 0; v < COTANGENTS; v++)
        for (int64_t k = 0; k < w->n; k++) {
            double b = w->c->v[v][k / part] * base[k];
            if (!lk__hint_equals(w, d[v][k], db / bb * b)) return false;
        }
    return true;
}

/* Finds a sum over the row that is lost or wrong: a - n = x, y or 1 times a number of the row. */
bool lk__hint_lost_term(Suspect *w)
{
    if (!has_rows(w)) return false;
    double *room = lk_mem_alloc(3 * (size_t)w->n * sizeof *room),
           *ones = room ? room + 2 * w->n : NULL;
    const double *const d[] = { room, room ? room + w->n : NULL };
    for (int64_t k = 0; room && k < w->n; k++) {
        for (int v = 0; v < COTANGENTS; v++) room[v * w->n + k] = w->a[v][k] - w->numeric[v][k];
        ones[k] = 1;
    }
    bool has_y = w->c->results == 1 && w->outputs == w->n;
    const double *base[] = { ones, w->x->data, has_y ? w->c->first.y : NULL };
    static const char *const name[] = { "1", "x", "y" };
    bool found = false;
    for (int i = 0; room && !found && i < 3; i++)
        if (base[i] && fits_rows(w, d, (const double *const[]){ base[i], base[i] }, false) &&
            !is_plain(w, d, base[i]))
            found =
                lk__hint_say(w,
                             "term: in each row the analytic gradient is off by a number times "
                             "%s; a sum over the row is missing or wrong",
                             name[i]);
    lk_mem_free(room);
    return found;
}
