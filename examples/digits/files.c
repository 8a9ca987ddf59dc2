/* files.c - base and adapter in two files, so that one base can have many adapters. Format:
 * data/safetensors.h.
 *
 * The adapter's file is a thousandth of the base's, and names its tensors as the model does:
 * linear1.parametrizations.weight.0.lora_A. Its metadata hold alpha, which no tensor has. */
#include "examples/digits/files.h"

#include <string.h>

#include "core/decimal.h"
#include "data/path.h"
#include "data/safetensors.h"
#include "examples/shared/results.h"

enum { NUMBER_TEXT = 32 };

/* Makes net.lora.safetensors of net.safetensors. A path with another ending gets ".lora" behind
 * it. */
static bool adapter_path(const char *path, char text[LK_PATH_MAX], Error *err)
{
    static const char ending[] = ".safetensors";
    size_t length = strlen(path), stem = length;
    if (length > strlen(ending) && strcmp(path + length - strlen(ending), ending) == 0)
        stem -= strlen(ending);
    int written = snprintf(text, LK_PATH_MAX, "%.*s.lora%s", (int)stem, path, path + stem);
    return (written > 0 && written < LK_PATH_MAX) ||
           lk_error_set(err, LK_EIO, "the name of the file to save is too long");
}

bool digits_can_save(const char *path, Error *err)
{
    char adapter[LK_PATH_MAX];
    return adapter_path(path, adapter, err) && results_writable(path, err) &&
           results_writable(adapter, err);
}

/* ---- the base ------------------------------------------------------------------------------- */

bool digits_save_base(Module *model, const char *path, Error *err)
{
    if (!lk_save_module(model, path, err)) return false;
    printf("Base saved in %s\n", path);
    return true;
}

bool digits_load_base(Module *model, const char *path, Error *err)
{
    if (!lk_load_module(model, path, true, err)) return false;
    printf("Base loaded from %s\n", path);
    return true;
}

/* ---- the adapter ---------------------------------------------------------------------------- */

static bool is_of_adapter(const char *name) { return strstr(name, ".lora_") != NULL; }

/* Collects the model's own lora_A and lora_B by name. */
static StateDict *adapter_state(Module *model, Error *err)
{
    StateDict *state = lk_state_dict_empty_new(err);
    bool ok = state;
    for (ParamIter it = lk_params(model); ok && lk_params_next(&it);)
        if (is_of_adapter(it.name))
            ok = lk_state_dict_add(state, it.name, lk_retain(it.tensor), err);
    if (ok) return state;
    lk_state_dict_free(state);
    return NULL;
}

/* Writes alpha with so many digits that no two doubles have the same text. */
static const char *alpha_text(Module *model, char text[NUMBER_TEXT])
{
    AdapterIter it = lk_adapters(model);
    lk_snprintf(text, NUMBER_TEXT, "%.17g", lk_adapters_next(&it) ? it.lora->alpha : 0.0);
    return text;
}

bool digits_save_adapter(Module *model, const char *path, Error *err)
{
    char file[LK_PATH_MAX], alpha[NUMBER_TEXT];
    StateDict *state = adapter_path(path, file, err) ? adapter_state(model, err) : NULL;
    const Metadata *metadata =
        LK_METADATA({ "format", "pt" }, { "alpha", alpha_text(model, alpha) });
    bool ok = state && lk_save_safetensors(state, metadata, file, err);
    lk_state_dict_free(state);
    if (ok) printf("Adapter saved in %s\n", file);
    return ok;
}

/* Whether the file's adapter has the model's alpha. The tensors alone do not tell, since alpha
 * only scales them. */
static bool same_alpha(Module *model, const char *file, Error *err)
{
    char here[NUMBER_TEXT];
    SafeTensors *opened = lk_safetensors_open(file, err);
    if (!opened) return false;
    const char *there = lk_safetensors_metadata(opened, "alpha");
    bool same = there && strcmp(there, alpha_text(model, here)) == 0;
    if (!same)
        lk_error_set(err, LK_EVALUE,
                     "%s: its adapter was trained with alpha %.40s, this run has --alpha %s", file,
                     there ? there : "unknown", here);
    lk_safetensors_close(opened);
    return same;
}

/* Whether the file has exactly the adapter's names. lk_load_state_dict cannot check that: if it
 * were strict, it would demand the base too. */
static bool same_names(Module *model, const StateDict *state, const char *file, Error *err)
{
    int expected = 0;
    for (ParamIter it = lk_params(model); lk_params_next(&it);) {
        if (!is_of_adapter(it.name)) continue;
        expected++;
        if (!lk_state_dict_get(state, it.name))
            return lk_error_set(err, LK_EVALUE, "%s: there is no %s", file, it.name);
    }
    return state->count == expected ||
           lk_error_set(err, LK_EVALUE, "%s: it has %d tensors, the adapter %d", file,
                        state->count, expected);
}

bool digits_load_adapter(Module *model, const char *path, Error *err)
{
    char file[LK_PATH_MAX];
    if (!adapter_path(path, file, err) || !same_alpha(model, file, err)) return false;
    StateDict *state = lk_load_safetensors(file, err);
    bool ok = state && same_names(model, state, file, err) &&
              lk_load_state_dict(model, state, false, err);
    lk_state_dict_free(state);
    if (ok) printf("Adapter loaded from %s\n", file);
    return ok;
}
