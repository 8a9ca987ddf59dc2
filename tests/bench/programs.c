/* programs.c - whole programs as their users run them: the seconds of a training step by their own
 * JSON, and the peak memory of the whole process. The bare step of the same network is in
 * training.c (W1, W2). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/bench.h"

enum {
    DIGIT9_FULL,
    DIGIT9_LORA,
    MNIST_LORA_FULL,
    MNIST_LORA_LORA,
    MNIST_STEPS = 200,
    COMMAND_MAX = 8192
};

/* The number behind "key": in the file, or 0. */
static double number_in(const char *path, const char *key)
{
    static char text[1 << 20];
    FILE *f = fopen(path, "r");
    if (!f) return 0.0;
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    const char *at = strstr(text, key);
    return at ? strtod(at + strlen(key), NULL) : 0.0;
}

/* Seconds of a step, or 0. mnist_lora's include a pass over as many batches without gradients, as
 * the notebook has it. */
static double step_seconds(int kind, const char *json)
{
    if (kind == DIGIT9_FULL) return 1.0 / number_in(json, "\"train_steps_per_second\": ");
    if (kind == DIGIT9_LORA) return 1.0 / number_in(json, "\"lora_steps_per_second\": ");
    return number_in(json, kind == MNIST_LORA_FULL ? "\"seconds_base\": " : "\"seconds_lora\": ") /
           MNIST_STEPS;
}

/* A part of the first training, long enough for its first step's page faults not to show; the
 * fine-tuning whole. */
static const char *const arguments[] = {
    [DIGIT9_FULL] = "--limit 1500 --batches 1",
    [DIGIT9_LORA] = "--limit 300 --batches 100",
    [MNIST_LORA_FULL] = "--epochs 1 --limit 200",
    [MNIST_LORA_LORA] = "--epochs 1 --limit 200",
};

static bool run(const Bench *b, const Workload *w, Result *r, Error *err)
{
    char folder[] = "/tmp/lorikeet-bench.XXXXXX", json[64], command[COMMAND_MAX];
    if (b->once) return lk_error_set(err, LK_EVALUE, "whole programs are not counted");
    if (!mkdtemp(folder)) return lk_error_set(err, LK_EIO, "no folder %s for the results", folder);
    snprintf(json, sizeof json, "%s/results.json", folder);
    snprintf(command, sizeof command, "exec '%s/%s' --threads %d %s --json %s%s >/dev/null",
             LORIKEET_EXAMPLES_DIR, w->kind < MNIST_LORA_FULL ? "digit9" : "mnist_lora",
             b->threads, arguments[w->kind], json,
             b->data ? " --data \"$LORIKEET_BENCH_DATA\"" : "");
    /* the shell then takes any name as it is */
    if (b->data) setenv("LORIKEET_BENCH_DATA", b->data, 1);
    /* not 0 after a check of the accuracy, which a short training may miss */
    int status = system(command);
    double seconds = status == -1 ? 0.0 : step_seconds(w->kind, json);
    unlink(json);
    rmdir(folder);
    if (!(seconds > 0.0) || seconds > 1e6)
        return lk_error_set(err, LK_ESTATE, "no results from: %s", command);
    r->median = r->min = r->max = seconds;
    r->reps = 1;
    return true;
}

const Workload bench_programs[] = {
    { "digit9_full",
      "digit9: a step of the first training; compare W2_full",
      run,
      NO_LIMIT,
      { 0 },
      DIGIT9_FULL },
    { "digit9_lora",
      "digit9: a step of the fine-tuning; compare W2_lora",
      run,
      NO_LIMIT,
      { 0 },
      DIGIT9_LORA },
    { "mnist_lora_full",
      "mnist_lora: a step, and an evaluation of a batch",
      run,
      NO_LIMIT,
      { 0 },
      MNIST_LORA_FULL },
    { "mnist_lora_lora", "the same of its fine-tuning", run, NO_LIMIT, { 0 }, MNIST_LORA_LORA },
    { .name = NULL },
};
