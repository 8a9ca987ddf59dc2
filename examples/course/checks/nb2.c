/* nb2.c - the checks of nb2: LoRAParametrization, its use in a net, and the five checks after the
 * fine-tuning, which must also fail for a net with a fault. */
#include <math.h>
#include <string.h>

#include "data/digits.h"
#include "examples/course/checks/digits.h"
#include "nn/adapter.h"
#include "nn/linear.h"

enum { IN = 5, OUT = 4, RANK = 3 };
static const double ALPHA = 8.0, SCALE = 8.0 / 3.0;
static const char call[] = "lora_parametrization_new(5, 4, 3, 8.0)";
static const char *const layers[] = { "linear1", "linear2", "linear3" };
enum { LAYERS = 3 };

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
    exam_gradient(e, "lora_A", exam_param(e, m, "lora_A", 0, 0),
                  matrix_product(e, matrix_T(e, B), sv), NO_MISTAKES);
    exam_gradient(e, "lora_B", exam_param(e, m, "lora_B", 0, 0),
                  matrix_product(e, sv, matrix_T(e, A)), NO_MISTAKES);
    exam_gradient(e, "W", leaf, v, NO_MISTAKES);
}

/* ---- the net -------------------------------------------------------------------------------- */

/* The LoRA of a layer; fails when there is none. */
static Module *lora_at(Exam *e, Module *net, int layer)
{
    Module *linear = exam_child(e, net, layers[layer]);
    if (!linear) return NULL;
    ParametrizationList *list = lk_parametrizations(linear, "weight");
    if (!list) {
        exam_fail(e, VERDICT_FIELDS, "the weight of %s has no parametrization", layers[layer]);
        if (layer > 0)
            exam_looks_like(e, "a layer without LoRA",
                            "Walk over all modules of the net, and do not return before the end.");
        return NULL;
    }
    Module *lora = list->chain.items[0];
    exam_expect(e, lora->type != &lk_lora_parametrization_type, VERDICT_LIBRARY,
                "%s got a LoRAParametrization of the library", layers[layer]);
    exam_expect(e, list->chain.count == 1, VERDICT_VALUE,
                "the weight of %s has %d parametrizations, expected 1", layers[layer],
                list->chain.count);
    if (!e->failed && lk_is_parametrized(linear, "bias")) {
        exam_fail(e, VERDICT_VALUE, "the bias of %s is parametrized too", layers[layer]);
        exam_looks_like(e, "the bias parametrized", "LoRA changes the weight alone.");
    }
    return e->failed ? NULL : lora;
}

/* Calls the learner's parametrize_linears. */
static Module *with_lora(Exam *e, Module *net)
{
    if (!net) return NULL;
    bool ok = CALL(e, parametrize_linears, net, RANK, ALPHA, e->rng, &e->err);
    exam_expect(e, ok, VERDICT_FAILED, "parametrize_linears returned false: %s",
                e->err.code ? e->err.message : "without a message");
    return e->failed ? NULL : net;
}

static Module *net_with_lora(Exam *e) { return with_lora(e, digits_net(e, 8, 7, 6, 5)); }

/* Gives A and B of every layer random values. */
static void fill_lora(Exam *e, Module *net)
{
    for (int i = 0; i < LAYERS; i++) {
        Module *lora = lora_at(e, net, i);
        exam_fill(e, lora, "lora_A");
        exam_fill(e, lora, "lora_B");
    }
}

static void every_layer_has_its_own(Exam *e)
{
    /* Layers of one size can share a parametrization by mistake; those of several sizes show
     * which size is which. */
    Module *even = with_lora(e, digits_net(e, 6, 6, 6, 6));
    Module *first = lora_at(e, even, 0);
    for (int i = 1; i < LAYERS; i++) {
        if (lora_at(e, even, i) != first || e->failed) continue;
        exam_fail(e, VERDICT_VALUE, "linear1 and %s have the same LoRAParametrization", layers[i]);
        exam_looks_like(e, "one LoRA for all layers",
                        "Call lora_parametrization_new for each Linear: each has an A and B of "
                        "its own.");
    }
    static const int64_t sizes[] = { 8, 7, 6, 5 };
    Module *net = digits_net(e, 8, 7, 6, 5);
    Tensor *x = exam_own_tensor(e, lk_tensor_new(LK_F32, LK_SHAPE(2, 8), &e->err));
    if (x) lk_normal_(x, 0.0, 1.0, &e->own_rng);
    Matrix before = matrix_of(e, exam_forward(e, "the net without LoRA", net, x));
    with_lora(e, net);
    for (int i = 0; i < LAYERS; i++) {
        Module *lora = lora_at(e, net, i);
        Tensor *A = exam_param(e, lora, "lora_A", 0, 0), *B = exam_param(e, lora, "lora_B", 0, 0);
        if (e->failed) return;
        if (A->shape[1] == sizes[i + 1] && B->shape[0] == sizes[i]) {
            exam_fail(e, VERDICT_SHAPE, "%s: weight (%lld, %lld), lora_A %s and lora_B %s",
                      layers[i], (long long)sizes[i + 1], (long long)sizes[i], exam_shape(e, A),
                      exam_shape(e, B));
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

/* Switches LoRA. */
static void enable(Exam *e, Module *net, bool on)
{
    if (net && LEARNERS(e, enable_disable_lora)) LEARNERS(e, enable_disable_lora)(net, on);
}

static void can_be_disabled(Exam *e)
{
    Module *net = exam_to_double(e, net_with_lora(e));
    fill_lora(e, net);
    enable(e, net, false);
    for (int i = 0; i < LAYERS && !e->failed; i++) {
        Module *linear = exam_child(e, net, layers[i]), *lora = lora_at(e, net, i);
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
        exam_equal(e, exam_text(e, "LoRA off: the weight of %s", layers[i]), read, W,
                   MISTAKES(mistakes));
        exam_unmoved(e, exam_text(e, "LoRA off: the weight of %s", layers[i]), read, W);
        enable(e, net, true);
        read = exam_result(e, "reading the weight with LoRA on",
                           lk_param_named(e->t, linear, "weight"));
        const Mistake stays[] = {
            { "LoRA stays off", "enable_disable_lora(net, true) switches it on again.", W },
        };
        exam_equal(e, exam_text(e, "LoRA on again: the weight of %s", layers[i]), read, on,
                   MISTAKES(stays));
        enable(e, net, false);
    }
}

static void freeze(Exam *e, Module *net)
{
    if (net && LEARNERS(e, freeze_all_but_lora)) LEARNERS(e, freeze_all_but_lora)(net);
}

static void only_lora_is_trained(Exam *e)
{
    Module *net = net_with_lora(e);
    freeze(e, net);
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

/* ---- the five checks ------------------------------------------------------------------------ */

/* Changes one element. */
static void disturb(Tensor *x)
{
    if (!x) return;
    if (x->dtype == LK_F32) ((float *)x->data)[lk_numel(x) - 1] += 0.5f;
    else ((double *)x->data)[lk_numel(x) - 1] += 0.5;
    lk_touch(x);
}

/* Fails when a check of the learner says yes to a net with a fault. */
static void must_notice(Exam *e, bool says_yes, const char *name, const char *fault,
                        const char *looks_like, const char *next)
{
    if (e->failed || !says_yes) return;
    exam_fail(e, VERDICT_VALUE, "%s returns true although %s", name, fault);
    exam_looks_like(e, looks_like, next);
}

static Tensor *original_at(Exam *e, Module *net, int layer, const char *parameter)
{
    Module *linear = exam_child(e, net, layers[layer]);
    return linear ? lk_original(linear, parameter) : NULL;
}

static void count_and_originals(Exam *e)
{
    Module *net = digits_net(e, 8, 7, 6, 5);
    int64_t base = net ? lk_count_parameters(net) : 0;
    StateDict *before = net ? lk_state_dict_new(net, &e->err) : NULL;
    with_lora(e, net);
    fill_lora(e, net);
    int64_t all = net ? lk_count_parameters(net) : 0;
    const char name[] = "check_parameter_count", fault[] = "the count before was another";
    must_notice(e, CALL(e, check_parameter_count, net, all), name,
                exam_text(e, "%lld is the number with LoRA", (long long)all), "LoRA counted too",
                "Leave out the parameters with \"lora\" in their name.");
    must_notice(e, CALL(e, check_parameter_count, net, base + 1), name, fault, "always true",
                "Compare with the number before LoRA.");
    exam_expect(e, CALL(e, check_parameter_count, net, base), VERDICT_VALUE,
                "%s(net, %lld) returns false, but there are %lld parameters without LoRA", name,
                (long long)base, (long long)base);

    const char unchanged[] = "check_originals_unchanged";
    exam_expect(e, CALL(e, check_originals_unchanged, net, before), VERDICT_VALUE,
                "%s returns false although nothing was changed\n"
                "lk_original(linear, \"weight\") is the weight without LoRA",
                unchanged);
    static const struct {
        int layer;
        const char *parameter, *looks_like, *next;
    } faults[] = {
        { 0, "weight", "always true", "lk_equal(a, b) compares two tensors bit by bit." },
        { 2, "weight", "only the first layer compared",
          "Return true at the end, after all layers." },
        { 1, "bias", "biases not compared", "Compare weight and bias of each Linear." },
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        Tensor *x = original_at(e, net, faults[i].layer, faults[i].parameter);
        Tensor *kept = x ? exam_own_tensor(e, lk_clone(x, &e->err)) : NULL;
        disturb(x);
        must_notice(e, CALL(e, check_originals_unchanged, net, before), unchanged,
                    exam_text(e, "one element of %s.%s is another", layers[faults[i].layer],
                              faults[i].parameter),
                    faults[i].looks_like, faults[i].next);
        if (kept && !lk_copy_(x, kept, &e->err))
            exam_fail(e, VERDICT_FAILED, "%s", e->err.message);
    }
    lk_state_dict_free(before);
}

/* Makes linear3 go on reading the weight that it has now, whatever LoRA becomes. */
static void make_stale(Exam *e, Module *net)
{
    Module *last = exam_child(e, net, "linear3");
    if (!last) return;
    if (!lk_merge(last, &e->err)) exam_fail(e, VERDICT_FAILED, "%s", e->err.message);
    disturb(exam_param(e, net, "linear3.parametrizations.weight.0.lora_B", 0, 0));
}

static void weights_in_use(Exam *e)
{
    Module *net = digits_net(e, 8, 7, 6, 5);
    StateDict *before = net ? lk_state_dict_new(net, &e->err) : NULL;
    with_lora(e, net);
    fill_lora(e, net);
    const char on[] = "check_effective_weights", off[] = "check_disabled_weights";
    exam_expect(e, CALL(e, check_effective_weights, e->t, net), VERDICT_VALUE,
                "%s returns false although each weight is original + (B A) scale", on);
    enable(e, net, false);
    if (!CALL(e, check_effective_weights, e->t, net) && !e->failed) {
        exam_fail(e, VERDICT_VALUE, "%s returns false when LoRA was off before it is called", on);
        exam_looks_like(e, "LoRA not switched on", "Begin with enable_disable_lora(net, true).");
    }
    enable(e, net, true);
    if (!CALL(e, check_disabled_weights, e->t, net, before) && !e->failed) {
        exam_fail(e, VERDICT_VALUE, "%s returns false when LoRA was on before it is called", off);
        exam_looks_like(e, "LoRA not switched off", "Begin with enable_disable_lora(net, false).");
    }
    enable(e, net, true);
    make_stale(e, net);
    const char fault[] = "linear3 does not read what its LoRA gives now";
    must_notice(e, CALL(e, check_effective_weights, e->t, net), on, fault, "a layer not compared",
                "Compare lk_param_named(t, linear, \"weight\") of every layer.");
    must_notice(e, CALL(e, check_disabled_weights, e->t, net, before), off,
                "linear3 still reads the weight with LoRA", "the original compared",
                "Compare the weight that forward reads: lk_param_named(t, linear, \"weight\").");
    if (net) lk_unmerge(net);
    lk_state_dict_free(before);
}

static void counts_are_compared(Exam *e)
{
    const int64_t a[DIGITS] = { 13, 18, 39, 81, 22, 22, 59, 62, 17, 98 };
    const int64_t swapped[DIGITS] = { 18, 13, 39, 81, 22, 22, 59, 62, 17, 98 };
    const int64_t last[DIGITS] = { 13, 18, 39, 81, 22, 22, 59, 62, 17, 13 };
    const char name[] = "check_disabled_counts";
    exam_expect(e, CALL(e, check_disabled_counts, a, a), VERDICT_VALUE,
                "%s returns false for equal counts", name);
    must_notice(e, CALL(e, check_disabled_counts, a, swapped), name,
                "the counts of 0 and 1 are exchanged", "sums compared",
                "Compare digit by digit: other errors may have the same sum.");
    must_notice(e, CALL(e, check_disabled_counts, a, last), name, "the count of 9 is another",
                "the nine left out", "There are ten digits, 0 to 9.");
}

/* The notebook: base, LoRA, fine-tuning on nines, five checks. */
typedef struct Run {
    Dataset *all, *nines;
    StateDict *before;
    int64_t base[DIGITS], on[DIGITS], off[DIGITS];
} Run;

static Module *run_notebook(Exam *e, Run *r, int64_t images, int batches, int tuning)
{
    r->all = lk_rendered_digits_new(images, e->seed, LK_MNIST_NORMALIZE, &e->err);
    Module *net = digits_net(e, PIXELS, 12, 16, DIGITS);
    digits_train(e, net, r->all, batches);
    digits_wrong(e, net, r->all, r->base);
    int64_t count = net ? lk_count_parameters(net) : 0;
    r->before = net ? lk_state_dict_new(net, &e->err) : NULL;
    if (!e->failed && CALL(e, parametrize_linears, net, 1, 1.0, e->rng, &e->err)) freeze(e, net);
    r->nines = CALL(e, only_digit_new, r->all, 9, &e->err);
    digits_train(e, net, r->nines, tuning);
    enable(e, net, true);
    digits_wrong(e, net, r->all, r->on);
    enable(e, net, false);
    digits_wrong(e, net, r->all, r->off);
    exam_expect(e, CALL(e, check_parameter_count, net, count), VERDICT_VALUE,
                "check_parameter_count returns false after the fine-tuning");
    return e->failed ? NULL : net;
}

static void run_free(Run *r)
{
    lk_state_dict_free(r->before);
    lk_dataset_free(r->nines);
    lk_dataset_free(r->all);
}

static void nines_are_learned(Exam *e)
{
    counts_are_compared(e);
    Run r = { 0 };
    Module *net = run_notebook(e, &r, 60, 18, 6);
    for (int i = 0; i < LAYERS && r.before && net; i++) {
        const char *weight = exam_text(e, "%s.weight", layers[i]);
        const char *bias = exam_text(e, "%s.bias", layers[i]);
        exam_unmoved(e, weight, original_at(e, net, i, "weight"),
                     matrix_of(e, lk_state_dict_get(r.before, weight)));
        exam_unmoved(e, bias, original_at(e, net, i, "bias"),
                     matrix_of(e, lk_state_dict_get(r.before, bias)));
        Tensor *B = exam_param(e, lora_at(e, net, i), "lora_B", 0, 0);
        exam_expect(e, B && lk_count(B) > 0, VERDICT_VALUE,
                    "lora_B of %s is still 0 after the fine-tuning", layers[i]);
    }
    const char after[] = "returns false after the fine-tuning";
    exam_expect(e, CALL(e, check_originals_unchanged, net, r.before), VERDICT_VALUE,
                "check_originals_unchanged %s", after);
    exam_expect(e, CALL(e, check_effective_weights, e->t, net), VERDICT_VALUE,
                "check_effective_weights %s", after);
    exam_expect(e, CALL(e, check_disabled_weights, e->t, net, r.before), VERDICT_VALUE,
                "check_disabled_weights %s", after);
    exam_expect(e, CALL(e, check_disabled_counts, r.base, r.off), VERDICT_VALUE,
                "check_disabled_counts %s", after);
    run_free(&r);
}

static void show(Exam *e)
{
    Run r = { 0 };
    Module *net = run_notebook(e, &r, 400, 150, 6);
    if (net) {
        printf("A small RichBoyNet, 400 rendered digits, LoRA of rank 1 tuned on nines, seed "
               "%llu:\n",
               (unsigned long long)e->seed);
        printf("errors on the digit  0  1  2  3  4  5  6  7  8  9\n");
        const struct {
            const char *state;
            const int64_t *wrong;
        } rows[] = { { "before LoRA", r.base }, { "LoRA on", r.on }, { "LoRA off", r.off } };
        for (int i = 0; i < 3; i++) {
            printf("%-19s", rows[i].state);
            for (int d = 0; d < DIGITS; d++) printf("%3lld", (long long)rows[i].wrong[d]);
            printf("\n");
        }
        lk_print_module(stdout, net);
        printf("\n");
    }
    run_free(&r);
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
        { "parameter_count and originals_unchanged notice faults", count_and_originals },
        { "effective_weights and disabled_weights notice faults", weights_in_use },
        { "disabled_counts, and all five after the fine-tuning", nines_are_learned },
    },
    .show = show,
};
