/* fold.h - reductions: many elements of one tensor belong to one place of another. Shared by the
 * operations of core, no part of the interface. */
#ifndef LK_FOLD_H
#define LK_FOLD_H

#include "core/op.h"

enum { LK_FOLD_MOST = 256 }; /* results of a tile */

/* A tile of a reduction: m results, to each of which belong `rows` rows of n elements. Result i is
 * at p[0] + i step_m[0]. Element k of row r is at p[j] + i step_m[j] + r step_row[j] + k step_n[j]
 * for j > 0; a step is 0 where a tensor repeats. */
typedef struct Fold {
    int64_t m, rows, n;
    const int64_t *step_m, *step_row, *step_n; /* of each tensor, in elements */
    void *p[LK_LOOP_MAX];
    /* The elements of the same results may come in several tiles, the first and the last of which
     * are marked. Then all of them come again for the next pass. */
    int pass;
    bool first, last;
    void *room[4]; /* LK_FOLD_MOST doubles each, which stay from one tile to the next */
} Fold;
typedef void FoldFn(const Fold *f, const void *arg);

/* Whether the loop over the results comes innermost: the rows are short. Otherwise it goes along
 * the rows. */
enum { LK_FOLD_BRIEF = 8 };
static inline bool lk__fold_goes_across(const Fold *f)
{
    return f->n <= LK_FOLD_BRIEF && (f->m >= LK_FOLD_BRIEF || f->rows <= f->m);
}

/* Returns the tile with its rows of one element seen as one row, for an operation in which the
 * order does not matter. */
static inline Fold lk__fold_long_rows(const Fold *f)
{
    Fold one = *f;
    if (f->n > 1) return one;
    one.n = f->rows;
    one.step_n = f->step_row;
    one.rows = 1;
    return one;
}

/* Calls fold for every tile and pass. x[0] has the shape of all, with stride 0 along the reduced
 * dimensions; the others broadcast to it. The elements of a result come in logical order:
 * rows are as long as these dimensions can be read in one step. Tiles run in parallel: a result
 * belongs to one thread, so its bits do not depend on the number of threads. Nothing happens when
 * there is no element. arg is passed on. */
void lk__fold(FoldFn *fold, const void *arg, int passes, int count, const Tensor *const *x);

#endif
