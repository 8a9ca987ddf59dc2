/* fold.c - walks a reduction in tiles: a few results, and all elements that belong to them. */
#include "core/fold.h"

#include "core/walk.h"

/* The axes of a reduction. */
typedef struct Plan {
    Walk results, reduced; /* the axes outside of a tile */
    Axis n, row, m;        /* those of a tile */
    int64_t most;          /* results of a tile */
    int cut;               /* the axis of `results` that goes from a tile to the next; -1: none */
} Plan;

static const Axis none = { .size = 1 };

static Axis take(Walk *w, int a) { return w->axes > 0 ? lk__walk_take(w, a) : none; }

/* Returns how many results a tile has. With short rows it is as many as possible, because memory
 * is read fastest in order. With long rows it is few, so that the tile stays in the cache and the
 * threads share the work. */
static int64_t results_of_tile(const Plan *p)
{
    if (p->n.size <= LK_FOLD_BRIEF) return LK_FOLD_MOST;
    const int64_t most = LK_PIECE / (p->n.size * p->row.size * lk__walk_size(&p->reduced));
    if (most < 1) return 1;
    return most < LK_FOLD_MOST ? most : LK_FOLD_MOST;
}

static Plan plan_of(int count, const Tensor *const *x)
{
    Walk all = lk__walk_of(count, x);
    Plan p = { .results = all, .reduced = all, .n = none };
    const bool has_rows = all.axes > 0 && all.axis[0].step[0] == 0;
    p.results.axes = p.reduced.axes = 0;
    for (int a = 0; a < all.axes; a++) {
        Walk *w = all.axis[a].step[0] == 0 ? &p.reduced : &p.results;
        lk__walk_insert(w, w->axes, all.axis[a]);
    }
    if (has_rows) p.n = take(&p.reduced, 0);
    p.row = take(&p.reduced, 0);
    const int longer = lk__walk_longer(&p.results);
    p.m = take(&p.results, longer);
    p.most = results_of_tile(&p);
    p.cut = -1;
    if (p.m.size <= p.most) return p;
    Axis cut = { .size = (p.m.size + p.most - 1) / p.most };
    for (int j = 0; j < count; j++) cut.step[j] = p.most * p.m.step[j];
    p.cut = longer > 0 ? 1 : 0; /* behind the short axis */
    lk__walk_insert(&p.results, p.cut, cut);
    return p;
}

/* Runs tile number `first`, and `count` tiles in all. */
static void run_tiles(const Plan *p, FoldFn *fold, const void *arg, int passes, int64_t first,
                      int64_t count)
{
    _Alignas(64) char room[4][LK_FOLD_MOST * sizeof(double)];
    Fold f = { .rows = p->row.size,
               .n = p->n.size,
               .step_m = p->m.step,
               .step_row = p->row.step,
               .step_n = p->n.step,
               .room = { room[0], room[1], room[2], room[3] } };
    const int64_t parts = lk__walk_size(&p->reduced);
    Position at = lk__walk_at(&p->results, first, p->results.data);
    for (int64_t i = 0; i < count; i++, lk__walk_next(&p->results, &at)) {
        const int64_t begin = p->cut < 0 ? 0 : at.index[p->cut] * p->most;
        f.m = p->m.size - begin < p->most ? p->m.size - begin : p->most;
        for (f.pass = 0; f.pass < passes; f.pass++) {
            Position part = lk__walk_at(&p->reduced, 0, at.p);
            for (int64_t k = 0; k < parts; k++, lk__walk_next(&p->reduced, &part)) {
                for (int j = 0; j < p->results.count; j++) f.p[j] = part.p[j];
                f.first = k == 0;
                f.last = k == parts - 1;
                fold(&f, arg);
            }
        }
    }
}

void lk__fold(FoldFn *fold, const void *arg, int passes, int count, const Tensor *const *x)
{
    const int64_t total = lk__elements(x[0]);
    if (total == 0) return;
    const Plan p = plan_of(count, x);
    const int64_t tiles = lk__walk_size(&p.results), elements = total / tiles,
                  each = elements < LK_PIECE ? LK_PIECE / elements : 1;
#pragma omp parallel for schedule(static) if (total >= LK_PARALLEL_FROM)
    for (int64_t first = 0; first < tiles; first += each)
        run_tiles(&p, fold, arg, passes, first, tiles - first < each ? tiles - first : each);
}
