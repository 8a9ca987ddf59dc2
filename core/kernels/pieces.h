/* pieces.h - cuts sizes into pieces; shared by the products and the convolutions. Internal. */
#ifndef LK_PIECES_H
#define LK_PIECES_H

#include <stdint.h>

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* Cuts n into parts of at most `most`: their number. A division takes long, so it asks first. */
static inline int64_t parts_of(int64_t n, int64_t most)
{
    return n <= most ? n > 0 : (n + most - 1) / most;
}

static inline int64_t round_up(int64_t n, int64_t unit) { return parts_of(n, unit) * unit; }

/* Returns where part i begins when n is cut into nearly equal parts: n i / parts without
 * overflow. */
static inline int64_t cut(int64_t n, int64_t parts, int64_t i)
{
    return parts == 1 ? n * i : n / parts * i + n % parts * i / parts;
}

#endif
