/* ex0.c - two operations with their backward: ReLU and matmul, in float64. The page: ex0.md. */
#include "core/op.h"
//> wrong library: looks like the library's own function
//#include "core/ops.h"
//> end

/* Refuses the operands that the loops below cannot take: NULL, stale, or not float64. */
static bool check_doubles(Tape *t, const char *function, int count, Tensor *const *x)
{
    if (!lk_check_floating(t, function, count, x)) return false;
    if (x[0]->dtype == LK_F64) return true;
    return lk_fail(t, LK_EDTYPE, "%s: takes float64, not %s", function,
                   lk_dtype_name(x[0]->dtype));
}

/* ---- y = max(x, 0) -------------------------------------------------------------------------- */

/* Adds dy to dx where x > 0. */
static void my_relu_backward(Tape *t, Node *n)
{
    Tensor *x = lk_packed(t, n->in[0]); /* the input, row by row */
    Tensor *dx = lk_grad_in(t, n, 0);   /* where its gradient goes; zeros, or a sum so far */
    if (!x || !dx) return;              /* NULL: no memory, or x is frozen */
    const double *in = x->data, *dy = n->grad->data;
    double *to = dx->data;
    //> starter
    //    (void)in;
    //    (void)dy;
    //    (void)to;
    //    /* TODO 2: a loop over lk_numel(x) elements, which adds to `to[i]`. */
    //> solution
    for (int64_t i = 0; i < lk_numel(x); i++)
        if (in[i] > 0) to[i] += dy[i];
    //> wrong times_x: looks like dy times x
    //    for (int64_t i = 0; i < lk_numel(x); i++)
    //        if (in[i] > 0) to[i] += dy[i] * in[i];
    //> wrong mask_forgotten: looks like mask forgotten
    //    (void)in;
    //    for (int64_t i = 0; i < lk_numel(x); i++) to[i] += dy[i];
    //> wrong mask_of_dy: looks like mask of dy instead of x
    //    (void)in;
    //    for (int64_t i = 0; i < lk_numel(x); i++)
    //        if (dy[i] > 0) to[i] += dy[i];
    //> wrong dy_forgotten: looks like dy forgotten
    //    (void)dy;
    //    for (int64_t i = 0; i < lk_numel(x); i++)
    //        if (in[i] > 0) to[i] += 1.0;
    //> wrong one_at_zero: looks like x >= 0 for x > 0
    //    for (int64_t i = 0; i < lk_numel(x); i++)
    //        if (in[i] >= 0) to[i] += dy[i];
    //> wrong short_loop: looks like loop too short
    //    for (int64_t i = 0; i < x->shape[0]; i++)
    //        if (in[i] > 0) to[i] += dy[i];
    //> wrong dy_of_out: looks like crash
    //    dy = n->out->grad->data;
    //    for (int64_t i = 0; i < lk_numel(x); i++)
    //        if (in[i] > 0) to[i] += dy[i];
    //> wrong relu_set: looks like gradient set for added
    //    for (int64_t i = 0; i < lk_numel(x); i++) to[i] = in[i] > 0 ? dy[i] : 0.0;
    //> end
}

/* The name that is printed, the backward, and the values that it reads for the gradient of input
 * 0: input 0 itself. */
static const Op MY_RELU = { "MyReluBackward", my_relu_backward, { LK_IN0 } };

/* x of any shape → the same shape */
Tensor *my_relu(Tape *t, Tensor *x)
{
    if (!check_doubles(t, "my_relu", 1, &x)) return NULL;
    Tensor *packed = lk_packed(t, x);
    Tensor *y = lk_empty(t, LK_F64, x->ndim, x->shape); /* not cleared */
    if (!packed || !y) return NULL;
    //> starter
    //    return lk_fail(t, LK_ESTATE, "my_relu: TODO 1: fill y->data, a loop over lk_numel(x)");
    //> solution
    const double *in = packed->data;
    double *out = y->data;
    for (int64_t i = 0; i < lk_numel(x); i++) out[i] = in[i] > 0 ? in[i] : 0.0;
    //> wrong absolute: looks like absolute value
    //    const double *in = packed->data;
    //    double *out = y->data;
    //    for (int64_t i = 0; i < lk_numel(x); i++) out[i] = in[i] > 0 ? in[i] : -in[i];
    //> wrong leaky: looks like leaky ReLU
    //    const double *in = packed->data;
    //    double *out = y->data;
    //    for (int64_t i = 0; i < lk_numel(x); i++) out[i] = in[i] > 0 ? in[i] : 0.01 * in[i];
    //> wrong in_place: looks like input written
    //    double *in = packed->data, *out = y->data;
    //    for (int64_t i = 0; i < lk_numel(x); i++) {
    //        if (in[i] < 0) in[i] = 0.0;
    //        out[i] = in[i];
    //    }
    //> end
    return lk_record(t, &MY_RELU, y, LK_INPUTS(x), NULL, 0);
}

/* ---- C = A B -------------------------------------------------------------------------------- */

/* A (m, k), B (k, n), dC (m, n), each row by row: element [i][j] of dC is dc[i * n + j]. */

/* dA += dC Bᵀ */
static void add_da(int64_t m, int64_t k, int64_t n, const double *dc, const double *b, double *da)
{
    //> starter
    //    (void)m, (void)k, (void)n, (void)dc, (void)b;
    //    (void)da; /* TODO 4: three loops; Bᵀ has at [j][l] what B has at [l][j] */
    //> solution
    for (int64_t i = 0; i < m; i++)
        for (int64_t l = 0; l < k; l++)
            for (int64_t j = 0; j < n; j++) da[i * k + l] += dc[i * n + j] * b[l * n + j];
    //> wrong not_transposed: looks like B not transposed
    //    for (int64_t i = 0; i < m; i++)
    //        for (int64_t l = 0; l < k; l++)
    //            for (int64_t j = 0; j < n; j++) da[i * k + l] += dc[i * n + j] * b[j * n + l];
    //> wrong reshaped: looks like reshape for transpose
    //    for (int64_t i = 0; i < m; i++)
    //        for (int64_t l = 0; l < k; l++)
    //            for (int64_t j = 0; j < n; j++) da[i * k + l] += dc[i * n + j] * b[j * k + l];
    //> wrong matmul_set: looks like gradient set for added
    //    for (int64_t i = 0; i < m; i++)
    //        for (int64_t l = 0; l < k; l++) {
    //            double sum = 0.0;
    //            for (int64_t j = 0; j < n; j++) sum += dc[i * n + j] * b[l * n + j];
    //            da[i * k + l] = sum;
    //        }
    //> wrong last_product: looks like only the last product
    //    for (int64_t i = 0; i < m; i++)
    //        for (int64_t l = 0; l < k; l++)
    //            for (int64_t j = 0; j < n; j++) da[i * k + l] = dc[i * n + j] * b[l * n + j];
    //> end
}

/* dB += Aᵀ dC */
static void add_db(int64_t m, int64_t k, int64_t n, const double *a, const double *dc, double *db)
{
    //> starter
    //    (void)m, (void)k, (void)n, (void)a, (void)dc;
    //    (void)db; /* TODO 5: three loops */
    //> solution
    for (int64_t l = 0; l < k; l++)
        for (int64_t j = 0; j < n; j++)
            for (int64_t i = 0; i < m; i++) db[l * n + j] += a[i * k + l] * dc[i * n + j];
    //> wrong a_reshaped: looks like reshape for transpose
    //    for (int64_t l = 0; l < k; l++)
    //        for (int64_t j = 0; j < n; j++)
    //            for (int64_t i = 0; i < m; i++) db[l * n + j] += a[l * m + i] * dc[i * n + j];
    //> end
}

static void my_matmul_backward(Tape *t, Node *node)
{
    Tensor *A = lk_packed(t, node->in[0]), *B = lk_packed(t, node->in[1]);
    if (!A || !B) return;
    int64_t m = A->shape[0], k = A->shape[1], n = B->shape[1];
    const double *dc = node->grad->data;
    //> starter
    //    (void)m, (void)k, (void)n, (void)dc;
    //    (void)add_da, (void)add_db;
    //    /* TODO 6: dA is lk_grad_in(t, node, 0), dB lk_grad_in(t, node, 1). Call add_da and
    //     * add_db for those that are not NULL. */
    //> solution
    Tensor *dA = lk_grad_in(t, node, 0), *dB = lk_grad_in(t, node, 1);
    if (dA) add_da(m, k, n, dc, B->data, dA->data);
    if (dB) add_db(m, k, n, A->data, dc, dB->data);
    //> wrong frozen_input: looks like gradient into a frozen input
    //    Tensor *dA = lk_grad_in(t, node, 0), *dB = lk_grad_in(t, node, 1);
    //    add_da(m, k, n, dc, B->data, dA->data);
    //    add_db(m, k, n, A->data, dc, dB->data);
    //> wrong both_or_none: looks like no gradient when the other is frozen
    //    Tensor *dA = lk_grad_in(t, node, 0), *dB = lk_grad_in(t, node, 1);
    //    if (!dA || !dB) return;
    //    add_da(m, k, n, dc, B->data, dA->data);
    //    add_db(m, k, n, A->data, dc, dB->data);
    //> wrong exchanged: looks like dA and dB exchanged
    //    Tensor *dA = lk_grad_in(t, node, 1), *dB = lk_grad_in(t, node, 0);
    //    if (dA) add_da(m, k, n, dc, B->data, dA->data);
    //    if (dB) add_db(m, k, n, A->data, dc, dB->data);
    //> wrong one_of_two: looks like only one of the two gradients
    //    Tensor *dA = lk_grad_in(t, node, 0), *dB = lk_grad_in(t, node, 1);
    //    if (dA) add_da(m, k, n, dc, B->data, dA->data);
    //    else if (dB) add_db(m, k, n, A->data, dc, dB->data);
    //> wrong strided: looks like strides ignored
    //    Tensor *dA = lk_grad_in(t, node, 0), *dB = lk_grad_in(t, node, 1);
    //    if (dA) add_da(m, k, n, dc, node->in[1]->data, dA->data);
    //    if (dB) add_db(m, k, n, node->in[0]->data, dc, dB->data);
    //> end
}

/* The last part lists the inputs that the backward reads; MY_RELU above shows the form. */
//> starter
//static const Op MY_MATMUL = {
//    "MyMatmulBackward", my_matmul_backward, { 0, 0 } /* TODO 7: for dA, for dB */
//};
//> solution
static const Op MY_MATMUL = { "MyMatmulBackward", my_matmul_backward, { LK_IN1, LK_IN0 } };
//> wrong needs: looks like needs incomplete
//static const Op MY_MATMUL = { "MyMatmulBackward", my_matmul_backward, { LK_IN0, LK_IN1 } };
//> end

/* a (m, k), b (k, n) → (m, n) */
Tensor *my_matmul(Tape *t, Tensor *a, Tensor *b)
{
    if (!check_doubles(t, "my_matmul", LK_INPUTS(a, b))) return NULL;
    if (a->ndim != 2 || b->ndim != 2 || a->shape[1] != b->shape[0])
        return lk_fail(t, LK_ESHAPE, "my_matmul: takes (m, k) and (k, n)");
    int64_t m = a->shape[0], k = a->shape[1], n = b->shape[1];
    Tensor *A = lk_packed(t, a), *B = lk_packed(t, b), *C = lk_empty(t, LK_F64, LK_SHAPE(m, n));
    if (!A || !B || !C) return NULL;
    //> starter
    //    (void)k, (void)MY_MATMUL;
    //    return lk_fail(t, LK_ESTATE, "my_matmul: TODO 3: fill C by three loops; then lk_record");
    //> solution
    const double *va = A->data, *vb = B->data;
    double *vc = C->data;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0.0;
            for (int64_t l = 0; l < k; l++) sum += va[i * k + l] * vb[l * n + j];
            vc[i * n + j] = sum;
        }
    return lk_record(t, &MY_MATMUL, C, LK_INPUTS(a, b), NULL, 0);
    //> wrong not_cleared: looks like result not cleared
    //    const double *va = A->data, *vb = B->data;
    //    double *vc = C->data;
    //    for (int64_t i = 0; i < m; i++)
    //        for (int64_t j = 0; j < n; j++)
    //            for (int64_t l = 0; l < k; l++) vc[i * n + j] += va[i * k + l] * vb[l * n + j];
    //    return lk_record(t, &MY_MATMUL, C, LK_INPUTS(a, b), NULL, 0);
    //> wrong last_term: looks like only the last product
    //    const double *va = A->data, *vb = B->data;
    //    double *vc = C->data;
    //    for (int64_t i = 0; i < m; i++)
    //        for (int64_t j = 0; j < n; j++)
    //            for (int64_t l = 0; l < k; l++) vc[i * n + j] = va[i * k + l] * vb[l * n + j];
    //    return lk_record(t, &MY_MATMUL, C, LK_INPUTS(a, b), NULL, 0);
    //> wrong one_short: looks like inner loop one short
    //    const double *va = A->data, *vb = B->data;
    //    double *vc = C->data;
    //    for (int64_t i = 0; i < m; i++)
    //        for (int64_t j = 0; j < n; j++) {
    //            double sum = 0.0;
    //            for (int64_t l = 0; l < k - 1; l++) sum += va[i * k + l] * vb[l * n + j];
    //            vc[i * n + j] = sum;
    //        }
    //    return lk_record(t, &MY_MATMUL, C, LK_INPUTS(a, b), NULL, 0);
    //> wrong rows_of_k: looks like rows of B too short
    //    const double *va = A->data, *vb = B->data;
    //    double *vc = C->data;
    //    for (int64_t i = 0; i < m; i++)
    //        for (int64_t j = 0; j < n; j++) {
    //            double sum = 0.0;
    //            for (int64_t l = 0; l < k; l++) sum += va[i * k + l] * vb[l * k + j];
    //            vc[i * n + j] = sum;
    //        }
    //    return lk_record(t, &MY_MATMUL, C, LK_INPUTS(a, b), NULL, 0);
    //> wrong order: looks like inputs recorded in another order
    //    const double *va = A->data, *vb = B->data;
    //    double *vc = C->data;
    //    for (int64_t i = 0; i < m; i++)
    //        for (int64_t j = 0; j < n; j++) {
    //            double sum = 0.0;
    //            for (int64_t l = 0; l < k; l++) sum += va[i * k + l] * vb[l * n + j];
    //            vc[i * n + j] = sum;
    //        }
    //    return lk_record(t, &MY_MATMUL, C, LK_INPUTS(b, a), NULL, 0);
    //> wrong one_input: looks like an input not recorded
    //    const double *va = A->data, *vb = B->data;
    //    double *vc = C->data;
    //    for (int64_t i = 0; i < m; i++)
    //        for (int64_t j = 0; j < n; j++) {
    //            double sum = 0.0;
    //            for (int64_t l = 0; l < k; l++) sum += va[i * k + l] * vb[l * n + j];
    //            vc[i * n + j] = sum;
    //        }
    //    return lk_record(t, &MY_MATMUL, C, LK_INPUTS(a), NULL, 0);
    //> wrong op_of_relu: looks like the Op of ReLU
    //    const double *va = A->data, *vb = B->data;
    //    double *vc = C->data;
    //    for (int64_t i = 0; i < m; i++)
    //        for (int64_t j = 0; j < n; j++) {
    //            double sum = 0.0;
    //            for (int64_t l = 0; l < k; l++) sum += va[i * k + l] * vb[l * n + j];
    //            vc[i * n + j] = sum;
    //        }
    //    (void)MY_MATMUL;
    //    return lk_record(t, &MY_RELU, C, LK_INPUTS(a, b), NULL, 0);
    //> wrong float32: looks like result of another dtype
    //    C = lk_empty(t, LK_F32, LK_SHAPE(m, n));
    //    if (!C) return NULL;
    //    const double *va = A->data, *vb = B->data;
    //    float *vc = C->data;
    //    for (int64_t i = 0; i < m; i++)
    //        for (int64_t j = 0; j < n; j++) {
    //            double sum = 0.0;
    //            for (int64_t l = 0; l < k; l++) sum += va[i * k + l] * vb[l * n + j];
    //            vc[i * n + j] = (float)sum;
    //        }
    //    return lk_record(t, &MY_MATMUL, C, LK_INPUTS(a, b), NULL, 0);
    //> wrong library: looks like the library's own function
    //    (void)k, (void)MY_MATMUL;
    //    return lk_matmul(t, a, b);
    //> wrong not_recorded: looks like not recorded
    //    const double *va = A->data, *vb = B->data;
    //    double *vc = C->data;
    //    for (int64_t i = 0; i < m; i++)
    //        for (int64_t j = 0; j < n; j++) {
    //            double sum = 0.0;
    //            for (int64_t l = 0; l < k; l++) sum += va[i * k + l] * vb[l * n + j];
    //            vc[i * n + j] = sum;
    //        }
    //    (void)MY_MATMUL;
    //    return C;
    //> end
}

//> hint
// A gradient has the shape of its tensor, and it is a sum over every way in which the tensor is
// used. So write down the shapes first, then let every loop end with +=. ReLU lets dy through
// where x is positive, and stops it elsewhere.
//> hint
// y = max(x, 0): dx += dy where x > 0. C = A B: dA += dC Bᵀ, (m, n) (n, k), and dB += Aᵀ dC,
// (k, m) (m, n). Element [i][l] of dA is the sum over j of dC[i][j] B[l][j].
//> hint
// if (in[i] > 0) to[i] += dy[i];
// da[i * k + l] += dc[i * n + j] * b[l * n + j];
// db[l * n + j] += a[i * k + l] * dc[i * n + j];
//> end
