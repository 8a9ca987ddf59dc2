/* walk.c - the axes along which strided and broadcast tensors are walked together. */
#include "core/walk.h"

#include <string.h>

Walk lk__walk_of(int count, const Tensor *const *x)
{
    Walk w = { .count = count };
    for (int j = 0; j < count; j++) {
        w.data[j] = x[j]->data;
        w.bytes[j] = lk_dtype_size(x[j]->dtype);
    }
    for (int d = x[0]->ndim - 1; d >= 0; d--) {
        Axis axis = { .size = x[0]->shape[d] };
        if (axis.size == 1) continue;
        Axis *inner = &w.axis[w.axes - (w.axes > 0)];
        bool joins = w.axes > 0;
        for (int j = 0; j < count; j++) {
            int own = d - (x[0]->ndim - x[j]->ndim); /* the same dimension of x[j] */
            axis.step[j] = own < 0 || x[j]->shape[own] == 1 ? 0 : x[j]->stride[own];
            if (joins && axis.step[j] != inner->step[j] * inner->size) joins = false;
        }
        if (joins) inner->size *= axis.size;
        else lk__walk_insert(&w, w.axes, axis);
    }
    return w;
}

void lk__walk_insert(Walk *w, int a, Axis axis)
{
    memmove(&w->axis[a + 1], &w->axis[a], (size_t)(w->axes - a) * sizeof axis);
    w->axis[a] = axis;
    w->axes++;
}

Axis lk__walk_take(Walk *w, int a)
{
    Axis taken = w->axis[a];
    w->axes--;
    memmove(&w->axis[a], &w->axis[a + 1], (size_t)(w->axes - a) * sizeof taken);
    return taken;
}

int lk__walk_longer(const Walk *w)
{
    enum { LONG = 4 * LK_SHORT_AXIS };
    int longer = 0;
    if (w->axes == 0 || w->axis[0].size >= LK_SHORT_AXIS) return 0;
    for (int a = 1; a < w->axes && w->axis[longer].size < LONG; a++)
        if (w->axis[a].size > w->axis[longer].size) longer = a;
    return longer;
}

int64_t lk__walk_size(const Walk *w)
{
    int64_t n = 1;
    for (int a = 0; a < w->axes; a++) n *= w->axis[a].size;
    return n;
}

Position lk__walk_at(const Walk *w, int64_t number, char *const *p)
{
    Position at;
    for (int j = 0; j < w->count; j++) at.p[j] = p[j];
    for (int a = 0; a < w->axes; a++) {
        at.index[a] = number % w->axis[a].size;
        number /= w->axis[a].size;
        for (int j = 0; j < w->count; j++)
            at.p[j] += at.index[a] * w->axis[a].step[j] * (int64_t)w->bytes[j];
    }
    return at;
}
