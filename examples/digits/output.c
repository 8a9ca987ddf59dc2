/* output.c - tables, checks and results of digit9 and weak_digits. Their runs:
 * examples/digits/lora.c. */
#include "examples/digits/output.h"

#include <math.h>
#include <string.h>

#include "core/decimal.h"
#include "core/ops.h"
#include "examples/shared/cli.h"
#include "examples/shared/results.h"
#include "nn/linear.h"

/* ---- numbers -------------------------------------------------------------------------------- */

double digits_accuracy(const DigitsScore *s) { return (double)s->correct / (double)s->count; }

int64_t digits_target_wrong(const DigitsOutcome *o, const DigitsScore *s)
{
    int64_t wrong = 0;
    for (int d = 0; d < DIGITS_CLASSES; d++) wrong += o->target[d] ? s->wrong[d] : 0;
    return wrong;
}

const char *digits_list(const DigitsOutcome *o, char text[DIGITS_LIST_TEXT])
{
    int length = 0;
    text[0] = '\0';
    for (int d = 0; d < DIGITS_CLASSES; d++) {
        if (!o->target[d]) continue;
        length += snprintf(text + length, (size_t)(DIGITS_LIST_TEXT - length), "%s%d",
                           length ? ", " : "", d);
    }
    return text;
}

/* ---- tables --------------------------------------------------------------------------------- */

void digits_print_score(const DigitsScore *s)
{
    lk_printf("Accuracy: %.3f\n", digits_accuracy(s));
    for (int d = 0; d < DIGITS_CLASSES; d++)
        printf("wrong counts for the digit %d: %lld\n", d, (long long)s->wrong[d]);
}

/* " + B: torch.Size([1000])" */
static void print_part(const char *name, const Tensor *x)
{
    printf("%s: ", name);
    lk_print_size(stdout, x);
}

static LoRAParametrization *lora_of(const Linear *l)
{
    ParametrizationList *list = lk_parametrizations(&l->base, "weight");
    return list ? lk_as_lora_parametrization(list->chain.items[0]) : NULL;
}

void digits_print_layers(Module *model, int64_t base)
{
    char text[32];
    int layer = 0;
    int64_t added = lk_count_parameters(model) - base;
    for (ModuleIter it = lk_modules(model); lk_modules_next(&it);) {
        const Linear *l = lk_as_linear(it.module);
        if (!l) continue;
        printf("Layer %d: ", ++layer);
        print_part("W", lk_original(&l->base, "weight"));
        print_part(" + B", l->bias);
        if (lora_of(l)) {
            print_part(" + Lora_A", lora_of(l)->lora_A);
            print_part(" + Lora_B", lora_of(l)->lora_B);
        }
        putchar('\n');
    }
    if (added == 0) {
        printf("Total number of parameters: %s\n", cli_thousands(base, text));
        return;
    }
    printf("Total number of parameters (original): %s\n", cli_thousands(base, text));
    printf("Total number of parameters (original + LoRA): %s\n",
           cli_thousands(base + added, text));
    printf("Parameters introduced by LoRA: %s\n", cli_thousands(added, text));
    lk_printf("Parameters increment: %.3f%%\n", 100.0 * (double)added / (double)base);
}

void digits_print_summary(const DigitsOutcome *o)
{
    const struct {
        const char *state;
        const DigitsScore *score;
    } rows[] = {
        { "Before fine-tuning (original)", &o->base },
        { "After fine-tuning (LoRA enabled)", &o->on },
        { "After fine-tuning (LoRA disabled)", &o->off },
    };
    char list[DIGITS_LIST_TEXT];
    cli_line();
    printf("%-33s  %-16s  errors on %s\n", "Model state", "overall accuracy",
           digits_list(o, list));
    for (int i = 0; i < 3; i++)
        lk_printf("%-33s  %15.2f%%  %lld\n", rows[i].state, 100.0 * digits_accuracy(rows[i].score),
                  (long long)digits_target_wrong(o, rows[i].score));
}

bool digits_both_better(const DigitsOutcome *o, int i)
{
    return o->dial[i].accuracy > o->dial[0].accuracy &&
           o->dial[i].target_accuracy > o->dial[0].target_accuracy;
}

/* Prints the dial with a warning: LoRA need not make the whole network better. */
void digits_print_dial(const DigitsOutcome *o)
{
    char list[DIGITS_LIST_TEXT];
    const DigitsDial *base = o->dial, *best = o->dial;
    int both_better = 0;
    digits_list(o, list);
    cli_line();
    printf("Specialisation dial: the adapter's scale, from 0 (off) over 1 (as trained) on\n");
    printf("scale  accuracy  accuracy on %s\n", list);
    for (int i = 0; i <= DIGITS_DIAL_STEPS; i++) {
        const DigitsDial *d = &o->dial[i];
        bool both = digits_both_better(o, i);
        lk_printf("%5.1f  %8.4f  %8.4f%s\n", d->scale, d->accuracy, d->target_accuracy,
                  both ? "  both better" : "");
        both_better += both;
        if (d->accuracy > best->accuracy) best = d;
    }
    lk_printf("Both are better than the base at %d of %d scales; overall accuracy is best at "
              "%.1f: %.4f (%+.4f).\n",
              both_better, DIGITS_DIAL_STEPS, best->scale, best->accuracy,
              best->accuracy - base->accuracy);
    printf("LoRA has seen only %s here, and may pay for these with the other digits: that overall "
           "accuracy rises\n"
           "with LoRA on, as in the notebook on 3, 6, 8, 9, is not what every seed gives. The "
           "dial shows what lies\n"
           "between the two networks; other seeds show how far to trust it.\n",
           list);
}

/* ---- checks --------------------------------------------------------------------------------- */

/* Writes place i of a contiguous tensor as "(3, 5)". */
static void put_place(char *text, size_t size, const Tensor *x, int64_t i)
{
    int64_t index[LK_MAX_DIMS];
    for (int d = x->ndim - 1; d >= 0; i /= x->shape[d--]) index[d] = i % x->shape[d];
    size_t length = (size_t)snprintf(text, size, "(");
    for (int d = 0; d < x->ndim && length < size; d++)
        length += (size_t)snprintf(text + length, size - length, "%s%lld", d ? ", " : "",
                                   (long long)index[d]);
    if (length < size) snprintf(text + length, size - length, ")");
}

static double value_at(const Tensor *x, int64_t i)
{
    return x->dtype == LK_F64 ? ((const double *)x->data)[i] : (double)((const float *)x->data)[i];
}

bool digits_same(const char *name, const Tensor *expected, const Tensor *got,
                 char detail[DIGITS_DETAIL_MAX])
{
    if (!expected || !got || !lk_same_shape(expected, got) || expected->dtype != got->dtype ||
        !lk_is_contiguous(expected) || !lk_is_contiguous(got)) {
        snprintf(detail, DIGITS_DETAIL_MAX, "%s: there are no two tensors of one kind to compare",
                 name);
        return false;
    }
    size_t size = lk_dtype_size(got->dtype);
    for (int64_t i = 0, n = lk_numel(got); i < n; i++) {
        if (!memcmp((char *)got->data + (size_t)i * size,
                    (char *)expected->data + (size_t)i * size, size))
            continue;
        char place[128];
        put_place(place, sizeof place, got, i);
        lk_snprintf(detail, DIGITS_DETAIL_MAX, "%s %s is %.17g, expected %.17g", name, place,
                    value_at(got, i), value_at(expected, i));
        return false;
    }
    return true;
}

/* Finds the tensor that the snapshot calls "linear1.weight". If the weight is parametrized, this
 * is its original. */
static Tensor *original_of(Module *model, const char *name, Error *err)
{
    char path[LK_NAME_MAX];
    const char *dot = strrchr(name, '.');
    snprintf(path, sizeof path, "%.*s", dot ? (int)(dot - name) : 0, name);
    return lk_original(lk_module_at(model, path, err), dot ? dot + 1 : name);
}

static void check_count(Module *model, DigitsOutcome *o, DigitsCheck *c)
{
    char now[32], before[32];
    int64_t count = 0;
    for (ParamIter it = lk_params(model); lk_params_next(&it);)
        if (!strstr(it.name, "lora")) count += lk_numel(it.tensor);
    c->holds = count == o->base_parameters;
    snprintf(c->detail, sizeof c->detail, "%s parameters without LoRA, %s before",
             cli_thousands(count, now), cli_thousands(o->base_parameters, before));
}

static void check_originals(Module *model, const StateDict *originals, DigitsCheck *c, Error *err)
{
    c->holds = true;
    for (int i = 0; c->holds && i < originals->count; i++) {
        const StateEntry *e = &originals->entries[i];
        c->holds = digits_same(e->name, e->tensor, original_of(model, e->name, err), c->detail);
    }
    if (c->holds)
        snprintf(c->detail, sizeof c->detail, "the %d original tensors are unchanged, bit by bit",
                 originals->count);
}

/* Checks every weight that forward reads: with LoRA on, W + (B A) · scale; with LoRA off, the one
 * from before LoRA. */
static void check_weights(Tape *t, Module *model, bool on, const StateDict *originals,
                          DigitsCheck *c)
{
    int count = 0;
    lk_enable_lora(model, NULL, on, NULL);
    c->holds = true;
    for (AdapterIter it = lk_adapters(model); c->holds && lk_adapters_next(&it); count++) {
        char name[LK_NAME_MAX + 16];
        snprintf(name, sizeof name, "%s.%s", it.name, it.parameter);
        Tensor *expected = lk_state_dict_get(originals, name);
        if (on) {
            TapeMark mark = lk_tape_mark(t);
            Tensor *update =
                lk_scale(t, lk_matmul(t, it.lora->lora_B, it.lora->lora_A), it.lora->scale);
            update = lk_tape_release(t, mark, update); /* B A is as large as the weight */
            expected = lk_add(t, lk_original(it.module, it.parameter), update);
        }
        c->holds =
            digits_same(name, expected, lk_param_named(t, it.module, it.parameter), c->detail);
        lk_tape_reset(t);
    }
    if (c->holds)
        snprintf(c->detail, sizeof c->detail, "the %d weights in use equal %s, bit by bit", count,
                 on ? "original + (B A) * scale" : "those from before LoRA");
}

static void check_scores(const DigitsOutcome *o, DigitsCheck *c)
{
    c->holds = true;
    snprintf(c->detail, sizeof c->detail, "LoRA off, all ten wrong counts are the base's");
    for (int d = 0; c->holds && d < DIGITS_CLASSES; d++) {
        c->holds = o->off.wrong[d] == o->base.wrong[d];
        if (!c->holds)
            snprintf(c->detail, sizeof c->detail,
                     "wrong counts for the digit %d: %lld, expected %lld", d,
                     (long long)o->off.wrong[d], (long long)o->base.wrong[d]);
    }
}

bool digits_check(Tape *t, Module *model, const StateDict *originals, DigitsOutcome *o, Error *err)
{
    bool grad = lk_tape_set_grad(t, false);
    static const char *const names[DIGITS_CHECKS] = {
        "parameter_count",  "originals_unchanged", "effective_weights",
        "disabled_weights", "disabled_counts",
    };
    for (int i = 0; i < DIGITS_CHECKS; i++) o->checks[i].name = names[i];
    check_count(model, o, &o->checks[0]);
    check_originals(model, originals, &o->checks[1], err);
    check_weights(t, model, true, originals, &o->checks[2]);
    check_weights(t, model, false, originals, &o->checks[3]);
    check_scores(o, &o->checks[4]);
    lk_tape_set_grad(t, grad);
    return lk_tape_ok(t, err);
}

bool digits_print_checks(const DigitsOutcome *o)
{
    bool ok = true;
    cli_line();
    for (int i = 0; i < DIGITS_CHECKS; i++)
        cli_verify(&ok, o->checks[i].holds, "%s: %s", o->checks[i].name, o->checks[i].detail);
    return ok;
}

/* ---- results -------------------------------------------------------------------------------- */

static double steps_per_second(const DigitsCurve *c)
{
    return c->count > 0 ? (double)c->count / c->seconds : NAN;
}

static void put_losses(Results *f, const char *key, const DigitsCurve *c)
{
    enum { KEPT_LOSSES = 50 };
    results_numbers(f, key, c->count < KEPT_LOSSES ? c->count : KEPT_LOSSES, c->losses);
}

static void put_wrong(Results *f, const char *key, const DigitsScore *s)
{
    double wrong[DIGITS_CLASSES];
    for (int d = 0; d < DIGITS_CLASSES; d++) wrong[d] = (double)s->wrong[d];
    results_numbers(f, key, DIGITS_CLASSES, wrong);
}

static void put_dial(Results *f, const DigitsOutcome *o)
{
    double scale[DIGITS_DIAL_STEPS + 1], accuracy[DIGITS_DIAL_STEPS + 1],
        target[DIGITS_DIAL_STEPS + 1];
    for (int i = 0; i <= DIGITS_DIAL_STEPS; i++) {
        scale[i] = o->dial[i].scale;
        accuracy[i] = o->dial[i].accuracy;
        target[i] = o->dial[i].target_accuracy;
    }
    results_object(f, "dial");
    results_numbers(f, "scale", DIGITS_DIAL_STEPS + 1, scale);
    results_numbers(f, "accuracy", DIGITS_DIAL_STEPS + 1, accuracy);
    results_numbers(f, "target_accuracy", DIGITS_DIAL_STEPS + 1, target);
    results_object_end(f);
}

bool digits_write_json(const DigitsOutcome *o, Error *err)
{
    Results f;
    double digits[DIGITS_CLASSES];
    int count = 0;
    for (int d = 0; d < DIGITS_CLASSES; d++)
        if (o->target[d]) digits[count++] = d;
    results_open(&f, o->options->json);
    results_text(&f, "data", o->rendered ? "rendered" : "mnist");
    results_int(&f, "seed", o->options->seed);
    results_numbers(&f, "digits", count, digits);
    results_int(&f, "base_parameters", o->base_parameters);
    results_int(&f, "lora_parameters", o->lora_parameters);
    results_number(&f, "increment_percent",
                   100.0 * (double)o->lora_parameters / (double)o->base_parameters);
    results_object(&f, "accuracy");
    results_number(&f, "base", digits_accuracy(&o->base));
    results_number(&f, "lora_on", digits_accuracy(&o->on));
    results_number(&f, "lora_off", digits_accuracy(&o->off));
    results_object_end(&f);
    results_object(&f, "wrong");
    put_wrong(&f, "base", &o->base);
    put_wrong(&f, "lora_on", &o->on);
    put_wrong(&f, "lora_off", &o->off);
    results_object_end(&f);
    put_dial(&f, o);
    put_losses(&f, "losses", &o->training);
    put_losses(&f, "lora_losses", &o->tuning);
    results_number(&f, "train_steps_per_second", steps_per_second(&o->training));
    results_number(&f, "lora_steps_per_second", steps_per_second(&o->tuning));
    results_object(&f, "checks");
    for (int i = 0; i < DIGITS_CHECKS; i++)
        results_bool(&f, o->checks[i].name, o->checks[i].holds);
    results_object_end(&f);
    return results_close(&f, err);
}
