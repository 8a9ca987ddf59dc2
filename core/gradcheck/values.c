/* values.c - analytic gradients against central differences, for both cotangents. */
#include <math.h>
#include <string.h>

#include "core/decimal.h"
#include "core/gradcheck/parts.h"

static double ratio(const Check *c, double a, double n)
{
    double r = fabs(a - n) / (c->o.atol + c->o.rtol * fabs(n));
    return isnan(r) ? INFINITY : r;
}

/* Returns the cotangent for which element `at` has the larger error. */
static int worse(const Check *c, int64_t at)
{
    double first = ratio(c, c->first.gradient[0][at], c->numeric[0][at]);
    return ratio(c, c->first.gradient[1][at], c->numeric[1][at]) > first;
}

static double error_of(const Check *c, int64_t at)
{
    int w = worse(c, at);
    return ratio(c, c->first.gradient[w][at], c->numeric[w][at]);
}

static bool measure(Check *c)
{
    int64_t at = 0;
    for (int i = 0; i < c->count; i++)
        for (int64_t k = 0, n = lk__check_is_on(c, i) ? lk_numel(c->in[i]) : 0; k < n; k++, at++) {
            double step = lk__check_difference(c, i, k);
            if (c->stopped) return false;
            for (int w = 0; w < COTANGENTS; w++) {
                double sum = 0;
                for (int64_t j = 0; j < c->outputs; j++)
                    sum += c->v[w][j] * (c->plus[j] - c->minus[j]);
                c->numeric[w][at] = sum / step;
            }
        }
    c->report->checked = c->total;
    return true;
}

/* ---- the worst ------------------------------------------------------------------------------ */

static GradcheckElement element_of(const Check *c, const Tensor *x, int64_t k, int64_t at)
{
    int w = worse(c, at);
    GradcheckElement e = { .analytic = c->first.gradient[w][at], .numeric = c->numeric[w][at] };
    for (int d = x->ndim; d-- > 0; k /= x->shape[d]) e.index[d] = k % x->shape[d];
    return e;
}

/* Describes the element with the largest error. Returns its input, or -1 when nothing was
 * checked. */
static int describe_worst(Check *c)
{
    GradcheckReport *r = c->report;
    int input = -1;
    int64_t at = 0;
    for (int i = 0; i < c->count; i++)
        for (int64_t k = 0, n = lk__check_is_on(c, i) ? lk_numel(c->in[i]) : 0; k < n; k++, at++) {
            double error = error_of(c, at);
            if (input >= 0 && !(error > r->worst)) continue;
            GradcheckElement e = element_of(c, c->in[i], k, at);
            input = i;
            r->worst = error;
            r->ndim = c->in[i]->ndim;
            r->analytic = e.analytic;
            r->numeric = e.numeric;
            memcpy(r->index, e.index, sizeof r->index);
        }
    if (input >= 0) lk__check_name(c, input, r->name);
    return input;
}

/* Fills the table with the worst elements of input i, the worst first. */
static void fill_table(Check *c, int i)
{
    GradcheckReport *r = c->report;
    int64_t n = lk_numel(c->in[i]), offset = lk__check_offset(c, i), taken[LK_GRADCHECK_TABLE];
    for (r->table_count = 0; r->table_count < LK_GRADCHECK_TABLE; r->table_count++) {
        int64_t best = -1;
        for (int64_t k = 0; k < n; k++) {
            bool is_taken = error_of(c, offset + k) <= 1;
            for (int j = 0; j < r->table_count; j++) is_taken = is_taken || taken[j] == k;
            if (!is_taken && (best < 0 || error_of(c, offset + k) > error_of(c, offset + best)))
                best = k;
        }
        if (best < 0) return;
        taken[r->table_count] = best;
        r->table[r->table_count] = element_of(c, c->in[i], best, offset + best);
    }
}

static void print_table(const Check *c, int i, char *text, size_t size)
{
    const GradcheckReport *r = c->report;
    char index[LK_SHAPE_TEXT];
    int used = lk_snprintf(text, size,
                           "no single mistake explains it. The largest errors:\n"
                           "%-12s %16s %16s %12s",
                           "index", "analytic", "numeric", "difference");
    for (int j = 0; j < r->table_count && used > 0 && (size_t)used < size; j++) {
        const GradcheckElement *e = &r->table[j];
        Tensor at = { .ndim = c->in[i]->ndim };
        memcpy(at.shape, e->index, sizeof e->index);
        used += lk_snprintf(text + used, size - (size_t)used, "\n%-12s %16.10g %16.10g %12.4g",
                            lk_shape_text(&at, index), e->analytic, e->numeric,
                            e->analytic - e->numeric);
    }
}

/* ---- which mistake -------------------------------------------------------------------------- */

/* Returns dy[j]/dx[k] by differences; NULL when it would be too large or memory is short. */
static double *jacobian_of(Check *c, int i)
{
    enum { LARGE = 1 << 18 };
    int64_t n = lk_numel(c->in[i]), m = c->outputs;
    double *jacobian = n <= LARGE && m <= LARGE && n * m <= LARGE
                           ? lk_mem_alloc((size_t)(n * m + 1) * sizeof(double))
                           : NULL;
    for (int64_t k = 0; jacobian && k < n; k++) {
        double step = lk__check_difference(c, i, k);
        for (int64_t j = 0; j < m; j++) jacobian[k * m + j] = (c->plus[j] - c->minus[j]) / step;
    }
    return jacobian;
}

/* Returns the analytic gradient of input i for -2 v[0], or NULL after a failure. It does not read
 * the results: c->first.y has them. */
static const double *doubled_gradient(Check *c, int i)
{
    double *v = c->plus;
    for (int64_t j = 0; j < c->outputs; j++) v[j] = -2 * c->v[0][j];
    lk__check_begin(c, true, POISON);
    if (!lk__check_call(c, c->in, NULL) || !lk__check_backward(c, c->in, v, c->again.gradient[0]))
        return NULL;
    return c->again.gradient[0] + lk__check_offset(c, i);
}

/* Returns why no gradient flows to in[i], or NULL when one does. Call it after a recorded call. */
static const char *find_gap(Check *c, int i, char text[HINT])
{
    const double *const gradient[] = { c->first.gradient[0], c->first.gradient[1] };
    if (!lk__check_is_zero(gradient, lk__check_offset(c, i), lk_numel(c->in[i]))) return NULL;
    bool records = false;
    for (int r = 0; r < c->results; r++) records = records || c->y[r]->requires_grad;
    if (!records)
        return "the result requires no gradient: lk_record is forgotten, or the value comes "
               "through lk_detach";
    if (!c->read[i])
        return "no recorded operation on the way to the result has this input: lk_record is "
               "without it, or lk_detach cuts it";
    const char *op = NULL;
    lk__check_mark(c);
    for (const Node *node = c->t->last; node; node = node->prev)
        for (int k = 0; node->reached && k < node->inputs; k++)
            if (node->in[k] == c->in[i]) op = lk__node_name(node);
    lk__check_unmark(c);
    lk_snprintf(text, HINT,
                "%.60s has this input, and nothing comes to its gradient; is it added?",
                op ? op : "an operation");
    return text;
}

static void explain(Check *c, int i)
{
    GradcheckReport *r = c->report;
    char hint[HINT] = "", table[800], index[LK_SHAPE_TEXT];
    int64_t offset = lk__check_offset(c, i);
    Suspect w = { .c = c,
                  .input = i,
                  .x = c->in[i],
                  .n = lk_numel(c->in[i]),
                  .outputs = c->outputs,
                  .text = hint };
    for (int v = 0; v < COTANGENTS; v++) {
        w.a[v] = c->first.gradient[v] + offset;
        w.numeric[v] = c->numeric[v] + offset;
    }
    double *jacobian = jacobian_of(c, i);
    w.jacobian = jacobian;
    w.doubled = doubled_gradient(c, i);
    fill_table(c, i);
    char gap[HINT];
    const char *why = w.doubled ? find_gap(c, i, gap) : NULL;
    r->mistake = why ? "not connected" : "values";
    if (why) lk_snprintf(r->hint, sizeof r->hint, "not connected: %s", why);
    else if (w.doubled && lk__check_hint(&w)) lk_snprintf(r->hint, sizeof r->hint, "%s", hint);
    print_table(c, i, table, sizeof table);
    Tensor at = { .ndim = r->ndim };
    memcpy(at.shape, r->index, sizeof r->index);
    lk_snprintf(r->message, sizeof r->message,
                "gradient of %s at %s: analytic %.10g, numeric %.10g; %s", r->name,
                lk_shape_text(&at, index), r->analytic, r->numeric, r->hint[0] ? r->hint : table);
    lk_mem_free(jacobian);
}

/* Leaves out the rows that an embedding gives no gradient, padding_idx, where the differences show
 * one. */
static void leave_out_padding(Check *c, const int64_t *padding)
{
    GradcheckReport *r = c->report;
    char name[96];
    for (int i = 0; i < c->count; i++) {
        if (!lk__check_is_on(c, i) || padding[i] < 0) continue;
        int64_t d = c->in[i]->shape[1], at = lk__check_offset(c, i) + padding[i] * d;
        bool differs = false;
        for (int64_t k = at; k < at + d; k++) differs = differs || error_of(c, k) > 1;
        if (!differs) continue;
        for (int w = 0; w < COTANGENTS; w++)
            memcpy(c->numeric[w] + at, c->first.gradient[w] + at, (size_t)d * sizeof(double));
        r->checked -= d;
        size_t used = strlen(r->notice);
        lk_snprintf(r->notice + used, sizeof r->notice - used,
                    "%srow %lld of %s is padding_idx: no gradient by design", used ? ", " : "",
                    (long long)padding[i], lk__check_name(c, i, name));
    }
}

/* Returns for each input the row that is padding_idx of an embedding, or -1; NULL when memory is
 * short. Call it after a recorded call. */
static int64_t *find_padding(Check *c)
{
    int64_t *padding = lk_mem_alloc((size_t)c->count * sizeof *padding);
    for (int i = 0; padding && i < c->count; i++) {
        padding[i] = -1;
        for (const Node *n = c->t->last; n; n = n->prev)
            if (n->in[0] == c->in[i] && lk__embedding_padding(n) >= 0)
                padding[i] = lk__embedding_padding(n);
    }
    return padding;
}

/* Notes inputs that nothing reads. They are often a mistake of the caller, not of a backward. */
static void notice_unread(Check *c)
{
    GradcheckReport *r = c->report;
    const double *const numeric[] = { c->numeric[0], c->numeric[1] };
    char name[96];
    for (int i = 0; i < c->count; i++) {
        size_t used = strlen(r->notice);
        if (!lk__check_is_on(c, i) || c->read[i] || lk_numel(c->in[i]) == 0) continue;
        if (!lk__check_is_zero(numeric, lk__check_offset(c, i), lk_numel(c->in[i]))) continue;
        lk_snprintf(r->notice + used, sizeof r->notice - used, "%s%s was never read",
                    used ? ", " : "", lk__check_name(c, i, name));
    }
}

void lk__check_values(Check *c)
{
    lk__check_begin(c, true, POISON);
    if (!lk__check_call(c, c->in, NULL)) return; /* it fills c->read; later calls leave it alone */
    int64_t *padding = find_padding(c);
    if (!padding) {
        lk__check_no_memory(c);
    } else if (measure(c)) {
        leave_out_padding(c, padding);
        int i = describe_worst(c);
        notice_unread(c);
        if (i >= 0 && !(c->report->worst <= 1)) explain(c, i);
    }
    lk_mem_free(padding);
}
