/* test_tape_places.c - the modules and parameters that lk_tape_print names. The rest of its text:
 * tests/core/test_tape_print.c. */
#include "core/ops.h"
#include "core/tape_print.h"
#include "tests/shared/nets.h"
#include "tests/shared/tape_text.h"

static Module *linear_of(int64_t in, int64_t out)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    return lk_linear_new(in, out, true, &rng, NULL);
}

/* Each record has the innermost module that was running. Names of parameters are relative to
 * it. */
Test(tape_places, a_perceptron_with_lora)
{
    Tape *t = quiet_tape();
    lk_tape_annotate(t, true);
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *net = net_new(30, 20, 18, 17, &rng, NULL);
    check(net_add_lora(net, 2, 8, &rng, NULL));
    lk_freeze_linears(net);
    for (ParamIter it = lk_params(net); lk_params_next(&it);) check(lk_fill_(it.tensor, 0));
    Tensor *x = lk_tape_name(t, lk_zeros(t, LK_F32, LK_SHAPE(5, 30)), "x");
    check(lk_backward_with(t, lk_sum(t, lk_forward(t, net, x), LK_ALL, false), NULL, true));
    check_tape(
        t, "tape: 12 records, 13 leaves, 1360 bytes saved for backward\n"
           "\n"
           "leaf                    kind       shape     dtype\n"
           "layers.0.lora.A         parameter  (30, 2)   float32\n"
           "layers.0.lora.B         parameter  (2, 20)   float32\n"
           "x                       constant   (5, 30)   float32\n"
           "layers.0.linear.weight  frozen     (20, 30)  float32\n"
           "layers.0.linear.bias    frozen     (20,)     float32\n"
           "layers.2.lora.A         parameter  (20, 2)   float32\n"
           "layers.2.lora.B         parameter  (2, 18)   float32\n"
           "layers.2.linear.weight  frozen     (18, 20)  float32\n"
           "layers.2.linear.bias    frozen     (18,)     float32\n"
           "layers.4.lora.A         parameter  (18, 2)   float32\n"
           "layers.4.lora.B         parameter  (2, 17)   float32\n"
           "layers.4.linear.weight  frozen     (17, 18)  float32\n"
           "layers.4.linear.bias    frozen     (17,)     float32\n"
           "\n"
           " #  operation         inputs               shape    dtype    saved  module\n"
           " 1  PermuteBackward0  lora.A               (2, 30)  float32      0  "
           "layers.0 (LinearWithLoRAMerged)\n"
           " 2  PermuteBackward0  lora.B               (20, 2)  float32      0  "
           "layers.0 (LinearWithLoRAMerged)\n"
           " 3  AddmmBackward0    x, linear.weight,    (5, 20)  float32    600  "
           "layers.0 (LinearWithLoRAMerged)\n"
           "                      linear.bias, 1, 2\n"
           " 4  ReluBackward0     3                    (5, 20)  float32    400  layers.1 (ReLU)\n"
           " 5  PermuteBackward0  lora.A               (2, 20)  float32      0  "
           "layers.2 (LinearWithLoRAMerged)\n"
           " 6  PermuteBackward0  lora.B               (18, 2)  float32      0  "
           "layers.2 (LinearWithLoRAMerged)\n"
           " 7  AddmmBackward0    4, linear.weight,    (5, 18)  float32    400  "
           "layers.2 (LinearWithLoRAMerged)\n"
           "                      linear.bias, 5, 6\n"
           " 8  ReluBackward0     7                    (5, 18)  float32    360  layers.3 (ReLU)\n"
           " 9  PermuteBackward0  lora.A               (2, 18)  float32      0  "
           "layers.4 (LinearWithLoRAMerged)\n"
           "10  PermuteBackward0  lora.B               (17, 2)  float32      0  "
           "layers.4 (LinearWithLoRAMerged)\n"
           "11  AddmmBackward0    8, linear.weight,    (5, 17)  float32    360  "
           "layers.4 (LinearWithLoRAMerged)\n"
           "                      linear.bias, 9, 10\n"
           "12  SumBackward0      11                   ()       float32      0\n"
           "    data 0.              grad 1.\n");
    lk_free(net);
    lk_tape_free(t);
}

/* The module itself, when nothing is around it; no column for modules that nothing is known of. */
Test(tape_places, the_outermost_module)
{
    Tape *t = quiet_tape();
    Module *linear = linear_of(4, 17);
    Tensor *x = lk_zeros(t, LK_F32, LK_SHAPE(1, 4));
    check(lk_forward(t, linear, x));
    check_tape_contains(t, "1  AddmmBackward0  leaf1, leaf2, leaf3  (1, 17)  float32     16\n");
    lk_tape_reset(t);
    lk_tape_annotate(t, true);
    x = lk_zeros(t, LK_F32, LK_SHAPE(1, 4));
    check(lk_neg(t, lk_forward(t, linear, x)));
    check_tape_contains(
        t, "1  AddmmBackward0  leaf1, weight, bias  (1, 17)  float32     16  (Linear)\n"
           "2  NegBackward0    1                    (1, 17)  float32      0\n");
    lk_free(linear);
    lk_tape_free(t);
}

/* Calls in no-grad mode leave no note, and their memory is given back as ever. */
Test(tape_places, nothing_is_noted_without_records)
{
    Tape *t = quiet_tape();
    lk_tape_annotate(t, true);
    lk_tape_set_grad(t, false);
    Module *linear = linear_of(4, 3);
    Tensor *x = lk_zeros(t, LK_F32, LK_SHAPE(1, 4));
    TapeMark mark = lk_tape_mark(t);
    Tensor *y = lk_forward(t, linear, x);
    check(lk_tape_release(t, mark, NULL) == NULL && lk_is_stale(y));
    lk_free(linear);
    lk_tape_free(t);
}

/* The record of a segment has the module that asked for it. */
typedef struct Saving {
    Module base;
    Module *inner;
} Saving;

static Tensor *inner_forward(Tape *t, const void *state, Tensor *x)
{
    return lk_forward(t, *(Module *const *)state, x);
}

static Tensor *saving_forward(Tape *t, Module *self, Tensor *x)
{
    const Saving *s = (const Saving *)self;
    return lk_recompute(t, inner_forward, &s->inner, sizeof s->inner, x);
}
static const ModuleType saving_type = { LK_CLASS(Saving), .forward = saving_forward,
                                        .fields = LK_FIELDS(LK_CHILD(Saving, inner)) };

Test(tape_places, a_recomputed_segment)
{
    Tape *t = quiet_tape();
    lk_tape_annotate(t, true);
    Saving *s = lk_module_new(&saving_type, NULL);
    s->inner = linear_of(4, 17);
    Module *net = lk_sequential_new(LK_MODULES(&s->base), NULL);
    Tensor *y = lk_forward(t, net, lk_zeros(t, LK_F32, LK_SHAPE(1, 4)));
    check(lk_backward_with(t, lk_sum(t, y, LK_ALL, false), NULL, true));
    check_tape_contains(t, "1  CheckpointFunctionBackward  leaf1, inner.weight, inner.bias  "
                           "(1, 17)  float32     16  0 (Saving)\n"
                           "2  SumBackward0                1                                "
                           "()       float32      0\n");
    check(lk_grad(((Linear *)s->inner)->weight));
    lk_free(net);
    lk_tape_free(t);
}
