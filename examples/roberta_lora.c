/* roberta_lora.c - which Linears get LoRA, and the homework's lines about it. What LoRA computes:
 * nn/lora.c. */
#include "examples/roberta_lora.h"

#include <math.h>
#include <string.h>

#include "core/decimal.h"
#include "core/hash.h"
#include "examples/shared/cli.h"

/* ---- targets -------------------------------------------------------------------------------- */

/* Calls for each target of a list: for (Target it = { list }; next_target(&it);) … it.text */
typedef struct Target {
    const char *rest;
    bool not ;                  /* "!query": those that it matches are none */
    char text[LK_NAME_MAX + 2]; /* "*." and the target: the end of a name from a dot on */
} Target;

static bool next_target(Target *it)
{
    if (!it->rest || !*it->rest) return false;
    it->not = *it->rest == '!';
    it->rest += it->not ;
    size_t n = strcspn(it->rest, ",");
    snprintf(it->text, sizeof it->text, "*.%.*s", (int)(n < LK_NAME_MAX ? n : LK_NAME_MAX - 1),
             it->rest);
    it->rest += n + (it->rest[n] == ',');
    return true;
}

static bool matches(const Target *target, const char *name)
{
    return lk_name_matches(target->text, name) || lk_name_matches(target->text + 2, name);
}

static bool is_target(const char *targets, const char *name)
{
    bool is = !targets || *targets == '!';
    for (Target it = { .rest = targets }; next_target(&it);)
        if (matches(&it, name)) is = !it.not ;
    return is;
}

/* Levenshtein's distance, one row of the table at a time. */
static int edit_distance(const char *a, const char *b)
{
    int row[LK_NAME_MAX + 1], n = (int)strlen(b);
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 0; a[i]; i++) {
        int diagonal = row[0];
        row[0] = i + 1;
        for (int j = 0; j < n; j++) {
            int replaced = diagonal + (a[i] != b[j]),
                shorter = row[j] < row[j + 1] ? row[j] : row[j + 1];
            diagonal = row[j + 1];
            row[j + 1] = replaced < shorter + 1 ? replaced : shorter + 1;
        }
    }
    return row[n];
}

/* The end of a name that has as many parts as the target: "query" of "….self.query". */
static const char *same_end(const char *name, const char *target)
{
    int dots = 0;
    for (const char *c = target; *c; c++) dots += *c == '.';
    const char *end = name + strlen(name);
    while (end > name && (end[-1] != '.' || dots-- > 0)) end--;
    return end;
}

static bool no_such_target(Module *model, const char *target, Error *err)
{
    enum { NEAREST = 3 };
    char nearest[NEAREST][LK_NAME_MAX] = { "" };
    int distance[NEAREST], count = 0;
    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
        if (!lk_as_linear(it.module)) continue;
        const char *name = same_end(it.name, target);
        bool known = false;
        for (int i = 0; i < count; i++) known = known || strcmp(nearest[i], name) == 0;
        if (known) continue;
        int d = edit_distance(target, name), at = count;
        while (at > 0 && distance[at - 1] > d) at--;
        if (at == NEAREST) continue;
        for (int i = count < NEAREST ? count : NEAREST - 1; i > at; i--) {
            distance[i] = distance[i - 1];
            strcpy(nearest[i], nearest[i - 1]);
        }
        distance[at] = d;
        strcpy(nearest[at], name);
        if (count < NEAREST) count++;
    }
    return lk_error_set(
        err, LK_EVALUE,
        "LoRA: no Linear of the model is called '%.80s'; nearest: %.80s%s%.80s%s%.80s", target,
        nearest[0], count > 1 ? ", " : "", nearest[1], count > 2 ? ", " : "", nearest[2]);
}

static bool check_targets(Module *model, const char *targets, Error *err)
{
    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);)
        if (lk_as_linear_with_lora(it.module))
            return lk_error_set(err, LK_ESTATE, "LoRA: %.200s has LoRA already; remove it first",
                                it.name);
    if (targets && !*targets)
        return lk_error_set(err, LK_EVALUE, "LoRA: the list of targets is empty");
    for (Target target = { .rest = targets }; next_target(&target);) {
        bool found = false;
        for (ModuleIter it = lk_modules(model); lk_modules_next(&it);)
            found = found || (lk_as_linear(it.module) && matches(&target, it.name));
        if (!found) return no_such_target(model, target.text + 2, err);
    }
    return true;
}

/* ---- wrapping ------------------------------------------------------------------------------- */

/* Puts `by` into every place of `old` in the model but one. A module in several places stays
 * one. */
static bool replace(Module *model, const Module *old, Module *by, Module *const *but, Error *err)
{
    ModuleIter it = lk_modules(model);
    it.with_duplicates = true;
    ModuleIter begin = it;
    while (lk_modules_next(&it)) {
        if (it.module != old || it.slot == but) continue;
        if (!lk_module_set(it.slot, lk_retain(by), err)) return false;
        it = begin; /* the old module may be gone, and with it the iterator's place */
    }
    return true;
}

int roberta_add_lora(Module *model, const char *targets, int64_t rank, double alpha, Rng *rng,
                     Error *err)
{
    int wrapped = 0;
    if (!check_targets(model, targets, err)) return -1;
    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
        if (!lk_as_linear(it.module) || !it.slot || !is_target(targets, it.name)) continue;
        Module *lora = lk_linear_with_lora_new(lk_retain(it.module), rank, alpha, rng, err);
        bool ok =
            lora && replace(model, it.module, lora, &lk_as_linear_with_lora(lora)->linear, err);
        lk_module_free(lora);
        if (!ok) {
            roberta_remove_lora(model);
            return -1;
        }
        wrapped++;
    }
    if (targets && wrapped == 0) {
        lk_error_set(err, LK_EVALUE, "LoRA: the targets '%.200s' leave no Linear", targets);
        return -1;
    }
    return wrapped;
}

int roberta_remove_lora(Module *model)
{
    int removed = 0;
    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
        LinearWithLoRA *lora = lk_as_linear_with_lora(it.module);
        if (!lora || !it.slot) continue;
        Module *linear = lk_retain(lora->linear);
        bool ok = replace(model, it.module, linear, NULL, NULL);
        lk_module_free(linear);
        if (!ok) continue;
        it = lk_modules(model); /* the wrapper is gone, and with it the iterator's place */
        removed++;
    }
    return removed;
}

/* Puts "encoder.layer.*.output.dense" for a name with a number into the list, if it is not
 * there. */
static void add_target(char *list, size_t room, const char *name)
{
    char text[LK_NAME_MAX];
    size_t length = 0;
    for (const char *c = name; *c;) {
        size_t n = strspn(c, "0123456789");
        bool number = n > 0 && (c == name || c[-1] == '.') && (c[n] == '.' || !c[n]);
        text[length++] = '*';
        if (!number) text[length - 1] = *c;
        c += number ? n : 1;
    }
    text[length] = '\0';
    for (Target it = { .rest = list }; next_target(&it);)
        if (strcmp(it.text + 2, text) == 0) return;
    size_t used = strlen(list);
    snprintf(list + used, room - used, "%s%s", used ? "," : "", text);
}

LoraFacts roberta_lora_facts(Module *model)
{
    LoraFacts f = { .alphas = LK_HASH_START };
    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
        const LinearWithLoRA *wrapper = lk_as_linear_with_lora(it.module);
        if (!wrapper) continue;
        const LoRALayer *lora = lk_as_lora_layer(wrapper->lora);
        int64_t rank = lora->A->shape[1];
        bool first = f.count++ == 0;
        f.rank = first || f.rank == rank ? rank : -1;
        f.alpha = first || f.alpha == lora->alpha ? lora->alpha : NAN;
        f.alphas = lk_hash(f.alphas, &lora->alpha, sizeof lora->alpha);
        add_target(f.targets, sizeof f.targets, it.name);
    }
    return f;
}

bool roberta_apply_lora(Module *model, const char *targets, int64_t rank, double alpha,
                        bool train_head, Rng *rng, Error *err)
{
    char number[32];
    printf("Freezing original model parameters...\n");
    lk_require_grad(model, "*", false);
    lk_printf("Original parameters frozen.\nPrepared LoRA wrapper with r=%lld, alpha=%g\n",
              (long long)rank, alpha);
    printf("Applying LoRA wrappers to target layers...\n");
    int wrapped = roberta_add_lora(model, targets, rank, alpha, rng, err);
    if (wrapped < 0) return false;
    printf("Target layers replaced.\n");
    if (train_head)
        printf("Parameters of the head that are trained too: %d\n",
               lk_require_grad(model, "classifier.*", true));
    int64_t trainable = lk_count_trainable_parameters(model), total = lk_count_parameters(model);
    printf("\nTrainable params (LoRA A/B matrices%s): %s\n", train_head ? ", head" : "",
           cli_thousands(trainable, number));
    printf("Total params in model: %s\n", cli_thousands(total, number));
    lk_printf("Trainable parameter ratio: %.4f%%\n", 100.0 * (double)trainable / (double)total);
    return true;
}
