/* ops_matmul.c - matrix products. The arithmetic is in core/gemm.h; here are shapes, gradients and PyTorch's names. */
#include "core/gemm.h"
#include "core/internal.h"
#include "core/ops.h"

static Mat transposed(Mat m)
{
    return (Mat){ m.data, m.col, m.row };
}

/* C = A B or C += A B with the tape's scratch as workspace; false, with the error kept, when there is no memory. */
static bool gemm(Tape *t, DType dtype, int64_t m, int64_t n, int64_t k, Mat a, Mat b, bool accumulate, Tensor *c)
{
    void *workspace = lk_tape_scratch(t, lk_gemm_workspace(dtype, m, n, k));
    if (workspace) lk_gemm(dtype, m, n, k, a, b, accumulate, c->data, n, workspace);
    return workspace != NULL;
}

/* x (…, k) as a matrix with all leading dimensions as its rows. Copied only if they have no common stride. */
static Mat as_matrix(Tape *t, Tensor *x)
{
    if (x->ndim == 1) return (Mat){ x->data, 0, x->stride[0] };
    bool even = true;
    for (int d = x->ndim - 2; d > 0; d--)
        even = even && (x->shape[d - 1] == 1 || x->stride[d - 1] == x->stride[d] * x->shape[d]);
    if (!even) x = lk_packed(t, x);
    return x ? (Mat){ x->data, x->stride[x->ndim - 2], x->stride[x->ndim - 1] } : (Mat){ NULL, 0, 0 };
}

static int64_t leading_rows(const Tensor *x)
{
    int64_t rows = 1;
    for (int d = 0; d < x->ndim - 1; d++) rows *= x->shape[d];
    return rows;
}

/* An uninitialised result (…, n) with the leading dimensions of x. */
static Tensor *result(Tape *t, const Tensor *x, int64_t n)
{
    int64_t shape[LK_MAX_DIMS];
    for (int d = 0; d < x->ndim - 1; d++) shape[d] = x->shape[d];
    shape[x->ndim - 1] = n;
    return lk_empty(t, x->dtype, x->ndim, shape);
}

/* ---- y = a b --------------------------------------------------------------------------------------------------- */

/* y_ij = Σ_k a_ik b_kj, so da_ik += Σ_j dy_ij b_kj = (dy bᵀ)_ik and db_kj += Σ_i a_ik dy_ij = (aᵀ dy)_kj. */
static void matmul_backward(Tape *t, Node *node)
{
    Tensor *a = node->in[0], *b = node->in[1];
    int64_t m = leading_rows(a), k = b->shape[0], n = b->shape[1];
    Mat dy = { node->grad->data, n, 1 }, b_mat = { b->data, b->stride[0], b->stride[1] };
    bool fresh;
    Tensor *da = lk_grad_in_fresh(t, node, 0, &fresh);
    if (da && !gemm(t, a->dtype, m, k, n, dy, transposed(b_mat), !fresh, da)) return;
    Tensor *db = lk_grad_in_fresh(t, node, 1, &fresh);
    if (!db) return;
    Mat a_mat = as_matrix(t, a);
    if (a_mat.data) gemm(t, a->dtype, k, n, m, transposed(a_mat), dy, !fresh, db);
}

static const Op MM = { "MmBackward0", matmul_backward, { LK_IN1, LK_IN0 } };
static const Op MM_1D = { "SqueezeBackward3", matmul_backward, { LK_IN1, LK_IN0 } };
static const Op MM_ND = { "UnsafeViewBackward0", matmul_backward, { LK_IN1, LK_IN0 } };

Tensor *lk_matmul(Tape *t, Tensor *a, Tensor *b)
{
    char sa[LK_SHAPE_TEXT], sb[LK_SHAPE_TEXT];
    if (!lk_check_floating(t, "lk_matmul", LK_INPUTS(a, b))) return NULL;
    if (a->ndim < 1 || b->ndim != 2)
        return lk_fail(t, LK_ESHAPE, "lk_matmul: %s @ %s: the left operand needs at least 1 dimension, the right one "
                       "exactly 2", lk_shape_text(a, sa), lk_shape_text(b, sb));
    int64_t m = leading_rows(a), k = b->shape[0], n = b->shape[1];
    if (a->shape[a->ndim - 1] != k)
        return lk_fail(t, LK_ESHAPE, "lk_matmul: %s @ %s: inner sizes %lld and %lld differ", lk_shape_text(a, sa),
                       lk_shape_text(b, sb), (long long)a->shape[a->ndim - 1], (long long)k);
    Tensor *y = result(t, a, n);
    Mat a_mat = as_matrix(t, a), b_mat = { b->data, b->stride[0], b->stride[1] };
    if (!y || !a_mat.data || !gemm(t, a->dtype, m, n, k, a_mat, b_mat, false, y)) return NULL;
    const Op *op = a->ndim == 2 ? &MM : a->ndim == 1 ? &MM_1D : &MM_ND;
    return lk_record(t, op, y, LK_INPUTS(a, b), NULL, 0);
}

/* ---- y = x Wᵀ + b ---------------------------------------------------------------------------------------------- */

/* y_io = Σ_k x_ik W_ok + b_o, so dx += dy W, dW += dyᵀ x, db_o += Σ_i dy_io. */
static void linear_backward(Tape *t, Node *node)
{
    Tensor *x = node->in[0], *w = node->in[1];
    int64_t m = leading_rows(x), in = w->shape[1], out = w->shape[0];
    Mat dy = { node->grad->data, out, 1 }, w_mat = { w->data, w->stride[0], w->stride[1] };
    bool fresh;
    Tensor *dx = lk_grad_in_fresh(t, node, 0, &fresh);
    if (dx && !gemm(t, x->dtype, m, in, out, dy, w_mat, !fresh, dx)) return;
    Tensor *dw = lk_grad_in_fresh(t, node, 1, &fresh);
    if (dw) {
        Mat x_mat = as_matrix(t, x);
        if (!x_mat.data || !gemm(t, x->dtype, out, in, m, transposed(dy), x_mat, !fresh, dw)) return;
    }
    Tensor *db = lk_grad_in(t, node, 2);
    if (!db) return;
    Tensor spread = lk_spread(db, node->grad->ndim, node->grad->shape);
    lk_accumulate(t, &spread, node->grad);
}

/* PyTorch computes the product differently for each number of dimensions, and names it after its last step. */
#define LINEAR_OP(name) { name, linear_backward, { LK_IN1, LK_IN0 } }
static const Op LINEAR[3][2] = { /* [1-D, 2-D, N-D][without, with bias] */
    { LINEAR_OP("SqueezeBackward3"), LINEAR_OP("AddBackward0") },
    { LINEAR_OP("MmBackward0"), LINEAR_OP("AddmmBackward0") },
    { LINEAR_OP("UnsafeViewBackward0"), LINEAR_OP("AddBackward0") },
};
static const Op LINEAR_FLAT = LINEAR_OP("ViewBackward0"); /* contiguous 3-D with bias: as 2-D, and viewed back */

Tensor *lk_linear(Tape *t, Tensor *x, Tensor *weight, Tensor *bias)
{
    char sx[LK_SHAPE_TEXT], sw[LK_SHAPE_TEXT], sb[LK_SHAPE_TEXT];
    Tensor *operands[] = { x, weight, bias };
    if (!lk_check_floating(t, "lk_linear", bias ? 3 : 2, operands)) return NULL;
    if (weight->ndim != 2 || x->ndim < 1 || x->shape[x->ndim - 1] != weight->shape[1])
        return lk_fail(t, LK_ESHAPE, "lk_linear: x %s and weight %s: the last size of x must be the weight's in_features%s",
                       lk_shape_text(x, sx), lk_shape_text(weight, sw), weight->ndim == 2 ? "" : ", and the weight 2-D");
    if (bias && (bias->ndim != 1 || bias->shape[0] != weight->shape[0]))
        return lk_fail(t, LK_ESHAPE, "lk_linear: bias %s does not fit weight %s: it needs one value for each of %lld "
                       "outputs", lk_shape_text(bias, sb), lk_shape_text(weight, sw), (long long)weight->shape[0]);
    int64_t m = leading_rows(x), in = weight->shape[1], out = weight->shape[0];
    Tensor *y = result(t, x, out);
    Mat x_mat = as_matrix(t, x), w_mat = { weight->data, weight->stride[0], weight->stride[1] };
    if (!y || !x_mat.data) return NULL;
    if (bias) lk_copy_(y, bias, NULL); /* the product is added to the bias, as addmm does */
    if (!gemm(t, x->dtype, m, out, in, x_mat, transposed(w_mat), bias != NULL, y)) return NULL;
    const Op *op = &LINEAR[x->ndim < 3 ? x->ndim - 1 : 2][bias != NULL];
    if (x->ndim == 3 && bias && lk_is_contiguous(x)) op = &LINEAR_FLAT;
    return lk_record(t, op, y, LK_INPUTS(x, weight, bias), NULL, 0);
}
