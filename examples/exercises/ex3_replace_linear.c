/* ex3_replace_linear - exercise 3: a network of one Linear, which LinearWithLoRA then replaces in
 * place.
 *
 * SimpleNet is the notebook's class of this name, defined here as any user defines a module. The
 * output does not change at first, as the notebook shows. But it would not change either if
 * nothing had been replaced. So the check below also looks into the network, and lets B differ
 * from 0: then the output has to move by exactly lora(x). */
#include "examples/exercises/exercise.h"
#include "nn/lora.h"

typedef struct SimpleNet {
    Module base;
    Module *linear;
} SimpleNet;

static Tensor *simple_net_forward(Tape *t, Module *self, Tensor *x)
{
    SimpleNet *net = (SimpleNet *)self;
    return lk_forward(t, net->linear, x);
}
static const ModuleType simple_net_type = {
    LK_CLASS(SimpleNet),
    .forward = simple_net_forward,
    .fields = LK_FIELDS(LK_CHILD(SimpleNet, linear)),
};

static SimpleNet *simple_net_new(int64_t in_dim, int64_t out_dim, Rng *rng, Error *err)
{
    SimpleNet *net = lk_module_new(&simple_net_type, err);
    if (net) net->linear = lk_linear_new(in_dim, out_dim, true, rng, err);
    return net;
}

/* net.linear = LinearWithLoRA(net.linear, rank, alpha): the slot's old reference is freed, the
 * wrapper's stays. */
static bool add_lora(SimpleNet *net, int64_t rank, double alpha, Rng *rng, Error *err)
{
    return lk_module_set(
        &net->linear, lk_linear_with_lora_new(lk_retain(net->linear), rank, alpha, rng, err), err);
}

static bool notebook(Tape *t, Rng *rng, Error *err)
{
    SimpleNet *net = simple_net_new(4, 3, rng, err);
    if (!net) return false;
    Tensor *x = lk_randn(t, rng, LK_F32, LK_SHAPE(1, 4));
    show("Input:", x);
    show("Original network output:", lk_forward(t, &net->base, x));
    if (add_lora(net, 2, 1.0, rng, err))
        show("Network with LoRA output:", lk_forward(t, &net->base, x));
    lk_free(&net->base);
    return lk_tape_ok(t, err);
}

/* ---- what the notebook's test leaves open --------------------------------------------------- */

enum { ROWS = 4, IN = 5, OUT = 3, RANK = 2 };

static bool check(Tape *t, Rng *rng, Error *err)
{
    SimpleNet *net = simple_net_new(IN, OUT, rng, err);
    if (!net) return false;
    Module *linear = lk_retain(net->linear);
    Tensor *x = random_input_new(ROWS, IN, rng, err);
    bool ok = false;
    if (x && lk_module_to(&net->base, LK_F64, err)) {
        Tensor *before = lk_forward(t, &net->base, x);
        ok = add_lora(net, RANK, 0.5, rng, err);
        LinearWithLoRA *wrapper = lk_as_linear_with_lora(net->linear);
        cli_verify(&ok, wrapper && wrapper->linear == linear,
                   "net.linear is a LinearWithLoRA around the same Linear");
        Tensor *after = lk_forward(t, &net->base, x);
        cli_verify(&ok, before && after && lk_equal(before, after),
                   "B = 0: the outputs are equal to the last bit");
        if (wrapper) {
            lk_normal_(lk_as_lora_layer(wrapper->lora)->B, 0.0, 1.0, rng);
            Tensor *change = lk_sub(t, lk_forward(t, &net->base, x), before);
            Tensor *lora = lk_forward(t, wrapper->lora, x);
            double moved = largest_difference(t, lora, lk_zeros(t, LK_F64, LK_SHAPE(ROWS, OUT)));
            double difference = largest_difference(t, change, lora);
            cli_verify(&ok, moved > 1e-3 && difference <= 1e-12,
                       "B is not 0: the output moves by lora(x), up to %.2f (difference %.1g)",
                       moved, difference);
        }
        verify_gradients(&ok, &net->base, x);
    }
    lk_free(x);
    lk_free(linear);
    lk_free(&net->base);
    return lk_tape_ok(t, err) && ok;
}

static const Exercise exercise = {
    .name = "ex3_replace_linear",
    .about = "Exercise 3: a Linear inside a network is replaced by LinearWithLoRA.",
    .notebook = notebook,
    .check = check,
};

int main(int argc, char **argv) { return exercise_main(&exercise, argc, argv); }
