/* lora.c - LoRA as the course's exercises write it: a layer, and two ways to put it beside a
 * Linear.
 *
 * The forms stand here literally. The forward functions of the two wrappers run an equal form that
 * takes one operation (nn/low_rank.c); tests/nn/test_lora_forms.c compares both. */
#include "nn/lora.h"

#include <math.h>

#include "core/ops.h"
#include "nn/constructor.h"
#include "nn/low_rank.h"
#include "nn/parametrize.h"

/* ---- exercise 1: LoRALayer ------------------------------------------------------------------ */

/* alpha (x A B), computed from the left, since x A has only `rank` columns */
static Tensor *lora_layer_forward(Tape *t, Module *self, Tensor *x)
{
    LoRALayer *l = (LoRALayer *)self;
    Tensor *low_rank = lk_matmul(t, x, lk_param(t, self, &l->A));
    return lk_scale(t, lk_matmul(t, low_rank, lk_param(t, self, &l->B)), l->alpha);
}

const ModuleType lk_lora_layer_type = {
    LK_CLASS(LoRALayer),
    .forward = lora_layer_forward,
    .fields =
        LK_FIELDS(LK_PARAM(LoRALayer, A), LK_PARAM(LoRALayer, B), LK_DOUBLE(LoRALayer, alpha)),
};
LK_DOWNCAST(LoRALayer, lk_lora_layer_type, lk_as_lora_layer)

Module *lk_lora_layer_new(int64_t in_dim, int64_t out_dim, int64_t rank, double alpha, Rng *rng,
                          Error *err)
{
    const NamedSize sizes[] = { { "in_dim", in_dim }, { "out_dim", out_dim }, { "rank", rank } };
    const ParamShape shapes[] = { { LK_SHAPE(in_dim, rank) }, { LK_SHAPE(rank, out_dim) } };
    if (!lk__can_draw("lk_lora_layer_new", 3, sizes, rng, err)) return NULL;
    LoRALayer *l = lk_module_with_params_new(&lk_lora_layer_type, 2, shapes, err);
    if (!l) return NULL;
    l->alpha = alpha;
    /* A = randn(in, rank) * std is a product of floats: a division by √rank would give other bits.
     * B stays 0. */
    float std_dev = 1.0f / sqrtf((float)rank), *a = l->A->data;
    lk_normal_(l->A, 0.0, 1.0, rng);
    for (int64_t i = 0, n = lk_numel(l->A); i < n; i++) a[i] *= std_dev;
    lk_touch(l->A);
    return &l->base;
}

/* ---- exercise 2: LinearWithLoRA ------------------------------------------------------------- */

/* linear(x) + lora(x) */
Tensor *lk__linear_with_lora_literal(Tape *t, Module *self, Tensor *x)
{
    LinearWithLoRA *m = (LinearWithLoRA *)self;
    return lk_add(t, lk_forward(t, m->linear, x), lk_forward(t, m->lora, x));
}

static LoRAPair pair_of(Module *self);

static Tensor *linear_with_lora_forward(Tape *t, Module *self, Tensor *x)
{
    return lk__linear_plus_lora(t, pair_of(self), x); /* the same, in one operation */
}

/* ---- exercise 4: LinearWithLoRAMerged ------------------------------------------------------- */

/* linear(x) with the weight W + alpha (A B)ᵀ */
Tensor *lk__linear_with_lora_merged_literal(Tape *t, Module *self, Tensor *x)
{
    LinearWithLoRAMerged *m = (LinearWithLoRAMerged *)self;
    double alpha = ((LoRALayer *)m->lora)->alpha;
    Tensor *A = lk_param_named(t, m->lora, "A"), *B = lk_param_named(t, m->lora, "B");
    Tensor *W = lk_param_named(t, m->linear, "weight"), *b = lk_param_named(t, m->linear, "bias");
    Tensor *combined = lk_add(t, W, lk_scale(t, lk_T(t, lk_matmul(t, A, B)), alpha));
    return lk_linear(t, x, combined, b);
}

static Tensor *linear_with_lora_merged_forward(Tape *t, Module *self, Tensor *x)
{
    LinearWithLoRAMerged *m = (LinearWithLoRAMerged *)self;
    /* the same, without forming `combined` or with the one that is kept */
    return lk__linear_merged_lora(t, pair_of(self), &m->combined, &m->combined_state, x);
}

/* ---- the two wrappers: types and constructors ----------------------------------------------- */

/* Returns the children as the fast forms take them. They are read anew at every call, since they
 * can be replaced at any time. */
static LoRAPair pair_of(Module *self)
{
    LinearWithLoRA *m = (LinearWithLoRA *)self;
    LoRALayer *l = lk_as_lora_layer(m->lora);
    LoRAPair pair = { .wrapper = self, .linear = m->linear, .lora = m->lora };
    if (!l) return pair;
    pair.A = &l->A;
    pair.B = &l->B;
    pair.alpha = l->alpha;
    return pair;
}

static const Field linear_with_lora_fields[] = {
    LK_CHILD(LinearWithLoRA, linear),
    LK_CHILD(LinearWithLoRA, lora),
    LK_NON_PERSISTENT(LinearWithLoRA, combined),
    LK_END,
};

const ModuleType lk_linear_with_lora_type = {
    LK_CLASS(LinearWithLoRA),
    .forward = linear_with_lora_forward,
    .fields = linear_with_lora_fields,
    .kept = offsetof(LinearWithLoRA, combined),
};
LK_DOWNCAST(LinearWithLoRA, lk_linear_with_lora_type, lk_as_linear_with_lora)

const ModuleType lk_linear_with_lora_merged_type = {
    LK_CLASS(LinearWithLoRAMerged),
    .forward = linear_with_lora_merged_forward,
    .fields = linear_with_lora_fields,
    .kept = offsetof(LinearWithLoRA, combined),
};
LK_DOWNCAST(LinearWithLoRAMerged, lk_linear_with_lora_merged_type, lk_as_linear_with_lora_merged)

static Module *wrap(const ModuleType *type, Module *linear, int64_t rank, double alpha, Rng *rng,
                    Error *err)
{
    const Linear *l = lk_as_linear(linear);
    if (!l)
        lk_error_set(err, LK_EVALUE, "%s: wraps a Linear, not %s", type->name,
                     linear ? linear->type->name : "NULL");
    LinearWithLoRA *m = l ? lk_module_new(type, err) : NULL;
    if (!m) {
        lk_module_free(linear);
        return NULL;
    }
    m->linear = linear;
    m->lora = lk_lora_layer_new(l->in_features, l->out_features, rank, alpha, rng, err);
    DType dtype = lk__adapter_dtype(lk_original(linear, "weight"));
    return lk_module_complete(&m->base, m->lora && lk_module_to(m->lora, dtype, err));
}

Module *lk_linear_with_lora_new(Module *linear, int64_t rank, double alpha, Rng *rng, Error *err)
{
    return wrap(&lk_linear_with_lora_type, linear, rank, alpha, rng, err);
}

Module *lk_linear_with_lora_merged_new(Module *linear, int64_t rank, double alpha, Rng *rng,
                                       Error *err)
{
    return wrap(&lk_linear_with_lora_merged_type, linear, rank, alpha, rng, err);
}
