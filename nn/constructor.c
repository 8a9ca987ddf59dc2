/* constructor.c - the steps that constructors of modules share. */
#include "nn/constructor.h"

#include "nn/fields.h"

bool lk__can_draw(const char *function, int count, const NamedSize *sizes, const Rng *rng,
                  Error *err)
{
    char text[200] = "";
    bool ok = true;
    size_t length = 0;
    for (int i = 0; i < count && length < sizeof text; i++) {
        ok = ok && sizes[i].size > 0;
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%s %lld", i ? ", " : "",
                                   sizes[i].name, (long long)sizes[i].size);
    }
    if (!ok) return lk_error_set(err, LK_EVALUE, "%s: %s; all must be positive", function, text);
    return rng ||
           lk_error_set(err, LK_EVALUE,
                        "%s: the generator is NULL; lk_manual_seed(&rng, 0) begins one", function);
}

Module *lk_module_complete(Module *m, bool complete)
{
    if (complete) return m;
    lk_module_free(m);
    return NULL;
}

/* Makes the parameters in the order of the table. */
static bool make_params(Module *m, int count, const ParamShape *shapes, Error *err)
{
    int made = 0;
    for (const Field *f = lk__first_field(m); f && made < count; f = lk__next_field(f)) {
        if (f->kind != LK_FIELD_PARAM) continue;
        Tensor *x = lk_param_new(LK_F32, shapes[made].ndim, shapes[made].shape, err);
        if (!x) return false;
        *(Tensor **)lk__member(m, f) = x;
        made++;
    }
    return made == count ||
           lk_error_set(err, LK_EVALUE,
                        "lk_module_with_params_new: %d shapes, and %s has %d parameters", count,
                        m->type->name, made);
}

void *lk_module_with_params_new(const ModuleType *type, int count, const ParamShape *shapes,
                                Error *err)
{
    if (count > 0 && !shapes) {
        lk_error_set(err, LK_EVALUE, "lk_module_with_params_new: the shapes are NULL");
        return NULL;
    }
    Module *m = lk_module_new(type, err);
    return m ? lk_module_complete(m, make_params(m, count, shapes, err)) : NULL;
}
