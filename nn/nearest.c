/* nearest.c - the existing names that are nearest to a wrong one. */
#include "nn/nearest.h"

#include <string.h>

/* Returns Levenshtein's distance: how many insertions, deletions and replacements turn a into b.
 * Only one row of the table is kept at a time. */
static int edit_distance(const char *a, const char *b)
{
    int row[LK_NAME_MAX + 1];
    int n = (int)strnlen(b, LK_NAME_MAX);
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 0; a[i]; i++) {
        int diagonal = row[0];
        row[0] = i + 1;
        for (int j = 0; j < n; j++) {
            int replaced = diagonal + (a[i] != b[j]);
            int shorter = row[j] < row[j + 1] ? row[j] : row[j + 1];
            diagonal = row[j + 1];
            row[j + 1] = replaced < shorter + 1 ? replaced : shorter + 1;
        }
    }
    return row[n];
}

void lk__nearest_offer(Nearest *n, const char *wanted, const char *name)
{
    for (int i = 0; i < n->count; i++)
        if (strcmp(n->name[i], name) == 0) return;
    int distance = edit_distance(name, wanted), i = n->count;
    while (i > 0 && n->distance[i - 1] > distance) i--;
    if (i == LK_NEAREST) return;
    if (n->count < LK_NEAREST) n->count++;
    size_t moved = (size_t)(n->count - 1 - i);
    memmove(n->distance + i + 1, n->distance + i, moved * sizeof n->distance[0]);
    memmove(n->name + i + 1, n->name + i, moved * sizeof n->name[0]);
    n->distance[i] = distance;
    strcpy(n->name[i], name);
}

const char *lk__nearest_text(const Nearest *n, char text[LK_NEAREST_TEXT])
{
    size_t length = 0;
    text[0] = '\0';
    for (int i = 0; i < n->count; i++)
        length += (size_t)snprintf(text + length, LK_NEAREST_TEXT - length, "%s\"%.80s\"",
                                   i ? ", " : "", n->name[i]);
    return text;
}
