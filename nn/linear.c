/* linear.c - torch.nn.Linear. The product itself: core/ops_matmul.c. */
#include "nn/linear.h"

#include <math.h>

#include "core/ops.h"
#include "nn/constructor.h"

static Tensor *linear_forward(Tape *t, Module *self, Tensor *x)
{
    Linear *l = (Linear *)self;
    LowRank w = lk_param_low_rank(t, self, &l->weight);
    Tensor *bias = lk_param(t, self, &l->bias);
    return w.A ? lk_linear_lora(t, x, w.weight, bias, w.A, w.B, w.scale, LK_LORA_MERGED)
               : lk_linear(t, x, w.weight, bias);
}

const ModuleType lk_linear_type = {
    LK_CLASS(Linear),
    .forward = linear_forward,
    .lora = LK_LORA_WEIGHT,
    .repr = "in_features={in_features}, out_features={out_features}, bias={bias}",
    .fields = LK_FIELDS(LK_PARAM(Linear, weight), LK_PARAM(Linear, bias),
                        LK_INT(Linear, in_features), LK_INT(Linear, out_features)),
};
LK_DOWNCAST(Linear, lk_linear_type, lk_as_linear)

Module *lk_linear_new(int64_t in, int64_t out, bool bias, Rng *rng, Error *err)
{
    const NamedSize sizes[] = { { "in_features", in }, { "out_features", out } };
    const ParamShape shapes[] = { { LK_SHAPE(out, in) }, { LK_SHAPE(out) } };
    if (!lk__can_draw("lk_linear_new", 2, sizes, rng, err)) return NULL;
    Linear *l = lk_module_with_params_new(&lk_linear_type, bias ? 2 : 1, shapes, err);
    if (!l) return NULL;
    l->in_features = in;
    l->out_features = out;
    /* Kaiming's uniform bound with a = √5 is √3 · √(2/6) / √in: the same 1/√in for weight and
     * bias. A failure leaves the generator where it was, since everything is allocated by now. */
    double bound = 1.0 / sqrt((double)in);
    lk_uniform_(l->weight, -bound, bound, rng);
    if (bias) lk_uniform_(l->bias, -bound, bound, rng);
    return &l->base;
}

int lk_freeze_linears(Module *m)
{
    if (!lk_walkable(m, "lk_freeze_linears", NULL)) return -1;
    int linears = 0;
    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);) {
        if (!lk_as_linear(it.module)) continue;
        lk_require_grad(it.module, "*", false);
        linears++;
    }
    return linears;
}
