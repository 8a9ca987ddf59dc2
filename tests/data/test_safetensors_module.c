/* test_safetensors_module.c - modules on the pages of a file: nothing copied, nothing written,
 * names that differ, and what is refused. Copies: test_safetensors_write.c. */
#include "data/safetensors.h"

#include <unistd.h>

#include "core/ops.h"
#include "nn/adapter.h"
#include "tests/shared/nets.h"
#include "tests/shared/safetensors_files.h"
#include "tests/shared/smaps.h"

static bool same_values(Module *a, Module *b)
{
    ParamIter p = lk_params(a), q = lk_params(b);
    bool same = true;
    while (lk_params_next(&p) && lk_params_next(&q)) same = same && lk_equal(p.tensor, q.tensor);
    return same;
}

static Module *seeded_net(uint64_t seed, int64_t hidden)
{
    Rng rng;
    lk_manual_seed(&rng, seed);
    return net_new(6, hidden, 4, 3, &rng, NULL);
}

/* A file with the parameters of m under names that rename gives them. */
static const char *save_renamed(Module *m, const char *(*rename)(const char *name))
{
    StateDict *state = lk_state_dict_empty_new(NULL);
    for (ParamIter it = lk_params(m); lk_params_next(&it);)
        check(lk_state_dict_add(state, rename(it.name), lk_tensor_retain(it.tensor), NULL));
    const char *path = check_scratch("net.safetensors");
    check(lk_save_safetensors(state, NULL, path, NULL));
    lk_state_dict_free(state);
    return path;
}

/* ---- without a copy ------------------------------------------------------------------------- */

static size_t largest;

static void *watch_alloc(size_t bytes)
{
    if (bytes > largest) largest = bytes;
    return aligned_alloc(64, (bytes + 63) / 64 * 64);
}

Test(safetensors_module, mapped)
{
    enum { HIDDEN = 3000 };
    Module *net = seeded_net(0, HIDDEN), *other = seeded_net(1, HIDDEN);
    const char *path = check_scratch("net.safetensors");
    check(lk_save_module(net, path, NULL));
    lk_require_grad(other, "layers.2.*", false);

    lk_set_allocator(watch_alloc, free);
    Error err = { 0 };
    check(lk_load_module_mapped(other, path, NULL, NULL, &err), "%s", err.message);
    check(largest > 0 && largest < 4096, "%zu bytes at once", largest);
    lk_set_allocator(NULL, NULL);
    check(same_values(net, other));
    Tensor *frozen = lk_param_at(other, "layers.2.weight", NULL);
    Tensor *trained = lk_param_at(other, "layers.0.weight", NULL);
    check(!frozen->requires_grad && trained->requires_grad && trained->is_parameter &&
          trained->refs == 1);

    /* A training step, its gradients those of the copy; then the file is gone, the values are
     * not. */
    Tape *t = lk_tape_new(NULL);
    Tensor *x = lk_tensor_new(LK_F32, LK_SHAPE(2, 6), NULL);
    lk_fill_(x, 0.5);
    check(lk_backward(t, lk_sum(t, lk_forward(t, net, x), LK_ALL, false)));
    check(lk_backward(t, lk_sum(t, lk_forward(t, other, x), LK_ALL, false)));
    check_equal(lk_grad(trained), lk_grad(lk_param_at(net, "layers.0.weight", NULL)));
    check(!lk_grad(frozen));
    bool told = access("/proc/self/smaps", R_OK) == 0;
    if (told)
        check(dirty("net.safetensors") == 0, "%ld kB were written", dirty("net.safetensors"));
    check(unlink(path) == 0);
    check(same_values(net, other));

    /* A page that is written to is this process's own. */
    check(lk_save_module(net, path, NULL));
    Module *third = seeded_net(2, HIDDEN);
    check(lk_load_module_mapped(third, path, NULL, NULL, NULL));
    lk_fill_(lk_param_at(third, "layers.0.weight", NULL), 3);
    if (told) check(dirty("net.safetensors") > 0);
    check(lk_load_module(other, path, true, NULL) && same_values(net, other));
    check(lk_module_to(third, LK_F64, NULL)); /* now on memory of its own */
    lk_tape_free(t);
    lk_free(x);
    lk_free(net);
    lk_free(other);
    /* the last one who used it is gone */
    check(dirty("net.safetensors") == -1, "a mapping is left");
    lk_free(third);
}

/* A shared tensor stays shared, and one of its names is enough; a chain of parametrizations is a
 * module like others. */
Test(safetensors_module, shared_and_parametrized)
{
    check_alloc_begin();
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *net = tied_new(&rng, NULL), *other = tied_new(&rng, NULL);
    Error err = { 0 };
    StateDict *state = lk_state_dict_empty_new(NULL);
    for (ParamIter it = lk_params(net);
         lk_params_next(&it);) /* every tensor once, as Hugging Face writes them */
        check(lk_state_dict_add(state, it.name, lk_tensor_retain(it.tensor), NULL));
    const char *path = check_scratch("net.safetensors");
    check(lk_save_safetensors(state, NULL, path, NULL));
    lk_state_dict_free(state);
    LoadReport report = { 0 };
    check(lk_load_module_mapped(other, path, NULL, &report, &err), "%s", err.message);
    check(same_values(net, other) && report.loaded == 9, "%d", report.loaded);
    Tied *tied = (Tied *)other;
    Tensor *weight = lk_param_at(other, "first.linear.weight", NULL);
    check(weight == lk_param_at(other, "second.linear.weight", NULL) &&
          weight == lk_as_linear(tied->decoder)->weight);
    check(weight->refs == 2); /* the shared Linear and the decoder */
    lk_load_report_free(&report);
    lk_free(net);
    lk_free(other);

    net = seeded_net(0, 5), other = seeded_net(1, 5);
    const LoRAConfig config = { .rank = 2, .alpha = 4 };
    check(lk_add_lora(net, &config, &rng, NULL) == 3 &&
          lk_add_lora(other, &config, &rng, NULL) == 3);
    check(lk_save_module(net, path, NULL) && lk_load_module_mapped(other, path, NULL, NULL, NULL));
    check(same_values(net, other) &&
          lk_original(lk_module_at(other, "layers.0", NULL), "weight")->refs == 1);
    lk_free(net);
    lk_free(other);
    check(check_alloc_live() == 0);
}

/* A value that was computed from the old ones is not read again. */
Test(safetensors_module, caches_are_not_stale)
{
    Module *net = seeded_net(0, 5), *other = seeded_net(1, 5);
    Rng rng;
    lk_manual_seed(&rng, 3);
    check(net_add_lora(net, 2, 1.5, &rng, NULL) && net_add_lora(other, 2, 1.5, &rng, NULL));
    Tape *t = lk_tape_new(NULL);
    lk_tape_set_grad(t, false);
    Tensor *x = lk_tensor_new(LK_F32, LK_SHAPE(2, 6), NULL);
    lk_fill_(x, 0.5);
    check(lk_forward(t, other, x)); /* keeps its combined weights */
    const char *path = check_scratch("net.safetensors");
    check(lk_save_module(net, path, NULL));
    for (int copy = 0; copy < 2; copy++) {
        lk_fill_(lk_param_at(other, "layers.0.linear.weight", NULL), 1);
        check(lk_forward(t, other, x));
        check(lk_load_module_mapped(other, path, &(LoadOptions){ .copy = copy }, NULL, NULL));
        check_equal(lk_forward(t, other, x), lk_forward(t, net, x));
    }
    lk_tape_free(t);
    lk_free(x);
    lk_free(net);
    lk_free(other);
}

Test(safetensors_module, copied)
{
    Module *net = seeded_net(0, 5), *other = seeded_net(1, 5);
    const char *path = check_scratch("net.safetensors");
    check(lk_save_module(net, path, NULL));
    Tensor *weight = lk_param_at(other, "layers.0.weight", NULL); /* which an optimizer may have */
    check(lk_load_module_mapped(other, path, &(LoadOptions){ .copy = true }, NULL, NULL));
    check(weight == lk_param_at(other, "layers.0.weight", NULL));
    check(same_values(net, other) && dirty("net.safetensors") == -1);
    lk_free(net);
    lk_free(other);
}

/* ---- names ---------------------------------------------------------------------------------- */

static const char *old_name(const char *name) /* "layers.0.weight" is "0.gamma" */
{
    static char text[LK_NAME_MAX + 8];
    bool weight = strstr(name, "weight");
    snprintf(text, sizeof text, "%c.%s", name[strlen("layers.")], weight ? "gamma" : "bias");
    return text;
}

Test(safetensors_module, renamed)
{
    static const NameRule rules[] = { { "head.*", NULL },
                                      { "??.*", "never" },
                                      { "*.gamma", "*.weight" },
                                      { "*.weight", "layers.*.weight" },
                                      { "0.bias", "layers.0.bias" },
                                      { "2*", "layers.2*" },
                                      { "4*s", "layers.4*s" } };
    const LoadOptions options = { .rule_count = sizeof rules / sizeof *rules, .rules = rules };
    Module *net = seeded_net(0, 5), *other = seeded_net(1, 5);
    const char *path = save_renamed(net, old_name);
    LoadReport report = { 0 };
    Error err = { 0 };
    check(lk_load_module_mapped(other, path, &options, &report, &err), "%s", err.message);
    check(same_values(net, other) && report.loaded == 6 && report.ignored.count == 0);
    lk_load_report_free(&report);
    lk_free(net);
    lk_free(other);
}

static const char *dashed(const char *name) /* "layers.0.weight" is "pooler-layers-0-weight" */
{
    static char text[LK_NAME_MAX + 8];
    snprintf(text, sizeof text, "pooler-%s", name);
    for (char *c = text; *c; c++)
        if (*c == '.') *c = '-';
    return text;
}

/* Each star of `to` is the one of `from` in its place. A rule that could not be meant is none. */
Test(safetensors_module, rules_with_several_stars)
{
    static const NameRule rules[] = { { "pooler-*-*-*", "*.*.*" } },
                          two[] = { { "*ool*r-*s-0-*", NULL } };
    static const NameRule wrong[][1] = {
        { { "a.*", "*.*" } }, { { "a", "*" } }, { { "*********", NULL } }, { { NULL, "a" } }
    };
    Module *net = seeded_net(0, 5), *other = seeded_net(1, 5);
    const char *path = save_renamed(net, dashed);
    LoadReport report = { 0 };
    Error err = { 0 };
    check(lk_load_module_mapped(other, path, &(LoadOptions){ .rule_count = 1, .rules = rules },
                                NULL, &err),
          "%s", err.message);
    check(same_values(net, other));
    check(lk_load_module_mapped(
        other, path, &(LoadOptions){ .rule_count = 1, .rules = two, .lax = true }, &report, &err));
    check(report.ignored.count == 2 && report.unexpected.count == 4);
    for (int i = 0; i < 4; i++) {
        const LoadOptions options = { .rule_count = 1, .rules = wrong[i] };
        check(!lk_load_module_mapped(other, path, &options, NULL, &err));
        check_error(&err, LK_EVALUE, ": `from` has up to 8 stars, and `to` has no more");
        err = (Error){ 0 };
    }
    lk_load_report_free(&report);
    lk_free(net);
    lk_free(other);
}

static const char *prefixed(const char *name)
{
    static char text[LK_NAME_MAX + 8];
    snprintf(text, sizeof text, "%s%s", name[7] == '4' ? "head" : "", name);
    return text;
}

static bool has_name(const Names *names, const char *name) { return lk_names_has(names, name); }

Test(safetensors_module, ignored_and_optional)
{
    static const NameRule rules[] = { { "head*", NULL } };
    static const char *const optional[] = { "layers.4.?eight", "layers.4.bias" };
    LoadOptions options = {
        .rule_count = 1, .rules = rules, .optional_count = 1, .optional = optional
    };
    Module *net = seeded_net(0, 5), *other = seeded_net(1, 5),
           *untouched = lk_deepcopy(other, NULL);
    const char *path = save_renamed(net, prefixed);
    LoadReport report = { 0 };
    Error err = { 0 };
    check(!lk_load_module_mapped(other, path, &options, &report, &err));
    check_error(&err, LK_EVALUE,
                "net.safetensors: 1 missing (layers.4.weight, layers.4.bias), 0 unexpected ()");
    check(same_values(other, untouched) && report.loaded == 0);
    lk_load_report_free(&report);

    options.optional_count = 2;
    err = (Error){ 0 };
    check(lk_load_module_mapped(other, path, &options, &report, &err), "%s", err.message);
    check(report.loaded == 4 && report.missing.count == 2 &&
          has_name(&report.missing, "layers.4.bias"));
    check(report.ignored.count == 2 && has_name(&report.ignored, "headlayers.4.weight"));
    check(report.unexpected.count == 0 && report.mismatched.count == 0);
    check_equal(lk_param_at(other, "layers.0.bias", NULL),
                lk_param_at(net, "layers.0.bias", NULL));
    check_equal(lk_param_at(other, "layers.4.bias", NULL),
                lk_param_at(untouched, "layers.4.bias", NULL));
    lk_load_report_free(&report);
    lk_free(net);
    lk_free(other);
    lk_free(untouched);
}

/* ---- what is refused ------------------------------------------------------------------------ */

static const char *misspelt(const char *name)
{
    return strcmp(name, "layers.2.weight") == 0 ? "layers.2.wieght" : name;
}

static const char *other_name(const char *name)
{
    return strcmp(name, "layers.2.bias") == 0 ? "other.bias" : name;
}

Test(safetensors_module, refused)
{
    Module *net = seeded_net(0, 5), *other = seeded_net(1, 5),
           *untouched = lk_deepcopy(other, NULL);
    Module *wider = seeded_net(1, 7);
    Error err = { 0 };
    LoadReport report = { 0 };
    const char *path = save_renamed(net, misspelt);
    check(!lk_load_module_mapped(other, path, NULL, &report, &err));
    check_error(&err, LK_EVALUE, "lk_load_module_mapped: ");
    check_error(&err, LK_EVALUE,
                "1 missing (layers.2.weight), 1 unexpected (layers.2.wieght; nearest: ");
    check_error(&err, LK_EVALUE, "; nearest: \"layers.2.weight\", ");
    check(has_name(&report.unexpected, "layers.2.wieght") &&
          has_name(&report.missing, "layers.2.weight"));
    check(same_values(other, untouched));
    lk_load_report_free(&report);
    /* takes what fits */
    check(lk_load_module_mapped(other, path, &(LoadOptions){ .lax = true }, NULL, NULL));
    check_equal(lk_param_at(other, "layers.0.weight", NULL),
                lk_param_at(net, "layers.0.weight", NULL));
    check_equal(lk_param_at(other, "layers.2.weight", NULL),
                lk_param_at(untouched, "layers.2.weight", NULL));

    err = (Error){ 0 };
    /* but nothing else */
    check(!lk_load_module_mapped(wider, path, &(LoadOptions){ .lax = true }, &report, &err));
    check_error(
        &err, LK_ESHAPE,
        "2 mismatched (layers.0.weight is (5, 6) F32, not (7, 6) F32, layers.0.bias is (5,) ");
    check(report.mismatched.count == 2);
    lk_load_report_free(&report);

    check(lk_module_to(wider, LK_F64, NULL));
    err = (Error){ 0 };
    check(!lk_load_module_mapped(wider, path, NULL, NULL, &err));
    check_error(&err, LK_ESHAPE, "layers.0.weight is (5, 6) F32, not (7, 6) F64");

    static const NameRule rules[] = { { "other.*", "layers.0.*" } };
    path = save_renamed(net, other_name);
    err = (Error){ 0 };
    check(!lk_load_module_mapped(other, path, &(LoadOptions){ .rule_count = 1, .rules = rules },
                                 NULL, &err));
    check_error(&err, LK_EVALUE,
                "both \"layers.0.bias\" and \"other.bias\" are the module's \"layers.0.bias\"");

    err = (Error){ 0 };
    check(!lk_load_module_mapped(NULL, path, NULL, NULL, &err));
    check_error(&err, LK_EVALUE, "the module is NULL");
    err = (Error){ 0 };
    check(!lk_load_module_mapped(net, check_scratch("missing"), NULL, NULL, &err));
    check_error(&err, LK_EIO, "missing: cannot be opened");
    lk_free(net);
    lk_free(other);
    lk_free(wider);
    lk_free(untouched);
}

/* I32 has no Tensor to be a view of. */
Test(safetensors_module, other_dtypes)
{
    static const char header[] =
        "{\"weight\":{\"dtype\":\"I32\",\"shape\":[1,1],\"data_offsets\":[0,4]}}";
    char bytes[8 + sizeof header + 3] = { sizeof header - 1 };
    memcpy(bytes + 8, header, sizeof header - 1);
    Rng rng;
    lk_manual_seed(&rng, 0);
    Module *linear = lk_linear_new(1, 1, false, &rng, NULL);
    Error err = { 0 };
    const char *path = check_write("file", bytes, sizeof bytes);
    check(!lk_load_module_mapped(linear, path, NULL, NULL, &err));
    check_error(&err, LK_ESHAPE, "1 mismatched (weight is (1, 1) I32, not (1, 1) F32)");
    lk_free(linear);
}

Test(safetensors_module, out_of_memory)
{
    check_alloc_begin();
    static const NameRule rules[] = { { "head*", NULL } };
    static const char *const optional[] = { "layers.4.*" };
    const LoadOptions options = {
        .rule_count = 1, .rules = rules, .optional_count = 1, .optional = optional
    };
    Module *net = seeded_net(0, 5), *other = seeded_net(1, 5),
           *untouched = lk_deepcopy(other, NULL);
    const char *path = save_renamed(net, prefixed);
    int64_t live = check_alloc_live(), n = 0;
    for (bool failed = true; failed; n++) {
        Error err = { 0 };
        LoadReport report = { 0 };
        check_fail_after(n);
        bool ok = lk_load_module_mapped(other, path, &options, &report, &err);
        failed = check_alloc_failed() > 0;
        check_fail_after(-1);
        lk_load_report_free(&report);
        check(ok == !failed && err.code == (failed ? LK_EMEMORY : LK_OK), "%s", err.message);
        check(!failed || (same_values(other, untouched) && check_alloc_live() == live));
    }
    check(n > 10);
    lk_free(net);
    lk_free(other);
    lk_free(untouched);
    check(check_alloc_live() == 0);
}
