/* test_diagnose.c - a training that does not move: each mistake is made with a real net, and the
 * table names it, and nothing else. */
#include "data/safetensors.h"
#include "nn/adapter.h"
#include "nn/batch_norm.h"
#include "tests/shared/diagnose_run.h"

static void wrap_linears(Run *r)
{
    check(net_add_lora(r->net, 2, 1, &r->rng, NULL));
    lk_freeze_linears(r->net);
}

static void add_adapters(Run *r)
{
    check(lk_add_lora(r->net, &(LoRAConfig){ .rank = 2, .alpha = 2 }, &r->rng, NULL) == 3);
    lk_train_only_lora(r->net, NULL, NULL);
}

/* ---- forwards with mistakes in them --------------------------------------------------------- */

typedef struct Head { /* around a net: y = net(x) · gain + shift */
    Module base;
    Module *net;
    Tensor *gain, *shift;
} Head;

static Tensor *head_forward(Tape *t, Module *self, Tensor *x)
{
    Head *h = (Head *)self;
    return lk_mul(t, lk_forward(t, h->net, x), lk_param(t, self, &h->gain));
}
static const ModuleType without_shift = {
    LK_CLASS(Head), .forward = head_forward,
    .fields = LK_FIELDS(LK_CHILD(Head, net), LK_PARAM(Head, gain), LK_PARAM(Head, shift))
};
static const ModuleType unlisted = { LK_CLASS(Head), .forward = head_forward,
                                     .fields = LK_FIELDS(LK_CHILD(Head, net),
                                                         LK_NON_PERSISTENT(Head, shift)) };
static const ModuleType listed = { LK_CLASS(Head), .forward = head_forward,
                                   .fields =
                                       LK_FIELDS(LK_CHILD(Head, net), LK_PARAM(Head, gain)) };

static void put_head(Run *r, const ModuleType *type)
{
    Head *h = lk_module_new(type, NULL);
    h->net = r->net;
    h->gain = lk_param_new(LK_F32, LK_SHAPE(1), NULL);
    if (type == &without_shift) h->shift = lk_param_new(LK_F32, LK_SHAPE(1), NULL);
    if (type == &unlisted) r->loose = h->gain;
    check(lk_fill_(h->gain, 1));
    r->net = &h->base;
}

/* ---- the mistakes --------------------------------------------------------------------------- */

static void healthy_head(Run *r) { put_head(r, &listed), healthy(r); }
static void healthy_wrappers(Run *r) { wrap_linears(r), healthy(r); }
static void healthy_adapters(Run *r) { add_adapters(r), healthy(r); }
static void healthy_B_alone(Run *r)
{
    add_adapters(r);
    lk_require_grad(r->net, "*lora_A", false);
    healthy(r);
}
static void healthy_unmerged(Run *r)
{
    add_adapters(r);
    check(lk_merge(r->net, NULL));
    lk_unmerge(r->net);
    healthy(r);
}
static void zero_grad_at_the_end(Run *r) { healthy(r), lk_optimizer_zero_grad(r->opt); }
static void not_begun(Run *r) { r->opt = adam_of(r->net); }
static void a_second_net(Run *r) /* one optimizer for two nets, both trained */
{
    TensorList both = lk_parameters(r->net, NULL), others;
    r->other = lk_deepcopy(r->net, NULL);
    others = lk_parameters(r->other, NULL);
    r->opt = lk_adam_new(both, 0.01, NULL);
    check(lk_add_param_group(r->opt, others, NULL));
    Tensor *loss = lk_add(r->t, loss_of(r, r->net), loss_of(r, r->other));
    check(lk_backward(r->t, loss) && lk_step(r->opt, NULL));
}

static void everything_frozen(Run *r)
{
    r->opt = adam_of(r->net);
    check(lk_require_grad(r->net, "*", false) == 6);
    check(lk_step(r->opt, NULL) && r->opt->last_step == LK_STEP_ALL_FROZEN);
}
static void made_before_lora(Run *r)
{
    r->opt = adam_of(r->net);
    add_adapters(r);
    step(r);
    check(r->opt->last_step == LK_STEP_ALL_FROZEN);
}
static void made_before_wrappers(Run *r) /* and the base goes on being trained */
{
    r->opt = adam_of(r->net);
    check(net_add_lora(r->net, 2, 1, &r->rng, NULL));
    step(r);
}
static void of_a_copy(Run *r)
{
    r->other = lk_deepcopy(r->net, NULL);
    r->opt = adam_of(r->other);
    step(r);
}
static void loaded_after_it(Run *r)
{
    const char *path = check_scratch("net.safetensors");
    r->opt = adam_of(r->net);
    check(lk_save_module(r->net, path, NULL) &&
          lk_load_module_mapped(r->net, path, NULL, NULL, NULL));
    step(r);
}
static void replaced_after_it(Run *r)
{
    r->opt = adam_of(r->net);
    check(lk_module_set(lk_slot_at(r->net, "layers.2", NULL),
                        lk_linear_new(5, 4, true, &r->rng, NULL), NULL));
    step(r);
}
static void zero_grad_behind_backward(Run *r)
{
    r->opt = adam_of(r->net);
    check(lk_backward(r->t, loss_of(r, r->net)));
    lk_optimizer_zero_grad(r->opt);
    check(lk_step(r->opt, NULL) && r->opt->last_step == LK_STEP_NO_GRADIENT);
}
static void accumulated_again(Run *r) /* four small batches make one step */
{
    lk_optimizer_zero_grad(r->opt);
    for (int i = 0; i < 4; i++) check(lk_backward(r->t, loss_of(r, r->net)));
    check(lk_step(r->opt, NULL));
}
static void accumulated(Run *r)
{
    r->opt = adam_of(r->net);
    accumulated_again(r);
}
static void again_no_zero_grad(Run *r)
{
    step(r);
    check(lk_backward(r->t, loss_of(r, r->net)) && lk_step(r->opt, NULL));
}
static void zero_grad_and_no_step(Run *r)
{
    r->opt = adam_of(r->net);
    check(lk_backward(r->t, loss_of(r, r->net)));
    lk_module_zero_grad(r->net);
}
static void no_backward(Run *r)
{
    r->opt = adam_of(r->net);
    check(lk_step(r->opt, NULL) && r->opt->last_step == LK_STEP_NO_GRADIENT);
}
static void loss_of_a_copy(Run *r)
{
    r->other = lk_deepcopy(r->net, NULL);
    r->opt = adam_of(r->net);
    check(lk_backward(r->t, loss_of(r, r->other)) && lk_step(r->opt, NULL));
}
static void no_step(Run *r)
{
    r->opt = adam_of(r->net);
    check(lk_backward(r->t, loss_of(r, r->net)));
    check(r->opt->last_step == LK_STEP_NONE);
}
static void refused_step(Run *r)
{
    r->opt = adam_of(r->net);
    r->opt->beta1 = 1;
    check(lk_backward(r->t, loss_of(r, r->net)));
    check(!lk_step(r->opt, NULL) && r->opt->last_step == LK_STEP_REFUSED);
}
static void lr_0(Run *r)
{
    r->opt = adam_of(r->net);
    r->opt->lr = 0;
    step(r);
    check(r->opt->last_step == LK_STEP_LR_0);
}
static void lr_0_before_the_first_step(Run *r)
{
    r->opt = adam_of(r->net);
    r->opt->lr = 0;
}
static void frozen_B(Run *r)
{
    wrap_linears(r);
    lk_require_grad(r->net, "*lora.B", false);
    healthy(r);
}
static void frozen_lora_B(Run *r)
{
    add_adapters(r);
    lk_require_grad(r->net, "*lora_B", false);
    healthy(r);
}
static void frozen_A_of_zeros(Run *r)
{
    wrap_linears(r);
    for (int i = 0; i < 5; i += 2) {
        Tensor *A = lk_as_lora_layer(lk_as_linear_with_lora_merged(
                                         lk_sequential_at(((Net *)r->net)->layers, i, NULL))
                                         ->lora)
                        ->A;
        check(lk_fill_(A, 0) && lk_set_requires_grad(A, false));
    }
    healthy(r);
}
static void both_factors_0(Run *r)
{
    add_adapters(r);
    for (AdapterIter it = lk_adapters(r->net); lk_adapters_next(&it);)
        check(lk_fill_(it.lora->lora_A, 0));
    healthy(r);
}
static void merged(Run *r)
{
    add_adapters(r);
    lk_require_grad(r->net, "*bias", true); /* without them there would not even be a graph */
    check(lk_merge(r->net, NULL));
    healthy(r);
}
static void switched_off(Run *r)
{
    add_adapters(r);
    lk_require_grad(r->net, "*bias", true);
    check(lk_enable_lora(r->net, NULL, false, NULL) == 3);
    healthy(r);
}
static void scaled_to_0(Run *r)
{
    add_adapters(r);
    check(lk_scale_lora(r->net, NULL, 0, NULL) == 3);
    healthy(r);
}
static void alpha_0(Run *r)
{
    check(net_add_lora(r->net, 2, 0, &r->rng, NULL));
    lk_freeze_linears(r->net);
    healthy(r);
}
/* A BatchNorm before the net, frozen, in the mode of the net or in evaluation. */
static void frozen_norm(Run *r)
{
    Module *norm = lk_batch_norm1d_new(6, 1e-5, 0.1, NULL);
    lk_require_grad(norm, "*", false);
    r->net = lk_sequential_new(LK_MODULES(norm, r->net), NULL);
    healthy(r);
}
static void frozen_norm_in_evaluation(Run *r)
{
    frozen_norm(r);
    lk_eval(r->net);
}
static void trained_norm(Run *r)
{
    frozen_norm(r);
    lk_require_grad(r->net, "0.weight", true);
    step(r);
}
static void dead_relus(Run *r)
{
    check(lk_fill_(lk_param_at(r->net, "layers.2.bias", NULL), -1000));
    lk_require_grad(r->net, "layers.4.*", false);
    healthy(r);
}
static void not_finite(Run *r)
{
    ((float *)r->x->data)[3] = NAN;
    healthy(r);
}
static void infinite_values(Run *r)
{
    healthy(r);
    check(lk_fill_(lk_param_at(r->net, "layers.0.bias", NULL), INFINITY));
}
static void listed_nowhere(Run *r) { put_head(r, &unlisted), healthy(r); }
static void tied_part(Run *r) /* called by itself, it reads what its owner lists */
{
    put_head(r, &unlisted);
    Head *part = (Head *)r->net;
    lk_free(part->gain);
    r->loose = NULL;
    put_head(r, &listed);
    part->gain = ((Head *)r->net)->gain;
    check(lk_forward(r->t, &part->base, r->x) && part->base.unlisted == part->gain);
    healthy(r);
}
static void never_read(Run *r) { put_head(r, &without_shift), healthy(r); }

/* Causes that only the second look shows. */
static void again_healthy(Run *r) { step(r); }
static void nothing(Run *r) { (void)r; }
static void again_no_step(Run *r)
{
    lk_optimizer_zero_grad(r->opt);
    check(lk_backward(r->t, loss_of(r, r->net)));
}
static void again_too_small(Run *r)
{
    r->opt->lr = 1e-30;
    step(r);
}

static const char *const OUTSIDE =
    "trainable parameters (layers.0.parametrizations.weight.0.lora_A, …) are not in the optimizer";
static const char *const GONE = "The gradients were gone before lk_step",
                         *const NEVER = "No gradient has reached the net";
static const char *const RATE = "The learning rate is 0",
                         *const STUCK = "multiplied by the other factor of LoRA";
static const char *const REPLACED = "of the optimizer's parameters are not the net's",
                         *const OFF = "off or scaled to 0";
static const char *const STEP = "There are gradients, and lk_step was not called";

static const struct {
    const char *name;
    void (*make)(Run *r);
    const char *line;     /* NULL: none */
    void (*then)(Run *r); /* before the second look, or NULL: there is none */
    const char *second;
} cases[] = {
    { "healthy", healthy, NULL, again_healthy, NULL },
    { "healthy_head", healthy_head, NULL, again_healthy, NULL },
    { "healthy_wrappers", healthy_wrappers, NULL, again_healthy, NULL },
    { "healthy_adapters", healthy_adapters, NULL, again_healthy, NULL },
    { "healthy_B_alone", healthy_B_alone, NULL, again_healthy, NULL },
    { "healthy_unmerged", healthy_unmerged, NULL, again_healthy, NULL },
    { "zero_grad_at_the_end", zero_grad_at_the_end, NULL, zero_grad_at_the_end, NULL },
    { "accumulated", accumulated, NULL, accumulated_again, NULL },
    { "no_zero_grad", healthy, NULL, again_no_zero_grad,
      "! 1 of 2 steps used gradients of earlier steps too" },
    { "a_second_net", a_second_net, NULL, NULL, NULL },
    { "not_begun", not_begun, NULL, again_healthy, NULL },
    { "everything_frozen", everything_frozen, "Everything is frozen", nothing,
      "Everything is frozen" },
    { "made_before_lora", made_before_lora, OUTSIDE, again_healthy, OUTSIDE },
    { "made_before_wrappers", made_before_wrappers,
      "6 trainable parameters (layers.0.lora.A, …) are not in the optimizer", NULL, NULL },
    { "of_a_copy", of_a_copy, REPLACED, again_healthy, REPLACED },
    { "loaded_after_it", loaded_after_it, REPLACED, NULL, NULL },
    { "replaced_after_it", replaced_after_it,
      "! 2 of the optimizer's parameters are not the net's", NULL, NULL },
    { "zero_grad_behind_backward", zero_grad_behind_backward, GONE, nothing, GONE },
    { "zero_grad_and_no_step", zero_grad_and_no_step, GONE, NULL, NULL },
    { "no_backward", no_backward, NEVER, nothing, NEVER },
    { "loss_of_a_copy", loss_of_a_copy, NEVER, NULL, NULL },
    { "no_step", no_step, STEP, again_no_step, STEP },
    { "no_step_any_more", healthy, NULL, again_no_step, STEP },
    { "nothing_at_all", not_begun, NULL, nothing, NEVER },
    { "refused_step", refused_step, "The last lk_step returned false", NULL, NULL },
    { "lr_0", lr_0, RATE, again_healthy, RATE },
    { "lr_0_before_the_first_step", lr_0_before_the_first_step, RATE, NULL, NULL },
    { "frozen_B", frozen_B, STUCK, again_healthy, STUCK },
    { "frozen_lora_B", frozen_lora_B, STUCK, NULL, NULL },
    { "frozen_A_of_zeros", frozen_A_of_zeros, STUCK, NULL, NULL },
    { "both_factors_0", both_factors_0, STUCK, again_healthy, STUCK },
    { "merged", merged, "are merged: lk_unmerge(net)", again_healthy, "are merged" },
    { "switched_off", switched_off, OFF, NULL, NULL },
    { "scaled_to_0", scaled_to_0, OFF, again_healthy, OFF },
    { "alpha_0", alpha_0, OFF, NULL, NULL },
    { "dead_relus", dead_relus, "All gradients are 0", again_healthy, "All gradients are 0" },
    { "frozen_norm", frozen_norm, "! 1 frozen module (0) is in training mode", again_healthy,
      "where running statistics move: lk_eval(net)" },
    { "frozen_norm_in_evaluation", frozen_norm_in_evaluation, NULL, NULL, NULL },
    { "trained_norm", trained_norm, NULL, NULL, NULL },
    { "not_finite", not_finite, "are not finite", NULL, NULL },
    { "infinite_values", infinite_values,
      "1 parameter (layers.0.bias) or their gradients are not finite", NULL, NULL },
    { "listed_nowhere", listed_nowhere, "reads a parameter that no table of fields lists",
      again_healthy, "no table of fields lists" },
    { "tied_part", tied_part, NULL, again_healthy, NULL },
    { "never_read", never_read, "1 trainable parameter (shift) get no gradient, as others do",
      NULL, NULL },
    { "too_small", healthy, NULL, again_too_small,
      "no value has changed: lr times the gradient is too small" },
};

Test(diagnose, each_mistake_has_its_line)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Run r;
        check_alloc_begin();
        begin(&r);
        cases[i].make(&r);
        check_lines(cases[i].name, look(&r), cases[i].line);
        if (cases[i].then) {
            lk_tape_reset(r.t);
            if (cases[i].then == zero_grad_at_the_end) step(&r), lk_optimizer_zero_grad(r.opt);
            else cases[i].then(&r);
            check_lines(cases[i].name, look(&r), cases[i].second);
        }
        end(&r);
        check(check_alloc_live() == 0, "%s", cases[i].name);
    }
}
