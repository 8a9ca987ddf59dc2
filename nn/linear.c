/* linear.c - torch.nn.Linear. The product itself: core/ops_matmul.c. */
#include "nn/linear.h"

#include <math.h>

#include "core/ops.h"
#include "nn/fields.h"

static Tensor *linear_forward(Tape *t, Module *self, Tensor *x)
{
    Linear *l = (Linear *)self;
    LowRank w = lk_param_low_rank(t, self, &l->weight);
    Tensor *bias = lk_param(t, self, &l->bias);
    return w.A ? lk_linear_lora(t, x, w.weight, bias, w.A, w.B, w.scale)
               : lk_linear(t, x, w.weight, bias);
}

const ModuleType lk_linear_type = {
    .name = "Linear",
    .size = sizeof(Linear),
    .forward = linear_forward,
    .fields = LK_FIELDS(LK_PARAM(Linear, weight), LK_PARAM(Linear, bias),
                        LK_INT(Linear, in_features), LK_INT(Linear, out_features)),
    .repr = "in_features={in_features}, out_features={out_features}, bias={bias}",
};

Module *lk_linear_new(int64_t in_features, int64_t out_features, bool bias, Rng *rng, Error *err)
{
    if (in_features <= 0 || out_features <= 0) {
        lk_error_set(err, LK_EVALUE,
                     "lk_linear_new: %lld inputs and %lld outputs; both must be positive",
                     (long long)in_features, (long long)out_features);
        return NULL;
    }
    if (!lk_has_rng("lk_linear_new", rng, err)) return NULL;
    Linear *l = lk_module_new(&lk_linear_type, err);
    if (!l) return NULL;
    l->in_features = in_features;
    l->out_features = out_features;
    l->weight = lk_param_new(LK_F32, LK_SHAPE(out_features, in_features), err);
    l->bias = bias && l->weight ? lk_param_new(LK_F32, LK_SHAPE(out_features), err) : NULL;
    if (!l->weight || (bias && !l->bias)) {
        lk_module_free(&l->base);
        return NULL;
    }
    /* Kaiming's uniform bound with a = √5 is √3 · √(2/6) / √in: the same 1/√in for weight and
     * bias. Nothing is drawn before every allocation has succeeded, so a failure leaves the
     * generator where it was. */
    double bound = 1.0 / sqrt((double)in_features);
    lk_uniform_(l->weight, -bound, bound, rng);
    if (bias) lk_uniform_(l->bias, -bound, bound, rng);
    return &l->base;
}

Linear *lk_as_linear(Module *m) { return m && m->type == &lk_linear_type ? (Linear *)m : NULL; }
