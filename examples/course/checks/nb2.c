/* nb2.c - the checks of nb2: LoRAParametrization, and its use in a net. The learner's own five
 * checks: nb2_five.c. */
#include "examples/course/checks/nb2.h"

#include <math.h>
#include <string.h>

#include "data/digits.h"
#include "nn/linear.h"
#include "nn/parametrize.h"

enum { IN = 5, OUT = 4, RANK = 3 };
static const double ALPHA = 8.0, SCALE = 8.0 / 3.0;
static const char call[] = "lora_parametrization_new(5, 4, 3, 8.0)";
const char *const nb2_layers[LAYERS] = { "linear1", "linear2", "linear3" };

/* ---- the class ------------------------------------------------------------------------------ */

static Module *parametrization(Exam *e)
{
    return exam_module(e, call,
                       CALL(e, lora_parametrization_new, IN, OUT, RANK, ALPHA, e->rng, &e->err));
}

static void has_a_and_b(Exam *e)
{
    Module *m = parametrization(e);
    Tensor *A = exam_param(e, m, "lora_A", 0, 0), *B = exam_param(e, m, "lora_B", 0, 0);
    if (e->failed) return;
    if (A->ndim == 2 && A->shape[0] == RANK && A->shape[1] == IN) {
        exam_fail(e, VERDICT_SHAPE,
                  "lora_A has shape %s and lora_B %s, expected (3, 4) and (5, 3)",
                  exam_shape(e, A), exam_shape(e, B));
        exam_looks_like(e, "features_in and features_out exchanged",
                        "B A has the shape of the weight, (features_in, features_out): so B has "
                        "features_in rows, and A features_out columns.");
    }
    exam_param(e, m, "lora_A", RANK, OUT);
    exam_param(e, m, "lora_B", IN, RANK);
    exam_expect(e, A->requires_grad && B->requires_grad, VERDICT_FIELDS,
                "lora_A and lora_B do not both require a gradient");
}

static void has_its_first_values(Exam *e)
{
    Module *m = parametrization(e);
    Tensor *A = exam_param(e, m, "lora_A", RANK, OUT), *B = exam_param(e, m, "lora_B", IN, RANK);
    if (e->failed) return;
    if (lk_count(B) > 0) {
        exam_fail(e, VERDICT_VALUE, "%lld of 15 elements of lora_B are not 0",
                  (long long)lk_count(B));
        exam_looks_like(e, "B random", "Leave lora_B at zero: the net then starts as it was.");
        return;
    }
    Rng rng;
    lk_manual_seed(&rng, e->seed);
    Tensor *drawn = exam_own_tensor(e, lk_tensor_new(LK_F32, LK_SHAPE(RANK, OUT), &e->err));
    if (drawn) lk_normal_(drawn, 0.0, 1.0, &rng);
    Matrix n = matrix_of(e, drawn);
    const char *next = "Here the deviation is 1: lk_normal_(l->lora_A, 0.0, 1.0, rng). The scale "
                       "alpha / rank does the rest.";
    const Mistake mistakes[] = {
        { "deviation 1/√rank", next, matrix_scale(e, n, 1.0 / sqrt(RANK)) },
        { "deviation 1/rank", next, matrix_scale(e, n, 1.0 / RANK) },
        { "A zero", "Draw lora_A with lk_normal_. If A and B are both 0, neither gets a gradient.",
          matrix_zeros(e, RANK, OUT) },
    };
    exam_equal(e, "lora_A, drawn from N(0, 1),", A, n, MISTAKES(mistakes));
}

/* Names the usual reason of a product that does not fit. */
static void explain_refusal(Exam *e)
{
    const char *first = strstr(e->verdict.text, "(3, 4)");
    const char *second = strstr(e->verdict.text, "(5, 3)");
    if (e->failed && first && second && first < second)
        exam_looks_like(e, "A B the other way",
                        "B stands first: B (in, rank) times A (rank, out) has W's shape.");
}

static void forward_is_right(Exam *e)
{
    Module *m = exam_to_double(e, parametrization(e));
    Matrix A = exam_fill(e, m, "lora_A"), B = exam_fill(e, m, "lora_B");
    Tensor *leaf = exam_input(e, IN, OUT);
    Matrix W = matrix_of(e, leaf), BA = matrix_product(e, B, A);
    Tensor *y = exam_forward(e, "lora_parametrization_forward", m, leaf);
    explain_refusal(e);
    exam_unmoved(e, "W, the original weight", leaf, W);
    Matrix right = matrix_sum(e, W, matrix_scale(e, BA, SCALE));
    Matrix reshaped = matrix_reshape(e, matrix_T(e, BA), IN, OUT);
    const Mistake mistakes[] = {
        { "alpha / rank forgotten", "Multiply B A by l->scale.", matrix_sum(e, W, BA) },
        { "rank / alpha", "The scale is alpha / rank.",
          matrix_sum(e, W, matrix_scale(e, BA, RANK / ALPHA)) },
        { "alpha not divided by the rank", "Here the scale is alpha / rank, unlike in ex1.",
          matrix_sum(e, W, matrix_scale(e, BA, ALPHA)) },
        { "integer division", "8 / 3 is 2 for integers: alpha / (double)rank.",
          matrix_sum(e, W, matrix_scale(e, BA, 2.0)) },
        { "alpha divided by the root of the rank", "The scale is alpha / rank.",
          matrix_sum(e, W, matrix_scale(e, BA, ALPHA / sqrt(RANK))) },
        { "scale twice", "Multiply by l->scale once.",
          matrix_sum(e, W, matrix_scale(e, BA, SCALE * SCALE)) },
        { "W scaled too", "Scale B A alone, before it is added.", matrix_scale(e, right, SCALE) },
        { "W missing", "LoRA adds to the weight: W + (B A) scale.", matrix_scale(e, BA, SCALE) },
        { "LoRA disabled at first", "The constructor sets enabled to true.", W },
        { "reshape for transpose",
          "A product that is transposed has the right number of elements, but at wrong places. "
          "B A needs no transpose.",
          matrix_sum(e, W, matrix_scale(e, reshaped, SCALE)) },
    };
    exam_equal(e, "lora_parametrization_forward", y, right, MISTAKES(mistakes));
    Matrix v = matrix_random(e, IN, OUT), sv = matrix_scale(e, v, SCALE);
    exam_backward(e, y, v);
    exam_has_gradient(e, m, "lora_A");
    exam_has_gradient(e, m, "lora_B");
    if (!e->failed && leaf && !lk_grad(leaf)) {
        exam_fail(e, VERDICT_GRADIENT, "W has no gradient after backward");
        exam_looks_like(e, "W treated as a constant", "Add to W itself, not to a copy.");
    }
    exam_gradient(e, "lora_A", exam_param(e, m, "lora_A", 0, 0),
                  matrix_product(e, matrix_T(e, B), sv), NO_MISTAKES);
    exam_gradient(e, "lora_B", exam_param(e, m, "lora_B", 0, 0),
                  matrix_product(e, sv, matrix_T(e, A)), NO_MISTAKES);
    exam_gradient(e, "W", leaf, v, NO_MISTAKES);
}

/* ---- the net -------------------------------------------------------------------------------- */

Module *nb2_lora_at(Exam *e, Module *net, int layer)
{
    Module *linear = exam_child(e, net, nb2_layers[layer]);
    if (!linear) return NULL;
    ParametrizationList *list = lk_parametrizations(linear, "weight");
    if (!list) {
        exam_fail(e, VERDICT_FIELDS, "the weight of %s has no parametrization", nb2_layers[layer]);
        if (layer > 0)
            exam_looks_like(e, "a layer without LoRA",
                            "Walk over all modules of the net, and do not return before the end.");
        return NULL;
    }
    Module *lora = list->chain.items[0];
    exam_expect(e, list->chain.count == 1, VERDICT_VALUE,
                "the weight of %s has %d parametrizations, expected 1", nb2_layers[layer],
                list->chain.count);
    if (!e->failed && lk_is_parametrized(linear, "bias")) {
        exam_fail(e, VERDICT_VALUE, "the bias of %s is parametrized too", nb2_layers[layer]);
        exam_looks_like(e, "the bias parametrized", "LoRA changes the weight alone.");
    }
    return e->failed ? NULL : lora;
}

Module *nb2_with_lora(Exam *e, Module *net)
{
    if (!net) return NULL;
    bool ok = CALL(e, parametrize_linears, net, RANK, ALPHA, e->rng, &e->err);
    exam_true(e, "parametrize_linears(net, 3, 8.0)", ok);
    exam_sound(e, "parametrize_linears(net, 3, 8.0)", net);
    return e->failed ? NULL : net;
}

static Module *net_with_lora(Exam *e) { return nb2_with_lora(e, digits_net(e, 8, 7, 6, 5)); }

void nb2_fill_lora(Exam *e, Module *net)
{
    for (int i = 0; i < LAYERS; i++) {
        Module *lora = nb2_lora_at(e, net, i);
        exam_fill(e, lora, "lora_A");
        exam_fill(e, lora, "lora_B");
    }
}

static void every_layer_has_its_own(Exam *e)
{
    /* Layers of one size can share a parametrization by mistake; those of several sizes show
     * which size is which. */
    Module *even = nb2_with_lora(e, digits_net(e, 6, 6, 6, 6));
    Module *first = nb2_lora_at(e, even, 0);
    for (int i = 1; i < LAYERS; i++) {
        if (nb2_lora_at(e, even, i) != first || e->failed) continue;
        exam_fail(e, VERDICT_VALUE, "linear1 and %s have the same LoRAParametrization",
                  nb2_layers[i]);
        exam_looks_like(e, "one LoRA for all layers",
                        "Call lora_parametrization_new for each Linear: each has an A and B of "
                        "its own.");
    }
    static const int64_t sizes[] = { 8, 7, 6, 5 };
    Module *net = digits_net(e, 8, 7, 6, 5);
    Tensor *x = exam_own_tensor(e, lk_tensor_new(LK_F32, LK_SHAPE(2, 8), &e->err));
    if (x) lk_normal_(x, 0.0, 1.0, &e->own_rng);
    Matrix before = matrix_of(e, exam_forward(e, "the net without LoRA", net, x));
    nb2_with_lora(e, net);
    for (int i = 0; i < LAYERS; i++) {
        Module *lora = nb2_lora_at(e, net, i);
        Tensor *A = exam_param(e, lora, "lora_A", 0, 0), *B = exam_param(e, lora, "lora_B", 0, 0);
        if (e->failed) return;
        if (A->shape[1] == sizes[i + 1] && B->shape[0] == sizes[i]) {
            exam_fail(e, VERDICT_SHAPE, "%s: weight (%lld, %lld), lora_A %s and lora_B %s",
                      nb2_layers[i], (long long)sizes[i + 1], (long long)sizes[i],
                      exam_shape(e, A), exam_shape(e, B));
            exam_looks_like(e, "features_in and features_out exchanged",
                            "features_in is weight->shape[0] and features_out weight->shape[1], "
                            "although a Linear calls them the other way.");
        }
        exam_param(e, lora, "lora_A", RANK, sizes[i]);
        exam_param(e, lora, "lora_B", sizes[i + 1], RANK);
    }
    exam_equal(e, "the net with new LoRA", exam_forward(e, "the net", net, x), before,
               NO_MISTAKES);
}

void nb2_enable(Exam *e, Module *net, bool on)
{
    if (net && LEARNERS(e, enable_disable_lora)) LEARNERS(e, enable_disable_lora)(net, on);
}

static void can_be_disabled(Exam *e)
{
    Module *net = exam_to_double(e, net_with_lora(e));
    nb2_fill_lora(e, net);
    nb2_enable(e, net, false);
    for (int i = 0; i < LAYERS && !e->failed; i++) {
        Module *linear = exam_child(e, net, nb2_layers[i]), *lora = nb2_lora_at(e, net, i);
        if (e->failed) return;
        Matrix W = matrix_of(e, lk_original(linear, "weight"));
        Matrix A = matrix_of(e, exam_param(e, lora, "lora_A", 0, 0));
        Matrix B = matrix_of(e, exam_param(e, lora, "lora_B", 0, 0));
        Matrix on = matrix_sum(e, W, matrix_scale(e, matrix_product(e, B, A), SCALE));
        Tensor *read = exam_result(e, "reading the weight with LoRA off",
                                   lk_param_named(e->t, linear, "weight"));
        const Mistake mistakes[] = {
            { "enabled ignored", "Return W itself when l->enabled is false, in every layer.", on },
            { "W missing when disabled", "Return W itself when l->enabled is false.",
              matrix_zeros(e, W.rows, W.columns) },
        };
        exam_equal(e, exam_text(e, "LoRA off: the weight of %s", nb2_layers[i]), read, W,
                   MISTAKES(mistakes));
        exam_unmoved(e, exam_text(e, "LoRA off: the weight of %s", nb2_layers[i]), read, W);
        nb2_enable(e, net, true);
        read = exam_result(e, "reading the weight with LoRA on",
                           lk_param_named(e->t, linear, "weight"));
        const Mistake stays[] = {
            { "LoRA stays off", "enable_disable_lora(net, true) switches it on again.", W },
        };
        exam_equal(e, exam_text(e, "LoRA on again: the weight of %s", nb2_layers[i]), read, on,
                   MISTAKES(stays));
        nb2_enable(e, net, false);
    }
}

void nb2_freeze(Exam *e, Module *net)
{
    if (net && LEARNERS(e, freeze_all_but_lora)) LEARNERS(e, freeze_all_but_lora)(net);
}

static void only_lora_is_trained(Exam *e)
{
    Module *net = net_with_lora(e);
    nb2_freeze(e, net);
    if (e->failed) return;
    const char *frozen = NULL, *free_one = NULL;
    bool weights_free = false;
    char names[2][LK_NAME_MAX];
    int trained = 0;
    for (ParamIter it = lk_params(net); lk_params_next(&it);) {
        bool lora = strstr(it.name, "lora"), on = it.tensor->requires_grad;
        trained += on;
        if (lora == on) continue;
        snprintf(names[lora], sizeof names[lora], "%s", it.name);
        if (lora) frozen = names[lora];
        else free_one = names[lora];
        weights_free |= !lora && !strstr(it.name, "bias");
    }
    if (free_one) {
        exam_fail(e, VERDICT_FROZEN, "%s still requires a gradient", free_one);
        exam_looks_like(e, weights_free ? "nothing frozen" : "biases not frozen",
                        "Freeze every parameter without \"lora\" in its name, biases too.");
    }
    if (frozen && !e->failed) {
        exam_fail(e, VERDICT_VALUE, "%s is frozen, so LoRA cannot learn", frozen);
        exam_looks_like(e, trained ? "a part of LoRA frozen" : "all frozen",
                        "strstr(it.name, \"lora\") tells which parameters belong to LoRA.");
    }
}

static void nines_only(Exam *e)
{
    Dataset *all = lk_rendered_digits_new(100, e->seed, LK_MNIST_NORMALIZE, &e->err);
    int64_t count = 0, wrong = 0;
    for (int64_t i = 0; all && i < all->count; i++) count += lk_dataset_label(all, i) == 9;
    Dataset *nines = all ? CALL(e, only_digit_new, all, 9, &e->err) : NULL;
    exam_expect(e, nines, VERDICT_FAILED, "only_digit_new(100 digits, 9) returned NULL: %s",
                e->err.code ? e->err.message : "without a message");
    for (int64_t i = 0; nines && i < nines->count; i++) wrong += lk_dataset_label(nines, i) != 9;
    if (nines && !e->failed && (nines->count != count || wrong)) {
        exam_fail(e, VERDICT_VALUE,
                  "only_digit_new(100 digits, 9) has %lld samples, %lld of them no nines; "
                  "expected the %lld nines",
                  (long long)nines->count, (long long)wrong, (long long)count);
        if (nines->count == all->count)
            exam_looks_like(e, "all digits kept",
                            "lk_filter_classes_new takes the digit to keep.");
        else if (nines->count == all->count - count && wrong == nines->count)
            exam_looks_like(e, "all other digits kept",
                            "The digit that you name is the one to keep.");
    }
    lk_dataset_free(nines);
    lk_dataset_free(all);
}

const Unit unit_nb2 = {
    .name = "nb2",
    .title = "LoRAParametrization, an expert on the digit 9",
    .minutes = 40,
    .functions = { "lora_parametrization_new", "parametrize_linears", "enable_disable_lora",
                   "freeze_all_but_lora", "only_digit_new", "check_originals_unchanged" },
    .checks = {
        { "lora_A (rank, out) and lora_B (in, rank) are parameters", has_a_and_b },
        { "lora_B starts at zero, lora_A with deviation 1", has_its_first_values },
        { "the weight becomes W + (B A) alpha / rank", forward_is_right },
        { "every Linear has a LoRA of its own", every_layer_has_its_own },
        { "LoRA off: the weight is W, bit by bit", can_be_disabled },
        { "only lora_A and lora_B are trained", only_lora_is_trained },
        { "the data are nines only", nines_only },
        { "parameter_count and originals_unchanged notice faults", nb2_count_and_originals },
        { "effective_weights and disabled_weights notice faults", nb2_weights_in_use },
        { "disabled_counts, and all five after the fine-tuning", nb2_nines_are_learned },
    },
    .show = nb2_show,
};
