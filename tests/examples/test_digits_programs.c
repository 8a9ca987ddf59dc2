/* test_digits_programs.c - digit9 and weak_digits as their users see them: output, JSON, files,
 * checks, errors.
 *
 * Most tests run them on a small data set in MNIST's format that they write themselves; one on
 * rendered digits or, where it lies beside the source tree, on MNIST. PyTorch's numbers:
 * test_digits_lora.c. */
#include <math.h>
#include <unistd.h>

#include "examples/shared/cli.h"
#include "examples/digits/output.h"
#include "examples/shared/results.h"
#include "nn/linear.h"
#include "nn/sequential.h"
#include "tests/fixtures/digits_lora_losses.h"
#include "tests/shared/programs.h"

/* ---- results -------------------------------------------------------------------------------- */

/* The numbers of `"key": 1` or `"key": [1, 2]` inside `"object": {…}` (NULL: of the whole
 * file). */
static int read_numbers(const char *text, const char *object, const char *key, double *values,
                        int room)
{
    char start[64];
    const char *at = text;
    if (object) {
        print_to(start, sizeof start, "\n  \"%s\": {", object);
        at = strstr(text, start);
        check(at, "there is no %s in %s", object, text);
    }
    print_to(start, sizeof start, "\"%s\": ", key);
    at = strstr(at, start);
    check(at, "there is no %s in %s", key, text);
    at += strlen(start);
    bool list = *at == '[';
    int n = 0;
    for (at += list; *at != ']' && (n == 0 || list); n++) {
        char *end;
        check(n < room, "more than %d numbers in %s", room, key);
        values[n] = strtod(at, &end);
        check(end > at, "no number in %s at %s", key, at);
        at = end + (*end == ',' && list ? 2 : 0);
    }
    return n;
}

typedef struct Numbers {
    double base_parameters, lora_parameters, increment, accuracy[3], wrong[3][10], losses[64],
        lora_losses[64];
    double dial[3][16], digits[10], speed[2];
    int loss_count, lora_loss_count, digit_count;
} Numbers;

static Numbers read_results(const char *path)
{
    static const char *const states[] = { "base", "lora_on", "lora_off" };
    static const char *const dial[] = { "scale", "accuracy", "target_accuracy" };
    Numbers r;
    char *text = read_file(path);
    check(read_numbers(text, NULL, "base_parameters", &r.base_parameters, 1) == 1);
    check(read_numbers(text, NULL, "lora_parameters", &r.lora_parameters, 1) == 1);
    check(read_numbers(text, NULL, "increment_percent", &r.increment, 1) == 1);
    r.digit_count = read_numbers(text, NULL, "digits", r.digits, 10);
    for (int s = 0; s < 3; s++) {
        check(read_numbers(text, "accuracy", states[s], &r.accuracy[s], 1) == 1);
        check(read_numbers(text, "wrong", states[s], r.wrong[s], 10) == 10);
        check(read_numbers(text, "dial", dial[s], r.dial[s], 16) == 16);
    }
    r.loss_count = read_numbers(text, NULL, "losses", r.losses, 64);
    r.lora_loss_count = read_numbers(text, NULL, "lora_losses", r.lora_losses, 64);
    if (!strstr(text, "\"train_steps_per_second\": null"))
        check(read_numbers(text, NULL, "train_steps_per_second", &r.speed[0], 1) == 1 &&
              r.speed[0] > 0);
    check(strstr(text,
                 "\n  \"checks\": {\"parameter_count\": true, \"originals_unchanged\": true, "
                 "\"effective_weights\": true, \"disabled_weights\": true, \"disabled_counts\": "
                 "true}\n}\n"),
          "%s", text);
    for (int d = 0; d < 10; d++) check(r.wrong[0][d] == r.wrong[2][d], "digit %d", d);
    check(r.dial[0][0] == 0.0 && r.dial[0][10] == 1.0 && r.dial[0][15] == 1.5);
    free(text);
    return r;
}

/* The lines of the output begin with these texts, in this order; there is no other line. */
static void check_lines(const char *out, int count, const char *const *lines)
{
    for (int i = 0; i < count; i++) {
        check(strncmp(out, lines[i], strlen(lines[i])) == 0, "line %d is not \"%s\" but\n%s",
              i + 1, lines[i], out);
        out = strchr(out, '\n');
        check(out++, "the output ends at line %d", i + 1);
    }
    check(*out == '\0', "more lines than expected:\n%s", out);
}

#define TEN_COUNTS \
    "wrong counts for the digit 0: ", "wrong counts for the digit 1: ", \
        "wrong counts for the digit 2: ", "wrong counts for the digit 3: ", \
        "wrong counts for the digit 4: ", "wrong counts for the digit 5: ", \
        "wrong counts for the digit 6: ", "wrong counts for the digit 7: ", \
        "wrong counts for the digit 8: ", "wrong counts for the digit 9: "
#define TESTED "Testing: 100%|██████████| 7/7 [", "Accuracy: 0.", TEN_COUNTS
/* Summary, checks, dial. */
#define CONCLUSION \
    "-----", "Model state", "Before fine-tuning (original) ", \
        "After fine-tuning (LoRA enabled) ", "After fine-tuning (LoRA disabled) ", "-----", \
        "PASS  parameter_count: ", "PASS  originals_unchanged: ", "PASS  effective_weights: ", \
        "PASS  disabled_weights: ", "PASS  disabled_counts: ", "-----", \
        "Dial: 100%|██████████| 16/16 [", "-----", \
        "Specialisation dial: ", "scale  accuracy  accuracy on ", "  0.0  ", "  0.1  ", \
        "  0.2  ", "  0.3  ", "  0.4  ", "  0.5  ", "  0.6  ", "  0.7  ", "  0.8  ", "  0.9  ", \
        "  1.0  ", "  1.1  ", "  1.2  ", "  1.3  ", "  1.4  ", "  1.5  ", \
        "Both are better than ", "LoRA has seen only ", "with LoRA on, ", "between the two "

Test(digits_programs, lines_of_digit9)
{
    const char *json = check_scratch("r.json");
    Output o = run_program("./digit9 --data '%s' --seed 3 --limit 5 --batches 5 --json '%s'",
                           small_mnist(), json);
    check(o.status == 0 && o.err[0] == '\0', "status %d: %s", o.status, o.err);
    static const char *const lines[] = {
        "Data: MNIST from ",
        "Images: 150 for training, 70 for testing\n",
        "Epoch 1: 100%|██████████| 5/5 [",
        TESTED,
        "Layer 1: W: torch.Size([1000, 784]) + B: torch.Size([1000])\n",
        "Layer 2: W: torch.Size([2000, 1000]) + B: torch.Size([2000])\n",
        "Layer 3: W: torch.Size([10, 2000]) + B: torch.Size([10])\n",
        "Total number of parameters: 2,807,010\n",
        "Layer 1: W: torch.Size([1000, 784]) + B: torch.Size([1000]) + Lora_A: torch.Size([1, "
        "784]) + "
        "Lora_B: torch.Size([1000, 1])\n",
        "Layer 2: W: torch.Size([2000, 1000]) + B: torch.Size([2000]) + Lora_A: torch.Size([1, "
        "1000]) + "
        "Lora_B: torch.Size([2000, 1])\n",
        "Layer 3: W: torch.Size([10, 2000]) + B: torch.Size([10]) + Lora_A: torch.Size([1, 2000]) "
        "+ "
        "Lora_B: torch.Size([10, 1])\n",
        "Total number of parameters (original): 2,807,010\n",
        "Total number of parameters (original + LoRA): 2,813,804\n",
        "Parameters introduced by LoRA: 6,794\n",
        "Parameters increment: 0.242%\n",
        "Freezing non-LoRA parameter linear1.bias\n",
        "Freezing non-LoRA parameter linear1.parametrizations.weight.original\n",
        "Freezing non-LoRA parameter linear2.bias\n",
        "Freezing non-LoRA parameter linear2.parametrizations.weight.original\n",
        "Freezing non-LoRA parameter linear3.bias\n",
        "Freezing non-LoRA parameter linear3.parametrizations.weight.original\n",
        "Epoch 1: 100%|██████████| 2/2 [", /* 15 nines: passes of 2 batches */
        "Epoch 2: 100%|██████████| 2/2 [",
        "Epoch 3: 100%|██████████| 1/1 [",
        "LoRA enabled\n",
        TESTED,
        "LoRA disabled\n",
        TESTED,
        CONCLUSION,
    };
    check_lines(o.out, sizeof lines / sizeof *lines, lines);
    output_free(&o);
    Numbers r = read_results(json);
    check(r.base_parameters == 2807010 && r.lora_parameters == 6794 &&
          fabs(r.increment - 0.24204) < 1e-5);
    check(r.loss_count == 5 && r.lora_loss_count == 5 && r.digit_count == 1 && r.digits[0] == 9);
    for (int s = 0; s < 3; s++) {
        double wrong = 0;
        for (int d = 0; d < 10; d++) wrong += r.wrong[s][d];
        check(fabs(r.accuracy[s] - (SMALL_TEST - wrong) / SMALL_TEST) < 1e-12, "state %d", s);
    }
    check(fabs(r.dial[1][0] - r.accuracy[0]) < 0.05 && fabs(r.dial[1][10] - r.accuracy[1]) < 0.05);
    check(fabs(r.dial[2][0] - (1 - r.wrong[0][9] / 7)) < 0.2, "%g, %g wrong", r.dial[2][0],
          r.wrong[0][9]);
}

/* Every key of the JSON is in a table of the guide, as `key`. */
Test(digits_programs, keys_are_described)
{
    const char *json = check_scratch("r.json");
    Output o =
        run_program("./digit9 --data '%s' --limit 1 --batches 1 --json '%s'", small_mnist(), json);
    char *text = read_file(json), *page = read_file(check_source("examples/guide/digits.md"));
    char key[64];
    int keys = 0;
    for (const char *at = text; (at = strstr(at, "\": ")); at += 3, keys++) {
        const char *start = at;
        while (start[-1] != '"') start--;
        print_to(key, sizeof key, "`%.*s`", (int)(at - start), start);
        check(strstr(page, key), "%s is not in examples/guide/digits.md", key);
    }
    check(keys > 20, "%d keys", keys);
    free(page);
    free(text);
    output_free(&o);
}

Test(digits_programs, lines_of_weak_digits)
{
    const char *json = check_scratch("r.json");
    Output o = run_program("./weak_digits --data '%s' --limit 2 --batches 3 --json '%s'",
                           small_mnist(), json);
    check(o.status == 0 && o.err[0] == '\0', "status %d: %s", o.status, o.err);
    static const char *const parts[] = {
        "Layer 3: W: torch.Size([1300, 1500]) + B: torch.Size([1300])\n",
        "Layer 4: W: torch.Size([10, 1300]) + B: torch.Size([10])\n",
        "Total number of parameters: 4,250,810\n",
        "Layer 4: W: torch.Size([10, 1300]) + B: torch.Size([10]) + Lora_A: torch.Size([1, 1300]) "
        "+ "
        "Lora_B: torch.Size([10, 1])\n",
        "Total number of parameters (original + LoRA): 4,259,204\n",
        "Parameters introduced by LoRA: 8,394\n",
        "Parameters increment: 0.197%\n",
        ("Freezing non-LoRA parameter linear4.bias\n"
         "Freezing non-LoRA parameter linear4.parametrizations.weight.original\n"),
        "errors on 3, 6, 8, 9\n",
    };
    const char *at = o.out;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        at = strstr(at, parts[i]);
        check(at, "no \"%s\" (in its place) in %s", parts[i], o.out);
    }
    output_free(&o);
    Numbers r = read_results(json);
    check(r.base_parameters == 4250810 && r.lora_parameters == 8394 &&
          fabs(r.increment - 0.19747) < 1e-5);
    check(r.digit_count == 4 && r.digits[0] == 3 && r.digits[1] == 6 && r.digits[2] == 8 &&
          r.digits[3] == 9);
}

/* The same numbers for every number of threads; other ones for another seed; rank, alpha and lr do
 * something. */
Test(digits_programs, threads_and_options)
{
    static const char *const arguments[] = {
        "--threads 1",        "--threads 2", "--seed 1",
        "--rank 3 --alpha 6", "--lr 1e-4",   "--digits 1,2",
    };
    enum { RUNS = sizeof arguments / sizeof *arguments };
    const char *root = small_mnist(), *json = check_scratch("r.json");
    Numbers r[RUNS];
    for (int i = 0; i < RUNS; i++) {
        Output o = run_program("./digit9 --data '%s' --limit 3 --batches 3 --json '%s' %s", root,
                               json, arguments[i]);
        check(o.status == 0, "%s", o.err);
        output_free(&o);
        r[i] = read_results(json);
    }
    for (int i = 0; i < 3; i++) {
        check(r[0].losses[i] == r[1].losses[i] && r[0].lora_losses[i] == r[1].lora_losses[i],
              "loss %d", i);
        check(r[0].losses[i] == r[3].losses[i] && r[0].losses[i] == r[5].losses[i], "loss %d", i);
    }
    check(r[0].losses[0] != r[2].losses[0], "seeds 0 and 1 give the same loss");
    check(r[3].lora_parameters == 3 * 6794 && r[3].lora_losses[2] != r[0].lora_losses[2]);
    check(r[4].losses[0] == r[0].losses[0] && r[4].losses[1] != r[0].losses[1],
          "the learning rate does nothing");
    check(r[5].digit_count == 2 && r[5].digits[0] == 1 && r[5].digits[1] == 2);
}

Test(digits_programs, refused)
{
    static const char *const lists[] = { "3,x", "", "3,", ",3", "10", "3;6", "automatic", "-1" };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        check_refused(run_program("./weak_digits --digits='%s'", lists[i]), 2, "--digits: ");
    check_refused(run_program("./digit9 --batches 0"), 2,
                  "--batches 0 takes the adapter of --load FILE");
    check_refused(run_program("./digit9 --rank 0"), 2, "--rank: 0 is outside 1 to 512");
    check_refused(run_program("./digit9 --json /no/such/folder/r.json"), 1,
                  "folder/r.json: cannot be written");
    check_refused(run_program("./digit9 --save /no/such/folder/n.safetensors"), 1,
                  "n.safetensors: cannot be written");

    /* 70 images: no digit has more than 7 errors */
    Output o = run_program("./weak_digits --data '%s' --digits auto --limit 1", small_mnist());
    check(o.status == 1 &&
              strstr(o.err, "weak_digits: --digits auto: no digit has more than 50 errors"),
          "%s", o.err);
    output_free(&o);
}

/* ---- saving and loading --------------------------------------------------------------------- */

static void check_same_results(const Numbers *a, const Numbers *b)
{
    check(memcmp(a->wrong, b->wrong, sizeof a->wrong) == 0 &&
          memcmp(a->dial, b->dial, sizeof a->dial) == 0);
}

/* Two epochs, so that two passes must be skipped: after --load the fine-tuning is the same one, to
 * the last bit. */
Test(digits_programs, save_and_load)
{
    const char *root = small_mnist(), *json = check_scratch("r.json"),
               *base = check_scratch("net.safetensors");
    Output o = run_program(
        "./digit9 --data '%s' --epochs 2 --limit 20 --batches 3 --save '%s' --json '%s'", root,
        base, json);
    check(o.status == 0 && strstr(o.out, "net.lora.safetensors\n"), "%s%s", o.out, o.err);
    check(strstr(o.out, "Epoch 1: 100%|██████████| 15/15 ["), "%s", o.out);
    check(strstr(o.out, "Epoch 2: 100%|██████████| 5/5 ["), "%s", o.out);
    output_free(&o);
    Numbers saved = read_results(json);

    o = run_program(
        "./digit9 --data '%s' --epochs 2 --limit 20 --batches 3 --load '%s' --json '%s'", root,
        base, json);
    check(o.status == 0 && strstr(o.out, "Base loaded from ") && !strstr(o.out, " 15/15 ["),
          "%s%s", o.out, o.err);
    output_free(&o);
    Numbers loaded = read_results(json);
    check_same_results(&saved, &loaded);
    check(loaded.loss_count == 0 && loaded.lora_loss_count == 3);
    check(memcmp(saved.lora_losses, loaded.lora_losses, 3 * sizeof(double)) == 0);

    /* no fine-tuning either: the adapter as it was saved */
    o = run_program("./digit9 --data '%s' --seed 5 --batches 0 --load '%s' --json '%s'", root,
                    base, json);
    check(o.status == 0 && strstr(o.out, "Adapter loaded from "), "%s%s", o.out, o.err);
    output_free(&o);
    Numbers neither = read_results(json);
    check_same_results(&saved, &neither);
    check(neither.loss_count == 0 && neither.lora_loss_count == 0);

    o = run_program("./digit9 --data '%s' --batches 0 --alpha 2 --load '%s'", root, base);
    check(o.status == 1 &&
              strstr(o.err, "its adapter was trained with alpha 1, this run has --alpha 2"),
          "%s", o.err);
    output_free(&o);
    o = run_program("./digit9 --data '%s' --batches 0 --rank 2 --load '%s'", root, base);
    check(o.status == 1 && strstr(o.err, "lora_A"), "%s", o.err);
    output_free(&o);
    o = run_program("./weak_digits --data '%s' --load '%s'", root, base);
    check(o.status == 1 && strstr(o.err, "linear4.weight"), "%s", o.err);
    output_free(&o);
}

/* ---- what it shows -------------------------------------------------------------------------- */

/* 300 batches are enough for a network whose nines LoRA can nearly perfect. */
Test(digits_programs, nines_fall_to_a_third)
{
    const char *root = check_source("../shared/data"), *json = check_scratch("r.json");
    char folder[1200], data[1300] = "";
    print_to(folder, sizeof folder, "%s/mnist", root);
    bool mnist = lk_mnist_exists(folder);
    if (mnist) print_to(data, sizeof data, "--data '%s'", root);
    Output o = run_program("./digit9 %s --limit 300 --json '%s'", data, json);
    check(o.status == 0, "%s%s", o.out, o.err);
    check(strstr(o.out, mnist ? "Data: MNIST" : "Data: rendered digits"), "%s", o.out);
    output_free(&o);
    Numbers r = read_results(json);
    check(r.accuracy[0] > 0.8, "base accuracy %g", r.accuracy[0]);
    check(r.wrong[0][9] >= 30 && 3 * r.wrong[1][9] <= r.wrong[0][9], "nines: %g errors, then %g",
          r.wrong[0][9], r.wrong[1][9]);
    check(r.dial[2][10] > r.dial[2][0] && fabs(r.dial[1][10] - r.accuracy[1]) < 2e-3 &&
              fabs(r.dial[1][0] - r.accuracy[0]) < 2e-3,
          "the dial does not meet the tests");
    for (int i = 0; mnist && i < 10; i++)
        check(fabs(r.losses[i] - mnist_rich_boy_net_base_f32[0][i]) <= 2e-4,
              "batch %d: %.9g, PyTorch %.9g", i, r.losses[i], mnist_rich_boy_net_base_f32[0][i]);
}

Test(digits_programs, auto_chooses_weak_digits)
{
    const char *json = check_scratch("r.json");
    Output o = run_program("./weak_digits --digits auto --limit 40 --batches 2 --json '%s'", json);
    check(o.status == 0 && strstr(o.out, "\nDigits with more than 50 errors: "), "%s%s", o.out,
          o.err);
    output_free(&o);
    Numbers r = read_results(json);
    int chosen = 0;
    for (int d = 0; d < 10; d++)
        if (r.wrong[0][d] > 50)
            check(chosen < r.digit_count && r.digits[chosen++] == d, "digit %d", d);
    check(chosen == r.digit_count && chosen > 0);
}

/* ---- checks that fail ----------------------------------------------------------------------- */

static void check_detail(const DigitsCheck *c, const char *expected)
{
    check(!c->holds, "%s holds", c->name);
    check(strcmp(c->detail, expected) == 0, "%s: '%s', not '%s'", c->name, c->detail, expected);
}

/* Each check notices what it is there for, and says where. */
Test(digits_programs, checks_name_tensor_element_and_values)
{
    Error err = { 0 };
    Rng rng;
    lk_manual_seed(&rng, 0);
    Tape *t = lk_tape_new(&err);
    Module *model = lk_sequential_new(LK_MODULES(lk_linear_new(3, 2, true, &rng, &err)), &err);
    Linear *l = lk_as_linear(lk_module_at(model, "0", &err));
    float *w = l->weight->data;
    w[5] = 0.25f;
    StateDict *originals = lk_state_dict_new(model, &err);
    check(originals &&
          lk_add_lora(model, &(LoRAConfig){ .rank = 1, .alpha = 0.5 }, &rng, &err) == 1);
    AdapterIter it = lk_adapters(model);
    check(lk_adapters_next(&it));
    float *A = it.lora->lora_A->data, *B = it.lora->lora_B->data;
    A[0] = A[1] = A[2] = 1;
    B[0] = B[1] = 4;
    lk_touch(it.lora->lora_A);
    lk_touch(it.lora->lora_B);

    DigitsOutcome o = { .base_parameters = 8 };
    check(digits_check(t, model, originals, &o, &err));
    for (int i = 0; i < DIGITS_CHECKS; i++)
        check(o.checks[i].holds, "%s: %s", o.checks[i].name, o.checks[i].detail);

    w[5] = 0.5f; /* an original changes */
    lk_touch(lk_original(&l->base, "weight"));
    o.off.wrong[4] = 2;
    o.base_parameters = 9;
    check(digits_check(t, model, originals, &o, &err));
    check_detail(&o.checks[0], "8 parameters without LoRA, 9 before");
    check_detail(&o.checks[1], "0.weight (1, 2) is 0.5, expected 0.25");
    check(o.checks[2].holds);
    check_detail(&o.checks[3], "0.weight (1, 2) is 0.5, expected 0.25");
    check_detail(&o.checks[4], "wrong counts for the digit 4: 2, expected 0");
    check(freopen("/dev/null", "w", stdout)); /* no FAIL in the log of a test that passes */
    check(!digits_print_checks(&o));

    w[5] = 0.25f; /* a forward that reads something else than W + (B A) * scale */
    lk_enable_lora(model, NULL, true, NULL);
    check(lk_merge(model, &err), "%s", err.message);
    B[1] = 8;
    lk_touch(it.lora->lora_B);
    check(digits_check(t, model, originals, &o, &err));
    char expected[100];
    snprintf(expected, sizeof expected, "0.weight (1, 0) is %.17g, expected %.17g",
             (double)(w[3] + 2), (double)(w[3] + 4));
    check_detail(&o.checks[2], expected);
    check(o.checks[1].holds);
    lk_state_dict_free(originals);
    lk_free(model);
    lk_tape_free(t);
}
