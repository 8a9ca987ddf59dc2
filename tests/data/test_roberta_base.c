/* test_roberta_base.c - the weights of a model from the hub, under the names that the hub has for
 * them. */
#include "tests/shared/roberta_net.h"

#include "data/roberta_files.h"

/* The base's weights as RobertaModel (bare) or RobertaForSequenceClassification saves them, with
 * what they have beside. */
static const char *save_base(Module *m, bool bare, int extras, const char *const *extra)
{
    static const char prefix[] = "roberta.";
    StateDict *state = lk_state_dict_empty_new(NULL);
    for (ParamIter it = lk_params(m); lk_params_next(&it);) {
        bool base = strncmp(it.name, prefix, strlen(prefix)) == 0;
        if (bare && !base) continue;
        const char *name = it.name + (bare ? strlen(prefix) : 0);
        check(lk_state_dict_add(state, name, lk_tensor_retain(it.tensor), NULL));
    }
    for (int i = 0; i < extras; i++)
        check(lk_state_dict_add(state, extra[i], make_tensor(LK_F32, LK_SHAPE(2), 1, 2), NULL));
    const char *path = check_scratch("model.safetensors");
    check(lk_save_safetensors(state, NULL, path, NULL));
    lk_state_dict_free(state);
    return path;
}

/* Loads, and returns the tensors that were not used and those that stay new. */
static char *output_of_load(Module *m, const char *path)
{
    static char text[4096], names[2][2000];
    Error err = { 0 };
    LoadReport report = { 0 };
    check(lk_roberta_load_base(m, path, &report, &err), "%s", err.message);
    snprintf(text, sizeof text, "Not used of it: %s\n%s%s",
             lk_names_text(&report.ignored, names[0], sizeof names[0]),
             report.missing.count ? "newly initialised: " : "",
             lk_names_text(&report.missing, names[1], sizeof names[1]));
    lk_load_report_free(&report);
    return text;
}

/* The pooler is another head: its weights are left out, and this is said. */
Test(roberta_base, a_pooler_is_ignored_with_a_notice)
{
    static const char *const names[][2] = { { "roberta.pooler.dense.weight",
                                              "roberta.pooler.dense.bias" },
                                            { "pooler.dense.weight", "pooler.dense.bias" } };
    for (int bare = 0; bare < 2; bare++) {
        Module *saved = small_model(false, 0), *m = small_model(false, 0);
        draw(saved, 8);
        const char *text = output_of_load(m, save_base(saved, bare, 2, names[bare]));
        check(strstr(text, "Not used of it: ") && strstr(text, names[bare][0]) &&
                  strstr(text, names[bare][1]),
              "%s", text);
        check(!strstr(text, "newly initialised") == !bare, "%s", text);
        for (ParamIter a = lk_params(m), b = lk_params(saved);
             lk_params_next(&a) && lk_params_next(&b);)
            check(lk_equal(a.tensor, b.tensor) ||
                      (bare && strncmp(a.name, "classifier.", 11) == 0),
                  "%s", a.name);
        lk_free(m);
        lk_free(saved);
    }
}

/* An unknown tensor is refused all the same. */
Test(roberta_base, other_tensors_are_unexpected)
{
    static const char *const names[] = { "roberta.poller.dense.weight" };
    Module *saved = small_model(false, 0);
    Error err = { 0 };
    check(!lk_roberta_load_base(saved, save_base(saved, false, 1, names), NULL, &err));
    check_error(&err, LK_EVALUE, "1 unexpected (roberta.poller.dense.weight");
    lk_free(saved);
}
