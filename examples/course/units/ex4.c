/* ex4.c - LinearWithLoRAMerged: one product with W + alpha (A B)ᵀ. The page: ex4.md. */
#include "core/ops.h"
#include "examples/course/course.h"
#include "examples/course/given/lora_layer.h"
#include "nn/linear.h"

typedef struct LinearWithLoRAMerged {
    Module base;
    Module *linear; /* a Linear: weight (out, in), bias (out) or NULL */
    Module *lora;   /* a LoRALayer: A (in, rank), B (rank, out), alpha */
    //> wrong merged_once: looks like merged once in the constructor
    //    Tensor *combined;
    //> wrong kept: looks like merged at the first call
    //    Tensor *combined;
    //> wrong update_in_the_struct: looks like kept from the first call
    //    Tensor *kept;
    //> end
} LinearWithLoRAMerged;

/* x (…, in) → (…, out) */
static Tensor *linear_with_lora_merged_forward(Tape *t, Module *self, Tensor *x)
{
    LinearWithLoRAMerged *m = (LinearWithLoRAMerged *)self;
    const Linear *linear = (const Linear *)m->linear;
    const LoRALayer *lora = (const LoRALayer *)m->lora;
    //> starter
    //    (void)linear; /* linear->weight, linear->bias */
    //    (void)lora;   /* lora->A, lora->B, lora->alpha */
    //    (void)x;
    //    /* TODO 1: the product of A and B, which is (in, out).
    //     * TODO 2: transposed, so that it has the shape of weight, and times alpha.
    //     * TODO 3: weight and this, added; then lk_linear with the sum and the bias. */
    //    return lk_fail(t, LK_ESTATE, "linear_with_lora_merged_forward: TODO 1: A B");
    //> solution
    Tensor *AB = lk_matmul(t, lora->A, lora->B);            /* (in, out) */
    Tensor *update = lk_scale(t, lk_T(t, AB), lora->alpha); /* (out, in) */
    Tensor *combined = lk_add(t, linear->weight, update);
    return lk_linear(t, x, combined, linear->bias);
    //> wrong alpha_forgotten: looks like alpha forgotten
    //    Tensor *update = lk_T(t, lk_matmul(t, lora->A, lora->B));
    //    return lk_linear(t, x, lk_add(t, linear->weight, update), linear->bias);
    //> wrong alpha_twice: looks like alpha twice
    //    Tensor *A = lk_scale(t, lora->A, lora->alpha), *B = lk_scale(t, lora->B, lora->alpha);
    //    Tensor *update = lk_T(t, lk_matmul(t, A, B));
    //    return lk_linear(t, x, lk_add(t, linear->weight, update), linear->bias);
    //> wrong alpha_over_rank: looks like alpha divided by the rank
    //    double scale = lora->alpha / (double)lk_size(lora->A, 1);
    //    Tensor *update = lk_scale(t, lk_T(t, lk_matmul(t, lora->A, lora->B)), scale);
    //    return lk_linear(t, x, lk_add(t, linear->weight, update), linear->bias);
    //> wrong alpha_times_weight: looks like alpha times W too
    //    Tensor *update = lk_T(t, lk_matmul(t, lora->A, lora->B));
    //    Tensor *combined = lk_scale(t, lk_add(t, linear->weight, update), lora->alpha);
    //    return lk_linear(t, x, combined, linear->bias);
    //> wrong not_transposed: looks like A B not transposed
    //    Tensor *update = lk_scale(t, lk_matmul(t, lora->A, lora->B), lora->alpha);
    //    return lk_linear(t, x, lk_add(t, linear->weight, update), linear->bias);
    //> wrong reshaped: looks like reshape for transpose
    //    Tensor *AB = lk_scale(t, lk_matmul(t, lora->A, lora->B), lora->alpha);
    //    int64_t out = lk_size(linear->weight, 0), in = lk_size(linear->weight, 1);
    //    Tensor *update = lk_reshape(t, AB, LK_SHAPE(out, in));
    //    return lk_linear(t, x, lk_add(t, linear->weight, update), linear->bias);
    //> wrong weight_not_transposed: looks like W not transposed
    //    Tensor *update = lk_scale(t, lk_T(t, lk_matmul(t, lora->A, lora->B)), lora->alpha);
    //    Tensor *y = lk_matmul(t, x, lk_add(t, linear->weight, update));
    //    return lk_add(t, y, linear->bias);
    //> wrong weight_transposed: looks like W transposed for lk_linear
    //    Tensor *update = lk_scale(t, lk_matmul(t, lora->A, lora->B), lora->alpha);
    //    Tensor *combined = lk_add(t, lk_T(t, linear->weight), update);
    //    return lk_linear(t, x, combined, linear->bias);
    //> wrong other_way: looks like A and B exchanged
    //    Tensor *update = lk_scale(t, lk_matmul(t, lora->B, lora->A), lora->alpha);
    //    return lk_linear(t, x, lk_add(t, linear->weight, update), linear->bias);
    //> wrong bias_missing: looks like bias missing
    //    Tensor *update = lk_scale(t, lk_T(t, lk_matmul(t, lora->A, lora->B)), lora->alpha);
    //    return lk_linear(t, x, lk_add(t, linear->weight, update), NULL);
    //> wrong bias_twice: looks like bias twice
    //    Tensor *update = lk_scale(t, lk_T(t, lk_matmul(t, lora->A, lora->B)), lora->alpha);
    //    Tensor *y = lk_linear(t, x, lk_add(t, linear->weight, update), linear->bias);
    //    return lk_add(t, y, linear->bias);
    //> wrong no_bias_forgotten: looks like a Linear without bias forgotten
    //    Tensor *update = lk_scale(t, lk_T(t, lk_matmul(t, lora->A, lora->B)), lora->alpha);
    //    Tensor *combined = lk_add(t, linear->weight, update);
    //    return lk_add(t, lk_matmul(t, x, lk_T(t, combined)), linear->bias);
    //> wrong lora_never_used: looks like LoRA never used
    //    (void)lora;
    //    return lk_linear(t, x, linear->weight, linear->bias);
    //> wrong lora_twice: looks like LoRA twice
    //    Tensor *update = lk_scale(t, lk_T(t, lk_matmul(t, lora->A, lora->B)), lora->alpha);
    //    Tensor *y = lk_linear(t, x, lk_add(t, linear->weight, update), linear->bias);
    //    return lk_add(t, y, lk_forward(t, m->lora, x));
    //> wrong alpha_times_output: looks like alpha times the output
    //    Tensor *update = lk_T(t, lk_matmul(t, lora->A, lora->B));
    //    Tensor *combined = lk_add(t, linear->weight, update);
    //    return lk_scale(t, lk_linear(t, x, combined, linear->bias), lora->alpha);
    //> wrong multiplied: looks like lk_mul for lk_add
    //    Tensor *update = lk_scale(t, lk_T(t, lk_matmul(t, lora->A, lora->B)), lora->alpha);
    //    return lk_linear(t, x, lk_mul(t, linear->weight, update), linear->bias);
    //> wrong weight_missing: looks like W missing
    //    Tensor *update = lk_scale(t, lk_T(t, lk_matmul(t, lora->A, lora->B)), lora->alpha);
    //    return lk_linear(t, x, update, linear->bias);
    //> wrong linear_twice: looks like the Linear twice
    //    Tensor *update = lk_scale(t, lk_T(t, lk_matmul(t, lora->A, lora->B)), lora->alpha);
    //    Tensor *y = lk_linear(t, x, lk_add(t, linear->weight, update), linear->bias);
    //    return lk_add(t, y, lk_forward(t, m->linear, x));
    //> wrong not_merged: looks like two products instead of one
    //    (void)linear;
    //    (void)lora;
    //    return lk_add(t, lk_forward(t, m->linear, x), lk_forward(t, m->lora, x));
    //> wrong merged_once: looks like merged once in the constructor
    //    (void)lora;
    //    return lk_linear(t, x, m->combined, linear->bias);
    //> wrong kept: looks like merged at the first call
    //    if (!m->combined) {
    //        Tensor *update = lk_scale(t, lk_T(t, lk_matmul(t, lora->A, lora->B)), lora->alpha);
    //        m->combined = lk_add(t, linear->weight, update);
    //    }
    //    return lk_linear(t, x, m->combined, linear->bias);
    //> wrong update_kept: looks like kept from the first call
    //    static Tensor *kept;
    //    Tensor *update = lk_scale(t, lk_T(t, lk_matmul(t, lora->A, lora->B)), lora->alpha);
    //    if (!kept) kept = lk_clone(update, NULL);
    //    return lk_linear(t, x, lk_add(t, linear->weight, kept), linear->bias);
    //> wrong update_in_the_struct: looks like kept from the first call
    //    Tensor *update = lk_scale(t, lk_T(t, lk_matmul(t, lora->A, lora->B)), lora->alpha);
    //    if (!m->kept) m->kept = lk_clone(update, NULL);
    //    return lk_linear(t, x, lk_add(t, linear->weight, m->kept), linear->bias);
    //> wrong in_place: looks like merged into W itself
    //    Error err = { 0 };
    //    Tensor *update = lk_scale(t, lk_T(t, lk_matmul(t, lora->A, lora->B)), lora->alpha);
    //    if (!lk_copy_(linear->weight, lk_add(t, linear->weight, update), &err)) return NULL;
    //    return lk_linear(t, x, linear->weight, linear->bias);
    //> wrong frozen: looks like linear.weight frozen
    //    lk_set_requires_grad(linear->weight, false);
    //    Tensor *update = lk_scale(t, lk_T(t, lk_matmul(t, lora->A, lora->B)), lora->alpha);
    //    return lk_linear(t, x, lk_add(t, linear->weight, update), linear->bias);
    //> wrong no_grad_left_on: looks like no-grad mode left on
    //    lk_tape_set_grad(t, false);
    //    Tensor *update = lk_scale(t, lk_T(t, lk_matmul(t, lora->A, lora->B)), lora->alpha);
    //    return lk_linear(t, x, lk_add(t, linear->weight, update), linear->bias);
    //> wrong without_gradient: looks like the merge cut from the graph
    //    bool before = lk_tape_set_grad(t, false);
    //    Tensor *update = lk_scale(t, lk_T(t, lk_matmul(t, lora->A, lora->B)), lora->alpha);
    //    Tensor *combined = lk_add(t, linear->weight, update);
    //    lk_tape_set_grad(t, before);
    //    return lk_linear(t, x, combined, linear->bias);
    //> wrong detached: looks like lora.A treated as a constant
    //    Tensor *AB = lk_detach(t, lk_matmul(t, lora->A, lora->B));
    //    Tensor *update = lk_scale(t, lk_T(t, AB), lora->alpha);
    //    return lk_linear(t, x, lk_add(t, linear->weight, update), linear->bias);
    //> wrong leak: looks like leak
    //    lk_retain(linear->weight);
    //    Tensor *update = lk_scale(t, lk_T(t, lk_matmul(t, lora->A, lora->B)), lora->alpha);
    //    return lk_linear(t, x, lk_add(t, linear->weight, update), linear->bias);
    //> end
}

static const ModuleType linear_with_lora_merged_type = {
    LK_CLASS(LinearWithLoRAMerged), .forward = linear_with_lora_merged_forward,
    //> starter
    //    .fields = LK_FIELDS(LK_CHILD(LinearWithLoRAMerged, linear),
    //                        LK_CHILD(LinearWithLoRAMerged, lora)),
    //> solution
    .fields =
        LK_FIELDS(LK_CHILD(LinearWithLoRAMerged, linear), LK_CHILD(LinearWithLoRAMerged, lora)),
    //> wrong merged_once: looks like merged once in the constructor
    //    .fields = LK_FIELDS(LK_CHILD(LinearWithLoRAMerged, linear),
    //                        LK_CHILD(LinearWithLoRAMerged, lora),
    //                        LK_BUFFER(LinearWithLoRAMerged, combined)),
    //> end
};

/* As in ex2. */
Module *linear_with_lora_merged_new(Module *linear, int64_t rank, double alpha, Rng *rng,
                                    Error *err)
{
    LinearWithLoRAMerged *m = lk_module_new(&linear_with_lora_merged_type, err);
    if (!m) {
        lk_free(linear);
        return NULL;
    }
    m->linear = linear;
    const Linear *l = lk_as_linear(linear);
    if (!l) lk_error_set(err, LK_EVALUE, "linear_with_lora_merged_new: this is no Linear");
    if (l) m->lora = lora_layer_new(l->in_features, l->out_features, rank, alpha, rng, err);
    //> wrong merged_once: looks like merged once in the constructor
    //    Tape *t = m->lora ? lk_tape_no_grad_new(err) : NULL;
    //    const LoRALayer *lora = (const LoRALayer *)m->lora;
    //    if (t) {
    //        Tensor *update = lk_scale(t, lk_T(t, lk_matmul(t, lora->A, lora->B)), alpha);
    //        m->combined = lk_clone(lk_add(t, l->weight, update), err);
    //    }
    //    lk_tape_free(t);
    //> end
    return lk_module_complete(&m->base, m->lora);
}

//> hint
// Add the weights first and multiply x once: x W'ᵀ with W' = W and LoRA's update. Form W' at every
// call, from W, A and B as they are then. W itself stays as it is.
//> hint
// W' = W + alpha (A B)ᵀ. A B is (in, out), because rows are multiplied from the right. W is
// (out, in). So transpose: lk_T exchanges rows and columns. The bias goes into lk_linear.
//> hint
// Tensor *update = lk_scale(t, lk_T(t, lk_matmul(t, lora->A, lora->B)), lora->alpha);
// return lk_linear(t, x, lk_add(t, linear->weight, update), linear->bias);
//> end
