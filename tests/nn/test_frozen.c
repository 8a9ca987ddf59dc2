/* test_frozen.c - a frozen base in bfloat16 and in qint8 (nn/frozen.h): every number of the model
 * is that of a float32 model with the rounded weights, in both forms of LoRA, trained and not,
 * merged, saved and loaded. */
#include "nn/frozen.h"

#include "nn/adapter.h"
#include "nn/diagnose.h"
#include "nn/lora_layers.h"
#include "nn/parametrize.h"
#include "tests/shared/roberta_net.h"

enum { WEIGHTS = 3 + 3 * 6 + 2, STEPS = 3 };

typedef enum Form { NO_LORA, WRAPPED, PARAMETRIZED } Form;

static Rng rng;
/* A test of both dtypes that only store. */
#define TEST_STORED(name) \
    static void name(DType dtype); \
    Test(frozen, name) \
    { \
        name(LK_BF16); \
        name(LK_QI8); \
    } \
    static void name(DType dtype)

/* Two models with the same values, of which the second is stored in dtype. */
static void make_models(DType dtype, Form form, Module *models[2])
{
    const LoRAConfig config = { .rank = 2, .alpha = 3 };
    Error err = { 0 };
    models[1] = small_model(false, 0);
    check(lk_require_grad(models[1], "*", false) > 0);
    check(lk_store_frozen(models[1], dtype, &err) == WEIGHTS, "%s", err.message);
    check(lk_store_frozen(models[1], dtype, &err) == 0, "nothing is left");
    models[0] = lk_deepcopy(models[1], &err);
    check(lk_module_to(models[0], LK_F32, &err), "%s", err.message);
    for (int i = 0; i < 2; i++) {
        lk_manual_seed(&rng, 4);
        if (form == WRAPPED) check(lk_wrap_lora(models[i], NULL, 2, 3, &rng, &err) == 20);
        if (form == PARAMETRIZED) check(lk_add_lora(models[i], &config, &rng, &err) == 20);
        for (ParamIter it = lk_params(models[i]); lk_params_next(&it);) {
            check(it.tensor->dtype == dtype || it.tensor->dtype == LK_F32);
            if (it.tensor->requires_grad) lk_normal_(it.tensor, 0, 0.1, &rng);
        }
        lk_eval(models[i]);
    }
}

static void check_same_logits(Module *const models[2], bool grad)
{
    Tape *t = lk_tape_new(NULL);
    Tensor *ids = small_ids();
    lk_tape_set_grad(t, grad);
    Tensor *y[2];
    for (int i = 0; i < 2; i++) y[i] = lk_roberta_logits(t, models[i], ids, NULL);
    check(lk_tape_ok(t, NULL), "%s", lk_tape_error(t)->message);
    check_close_to(y[0], y[1], grad ? 0 : 1e-5); /* in no-grad mode one of them adds B A to W */
    lk_free(ids);
    lk_tape_free(t);
}

static void check_same_params(Module *a, Module *b, double tolerance)
{
    for (ParamIter x = lk_params(a), y = lk_params(b); lk_params_next(&x) && lk_params_next(&y);) {
        check(x.tensor->dtype == y.tensor->dtype, "%s", x.name);
        check(lk_allclose(x.tensor, y.tensor, tolerance, 0), "%s", x.name);
    }
}

static void train(Module *m)
{
    Error err = { 0 };
    Tape *t = lk_tape_new(NULL);
    Tensor *ids = small_ids(), *labels = make_tensor(LK_I64, LK_SHAPE(ROWS), 0, 1, 1, 0);
    Optimizer *opt = lk_adamw_new(lk_trainable_parameters(m, &err), 1e-2, &err);
    for (int step = 0; step < STEPS; step++) {
        Tensor *loss = lk_cross_entropy(t, lk_roberta_logits(t, m, ids, NULL), labels);
        lk_optimizer_zero_grad(opt);
        check(lk_backward(t, loss) && lk_step(opt, &err), "%s", lk_tape_error(t)->message);
        lk_tape_reset(t);
    }
    FILE *out = fopen("/dev/null", "w");
    lk_print_training(out, m, opt); /* reads every value */
    fclose(out);
    lk_optimizer_free(opt);
    lk_free(ids);
    lk_free(labels);
    lk_tape_free(t);
}

static void free_models(Module *models[2])
{
    lk_free(models[0]);
    lk_free(models[1]);
}

TEST_STORED(trains_as_float32)
{
    for (Form form = NO_LORA; form <= PARAMETRIZED; form++) {
        Module *models[2];
        make_models(dtype, form, models);
        check_same_logits(models, true);
        check_same_logits(models, false);
        if (form != NO_LORA) {
            train(models[0]);
            train(models[1]);
        }
        check_same_logits(models, true);
        check_same_logits(models, false);
        for (ParamIter a = lk_params(models[0]), b = lk_params(models[1]);
             lk_params_next(&a) && lk_params_next(&b);)
            if (a.tensor->requires_grad) check_equal(a.tensor, b.tensor);
        free_models(models);
    }
}

/* Merged weights are float32 and exact; taken apart again, the base is what it was. */
TEST_STORED(merges_without_rounding)
{
    Module *models[2];
    Error err = { 0 };
    make_models(dtype, PARAMETRIZED, models);
    Tensor *before = lk_clone(
        lk_param_at(models[1], "classifier.dense.parametrizations.weight.original", &err), &err);
    check_no_error(&err);
    check(lk_merge(models[0], &err) && lk_merge(models[1], &err), "%s", err.message);
    check_same_logits(models, true);
    lk_unmerge(models[0]);
    lk_unmerge(models[1]);
    check_equal(before,
                lk_param_at(models[1], "classifier.dense.parametrizations.weight.original", &err));
    check_same_logits(models, true);
    lk_free(before);
    free_models(models);
}

/* An original that only stores takes the value rounded. It refuses one that has no scale. */
Test(frozen, leaves_a_rounded_value)
{
    Error err = { 0 };
    lk_manual_seed(&rng, 0);
    Module *m = lk_linear_new(3, 2, false, &rng, &err);
    const LoRAConfig config = { .rank = 1, .alpha = 1 };
    check(lk_require_grad(m, "*", false) == 1 && lk_store_frozen(m, LK_QI8, &err) == 1);
    check(lk_add_lora(m, &config, &rng, &err) == 1, "%s", err.message);
    Tensor *B = NULL;
    for (ParamIter it = lk_params(m); lk_params_next(&it);)
        if (it.tensor->requires_grad && lk_size(it.tensor, 0) == 2) B = it.tensor;
    check(B && lk_fill_(B, NAN) && !lk_remove_parametrizations(m, "weight", true, &err));
    check_error(&err, LK_EVALUE, "row 0 has an element that is infinite or NaN");
    err = (Error){ 0 };
    check(lk_fill_(B, 2));
    Tape *t = lk_tape_no_grad_new(&err);
    Tensor *value = lk_clone(lk_param_named(t, m, "weight"), &err);
    check(lk_remove_parametrizations(m, "weight", true, &err), "%s", err.message);
    Tensor *weight = lk_as_linear(m)->weight;
    check(weight->dtype == LK_QI8);
    check_close_to(lk_to(t, weight, LK_F32), value, 0.02);
    lk_free(value);
    lk_tape_free(t);
    lk_free(m);
}

/* Two adapters on one weight: the first is added to a widened copy. */
TEST_STORED(takes_several_adapters)
{
    Module *models[2];
    Error err = { 0 };
    const LoRAConfig second = { .rank = 1, .alpha = 1, .adapter = "second" };
    make_models(dtype, PARAMETRIZED, models);
    for (int i = 0; i < 2; i++) {
        lk_manual_seed(&rng, 5);
        check(lk_add_lora(models[i], &second, &rng, &err) == 20, "%s", err.message);
    }
    check_same_logits(models, true);
    check_same_logits(models, false);
    free_models(models);
}

TEST_STORED(takes_lora_around_an_embedding)
{
    Error err = { 0 };
    lk_manual_seed(&rng, 0);
    Module *table = lk_embedding_new(6, 4, -1, &rng, &err);
    check(lk_require_grad(table, "*", false) == 1 && lk_store_frozen(table, dtype, &err) == 1);
    Module *m = lk_embedding_with_lora_new(table, 2, 1, &rng, &err);
    Tape *t = lk_tape_new(NULL);
    Tensor *ids = make_tensor(LK_I64, LK_SHAPE(2), 5, 0);
    Tensor *y = lk_forward(t, m, ids);
    check(y && y->dtype == LK_F32 && lk_backward(t, lk_sum(t, y, LK_ALL, false)));
    lk_free(ids);
    lk_tape_free(t);
    lk_free(m);
}

/* Trainable weights, biases and normalizations stay as they are. */
TEST_STORED(leaves_the_rest)
{
    Error err = { 0 };
    Module *m = small_model(false, 0);
    check(lk_store_frozen(m, dtype, &err) == 0, "everything is trainable");
    check(lk_require_grad(m, "*.layer.0.*", false) == 16);
    check(lk_store_frozen(m, dtype, &err) == 6);
    for (ParamIter it = lk_params(m); lk_params_next(&it);)
        check((it.tensor->dtype == dtype) ==
                  (strstr(it.name, ".layer.0.") && it.tensor->ndim == 2),
              "%s", it.name);
    check(lk_store_frozen(m, LK_F64, &err) == -1);
    check_error(&err, LK_EDTYPE, "weights can be stored as bfloat16 and qint8, not as float64");
    err = (Error){ 0 };
    check(!lk_module_to(m, dtype, &err));
    check_error(&err, LK_EDTYPE, "lk_store_frozen stores frozen weights so");
    err = (Error){ 0 };
    check(lk_store_frozen(NULL, dtype, &err) == -1);
    check_error(&err, LK_EVALUE, "NULL");
    check(lk_module_to(m, LK_F64, NULL));
    for (ParamIter it = lk_params(m); lk_params_next(&it);) check(it.tensor->dtype == LK_F64);
    lk_free(m);
}

/* A weight without elements of its own takes no values. */
Test(frozen, refuses_a_state_where_it_is_hollow)
{
    Error err = { 0 };
    Module *models[2], *hollow = lk_roberta_classifier_new(&small, &err);
    make_models(LK_QI8, NO_LORA, models);
    check(lk_require_grad(hollow, "*", false) > 0 && lk_store_frozen(hollow, LK_QI8, &err) > 0);
    StateDict *state = lk_state_dict_new(models[1], &err);
    check(state && !lk_load_state_dict(hollow, state, true, &err));
    check_error(&err, LK_ESTATE, "no whole rows");
    lk_state_dict_free(state);
    lk_free(hollow);
    free_models(models);
}

/* A weight that is no number has no scale: the model is as it was, and the message names it. */
Test(frozen, needs_finite_weights_for_qint8)
{
    Error err = { 0 };
    Module *m = small_model(false, 0);
    Tensor *weight = lk_param_at(m, "classifier.dense.weight", &err);
    check(lk_require_grad(m, "classifier.*", false) == 4);
    ((float *)weight->data)[20] = NAN;
    check(lk_store_frozen(m, LK_QI8, &err) == -1 && weight->dtype == LK_F32);
    check_error(&err, LK_EVALUE, "lk_store_frozen: classifier.dense.weight: ");
    check_error(&err, LK_EVALUE, "row 1 has an element that is infinite or NaN");
    lk_free(m);
}

/* A hollow model stays hollow, and is filled with the values that a float32 one gets, rounded. */
TEST_STORED(fills_a_hollow_model)
{
    Error err = { 0 };
    Module *m = lk_roberta_classifier_new(&small, &err), *wide = small_model(false, 0);
    check(lk_require_grad(m, "*", false) > 0 && lk_store_frozen(m, dtype, &err) == WEIGHTS);
    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);)
        if (lk_as_linear(it.module)) check(lk__roberta_is_hollow(lk_as_linear(it.module)->weight));
    lk_manual_seed(&rng, 0);
    check(lk_roberta_fill(m, &rng, &err), "%s", err.message);
    check(lk_require_grad(wide, "*", false) > 0 && lk_store_frozen(wide, dtype, &err) == WEIGHTS);
    for (ParamIter a = lk_params(m), b = lk_params(wide);
         lk_params_next(&a) && lk_params_next(&b);)
        if (a.tensor->dtype == dtype) check_equal(a.tensor, b.tensor);
    lk_free(m);
    lk_free(wide);
}

/* Saved as BF16, or as the float32 that qint8 stands for. Loaded as it is where the parameter is
 * bfloat16, rounded where it only stores, and as float32 elsewhere. */
TEST_STORED(is_saved_and_loaded)
{
    Error err = { 0 };
    /* an integer times its scale may be quantized to a scale that differs in the last bit */
    const double tolerance = dtype == LK_QI8 ? 1e-7 : 0;
    Module *models[2], *hollow = lk_roberta_classifier_new(&small, &err);
    const char *file = check_scratch("stored.safetensors");
    make_models(dtype, NO_LORA, models);
    check(lk_save_module(models[1], file, &err), "%s", err.message);
    check(lk_require_grad(hollow, "*", false) > 0 && lk_store_frozen(hollow, dtype, &err) > 0);
    LoadReport report = { 0 };
    check(lk_load_module_mapped(hollow, file, NULL, &report, &err), "%s", err.message);
    check(report.widened == 0);
    lk_load_report_free(&report);
    check_same_params(hollow, models[1], tolerance);
    Module *other[] = { lk_deepcopy(models[1], &err), lk_deepcopy(models[0], &err) };
    for (int i = 0; i < 2; i++) { /* also the float32 model into the one that only stores */
        check(lk_save_module(models[i], file, &err), "%s", err.message);
        for (int j = 0; j < 2; j++) {
            for (ParamIter it = lk_params(other[j]); lk_params_next(&it);)
                if (it.tensor->dtype == LK_F32) check(lk_fill_(it.tensor, 1));
            check(lk_load_module(other[j], file, true, &err), "%s", err.message);
            check_same_params(other[j], models[1 - j], tolerance);
        }
    }
    for (int i = 0; i < 2; i++) lk_free(other[i]);
    lk_free(hollow);
    free_models(models);
}
