/* memory.h - where heap memory comes from, and the arena in which a tape keeps its tensors. */
#ifndef LK_MEMORY_H
#define LK_MEMORY_H

#include "core/error.h"

/* Every heap block of the library goes through these two functions. Replace them before anything
 * is allocated (count, limit, fail on purpose); NULL, NULL restores aligned_alloc and free. Blocks
 * are aligned to 64 bytes. */
typedef void *AllocFn(size_t bytes);
typedef void FreeFn(void *block);
LK_API void lk_set_allocator(AllocFn *alloc, FreeFn *release);

/* bytes > 0, not cleared; NULL when there is none. Free with lk_mem_free (NULL allowed). */
LK_API void *lk_mem_alloc(size_t bytes);
/* cleared; NULL too when count * size overflows */
LK_API void *lk_mem_calloc(size_t count, size_t size);
LK_API void lk_mem_free(void *block);

/* An arena hands out memory by moving a pointer and takes all of it back at once. It grows by
 * itself; after a reset its chunks are joined into one, so a loop that needs the same memory in
 * every step stops allocating. Only the two structs are public, for TapeMark; the functions are
 * not exported. */
typedef struct Chunk Chunk;
typedef struct Arena {
    Chunk *first, *current; /* chunks in the order of their use */
    size_t used;            /* bytes used of the current chunk */
    /* not 0: every byte that is not handed out has this value (strict mode, lk_gradcheck) */
    unsigned char fill;
} Arena;
typedef struct ArenaMark {
    Chunk *chunk;
    size_t used;
} ArenaMark;

/* 64-byte aligned, not cleared; NULL: no memory left */
void *lk_arena_alloc(Arena *a, size_t bytes);
/* fills what is not handed out, from now on too; 0: no more */
void lk_arena_fill(Arena *a, unsigned char fill);
void lk_arena_reset(Arena *a); /* everything handed out is gone; the memory stays */
/* the memory goes back too; the arena may be used again */
void lk_arena_free(Arena *a);
ArenaMark lk_arena_mark(const Arena *a);
/* gives back what was handed out since the mark */
void lk_arena_release(Arena *a, ArenaMark mark);
/* The same, but bytes at `from`, which lie behind the mark, move into a new block at the mark.
 * Returns the block. */
void *lk_arena_keep(Arena *a, ArenaMark mark, const void *from, size_t bytes);
/* p was handed out after the mark */
bool lk_arena_since(const Arena *a, ArenaMark mark, const void *p);
size_t lk_arena_bytes(const Arena *a); /* bytes held, used or not */

#endif
