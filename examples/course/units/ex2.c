/* ex2.c - LinearWithLoRA: y = linear(x) + lora(x). The page: ex2.md. */
#include "core/ops.h"
#include "examples/course/course.h"
#include "nn/linear.h"

typedef struct LinearWithLoRA {
    Module base;
    Module *linear; /* the Linear that the caller gives */
    Module *lora;   /* a LoRALayer of the same sizes, from ex1 */
} LinearWithLoRA;

/* x (…, in_features) → (…, out_features) */
static Tensor *linear_with_lora_forward(Tape *t, Module *self, Tensor *x)
{
    LinearWithLoRA *m = (LinearWithLoRA *)self;
    //> starter
    //    (void)m; /* m->linear, m->lora */
    //    (void)x;
    //    return lk_fail(t, LK_ESTATE, "linear_with_lora_forward: TODO 3: linear(x) + lora(x)");
    //> solution
    Tensor *plain = lk_forward(t, m->linear, x);
    Tensor *update = lk_forward(t, m->lora, x);
    return lk_add(t, plain, update);
    //> wrong lora_never_called: looks like LoRA never called
    //    return lk_forward(t, m->linear, x);
    //> wrong linear_missing: looks like the Linear missing
    //    return lk_forward(t, m->lora, x);
    //> wrong linear_twice: looks like the Linear twice
    //    Tensor *y = lk_forward(t, m->linear, x);
    //    y = lk_add(t, y, lk_forward(t, m->lora, x));
    //    return lk_add(t, y, lk_forward(t, m->linear, x));
    //> wrong linear_for_lora: looks like the Linear in the place of LoRA
    //    return lk_add(t, lk_forward(t, m->linear, x), lk_forward(t, m->linear, x));
    //> wrong bias_missing: looks like bias missing
    //    Tensor *W = ((Linear *)m->linear)->weight;
    //    return lk_add(t, lk_matmul(t, x, lk_T(t, W)), lk_forward(t, m->lora, x));
    //> wrong bias_twice: looks like bias twice
    //    Tensor *y = lk_add(t, lk_forward(t, m->linear, x), lk_forward(t, m->lora, x));
    //    return lk_add(t, y, ((Linear *)m->linear)->bias);
    //> wrong chained: looks like LoRA of the Linear's output
    //    return lk_forward(t, m->lora, lk_forward(t, m->linear, x));
    //> wrong residual: looks like LoRA of the Linear's output
    //    Tensor *y = lk_forward(t, m->linear, x);
    //    return lk_add(t, y, lk_forward(t, m->lora, y));
    //> wrong subtracted: looks like LoRA subtracted
    //    return lk_sub(t, lk_forward(t, m->linear, x), lk_forward(t, m->lora, x));
    //> wrong detached: looks like linear.weight treated as a constant
    //    Tensor *plain = lk_detach(t, lk_forward(t, m->linear, x));
    //    return lk_add(t, plain, lk_forward(t, m->lora, x));
    //> end
}

static const ModuleType linear_with_lora_type = {
    LK_CLASS(LinearWithLoRA), .forward = linear_with_lora_forward,
    //> starter
    //    /* TODO 1: .fields = LK_FIELDS(…), where linear and lora are each an LK_CHILD */
    //> solution
    .fields = LK_FIELDS(LK_CHILD(LinearWithLoRA, linear), LK_CHILD(LinearWithLoRA, lora)),
    //> wrong not_in_the_table: looks like not in the field table
    //    .fields = LK_FIELDS(LK_CHILD(LinearWithLoRA, linear)),
    //> end
};

/* Owns the linear from the first line on, also when it fails. */
Module *linear_with_lora_new(Module *linear, int64_t rank, double alpha, Rng *rng, Error *err)
{
    LinearWithLoRA *m = lk_module_new(&linear_with_lora_type, err);
    if (!m) {
        lk_free(linear);
        return NULL;
    }
    const Linear *l = lk_as_linear(linear); /* NULL when it is another class */
    if (!l) lk_error_set(err, LK_EVALUE, "linear_with_lora_new: this is no Linear");
    //> starter
    //    /* TODO 2: keep the linear in m. Then make m->lora with lora_layer_new, if there is an l:
    //     * l->in_features and l->out_features are its sizes. */
    //> solution
    m->linear = linear;
    if (l) m->lora = lora_layer_new(l->in_features, l->out_features, rank, alpha, rng, err);
    //> wrong sizes_exchanged: looks like in and out exchanged
    //    m->linear = linear;
    //    if (l) m->lora = lora_layer_new(l->out_features, l->in_features, rank, alpha, rng, err);
    //> wrong rank_and_alpha: looks like rank and alpha exchanged
    //    m->linear = linear;
    //    if (l)
    //        m->lora = lora_layer_new(l->in_features, l->out_features, (int64_t)alpha,
    //                                 (double)rank, rng, err);
    //> wrong alpha_one: looks like alpha forgotten
    //    m->linear = linear;
    //    if (l) m->lora = lora_layer_new(l->in_features, l->out_features, rank, 1.0, rng, err);
    //> wrong new_linear: looks like a new Linear
    //    if (l) m->linear = lk_linear_new(l->in_features, l->out_features, true, rng, err);
    //    if (l) m->lora = lora_layer_new(l->in_features, l->out_features, rank, alpha, rng, err);
    //    lk_free(linear);
    //> wrong never_set: looks like listed, but never set
    //    if (l) m->lora = lora_layer_new(l->in_features, l->out_features, rank, alpha, rng, err);
    //    lk_free(linear);
    //> wrong lora_is_linear: looks like wrong structure
    //    (void)rank, (void)alpha;
    //    m->linear = linear;
    //    if (l) m->lora = lk_linear_new(l->in_features, l->out_features, false, rng, err);
    //> wrong frozen: looks like linear.weight frozen
    //    m->linear = linear;
    //    if (l) m->lora = lora_layer_new(l->in_features, l->out_features, rank, alpha, rng, err);
    //    if (l) lk_set_requires_grad(l->weight, false);
    //> wrong no_null_test: looks like crash
    //    m->linear = linear;
    //    m->lora = lora_layer_new(l->in_features, l->out_features, rank, alpha, rng, err);
    //> wrong class_not_tested: looks like a module that is no Linear
    //    m->linear = linear;
    //    l = (const Linear *)linear;
    //    if (l) m->lora = lora_layer_new(l->in_features, l->out_features, rank, alpha, rng, err);
    //> wrong retained: looks like leak
    //    m->linear = lk_retain(linear);
    //    if (l) m->lora = lora_layer_new(l->in_features, l->out_features, rank, alpha, rng, err);
    //> wrong freed: looks like memory
    //    m->linear = linear;
    //    if (l) m->lora = lora_layer_new(l->in_features, l->out_features, rank, alpha, rng, err);
    //    lk_free(linear);
    //> wrong leak_on_failure: looks like leak
    //    Module *lora = NULL;
    //    if (l) lora = lora_layer_new(l->in_features, l->out_features, rank, alpha, rng, err);
    //    if (!lora) return NULL;
    //    m->linear = linear;
    //    m->lora = lora;
    //> wrong freed_twice_on_failure: looks like memory
    //    m->linear = linear;
    //    if (l) m->lora = lora_layer_new(l->in_features, l->out_features, rank, alpha, rng, err);
    //    if (!m->lora) lk_free(linear);
    //> wrong half_made: looks like a failure that is not passed on
    //    m->linear = linear;
    //    if (l) m->lora = lora_layer_new(l->in_features, l->out_features, rank, alpha, rng, err);
    //    if (l) return &m->base;
    //> end
    return lk_module_complete(&m->base, m->lora);
}

//> hint
// The class computes nothing by itself. It owns two modules, gives the same x to both and adds
// the results. The Linear comes from the caller. The LoRALayer is new, and as wide as the Linear.
//> hint
// y = (x Wᵀ + b) + alpha (x A B) = linear(x) + lora(x). A module is called by lk_forward(t, m, x).
// The sizes of the LoRALayer are the Linear's in_features and out_features, in this order.
//> hint
// return lk_add(t, lk_forward(t, m->linear, x), lk_forward(t, m->lora, x));
//> end
