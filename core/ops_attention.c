/* ops_attention.c - scaled-dot-product attention of many heads (Vaswani et al. 2017, equation 1),
 * fused: of the S × S2 probabilities, only a block of rows of one head exists at a time. Backward
 * computes the block again from q, k and two numbers per row (as Dao et al. 2022 do). lk__gemm
 * computes the products. The rows in between are vector code.
 *
 * A head is computed in blocks whose borders depend only on sizes, so the bits are the same for
 * any number of threads. */
#include <float.h>
#include <string.h>

#include "core/kernels/dropout.h"
#include "core/kernels/gemm.h"
#include "core/kernels/pieces.h"
#include "core/internal.h"
#include "core/ops.h"

/* The facts that backward needs besides its inputs. */
typedef struct Attention {
    DType dtype;
    int64_t batch, heads, rows, columns, d; /* rows: queries, columns: keys */
    int64_t group;                          /* heads of q for each head of k and v */
    double scale;                           /* 1 / √d */
    bool causal;
    int64_t position;    /* of the first query among the keys */
    DropoutMask dropout; /* p = 0: none */
    /* for each row of each head, the maximum and 1 / Σ e^(score - maximum); NULL when there is no
     * backward that needs them */
    void *sums;
} Attention;

/* One block of rows. Its rows of scores or probabilities lie `step` elements apart. */
typedef struct Block {
    const Attention *a;
    int64_t first, rows, columns; /* no other column has a share in these rows */
    int64_t step;
    const bool *mask;    /* of the columns, or NULL */
    const Tensor *bias;  /* attn_mask as (B, heads, S, S2), floats or bool, or NULL */
    const void *bias_at; /* its row `first` */
    void *dbias;         /* the same row of its gradient, or NULL */
    int64_t dbias_row, dbias_column;
    const uint8_t *keep; /* of dropout, a->columns a row, or NULL */
    void *sums;
} Block;

enum { Q, K, V, MASK, BIAS, INPUTS };

#define LK_REAL_SOURCE "core/ops_attention_real.h"
#include "core/real.h"

/* ---- blocks and scratch --------------------------------------------------------------------- */

enum { BLOCK_BYTES = 256 << 10, LINE = 64 }; /* of scores: a part of the L2 cache */

static size_t lines(size_t bytes) { return (bytes + LINE - 1) / LINE * LINE; }

/* Returns the step from one row of scores to the next. Rows begin on a cache line. They do not lie
 * a power of two apart, which would put a column into one cache set. */
static int64_t row_step(const Attention *a) { return (a->columns + 15) / 16 * 16 + 16; }

/* The number of blocks of rows, nearly equal. */
static int64_t blocks_of(const Attention *a)
{
    int64_t most = BLOCK_BYTES / (row_step(a) * (int64_t)lk_dtype_size(a->dtype));
    if (most < 16) most = 16;
    return (a->rows + most - 1) / most;
}

static int64_t block_rows(const Attention *a) { return a->rows / blocks_of(a) + 1; }

/* The memory of one thread: two blocks of scores, the mask of dropout, a factor for each row, and
 * the workspace of lk__gemm. */
typedef struct Scratch {
    void *scores, *grads, *factors, *workspace;
    uint8_t *keep;
} Scratch;

static size_t gemm_bytes(const Attention *a)
{
    const int64_t rows = block_rows(a), n[][3] = { { rows, a->columns, a->d },
                                                   { rows, a->d, a->columns },
                                                   { a->columns, a->d, rows } };
    size_t most = 1;
    for (int i = 0; i < 3; i++) {
        size_t bytes = lk__gemm_workspace(a->dtype, n[i][0], n[i][1], n[i][2]);
        if (bytes > most) most = bytes;
    }
    return most;
}

/* Cuts the piece of thread number i out of a block; returns the bytes of a piece. */
static size_t scratch_of(const Attention *a, char *block, int i, Scratch *s)
{
    size_t size = lk_dtype_size(a->dtype), rows = (size_t)block_rows(a),
           cells = rows * (size_t)row_step(a);
    size_t part[] = { lines(cells * size), lines(cells * size), lines(rows * size), lines(cells),
                      lines(gemm_bytes(a)) };
    size_t total = part[0] + part[1] + part[2] + part[3] + part[4];
    if (!block) return total;
    char *at = block + (size_t)i * total;
    s->scores = at;
    s->grads = at += part[0];
    s->factors = at += part[1];
    s->keep = (uint8_t *)(at += part[2]);
    s->workspace = at + part[3];
    return total;
}

/* ---- one head ------------------------------------------------------------------------------- */

/* The head's matrix (rows, d) in a tensor (batch, …, heads d), from row `first`: in q or y, and in
 * k or v, where `group` heads share one. */
static Mat part_of(const Attention *a, const Tensor *x, int64_t sentence, int64_t part,
                   int64_t first, int64_t rows)
{
    int64_t at = sentence * x->stride[0] + first * x->stride[1] + part * a->d * x->stride[2];
    void *data = (char *)x->data + at * (int64_t)lk_dtype_size(a->dtype);
    return lk__mat_strided(a->dtype, rows, a->d, data, x->stride[1], x->stride[2]);
}

static Mat head_of(const Attention *a, const Tensor *x, int64_t head, int64_t first, int64_t rows)
{
    return part_of(a, x, head / a->heads, head % a->heads, first, rows);
}

static Mat keys_of(const Attention *a, const Tensor *x, int64_t head, int64_t rows)
{
    return part_of(a, x, head / a->heads, head % a->heads / a->group, 0, rows);
}

/* The row `first` of the head in x (B, heads, S, S2). */
static void *row_of(const Attention *a, const Tensor *x, int64_t head, int64_t first)
{
    int64_t at =
        head / a->heads * x->stride[0] + head % a->heads * x->stride[1] + first * x->stride[2];
    return (char *)x->data + at * (int64_t)lk_dtype_size(x->dtype);
}

/* Returns the matrix of the scores, the probabilities or their gradients of a block. */
static Mat scores_of(const Block *b, void *data)
{
    return lk__mat_strided(b->a->dtype, b->rows, b->columns, data, b->step, 1);
}

/* Returns the number of columns to compute. Columns behind the last one that is not masked have
 * probability 0 and are left out, so padding costs nothing. But where every column of a row may be
 * masked, all of them count alike. */
static int64_t used_columns(const Attention *a, const bool *mask, const Tensor *bias, int64_t end)
{
    int64_t n = a->columns;
    if (bias) return n;
    if (!mask) return a->causal ? smaller(a->position + end, n) : n;
    while (!a->causal && n > 0 && !mask[n - 1]) n--;
    return n ? n : a->columns;
}

/* Makes block i of a head: its borders, its products q kᵀ and its mask of dropout. */
static Block block_at(const Attention *a, Tensor *const *in, int64_t head, int64_t i,
                      const Scratch *s)
{
    const Tensor *q = in[Q], *k = in[K], *mask = in[MASK], *bias = in[BIAS];
    int64_t n = blocks_of(a), first = a->rows * i / n, rows = a->rows * (i + 1) / n - first;
    const bool *masked = mask ? (const bool *)mask->data + head / a->heads * a->columns : NULL;
    Block b = { .a = a, .first = first, .rows = rows, .step = row_step(a), .mask = masked };
    b.columns = used_columns(a, masked, bias, first + rows);
    b.bias = bias;
    if (bias) b.bias_at = row_of(a, bias, head, first);
    if (a->sums)
        b.sums = (char *)a->sums + (head * a->rows + first) * 2 * (int64_t)lk_dtype_size(a->dtype);
    lk__gemm(scores_of(&b, s->scores), head_of(a, q, head, first, rows),
             lk__mat_T(keys_of(a, k, head, b.columns)), false, s->workspace);
    if (a->dropout.p > 0) {
        lk__dropout_keep(&a->dropout, (head * a->rows + first) * a->columns, rows * a->columns,
                         s->keep);
        b.keep = s->keep;
    }
    return b;
}

static void forward_head(const Attention *a, Tensor *const *in, int64_t head, Tensor *y,
                         const Scratch *s)
{
    for (int64_t i = 0; i < blocks_of(a); i++) {
        Block b = block_at(a, in, head, i, s);
        LK_REAL(a->dtype, attend, &b, s->scores, s->factors);
        Mat to = head_of(a, y, head, b.first, b.rows);
        lk__gemm(to, scores_of(&b, s->scores), keys_of(a, in[V], head, b.columns), false,
                 s->workspace);
        LK_REAL(a->dtype, multiply_rows, b.rows, a->d, to.data, to.row, s->factors);
    }
}

static void clear(Mat x)
{
    const size_t size = lk_dtype_size(x.dtype);
    for (int64_t r = 0; r < x.rows; r++)
        memset((char *)x.data + (size_t)(r * x.row) * size, 0, (size_t)x.cols * size);
}

/* The gradients of q, k, v and attn_mask; NULL where none is wanted. */
static void backward_head(const Attention *a, Tensor *const *in, int64_t head, const Tensor *dy,
                          Tensor *const grad[INPUTS], const Scratch *s)
{
    for (int64_t i = 0; i < blocks_of(a); i++) {
        Block b = block_at(a, in, head, i, s);
        Mat p = scores_of(&b, s->scores), ds = scores_of(&b, s->grads),
            dy_mat = head_of(a, dy, head, b.first, b.rows);
        bool scores = grad[Q] || grad[K] || grad[BIAS];
        if (grad[BIAS]) {
            b.dbias = row_of(a, grad[BIAS], head, b.first);
            b.dbias_row = grad[BIAS]->stride[2];
            b.dbias_column = grad[BIAS]->stride[3];
        }
        if (scores)
            lk__gemm(ds, dy_mat, lk__mat_T(keys_of(a, in[V], head, b.columns)), false,
                     s->workspace);
        LK_REAL(a->dtype, differentiate, &b, s->scores, scores ? s->grads : NULL);
        if (grad[Q])
            lk__gemm(head_of(a, grad[Q], head, b.first, b.rows), ds,
                     keys_of(a, in[K], head, b.columns), true, s->workspace);
        if (grad[K])
            lk__gemm(keys_of(a, grad[K], head, b.columns), lk__mat_T(ds),
                     head_of(a, in[Q], head, b.first, b.rows), true, s->workspace);
        if (grad[V])
            lk__gemm(keys_of(a, grad[V], head, b.columns), lk__mat_T(p), dy_mat, true,
                     s->workspace);
    }
}

/* The heads of q that share head number `shared` of k and v. */
static void backward_group(const Attention *a, Tensor *const *in, int64_t shared, const Tensor *dy,
                           Tensor *const grad[INPUTS], const bool fresh[INPUTS], const Scratch *s)
{
    const int64_t first = shared * a->group;
    for (int64_t head = first; head < first + a->group; head++) {
        if (grad[Q] && fresh[Q]) clear(head_of(a, grad[Q], head, 0, a->rows));
        for (int i = K; i <= V && head == first; i++)
            if (grad[i] && fresh[i]) clear(keys_of(a, grad[i], head, a->columns));
        backward_head(a, in, head, dy, grad, s);
    }
}

/* ---- all heads ------------------------------------------------------------------------------ */

/* When there are enough heads, they are shared out to the threads, unless they add to one place:
 * `apart` is false. Otherwise all threads compute each product together. */
typedef struct Plan {
    int threads;
    bool shared;
    char *scratch; /* NULL: no memory */
} Plan;

static Plan plan_of(Tape *t, const Attention *a, bool apart)
{
    Plan plan = { .threads = lk_get_num_threads() };
    int64_t heads = a->batch * a->heads;
    plan.shared = plan.threads > 1 && heads / a->group >= plan.threads && apart &&
                  (double)heads * (double)(a->rows * a->columns) * (double)a->d > 1 << 16;
    if (!plan.shared) plan.threads = 1;
    plan.scratch = lk_tape_scratch(t, (size_t)plan.threads * scratch_of(a, NULL, 0, NULL));
    return plan;
}

/* attn_mask as (B, heads, S, S2), with stride 0 where it is broadcast. */
static Tensor spread_bias(const Attention *a, const Tensor *bias)
{
    return lk__spread(bias, 4, (int64_t[]){ a->batch, a->heads, a->rows, a->columns });
}

/* With s = scale q kᵀ + bias, P = softmax(s), N the noise of dropout and y = (P ∘ N) v: dv +=
 * (P ∘ N)ᵀ dy, dP = (dy vᵀ) ∘ N, ds = P ∘ (dP - Σ_j P dP) where s is not masked, dbias += ds, dq
 * += scale ds k, dk += scale dsᵀ q. */
static void attention_backward(Tape *t, Node *n)
{
    const Attention *a = n->state;
    Tensor *in[INPUTS] = { NULL }, *grad[INPUTS] = { NULL }, bias, dbias;
    bool fresh[INPUTS];
    for (int i = 0; i < n->inputs; i++) {
        in[i] = i < MASK ? n->in[i] : lk_packed(t, n->in[i]);
        if (n->in[i] && !in[i]) return;
        grad[i] =
            a->batch && i < MASK ? lk_grad_in_fresh(t, n, i, &fresh[i]) : lk_grad_in(t, n, i);
    }
    if (!a->batch) return;
    if (in[BIAS]) bias = spread_bias(a, in[BIAS]), in[BIAS] = &bias;
    if (grad[BIAS]) dbias = spread_bias(a, grad[BIAS]), grad[BIAS] = &dbias;
    Plan plan = plan_of(t, a, !grad[BIAS]);
    if (!plan.scratch || lk_tape_error(t)->code != LK_OK) return;
#pragma omp parallel for schedule(static) num_threads(plan.threads) if (plan.shared)
    for (int64_t shared = 0; shared < a->batch * a->heads / a->group; shared++) {
        Scratch s;
        scratch_of(a, plan.scratch, plan.shared ? lk__thread() : 0, &s);
        backward_group(a, in, shared, n->grad, grad, fresh, &s);
    }
}

enum { SCORES = LK_IN0 | LK_IN1 | LK_IN3 | LK_IN4 };
static const Op ATTENTION = { "ScaledDotProductFlashAttentionForCpuBackward0",
                              attention_backward,
                              { SCORES | LK_IN2, SCORES | LK_IN2, SCORES, 0, SCORES | LK_IN2 } };

/* Whether attn_mask, if there is one, can be added to the scores. */
static bool check_bias(Tape *t, const Attention *a, const Tensor *bias)
{
    char text[LK_SHAPE_TEXT], wanted[LK_SHAPE_TEXT];
    Tensor scores = { .ndim = 4, .shape = { a->batch, a->heads, a->rows, a->columns } };
    int64_t shape[LK_MAX_DIMS];
    int ndim;
    if (!lk_check_optional(t, "lk_attention", "attn_mask", bias)) return false;
    if (!bias) return true;
    if (bias->dtype != LK_BOOL && bias->dtype != a->dtype)
        return lk_fail(t, LK_EDTYPE, "lk_attention: attn_mask must be bool or %s, not %s",
                       lk_dtype_name(a->dtype), lk_dtype_name(bias->dtype));
    bool fits = lk_broadcast_shape(bias, &scores, &ndim, shape) && ndim == 4;
    for (int d = 0; fits && d < 4; d++) fits = shape[d] == scores.shape[d];
    return fits ||
           lk_fail(t, LK_ESHAPE,
                   "lk_attention: attn_mask %s does not broadcast to the scores (B, heads, "
                   "S, S2) = %s",
                   lk_shape_text(bias, text), lk_shape_text(&scores, wanted));
}

static bool check_shapes(Tape *t, const Tensor *q, const Tensor *k, const Tensor *v,
                         const Tensor *mask, int64_t heads, int64_t kv_heads)
{
    char sq[LK_SHAPE_TEXT], sk[LK_SHAPE_TEXT], sv[LK_SHAPE_TEXT];
    if (q->ndim != 3 || k->ndim != 3 || !lk_same_shape(k, v) || q->shape[0] != k->shape[0] ||
        (kv_heads == heads && q->shape[2] != k->shape[2]))
        lk_fail(
            t, LK_ESHAPE,
            "lk_attention: q %s, k %s and v %s: they must be (B, S, E), (B, S2, E) and (B, S2, E)",
            lk_shape_text(q, sq), lk_shape_text(k, sk), lk_shape_text(v, sv));
    else if (heads < 1 || q->shape[2] % heads != 0)
        lk_fail(t, LK_EVALUE,
                "lk_attention: the last size of q %s is not a multiple of %lld heads",
                lk_shape_text(q, sq), (long long)heads);
    else if (kv_heads < 1 || heads % kv_heads != 0 ||
             k->shape[2] != q->shape[2] / heads * kv_heads)
        lk_fail(t, LK_EVALUE,
                "lk_attention: %lld heads of q %s and %lld of k %s: the second must divide the "
                "first, and both must be equally wide",
                (long long)heads, lk_shape_text(q, sq), (long long)kv_heads, lk_shape_text(k, sk));
    else if (mask && mask->dtype != LK_BOOL)
        lk_fail(t, LK_EDTYPE,
                "lk_attention: the mask must be bool, not %s; lk_ne(t, mask, zero) makes one",
                lk_dtype_name(mask->dtype));
    else if (mask &&
             (mask->ndim != 2 || mask->shape[0] != k->shape[0] || mask->shape[1] != k->shape[1]))
        lk_fail(t, LK_ESHAPE,
                "lk_attention: the mask %s must have a value for each key: k %s is (B, S2, E), so "
                "(B, S2)",
                lk_shape_text(mask, sq), lk_shape_text(k, sk));
    else if (k->shape[1] > (int64_t)1
                               << 40) /* a repeated key; products below this do not overflow */
        lk_fail(t, LK_EMEMORY, "lk_attention: a row of scores for k %s is larger than any memory",
                lk_shape_text(k, sk));
    else return true;
    return false;
}

Tensor *lk_attention_with(Tape *t, Tensor *q, Tensor *k, Tensor *v, Tensor *mask, int64_t heads,
                          AttentionOptions options)
{
    const int64_t kv_heads = options.kv_heads ? options.kv_heads : heads;
    if (!lk_check_floating(t, "lk_attention", LK_INPUTS(q, k, v))) return NULL;
    if (!lk_check_optional(t, "lk_attention", "mask", mask)) return NULL;
    if (!check_shapes(t, q, k, v, mask, heads, kv_heads)) return NULL;
    Attention a = { .dtype = q->dtype,
                    .batch = q->shape[0],
                    .heads = heads,
                    .rows = q->shape[1],
                    .columns = k->shape[1],
                    .d = q->shape[2] / heads,
                    .group = heads / kv_heads,
                    .causal = options.causal,
                    .position = smaller(options.position, k->shape[1]) };
    a.scale = 1 / sqrt((double)a.d);
    if (options.position < 0)
        return lk_fail(t, LK_EVALUE,
                       "lk_attention: the position %lld of the first query is negative",
                       (long long)options.position);
    if (!check_bias(t, &a, options.attn_mask)) return NULL;
    if (!lk__dropout_mask(t, "lk_attention", options.dropout, &a.dropout)) return NULL;
    Tensor *const given[INPUTS] = { q, k, v, mask, options.attn_mask };
    Tensor *in[INPUTS], bias, *y = lk_empty(t, q->dtype, 3, q->shape);
    for (int i = 0; i < INPUTS; i++) {
        in[i] = i < MASK ? given[i] : lk_packed(t, given[i]);
        if (given[i] && !in[i]) return NULL;
    }
    if (!y) return NULL;
    if (lk_numel(y) == 0 || a.columns == 0) { /* no key to attend to: zeros */
        lk_fill_(y, 0);
        a.batch = 0;
    }
    if (lk_records(t, INPUTS, given) && a.batch) {
        a.sums =
            lk_tape_alloc(t, (size_t)(a.batch * heads * a.rows) * 2 * lk_dtype_size(q->dtype));
        if (!a.sums) return NULL;
    }
    if (in[BIAS] && a.batch) bias = spread_bias(&a, in[BIAS]), in[BIAS] = &bias;
    if (a.batch) {
        Plan plan = plan_of(t, &a, true);
        if (!plan.scratch) return NULL;
#pragma omp parallel for schedule(static) num_threads(plan.threads) if (plan.shared)
        for (int64_t head = 0; head < a.batch * heads; head++) {
            Scratch s;
            scratch_of(&a, plan.scratch, plan.shared ? lk__thread() : 0, &s);
            forward_head(&a, in, head, y, &s);
        }
    }
    return lk_record(t, &ATTENTION, y, options.attn_mask ? INPUTS : BIAS, given, &a, sizeof a);
}

Tensor *lk_attention(Tape *t, Tensor *q, Tensor *k, Tensor *v, Tensor *mask, int64_t heads,
                     double dropout)
{
    return lk_attention_with(t, q, k, v, mask, heads, (AttentionOptions){ .dropout = dropout });
}
