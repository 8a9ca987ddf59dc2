/* optimizer_tensors.c - names and checks of an optimizer's state in a dictionary. */
#include "data/optimizer_tensors.h"

#include <stdio.h>
#include <string.h>

enum { KEY_MAX = LK_NAME_MAX + 64 };

/* Finds the name of a parameter. Its state is named after it. */
static bool find_name(Module *m, const OptimizerIter *it, char name[LK_NAME_MAX], Error *err)
{
    for (ParamIter p = lk_params(m); lk_params_next(&p);)
        if (p.tensor == it->param) {
            snprintf(name, LK_NAME_MAX, "%s", p.name);
            return true;
        }
    return lk_error_set(err, LK_EVALUE, "parameter %d of the %s is none of the module's",
                        it->index, it->group->type->name);
}

static const char *moment_key(const OptimizerIter *it, const char *name, int k, char key[KEY_MAX])
{
    const char *moment = it->group->type->moment_name[k];
    snprintf(key, KEY_MAX, "%s.%s", name, moment ? moment : "moment");
    return key;
}

bool lk__optimizer_tensors_add(StateDict *state, Optimizer *opt, Module *m, Error *err)
{
    char name[LK_NAME_MAX], key[KEY_MAX];
    for (OptimizerIter it = lk_optimizer_states(opt); lk_optimizer_states_next(&it);) {
        if (!find_name(m, &it, name, err)) return false;
        snprintf(key, sizeof key, "%s.step", name);
        Tensor *step = lk_tensor_from_new(LK_I64, LK_SHAPE(1, 1), &it.state->step, err);
        if (!lk_state_dict_add(state, key, step, err)) return false;
        for (int k = 0; k < LK_MOMENTS; k++) {
            Tensor *moment = it.state->moment[k];
            if (moment && !lk_state_dict_add(state, moment_key(&it, name, k, key),
                                             lk_tensor_retain(moment), err))
                return false;
        }
    }
    return true;
}

/* ---- taking it back ------------------------------------------------------------------------- */

/* The state of one parameter in the dictionary, borrowed. */
typedef struct Found {
    int64_t step;
    Tensor *moment[LK_MOMENTS];
} Found;

static bool find_step(const StateDict *state, const char *name, Found *found, Error *err)
{
    char key[KEY_MAX];
    snprintf(key, sizeof key, "%s.step", name);
    const Tensor *step = lk_state_dict_get(state, key);
    if (!step) return lk_error_set(err, LK_EVALUE, "there is no %s", key);
    if (step->dtype != LK_I64 || lk_numel(step) != 1 || *(const int64_t *)step->data < 0)
        return lk_error_set(err, LK_ESHAPE, "%s is no number of steps", key);
    found->step = *(const int64_t *)step->data;
    return true;
}

/* Finds and checks the state of one parameter: what lk_optimizer_set_moments will take. */
static bool find_state(const StateDict *state, const OptimizerIter *it, const char *name,
                       Found *found, Error *err)
{
    char key[KEY_MAX], got[LK_SHAPE_TEXT], expected[LK_SHAPE_TEXT];
    *found = (Found){ 0 };
    if (!find_step(state, name, found, err)) return false;
    for (int k = 0; k < LK_MOMENTS; k++) {
        if (!it->group->type->moment_name[k]) continue;
        const Tensor *p = it->param;
        Tensor *moment = lk_state_dict_get(state, moment_key(it, name, k, key));
        const bool needed = found->step > 0 && k < it->group->type->moments(it->group);
        if (!moment && needed) return lk_error_set(err, LK_EVALUE, "there is no %s", key);
        if (moment && (moment->dtype != p->dtype || !lk_same_shape(moment, p)))
            return lk_error_set(err, LK_ESHAPE, "%s is %s %s, and its parameter is %s %s", key,
                                lk_dtype_name(moment->dtype), lk_shape_text(moment, got),
                                lk_dtype_name(p->dtype), lk_shape_text(p, expected));
        found->moment[k] = moment;
    }
    return true;
}

bool lk__optimizer_tensors_set(const StateDict *state, Optimizer *opt, Module *m, Error *err)
{
    char name[LK_NAME_MAX];
    Found found;
    for (OptimizerIter it = lk_optimizer_states(opt); lk_optimizer_states_next(&it);) {
        if (!find_name(m, &it, name, err) || !find_state(state, &it, name, &found, err))
            return false;
    }
    /* Nothing fails from here on. */
    for (OptimizerIter it = lk_optimizer_states(opt); lk_optimizer_states_next(&it);) {
        if (!find_name(m, &it, name, err) || !find_state(state, &it, name, &found, err))
            return false;
        for (int k = 0; k < LK_MOMENTS; k++)
            if (found.moment[k]) lk_tensor_retain(found.moment[k]);
        if (!lk_optimizer_set_moments(&it, found.step, found.moment, err)) return false;
    }
    return true;
}

bool lk__optimizer_tensors_has(Optimizer *opt, Module *m, const char *name)
{
    char param[LK_NAME_MAX], key[KEY_MAX];
    for (OptimizerIter it = lk_optimizer_states(opt); lk_optimizer_states_next(&it);) {
        if (!find_name(m, &it, param, NULL)) continue;
        snprintf(key, sizeof key, "%s.step", param);
        if (strcmp(name, key) == 0) return true;
        for (int k = 0; k < LK_MOMENTS; k++)
            if (strcmp(name, moment_key(&it, param, k, key)) == 0) return true;
    }
    return false;
}
