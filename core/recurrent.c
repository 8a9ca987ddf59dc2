/* recurrent.c - LSTM (Hochreiter and Schmidhuber 1997, with a forget gate) and GRU (Cho et al.
 * 2014, in PyTorch's form) over a whole sequence, forward and backward over time.
 *
 * The product of W_ih with all steps is one product, and so are the gradients of x and of both
 * weights. Each step is left with a product with W_hh and the loop over the gates in
 * core/recurrent_real.h. The rows of a batch do not depend on each other, so they are cut into
 * slabs, and a thread goes through time with a slab. The borders depend only on sizes.
 *
 * Both kinds have four columns a hidden unit. Those of an LSTM are its gates i, f, g, o. Those of
 * a GRU are r, z, n and W_hn h + b_hn, and n = tanh(… + r (W_hn h + b_hn)). Its gradients lie as
 * dn, dr, dz, d(W_hn h), so those of W_hh are the last three.
 *
 * Where sequences have lengths, the products are still those of all rows. A row that is over keeps
 * its state, and the gradients of its gates are 0. */
#include "core/recurrent.h"

#include <string.h>

#include "core/internal.h"
#include "core/kernels/gemm.h"

enum { X, W_IH, W_HH, H0, C0, B_IH, B_HH, INPUTS = LK__RECURRENT_INPUTS };
enum { COLUMNS = 64 }; /* of a bias that are summed at a time */

/* Some rows of one step. Every pointer is to the first of these rows. */
typedef struct Step {
    int64_t at, rows, hidden;
    const int64_t *lengths; /* (rows), or NULL */
    void *gates;            /* (rows, 4 H) */
    const void *bias;       /* (4 H) */
    const void *side;       /* (rows, 3 H): h W_hhᵀ of a GRU */
    const void *h_before, *c_before;
    void *h, *c;
    const void *dy;         /* backward: what comes from the result, */
    void *dh, *dc, *dgates; /* from the step after, and goes to the sums */
} Step;

/* Whether the sequence of a row has ended before this step. */
static inline bool is_over(const Step *s, int64_t row)
{
    return s->lengths && s->lengths[row] <= s->at;
}

#define LK_REAL_SOURCE "core/recurrent_real.h"
#include "core/real.h"

/* ---- sizes and memory ----------------------------------------------------------------------- */

static int64_t gates_of(const Recurrent *a) { return a->gru ? 3 : 4; }
static size_t real_size(const Recurrent *a) { return lk_dtype_size(a->dtype); }
static size_t lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

/* Returns the number of slabs. A slab has at most MOST rows, and two slabs keep two threads busy.
 * Each slab reads all of W_hh in every step. Where that does not fit a cache of one core, all
 * threads compute the product of all rows together instead. */
static int64_t slabs_of(const Recurrent *a)
{
    enum { MOST = 16, NEAR_BYTES = 1 << 20 };
    const int64_t slabs = (a->batch + MOST - 1) / MOST;
    const double weight = 4.0 * (double)a->hidden * (double)a->hidden * (double)real_size(a);
    if (a->batch < MOST || weight > NEAR_BYTES) return 1;
    return slabs > 2 ? slabs : 2;
}

/* Whether the threads share the slabs: two of them must gain more than they lose by waiting for
 * each other, which takes long on a busy machine. */
static bool shares_slabs(const Recurrent *a)
{
    enum { WORTH_THREADS = 1 << 21 }; /* multiply-adds of all steps */
    const double products = (double)a->steps * (double)a->batch * (double)gates_of(a) *
                            (double)a->hidden * (double)a->hidden;
    return slabs_of(a) > 1 && products >= WORTH_THREADS;
}

static int64_t slab_rows(const Recurrent *a) { return a->batch / slabs_of(a) + 1; }

/* Returns the bytes of the largest workspace of the products of a slab, on a cache line. */
static size_t workspace_of(const Recurrent *a)
{
    const int64_t rows = slab_rows(a), n = a->hidden, wide = gates_of(a) * n;
    const size_t forward = lk__gemm_workspace(a->dtype, rows, wide, n),
                 backward = lk__gemm_workspace(a->dtype, rows, n, wide);
    return lines(forward > backward ? forward : backward);
}

/* Takes bytes from a block that is only counted while it is NULL. */
static char *take(char *block, size_t *at, size_t bytes)
{
    char *piece = block ? block + *at : NULL;
    *at += lines(bytes);
    return piece;
}

/* Row `first` of step s in (S, B, width). */
static char *row_at(const Recurrent *a, const void *x, int64_t s, int64_t first, int64_t width)
{
    return (char *)(uintptr_t)x + (size_t)((s * a->batch + first) * width) * real_size(a);
}

static Mat columns(Mat x, int64_t first, int64_t count)
{
    x.data = (char *)x.data + (size_t)(first * x.col) * lk_dtype_size(x.dtype);
    x.cols = count;
    return x;
}

static Mat rows(Mat x, int64_t first, int64_t count)
{
    return lk__mat_T(columns(lk__mat_T(x), first, count));
}

static Mat matrix(const Tensor *x)
{
    return lk__mat_strided(x->dtype, x->shape[0], x->shape[1], x->data, x->stride[0],
                           x->stride[1]);
}

/* The step that is computed as number k. */
static int64_t step_at(const Recurrent *a, int64_t k) { return a->reverse ? a->steps - 1 - k : k; }

static Step step_of(const Recurrent *a, int64_t s, int64_t first, int64_t count)
{
    return (Step){ .at = s,
                   .rows = count,
                   .hidden = a->hidden,
                   .lengths = a->lengths ? a->lengths + first : NULL,
                   .gates = row_at(a, a->gates, s, first, 4 * a->hidden) };
}

/* ---- forward -------------------------------------------------------------------------------- */

typedef struct Forward {
    const Recurrent *a;
    Mat weight;             /* W_hhᵀ (H, 4 H or 3 H) */
    const void *bias;       /* (4 H) */
    const void *h0, *c0;    /* zeros where none was given */
    bool begins_with_zeros; /* h0 is zeros: the first product is left out */
    char *h, *c;            /* (S, B, H); c may be NULL */
    char *c_n;              /* (B, H) */
} Forward;

static void forward_slab(const Forward *f, int64_t first, int64_t count, char *workspace,
                         char *side)
{
    const Recurrent *a = f->a;
    const int64_t n = a->hidden;
    const void *h_before = row_at(a, f->h0, 0, first, n), *c_before = NULL;
    if (f->c0) c_before = row_at(a, f->c0, 0, first, n);
    for (int64_t k = 0; k < a->steps; k++) {
        const int64_t s = step_at(a, k);
        Step step = step_of(a, s, first, count);
        step.bias = f->bias;
        step.side = side;
        step.h_before = h_before;
        step.c_before = c_before;
        step.h = row_at(a, f->h, s, first, n);
        /* Without a backward only the last c is kept. */
        if (!a->gru) step.c = row_at(a, a->cells ? a->cells : f->c_n, a->cells ? s : 0, first, n);
        Mat to = lk__mat(a->dtype, count, 4 * n, step.gates);
        if (a->gru) to = lk__mat(a->dtype, count, 3 * n, side);
        if (k > 0 || !f->begins_with_zeros)
            lk__gemm(to, lk__mat(a->dtype, count, n, (void *)(uintptr_t)h_before), f->weight,
                     !a->gru, workspace);
        else if (a->gru) memset(side, 0, (size_t)(count * 3 * n) * real_size(a));
        if (a->gru) LK_REAL(a->dtype, gru_step, &step);
        else LK_REAL(a->dtype, lstm_step, &step);
        h_before = step.h;
        c_before = step.c;
    }
    if (a->cells)
        memcpy(row_at(a, f->c_n, 0, first, n), c_before, (size_t)(count * n) * real_size(a));
}

/* Computes all steps into y, which has c_n behind the steps of an LSTM. */
static bool forward(Tape *t, Recurrent *a, Tensor *const in[INPUTS], bool keeps, Tensor *y)
{
    const int64_t n = a->hidden, all = a->steps * a->batch, slabs = slabs_of(a);
    const int threads = lk_get_num_threads();
    const size_t size = real_size(a), state = (size_t)(a->batch * n) * size,
                 gates = (size_t)(all * 4 * n) * size, own = workspace_of(a),
                 side = a->gru ? lines((size_t)(slab_rows(a) * 3 * n) * size) : 0;
    const bool shares = shares_slabs(a);
    const bool transposes = a->steps > 3; /* W_hhᵀ in memory is faster, if it is used often */
    if (keeps) {
        a->gates = lk_tape_alloc(t, gates);
        if (!a->gru) a->cells = lk_tape_alloc(t, (size_t)(all * n) * size);
        if (!a->gates || (!a->gru && !a->cells)) return false;
    }
    char *block = NULL, *zeros, *bias, *weight, *workspace, *product;
    for (int pass = 0; pass < 2; pass++) {
        size_t at = 0;
        zeros = take(block, &at, state);
        bias = take(block, &at, (size_t)(4 * n) * size);
        weight = take(block, &at, transposes ? (size_t)(gates_of(a) * n * n) * size : 0);
        workspace = take(block, &at, (size_t)threads * (own + side));
        product = take(block, &at, lk__gemm_workspace(a->dtype, all, gates_of(a) * n, a->inputs));
        if (!keeps) a->gates = take(block, &at, gates);
        if (!block && !(block = lk_tape_scratch(t, at))) return false;
    }
    memset(zeros, 0, state);
    LK_REAL(a->dtype, sum_biases, a->gru, n, in[B_IH] ? in[B_IH]->data : NULL,
            in[B_HH] ? in[B_HH]->data : NULL, bias);
    Forward f = { .a = a, .bias = bias, .h = y->data, .begins_with_zeros = !in[H0] };
    f.h0 = in[H0] ? in[H0]->data : zeros;
    if (!a->gru) f.c0 = in[C0] ? in[C0]->data : zeros;
    if (!a->gru) f.c_n = row_at(a, y->data, a->steps, 0, n);
    f.weight = lk__mat_T(matrix(in[W_HH]));
    if (transposes) {
        LK_REAL(a->dtype, transpose, gates_of(a) * n, n, in[W_HH]->data, in[W_HH]->stride[0],
                in[W_HH]->stride[1], weight);
        f.weight = lk__mat(a->dtype, n, gates_of(a) * n, weight);
    }
    Mat sums = columns(lk__mat(a->dtype, all, 4 * n, a->gates), 0, gates_of(a) * n);
    lk__gemm(sums, lk__mat(a->dtype, all, a->inputs, in[X]->data), lk__mat_T(matrix(in[W_IH])),
             false, product);
#pragma omp parallel for schedule(static) num_threads(threads) if (shares)
    for (int64_t i = 0; i < slabs; i++) {
        const int64_t first = a->batch * i / slabs, end = a->batch * (i + 1) / slabs;
        char *room = workspace + (size_t)(shares ? lk__thread() : 0) * (own + side);
        forward_slab(&f, first, end - first, room, room + own);
    }
    return true;
}

/* ---- backward ------------------------------------------------------------------------------- */

typedef struct Backward {
    const Recurrent *a;
    Mat weight;             /* W_hh */
    const void *h0, *c0;    /* zeros where none was given */
    const void *h;          /* (S, B, H): the result */
    const char *dy;         /* (S, B, H), and for an LSTM dc_n */
    char *dh, *dc, *dgates; /* (B, H) twice, (S, B, 4 H) */
    bool wants_h0;
} Backward;

/* The columns of the gradients that belong to h W_hhᵀ. */
static Mat columns_of_h(const Recurrent *a, Mat dgates)
{
    return columns(dgates, a->gru ? a->hidden : 0, gates_of(a) * a->hidden);
}

static void backward_slab(const Backward *b, int64_t first, int64_t count, char *workspace)
{
    const Recurrent *a = b->a;
    const int64_t n = a->hidden;
    char *dh = row_at(a, b->dh, 0, first, n), *dc = row_at(a, b->dc, 0, first, n);
    const size_t bytes = (size_t)(count * n) * real_size(a);
    memset(dh, 0, bytes);
    if (!a->gru) memcpy(dc, row_at(a, b->dy, a->steps, first, n), bytes);
    for (int64_t k = a->steps - 1; k >= 0; k--) {
        const int64_t s = step_at(a, k), before = k > 0 ? step_at(a, k - 1) : 0;
        Step step = step_of(a, s, first, count);
        step.dh = dh;
        step.dc = dc;
        step.dgates = row_at(a, b->dgates, s, first, 4 * n);
        step.dy = row_at(a, b->dy, s, first, n);
        if (a->gru) {
            step.h_before = row_at(a, k > 0 ? b->h : b->h0, before, first, n);
            LK_REAL(a->dtype, gru_step_backward, &step);
        } else {
            step.c = row_at(a, a->cells, s, first, n);
            step.c_before = row_at(a, k > 0 ? a->cells : b->c0, before, first, n);
            LK_REAL(a->dtype, lstm_step_backward, &step);
        }
        if (k > 0 || b->wants_h0)
            lk__gemm(lk__mat(a->dtype, count, n, dh),
                     columns_of_h(a, lk__mat(a->dtype, count, 4 * n, step.dgates)), b->weight,
                     a->gru || a->lengths, workspace);
    }
}

/* Sums the columns of x into the bias's gradient, which may be NULL. */
static void add_columns(Mat x, int64_t first, Tensor *bias)
{
    const int64_t n = x.cols, size = (int64_t)lk_dtype_size(x.dtype);
#pragma omp parallel for schedule(static) if (bias && x.rows * n > 1 << 15)
    for (int64_t j = 0; j < n; j += COLUMNS) {
        const int64_t count = n - j < COLUMNS ? n - j : COLUMNS;
        if (bias)
            LK_REAL(x.dtype, column_sums, x.rows, count, (char *)x.data + j * size, x.row,
                    (char *)bias->data + (first + j) * size);
    }
}

/* dW_hh += dgatesᵀ h, where h is the result one step earlier: one product for all steps but the
 * first, and one for h0. */
static void add_hidden_weight(const Recurrent *a, Mat to, Mat d, void *h, const Tensor *h0,
                              bool add, void *workspace)
{
    const int64_t most = (a->steps - 1) * a->batch, start = a->reverse ? most : 0;
    Mat earlier = lk__mat(a->dtype, a->steps * a->batch, a->hidden, h);
    lk__gemm(to, lk__mat_T(rows(d, a->reverse ? 0 : a->batch, most)),
             rows(earlier, a->reverse ? a->batch : 0, most), add, workspace);
    if (h0)
        lk__gemm(to, lk__mat_T(rows(d, start, a->batch)),
                 lk__mat(a->dtype, a->batch, a->hidden, h0->data), true, workspace);
}

/* A part of the columns of dgates that belong to x, and the rows of W_ih that it belongs to. A GRU
 * has two parts, its dr and dz, and its dn. */
typedef struct Part {
    int64_t column, row, count;
} Part;

static int parts_of(const Recurrent *a, Part parts[2])
{
    const int64_t n = a->hidden;
    if (!a->gru) parts[0] = (Part){ 0, 0, 4 * n };
    else parts[0] = (Part){ n, 0, 2 * n }, parts[1] = (Part){ 0, 2 * n, n };
    return a->gru ? 2 : 1;
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* With da the gradients of the sums in front of the gates: dx += da W_ih, dW_ih += daᵀ x, dW_hh +=
 * Σ_s da[s]ᵀ h[s-1], db += Σ da; da[s] gets da[s+1] W_hh through h[s]. */
static void recurrent_backward(Tape *t, Node *node)
{
    const Recurrent *a = node->state;
    const int64_t n = a->hidden, all = a->steps * a->batch, wide = gates_of(a) * n,
                  slabs = slabs_of(a);
    const int threads = lk_get_num_threads();
    Tensor *x = lk_packed(t, node->in[X]), *h0 = lk_packed(t, node->in[H0]),
           *c0 = lk_packed(t, node->in[C0]), *grad[INPUTS];
    bool fresh[INPUTS] = { false };
    if (!x || (node->in[H0] && !h0) || (node->in[C0] && !c0)) return;
    for (int i = INPUTS - 1; i >= 0; i--) /* the products come last: they may overwrite */
        grad[i] = i < H0 ? lk_grad_in_fresh(t, node, i, &fresh[i]) : lk_grad_in(t, node, i);
    if (lk_tape_error(t)->code != LK_OK) return;

    const size_t size = real_size(a), state = (size_t)(a->batch * n) * size, own = workspace_of(a);
    size_t product = larger(lk__gemm_workspace(a->dtype, all, a->inputs, wide),
                            lk__gemm_workspace(a->dtype, wide, a->inputs, all));
    product = larger(product, lk__gemm_workspace(a->dtype, wide, n, all));
    Backward b = { .a = a, .weight = matrix(node->in[W_HH]), .h = node->out->data };
    char *block = NULL, *zeros, *workspace;
    for (int pass = 0; pass < 2; pass++) {
        size_t at = 0;
        zeros = take(block, &at, state);
        b.dh = take(block, &at, state);
        b.dc = take(block, &at, state);
        b.dgates = take(block, &at, (size_t)(all * 4 * n) * size);
        workspace = take(block, &at, larger((size_t)threads * own, product));
        if (!block && !(block = lk_tape_scratch(t, at))) return;
    }
    memset(zeros, 0, state);
    b.h0 = h0 ? h0->data : zeros;
    b.c0 = c0 ? c0->data : zeros;
    b.dy = node->grad->data;
    b.wants_h0 = grad[H0] != NULL;
    const bool shares = shares_slabs(a);
#pragma omp parallel for schedule(static) num_threads(threads) if (shares)
    for (int64_t i = 0; i < slabs; i++) {
        const int64_t first = a->batch * i / slabs, end = a->batch * (i + 1) / slabs;
        backward_slab(&b, first, end - first,
                      workspace + (size_t)(shares ? lk__thread() : 0) * own);
    }

    Mat d = lk__mat(a->dtype, all, 4 * n, b.dgates), d_h = columns_of_h(a, d);
    if (grad[H0]) LK_REAL(a->dtype, add, a->batch * n, b.dh, grad[H0]->data);
    if (grad[C0]) LK_REAL(a->dtype, add, a->batch * n, b.dc, grad[C0]->data);
    add_columns(d_h, 0, grad[B_HH]);
    if (grad[W_HH])
        add_hidden_weight(a, matrix(grad[W_HH]), d_h, node->out->data, h0, !fresh[W_HH],
                          workspace);
    Part parts[2];
    const int count = parts_of(a, parts);
    for (int i = 0; i < count; i++) {
        Mat part = columns(d, parts[i].column, parts[i].count);
        add_columns(part, parts[i].row, grad[B_IH]);
        if (grad[W_IH])
            lk__gemm(rows(matrix(grad[W_IH]), parts[i].row, part.cols), lk__mat_T(part),
                     lk__mat(a->dtype, all, a->inputs, x->data), !fresh[W_IH], workspace);
    }
    for (int i = 0; grad[X] && i < count; i++)
        lk__gemm(lk__mat(a->dtype, all, a->inputs, grad[X]->data),
                 columns(d, parts[i].column, parts[i].count),
                 rows(matrix(node->in[W_IH]), parts[i].row, parts[i].count), !fresh[X] || i > 0,
                 workspace);
}

/* A GRU's gates read the h before, so every gradient needs the result. */
enum { LSTM_NEEDS = LK_IN2 | LK_IN4, GRU_NEEDS = LK_IN2 | LK_IN3 | LK_OUT };
static const Op LSTM = { "LstmBackward0",
                         recurrent_backward,
                         { LSTM_NEEDS | LK_IN1, LSTM_NEEDS | LK_IN0, LSTM_NEEDS | LK_IN3 | LK_OUT,
                           LSTM_NEEDS, LSTM_NEEDS } };
static const Op GRU = { "GruBackward0",
                        recurrent_backward,
                        { GRU_NEEDS | LK_IN1, GRU_NEEDS | LK_IN0, GRU_NEEDS, GRU_NEEDS,
                          GRU_NEEDS } };

Tensor *lk__recurrent(Tape *t, Recurrent a, Tensor *const in[INPUTS], Tensor *y)
{
    Tensor *packed[INPUTS];
    for (int i = 0; i < INPUTS; i++) {
        packed[i] = i == W_IH || i == W_HH ? in[i] : lk_packed(t, in[i]);
        if (in[i] && !packed[i]) return NULL;
    }
    if (!forward(t, &a, packed, lk_records(t, INPUTS, in), y)) return NULL;
    return lk_record(t, a.gru ? &GRU : &LSTM, y, INPUTS, in, &a, sizeof a);
}
