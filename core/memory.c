/* memory.c - the heap behind two replaceable functions, and the arena. */
#include "core/memory.h"

#include <stdlib.h>
#include <string.h>

/* Under AddressSanitizer, memory that an arena took back counts as freed, so that it reports a
 * tensor used after lk_tape_reset. */
#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ /* gcc defines this itself */
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#endif

/* A cache line, and the width of the widest vector register. */
enum { ALIGNMENT = 64 };

static size_t round_up(size_t bytes) { return (bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1); }

static void *default_alloc(size_t bytes) { return aligned_alloc(ALIGNMENT, bytes); }

static AllocFn *heap_alloc = default_alloc;
static FreeFn *heap_free = free;

void lk_set_allocator(AllocFn *alloc, FreeFn *release)
{
    heap_alloc = alloc ? alloc : default_alloc;
    heap_free = release ? release : free;
}

void *lk_mem_alloc(size_t bytes)
{
    size_t rounded = round_up(bytes);
    return rounded < bytes || bytes == 0 ? NULL : heap_alloc(rounded);
}

void *lk_mem_calloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) return NULL;
    void *block = lk_mem_alloc(bytes);
    if (block) memset(block, 0, bytes);
    return block;
}

void lk_mem_free(void *block)
{
    if (block) heap_free(block);
}

/* ---- arena ---------------------------------------------------------------------------------- */

struct Chunk {
    Chunk *next;
    size_t size; /* bytes after the header */
};

/* The smallest chunk holds a toy network's step. Each new one is as large as all before it
 * together, so that n bytes take log n allocations. */
enum { FIRST_CHUNK = 1 << 16, HEADER = ALIGNMENT };

static char *chunk_data(Chunk *c) { return (char *)c + HEADER; }

size_t lk__arena_bytes(const Arena *a)
{
    size_t bytes = 0;
    for (const Chunk *c = a->first; c; c = c->next) bytes += c->size;
    return bytes;
}

static Chunk *chunk_new(size_t size)
{
    Chunk *c = lk_mem_alloc(HEADER + size);
    if (!c) return NULL;
    *c = (Chunk){ NULL, size };
    ASAN_POISON_MEMORY_REGION(chunk_data(c), size);
    return c;
}

/* Marks the bytes between `from` and `to` of a chunk as not handed out: AddressSanitizer reports a
 * read of them. */
static void clear(const Arena *a, Chunk *c, size_t from, size_t to)
{
    if (to <= from) return;
    if (a->fill) {
        ASAN_UNPOISON_MEMORY_REGION(chunk_data(c) + from, to - from);
        memset(chunk_data(c) + from, a->fill, to - from);
    }
    ASAN_POISON_MEMORY_REGION(chunk_data(c) + from, to - from);
}

static void *take(Arena *a, Chunk *c, size_t used, size_t need)
{
    a->current = c;
    a->used = used + need;
    ASAN_UNPOISON_MEMORY_REGION(chunk_data(c) + used, need);
    return chunk_data(c) + used;
}

/* Allocates when the current chunk is full. Not inlined: otherwise every allocation would save the
 * registers that this function uses. */
static __attribute__((noinline)) void *alloc_elsewhere(Arena *a, size_t need)
{
    /* Behind the current chunk there may be others, left over from before a release. */
    Chunk *last = NULL;
    for (Chunk *c = a->current; c; c = c->next) {
        if (c != a->current && c->size >= need) return take(a, c, 0, need);
        last = c;
    }
    size_t size = lk__arena_bytes(a);
    if (size < FIRST_CHUNK) size = FIRST_CHUNK;
    Chunk *c = chunk_new(size > need ? size : need);
    /* memory is short: take no more than is asked for */
    if (!c && size > need) c = chunk_new(need);
    if (!c) return NULL;
    if (a->fill) clear(a, c, 0, c->size);
    if (last) last->next = c;
    else a->first = c;
    return take(a, c, 0, need);
}

void *lk__arena_alloc(Arena *a, size_t bytes)
{
    size_t need = round_up(bytes ? bytes : 1);
    if (need < bytes || need > SIZE_MAX / 4) return NULL;
    Chunk *c = a->current;
    return c && c->size - a->used >= need ? take(a, c, a->used, need) : alloc_elsewhere(a, need);
}

static void free_chunks(Chunk *c)
{
    while (c) {
        Chunk *next = c->next;
        ASAN_UNPOISON_MEMORY_REGION(chunk_data(c), c->size);
        lk_mem_free(c);
        c = next;
    }
}

/* Clears the memory behind the present position, which was handed out up to `end`. */
static void clear_up_to(const Arena *a, ArenaMark end)
{
    for (Chunk *c = a->current; c; c = c->next) {
        clear(a, c, c == a->current ? a->used : 0, c == end.chunk ? end.used : c->size);
        if (c == end.chunk) break;
    }
}

void lk__arena_fill(Arena *a, unsigned char fill)
{
    a->fill = fill;
    for (Chunk *c = a->current; c; c = c->next)
        clear(a, c, c == a->current ? a->used : 0, c->size);
}

void lk__arena_reset(Arena *a)
{
    ArenaMark end = lk__arena_mark(a);
    /* with a fill, the chunks stay, so that reads of unwritten memory find it */
    if (a->first && a->first->next && !a->fill) {
        /* Join the chunks into one. The old ones go first: both at once would double the peak. */
        size_t total = lk__arena_bytes(a);
        free_chunks(a->first);
        a->current = a->first = chunk_new(total); /* NULL is an empty arena: it grows again */
        a->used = 0;
        return;
    }
    a->current = a->first;
    a->used = 0;
    clear_up_to(a, end);
}

void lk__arena_free(Arena *a)
{
    free_chunks(a->first);
    *a = (Arena){ .fill = a->fill };
}

ArenaMark lk__arena_mark(const Arena *a) { return (ArenaMark){ a->current, a->used }; }

static void rewind_to(Arena *a, ArenaMark mark)
{
    a->current = mark.chunk ? mark.chunk : a->first;
    a->used = mark.chunk ? mark.used : 0;
}

void lk__arena_release(Arena *a, ArenaMark mark)
{
    ArenaMark end = lk__arena_mark(a);
    rewind_to(a, mark);
    clear_up_to(a, end);
}

void *lk__arena_keep(Arena *a, ArenaMark mark, const void *from, size_t bytes)
{
    ArenaMark end = lk__arena_mark(a);
    rewind_to(a, mark);
    char *block = lk__arena_alloc(a, bytes);
    if (block) memmove(block, from, bytes); /* old and new place may overlap */
    clear_up_to(a, end);
    return block;
}

bool lk__arena_since(const Arena *a, ArenaMark mark, const void *p)
{
    uintptr_t at = (uintptr_t)p;
    for (Chunk *c = mark.chunk ? mark.chunk : a->first; c; c = c->next) {
        uintptr_t start = (uintptr_t)chunk_data(c);
        if (at >= start && at < start + c->size) return c != mark.chunk || at >= start + mark.used;
    }
    return false;
}
