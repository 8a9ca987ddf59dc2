/* nearest.h - the existing names that are nearest to a wrong one, for messages; no part of the
 * interface. */
#ifndef LK_NEAREST_H
#define LK_NEAREST_H

#include "nn/module.h"

enum { LK_NEAREST = 3 };
typedef struct Nearest {
    int count, distance[LK_NEAREST];
    char name[LK_NEAREST][LK_NAME_MAX]; /* best first, each once */
} Nearest;

/* Begin with { 0 } and offer every existing name, each of less than LK_NAME_MAX bytes. `wanted`
 * may have any length. */
void lk__nearest_offer(Nearest *n, const char *wanted, const char *name);

/* Writes "\"a\", \"b\", \"c\"", each name cut after 80 bytes; "" for none. Returns text. */
enum { LK_NEAREST_TEXT = LK_NEAREST * 100 };
const char *lk__nearest_text(const Nearest *n, char text[LK_NEAREST_TEXT]);

#endif
