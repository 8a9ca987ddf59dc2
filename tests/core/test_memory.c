/* test_memory.c - the heap functions and their hooks, and the arena: alignment, growth, marks,
 * what happens when memory is short. */
#include "core/memory.h"

#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "tests/check.h"

static bool is_aligned(const void *p) { return (uintptr_t)p % 64 == 0; }

/* ---- the heap ------------------------------------------------------------------------------- */

/* Hooks that say what they were asked for; a block larger than `limit` is refused. */
static size_t asked_bytes, limit = SIZE_MAX;
static int asked_times;
static void *freed_block;

static void *recording_alloc(size_t bytes)
{
    asked_bytes = bytes;
    asked_times++;
    return bytes > limit ? NULL : aligned_alloc(64, bytes);
}

static void recording_free(void *block)
{
    freed_block = block;
    free(block);
}

Test(memory, blocks_are_aligned_and_writable)
{
    for (size_t bytes = 1; bytes < 300; bytes += 7) {
        char *block = lk_mem_alloc(bytes);
        check(block && is_aligned(block), "%zu bytes are at %p", bytes, (void *)block);
        memset(block, 0x5a, bytes);
        lk_mem_free(block);
    }
}

Test(memory, calloc_clears)
{
    /* Memory that was used before is likely to come back dirty. */
    char *dirty = lk_mem_alloc(4096);
    memset(dirty, 0xff, 4096);
    lk_mem_free(dirty);
    char *block = lk_mem_calloc(64, 64);
    check(block && is_aligned(block));
    for (int i = 0; i < 4096; i++) check(block[i] == 0, "byte %d is %d", i, block[i]);
    lk_mem_free(block);
}

Test(memory, hooks_see_every_block_and_can_be_taken_back)
{
    lk_set_allocator(recording_alloc, recording_free);
    void *block = lk_mem_alloc(65);
    check(block && asked_times == 1);
    check(asked_bytes == 128,
          "65 bytes are asked for as %zu: aligned_alloc wants a multiple of the alignment",
          asked_bytes);
    lk_mem_free(block);
    check(freed_block == block);

    block = lk_mem_calloc(3, 5);
    check(block && asked_times == 2 && asked_bytes == 64);
    lk_mem_free(block);

    freed_block = &asked_bytes;
    lk_mem_free(NULL);
    check(freed_block == &asked_bytes, "the hook was called for NULL");

    lk_set_allocator(NULL, NULL);
    block = lk_mem_alloc(1);
    check(block && asked_times == 2, "the hook is still there");
    lk_mem_free(block);
    check(freed_block == &asked_bytes);
}

Test(memory, impossible_sizes_are_refused_before_the_hook)
{
    lk_set_allocator(recording_alloc, recording_free);
    check(!lk_mem_alloc(0));
    check(!lk_mem_alloc(SIZE_MAX)); /* rounding up would make it 0 */
    check(!lk_mem_alloc(SIZE_MAX - 62));
    check(!lk_mem_calloc(0, 8));
    check(!lk_mem_calloc(8, 0));
    check(!lk_mem_calloc(SIZE_MAX / 8 + 1, 8)); /* the product is 2^64: 0 */
    check(!lk_mem_calloc(SIZE_MAX / 2, 3));
    check(!lk_mem_calloc(SIZE_MAX / 2 + 1, SIZE_MAX / 2 + 1));
    check(asked_times == 0, "the hook was asked for %zu bytes", asked_bytes);
}

Test(memory, no_memory_is_null)
{
    check_alloc_begin();
    check_fail_after(0);
    check(!lk_mem_alloc(10) && !lk_mem_calloc(2, 5));
    check(check_alloc_failed() == 2 && check_alloc_live() == 0);
}

/* ---- the arena ------------------------------------------------------------------------------ */

Test(arena, blocks_do_not_overlap)
{
    enum { COUNT = 2000 };
    Arena a = { 0 };
    unsigned char *block[COUNT];
    size_t size[COUNT];
    Rng rng;
    lk_manual_seed(&rng, 1);
    for (int i = 0; i < COUNT; i++) {
        size[i] = (size_t)lk_random_int(&rng, 0, i % 50 == 0 ? 100000 : 500);
        block[i] = lk__arena_alloc(&a, size[i]);
        check(block[i] && is_aligned(block[i]), "block %d of %zu bytes", i, size[i]);
        memset(block[i], i % 251, size[i]);
    }
    for (int i = 0; i < COUNT; i++)
        for (size_t k = 0; k < size[i]; k++)
            check(block[i][k] == i % 251, "byte %zu of block %d was overwritten with %d", k, i,
                  block[i][k]);
    lk__arena_free(&a);
}

Test(arena, blocks_of_zero_bytes_differ)
{
    Arena a = { 0 };
    void *first = lk__arena_alloc(&a, 0), *second = lk__arena_alloc(&a, 0);
    check(first && second && first != second);
    lk__arena_free(&a);
}

Test(arena, grows_in_few_allocations)
{
    check_alloc_begin();
    Arena a = { 0 };
    check(lk__arena_bytes(&a) == 0);
    for (int i = 0; i < 100000; i++) check(lk__arena_alloc(&a, 1000));
    check(lk__arena_bytes(&a) >= (size_t)100000 * 1000);
    check(lk__arena_bytes(&a) <= (size_t)100000 * 1024 * 3, "%zu bytes are held",
          lk__arena_bytes(&a));
    check(check_alloc_count() <= 16, "100 MB took %lld allocations",
          (long long)check_alloc_count());
    lk__arena_free(&a);
    check(lk__arena_bytes(&a) == 0 && check_alloc_live() == 0);
    check(lk__arena_alloc(&a, 10)); /* free does not end its life */
    lk__arena_free(&a);
    check(check_alloc_live() == 0);
}

Test(arena, reset_joins_and_a_loop_stops_allocating)
{
    check_alloc_begin();
    Arena a = { 0 };
    int64_t before = 0;
    for (int step = 0; step < 5; step++) {
        for (int i = 0; i < 100; i++) check(lk__arena_alloc(&a, 5000 + (size_t)i));
        lk__arena_reset(&a);
        check(check_alloc_live() == 1, "%lld chunks after a reset", (long long)check_alloc_live());
        if (step == 1) before = check_alloc_count();
    }
    int64_t more = check_alloc_count() - before;
    check(more == 0, "%lld allocations after the warm-up", (long long)more);
    lk__arena_free(&a);
    check(check_alloc_live() == 0);
}

Test(arena, reset_gives_the_same_memory_again)
{
    Arena a = { 0 };
    void *first = lk__arena_alloc(&a, 100);
    lk__arena_reset(&a);
    check(lk__arena_alloc(&a, 100) == first);
    lk__arena_free(&a);
}

Test(arena, release_goes_back_to_the_mark)
{
    check_alloc_begin();
    Arena a = { 0 };
    char *kept = lk__arena_alloc(&a, 1000);
    memset(kept, 7, 1000);
    ArenaMark mark = lk__arena_mark(&a);
    void *first = NULL;
    int64_t before = 0;
    for (int round = 0; round < 4; round++) {
        /* Across several chunks: they stay, and are used again without an allocation. */
        void *p = lk__arena_alloc(&a, 64);
        if (round == 0) first = p;
        check(p == first, "round %d starts elsewhere", round);
        for (int i = 0; i < 40; i++) memset(lk__arena_alloc(&a, 20000), round, 20000);
        lk__arena_release(&a, mark);
        if (round == 0) before = check_alloc_count();
    }
    check(check_alloc_count() == before);
    for (int i = 0; i < 1000; i++)
        check(kept[i] == 7, "what was there before the mark was overwritten");
    lk__arena_free(&a);
}

Test(arena, mark_of_an_empty_arena)
{
    check_alloc_begin();
    Arena a = { 0 };
    ArenaMark mark = lk__arena_mark(&a);
    void *first = lk__arena_alloc(&a, 10);
    check(lk__arena_alloc(&a, 1 << 20));
    int64_t before = check_alloc_count();
    lk__arena_release(&a, mark);
    check(lk__arena_alloc(&a, 10) == first);
    check(lk__arena_alloc(&a, 1 << 20));
    check(check_alloc_count() == before);
    lk__arena_free(&a);
}

Test(arena, since_knows_both_sides_of_a_mark)
{
    Arena a = { 0 };
    ArenaMark start = lk__arena_mark(&a);
    char *before = lk__arena_alloc(&a, 100);
    ArenaMark mark = lk__arena_mark(&a);
    /* far: in another chunk */
    char *after = lk__arena_alloc(&a, 100), *far = lk__arena_alloc(&a, 1 << 20);
    int elsewhere;
    check(lk__arena_since(&a, start, before) && lk__arena_since(&a, start, after) &&
          lk__arena_since(&a, start, far));
    check(!lk__arena_since(&a, mark, before) && !lk__arena_since(&a, mark, before + 99));
    check(lk__arena_since(&a, mark, after) && lk__arena_since(&a, mark, after + 99));
    check(lk__arena_since(&a, mark, far) && lk__arena_since(&a, mark, far + (1 << 20) - 1));
    ArenaMark late = lk__arena_mark(&a);
    check(!lk__arena_since(&a, late, before) && !lk__arena_since(&a, late, after) &&
          !lk__arena_since(&a, late, far));
    check(!lk__arena_since(&a, start, &elsewhere));
    lk__arena_free(&a);
}

/* Random allocations, marks and releases, against a plain list of what must still be there. */
Test(arena, random_marks_and_releases)
{
    enum { MAX = 600, STEPS = 20000 };
    typedef struct Block {
        unsigned char *at, fill;
        size_t size;
    } Block;
    Arena a = { 0 };
    static Block block[MAX];
    static struct {
        ArenaMark mark;
        int blocks;
    } marks[40];
    int blocks = 0, marked = 0;
    Rng rng;
    lk_manual_seed(&rng, 2);
    for (int step = 0; step < STEPS; step++) {
        int64_t what = lk_random_int(&rng, 0, 40);
        if (what == 0 && marked < 40) {
            marks[marked].mark = lk__arena_mark(&a);
            marks[marked++].blocks = blocks;
        } else if ((what == 1 || blocks == MAX) && marked > 0) {
            marked = (int)lk_random_int(&rng, 0, marked); /* the nested marks go with it */
            lk__arena_release(&a, marks[marked].mark);
            blocks = marks[marked].blocks;
        } else if (blocks == MAX) {
            lk__arena_reset(&a);
            blocks = 0;
        } else {
            Block *b = &block[blocks++];
            b->size = (size_t)lk_random_int(&rng, 0, what == 2 ? 200000 : 300);
            b->fill = (unsigned char)lk_random_int(&rng, 0, 256);
            b->at = lk__arena_alloc(&a, b->size);
            check(b->at);
            memset(b->at, b->fill, b->size);
        }
        if (step % 100 != 0) continue;
        for (int i = 0; i < blocks; i++)
            for (size_t k = 0; k < block[i].size; k += 61)
                check(block[i].at[k] == block[i].fill, "step %d: block %d of %d is damaged", step,
                      i, blocks);
    }
    lk__arena_free(&a);
}

/* ---- short of memory ------------------------------------------------------------------------ */

Test(arena, failed_growth_leaves_everything_as_it_was)
{
    check_alloc_begin();
    Arena a = { 0 };
    char *kept = lk__arena_alloc(&a, 1000);
    memset(kept, 3, 1000);
    size_t bytes = lk__arena_bytes(&a);
    check_fail_after(0);
    check(!lk__arena_alloc(&a, 1 << 20));
    check(lk__arena_bytes(&a) == bytes);
    check(lk__arena_alloc(&a, 1000), "what still fits the chunk needs no allocation");
    check_fail_after(-1);
    check(lk__arena_alloc(&a, 1 << 20));
    for (int i = 0; i < 1000; i++) check(kept[i] == 3);
    lk__arena_free(&a);
    check(check_alloc_live() == 0);
}

Test(arena, takes_a_small_chunk_where_a_large_one_is_refused)
{
    lk_set_allocator(recording_alloc, recording_free);
    Arena a = { 0 };
    check(lk__arena_alloc(&a, 1 << 20));
    limit = 1 << 14; /* the next chunk would be as large as all before it */
    check(lk__arena_alloc(&a, 1 << 13));
    check(!lk__arena_alloc(&a, 1 << 15));
    limit = SIZE_MAX;
    lk__arena_free(&a);
}

Test(arena, reset_without_memory_is_an_empty_arena)
{
    check_alloc_begin();
    Arena a = { 0 };
    check(lk__arena_alloc(&a, 1000) && lk__arena_alloc(&a, 1 << 20));
    check_fail_once(0); /* the joined chunk */
    lk__arena_reset(&a);
    check(check_alloc_failed() == 1 && check_alloc_live() == 0 && lk__arena_bytes(&a) == 0);
    check(lk__arena_alloc(&a, 1 << 20));
    lk__arena_reset(&a);
    lk__arena_free(&a);
    check(check_alloc_live() == 0);
}

Test(arena, absurd_sizes_are_refused)
{
    lk_set_allocator(recording_alloc, recording_free);
    Arena a = { 0 };
    check(!lk__arena_alloc(&a, SIZE_MAX));
    check(!lk__arena_alloc(&a, SIZE_MAX - 63));
    check(!lk__arena_alloc(&a, SIZE_MAX / 2));
    check(asked_times == 0, "the hook was asked for %zu bytes", asked_bytes);
    check(lk__arena_alloc(&a, 100));
    check(!lk__arena_alloc(&a, SIZE_MAX - 100)); /* used + need would wrap around */
    lk__arena_free(&a);
}
