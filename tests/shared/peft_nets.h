/* peft_nets.h - what the tests of adapters in PEFT's form share. */
#ifndef PEFT_NETS_H
#define PEFT_NETS_H

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/ops.h"
#include "data/peft.h"
#include "nn/adapter.h"
#include "tests/fixtures/peft.h"
#include "tests/shared/nets.h"
#include "tests/shared/safetensors_files.h"

static const char *const head[] = { "layers.4" };
static const PeftOptions reference_options = {
    .base_model = "roberta-base", .task_type = "SEQ_CLS", .save_count = 1, .save = head
};

/* The model of tests/fixtures/make_peft.py. */
static inline Module *seeded_net(uint64_t seed)
{
    Rng rng;
    lk_manual_seed(&rng, seed);
    return net_new(6, 5, 4, 3, &rng, NULL);
}

static inline void check_load(Module *m, const char *folder, PeftForm form)
{
    Error err = { 0 };
    check(lk_load_peft(m, folder, form, NULL, NULL, &err), "%s", err.message);
}

static inline void check_save(Module *m, const char *folder, const PeftOptions *options)
{
    Error err = { 0 };
    check(lk_save_peft(m, folder, options, &err), "%s", err.message);
}

static inline void check_output(Module *m, const double *expected, int64_t n)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(1, 6), 0.5, -1, 1.5, -2, 2.5, -3);
    check_close(lk_forward(t, m, x), expected, n, 1e-5);
    lk_tape_set_grad(t, false);
    check_close(lk_forward(t, m, x), expected, n, 1e-5);
    lk_free(x);
    lk_tape_free(t);
}

/* Wrappers or parametrizations on all three layers, with values that B hides no more. */
static inline Module *adapted_net(PeftForm form, int64_t rank, double alpha)
{
    Rng rng;
    lk_manual_seed(&rng, 7);
    Module *net = seeded_net(0), *layers = ((Net *)net)->layers;
    if (form == LK_PEFT_PARAMETRIZATION) {
        check(lk_add_lora(net, &(LoRAConfig){ .rank = rank, .alpha = alpha }, &rng, NULL) == 3);
    } else {
        for (int i = 0; i < 5; i += 2) {
            Module *linear = lk_module_retain(lk_sequential_at(layers, i, NULL));
            check(lk_sequential_set(
                layers, i,
                form == LK_PEFT_WRAPPER
                    ? lk_linear_with_lora_new(linear, rank, alpha, &rng, NULL)
                    : lk_linear_with_lora_merged_new(linear, rank, alpha, &rng, NULL),
                NULL));
        }
    }
    for (ParamIter it = lk_params(net); lk_params_next(&it);)
        if (strstr(it.name, "lora")) lk_normal_(it.tensor, 0, 1, &rng);
    return net;
}

static inline Tensor *output_of(Tape *t, Module *m)
{
    Tensor *x = make_tensor(LK_F32, LK_SHAPE(2, 6), 0.5, -1, 1.5, -2, 2.5, -3, 1, 2, 3, 4, 5, 6);
    Tensor *y = lk_clone(lk_forward(t, m, x), NULL);
    lk_free(x);
    return y;
}

static inline void check_same_output(Module *a, Module *b, double tol)
{
    Tape *t = lk_tape_new(NULL);
    lk_tape_set_grad(t, false);
    Tensor *x = output_of(t, a), *y = output_of(t, b);
    check_close_to(x, y, tol);
    lk_free(x);
    lk_free(y);
    lk_tape_free(t);
}

/* ---- refused -------------------------------------------------------------------------------- */

/* A folder with the reference's weights, and these settings. */
static inline const char *with_config(const char *config)
{
    size_t size;
    mkdir(check_scratch("refused"), 0700);
    check_write("refused/adapter_config.json", config, strlen(config));
    char *bytes = read_whole(check_fixture("peft/adapter_model.safetensors"), &size);
    check_write("refused/adapter_model.safetensors", bytes, size);
    free(bytes);
    return check_scratch("refused");
}

static inline void check_refused(const char *folder, ErrorCode code, const char *text)
{
    Module *net = seeded_net(0), *untouched = seeded_net(0);
    for (int form = 0; form < 3; form++) {
        Error err = { 0 };
        check(!lk_load_peft(net, folder, (PeftForm)form, NULL, NULL, &err),
              "read, but expected \"%s\"", text);
        cr_assert(err.code == code && strstr(err.message, text),
                  "expected code %d, \"%s\"; got %d, \"%s\"", (int)code, text, (int)err.code,
                  err.message);
    }
    check_text(param_names(net, false),
               "layers.0.weight\nlayers.0.bias\nlayers.2.weight\nlayers.2.bias\n"
               "layers.4.weight\nlayers.4.bias");
    check_same_output(net, untouched, 0);
    lk_free(net);
    lk_free(untouched);
}

#define CONFIG_WITH(head_and_targets, more) \
    "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":3," head_and_targets more "}"
#define RIGHT "\"target_modules\":[\"0\",\"2\"],\"modules_to_save\":[\"4\",\"score\"]"

#endif
