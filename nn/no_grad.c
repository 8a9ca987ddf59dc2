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
 * children. The base itself is left out, because its number of owners is no part of the state. So
 * are the members that keep values, because another thread may be writing them. */
uint64_t lk__module_state(const Module *m, uint64_t start)
{
    const size_t end = m->type->kept ? m->type->kept : m->type->size;
    uint64_t hash = lk_hash(start ^ LK_HASH_START, &m->type, sizeof m->type);
    hash = lk_hash(hash, &m->training, sizeof m->training);
    hash = lk_hash(hash, m + 1, end - sizeof *m);
    for (const Field *f = lk__first_field(m); f; f = lk__next_field(f))
        if (lk__holds_tensor(f) && f->offset < end)
            hash = lk__tensor_state(*(Tensor **)lk__member(m, f), hash);
    for (ChildIter it = lk_children(m); lk_children_next(&it);)
        hash = lk__module_state(it.module, hash);
    return hash;
}

/* Two states that no hash has: there is no value; a thread is writing it. */
enum { EMPTY, BEING_WRITTEN, STATES };

/* Makes *value a copy of x. False, with *value NULL, when memory is short. */
static bool keep(Tensor **value, const Tensor *x, Error *err)
{
    if (*value && (!lk_same_shape(*value, x) || (*value)->dtype != x->dtype)) {
        lk_tensor_free(*value);
        *value = NULL;
    }
    if (!*value) *value = lk_tensor_new(x->dtype, x->ndim, x->shape, err);
    if (*value) lk__copy_fitting(*value, x);
    return *value;
}

/* *value_state guards *value. A thread that finds the state which it wants may read the value. A
 * thread that finds another one computes the value, and puts BEING_WRITTEN in its place if it is
 * the first to do so: then *value is its own, until it publishes the new state. Any other thread
 * goes on with what it computed, so no thread waits. */
Tensor *lk__no_grad_value(Tape *t, Tensor **value, uint64_t *value_state, uint64_t state,
                          ComputeFn *compute, const void *of)
{
    if (state < STATES) state += STATES;
    uint64_t found = __atomic_load_n(value_state, __ATOMIC_ACQUIRE);
    if (found == state && *value) return *value;
    TapeMark mark = lk_tape_mark(t);
    Tensor *now = compute(t, of);
    if (!now || now->refs > 0) return now; /* failed, or the value is a parameter itself */
    if (found == BEING_WRITTEN ||
        !__atomic_compare_exchange_n(value_state, &found, (uint64_t)BEING_WRITTEN, false,
                                     __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return now;
    Error err = { 0 };
    const bool kept = keep(value, now, &err);
    __atomic_store_n(value_state, kept ? state : (uint64_t)EMPTY, __ATOMIC_RELEASE);
    if (!kept) return lk_fail(t, err.code, "%s", err.message);
    lk_tape_release(t, mark, NULL);
    return *value;
}
