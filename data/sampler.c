/* sampler.c - the orders in which PyTorch and Hugging Face go through a dataset, number for
 * number. */
#include "data/sampler.h"

#include <string.h>

void lk__sample_random(Rng *rng, int64_t n, int64_t *order)
{
    Rng sampler;
    lk_manual_seed(&sampler, (uint64_t)lk_random_seed(rng));
    lk_random_perm(&sampler, n, order);
}

static int64_t length_of(const int64_t *offset, int64_t i) { return offset[i + 1] - offset[i]; }

/* Sorts the longest first; samples of equal length keep their order, as with Python's sorted.
 * Merges runs of 1, 2, 4, … */
static void sort_by_length(int64_t n, const int64_t *offset, int64_t *order, int64_t *room)
{
    for (int64_t run = 1; run < n; run *= 2) {
        for (int64_t begin = 0; begin < n; begin += 2 * run) {
            int64_t middle = begin + run < n ? begin + run : n,
                    end = middle + run < n ? middle + run : n;
            for (int64_t a = begin, b = middle, to = begin; to < end; to++) {
                bool left = b == end || (a < middle && length_of(offset, order[a]) >=
                                                           length_of(offset, order[b]));
                room[to] = order[left ? a++ : b++];
            }
        }
        memcpy(order, room, (size_t)n * sizeof *order);
    }
}

void lk__sample_by_length(Rng *rng, int64_t n, const int64_t *offset, int64_t batch_size,
                          int64_t *order, int64_t *room)
{
    enum { MOST = 50, PIECES = 4 };
    int64_t batches = n / batch_size / PIECES; /* in one mega-batch */
    if (batches > MOST) batches = MOST;
    int64_t mega = batches < 1 ? batch_size : batches * batch_size, longest = 0;
    lk_random_perm(rng, n, order);
    for (int64_t begin = 0, size; begin < n; begin += size) {
        size = n - begin < mega ? n - begin : mega;
        sort_by_length(size, offset, order + begin, room);
        if (length_of(offset, order[begin]) > length_of(offset, order[longest])) longest = begin;
    }
    int64_t first = order[0];
    order[0] = order[longest];
    order[longest] = first;
}
