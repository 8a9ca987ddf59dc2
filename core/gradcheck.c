/* gradcheck.c - analytic gradients against central differences, and a guess at what went wrong. */
#include "core/gradcheck.h"

#include <math.h>
#include <string.h>

#include "core/dot.h"
#include "core/op.h"

/* One run of a check: the gradients of all inputs lie one after the other in two arrays. */
typedef struct Check {
    GradcheckFn *f;
    void *user;
    int count;
    Tensor *const *in;
    GradcheckOptions o;
    Tape *t;
    Tensor *v;                  /* the cotangent, owned */
    int64_t total;              /* elements of all inputs that require a gradient */
    double *analytic, *numeric; /* total elements each */
    double *plus;               /* y(x + h) */
    GradcheckReport *report;
} Check;

static bool fail(Check *c, const char *message)
{
    snprintf(c->report->message, sizeof c->report->message, "lk_gradcheck: %.480s", message);
    return false;
}

/* The error of the tape that the function runs on is the reason of the report. */
static bool fail_as_tape(Check *c)
{
    const Error *err = lk_tape_error(c->t);
    return fail(c, err->code ? err->message : "the function returned NULL");
}

static bool is_checked(const Tensor *x)
{
    return x && x->requires_grad;
}

static double tolerance(const Check *c, double numeric)
{
    return c->o.atol + c->o.rtol * fabs(numeric);
}

static bool close_to(const Check *c, double a, double n)
{
    return fabs(a - n) <= tolerance(c, n); /* false for NaN */
}

/* y = f(in) on a fresh tape, of the shape that the first call had. */
static Tensor *forward(Check *c, bool grad)
{
    lk_tape_reset(c->t);
    lk_tape_seed(c->t, 0); /* as a new tape has it: dropout drops the same in every call */
    lk_tape_set_grad(c->t, grad);
    Tensor *y = c->f(c->t, c->in, c->user);
    if (!y || lk_tape_error(c->t)->code) {
        fail_as_tape(c);
        return NULL;
    }
    if (y->dtype != LK_F64) {
        fail(c, "the function must return float64");
        return NULL;
    }
    if (c->v && !lk_same_shape(y, c->v)) {
        fail(c, "the shape of the result changes from call to call");
        return NULL;
    }
    return y;
}

static bool make_cotangent(Check *c)
{
    Tensor *y = forward(c, false);
    if (!y) return false;
    Error err = { 0 };
    Rng rng;
    lk_manual_seed(&rng, c->o.seed);
    c->v = lk_tensor_new(LK_F64, y->ndim, y->shape, &err);
    if (!c->v) return fail(c, err.message);
    lk_normal_(c->v, 0, 1, &rng);
    c->plus = lk_mem_calloc((size_t)lk_numel(y) + 1, sizeof *c->plus);
    return c->plus ? true : fail(c, "no memory");
}

/* Gradients of Σ v·y by backward, into `to`. */
static bool run_backward(Check *c, double *to)
{
    Tensor *y = forward(c, true);
    if (!y) return false;
    for (int i = 0; i < c->count; i++)
        if (is_checked(c->in[i])) lk_zero_grad_(c->in[i]);
    if (y->requires_grad && !lk_backward_with(c->t, y, c->v, false)) return fail_as_tape(c);
    for (int i = 0; i < c->count; i++) {
        const Tensor *x = c->in[i];
        if (!is_checked(x)) continue;
        int64_t n = lk_numel(x);
        for (int64_t k = 0; k < n; k++) *to++ = x->grad ? ((const double *)x->grad->data)[k] : 0;
    }
    return true;
}

/* y at the present inputs, contiguous and unrecorded. */
static Tensor *evaluate(Check *c)
{
    Tensor *y = forward(c, false);
    if (!y) return NULL;
    Tensor *packed = lk_packed(c->t, y);
    if (!packed) fail_as_tape(c);
    return packed;
}

/* Σ v·(y⁺ - y⁻) / (x⁺ - x⁻) for element k of x, which is put back. */
static bool difference(Check *c, Tensor *x, int64_t k, double *result)
{
    double *value = (double *)x->data + k, before = *value, h = c->o.eps * fmax(1, fabs(before));
    volatile double above = before + h, below = before - h; /* rounded: the step really made */
    *value = above;
    lk_touch(x);
    Tensor *y = evaluate(c);
    if (y) memcpy(c->plus, y->data, (size_t)lk_numel(y) * sizeof *c->plus);
    *value = below;
    lk_touch(x);
    if (y) y = evaluate(c);
    if (y) { /* before x is put back: y may be a view of it */
        const double *minus = y->data, *v = c->v->data;
        double sum = 0;
        for (int64_t j = 0, n = lk_numel(y); j < n; j++) sum += v[j] * (c->plus[j] - minus[j]);
        *result = sum / (above - below);
    }
    *value = before;
    lk_touch(x);
    return y != NULL;
}

/* ---- what went wrong --------------------------------------------------------------------------------------------- */

/* Whether a = factor · n for every element, n read in the order given by a transpose of (rows, columns). */
static bool agrees(const Check *c, const double *a, const double *n, int64_t count, double factor, int64_t rows)
{
    int64_t columns = rows ? count / rows : 0;
    for (int64_t k = 0; k < count; k++) {
        int64_t from = rows ? k % rows * columns + k / rows : k;
        if (!close_to(c, a[k], factor * n[from])) return false;
    }
    return true;
}

static const char *find_hint(const Check *c, const Tensor *x, const double *a, const double *n, char text[160])
{
    int64_t count = lk_numel(x), wrong = 0;
    double aa = 0, an = 0, nn = 0;
    for (int64_t k = 0; k < count; k++) {
        aa += a[k] * a[k];
        an += a[k] * n[k];
        nn += n[k] * n[k];
        wrong += !close_to(c, a[k], n[k]);
    }
    double factor = nn > 0 ? an / nn : 0;
    if (!isfinite(aa)) return "NaN or infinity in the analytic gradient";
    if (aa == 0) return "not connected: the analytic gradient is 0 everywhere; is it added, and the input recorded?";
    if (agrees(c, a, n, count, -1, 0)) return "sign: the analytic gradient is the negative of what it should be";
    if (count > 1 && x->ndim >= 2 && agrees(c, a, n, count, 1, x->shape[0]))
        return "transpose: the analytic gradient has rows and columns exchanged";
    if (factor != 0 && count > 1 && agrees(c, a, n, count, factor, 0)) {
        lk_snprintf(text, 160, "factor: the analytic gradient is %.6g times what it should be%s", factor,
                    fabs(factor - 0.5) < 1e-3 ? " (an input used twice must get both: += instead of =)" : "");
        return text;
    }
    if (wrong < count) return "some elements only: look at borders, strides, ties, or a sum over a broadcast";
    return "all elements differ: look at the formula, or a missing sum over a broadcast";
}

static void describe_worst(Check *c, int i, int64_t k, int64_t at, const char *const *names)
{
    GradcheckReport *r = c->report;
    const Tensor *x = c->in[i];
    if (names && names[i]) snprintf(r->name, sizeof r->name, "%s", names[i]);
    else snprintf(r->name, sizeof r->name, "input %d", i);
    r->ndim = x->ndim;
    for (int64_t d = x->ndim - 1, rest = k; d >= 0; d--) {
        r->index[d] = rest % x->shape[d];
        rest /= x->shape[d];
    }
    r->analytic = c->analytic[at];
    r->numeric = c->numeric[at];
}

static void conclude(Check *c, const char *const *names)
{
    GradcheckReport *r = c->report;
    int worst_input = -1;
    int64_t at = 0, first_of_worst = 0;
    for (int i = 0; i < c->count; i++) {
        if (!is_checked(c->in[i])) continue;
        int64_t n = lk_numel(c->in[i]), first = at;
        for (int64_t k = 0; k < n; k++, at++) {
            double ratio = fabs(c->analytic[at] - c->numeric[at]) / tolerance(c, c->numeric[at]);
            if (isnan(ratio)) ratio = INFINITY;
            if (worst_input >= 0 && !(ratio > r->worst)) continue;
            worst_input = i;
            first_of_worst = first;
            r->worst = ratio;
            describe_worst(c, i, k, at, names);
        }
    }
    r->checked = c->total;
    r->ok = r->worst <= 1;
    char index[LK_SHAPE_TEXT], factor[160];
    Tensor shape = { .ndim = r->ndim };
    memcpy(shape.shape, r->index, sizeof r->index);
    lk_shape_text(&shape, index);
    if (r->ok) {
        lk_snprintf(r->message, sizeof r->message, "%lld elements agree within %g + %g |gradient|",
                    (long long)r->checked, c->o.atol, c->o.rtol);
        return;
    }
    const char *hint = find_hint(c, c->in[worst_input], c->analytic + first_of_worst, c->numeric + first_of_worst, factor);
    snprintf(r->hint, sizeof r->hint, "%s", hint);
    lk_snprintf(r->message, sizeof r->message, "gradient of %s at %s: analytic %.10g, numeric %.10g; %s", r->name,
                index, r->analytic, r->numeric, hint);
}

/* ---- the check --------------------------------------------------------------------------------------------------- */

static bool check_inputs(Check *c)
{
    bool any = false;
    for (int i = 0; i < c->count; i++) {
        const Tensor *x = c->in[i];
        if (!is_checked(x)) continue;
        if (x->dtype != LK_F64 || x->node || !lk_is_contiguous(x))
            return fail(c, "an input that requires a gradient must be a contiguous float64 leaf (float32 is too coarse "
                           "for differences)");
        c->total += lk_numel(x);
        any = true;
    }
    return any ? true : fail(c, "no input requires a gradient: lk_set_requires_grad(x, true)");
}

static bool run(Check *c)
{
    double *again = NULL;
    c->analytic = lk_mem_calloc((size_t)c->total * 3 + 1, sizeof *c->analytic);
    if (!c->analytic) return fail(c, "no memory");
    c->numeric = c->analytic + c->total;
    again = c->numeric + c->total;
    if (!make_cotangent(c) || !run_backward(c, c->analytic) || !run_backward(c, again)) return false;
    if (memcmp(c->analytic, again, (size_t)c->total * sizeof *again) != 0)
        return fail(c, "two backward runs gave different gradients: the function or its backward is not deterministic");
    int64_t at = 0;
    for (int i = 0; i < c->count; i++) {
        if (!is_checked(c->in[i])) continue;
        for (int64_t k = 0, n = lk_numel(c->in[i]); k < n; k++)
            if (!difference(c, c->in[i], k, &c->numeric[at++])) return false;
    }
    return true;
}

bool lk_gradcheck(GradcheckFn *f, void *user, int count, Tensor *const *in, const char *const *names,
                  const GradcheckOptions *options, GradcheckReport *report)
{
    Check c = { .f = f, .user = user, .count = count, .in = in, .report = report };
    if (options) c.o = *options;
    if (c.o.eps <= 0) c.o.eps = 1e-6;
    if (c.o.atol <= 0) c.o.atol = 1e-5;
    if (c.o.rtol <= 0) c.o.rtol = 1e-3;
    *report = (GradcheckReport){ 0 };
    if (!check_inputs(&c)) return false;

    /* The inputs' own gradients step aside while backward runs. What takes their place is ours: a leaf that lives on some
     * tape would else keep its gradient on c.t, which is reset. */
    typedef struct { Tensor *grad, *room; } Kept;
    Kept *kept = lk_mem_calloc((size_t)count, sizeof *kept);
    c.t = lk_tape_new(NULL);
    if (!kept || !c.t) {
        lk_mem_free(kept);
        lk_tape_free(c.t);
        return fail(&c, "no memory");
    }
    lk_tape_on_error(c.t, NULL, NULL);
    bool ready = true;
    for (int i = 0; i < count; i++) {
        if (!is_checked(in[i])) continue;
        kept[i] = (Kept){ in[i]->grad, in[i]->grad_room };
        in[i]->grad = NULL;
        in[i]->grad_room = lk_tensor_new(LK_F64, in[i]->ndim, in[i]->shape, NULL);
        ready = ready && in[i]->grad_room;
    }
    if (!ready) fail(&c, "no memory");
    else if (run(&c)) conclude(&c, names);
    for (int i = count; i-- > 0;) { /* backwards: an input may be given twice */
        if (!is_checked(in[i])) continue;
        lk_tensor_free(in[i]->grad_room);
        in[i]->grad = kept[i].grad;
        in[i]->grad_room = kept[i].room;
    }
    lk_tensor_free(c.v);
    lk_mem_free(c.plus);
    lk_mem_free(c.analytic);
    lk_mem_free(kept);
    lk_tape_free(c.t);
    return report->ok;
}
