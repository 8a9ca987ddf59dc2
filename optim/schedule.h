/* schedule.h - changes the learning rate from step to step, as get_…_schedule_with_warmup of
 * Transformers and torch.optim.lr_scheduler do.
 *
 *     Schedule s = { LK_SCHEDULE_LINEAR, .warmup = 500, .total = 626 };
 *     for (int64_t step = 0; step < s.total; step++) {
 *         opt->lr = 5e-5 * lk_schedule(&s, step);
 *         … lk_step(opt, &err); …
 *     }
 *
 * A schedule has no state: the rate follows from the number of the step (or of the epoch). Only a
 * Plateau has some, since it follows from what it has seen. */
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

/* ---- schedules of PyTorch: factors too, opt->lr = 0.1 * lk_step_lr(epoch, 30, 0.1) ---------- */

/* StepLR: gammaᵏ with k = ⌊step / step_size⌋. NaN for a step_size that is not positive. */
LK_API double lk_step_lr(int64_t step, int64_t step_size, double gamma);

/* PolynomialLR: (1 - step / total)^power, and 0 from total on; NaN: total is not positive. */
LK_API double lk_polynomial_lr(int64_t step, int64_t total, double power);

/* OneCycleLR without a cycle of the momentum: from 1 / div_factor up to 1, at pct_start of all
 * steps, and down to 1 / div_factor / final_div_factor in step total - 1. A setting of 0 stands
 * for PyTorch's default. The factor is one of max_lr. */
typedef struct OneCycle {
    int64_t total;           /* total_steps */
    double pct_start;        /* 0.3; at most 1 */
    double div_factor;       /* 25 */
    double final_div_factor; /* 1e4 */
    bool linear;             /* anneal_strategy='linear'; false: 'cos' */
    bool three_phase;        /* down to 1 / div_factor as fast as up, and from there to the end */
} OneCycle;
/* After step total - 1 the factor stays. NaN for NULL and for settings that are out of range. */
LK_API double lk_one_cycle_lr(int64_t step, const OneCycle *cycle);

/* ReduceLROnPlateau: the rate falls when a metric has stopped improving.
 *
 *     Plateau p = lk_plateau(0.1);
 *     p.patience = 3;
 *     for (each epoch) … opt->lr = lk_plateau_step(&p, validation_loss); … */
typedef struct Plateau {
    double lr;
    double factor;     /* 0.1: what lr is multiplied with */
    double threshold;  /* 1e-4: an improvement that is smaller does not count */
    double min_lr;     /* 0 */
    double eps;        /* 1e-8: a smaller change of lr is not made */
    int64_t patience;  /* 10: steps without improvement before lr falls in the next one */
    int64_t cooldown;  /* 0: steps after a fall that do not count */
    bool maximize;     /* mode='max': a larger metric is better; false */
    bool absolute;     /* threshold_mode='abs': best - threshold; false: best (1 - threshold) */
    double best;       /* from here on: what it has seen. The best metric */
    int64_t steps;     /* calls of lk_plateau_step */
    int64_t bad_steps; /* since the best one */
    int64_t cooling;   /* steps of the cooldown that are left */
} Plateau;
LK_API Plateau lk_plateau(double lr); /* with PyTorch's defaults */
/* scheduler.step(metric): returns the new p->lr. A NaN is no improvement. NaN for NULL. */
LK_API double lk_plateau_step(Plateau *p, double metric);

#endif
