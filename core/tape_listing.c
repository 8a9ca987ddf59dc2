/* tape_listing.c - finds the records and leaves of a tape, and names them. core/tape_print.c and
 * core/tape_dot.c show them. */
#include "core/tape_listing.h"

/* ---- records and leaves --------------------------------------------------------------------- */

int lk__record_number(const TapeListing *l, const Tensor *x)
{
    int i = x->node ? l->records : 0; /* from the newest: inputs are mostly recent */
    while (i > 0 && l->record[i - 1] != x->node) i--;
    return i;
}

int lk__leaf_number(const TapeListing *l, const Tensor *x)
{
    int i = 0;
    while (i < l->leaves && l->leaf[i] != x) i++;
    return i + 1;
}

static void find_leaves(TapeListing *l)
{
    for (int i = 0; i < l->records; i++)
        for (int k = 0; k < l->record[i]->inputs; k++) {
            const Tensor *x = l->record[i]->in[k];
            if (!x || lk__record_number(l, x)) continue;
            int number = lk__leaf_number(l, x);
            l->leaf[number - 1] = x;
            if (number > l->leaves) l->leaves = number;
        }
}

bool lk__listing_begin(TapeListing *l, Tape *t)
{
    *l = (TapeListing){ .t = t };
    size_t inputs = 0, outputs = 0;
    for (const Node *n = t->last; n; n = n->prev, outputs++) inputs += (size_t)n->inputs;
    size_t pointers = 2 * (inputs + outputs);
    const void **room = lk__tape_temporary(t, pointers * sizeof *room, &l->memory);
    if (!room) return false;
    l->records = (int)outputs;
    l->record = (const Node **)room;
    l->leaf = (const Tensor **)(room + outputs);
    l->saved = (const Storage **)(room + outputs + inputs);
    for (const Node *n = t->last; n; n = n->prev) l->record[--outputs] = n;
    find_leaves(l);
    return true;
}

void lk__listing_end(TapeListing *l) { lk__tape_release_temporary(l->t, l->memory); }

/* ---- labels --------------------------------------------------------------------------------- */

/* Returns a name without the path of the place that reads it. */
static const char *inside(const char *name, const TapePlace *place)
{
    size_t n = place ? strlen(place->path) : 0;
    return n && strncmp(name, place->path, n) == 0 && name[n] == '.' ? name + n + 1 : name;
}

/* Counts the leaves up to x that have the same name, or like it have none. */
static int namesakes(const TapeListing *l, const Tensor *x, const char *name)
{
    int count = 0, number = lk__leaf_number(l, x);
    for (int i = 0; i < number; i++) {
        const char *other = lk__name_of(l->t, l->leaf[i]);
        count += name && other ? strcmp(name, other) == 0 : !name && !other;
    }
    return count;
}

void lk__label(const TapeListing *l, const Tensor *x, const TapePlace *place,
               char text[LK_LABEL_TEXT])
{
    const char *name = lk__name_of(l->t, x);
    int number = lk__record_number(l, x), same = number ? 1 : namesakes(l, x, name);
    if (!name) snprintf(text, LK_LABEL_TEXT, number ? "%d" : "leaf%d", number ? number : same);
    else if (same < 2) snprintf(text, LK_LABEL_TEXT, "%s", inside(name, place));
    else snprintf(text, LK_LABEL_TEXT, "%s#%d", inside(name, place), same);
}

const char *lk__leaf_kind(const Tensor *x)
{
    if (lk__is_gone(x)) return "stale";
    if (x->is_parameter) return x->requires_grad ? "parameter" : "frozen";
    return x->requires_grad ? "leaf" : "constant";
}

void lk__place_text(const TapePlace *place, char text[LK_LABEL_TEXT])
{
    *text = '\0';
    if (place)
        snprintf(text, LK_LABEL_TEXT, *place->path ? "%s (%s)" : "%s(%s)", place->path,
                 place->kind);
}

/* ---- memory --------------------------------------------------------------------------------- */

/* Adds the storages that the backward of n reads and that lie in the tape's memory to the first
 * `count` of l->saved, each once; returns the new count. */
static int collect_saved(const TapeListing *l, const Node *n, int count)
{
    const ArenaMark beginning = { l->t->arena.first, 0 };
    unsigned needs = 0;
    for (int i = 0; i < n->inputs; i++)
        if (lk__is_wanted(n, i)) needs |= lk__needs(n->op, i);
    for (int i = 0; i <= n->inputs; i++) {
        bool is_out = i == n->inputs;
        const Tensor *x = is_out ? n->out : n->in[i];
        if (!x || lk__is_gone(x) || !(needs & (is_out ? (unsigned)LK_OUT : lk__in_bit(i))))
            continue;
        if (!lk__arena_since(&l->t->arena, beginning, x->storage->data)) continue;
        int k = 0;
        while (k < count && l->saved[k] != x->storage) k++;
        l->saved[k] = x->storage;
        if (k == count) count++;
    }
    return count;
}

static size_t sum_saved(const TapeListing *l, int count)
{
    size_t bytes = 0;
    for (int k = 0; k < count; k++) bytes += l->saved[k]->bytes;
    return bytes;
}

size_t lk__saved_bytes(const TapeListing *l, const Node *n)
{
    return sum_saved(l, collect_saved(l, n, 0));
}

size_t lk__saved_bytes_of_all(const TapeListing *l)
{
    int count = 0;
    for (int i = 0; i < l->records; i++) count = collect_saved(l, l->record[i], count);
    return sum_saved(l, count);
}

/* ---- values --------------------------------------------------------------------------------- */

bool lk__values_text(const Tensor *x, int indent, char text[LK_VALUES_TEXT])
{
    *text = '\0';
    if (!x || lk__is_gone(x) || lk__elements(x) > LK_VALUES_SHOWN) return false;
    lk__elements_text(x, indent, text, LK_VALUES_TEXT);
    return true;
}
