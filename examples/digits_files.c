/* digits_files.c - saving and loading for digit9 and weak_digits; the format itself: data/safetensors.h. */
#include "examples/digits_files.h"

#include <string.h>

#include "data/safetensors.h"
#include "examples/cli.h"

/* The adapter alone: a few thousand numbers beside millions. */
static StateDict *adapter_of(Module *model, Error *err)
{
    StateDict *state = lk_state_dict_empty_new(err);
    for (ParamIter it = lk_params(model); state && lk_params_next(&it);) {
        if (!strstr(it.name, "lora_")) continue;
        if (lk_state_dict_add(state, it.name, lk_tensor_retain(it.tensor), err)) continue;
        lk_state_dict_free(state);
        return NULL;
    }
    return state;
}

bool digits_save(Module *model, const StateDict *originals, const char *path, Error *err)
{
    char adapter_path[CLI_PATH_MAX];
    if (snprintf(adapter_path, sizeof adapter_path, "%s.lora", path) >= (int)sizeof adapter_path)
        return lk_error_set(err, LK_EIO, "--save: the name of the file is too long");
    const Metadata *metadata = LK_METADATA({ "format", "pt" });
    StateDict *adapter = adapter_of(model, err);
    bool ok = adapter && lk_save_safetensors(originals, metadata, path, err) &&
              lk_save_safetensors(adapter, metadata, adapter_path, err);
    lk_state_dict_free(adapter);
    if (ok) printf("Saved the network to %s, the adapter to %s\n", path, adapter_path);
    return ok;
}

bool digits_load(Module *model, const char *path, Error *err)
{
    if (!lk_load_module(model, path, true, err)) return false;
    printf("Loaded the network from %s: the first training is left out\n", path);
    return true;
}
