/* nb2_five.c - the checks of nb2's five checks, which must also say no to a net with a fault; and
 * the notebook from the training to the end. */
#include "examples/course/checks/nb2.h"

#include "data/digits.h"
#include "nn/parametrize.h"

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
    Module *linear = exam_child(e, net, nb2_layers[layer]);
    return linear ? lk_original(linear, parameter) : NULL;
}

void nb2_count_and_originals(Exam *e)
{
    Module *net = digits_net(e, 8, 7, 6, 5);
    int64_t base = net ? lk_count_parameters(net) : 0;
    StateDict *before = net ? lk_state_dict_new(net, &e->err) : NULL;
    nb2_with_lora(e, net);
    nb2_fill_lora(e, net);
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
                    exam_text(e, "one element of %s.%s is another", nb2_layers[faults[i].layer],
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

void nb2_weights_in_use(Exam *e)
{
    Module *net = digits_net(e, 8, 7, 6, 5);
    StateDict *before = net ? lk_state_dict_new(net, &e->err) : NULL;
    nb2_with_lora(e, net);
    nb2_fill_lora(e, net);
    const char on[] = "check_effective_weights", off[] = "check_disabled_weights";
    exam_expect(e, CALL(e, check_effective_weights, e->t, net), VERDICT_VALUE,
                "%s returns false although each weight is original + (B A) scale", on);
    nb2_enable(e, net, false);
    if (!CALL(e, check_effective_weights, e->t, net) && !e->failed) {
        exam_fail(e, VERDICT_VALUE, "%s returns false when LoRA was off before it is called", on);
        exam_looks_like(e, "LoRA not switched on", "Begin with enable_disable_lora(net, true).");
    }
    nb2_enable(e, net, true);
    if (!CALL(e, check_disabled_weights, e->t, net, before) && !e->failed) {
        exam_fail(e, VERDICT_VALUE, "%s returns false when LoRA was on before it is called", off);
        exam_looks_like(e, "LoRA not switched off", "Begin with enable_disable_lora(net, false).");
    }
    nb2_enable(e, net, true);
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

/* ---- the whole run -------------------------------------------------------------------------- */

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
    if (!e->failed && CALL(e, parametrize_linears, net, 1, 1.0, e->rng, &e->err))
        nb2_freeze(e, net);
    r->nines = CALL(e, only_digit_new, r->all, 9, &e->err);
    digits_train(e, net, r->nines, tuning);
    nb2_enable(e, net, true);
    digits_wrong(e, net, r->all, r->on);
    nb2_enable(e, net, false);
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

void nb2_nines_are_learned(Exam *e)
{
    counts_are_compared(e);
    Run r = { 0 };
    Module *net = run_notebook(e, &r, 60, 18, 6);
    for (int i = 0; i < LAYERS && r.before && net; i++) {
        const char *weight = exam_text(e, "%s.weight", nb2_layers[i]);
        const char *bias = exam_text(e, "%s.bias", nb2_layers[i]);
        exam_unmoved(e, weight, original_at(e, net, i, "weight"),
                     matrix_of(e, lk_state_dict_get(r.before, weight)));
        exam_unmoved(e, bias, original_at(e, net, i, "bias"),
                     matrix_of(e, lk_state_dict_get(r.before, bias)));
        Tensor *B = exam_param(e, nb2_lora_at(e, net, i), "lora_B", 0, 0);
        exam_expect(e, B && lk_count(B) > 0, VERDICT_VALUE,
                    "lora_B of %s is still 0 after the fine-tuning", nb2_layers[i]);
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

void nb2_show(Exam *e)
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
