/* no_grad.c - values that are kept in no-grad mode, until something that they were computed from
 * changes. Used by nn/parametrize.c and nn/low_rank.c. */
#include "nn/no_grad.h"

#include "core/hash.h"
#include "core/internal.h"
#include "nn/fields.h"

uint64_t lk__tensor_state(const Tensor *x, uint64_t start)
{
    uint64_t hash = start ^ LK_HASH_START;
    if (!x) return lk_hash(hash, &x, sizeof x);
    const Storage *storage = x->storage;
    hash = lk_hash(hash, &storage, sizeof storage);
    hash = lk_hash(hash, &storage->version, sizeof storage->version);
    return lk_hash(hash, &x->requires_grad, sizeof x->requires_grad);
}

/* Hashes the struct after the base, which holds the settings and the addresses of tensors and
 * children. The base itself is left out, because its number of owners is no part of the state. */
uint64_t lk__module_state(const Module *m, uint64_t start)
{
    uint64_t hash = lk_hash(start ^ LK_HASH_START, &m->type, sizeof m->type);
    hash = lk_hash(hash, &m->training, sizeof m->training);
    hash = lk_hash(hash, m + 1, m->type->size - sizeof *m);
    for (const Field *f = lk__first_field(m); f; f = lk__next_field(f))
        if (lk__holds_tensor(f)) hash = lk__tensor_state(*(Tensor **)lk__member(m, f), hash);
    for (ChildIter it = lk_children(m); lk_children_next(&it);)
        hash = lk__module_state(it.module, hash);
    return hash;
}

Tensor *lk__no_grad_value(Tape *t, Tensor **value, uint64_t *value_state, uint64_t state,
                          ComputeFn *compute, const void *of)
{
    if (*value && *value_state == state) return *value;
    TapeMark mark = lk_tape_mark(t);
    Tensor *now = compute(t, of);
    if (!now || now->refs > 0) return now; /* failed, or the value is a parameter itself */
    Error err = { 0 };
    if (*value && (!lk_same_shape(*value, now) || (*value)->dtype != now->dtype)) {
        lk_tensor_free(*value);
        *value = NULL;
    }
    if (!*value) *value = lk_tensor_new(now->dtype, now->ndim, now->shape, &err);
    if (!*value) return lk_fail(t, err.code, "%s", err.message);
    lk__copy_fitting(*value, now);
    *value_state = state;
    lk_tape_release(t, mark, NULL);
    return *value;
}
