/* gradient_table.c - checks the gradient of every operation in a table of cases.
 *
 * The rows of the table are in examples/own/gradients/, one file a family of core/ops.h. A new
 * operation gets a row there: a test compares the table with core/ops.h. */
#include "examples/own/gradient_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "examples/own/gradients/rows.h"

#define FAMILY(name) &gradient_##name,
static const GradientFamily *const families[] = { GRADIENT_FAMILIES(FAMILY) };
enum { FAMILIES = sizeof families / sizeof *families };

/* clang-format off */
const char *const gradient_exempt[] = {
    "zeros", "ones", "full", "tensor", "scalar", "arange", "rand", "randn", "randint",
    "randperm", "detach", "argmax", "argmin", "eq", "ne", "lt", "le", "gt", "ge", "isclose",
    "logical_and", "logical_or", "logical_not", "one_hot", "argsort", "multinomial", "any",
    "all", NULL,
};
/* clang-format on */

/* ---- one case ------------------------------------------------------------------------------- */

typedef struct Case {
    const GradientRow *row;
    int inputs;
    char form[MAX_INPUTS]; /* 't', 's' or 0 */
} Case;

/* Calls the operation of the row with the views of the case. */
static Tensor *call_case(Tape *t, Tensor *const *leaves, void *user)
{
    const Case *c = user;
    Tensor *x[MAX_INPUTS] = { NULL };
    for (int i = 0; i < c->inputs; i++) {
        x[i] = leaves[i];
        if (c->form[i] == 't') x[i] = lk_T(t, x[i]);
        if (c->form[i] == 's') x[i] = lk_slice(t, x[i], -1, 0, INT64_MAX, 2);
    }
    return c->row->call(t, x, NULL);
}

/* Reads one input of a case ("2,3t") and makes its leaf; *text moves behind it. */
static Tensor *make_leaf(const char **text, char *form, Domain domain, Rng *rng, Error *err)
{
    int64_t shape[LK_MAX_DIMS];
    int ndim = 0;
    const char *at = *text;
    for (*form = 0; *at && *at != ' ';) {
        if (*at >= '0' && *at <= '9') {
            char *end;
            shape[ndim++] = strtol(at, &end, 10);
            at = end;
            continue;
        }
        if (*at == 't' || *at == 's') *form = *at;
        at++;
    }
    *text = *at ? at + 1 : at;
    if (*form == 's') shape[ndim - 1] *= 2;
    for (int d = 0; *form == 't' && d < ndim / 2; d++) {
        int64_t size = shape[d];
        shape[d] = shape[ndim - 1 - d], shape[ndim - 1 - d] = size;
    }
    Tensor *x = lk_param_new(LK_F64, ndim, shape, err);
    if (!x) return NULL;
    double *v = x->data;
    int64_t n = lk_numel(x);
    if (domain == POSITIVE) lk_uniform_(x, 0.5, 2, rng);
    else lk_normal_(x, 0, 1, rng);
    for (int64_t i = 0; domain == EXACT && i < n; i++)
        v[i] = fmax(-1, fmin(1, floor(4 * v[i]) / 4));
    if (domain == APART) { /* ±0.15, ±0.45, … in random order */
        int64_t *order = lk_mem_alloc(((size_t)n + 1) * sizeof *order);
        if (order) lk_random_perm(rng, n, order);
        for (int64_t i = 0; order && i < n; i++) v[i] = 0.3 * ((double)(order[i] - n / 2) + 0.5);
        lk_mem_free(order);
    }
    return x;
}

/* Checks the case that c stands at. */
static void run_case(GradientCase *c)
{
    const GradientRow *row = &families[c->family]->rows[c->row];
    Case one = { .row = row };
    Tensor *leaves[MAX_INPUTS] = { NULL };
    Error err = { 0 };
    for (const char *at = c->inputs; *at && one.inputs < MAX_INPUTS; one.inputs++)
        leaves[one.inputs] = make_leaf(&at, &one.form[one.inputs], row->domain, c->rng, &err);
    GradcheckReport report = { 0 };
    GradcheckOptions strict = { .eps = row->domain == EXACT ? 0.125 : 1e-6,
                                .atol = 1e-7,
                                .rtol = 1e-5 };
    c->ok = err.code == LK_OK &&
            lk_gradcheck(call_case, &one, one.inputs, leaves, NULL, &strict, &report);
    c->worst = report.worst;
    c->message[0] = '\0';
    if (!c->ok)
        snprintf(c->message, sizeof c->message, "%s with inputs %s: %.300s", c->op, c->inputs,
                 err.code == LK_OK ? report.message : err.message);
    for (int i = 0; i < one.inputs; i++) lk_tensor_free(leaves[i]);
}

/* ---- the walk ------------------------------------------------------------------------------- */

/* Goes to the next case: of the row, of the next row, or of the next family. */
static void advance(GradientCase *c)
{
    const GradientFamily *family = families[c->family];
    if (++c->item < MAX_CASES && family->rows[c->row].cases[c->item]) return;
    c->item = 0;
    if (++c->row < family->count) return;
    c->row = 0;
    c->family++;
}

GradientCase gradient_cases(Rng *rng) { return (GradientCase){ .rng = rng }; }

bool gradient_next(GradientCase *c)
{
    if (c->op) advance(c);
    if (c->family == FAMILIES) return false;
    const GradientRow *row = &families[c->family]->rows[c->row];
    c->op = row->op;
    c->inputs = row->cases[c->item];
    run_case(c);
    return true;
}
