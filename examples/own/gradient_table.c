/* gradient_table.c - cases that check the gradient of every operation.
 *
 * A row names the operation, calls it, and lists the shapes to call it with. A new operation gets
 * a row here: a test compares the table with core/ops.h. */
#include "examples/own/gradient_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/gradcheck.h"
#include "core/ops.h"

/* Inputs of a case, separated by spaces: "2,3" is a leaf of that shape and "." a scalar. A
 * letter behind it hides the leaf behind a view, so that the operation sees other strides:
 * "2,3t" transposed, "2,3s" every second column. */
enum { MAX_CASES = 10, MAX_INPUTS = 5 };
typedef const char *const Cases[MAX_CASES];

static Cases ONE = { ".", "5", "2,3", "2,3t", "4,3s", "2,1,3", "2,3,2t", "40,3", "0,3", "1" };
/* not empty */
static Cases SOME = { ".", "5", "2,3", "2,3t", "4,3s", "2,1,3", "2,3,2t", "40,3", "1" };
static Cases NO_ROWS = { "0,4", "0,4t" };
/* at least one dimension */
static Cases ONE_ROWS = { "4", "3,5", "3,5t", "3,5s", "2,3,4", "2,3,4t", "3,1", "1,6" };
static Cases ROWS_2D = { "3,4", "3,4t", "3,4s", "1,4", "4,1", "5,2", "2,7t" };
static Cases CUBES = { "2,3,4", "2,3,4t", "2,3,4s", "1,3,4", "2,1,4", "2,3,1", "3,2,2" };
static Cases TWO = { ". .",   "3 3",       "2,3 2,3", "2,3 3",     "2,1 1,3",
                     "3 2,3", "2,3t 2,3s", ". 2,3",   "2,3,2 3,1", "0,3 3" };
static Cases SAME = { ". .", "3 3", "2,3 2,3", "2,3t 2,3", "2,3 2,3s", "2,3,2 2,3,2", "1,5 1,5t" };
static Cases PRODUCTS = { "2,3 3,4",   "1,3 3,1", "2,3t 3,4",   "2,3 3,4t",  "2,3s 3,4s",
                          "2,5,3 3,4", "3 3,4",   "2,2,3t 3,2", "33,20 20,5" };
static Cases NO_PRODUCTS = { "0,3 3,2", "2,0 0,3", "2,3 3,0", "1 1", "0 0" };
static Cases BATCHES = { "3 3s",         "2,3t 3",        "2,2,3 3",
                         "3 2,3,2",      "2,3s 2,3,2t",   "2,2,3t 2,3,2",
                         "1,2,3 2,3,2s", "2,1,2,3 2,3,1", "3,2,3,4 3,1,4,2t" };
static Cases ATTENTIONS = { "1,1,2 1,1,2 1,1,2",   "2,3,4 2,3,4 2,3,4",   "2,3,4 2,5,4 2,5,4",
                            "1,4,2t 1,4,2 1,4,2t", "2,3,4s 2,2,4 2,2,4s", "3,1,6 3,4,6t 3,4,6",
                            "1,9,2 1,7,2 1,7,2" };
static Cases LINEARS = { "2,3 4,3 4",   "1,3 1,3 1", "2,3t 4,3 4", "2,3 4,3t 4", "2,3s 4,3s 4s",
                         "2,5,3 4,3 4", "3 4,3 4",   "33,7 5,7 5", "0,3 4,3 4" };
static Cases LORAS = { "2,3 4,3 4 2,3 4,2",    "1,3 1,3 1 1,3 1,1",   "2,3t 4,3 4 2,3t 4,2t",
                       "2,3 4,3t 4 2,3s 4,2s", "2,5,3 4,3 4 1,3 4,1", "3 4,3 4 2,3 4,2",
                       "9,7 5,7 5 3,7 5,3",    "0,3 4,3 4 2,3 4,2" };
static Cases NORMS = { "4 4 4",         "2,3 3 3",          "2,3t 3 3s",  "2,5s 5s 5", "2,3,4 4 4",
                       "2,3,4 3,4 3,4", "2,3,4t 3,4t 3,4s", "3,20 20 20", "0,3 3 3" };
static Cases RESIDUALS = { "4 4 4 4",       "2,3 2,3 3 3",     "2,3t 2,3 3 3s",
                           "2,3 2,3t 3s 3", "2,5s 2,5s 5 5",   "2,3,4 2,3,4 4 4",
                           "20,3 20,3 3 3", "3,70 3,70 70 70", "0,3 0,3 3 3" };
static Cases WEIGHTS = { "2,3 4,3",   "1,3 1,3",   "2,3t 4,3", "2,3 4,3t",
                         "2,3s 4,3s", "2,5,3 4,3", "3 4,3",    "0,3 4,3" };

/* The kind of values at which an operation is checked, so that it is smooth there. APART: no two
 * equal, none near 0. EXACT: multiples of 1/4 up to 1, moved by 1/8, which even float32 holds
 * exactly. */
typedef enum Domain { ANY, POSITIVE, APART, EXACT } Domain;

typedef struct Row {
    const char *op;
    GradcheckFn *call;
    const char *const *cases;
    Domain domain;
} Row;

#define CALL(name, expression) \
    static Tensor *name(Tape *t, Tensor *const *x, void *user) \
    { \
        (void)user; \
        return expression; \
    }
CALL(add, lk_add(t, x[0], x[1]))
CALL(sub, lk_sub(t, x[0], x[1]))
CALL(mul, lk_mul(t, x[0], x[1]))
CALL(square_by_mul, lk_mul(t, x[0], x[0])) /* one tensor as both operands */
CALL(divide, lk_div(t, x[0], x[1]))
CALL(power, lk_pow(t, x[0], x[1]))
CALL(neg, lk_neg(t, x[0]))
CALL(scale, lk_scale(t, x[0], -2.5))
CALL(add_scalar, lk_add_scalar(t, x[0], 0.75))
CALL(square, lk_pow_scalar(t, x[0], 2))
CALL(cube, lk_pow_scalar(t, x[0], 3))
CALL(root, lk_pow_scalar(t, x[0], -0.5))
CALL(exponential, lk_exp(t, x[0]))
CALL(logarithm, lk_log(t, x[0]))
CALL(square_root, lk_sqrt(t, x[0]))
CALL(sigmoid, lk_sigmoid(t, x[0]))
CALL(hyperbolic, lk_tanh(t, x[0]))
CALL(gelu, lk_gelu(t, x[0]))
CALL(relu, lk_relu(t, x[0]))
CALL(absolute, lk_abs(t, x[0]))
CALL(matmul, lk_matmul(t, x[0], x[1]))
CALL(linear, lk_linear(t, x[0], x[1], x[2]))
CALL(linear_no_bias, lk_linear(t, x[0], x[1], NULL))
CALL(linear_lora, lk_linear_lora(t, x[0], x[1], x[2], x[3], x[4], -1.5, LK_LORA_MERGED))
CALL(reversed, lk_T(t, x[0]))
CALL(transpose, lk_transpose(t, x[0], 0, -1))
CALL(permute, lk_permute(t, x[0], LK_DIMS(1, 2, 0)))
CALL(view, lk_view(t, lk_contiguous(t, x[0]), LK_SHAPE(-1)))
CALL(reshape, lk_reshape(t, x[0], LK_SHAPE(1, -1)))
CALL(slice, lk_slice(t, x[0], -1, 0, INT64_MAX, 2))
CALL(select_one, lk_select(t, x[0], 0, -1))
CALL(expand, lk_expand(t, lk_unsqueeze(t, x[0], 1), LK_SHAPE(2, -1, 3, -1)))
CALL(unsqueeze, lk_unsqueeze(t, x[0], 1))
CALL(squeeze, lk_squeeze(t, lk_unsqueeze(t, x[0], 0), 0))
CALL(contiguous, lk_contiguous(t, lk_T(t, x[0])))
CALL(converted, lk_to(t, lk_to(t, x[0], LK_F32), LK_F64))
CALL(select_rows,
     lk_select_rows(t, x[0], lk_tensor(t, LK_I64, LK_SHAPE(4), (int64_t[]){ 2, 0, 2, -1 })))
CALL(mask_rows,
     lk_mask_rows(t, x[0], lk_tensor(t, LK_BOOL, LK_SHAPE(3), (bool[]){ true, false, true })))
CALL(sum, lk_sum(t, x[0], LK_ALL, false))
CALL(sum_first, lk_sum(t, x[0], LK_DIMS(0), false))
CALL(sum_outer, lk_sum(t, x[0], LK_DIMS(0, -1), true))
CALL(mean, lk_mean(t, x[0], LK_ALL, false))
CALL(mean_last, lk_mean(t, x[0], LK_DIMS(-1), true))
CALL(max_all, lk_max(t, x[0], LK_ALL, false))
CALL(max_outer, lk_max(t, x[0], LK_DIMS(0, 2), false))
CALL(min_all, lk_min(t, x[0], LK_ALL, true))
CALL(min_middle, lk_min(t, x[0], LK_DIMS(1), false))
CALL(max_dim, lk_max_dim(t, x[0], -1, false, NULL))
CALL(min_dim, lk_min_dim(t, x[0], 0, true, NULL))
CALL(softmax, lk_softmax(t, x[0], -1))
CALL(softmax_first, lk_softmax(t, x[0], 0))
CALL(log_softmax, lk_log_softmax(t, x[0], -1))
CALL(log_softmax_middle, lk_log_softmax(t, x[0], 1))
CALL(layer_norm, lk_layer_norm(t, x[0], x[1]->ndim, x[1], x[2], 1e-2))
CALL(layer_norm_weight, lk_layer_norm(t, x[0], x[1]->ndim, x[1], NULL, 1e-2))
CALL(layer_norm_bias, lk_layer_norm(t, x[0], x[2]->ndim, NULL, x[2], 1e-2))
CALL(layer_norm_plain, lk_layer_norm(t, x[0], 1, NULL, NULL, 1e-2))
CALL(embedding,
     lk_embedding(t, x[0], lk_tensor(t, LK_I64, LK_SHAPE(2, 2), (int64_t[]){ 2, 0, 2, 1 }), -1))
CALL(mse_loss, lk_mse_loss(t, x[0], x[1]))

/* Labels 0, 1, … modulo the number of classes, but `ignored` for the second row. */
static Tensor *labels_for(Tape *t, const Tensor *x, int64_t ignored)
{
    int64_t labels[8] = { 0 };
    for (int64_t i = 0; i < x->shape[0]; i++) labels[i] = i == 1 ? ignored : i % x->shape[1];
    return lk_tensor(t, LK_I64, LK_SHAPE(x->shape[0]), labels);
}
CALL(cross_entropy, lk_cross_entropy(t, x[0], labels_for(t, x[0], -100)))
CALL(cross_entropy_sum, lk_cross_entropy_with(t, x[0], labels_for(t, x[0], 0), 0, LK_SUM))

/* Seeds the tape, so that every call has the same mask. */
static Tensor *dropout(Tape *t, Tensor *const *x, void *user)
{
    (void)user;
    lk_tape_seed(t, 5);
    return lk_dropout(t, x[0], 0.4);
}

static Tensor *residual_norm(Tape *t, Tensor *const *x, void *user)
{
    (void)user;
    lk_tape_seed(t, 5);
    return lk_residual_norm(t, x[0], x[1], 0.4, x[2], x[3], 1e-2);
}

/* Takes one tensor as both operands with nothing dropped, and then drops everything. */
static Tensor *residual_norm_twice(Tape *t, Tensor *const *x, void *user)
{
    (void)user;
    Tensor *y = lk_residual_norm(t, x[0], x[0], 0, NULL, NULL, 1e-2);
    return lk_residual_norm(t, x[0], y, 1, NULL, x[0], 1e-2);
}

/* The first sentence has one key less than the others. The heads have two columns. */
static Tensor *attend(Tape *t, Tensor *const *x, AttentionOptions options)
{
    bool on[32];
    int64_t batch = x[1]->shape[0], keys = x[1]->shape[1];
    for (int64_t i = 0; i < batch * keys; i++) on[i] = i != keys - 1;
    lk_tape_seed(t, 5);
    return lk_attention_with(t, x[0], x[1], x[2], lk_tensor(t, LK_BOOL, LK_SHAPE(batch, keys), on),
                             x[0]->shape[2] / 2, options);
}
CALL(attention, lk_attention(t, x[0], x[1], x[2], NULL, 1, 0))
CALL(attention_with, attend(t, x, (AttentionOptions){ .dropout = 0.3, .causal = true }))
CALL(gather,
     lk_gather(t, x[0], 1, lk_tensor(t, LK_I64, LK_SHAPE(2, 3), (int64_t[]){ 1, 0, 1, 1, 1, 0 })))
CALL(cat, lk_cat(t, LK_TENSORS(x[0], x[1], x[0]), -1))
CALL(masked_fill, lk_masked_fill(t, x[0],
                                 lk_tensor(t, LK_BOOL, LK_SHAPE(2, 1, 3),
                                           (bool[]){ true, false, false, true, false, true }),
                                 -7))

static const Row rows[] = {
    { "add", add, TWO, ANY },
    { "sub", sub, TWO, ANY },
    { "mul", mul, TWO, ANY },
    { "mul", square_by_mul, ONE, ANY },
    { "div", divide, TWO, APART },
    { "pow", power, TWO, POSITIVE },
    { "neg", neg, ONE, ANY },
    { "scale", scale, ONE, ANY },
    { "add_scalar", add_scalar, ONE, ANY },
    { "pow_scalar", square, ONE, ANY },
    { "pow_scalar", cube, ONE, ANY },
    { "pow_scalar", root, ONE, POSITIVE },
    { "exp", exponential, ONE, ANY },
    { "log", logarithm, ONE, POSITIVE },
    { "sqrt", square_root, ONE, POSITIVE },
    { "sigmoid", sigmoid, ONE, ANY },
    { "tanh", hyperbolic, ONE, ANY },
    { "gelu", gelu, ONE, ANY },
    { "relu", relu, ONE, APART },
    { "abs", absolute, ONE, APART },
    { "matmul", matmul, PRODUCTS, ANY },
    { "matmul", matmul, BATCHES, ANY },
    { "matmul", matmul, NO_PRODUCTS, ANY },
    { "linear", linear, LINEARS, ANY },
    { "linear", linear_no_bias, WEIGHTS, ANY },
    { "linear_lora", linear_lora, LORAS, ANY },
    { "T", reversed, ONE, ANY },
    { "transpose", transpose, NO_ROWS, ANY },
    { "transpose", transpose, ONE_ROWS, ANY },
    { "permute", permute, CUBES, ANY },
    { "view", view, ONE, ANY },
    { "reshape", reshape, ONE, ANY },
    { "slice", slice, NO_ROWS, ANY },
    { "slice", slice, ONE_ROWS, ANY },
    { "select", select_one, ONE_ROWS, ANY },
    { "expand", expand, ROWS_2D, ANY },
    { "unsqueeze", unsqueeze, NO_ROWS, ANY },
    { "unsqueeze", unsqueeze, ONE_ROWS, ANY },
    { "squeeze", squeeze, ONE, ANY },
    { "contiguous", contiguous, ONE, ANY },
    { "to", converted, ONE, EXACT },
    { "select_rows", select_rows, (Cases){ "3", "4,3", "4,3t", "4,3s", "3,2,2", "3,2,2t", "5,1" },
      ANY },
    { "mask_rows", mask_rows, (Cases){ "3", "3,4", "3,4t", "3,4s", "3,2,2", "3,2,2t", "3,1" },
      ANY },
    { "sum", sum, ONE, ANY },
    { "sum", sum_first, ONE_ROWS, ANY },
    { "sum", sum_outer, CUBES, ANY },
    { "mean", mean, SOME, ANY },
    { "mean", mean_last, ONE_ROWS, ANY },
    { "max", max_all, SOME, APART },
    { "max", max_outer, CUBES, APART },
    { "min", min_all, SOME, APART },
    { "min", min_middle, CUBES, APART },
    { "max_dim", max_dim, ONE_ROWS, APART },
    { "min_dim", min_dim, ONE_ROWS, APART },
    { "softmax", softmax, NO_ROWS, ANY },
    { "softmax", softmax, ONE_ROWS, ANY },
    { "softmax", softmax_first, CUBES, ANY },
    { "log_softmax", log_softmax, NO_ROWS, ANY },
    { "log_softmax", log_softmax, ONE_ROWS, ANY },
    { "log_softmax", log_softmax_middle, CUBES, ANY },
    { "cross_entropy", cross_entropy, ROWS_2D, ANY },
    { "cross_entropy_with", cross_entropy_sum, ROWS_2D, ANY },
    { "mse_loss", mse_loss, SAME, ANY },
    { "dropout", dropout, ONE, ANY },
    { "embedding", embedding, (Cases){ "3,1", "3,4", "3,4t", "3,4s", "5,2", "5,70" }, ANY },
    { "layer_norm", layer_norm, NORMS, ANY },
    { "layer_norm", layer_norm_weight, NORMS, ANY },
    { "layer_norm", layer_norm_bias, NORMS, ANY },
    { "layer_norm", layer_norm_plain, ONE_ROWS, ANY },
    { "layer_norm", layer_norm_plain, NO_ROWS, ANY },
    { "residual_norm", residual_norm, RESIDUALS, ANY },
    { "residual_norm", residual_norm_twice, (Cases){ "4", "5", "6s" }, ANY },
    { "attention", attention, ATTENTIONS, ANY },
    { "attention_with", attention_with, ATTENTIONS, ANY },
    { "gather", gather, (Cases){ "2,2", "2,3", "3,2", "2,2t", "2,2s", "3,4t", "4,4s" }, ANY },
    { "cat", cat,
      (Cases){ "3 2", "2,3 2,1", "2,3t 2,3s", "2,0 2,2", "1,1 1,4", "2,2,3 2,2,1",
               "2,3,2t 2,3,2s" },
      ANY },
    { "masked_fill", masked_fill,
      (Cases){ "3", "2,3", "1,3", "2,1,3", "2,4,3t", "2,4,1", "1,1,3s", "." }, ANY },
};

enum { ROWS = sizeof rows / sizeof *rows };

/* clang-format off */
const char *const gradient_exempt[] = {
    "zeros", "ones", "full", "tensor", "scalar", "arange", "rand", "randn", "randint", "randperm",
    "detach", "argmax", "argmin", "eq", "ne", "lt", "le", "gt", "ge", "isclose", NULL,
};
/* clang-format on */

/* ---- one case ------------------------------------------------------------------------------- */

typedef struct Case {
    const Row *row;
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
    const Row *row = &rows[c->row];
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

GradientCase gradient_cases(Rng *rng) { return (GradientCase){ .rng = rng }; }

bool gradient_next(GradientCase *c)
{
    if (c->op && (++c->item == MAX_CASES || !rows[c->row].cases[c->item])) {
        c->item = 0;
        c->row++;
    }
    if (c->row == ROWS) return false;
    c->op = rows[c->row].op;
    c->inputs = rows[c->row].cases[c->item];
    run_case(c);
    return true;
}
