/* blocks.c - see blocks.h. */
#include "examples/course/checks/blocks.h"

#include <stdlib.h>

#include "core/memory.h"
#include "examples/course/trace.h"

/* Blocks beyond this number are not counted. */
enum { BLOCKS = 1024, ALIGNMENT = 64 };
static struct {
    void *block;
    size_t bytes;
    long at;
    bool there;
} blocks[BLOCKS];
static int count;
static int until_failure; /* blocks that can be made before one fails; below 0: none fails */
static bool failed;
static size_t held, peak;

static void *count_alloc(size_t bytes)
{
    if (until_failure >= 0 && until_failure-- == 0) {
        failed = true;
        return NULL;
    }
    void *block = aligned_alloc(ALIGNMENT, bytes);
    if (!block || count == BLOCKS) return block;
    blocks[count].block = block;
    blocks[count].bytes = bytes;
    blocks[count].at = trace_now();
    blocks[count++].there = true;
    held += bytes;
    if (held > peak) peak = held;
    return block;
}

static void count_free(void *block)
{
    for (int i = 0; i < count; i++)
        if (blocks[i].there && blocks[i].block == block) {
            blocks[i].there = false;
            held -= blocks[i].bytes;
        }
    free(block);
}

void blocks_begin(void) { blocks_begin_failing(-1); }

void blocks_begin_failing(int after)
{
    count = 0;
    until_failure = after;
    failed = false;
    held = peak = 0;
    lk_set_allocator(count_alloc, count_free);
}

bool blocks_end_failing(void)
{
    until_failure = -1;
    return failed;
}

Blocks blocks_end(void)
{
    lk_set_allocator(NULL, NULL);
    Blocks result = { .peak = peak, .at = -1 };
    for (int i = 0; i < count; i++) {
        if (!blocks[i].there) continue;
        if (result.at < 0) result.at = blocks[i].at;
        result.left++;
    }
    return result;
}

long blocks_place(const void *block)
{
    for (int i = count - 1; i >= 0; i--)
        if (blocks[i].block == block) return blocks[i].at;
    return -1;
}
