/* tape_notes.c - what is noted about a tape for those who read it: names of tensors, and places of
 * modules. core/tape_print.c shows it. */
#include "core/tape_print.h"

#include <string.h>

#include "core/tape_parts.h"

bool lk_tape_annotate(Tape *t, bool on)
{
    if (!t) return false;
    bool before = t->notes.on;
    t->notes.on = on;
    return before;
}

/* Takes memory of the tape that no lk_tape_release gives back. */
static void *pinned(Tape *t, size_t bytes)
{
    t->pins++;
    return lk_tape_alloc(t, bytes);
}

Tensor *lk_tape_name(Tape *t, Tensor *x, const char *name)
{
    if (!t || !x || !name) return x;
    if (!lk_check_operands(t, "lk_tape_name", 1, &x)) return NULL;
    const char *known = lk__name_of(t, x);
    if (known && strcmp(known, name) == 0) return x;
    size_t bytes = strlen(name) + 1;
    TensorName *note = pinned(t, sizeof *note + bytes);
    if (!note) return NULL;
    *note = (TensorName){ .older = t->notes.names, .of = x };
    memcpy(note->text, name, bytes);
    t->notes.names = note;
    return x;
}

const char *lk__name_of(const Tape *t, const Tensor *x)
{
    const TensorName *n = t->notes.names;
    while (n && n->of != x) n = n->older;
    return n ? n->text : NULL;
}

void lk__note_place(Tape *t, const TapeScope *scope, int64_t first)
{
    char path[sizeof t->error.message];
    size_t bytes = scope->path(scope, path, sizeof path) + 1;
    TapePlace *note = pinned(t, sizeof *note + bytes);
    if (!note) return;
    *note = (TapePlace){ t->notes.places, first, t->headers.next_serial, scope->kind };
    memcpy(note->path, path, bytes);
    t->notes.places = note;
}

const TapePlace *lk__place_of(const Tape *t, const Tensor *x)
{
    const TapePlace *innermost = NULL;
    for (const TapePlace *p = t->notes.places; p; p = p->older)
        if (x->tape == t && x->serial >= p->first && x->serial < p->end) innermost = p;
    return innermost;
}
