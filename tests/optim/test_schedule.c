/* test_schedule.c - factors of the learning rate: those of LambdaLR with Transformers' formulas,
 * the homework's, and those of PyTorch's schedulers. */
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

/* ---- PyTorch's schedulers ------------------------------------------------------------------- */

#define COUNT(table) (sizeof(table) / sizeof *(table))

static void check_factor(const char *name, size_t run, int step, double got, double want)
{
    check(fabs(got - want) <= 1e-15 * fmax(fabs(want), 1e-3), "%s %zu, step %d: %.17g, not %.17g",
          name, run, step, got, want);
}

Test(schedule, factors_are_those_of_pytorch)
{
    for (int k = 0; k < SCHEDULE_TIMES; k++) {
        for (size_t i = 0; i < COUNT(step_runs); i++)
            check_factor("StepLR", i, k, lk_step_lr(k, step_runs[i].step_size, step_runs[i].gamma),
                         step_runs[i].factor[k]);
        for (size_t i = 0; i < COUNT(cycle_runs); i++) {
            const struct CycleRun *run = &cycle_runs[i];
            const OneCycle cycle = { run->total,      run->pct_start,
                                     run->div_factor, run->final_div_factor,
                                     run->linear,     run->three_phase };
            int at = k < run->total ? k : run->total - 1; /* behind the end it stays */
            check_factor("OneCycleLR", i, k, lk_one_cycle_lr(k, &cycle), run->factor[at]);
        }
    }
}

/* PyTorch multiplies from step to step, so its rounding errors add up. */
Test(schedule, polynomials_are_those_of_pytorch_but_for_rounding)
{
    for (size_t i = 0; i < COUNT(polynomial_runs); i++)
        for (int k = 0; k < SCHEDULE_TIMES; k++) {
            const struct PolynomialRun *run = &polynomial_runs[i];
            double got = lk_polynomial_lr(k, run->total, run->power), want = run->factor[k];
            check(fabs(got - want) <= 1e-14, "run %zu, step %d: %.17g, not %.17g", i, k, got,
                  want);
        }
}

Test(schedule, settings_out_of_range_give_nan)
{
    check(isnan(lk_schedule(NULL, 0)) && isnan(lk_one_cycle_lr(0, NULL)));
    check(isnan(lk_step_lr(3, 0, 0.1)) && isnan(lk_step_lr(3, -1, 0.1)));
    check(isnan(lk_polynomial_lr(3, 0, 1.0)));
    const OneCycle bad[] = { { .total = 0 },
                             { .total = 9, .pct_start = 1.5 },
                             { .total = 9, .pct_start = NAN },
                             { .total = 9, .div_factor = -1 },
                             { .total = 9, .final_div_factor = -1 } };
    for (size_t i = 0; i < COUNT(bad); i++) check(isnan(lk_one_cycle_lr(0, &bad[i])), "%zu", i);
    /* the shortest cycles, which PyTorch divides by 0 in */
    check(lk_one_cycle_lr(0, &(const OneCycle){ .total = 1, .pct_start = 1 }) == 1);
    check(lk_one_cycle_lr(8, &(const OneCycle){ .total = 9, .pct_start = 1 }) == 1);
    check(lk_one_cycle_lr(0, &(const OneCycle){ .total = 4, .pct_start = 0.25 }) == 1);
    check(lk_one_cycle_lr(0, &(const OneCycle){ .total = 1, .three_phase = true }) > 0);
}

Test(schedule, plateaus_are_those_of_pytorch)
{
    for (size_t i = 0; i < COUNT(plateau_runs); i++) {
        const struct PlateauRun *run = &plateau_runs[i];
        Plateau p = lk_plateau(1.0);
        p.maximize = run->maximize;
        p.absolute = run->absolute;
        p.patience = run->patience;
        p.cooldown = run->cooldown;
        p.factor = run->factor;
        p.threshold = run->threshold;
        p.min_lr = run->min_lr;
        for (int k = 0; k < SCHEDULE_TIMES; k++)
            check_factor("plateau", i, k, lk_plateau_step(&p, plateau_metrics[k]), run->lr[k]);
    }
    check(isnan(lk_plateau_step(NULL, 1.0)));
}
