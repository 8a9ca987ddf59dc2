/* schedule.h - how the learning rate changes from step to step, as the get_…_schedule_with_warmup
 * of Transformers.
 *
 *     Schedule s = { LK_SCHEDULE_LINEAR, .warmup = 500, .total = 626 };
 *     for (int64_t step = 0; step < s.total; step++) {
 *         opt->lr = 5e-5 * lk_schedule(&s, step);
 *         … lk_step(opt, &err); …
 *     }
 * It has no state: whoever knows the number of the step knows the learning rate. */
#ifndef LK_SCHEDULE_H
#define LK_SCHEDULE_H

#include "core/api.h"

/* Each begins with `warmup` steps in which the factor rises from 0 as step / warmup; warmup 0:
 * without. Then, with d = (step - warmup) / (total - warmup): */
typedef enum ScheduleKind {
    LK_SCHEDULE_CONSTANT, /* 1: get_constant_schedule_with_warmup */
    LK_SCHEDULE_LINEAR,   /* 1 - d, and 0 from total on: get_linear_schedule_with_warmup */
    /* (1 + cos πd) / 2, and 0 from total on: get_cosine_schedule_with_warmup */
    LK_SCHEDULE_COSINE,
} ScheduleKind;

typedef struct Schedule {
    ScheduleKind kind;
    int64_t warmup, total; /* steps; total: of the whole training, warm-up included */
} Schedule;

/* What the learning rate is multiplied by in step number `step`, from 0 on. */
LK_API double lk_schedule(const Schedule *s, int64_t step);

#endif
