/* optimizer_file.c - saves and loads the state of an optimizer. data/optimizer_tensors.c knows the
 * names. */
#include "data/optimizer_file.h"

#include <string.h>

#include "data/optimizer_tensors.h"
#include "data/safetensors_parts.h"

static const char KIND[] = "optimizer"; /* in the metadata */

static bool check_arguments(const char *caller, const Optimizer *opt, const Module *m,
                            const char *path, Error *err)
{
    const char *missing = NULL;
    if (!path) missing = "path";
    if (!m) missing = "module";
    if (!opt) missing = "optimizer";
    return !missing || lk_error_set(err, LK_EVALUE, "%s: the %s is NULL", caller, missing);
}

bool lk_save_optimizer(Optimizer *opt, Module *m, const char *path, Error *err)
{
    const char *caller = "lk_save_optimizer";
    if (!check_arguments(caller, opt, m, path, err)) return false;
    const FileReport report = { caller, path, err, 0 };
    Error reason = { 0 };
    StateDict *state = lk_state_dict_empty_new(err);
    bool ok = state && (lk__optimizer_tensors_add(state, opt, m, &reason) ||
                        lk__file_fail(&report, reason.code, "%s", reason.message));
    ok = ok && lk_save_safetensors(state, LK_METADATA({ KIND, opt->type->name }), path, err);
    lk_state_dict_free(state);
    return ok;
}

static bool check_kind(const SafeTensors *file, const Optimizer *opt, const FileReport *report)
{
    const char *kind = lk_safetensors_metadata(file, KIND);
    if (!kind)
        return lk__file_fail(report, LK_EVALUE, "its metadata names no optimizer, so it has none");
    return strcmp(kind, opt->type->name) == 0 ||
           lk__file_fail(report, LK_EVALUE, "is the state of %.60s, and the optimizer is %s", kind,
                         opt->type->name);
}

/* Refuses a tensor that belongs to no parameter. */
static bool check_names(const StateDict *state, Optimizer *opt, Module *m,
                        const FileReport *report)
{
    for (int i = 0; i < state->count; i++)
        if (!lk__optimizer_tensors_has(opt, m, state->entries[i].name))
            return lk__file_fail(report, LK_EVALUE,
                                 "has %.200s, and the optimizer has no such parameter",
                                 state->entries[i].name);
    return true;
}

bool lk_load_optimizer(Optimizer *opt, Module *m, const char *path, Error *err)
{
    const char *caller = "lk_load_optimizer";
    if (!check_arguments(caller, opt, m, path, err)) return false;
    const FileReport report = { caller, path, err, 0 };
    Error reason = { 0 };
    int widened = 0;
    SafeTensors *file = lk__safetensors_open_for(caller, path, err);
    bool ok = file && check_kind(file, opt, &report);
    StateDict *state = ok ? lk__safetensors_all_new(file, &widened, err) : NULL;
    ok = state && check_names(state, opt, m, &report) &&
         (lk__optimizer_tensors_set(state, opt, m, &reason) ||
          lk__file_fail(&report, reason.code, "%s", reason.message));
    lk_state_dict_free(state);
    lk_safetensors_close(file);
    return ok;
}
