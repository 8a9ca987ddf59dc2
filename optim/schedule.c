/* schedule.c - factors of the learning rate. schedule.h describes them. */
#include "optim/schedule.h"

#include <math.h>

double lk_schedule(const Schedule *s, int64_t step)
{
    if (!s) return NAN;
    int64_t decay = s->total > s->warmup ? s->total - s->warmup : 1; /* its number of steps */
    if (step < s->warmup) return (double)step / (double)s->warmup;
    switch (s->kind) {
    case LK_SCHEDULE_LINEAR:
        return step < s->total ? (double)(s->total - step) / (double)decay : 0.0;
    case LK_SCHEDULE_COSINE: {
        double done = (double)(step - s->warmup) / (double)decay;
        return done < 1.0 ? 0.5 * (1.0 + cos(3.14159265358979323846 * done)) : 0.0;
    }
    case LK_SCHEDULE_CONSTANT: break;
    }
    return 1.0;
}
