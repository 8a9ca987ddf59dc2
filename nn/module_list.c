/* module_list.c - torch.nn.ModuleList. */
#include "nn/module_list.h"

const ModuleType lk_module_list_type = {
    LK_CLASS(ModuleList),
    .fields = LK_FIELDS(LK_ITEMS(ModuleList, modules)),
};
LK_DOWNCAST(ModuleList, lk_module_list_type, lk_as_module_list)

Module *lk_module_list_new(int count, Module *const *modules, Error *err)
{
    ModuleArray array = { NULL, 0 }; /* made first, since it consumes the modules in any case */
    if (!lk_module_array_init(&array, count, modules, err)) return NULL;
    ModuleList *list = lk_module_new(&lk_module_list_type, err);
    if (!list) {
        lk_module_array_free(&array);
        return NULL;
    }
    list->modules = array;
    return &list->base;
}

int lk_module_list_len(const Module *list)
{
    return list && list->type == &lk_module_list_type ? ((const ModuleList *)list)->modules.count
                                                      : 0;
}

Module *lk_module_list_at(Module *list, int i, Error *err)
{
    const ModuleList *l = lk_as_module_list(list);
    const int count = l ? l->modules.count : 0, index = i < 0 ? i + count : i;
    if (l && index >= 0 && index < count) return l->modules.items[index];
    if (l)
        lk_error_set(err, LK_EVALUE, "lk_module_list_at: index %d is out of range for %d modules",
                     i, count);
    else
        lk_error_set(err, LK_EVALUE, "lk_module_list_at: not a ModuleList but %s",
                     list ? list->type->name : "NULL");
    return NULL;
}
