/* test_peft.c - adapters in PEFT's form: a reference there and back, all forms, which modules are
 * meant, what is refused. The files, and memory: test_peft_files.c. */
#include "core/memory.h"
#include "data/json_write.h"
#include "data/path.h"
#include "tests/shared/peft_nets.h"

/* ---- the reference -------------------------------------------------------------------------- */

Test(peft, of_the_reference_there_and_back)
{
    check_alloc_begin();
    for (int form = 0; form < 3; form++) {
        Module *net = seeded_net(0);
        int64_t before = lk_count_parameters(net);
        LoadReport report = { 0 };
        Error err = { 0 };
        check(lk_load_peft(net, check_fixture("peft"), (PeftForm)form, NULL, &report, &err), "%s",
              err.message);
        check(report.loaded == 2 &&
              report.missing.count + report.unexpected.count + report.mismatched.count == 0);
        check(lk_count_parameters(net) == before + 2 * (6 + 5) + 2 * (5 + 4));
        check_output(net, peft_output, 3);

        char folder[LK_PATH_MAX];
        strcpy(folder, check_scratch("saved"));
        check_save(net, folder, &reference_options); /* a new folder, then an old one */
        check_same_file(check_scratch("saved/adapter_config.json"),
                        check_fixture("peft/adapter_config.json"));
        check_same_file(check_scratch("saved/adapter_model.safetensors"),
                        check_fixture("peft/adapter_model.safetensors"));
        lk_free(net);
    }
    check(check_alloc_live() == 0);
}

Test(peft, where_adapters_are_already)
{
    for (int form = 0; form < 3; form++) {
        Module *net = adapted_net((PeftForm)form, 2, 5), *layers = ((Net *)net)->layers;
        int64_t before = lk_count_parameters(net);
        const Module *wrapper = lk_sequential_at(layers, 0, NULL);
        /* the form is for those that have none */
        check_load(net, check_fixture("peft"), LK_PEFT_WRAPPER);
        check(lk_count_parameters(net) == before && lk_sequential_at(layers, 0, NULL) == wrapper);
        /* the adapter on the head, which was saved whole, adds nothing */
        check_output(net, peft_output, 3);
        lk_free(net);
    }
}

/* Another adapter of the model stays, and only the one that is asked for is saved. */
Test(peft, one_of_several)
{
    Rng rng;
    lk_manual_seed(&rng, 1);
    Module *net = seeded_net(0);
    check(lk_add_lora(net, &(LoRAConfig){ .adapter = "other", .rank = 3, .alpha = 1 }, &rng,
                      NULL) == 3);
    Error err = { 0 };
    check(!lk_load_peft(net, check_fixture("peft"), LK_PEFT_PARAMETRIZATION, "mine", NULL, &err));
    check_error(&err, LK_ESHAPE, "1 mismatched (layers.4.weight is parametrized)");
    check(lk_remove_parametrizations(lk_module_at(net, "layers.4", NULL), "weight", false, NULL));
    err = (Error){ 0 };
    check(lk_load_peft(net, check_fixture("peft"), LK_PEFT_PARAMETRIZATION, "mine", NULL, &err),
          "%s", err.message);
    check(lk_enable_lora(net, "mine", true, NULL) == 2 &&
          lk_enable_lora(net, "other", true, NULL) == 2);
    check_output(net, peft_output, 3); /* B of the other one is 0 */
    PeftOptions options = reference_options;
    options.adapter = "mine";
    check_save(net, check_scratch("saved"), &options);
    check_same_file(check_scratch("saved/adapter_model.safetensors"),
                    check_fixture("peft/adapter_model.safetensors"));
    options.adapter = "nobody's";
    check(!lk_save_peft(net, check_scratch("saved"), &options, &err));
    check_error(&err, LK_EVALUE,
                "lk_save_peft: Net: has no adapter outside of the modules to save");
    lk_free(net);
}

/* ---- both forms ----------------------------------------------------------------------------- */

/* Another form computes the same as the one that wrote, with and without a head that is saved
 * whole, in float64 too. */
Test(peft, from_each_form_to_each)
{
    for (int from = 0; from < 3; from++)
        for (int to = 0; to < 3; to++)
            for (int whole = 0; whole < 2; whole++) {
                Module *net = adapted_net((PeftForm)from, 3, 0.7), *other = seeded_net(0);
                if (to == 1) check(lk_module_to(other, LK_F64, NULL));
                check_save(net, check_scratch("saved"), whole ? &reference_options : NULL);
                check_load(other, check_scratch("saved"), (PeftForm)to);
                check(lk_module_to(other, LK_F32, NULL));
                check_same_output(net, other, 1e-5);
                lk_free(net);
                lk_free(other);
            }
}

Test(peft, rslora)
{
    size_t size;
    char *text = read_whole(check_fixture("peft/adapter_config.json"), &size), *at;
    text[size] = '\0';
    at = strstr(text, "\"use_rslora\": false");
    check(at);
    memcpy(at, "\"use_rslora\":  true", strlen("\"use_rslora\":  true"));
    mkdir(check_scratch("rs"), 0700);
    check_write("rs/adapter_config.json", text, size);
    free(text);
    text = read_whole(check_fixture("peft/adapter_model.safetensors"), &size);
    check_write("rs/adapter_model.safetensors", text, size);
    free(text);
    for (int form = 0; form < 3; form++) {
        Module *net = seeded_net(0), *other = seeded_net(0);
        check_load(net, check_scratch("rs"), (PeftForm)form);
        check_output(net, peft_rslora_output, 3);
        check_save(net, check_scratch("plain"), &reference_options); /* which has no need of √r */
        check_load(other, check_scratch("plain"), (PeftForm)form);
        check_output(other, peft_rslora_output, 3);
        lk_free(net);
        lk_free(other);
    }
}

/* Ranks and strengths that differ, and one that was scaled later. */
Test(peft, patterns)
{
    Rng rng;
    lk_manual_seed(&rng, 4);
    Module *net = seeded_net(0), *other = seeded_net(0), *third = seeded_net(0);
    static const int64_t ranks[] = { 2, 3, 2 };
    static const double alphas[] = { 4, 4, 0.5 };
    static const char *const names[] = { "layers.0", "layers.2", "layers.4" };
    for (int i = 0; i < 3; i++)
        check(lk_add_lora(
                  net, &(LoRAConfig){ .rank = ranks[i], .alpha = alphas[i], .targets = names[i] },
                  &rng, NULL) == 1);
    for (ParamIter it = lk_params(net); lk_params_next(&it);)
        if (strstr(it.name, "lora")) lk_normal_(it.tensor, 0, 1, &rng);
    check_save(net, check_scratch("saved"), NULL);
    size_t size;
    char *text = read_whole(check_scratch("saved/adapter_config.json"), &size);
    text[size] = '\0';
    check(strstr(text, "\"lora_alpha\": 4,"), "%s", text);
    check(strstr(text, "\"alpha_pattern\": {\n    \"layers.4\": 0.5\n  },"), "%s", text);
    check(strstr(text, "\"rank_pattern\": {\n    \"layers.2\": 3\n  },"), "%s", text);
    free(text);
    check_load(other, check_scratch("saved"), LK_PEFT_MERGED);
    check_same_output(net, other, 1e-5);

    lk_scale_lora(net, NULL, 0.25, NULL);
    check_save(net, check_scratch("saved"), NULL);
    check_load(third, check_scratch("saved"), LK_PEFT_PARAMETRIZATION);
    check_same_output(net, third, 1e-5);
    lk_free(net);
    lk_free(other);
    lk_free(third);
}

/* ---- which modules -------------------------------------------------------------------------- */

/* The names of a transformer. */
typedef struct Pair {
    Module base;
    Module *a, *b, *c;
} Pair;
#define PAIR(type_name, table, ...) \
    static const Field table[] = { __VA_ARGS__, LK_END }; \
    static const ModuleType type_name = { .name = #type_name, \
                                          .size = sizeof(Pair), \
                                          .fields = table }
#define SLOT(text, slot) \
    { \
        LK_FIELD_CHILD, text, offsetof(Pair, slot) \
    }
PAIR(Self, self_fields, SLOT("query", a), SLOT("key", b), SLOT("value", c));
PAIR(Output, output_fields, SLOT("dense", a));
PAIR(Attention, attention_fields, SLOT("self", a), SLOT("output", b));
PAIR(Layer, layer_fields, SLOT("attention", a), SLOT("intermediate", b), SLOT("output", c));
PAIR(Layers, layers_fields, SLOT("0", a), SLOT("1", b));
PAIR(Head, head_fields, SLOT("dense", a), SLOT("out_proj", b));
PAIR(Classifier, classifier_fields, SLOT("layer", a), SLOT("classifier", b));

static Module *pair(const ModuleType *type, Module *a, Module *b, Module *c)
{
    Pair *p = lk_module_new(type, NULL);
    p->a = a, p->b = b, p->c = c;
    return &p->base;
}

typedef struct Table {
    Module base;
    Tensor *weight;
} Table;
static const Field table_fields[] = { LK_PARAM(Table, weight), LK_END };
static const ModuleType table_type = { LK_CLASS(Table), .fields = table_fields };

static Module *linear(void)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    return lk_linear_new(4, 4, true, &rng, NULL);
}

static Module *layer_new(void)
{
    Module *self = pair(&Self, linear(), linear(), linear());
    Module *attention = pair(&Attention, self, pair(&Output, linear(), NULL, NULL), NULL);
    return pair(&Layer, attention, pair(&Output, linear(), NULL, NULL),
                pair(&Output, linear(), NULL, NULL));
}

static Module *transformer_new(void)
{
    Module *layers = pair(&Layers, layer_new(), layer_new(), NULL);
    return pair(&Classifier, layers, pair(&Head, linear(), linear(), NULL), NULL);
}

/* The target_modules that are written for the Linears that these targets choose. */
static void check_targets(const char *targets, bool whole, const char *expected)
{
    static const char *const classifier[] = { "classifier" };
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = transformer_new(), *other = transformer_new();
    int adapted =
        lk_add_lora(m, &(LoRAConfig){ .rank = 1, .alpha = 1, .targets = targets }, &rng, NULL);
    check_save(m, check_scratch("targets"),
               whole ? &(PeftOptions){ .save_count = 1, .save = classifier } : NULL);
    const char *path = check_scratch("targets/adapter_config.json");
    Json *root = lk__json_file_new(&(FileReport){ "test", path, NULL, 0 });
    Buffer text = { 0 };
    lk__json_put(&(JsonWriter){ .out = &text }, NULL, lk__json_get(root, "target_modules"));
    check_text(text.bytes, expected);
    lk_buffer_free(&text);
    lk_mem_free(root);

    /* Reading them gives the same Linears an adapter. */
    LoadReport report = { 0 };
    check(lk_load_peft(other, check_scratch("targets"), LK_PEFT_WRAPPER, NULL, &report, NULL));
    check(report.loaded == adapted - (whole && adapted > 12 ? 2 : 0), "%d of %d", report.loaded,
          adapted);
    lk_free(m);
    lk_free(other);
}

Test(peft, target_modules)
{
    check_targets("*.query", false, "[\"query\"]");
    check_targets("*.query,*.value", true, "[\"query\",\"value\"]");
    check_targets("*attention.output.dense", false, "[\"attention.output.dense\"]");
    check_targets("*output.dense", false, "[\"output.dense\"]");
    check_targets("layer*dense", false, "[\"intermediate.dense\",\"output.dense\"]");
    check_targets("*.1.*.key", false, "[\"1.attention.self.key\"]");
    check_targets("classifier*", false, "[\"classifier.dense\",\"out_proj\"]");
    check_targets(NULL, false, "[\"dense\",\"key\",\"out_proj\",\"query\",\"value\"]");
    check_targets(NULL, true,
                  "[\"intermediate.dense\",\"key\",\"output.dense\",\"query\",\"value\"]");
}

/* As in the homework: of all Linears with wrappers those of the head are merged, under the names
 * it had before. */
Test(peft, keys)
{
    static const char *const classifier[] = { "classifier" };
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *m = transformer_new(), **slots[14];
    int count = 0;
    for (ModuleIter it = lk_modules(m); lk_modules_next(&it);)
        if (lk_as_linear(it.module)) slots[count++] = it.slot;
    check(count == 14);
    for (int i = 0; i < count; i++) {
        Module *wrapper = lk_linear_with_lora_new(lk_module_retain(*slots[i]), 2, 8, &rng, NULL);
        check(lk_module_set(slots[i], wrapper, NULL));
    }
    LoRALayer *lora = lk_as_lora_layer(lk_module_at(m, "classifier.out_proj.lora", NULL));
    lk_normal_(lora->B, 0, 1, &rng);
    check_save(m, check_scratch("saved"), &(PeftOptions){ .save_count = 1, .save = classifier });
    StateDict *state = lk_load_safetensors(check_scratch("saved/adapter_model.safetensors"), NULL);
    check(state->count == 2 * 12 + 4);
    for (int i = 0; i < 4; i++) {
        static const char *const names[] = { "dense.weight", "dense.bias", "out_proj.weight",
                                             "out_proj.bias" };
        char key[100];
        snprintf(key, sizeof key, "base_model.model.classifier.%s", names[i]);
        check(lk_state_dict_get(state, key), "%s", key);
    }
    Tensor *A =
        lk_state_dict_get(state, "base_model.model.layer.1.attention.self.query.lora_A.weight");
    check_shape(A, LK_SHAPE(2, 4));
    const float *a = A->data,
                *own = lk_param_at(m, "layer.1.attention.self.query.lora.A", NULL)->data;
    for (int i = 0; i < 8; i++) check(a[i] == own[i % 4 * 2 + i / 4]);
    const float *merged =
        lk_state_dict_get(state, "base_model.model.classifier.out_proj.weight")->data;
    const float *W = lk_param_at(m, "classifier.out_proj.linear.weight", NULL)->data;
    const float *x = lora->A->data, *y = lora->B->data;
    for (int i = 0; i < 16; i++) { /* row o, column k */
        int o = i / 4, k = i % 4;
        check(fabsf(merged[i] - (W[i] + 8 * (x[2 * k] * y[o] + x[2 * k + 1] * y[4 + o]))) < 1e-5f);
    }
    lk_state_dict_free(state);
    lk_free(m);
}

/* ---- what is refused ------------------------------------------------------------------------ */

Test(peft, settings)
{
    static const struct {
        const char *config, *message;
    } cases[] = {
        { "", "adapter_config.json: is empty" },
        { "{\"r\":1,}", "a key in quotes is expected, not '}' (line 1, byte 8, after \"r\")" },
        { "{\"r\":1,\"r\":2}",
          "has a key twice in the object that ends here (line 1, byte 14, after \"r\")" },
        { "[]", "is no JSON object" },
        { "{}", "peft_type is missing, not \"LORA\"" },
        { "{\"peft_type\":\"LOHA\"}", "peft_type is \"LOHA\", not \"LORA\"" },
        { "{\"peft_type\":\"LORA\"}", "r is no whole number above 0" },
        { "{\"peft_type\":\"LORA\",\"r\":0}", "r is no whole number above 0" },
        { "{\"peft_type\":\"LORA\",\"r\":2.0}", "r is no whole number above 0" },
        { "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":\"3\"}", "lora_alpha is no number" },
        { CONFIG_WITH("", "\"use_dora\":false"), "target_modules is no list of names" },
        { CONFIG_WITH("", "\"target_modules\":[]"), "target_modules is no list of names" },
        { CONFIG_WITH("", "\"target_modules\":[\"a\",7]"), "target_modules: item 1 is no name" },
        { CONFIG_WITH("", "\"target_modules\":\"\""),
          "target_modules is no list of names and no regular expression" },
        { CONFIG_WITH("", "\"target_modules\":\"a(?!b)\""),
          "target_modules: the regular expression \"a(?!b)\" at 2: of" },
        { CONFIG_WITH("\"target_modules\":[\"0\"],", "\"modules_to_save\":[\"\"]"),
          "modules_to_save: item 0 is no" },
        { CONFIG_WITH(RIGHT, ",\"use_rslora\":1"), "use_rslora is neither true nor false" },
        { CONFIG_WITH(RIGHT, ",\"use_dora\":true"),
          "use_dora is true: the weight's length is trained apart" },
        { CONFIG_WITH(RIGHT, ",\"lora_bias\":true"),
          "lora_bias is true: B has a bias; this is not supported" },
        { CONFIG_WITH(RIGHT, ",\"fan_in_fan_out\":true"), "fan_in_fan_out is true" },
        { CONFIG_WITH(RIGHT, ",\"bias\":\"all\""), "bias is \"all\"" },
        { CONFIG_WITH(RIGHT, ",\"init_lora_weights\":\"pissa\""),
          "init_lora_weights is \"pissa\"" },
        { CONFIG_WITH(RIGHT, ",\"layers_to_transform\":[1]"), "layers_to_transform is [1]" },
        { CONFIG_WITH(RIGHT, ",\"exclude_modules\":7"),
          "exclude_modules is no list of names and no regular" },
        { CONFIG_WITH(RIGHT, ",\"init_lora_weights\":\"pissa_niter_4\""),
          "init_lora_weights is \"pissa_niter_4\"" },
        { CONFIG_WITH(RIGHT, ",\"init_lora_weights\":\"loftq\""),
          "init_lora_weights is \"loftq\"" },
        { CONFIG_WITH(RIGHT, ",\"trainable_token_indices\":[1]"),
          "trainable_token_indices is [1]: rows of the" },
        { CONFIG_WITH(RIGHT, ",\"layer_replication\":[[0,2]]"),
          "layer_replication is [[0,2]]: the model has copies" },
        { CONFIG_WITH(RIGHT, ",\"target_parameters\":[\"w\"]"),
          "target_parameters is [\"w\"]: parameters outside" },
        { CONFIG_WITH(RIGHT, ",\"use_qalora\":true"),
          "use_qalora is true: A is of grouped inputs" },
        { CONFIG_WITH(RIGHT, ",\"arrow_config\":{\"top_k\":3}"),
          "arrow_config is {\"top_k\":3}: adapters are chosen" },
        { CONFIG_WITH(RIGHT, ",\"alora_invocation_tokens\":[7]"),
          "alora_invocation_tokens is [7]: the adapter works" },
        { CONFIG_WITH(RIGHT, ",\"megatron_config\":{\"a\":1}"),
          "megatron_config is {\"a\":1}: the model is Megatron's" },
        { CONFIG_WITH(RIGHT, ",\"of_tomorrow\":{\"a\":1}"),
          "of_tomorrow is {\"a\":1}: a setting that Lorikeet does not know" },
        { CONFIG_WITH(RIGHT, ",\"rank_pattern\":[]"), "rank_pattern is no object" },
        { CONFIG_WITH(RIGHT, ",\"rank_pattern\":{\"0\":-1}"),
          "rank_pattern: \"0\" is no whole number above 0" },
        { CONFIG_WITH(RIGHT, ",\"alpha_pattern\":{\"0\":null}"),
          "alpha_pattern: \"0\" is no number" },
        { CONFIG_WITH(RIGHT, ",\"alpha_pattern\":{\"layers[\":1}"),
          "alpha_pattern: the regular expression \"(.*\\.)?(layers[)$\" at" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_refused(with_config(cases[i].config), LK_EFORMAT, cases[i].message);

    /* Settings that other versions of PEFT write and that change nothing. */
    const char *config = CONFIG_WITH(
        RIGHT,
        ",\"lora_dropout\":0.1,\"peft_version\":\"0.18.0\",\"megatron_config\":null,"
        "\"loftq_config\":{},\"megatron_core\":\"megatron.core\",\"qalora_group_size\":16,"
        "\"use_qalora\":false,"
        "\"inference_mode\":false,\"init_lora_weights\":\"gaussian\",\"layers_pattern\":null,"
        "\"use_rslora\":null,\"bias\":\"none\",\"trainable_token_indices\":null,"
        "\"exclude_modules\":null,\"rank_pattern\":null,\"of_tomorrow\":[],"
        "\"eva_config\":{\"rho\":2.0},\"corda_config\":{\"verbose\":true},\"arrow_config\":null,"
        "\"target_parameters\":null,"
        "\"runtime_config\":{\"ephemeral_gpu_offload\":true},\"layer_replication\":null,"
        "\"lora_bias\":false,\"alora_invocation_tokens\":null");
    Module *net = seeded_net(0);
    check_load(net, with_config(config), LK_PEFT_WRAPPER);
    check_output(net, peft_output, 3);
    lk_free(net);
}

Test(peft, files_and_models_that_do_not_fit)
{
    check_refused(with_config(CONFIG_WITH("\"target_modules\":[\"0\",\"2\",\"dense\"],",
                                          "\"modules_to_save\":[\"4\"]")),
                  LK_EVALUE, "1 missing (a module for the target \"dense\"), 0 unexpected ()");
    check_refused(
        with_config(CONFIG_WITH("\"target_modules\":[\"0\"],", "\"modules_to_save\":[\"4\"]")),
        LK_EVALUE, "0 missing (), 2 unexpected (base_model.model.layers.2.lora_A.weight, ");
    check_refused(with_config(CONFIG_WITH("\"target_modules\":[\"0\",\"2\"]", "")), LK_EVALUE,
                  "0 missing (), 2 unexpected (base_model.model.layers.4.bias, "
                  "base_model.model.layers.4.weight), 0");
    check_refused(with_config(CONFIG_WITH("\"target_modules\":[\"0\",\"2\",\"4\"]", "")),
                  LK_EVALUE,
                  "2 missing (base_model.model.layers.4.lora_A.weight, "
                  "base_model.model.layers.4.lora_B.weight), 2 ");
    check_refused(with_config(CONFIG_WITH("\"target_modules\":[\"1\",\"0\",\"2\"],",
                                          "\"modules_to_save\":[\"4\"]")),
                  LK_ESHAPE, "1 mismatched (layers.1 is a ReLU, not a Linear, Conv or Embedding)");
    check_refused(with_config(CONFIG_WITH(RIGHT, ",\"rank_pattern\":{\"2\":1}")), LK_ESHAPE,
                  "2 mismatched (layers.2.lora_A.weight is (2, 5) float32, not (1, 5), "
                  "layers.2.lora_B.weight is (4, ");

    /* A model of other sizes, one that has another rank, one whose adapters are more than the
     * file's, a merged one. */
    Error err = { 0 };
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *wider = net_new(6, 7, 4, 3, &rng, NULL), *ranked = adapted_net(LK_PEFT_WRAPPER, 3, 1);
    check(!lk_load_peft(wider, check_fixture("peft"), LK_PEFT_WRAPPER, NULL, NULL, &err));
    check_error(
        &err, LK_ESHAPE,
        "2 mismatched (layers.0.lora_B.weight is (5, 2) float32, not (7, 2), layers.2.lora_");
    err = (Error){ 0 };
    check(!lk_load_peft(ranked, check_fixture("peft"), LK_PEFT_WRAPPER, NULL, NULL, &err));
    check_error(&err, LK_ESHAPE,
                "2 mismatched (layers.0 has rank 3, not 2 as in the file, layers.2 has rank 3");
    lk_free(ranked);
    ranked = adapted_net(LK_PEFT_PARAMETRIZATION, 2, 1);
    check(lk_merge(ranked, NULL));
    err = (Error){ 0 };
    check(!lk_load_peft(ranked, check_fixture("peft"), LK_PEFT_WRAPPER, NULL, NULL, &err));
    check_error(&err, LK_ESHAPE, "layers.0 is merged; lk_unmerge it first");
    lk_unmerge(ranked);
    check_save(ranked, check_scratch("all"), NULL);
    check(lk_remove_parametrization_at(lk_module_at(ranked, "layers.0", NULL), "weight", 0, NULL));
    check_save(ranked, check_scratch("two"), NULL);
    lk_free(ranked);
    ranked = adapted_net(LK_PEFT_MERGED, 2, 1);
    err = (Error){ 0 };
    check(!lk_load_peft(ranked, check_scratch("two"), LK_PEFT_WRAPPER, NULL, NULL, &err));
    check_error(&err, LK_EVALUE, "2 missing (base_model.model.layers.0.lora_A.weight, ");
    check_load(ranked, check_scratch("all"), LK_PEFT_WRAPPER);
    lk_free(ranked);
    lk_free(wider);

    /* A key that is misspelt names the nearest modules. */
    StateDict *state = lk_load_safetensors(check_scratch("all/adapter_model.safetensors"), NULL);
    char *at = strstr(state->entries[0].name, "layers");
    memcpy(at, "leyars", 6);
    check(lk_save_safetensors(state, NULL, check_scratch("all/adapter_model.safetensors"), NULL));
    lk_state_dict_free(state);
    check_refused(check_scratch("all"), LK_EVALUE,
                  "unexpected (base_model.model.leyars.0.lora_A.weight; nearest: \"");
}

static void check_not_saved(Module *m, const PeftOptions *options, ErrorCode code,
                            const char *text)
{
    Error err = { 0 };
    check(!lk_save_peft(m, check_scratch("not_saved"), options, &err),
          "saved, but expected \"%s\"", text);
    check_error(&err, code, text);
    check(access(check_scratch("not_saved"), F_OK) != 0);
}

Test(peft, not_saved)
{
    Module *net = seeded_net(0), *wrapped = adapted_net(LK_PEFT_WRAPPER, 2, 1);
    check_not_saved(NULL, NULL, LK_EVALUE, "the module is NULL");
    check_not_saved(net, NULL, LK_EVALUE, "lk_save_peft: Net: has no adapter");
    static const char *const wrong[] = { "layers.5", "", "layers" };
    check_not_saved(wrapped, &(PeftOptions){ .save_count = 1, .save = wrong }, LK_EVALUE,
                    "no module \"layers.5\"; ");
    check_not_saved(wrapped, &(PeftOptions){ .save_count = 1, .save = wrong + 1 }, LK_EVALUE,
                    "the model itself can");
    check_not_saved(wrapped, &(PeftOptions){ .save_count = 1, .save = wrong + 2 }, LK_EVALUE,
                    "has no adapter outside");
    check_not_saved(wrapped, &(PeftOptions){ .base_model = "\xff" }, LK_EVALUE, "\" is not UTF-8");
    Rng rng;
    lk_manual_seed(&rng, 0);
    check(lk_register_parametrization_as(lk_module_at(wrapped, "layers.0.linear", NULL), "weight",
                                         lk_lora_parametrization_new(5, 6, 1, 1, &rng, NULL),
                                         LK_KEEP_ORIGINAL, NULL));
    check_not_saved(wrapped, NULL, LK_EVALUE, "layers.0: has a wrapper and a parametrization");

    /* an adapter of something that is no Linear */
    Table *table = lk_module_new(&table_type, NULL);
    table->weight = lk_param_new(LK_F32, LK_SHAPE(5, 6), NULL);
    check(lk_register_parametrization_as(&table->base, "weight",
                                         lk_lora_parametrization_new(5, 6, 1, 1, &rng, NULL),
                                         LK_KEEP_ORIGINAL, NULL));
    check_not_saved(&table->base, NULL, LK_EVALUE,
                    "Table: has an adapter that is not on the weight of a Linear");
    lk_module_free(&table->base);

    Error err = { 0 };
    check(!lk_save_peft(net, "", NULL, &err));
    check_error(&err, LK_EVALUE, "the folder has no name");
    err = (Error){ 0 };
    Module *other = adapted_net(LK_PEFT_WRAPPER, 2, 1);
    check(!lk_save_peft(other, check_scratch("no/such"), NULL, &err));
    check_error(&err, LK_EIO, "no/such: cannot be written: No such file");
    err = (Error){ 0 };
    check(!lk_save_peft(other, check_write("file", "old", 3), NULL, &err));
    check_error(&err, LK_EIO, "file: cannot be written: Not a directory");
    lk_free(other);
    lk_free(net);
    lk_free(wrapped);
}
