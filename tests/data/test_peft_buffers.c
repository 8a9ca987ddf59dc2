/* test_peft_buffers.c - modules that an adapter saves whole (modules_to_save) have their
 * buffers in the file. */
#include "tests/shared/peft_nets.h"

typedef struct Running {
    Module base;
    Tensor *scale, *mean, *batches;
} Running;

static Tensor *running_forward(Tape *t, Module *self, Tensor *x)
{
    Running *r = (Running *)self;
    return lk_mul(t, lk_sub(t, x, r->mean), lk_param(t, self, &r->scale));
}
static const ModuleType running_type = {
    LK_CLASS(Running),
    .forward = running_forward,
    .fields =
        LK_FIELDS(LK_PARAM(Running, scale), LK_BUFFER(Running, mean), LK_BUFFER(Running, batches)),
};

/* A Linear with LoRA, and running statistics behind it. */
static Module *running_net(double value)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Running *r = lk_module_new(&running_type, NULL);
    r->scale = make_param(LK_F32, LK_SHAPE(2), value, value);
    r->mean = make_tensor(LK_F32, LK_SHAPE(2), value, -value);
    r->batches = make_tensor(LK_I64, LK_SHAPE(1), value);
    Module *linear = lk_linear_new(3, 2, true, &rng, NULL);
    Module *net = lk_sequential_new(LK_MODULES(linear, &r->base), NULL);
    check(lk_add_lora(net, &(LoRAConfig){ .rank = 1, .alpha = 2 }, &rng, NULL) == 1);
    return net;
}

Test(peft_buffers, statistics_are_saved_with_their_module)
{
    static const char *const second[] = { "1" };
    Module *net = running_net(3), *other = running_net(5);
    check_save(net, check_scratch("running"), &(PeftOptions){ .save_count = 1, .save = second });
    check_load(other, check_scratch("running"), LK_PEFT_PARAMETRIZATION);
    Running *r = (Running *)lk_module_at(other, "1", NULL);
    check_values(r->scale, 0, 3, 3);
    check_values(r->mean, 0, 3, -3);
    check_values(r->batches, 0, 3);
    lk_free(net);
    lk_free(other);
}
