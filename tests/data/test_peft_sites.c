/* test_peft_sites.c - adapters of Embedding, Conv1d and Conv2d in PEFT's form. Those of Linears:
 * test_peft.c. */
#include "tests/check.h"

#include <stdlib.h>
#include <string.h>

#include "core/op.h"
#include "core/ops.h"
#include "data/peft.h"
#include "nn/activation.h"
#include "nn/adapter.h"
#include "nn/conv.h"
#include "nn/embedding.h"
#include "nn/flatten.h"
#include "nn/linear.h"
#include "nn/recurrent.h"
#include "nn/sequential.h"
#include "tests/fixtures/peft_sites.h"
#include "tests/shared/safetensors_files.h"

static Rng rng;

/* The model of tests/fixtures/make_peft_sites.py. */
static Module *seeded_net(void)
{
    lk_manual_seed(&rng, 0);
    Module *table = lk_embedding_new(7, 6, 2, &rng, NULL);
    float *weight = lk_as_embedding(table)->weight->data;
    for (int i = 0; i < 7 * 6; i++) weight[i] = (float)(i * 7 % 11 - 5) / 8;
    const ConvOptions options = { .stride = { 2, 1 }, .padding = { 1, 0 } };
    Module *conv = lk_conv2d_new(3, 4, 3, 2, options, true, &rng, NULL);
    Module *linear = lk_linear_new(60, 3, true, &rng, NULL);
    return lk_sequential_new(
        LK_MODULES(table, conv, lk_relu_new(NULL), lk_flatten_new(1, -1, NULL), linear), NULL);
}

static Tensor *output_of(Tape *t, Module *m)
{
    Tensor *ids = lk_empty(t, LK_I64, LK_SHAPE(2, 3, 5));
    for (int i = 0; i < 30; i++) ((int64_t *)ids->data)[i] = i * 5 % 7;
    return lk_forward(t, m, ids);
}

static void check_load(Module *m, const char *folder, PeftForm form)
{
    Error err = { 0 };
    check(lk_load_peft(m, folder, form, NULL, NULL, &err), "%s", err.message);
}

static void check_save(Module *m, const char *folder)
{
    Error err = { 0 };
    check(lk_save_peft(m, folder, NULL, &err), "%s", err.message);
}

/* ---- the reference -------------------------------------------------------------------------- */

/* The adapter's gradients are those of PEFT's form. */
static void check_gradients(Tape *t, Module *m)
{
    static const double *const A[] = { peft_sites_0_lora_embedding_B, peft_sites_1_lora_A,
                                       peft_sites_4_lora_A },
                               *const B[] = { peft_sites_0_lora_embedding_A, peft_sites_1_lora_B,
                                              peft_sites_4_lora_B };
    AdapterIter it = lk_adapters(m);
    for (int i = 0; i < 3; i++) {
        check(lk_adapters_next(&it));
        Tensor *dA = it.lora->lora_A->grad, *dB = it.lora->lora_B->grad;
        if (i == 0) { /* an Embedding's are transposed in PEFT */
            dA = lk_T(t, dA);
            dB = lk_T(t, dB);
        }
        check_close(dA, A[i], lk_numel(dA), 1e-10);
        check_close(dB, B[i], lk_numel(dB), 1e-10);
    }
}

Test(peft_sites, of_the_reference_there_and_back)
{
    check_alloc_begin();
    for (int form = 0; form < 3; form++) {
        Module *m = seeded_net();
        Tape *t = lk_tape_new(NULL);
        check_load(m, check_fixture("peft_sites"), (PeftForm)form);
        check_save(m, check_scratch("saved"));
        check_same_file(check_scratch("saved/adapter_config.json"),
                        check_fixture("peft_sites/adapter_config.json"));
        check_same_file(check_scratch("saved/adapter_model.safetensors"),
                        check_fixture("peft_sites/adapter_model.safetensors"));
        check(lk_module_to(m, LK_F64, NULL));
        Tensor *y = output_of(t, m);
        check_close(y, peft_sites_output, 6, 1e-12);
        check(lk_backward(t, lk_sum(t, lk_mul(t, y, y), LK_ALL, false)));
        if (form == LK_PEFT_PARAMETRIZATION) check_gradients(t, m);
        lk_tape_set_grad(t, false);
        check_close(output_of(t, m), peft_sites_output, 6, 1e-12);
        lk_tape_free(t);
        lk_free(m);
    }
    check(check_alloc_live() == 0);
}

/* Loading fills the adapters that are there; a table of another size is refused. */
Test(peft_sites, where_adapters_are_already)
{
    Module *m = seeded_net();
    check(lk_add_lora(m, &(LoRAConfig){ .rank = 2, .alpha = 1, .targets = "*" }, &rng, NULL) == 3);
    int64_t before = lk_count_parameters(m);
    check_load(m, check_fixture("peft_sites"), LK_PEFT_WRAPPER);
    check(lk_count_parameters(m) == before);
    Tape *t = lk_tape_no_grad_new(NULL);
    check_close(output_of(t, m), peft_sites_output, 6, 1e-4);
    lk_tape_free(t);

    Error err = { 0 };
    Module *larger = lk_embedding_new(8, 6, -1, &rng, NULL);
    check(lk_sequential_set(m, 0, larger, NULL));
    check(!lk_load_peft(m, check_fixture("peft_sites"), LK_PEFT_WRAPPER, NULL, NULL, &err));
    check_error(&err, LK_ESHAPE, "1 mismatched (0.lora_embedding_A is (2, 7) float32, not (2, 8)");
    lk_free(m);
}

/* ---- other modules -------------------------------------------------------------------------- */

Test(peft_sites, of_a_conv1d_there_and_back)
{
    Module *nets[2];
    for (int i = 0; i < 2; i++) {
        lk_manual_seed(&rng, 0);
        Module *conv = lk_conv1d_new(3, 4, 5, (ConvOptions){ 0 }, true, &rng, NULL);
        nets[i] = lk_sequential_new(LK_MODULES(conv), NULL);
    }
    check(lk_add_lora(nets[0], &(LoRAConfig){ .rank = 2, .alpha = 1, .targets = "0" }, &rng,
                      NULL) == 1);
    AdapterIter it = lk_adapters(nets[0]);
    check(lk_adapters_next(&it));
    lk_normal_(it.lora->lora_B, 0, 1, &rng);
    check_save(nets[0], check_scratch("saved"));
    SafeTensors *file =
        lk_safetensors_open(check_scratch("saved/adapter_model.safetensors"), NULL);
    const SafeTensorsEntry *B = lk_safetensors_find(file, "base_model.model.0.lora_B.weight");
    check(B && B->ndim == 3 && B->shape[0] == 4 && B->shape[1] == 2 && B->shape[2] == 1);
    lk_safetensors_close(file);
    check_load(nets[1], check_scratch("saved"), LK_PEFT_PARAMETRIZATION);
    Tape *t = lk_tape_no_grad_new(NULL);
    Tensor *x = lk_full(t, LK_F32, LK_SHAPE(2, 3, 7), 0.5);
    check_equal(lk_forward(t, nets[0], x), lk_forward(t, nets[1], x));
    lk_tape_free(t);
    lk_free(nets[0]), lk_free(nets[1]);
}

static void check_not_saved(Module *m, const char *targets, const char *message)
{
    Error err = { 0 };
    check(lk_add_lora(m, &(LoRAConfig){ .rank = 2, .alpha = 1, .targets = targets }, &rng, &err) >
              0,
          "%s", err.message);
    check(!lk_save_peft(m, check_scratch("refused"), NULL, &err));
    check_error(&err, LK_EVALUE, message);
    lk_free(m);
}

Test(peft_sites, that_peft_cannot_express)
{
    lk_manual_seed(&rng, 0);
    const ConvOptions groups = { .groups = 2 }, dilation = { .dilation = { 2, 2 } };
    Module *lstm = lk_lstm_new(4, 3, (RNNOptions){ 0 }, &rng, NULL);
    check_not_saved(lk_sequential_new(LK_MODULES(lstm), NULL), "weight_hh_l0",
                    "Sequential: 0: has an adapter that is not on the weight of a Linear, Conv or "
                    "Embedding, as PEFT's are; lk_save_module saves it");
    Module *conv = lk_conv2d_new(4, 4, 3, 3, groups, true, &rng, NULL);
    check_not_saved(lk_sequential_new(LK_MODULES(conv), NULL), "0", "0: has groups or dilation, ");
    conv = lk_conv2d_new(4, 4, 3, 3, dilation, true, &rng, NULL);
    check_not_saved(lk_sequential_new(LK_MODULES(conv), NULL), "0", "0: has groups or dilation, ");
    check_not_saved(lk_conv2d_new(4, 4, 3, 3, (ConvOptions){ 0 }, true, &rng, NULL), "*",
                    "is itself a Conv2d; PEFT adapts modules inside of a model");

    Module *m = seeded_net();
    conv = lk_conv2d_new(3, 4, 3, 2, dilation, true, &rng, NULL);
    check(lk_sequential_set(m, 1, conv, NULL));
    Error err = { 0 };
    check(!lk_load_peft(m, check_fixture("peft_sites"), LK_PEFT_WRAPPER, NULL, NULL, &err));
    check_error(&err, LK_ESHAPE, "(1 has groups or dilation, ");
    lk_free(m);
}

/* An LSTM's adapter in the model's state. */
Test(peft_sites, of_an_lstm_by_save_module)
{
    Module *nets[2];
    Tape *t = lk_tape_no_grad_new(NULL);
    Tensor *x = lk_full(t, LK_F32, LK_SHAPE(3, 2, 4), 0.5);
    for (int i = 0; i < 2; i++) {
        lk_manual_seed(&rng, (uint64_t)i);
        nets[i] = lk_lstm_new(4, 3, (RNNOptions){ 0 }, &rng, NULL);
        check(lk_add_lora(nets[i], &(LoRAConfig){ .rank = 2, .alpha = 1, .targets = "weight_*" },
                          &rng, NULL) == 2);
        for (AdapterIter it = lk_adapters(nets[i]); lk_adapters_next(&it);)
            lk_normal_(it.lora->lora_B, 0, 1, &rng);
    }
    check(lk_save_module(nets[0], check_scratch("lstm"), NULL));
    check(lk_load_module(nets[1], check_scratch("lstm"), true, NULL));
    check_equal(lk_forward(t, nets[0], x), lk_forward(t, nets[1], x));
    lk_tape_free(t);
    lk_free(nets[0]), lk_free(nets[1]);
}
