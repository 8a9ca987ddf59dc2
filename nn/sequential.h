/* sequential.h - torch.nn.Sequential: modules one after the other. */
#ifndef LK_SEQUENTIAL_H
#define LK_SEQUENTIAL_H

#include "nn/module.h"

typedef struct Sequential {
    Module base;
    ModuleArray modules; /* named "0", "1", … */
} Sequential;
LK_MODULE_TYPE(Sequential, lk_sequential_type, lk_as_sequential);

/* nn.Sequential(a, b, c):  lk_sequential_new(LK_MODULES(a, b, c), &err)
 * The array is counted, so that a failed inner constructor (NULL) is an error and not a shorter
 * net. Consumes all modules. C leaves open which argument is made first. So make modules that draw
 * their weights beforehand, one statement each: the numbers must not depend on the compiler. */
#define LK_MODULES(...) LK_LIST(Module *, __VA_ARGS__)
LK_API Module *lk_sequential_new(int count, Module *const *modules, Error *err);

LK_API int lk_sequential_len(const Module *sequential); /* len(layers); 0: not a Sequential */
/* layers[i], borrowed; negative i counts from the end. NULL: out of range, or not a Sequential. */
LK_API Module *lk_sequential_at(Module *sequential, int i, Error *err);
/* layers[i] = m. On a NULL m or a bad i nothing changes and m is freed. */
LK_API LK_MUST_CHECK bool lk_sequential_set(Module *sequential, int i, Module *m, Error *err);

#endif
