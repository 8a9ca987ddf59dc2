/* low_rank.c - computes a Linear and a LoRALayer side by side, faster than the form in nn/lora.c.
 * The operations themselves, with their gradients: core/ops_matmul.c. */
#include "nn/low_rank.h"

#include "core/ops.h"
#include "nn/linear.h"
#include "nn/no_grad.h"
#include "nn/parametrize.h"

/* Whether the children are a Linear and a LoRALayer that fit each other. */
static bool check_pair(Tape *t, LoRAPair pair)
{
    const char *name = pair.wrapper->type->name;
    if (!lk_as_linear(pair.linear) || !pair.A) {
        lk_fail(t, LK_EVALUE, "%s: holds %s and %s, not a Linear and a LoRALayer", name,
                pair.linear ? pair.linear->type->name : "NULL",
                pair.lora ? pair.lora->type->name : "NULL");
        return false;
    }
    /* The operations do not check this: broadcasting would accept an adapter with a single
     * output. */
    const Tensor *weight = lk_original(pair.linear, "weight");
    const Tensor *A = lk_original(pair.lora, "A"), *B = lk_original(pair.lora, "B");
    int64_t in = lk_size(weight, 1), out = lk_size(weight, 0);
    if (lk_size(A, 0) == in && lk_size(B, 1) == out) return true;
    lk_fail(t, LK_ESHAPE,
            "%s: a Linear from %lld to %lld and a LoRALayer from %lld to %lld; they must agree",
            name, (long long)in, (long long)out, (long long)lk_size(A, 0),
            (long long)lk_size(B, 1));
    return false;
}

/* The values of all parameters; A and B as lk_linear_lora takes them, (rank, in) and (out,
 * rank). */
typedef struct Values {
    Tensor *weight, *bias, *A, *B;
} Values;

static Values read_values(Tape *t, LoRAPair pair)
{
    Linear *linear = lk_as_linear(pair.linear);
    return (Values){ .weight = lk_param(t, pair.linear, &linear->weight),
                     .bias = lk_param(t, pair.linear, &linear->bias),
                     .A = lk_T(t, lk_param(t, pair.lora, pair.A)),
                     .B = lk_T(t, lk_param(t, pair.lora, pair.B)) };
}

Tensor *lk__linear_plus_lora(Tape *t, LoRAPair pair, Tensor *x)
{
    if (!check_pair(t, pair)) return NULL;
    Values v = read_values(t, pair);
    return lk_linear_lora(t, x, v.weight, v.bias, v.A, v.B, pair.alpha, LK_LORA_ADDED);
}

/* W + alpha (A B)ᵀ */
static Tensor *combine(Tape *t, const void *of)
{
    const LoRAPair *pair = of;
    Values v = read_values(t, *pair);
    return lk_add(t, v.weight, lk_scale(t, lk_matmul(t, v.B, v.A), pair->alpha));
}

/* x (W + alpha (A B)ᵀ)ᵀ + b = x Wᵀ + b + alpha (x A) B. In grad mode the right side moves a
 * fraction of the memory. In no-grad mode the combined weight serves many calls; beside a W in
 * bfloat16 or qint8 it would take three or five times the memory of W. */
Tensor *lk__linear_merged_lora(Tape *t, LoRAPair pair, Tensor **combined, uint64_t *state,
                               Tensor *x)
{
    if (!check_pair(t, pair)) return NULL;
    if (lk_tape_grad(t) || lk_only_stores(lk_original(pair.linear, "weight")->dtype)) {
        Values v = read_values(t, pair);
        return lk_linear_lora(t, x, v.weight, v.bias, v.A, v.B, pair.alpha, LK_LORA_MERGED);
    }
    uint64_t now = lk__module_state(pair.lora, lk__module_state(pair.linear, 0));
    Tensor *weight = lk__no_grad_value(t, combined, state, now, combine, &pair);
    return lk_linear(t, x, weight, lk_param(t, pair.linear, &lk_as_linear(pair.linear)->bias));
}
