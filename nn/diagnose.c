/* diagnose.c - how far a training moves each parameter, and the causes that keep it from
 * moving. */
#include "nn/diagnose.h"

#include <math.h>
#include <string.h>

#include "core/decimal.h"
#include "core/memory.h"
#include "nn/adapter.h"
#include "nn/fields.h"
#include "nn/lora.h"

#define LK_REAL_SOURCE "nn/diagnose_real.h"
#include "core/real.h"

/* Parameters that have something in common: how many, and the name of the first one. */
typedef struct Found {
    int count;
    char first[LK_NAME_MAX];
} Found;

typedef struct Look {
    FILE *out;
    Module *net;
    Optimizer *opt;
    bool again;      /* there was a look before this one */
    int64_t steps;   /* calls of lk_step since then */
    int64_t reusing; /* those that used gradients again */
    int params, trainable;
    Found missing;            /* trainable, but not in the optimizer */
    Found foreign;            /* in the optimizer, but not in the net */
    Found idle;               /* foreign, and without a gradient */
    Found merged, off, stuck; /* trainable, but the adapters keep them from moving */
    Found not_finite;
    Found drifting; /* modules that are frozen and in training mode, with buffers */
    /* Of the parameters that could move, trainable and in the optimizer: */
    int free;
    Found with_gradient, without, zero;
    Found cleared; /* without a gradient now, but had one before */
    Found still;   /* not moved since the last look */
} Look;

static void note(Found *f, const char *name)
{
    if (f->count++ == 0) snprintf(f->first, sizeof f->first, "%s", name);
}

/* ---- one parameter -------------------------------------------------------------------------- */

/* Σ (s a - s b)², or Σ (s a)² if b is NULL. Both are contiguous. */
static double squares(const Tensor *a, const Tensor *b, double s)
{
    return LK_REAL(a->dtype, squares, lk_numel(a), a->data, b ? b->data : NULL, s);
}

/* Scaled by SMALL, no finite number has a square that overflows; scaled by LARGE, none has a
 * square that vanishes. */
static const double SMALL = 0x1p-600, LARGE = 0x1p600;

/* √Σ (a - b)², or √Σ a² if b is NULL. */
static double distance(const Tensor *a, const Tensor *b)
{
    const double norm = sqrt(squares(a, b, 1));
    if (norm > 0x1p-450 && norm < INFINITY) return norm;
    const double s = norm < 1 ? LARGE : SMALL;
    return sqrt(squares(a, b, s)) / s;
}

static bool is_finite(const Tensor *x) { return isfinite(squares(x, NULL, SMALL)); }

static bool is_zero(const Tensor *x) { return x && lk_count(x) == 0; }

static bool has_param(Optimizer *opt, const Tensor *x)
{
    for (OptimizerIter it = lk_optimizer_states(opt); lk_optimizer_states_next(&it);)
        if (it.param == x) return true;
    return false;
}

/* Returns the value of a parameter at the last look; NULL if it was not there, or had another
 * shape or dtype. */
static const Tensor *seen_value(const Optimizer *opt, const Tensor *x)
{
    for (int i = 0; opt && i < opt->seen.params.count; i++) {
        const Tensor *y = opt->seen.values.items[i];
        bool same_kind = y->dtype == x->dtype && lk_same_shape(x, y);
        if (opt->seen.params.items[i] == x) return same_kind ? y : NULL;
    }
    return NULL;
}

/* Whether a merged list of the net holds the parameter. */
static bool is_merged(Module *net, const Tensor *x)
{
    for (ModuleIter it = lk_modules(net); lk_modules_next(&it);) {
        if (it.module->type != &lk_parametrization_list_type) continue;
        const ParametrizationList *list = (const ParametrizationList *)it.module;
        if (list->merged && lk__has_param(it.module, x)) return true;
    }
    return false;
}

/* Returns the list for a trainable parameter that cannot move because of LoRA; NULL: it can move.
 * The gradient of one factor is a product with the other factor, so it is 0 as long as that factor
 * is 0. */
static Found *held_by(Look *l, const ParamIter *it)
{
    Module *m = it->modules.module;
    const LoRAParametrization *p = lk_as_lora_parametrization(m);
    const LoRALayer *layer = lk_as_lora_layer(m);
    if (is_merged(l->net, it->tensor)) return &l->merged;
    if (!p && !layer) return NULL;
    if (p ? !p->enabled || p->scale == 0 : layer->alpha == 0) return &l->off;
    const Tensor *A = lk_original(m, p ? "lora_A" : "A"), *B = lk_original(m, p ? "lora_B" : "B");
    const Tensor *other = it->tensor == A ? B : A;
    return is_zero(other) && (!other->requires_grad || is_zero(it->tensor)) ? &l->stuck : NULL;
}

static void judge(Look *l, const ParamIter *it, const Tensor *now, bool in_optimizer,
                  double gradient, double moved)
{
    const Tensor *x = it->tensor;
    l->params++;
    if ((now && !is_finite(now)) || (x->grad && !is_finite(x->grad)))
        note(&l->not_finite, it->name);
    if (!x->requires_grad) return;
    l->trainable++;
    Found *held = held_by(l, it);
    if (held) note(held, it->name);
    if (l->opt && !in_optimizer) note(&l->missing, it->name);
    if (held || !in_optimizer) return;
    l->free++;
    note(x->grad ? &l->with_gradient : &l->without, it->name);
    if (!x->grad && x->grad_room) note(&l->cleared, it->name);
    if (x->grad && gradient == 0) note(&l->zero, it->name);
    if (moved == 0) note(&l->still, it->name);
}

/* ---- the table ------------------------------------------------------------------------------ */

/* Returns x in three digits or, if it is not NULL, the text `none`. */
static const char *number(char text[32], double x, const char *none)
{
    if (none) return none;
    lk_snprintf(text, 32, "%.3g", x);
    return text;
}

static void print_row(Look *l, const ParamIter *it, int names, int shapes, Tensor *now)
{
    const Tensor *x = it->tensor, *before = seen_value(l->opt, x);
    const bool in_optimizer = l->opt && has_param(l->opt, x);
    char shape[LK_SHAPE_TEXT], a[32], b[32];
    const bool known = now && before;
    const char *in_opt = in_optimizer ? "yes" : "no";
    const double gradient = x->grad ? distance(x->grad, NULL) : 0;
    const double moved = known ? distance(now, before) : NAN;
    fprintf(l->out, "%-*s  %-*s  %-9s  %-9s  %8s  %8s\n", names, it->name, shapes,
            lk_shape_text(x, shape), x->requires_grad ? "yes" : "frozen", l->opt ? in_opt : "-",
            number(a, gradient, x->grad ? NULL : "none"), number(b, moved, known ? NULL : "-"));
    judge(l, it, now, in_optimizer, gradient, moved);
}

/* A copy, in float32 if x only stores; NULL without memory. */
static Tensor *value_now(const Tensor *x)
{
    Tensor *now = lk_clone(x, NULL);
    if (!now || !lk_only_stores(now->dtype) || lk_convert_(now, LK_F32, NULL)) return now;
    lk_tensor_free(now);
    return NULL;
}

/* Prints the rows, and keeps the values for the next look. */
static void print_table(Look *l)
{
    int names = (int)strlen("parameter"), shapes = (int)strlen("shape"), count = 0;
    for (ParamIter it = lk_params(l->net); lk_params_next(&it); count++) {
        char shape[LK_SHAPE_TEXT];
        int name = (int)strlen(it.name), size = (int)strlen(lk_shape_text(it.tensor, shape));
        names = name > names ? name : names;
        shapes = size > shapes ? size : shapes;
    }
    TensorList params = { .items = lk_mem_calloc((size_t)count + 1, sizeof(Tensor *)) };
    TensorList values = { .items = lk_mem_calloc((size_t)count + 1, sizeof(Tensor *)) };
    fprintf(l->out, "%-*s  %-*s  trainable  optimizer  gradient     moved\n", names, "parameter",
            shapes, "shape");
    for (ParamIter it = lk_params(l->net); lk_params_next(&it);) {
        Tensor *now = value_now(it.tensor);
        print_row(l, &it, names, shapes, now);
        if (params.items && values.items && now) {
            params.items[params.count++] = lk_tensor_retain(it.tensor);
            values.items[values.count++] = now;
        } else {
            lk_tensor_free(now);
        }
    }
    if (l->opt) {
        TensorList before[] = { l->opt->seen.params, l->opt->seen.values };
        l->opt->seen.params = params, l->opt->seen.values = values;
        params = before[0], values = before[1];
        l->opt->seen.steps = l->opt->steps;
        l->opt->seen.reusing = l->opt->reusing;
    }
    lk_tensor_list_free(&params);
    lk_tensor_list_free(&values);
}

/* ---- causes --------------------------------------------------------------------------------- */

/* "! 3 parameters (0.lora.A, …) TEXT" */
static void say(const Look *l, const Found *f, const char *kind, const char *text)
{
    if (f->count == 0) return;
    bool more = f->count > 1;
    fprintf(l->out, "! %d %sparameter%s (%s%s) %s\n", f->count, kind, more ? "s" : "", f->first,
            more ? ", …" : "", text);
}

static void say_if(const Look *l, bool holds, const char *text)
{
    if (holds) fprintf(l->out, "! %s\n", text);
}

/* Whether nothing can be trained at the learning rates that are set now. */
static bool has_no_rate(Optimizer *opt)
{
    for (OptimizerIter it = lk_optimizer_states(opt); lk_optimizer_states_next(&it);)
        if (it.param->requires_grad && it.group->lr > 0) return false;
    return true;
}

/* Says which call is missing between forward and step, for parameters that could move. */
static void print_step_causes(const Look *l)
{
    const OptimizerStep last = l->opt->last_step;
    const bool stood = l->steps == 0;
    const bool some = l->with_gradient.count > 0, had = l->cleared.count > 0;
    const bool none = !some && (stood ? had || l->again : last == LK_STEP_NO_GRADIENT);
    const bool rate = !has_no_rate(l->opt), zero = some && l->zero.count == l->with_gradient.count;
    const bool made = l->again && !stood && last == LK_STEP_MADE && some && !zero && rate;
    say_if(l, none && had,
           "The gradients were gone before lk_step: the order is "
           "lk_optimizer_zero_grad, lk_backward, lk_step.");
    say_if(l, none && !had,
           "No gradient has reached the net: no lk_backward, or of a loss of "
           "another net, of a copy, or of lk_detach.");
    say_if(l, stood && some,
           "There are gradients, and lk_step was not called: it comes behind "
           "lk_backward.");
    if (l->reusing > 0)
        fprintf(l->out,
                "! %lld of %lld steps used gradients of earlier steps too: lk_optimizer_zero_grad "
                "comes before lk_backward.\n",
                (long long)l->reusing, (long long)l->steps);
    say_if(l, !stood && last == LK_STEP_REFUSED,
           "The last lk_step returned false and changed nothing: its err says why.");
    say_if(l, !rate || (!stood && last == LK_STEP_LR_0),
           "The learning rate is 0: set opt->lr, or look at its schedule.");
    say_if(l, zero,
           "All gradients are 0: are all ReLUs 0, are all labels ignored, is the loss "
           "multiplied by 0?");
    say_if(l, made && l->still.count == l->free,
           "Steps were made, and no value has changed: lr times the gradient is too small; raise "
           "opt->lr.");
    if (some)
        say(l, &l->without, "trainable ",
            "get no gradient, as others do: the forward does not read them.");
}

/* Counts the optimizer's parameters that are not in the net. Those with gradients may belong to a
 * second net. */
static void find_foreign(Look *l)
{
    if (!l->opt) return;
    for (OptimizerIter it = lk_optimizer_states(l->opt); lk_optimizer_states_next(&it);) {
        if (lk__has_param(l->net, it.param)) continue;
        note(&l->foreign, "");
        if (!it.param->grad) note(&l->idle, "");
    }
}

static bool has_buffer(const Module *m)
{
    for (const Field *f = lk__first_field(m); f; f = lk__next_field(f))
        if (f->kind == LK_FIELD_BUFFER && *(Tensor *const *)lk__member(m, f)) return true;
    return false;
}

/* Says which frozen modules a forward may change all the same. */
static void print_drifting(Look *l)
{
    for (ModuleIter it = lk_modules(l->net); lk_modules_next(&it);) {
        Module *m = it.module;
        if (m->training && has_buffer(m) && lk_count_parameters(m) > 0 &&
            lk_count_trainable_parameters(m) == 0)
            note(&l->drifting, it.name);
    }
    const bool more = l->drifting.count > 1;
    if (l->drifting.count > 0)
        fprintf(l->out,
                "! %d frozen module%s (%s%s) %s in training mode, where running statistics move: "
                "lk_eval(net).\n",
                l->drifting.count, more ? "s" : "", l->drifting.first, more ? ", …" : "",
                more ? "are" : "is");
}

static void print_causes(Look *l)
{
    const char *const trainable = "trainable ";
    find_foreign(l);
    say_if(l, l->params > 0 && l->trainable == 0,
           "Everything is frozen: lk_require_grad(net, \"*\", true), or "
           "lk_train_only_lora(net, NULL).");
    if (l->foreign.count > 0 && l->missing.count + l->idle.count > 0)
        fprintf(l->out,
                "! %d of the optimizer's parameters are not the net's: make it after "
                "lk_deepcopy, lk_load_module_mapped and lk_module_set.\n",
                l->foreign.count);
    else
        say(l, &l->missing, trainable,
            "are not in the optimizer: make it after lk_add_lora, or "
            "lk_add_param_group.");
    for (ModuleIter it = lk_modules(l->net); lk_modules_next(&it);)
        say_if(l, it.module->unlisted && !lk__has_param(l->net, it.module->unlisted),
               "The forward reads a parameter that no table of fields lists: add LK_CHILD for the "
               "module that holds it, or LK_PARAM.");
    say(l, &l->merged, trainable, "are merged: lk_unmerge(net) comes before training.");
    say(l, &l->off, trainable,
        "belong to adapters that are off or scaled to 0: see "
        "lk_enable_lora, lk_scale_lora, alpha.");
    say(l, &l->stuck, trainable,
        "are multiplied by the other factor of LoRA, which is 0 and "
        "stays 0: unfreeze it, or fill it.");
    say(l, &l->not_finite, "",
        "or their gradients are not finite: a smaller lr, "
        "lk_clip_grad_norm_; values stay NaN.");
    print_drifting(l);
    if (l->free > 0 && l->not_finite.count == 0) print_step_causes(l);
}

void lk_print_training(FILE *out, Module *net, Optimizer *opt)
{
    Error err = { 0 };
    if (!out) return;
    if (!net || !lk_walkable(net, "lk_print_training", &err)) {
        fprintf(out, "%s\n", net ? err.message : "lk_print_training: the module is NULL");
        return;
    }
    Look l = { .out = out, .net = net, .opt = opt };
    l.again = opt && opt->seen.params.count > 0;
    l.steps = opt ? opt->steps - opt->seen.steps : 0;
    l.reusing = opt ? opt->reusing - opt->seen.reusing : 0;
    print_table(&l);
    print_causes(&l);
}
