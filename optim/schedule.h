/* schedule.h - changes the learning rate from step to step, as get_…_schedule_with_warmup of
 * Transformers does.
 *
 *     Schedule s = { LK_SCHEDULE_LINEAR, .warmup = 500, .total = 626 };
 *     for (int64_t step = 0; step < s.total; step++) {
 *         opt->lr = 5e-5 * lk_schedule(&s, step);
 *         … lk_step(opt, &err); …
 *     }
 *
 * It has no state: the rate follows from the number of the step. */
#ifndef LK_SCHEDULE_H
#define LK_SCHEDULE_H

#include "core/api.h"

/* In each kind, the factor first rises as step / warmup in `warmup` steps, which may be 0. Then it
 * is, with d = (step - warmup) / (total - warmup): */
typedef enum ScheduleKind {
    LK_SCHEDULE_CONSTANT, /* 1 */
    LK_SCHEDULE_LINEAR,   /* 1 - d, and 0 from total on */
    LK_SCHEDULE_COSINE,   /* (1 + cos πd) / 2, and 0 from total on */
} ScheduleKind;

typedef struct Schedule {
    ScheduleKind kind;
    int64_t warmup, total; /* steps; total: of the whole training, warm-up included */
} Schedule;

/* Returns the factor of the learning rate in step number `step`; the first step is 0. */
LK_API double lk_schedule(const Schedule *s, int64_t step);

#endif
