/* ops_matmul.c - matrix products. The arithmetic is in core/kernels/gemm.h. This file has the
 * shapes, gradients and PyTorch's names. */
#include "core/kernels/gemm.h"
#include "core/internal.h"
#include "core/matrix.h"
#include "core/ops.h"

#define LK_REAL_SOURCE "core/ops_matmul_real.h"
#include "core/real.h"

/* x as an operand of a product, in the precision of the tape's products. */
static Mat operand(const Tape *t, Mat x)
{
    x.rounds = x.dtype == LK_F32 && lk_tape_matmul_precision(t) == LK_BF16;
    return x;
}

/* Computes C = A B or C += A B with the tape's scratch as workspace. Returns false, with the error
 * kept, when there is no memory. */
static bool gemm(Tape *t, Mat c, Mat a, Mat b, bool add)
{
    void *workspace = lk_tape_scratch(t, lk__gemm_workspace(c.dtype, c.rows, c.cols, a.cols));
    if (workspace) lk__gemm(c, operand(t, a), operand(t, b), add, workspace);
    return workspace != NULL;
}

static Tensor flipped(Tensor x)
{
    int64_t rows = x.shape[x.ndim - 2], step = x.stride[x.ndim - 2];
    x.shape[x.ndim - 2] = x.shape[x.ndim - 1], x.stride[x.ndim - 2] = x.stride[x.ndim - 1];
    x.shape[x.ndim - 1] = rows, x.stride[x.ndim - 1] = step;
    return x;
}

/* Whether x is whole rows of a qint8 matrix, or the transpose of such. */
static bool has_row_scales(const Tensor *x)
{
    Tensor turned = x->ndim == 2 ? flipped(*x) : *x;
    return lk__has_whole_rows(x) || lk__has_whole_rows(&turned);
}

/* Checks the operands of a product: floating, and of one dtype. Only x[1], the weight, may also be
 * bfloat16 or qint8 beside float32. */
static bool check_product(Tape *t, const char *function, int count, Tensor *const *x)
{
    Tensor *rest[4];
    int others = 0;
    if (!x[1] || !lk_only_stores(x[1]->dtype)) return lk_check_floating(t, function, count, x);
    for (int i = 0; i < count; i++)
        if (i != 1) rest[others++] = x[i];
    if (!lk_check_operands(t, function, count, x) || !lk_check_floating(t, function, others, rest))
        return false;
    if (rest[0]->dtype != LK_F32)
        return lk_fail(t, LK_EDTYPE,
                       "%s: a %s weight takes float32 beside it, not %s; lk_to converts", function,
                       lk_dtype_name(x[1]->dtype), lk_dtype_name(rest[0]->dtype));
    return x[1]->dtype == LK_BF16 || has_row_scales(x[1]) || lk__fail_no_whole_rows(t, function);
}

static int64_t leading_rows(const Tensor *x)
{
    int64_t rows = 1;
    for (int d = 0; d < x->ndim - 1; d++) rows *= x->shape[d];
    return rows;
}

/* Returns x (…, k) as a matrix with all leading dimensions as its rows. x is copied only if these
 * dimensions have no common stride. data is NULL when there is no memory. */
static Mat as_matrix(Tape *t, Tensor *x)
{
    const int last = x->ndim - 1;
    bool even = true;
    for (int d = last - 1; d > 0; d--)
        even = even && (x->shape[d - 1] == 1 || x->stride[d - 1] == x->stride[d] * x->shape[d]);
    if (!even) x = lk_packed(t, x);
    if (!x) return (Mat){ .data = NULL };
    return lk__mat_strided(x->dtype, leading_rows(x), x->shape[last], x->data,
                           last > 0 ? x->stride[last - 1] : 0, x->stride[last]);
}

/* An uninitialised result (…, n) with the leading dimensions of x. */
static Tensor *result(Tape *t, const Tensor *x, int64_t n)
{
    int64_t shape[LK_MAX_DIMS];
    for (int d = 0; d < x->ndim - 1; d++) shape[d] = x->shape[d];
    shape[x->ndim - 1] = n;
    return lk_empty(t, x->dtype, x->ndim, shape);
}

/* ---- y = a b -------------------------------------------------------------------------------- */

/* A 1-D operand of torch.matmul is a row on the left and a column on the right. */
static Tensor with_matrix(const Tensor *x, bool as_row)
{
    Tensor y = *x;
    if (x->ndim > 1) return y;
    y.ndim = 2;
    y.shape[as_row ? 1 : 0] = x->shape[0], y.stride[as_row ? 1 : 0] = x->stride[0];
    y.shape[as_row ? 0 : 1] = 1, y.stride[as_row ? 0 : 1] = x->shape[0] * x->stride[0];
    return y;
}

/* Returns x with the batch dimensions of y. The stride is 0 where one matrix serves several
 * products. */
static Tensor over_batch(const Tensor *x, const Tensor *y)
{
    int64_t shape[LK_MAX_DIMS];
    for (int d = 0; d < y->ndim - 2; d++) shape[d] = y->shape[d];
    for (int d = 1; d <= 2; d++) shape[y->ndim - d] = x->shape[x->ndim - d];
    return lk__spread(x, y->ndim, shape);
}

/* Many products. C's matrices are counted along the dimensions in which C moves. The other
 * dimensions are those along which an operand was broadcast, and C is its gradient. Along them the
 * products are summed, always in the same order. */
typedef struct Batch {
    int ndim;
    /* of C, A, B; first the dimensions of the sum, innermost first */
    int64_t shape[LK_MAX_DIMS], step[LK_MAX_DIMS][3];
    int64_t sums, terms;
} Batch;

static Batch batch_of(const Tensor *c, const Tensor *a, const Tensor *b)
{
    Batch w = { .sums = 1, .terms = 1 };
    for (int moves = 0; moves < 2; moves++) {
        for (int d = c->ndim - 3; d >= 0; d--) {
            if ((c->stride[d] != 0) != moves) continue;
            /* a sum without terms still has a place, which gets zeros */
            w.shape[w.ndim] = c->shape[d] ? c->shape[d] : 1;
            w.step[w.ndim][0] = c->stride[d], w.step[w.ndim][1] = a->stride[d],
            w.step[w.ndim][2] = b->stride[d];
            w.ndim++;
            *(moves ? &w.sums : &w.terms) *= c->shape[d];
        }
    }
    return w;
}

/* Matrix number i of operand 0 (C), 1 (A) or 2 (B). */
static Mat matrix_at(const Tensor *x, const Batch *w, int operand, int64_t i)
{
    Mat m = lk__matrix(x);
    int64_t offset = 0;
    for (int d = 0; d < w->ndim; i /= w->shape[d++])
        offset += i % w->shape[d] * w->step[d][operand];
    m.data = (char *)m.data + offset * (int64_t)lk_dtype_size(x->dtype);
    return m;
}

/* Computes C = A B or C += A B for every matrix of a batch. C's matrices lie row by row. When
 * there are enough of them, they are shared out to the threads, each with its own workspace.
 * Otherwise all threads compute each product together. lk__gemm gives the same bits either way. */
static bool batched(Tape *t, const Tensor *a, const Tensor *b, const Tensor *c, bool add)
{
    const int row = c->ndim - 2, col = c->ndim - 1;
    const int64_t m = c->shape[row], n = c->shape[col];
    Batch w = batch_of(c, a, b);
    if (m * n == 0 || w.sums == 0) return true;
    /* a sum without terms is a product with k = 0, which gives zeros */
    const int64_t k = w.terms ? a->shape[col] : 0, terms = w.terms ? w.terms : 1;
    const int threads = lk_get_num_threads();
    const double work = (double)(m * n) * (double)(k * terms * w.sums);
    const bool shared = threads > 1 && w.sums >= 2 * threads && work > 1 << 16;
    const size_t bytes = (lk__gemm_workspace(c->dtype, m, n, k) + 63) / 64 * 64;
    char *workspace = lk_tape_scratch(t, bytes * (shared ? (size_t)threads : 1));
    if (!workspace) return false;
#pragma omp parallel for schedule(static) num_threads(threads) if (shared)
    for (int64_t i = 0; i < w.sums; i++) {
        char *own = workspace + (shared ? bytes * (size_t)lk__thread() : 0);
        Mat to = matrix_at(c, &w, 0, i * terms);
        for (int64_t j = i * terms; j < (i + 1) * terms; j++) {
            Mat left = operand(t, matrix_at(a, &w, 1, j));
            left.cols = k;
            lk__gemm(to, left, operand(t, matrix_at(b, &w, 2, j)), add || j > i * terms, own);
        }
    }
    return true;
}

/* Whether b is a single matrix. Then y = a b is one product of all rows of a (…, m, k). */
static bool is_folded(const Tensor *b) { return b->ndim <= 2; }

/* Returns y as a batch of matrices, with the dimensions that 1-D operands left out. */
static Tensor result_matrix(const Tensor *y, const Tensor *a, const Tensor *b)
{
    Tensor z = { .data = y->data, .storage = y->storage, .dtype = y->dtype };
    z.ndim = y->ndim + (a->ndim == 1) + (b->ndim == 1);
    for (int d = 0; d < z.ndim - 2; d++) z.shape[d] = y->shape[d];
    z.shape[z.ndim - 2] = a->ndim == 1 ? 1 : a->shape[a->ndim - 2];
    z.shape[z.ndim - 1] = b->ndim == 1 ? 1 : b->shape[b->ndim - 1];
    for (int64_t d = z.ndim - 1, step = 1; d >= 0; step *= z.shape[d--]) z.stride[d] = step;
    return z;
}

/* y_ij = Σ_k a_ik b_kj, so da_ik += Σ_j dy_ij b_kj = (dy bᵀ)_ik and db_kj += Σ_i a_ik dy_ij = (aᵀ
 * dy)_kj: one product for all rows of a, or one for each matrix, summed where a or b was
 * broadcast. */
static void matmul_backward(Tape *t, Node *node)
{
    Tensor *a = node->in[0], *b = node->in[1];
    Tensor a_row = with_matrix(a, true), b_col = with_matrix(b, false);
    bool fresh;
    if (is_folded(b)) {
        int64_t m = leading_rows(a), k = b_col.shape[0], n = b_col.shape[1];
        Mat dy = lk__mat(a->dtype, m, n, node->grad->data);
        Tensor *da = lk_grad_in_fresh(t, node, 0, &fresh);
        if (da &&
            !gemm(t, lk__mat(a->dtype, m, k, da->data), dy, lk__mat_T(lk__matrix(&b_col)), !fresh))
            return;
        Tensor *db = lk_grad_in_fresh(t, node, 1, &fresh);
        if (!db) return;
        Mat a_mat = as_matrix(t, a);
        if (a_mat.data) gemm(t, lk__mat(a->dtype, k, n, db->data), lk__mat_T(a_mat), dy, !fresh);
        return;
    }
    Tensor dy = result_matrix(node->grad, a, b), x = over_batch(&a_row, &dy),
           w = over_batch(&b_col, &dy), to;
    Tensor x_flipped = flipped(x), w_flipped = flipped(w);
    Tensor *da = lk_grad_in_fresh(t, node, 0, &fresh);
    if (da) {
        to = with_matrix(da, true);
        to = over_batch(&to, &dy);
        if (!batched(t, &dy, &w_flipped, &to, !fresh)) return;
    }
    Tensor *db = lk_grad_in_fresh(t, node, 1, &fresh);
    if (!db) return;
    to = over_batch(db, &dy);
    batched(t, &x_flipped, &dy, &to, !fresh);
}

/* The facts that decide the name of a product. */
typedef struct MatmulKind {
    int a_ndim, b_ndim;
    bool flipped; /* one matrix on the left of many: PyTorch computes the transposed product */
} MatmulKind;

/* PyTorch computes each kind differently, and names it after its last step. */
static const char *matmul_name(const Node *n)
{
    const MatmulKind *kind = n->state;
    if (kind->flipped) return "CloneBackward0";
    if (kind->a_ndim > 2 || kind->b_ndim > 2) return "UnsafeViewBackward0";
    if (kind->a_ndim == 1) return kind->b_ndim == 1 ? "DotBackward0" : "SqueezeBackward3";
    return kind->b_ndim == 1 ? "MvBackward0" : "MmBackward0";
}

static const NamedOp MATMUL = { { NULL, matmul_backward, { LK_IN1, LK_IN0 } }, matmul_name };

static MatmulKind kind_of(const Tensor *a, const Tensor *b)
{
    /* when 3-D b is the transpose of a contiguous tensor, PyTorch does not transpose again */
    bool transposed =
        b->ndim == 3 && b->stride[2] != 1 && b->stride[0] == b->shape[1] * b->shape[2];
    return (MatmulKind){ a->ndim, b->ndim, a->ndim == 2 && b->ndim > 2 && !transposed };
}

/* Checks the sizes and returns the uninitialised result of a @ b. */
static Tensor *matmul_result(Tape *t, const Tensor *a, const Tensor *b)
{
    char sa[LK_SHAPE_TEXT], sb[LK_SHAPE_TEXT];
    if (a->ndim < 1 || b->ndim < 1)
        return lk_fail(t, LK_ESHAPE, "lk_matmul: %s @ %s: both operands need at least 1 dimension",
                       lk_shape_text(a, sa), lk_shape_text(b, sb));
    int64_t k = a->shape[a->ndim - 1], rows = b->shape[b->ndim > 1 ? b->ndim - 2 : 0],
            shape[LK_MAX_DIMS];
    if (k != rows)
        return lk_fail(t, LK_ESHAPE, "lk_matmul: %s @ %s: inner sizes %lld and %lld differ",
                       lk_shape_text(a, sa), lk_shape_text(b, sb), (long long)k, (long long)rows);
    int ndim;
    Tensor a_batch = *a, b_batch = *b;
    a_batch.ndim = a->ndim > 2 ? a->ndim - 2 : 0, b_batch.ndim = b->ndim > 2 ? b->ndim - 2 : 0;
    if (!lk_broadcast_shape(&a_batch, &b_batch, &ndim, shape))
        return lk_fail(
            t, LK_ESHAPE,
            "lk_matmul: %s @ %s: all dimensions but the last two must broadcast: aligned "
            "at the last of them, sizes must be equal or 1",
            lk_shape_text(a, sa), lk_shape_text(b, sb));
    if (a->ndim > 1) shape[ndim++] = a->shape[a->ndim - 2];
    if (b->ndim > 1) shape[ndim++] = b->shape[b->ndim - 1];
    return lk_empty(t, a->dtype, ndim, shape);
}

Tensor *lk_matmul(Tape *t, Tensor *a, Tensor *b)
{
    if (!check_product(t, "lk_matmul", LK_INPUTS(a, b))) return NULL;
    Tensor *y = matmul_result(t, a, b);
    if (!y) return NULL;
    Tensor a_row = with_matrix(a, true), b_col = with_matrix(b, false);
    if (is_folded(b)) {
        Mat a_mat = as_matrix(t, a),
            y_mat = lk__mat(y->dtype, a_mat.rows, b_col.shape[1], y->data);
        if (!a_mat.data || !gemm(t, y_mat, a_mat, lk__matrix(&b_col), false)) return NULL;
    } else {
        Tensor z = result_matrix(y, a, b), x = over_batch(&a_row, &z), w = over_batch(&b_col, &z);
        if (!batched(t, &x, &w, &z, false)) return NULL;
    }
    MatmulKind kind = kind_of(a, b);
    return lk_record(t, &MATMUL.op, y, LK_INPUTS(a, b), &kind, sizeof kind);
}

/* ---- y = x Wᵀ + b --------------------------------------------------------------------------- */

/* y_io = Σ_k x_ik W_ok + b_o, so dx += dy W, dW += dyᵀ x, db_o += Σ_i dy_io. */
static void linear_backward(Tape *t, Node *node)
{
    Tensor *x = node->in[0], *w = node->in[1];
    int64_t m = leading_rows(x), in = w->shape[1], out = w->shape[0];
    Mat dy = lk__mat(x->dtype, m, out, node->grad->data);
    bool fresh;
    Tensor *dx = lk_grad_in_fresh(t, node, 0, &fresh);
    if (dx && !gemm(t, lk__mat(x->dtype, m, in, dx->data), dy, lk__matrix(w), !fresh)) return;
    Tensor *dw = lk_grad_in_fresh(t, node, 1, &fresh);
    if (dw) {
        Mat x_mat = as_matrix(t, x);
        if (!x_mat.data || !gemm(t, lk__matrix(dw), lk__mat_T(dy), x_mat, !fresh)) return;
    }
    Tensor *db = lk_grad_in(t, node, 2);
    if (!db) return;
    Tensor spread = lk__spread(db, node->grad->ndim, node->grad->shape);
    lk_accumulate(t, &spread, node->grad);
}

/* The name depends on this, on the number of dimensions and on whether there is a bias. */
typedef struct LinearState {
    bool contiguous; /* whether x is contiguous */
} LinearState;

/* PyTorch computes the product differently for each number of dimensions, and names it after its
 * last step. */
static const char *name_of_linear(const Node *n, LinearState state)
{
    const bool has_bias = n->in[2];
    switch (n->out->ndim) {
    case 1: return has_bias ? "AddBackward0" : "SqueezeBackward3";
    case 2: return has_bias ? "AddmmBackward0" : "MmBackward0";
    case 3: /* computed as 2-D, and viewed back */
        if (has_bias && state.contiguous) return "ViewBackward0";
    }
    return has_bias ? "AddBackward0" : "UnsafeViewBackward0";
}

static const char *linear_name(const Node *n)
{
    return name_of_linear(n, *(const LinearState *)n->state);
}

static const NamedOp LINEAR = { { NULL, linear_backward, { LK_IN1, LK_IN0 } }, linear_name };

/* Checks all shapes and returns the unrecorded y = x Wᵀ + b. */
static Tensor *linear_forward(Tape *t, const char *function, Tensor *x, Tensor *weight,
                              Tensor *bias)
{
    char sx[LK_SHAPE_TEXT], sw[LK_SHAPE_TEXT], sb[LK_SHAPE_TEXT];
    if (weight->ndim != 2 || x->ndim < 1 || x->shape[x->ndim - 1] != weight->shape[1])
        return lk_fail(
            t, LK_ESHAPE,
            "%s: x %s and weight %s: the last size of x must be the weight's in_features%s",
            function, lk_shape_text(x, sx), lk_shape_text(weight, sw),
            weight->ndim == 2 ? "" : ", and the weight 2-D");
    if (bias && (bias->ndim != 1 || bias->shape[0] != weight->shape[0]))
        return lk_fail(
            t, LK_ESHAPE,
            "%s: bias %s does not fit weight %s: it needs one value for each of %lld outputs",
            function, lk_shape_text(bias, sb), lk_shape_text(weight, sw),
            (long long)weight->shape[0]);
    Tensor *y = result(t, x, weight->shape[0]);
    Mat x_mat = as_matrix(t, x);
    if (!y || !x_mat.data) return NULL;
    if (bias) lk__copy_fitting(y, bias); /* the product is added to the bias, as addmm does */
    Mat y_mat = lk__mat(y->dtype, x_mat.rows, weight->shape[0], y->data);
    return gemm(t, y_mat, x_mat, lk__mat_T(lk__matrix(weight)), bias != NULL) ? y : NULL;
}

Tensor *lk_linear(Tape *t, Tensor *x, Tensor *weight, Tensor *bias)
{
    if (!check_product(t, "lk_linear", bias ? 3 : 2, (Tensor *[]){ x, weight, bias })) return NULL;
    if (!lk_check_optional(t, "lk_linear", "bias", bias)) return NULL;
    Tensor *y = linear_forward(t, "lk_linear", x, weight, bias);
    if (!y) return NULL;
    LinearState state = { lk_is_contiguous(x) };
    return lk_record(t, &LINEAR.op, y, LK_INPUTS(x, weight, bias), &state, sizeof state);
}

/* ---- y = x Wᵀ + b + s (x Aᵀ) Bᵀ ------------------------------------------------------------- */

typedef struct LowRankState {
    LinearState linear;
    LoRAForm form;
    double scale;
    void *u; /* s x Aᵀ (m, r), from the forward */
} LowRankState;

/* y = x Wᵀ + b + u Bᵀ with u = s x Aᵀ. The gradient of u is dy B. So with v = s dy B, in addition
 * to linear_backward: dx += v A, dA += vᵀ x, dB += dyᵀ u. */
static void lora_backward(Tape *t, Node *node)
{
    linear_backward(t, node); /* x, W and b */
    const LowRankState *state = node->state;
    Tensor *x = node->in[0], *A = node->in[3], *B = node->in[4];
    int64_t m = leading_rows(x), in = A->shape[1], out = B->shape[0], r = A->shape[0];
    DType dtype = x->dtype;
    Mat dy = lk__mat(dtype, m, out, node->grad->data), u = lk__mat(dtype, m, r, state->u);
    bool fresh_a, fresh_b;
    Tensor *dx = lk_grad_in(t, node, 0);
    Tensor *dA = lk_grad_in_fresh(t, node, 3, &fresh_a),
           *dB = lk_grad_in_fresh(t, node, 4, &fresh_b);
    Mat x_mat = as_matrix(t, x);
    if (dB && !gemm(t, lk__matrix(dB), lk__mat_T(dy), u, !fresh_b)) return;
    if ((!dx && !dA) || !x_mat.data) return;

    ArenaMark mark;
    Mat v =
        lk__mat(dtype, m, r, lk__tape_temporary(t, (size_t)(m * r) * lk_dtype_size(dtype), &mark));
    if (v.data && gemm(t, v, dy, lk__matrix(B), false)) {
        LK_REAL(dtype, scale, m * r, v.data, state->scale);
        if (dx) gemm(t, lk__mat(dtype, m, in, dx->data), v, lk__matrix(A), true);
        if (dA) gemm(t, lk__matrix(dA), lk__mat_T(v), x_mat, !fresh_a);
    }
    lk__tape_release_temporary(t, mark);
}

static const char *lora_name(const Node *n)
{
    const LowRankState *state = n->state;
    return state->form == LK_LORA_ADDED ? "AddBackward0" : name_of_linear(n, state->linear);
}

static const NamedOp LORA = {
    { NULL, lora_backward, { LK_IN1 | LK_IN3 | LK_IN4, LK_IN0, 0, LK_IN0 | LK_IN4, 0 } },
    lora_name,
};

Tensor *lk_linear_lora(Tape *t, Tensor *x, Tensor *weight, Tensor *bias, Tensor *A, Tensor *B,
                       double scale, LoRAForm form)
{
    char sa[LK_SHAPE_TEXT], sb[LK_SHAPE_TEXT], sw[LK_SHAPE_TEXT];
    if (!check_product(t, "lk_linear_lora", bias ? 5 : 4, (Tensor *[]){ x, weight, A, B, bias }))
        return NULL;
    if (!lk_check_optional(t, "lk_linear_lora", "bias", bias)) return NULL;
    if (A->ndim != 2 || B->ndim != 2 || weight->ndim != 2 || A->shape[0] != B->shape[1] ||
        A->shape[1] != weight->shape[1] || B->shape[0] != weight->shape[0])
        return lk_fail(t, LK_ESHAPE,
                       "lk_linear_lora: A %s and B %s do not fit weight %s: A is (r, in), B "
                       "(out, r), the weight (out, in)",
                       lk_shape_text(A, sa), lk_shape_text(B, sb), lk_shape_text(weight, sw));
    Tensor *y = linear_forward(t, "lk_linear_lora", x, weight, bias);
    if (!y) return NULL;
    int64_t m = leading_rows(x), r = A->shape[0];
    ArenaMark mark;
    Tensor *inputs[] = { x, weight, bias, A, B };
    bool keeps = lk_records(t, 5, inputs);
    Mat x_mat = as_matrix(t, x);
    LowRankState state = { .linear = { lk_is_contiguous(x) }, .form = form, .scale = scale };
    if (x_mat.data)
        state.u = lk__tape_temporary(t, (size_t)(m * r) * lk_dtype_size(x->dtype), &mark);
    Mat u = lk__mat(x->dtype, m, r, state.u), y_mat = lk__mat(x->dtype, m, B->shape[0], y->data);
    if (!u.data || !gemm(t, u, x_mat, lk__mat_T(lk__matrix(A)), false)) return NULL;
    LK_REAL(x->dtype, scale, m * r, u.data, scale);
    if (!gemm(t, y_mat, u, lk__mat_T(lk__matrix(B)), true)) return NULL;
    if (!keeps) lk__tape_release_temporary(t, mark);
    return lk_record(t, &LORA.op, y, 5, inputs, &state, sizeof state);
}
