/* lora.c - LoRA as the course's exercises write it: a layer, and two ways to put it beside a
 * Linear. */
#include "nn/lora.h"

#include <math.h>

#include "core/ops.h"
#include "nn/fields.h"

/* ---- exercise 1: LoRALayer ------------------------------------------------------------------ */

/* alpha * (x @ A @ B), from the left: x A has only rank columns */
static Tensor *lora_layer_forward(Tape *t, Module *self, Tensor *x)
{
    LoRALayer *l = (LoRALayer *)self;
    Tensor *low_rank = lk_matmul(t, x, lk_param(t, self, &l->A));
    return lk_scale(t, lk_matmul(t, low_rank, lk_param(t, self, &l->B)), l->alpha);
}

const ModuleType lk_lora_layer_type = {
    .name = "LoRALayer",
    .size = sizeof(LoRALayer),
    .forward = lora_layer_forward,
    .fields =
        LK_FIELDS(LK_PARAM(LoRALayer, A), LK_PARAM(LoRALayer, B), LK_DOUBLE(LoRALayer, alpha)),
};

Module *lk_lora_layer_new(int64_t in_dim, int64_t out_dim, int64_t rank, double alpha, Rng *rng,
                          Error *err)
{
    if (in_dim <= 0 || out_dim <= 0 || rank <= 0) {
        lk_error_set(
            err, LK_EVALUE,
            "lk_lora_layer_new: %lld inputs, %lld outputs, rank %lld; all must be positive",
            (long long)in_dim, (long long)out_dim, (long long)rank);
        return NULL;
    }
    if (!lk_has_rng("lk_lora_layer_new", rng, err)) return NULL;
    LoRALayer *l = lk_module_new(&lk_lora_layer_type, err);
    if (!l) return NULL;
    l->alpha = alpha;
    l->A = lk_param_new(LK_F32, LK_SHAPE(in_dim, rank), err);
    l->B = l->A ? lk_param_new(LK_F32, LK_SHAPE(rank, out_dim), err) : NULL;
    if (!l->B) {
        lk_module_free(&l->base);
        return NULL;
    }
    /* A = randn(in, rank) * std: a product of floats, whose bits a division by √rank would not
     * give. B stays 0. */
    float std_dev = 1.0f / sqrtf((float)rank), *a = l->A->data;
    lk_normal_(l->A, 0.0, 1.0, rng);
    for (int64_t i = 0, n = lk_numel(l->A); i < n; i++) a[i] *= std_dev;
    lk_touch(l->A);
    return &l->base;
}

LoRALayer *lk_as_lora_layer(Module *m)
{
    return m && m->type == &lk_lora_layer_type ? (LoRALayer *)m : NULL;
}

/* ---- exercises 2 and 4: a Linear and a LoRALayer, side by side ------------------------------ */

/* Children can be replaced at any time: forward may take them for what they must be only after
 * this. */
static bool check_pair(Tape *t, const LinearWithLoRA *m)
{
    const char *name = m->base.type->name;
    const Linear *linear = lk_as_linear(m->linear);
    const LoRALayer *lora = lk_as_lora_layer(m->lora);
    if (!linear || !lora) {
        lk_fail(t, LK_EVALUE, "%s: holds %s and %s, not a Linear and a LoRALayer", name,
                m->linear ? m->linear->type->name : "NULL",
                m->lora ? m->lora->type->name : "NULL");
        return false;
    }
    /* Not left to the operations: broadcasting would accept an adapter with a single output. */
    const Tensor *weight = lk_original(m->linear, "weight"), *A = lk_original(m->lora, "A"),
                 *B = lk_original(m->lora, "B");
    int64_t in = lk_size(weight, 1), out = lk_size(weight, 0);
    if (lk_size(A, 0) == in && lk_size(B, 1) == out) return true;
    lk_fail(t, LK_ESHAPE,
            "%s: a Linear from %lld to %lld and a LoRALayer from %lld to %lld; they must agree",
            name, (long long)in, (long long)out, (long long)lk_size(A, 0),
            (long long)lk_size(B, 1));
    return false;
}

/* What the two forwards share: the pair's parameters, A and B turned to (rank, in) and (out,
 * rank). */
typedef struct Pair {
    Tensor *weight, *bias, *A, *B;
    double alpha;
} Pair;

static Pair read_pair(Tape *t, const LinearWithLoRA *m)
{
    Linear *linear = lk_as_linear(m->linear);
    LoRALayer *lora = lk_as_lora_layer(m->lora);
    return (Pair){ lk_param(t, m->linear, &linear->weight), lk_param(t, m->linear, &linear->bias),
                   lk_T(t, lk_param(t, m->lora, &lora->A)),
                   lk_T(t, lk_param(t, m->lora, &lora->B)), lora->alpha };
}

/* linear(x) + lora(x), in one operation */
static Tensor *linear_with_lora_forward(Tape *t, Module *self, Tensor *x)
{
    LinearWithLoRA *m = (LinearWithLoRA *)self;
    if (!check_pair(t, m)) return NULL;
    Pair p = read_pair(t, m);
    return lk_linear_plus_lora(t, x, p.weight, p.bias, p.A, p.B, p.alpha);
}

/* W + alpha (A B)ᵀ */
static Tensor *combine(Tape *t, const void *pair)
{
    Pair p = read_pair(t, pair);
    return lk_add(t, p.weight, lk_scale(t, lk_matmul(t, p.B, p.A), p.alpha));
}

/* x (W + alpha (A B)ᵀ)ᵀ + b = x Wᵀ + b + alpha x A B: the same function, its weights combined
 * first. Where a gradient is recorded they are combined on paper only: x Wᵀ + alpha (x A) B moves
 * a fraction of the memory. */
static Tensor *linear_with_lora_merged_forward(Tape *t, Module *self, Tensor *x)
{
    LinearWithLoRAMerged *m = (LinearWithLoRAMerged *)self;
    if (!check_pair(t, m)) return NULL;
    Pair p = read_pair(t, m);
    if (!lk_tape_grad(t)) {
        uint64_t state = lk_module_state(m->lora, lk_module_state(m->linear, 0));
        return lk_linear(t, x, lk_kept(t, &m->kept, &m->kept_state, state, combine, m), p.bias);
    }
    return lk_linear_lora(t, x, p.weight, p.bias, p.A, p.B, p.alpha);
}

static const Field linear_with_lora_fields[] = {
    LK_CHILD(LinearWithLoRA, linear),
    LK_CHILD(LinearWithLoRA, lora),
    LK_NON_PERSISTENT(LinearWithLoRA, kept),
    LK_END,
};

const ModuleType lk_linear_with_lora_type = {
    .name = "LinearWithLoRA",
    .size = sizeof(LinearWithLoRA),
    .forward = linear_with_lora_forward,
    .fields = linear_with_lora_fields,
};

const ModuleType lk_linear_with_lora_merged_type = {
    .name = "LinearWithLoRAMerged",
    .size = sizeof(LinearWithLoRAMerged),
    .forward = linear_with_lora_merged_forward,
    .fields = linear_with_lora_fields,
};

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
    if (m->lora && lk_module_to(m->lora, lk_original(linear, "weight")->dtype, err))
        return &m->base;
    lk_module_free(&m->base);
    return NULL;
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

LinearWithLoRA *lk_as_linear_with_lora(Module *m)
{
    return m && m->type == &lk_linear_with_lora_type ? (LinearWithLoRA *)m : NULL;
}

LinearWithLoRAMerged *lk_as_linear_with_lora_merged(Module *m)
{
    return m && m->type == &lk_linear_with_lora_merged_type ? (LinearWithLoRAMerged *)m : NULL;
}
