/* loop.c - walks strided and broadcast tensors together, row by row: every elementwise operation
 * runs on it. It knows no tape; its callers have checked the tensors. */
#include "core/walk.h"

/* Rows, cut into pieces. `outer` walks over the pieces. */
typedef struct Rows {
    Walk outer;
    Axis row;
    int64_t piece; /* elements of a piece; the last of a row may be shorter */
    int cut;       /* the axis of `outer` that goes from a piece to the next; -1: none */
} Rows;

/* Makes axis a of `outer` the row. */
static void take_row(Rows *r, int a)
{
    if (r->outer.axes > 0) r->row = lk__walk_take(&r->outer, a);
    else r->row.size = 1; /* one element */
    r->piece = r->row.size;
}

/* Returns rows for any order of the elements. Where the innermost axis is short, a longer one
 * makes the rows; their pieces stay in the cache until the short axis is through. */
static Rows rows_in_any_order(int count, const Tensor *const *x)
{
    enum { CACHED = 512 };
    Rows r = { .outer = lk__walk_of(count, x), .cut = -1 };
    const int a = lk__walk_longer(&r.outer);
    const int64_t piece = a > 0 ? CACHED : LK_PIECE;
    take_row(&r, a);
    if (r.row.size <= piece) return r;
    Axis cut = { .size = (r.row.size + piece - 1) / piece };
    for (int j = 0; j < count; j++) cut.step[j] = piece * r.row.step[j];
    r.piece = piece;
    r.cut = a > 0 ? 1 : 0; /* behind the short axis */
    lk__walk_insert(&r.outer, r.cut, cut);
    return r;
}

/* Calls the row function for `count` pieces from piece `first` on. */
static void run_pieces(const Rows *r, int64_t first, int64_t count, RowFn *row, const void *arg)
{
    const int64_t last = r->cut < 0 ? 0 : r->outer.axis[r->cut].size - 1;
    Position at = lk__walk_at(&r->outer, first, r->outer.data);
    for (int64_t i = 0; i < count; i++, lk__walk_next(&r->outer, &at)) {
        void *p[LK_LOOP_MAX];
        for (int j = 0; j < r->outer.count; j++) p[j] = at.p[j];
        const bool is_last = r->cut < 0 || at.index[r->cut] == last;
        row(is_last ? r->row.size - last * r->piece : r->piece, p, r->row.step, arg);
    }
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

static void run_in_order(RowFn *row, const void *arg, int count, const Tensor *const *x)
{
    if (lk__elements(x[0]) == 0) return;
    Rows r = { .outer = lk__walk_of(count, x), .cut = -1 };
    take_row(&r, 0);
    run_pieces(&r, 0, lk__walk_size(&r.outer), row, arg);
}

void lk_loop_serial(RowFn *row, const void *arg, int count, const Tensor *const *x)
{
    int64_t n = one_row(count, x);
    if (n > 0) run_one_row(n, row, arg, count, x);
    else run_in_order(row, arg, count, x);
}

void lk_loop(RowFn *row, const void *arg, int count, const Tensor *const *x)
{
    int64_t total = one_row(count, x);
    if (total > 0 && total < LK_PARALLEL_FROM) {
        run_one_row(total, row, arg, count, x);
        return;
    }
    total = lk__elements(x[0]);
    bool shared = false; /* elements of x[0] share a place, which two threads must not write */
    for (int d = 0; d < x[0]->ndim; d++)
        shared = shared || (x[0]->stride[d] == 0 && x[0]->shape[d] > 1);
    if (total == 0 || shared) {
        run_in_order(row, arg, count, x);
        return;
    }
    const Rows r = rows_in_any_order(count, x);
    const int64_t pieces = lk__walk_size(&r.outer),
                  each = r.piece < LK_PIECE ? LK_PIECE / r.piece : 1;
#pragma omp parallel for schedule(static) if (total >= LK_PARALLEL_FROM)
    for (int64_t first = 0; first < pieces; first += each)
        run_pieces(&r, first, pieces - first < each ? pieces - first : each, row, arg);
}
