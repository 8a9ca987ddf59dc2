/* test_mnist_lora.c - the program mnist_lora as its users see it: output, JSON, where it looks for
 * data, errors.
 *
 * Most tests run it on a small data set in MNIST's format that they write themselves; one on
 * rendered digits; one on the real files, with PyTorch's losses, when they lie beside the source
 * tree. */
#include <math.h>
#include <unistd.h>

#include "data/mnist.h"
#include "tests/fixtures/mnist_lora_losses.h"
#include "tests/shared/programs.h"

/* ---- its results ---------------------------------------------------------------------------- */

/* Reads one line `  "key": [1, 2],` or `  "key": 1,` behind *text, which moves on; returns how
 * many numbers it holds. The whole layout is checked, so a file that passes is valid JSON. */
static int read_numbers(const char **text, const char *key, double *values, int room)
{
    char start[64];
    int n = 0;
    print_to(start, sizeof start, "  \"%s\": ", key);
    check(strncmp(*text, start, strlen(start)) == 0, "expected %s at\n%s", start, *text);
    *text += strlen(start);
    bool list = **text == '[';
    do {
        *text += list; /* over the bracket or, after a comma, the space */
        char *end;
        check(n < room, "more than %d numbers in %s", room, key);
        values[n++] = strtod(*text, &end);
        check(end > *text, "no number in %s at\n%s", key, *text);
        *text = end + (list && *end == ',');
    } while (list && **text == ' ');
    check(!list || **text == ']', "%s does not end: %s", key, *text);
    *text += list;
    check(strncmp(*text, ",\n", 2) == 0 || strcmp(*text, "\n}\n") == 0, "%s is followed by\n%s",
          key, *text);
    *text += **text == ',' ? 2 : 0;
    return n;
}

typedef struct Numbers {
    double seed, base_parameters, lora_parameters, train[8], lora_train[8], before, wrapped, tuned,
        after, losses[64];
    double seconds[2];
    int epochs, loss_count;
} Numbers;

static Numbers read_results(const char *path, const char *data)
{
    Numbers r;
    char *text = read_file(path), start[64];
    const char *at = text;
    print_to(start, sizeof start, "{\n  \"data\": \"%s\",\n", data);
    check(strncmp(at, start, strlen(start)) == 0, "%s", text);
    at += strlen(start);
    check(read_numbers(&at, "seed", &r.seed, 1) == 1);
    check(read_numbers(&at, "base_parameters", &r.base_parameters, 1) == 1);
    check(read_numbers(&at, "lora_parameters", &r.lora_parameters, 1) == 1);
    r.epochs = read_numbers(&at, "train_accuracy", r.train, 8);
    check(read_numbers(&at, "lora_train_accuracy", r.lora_train, 8) == r.epochs);
    check(read_numbers(&at, "base_test_accuracy", &r.before, 1) == 1);
    check(read_numbers(&at, "lora_before_test_accuracy", &r.wrapped, 1) == 1);
    check(read_numbers(&at, "lora_test_accuracy", &r.tuned, 1) == 1);
    check(read_numbers(&at, "base_after_test_accuracy", &r.after, 1) == 1);
    r.loss_count = read_numbers(&at, "losses", r.losses, 64);
    check(read_numbers(&at, "seconds_base", &r.seconds[0], 1) == 1);
    check(read_numbers(&at, "seconds_lora", &r.seconds[1], 1) == 1);
    check(strcmp(at, "\n}\n") == 0, "after the last key: %s", at);
    free(text);
    check(r.base_parameters == 109386 && r.lora_parameters == 4712);
    check(r.before == r.wrapped && r.before == r.after, "%g, %g, %g", r.before, r.wrapped,
          r.after);
    check(r.seconds[0] > 0 && r.seconds[1] > 0);
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

Test(mnist_lora, lines_and_results)
{
    const char *root = small_mnist(), *json = check_scratch("r.json");
    Output o = run_program("./mnist_lora --data '%s' --seed 3 --json '%s'", root, json);
    check(o.status == 0 && o.err[0] == '\0', "status %d: %s", o.status, o.err);
    Numbers r = read_results(json, "mnist");
    check(r.seed == 3 && r.epochs == 2 && r.loss_count == 6);

    char data[1200], first[64], base[64], standard[64], percent[16], tuned[64], original[64];
    print_to(data, sizeof data, "Data: MNIST from %s/mnist\n", root);
    print_to(first, sizeof first, "Epoch 1/2 | Batch 0/3 | Loss: %.4f\n", r.losses[0]);
    print_to(base, sizeof base, "Epoch 2/2 Training Accuracy: %.2f%%\n", 100 * r.train[1]);
    print_to(standard, sizeof standard, "Test Accuracy (Standard MLP): %.2f%%\n", 100 * r.before);
    print_to(percent, sizeof percent, "%.2f%%\n", 100 * r.wrapped);
    print_to(tuned, sizeof tuned, "Test Accuracy (LoRA Fine-tuned): %.2f%%\n", 100 * r.tuned);
    print_to(original, sizeof original, "Test Accuracy (Original MLP): %.2f%%\n", 100 * r.after);
    const char *const lines[] = {
        data,
        "Images: 150 for training, 70 for testing\n",
        "Training standard MLP...\n",
        first,
        "Epoch 1/2 Training Accuracy: ",
        "Epoch 2/2 | Batch 0/3 | Loss: ",
        base,
        "Total Training Time: 0.0",
        standard,
        "Test Accuracy (LoRA MLP before fine-tuning):\n",
        percent,
        "Trainable parameters after freezing:\n",
        "layers.0.linear.weight: False\n",
        "layers.0.linear.bias: False\n",
        "layers.0.lora.A: True\n",
        "layers.0.lora.B: True\n",
        "layers.2.linear.weight: False\n",
        "layers.2.linear.bias: False\n",
        "layers.2.lora.A: True\n",
        "layers.2.lora.B: True\n",
        "layers.4.linear.weight: False\n",
        "layers.4.linear.bias: False\n",
        "layers.4.lora.A: True\n",
        "layers.4.lora.B: True\n",
        "Fine-tuning LoRA MLP...\n",
        "Epoch 1/2 | Batch 0/3 | Loss: ",
        "Epoch 1/2 Training Accuracy: ",
        "Epoch 2/2 | Batch 0/3 | Loss: ",
        "Epoch 2/2 Training Accuracy: ",
        "Total Training Time: 0.0",
        tuned,
        original,
        "--------",
        "PASS  ",
        "PASS  ",
        "PASS  ",
    };
    check_lines(o.out, sizeof lines / sizeof *lines, lines);
    output_free(&o);
}

/* OpenMP itself says who is at work, a line for each thread: gcc's on stderr, clang's on
 * stdout. */
static int count_threads(const char *environment, const char *arguments)
{
    Output o =
        run_program("unset OMP_NUM_THREADS;"
                    " export OMP_DISPLAY_AFFINITY=true OMP_AFFINITY_FORMAT='thread %%n.' %s;"
                    " ./mnist_lora --data '%s' --epochs 1 --limit 1 %s",
                    environment, small_mnist(), arguments);
    check(o.status == 0, "%s%s", o.out, o.err);
    int n = 0;
    char line[32];
    do print_to(line, sizeof line, "thread %d.", n);
    while ((strstr(o.err, line) || strstr(o.out, line)) && ++n);
    output_free(&o);
    return n;
}

Test(mnist_lora, threads_are_openmps_choice_or_ours)
{
    check(count_threads("OMP_NUM_THREADS=3", "") == 3);
    check(count_threads("OMP_NUM_THREADS=3", "--threads 0") == 3);
    check(count_threads("OMP_NUM_THREADS=3", "--threads 2") == 2);
    check(count_threads("", "--threads 4") == 4);
}

/* The same numbers for every number of threads; other ones for another seed. */
Test(mnist_lora, threads_and_seeds)
{
    static const char *const arguments[] = { "--threads 1", "--threads 2",
                                             "--threads 3 --seed 1" };
    const char *root = small_mnist(), *json = check_scratch("r.json");
    Numbers r[3];
    for (int i = 0; i < 3; i++) {
        Output o =
            run_program("./mnist_lora --data '%s' --json '%s' %s", root, json, arguments[i]);
        check(o.status == 0, "%s", o.err);
        output_free(&o);
        r[i] = read_results(json, "mnist");
    }
    for (int i = 0; i < r[0].loss_count; i++)
        check(r[0].losses[i] == r[1].losses[i], "loss %d", i);
    check(r[0].tuned == r[1].tuned && r[0].lora_train[1] == r[1].lora_train[1]);
    check(r[0].losses[0] != r[2].losses[0], "seeds 0 and 1 give the same loss");
}

Test(mnist_lora, limit_epochs_and_options_of_lora)
{
    const char *root = small_mnist(), *json = check_scratch("r.json");
    Output o =
        run_program("./mnist_lora --data '%s' --json '%s' --limit 2 --epochs 3", root, json);
    check(o.status == 0 && strstr(o.out, "Epoch 3/3 | Batch 0/2 | Loss: "), "%s%s", o.out, o.err);
    output_free(&o);
    Numbers r = read_results(json, "mnist");
    check(r.epochs == 3 && r.loss_count == 6);
    check(fabs(r.train[0] * 128 - round(r.train[0] * 128)) < 1e-9,
          "accuracy %g is not that of 2 batches", r.train[0]);

    o = run_program(
        "./mnist_lora --data '%s' --json '%s' --rank 1 --alpha 2.5 --lr 1e-2 --epochs 1", root,
        json);
    check(o.status == 0, "%s", o.err);
    output_free(&o);
    char *text = read_file(json);
    check(strstr(text, "\"lora_parameters\": 1178,"), "%s", text);
    free(text);
}

/* ---- where data are looked for -------------------------------------------------------------- */

Test(mnist_lora, data_from_the_environment)
{
    const char *root = small_mnist(), *home = check_scratch("home"),
               *empty = check_scratch("empty");
    char folder[1200], expected[1300];
    make_folder(home);
    make_folder(empty);
    print_to(folder, sizeof folder, "%s/.cache", home);
    make_folder(folder);
    write_small_mnist(check_scratch("home/.cache/lorikeet"));

    Output o =
        run_program("LORIKEET_DATA='%s' HOME='%s' ./mnist_lora --limit 1 --epochs 1", root, home);
    print_to(expected, sizeof expected, "Data: MNIST from %s/mnist\n", root);
    check(o.status == 0 && strstr(o.out, expected), "%s%s", o.out, o.err);
    output_free(&o);

    o = run_program("LORIKEET_DATA='%s' HOME='%s' ./mnist_lora --limit 1 --epochs 1", empty, home);
    print_to(expected, sizeof expected, "Data: MNIST from %s/.cache/lorikeet/mnist\n", home);
    check(o.status == 0 && strstr(o.out, expected), "%s%s", o.out, o.err);
    output_free(&o);

    o = run_program("HOME='%s' ./mnist_lora --limit 1 --epochs 1 --data '%s/mnist'", empty, root);
    print_to(expected, sizeof expected, "Data: MNIST from %s/mnist/\n", root);
    check(o.status == 0 && strstr(o.out, expected), "%s%s", o.out, o.err);
    output_free(&o);

    /* the folder of --data must be there: no other place will do */
    check_refused(
        run_program("LORIKEET_DATA='%s' HOME='%s' ./mnist_lora --data '%s'", root, home, empty), 1,
        "empty: no data in ");
    check_refused(run_program("LORIKEET_DATA='%s' ./mnist_lora --data /no/such/folder", root), 1,
                  "mnist_lora: --data /no/such/folder: no data in /no/such/folder/mnist");
}

Test(mnist_lora, rendered_digits)
{
    const char *json = check_scratch("r.json");
    Output o = run_program("./mnist_lora --limit 60 --epochs 1 --json '%s'", json);
    check(o.status == 0, "%s%s", o.out, o.err);
    check(strstr(o.out, "Data: rendered digits; no MNIST was found") == o.out, "%s", o.out);
    check(strstr(o.out, "Images: 60000 for training, 10000 for testing\n"), "%s", o.out);
    output_free(&o);
    Numbers r = read_results(json, "rendered");
    check(r.loss_count == 50 && r.before > 0.4,
          "60 batches of rendered digits give an accuracy of %g", r.before);
}

Test(mnist_lora, corrupt_data)
{
    const char *root = small_mnist(), *json = check_write("kept.json", "old", 3);
    char path[1200];
    print_to(path, sizeof path, "%s/mnist/t10k-labels-idx1-ubyte", root);
    check(truncate(path, 20) == 0);
    check_refused(run_program("./mnist_lora --data '%s' --json '%s'", root, json), 1,
                  "t10k-labels-idx1-ubyte");
    check(unlink(path) == 0);
    check_refused(run_program("./mnist_lora --data '%s' --json '%s'", root, json), 1,
                  "no test labels");
    char *kept = read_file(json);
    check(strcmp(kept, "old") == 0, "a run that failed has changed the results: %s", kept);
    free(kept);
}

/* Whether results can be written is known before anything else is done. */
Test(mnist_lora, results_that_cannot_be_written)
{
    check_refused(
        run_program("./mnist_lora --data /no/such/folder --json /no/such/folder/r.json"), 1,
        "mnist_lora: /no/such/folder/r.json: cannot be written: No such file or directory");
    check_refused(run_program("./mnist_lora --data /no/such/folder --json /"), 1,
                  "/: cannot be written: it is a folder");
}

/* ---- the real data -------------------------------------------------------------------------- */

Test(mnist_lora, real_data_gives_the_losses_of_pytorch)
{
    const char *root = check_source("../shared/data"), *json = check_scratch("r.json");
    char folder[1200];
    print_to(folder, sizeof folder, "%s/mnist", root);
    if (!lk_mnist_exists(folder)) return; /* test_parity_mnist.c compares without files */
    for (int seed = 0; seed < 5; seed++) {
        Output o =
            run_program("./mnist_lora --data '%s' --json '%s' --epochs 1 --limit 50 --seed %d",
                        root, json, seed);
        check(o.status == 0, "%s", o.err);
        Numbers r = read_results(json, "mnist");
        check(r.loss_count == 50);
        for (int i = 0; i < 50; i++)
            check(fabs(r.losses[i] - mnist_base_losses[seed][i]) <= 1e-5,
                  "seed %d, batch %d: %.9g, PyTorch %.9g", seed, i, r.losses[i],
                  mnist_base_losses[seed][i]);
        /* the first loss of LoRA: all passes before it have drawn what the notebook's draw */
        double loss = 0.0, expected = mnist_lora_losses[seed][0];
        const char *tuning = strstr(o.out, "Fine-tuning LoRA MLP...\n");
        check(tuning &&
              sscanf(tuning, "Fine-tuning LoRA MLP...\nEpoch 1/1 | Batch 0/50 | Loss: %lf",
                     &loss) == 1);
        check(fabs(loss - expected) <= 6e-5, "seed %d: LoRA's first loss is %.4f, PyTorch's %.9g",
              seed, loss, expected);
        output_free(&o);
    }
}
