/* schedule.c - factors of the learning rate. schedule.h describes them. */
#include "optim/schedule.h"

#include <math.h>

static const double PI = 3.14159265358979323846;

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
        return done < 1.0 ? 0.5 * (1.0 + cos(PI * done)) : 0.0;
    }
    case LK_SCHEDULE_CONSTANT: break;
    }
    return 1.0;
}

/* ---- schedules of PyTorch ------------------------------------------------------------------- */

double lk_step_lr(int64_t step, int64_t step_size, double gamma)
{
    return step_size > 0 ? pow(gamma, (double)(step / step_size)) : NAN;
}

double lk_polynomial_lr(int64_t step, int64_t total, double power)
{
    if (total <= 0) return NAN;
    return step < total ? pow(1.0 - (double)step / (double)total, power) : 0.0;
}

/* From `from` at done = 0 to `to` at done = 1: half a cosine, or a line. */
static double anneal(const OneCycle *cycle, double from, double to, double done)
{
    if (cycle->linear) return (to - from) * done + from;
    return to + (from - to) / 2.0 * (1.0 + cos(PI * done));
}

double lk_one_cycle_lr(int64_t step, const OneCycle *cycle)
{
    if (!cycle) return NAN;
    const double rise = cycle->pct_start != 0.0 ? cycle->pct_start : 0.3;
    const double divisor = cycle->div_factor != 0.0 ? cycle->div_factor : 25.0;
    const double last_divisor = cycle->final_div_factor != 0.0 ? cycle->final_div_factor : 1e4;
    if (cycle->total <= 0 || !(rise > 0.0 && rise <= 1.0) ||
        !(divisor > 0.0 && last_divisor > 0.0))
        return NAN;
    const double first = 1.0 / divisor, end = (double)(cycle->total - 1);
    const double at = (double)step < end ? (double)step : end;
    /* As PyTorch has it, the top lies at pct_start of the steps, less one, between two of them. */
    const double top = rise * (double)cycle->total - 1.0;
    double from = 1.0, start = top; /* of the last phase */
    if (at <= top && top > 0.0) return anneal(cycle, first, 1.0, at / top);
    if (cycle->three_phase) {
        from = first;
        start = 2.0 * rise * (double)cycle->total - 2.0;
        if (at <= start && start > top)
            return anneal(cycle, 1.0, first, (at - top) / (start - top));
    }
    return end > start ? anneal(cycle, from, first / last_divisor, (at - start) / (end - start))
                       : from;
}

Plateau lk_plateau(double lr)
{
    return (Plateau){ .lr = lr, .factor = 0.1, .threshold = 1e-4, .eps = 1e-8, .patience = 10 };
}

static bool is_better(const Plateau *p, double metric)
{
    const double less = p->maximize ? -p->threshold : p->threshold;
    const double bound = p->absolute ? p->best - less : p->best * (1.0 - less);
    return p->maximize ? metric > bound : metric < bound;
}

double lk_plateau_step(Plateau *p, double metric)
{
    if (!p) return NAN;
    if (p->steps++ == 0) p->best = p->maximize ? -INFINITY : INFINITY;
    const bool better = is_better(p, metric);
    if (better) p->best = metric;
    p->bad_steps = better ? 0 : p->bad_steps + 1;
    if (p->cooling > 0) {
        p->cooling--;
        p->bad_steps = 0;
    }
    if (p->bad_steps <= p->patience) return p->lr;
    p->cooling = p->cooldown;
    p->bad_steps = 0;
    double lower = p->lr * p->factor;
    if (lower < p->min_lr) lower = p->min_lr;
    if (p->lr - lower > p->eps) p->lr = lower;
    return p->lr;
}
