/* blocks.h - counts the heap blocks of the library while a learner's code runs: a leak is found
 * without sanitizers, and has the learner's line. */
#ifndef COURSE_BLOCKS_H
#define COURSE_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct Blocks {
    int left;    /* blocks that were made since blocks_begin and not freed */
    size_t peak; /* the most bytes that were held at once */
    long at;     /* where the first of those that are left was made (trace.h); -1: not known */
} Blocks;

/* Counting begins anew. Strict mode keeps what is freed, so there is nothing to count in it. */
void blocks_begin(void);
Blocks blocks_end(void);

/* The same, but one block cannot be made, after `after` ones that can, until blocks_end_failing.
 * It returns whether that block was asked for. */
void blocks_begin_failing(int after);
bool blocks_end_failing(void);

/* Where a block was made that was made since the last blocks_begin; -1: not known. A Tensor * or
 * Module * that has an owner is such a block. */
long blocks_place(const void *block);

#endif
