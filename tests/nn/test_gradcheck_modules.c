/* test_gradcheck_modules.c - lk_gradcheck_module: every class of modules passes, a wrong one is
 * named with its parameter and its own numbers (alpha, rank). */
#include <string.h>

#include "core/op.h"
#include "core/ops.h"
#include "nn/activation.h"
#include "nn/adapter.h"
#include "nn/attention.h"
#include "nn/batch_norm.h"
#include "nn/dropout.h"
#include "nn/embedding.h"
#include "nn/flatten.h"
#include "nn/gradcheck.h"
#include "nn/group_norm.h"
#include "nn/layer_norm.h"
#include "nn/lora_layers.h"
#include "nn/recurrent.h"
#include "nn/rms_norm.h"
#include "nn/sequential.h"
#include "nn/symmetric.h"
#include "nn/transformer.h"
#include "tests/check.h"

static const GradcheckOptions strict = { .atol = 1e-7, .rtol = 1e-5 };

/* ---- every class ---------------------------------------------------------------------------- */

static Module *adapted_new(Rng *rng)
{
    Module *first = lk_linear_new(4, 4, true, rng, NULL),
           *last = lk_linear_new(4, 4, false, rng, NULL);
    Module *m = lk_sequential_new(LK_MODULES(first, last), NULL);
    check(lk_add_lora(m, &(LoRAConfig){ .rank = 2, .alpha = 3 }, rng, NULL) == 2);
    return m;
}

static Module *symmetric_new(Rng *rng)
{
    Module *m = lk_linear_new(4, 4, true, rng, NULL);
    check(lk_register_parametrization(m, "weight", lk_symmetric_new(NULL), NULL));
    return m;
}

#define MAKER(name, expression) \
    static Module *name(Rng *rng) \
    { \
        (void)rng; \
        return expression; \
    }
MAKER(relu, lk_relu_new(NULL))
MAKER(gelu, lk_gelu_new(NULL))
MAKER(gelu_tanh, lk_gelu_tanh_new(NULL))
MAKER(hyperbolic, lk_tanh_new(NULL))
MAKER(sigmoid, lk_sigmoid_new(NULL))
MAKER(silu, lk_silu_new(NULL))
MAKER(softplus, lk_softplus_new(NULL))
MAKER(relu6, lk_relu6_new(NULL))
MAKER(identity, lk_identity_new(NULL))
MAKER(leaky_relu, lk_leaky_relu_new(0.1, NULL))
MAKER(elu, lk_elu_new(1.5, NULL))
MAKER(hardtanh, lk_hardtanh_new(-0.5, 0.75, NULL))
MAKER(softmax, lk_softmax_new(-1, NULL))
MAKER(log_softmax, lk_log_softmax_new(1, NULL))
MAKER(flatten, lk_flatten_new(1, -1, NULL))
MAKER(dropout, lk_dropout_new(0.4, NULL))
MAKER(norm, lk_layer_norm_new(LK_SHAPE(2, 4), 1e-5, NULL))
MAKER(batch_norm, lk_batch_norm1d_new(2, 1e-5, 0.1, NULL))
MAKER(group_norm, lk_group_norm_new(1, 2, 1e-5, NULL))
MAKER(rms_norm, lk_rms_norm_new(4, 1e-5, NULL))
MAKER(linear, lk_linear_new(4, 3, true, rng, NULL))
MAKER(no_bias, lk_linear_new(4, 3, false, rng, NULL))
MAKER(embedding, lk_embedding_new(6, 4, 4, rng, NULL)) /* row 4 is padding; ids lack it */
MAKER(attention, lk_self_attention_new(4, 2, 0.3, true, rng, NULL))
MAKER(lora, lk_lora_layer_new(4, 3, 2, 1.5, rng, NULL))
MAKER(with_lora, lk_linear_with_lora_new(linear(rng), 2, 1.5, rng, NULL))
MAKER(conv_with_lora,
      lk_conv1d_with_lora_new(lk_conv1d_new(2, 3, 2, (ConvOptions){ 0 }, true, rng, NULL), 2, 1.5,
                              rng, NULL))
MAKER(embedding_with_lora, lk_embedding_with_lora_new(embedding(rng), 2, 1.5, rng, NULL))
MAKER(merged, lk_linear_with_lora_merged_new(linear(rng), 2, 1.5, rng, NULL))
MAKER(lstm, lk_lstm_new(4, 3, (RNNOptions){ 2, false, true, 0.3, true }, rng, NULL))
MAKER(gru, lk_gru_new(4, 3, (RNNOptions){ .no_bias = true }, rng, NULL))
MAKER(encoder,
      lk_transformer_encoder_layer_new(4, 2, 5, (EncoderOptions){ .dropout = 0.3 }, rng, NULL))
MAKER(encoder_norm_first,
      lk_transformer_encoder_layer_new(4, 2, 5,
                                       (EncoderOptions){ 0.3, true, true, true, true, 1e-2 }, rng,
                                       NULL))
MAKER(sequence, lk_sequential_new(LK_MODULES(linear(rng), lk_gelu_new(NULL)), NULL))

static const struct {
    const char *name;
    Module *(*make)(Rng *rng);
    bool takes_ids;
} classes[] = {
    { "ReLU", relu, false },
    { "GELU", gelu, false },
    { "GELU, tanh", gelu_tanh, false },
    { "Tanh", hyperbolic, false },
    { "Sigmoid", sigmoid, false },
    { "SiLU", silu, false },
    { "Softplus", softplus, false },
    { "ReLU6", relu6, false },
    { "Identity", identity, false },
    { "LeakyReLU", leaky_relu, false },
    { "ELU", elu, false },
    { "Hardtanh", hardtanh, false },
    { "Softmax", softmax, false },
    { "LogSoftmax", log_softmax, false },
    { "Flatten", flatten, false },
    { "Dropout", dropout, false },
    { "LayerNorm", norm, false },
    { "BatchNorm1d", batch_norm, false },
    { "GroupNorm", group_norm, false },
    { "RMSNorm", rms_norm, false },
    { "Linear", linear, false },
    { "Linear without bias", no_bias, false },
    { "Embedding", embedding, true },
    { "MultiHeadAttention", attention, false },
    { "LoRALayer", lora, false },
    { "LinearWithLoRA", with_lora, false },
    { "LinearWithLoRAMerged", merged, false },
    { "Conv1dWithLoRA", conv_with_lora, false },
    { "EmbeddingWithLoRA", embedding_with_lora, true },
    { "LoRAParametrization", adapted_new, false },
    { "Symmetric", symmetric_new, false },
    { "LSTM", lstm, false },
    { "GRU", gru, false },
    { "TransformerEncoderLayer", encoder, false },
    { "the same with the norm first", encoder_norm_first, false },
    { "Sequential", sequence, false },
};

/* Every parameter is drawn anew, since some begin with zeros. */
static void draw_parameters(Module *m, Rng *rng)
{
    for (ParamIter it = lk_params(m); lk_params_next(&it);) lk_normal_(it.tensor, 0, 0.5, rng);
}

Test(gradcheck_modules, every_class_passes)
{
    Rng rng;
    lk_manual_seed(&rng, 7);
    Tensor *x = lk_param_new(LK_F64, LK_SHAPE(3, 2, 4), NULL);
    Tensor *ids = make_tensor(LK_I64, LK_SHAPE(2, 3), 3, 1, 5, 0, 3, 2);
    lk_normal_(x, 0, 1, &rng);
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        Module *m = classes[i].make(&rng);
        GradcheckReport r;
        check(m && lk_module_to(m, LK_F64, NULL), "%s", classes[i].name);
        draw_parameters(m, &rng);
        bool ok = lk_gradcheck_module(m, classes[i].takes_ids ? ids : x, &strict, &r);
        check(ok && r.checked > 0 && !r.notice[0], "%s: %s", classes[i].name, r.message);
        lk_free(m);
    }
    lk_free(x), lk_free(ids);
}

/* The row of padding gets no gradient, although the result depends on it. Other rows are checked:
 * the module still finds a mistake in them. LoRA's B has such a row too. */
Test(gradcheck_modules, the_row_of_padding_is_left_out)
{
    Rng rng;
    lk_manual_seed(&rng, 9);
    Tensor *ids = make_tensor(LK_I64, LK_SHAPE(2, 3), 3, 4, 5, 0, 4, 2); /* 4 is padding */
    Module *m = embedding(&rng);
    GradcheckReport r;
    check(lk_module_to(m, LK_F64, NULL));
    draw_parameters(m, &rng);
    check(lk_gradcheck_module(m, ids, &strict, &r), "%s", r.message);
    check(r.checked == 20 && r.worst <= 1);
    check(!strcmp(r.notice, "row 4 of weight is padding_idx: no gradient by design"), "%s",
          r.notice);
    lk_free(m);

    m = lk_sequential_new(LK_MODULES(embedding(&rng)), NULL);
    check(lk_add_lora(m, &(LoRAConfig){ .rank = 2, .alpha = 3, .targets = "0" }, &rng, NULL) == 1);
    check(lk_module_to(m, LK_F64, NULL));
    draw_parameters(m, &rng);
    check(lk_gradcheck_module(m, ids, &strict, &r), "%s", r.message);
    check(strstr(r.notice, "row 4 of 0.") && strstr(r.notice, ", row 4 of 0."), "%s", r.notice);
    lk_free(m), lk_free(ids);
}

/* A tree in which all of them are, one parameter of it frozen, the input too. */
Test(gradcheck_modules, a_frozen_input_and_a_frozen_parameter)
{
    Rng rng;
    lk_manual_seed(&rng, 8);
    Module *part[4];
    Module *(*const make[])(Rng *) = { embedding, attention, norm, with_lora };
    for (int i = 0; i < 4; i++) part[i] = make[i](&rng);
    Module *m = lk_sequential_new(4, part, NULL);
    Tensor *ids = make_tensor(LK_I64, LK_SHAPE(3, 2), 3, 1, 5, 0, 3, 2);
    GradcheckReport r;
    check(lk_module_to(m, LK_F64, NULL));
    draw_parameters(m, &rng);
    check(lk_require_grad(m, "3.linear.*", false) == 2);
    check(lk_gradcheck_module(m, ids, &strict, &r), "%s", r.message);
    check(r.checked == lk_count_trainable_parameters(m), "%d", (int)r.checked);
    lk_free(m), lk_free(ids);
}

/* ---- wrong ones ----------------------------------------------------------------------------- */

/* y = x · alpha / rank, element by element; backward forgets one of them. */
typedef struct Strength {
    Module base;
    Tensor *weight;
    double alpha;
    int64_t rank;
} Strength;
typedef struct StrengthState {
    double factor;
} StrengthState;

static void strength_backward(Tape *t, Node *n)
{
    Tensor *dx = lk_grad_in(t, n, 0);
    const StrengthState *s = n->state;
    for (int64_t i = 0; dx && i < lk_numel(dx); i++)
        ((double *)dx->data)[i] += s->factor * ((double *)n->grad->data)[i];
}
static const Op STRENGTH = { "StrengthBackward", strength_backward, { 0 } };

static Tensor *scale_wrongly(Tape *t, Tensor *x, double right, double wrong)
{
    Tensor *y = lk_scale(t, lk_detach(t, x), right);
    return lk_record(t, &STRENGTH, y, LK_INPUTS(x), &(StrengthState){ wrong },
                     sizeof(StrengthState));
}

static Tensor *forgets_alpha(Tape *t, Module *self, Tensor *x)
{
    const Strength *s = (Strength *)self;
    double rank = (double)s->rank;
    return lk_add(t, x, scale_wrongly(t, s->weight, s->alpha / rank, 1 / rank));
}

static Tensor *forgets_rank(Tape *t, Module *self, Tensor *x)
{
    const Strength *s = (Strength *)self;
    return lk_add(t, x, scale_wrongly(t, s->weight, s->alpha / (double)s->rank, s->alpha));
}

static const Field fields[] = { LK_PARAM(Strength, weight), LK_DOUBLE(Strength, alpha),
                                LK_INT(Strength, rank), LK_END };
static const ModuleType types[] = {
    { .name = "A", .size = sizeof(Strength), .forward = forgets_alpha, .fields = fields },
    { .name = "B", .size = sizeof(Strength), .forward = forgets_rank, .fields = fields },
};

Test(gradcheck_modules, a_factor_has_the_name_of_the_field)
{
    static const char *const expected[] = { "0.4 times what it should be; it is 1 / 1.alpha",
                                            "7 times what it should be; it is 1.rank" };
    Tensor *x = make_tensor(LK_F64, LK_SHAPE(2, 3), 0.5, -1, 2, 0.25, -0.75, 1.5);
    for (int i = 0; i < 2; i++) {
        Strength *s = lk_module_new(&types[i], NULL);
        s->weight = make_param(LK_F64, LK_SHAPE(2, 3), 1, 2, 3, 4, 5, 6);
        s->alpha = 2.5;
        s->rank = 7;
        Module *m = lk_sequential_new(LK_MODULES(lk_tanh_new(NULL), &s->base), NULL);
        GradcheckReport r;
        check(!lk_gradcheck_module(m, x, &strict, &r) && strcmp(r.name, "1.weight") == 0);
        check(strstr(r.hint, expected[i]), "%s", r.message);
        lk_free(m);
    }
    lk_free(x);
}

Test(gradcheck_modules, null_is_a_report)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = linear(&rng);
    check(lk_module_to(m, LK_F64, NULL));
    Tensor *x = make_tensor(LK_F64, LK_SHAPE(1, 4), 1, 2, 3, 4);
    GradcheckReport r;
    check(!lk_gradcheck_module(NULL, x, NULL, &r) && strstr(r.message, "the module is NULL"));
    check(strcmp(r.mistake, "arguments") == 0);
    check(!lk_gradcheck_module(m, NULL, NULL, &r) && strstr(r.message, "the input is NULL"));
    check(!lk_gradcheck_module(m, x, NULL, NULL));
    check(lk_gradcheck_module(m, x, NULL, &r), "%s", r.message);
    lk_free(m), lk_free(x);
}
