/* memory.h - where heap memory comes from, and the arena in which a tape keeps its tensors. */
#ifndef LK_MEMORY_H
#define LK_MEMORY_H

#include "core/error.h"

/* Replaces the two functions that every heap block of the library comes from, to count, to limit
 * or to fail on purpose. Call it before anything is allocated; NULL, NULL restores aligned_alloc
 * and free. Blocks are aligned to 64 bytes. */
typedef void *AllocFn(size_t bytes);
typedef void FreeFn(void *block);
LK_API void lk_set_allocator(AllocFn *alloc, FreeFn *release);

LK_API void *lk_mem_alloc(size_t bytes);               /* bytes > 0, not cleared; NULL: failed */
LK_API void *lk_mem_calloc(size_t count, size_t size); /* cleared; NULL: failed, or overflow */
LK_API void lk_mem_free(void *block);                  /* NULL allowed */

/* An arena hands out memory by moving a pointer and takes all of it back at once. It grows by
 * itself; after a reset its chunks are joined into one, so a loop that needs the same memory in
 * every step stops allocating. Only the two structs are public, for TapeMark; the functions are
 * not exported. */
typedef struct Chunk Chunk;
typedef struct Arena {
    Chunk *first, *current; /* chunks in the order of their use */
    size_t used;            /* bytes used of the current chunk */
    unsigned char fill; /* not 0: the value of bytes not handed out (strict mode, lk_gradcheck) */
} Arena;
typedef struct ArenaMark {
    Chunk *chunk;
    size_t used;
} ArenaMark;

void *lk__arena_alloc(Arena *a, size_t bytes); /* 64-byte aligned, not cleared; NULL: no memory */
void lk__arena_reset(Arena *a);                /* takes everything back; the memory stays */
void lk__arena_free(Arena *a);                 /* frees the memory too; a may be used again */
size_t lk__arena_bytes(const Arena *a);        /* bytes held, used or not */
/* Fills the bytes that are not handed out, now and whenever bytes are taken back. 0 ends this. */
void lk__arena_fill(Arena *a, unsigned char fill);

ArenaMark lk__arena_mark(const Arena *a);
void lk__arena_release(Arena *a, ArenaMark mark); /* takes back what came since the mark */
/* The same, but `bytes` bytes at `from`, which lie behind the mark, move into a new block at the
 * mark. Returns the block. */
void *lk__arena_keep(Arena *a, ArenaMark mark, const void *from, size_t bytes);
bool lk__arena_since(const Arena *a, ArenaMark mark, const void *p); /* p came since the mark */

#endif
