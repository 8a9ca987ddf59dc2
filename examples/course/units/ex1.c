/* ex1.c - LoRALayer: y = alpha (x A B). The page: ex1.md. */
#include <math.h>

#include "core/ops.h"
#include "examples/course/course.h"
#include "nn/module.h"

typedef struct LoRALayer {
    Module base; /* every module begins with it */
    Tensor *A;   /* (in_dim, rank) */
    Tensor *B;   /* (rank, out_dim) */
    double alpha;
} LoRALayer;

/* x (…, in_dim) → (…, out_dim) */
static Tensor *lora_layer_forward(Tape *t, Module *self, Tensor *x)
{
    LoRALayer *l = (LoRALayer *)self;
    //> starter
    //    (void)l; /* l->A, l->B, l->alpha */
    //    (void)x;
    //    return lk_fail(t, LK_ESTATE, "lora_layer_forward: TODO 3: alpha (x A B)");
    //> solution
    Tensor *low_rank = lk_matmul(t, x, l->A);
    Tensor *update = lk_matmul(t, low_rank, l->B);
    return lk_scale(t, update, l->alpha);
    //> wrong alpha_forgotten: looks like alpha forgotten
    //    return lk_matmul(t, lk_matmul(t, x, l->A), l->B);
    //> wrong alpha_twice: looks like alpha twice
    //    Tensor *low_rank = lk_scale(t, lk_matmul(t, x, l->A), l->alpha);
    //    return lk_scale(t, lk_matmul(t, low_rank, l->B), l->alpha);
    //> wrong alpha_over_rank: looks like alpha divided by the rank
    //    Tensor *update = lk_matmul(t, lk_matmul(t, x, l->A), l->B);
    //    return lk_scale(t, update, l->alpha / (double)lk_size(l->A, 1));
    //> wrong alpha_over_root: looks like alpha divided by the root of the rank
    //    Tensor *update = lk_matmul(t, lk_matmul(t, x, l->A), l->B);
    //    return lk_scale(t, update, l->alpha / sqrt((double)lk_size(l->A, 1)));
    //> wrong bias_of_one: looks like wrong value
    //    Tensor *update = lk_matmul(t, lk_matmul(t, x, l->A), l->B);
    //    return lk_add_scalar(t, lk_scale(t, update, l->alpha), 1.0);
    //> wrong detached: looks like A treated as a constant
    //    Tensor *update = lk_matmul(t, lk_matmul(t, x, lk_detach(t, l->A)), l->B);
    //    return lk_scale(t, update, l->alpha);
    //> wrong summed_over_the_batch: looks like batch ignored
    //    Tensor *update = lk_matmul(t, lk_matmul(t, x, l->A), l->B);
    //    return lk_scale(t, lk_slice(t, update, 0, 0, 1, 1), l->alpha);
    //> end
}

static const ModuleType lora_layer_type = {
    LK_CLASS(LoRALayer), .forward = lora_layer_forward,
    //> starter
    //    .fields = LK_FIELDS(LK_DOUBLE(LoRALayer, alpha)), /* TODO 1: A and B are LK_PARAMs */
    //> solution
    .fields =
        LK_FIELDS(LK_PARAM(LoRALayer, A), LK_PARAM(LoRALayer, B), LK_DOUBLE(LoRALayer, alpha)),
    //> wrong not_in_the_table: looks like not in the field table
    //    .fields = LK_FIELDS(LK_PARAM(LoRALayer, A), LK_DOUBLE(LoRALayer, alpha)),
    //> end
};

Module *lora_layer_new(int64_t in_dim, int64_t out_dim, int64_t rank, double alpha, Rng *rng,
                       Error *err)
{
    LoRALayer *l = lk_module_new(&lora_layer_type, err);
    if (!l) return NULL;
    //> starter
    //    /* TODO 2: make A and B with lk_param_new, which gives zeros. Then draw A by lk_normal_:
    //     * mean 0, deviation 1/√rank. Keep alpha. */
    //    (void)rng;
    //    return lk_module_complete(&l->base, l->A && l->B);
    //> solution
    l->alpha = alpha;
    l->A = lk_param_new(LK_F32, LK_SHAPE(in_dim, rank), err);
    l->B = lk_param_new(LK_F32, LK_SHAPE(rank, out_dim), err);
    if (l->A) lk_normal_(l->A, 0.0, 1.0 / sqrt((double)rank), rng);
    return lk_module_complete(&l->base, l->A && l->B);
    //> wrong b_random: looks like B random
    //    l->alpha = alpha;
    //    l->A = lk_param_new(LK_F32, LK_SHAPE(in_dim, rank), err);
    //    l->B = lk_param_new(LK_F32, LK_SHAPE(rank, out_dim), err);
    //    if (l->A) lk_normal_(l->A, 0.0, 1.0 / sqrt((double)rank), rng);
    //    if (l->B) lk_normal_(l->B, 0.0, 1.0 / sqrt((double)rank), rng);
    //    return lk_module_complete(&l->base, l->A && l->B);
    //> wrong a_zero: looks like A zero
    //    l->alpha = alpha;
    //    l->A = lk_param_new(LK_F32, LK_SHAPE(in_dim, rank), err);
    //    l->B = lk_param_new(LK_F32, LK_SHAPE(rank, out_dim), err);
    //    return lk_module_complete(&l->base, l->A && l->B);
    //> wrong deviation_1_over_r: looks like deviation 1/rank
    //    l->alpha = alpha;
    //    l->A = lk_param_new(LK_F32, LK_SHAPE(in_dim, rank), err);
    //    l->B = lk_param_new(LK_F32, LK_SHAPE(rank, out_dim), err);
    //    if (l->A) lk_normal_(l->A, 0.0, 1.0 / (double)rank, rng);
    //    return lk_module_complete(&l->base, l->A && l->B);
    //> wrong deviation_1: looks like deviation 1
    //    l->alpha = alpha;
    //    l->A = lk_param_new(LK_F32, LK_SHAPE(in_dim, rank), err);
    //    l->B = lk_param_new(LK_F32, LK_SHAPE(rank, out_dim), err);
    //    if (l->A) lk_normal_(l->A, 0.0, 1.0, rng);
    //    return lk_module_complete(&l->base, l->A && l->B);
    //> wrong deviation_root: looks like deviation √rank
    //    l->alpha = alpha;
    //    l->A = lk_param_new(LK_F32, LK_SHAPE(in_dim, rank), err);
    //    l->B = lk_param_new(LK_F32, LK_SHAPE(rank, out_dim), err);
    //    if (l->A) lk_normal_(l->A, 0.0, sqrt((double)rank), rng);
    //    return lk_module_complete(&l->base, l->A && l->B);
    //> wrong integer_division: looks like integer division
    //    l->alpha = alpha;
    //    l->A = lk_param_new(LK_F32, LK_SHAPE(in_dim, rank), err);
    //    l->B = lk_param_new(LK_F32, LK_SHAPE(rank, out_dim), err);
    //    if (l->A) lk_normal_(l->A, 0.0, sqrt((double)(1 / rank)), rng);
    //    return lk_module_complete(&l->base, l->A && l->B);
    //> wrong deviation_in: looks like deviation 1/√in
    //    l->alpha = alpha;
    //    l->A = lk_param_new(LK_F32, LK_SHAPE(in_dim, rank), err);
    //    l->B = lk_param_new(LK_F32, LK_SHAPE(rank, out_dim), err);
    //    if (l->A) lk_normal_(l->A, 0.0, 1.0 / sqrt((double)in_dim), rng);
    //    return lk_module_complete(&l->base, l->A && l->B);
    //> wrong mean_first: looks like mean and deviation exchanged
    //    l->alpha = alpha;
    //    l->A = lk_param_new(LK_F32, LK_SHAPE(in_dim, rank), err);
    //    l->B = lk_param_new(LK_F32, LK_SHAPE(rank, out_dim), err);
    //    if (l->A) lk_normal_(l->A, 1.0 / sqrt((double)rank), 0.0, rng);
    //    return lk_module_complete(&l->base, l->A && l->B);
    //> wrong alpha_lost: looks like alpha never stored
    //    (void)alpha;
    //    l->A = lk_param_new(LK_F32, LK_SHAPE(in_dim, rank), err);
    //    l->B = lk_param_new(LK_F32, LK_SHAPE(rank, out_dim), err);
    //    if (l->A) lk_normal_(l->A, 0.0, 1.0 / sqrt((double)rank), rng);
    //    return lk_module_complete(&l->base, l->A && l->B);
    //> wrong alpha_integer: looks like alpha cut to an integer
    //    l->alpha = (double)(int64_t)alpha;
    //    l->A = lk_param_new(LK_F32, LK_SHAPE(in_dim, rank), err);
    //    l->B = lk_param_new(LK_F32, LK_SHAPE(rank, out_dim), err);
    //    if (l->A) lk_normal_(l->A, 0.0, 1.0 / sqrt((double)rank), rng);
    //    return lk_module_complete(&l->base, l->A && l->B);
    //> wrong doubles: looks like parameter of another dtype
    //    l->alpha = alpha;
    //    l->A = lk_param_new(LK_F64, LK_SHAPE(in_dim, rank), err);
    //    l->B = lk_param_new(LK_F64, LK_SHAPE(rank, out_dim), err);
    //    if (l->A) lk_normal_(l->A, 0.0, 1.0 / sqrt((double)rank), rng);
    //    return lk_module_complete(&l->base, l->A && l->B);
    //> wrong no_parameter: looks like tensor instead of parameter
    //    l->alpha = alpha;
    //    l->A = lk_tensor_new(LK_F32, LK_SHAPE(in_dim, rank), err);
    //    l->B = lk_tensor_new(LK_F32, LK_SHAPE(rank, out_dim), err);
    //    if (l->A) lk_normal_(l->A, 0.0, 1.0 / sqrt((double)rank), rng);
    //    return lk_module_complete(&l->base, l->A && l->B);
    //> wrong a_frozen: looks like A frozen
    //    l->alpha = alpha;
    //    l->A = lk_param_new(LK_F32, LK_SHAPE(in_dim, rank), err);
    //    l->B = lk_param_new(LK_F32, LK_SHAPE(rank, out_dim), err);
    //    if (l->A) lk_normal_(l->A, 0.0, 1.0 / sqrt((double)rank), rng);
    //    if (l->A) lk_set_requires_grad(l->A, false);
    //    return lk_module_complete(&l->base, l->A && l->B);
    //> wrong no_b: looks like call failed
    //    l->alpha = alpha;
    //    l->A = lk_param_new(LK_F32, LK_SHAPE(in_dim, rank), err);
    //    if (l->A) lk_normal_(l->A, 0.0, 1.0 / sqrt((double)rank), rng);
    //    return lk_module_complete(&l->base, l->A && l->B);
    //> wrong half_made: looks like a failure that is not passed on
    //    l->alpha = alpha;
    //    l->A = lk_param_new(LK_F32, LK_SHAPE(in_dim, rank), err);
    //    l->B = lk_param_new(LK_F32, LK_SHAPE(rank, out_dim), err);
    //    if (l->A) lk_normal_(l->A, 0.0, 1.0 / sqrt((double)rank), rng);
    //    return &l->base;
    //> wrong only_a_tested: looks like a failure that is not passed on
    //    l->alpha = alpha;
    //    l->A = lk_param_new(LK_F32, LK_SHAPE(in_dim, rank), err);
    //    l->B = lk_param_new(LK_F32, LK_SHAPE(rank, out_dim), err);
    //    if (l->A) lk_normal_(l->A, 0.0, 1.0 / sqrt((double)rank), rng);
    //    return lk_module_complete(&l->base, l->A);
    //> wrong early_return: looks like leak
    //    l->alpha = alpha;
    //    l->A = lk_param_new(LK_F32, LK_SHAPE(in_dim, rank), err);
    //    l->B = lk_param_new(LK_F32, LK_SHAPE(rank, out_dim), err);
    //    if (!l->A || !l->B) return NULL;
    //    lk_normal_(l->A, 0.0, 1.0 / sqrt((double)rank), rng);
    //    return &l->base;
    //> wrong other_way: looks like A and B exchanged
    //    l->alpha = alpha;
    //    l->A = lk_param_new(LK_F32, LK_SHAPE(rank, in_dim), err);
    //    l->B = lk_param_new(LK_F32, LK_SHAPE(out_dim, rank), err);
    //    if (l->A) lk_normal_(l->A, 0.0, 1.0 / sqrt((double)rank), rng);
    //    return lk_module_complete(&l->base, l->A && l->B);
    //> wrong leak: looks like leak
    //    l->alpha = alpha;
    //    l->A = lk_param_new(LK_F32, LK_SHAPE(in_dim, rank), err);
    //    l->B = lk_retain(lk_param_new(LK_F32, LK_SHAPE(rank, out_dim), err));
    //    if (l->A) lk_normal_(l->A, 0.0, 1.0 / sqrt((double)rank), rng);
    //    return lk_module_complete(&l->base, l->A && l->B);
    //> end
}

//> hint
// LoRA leaves the weight alone and adds a product of two thin matrices. x goes through A first,
// into a space of only `rank` numbers, then through B back out. Both are parameters, so the table
// of fields must list them.
//> hint
// y = alpha · ((x A) B), with A (in, rank) drawn from N(0, 1/rank), that is, deviation 1/√rank,
// and B (rank, out) all zeros. In C: two calls of lk_matmul and one of lk_scale.
//> hint
// return lk_scale(t, lk_matmul(t, lk_matmul(t, x, l->A), l->B), l->alpha);
//> end
