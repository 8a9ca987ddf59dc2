/* optimizer.c - what all optimizers share: the list, the state, who is updated. The formulas: sgd.c, adam.c. */
#include "optim/optimizer.h"

#include <math.h>
#ifdef __SSE2__
#include <immintrin.h>
#endif

#include "core/memory.h"

/* ---- made and freed -------------------------------------------------------------------------------------------- */

static bool check_settings(const Optimizer *opt, const char *function, Error *err)
{
    const struct {
        const char *name;
        double value, below;
    } settings[] = {
        { "lr", opt->lr, INFINITY },       { "momentum", opt->momentum, INFINITY },
        { "beta1", opt->beta1, 1.0 },      { "beta2", opt->beta2, 1.0 },
        { "eps", opt->eps, INFINITY },     { "weight_decay", opt->weight_decay, INFINITY },
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (!(settings[i].value >= 0.0 && settings[i].value < settings[i].below)) /* NaN fails too */
            return lk_error_set(err, LK_EVALUE, "%s: %s of %s is %g; it must be at least 0 and %s", function,
                                settings[i].name, opt->type->name, settings[i].value,
                                settings[i].below < 2.0 ? "below 1" : "finite");
    return true;
}

static bool check_params(const Optimizer *opt, Error *err)
{
    const char *name = opt->type->name;
    const TensorList *list = &opt->params;
    bool trainable = false;
    for (int i = 0; i < list->count; i++) {
        const Tensor *p = list->items[i];
        /* What an operation made has no owner, and goes with its tape. */
        if (!p || p->refs == 0 || p->node)
            return lk_error_set(err, LK_EVALUE, "%s: parameter %d is %s; a parameter is a leaf made with _new", name, i,
                                p ? "the result of an operation" : "NULL");
        if (!lk_is_floating(p->dtype) || !lk_is_contiguous(p))
            return lk_error_set(err, LK_EVALUE, "%s: parameter %d is %s%s; it must be contiguous, float32 or float64",
                                name, i, lk_dtype_name(p->dtype), lk_is_contiguous(p) ? "" : " and strided");
        for (int j = 0; j < i; j++)
            if (list->items[j] == p)
                return lk_error_set(err, LK_EVALUE, "%s: parameters %d and %d are the same tensor; list it once", name,
                                    j, i);
        trainable = trainable || p->requires_grad;
    }
    return trainable || lk_error_set(err, LK_EVALUE, "%s: none of %d parameters has requires_grad; nothing to train",
                                     name, list->count);
}

Optimizer *lk_optimizer_new(const OptimizerType *type, TensorList params, double lr, Error *err)
{
    Optimizer *opt = lk_mem_calloc(1, sizeof *opt);
    if (!opt) {
        lk_error_set(err, LK_EMEMORY, "%s: no memory for an optimizer", type->name);
        lk_tensor_list_free(&params);
        return NULL;
    }
    *opt = (Optimizer){ .type = type, .lr = lr, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .params = params };
    if (check_settings(opt, "lk_optimizer_new", err) && check_params(opt, err)) {
        opt->state = lk_mem_calloc((size_t)params.count, sizeof *opt->state);
        if (opt->state) return opt;
        lk_error_set(err, LK_EMEMORY, "%s: no memory for the state of %d parameters", type->name, params.count);
    }
    lk_optimizer_free(opt);
    return NULL;
}

void lk_optimizer_free(Optimizer *opt)
{
    if (!opt) return;
    for (int i = 0; opt->state && i < opt->params.count; i++) {
        lk_mem_free(opt->state[i].moment[0]);
        lk_mem_free(opt->state[i].moment[1]);
    }
    lk_mem_free(opt->state);
    lk_tensor_list_free(&opt->params);
    lk_mem_free(opt);
}

/* ---- steps ----------------------------------------------------------------------------------------------------- */

/* Frozen means untouched, whatever gradient is left over from before: not even weight decay. */
static bool is_updated(const Tensor *p)
{
    return p->requires_grad && p->grad;
}

/* Zeros for the moments that are needed and not there yet. */
static bool prepare(const Optimizer *opt, int i, Error *err)
{
    const Tensor *p = opt->params.items[i];
    OptimizerState *state = &opt->state[i];
    if (state->step == 0) state->dtype = p->dtype;
    if (state->dtype != p->dtype)
        return lk_error_set(err, LK_ESTATE,
                            "lk_step: parameter %d was %s at its first step and is %s now; make a new %s", i,
                            lk_dtype_name(state->dtype), lk_dtype_name(p->dtype), opt->type->name);
    size_t count = (size_t)lk_numel(p);
    for (int k = 0, needed = opt->type->moments(opt); k < needed; k++) {
        if (state->moment[k]) continue;
        state->moment[k] = lk_mem_calloc(count ? count : 1, lk_dtype_size(p->dtype));
        if (!state->moment[k])
            return lk_error_set(err, LK_EMEMORY, "lk_step: no memory for the state of parameter %d (%zu elements)", i,
                                count);
    }
    return true;
}

/* Moments of a unit that is never active shrink by β at every step until they are denormal numbers, which a processor
 * handles a hundred times slower. While parameters are updated, this thread takes them for 0. Returns what it was. */
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

/* Elements of a parameter that are updated together: the borders depend on nothing but its size. */
enum { PIECE = 1 << 14 };

static void update_piece(const Optimizer *opt, int i, int64_t first)
{
    const Tensor *p = opt->params.items[i];
    const OptimizerState *state = &opt->state[i];
    int64_t rest = lk_numel(p) - first;
    size_t offset = (size_t)first * lk_dtype_size(p->dtype);
    OptimizerPiece piece = { p->dtype, rest < PIECE ? rest : PIECE, (char *)p->data + offset,
                             (char *)p->grad->data + offset, { NULL, NULL } };
    for (int k = 0; k < 2; k++)
        if (state->moment[k]) piece.moment[k] = (char *)state->moment[k] + offset;
    opt->type->update(opt, state->step, &piece);
}

/* One pass over all parameters; the threads wait for each other once, at its end. */
static void update_all(const Optimizer *opt, int64_t total)
{
    (void)total; /* without OpenMP */
#pragma omp parallel if (total > 2 * PIECE)
    {
        unsigned before = flush_denormals();
        for (int i = 0; i < opt->params.count; i++) {
            const Tensor *p = opt->params.items[i];
            int64_t n = is_updated(p) ? lk_numel(p) : 0;
#pragma omp for schedule(static) nowait
            for (int64_t first = 0; first < n; first += PIECE) update_piece(opt, i, first);
        }
        restore_denormals(before);
    }
}

bool lk_step(Optimizer *opt, Error *err)
{
    if (!opt) return lk_error_set(err, LK_EVALUE, "lk_step: the optimizer is NULL");
    /* Everything that can fail comes before the first change. */
    if (!check_settings(opt, "lk_step", err)) return false;
    for (int i = 0; i < opt->params.count; i++)
        if (is_updated(opt->params.items[i]) && !prepare(opt, i, err)) return false;

    int64_t total = 0;
    for (int i = 0; i < opt->params.count; i++) {
        Tensor *p = opt->params.items[i];
        if (!is_updated(p)) continue;
        opt->state[i].step++;
        total += lk_numel(p);
        lk_touch(p);
    }
    update_all(opt, total);
    return true;
}

void lk_optimizer_zero_grad(Optimizer *opt)
{
    for (int i = 0; opt && i < opt->params.count; i++) lk_zero_grad_(opt->params.items[i]);
}
