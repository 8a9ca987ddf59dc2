/* table.c - whether a type's table of fields can be right. LK_FIELD_ in nn/module_type.h checks
 * the part that the C compiler can see. */
#include <string.h>

#include "nn/fields.h"

const Field lk__base_fields[] = {
    { LK_FIELD_CHILD, "parametrizations", offsetof(Module, parametrizations) },
};

static size_t size_of(FieldKind kind)
{
    static const size_t sizes[] = {
        /* clang-format off */
        [LK_FIELD_PARAM] = sizeof(Tensor *),       [LK_FIELD_CHILD] = sizeof(Module *),
        [LK_FIELD_CHILDREN] = sizeof(ModuleArray), [LK_FIELD_ITEMS] = sizeof(ModuleArray),
        [LK_FIELD_LISTS] = sizeof(ModuleArray),    [LK_FIELD_BUFFER] = sizeof(Tensor *),
        [LK_FIELD_NON_PERSISTENT] = sizeof(Tensor *), [LK_FIELD_INT] = sizeof(int64_t),
        [LK_FIELD_DOUBLE] = sizeof(double),        [LK_FIELD_BOOL] = sizeof(bool),
        [LK_FIELD_SIZES] = sizeof(ModuleSizes),
        /* clang-format on */
    };
    return sizes[kind];
}

static bool is_number(const char *name) { return name[strspn(name, "0123456789")] == '\0'; }

/* Checks a field by itself; it is in the table of `type`. */
static bool check_field(const ModuleType *type, const Field *f, const char *function, Error *err)
{
    const int i = (int)(f - type->fields);
    const char *owner = type->name, *base = lk__base_fields->name;
    if ((unsigned)f->kind > LK_FIELD_SIZES || !f->name)
        return lk_error_set(err, LK_EVALUE,
                            "%s: field %d of %s is none; a table is written as "
                            "LK_FIELDS(…), or ends with LK_END",
                            function, i, owner);
    if (*f->name == '\0' || strchr(f->name, '.') || strcmp(f->name, base) == 0)
        return lk_error_set(err, LK_EVALUE,
                            "%s: field %d of %s is called \"%.80s\"; a name is "
                            "not empty, has no dot, and \"%s\" is every module's own",
                            function, i, owner, f->name, base);
    size_t end = f->offset + size_of(f->kind);
    if (f->offset < sizeof(Module) || end < f->offset || end > type->size)
        return lk_error_set(err, LK_EVALUE,
                            "%s: field \"%.80s\" of %s lies at byte %zu, and the "
                            "struct has room from %zu to %zu; is the table another struct's?",
                            function, f->name, owner, f->offset, sizeof(Module), type->size);
    return true;
}

static bool overlap(const Field *a, const Field *b)
{
    return a->offset < b->offset + size_of(b->kind) && b->offset < a->offset + size_of(a->kind);
}

/* Whether b has a name that an item of a has too, where a is an LK_ITEMS. */
static bool has_names_of(const Field *a, const Field *b)
{
    return a->kind == LK_FIELD_ITEMS && (b->kind == LK_FIELD_ITEMS || is_number(b->name));
}

/* Compares two fields of a table, `a` before `b`. */
static bool check_pair(const ModuleType *type, const Field *a, const Field *b,
                       const char *function, Error *err)
{
    const char *owner = type->name;
    const int i = (int)(a - type->fields), j = (int)(b - type->fields);
    if (strcmp(a->name, b->name) == 0)
        return lk_error_set(err, LK_EVALUE, "%s: fields %d and %d of %s are both called \"%.80s\"",
                            function, i, j, owner, a->name);
    if (overlap(a, b))
        return lk_error_set(err, LK_EVALUE,
                            "%s: fields \"%.80s\" and \"%.80s\" of %s lie at the "
                            "same place",
                            function, a->name, b->name, owner);
    const Field *items = has_names_of(b, a) ? b : NULL;
    if (has_names_of(a, b)) items = a;
    if (items)
        return lk_error_set(err, LK_EVALUE,
                            "%s: fields \"%.80s\" and \"%.80s\" of %s both have "
                            "the names \"0\", \"1\", …; LK_CHILDREN calls its modules \"%.80s.0\"",
                            function, a->name, b->name, owner, items->name);
    return true;
}

bool lk__check_fields(const ModuleType *type, const char *function, Error *err)
{
    for (const Field *f = type->fields; f && f->kind != LK_FIELD_END; f++)
        if (!check_field(type, f, function, err)) return false;
    return true;
}

bool lk__check_table(const ModuleType *type, const char *function, Error *err)
{
    if (!lk__check_fields(type, function, err)) return false;
    for (const Field *f = type->fields; f && f->kind != LK_FIELD_END; f++)
        for (const Field *before = type->fields; before < f; before++)
            if (!check_pair(type, before, f, function, err)) return false;
    return true;
}

/* Several threads may call a module for the first time: all of them come to the same result. */
bool lk__is_checked(Module *m)
{
    if (__atomic_load_n(&m->checked, __ATOMIC_RELAXED)) return true;
    const bool right = lk__check_table(m->type, NULL, NULL);
    if (right) __atomic_store_n(&m->checked, true, __ATOMIC_RELAXED);
    return right;
}
