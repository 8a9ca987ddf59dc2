/* sequential.c - modules one after the other. */
#include "nn/sequential.h"

static Tensor *sequential_forward(Tape *t, Module *self, Tensor *x)
{
    const ModuleArray *modules = &((Sequential *)self)->modules;
    /* Without gradients each layer's input and temporaries are freed as soon as its output is
     * there. */
    TapeMark mark = lk_tape_mark(t);
    for (int i = 0; i < modules->count && x; i++)
        x = lk_tape_release(t, mark, lk_forward(t, modules->items[i], x));
    return x;
}

const ModuleType lk_sequential_type = {
    LK_CLASS(Sequential),
    .forward = sequential_forward,
    .fields = LK_FIELDS(LK_ITEMS(Sequential, modules)),
};
LK_DOWNCAST(Sequential, lk_sequential_type, lk_as_sequential)

Module *lk_sequential_new(int count, Module *const *modules, Error *err)
{
    ModuleArray array = { NULL, 0 }; /* made first, since it consumes the modules in any case */
    if (!lk_module_array_init(&array, count, modules, err)) return NULL;
    Sequential *s = lk_module_new(&lk_sequential_type, err);
    if (!s) {
        lk_module_array_free(&array);
        return NULL;
    }
    s->modules = array;
    return &s->base;
}

int lk_sequential_len(const Module *sequential)
{
    return sequential && sequential->type == &lk_sequential_type
               ? ((const Sequential *)sequential)->modules.count
               : 0;
}

/* The slot of layers[i]; NULL with the reason in err. */
static Module **slot_at(const char *function, Module *sequential, int i, Error *err)
{
    Sequential *s = lk_as_sequential(sequential);
    if (!s) {
        lk_error_set(err, LK_EVALUE, "%s: not a Sequential but %s", function,
                     sequential ? sequential->type->name : "NULL");
        return NULL;
    }
    int count = s->modules.count, index = i < 0 ? i + count : i;
    if (index < 0 || index >= count) {
        lk_error_set(err, LK_EVALUE, "%s: index %d is out of range for %d modules", function, i,
                     count);
        return NULL;
    }
    return &s->modules.items[index];
}

Module *lk_sequential_at(Module *sequential, int i, Error *err)
{
    Module **slot = slot_at("lk_sequential_at", sequential, i, err);
    return slot ? *slot : NULL;
}

bool lk_sequential_set(Module *sequential, int i, Module *m, Error *err)
{
    return lk_module_set(slot_at("lk_sequential_set", sequential, i, err), m, err);
}
