/* lora.c - notebooks 2 and 3: train on all digits, adapt to some of them with LoRA, switch
 * LoRA off again.
 *
 * The order of statements is the notebooks', because all of them draw from one generator: the
 * weights, the order of the training pass, that of each test pass (the test set is shuffled too),
 * the lora_A of each layer, the order of the chosen digits. So the same seed gives PyTorch's
 * numbers. Types and the other files: lora.h. */
#include "examples/digits/lora.h"

#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/ops.h"
#include "data/loader.h"
#include "data/progress.h"
#include "examples/shared/cli.h"
#include "examples/digits/files.h"
#include "examples/digits/output.h"
#include "examples/digits/report.h"
#include "examples/shared/results.h"
#include "optim/optimizer.h"

enum { BATCH = 10, DIAL_BATCH = 500, WEAK_ERRORS = 50, STATUS_USAGE = 2 };

static const CliOption options[] = {
    CLI_DATA(DigitsOptions),
    CLI_SEED(DigitsOptions),
    CLI_THREADS(DigitsOptions),
    CLI_EPOCHS(DigitsOptions),
    CLI_INT("limit", DigitsOptions, limit, "N", 0, 1e9,
            "batches of the base training, over all its epochs; 0: all"),
    CLI_TEXT("digits", DigitsOptions, digits, "LIST",
             "what LoRA learns; auto: the digits with more than 50 errors"),
    CLI_INT("batches", DigitsOptions, batches, "N", 0, 1e6,
            "batches of the fine-tuning; 0: the adapter of --load"),
    CLI_INT("rank", DigitsOptions, rank, "N", 1, 512, "rank of lora_A and lora_B"),
    CLI_DOUBLE("alpha", DigitsOptions, alpha, "X", 0, 1000,
               "LoRA's alpha; the scale is alpha / rank"),
    CLI_DOUBLE("lr", DigitsOptions, lr, "X", 0, 1, "Adam's learning rate, of both trainings"),
    CLI_TEXT("save", DigitsOptions, save, "FILE",
             "save the base in FILE, the adapter beside it (.lora.safetensors)"),
    CLI_TEXT("load", DigitsOptions, load, "FILE",
             "load the base from FILE instead of training it"),
    CLI_TEXT("report", DigitsOptions, report, "FILE",
             "write a page with pictures to FILE, as HTML"),
    CLI_JSON(DigitsOptions),
    CLI_END,
};

/* The state of a run. */
typedef struct Run {
    const DigitsOptions *o;
    DigitsOutcome *out;
    Rng rng;
    Tape *t;
    DataLoader *train, *test;
    Module *model;
    StateDict *originals; /* from before LoRA */
} Run;

/* ---- training ------------------------------------------------------------------------------- */

static bool train_step(Run *r, Optimizer *opt, const Batch *b, double *loss, Error *err)
{
    Tensor *l = lk_cross_entropy(r->t, lk_forward(r->t, r->model, b->x), b->y);
    lk_optimizer_zero_grad(opt);
    if (!lk_backward(r->t, l) || !lk_step(opt, err)) return lk_tape_ok(r->t, err);
    *loss = lk_item(l);
    lk_tape_reset(r->t); /* the graph is used up; its memory serves the next step */
    return true;
}

/* Trains for a pass over the loader, or for what is left of `steps` batches. */
static bool train_epoch(Run *r, DataLoader *loader, Optimizer *opt, int64_t epoch, int64_t steps,
                        DigitsCurve *c, Error *err)
{
    char description[32];
    Batch b;
    int64_t length = lk_loader_len(loader);
    if (length > steps - c->count) length = steps - c->count;
    snprintf(description, sizeof description, "Epoch %lld", (long long)epoch);
    Progress p = lk_progress(stdout, description, length);
    p.label = "loss";
    double sum = 0.0;
    lk_train(r->model, true);
    lk_loader_begin(loader);
    for (int64_t i = 0; i < length && lk_loader_next(loader, &b); i++) {
        double loss = 0.0;
        if (!train_step(r, opt, &b, &loss, err)) return false;
        c->losses[c->count++] = loss;
        sum += loss;
        p.value = sum / (double)(i + 1);
        lk_progress_step(&p);
    }
    lk_progress_end(&p);
    return true;
}

/* Trains the trainable parameters of the model for `steps` batches. */
static bool train(Run *r, DataLoader *loader, int64_t steps, DigitsCurve *c, Error *err)
{
    c->losses = calloc((size_t)steps, sizeof *c->losses);
    if (!c->losses)
        return lk_error_set(err, LK_EMEMORY, "no memory for the losses of %lld batches",
                            (long long)steps);
    double start = lk_seconds();
    Optimizer *opt = lk_adam_new(lk_trainable_parameters(r->model, err), r->o->lr, err);
    bool ok = opt;
    for (int64_t epoch = 1; ok && c->count < steps; epoch++)
        ok = train_epoch(r, loader, opt, epoch, steps, c, err);
    lk_optimizer_zero_grad(opt);
    lk_optimizer_free(opt);
    c->seconds = lk_seconds() - start;
    return ok;
}

/* Batches of the first training. */
static int64_t training_steps(const Run *r)
{
    int64_t all = r->o->epochs * lk_loader_len(r->train);
    return r->o->limit > 0 && r->o->limit < all ? r->o->limit : all;
}

/* After --load: draws the numbers that the training would have drawn, so that the fine-tuning is
 * the same. */
static bool skip_training(Run *r, Error *err)
{
    Batch b;
    int64_t length = lk_loader_len(r->train), passes = (training_steps(r) + length - 1) / length;
    for (int64_t i = 0; i < passes; i++) {
        lk_loader_begin(r->train);
        if (!lk_loader_next(r->train, &b))
            return lk_error_set(err, LK_ESTATE, "there is no batch to train with");
    }
    return true;
}

/* Gives the network its first training: trains it, or loads the result. */
static bool prepare_base(Run *r, Error *err)
{
    const DigitsOptions *o = r->o;
    bool ok = o->load ? digits_load_base(r->model, o->load, err) && skip_training(r, err)
                      : train(r, r->train, training_steps(r), &r->out->training, err);
    return ok && (!o->save || digits_save_base(r->model, o->save, err));
}

/* ---- testing -------------------------------------------------------------------------------- */

/* Makes one pass over the test set, without gradients; p shows the progress. */
static bool evaluate(Run *r, DataLoader *loader, DigitsScore *s, Progress *p, Error *err)
{
    Batch b;
    lk_eval(r->model);
    bool before = lk_tape_set_grad(r->t, false);
    lk_loader_begin(loader);
    while (lk_loader_next(loader, &b)) {
        Tensor *predicted = lk_argmax(r->t, lk_forward(r->t, r->model, b.x), 1, false);
        if (!predicted) break;
        int64_t n = lk_numel(predicted);
        for (int64_t k = 0; k < n; k++) {
            int64_t sample = loader->order ? loader->order[b.first + k] : b.first + k;
            int answer = (int)lk_at(predicted, LK_INDEX(k)), label = (int)lk_at(b.y, LK_INDEX(k));
            s->predicted[sample] = (uint8_t)answer;
            s->correct += answer == label;
            s->wrong[label] += answer != label;
        }
        s->count += n;
        lk_tape_reset(r->t);
        lk_progress_step(p);
    }
    lk_tape_set_grad(r->t, before);
    return lk_tape_ok(r->t, err);
}

static bool test(Run *r, DigitsScore *s, Error *err)
{
    Progress p = lk_progress(stdout, "Testing", lk_loader_len(r->test));
    if (!evaluate(r, r->test, s, &p, err)) return false;
    lk_progress_end(&p);
    digits_print_score(s);
    return true;
}

/* Tests the adapter at scales from 0 to 1.5, in large batches and in the images' own order, so
 * that no order is drawn. */
static bool turn_dial(Run *r, Error *err)
{
    DigitsOutcome *out = r->out;
    DataLoader *loader = lk_loader_new(out->test, DIAL_BATCH, false, &r->rng, err);
    uint8_t *answers = calloc((size_t)out->test->count, 1);
    bool ok = loader && answers;
    if (loader && !answers)
        lk_error_set(err, LK_EMEMORY, "no memory for the answers to the test images");
    cli_line();
    Progress p =
        lk_progress(stdout, "Dial", ok ? (DIGITS_DIAL_STEPS + 1) * lk_loader_len(loader) : 0);
    ok = ok && lk_enable_lora(r->model, NULL, true, err) >= 0;
    for (int i = 0; ok && i <= DIGITS_DIAL_STEPS; i++) {
        DigitsScore s = { .predicted = answers };
        int64_t targets = 0;
        DigitsDial *d = &out->dial[i];
        d->scale = i / 10.0;
        ok = lk_scale_lora(r->model, NULL, d->scale, err) >= 0 && evaluate(r, loader, &s, &p, err);
        for (int64_t k = 0; k < out->test->count; k++)
            targets += out->target[lk_dataset_label(out->test, k)];
        d->accuracy = digits_accuracy(&s);
        d->target_accuracy = 1.0 - (double)digits_target_wrong(out, &s) / (double)targets;
    }
    if (ok) lk_progress_end(&p);
    ok = ok && lk_scale_lora(r->model, NULL, 1.0, err) >= 0;
    lk_loader_free(loader);
    free(answers);
    return ok;
}

/* ---- LoRA ----------------------------------------------------------------------------------- */

/* Reads "9" or "3,6,8,9". False: not a list of digits. "auto" gives true, and no digit yet. */
static bool parse_digits(const char *text, bool target[DIGITS_CLASSES])
{
    memset(target, 0, DIGITS_CLASSES * sizeof *target);
    if (strcmp(text, "auto") == 0) return true;
    for (const char *c = text;; c += 2) {
        if (*c < '0' || *c > '9') return false;
        target[*c - '0'] = true;
        if (c[1] != ',') return c[1] == '\0';
    }
}

/* With --digits auto: chooses the digits with many errors in the first test. */
static bool choose_digits(Run *r, Error *err)
{
    DigitsOutcome *out = r->out;
    if (!parse_digits(r->o->digits, out->target) || strcmp(r->o->digits, "auto") != 0) return true;
    bool any = false;
    char list[DIGITS_LIST_TEXT];
    for (int d = 0; d < DIGITS_CLASSES; d++)
        any |= out->target[d] = out->base.wrong[d] > WEAK_ERRORS;
    if (!any)
        return lk_error_set(
            err, LK_ESTATE,
            "--digits auto: no digit has more than %d errors; name some, --digits 3,8",
            WEAK_ERRORS);
    printf("Digits with more than %d errors: %s\n", WEAK_ERRORS, digits_list(out, list));
    return true;
}

static bool add_lora(Run *r, Error *err)
{
    DigitsOutcome *out = r->out;
    /* no pattern: every Linear */
    LoRAConfig config = { .rank = r->o->rank, .alpha = r->o->alpha };
    if (lk_add_lora(r->model, &config, &r->rng, err) < 0) return false;
    out->lora_parameters = lk_count_parameters(r->model) - out->base_parameters;
    for (AdapterIter it = lk_adapters(r->model);
         lk_adapters_next(&it) && out->layers < DIGITS_LAYERS_MAX;) {
        DigitsDelta *d = &out->delta[out->layers++];
        *d = (DigitsDelta){ .A = it.lora->lora_A, .B = it.lora->lora_B, .scale = it.lora->scale };
        snprintf(d->layer, sizeof d->layer, "%s", it.name);
    }
    return true;
}

static void freeze_all_but_lora(Module *model)
{
    for (ParamIter it = lk_params(model); lk_params_next(&it);) {
        if (strstr(it.name, "lora")) continue;
        printf("Freezing non-LoRA parameter %s\n", it.name);
        lk_set_requires_grad(it.tensor, false);
    }
}

/* Trains on some batches of the chosen digits alone; with --batches 0 loads the adapter
 * instead. */
static bool fine_tune(Run *r, const Dataset *all, Error *err)
{
    if (r->o->batches == 0) return digits_load_adapter(r->model, r->o->load, err);
    int64_t classes[DIGITS_CLASSES];
    int count = 0;
    for (int d = 0; d < DIGITS_CLASSES; d++)
        if (r->out->target[d]) classes[count++] = d;
    Dataset *chosen = lk_filter_classes_new(all, count, classes, err);
    DataLoader *loader = chosen ? lk_loader_new(chosen, BATCH, true, &r->rng, err) : NULL;
    bool ok = loader && train(r, loader, r->o->batches, &r->out->tuning, err);
    lk_loader_free(loader);
    lk_dataset_free(chosen);
    return ok;
}

/* ---- the notebook, statement by statement --------------------------------------------------- */

static bool notebook(Run *r, Error *err)
{
    DigitsOutcome *out = r->out;
    r->model = out->notebook->net_new(&r->rng, err);
    if (!r->model) return false;
    out->base_parameters = lk_count_parameters(r->model);
    if (!prepare_base(r, err)) return false;
    r->originals = lk_state_dict_new(r->model, err);
    if (!r->originals || !test(r, &out->base, err) || !choose_digits(r, err)) return false;
    digits_print_layers(r->model, out->base_parameters);

    if (!add_lora(r, err)) return false;
    digits_print_layers(r->model, out->base_parameters);
    freeze_all_but_lora(r->model);
    if (!fine_tune(r, r->train->dataset, err)) return false;
    if (r->o->save && !digits_save_adapter(r->model, r->o->save, err)) return false;

    printf("LoRA enabled\n");
    if (lk_enable_lora(r->model, NULL, true, err) < 0 || !test(r, &out->on, err)) return false;
    printf("LoRA disabled\n");
    return lk_enable_lora(r->model, NULL, false, err) >= 0 && test(r, &out->off, err);
}

/* ---- the program ---------------------------------------------------------------------------- */

/* The parts that the notebook leaves to the reader: a table, the checks, the dial, the results in
 * a file. */
static bool conclude(Run *r, Error *err)
{
    DigitsOutcome *out = r->out;
    digits_print_summary(out);
    if (!digits_check(r->t, r->model, r->originals, out, err)) return false;
    bool ok = digits_print_checks(out);
    if (!turn_dial(r, err)) return false;
    digits_print_dial(out);
    if (r->o->report && !digits_report(out, r->o->report, err)) return false;
    return (!r->o->json || digits_write_json(out, err)) && ok;
}

static bool run(const DigitsNotebook *n, const DigitsOptions *o, const CliDigits *digits,
                Error *err)
{
    int64_t tests = digits->test->count;
    uint8_t *answers = calloc((size_t)tests, 3);
    if (!answers)
        return lk_error_set(err, LK_EMEMORY, "no memory for the answers to %lld images",
                            (long long)tests);
    DigitsOutcome out = {
        .notebook = n, .options = o, .test = digits->test, .rendered = digits->rendered
    };
    out.base.predicted = answers;
    out.on.predicted = answers + tests;
    out.off.predicted = answers + 2 * tests;

    Run r = { .o = o, .out = &out, .t = lk_tape_quiet_new(err) }; /* main prints its error */
    r.train = lk_loader_new(digits->train, BATCH, true, &r.rng, err);
    r.test = lk_loader_new(digits->test, BATCH, true, &r.rng, err);
    bool ok = r.t && r.train && r.test;
    if (ok) {
        lk_manual_seed(&r.rng, (uint64_t)o->seed);
        ok = notebook(&r, err) && conclude(&r, err);
    }
    free(out.training.losses);
    free(out.tuning.losses);
    lk_state_dict_free(r.originals);
    lk_free(r.model);
    lk_loader_free(r.test);
    lk_loader_free(r.train);
    lk_tape_free(r.t);
    free(answers);
    return ok;
}

int digits_main(const DigitsNotebook *n, int argc, char **argv)
{
    const CliProgram program = { .name = n->name, .about = n->about, .options = options };
    DigitsOptions o = {
        .digits = n->digits, .epochs = 1, .batches = 100, .rank = 1, .alpha = 1.0, .lr = 1e-3
    };
    bool target[DIGITS_CLASSES];
    cli_parse(&program, argc, argv, &o);
    if (!parse_digits(o.digits, target)) {
        fprintf(stderr, "%s: --digits: '%s' is neither auto nor a list of digits like 3,6,8,9\n",
                n->name, o.digits);
        return STATUS_USAGE;
    }
    if (o.batches == 0 && !o.load) {
        fprintf(stderr, "%s: --batches 0 takes the adapter of --load FILE, which is not given\n",
                n->name);
        return STATUS_USAGE;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* every line appears when it is written, in a file too */
    cli_set_threads(o.threads);
    Error err = { 0 };
    CliDigits digits;
    if (o.report && !results_writable(o.report, &err)) return cli_exit(&program, false, &err);
    if (o.json && !results_writable(o.json, &err)) return cli_exit(&program, false, &err);
    if (o.save && !digits_can_save(o.save, &err)) return cli_exit(&program, false, &err);
    if (!cli_digits(o.data, LK_MNIST_NORMALIZE, &digits, &err))
        return cli_exit(&program, false, &err);
    bool ok = run(n, &o, &digits, &err);
    cli_digits_free(&digits);
    return cli_exit(&program, ok, &err);
}
