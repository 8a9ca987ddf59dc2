/* test_schedule.c - factors of the learning rate: those of LambdaLR with Transformers' formulas,
 * and the homework's. */
#include <math.h>

#include "optim/schedule.h"
#include "tests/check.h"
#include "tests/fixtures/schedule.h"

Test(schedule, factors_are_those_of_transformers)
{
    for (size_t i = 0; i < sizeof schedule_runs / sizeof *schedule_runs; i++) {
        const struct ScheduleRun *run = &schedule_runs[i];
        const Schedule s = { run->kind, run->warmup, run->total };
        for (int k = 0; k < SCHEDULE_STEPS; k++) {
            double got = lk_schedule(&s, schedule_at[k]), want = run->factor[k];
            check(want < 0 || fabs(got - want) <= 1e-16, "run %zu, step %d: %.17g, not %.17g", i,
                  schedule_at[k], got, want);
        }
    }
}

Test(schedule, behind_the_end)
{
    check(lk_schedule(&(const Schedule){ LK_SCHEDULE_CONSTANT, 2, 4 }, 1000) == 1);
    check(lk_schedule(&(const Schedule){ LK_SCHEDULE_LINEAR, 2, 4 }, 1000) == 0);
    check(lk_schedule(&(const Schedule){ LK_SCHEDULE_COSINE, 2, 4 }, 1000) == 0);
    /* a warm-up that is never finished */
    check(lk_schedule(&(const Schedule){ LK_SCHEDULE_LINEAR, 10, 4 }, 5) == 0.5);
}

Test(schedule, learning_rates_of_the_homework)
{
    const Schedule s = { LK_SCHEDULE_LINEAR, 500, 626 };
    for (int k = 0; k < 626; k++) {
        double expected = k < 500 ? 5e-5 * k / 500 : 5e-5 * (626 - k) / 126;
        check(fabs(5e-5 * lk_schedule(&s, k) - expected) <= 1e-19, "step %d", k);
    }
}
