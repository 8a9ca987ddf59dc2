/* activation.c - functions as modules. The functions themselves: core/ops_unary.c. */
#include "nn/activation.h"

#include "core/ops.h"

static Tensor *relu_forward(Tape *t, Module *self, Tensor *x)
{
    (void)self;
    return lk_relu(t, x);
}

static Tensor *gelu_forward(Tape *t, Module *self, Tensor *x)
{
    (void)self;
    return lk_gelu(t, x);
}

static Tensor *tanh_forward(Tape *t, Module *self, Tensor *x)
{
    (void)self;
    return lk_tanh(t, x);
}

const ModuleType lk_relu_type = { .name = "ReLU",
                                  .size = sizeof(Module),
                                  .forward = relu_forward };
const ModuleType lk_gelu_type = {
    .name = "GELU", .size = sizeof(Module), .forward = gelu_forward, .repr = "approximate='none'"
};
const ModuleType lk_tanh_type = { .name = "Tanh",
                                  .size = sizeof(Module),
                                  .forward = tanh_forward };

Module *lk_relu_new(Error *err) { return lk_module_new(&lk_relu_type, err); }

Module *lk_gelu_new(Error *err) { return lk_module_new(&lk_gelu_type, err); }

Module *lk_tanh_new(Error *err) { return lk_module_new(&lk_tanh_type, err); }
