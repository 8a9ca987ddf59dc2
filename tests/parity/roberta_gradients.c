/* roberta_gradients - loss, logits and gradients of a RoBERTa classifier with LoRA, for
 * tests/parity/roberta_full.py.
 *
 *     roberta_gradients FOLDER RANK ALPHA
 *
 * Reads config.json, model.safetensors (the names of a model with LoRA on every Linear) and
 * batch.safetensors (ids and labels) from the folder and writes result.safetensors: logits, loss
 * and, under its name, the gradient of every A and B. */
#include <stdlib.h>
#include <string.h>

#include "core/ops.h"
#include "data/roberta_files.h"
#include "data/safetensors.h"
#include "nn/lora_wrap.h"
#include "nn/models/roberta.h"

static Tensor *read_tensor(SafeTensors *file, const char *name, Error *err)
{
    const SafeTensorsEntry *entry = lk_safetensors_find(file, name);
    if (!entry) lk_error_set(err, LK_EFORMAT, "batch.safetensors: no %s", name);
    return entry ? lk_safetensors_read_new(file, entry, err) : NULL;
}

static bool write_result(const char *folder, Module *model, Tensor *logits, Tensor *loss,
                         Error *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/result.safetensors", folder);
    StateDict *result = lk_state_dict_empty_new(err);
    bool ok = result && lk_state_dict_add(result, "logits", lk_clone(logits, err), err) &&
              lk_state_dict_add(result, "loss", lk_clone(loss, err), err);
    for (ParamIter it = lk_params(model); ok && lk_params_next(&it);)
        if (lk_grad(it.tensor))
            ok = lk_state_dict_add(result, it.name, lk_clone(lk_grad(it.tensor), err), err);
    ok = ok && lk_save_safetensors(result, NULL, path, err);
    lk_state_dict_free(result);
    return ok;
}

static bool run(const char *folder, int64_t rank, double alpha, Tape *t, Module **model,
                Error *err)
{
    char path[4096];
    Rng rng;
    RobertaConfig config;
    lk_manual_seed(&rng, 0);
    if (!lk_roberta_config_read(&config, folder, err)) return false;
    *model = lk_roberta_classifier_new(&config, err);
    if (!*model) return false;
    lk_require_grad(*model, "*", false);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    if (lk_wrap_lora(*model, NULL, rank, alpha, &rng, err) < 0) return false;
    if (!lk_load_module_mapped(*model, path, NULL, NULL, err)) return false;
    snprintf(path, sizeof path, "%s/batch.safetensors", folder);
    SafeTensors *batch = lk_safetensors_open(path, err);
    Tensor *ids = batch ? read_tensor(batch, "ids", err) : NULL,
           *labels = ids ? read_tensor(batch, "labels", err) : NULL;
    bool ok = labels;
    if (ok) {
        lk_eval(*model);
        Tensor *logits = lk_roberta_logits(t, *model, ids, NULL),
               *loss = lk_cross_entropy(t, logits, labels);
        ok = lk_backward(t, loss) ||
             lk_error_set(err, lk_tape_error(t)->code, "%s", lk_tape_error(t)->message);
        ok = ok && write_result(folder, *model, logits, loss, err);
    }
    lk_free(labels);
    lk_free(ids);
    lk_safetensors_close(batch);
    return ok;
}

int main(int argc, char **argv)
{
    Error err = { 0 };
    if (argc != 4) {
        fprintf(stderr, "usage: roberta_gradients FOLDER RANK ALPHA\n");
        return 2;
    }
    Module *model = NULL;
    Tape *t = lk_tape_new(&err);
    bool ok =
        t && run(argv[1], strtoll(argv[2], NULL, 10), strtod(argv[3], NULL), t, &model, &err);
    if (!ok) fprintf(stderr, "roberta_gradients: %s\n", err.message);
    lk_tape_free(t);
    lk_free(model);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
