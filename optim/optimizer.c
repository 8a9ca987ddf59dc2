/* optimizer.c - groups of parameters, their state, and the step that all optimizers share. sgd.c,
 * adam.c and rmsprop.c have the formulas. */
#include "optim/optimizer.h"

#include <math.h>
#ifdef __SSE2__
#include <immintrin.h>
#endif

#include "core/memory.h"
#include "core/tape.h"
#include "optim/params.h"

/* ---- made and freed ------------------------------------------------------------------------- */

static bool check_settings(const Optimizer *opt, const char *function, Error *err)
{
    const struct {
        const char *name;
        double value, below;
    } settings[] = {
        /* clang-format off */
        { "lr", opt->lr, INFINITY },       { "momentum", opt->momentum, INFINITY },
        { "beta1", opt->beta1, 1.0 },      { "beta2", opt->beta2, 1.0 },
        { "eps", opt->eps, INFINITY },     { "weight_decay", opt->weight_decay, INFINITY },
        { "alpha", opt->alpha, INFINITY },
        /* clang-format on */
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (!(settings[i].value >= 0.0 &&
              settings[i].value < settings[i].below)) /* NaN fails too */
            return lk_error_set(err, LK_EVALUE, "%s: %s of %s is %g; it must be at least 0 and %s",
                                function, settings[i].name, opt->type->name, settings[i].value,
                                settings[i].below < 2.0 ? "below 1" : "finite");
    if (opt->nesterov && opt->momentum == 0.0)
        return lk_error_set(err, LK_EVALUE,
                            "%s: nesterov of %s is set and its momentum is 0; Nesterov's step "
                            "needs a momentum",
                            function, opt->type->name);
    return true;
}

static bool check_trainable(const char *name, const TensorList *list, Error *err)
{
    for (int i = 0; i < list->count; i++)
        if (list->items[i] && list->items[i]->requires_grad) return true;
    if (list->count == 0)
        return lk_error_set(
            err, LK_EVALUE,
            "%s: the list is empty; no parameter is trainable, or the net has none", name);
    return lk_error_set(err, LK_EVALUE,
                        "%s: none of %d parameters has requires_grad; nothing to train", name,
                        list->count);
}

/* Makes a group of these parameters with these settings. */
static ParamGroup *group_new(const ParamGroup *settings, TensorList params, Error *err)
{
    const char *name = settings->type->name;
    ParamGroup *group = lk_mem_calloc(1, sizeof *group);
    if (!group) {
        lk_error_set(err, LK_EMEMORY, "%s: no memory for an optimizer", name);
        lk_tensor_list_free(&params);
        return NULL;
    }
    *group = *settings;
    group->params = params;
    group->next = NULL;
    group->seen.params = group->seen.values = (TensorList){ 0 };
    /* one more, since an empty list is only refused later */
    group->state = lk_mem_calloc((size_t)params.count + 1, sizeof *group->state);
    if (!group->state)
        lk_error_set(err, LK_EMEMORY, "%s: no memory for the state of %d parameters", name,
                     params.count);
    if (group->state && lk__check_params(name, &params, err)) return group;
    lk_optimizer_free(group);
    return NULL;
}

Optimizer *lk_optimizer_new(const OptimizerType *type, TensorList params, double lr, Error *err)
{
    if (!type) {
        lk_error_set(err, LK_EVALUE, "lk_optimizer_new: the type is NULL");
        lk_tensor_list_free(&params);
        return NULL;
    }
    const ParamGroup settings = {
        .type = type, .lr = lr, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .alpha = 0.99
    };
    Optimizer *opt = group_new(&settings, params, err);
    if (opt && check_settings(opt, "lk_optimizer_new", err) &&
        check_trainable(type->name, &params, err))
        return opt;
    lk_optimizer_free(opt);
    return NULL;
}

void lk_optimizer_free(Optimizer *opt)
{
    for (ParamGroup *next; opt; opt = next) {
        next = opt->next;
        for (int i = 0; opt->state && i < opt->params.count; i++)
            for (int k = 0; k < LK_MOMENTS; k++) lk_tensor_free(opt->state[i].moment[k]);
        lk_mem_free(opt->state);
        lk_tensor_list_free(&opt->params);
        lk_tensor_list_free(&opt->seen.params);
        lk_tensor_list_free(&opt->seen.values);
        lk_mem_free(opt);
    }
}

static bool check_new_here(Optimizer *opt, const TensorList *list, Error *err)
{
    if (list->count == 0)
        return lk_error_set(err, LK_EVALUE, "lk_add_param_group: the list is empty");
    for (OptimizerIter it = lk_optimizer_states(opt); lk_optimizer_states_next(&it);)
        for (int i = 0; i < list->count; i++)
            if (list->items[i] == it.param)
                return lk_error_set(err, LK_EVALUE,
                                    "lk_add_param_group: parameter %d is in this %s already", i,
                                    opt->type->name);
    return true;
}

ParamGroup *lk_add_param_group(Optimizer *opt, TensorList params, Error *err)
{
    if (!opt) lk_error_set(err, LK_EVALUE, "lk_add_param_group: the optimizer is NULL");
    if (!opt || !check_new_here(opt, &params, err)) {
        lk_tensor_list_free(&params);
        return NULL;
    }
    ParamGroup *last = opt;
    while (last->next) last = last->next;
    return last->next = group_new(opt, params, err);
}

/* ---- walking -------------------------------------------------------------------------------- */

OptimizerIter lk_optimizer_states(Optimizer *opt)
{
    return (OptimizerIter){ .index = -1, .group = opt, .item = -1 };
}

bool lk_optimizer_states_next(OptimizerIter *it)
{
    if (!it) return false;
    it->item++;
    while (it->group && it->item >= it->group->params.count) {
        it->group = it->group->next;
        it->item = 0;
    }
    if (!it->group) return false;
    it->index++;
    it->param = it->group->params.items[it->item];
    it->state = &it->group->state[it->item];
    return true;
}

static bool check_moments(const char *caller, const OptimizerIter *it, int64_t step,
                          Tensor *const *moment, Error *err)
{
    const char *const *name = it->group->type->moment_name;
    const Tensor *p = it->param;
    char expected[LK_SHAPE_TEXT], got[LK_SHAPE_TEXT];
    if (step < 0)
        return lk_error_set(err, LK_EVALUE, "%s: parameter %d has made %lld steps", caller,
                            it->index, (long long)step);
    for (int k = 0; k < LK_MOMENTS; k++) {
        const Tensor *m = moment[k];
        if (!m && step > 0 && k < it->group->type->moments(it->group))
            return lk_error_set(err, LK_EVALUE, "%s: parameter %d has made steps and lacks its %s",
                                caller, it->index, name[k] ? name[k] : "moment");
        if (m &&
            (m->dtype != p->dtype || !lk_same_shape(m, p) || m->refs == 0 || !lk_is_contiguous(m)))
            return lk_error_set(err, LK_ESHAPE,
                                "%s: a moment of parameter %d is %s %s; it must be owned, %s %s",
                                caller, it->index, lk_dtype_name(m->dtype), lk_shape_text(m, got),
                                lk_dtype_name(p->dtype), lk_shape_text(p, expected));
    }
    return true;
}

static bool set_moments(const char *caller, const OptimizerIter *it, int64_t step,
                        Tensor *const *moment, Error *err)
{
    bool ok = it && it->state
                  ? check_moments(caller, it, step, moment, err)
                  : lk_error_set(err, LK_EVALUE, "%s: the iterator is at no parameter", caller);
    for (int k = 0; k < LK_MOMENTS; k++) {
        lk_tensor_free(ok ? it->state->moment[k] : moment[k]);
        if (ok) it->state->moment[k] = moment[k];
    }
    if (!ok) return false;
    it->state->step = step;
    it->state->dtype = it->param->dtype;
    return true;
}

bool lk_optimizer_set_state(const OptimizerIter *it, int64_t step, Tensor *first, Tensor *second,
                            Error *err)
{
    Tensor *const moment[LK_MOMENTS] = { first, second };
    return set_moments("lk_optimizer_set_state", it, step, moment, err);
}

bool lk_optimizer_set_moments(const OptimizerIter *it, int64_t step, Tensor *const *moments,
                              Error *err)
{
    const char *caller = "lk_optimizer_set_moments";
    if (moments) return set_moments(caller, it, step, moments, err);
    return lk_error_set(err, LK_EVALUE, "%s: the moments are NULL", caller);
}

/* ---- steps ---------------------------------------------------------------------------------- */

/* Whether a step updates p. A frozen parameter is never touched: neither weight decay nor an old
 * gradient changes it. */
static bool is_updated(const Tensor *p) { return p->requires_grad && p->grad; }

/* Makes zeros for the moments that are needed and not there yet. */
static bool prepare(const OptimizerIter *it, Error *err)
{
    const Tensor *p = it->param;
    OptimizerState *state = it->state;
    if (state->step == 0) state->dtype = p->dtype;
    if (state->dtype != p->dtype)
        return lk_error_set(
            err, LK_ESTATE,
            "lk_step: parameter %d was %s at its first step and is %s now; make a new %s",
            it->index, lk_dtype_name(state->dtype), lk_dtype_name(p->dtype),
            it->group->type->name);
    for (int k = 0, needed = it->group->type->moments(it->group); k < needed; k++) {
        if (!state->moment[k]) state->moment[k] = lk_tensor_new(p->dtype, p->ndim, p->shape, NULL);
        if (!state->moment[k])
            return lk_error_set(err, LK_EMEMORY,
                                "lk_step: no memory for the state of parameter %d (%lld elements)",
                                it->index, (long long)lk_numel(p));
    }
    return true;
}

/* Makes this thread take denormal numbers for 0 while parameters are updated. Returns the mode
 * before. Moments of a unit that is never active shrink by β at every step until they are denormal
 * numbers, which a processor handles a hundred times slower. */
static unsigned flush_denormals(void)
{
#ifdef __SSE2__
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* results (FTZ) and operands (DAZ) */
    return before;
#else
    return 0;
#endif
}

static void restore_denormals(unsigned before)
{
#ifdef __SSE2__
    _mm_setcsr(before);
#else
    (void)before;
#endif
}

static void update_range(const ParamGroup *group, int i, int64_t first, int64_t end)
{
    const Tensor *p = group->params.items[i];
    const OptimizerState *state = &group->state[i];
    size_t offset = (size_t)first * lk_dtype_size(p->dtype);
    OptimizerPiece piece = {
        p->dtype, end - first, (char *)p->data + offset, (char *)p->grad->data + offset, { NULL }
    };
    for (int k = 0; k < LK_MOMENTS; k++)
        if (state->moment[k]) piece.moment[k] = (char *)state->moment[k]->data + offset;
    group->type->update(group, state->step, &piece);
}

/* Returns where part i begins when n elements are cut into `parts` parts. Parts begin at whole
 * cache lines, because otherwise two threads would write one line in turn. */
static int64_t cut(int64_t n, int parts, int i)
{
    enum { LINE = 16 };
    int64_t first = (n + LINE - 1) / LINE * i / parts * LINE;
    return first < n ? first : n;
}

/* Updates all parameters in one pass. Every parameter is shared out to all threads, which wait for
 * each other once, at the end of the pass. */
static void update_all(Optimizer *opt, int64_t total)
{
    enum { WORTH_THREADS = 1 << 15 };
    const int parts = total > WORTH_THREADS ? lk_get_num_threads() : 1;
#pragma omp parallel if (parts > 1)
    {
        unsigned before = flush_denormals();
        for (OptimizerIter it = lk_optimizer_states(opt); lk_optimizer_states_next(&it);) {
            if (!is_updated(it.param)) continue;
            int64_t n = lk_numel(it.param);
#pragma omp for schedule(static) nowait
            for (int i = 0; i < parts; i++)
                update_range(it.group, it.item, cut(n, parts, i), cut(n, parts, i + 1));
        }
        restore_denormals(before);
    }
}

bool lk_step(Optimizer *opt, Error *err)
{
    if (!opt) return lk_error_set(err, LK_EVALUE, "lk_step: the optimizer is NULL");
    opt->steps++;
    opt->last_step = LK_STEP_REFUSED;
    /* Everything that can fail comes before the first change. */
    for (const ParamGroup *group = opt; group; group = group->next)
        if (!check_settings(group, "lk_step", err)) return false;
    for (OptimizerIter it = lk_optimizer_states(opt); lk_optimizer_states_next(&it);)
        if (is_updated(it.param) && !prepare(&it, err)) return false;

    int64_t total = 0;
    bool reuses = false;
    opt->last_step = LK_STEP_ALL_FROZEN;
    for (OptimizerIter it = lk_optimizer_states(opt); lk_optimizer_states_next(&it);) {
        if (it.param->requires_grad && opt->last_step == LK_STEP_ALL_FROZEN)
            opt->last_step = LK_STEP_NO_GRADIENT;
        if (!is_updated(it.param)) continue;
        if (opt->last_step != LK_STEP_MADE)
            opt->last_step = it.group->lr > 0 ? LK_STEP_MADE : LK_STEP_LR_0;
        reuses |= it.param->grad->is_used;
        it.param->grad->is_used = true;
        it.state->step++;
        total += lk_numel(it.param);
        lk_touch(it.param);
    }
    opt->reusing += reuses;
    update_all(opt, total);
    return true;
}

void lk_optimizer_zero_grad(Optimizer *opt)
{
    for (OptimizerIter it = lk_optimizer_states(opt); lk_optimizer_states_next(&it);)
        lk_zero_grad_(it.param);
}
