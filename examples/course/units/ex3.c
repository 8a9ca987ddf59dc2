/* ex3.c - a net of one Linear, and LinearWithLoRA in its place. The page: ex3.md. */
#include "core/ops.h"
#include "examples/course/course.h"
#include "nn/linear.h"

typedef struct SimpleNet {
    Module base;
    Module *linear;
    //> wrong bypassed: looks like LoRA never called
    //    Module *first; /* forward calls this one */
    //> end
} SimpleNet;

static Tensor *simple_net_forward(Tape *t, Module *self, Tensor *x)
{
    SimpleNet *net = (SimpleNet *)self;
    //> starter
    //    (void)net;
    //    (void)x;
    //    return lk_fail(t, LK_ESTATE, "simple_net_forward: TODO 2: call net->linear");
    //> solution
    return lk_forward(t, net->linear, x);
    //> wrong bypassed: looks like LoRA never called
    //    return lk_forward(t, net->first, x);
    //> wrong twice: looks like the Linear twice
    //    return lk_add(t, lk_forward(t, net->linear, x), lk_forward(t, net->linear, x));
    //> wrong relu: looks like a ReLU behind the Linear
    //    return lk_relu(t, lk_forward(t, net->linear, x));
    //> wrong inside: looks like crash
    //    return lk_linear(t, x, lk_as_linear(net->linear)->weight,
    //                     lk_as_linear(net->linear)->bias);
    //> end
}

static const ModuleType simple_net_type = {
    LK_CLASS(SimpleNet), .forward = simple_net_forward,
    //> solution
    .fields = LK_FIELDS(LK_CHILD(SimpleNet, linear)),
    //> starter
    //    .fields = LK_FIELDS(LK_CHILD(SimpleNet, linear)),
    //> wrong not_in_the_table: looks like not in the field table
    //    .fields = NULL,
    //> end
};

Module *simple_net_new(int64_t in_dim, int64_t out_dim, Rng *rng, Error *err)
{
    SimpleNet *net = lk_module_new(&simple_net_type, err);
    if (!net) return NULL;
    //> starter
    //    /* TODO 1: net->linear is a Linear with a bias, by lk_linear_new. */
    //> solution
    net->linear = lk_linear_new(in_dim, out_dim, true, rng, err);
    //> wrong bypassed: looks like LoRA never called
    //    net->first = net->linear = lk_linear_new(in_dim, out_dim, true, rng, err);
    //> wrong no_bias: looks like bias missing
    //    net->linear = lk_linear_new(in_dim, out_dim, false, rng, err);
    //> wrong sizes_exchanged: looks like in and out exchanged
    //    net->linear = lk_linear_new(out_dim, in_dim, true, rng, err);
    //> wrong half_made: looks like a failure that is not passed on
    //    net->linear = lk_linear_new(in_dim, out_dim, true, rng, err);
    //    if (!net->linear) return &net->base;
    //> end
    return lk_module_complete(&net->base, net->linear);
}

/* net.linear = LinearWithLoRA(net.linear, rank, alpha) */
bool simple_net_add_lora(Module *self, int64_t rank, double alpha, Rng *rng, Error *err)
{
    SimpleNet *net = (SimpleNet *)self;
    //> starter
    //    (void)net;
    //    return lk_error_set(err, LK_ESTATE, "simple_net_add_lora: TODO 3: wrap net->linear, and "
    //                                        "put the wrapper into the slot with lk_module_set");
    //> solution
    Module *wrapper = linear_with_lora_new(lk_retain(net->linear), rank, alpha, rng, err);
    return lk_module_set(&net->linear, wrapper, err);
    //> wrong retain_forgotten: looks like an owner too few
    //    Module *wrapper = linear_with_lora_new(net->linear, rank, alpha, rng, err);
    //    return lk_module_set(&net->linear, wrapper, err);
    //> wrong freed_first: looks like an owner too few
    //    lk_free(net->linear);
    //    Module *wrapper = linear_with_lora_new(net->linear, rank, alpha, rng, err);
    //    net->linear = wrapper;
    //    return wrapper;
    //> wrong freed_after: looks like an owner too few
    //    Module *old = net->linear;
    //    Module *wrapper = linear_with_lora_new(lk_retain(old), rank, alpha, rng, err);
    //    bool ok = lk_module_set(&net->linear, wrapper, err);
    //    lk_free(old);
    //    return ok;
    //> wrong retained_twice: looks like leak
    //    Module *linear = lk_retain(lk_retain(net->linear));
    //    Module *wrapper = linear_with_lora_new(linear, rank, alpha, rng, err);
    //    return lk_module_set(&net->linear, wrapper, err);
    //> wrong freed_on_failure: looks like freed again after a failed constructor
    //    Module *linear = lk_retain(net->linear);
    //    Module *wrapper = linear_with_lora_new(linear, rank, alpha, rng, err);
    //    if (!wrapper) lk_free(linear);
    //    return lk_module_set(&net->linear, wrapper, err);
    //> wrong false_for_true: looks like false returned although it was replaced
    //    Module *wrapper = linear_with_lora_new(lk_retain(net->linear), rank, alpha, rng, err);
    //    return !lk_module_set(&net->linear, wrapper, err);
    //> wrong always_true: looks like a failure that is not passed on
    //    Module *wrapper = linear_with_lora_new(lk_retain(net->linear), rank, alpha, rng, err);
    //    return !wrapper || lk_module_set(&net->linear, wrapper, err);
    //> wrong no_err: looks like err not handed on
    //    (void)err;
    //    Module *wrapper = linear_with_lora_new(lk_retain(net->linear), rank, alpha, rng, NULL);
    //    return wrapper && lk_module_set(&net->linear, wrapper, NULL);
    //> wrong frozen: looks like linear.linear.weight frozen
    //    lk_set_requires_grad(lk_as_linear(net->linear)->weight, false);
    //    Module *wrapper = linear_with_lora_new(lk_retain(net->linear), rank, alpha, rng, err);
    //    return lk_module_set(&net->linear, wrapper, err);
    //> wrong assigned: looks like leak
    //    Module *wrapper = linear_with_lora_new(lk_retain(net->linear), rank, alpha, rng, err);
    //    if (!wrapper) return false;
    //    net->linear = wrapper;
    //    return true;
    //> wrong moved: looks like the net lost its Linear
    //    net->linear = linear_with_lora_new(net->linear, rank, alpha, rng, err);
    //    return net->linear;
    //> wrong new_linear: looks like a new Linear
    //    const Linear *l = lk_as_linear(net->linear);
    //    Module *fresh = lk_linear_new(l->in_features, l->out_features, true, rng, err);
    //    return lk_module_set(&net->linear, linear_with_lora_new(fresh, rank, alpha, rng, err),
    //                         err);
    //> wrong nothing: looks like nothing replaced
    //    Module *wrapper = linear_with_lora_new(lk_retain(net->linear), rank, alpha, rng, err);
    //    lk_free(wrapper);
    //    return wrapper;
    //> wrong in_a_copy: looks like nothing replaced
    //    SimpleNet *copy = (SimpleNet *)lk_deepcopy(self, err);
    //    if (!copy) return false;
    //    Module *wrapper = linear_with_lora_new(lk_retain(copy->linear), rank, alpha, rng, err);
    //    bool ok = lk_module_set(&copy->linear, wrapper, err);
    //    lk_free(&copy->base);
    //    return ok;
    //> wrong wrapped_twice: looks like wrapped twice
    //    for (int i = 0; i < 2; i++) {
    //        Module *linear = lk_retain(net->linear);
    //        Module *wrapper = linear_with_lora_new(linear, rank, alpha, rng, err);
    //        if (!lk_module_set(&net->linear, wrapper, err)) return false;
    //    }
    //    return true;
    //> wrong rank_and_alpha: looks like rank and alpha exchanged
    //    Module *wrapper = linear_with_lora_new(lk_retain(net->linear), (int64_t)alpha,
    //                                           (double)rank, rng, err);
    //    return lk_module_set(&net->linear, wrapper, err);
    //> wrong alpha_one: looks like alpha forgotten
    //    Module *wrapper = linear_with_lora_new(lk_retain(net->linear), rank, 1.0, rng, err);
    //    return lk_module_set(&net->linear, wrapper, err);
    //> end
}

//> hint
// A net reaches its children through slots: pointers in its struct. To replace a child is to put
// another module into the slot. The new one goes on using the old one, so the old one must not be
// freed with the slot.
//> hint
// net.linear = LinearWithLoRA(net.linear). linear_with_lora_new takes over one reference, and
// lk_module_set gives the slot's own one back. So the Linear needs one reference more before both:
// lk_retain(net->linear) adds it and returns the same pointer.
//> hint
// return lk_module_set(&net->linear,
//                      linear_with_lora_new(lk_retain(net->linear), rank, alpha, rng, err), err);
//> end
