/* test_peft_rules.c - adapters by PEFT's rules: patterns and targets that are regular expressions,
 * strengths that are kept exactly, modules in several places. The files as such: test_peft.c. */
#include "data/path.h"
#include "tests/shared/peft_nets.h"

#include "nn/activation.h"
#include "nn/sequential.h"

/* Linears 0.1, 1 and 2: "1" is the end of "0.1". */
static Module *dotted_net(void)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *inner = lk_sequential_new(
        LK_MODULES(lk_relu_new(NULL), lk_linear_new(4, 4, true, &rng, NULL)), NULL);
    Module *second = lk_linear_new(4, 4, true, &rng, NULL);
    Module *third = lk_linear_new(4, 2, true, &rng, NULL);
    return lk_sequential_new(LK_MODULES(inner, second, third), NULL);
}

static const char *const dotted[] = { "0.1", "1", "2" };
static const char *const dotted_targets[] = { "0.1", "1,!0.1", "2" };

/* LoRAParametrizations of these ranks and alphas on dotted_net's Linears; rank 0: none. */
static Module *dotted_adapters(const int64_t *ranks, const double *alphas)
{
    Rng rng;
    lk_manual_seed(&rng, 1);
    Module *net = dotted_net();
    for (int i = 0; i < 3; i++)
        if (ranks[i])
            check(lk_add_lora(net,
                              &(LoRAConfig){ .rank = ranks[i],
                                             .alpha = alphas[i],
                                             .targets = dotted_targets[i] },
                              &rng, NULL) == 1);
    for (AdapterIter it = lk_adapters(net); lk_adapters_next(&it);)
        lk_normal_(it.lora->lora_B, 0, 1, &rng);
    return net;
}

static LoRAParametrization *adapter_at(Module *net, const char *name)
{
    ParametrizationList *list = lk_parametrizations(lk_module_at(net, name, NULL), "weight");
    return list ? lk_as_lora_parametrization(list->chain.items[0]) : NULL;
}

static char *settings_of(const char *folder)
{
    static char text[8192];
    char path[LK_PATH_MAX];
    size_t size;
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    char *bytes = read_whole(path, &size);
    snprintf(text, sizeof text, "%.*s", (int)size, bytes);
    free(bytes);
    return text;
}

/* ---- written so that they fit exactly the modules meant ------------------------------------- */

static void check_written(const int64_t *ranks, const double *alphas, const char *text)
{
    Module *net = dotted_adapters(ranks, alphas);
    check_save(net, check_scratch("saved"), NULL);
    check(strstr(settings_of(check_scratch("saved")), text), "%s",
          settings_of(check_scratch("saved")));
    Module *other = dotted_net();
    check_load(other, check_scratch("saved"), LK_PEFT_PARAMETRIZATION);
    for (int i = 0; i < 3; i++) {
        LoRAParametrization *a = adapter_at(net, dotted[i]), *b = adapter_at(other, dotted[i]);
        check(!a == !b, "%s", dotted[i]);
        if (!a) continue;
        check(a->rank == b->rank && a->alpha == b->alpha && a->scale == b->scale, "%s: %g and %g",
              dotted[i], a->scale, b->scale);
        check_equal(b->lora_A, a->lora_A);
        check_equal(b->lora_B, a->lora_B);
    }
    lk_free(net);
    lk_free(other);
}

Test(peft_rules, written_for_the_modules_meant)
{
    check_written((int64_t[]){ 2, 2, 2 }, (double[]){ .1, 1e-30, -2 },
                  "\"alpha_pattern\": {\n    \"2\": -2,\n    \"^1\": 1.0000000000000001e-30\n  }");
    check_written((int64_t[]){ 2, 4, 2 }, (double[]){ 1, 1, 1 },
                  "\"rank_pattern\": {\n    \"^1\": 4\n  }");
    check_written((int64_t[]){ 2, 4, 4 }, (double[]){ 1, 3, 3 },
                  "\"rank_pattern\": {\n    \"2\": 4,\n    \"^1\": 4\n  }");
    check_written((int64_t[]){ 4, 4, 2 }, (double[]){ 3, 3, 3 },
                  "\"rank_pattern\": {\n    \"2\": 2\n  }");
}

/* Each of the choices can be written; of "1" alone no list of ends can tell. */
Test(peft_rules, every_choice_of_modules)
{
    static const char *const targets[] = {
        NULL,
        "[\n    \"0.1\"\n  ]",
        "\"1\"",
        "[\n    \"1\"\n  ]",
        "[\n    \"2\"\n  ]",
        "[\n    \"0.1\",\n    \"2\"\n  ]",
        "\"1|2\"",
        "[\n    \"1\",\n    \"2\"\n  ]",
    };
    for (int choice = 1; choice < 8; choice++) {
        char text[100];
        snprintf(text, sizeof text, "\"target_modules\": %s,", targets[choice]);
        check_written((int64_t[]){ choice & 1, choice & 2, choice & 4 }, (double[]){ 1, 2, 3 },
                      text);
    }
}

/* ---- read as PEFT reads them ---------------------------------------------------------------- */

/* Adapters of rank 2 on all Linears of dotted_net, and these settings beside them. */
static const char *with_settings(const char *more)
{
    static char folder[LK_PATH_MAX];
    char text[1000];
    Module *net = dotted_adapters((int64_t[]){ 2, 2, 2 }, (double[]){ 1, 1, 1 });
    strcpy(folder, check_scratch("read"));
    check_save(net, folder, NULL);
    lk_free(net);
    snprintf(text, sizeof text, "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,%s}", more);
    check_write("read/adapter_config.json", text, strlen(text));
    return folder;
}

static void check_scales(const char *more, double first, double second, double third)
{
    const double expected[] = { first, second, third };
    Module *net = dotted_net();
    check_load(net, with_settings(more), LK_PEFT_PARAMETRIZATION);
    for (int i = 0; i < 3; i++) {
        const LoRAParametrization *p = adapter_at(net, dotted[i]);
        check(p && p->scale == expected[i] && p->alpha == 2 * expected[i], "%s: %s", dotted[i],
              more);
    }
    lk_free(net);
}

#define ALL "\"target_modules\":[\"1\",\"2\"],"

Test(peft_rules, the_first_pattern_that_fits)
{
    check_scales(ALL "\"alpha_pattern\":{\"1\":8,\"0.1\":16}", 4, 4, 2);
    check_scales(ALL "\"alpha_pattern\":{\"0.1\":16,\"1\":8}", 8, 4, 2);
    check_scales(ALL "\"alpha_pattern\":{\"^1\":8}", 2, 4, 2);
    check_scales(ALL "\"alpha_pattern\":{\"0\\\\.1\":1,\"[12]\":3}", .5, 1.5, 1.5);
    check_scales(ALL "\"alpha_pattern\":{\"0.1|2\":1}", .5, 2, .5);
    check_scales(ALL "\"alpha_pattern\":{\"\\\\d+\":-1e300}", -5e299, -5e299, -5e299);
}

Test(peft_rules, targets)
{
    check_scales("\"target_modules\":\".*[12]\"", 2, 2, 2);
    check_scales("\"target_modules\":\"(0\\\\.)?1|2\"", 2, 2, 2);
    check_scales("\"target_modules\":\"all-linear\"", 2, 2, 2);
    check_scales("\"target_modules\":\"All-Linear\",\"exclude_modules\":[]", 2, 2, 2);
    check_scales("\"target_modules\":\".*\\\\d\",\"exclude_modules\":\"0|0\\\\.0\"", 2, 2, 2);
    /* 0 and 0.0 */
    check_scales("\"target_modules\":[\"0\",\"1\",\"2\"],\"exclude_modules\":[\"0\"]", 2, 2, 2);
}

static void check_not_read(const char *more, ErrorCode code, const char *text)
{
    Module *net = dotted_net();
    Error err = { 0 };
    check(!lk_load_peft(net, with_settings(more), LK_PEFT_WRAPPER, NULL, NULL, &err), "read: %s",
          more);
    check_error(&err, code, text);
    check(lk_as_linear(lk_module_at(net, "1", NULL)));
    lk_free(net);
}

Test(peft_rules, what_fits_nothing_is_refused)
{
    check_not_read(ALL "\"alpha_pattern\":{\"q_proj\":16}", LK_EVALUE,
                   "1 missing (a module for the alpha_pattern \"q_proj\")");
    check_not_read(ALL "\"rank_pattern\":{\"1\":2,\"10\":2}", LK_EVALUE,
                   "(a module for the rank_pattern \"10\")");
    check_not_read(ALL "\"rank_pattern\":{\"0\":2}", LK_EVALUE,
                   "the rank_pattern \"0\")"); /* no adapter is there */
    check_not_read("\"target_modules\":[\"1\",\"2\",\"3\"]", LK_EVALUE,
                   "(a module for the target \"3\")");
    check_not_read("\"target_modules\":\"[12]\"", LK_EVALUE,
                   "2 unexpected (base_model.model.0.1.lora_A.weight");
    check_not_read("\"target_modules\":[\"all-linear\"]", LK_EVALUE,
                   "a module for the target \"all-linear\"");
    check_not_read(ALL "\"exclude_modules\":\"0.*\"", LK_EVALUE,
                   "2 unexpected (base_model.model.0.1.lora_A.weight");
    check_not_read("\"target_modules\":\".*\"", LK_ESHAPE,
                   "mismatched ( is a Sequential, not a Linear, Conv or Embe");
}

/* ---- strengths ------------------------------------------------------------------------------ */

static LoRALayer *layer_at(Module *net, int i)
{
    LinearWithLoRA *wrapper =
        lk_as_linear_with_lora(lk_sequential_at(((Net *)net)->layers, i, NULL));
    return wrapper ? lk_as_lora_layer(wrapper->lora) : NULL;
}

/* alpha of a wrapper: lora_alpha / r gives it back, or the metadata do; those are nobody's who
 * changes the settings. */
Test(peft_rules, alpha_comes_back_bit_by_bit)
{
    static const double alphas[] = {
        .1, 1.0 / 3, -0.0, 0, 1e-320, 5e-324, 1e300, -7.7, 1.9999999999999998, 2.6
    };
    int exact = 0, count = 0;
    for (size_t i = 0; i < sizeof alphas / sizeof *alphas; i++)
        for (int64_t rank = 1; rank < 8; rank++, count++) {
            Module *net = adapted_net(LK_PEFT_WRAPPER, rank, alphas[i]), *other = seeded_net(0);
            check_save(net, check_scratch("saved"), NULL);
            SafeTensors *file =
                lk_safetensors_open(check_scratch("saved/adapter_model.safetensors"), NULL);
            exact += lk_safetensors_metadata(file, "lorikeet.scales") != NULL;
            lk_safetensors_close(file);
            check_load(other, check_scratch("saved"), LK_PEFT_WRAPPER);
            for (int k = 0; k < 5; k += 2) {
                double alpha = layer_at(other, k)->alpha;
                check(memcmp(&alpha, &alphas[i], sizeof alpha) == 0, "rank %d: %.17g is %.17g",
                      (int)rank, alphas[i], alpha);
            }
            lk_free(net);
            lk_free(other);
        }
    check(exact > 0 && exact < count / 2, "%d of %d", exact, count);

    Module *net = adapted_net(LK_PEFT_WRAPPER, 3, .1), *other = seeded_net(0);
    check_save(net, check_scratch("saved"), NULL);
    char *text = settings_of(check_scratch("saved")), *at = strstr(text, "\"lora_alpha\": 0.3");
    check(at, "%s", text);
    at[strlen("\"lora_alpha\": 0.")] = '6';
    check_write("saved/adapter_config.json", text, strlen(text));
    check_load(other, check_scratch("saved"), LK_PEFT_WRAPPER);
    double alpha = layer_at(other, 0)->alpha;
    check(fabs(alpha - .2) < .04, "%g", alpha);
    lk_free(net);
    lk_free(other);
}

Test(peft_rules, alphas_that_are_no_numbers)
{
    static const struct {
        PeftForm form;
        double alpha;
        const char *message;
    } cases[] = {
        { LK_PEFT_WRAPPER, INFINITY,
          "layers.0: its adapter wrapper has the strength inf and the rank 2, and alpha inf "
          "cannot" },
        { LK_PEFT_WRAPPER, 1e308,
          "has the strength 1e+308 and the rank 2, and alpha inf cannot be in a file" },
        { LK_PEFT_MERGED, NAN, "its adapter wrapper has the strength nan" },
        { LK_PEFT_PARAMETRIZATION, -INFINITY, "its adapter \"default\" has the strength -inf" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Module *net = adapted_net(cases[i].form, 2, cases[i].alpha);
        Error err = { 0 };
        check(!lk_save_peft(net, check_scratch("saved"), NULL, &err));
        check_error(&err, LK_EVALUE, cases[i].message);
        check(access(check_scratch("saved"), F_OK) != 0);
        lk_free(net);
    }
}

/* ---- modules in several places -------------------------------------------------------------- */

/* One Linear at 0 and 2. */
static Module *tied_net(void)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *linear = lk_linear_new(4, 4, true, &rng, NULL);
    Module *last = lk_linear_new(4, 4, true, &rng, NULL);
    return lk_sequential_new(LK_MODULES(linear, lk_relu_new(NULL), lk_retain(linear), last), NULL);
}

static Module *wrapped(Module *linear)
{
    Rng rng;
    lk_manual_seed(&rng, 2);
    Module *m = lk_linear_with_lora_new(linear, 2, 1, &rng, NULL);
    lk_normal_(lk_original(lk_as_linear_with_lora(m)->lora, "B"), 0, 1, &rng);
    return m;
}

static Tensor *result_of(Tape *t, Module *net)
{
    return lk_forward(t, net, lk_full(t, LK_F32, LK_SHAPE(2, 4), 0.5));
}

static void check_tied_not_saved(Module *net, const char *text)
{
    Error err = { 0 };
    check(!lk_save_peft(net, check_scratch("tied"), NULL, &err));
    check_error(&err, LK_EVALUE, text);
    check(access(check_scratch("tied"), F_OK) != 0);
    lk_free(net);
}

/* PEFT adapts the first place of a module and leaves the others as they are: so does a wrapper in
 * the first place. Anything else would be another function there, and is refused. */
Test(peft_rules, a_linear_in_two_places)
{
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *net = tied_net();
    check(lk_add_lora(net, &(LoRAConfig){ .rank = 2, .alpha = 1 }, &rng, NULL) == 2);
    check_tied_not_saved(
        net, "Sequential: 0: is at 2 too, and PEFT adapts the first place of a module alone");

    net = tied_net();
    Module *both = wrapped(lk_retain(lk_sequential_at(net, 0, NULL)));
    check(lk_sequential_set(net, 2, lk_retain(both), NULL) &&
          lk_sequential_set(net, 0, both, NULL));
    check_tied_not_saved(net, "0: is at 2 too");

    net = tied_net();
    check(lk_sequential_set(net, 2, wrapped(lk_retain(lk_sequential_at(net, 0, NULL))), NULL));
    check_tied_not_saved(net, "2: is at 0 too");

    net = tied_net();
    check(lk_sequential_set(net, 0, wrapped(lk_retain(lk_sequential_at(net, 0, NULL))), NULL));
    check_save(net, check_scratch("tied"), NULL);
    for (int form = 0; form < 3; form++) {
        Module *other = tied_net();
        Tape *t = lk_tape_new(NULL);
        Error err = { 0 };
        if (form == LK_PEFT_PARAMETRIZATION) {
            check(!lk_load_peft(other, check_scratch("tied"), (PeftForm)form, NULL, NULL, &err));
            check_error(&err, LK_ESHAPE,
                        "1 mismatched (only a wrapper can adapt the first place of a module "
                        "alone, as PEFT does: 0 is at 2 too)");
            check(!lk_is_parametrized(lk_sequential_at(other, 0, NULL), NULL));
        } else {
            check_load(other, check_scratch("tied"), (PeftForm)form);
            check_close_to(result_of(t, other), result_of(t, net), 1e-6);
        }
        lk_tape_free(t);
        lk_free(other);
    }
    lk_free(net);
}

/* A container in two places is one slot for each of its modules, which PEFT replaces in both. */
Test(peft_rules, a_container_in_two_places)
{
    Module *nets[2];
    for (int i = 0; i < 2; i++) {
        Rng rng;
        lk_manual_seed(&rng, 0);
        Module *linear = lk_linear_new(4, 4, true, &rng, NULL);
        Module *inner = lk_sequential_new(LK_MODULES(linear, lk_relu_new(NULL)), NULL);
        nets[i] = lk_sequential_new(LK_MODULES(inner, lk_retain(inner)), NULL);
    }
    check(lk_sequential_set(lk_sequential_at(nets[0], 0, NULL), 0,
                            wrapped(lk_retain(lk_module_at(nets[0], "0.0", NULL))), NULL));
    check_save(nets[0], check_scratch("tied"), NULL);
    Tape *t = lk_tape_new(NULL);
    for (int form = 0; form < 3; form++) {
        Module *other = lk_deepcopy(nets[1], NULL);
        check_load(other, check_scratch("tied"), (PeftForm)form);
        check_close_to(result_of(t, other), result_of(t, nets[0]), 1e-6);
        lk_free(other);
    }
    lk_tape_free(t);
    lk_free(nets[0]);
    lk_free(nets[1]);
}

/* modules_to_save names modules by the end of their names, without a dot before it, and replaces
 * one place alone. */
Test(peft_rules, modules_to_save)
{
    static const char *const names[] = { "1", "2", "3" };
    Error err = { 0 };
    Module *net = dotted_adapters((int64_t[]){ 2, 2, 2 }, (double[]){ 1, 1, 1 });
    check(!lk_save_peft(net, check_scratch("saved"),
                        &(PeftOptions){ .save_count = 1, .save = names }, &err));
    check_error(
        &err, LK_EVALUE,
        "0.1: PEFT takes it for one of modules_to_save, by the end of its name; save it too");
    err = (Error){ 0 };
    static const char *const inner[] = { "1.parametrizations" };
    check(!lk_save_peft(net, check_scratch("saved"),
                        &(PeftOptions){ .save_count = 1, .save = inner }, &err));
    check_error(&err, LK_EVALUE, "a module goes by its first name, without its adapter");
    lk_free(net);

    net = tied_net();
    check(lk_sequential_set(net, 3, wrapped(lk_retain(lk_sequential_at(net, 3, NULL))), NULL));
    for (int i = 0; i < 2; i++) { /* 0 is at 2 too, which is not the name of a module of its own */
        static const char *const tied[] = { "0", "2" };
        err = (Error){ 0 };
        check(!lk_save_peft(net, check_scratch("saved"),
                            &(PeftOptions){ .save_count = 1, .save = &tied[i] }, &err));
        check_error(&err, LK_EVALUE,
                    i ? "a module goes by its first name" : "its parameters are at 2.weight too");
    }
    lk_free(net);

    /* A file that replaces a module, and a model that has it in two places. */
    net = dotted_adapters((int64_t[]){ 0, 2, 0 }, (double[]){ 0, 1, 0 });
    check_save(net, check_scratch("saved"), &(PeftOptions){ .save_count = 1, .save = &names[1] });
    Module *other = dotted_net();
    check_load(other, check_scratch("saved"), LK_PEFT_WRAPPER);
    lk_free(other);
    Module *plain = dotted_net(), *parts[3];
    for (int i = 0; i < 3; i++) parts[i] = lk_sequential_at(plain, i, NULL);
    other = lk_sequential_new(LK_MODULES(lk_retain(parts[0]), lk_retain(parts[1]),
                                         lk_retain(parts[2]), lk_retain(parts[2])),
                              NULL);
    err = (Error){ 0 };
    check(!lk_load_peft(other, check_scratch("saved"), LK_PEFT_WRAPPER, NULL, NULL, &err));
    check_error(&err, LK_ESHAPE, "1 mismatched (2 is at 3.weight too, which is not loaded)");
    lk_free(plain);
    lk_free(other);
    lk_free(net);
}
