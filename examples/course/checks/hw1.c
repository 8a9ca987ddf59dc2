/* hw1.c - the checks of hw1: LoRA put on RoBERTa by name. The net is tiny; the same functions are
 * shown on RoBERTa-base's shapes, which need no weights. */
#include <math.h>
#include <string.h>

#include "core/decimal.h"
#include "examples/course/checks/tiny_roberta.h"
#include "nn/linear.h"
#include "nn/models/roberta.h"

enum { RANK = 3 };
static const double ALPHA = 8.0;
static const char *const query_value[] = { "query", "value", NULL };
static const char *const key_dense[] = { "key", "dense", NULL };

static Module *net(Exam *e) { return tiny_roberta(e, e->seed, 0.0); }

/* ---- 1: names ------------------------------------------------------------------------------- */

static const char *last_part(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

static const struct {
    const char *name, *words[3];
} names[] = {
    { "roberta.encoder.layer.0.attention.self.query", { "query", "value" } },
    { "roberta.encoder.layer.0.attention.self.value", { "query", "value" } },
    { "roberta.encoder.layer.0.attention.self.key", { "query", "value" } },
    { "query", { "query", "value" } },
    { "encoder.query.linear", { "query", "value" } },
    { "encoder.subquery", { "query", "value" } },
    { "encoder.layer.11.output.dense", { "dense" } },
    { "classifier.out_proj", { "dense" } },
};
enum { NAMES = sizeof names / sizeof *names };

/* The answers of a way to compare; as 0 and 1. */
static Matrix answers(Exam *e, bool (*fits)(const char *name, const char *word), int words)
{
    Matrix row = matrix_zeros(e, 1, NAMES);
    for (int i = 0; row.v && i < NAMES; i++)
        for (int k = 0; k < words && names[i].words[k]; k++)
            if (fits(names[i].name, names[i].words[k])) row.v[i] = 1.0;
    return row;
}

static bool fits_last(const char *name, const char *word)
{
    return !strcmp(last_part(name), word);
}
static bool fits_inside(const char *name, const char *word) { return strstr(name, word); }
static bool fits_whole(const char *name, const char *word) { return !strcmp(name, word); }

static void last_part_decides(Exam *e)
{
    Matrix right = answers(e, fits_last, 2), got = matrix_zeros(e, 1, NAMES);
    int wrong = -1;
    for (int i = 0; got.v && right.v && i < NAMES; i++) {
        got.v[i] = CALL(e, is_lora_target, names[i].name, names[i].words);
        if (wrong < 0 && got.v[i] != right.v[i]) wrong = i;
    }
    if (wrong < 0) return;
    exam_fail(e, VERDICT_VALUE, "is_lora_target(\"%s\", { \"%s\"%s }) is %s, expected %s",
              names[wrong].name, names[wrong].words[0], names[wrong].words[1] ? ", \"value\"" : "",
              got.v[wrong] != 0.0 ? "true" : "false", got.v[wrong] != 0.0 ? "false" : "true");
    const char *part = "Compare what comes after the last dot, all of it: strrchr, then strcmp.";
    const Mistake mistakes[] = {
        { "contains for ends with", part, answers(e, fits_inside, 2) },
        { "the end of a word compared", part, answers(e, name_ends, 2) },
        { "the whole name compared", part, answers(e, fits_whole, 2) },
        { "only the first word compared", "Compare with every word up to the NULL.",
          answers(e, fits_last, 1) },
    };
    const Mistake *m = exam_recognise(got, right, MISTAKES(mistakes), 0.0);
    if (m) exam_looks_like(e, m->name, m->next);
}

/* ---- 2: places ------------------------------------------------------------------------------ */

/* The names of the net's Linears before LoRA, and the Linears themselves. */
typedef struct Linears {
    char name[TINY_LINEARS][80];
    Module *module[TINY_LINEARS];
    int count;
} Linears;

static Linears linears_of(Module *m)
{
    Linears l = { 0 };
    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);) {
        if (!lk_as_linear(it.module) || l.count == TINY_LINEARS) continue;
        snprintf(l.name[l.count], sizeof l.name[0], "%.79s", it.name);
        l.module[l.count++] = it.module;
    }
    return l;
}

static bool is_one_of(const char *name, const char *const *words)
{
    for (; *words; words++)
        if (!strcmp(last_part(name), *words)) return true;
    return false;
}

/* Which Linears have the words and stand in a layer of this number (-1: anywhere). */
static Matrix chosen(Exam *e, const Linears *l, const char *const *words, int layer)
{
    char part[16];
    snprintf(part, sizeof part, layer < 0 ? "." : "layer.%d.", layer);
    Matrix row = matrix_zeros(e, 1, l->count);
    for (int i = 0; row.v && i < l->count; i++)
        row.v[i] = strstr(l->name[i], part) && (!words || is_one_of(l->name[i], words));
    return row;
}

/* Which of them were replaced. */
static Matrix replaced(Exam *e, Module *m, const Linears *l)
{
    Matrix row = matrix_zeros(e, 1, l->count);
    for (int i = 0; row.v && i < l->count; i++)
        row.v[i] = lk_module_at(m, l->name[i], NULL) != l->module[i];
    return row;
}

static int count_of(Matrix row)
{
    int count = 0;
    for (int64_t i = 0; row.v && i < row.columns; i++) count += row.v[i] != 0.0;
    return count;
}

/* put_lora, with its failure as a verdict. */
static int put(Exam *e, Module *m, const char *const *words)
{
    int count = m ? CALL(e, put_lora, m, words, RANK, ALPHA, e->rng, &e->err) : 0;
    if (!exam_true(e, "put_lora", count >= 0)) {
        if (strstr(e->err.message, "lk_retain"))
            exam_looks_like(e, "lk_retain forgotten",
                            "The constructor consumes the Linear, but the slot holds it too: give "
                            "it lk_retain(it.module).");
    }
    exam_sound(e, "put_lora", m);
    return count;
}

static void compare_places(Exam *e, const char *call, Module *m, const Linears *l, Matrix right,
                           const Mistake *mistakes, int count)
{
    if (!m || e->failed) return;
    Matrix got = replaced(e, m, l);
    for (int i = 0; got.v && right.v && i < l->count; i++) {
        if (got.v[i] == right.v[i]) continue;
        exam_fail(e, VERDICT_VALUE, "%s: %d Linears are replaced, expected %d\n%s %s", call,
                  count_of(got), count_of(right), l->name[i],
                  right.v[i] != 0.0 ? "is not replaced" : "is replaced, and should not be");
        const Mistake *found = exam_recognise(got, right, mistakes, count, 0.0);
        if (found) exam_looks_like(e, found->name, found->next);
        return;
    }
    for (int i = 0; got.v && i < l->count; i++) {
        const char *inside = exam_text(e, "%s.linear", l->name[i]);
        if (right.v[i] == 0.0 || !lk_module_at(m, inside, NULL)) continue;
        if (lk_module_at(m, exam_text(e, "%s.linear", inside), NULL)) {
            exam_fail(e, VERDICT_VALUE, "%s: %s has LoRA, and %s has LoRA too", call, l->name[i],
                      inside);
            exam_looks_like(e, "wrapped twice",
                            "The Linear inside has a new name, ….query.linear. Look at the last "
                            "part of the name only.");
        }
    }
}

static void replaces_the_targets(Exam *e)
{
    static const char *const query[] = { "query", NULL };
    Module *m = net(e), *other = net(e);
    if (!m || !other) return;
    Linears l = linears_of(m), k = linears_of(other);
    int count = put(e, m, query_value), keys = put(e, other, key_dense);
    Matrix all = chosen(e, &l, NULL, -1), right = chosen(e, &l, query_value, -1);
    const char *every = "The words choose the Linears: is_lora_target(it.name, words).";
    const Mistake mistakes[] = {
        { "only the first layer", "Walk over all modules; every layer has its own names.",
          chosen(e, &l, query_value, 0) },
        { "only the last layer", "Walk over all modules; every layer has its own names.",
          chosen(e, &l, query_value, TINY_LAYERS - 1) },
        { "every Linear replaced", every, all },
        { "only the first word compared", every, chosen(e, &l, query, -1) },
    };
    compare_places(e, "put_lora with { \"query\", \"value\" }", m, &l, right, MISTAKES(mistakes));
    const Mistake fixed[] = { { "the words ignored", every, right } };
    compare_places(e, "put_lora with { \"key\", \"dense\" }", other, &k,
                   chosen(e, &k, key_dense, -1), MISTAKES(fixed));
    int expected = count_of(right), expected_keys = count_of(chosen(e, &k, key_dense, -1));
    if (e->failed || (count == expected && keys == expected_keys)) return;
    exam_fail(e, VERDICT_VALUE, "put_lora returns %d and %d, expected %d and %d", count, keys,
              expected, expected_keys);
    exam_looks_like(e, "the replacements not counted",
                    "Return how many Linears were replaced; the caller tells by it that a word "
                    "chose nothing.");
}

/* ---- 3 to 7: the new modules ---------------------------------------------------------------- */

static const char *const first = "roberta.encoder.layer.0.attention.self.query";

static void keeps_the_weights(Exam *e)
{
    Module *m = net(e);
    if (!m) return;
    Linears l = linears_of(m);
    Matrix weight[TINY_LINEARS];
    for (int i = 0; i < l.count; i++) weight[i] = matrix_of(e, lk_as_linear(l.module[i])->weight);
    put(e, m, query_value);
    for (int i = 0; i < l.count && !e->failed; i++) {
        if (!is_one_of(l.name[i], query_value)) continue;
        Tensor *now = exam_param(e, m, exam_text(e, "%s.linear.weight", l.name[i]), 0, 0);
        if (!now || matrix_near(matrix_of(e, now), weight[i], 0.0)) continue;
        exam_fail(e, VERDICT_VALUE, "%s.linear has other weights than the Linear before",
                  l.name[i]);
        exam_looks_like(e, "a new Linear inside",
                        "The weights that were learnt are in the old Linear: wrap it.module.");
    }
}

static void same_logits(Exam *e)
{
    Module *m = net(e);
    TrainerBatch b = tiny_sentences(e, 7, 5);
    Matrix before = tiny_logits(e, m, &b);
    put(e, m, query_value);
    exam_child(e, m, exam_text(e, "%s.linear", first));
    Matrix after = tiny_logits(e, m, &b);
    exam_expect(e, e->failed || matrix_near(after, before, 0.0), VERDICT_VALUE,
                "the logits of the net with LoRA differ from those before; with B = 0 they must "
                "be the same");
}

static void rank_and_alpha(Exam *e)
{
    Module *m = net(e);
    put(e, m, query_value);
    Tensor *A = exam_param(e, m, exam_text(e, "%s.lora.A", first), 0, 0);
    if (A && A->ndim == 2 && A->shape[1] == (int64_t)ALPHA) {
        exam_fail(e, VERDICT_SHAPE, "rank 3 and alpha 8 give A %s, expected (12, 3)",
                  exam_shape(e, A));
        exam_looks_like(e, "rank and alpha exchanged",
                        "linear_with_lora_new takes the rank first, then alpha.");
    }
    exam_param(e, m, exam_text(e, "%s.lora.A", first), TINY_HIDDEN, RANK);
    exam_param(e, m, exam_text(e, "%s.lora.B", first), RANK, TINY_HIDDEN);
    Module *layer = exam_to_double(e, exam_child(e, m, first));
    if (!layer) return;
    Matrix W = exam_fill(e, layer, "linear.weight"), bias = exam_fill(e, layer, "linear.bias");
    Matrix a = exam_fill(e, layer, "lora.A"), b = exam_fill(e, layer, "lora.B");
    Tensor *x = exam_input(e, 2, TINY_HIDDEN);
    Matrix input = matrix_of(e, x);
    Matrix base = matrix_sum(e, matrix_product(e, input, matrix_T(e, W)), bias);
    Matrix xAB = matrix_product(e, matrix_product(e, input, a), b);
    const Mistake mistakes[] = {
        { "alpha divided by the rank",
          "LoRALayer multiplies by alpha itself: hand it on as it is.",
          matrix_sum(e, base, matrix_scale(e, xAB, ALPHA / RANK)) },
        { "alpha forgotten", "Hand alpha on to linear_with_lora_new.", matrix_sum(e, base, xAB) },
    };
    exam_equal(e, exam_text(e, "%s(x)", first), exam_forward(e, first, layer, x),
               matrix_sum(e, base, matrix_scale(e, xAB, ALPHA)), MISTAKES(mistakes));
}

static void second_call_does_nothing(Exam *e)
{
    Module *m = net(e);
    put(e, m, query_value);
    if (!exam_child(e, m, exam_text(e, "%s.linear", first))) return;
    int count = CALL(e, put_lora, m, query_value, RANK, ALPHA, e->rng, &e->err);
    if (e->failed || count == 0) return;
    exam_fail(e, VERDICT_VALUE, "a second put_lora returns %d, expected 0%s%.200s", count,
              count < 0 ? ":\n" : "", count < 0 ? e->err.message : "");
    exam_looks_like(e, "something else than a Linear wrapped",
                    "query is a LinearWithLoRA now. Take a module only if lk_as_linear(it.module) "
                    "is not NULL.");
}

static void refuses_a_bad_rank(Exam *e)
{
    Module *m = net(e);
    if (!m) return;
    int count = CALL(e, put_lora, m, query_value, -1, ALPHA, e->rng, &e->err);
    exam_sound(e, "put_lora with rank -1", m);
    if (e->failed || count == -1) return;
    exam_fail(e, VERDICT_VALUE, "put_lora with rank -1 returns %d, expected -1", count);
    exam_looks_like(e, "a failure ignored",
                    "lk_module_set is false when the constructor failed: return -1 then.");
}

/* ---- 8 to 10: freezing and counting --------------------------------------------------------- */

static Module *adapted(Exam *e, Module *m)
{
    if (!m) return NULL;
    bool ok = CALL(e, apply_lora_to_roberta, m, RANK, ALPHA, e->rng, &e->err);
    exam_true(e, "apply_lora_to_roberta", ok);
    return exam_sound(e, "apply_lora_to_roberta", m) ? m : NULL;
}

static void applies_to_query_and_value(Exam *e)
{
    static const char *const query_key[] = { "query", "key", NULL };
    static const char *const three[] = { "query", "key", "value", NULL };
    Module *m = net(e);
    if (!m) return;
    Linears l = linears_of(m);
    adapted(e, m);
    const char *two = "Take query and value, as the paper does for its results (section 4.2).";
    const Mistake mistakes[] = {
        { "key instead of value", two, chosen(e, &l, query_key, -1) },
        { "key too", two, chosen(e, &l, three, -1) },
        { "every Linear replaced", two, chosen(e, &l, NULL, -1) },
    };
    compare_places(e, "apply_lora_to_roberta", m, &l, chosen(e, &l, query_value, -1),
                   MISTAKES(mistakes));
}

static bool is_with_biases(const char *name, const Tensor *x)
{
    return is_adapter(name, x) || name_ends(name, ".bias");
}

static bool is_outside_linears(const char *name, const Tensor *x)
{
    return is_adapter(name, x) || strstr(name, "embeddings") || strstr(name, "LayerNorm");
}

static void freezes_the_rest(Exam *e)
{
    Module *m = adapted(e, net(e));
    if (!m) return;
    Matrix got = params_that(e, m, is_trainable), right = params_that(e, m, is_adapter);
    if (!got.v || matrix_near(got, right, 0.0)) return;
    int64_t i = 0;
    for (ParamIter it = lk_params(m); lk_params_next(&it); i++) {
        if (got.v[i] == right.v[i]) continue;
        exam_fail(e, VERDICT_FROZEN, "%d tensors are trainable, expected %d\n%s %s", count_of(got),
                  count_of(right), it.name, got.v[i] != 0.0 ? "is trainable" : "is frozen");
        break;
    }
    const Mistake mistakes[] = {
        { "nothing frozen", "lk_require_grad(model, \"*\", false) freezes all; do it first.",
          params_that(e, m, is_any) },
        { "biases not frozen", "The pattern \"*\" fits every name, biases too.",
          params_that(e, m, is_with_biases) },
        { "classifier frozen",
          "The classifier has random weights at first: lk_require_grad(model, \"classifier.*\", "
          "true).",
          params_that(e, m, is_lora_only) },
        { "LoRA frozen too", "Freeze before put_lora, whose parameters are trainable.",
          params_that(e, m, is_classifier_only) },
        { "only the Linears frozen", "Embeddings and LayerNorms are no Linears; use \"*\".",
          params_that(e, m, is_outside_linears) },
        { "all frozen", "Freeze before put_lora, and unfreeze \"classifier.*\" at the end.",
          matrix_zeros(e, 1, got.columns) },
    };
    const Mistake *found = exam_recognise(got, right, MISTAKES(mistakes), 0.0);
    if (found) exam_looks_like(e, found->name, found->next);
}

static void counts(Exam *e)
{
    Module *m = net(e);
    if (!m) return;
    lk_require_grad(m, "roberta.*", false); /* independent of the functions before */
    int64_t trainable = 0, total = 0, tensors = 0;
    double percent = CALL(e, count_trainable, m, &trainable, &total);
    int64_t right = lk_count_trainable_parameters(m), all = lk_count_parameters(m);
    if (e->failed) return;
    for (ParamIter it = lk_params(m); lk_params_next(&it);) tensors++;
    if (trainable != right || total != all) {
        exam_fail(e, VERDICT_VALUE, "count_trainable finds %lld of %lld, expected %lld of %lld",
                  (long long)trainable, (long long)total, (long long)right, (long long)all);
        if (total == tensors)
            exam_looks_like(e, "tensors counted",
                            "A tensor has many elements: add lk_numel(it.tensor).");
        return;
    }
    double expected = 100.0 * (double)right / (double)all;
    double other = 100.0 * (double)right / (double)(all - right);
    if (fabs(percent - expected) < 1e-9) return;
    exam_fail(e, VERDICT_VALUE, "count_trainable returns %.6g, expected %.6g", percent, expected);
    if (percent == 0.0)
        exam_looks_like(e, "integer division",
                        "trainable / total divides integers, which gives 0. Convert one to "
                        "double.");
    else if (fabs(percent - other) < 1e-9)
        exam_looks_like(e, "percent of the frozen ones", "Divide by all parameters.");
    else if (fabs(100.0 * percent - expected) < 1e-9)
        exam_looks_like(e, "a part, not percent", "Multiply by 100.");
}

/* RoBERTa-base has a shape for every matrix and no elements, so this needs a few megabytes. */
static void show(Exam *e)
{
    static const int64_t ranks[] = { 1, 4, 8, 64 };
    printf("RoBERTa-base with LoRA on query and value, and its classifier:\n\n"
           "rank  trainable        of all  percent\n");
    for (int i = 0; i < 4; i++) {
        Module *m = exam_own(e, lk_roberta_classifier_new(&lk_roberta_base, &e->err));
        int64_t trainable = 0, total = 0;
        if (!m || !CALL(e, apply_lora_to_roberta, m, ranks[i], 16.0, e->rng, &e->err)) return;
        double percent = CALL(e, count_trainable, m, &trainable, &total);
        lk_printf("%4lld %10lld %13lld %8.4f\n", (long long)ranks[i], (long long)trainable,
                  (long long)total, percent);
    }
}

const Unit unit_hw1 = {
    .name = "hw1",
    .title = "LoRA put on RoBERTa by name",
    .minutes = 40,
    .functions = { "is_lora_target", "put_lora", "apply_lora_to_roberta", "count_trainable" },
    .checks = {
        { "the last part of the name decides", last_part_decides },
        { "put_lora replaces the chosen Linears of every layer", replaces_the_targets },
        { "the Linear inside is the one from before", keeps_the_weights },
        { "the logits are those from before, bit by bit", same_logits },
        { "rank and alpha arrive", rank_and_alpha },
        { "a second put_lora finds nothing to do", second_call_does_nothing },
        { "a bad rank gives -1", refuses_a_bad_rank },
        { "LoRA stands on query and value", applies_to_query_and_value },
        { "only LoRA and the classifier are trainable", freezes_the_rest },
        { "trainable and all parameters are counted", counts },
    },
    .show = show,
};
