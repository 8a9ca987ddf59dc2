/* walk.h - the axes along which strided and broadcast tensors are walked together. Shared by
 * core/loop.c and core/fold.c, no part of the interface. */
#ifndef LK_WALK_H
#define LK_WALK_H

#include "core/internal.h"

/* One axis of a walk. */
typedef struct Axis {
    int64_t size;
    int64_t step[LK_LOOP_MAX]; /* of each tensor, in elements; 0: it repeats */
} Axis;

/* Tensors that broadcast to the shape of the first. Neighbouring dimensions are one axis wherever
 * all tensors step through them evenly: a contiguous tensor of any shape has one axis. Dimensions
 * of size 1 are left out. axis[0] is the innermost. */
typedef struct Walk {
    int count, axes;
    Axis axis[LK_MAX_DIMS + 1]; /* one more, for an axis that is cut into pieces */
    size_t bytes[LK_LOOP_MAX];  /* of an element */
    char *data[LK_LOOP_MAX];
} Walk;
Walk lk__walk_of(int count, const Tensor *const *x);
/* Puts an axis at place a, and takes the axis at place a out. */
void lk__walk_insert(Walk *w, int a, Axis axis);
Axis lk__walk_take(Walk *w, int a);
/* Returns the number of positions. */
int64_t lk__walk_size(const Walk *w);

/* A position in a walk. Going on costs an addition for each tensor, not a division for each
 * axis. */
typedef struct Position {
    int64_t index[LK_MAX_DIMS + 1]; /* along each axis */
    char *p[LK_LOOP_MAX];           /* the element of each tensor */
} Position;
/* Returns position `number`, counted with the innermost axis fastest, from the elements p on. */
Position lk__walk_at(const Walk *w, int64_t number, char *const *p);

/* Goes to the next position; behind the last one comes the first. */
static inline void lk__walk_next(const Walk *w, Position *at)
{
    for (int a = 0; a < w->axes; a++) {
        const Axis *axis = &w->axis[a];
        const int64_t times = ++at->index[a] < axis->size ? 1 : 1 - axis->size;
        for (int j = 0; j < w->count; j++)
            at->p[j] += times * axis->step[j] * (int64_t)w->bytes[j];
        if (times == 1) return;
        at->index[a] = 0;
    }
}

/* Pieces of work for threads: a piece pays for handing it over, and its borders depend on the
 * shape alone. Smaller work than LK_PARALLEL_FROM elements stays with one thread. */
enum { LK_PIECE = 1 << 14, LK_PARALLEL_FROM = 1 << 16 };

/* An axis that is shorter makes a poor inner loop. lk__walk_longer returns the axis to use
 * instead: the innermost that is long enough, or the longest. It returns 0 when there is none. */
enum { LK_SHORT_AXIS = 8 };
int lk__walk_longer(const Walk *w);

#endif
