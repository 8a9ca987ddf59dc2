/* test_where.c - a failure inside of a module says where. */
#include "core/ops.h"
#include "core/strict.h"
#include "nn/adapter.h"
#include "nn/attention.h"
#include "nn/parametrize.h"
#include "nn/symmetric.h"
#include "tests/shared/nets.h"

static Module *linear_of(int64_t in, int64_t out)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    return lk_linear_new(in, out, true, &rng, NULL);
}

/* layers.2 takes 9 features and gets 8. */
static Module *broken(void)
{
    Net *net = lk_module_new(&net_type, NULL);
    net->layers =
        lk_sequential_new(LK_MODULES(linear_of(4, 8), lk_relu_new(NULL), linear_of(9, 4)), NULL);
    return &net->base;
}

/* The whole message; then the tape is as new. */
static void check_place(Tape *t, const char *expected)
{
    check(lk_tape_error(t)->code != LK_OK);
    check(strncmp(lk_tape_error(t)->message, expected, strlen(expected)) == 0,
          "the message is\n%s\nnot\n%s", lk_tape_error(t)->message, expected);
    lk_tape_clear_error(t);
}

Test(where, the_path_begins_at_the_outermost_module)
{
    Tape *t = quiet_tape();
    Module *net = broken(),
           *around = lk_sequential_new(LK_MODULES(lk_relu_new(NULL), lk_retain(net)), NULL);
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(1, 4), 1, 2, 3, 4);
    for (int i = 0; i < 3; i++) { /* a failure leaves nothing behind */
        lk_tape_set_grad(t, i != 1);
        check(!lk_forward(t, net, x));
        check_place(t, "layers.2 (Linear): lk_linear: ");
        check(!lk_forward(t, around, x));
        check_place(t, "1.layers.2 (Linear): lk_linear: ");
        check(!lk_forward(t, ((Net *)net)->layers, x));
        check_place(t, "2 (Linear): lk_linear: ");
        check(!lk_forward(t, lk_sequential_at(((Net *)net)->layers, 2, NULL),
                          x)); /* the root adds nothing */
        check_place(t, "lk_linear: ");
        check(!lk_linear(t, x, x, x));
        check_place(t, "lk_linear: ");
        lk_tape_reset(t);
    }
    Module *relu = lk_sequential_at(((Net *)net)->layers, 1, NULL);
    check(lk_forward(t, relu, x));
    check(!lk_add(t, x, lk_zeros(t, LK_F32, LK_SHAPE(3))));
    check_place(t, "lk_add: ");
    lk_free(around);
    lk_free(net);
    lk_free(x);
    lk_tape_free(t);
}

/* Only the first failure is kept, and its place with it. */
Test(where, the_first_failure_keeps_its_place)
{
    Tape *t = quiet_tape();
    Module *net = broken();
    check(!lk_forward(t, net, lk_zeros(t, LK_F32, LK_SHAPE(1, 5))));
    check(!lk_forward(t, net, lk_zeros(t, LK_F32, LK_SHAPE(1, 4))));
    check_place(t, "layers.0 (Linear): lk_linear: ");
    check(!lk_forward(t, net, NULL));
    check_place(t, "lk_forward: the input of Net is NULL");
    lk_free(net);
    lk_tape_free(t);
}

/* Of two wrappers around one Linear the one that was called. */
Test(where, what_is_shared_is_named_as_it_was_reached)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Tape *t = quiet_tape();
    Module *shared = linear_of(9, 2), *pairs[2];
    for (int i = 0; i < 2; i++)
        pairs[i] = lk_sequential_new(LK_MODULES(lk_relu_new(NULL), lk_retain(shared)), NULL);
    Module *net = lk_sequential_new(LK_MODULES(lk_retain(pairs[0]), lk_retain(pairs[1])), NULL);
    Module *second = lk_sequential_new(
        LK_MODULES(lk_relu_new(NULL), lk_retain(pairs[1]), lk_retain(pairs[0])), NULL);
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(1, 2), 1, 2);
    check(!lk_forward(t, net, x));
    check_place(t, "0.1 (Linear): ");
    check(!lk_forward(t, second, x));
    check_place(t, "1.1 (Linear): ");
    lk_free(second), lk_free(net), lk_free(pairs[0]), lk_free(pairs[1]), lk_free(shared),
        lk_free(x);
    lk_tape_free(t);
}

/* ---- every kind of call --------------------------------------------------------------------- */

static Tensor *outer_forward(Tape *t, Module *self, Tensor *x)
{
    Net *net = (Net *)self; /* `layers` is called, but not as a part of this one */
    return lk_forward(t, net->layers, x);
}
static const ModuleType outer_type = { .name = "Outer",
                                       .size = sizeof(Net),
                                       .forward = outer_forward,
                                       .fields = (const Field[]){ LK_END } };

Test(where, a_module_that_is_no_part_begins_a_path)
{
    Tape *t = quiet_tape();
    Net *outer = lk_module_new(&outer_type, NULL);
    Module *net = broken();
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(1, 4), 1, 2, 3, 4);
    outer->layers = net;
    check(!lk_forward(t, &outer->base, x));
    check_place(t, "layers.2 (Linear): ");
    lk_free(net);
    lk_module_free(&outer->base);
    lk_free(x);
    lk_tape_free(t);
}

static Tensor *failing_forward(Tape *t, Module *self, Tensor *x)
{
    (void)self, (void)x;
    return lk_fail(t, LK_EVALUE, "failing: on purpose");
}
static const ModuleType failing_type = { .name = "Failing",
                                         .size = sizeof(Module),
                                         .forward = failing_forward };
static const ModuleType silent_type = { .name = "Silent", .size = sizeof(Module) };

Test(where, parametrizations_attention_and_errors_of_lk_forward)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Tape *t = quiet_tape();
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(1, 2, 4), 1, 2, 3, 4, 5, 6, 7, 8);

    Module *linear = linear_of(4, 4),
           *net = lk_sequential_new(LK_MODULES(lk_relu_new(NULL), linear), NULL);
    check(lk_register_parametrization(linear, "weight", lk_symmetric_new(NULL), NULL));
    ParametrizationList *list = lk_parametrizations(linear, "weight");
    check(lk_module_set(&list->chain.items[0], lk_module_new(&failing_type, NULL), NULL));
    check(!lk_forward(t, net, x));
    check_place(t, "1.parametrizations.weight.0 (Failing): failing: on purpose");
    lk_tape_set_grad(t, false);
    check(!lk_forward(t, net, x));
    check_place(t, "1.parametrizations.weight.0 (Failing): failing: on purpose");
    lk_tape_set_grad(t, true);
    lk_free(net);

    Module *attention = lk_self_attention_new(4, 2, 0, true, &rng, NULL);
    check(lk_module_set(&lk_as_multi_head_attention(attention)->key, linear_of(4, 5), NULL));
    net = lk_sequential_new(LK_MODULES(lk_relu_new(NULL), attention), NULL);
    check(!lk_forward(t, net, x));
    check_place(t, "1 (MultiHeadAttention): ");
    check(lk_module_set(&lk_as_multi_head_attention(attention)->key, linear_of(3, 4), NULL));
    check(!lk_forward(t, net, x));
    check_place(t, "1.key (Linear): ");
    check(!lk_multi_head_attention(t, attention, x, NULL));
    check_place(t, "key (Linear): ");
    check(lk_module_set(lk_slot_at(net, "1", NULL), lk_module_new(&silent_type, NULL), NULL));
    check(!lk_forward(t, net, x));
    check_place(t, "1 (Silent): lk_forward: Silent has no forward function");
    lk_free(net);
    lk_free(x);
    lk_tape_free(t);
}

/* ---- in backward ---------------------------------------------------------------------------- */

static Tensor *run_again(Tape *t, const void *state, Tensor *x)
{
    return lk_forward(t, *(Module *const *)state, x);
}

/* A layer whose inside is computed again in backward. */
static Tensor *recomputed_forward(Tape *t, Module *self, Tensor *x)
{
    return lk_recompute(t, run_again, &((Net *)self)->layers, sizeof(Module *), x);
}
static const ModuleType recomputed_type = { .name = "Recomputed",
                                            .size = sizeof(Net),
                                            .forward = recomputed_forward,
                                            .fields = LK_FIELDS(LK_CHILD(Net, layers)) };

static Module *recomputed(Module *inside)
{
    Net *m = lk_module_new(&recomputed_type, NULL);
    m->layers = inside;
    return &m->base;
}

typedef struct Once { /* fails from its second call on */
    Module base;
    int64_t calls;
} Once;

static Tensor *once_forward(Tape *t, Module *self, Tensor *x)
{
    if (((Once *)self)->calls++ > 0) return lk_fail(t, LK_EVALUE, "once: again");
    return lk_scale(t, x, 2);
}
static const ModuleType once_type = { LK_CLASS(Once), .forward = once_forward };

Test(where, what_is_computed_again_in_backward_has_the_same_place)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(1, 4), 1, 2, 3, 4);
    for (int nested = 0; nested < 2; nested++) {
        Once *once = lk_module_new(&once_type, NULL);
        Module *pair = lk_sequential_new(LK_MODULES(linear_of(4, 4), &once->base), NULL);
        Module *inner = nested ? recomputed(pair) : pair;
        Module *net = lk_sequential_new(LK_MODULES(lk_relu_new(NULL), recomputed(inner)), NULL);
        Tensor *y = lk_forward(t, net, x);
        check(y, "%s", lk_tape_error(t)->message);
        check(once->calls == 1);
        check(!lk_backward(t, lk_sum(t, y, LK_ALL, false)));
        check_place(t, nested ? "1.layers.layers.1 (Once): once: again"
                              : "1.layers.1 (Once): once: again");
        check(!lk_add(t, x, lk_zeros(t, LK_F32, LK_SHAPE(3)))); /* outside again */
        check_place(t, "lk_add: ");
        lk_tape_reset(t);
        lk_free(net);
    }
    lk_free(x);
    lk_tape_free(t);
}

/* ---- long names ----------------------------------------------------------------------------- */

Test(where, a_long_path_leaves_room_for_the_message)
{
    static char names[2][LK_NAME_MAX];
    memset(names[0], 'a', 120);
    memset(names[1], 'b', 120);
    const Field first[] = { { LK_FIELD_CHILD, names[0], offsetof(Net, layers) }, LK_END };
    const Field second[] = { { LK_FIELD_CHILD, names[1], offsetof(Net, layers) }, LK_END };
    const ModuleType types[2] = {
        { .name = "A", .size = sizeof(Net), .forward = net_forward, .fields = first },
        { .name = "B", .size = sizeof(Net), .forward = net_forward, .fields = second }
    };
    Net *a = lk_module_new(&types[0], NULL), *b = lk_module_new(&types[1], NULL);
    a->layers = &b->base;
    b->layers = lk_module_new(&failing_type, NULL);
    Tape *t = quiet_tape();
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(1), 1);
    check(!lk_forward(t, &a->base, x));
    check(strstr(lk_tape_error(t)->message, "bbb (Failing): failing: on purpose"));
    lk_module_free(&a->base);
    lk_free(x);
    lk_tape_free(t);
}

/* ---- a parameter that no table lists -------------------------------------------------------- */

typedef struct Forgetful {
    Module base;
    Tensor *w, *forgotten;
    Module *linear;
} Forgetful;

static Tensor *forgetful_forward(Tape *t, Module *self, Tensor *x)
{
    Forgetful *f = (Forgetful *)self;
    return lk_mul(t, lk_mul(t, lk_forward(t, f->linear, x), f->w), f->forgotten);
}
static const ModuleType forgetful_type = { LK_CLASS(Forgetful), .forward = forgetful_forward,
                                           .fields = LK_FIELDS(LK_PARAM(Forgetful, w),
                                                               LK_CHILD(Forgetful, linear)) };

static Error reported;

static void keep_report(const Error *err, void *user)
{
    (void)user;
    reported = *err;
}

Test(where, a_parameter_that_no_table_lists_is_noticed)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(1, 2), 1, 2); /* the input may be one */
    lk_on_strict(keep_report, NULL);
    for (int strict = 0; strict < 2; strict++) {
        for (int right = 0; right < 3; right++) {
            Forgetful *f = lk_module_new(&forgetful_type, NULL);
            f->linear = linear_of(2, 3);
            f->w = lk_param_new(LK_F32, LK_SHAPE(3), NULL);
            f->forgotten = right == 1 ? lk_retain(f->w) : lk_param_new(LK_F32, LK_SHAPE(3), NULL);
            if (right == 2) lk_set_requires_grad(f->forgotten, false);
            Module *net = lk_sequential_new(LK_MODULES(lk_relu_new(NULL), &f->base), NULL);
            lk_set_strict(strict);
            lk_tape_set_grad(t, false);
            check(lk_forward(t, net, x) &&
                  !net->traced); /* nothing is recorded, so nothing is known */
            lk_tape_set_grad(t, true);
            Tensor *y = lk_forward(t, net, x);
            check(y && net->traced && !f->base.traced);
            check(net->unlisted == (right == 0 ? f->forgotten : NULL));
            check((reported.code != LK_OK) == (strict && right == 0));
            if (reported.code)
                check_error(&reported, LK_ESTATE,
                            "lk_forward: Sequential reads a parameter (3,) that no table of its "
                            "fields lists: unless another module lists it");
            reported = (Error){ 0 };
            lk_set_strict(false);
            lk_tape_reset(t);
            lk_tensor_free(f->forgotten);
            lk_free(net);
        }
    }
    lk_free(x);
    lk_tape_free(t);
}

/* A decoder that reads the weight of an embedding: called by itself it is no mistake. */
Test(where, a_tied_weight_that_another_module_lists_is_no_mistake)
{
    Tape *t = quiet_tape();
    Tensor *x = make_param(LK_F32, LK_SHAPE(1, 2), 1, 2);
    Forgetful *f = lk_module_new(&forgetful_type, NULL);
    f->linear = linear_of(2, 3);
    f->w = lk_param_new(LK_F32, LK_SHAPE(3), NULL);
    Module *other = linear_of(3, 1);
    f->forgotten = lk_retain(lk_as_linear(other)->weight);
    lk_on_strict(keep_report, NULL);
    lk_set_strict(true);
    check(lk_forward(t, &f->base, x) && f->base.unlisted == f->forgotten && !reported.code);
    f->base.traced = false;
    lk_tensor_free(f->forgotten); /* borrowed */
    check(lk_forward(t, &f->base, x) && reported.code, "told, and it goes on");
    lk_set_strict(false);
    lk_free(&f->base);
    lk_free(other);
    lk_free(x);
    lk_tape_free(t);
}
