/* module_list.h - torch.nn.ModuleList: modules by number, without a forward of its own. A module
 * that only needs a list as a field has LK_CHILDREN (nn/module_type.h). */
#ifndef LK_MODULE_LIST_H
#define LK_MODULE_LIST_H

#include "nn/module.h"

typedef struct ModuleList {
    Module base;
    ModuleArray modules; /* named "0", "1", … */
} ModuleList;
LK_MODULE_TYPE(ModuleList, lk_module_list_type, lk_as_module_list);

/* nn.ModuleList([a, b, c]): lk_module_list_new(LK_MODULES(a, b, c), &err), LK_MODULES of
 * nn/sequential.h. Consumes all modules; a NULL among them is an error. */
LK_API Module *lk_module_list_new(int count, Module *const *modules, Error *err);
LK_API int lk_module_list_len(const Module *list); /* 0: not a ModuleList */
/* list[i], borrowed; negative i counts from the end. NULL: out of range, or not a ModuleList. */
LK_API Module *lk_module_list_at(Module *list, int i, Error *err);

#endif
