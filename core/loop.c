/* loop.c - walks strided and broadcast tensors together, row by row: every elementwise operation
 * runs on it. It knows no tape; its callers have checked the tensors. */
#include <string.h>

#include "core/internal.h"

/* A walk. Neighbouring dimensions are joined wherever all tensors step through them evenly, so
 * that a contiguous tensor of any shape is one row. */
typedef struct Walk {
    int count, ndim;
    int64_t shape[LK_MAX_DIMS]; /* shape[0] is the row; the outer dimensions follow */
    int64_t stride[LK_MAX_DIMS][LK_LOOP_MAX];
    size_t size[LK_LOOP_MAX]; /* bytes of an element */
    char *data[LK_LOOP_MAX];
    int64_t rows;
} Walk;

static Walk walk_of(int count, const Tensor *const *x)
{
    Walk w = { .count = count, .ndim = 0, .rows = 1 };
    for (int j = 0; j < count; j++) {
        w.data[j] = x[j]->data;
        w.size[j] = lk_dtype_size(x[j]->dtype);
    }
    for (int d = x[0]->ndim - 1; d >= 0; d--) {
        int64_t size = x[0]->shape[d], stride[LK_LOOP_MAX];
        if (size == 1) continue;
        bool joins = w.ndim > 0;
        for (int j = 0; j < count; j++) {
            int own = d - (x[0]->ndim - x[j]->ndim); /* the same dimension of x[j] */
            stride[j] = own < 0 || x[j]->shape[own] == 1 ? 0 : x[j]->stride[own];
            if (joins && stride[j] != w.stride[w.ndim - 1][j] * w.shape[w.ndim - 1]) joins = false;
        }
        if (joins) {
            w.shape[w.ndim - 1] *= size;
            continue;
        }
        w.shape[w.ndim] = size;
        memcpy(w.stride[w.ndim++], stride, sizeof stride);
    }
    if (w.ndim == 0) w.shape[w.ndim++] = 1; /* one element */
    for (int d = 1; d < w.ndim; d++) w.rows *= w.shape[d];
    return w;
}

/* Calls the row function for elements first … first + n - 1 of row r. */
static void run_row(const Walk *w, int64_t r, int64_t first, int64_t n, RowFn *row,
                    const void *arg)
{
    int64_t offset[LK_LOOP_MAX];
    void *p[LK_LOOP_MAX];
    for (int j = 0; j < w->count; j++) offset[j] = first * w->stride[0][j];
    for (int d = 1; d < w->ndim; d++) {
        int64_t index = r % w->shape[d];
        r /= w->shape[d];
        for (int j = 0; j < w->count; j++) offset[j] += index * w->stride[d][j];
    }
    for (int j = 0; j < w->count; j++) p[j] = w->data[j] + offset[j] * (int64_t)w->size[j];
    row(n, p, w->stride[0], arg);
}

/* Returns the length of the row when the tensors are contiguous and of one shape: the usual case,
 * which needs no Walk. Returns 0 in other cases. */
static int64_t one_row(int count, const Tensor *const *x)
{
    const Tensor *first = x[0];
    int64_t n = 1;
    for (int d = first->ndim - 1; d >= 0; n *= first->shape[d--])
        if (first->stride[d] != n && first->shape[d] != 1) return 0;
    for (int j = 1; j < count; j++) {
        if (x[j]->ndim != first->ndim) return 0;
        for (int d = 0; d < first->ndim; d++)
            if (x[j]->shape[d] != first->shape[d] || x[j]->stride[d] != first->stride[d]) return 0;
    }
    return n;
}

static void run_one_row(int64_t n, RowFn *row, const void *arg, int count, const Tensor *const *x)
{
    static const int64_t ones[LK_LOOP_MAX] = { 1, 1, 1, 1, 1 };
    void *p[LK_LOOP_MAX];
    for (int j = 0; j < count; j++) p[j] = x[j]->data;
    row(n, p, ones, arg);
}

static void run_rows(RowFn *row, const void *arg, int count, const Tensor *const *x)
{
    if (lk__elements(x[0]) == 0) return;
    Walk w = walk_of(count, x);
    for (int64_t r = 0; r < w.rows; r++) run_row(&w, r, 0, w.shape[0], row, arg);
}

void lk_loop_serial(RowFn *row, const void *arg, int count, const Tensor *const *x)
{
    int64_t n = one_row(count, x);
    if (n > 0) run_one_row(n, row, arg, count, x);
    else run_rows(row, arg, count, x);
}

/* A piece is large enough to pay for handing it to a thread, and its borders depend on the shape
 * alone. */
enum { PIECE = 1 << 14, PARALLEL_FROM = 1 << 16 };

void lk_loop(RowFn *row, const void *arg, int count, const Tensor *const *x)
{
    int64_t total = one_row(count, x);
    if (total > 0 && total < PARALLEL_FROM) {
        run_one_row(total, row, arg, count, x);
        return;
    }
    bool shared = false; /* elements of x[0] share a place, which two threads must not write */
    for (int d = 0; d < x[0]->ndim; d++)
        shared = shared || (x[0]->stride[d] == 0 && x[0]->shape[d] > 1);
    if (lk__elements(x[0]) < PARALLEL_FROM || shared) {
        run_rows(row, arg, count, x);
        return;
    }
    Walk w = walk_of(count, x);
    int64_t n = w.shape[0], pieces = (n + PIECE - 1) / PIECE;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < w.rows * pieces; i++) {
        int64_t first = i % pieces * PIECE;
        run_row(&w, i / pieces, first, n - first < PIECE ? n - first : PIECE, row, arg);
    }
}
