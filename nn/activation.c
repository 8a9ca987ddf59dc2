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

#define TYPE(class, fn) .name = class, .size = sizeof(Module), .forward = fn
const ModuleType lk_relu_type = { TYPE("ReLU", relu_forward) };
const ModuleType lk_gelu_type = { TYPE("GELU", gelu_forward), .repr = "approximate='none'" };
const ModuleType lk_tanh_type = { TYPE("Tanh", tanh_forward) };

Module *lk_relu_new(Error *err) { return lk_module_new(&lk_relu_type, err); }
Module *lk_gelu_new(Error *err) { return lk_module_new(&lk_gelu_type, err); }
Module *lk_tanh_new(Error *err) { return lk_module_new(&lk_tanh_type, err); }
